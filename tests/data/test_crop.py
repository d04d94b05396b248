"""`crop`: another data set whose every voxel lies where it lay, and nobody's files touched."""

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.processing import resample_from_to
from scans import AFFINE, load, mask, scan, store, told

from lrnet_edu.data.cases import Case, find_cases
from lrnet_edu.data.crop import box_around, crop_scans, cropped_around, random_box

TURN = np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.fixture
def lits(tmp_path: Path) -> Path:
    """Three cases, the second without the object 2 and the last without a mask; oblique, axes flipped."""
    folder = tmp_path / "data"
    for number, label in ((1, 2), (2, 1)):
        store(folder / f"volume-{number}.nii.gz", scan(seed=number), TURN @ AFFINE)
        store(folder / f"segmentation-{number}.nii.gz", mask(label=label), TURN @ AFFINE)
    store(folder / "volume-3.nii.gz", scan(), AFFINE)
    return folder


def assert_same_place(source: Path, path: Path) -> None:
    """Each voxel of the new file is the nearest one of the old at the same millimetres; a mask is 0 outside."""
    new, old = (nib.Nifti1Image.from_filename(file) for file in (path, source))
    expected = resample_from_to(old, new, order=0, mode="constant" if "seg" in path.name else "nearest")
    np.testing.assert_array_equal(new.dataobj, expected.dataobj)
    assert new.get_data_dtype() == old.get_data_dtype()


@pytest.mark.parametrize("random", [False, True])
def test_lits(lits: Path, tmp_path: Path, random: bool) -> None:
    store(lits / "volume-2.nii.gz", scan().astype(np.float32) / 3, TURN @ AFFINE)
    before, out, said = {path: path.read_bytes() for path in lits.iterdir()}, tmp_path / "new" / "out", []
    written = crop_scans(lits, out, "2", 3.0, random=random, say=said.append)
    names = [f"{kind}-{number}.nii.gz" for number in (1, 2) for kind in ("volume", "segmentation")]
    assert [path.name for path in written] == names
    assert set(out.iterdir()) == set(written)
    for name in names:
        assert_same_place(lits / name, out / name)
    first, second = (load(out / name) for name in names[1::2])
    assert (first == 2).sum() == (mask() == 1).sum()
    assert first.shape != mask().shape
    assert random or second.shape == mask().shape
    assert "no mask: volume-3." in said[0]
    assert "do not hold label 2: volume-2." in said[1]
    assert before == {path: path.read_bytes() for path in lits.iterdir()}
    assert cropped_around(out, "2") is not random


def test_decathlon_with_its_dialects_stays_decathlon(lits: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "nnunet", tmp_path / "out"
    for kind, place in (("volume", "imagesTr/a_0000"), ("segmentation", "labelsTr/a")):
        (folder / place).parent.mkdir(parents=True)
        (lits / f"{kind}-1.nii.gz").rename(folder / f"{place}.nii.gz")
    listing = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "lesion": 2}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(listing), "utf-16")
    written = crop_scans(folder, out, "2")
    assert find_cases(out) == [Case("a_0000", *written, "CT")]
    assert written == [out / "imagesTr" / "a_0000.nii.gz", out / "labelsTr" / "a.nii.gz"]
    assert json.loads((out / "dataset.json").read_text("utf-8"))["labels"] == listing["labels"]


def test_nothing_is_written_where_something_is_or_nothing_could_be(lits: Path, tmp_path: Path) -> None:
    (tmp_path / "listed").mkdir()
    (tmp_path / "listed" / "dataset.json").write_text("{}")
    told(lambda: crop_scans(lits, lits, "2"), "other files")
    told(lambda: crop_scans(lits, tmp_path / "listed" / "new", "2"), "outside")
    told(lambda: crop_scans(lits, tmp_path / "out", "7"), "Label 7 does not occur in ")
    no_mask = store(tmp_path / "no_mask" / "volume-1.nii.gz", scan()).parent
    told(lambda: crop_scans(no_mask, tmp_path / "out", "1"), "holds no mask")
    store(lits / "segmentation-1.nii.gz", mask()[1:])
    store(lits / "segmentation-2.nii.gz", mask(), AFFINE)
    told(lambda: crop_scans(lits, tmp_path / "out", "1"), "2 cannot be used: ", "segmentation-1", "segmentation-2")
    assert not (tmp_path / "out").exists()


SHAPE = (14, 18, 22)  # (z, y, x)


def objects(*voxels: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[tuple(np.transpose(voxels))] = 1
    return mask


@pytest.mark.parametrize(
    ("margin", "first", "size"),
    [(0, (4, 5, 6), (3, 2, 5)), (2, (3, 3, 2), (5, 6, 13)), (5.1, (1, 0, 0), (9, 13, 22)), (99, (0, 0, 0), SHAPE)],
)
def test_a_box_around_the_object_with_a_margin_in_mm(margin: float, first: Sequence[int], size: Sequence[int]) -> None:
    box = box_around(objects((4, 5, 10), (6, 6, 6)), (2.0, 1.0, 0.5), margin)
    np.testing.assert_array_equal(box, (first, size))


@pytest.mark.parametrize("voxels", [[(7, 9, 11)], [(0, 5, 21), (13, 17, 3)], [(13, 17, 21), (0, 0, 0), (6, 6, 6)]])
def test_random_boxes_never_cut_the_object_and_crop_and_pad_the_rest(voxels: list[tuple[int, int, int]]) -> None:
    boxes = [random_box(objects(*voxels), f"case-{i}") for i in range(40)]
    for first, size in boxes:
        assert all((first <= voxel).all() and (voxel < first + size).all() for voxel in np.array(voxels))
    assert str(boxes[0]) == str(random_box(objects(*voxels), "case-0"))  # the name decides
    sizes = np.array([size for _, size in boxes])
    assert (sizes.max(axis=0) > SHAPE).all()
    if len(voxels) == 1:
        assert (sizes.min(axis=0) < SHAPE).all()
        places = [(np.array(voxels[0]) + 0.5 - first) / size for first, size in boxes]
        assert (np.std(places, axis=0) > 0.1).all()


def box_at(before: Sequence[int], after: Sequence[int], label: int = 1) -> np.ndarray:
    """A mask whose object has so many voxels of background on either side, (z, y, x)."""
    return np.pad(np.full((3, 4, 5), label, np.uint8), list(zip(before, after, strict=True)))


CENTRED = box_at((2, 6, 5), (5, 6, 6))  # in the middle along y, and along x to a voxel; not along z


@pytest.mark.parametrize(("other", "expected"), [
    (box_at((4, 4, 1), (4, 5, 9)), True),
    (0 * CENTRED, True),  # a case without the object says nothing
    (box_at((2, 6, 5), (5, 6, 8)), False),  # the middle along one axis only
    (CENTRED + box_at((0, 0, 0), (7, 12, 11)), False),  # it is the whole object's box that counts
    (CENTRED + box_at((0, 0, 0), (7, 12, 11), label=2), True),  # what is no part of it does not
])  # fmt: skip
def test_scans_cropped_around_the_object_are_known_by_its_place(
    tmp_path: Path, other: np.ndarray, expected: bool
) -> None:
    for number, one in enumerate((CENTRED, other)):
        store(tmp_path / f"segmentation-{number}.nii.gz", one)
        (tmp_path / f"volume-{number}.nii.gz").touch()  # is not looked at
    assert cropped_around(tmp_path, "1") is expected
    assert not cropped_around(tmp_path, "3")
