"""Components against scipy's, on every small mask there is; boxes against NumPy's padding."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from lrnet_edu.support.voxels import connected_components, cut, occupied_box

SMALL = [(1, 1, 8), (8, 1, 1), (1, 8, 1), (1, 3, 3), (3, 1, 3), (3, 3, 1), (2, 2, 2), (1, 2, 4), (2, 4), (3, 3), (1, 9)]
LARGE = [(1, 31, 33), (5, 5, 5), (21, 21, 21), (1, 1, 999), (4, 32, 33), (31, 33)]


def assert_as_scipy(mask: np.ndarray) -> None:
    for connectivity, steps in {2: {4: 1, 8: 2}, 3: {6: 1, 18: 2, 26: 3}}[mask.ndim].items():
        labels, count = connected_components(mask, connectivity)
        expected, wanted = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, steps))
        assert count == wanted
        np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("shape", SMALL, ids=str)
def test_every_mask_of_a_small_shape(shape: tuple[int, ...]) -> None:
    voxels = math.prod(shape)
    for bits in range(2**voxels):
        assert_as_scipy((np.uint32(bits) >> np.arange(voxels, dtype=np.uint32) & 1).astype(bool).reshape(shape))


@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_as_many_components_as_fit(shape: tuple[int, ...]) -> None:
    """Every second voxel along every axis; of odd sizes these are the most isolated voxels, at which cc3d may stop."""
    mask = np.zeros(shape, bool)
    mask[(slice(None, None, 2),) * len(shape)] = True
    assert_as_scipy(mask)
    assert_as_scipy(np.asfortranarray(mask))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
@pytest.mark.parametrize("shape", [(7, 8, 9), (6, 5)])
def test_the_box_is_the_smallest_that_holds_all(dtype: type, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    for density in (0.0, 0.01, 0.02, 0.1):
        one, other = (rng.random((2, *shape)) < density).astype(dtype)
        found = ndimage.find_objects(((one != 0) | (other != 0)).astype(int))
        assert list(occupied_box(one, other)) == list(found[0] if found else (slice(0, 1),) * len(shape))


@pytest.mark.parametrize("mode", ["edge", "constant"])
def test_cut_equals_a_slice_of_the_padded_volume(mode: Any) -> None:
    volume = np.random.default_rng(0).random((6, 7, 8))
    for corner in ((0, 0, 0), (-3, 2, 1), (4, -1, 5), (-2, -2, -2)):
        expected = np.pad(volume, 10, mode=mode)[tuple(slice(c + 10, c + 10 + 5) for c in corner)]
        assert np.array_equal(cut(volume, np.array(corner), (5, 5, 5), mode=mode), expected)
