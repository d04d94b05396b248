"""Random boxes: another frame around the same patient, in the same place of the scanner."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from lrnet_edu.data.boxes import random_box
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
