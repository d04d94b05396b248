"""Lesions and the free-response ROC, against loops over scipy's components and MONAI."""

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from lrnet_edu.study.froc import BINS_ML, RATES, THRESHOLDS, CaseLesions, at_most, curve_of, froc, lesions_by_threshold
from lrnet_edu.support.errors import InputError

EVERYWHERE = np.ones((3, 3, 3), int)


def blobs(seed: int, shape: tuple[int, int, int] = (14, 18, 20)) -> tuple[np.ndarray, np.ndarray]:
    """Random smooth scores (D, H, W) in [0, 1], and a reference that agrees with them in part."""
    rng = np.random.default_rng(seed)
    field, other = (ndimage.gaussian_filter(rng.standard_normal(shape), 1.5) for _ in range(2))
    scores = 1 / (1 + np.exp(-12 * (field / field.std() - 1)))
    return scores, (0.7 * field / field.std() + 0.7 * other / other.std() > 1.3).astype(np.uint8)


@pytest.mark.parametrize("seed", range(3))
def test_every_threshold_against_loops(seed: int) -> None:
    scores, reference = blobs(seed)
    found = lesions_by_threshold(scores, reference, (3.0, 1.0, 2.0), THRESHOLDS)
    wanted, n = ndimage.label(reference, EVERYWHERE)
    assert n > 3
    assert found.false_lesions.max() > 0
    assert found.ml == pytest.approx([(wanted == i).sum() * 0.006 for i in range(1, n + 1)])
    for t, threshold in enumerate(THRESHOLDS):
        predicted, m = ndimage.label(scores > threshold, EVERYWHERE)
        for i in range(1, n + 1):
            lesion = wanted == i
            touching = np.isin(predicted, [j for j in range(1, m + 1) if (lesion & (predicted == j)).any()])
            expected = 2 * (lesion & touching).sum() / (lesion.sum() + touching.sum())
            assert found.dice[t, i - 1] == pytest.approx(expected)
        assert found.false_lesions[t] == sum(not reference[predicted == j].any() for j in range(1, m + 1))


def test_thousands_of_lesions_take_the_memory_of_their_voxels() -> None:
    """A table of all lesions against all would take 500 MB."""
    mask = np.zeros((40, 80, 80), np.uint8)
    mask[::2, ::4, ::4] = 1
    tracemalloc.start()
    found = lesions_by_threshold(mask, mask, (1, 1, 1), [0.5])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.dice.tolist() == [[1] * 8000]
    assert peak < 40 * mask.size


def test_sensitivity_is_that_of_monai() -> None:
    """Where every component has one score, each is a detection with a probability, as MONAI takes them."""
    froc_of_monai = pytest.importorskip("monai.metrics.froc")
    rng = np.random.default_rng(0)
    cases, false, true, images = [], [], [], 40
    for _ in range(images):
        scores, reference = np.zeros((2, 6, 24, 24))
        for y in range(1, 24, 4):
            for x in range(1, 24, 4):
                kind, p = rng.choice(["empty", "lesion", "false"], p=[0.8, 0.1, 0.1]), rng.uniform()
                if kind == "lesion":
                    p = rng.choice([p**0.5, 0.0], p=[0.8, 0.2])  # some are missed altogether
                    reference[2:4, y : y + 2, x : x + 2] = 1
                    true.append(p)
                elif kind == "false":
                    false.append(p)
                if kind != "empty":
                    scores[2:4, y : y + 2, x : x + 2] = p
        cases.append((scores, reference, (1, 1, 1)))
    detections = np.unique([*false, *true])
    curve = froc(cases, thresholds=(detections[1:] + detections[:-1]) / 2)  # MONAI's are >= the upper one of the two
    rate, sensitivity = froc_of_monai.compute_froc_curve_data(np.array(false), np.array(true), len(true), images)
    assert curve.false_lesions == pytest.approx(rate[-2::-1])
    assert curve.sensitivity == pytest.approx(sensitivity[-2::-1])
    expected = froc_of_monai.compute_froc_score(rate, sensitivity, RATES)
    assert curve.sensitivity_at().mean() == pytest.approx(expected)


def test_the_value_at_a_rate_is_the_best_of_a_dense_walk_along_the_curve() -> None:
    rng = np.random.default_rng(1)
    false = np.sort(rng.uniform(0, 6, (5, 12)), axis=1) + rng.uniform(-0.3, 0.3, (5, 12)).clip(0)
    values = rng.uniform(0, 1, (5, 12))
    found = at_most([0.5, 2.0, 9.0], false, values)  # (5, 3)
    for curve in range(5):
        x, y = (np.concatenate(([0], points[curve])) for points in (false, values))
        steps = np.linspace(0, 12, 120_001)
        walked_x, walked_y = (np.interp(steps, np.arange(13), points) for points in (x, y))
        for rate, value in zip([0.5, 2.0, 9.0], found[curve], strict=True):
            assert value == pytest.approx(walked_y[walked_x <= rate].max(), abs=1e-3)


def test_cases_without_lesions_count_with_what_is_false_in_them() -> None:
    scores, reference = blobs(4)
    alone, both = (froc([(scores, reference, (1, 1, 1)), *more])
                   for more in ([], [(scores, 0 * reference, (1, 1, 1))]))  # fmt: skip
    assert both.sensitivity == pytest.approx(alone.sensitivity)
    assert (both.cases, both.lesions) == (2, alone.lesions)
    count = [ndimage.label(scores > t, EVERYWHERE)[1] for t in both.thresholds]
    assert both.false_lesions == pytest.approx((alone.false_lesions + count) / 2)
    healthy = froc([(scores, 0 * reference, (1, 1, 1))])
    assert np.isnan(healthy.sensitivity).all()
    assert healthy.lesions == 0


def test_every_size_has_one_bin_and_records_bring_the_lesions_back() -> None:
    ml = [0.1, *(low for low, _ in [*BINS_ML.values()][1:]), 100.0]  # an edge belongs to the bin above it
    dice = np.tile([0.0, 0.25, 0.5, 1e-5, 1.0], (len(THRESHOLDS), 1))  # the fourth is found, if hardly
    healthy = CaseLesions(np.zeros(0), np.zeros((len(THRESHOLDS), 0)), np.zeros(len(THRESHOLDS), int))
    cases = [CaseLesions(np.array(ml), dice, np.arange(len(THRESHOLDS))), healthy]
    cases = [CaseLesions.of(case.record()) for case in cases]
    curves = {words: curve_of(cases, size=size) for words, size in BINS_ML.items()}
    assert [curve.lesions for curve in curves.values()] == [1, 1, 1, 2]
    assert [curve.dice[0] for curve in curves.values()] == pytest.approx([0, 0.25, 0.5, 0.5], abs=1e-4)
    assert [curve.sensitivity[0] for curve in curves.values()] == [0, 1, 1, 1]


def test_single_precision_reaches_the_highest_threshold() -> None:
    lesion = np.zeros((5, 5, 5), np.float32)
    lesion[1:3, 1:3, 1:3] = 1
    assert (lesions_by_threshold(lesion, lesion, (1, 1, 1), THRESHOLDS).dice == 1).all()


def test_what_has_no_curve_is_told() -> None:
    zeros = np.zeros((4, 4, 4))
    for cases, words in (
        ([], "at least one"),
        ((zeros, zeros, (1, 1, 1)), "a list of cases"),
        ([(zeros, zeros - 1, (1, 1, 1))], "negative"),
        ([(zeros, np.zeros((4, 4, 5)), (1, 1, 1))], "of one shape"),
        ([(zeros * np.nan, zeros, (1, 1, 1))], "NaN"),
        ([(zeros, zeros, None)], "spacing None"),
    ):
        with pytest.raises(InputError, match=words):
            froc(cases)
    with pytest.raises(InputError, match="as numbers"):
        froc([(zeros, zeros, (1, 1, 1))], thresholds=[0.5, np.nan])
