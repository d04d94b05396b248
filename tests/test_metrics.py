"""The criteria of balls whose values are known in closed form, and by hand.

Against brute force, for any small masks: tests/properties/test_criteria_properties.py.
"""

import math
from typing import Any

import numpy as np
import pytest
import torch

from lrnet_edu import metrics
from lrnet_edu.metrics import CRITERIA, Criterion, case_scores, columns, score_table
from lrnet_edu.support.errors import InputError

SPACING = (2.5, 0.7, 1.1)
NAMES = ["DC", "DG", "VOE", "RVD", "abs_RVD", "ASSD", "MSD", "RMSD"]


# --- one case


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (1.0, 0.4, 0.4)])
def test_two_equal_balls_shifted(spacing: tuple[float, float, float]) -> None:
    radius, shift, voxel = 12.0, 5.0, max(spacing)
    z, y, x = np.meshgrid(*(np.arange(round(44 / step)) * step for step in spacing), indexing="ij")  # mm
    balls = [(z - 22) ** 2 + (y - centre) ** 2 + (x - 22) ** 2 <= radius**2 for centre in (20, 20 + shift)]
    scores = case_scores(*balls, spacing)
    common = math.pi * (4 * radius + shift) * (2 * radius - shift) ** 2 / 12  # two caps
    volume = 4 / 3 * math.pi * radius**3
    assert scores.dice == pytest.approx(common / volume, abs=0.01)
    assert scores.voe == pytest.approx(1 - common / (2 * volume - common), abs=0.01)
    assert scores.rvd == pytest.approx(0, abs=0.01)
    # A point of one sphere at angle t lies sqrt(r^2 + s^2 - 2 r s cos t) from the other's centre, with cos t
    # spread evenly over [-1, 1].
    # The voxels' surface is a layer, not a skin: distances between two layers come out a little short.
    cosine = np.linspace(-1, 1, 20001)
    gap = np.abs(np.sqrt(radius**2 + shift**2 - 2 * radius * shift * cosine) - radius)
    assert scores.assd == pytest.approx(gap.mean(), abs=voxel / 2)
    assert scores.rmsd == pytest.approx(np.sqrt((gap**2).mean()), abs=voxel / 2)
    assert scores.msd == pytest.approx(shift, abs=voxel)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_any_label_but_0_is_the_object(kind: type) -> None:
    p, r = np.random.default_rng(0).random((2, 7, 9, 8)) < 0.3
    want = case_scores(p, r, SPACING)
    labels = np.asfortranarray((p * (1 + np.arange(p.shape[2]) % 3)).astype(kind))
    assert case_scores(labels, r.astype(kind), SPACING) == want
    tensors = torch.from_numpy(labels), torch.from_numpy(r).bfloat16().requires_grad_()
    assert case_scores(*tensors, torch.tensor(SPACING, dtype=torch.double)) == want  # type: ignore[arg-type]


# --- a set of cases


def bar(start: int, stop: int) -> np.ndarray:
    mask = np.zeros((1, 1, 100), bool)
    mask[0, 0, start:stop] = True
    return mask


def scored(prediction: np.ndarray, reference: np.ndarray) -> metrics.CaseScores:
    return case_scores(prediction, reference, (1, 1, 1))


GOOD = scored(bar(0, 90), bar(0, 90))  # Dice 1 of 180 voxels, RVD 0, distances 0
POOR = scored(bar(0, 12), bar(6, 14))  # common 6, sizes 12 and 8: Dice 0.6, VOE 1 - 6/14, RVD 0.5
SHORT = scored(bar(0, 1), bar(0, 2))  # Dice 2/3, RVD -0.5, distances 0, 0, 1
MISSED = scored(bar(0, 0), bar(0, 10))
INVENTED = scored(bar(0, 10), bar(0, 0))
NOTHING = scored(bar(0, 0), bar(0, 0))


def test_empty_masks() -> None:
    assert (NOTHING.dice, NOTHING.voe, NOTHING.rvd) == (1, 0, 0)
    assert (MISSED.dice, MISSED.voe, MISSED.rvd) == (0, 1, -1)
    assert (INVENTED.dice, INVENTED.voe) == (0, 1)
    assert math.isnan(INVENTED.rvd)
    for scores in (NOTHING, MISSED, INVENTED):
        assert all(math.isnan(length) for length in (scores.assd, scores.msd, scores.rmsd))
    assert (MISSED.prediction_voxels, MISSED.reference_voxels, MISSED.intersection) == (0, 10, 0)


def test_table_of_a_hand_computed_set() -> None:
    table = score_table([GOOD, POOR, SHORT])
    assert table.cases == 3
    assert list(table.mean) == list(table.undefined) == NAMES
    assert table.mean["DC"] == pytest.approx((1 + 0.6 + 2 / 3) / 3)
    assert table.mean["DG"] == pytest.approx(2 * (90 + 6 + 1) / (180 + 20 + 3))  # the large case carries it
    assert table.mean["VOE"] == pytest.approx((0 + 8 / 14 + 1 / 2) / 3)
    assert table.mean["RVD"] == pytest.approx(0)  # 0, 0.5 and -0.5 cancel
    assert table.mean["abs_RVD"] == pytest.approx(1 / 3)
    # POOR: of 0..11 the voxels 0..5 are 6..1 away, of 6..13 the voxels 12 and 13 are 1 and 2 away: 24 / 20
    assert table.mean["ASSD"] == pytest.approx((0 + 24 / 20 + 1 / 3) / 3)
    assert table.mean["MSD"] == pytest.approx((0 + 6 + 1) / 3)
    assert table.mean["RMSD"] == pytest.approx((0 + math.sqrt((91 + 5) / 20) + math.sqrt(1 / 3)) / 3)
    assert set(table.undefined.values()) == {0}


def test_undefined_values_are_left_out_and_counted() -> None:
    table = score_table([POOR, MISSED, INVENTED, NOTHING])
    undefined = dict.fromkeys(NAMES, 0) | {"RVD": 1, "abs_RVD": 1, "ASSD": 3, "MSD": 3, "RMSD": 3}
    assert table.undefined == undefined
    assert table.mean["DC"] == pytest.approx((0.6 + 0 + 0 + 1) / 4)
    assert table.mean["DG"] == pytest.approx(12 / (20 + 10 + 10))
    assert table.mean["RVD"] == pytest.approx((0.5 - 1 + 0) / 3)
    assert table.mean["abs_RVD"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert table.mean["MSD"] == 6


def test_sets_without_a_defined_value() -> None:
    assert math.isnan(score_table([NOTHING, NOTHING]).mean["ASSD"])
    assert all(math.isnan(value) for value in score_table([]).mean.values())


@pytest.mark.parametrize("cases", [[POOR, 0.5], None])
def test_unusable_sets(cases: Any) -> None:
    with pytest.raises(InputError, match="what case_scores returned"):
        score_table(cases)


def test_a_criterion_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of surface distances: docs/extending.md."""
    monkeypatch.setitem(CRITERIA, "VS", Criterion("volume similarity", "", ".2f", "vs",
                                                  of_counts=lambda both, p, r: 1 - abs(p - r) / (p + r)))  # fmt: skip
    new = scored(bar(0, 12), bar(6, 14))
    assert new.row() == POOR.row() | {"vs": pytest.approx(0.8)}
    assert columns() == ["DC", "DG", "VOE", "RVD", "ASSD", "MSD", "RMSD", "VS"]
    table = score_table([new, POOR])  # the second was scored before
    assert (table.mean["VS"], table.undefined["VS"]) == (pytest.approx(0.8), 1)
    texts = CRITERIA["VS"].text(0.6), CRITERIA["RVD"].text(-0.00004), CRITERIA["DC"].text(None)
    assert texts == ("0.60", "+0.000", "–")


# --- input that cannot be scored


def with_value(value: float, dtype: type = float) -> np.ndarray:
    """All 0 but one voxel."""
    mask = np.zeros((2, 3, 4), dtype)
    mask[1, 2, 3] = value
    return mask


@pytest.mark.parametrize(("mask", "words"), [
    (np.zeros((3, 4), bool), "one volume"), (np.zeros((2, 3, 5), bool), "one grid"),
    *((with_value(value), "give whole numbers") for value in (math.nan, math.inf, 0.5, -1)),
    (with_value(-1, np.int16), "give whole numbers"), (np.ma.masked_equal(with_value(1), 1), "masked array"),
    ("a.nii.gz", "give a NumPy array"),
])  # fmt: skip
def test_unusable_masks(mask: Any, words: str) -> None:
    for pair in ((mask, with_value(1)), (with_value(1), mask)):
        with pytest.raises(InputError, match=words):
            case_scores(*pair, (1, 1, 1))


@pytest.mark.parametrize("spacing", [(1, 1), None, "abc", (1, 0, 1), (1, math.nan, 1)])
def test_unusable_spacing(spacing: Any) -> None:
    with pytest.raises(InputError, match="positive numbers"):
        case_scores(with_value(0), with_value(0), spacing)
