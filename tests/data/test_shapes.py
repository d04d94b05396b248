"""Random shapes: always something to learn from, whatever the cube."""

import numpy as np
import pytest
from scipy import ndimage

from lrnet_edu.data.shapes import random_shapes


@pytest.mark.parametrize("size", [4, 8, 15, 24])
def test_neither_empty_nor_full_and_the_generator_decides_everything(size: int) -> None:
    masks = [random_shapes(np.random.default_rng([7, seed]), size) for seed in range(15)]
    assert all(mask.shape == (size, size, size) and mask.any() and not mask.all() for mask in masks)
    assert np.array_equal(masks[3], random_shapes(np.random.default_rng([7, 3]), size))
    assert sum(np.array_equal(masks[3], other) for other in masks) == 1


def test_small_and_large_lesions_alone_and_in_groups_whole_and_cut() -> None:
    radii, counts, cut, inner = [], set(), [], np.pad(np.ones((22, 22, 22), bool), 1)
    for seed in range(80):
        mask = random_shapes(np.random.default_rng(seed), 24)
        parts, number = ndimage.label(mask, np.ones((3, 3, 3)))
        counts.add(number)
        radii.append((np.bincount(parts.ravel())[1:].max() * 3 / 4 / np.pi) ** (1 / 3))
        cut.append(bool((mask & ~inner).any()))
    assert min(radii) < 3
    assert max(radii) > 9
    assert {1, 2, 3} <= counts
    assert 0.1 < np.mean(cut) < 0.9
