"""Reading and writing volumes, the only place where image files are opened.

A NIfTI file stores (x, y, z) with x fastest; everything here is (z, y, x), that is (D, H, W). The affine is what
nibabel calls the affine: it maps indices (x, y, z) to RAS+ millimetres (x to the right, y to the front, z to the head).

A header may place its volume twice, by a qform and by an sform, and programs differ in which of the two they use.
Here the sform counts where there is one, as for nibabel; what is written for a file carries both of its forms.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lrnet_edu.support.errors import InputError, check_each
from lrnet_edu.support.files import first_line, write_atomically

_MM = {1: 1000.0, 2: 1.0, 3: 0.001}  # per unit of length, as a header numbers them: metre, millimetre, micrometre
_FARTHEST, _LONGEST = 1e5, 2**15 - 1  # mm from the scanner's origin and voxels along an axis that NIfTI-1 holds well
_ROUNDING = 1e-3  # how far a label in a file of floats may be from a whole number
_FORMS = ("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d",
          "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z")  # fmt: skip


@dataclass(frozen=True)
class Volume:
    """An image or a mask with its place in the patient."""

    data: np.ndarray  # (D, H, W)
    affine: np.ndarray  # (4, 4) float64, from indices (x, y, z) to RAS+ mm
    header: Any = None  # nibabel's, where the volume comes from a NIfTI file

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) in mm."""
        return spacing_of(self.affine)

    def oriented(self, axes: str) -> Volume:
        """The same volume, its axes turned so that indices grow along ``axes``: "RAS" is right, front (A), head (S).

        Files keep their axes in any order and direction, as nibabel's ``aff2axcodes`` says it. The data is a view.
        """
        from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

        stored = self.data.T  # (X, Y, Z) of the file
        turn = ornt_transform(io_orientation(self.affine), axcodes2ornt(axes))
        return Volume(apply_orientation(stored, turn).T, self.affine @ inv_ornt_aff(turn, stored.shape))

    def moved(self, data: np.ndarray, first: Sequence[int] | np.ndarray) -> Volume:
        """Other voxels (d, h, w) on the same grid, the first of them at the indices ``first`` (z, y, x) of this one."""
        step = np.eye(4)
        step[:3, 3] = first[::-1]
        forms = _coded_forms(self.header)
        header: Any = self.header.copy() if forms else None
        for name, form in forms.items():
            for axis, row in zip("xyz", form @ step, strict=False):
                header[f"{name}_{axis}"] = row if name == "srow" else row[3]
        return Volume(data, self.affine @ step, header)


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Voxel size (z, y, x) in mm of an affine, whose columns are the steps along x, y and z."""
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    return float(z), float(y), float(x)


def read_image(path: str | Path) -> Volume:
    """Read a scan (D, H, W), float32 and scaled as its file says, from NIfTI or another format in :data:`READERS`.

    InputError if the file is missing, not NIfTI, damaged, not 3-D, holds NaN or infinity, or lacks a voxel size.
    """
    volume = read_volume(path)
    with np.errstate(over="ignore"):  # a number too big for float32 becomes infinite and is reported below
        data = np.ascontiguousarray(volume.data, dtype=np.float32)
    if not np.isfinite(data).all():
        raise InputError(f"{path} holds NaN or infinity: replace those voxels, by -1000 in a CT, and save again.")
    return Volume(data, volume.affine, volume.header)


def read_mask(path: str | Path) -> Volume:
    """Read a segmentation: unsigned integers (D, H, W) of the smallest type that holds the values, mostly uint8.

    Labels that a scale factor or a float brings back as 2.9999999 are rounded. InputError as :func:`read_image`, and
    for fractional or negative values.
    """
    volume = read_volume(path)
    data, header = volume.data, volume.header
    if data.dtype.kind == "f":
        scaled = header is not None and header.get_data_dtype().kind != "f"  # whole numbers times a factor
        step = abs(float(header["scl_slope"])) if scaled else 0.0
        apart = max(_ROUNDING, step / 2 if step < 0.2 else 0)
        data = np.rint(data)
        if not np.isfinite(data).all() or not np.allclose(volume.data, data, rtol=1e-6, atol=apart):
            raise InputError(f"{path} is no mask, it holds fractional values or NaN: export it as a label map.")
    if data.min() < 0 or data.max() > np.iinfo(np.uint32).max:
        raise InputError(f"{path} holds negative or huge values: give a segmentation (not the scan), labels 1 to 255.")
    return Volume(np.ascontiguousarray(data, dtype=np.min_scalar_type(int(data.max()))), volume.affine, header)


def read_volume(path: str | Path, *, header_only: bool = False) -> Volume:
    """Read what a file holds, scaled, in whatever type that gives; InputError as :func:`read_image`, but for NaN."""
    if not (path := Path(path)).exists():
        raise InputError(f"{path} does not exist: check the name.")
    if path.is_dir():
        raise InputError(f"{path} is a folder: name one NIfTI file (dcm2niix makes one of a DICOM series).")
    read = READERS.get(ending(path.name), read_nifti)  # which says what else a file is
    return read_nifti(path, header_only=header_only) if read is read_nifti else read(path)


def read_grid(path: str | Path) -> Volume:
    """Read where a volume lies: of a NIfTI file only the header, and zeros that take no memory as its data."""
    return read_volume(path, header_only=True)


def read_nifti(path: Path, *, header_only: bool = False) -> Volume:
    """Read a NIfTI file as :func:`read_volume` or :func:`read_grid`."""
    import nibabel as nib
    from nibabel.imageglobals import logger

    logger.disabled = True  # what nibabel mends it need not announce
    try:
        with open(path, "rb") as file, gzip.open(file) if file.peek(2)[:2] == b"\x1f\x8b" else file as stream:
            content = stream.read(540 if header_only else -1)  # gzip checks what is read to the end
        if not (is_first := content[344:347] == b"n+1") and content[4:7] != b"n+2":
            advice = "dcm2niix converts DICOM; 3D Slicer and SimpleITK read NRRD, MetaImage and others"
            raise InputError(f"{path} is {'no NIfTI file' if content else 'empty'}: save it as .nii.gz ({advice}).")
        kind = nib.Nifti1Image if is_first else nib.Nifti2Image
        stored = content[: kind.header_class.sizeof_hdr]
        raw, header = kind.header_class(stored, check=False), kind.header_class(stored)
        if raw["sform_code"] <= 0 and not raw["pixdim"][1:4].all():  # nibabel would take 1 mm for 0
            raise InputError(f"{path} lacks a voxel size (pixdim 0): mend the spacing in its header.")
        grid = _grid(header, path)
        data = grid.data if header_only else np.asanyarray(kind.from_bytes(content).dataobj).T.reshape(grid.data.shape)
        return Volume(data, grid.affine, header)
    except InputError:
        raise
    except Exception as error:  # of a damaged file nibabel and gzip raise many kinds
        why = f"{path} is truncated, damaged or not readable ({first_line(error)})"
        raise InputError(f"{why}: download or export it again.") from error
    finally:
        logger.disabled = False


READERS: dict[str, Callable[[Path], Volume]] = {".nii": read_nifti, ".nii.gz": read_nifti}
"""What reads real numbers (D, H, W) and their affine, by the ending of a file's name; an entry may be added."""


def ending(name: str) -> str:
    """The ending of a file's name for which there is a reader; "" if there is none."""
    return max((known for known in READERS if name.endswith(known)), key=len, default="")


def stem(path: Path) -> str:
    """A file's name without its :func:`ending`."""
    return path.name.removesuffix(ending(path.name))


def _grid(header: Any, path: Path) -> Volume:
    """Where a file's voxels lie, and how many they are; InputError if that cannot be a scan."""
    shape = header.get_data_shape()  # (X, Y, Z, ...)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    affine = _in_mm(header.get_best_affine(), header)
    spacing = spacing_of(affine)
    if len(shape) != 3:
        fault = (f"is {len(shape)}-D, of shape {shape}: give one 3-D volume per file (stack single slices, "
                 "cut a series with nibabel.four_to_three)")  # fmt: skip
    elif header.get_data_dtype().kind not in "iuf":
        fault = "holds colours or complex numbers: export it with one real number per voxel"
    elif not all(0.01 <= step <= 100 for step in spacing) or min(spacing) >= 10:  # also for NaN
        sizes = " x ".join(f"{step:g}" for step in spacing)
        fault = f"has voxels of {sizes} mm (z, y, x), which no scan has: mend the spacing or its unit (micrometres?)"
    elif not (abs(np.linalg.det(affine[:3, :3])) > 0.01 * math.prod(spacing)  # else two axes coincide
              and abs(affine[:3, 3]).max() <= _FARTHEST and min(shape) >= 1 and max(shape) <= _LONGEST):  # fmt: skip
        fault = f"has an affine or a shape, {shape}, that no scan has: mend its header"
    else:
        return Volume(np.broadcast_to(np.uint8(0), shape[::-1]), affine)
    raise InputError(f"{path} {fault}.")


def _in_mm(affine: np.ndarray, header: Any) -> np.ndarray:
    """An affine of a header in mm, which a header without a unit means."""
    unit = _MM.get(int(header["xyzt_units"]) & 7, 1.0)
    return np.asarray(affine, np.float64) * [[unit], [unit], [unit], [1.0]]


def same_grid(a: Volume, b: Volume) -> bool:
    """Whether two volumes have equal shape and share their place by at least one of each one's forms.

    Two forms agree if they put the first voxel in the same place to a hundredth of a voxel, and the next one along each
    axis to 8e-4 of a voxel from there. A quaternion in single precision, as in a qform, may turn a volume by 7e-4
    radians: of a half turn the real part is the root of a rounding error.
    """
    ours, theirs = ([volume.affine, *(_in_mm(form, volume.header) for form in _coded_forms(volume.header).values())]
                    for volume in (a, b))  # fmt: skip
    return a.data.shape == b.data.shape and any(_agree(one, other) for one in ours for other in theirs)


def check_pairs(pairs: Iterable[tuple[Path, Path]]) -> None:
    """Raise one InputError for all pairs (image, mask) that lie on different grids, or whose headers cannot be read."""
    check_each(_check_pair, pairs)


def _check_pair(pair: tuple[Path, Path]) -> None:
    from nibabel.orientations import aff2axcodes

    image, mask = map(read_grid, pair)
    if same_grid(image, mask):
        return
    middle = mask.affine @ [*(np.array(mask.data.shape[::-1]) - 1) / 2, 1]
    place = (np.linalg.inv(image.affine) @ middle)[2::-1]  # of the mask's middle, in voxels of the image
    resample = "resample it onto that grid, or " if ((place >= 0) & (place < image.data.shape)).all() else ""
    fault = f"lies elsewhere in space than {pair[0]} (their affines differ)"
    advice = "copy the image's affine if the voxels do correspond"
    if image.data.shape != mask.data.shape:
        fault = f"has shape {mask.data.shape} (z, y, x) and {pair[0]} has {image.data.shape}"
        advice = "pair the right files"
    if aff2axcodes(image.affine) != aff2axcodes(mask.affine):  # the same voxels, perhaps, in another order
        advice = "store both in one orientation, by nibabel.as_closest_canonical"
    raise InputError(f"{pair[1]} {fault}: {resample}{advice}.")


def _coded_forms(header: Any) -> dict[str, np.ndarray]:
    """The affines that a header states, by the fields that hold their translation."""
    forms = {} if header is None else {"srow": header.get_sform(coded=True), "qoffset": header.get_qform(coded=True)}
    return {name: affine for name, (affine, code) in forms.items() if code}


def _agree(a: np.ndarray, b: np.ndarray) -> bool:
    sizes, apart = np.linalg.norm(a[:3, :3], axis=0), np.linalg.norm(a[:3] - b[:3], axis=0)  # steps, first voxels
    return bool((apart <= [*(8e-4 * sizes), 0.01 * sizes.min()]).all())


def write(path: str | Path, data: np.ndarray, place: Volume | np.ndarray, *, description: str = "") -> None:
    """Write a volume as NIfTI; the file appears whole or not at all, and equal data give equal bytes.

    Args:
        path: ends in ``.nii`` or ``.nii.gz``, else InputError; folders are made, an existing file is replaced.
        data: (D, H, W) of a type that NIfTI knows.
        place: a volume on the same grid, of whose file both forms, their codes and the unit of length are kept; or an
            affine (4, 4) to RAS+ mm, which becomes the sform and, unless it is sheared, the qform, both with code 1.
        description: text for the header (``descrip``), ASCII, at most 79 characters.
    """
    import nibabel as nib

    if not (path := Path(path)).name.endswith((".nii", ".nii.gz")):
        raise InputError(f'{path} would be written as NIfTI: let its name end in ".nii.gz" or ".nii".')
    image = nib.Nifti1Image(data.T, None, dtype=data.dtype)  # without it nibabel refuses int64
    header, affine = image.header, place.affine if isinstance(place, Volume) else place
    if (source := getattr(place, "header", None)) is not None:
        for name in _FORMS:
            header[name] = source[name]
    else:
        header.set_xyzt_units("mm")
        header.set_sform(affine, code=1)
        header.set_qform(affine, code=1)  # the nearest rotation, if the affine is sheared
        if not np.allclose(header.get_qform(), affine, atol=1e-3 * min(spacing_of(affine))):
            header.set_qform(None, code=0)
    header["descrip"] = description.encode("ascii")
    content = image.to_bytes()
    write_atomically(path, gzip.compress(content, 4, mtime=0) if path.suffix == ".gz" else content)
