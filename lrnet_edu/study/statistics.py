"""Is one training better than another? Paired differences by seed, their intervals, Holm's correction, one verdict.

The unit is the seed: both sides of a comparison have the same first weights, see the same patches and are tested on the
same cases. Beside the t interval over seeds stands a bootstrap over seeds and cases, which asks whether other patients
might have said something else.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

LEVEL = 0.05  # of the tests; intervals cover 1 - LEVEL
MARGIN = 0.02  # differences within it are called equal
DRAWS = 2000  # of the bootstrap

Score = Callable[[np.ndarray | None], np.ndarray]
"""How often each case counts, (draws, cases) or None for once each -> one number of each seed, (draws, seeds) or
(seeds,)."""


def compare(ours: Score, theirs: Score, cases: int) -> dict[str, Any]:
    """What one side gains over the other.

    Returns:
        The differences "by_seed", their "mean", its 95 % t interval over the seeds "low" and "high", its 95 % bootstrap
        interval over seeds and cases "boot_low" and "boot_high", and "p" of the t test; of a single seed, or
        of equal differences, the interval is the mean, and p is 1.
    """
    by_seed = ours(None) - theirs(None)  # (seeds,)
    times_seed, times_case = resamples(len(by_seed), cases, DRAWS, 0)
    drawn = ((ours(times_case) - theirs(times_case)) * times_seed).mean(axis=-1)  # (draws,)
    boot = np.quantile(drawn, [LEVEL / 2, 1 - LEVEL / 2])
    low, high, p = by_seed.mean(), by_seed.mean(), 1.0
    if np.ptp(by_seed) > 1e-12:  # else there is one seed, or rounding is all that differs
        test = stats.ttest_1samp(by_seed, 0.0)
        (low, high), p = test.confidence_interval(1 - LEVEL), test.pvalue
    numbers = {"mean": by_seed.mean(), "low": low, "high": high, "boot_low": boot[0], "boot_high": boot[1], "p": p}
    return {"by_seed": by_seed.tolist(), **{name: float(number) for name, number in numbers.items()}}


def with_verdicts(comparisons: Sequence[Mapping[str, Any]], *, family: bool = True) -> list[dict[str, Any]]:
    """The comparisons with "p_holm", corrected in their family (p itself outside of one), and the "verdict"."""
    p_values = [one["p"] for one in comparisons]
    corrected = holm(p_values) if family else p_values
    return [{**one, "p_holm": p, "verdict": verdict(one, p)} for one, p in zip(comparisons, corrected, strict=True)]


def verdict(one: Mapping[str, Any], p: float) -> str:
    """One verdict for a comparison.

    "equal" if the t interval lies within the margin; "ahead" or "behind" if the corrected p is below 0.05 and both
    intervals leave 0 out on that side; else "undecided", as of a single seed.
    """
    if len(one["by_seed"]) < 2:
        return "undecided"
    if one["low"] > -MARGIN and one["high"] < MARGIN:
        return "equal"
    if p < LEVEL and min(one["low"], one["boot_low"]) > 0:
        return "ahead"
    return "behind" if p < LEVEL and max(one["high"], one["boot_high"]) < 0 else "undecided"


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: the smallest of m times m, the next times m - 1, ..., never falling, at most 1."""
    p, order = np.array(p_values, dtype=float), np.argsort(p_values, kind="stable")
    p[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return p.tolist()


def resamples(seeds: int, cases: int, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each seed (draws, seeds) and each case (draws, cases) is drawn: the same for all comparisons."""
    rng = np.random.default_rng(seed)
    times_seed, times_case = (rng.multinomial(n, np.full(n, 1 / n), size=draws) for n in (seeds, cases))
    return times_seed.astype(float), times_case.astype(float)
