"""Boxes: where they lie, and how scans that were cropped around the object are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scans import store

from lrnet_edu.data.boxes import box_around, cropped_around, random_box

SHAPE = (14, 18, 22)  # (z, y, x)
NAMES = [f"case-{i}" for i in range(40)]


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
    boxes = [random_box(objects(*voxels), name) for name in NAMES]
    for first, size in boxes:
        assert all((first <= voxel).all() and (voxel < first + size).all() for voxel in np.array(voxels))
    sizes = np.array([size for _, size in boxes])
    assert (sizes.max(axis=0) > SHAPE).all()
    if len(voxels) == 1:
        assert (sizes.min(axis=0) < SHAPE).all()
        places = [(np.array(voxels[0]) + 0.5 - first) / size for first, size in boxes]
        assert (np.std(places, axis=0) > 0.1).all()


def test_the_name_decides_the_box() -> None:
    mask = objects((7, 9, 11))
    assert len({str(random_box(mask, name)) for name in NAMES}) > 30
    np.testing.assert_array_equal(random_box(mask, "a"), random_box(mask.copy(), "a"))


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
    for number, mask in enumerate(masks):
        store(tmp_path / f"segmentation-{number}.nii.gz", mask)
        (tmp_path / f"volume-{number}.nii.gz").touch()  # is not looked at
    assert cropped_around(tmp_path, "1") is expected
