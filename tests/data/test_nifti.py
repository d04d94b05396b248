"""NIfTI in and out, against nibabel and SimpleITK, and every file that cannot be used."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lrnet_edu.data import nifti
from lrnet_edu.support.errors import InputError

AFFINE = np.array([[-0.8, 0, 0, 30], [0, -0.9, 0, 40], [0, 0, 2.5, -50], [0, 0, 0, 1.0]])
SHAPE_XYZ = (5, 6, 7)


def store(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """Write (x, y, z) data with nibabel alone."""
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def noise(dtype: str = "int16", shape: tuple[int, ...] = SHAPE_XYZ) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_reads_what_nibabel_reads_in_z_y_x(tmp_path: Path, name: str) -> None:
    data = noise()
    volume = nifti.read_image(store(tmp_path / name, data))
    assert volume.data.dtype == np.float32
    assert volume.data.shape == SHAPE_XYZ[::-1]
    assert volume.data[6, 2, 4] == data[4, 2, 6]
    np.testing.assert_array_equal(volume.data, data.T)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-6)
    np.testing.assert_allclose(volume.spacing, (2.5, 0.9, 0.8), atol=1e-6)
    grid = nifti.read_grid(tmp_path / name); shape, affine = grid.data.shape, grid.affine
    assert shape == volume.data.shape
    np.testing.assert_array_equal(affine, volume.affine)


def test_applies_the_stored_scaling(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.linspace(-3, 5, 210).reshape(SHAPE_XYZ), AFFINE)
    image.set_data_dtype(np.int16)  # nibabel finds slope and intercept when it saves
    nib.save(image, tmp_path / "a.nii.gz")
    theirs: Any = nib.load(tmp_path / "a.nii.gz")
    assert theirs.dataobj.slope != 1
    expected = theirs.get_fdata().T
    np.testing.assert_allclose(nifti.read_image(tmp_path / "a.nii.gz").data, expected, rtol=1e-6)


def test_reads_nifti_2_and_foreign_byte_order(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(noise(), AFFINE), tmp_path / "two.nii.gz")
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nib.save(nib.Nifti1Image(noise(), AFFINE, header), tmp_path / "big.nii")
    assert (tmp_path / "big.nii").read_bytes()[:4] == b"\0\0\x01\x5c"
    for name in ("two.nii.gz", "big.nii"):
        volume = nifti.read_image(tmp_path / name)
        np.testing.assert_array_equal(volume.data, noise().T)
        np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-6)


def test_drops_a_fourth_axis_of_length_one(tmp_path: Path) -> None:
    volume = nifti.read_image(store(tmp_path / "a.nii.gz", noise(shape=(*SHAPE_XYZ, 1))))
    assert volume.data.shape == SHAPE_XYZ[::-1]


@pytest.mark.parametrize(("highest", "dtype"), [(0, "u1"), (255, "u1"), (256, "u2"), (70_000, "u4")])
@pytest.mark.parametrize("stored", ["int32", "float64"])
def test_masks_come_in_the_smallest_type(tmp_path: Path, highest: int, dtype: str, stored: str) -> None:
    data = np.zeros(SHAPE_XYZ, stored)
    data[1, 2, 3] = highest
    mask = nifti.read_mask(store(tmp_path / "a.nii.gz", data)).data
    assert mask.dtype == np.dtype(dtype)
    assert mask[3, 2, 1] == highest


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int16"])
@pytest.mark.parametrize("name", ["new/folder/a.nii.gz", "a.nii"])
def test_writes_what_others_read(tmp_path: Path, dtype: str, name: str) -> None:
    import SimpleITK

    angle = 0.3
    oblique = AFFINE.copy()
    turn = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    oblique[:3, :3] = turn @ AFFINE[:3, :3]
    data = noise(dtype).T
    path = tmp_path / name
    nifti.write(path, data, oblique)

    theirs: Any = nib.load(path)
    np.testing.assert_array_equal(np.asanyarray(theirs.dataobj), data.T)
    assert theirs.get_data_dtype() == np.dtype(dtype)
    np.testing.assert_allclose(theirs.affine, oblique, atol=1e-5)
    np.testing.assert_allclose(theirs.get_qform(), oblique, atol=1e-5)
    assert (theirs.header["sform_code"], theirs.header["qform_code"]) == (1, 1)
    assert theirs.header.get_xyzt_units()[0] == "mm"

    itk = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(itk), data)
    point = itk.TransformIndexToPhysicalPoint((4, 5, 6))  # LPS
    np.testing.assert_allclose(point * np.array([-1, -1, 1]), (oblique @ [4, 5, 6, 1])[:3], atol=1e-4)

    again = nifti.read_image(path)
    np.testing.assert_array_equal(again.data, data)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_sheared_affine_is_kept_in_the_sform_alone(tmp_path: Path) -> None:
    sheared = AFFINE.copy()
    sheared[1, 2] = 0.8  # a tilted gantry
    nifti.write(tmp_path / "a.nii.gz", noise("uint8").T, sheared)
    image: Any = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(image.affine, sheared, atol=1e-6)
    assert image.header["qform_code"] == 0


def test_equal_data_give_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nifti.write(tmp_path / "a.nii.gz", noise("uint8").T, AFFINE)
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    nifti.write(tmp_path / "b.nii.gz", noise("uint8").T, AFFINE)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.nii.gz"
    nifti.write(path, noise("uint8").T, AFFINE)
    before = path.read_bytes()

    def full(self: nib.Nifti1Image, stream: gzip.GzipFile) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nib.Nifti1Image, "to_stream", full)
    with pytest.raises(InputError, match=r"a\.nii\.gz cannot be written \(No space left on device\)"):
        nifti.write(path, noise("uint8").T, AFFINE)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_refuses_impossible_outputs(tmp_path: Path) -> None:
    data = noise("uint8").T
    (tmp_path / "folder.nii.gz").mkdir()
    (tmp_path / "file").write_text("kept")
    for path, values, message in [
        (tmp_path / "folder.nii.gz", data, "is a folder"),
        (tmp_path / "file" / "a.nii.gz", data, "cannot be written"),
        (tmp_path / "a.png", data, 'end in ".nii.gz"'),
        (tmp_path / "a.nii.gz", data.astype(float), "cannot hold float64"),
        (tmp_path / "a.nii.gz", data[0], "cannot hold"),
    ]:
        with pytest.raises(InputError, match=message):
            nifti.write(path, values, AFFINE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.nii.gz"]
    assert (tmp_path / "file").read_text() == "kept"


def _bytes_of(data: np.ndarray, affine: np.ndarray = AFFINE) -> bytes:
    return nib.Nifti1Image(data, affine).to_bytes()


def _with_header(change: Callable[[nib.Nifti1Header], None]) -> bytes:
    """A NIfTI file of which only the header was changed."""
    content = _bytes_of(noise())
    header = nib.Nifti1Header(content[:348])
    change(header)
    return header.binaryblock + content[348:]


def _set(field: str, value: object) -> Callable[[nib.Nifti1Header], None]:
    return lambda header: header.__setitem__(field, value)


def _parallel_axes(header: nib.Nifti1Header) -> None:
    header["srow_x"], header["srow_y"] = [-0.8, 0.9, 0, 30], [0, 0, 0, 40]


def _spacing(*zooms: float) -> bytes:
    return _bytes_of(noise(), np.diag([*zooms, 1.0]))


def _flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :]


HUGE = _with_header(_set("dim", [3, 30_000, 30_000, 30_000, 1, 1, 1, 1]))
GOOD = _bytes_of(noise())
SHRUNK = gzip.compress(_with_header(_set("dim", [3, 5, 6, 6, 1, 1, 1, 1])))[:-8] + gzip.compress(GOOD)[-8:]
NAN = noise("float32")
NAN[0, 0, 0] = np.nan

BAD_FILES: dict[str, tuple[str, bytes, list[str]]] = {
    "dicom": ("a.nii", b"\0" * 128 + b"DICM" + b"\0" * 900, ["DICOM", "dcm2niix"]),
    "nrrd": ("a.nii", b"NRRD0004\ntype: short\n" + b"\0" * 900, ["NRRD", "3D Slicer", "SimpleITK"]),
    "metaimage": ("a.nii", b"ObjectType = Image\nNDims = 3\n" + b"\0" * 900, ["MetaImage", "SimpleITK"]),
    "half of a pair": ("a.hdr", GOOD[:344] + b"ni1\0", ["pair", ".hdr, .img", "nibabel"]),
    "text": ("a.nii", b"hello", ["not NIfTI", "dcm2niix"]),
    "empty": ("a.nii", b"", ["is empty", "again"]),
    "gzipped text": ("a.nii.gz", gzip.compress(b"hello"), ["not NIfTI"]),
    "header cut": ("a.nii", GOOD[:348], ["truncated"]),
    "truncated": ("a.nii", GOOD[:-1], ["truncated", "again"]),
    "truncated gzip": ("a.nii.gz", gzip.compress(GOOD)[:-20], ["truncated", "again"]),
    "gzip cut in its header": ("a.nii.gz", gzip.compress(GOOD)[:5], ["truncated", "again"]),
    "wrong checksum": ("a.nii.gz", _flipped(gzip.compress(GOOD), -8), ["truncated or corrupt", "again"]),
    "checksum behind the voxels": ("a.nii.gz", SHRUNK, ["corrupt"]),
    "corrupt gzip": ("a.nii.gz", _flipped(gzip.compress(GOOD), 11), ["corrupt", "again"]),
    "promises 54 TB": ("a.nii", HUGE, ["truncated"]),
    "promises 54 TB, gzip": ("a.nii.gz", gzip.compress(HUGE), ["truncated"]),
    "2-D": ("a.nii", _bytes_of(noise(shape=(5, 6))), ["2-D", "(5, 6)", "3-D volume"]),
    "4-D": ("a.nii", _bytes_of(noise(shape=(5, 6, 7, 2))), ["4-D", "3-D volume"]),
    "NaN": ("a.nii", _bytes_of(NAN), ["NaN", "replace"]),
    "infinity": ("a.nii", _bytes_of(np.full(SHAPE_XYZ, np.inf)), ["infinity", "replace"]),
    "beyond float32": ("a.nii", _bytes_of(np.full(SHAPE_XYZ, 1e300)), ["infinity"]),
    "colours": ("a.nii", _bytes_of(np.zeros(SHAPE_XYZ, [(c, "u1") for c in "RGB"])), ["colours"]),
    "complex": ("a.nii", _bytes_of(np.zeros(SHAPE_XYZ, np.complex64)), ["complex"]),
    "no spacing": ("a.nii", _with_header(_set("srow_z", [0] * 4)), ["0 x 0.9 x 0.8 mm", "spacing"]),
    "NaN in the affine": ("a.nii", _with_header(_set("srow_x", [np.nan] * 4)), ["spacing"]),
    "micrometres": ("a.nii", _spacing(700, 700, 2500), ["2500 x 700 x 700 mm", "spacing"]),
    "metres": ("a.nii", _spacing(7e-4, 7e-4, 2.5e-3), ["mm", "spacing"]),
    "far away": ("a.nii", _with_header(_set("srow_x", [-0.8, 0, 0, 1e30])), ["origin"]),
    "nowhere": ("a.nii", _with_header(_set("srow_x", [-0.8, 0, 0, np.nan])), ["origin"]),
    "one axis too long": ("a.nii", nib.Nifti2Image(np.zeros((1, 40_000, 1), "u1"), AFFINE).to_bytes(), ["40000"]),
    "axes coincide": ("a.nii", _with_header(_parallel_axes), ["without inverse"]),
    "negative size": ("a.nii", _with_header(_set("dim", [3, -5, 6, 7, 1, 1, 1, 1])), ["shape"]),
    "unknown type": ("a.nii", _with_header(_set("datatype", 77)), ["header"]),
    "no offset": ("a.nii", _with_header(_set("vox_offset", np.nan)), ["header"]),
}


def assert_one_sentence(error: InputError, path: Path, words: list[str]) -> None:
    message = str(error)
    assert str(path) in message
    assert message.endswith(".")
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_images(tmp_path: Path, kind: str) -> None:
    name, content, words = BAD_FILES[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        nifti.read_image(tmp_path / name)
    assert_one_sentence(caught.value, tmp_path / name, words)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.5, ["fractional", "label map"]),
        (np.nan, ["NaN or infinity"]),
        (np.inf, ["NaN or infinity"]),
        (-1, ["negative"]),
        (1e12, ["32 bits"]),
    ],
)
def test_bad_masks(tmp_path: Path, value: float, words: list[str]) -> None:
    data = np.zeros(SHAPE_XYZ)
    data[2, 2, 2] = value
    path = store(tmp_path / "mask.nii.gz", data)
    with pytest.raises(InputError) as caught:
        nifti.read_mask(path)
    assert_one_sentence(caught.value, path, words)


def test_missing_file_and_dicom_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        nifti.read_image(tmp_path / "none.nii.gz")
    with pytest.raises(InputError, match=r"is a folder.*dcm2niix"):
        nifti.read_image(tmp_path)


def test_no_header_byte_breaks_the_reader(tmp_path: Path) -> None:
    """Whatever stands in a header, the file is read or refused with an InputError."""
    rng = np.random.default_rng(0)
    path, refused = tmp_path / "a.nii", 0
    for _ in range(300):
        content = bytearray(GOOD)
        for position in rng.integers(0, 352, rng.integers(1, 6)):
            content[position] = rng.integers(256)
        path.write_bytes(bytes(content))
        try:
            nifti.read_image(path)
        except InputError:
            refused += 1
    assert 30 < refused < 300


def test_extensions_are_not_read_whatever_size_they_promise(tmp_path: Path) -> None:
    content = GOOD[:348] + b"\1\0\0\0" + b"\xff\xff\xff\x7f\4\0\0\0" + b"12345678" + GOOD[352:]
    header = nib.Nifti1Header(content[:348])
    header["vox_offset"] = 368
    (tmp_path / "a.nii").write_bytes(header.binaryblock + content[348:])
    tracemalloc.start()
    try:
        np.testing.assert_array_equal(nifti.read_image(tmp_path / "a.nii").data, noise().T)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_headers_are_mended_in_silence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.nii").write_bytes(_with_header(_set("pixdim", [1, -0.8, 0.9, 2.5, 0, 0, 0, 0])))
    np.testing.assert_allclose(nifti.read_image(tmp_path / "a.nii").affine, AFFINE, atol=1e-6)
    (tmp_path / "b.nii").write_bytes(_with_header(_set("datatype", 77)))
    with pytest.raises(InputError, match="header"):
        nifti.read_image(tmp_path / "b.nii")
    assert capfd.readouterr() == ("", "")


def test_an_affine_holds_no_number_that_is_nearly_nothing(tmp_path: Path) -> None:
    """ITK prints a page about them."""
    affine = AFFINE.copy()
    affine[1, 0] = 1e-319
    nib.save(nib.Nifti2Image(noise(), affine), tmp_path / "a.nii")
    assert nifti.read_image(tmp_path / "a.nii").affine[1, 0] == 0


def test_same_grid_allows_rounding_only() -> None:
    a = nifti.Volume(np.zeros((7, 6, 5)), AFFINE)
    nudged, turned = AFFINE.copy(), AFFINE.copy()
    nudged[0, 3] += 0.005 * 0.8
    turned[:3, :3] *= 1.01  # at the far corner this is 0.06 voxels
    assert nifti.same_grid(a, nifti.Volume(a.data, nudged))
    assert not nifti.same_grid(a, nifti.Volume(a.data, turned))
    assert not nifti.same_grid(a, nifti.Volume(a.data, np.diag([-1, 1, 1, 1]) @ AFFINE))
    assert not nifti.same_grid(a, nifti.Volume(np.zeros((7, 6, 4)), AFFINE))
    with pytest.raises(InputError, match=r"mask\.nii has shape \(7, 6, 4\).*image\.nii.*resample"):
        nifti.check_same_grid(a, nifti.Volume(np.zeros((7, 6, 4)), AFFINE), "image.nii", "mask.nii")
    with pytest.raises(InputError, match=r"mask\.nii lies elsewhere.*image\.nii.*affine"):
        nifti.check_same_grid(a, nifti.Volume(a.data, turned), "image.nii", "mask.nii")
