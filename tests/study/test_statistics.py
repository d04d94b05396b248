"""Paired comparisons: against enumeration, other libraries, and effects that are known because they were put there."""

import itertools

import numpy as np
import pytest
from scipy import stats

from lrnet_edu.study import statistics
from lrnet_edu.study.statistics import compare, holm, verdict, with_verdicts
from lrnet_edu.study.table import weighted_mean


def scores(gain: float, luck: float = 0.003) -> tuple[np.ndarray, np.ndarray]:
    """Dice of two methods of which the first gains ``gain``: 5 seeds and 30 cases, each with a part of its own."""
    rng = np.random.default_rng(1)
    base = rng.uniform(0.3, 0.9, 30) + rng.normal(0, 0.05, (5, 1))
    by_seed, by_case = rng.normal(0, luck, (5, 1)), rng.normal(0, 0.03, 30)
    return base + gain + by_seed + by_case - by_case.mean() + rng.normal(0, 0.01, base.shape), base


def compared(ours: np.ndarray, theirs: np.ndarray) -> dict:
    return with_verdicts([compare(weighted_mean(ours), weighted_mean(theirs), ours.shape[1])])[0]


def test_interval_and_p_are_those_of_the_paired_t_test() -> None:
    ours, theirs = scores(0.05)
    one, test = compared(ours, theirs), stats.ttest_rel(ours.mean(1), theirs.mean(1))
    assert one["by_seed"] == pytest.approx((ours - theirs).mean(1))
    assert one["p"] == pytest.approx(test.pvalue)
    assert (one["low"], one["high"]) == pytest.approx(tuple(test.confidence_interval()))


def test_the_bootstrap_draws_seeds_and_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every equally likely draw of two seeds and three cases once, its ends are the quantiles of all of them."""
    values = np.array([[0.1, 0.5, -0.2], [0.4, 0.9, 0.0]])
    seeds, cases = (list(itertools.product(range(n), repeat=n)) for n in (2, 3))
    draws = list(itertools.product(seeds, cases))
    times = [np.array([np.bincount(pick[i], minlength=n) for pick in draws], float) for i, n in enumerate((2, 3))]
    monkeypatch.setattr(statistics, "resamples", lambda *_: times)
    one = compared(values, np.zeros_like(values))
    means = [values[np.ix_(*pick)].mean() for pick in draws]
    assert (one["boot_low"], one["boot_high"]) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))


@pytest.mark.parametrize(("gain", "word"), [(0.08, "ahead"), (-0.08, "behind"), (0.0, "equal")])
def test_an_effect_is_found_on_its_own_side_and_none_is_not(gain: float, word: str) -> None:
    ours, theirs = scores(gain)
    assert compared(ours, theirs)["verdict"] == word


def test_luck_of_the_seeds_or_of_the_cases_is_no_effect() -> None:
    rng = np.random.default_rng(0)
    by_seed = np.array([[0.15], [0.02], [-0.05]]) + rng.normal(0, 0.001, (3, 40))
    by_case = 0.4 * (np.arange(40) < 2) + rng.normal(-0.001, 0.0005, (3, 40))  # two patients of forty
    for differences in (by_seed, by_case):
        assert compared(differences, np.zeros_like(differences))["verdict"] != "ahead"


def test_a_single_seed_or_equal_ones_decide_nothing() -> None:
    same = compared(np.full((3, 5), 0.4), np.full((3, 5), 0.3))
    assert (same["low"], same["high"], same["p"]) == pytest.approx((0.1, 0.1, 1))
    one = compared(np.full((1, 5), 0.9), np.zeros((1, 5)))
    assert (one["mean"], one["low"], one["p"], one["verdict"]) == (0.9, 0.9, 1.0, "undecided")


@pytest.mark.parametrize(("t", "boot", "p", "word"), [
    ((-0.01, 0.019), (-0.03, 0.03), 0.4, "equal"),
    ((0.001, 0.019), (0.001, 0.019), 0.01, "equal"),
    ((0.01, 0.05), (0.005, 0.06), 0.01, "ahead"),
    ((-0.05, -0.01), (-0.06, -0.005), 0.01, "behind"),
    ((0.01, 0.05), (-0.005, 0.06), 0.01, "undecided"),
    ((0.01, 0.05), (0.005, 0.06), 0.06, "undecided"),
    ((-0.03, 0.01), (-0.03, 0.01), 0.3, "undecided"),
])  # fmt: skip
def test_verdict(t: tuple, boot: tuple, p: float, word: str) -> None:
    one = {"by_seed": [0, 0], "low": t[0], "high": t[1], "boot_low": boot[0], "boot_high": boot[1]}
    assert verdict(one, p) == word


def test_a_family_is_corrected_together() -> None:
    one = {"by_seed": [0, 0], "low": 0.03, "high": 0.05, "boot_low": 0.03, "boot_high": 0.05, "p": 0.03}
    assert [row["verdict"] for row in with_verdicts([one, one])] == ["undecided"] * 2
    assert [row["verdict"] for row in with_verdicts([one, one], family=False)] == ["ahead"] * 2


def test_holm_by_its_definition() -> None:
    rng = np.random.default_rng(0)
    assert holm([]) == []
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    for _ in range(50):
        p = rng.uniform(0, 0.2, rng.integers(1, 9)).round(2)  # with ties
        for level in (0.02, 0.05, 0.2):
            rejected = np.zeros(len(p), bool)
            for rank, i in enumerate(np.argsort(p, kind="stable")):  # step down until the first that fails
                if p[i] > level / (len(p) - rank) + 1e-12:
                    break
                rejected[i] = True
            np.testing.assert_array_equal(np.array(holm(p)) <= level + 1e-9, rejected)
        assert np.all(np.array(holm(p)) >= p)
