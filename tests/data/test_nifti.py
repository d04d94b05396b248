"""NIfTI in and out, against nibabel and SimpleITK, and every file that cannot be used."""

import gzip
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from scans import load, told, with_header

from lrnet_edu.data import nifti
from lrnet_edu.support.errors import InputError

AFFINE = np.array([[-0.8, 0, 0, 30], [0, -0.9, 0, 40], [0, 0, 2.5, -50], [0, 0, 0, 1.0]])
SHAPE_XYZ = (5, 6, 7)
LPS = np.diag([-1.0, -1.0, 1.0])


def turned(angle: float) -> np.ndarray:
    """AFFINE turned about the scanner's z axis."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ AFFINE


def noise(dtype: str = "int16", shape: tuple[int, ...] = SHAPE_XYZ) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


def store(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE, stored: str | None = None) -> Path:
    """Write (x, y, z) data with nibabel alone."""
    image = nib.Nifti1Image(data, affine)
    image.set_data_dtype(stored or data.dtype)
    nib.save(image, path)
    return path


def placed(path: Path, *, sform: tuple[Any, int], qform: tuple[Any, int], unit: str = "mm") -> Path:
    """A mask whose header holds these two forms with their codes."""
    image = nib.Nifti1Image(noise("uint8"), None)
    image.header.set_zooms([steps * {"micron": 1000}.get(unit, 1) for steps in (0.8, 0.9, 2.5)])
    image.header.set_sform(*sform)
    image.header.set_qform(*qform)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


def itk_place(path: Path, first: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
    """Where ITK sees the voxel ``first`` and others along each axis."""
    image = SimpleITK.ReadImage(str(path))
    ends = np.add(first, [(0, 0, 0), (4, 0, 0), (0, 5, 0), (0, 0, 6)])
    return np.array([image.TransformIndexToPhysicalPoint(index) for index in ends.tolist()])


def test_a_fourth_axis_of_length_one_and_a_name_that_is_not_true(tmp_path: Path) -> None:
    store(tmp_path / "four.nii.gz", noise()[..., None])
    (tmp_path / "packed.nii").write_bytes((tmp_path / "four.nii.gz").read_bytes())
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(nifti.read_image(path).data, noise().T)
        np.testing.assert_allclose(nifti.read_grid(path).spacing, (2.5, 0.9, 0.8), atol=1e-6)


@pytest.mark.parametrize("stored", ["uint8", "int16", "uint16", "float64"])
@pytest.mark.parametrize("labels", [(1, 2), (1, 3), (1, 4, 7), (2, 5, 13, 20)])
def test_labels_that_come_back_as_fractions_are_rounded(tmp_path: Path, stored: str, labels: tuple[int, ...]) -> None:
    """nibabel chooses a factor when it stores floats as whole numbers; a file of floats may be rounded otherwise."""
    data = np.zeros(SHAPE_XYZ)
    data[: len(labels)] = np.reshape(labels, (-1, 1, 1))
    path = store(tmp_path / "a.nii.gz", data * (1 - 1e-9), stored=stored)
    assert (load(path) != data.T).any()
    np.testing.assert_array_equal(nifti.read_mask(path).data, data.T)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("micron", 1000), ("meter", 0.001), ("unknown", 1)])
@pytest.mark.parametrize("code", ["sform", "qform"])
def test_lengths_are_converted_to_mm(tmp_path: Path, unit: str, factor: float, code: str) -> None:
    affine = np.diag([factor, factor, factor, 1]) @ AFFINE
    forms = {"sform": (None, 0), "qform": (None, 0), code: (affine, 1)}
    volume = nifti.read_mask(placed(tmp_path / "a.nii", **forms, unit=unit))
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-4)


FORMS = {
    "MNI beside the scanner's": ((turned(0.2), 4), (AFFINE, 1)),
    "both the scanner's, differing": ((turned(0.2), 1), (AFFINE, 1)),
    "qform only": ((None, 0), (AFFINE, 1)),
    "sform only": ((turned(0.2), 1), (None, 0)),
    "neither": ((None, 0), (None, 0)),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("unit", ["mm", "micron"])
def test_what_we_or_itk_write_for_a_file_lies_where_it_lay(tmp_path: Path, name: str, unit: str) -> None:
    scale = np.diag([1000.0] * 3 + [1]) if unit == "micron" else np.eye(4)
    sform, qform = ((None if form is None else scale @ form, code) for form, code in FORMS[name])
    source = placed(tmp_path / "in.nii", sform=sform, qform=qform, unit=unit)
    volume = nifti.read_mask(source)
    nifti.write(tmp_path / "out.nii", volume.data, volume)
    one, other = (nib.Nifti1Header((tmp_path / file).read_bytes()[:348]) for file in ("in.nii", "out.nii"))
    for field in ("sform_code", "qform_code", "srow_x", "quatern_d", "qoffset_y", "xyzt_units"):
        np.testing.assert_array_equal(one[field], other[field])
    np.testing.assert_allclose(itk_place(source), itk_place(tmp_path / "out.nii"), atol=1e-4)
    assert nifti.same_grid(volume, nifti.read_grid(tmp_path / "out.nii"))
    part = volume.moved(volume.data[3:, 2:, 1:], (3, 2, 1))
    nifti.write(tmp_path / "part.nii", part.data, part)
    np.testing.assert_allclose(nifti.read_grid(tmp_path / "part.nii").affine, part.affine, atol=1e-4)
    if name != "neither":  # there nibabel puts the middle of the file at 0 and ITK its first voxel
        np.testing.assert_allclose(itk_place(tmp_path / "part.nii"), itk_place(source, first=(1, 2, 3)), atol=1e-4)
        SimpleITK.WriteImage(SimpleITK.ReadImage(str(source)) > 50, str(tmp_path / "itk.nii"))
        nifti.check_pairs([(source, tmp_path / "itk.nii"), (tmp_path / "itk.nii", source)])


@pytest.mark.parametrize("angle", [0.3, 1.234, np.pi - 1e-3, np.pi - 2e-4, np.pi - 3e-5, np.pi])
def test_the_rounding_of_a_quaternion_is_no_difference(tmp_path: Path, angle: float) -> None:
    one = placed(tmp_path / "s.nii", sform=(turned(angle), 1), qform=(None, 0))
    nifti.check_pairs([(one, placed(tmp_path / "q.nii", sform=(None, 0), qform=(turned(angle), 1)))])


FAR = AFFINE + 100 * np.eye(4, k=3)


@pytest.mark.parametrize(("affine", "less", "words"), [
    (turned(0.01), 0, ["elsewhere", "resample", "copy the image's affine"]),
    (AFFINE @ np.diag([1.001, 1, 1, 1]), 0, ["elsewhere", "resample"]),
    (AFFINE + 0.5 * np.eye(4, k=3), 0, ["elsewhere", "resample"]),
    (np.diag([-1, 1, 1, 1]) @ AFFINE, 0, ["elsewhere", "store both in one orientation"]),
    (AFFINE, 1, ["(6, 6, 5)", "(7, 6, 5)", "resample", "pair"]),
    (FAR, 0, ["copy the image's affine"]),
    (FAR, 1, ["pair the right files"]),
])  # fmt: skip
def test_pairs_that_lie_apart_are_told_with_advice_that_helps(
    tmp_path: Path, affine: np.ndarray, less: int, words: list[str]
) -> None:
    image = store(tmp_path / "image.nii", noise())
    mask = store(tmp_path / "mask.nii", noise()[..., less:], affine)
    said = told(lambda: nifti.check_pairs([(image, mask)]), str(image), str(mask), *words)
    assert ("resample" in said) == ("resample" in words)
    with pytest.raises(InputError, match=r"^2 cannot be used: .*mask\.nii.*; .*image\.nii"):
        nifti.check_pairs([(image, mask), (image, image), (mask, image)])


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int16", "int64"])
@pytest.mark.parametrize("name", ["new/folder/a.nii.gz", "a.nii"])
def test_writes_what_others_read(tmp_path: Path, dtype: str, name: str) -> None:
    data, path, oblique = noise(dtype).T, tmp_path / name, turned(0.3)
    nifti.write(path, data, oblique)
    theirs: Any = nib.load(path)
    assert theirs.get_data_dtype() == np.dtype(dtype)
    np.testing.assert_array_equal(np.asanyarray(theirs.dataobj), data.T)
    for form, code in (theirs.get_sform(coded=True), theirs.get_qform(coded=True)):
        np.testing.assert_allclose(form, oblique, atol=1e-5)
        assert code == 1
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))), data)
    np.testing.assert_allclose(itk_place(path)[1], LPS @ (oblique @ [4, 0, 0, 1])[:3], atol=1e-4)
    np.testing.assert_array_equal(nifti.read_image(path).data, data)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_equal_data_give_equal_bytes_and_a_sheared_affine_is_kept_in_the_sform_alone(tmp_path: Path) -> None:
    sheared = AFFINE.copy()
    sheared[1, 2] = 0.8  # a tilted gantry
    for name in ("a.nii.gz", "b.nii.gz"):
        nifti.write(tmp_path / name, noise("uint8").T, sheared)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    image: Any = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(image.affine, sheared, atol=1e-6)
    assert image.header["qform_code"] == 0
    (tmp_path / "folder.nii").mkdir()
    told(lambda: nifti.write(tmp_path / "folder.nii", noise("uint8").T, AFFINE), "be written")
    told(lambda: nifti.write(tmp_path / "a.png", noise("uint8").T, AFFINE), 'end in ".nii.gz"')


def bytes_of(data: np.ndarray, affine: np.ndarray = AFFINE) -> bytes:
    return nib.Nifti1Image(data, affine).to_bytes()


GOOD = bytes_of(noise())
changed = partial(with_header, GOOD)
PACKED = gzip.compress(GOOD)
NAN = np.where(noise() == noise()[0, 0, 0], np.nan, noise())
Q = {"sform_code": 0, "qform_code": 1}

BAD_FILES: dict[str, tuple[bytes, list[str]]] = {
    "dicom": (b"\0" * 128 + b"DICM" + b"\0" * 900, ["no NIfTI file", "dcm2niix converts DICOM", "NRRD", "SimpleITK"]),
    "empty": (b"", ["empty"]),
    "truncated": (GOOD[:-1], ["truncated", "again"]),
    "wrong checksum": (PACKED[:-8] + bytes([PACKED[-8] ^ 0xFF]) + PACKED[-7:], ["damaged", "again"]),
    "2-D": (bytes_of(noise(shape=(5, 6))), ["2-D", "(5, 6)", "3-D volume"]),
    "4-D": (bytes_of(noise(shape=(5, 6, 7, 2))), ["4-D", "3-D volume"]),
    "NaN": (bytes_of(NAN), ["NaN", "replace"]),
    "colours": (bytes_of(np.zeros(SHAPE_XYZ, [(c, "u1") for c in "RGB"])), ["colours"]),
    "no spacing": (changed(srow_z=[0] * 4), ["0 x 0.9 x 0.8 mm", "spacing"]),
    "no spacing, qform": (changed(**Q, pixdim=[1, 0.8, 0, 2.5, 0, 0, 0, 0]), ["voxel size", "spacing"]),
    "mm or micrometres": (bytes_of(noise(), np.diag([50, 50, 50, 1.0])), ["50 x 50 x 50", "micrometres", "unit"]),
    "far away": (changed(srow_x=[-0.8, 0, 0, 1e30]), ["affine"]),
    "one axis too long": (nib.Nifti2Image(np.zeros((1, 40_000, 1), "u1"), AFFINE).to_bytes(), ["40000"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_images(tmp_path: Path, kind: str) -> None:
    content, words = BAD_FILES[kind]
    (tmp_path / "a.nii").write_bytes(content)
    told(lambda: nifti.read_image(tmp_path / "a.nii"), str(tmp_path / "a.nii"), *words)
    told(lambda: nifti.read_grid(tmp_path / "none.nii.gz"), "none.nii.gz does not exist")
    told(lambda: nifti.read_image(tmp_path), "is a folder", "dcm2niix")


@pytest.mark.parametrize(
    ("value", "stored", "word"),
    [*((0.37, stored, "fractional") for stored in ("uint8", "int16", "float32")),
     (np.nan, None, "NaN"), (-1, None, "negative"), (1e12, None, "huge")],
)  # fmt: skip
def test_bad_masks(tmp_path: Path, value: float, stored: str | None, word: str) -> None:
    """Also probabilities, however they are stored."""
    data = np.linspace(0, 1, 210).reshape(SHAPE_XYZ) if stored else np.zeros(SHAPE_XYZ)
    data[2, 2, 2] = value
    told(lambda: nifti.read_mask(store(tmp_path / "mask.nii.gz", data, stored=stored)), "mask.nii.gz", word)
