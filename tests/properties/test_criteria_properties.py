"""Section 3's criteria, the board's scores and the lesions': what must hold for every prediction and reference."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from generated import masks, paddings, pairs, spacings, symmetries
from hypothesis import given
from hypothesis import strategies as st

from lrnet_edu import metrics
from lrnet_edu.metrics import case_scores, score_table
from lrnet_edu.study.challenge import challenge_scores
from lrnet_edu.study.lesions import lesion_scores

Pair = tuple[np.ndarray, np.ndarray]
Spacing = tuple[float, float, float]

LENGTHS = ("assd", "msd", "rmsd")


def assert_same(found: Any, expected: Any) -> None:
    """Dataclasses, dictionaries or lists of them, with the last digits of floats and NaN left out of account."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert_same(found[name], value)
    elif isinstance(expected, list):
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True)


def all_scores(prediction: np.ndarray, reference: np.ndarray, spacing: Spacing) -> dict[str, Any]:
    """The criteria of a case, and its lesions in an order of their own."""
    found = lesion_scores(prediction, reference, spacing)
    lesions = sorted((round(one["ml"], 9), round(one["dice"], 9)) for one in found["lesions"])
    return {
        **asdict(case_scores(prediction, reference, spacing)),
        "lesions": [list(one) for one in lesions],
        "false_lesions": sorted(found["false_lesions"]),
    }


def liver_of(tumour: np.ndarray, liver: np.ndarray) -> np.ndarray:
    """Label numbers as LiTS has them: 1 the liver, 2 its tumours."""
    return np.where(tumour, 2, liver).astype(np.uint8)


@given(pair=pairs(), spacing=spacings, move=symmetries())
def test_flips_and_rotations_change_nothing(pair: Pair, spacing: Spacing, move: Any) -> None:
    assert_same(all_scores(*map(move, pair), move(spacing)), all_scores(*pair, spacing))


@given(pair=pairs(), spacing=spacings, more=paddings())
def test_background_around_the_case_changes_nothing(pair: Pair, spacing: Spacing, more: list[tuple[int, int]]) -> None:
    """Also for objects at the border: beyond it lies background, and it has a surface there."""
    assert_same(all_scores(*(np.pad(mask, more) for mask in pair), spacing), all_scores(*pair, spacing))


@given(pair=pairs(), spacing=spacings, factor=st.floats(0.1, 10))
def test_lengths_and_volumes_scale_with_the_spacing(pair: Pair, spacing: Spacing, factor: float) -> None:
    expected = all_scores(*pair, spacing)
    for name in LENGTHS:
        expected[name] *= factor
    found = all_scores(*pair, tuple(factor * step for step in spacing))
    for one in (found, expected):
        one["lesions"] = [dice for _, dice in one["lesions"]]
    expected["false_lesions"] = [ml * factor**3 for ml in expected["false_lesions"]]
    found["lesions"].sort(), expected["lesions"].sort()
    assert_same(found, expected)


@given(pair=pairs(), spacing=spacings)
def test_all_but_rvd_and_the_lesions_are_symmetric(pair: Pair, spacing: Spacing) -> None:
    ahead, back = case_scores(*pair, spacing), case_scores(*pair[::-1], spacing)
    for name in ("dice", "voe", "intersection", *LENGTHS):
        assert getattr(ahead, name) == pytest.approx(getattr(back, name), rel=1e-9, nan_ok=True)
    if all(mask.any() for mask in pair):
        assert (1 + ahead.rvd) * (1 + back.rvd) == pytest.approx(1)


@given(reference=masks(), spacing=spacings)
def test_the_reference_itself_scores_perfectly(reference: np.ndarray, spacing: Spacing) -> None:
    scores = case_scores(reference, reference, spacing)
    assert (scores.dice, scores.voe, scores.rvd) == (1, 0, 0)
    for name in LENGTHS:
        assert getattr(scores, name) == 0 if reference.any() else math.isnan(getattr(scores, name))
    table = score_table([scores])
    assert (table.mean["DC"], table.mean["DG"]) == (1, 1)
    lesions = lesion_scores(reference, reference, spacing)
    assert all(lesion["dice"] == 1 for lesion in lesions["lesions"])
    assert lesions["false_lesions"] == []


@given(pair=pairs(), spacing=spacings)
def test_ranges_and_relations(pair: Pair, spacing: Spacing) -> None:
    scores = case_scores(*pair, spacing)
    assert 0 <= scores.dice <= 1
    assert scores.voe == pytest.approx(1 - scores.dice / (2 - scores.dice))
    assert math.isnan(scores.rvd) or scores.rvd >= -1
    if not math.isnan(scores.msd):
        assert 0 <= scores.assd <= scores.rmsd * (1 + 1e-6)
        assert scores.rmsd <= scores.msd * (1 + 1e-6)
        diagonal = math.hypot(*(size * step for size, step in zip(pair[0].shape, spacing, strict=True)))
        assert scores.msd <= diagonal
    for lesion in lesion_scores(*pair, spacing)["lesions"]:
        assert 0 <= lesion["dice"] <= 1


@given(pair=pairs(), spacing=spacings, more=paddings(), data=st.data())
def test_the_board_is_indifferent_to_background_and_order(
    pair: Pair, spacing: Spacing, more: list[tuple[int, int]], data: st.DataObject
) -> None:
    """(Not to flips: where lesions tie, the board takes the first.)"""
    livers = [data.draw(masks(pair[0].shape)) for _ in pair]
    prediction, reference = (liver_of(*volumes) for volumes in zip(pair, livers, strict=True))
    cases = [(prediction, reference, spacing), (reference, reference, spacing)]
    expected = asdict(challenge_scores(cases))
    padded = [(np.pad(one, more), np.pad(other, more), spacing) for one, other, _ in cases]
    assert_same(asdict(challenge_scores(padded[::-1])), expected)


@given(pair=pairs(), spacing=spacings)
def test_search_tree_and_distance_transform_agree(pair: Pair, spacing: Spacing) -> None:
    """The small volumes of these tests take the transform by themselves."""
    expected = asdict(case_scores(*pair, spacing))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "CROWDED", math.inf)
        patch.setattr(metrics, "SEARCH_COST", -math.inf)
        assert_same(asdict(case_scores(*pair, spacing)), expected)
