"""Is one method better than another? Paired differences, a bootstrap interval, a test, and its correction.

Two methods are compared on the same cases, and on the same seeds, which give both the same first weights and the same
patches. The interval takes both sources of chance into account, the cases and the seeds; the test asks the cases
alone, with the seeds averaged, since only cases are independent of each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.stats import wilcoxon

DRAWS = 10_000  # of the bootstrap
LEVEL = 0.05  # of the test; the interval covers 1 - LEVEL


@dataclass(frozen=True)
class Comparison:
    """What a score gains from one method over the other."""

    difference: float  # mean over cases and seeds; positive means that the first one scores higher
    low: float  # ends of the 95 % bootstrap interval over cases and seeds
    high: float
    p: float  # of Wilcoxon's signed-rank test over the cases, two-sided
    p_corrected: float  # by Holm's correction among the comparisons made together
    cases: int
    seeds: int
    by_case: tuple[float, ...]  # the mean over the seeds

    @property
    def verdict(self) -> str:
        """ "better" or "worse" if the corrected p is below 0.05 and the interval without 0."""
        if self.p_corrected >= LEVEL or self.low <= 0 <= self.high:
            return "not distinguishable"
        return "better" if self.low > 0 else "worse"


def compare(ours: np.ndarray, theirs: np.ndarray) -> Comparison:
    """Compare two methods by their scores of the same cases after trainings from the same seeds.

    Args:
        ours: (seeds, cases), higher is better.
        theirs: the same for the other method.

    Returns:
        The comparison, its p not yet corrected.
    """
    differences = ours - theirs  # (seeds, cases)
    low, high = np.quantile(bootstrap_means(differences), [LEVEL / 2, 1 - LEVEL / 2])
    by_case = differences.mean(axis=0)  # (cases,)
    p, (seeds, cases) = signed_rank_p(by_case), differences.shape
    return Comparison(float(by_case.mean()), float(low), float(high), p, p, cases, seeds, tuple(by_case.tolist()))


def bootstrap_means(values: np.ndarray, *, draws: int = DRAWS) -> np.ndarray:
    """Means of (seeds, cases) with seeds and cases drawn anew, each with replacement: (draws,)."""
    times_seed, times_case = resamples(*values.shape, draws, 0)
    return np.einsum("ds,sc,dc->d", times_seed, values, times_case, optimize=True) / values.size


@lru_cache(maxsize=2)
def resamples(seeds: int, cases: int, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each seed (draws, seeds) and each case (draws, cases) is drawn: the same for all comparisons."""
    rng = np.random.default_rng(seed)
    times_seed, times_case = (rng.multinomial(n, np.full(n, 1 / n), size=draws) for n in (seeds, cases))
    return times_seed.astype(float), times_case.astype(float)


def signed_rank_p(differences: Sequence[float] | np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; differences of 0 are left out, and 1 if none is left."""
    rest = np.asarray(differences, dtype=float)
    rest = rest[rest != 0]
    return float(wilcoxon(rest).pvalue) if len(rest) else 1.0


def correct(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons that were made together, with their p corrected by Holm's method."""
    corrected = holm([comparison.p for comparison in comparisons])
    return [replace(one, p_corrected=p) for one, p in zip(comparisons, corrected, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: the smallest of m times m, the next times m - 1, ..., never falling, at most 1."""
    p, order = np.array(p_values, dtype=float), np.argsort(p_values, kind="stable")
    p[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return p.tolist()


def cases_needed(comparisons: int) -> int:
    """How many cases it takes before the corrected test can find anything, were every case to agree."""
    return math.ceil(1 - math.log2(LEVEL / comparisons) + 1e-12)
