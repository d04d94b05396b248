"""NIfTI files with one fault each, decided by a seed: what disks, downloads and other programs do to scans.

``damaged(seed)`` is the same file for the same seed. The kinds of fault take turns, so that any run of consecutive
seeds holds all of them.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable

import nibabel as nib
import numpy as np

Rng = np.random.Generator
Header = dict[str, object]  # fields to set

SHAPE_XYZ = (9, 10, 8)
AFFINE = np.array([[-1.5, 0, 0, 30], [0, -1.0, 0, 40], [0, 0, 2.0, -50], [0, 0, 0, 1.0]])
ODD_FLOATS = [0.0, -1.0, 1e-45, 1e-3, 5e3, 1e30, 3.4e38, np.nan, np.inf, -np.inf]
ODD_SIZES = [-32768, -1, 0, 1, 2, 255, 32767]


def ball() -> np.ndarray:
    """A mask (x, y, z)."""
    place = np.indices(SHAPE_XYZ) - np.array([4, 5, 3])[:, None, None, None]
    return (place**2).sum(0) < 9


def ct(rng: Rng) -> np.ndarray:
    """The ball in some air and soft tissue, int16."""
    return np.where(ball(), 100, -1000 * (rng.random(SHAPE_XYZ) < 0.3)).astype("<i2")


def healthy(rng: Rng) -> np.ndarray:
    """A mask or a CT of a type that scanners and programs write."""
    if rng.random() < 0.5:
        return ball().astype(rng.choice(["u1", "<i2", "<f4", "<f8", ">i2"]))
    return ct(rng).astype(rng.choice(["<i2", "<f4", "<i4"]))


def file_of(data: np.ndarray, affine: np.ndarray = AFFINE, version: int = 1) -> bytearray:
    """An intact file."""
    kind = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    header = kind.header_class(endianness=">" if data.dtype.byteorder == ">" else "<")
    header.set_data_dtype(data.dtype)
    return bytearray(kind(data, affine, header).to_bytes())


def with_header(content: bytearray, **fields: object) -> bytearray:
    """The file with some fields of its header set, however wrong."""
    kind = nib.Nifti1Header if content[344:347] == b"n+1" else nib.Nifti2Header
    size = kind.template_dtype.itemsize
    header = kind(bytes(content[:size]), check=False)
    for name, value in fields.items():
        with np.errstate(all="ignore"):
            header[name] = value
    return bytearray(header.binaryblock) + content[size:]


def sprinkled(content: bytearray, rng: Rng, start: int, stop: int, most: int) -> bytearray:
    """The file with up to so many bytes of a range changed."""
    for position in rng.integers(start, min(stop, len(content)), rng.integers(1, most + 1)):
        content[position] = rng.integers(256)
    return content


# ---- the faults: each takes an intact file and returns another --------------------------------------------------


def truncated(content: bytearray, rng: Rng) -> bytes:
    return content[: rng.integers(len(content))]


def truncated_gzip(content: bytearray, rng: Rng) -> bytes:
    packed = gzip.compress(content)
    return packed[: rng.integers(2, len(packed))]


def damaged_gzip(content: bytearray, rng: Rng) -> bytes:
    return sprinkled(bytearray(gzip.compress(content)), rng, 2, 10**6, 3)


def odd_gzip(content: bytearray, rng: Rng) -> bytes:
    packed = gzip.compress(content)
    return [packed + rng.bytes(40), packed + packed, gzip.compress(packed), gzip.compress(b""), packed[:10] * 3,
            gzip.compress(content[:400]) + gzip.compress(content[400:])][rng.integers(6)]  # fmt: skip


def noise_in_the_header(content: bytearray, rng: Rng) -> bytes:
    return sprinkled(content, rng, 0, 352, 8)


def noise_in_a_second_header(content: bytearray, rng: Rng) -> bytes:
    return sprinkled(file_of(healthy(rng), version=2), rng, 0, 544, 8)


def wrong_dimensions(content: bytearray, rng: Rng) -> bytes:
    dim = np.array([3, *SHAPE_XYZ, 1, 1, 1, 1])
    for axis in rng.integers(0, 8, rng.integers(1, 4)):
        dim[axis] = rng.integers(-1, 9) if axis == 0 else rng.choice(ODD_SIZES)
    return with_header(content, dim=dim)


def wrong_type(content: bytearray, rng: Rng) -> bytes:
    codes = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, 77, -4]
    fields: Header = {"datatype": rng.choice(codes)}
    if rng.random() < 0.5:
        fields["bitpix"] = rng.choice([0, 1, 8, 64, 128, -8, 7])
    return with_header(content, **fields)


def absurd_spacing(content: bytearray, rng: Rng) -> bytes:
    row = rng.choice(["srow_x", "srow_y", "srow_z"])
    scale = 10.0 ** rng.integers(-40, 39)
    fields: Header = [
        {row: np.array([0, 0, rng.choice(ODD_FLOATS), 5.0])},
        {"srow_x": [scale, 0, 0, 0], "srow_y": [0, scale, 0, 0], "srow_z": [0, 0, scale, 0]},
        {"sform_code": 0, "pixdim": rng.choice(ODD_FLOATS, 8)},
        {"sform_code": 0, "qform_code": 0, "pixdim": rng.choice(ODD_FLOATS, 8)},
    ][rng.integers(4)]
    return with_header(content, **fields)


def coarse_or_fine(content: bytearray, rng: Rng) -> bytes:
    """Voxels just within what is believed: 20 of 99 mm are two metres."""
    x, y, z = rng.choice([0.011, 0.1, 1.0, 30.0, 99.0], 3)
    return with_header(content, srow_x=[x, 0, 0, 0], srow_y=[0, y, 0, 0], srow_z=[0, 0, z, 0])


def no_inverse(content: bytearray, rng: Rng) -> bytes:
    rows = rng.normal(size=(3, 4))
    rows[2] = rows[0] + rng.choice([0.0, 1e-6, 0.02, 0.3]) * rows[1]  # nearly or quite in a plane, or sheared
    return with_header(content, srow_x=rows[0], srow_y=rows[1], srow_z=rows[2])


def far_away(content: bytearray, rng: Rng) -> bytes:
    place = rng.choice([1e5, 1e12, -1e30, 3e38, np.nan, np.inf])
    if rng.random() < 0.3:
        return with_header(content, sform_code=0, qform_code=1, qoffset_z=place)
    return with_header(content, srow_x=[-1.5, 0, 0, place])


def odd_quaternion(content: bytearray, rng: Rng) -> bytes:
    b, c, d = rng.choice([0.0, 0.5, 1.0, -2.0, np.nan, 1e20], 3)
    return with_header(content, sform_code=0, qform_code=1, quatern_b=b, quatern_c=c, quatern_d=d)


def promises_terabytes(content: bytearray, rng: Rng) -> bytes:
    if rng.random() < 0.4:
        content = with_header(
            file_of(healthy(rng), version=2), dim=[3, 2 ** rng.integers(20, 62), 2**20, 30, 1, 1, 1, 1]
        )
    else:
        content = with_header(content, dim=[3, 30_000, 30_000, 30_000, 1, 1, 1, 1], datatype=rng.choice([2, 64]))
    return gzip.compress(content) if rng.random() < 0.5 else content


def odd_offset(content: bytearray, rng: Rng) -> bytes:
    return with_header(
        content, vox_offset=rng.choice([-400, 0, 7, 100, 348, 351, 360.5, 1e4, 1e15, 3e38, np.nan, np.inf])
    )


def odd_scale(content: bytearray, rng: Rng) -> bytes:
    return with_header(content, scl_slope=rng.choice(ODD_FLOATS), scl_inter=rng.choice(ODD_FLOATS))


def odd_voxels(content: bytearray, rng: Rng) -> bytes:
    if rng.random() < 0.5:
        return sprinkled(content, rng, 352, 10**6, 50)
    data = healthy(rng).astype(rng.choice(["<f4", "<f8"]))
    data.ravel()[rng.integers(data.size, size=5)] = rng.choice([*ODD_FLOATS, 0.5, 256, 70_000, 2**33])
    return file_of(data)


def another_format(content: bytearray, rng: Rng) -> bytes:
    return [b"", b"\0" * 540, rng.bytes(rng.integers(1, 2000)), b"NRRD0004\n" + rng.bytes(400),
            b"\0" * 128 + b"DICM" + rng.bytes(400), b"ObjectType = Image\n" * 40, b"PK\x03\x04" + rng.bytes(400),
            bytes(content[:344]) + b"ni1\0" + bytes(content[348:])][rng.integers(8)]  # fmt: skip


def shifted(content: bytearray, rng: Rng) -> bytes:
    position = rng.integers(len(content))
    return content[:position] + (rng.bytes(rng.integers(1, 9)) if rng.random() < 0.5 else b"") + content[position + 1 :]


def odd_extension(content: bytearray, rng: Rng) -> bytes:
    content[348:352] = bytes([1, 0, 0, 0])
    size = rng.choice([0, 8, 15, 16, 32, -16, 2**31 - 1]).astype("<i4").tobytes()
    extended = content[:352] + size + b"\x04\0\0\0" + rng.bytes(8) + content[352:]
    return with_header(extended, vox_offset=rng.choice([352, 368]))


def odd_shapes(content: bytearray, rng: Rng) -> bytes:
    shape = [(40_000, 1, 1), (1, 1, 1), (1, 300, 1), (5, 6), (7,), (3, 4, 5, 1), (3, 4, 5, 2), (2, 1, 1, 1, 1, 2),
             (2, 2, 40_000)][rng.integers(9)]  # fmt: skip
    return file_of(rng.integers(0, 2, shape).astype("u1"), version=2 if max(shape) > 30_000 else 1)


def intact(content: bytearray, rng: Rng) -> bytes:
    return gzip.compress(content) if rng.random() < 0.5 else content


FAULTS: list[Callable[[bytearray, Rng], bytes]] = [
    truncated, truncated_gzip, damaged_gzip, odd_gzip, noise_in_the_header, noise_in_a_second_header,
    wrong_dimensions, wrong_type, absurd_spacing, coarse_or_fine, no_inverse, far_away, odd_quaternion,
    promises_terabytes, odd_offset, odd_scale, odd_voxels, another_format, shifted, odd_extension, odd_shapes, intact,
]  # fmt: skip


def damaged(seed: int) -> tuple[str, bytes]:
    """The fault's name and the file's bytes."""
    rng = np.random.default_rng(seed)
    fault = FAULTS[seed % len(FAULTS)]
    return fault.__name__, bytes(fault(file_of(healthy(rng)), rng))
