"""Reading and writing NIfTI, the only place where image files are opened.

A NIfTI file stores (x, y, z) with x fastest; everything this module returns, and takes, is (z, y, x), that is
(D, H, W). The affine stays what nibabel calls the affine: it maps indices (x, y, z) to RAS+ millimetres (x to
the right, y to the front, z to the head).
"""

from __future__ import annotations

import gzip
import logging
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import atomic_writer

_SILENT = logging.Logger("nibabel", level=100)  # what nibabel mends in a header it need not announce
_CHUNK = 1 << 24  # bytes read at a time, so that memory follows what a file holds and not what it promises
_SPACING_RANGE = (0.01, 100.0)  # mm
_FARTHEST = 1e5  # mm from the scanner's origin; beyond it float32 headers lose the hundredths
_LONGEST = 2**15 - 1  # voxels along an axis; NIfTI-1, which is what is written, holds no more


@dataclass(frozen=True)
class Volume:
    """An image or a mask with its place in the patient.

    Attributes:
        data: (D, H, W) array.
        affine: (4, 4) float64, from indices (x, y, z) to RAS+ mm.
    """

    data: np.ndarray
    affine: np.ndarray

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) in mm."""
        return spacing_of(self.affine)

    def in_ras(self) -> Volume:
        """The same volume, its axes turned so that indices (x, y, z) grow to the right, the front and the head.

        Files keep their axes in any order and direction. The data is a view, not a copy.
        """
        from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

        stored = self.data.T  # (X, Y, Z) of the file
        turn = io_orientation(self.affine)  # for each axis of the file: the RAS+ axis it runs along, and 1 or -1
        return Volume(apply_orientation(stored, turn).T, self.affine @ inv_ornt_aff(turn, stored.shape))


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Voxel size (z, y, x) in mm of an affine, whose columns are the steps along x, y and z."""
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    return float(z), float(y), float(x)


def read_image(path: str | Path) -> Volume:
    """Read an image.

    Args:
        path: a ``.nii`` or ``.nii.gz`` file with one 3-D volume; a fourth axis of length 1 is dropped.

    Returns:
        The volume as float32 (D, H, W), the file's intensity scaling (``scl_slope``) applied, its axes as they lie in
        the file (:meth:`Volume.in_ras` turns them).

    Raises:
        InputError: if the file is missing, not NIfTI, damaged, not 3-D, or holds NaN or infinity.
    """
    volume = _read(Path(path))
    with np.errstate(over="ignore"):  # a number too big for float32 becomes infinite and is reported below
        data = np.ascontiguousarray(volume.data, dtype=np.float32)
    if not np.isfinite(data).all():
        raise InputError(f"{path} holds NaN or infinity: replace those voxels, by -1000 in a CT, and save again.")
    return Volume(data, volume.affine)


def read_mask(path: str | Path) -> Volume:
    """Read a segmentation.

    Args:
        path: as in :func:`read_image`; floating-point files are accepted if all their values are whole.

    Returns:
        The volume as unsigned integers (D, H, W) of the smallest type that holds the values, mostly uint8.

    Raises:
        InputError: as in :func:`read_image`, and for fractional or negative values.
    """
    volume = _read(Path(path))
    data = volume.data
    if not np.isfinite(data).all():
        raise InputError(f"{path} is no mask, it holds NaN or infinity: export the segmentation as a label map.")
    if not (data == np.rint(data)).all():
        raise InputError(f"{path} is no mask, it holds fractional values: export the segmentation as a label map.")
    if data.min() < 0:
        raise InputError(
            f"{path} holds negative values: give a segmentation (not the scan), with labels from 0 (background) up."
        )
    if data.max() > np.iinfo(np.uint32).max:
        raise InputError(f"{path} holds labels beyond 32 bits: renumber them to 1..255.")
    smallest = np.min_scalar_type(int(data.max()))
    return Volume(np.ascontiguousarray(data, dtype=smallest), volume.affine)


def read_grid(path: str | Path) -> tuple[tuple[int, int, int], np.ndarray]:
    """Read only the header: the shape (D, H, W) and the affine; raises InputError as :func:`read_image`."""
    path = Path(path)
    with _opened(path) as stream:
        header = _read_header(stream, path)
        return _shape(header, path)[::-1], _affine(header, path)


def read_description(path: str | Path) -> str:
    """Read only the header's free text (``descrip``); raises InputError as :func:`read_image`."""
    path = Path(path)
    with _opened(path) as stream:
        return bytes(_read_header(stream, path)["descrip"]).rstrip(b"\0").decode("ascii", "replace")


def same_grid(a: Volume, b: Volume) -> bool:
    """Whether two volumes have equal shape and lie in the same place, to a hundredth of a voxel."""
    if a.data.shape != b.data.shape:
        return False
    tolerance = 0.01 * min(a.spacing)
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
    corners[:, :3] *= np.array(a.data.shape[::-1]) - 1
    return bool(np.abs(corners @ (a.affine - b.affine).T).max() <= tolerance)


def check_same_grid(image: Volume, mask: Volume, image_path: str | Path, mask_path: str | Path) -> None:
    """Raise InputError, naming both files, unless image and mask lie on the same grid."""
    if image.data.shape != mask.data.shape:
        raise InputError(
            f"{mask_path} has shape {mask.data.shape} (z, y, x) but its image {image_path} has "
            f"{image.data.shape}: resample the mask onto the image, or pair the right files."
        )
    if not same_grid(image, mask):
        raise InputError(
            f"{mask_path} lies elsewhere in space than its image {image_path} (their affines differ): "
            "resample the mask onto the image, or copy the image's affine if the voxels do correspond."
        )


def write(path: str | Path, data: np.ndarray, affine: np.ndarray, *, description: str = "") -> None:
    """Write a volume as NIfTI; the file appears whole or not at all, and equal data give equal bytes.

    Missing folders are created. The affine goes into the sform and, unless it is sheared, into the qform as
    well, both as scanner coordinates (code 1), so that every reader places the volume alike.

    Args:
        path: ends in ``.nii`` or ``.nii.gz``; an existing file is replaced.
        data: (D, H, W), float32, uint8 or int16.
        affine: (4, 4), from indices (x, y, z) to RAS+ mm.
        description: text for the header (``descrip``), ASCII, at most 79 characters.

    Raises:
        InputError: if the path cannot be written, has another ending or the array another type.
    """
    import nibabel as nib

    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError(f'{path} would be written as NIfTI: let its name end in ".nii.gz" or ".nii".')
    if data.ndim != 3 or data.dtype not in (np.float32, np.uint8, np.int16):
        raise InputError(f"{path} cannot hold {data.dtype} {data.shape}: give (D, H, W) float32, uint8 or int16.")
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of a file to write.")
    image = nib.Nifti1Image(data.T, affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description.encode("ascii")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)  # the nearest rotation, if the affine is sheared
    if not np.allclose(image.get_qform(), affine, atol=1e-3 * min(spacing_of(affine))):
        image.set_qform(None, code=0)
    with atomic_writer(path) as file:
        if path.suffix == ".gz":
            with gzip.GzipFile("", "wb", compresslevel=4, fileobj=file, mtime=0) as stream:
                image.to_stream(stream)
        else:
            image.to_stream(file)


def _read(path: Path) -> Volume:
    """The stored numbers, scaled, as (D, H, W) in whatever type that gives."""
    from nibabel.volumeutils import apply_read_scaling

    with _opened(path) as stream:
        header = _read_header(stream, path)
        shape, affine, dtype = _shape(header, path), _affine(header, path), header.get_data_dtype()
        if dtype.kind not in "iuf":
            raise InputError(f"{path} holds colours or complex numbers: export it with one real number per voxel.")
        slope, offset = header.get_slope_inter()
        stream.seek(int(header.get_data_offset()))
        raw = _read_exactly(stream, math.prod(shape) * dtype.itemsize, path)
    data = np.frombuffer(raw, dtype).reshape(shape, order="F")
    if slope is not None:
        data = apply_read_scaling(data, slope, offset)
    return Volume(data.T, affine)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed if need be; what goes wrong while they are used is an InputError."""
    from nibabel.spatialimages import HeaderDataError

    try:
        if not path.exists():
            raise InputError(f"{path} does not exist: check the name.")
        if path.is_dir():
            raise InputError(f"{path} is a folder: name one NIfTI file (dcm2niix makes one of a DICOM series).")
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not packed:
                yield file
                return
            with gzip.open(file) as stream:
                yield cast(BinaryIO, stream)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path) from error
    except InputError:
        raise
    except (ValueError, OverflowError, HeaderDataError) as error:
        raise InputError(f"{path} has a damaged header: download or export it again.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): check its permissions.") from error


def _read_header(stream: BinaryIO, path: Path) -> Any:
    """The nibabel header at the start of a stream, once its magic number says that it is NIfTI."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    start = stream.read(540)
    if start[344:347] == b"n+1" or start[4:7] == b"n+2":
        header_type = Nifti1Header if start[344:347] == b"n+1" else Nifti2Header
        size = header_type.template_dtype.itemsize
        if len(start) < size:
            raise _damaged(path)
        header = header_type(start[:size], check=False)  # from_fileobj would read extensions of any promised size
        header.check_fix(logger=_SILENT)
        return header
    if not start:
        raise InputError(f"{path} is empty, no NIfTI file: download or export it again.")
    if start[128:132] == b"DICM":
        raise InputError(f"{path} is a DICOM file, not NIfTI: convert its whole series with dcm2niix.")
    if start[344:347] == b"ni1":
        raise InputError(f"{path} is half of a pair of files (.hdr, .img): join them by nibabel.load(...).to_filename.")
    kind = (
        "an NRRD file" if start.startswith(b"NRRD") else "a MetaImage" if b"ObjectType" in start else "something else"
    )
    raise InputError(
        f"{path} is not NIfTI but {kind}: convert it with SimpleITK (ReadImage, WriteImage) or save it from "
        "3D Slicer as .nii.gz; DICOM is converted with dcm2niix."
    )


def _shape(header: Any, path: Path) -> tuple[int, int, int]:
    """The file's (X, Y, Z); further axes are dropped if their length is 1 and an error otherwise."""
    shape = tuple(int(n) for n in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise InputError(
            f"{path} is {len(shape)}-D, of shape {shape}: give one 3-D volume per file (stack single slices, "
            "cut a series with nibabel.four_to_three)."
        )
    if min(shape) < 1:
        raise InputError(f"{path} has the impossible shape {shape}: export it again.")
    if max(shape) > _LONGEST:
        raise InputError(f"{path} has {max(shape)} voxels along one axis, more than NIfTI-1 can hold: cut it in parts.")
    return shape


def _affine(header: Any, path: Path) -> np.ndarray:
    """The header's affine, if it can belong to a scan."""
    affine = np.array(header.get_best_affine(), np.float64)
    affine[np.abs(affine) < 1e-12] = 0  # ITK complains about numbers near the smallest there are
    low, high = _SPACING_RANGE
    spacing = spacing_of(affine)
    if not all(low <= step <= high for step in spacing):  # also false for NaN
        sizes = " x ".join(f"{step:g}" for step in spacing)
        raise InputError(
            f"{path} has voxels of {sizes} mm (z, y, x), which no scan has: mend the spacing in its header."
        )
    if abs(np.linalg.det(affine[:3, :3])) < 0.01 * math.prod(spacing):
        raise InputError(f"{path} has an affine without inverse (two axes coincide): mend the header.")
    if not (np.abs(affine[:3, 3]) <= _FARTHEST).all():
        raise InputError(f"{path} lies more than 100 m from the scanner's origin: mend the affine in its header.")
    return affine


def _read_exactly(stream: BinaryIO, count: int, path: Path) -> bytearray:
    """The next ``count`` bytes, in chunks: a header that promises too much costs no memory."""
    data = bytearray()
    while len(data) < count:
        chunk = stream.read(min(_CHUNK, count - len(data)))
        if not chunk:
            raise _damaged(path)
        data += chunk
    if isinstance(stream, gzip.GzipFile):
        while stream.read(_CHUNK):  # to the end, where its checksum is compared
            pass
    return data


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is truncated or corrupt: download or export it again.")
