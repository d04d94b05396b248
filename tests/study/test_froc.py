"""The free-response ROC, against brute force and MONAI."""

import numpy as np
import pytest
from scipy import ndimage

from lrnet_edu.study.froc import RATES, THRESHOLDS, at_most, froc, lesions_by_threshold
from lrnet_edu.study.lesions import lesion_scores
from lrnet_edu.support.errors import InputError


def blobs(seed: int, shape: tuple[int, int, int] = (14, 18, 20)) -> tuple[np.ndarray, np.ndarray]:
    """Random smooth scores (D, H, W) in [0, 1], and a reference that agrees with them in part."""
    rng = np.random.default_rng(seed)
    field, other = (ndimage.gaussian_filter(rng.standard_normal(shape), 1.5) for _ in range(2))
    scores = 1 / (1 + np.exp(-12 * (field / field.std() - 1)))
    return scores, (0.7 * field / field.std() + 0.7 * other / other.std() > 1.3).astype(np.uint8)


@pytest.mark.parametrize("seed", range(3))
def test_each_threshold_scores_as_the_mask_above_it(seed: int) -> None:
    scores, reference = blobs(seed)
    found = lesions_by_threshold(scores, reference, (2.0, 1.0, 1.5), THRESHOLDS)
    assert found.dice.shape[1] > 3
    assert found.false_lesions.max() > 0
    for t, threshold in enumerate(THRESHOLDS):
        expected = lesion_scores(scores > threshold, reference, (2.0, 1.0, 1.5))
        assert found.dice[t] == pytest.approx([lesion["dice"] for lesion in expected["lesions"]])
        assert found.ml == pytest.approx([lesion["ml"] for lesion in expected["lesions"]])
        assert found.false_lesions[t] == len(expected["false_lesions"])


def test_a_threshold_scores_as_by_brute_force() -> None:
    scores, reference = blobs(3)
    found = lesions_by_threshold(scores, reference, (1, 1, 1), [0.5])
    full = np.ones((3, 3, 3))
    wanted, count = ndimage.label(reference, full)
    predicted, number = ndimage.label(scores > 0.5, full)
    for lesion in range(1, count + 1):
        touching = {p for p in predicted[wanted == lesion] if p}
        union = np.isin(predicted, list(touching))
        expected = 2 * np.sum(union & (wanted == lesion)) / (union.sum() + np.sum(wanted == lesion))
        assert found.dice[0, lesion - 1] == pytest.approx(expected)
    false = [p for p in range(1, number + 1) if not reference[predicted == p].any()]
    assert found.false_lesions[0] == len(false)


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
    count = [ndimage.label(scores > t, np.ones((3, 3, 3)))[1] for t in both.thresholds]
    assert both.false_lesions == pytest.approx((alone.false_lesions + count) / 2)
    healthy = froc([(scores, 0 * reference, (1, 1, 1))])
    assert np.isnan(healthy.sensitivity).all()
    assert healthy.lesions == 0


@pytest.mark.parametrize(
    ("cases", "words"),
    [
        ([], "at least one"),
        ([(np.zeros((4, 4, 4)), np.zeros((4, 4, 5)), (1, 1, 1))], "of one shape"),
        ([(np.full((4, 4, 4), np.nan), np.zeros((4, 4, 4)), (1, 1, 1))], "NaN"),
        ([(np.zeros((4, 4, 4)), np.zeros((4, 4, 4)), (1, 1))], "spacing"),
    ],
)
def test_what_has_no_curve_is_told(cases: list, words: str) -> None:
    with pytest.raises(InputError, match=words):
        froc(cases)
