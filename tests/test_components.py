"""Components against scipy's, on every small mask there is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from lrnet_edu.distance_maps import distance_map
from lrnet_edu.study.lesions import lesion_scores
from lrnet_edu.support.voxels import connected_components

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
    """Every second voxel along every axis; of odd sizes these are the most isolated voxels that can be."""
    mask = np.zeros(shape, bool)
    mask[(slice(None, None, 2),) * len(shape)] = True
    assert_as_scipy(mask)
    assert_as_scipy(np.asfortranarray(mask))


def test_isolated_voxels_of_a_thin_volume_have_maps_and_scores() -> None:
    """cc3d stops here by itself."""
    row = np.array([[[1, 0, 1]]])
    np.testing.assert_array_equal(distance_map(row), row)
    assert len(lesion_scores(row, row, (1, 1, 1))["lesions"]) == 2
