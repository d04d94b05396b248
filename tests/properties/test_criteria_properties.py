"""Section 3's criteria: what must hold for every prediction and reference."""

import itertools
import math

import numpy as np
import pytest
from generated import pairs, spacings
from hypothesis import given
from scipy.spatial.distance import cdist

from lrnet_edu.metrics import case_scores, surface, surface_distances

NEIGHBOURS_18 = [step for step in itertools.product((-1, 0, 1), repeat=3) if 1 <= np.abs(step).sum() <= 2]


def brute_surface(mask: np.ndarray) -> np.ndarray:
    """Voxel by voxel: on the surface if any of the 18 neighbours is background or outside the image."""
    around = np.pad(mask, 1)

    def is_inner(voxel: np.ndarray) -> bool:
        return all(around[tuple(voxel + 1 + step)] for step in NEIGHBOURS_18)

    return np.array([voxel for voxel in np.argwhere(mask) if not is_inner(voxel)]).reshape(-1, 3)


@given(pair=pairs(), spacing=spacings)
def test_every_score_is_what_its_definition_says(
    pair: tuple[np.ndarray, np.ndarray], spacing: tuple[float, float, float]
) -> None:
    """Distances over all pairs of surface voxels in one table; the smallest value of each row and of each column."""
    surfaces = [brute_surface(mask) for mask in pair]
    for mask, voxels in zip(pair, surfaces, strict=True):
        np.testing.assert_array_equal(np.argwhere(surface(mask)), voxels)
    p, r = (mask.sum() for mask in pair)
    both, scores = (pair[0] & pair[1]).sum(), case_scores(*pair, spacing)
    assert (scores.intersection, scores.prediction_voxels, scores.reference_voxels) == (both, p, r)
    if not p or not r:
        assert math.isnan(scores.assd + scores.msd + scores.rmsd)
        return
    assert (scores.dice, scores.voe) == pytest.approx((2 * both / (p + r), 1 - both / (p + r - both)))
    assert scores.rvd == pytest.approx(p / r - 1)
    table = cdist(*(voxels * spacing for voxels in surfaces))
    ways = [table.min(axis=1), table.min(axis=0)]
    for found, expected in zip(surface_distances(*pair, spacing), ways, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    pooled = np.concatenate(ways)
    expected = (pooled.mean(), (pooled**2).mean() ** 0.5, pooled.max())
    assert (scores.assd, scores.rmsd, scores.msd) == pytest.approx(expected, rel=1e-5)
