"""Paired comparisons: against enumeration, and against effects that are known because they were put there."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lrnet_edu.study.statistics import Comparison, bootstrap_means, cases_needed, compare, correct, holm, signed_rank_p


def scores(gain: float) -> tuple[np.ndarray, np.ndarray]:
    """Dice of two methods of which the first gains ``gain``, each of 3 seeds and 30 cases with a part of its own."""
    rng = np.random.default_rng(1)
    base = rng.uniform(0.3, 0.9, 30) + rng.normal(0, 0.05, (3, 1))
    by_seed, by_case = rng.normal(0, 0.01, (3, 1)), rng.normal(0, 0.03, 30)
    return base + gain + by_seed + by_case + rng.normal(0, 0.01, base.shape), base


def enumerated_p(differences: np.ndarray) -> float:
    """Wilcoxon's two-sided p by all patterns of signs."""
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    total = ranks.sum()
    seen = min(ranks[differences > 0].sum(), ranks[differences < 0].sum())
    patterns = np.array(list(itertools.product((0, 1), repeat=len(ranks)))) @ ranks
    return float(np.mean(np.minimum(patterns, total - patterns) <= seen))


@pytest.mark.parametrize("cases", [1, 2, 5, 9])
def test_the_test_is_the_one_by_enumeration(cases: int) -> None:
    rng = np.random.default_rng(cases)
    for _ in range(10):
        differences = rng.normal(0.4, 1, cases)
        assert signed_rank_p(differences) == pytest.approx(enumerated_p(differences))
        assert signed_rank_p([*differences, 0.0]) == pytest.approx(enumerated_p(differences))


def test_the_bootstrap_draws_seeds_and_cases() -> None:
    """Mean and deviation of all equally likely draws of two seeds and three cases."""
    values = np.array([[0.1, 0.5, -0.2], [0.4, 0.9, 0.0]])
    draws = [
        values[np.ix_(seeds, cases)].mean()
        for seeds in itertools.product(range(2), repeat=2)
        for cases in itertools.product(range(3), repeat=3)
    ]
    means = bootstrap_means(values, draws=40_000)
    assert means.mean() == pytest.approx(np.mean(draws), abs=0.005)
    assert means.std() == pytest.approx(np.std(draws), rel=0.02)
    shares = [np.mean(np.isclose(means, draw)) for draw in np.unique(np.round(draws, 9))]
    assert sum(shares) == pytest.approx(1)  # nothing else is ever drawn


def test_an_effect_is_found_on_its_own_side_and_none_is_not() -> None:
    for gain, verdict in ((0.08, "better"), (-0.08, "worse"), (0.0, "not distinguishable")):
        ours, theirs = scores(gain)
        comparison = compare(ours, theirs)
        assert comparison.verdict == verdict
        assert comparison.low < comparison.difference < comparison.high
        assert comparison.difference == pytest.approx((ours - theirs).mean())
        np.testing.assert_allclose(comparison.by_case, (ours - theirs).mean(0))
        other = compare(theirs, ours)
        assert (other.difference, other.p) == (-comparison.difference, comparison.p)


def test_luck_of_the_seeds_is_no_effect() -> None:
    """Every case agrees, but one seed of three says the opposite: another draw of seeds may turn it round."""
    rng = np.random.default_rng(0)
    differences = np.array([[0.10], [0.02], [-0.05]]) + rng.normal(0, 0.001, (3, 40))
    comparison = compare(differences, np.zeros_like(differences))
    assert comparison.p < 1e-6
    assert comparison.low < 0 < comparison.high
    assert comparison.verdict == "not distinguishable"


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


@pytest.mark.parametrize("comparisons", [1, 2, 12, 26])
def test_how_many_cases_it_takes_at_least(comparisons: int) -> None:
    needed = cases_needed(comparisons)
    for cases, expected in ((needed - 1, "not distinguishable"), (needed, "better")):
        agreeing = np.linspace(0.1, 0.2, cases)[None].repeat(3, 0)
        best = compare(agreeing, np.zeros_like(agreeing))
        assert isinstance(best, Comparison)
        assert best.p == pytest.approx(2 / 2**cases)
        others = [compare(np.zeros((3, cases)), np.zeros((3, cases)))] * (comparisons - 1)
        assert correct([best, *others])[0].verdict == expected
