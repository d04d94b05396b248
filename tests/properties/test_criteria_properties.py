"""Section 3's criteria and the board's scores: what must hold for every prediction and reference."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from generated import masks, paddings, pairs, spacings, symmetries
from hypothesis import given
from hypothesis import strategies as st

from lrnet_edu.metrics import case_scores, score_table
from lrnet_edu.study.challenge import challenge_scores

Pair = tuple[np.ndarray, np.ndarray]
Spacing = tuple[float, float, float]

LENGTHS = ("assd", "msd", "rmsd")


def assert_same(found: Any, expected: Any) -> None:
    """Dataclasses or dictionaries of them, with the last digits of floats and NaN left out of account."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert_same(found[name], value)
    else:
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True)


def scores_of(prediction: np.ndarray, reference: np.ndarray, spacing: Spacing) -> dict[str, Any]:
    return asdict(case_scores(prediction, reference, spacing))


@given(pair=pairs(), spacing=spacings, move=symmetries())
def test_flips_and_rotations_change_nothing(pair: Pair, spacing: Spacing, move: Any) -> None:
    assert_same(scores_of(*map(move, pair), move(spacing)), scores_of(*pair, spacing))


@given(pair=pairs(), spacing=spacings, more=paddings())
def test_background_around_the_case_changes_nothing(pair: Pair, spacing: Spacing, more: list[tuple[int, int]]) -> None:
    """Also for objects at the border: beyond it lies background, and it has a surface there."""
    assert_same(scores_of(*(np.pad(mask, more) for mask in pair), spacing), scores_of(*pair, spacing))


@given(pair=pairs(), spacing=spacings, factor=st.floats(0.1, 10))
def test_lengths_scale_with_the_spacing(pair: Pair, spacing: Spacing, factor: float) -> None:
    expected = scores_of(*pair, spacing)
    for name in LENGTHS:
        expected[name] *= factor
    assert_same(scores_of(*pair, tuple(factor * step for step in spacing)), expected)


@given(pair=pairs(), spacing=spacings)
def test_all_but_rvd_are_symmetric(pair: Pair, spacing: Spacing) -> None:
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


@given(pair=pairs(), spacing=spacings, more=paddings(), data=st.data())
def test_the_board_is_indifferent_to_background_and_order(
    pair: Pair, spacing: Spacing, more: list[tuple[int, int]], data: st.DataObject
) -> None:
    """(Not to flips: where lesions tie, the board takes the first.) Label 1 is the liver, 2 its tumours."""
    livers = [data.draw(masks(pair[0].shape)) for _ in pair]
    prediction, reference = (np.where(tumour, 2, liver) for tumour, liver in zip(pair, livers, strict=True))
    cases = [(prediction, reference, spacing), (reference, reference, spacing)]
    expected = asdict(challenge_scores(cases))
    padded = [(np.pad(one, more), np.pad(other, more), spacing) for one, other, _ in cases]
    assert_same(asdict(challenge_scores(padded[::-1])), expected)
