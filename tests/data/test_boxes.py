"""Random boxes: another frame around the same patient, in the same place of the scanner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lrnet_edu.data.boxes import cropped_around, random_box
from lrnet_edu.data.nifti import Volume

SHAPE = (14, 18, 22)  # (z, y, x)
TURN = 0.3
AFFINE = np.array(
    [  # oblique, flipped along x, anisotropic
        [-0.9 * np.cos(TURN), 0.9 * np.sin(TURN), 0, 31],
        [-0.9 * np.sin(TURN), -0.9 * np.cos(TURN), 0, -12],
        [0, 0, 2.5, -400],
        [0, 0, 0, 1],
    ]
)
NAMES = [f"case-{i}" for i in range(40)]


def volumes(*voxels: tuple[int, int, int]) -> tuple[Volume, Volume]:
    """An image in which every voxel has its own value, and a mask with labels 1, 2, ... at the voxels."""
    mask = np.zeros(SHAPE, np.uint8)
    for label, voxel in enumerate(voxels, start=1):
        mask[voxel] = label
    image = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    return Volume(image, AFFINE), Volume(mask, AFFINE)


@pytest.mark.parametrize(
    "voxels", [[(7, 9, 11)], [(0, 0, 0)], [(0, 5, 21), (13, 17, 3)], [(13, 17, 21), (0, 0, 0), (6, 6, 6)]]
)
def test_no_object_is_ever_cut(voxels: list[tuple[int, int, int]]) -> None:
    image, mask = volumes(*voxels)
    for name in NAMES:
        boxed, cut = random_box(image, mask, name)
        assert boxed.data.shape == cut.data.shape
        for label, voxel in enumerate(voxels, start=1):
            assert np.array_equal(boxed.data[cut.data == label], [image.data[voxel]])


def test_every_voxel_keeps_its_place_in_millimetres() -> None:
    """nibabel's own arithmetic takes each voxel of the box to mm and back into the file."""
    image, mask = volumes((7, 9, 11))
    for name in NAMES[:10]:
        boxed, cut = random_box(image, mask, name)
        assert np.array_equal(boxed.affine, cut.affine)
        xyz = np.indices(boxed.data.shape).reshape(3, -1)[::-1].T  # (n, 3)
        mm = nib.affines.apply_affine(boxed.affine, xyz)
        there = nib.affines.apply_affine(np.linalg.inv(AFFINE), mm)
        rounded = np.rint(there).astype(int)
        assert np.abs(there - rounded).max() < 1e-6
        nearest = rounded[:, ::-1].clip(0, np.array(SHAPE) - 1)  # padding repeats the border
        assert np.array_equal(boxed.data.ravel(), image.data[tuple(nearest.T)])
        inside = (rounded[:, ::-1] == nearest).all(axis=1)
        assert np.array_equal(cut.data.ravel()[inside], mask.data[tuple(nearest[inside].T)])
        assert not cut.data.ravel()[~inside].any()


def test_the_name_decides_the_box() -> None:
    image, mask = volumes((7, 9, 11))
    corners = set()
    for name in NAMES:
        one, _ = random_box(image, mask, name)
        again, _ = random_box(image, mask, name)
        assert np.array_equal(one.affine, again.affine)
        assert np.array_equal(one.data, again.data)
        corners.add(tuple(one.affine[:3, 3]))
    assert len(corners) > 30


def test_sides_are_both_cropped_and_padded_so_that_the_place_says_little() -> None:
    image, mask = volumes((7, 9, 11))
    places, sizes = [], []
    for name in NAMES:
        _, cut = random_box(image, mask, name)
        places.append((np.argwhere(cut.data)[0] + 0.5) / cut.data.shape)
        sizes.append(cut.data.shape)
    assert (np.std(places, axis=0) > 0.1).all()
    assert (np.min(sizes, axis=0) < SHAPE).all()
    assert (np.max(sizes, axis=0) > SHAPE).all()


def test_a_mask_without_object_and_what_was_given_stay_whole() -> None:
    image, mask = volumes()
    copies = image.data.copy(), image.affine.copy()
    for name in NAMES:
        boxed, cut = random_box(image, mask, name)
        assert boxed.data.size > 0
        assert boxed.data.shape == cut.data.shape
        assert not cut.data.any()
    assert np.array_equal(image.data, copies[0])
    assert np.array_equal(image.affine, copies[1])


def data_set(folder: Path, masks: Sequence[np.ndarray]) -> Path:
    """A LiTS folder; the images are not looked at."""
    for number, mask in enumerate(masks):
        nib.save(nib.Nifti1Image(mask.T, AFFINE), folder / f"segmentation-{number}.nii.gz")
        (folder / f"volume-{number}.nii.gz").touch()
    return folder


def box_at(before: Sequence[int], after: Sequence[int], label: int = 1) -> np.ndarray:
    """A mask whose object has so many voxels of background on either side, (z, y, x)."""
    return np.pad(np.full((3, 4, 5), label, np.uint8), list(zip(before, after, strict=True)))


CENTRED = box_at((2, 6, 5), (5, 6, 6))  # in the middle along y, and along x to a voxel; not along z


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ([CENTRED, box_at((4, 4, 1), (4, 5, 9))], True),
        ([CENTRED, 0 * CENTRED], True),  # a case without the object says nothing
        ([CENTRED, box_at((2, 6, 5), (5, 6, 8))], False),  # the middle along one axis only
        ([CENTRED, CENTRED + box_at((0, 0, 0), (7, 12, 11))], False),  # it is the whole object's box that counts
        ([CENTRED, CENTRED + box_at((0, 0, 0), (7, 12, 11), label=2)], True),  # what is no part of it does not
        ([0 * CENTRED], False),
    ],
)
def test_scans_cropped_around_the_object_are_known_by_its_place(
    tmp_path: Path, masks: list[np.ndarray], expected: bool
) -> None:
    assert cropped_around(data_set(tmp_path, masks), "1") is expected


def test_random_boxes_are_themselves_not_centred(tmp_path: Path) -> None:
    masks = [random_box(Volume(CENTRED, AFFINE), Volume(CENTRED, AFFINE), name)[1].data for name in NAMES[:3]]
    assert not cropped_around(data_set(tmp_path, masks), "1")
