"""Scores of each lesion, held against loops over scipy's components."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from lrnet_edu.study.lesions import SIZES, by_size, lesion_scores

EVERYWHERE = np.ones((3, 3, 3), int)


def plain(prediction: np.ndarray, reference: np.ndarray, voxel_ml: float) -> dict[str, Any]:
    wanted, n = ndimage.label(reference, EVERYWHERE)
    found, m = ndimage.label(prediction, EVERYWHERE)
    lesions = []
    for i in range(1, n + 1):
        lesion = wanted == i
        touching = np.isin(found, [j for j in range(1, m + 1) if (lesion & (found == j)).any()])
        dice = 2 * (lesion & touching).sum() / (lesion.sum() + touching.sum())
        lesions.append({"ml": lesion.sum() * voxel_ml, "dice": dice})
    false = [(found == j).sum() * voxel_ml for j in range(1, m + 1) if not (reference & (found == j)).any()]
    return {"lesions": lesions, "false_lesions": false}


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.4])
def test_random_components_against_loops(share: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        reference = ndimage.binary_dilation(rng.random((9, 14, 13)) < share / 3)
        prediction = ndimage.binary_dilation(rng.random((9, 14, 13)) < share / 3)
        found, expected = lesion_scores(prediction, reference, (3.0, 2.0, 1.0)), plain(prediction, reference, 0.006)
        assert sorted(found["false_lesions"]) == pytest.approx(sorted(expected["false_lesions"]))
        pairs = [sorted((one["ml"], one["dice"]) for one in which["lesions"]) for which in (found, expected)]
        np.testing.assert_allclose(*pairs)


def test_thousands_of_lesions_take_the_memory_of_their_voxels() -> None:
    """A table of all lesions against all would take 500 MB."""
    mask = np.zeros((40, 80, 80), np.uint8)
    mask[::2, ::4, ::4] = 1
    tracemalloc.start()
    try:
        scores = lesion_scores(mask, mask, (1, 1, 1))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [lesion["dice"] for lesion in scores["lesions"]] == [1] * 8000
    assert scores["false_lesions"] == []
    assert peak < 40 * mask.size


def test_found_missed_merged_and_false() -> None:
    reference, prediction = np.zeros((2, 12, 30, 30), np.uint8)
    reference[1:3, 1:3, 1:3] = 1  # missed
    reference[5:8, 5:8, 5:8], reference[5:8, 5:8, 10:13] = 1, 1  # predicted as one
    prediction[5:8, 5:8, 5:13] = 1
    prediction[10, 25, 25] = 1  # false
    scores = lesion_scores(prediction, reference, (10, 10, 10))  # 1 ml a voxel
    assert [lesion["ml"] for lesion in scores["lesions"]] == [8, 27, 27]
    assert [lesion["dice"] for lesion in scores["lesions"]] == pytest.approx([0, 54 / 99, 54 / 99])
    assert scores["false_lesions"] == [1]
    assert by_size([scores]) == {
        "5 to 20 ml": {"lesions": 1, "found": 0, "dice": 0},
        "20 ml and more": {"lesions": 2, "found": 1, "dice": pytest.approx(54 / 99)},
    }


def test_every_size_has_one_bin() -> None:
    edges = [0.5, *SIZES, 100.0]
    cases = [{"lesions": [{"ml": edge, "dice": i / 4}]} for i, edge in enumerate(edges)]
    bins = by_size(cases)
    assert list(bins) == ["under 1 ml", "1 to 5 ml", "5 to 20 ml", "20 ml and more"]
    assert [one["lesions"] for one in bins.values()] == [1, 1, 1, 2]  # an edge belongs to the bin above it
    assert bins["20 ml and more"]["dice"] == pytest.approx((0.75 + 1) / 2)
    assert bins["under 1 ml"]["found"] == 0
    assert by_size([]) == {}
