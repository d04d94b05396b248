"""What the study's branches say: tables, endpoints, comparisons, verdicts.

Everything is computed from what ``lesions.csv.gz`` and ``cases.csv`` hold, and can be computed from them again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from lrnet_edu.figures.evidence import curves_figure, forest_figure, learning_figure
from lrnet_edu.metrics import mean_of_defined, none_if_nan
from lrnet_edu.study.branches import write_csv
from lrnet_edu.study.evidence_text import as_markdown
from lrnet_edu.study.froc import RATES, at_most
from lrnet_edu.study.protocol import (
    ARMS,
    CELLS,
    MARGIN,
    MORE,
    PRIMARY,
    PRIMARY_CELL,
    SECONDARY,
    SIZES_ML,
    THRESHOLDS,
)
from lrnet_edu.study.statistics import LEVEL, holm, resamples
from lrnet_edu.support.files import write_atomically

DRAWS = 2000  # of the bootstrap over seeds and cases
BINS_ML = ((0.0, 0.25), (0.25, 1.0), (1.0, 5.0), (5.0, np.inf))
DENSE = tuple(2.0 ** np.linspace(-3, 3, 25))  # false lesions a case, for the pictures
HALF = THRESHOLDS.index(0.5)

Record = Mapping[str, Any]
Records = dict[tuple[str, int], Record]  # by arm and seed


# ---- one branch -------------------------------------------------------------------------------------------------


class Sums:
    """The lesions of a size, summed case by case: what curves and the bootstrap are made of.

    Attributes:
        lesions: (cases,) their number.
        dice: (cases, T) sums of their Dice.
        found: (cases, T) how many were found.
        false_lesions: (cases, T).
    """

    def __init__(self, cell: Mapping[str, Any], size: tuple[float, float] = SIZES_ML) -> None:
        cases, none = cell["cases"], np.zeros((len(THRESHOLDS), 0))
        chosen = [(size[0] <= np.array(case["ml"])) & (np.array(case["ml"]) < size[1]) for case in cases]
        dice = [
            (np.array(case["dice"]) if case["ml"] else none)[:, own] for case, own in zip(cases, chosen, strict=True)
        ]
        self.lesions = np.array([own.sum() for own in chosen], dtype=float)
        self.dice = np.stack([one.sum(axis=1) for one in dice])
        self.found = np.stack([(one > 0).sum(axis=1) for one in dice]).astype(float)
        self.false_lesions = np.array([case["false_lesions"] for case in cases], dtype=float)

    def at(self, rates: Sequence[float], values: np.ndarray, times: np.ndarray | None = None) -> np.ndarray:
        """A mean over the lesions with at most so many false lesions a case: (..., rates).

        ``times`` (..., cases) says how often each case counts, in a bootstrap.
        """
        times = np.ones(len(self.lesions)) if times is None else times
        false = times @ self.false_lesions / times.sum(axis=-1)[..., None]
        return at_most(rates, false, times @ values / np.maximum(times @ self.lesions, 1)[..., None])

    def endpoint(self, times: np.ndarray | None = None) -> np.ndarray:
        """The mean lesion Dice, missed ones 0, averaged at LUNA16's seven rates: (...,)."""
        return self.at(RATES, self.dice, times).mean(axis=-1)


def endpoint(cell: Mapping[str, Any]) -> float:
    """The primary endpoint of a branch: that of the lesions of 0.25 to 5 ml."""
    return float(Sums(cell).endpoint())


def endpoints(cell: Mapping[str, Any]) -> dict[str, float | None]:
    """All endpoints of one branch on one set and view."""
    sums, whole = Sums(cell), Sums(cell, (0.0, np.inf))
    n, p, g = np.array(cell["calibration"])  # (bins,) each
    found: dict[str, float | None] = {
        "mean lesion Dice": endpoint(cell),
        "sensitivity": float(sums.at(RATES, sums.found).mean()),
    }
    for low, high in BINS_ML:
        own = Sums(cell, (low, high))
        if own.lesions.any():
            found[f"mean lesion Dice, {size_in_words(low, high)}"] = float(own.endpoint())
    cases = [case for case in cell["cases"] if case["ml"]]
    return found | {
        "DC": none_if_nan(mean_of_defined(case["DC"] for case in cases)),
        "false lesions": float(whole.false_lesions[:, HALF].mean()),
        "lesion Dice at 0.5": float(sums.dice[:, HALF].sum() / max(1, sums.lesions.sum())),
        "ASSD of found lesions": none_if_nan(
            mean_of_defined(d for case in cases for d in case["ASSD"] if d is not None)
        ),
        "calibration error": float(np.abs(p - g).sum() / n.sum()),
    }


def size_in_words(low: float, high: float) -> str:
    """ "0.25 to 1 ml"."""
    return f"under {high:g} ml" if low == 0 else f"{low:g} ml and more" if high == np.inf else f"{low:g} to {high:g} ml"


# ---- comparisons ------------------------------------------------------------------------------------------------


def gains(records: Records, pairs: Sequence[tuple[str, str]], cell: str, *, family: bool) -> list[dict[str, Any]]:
    """What the primary endpoint gains from the first arm of each pair over the second, where two seeds are finished.

    Each holds "ours", "theirs", "seeds", the differences "by_seed" and their "mean", its 95 % t interval over seeds
    "low" and "high", its 95 % bootstrap interval over seeds and cases "boot_low" and "boot_high", "p" of the t test,
    "p_holm" corrected in this family (p itself outside of one), and the "verdict".
    """
    found = [one for pair in pairs if (one := gain(records, *pair, cell))]
    corrected = holm([one["p"] for one in found]) if family else [one["p"] for one in found]
    return [one | {"p_holm": p, "verdict": verdict(one, p)} for one, p in zip(found, corrected, strict=True)]


def gain(records: Records, ours: str, theirs: str, cell: str) -> dict[str, Any] | None:
    """One of `gains`, without its corrected p and verdict."""
    seeds = sorted(seed for arm, seed in records if arm == ours and (theirs, seed) in records)
    if len(seeds) < 2:
        return None
    pairs = [[Sums(records[arm, seed]["cells"][cell]) for arm in (ours, theirs)] for seed in seeds]
    by_seed = np.array([np.subtract(*(sums.endpoint() for sums in pair)) for pair in pairs])
    mean, error, freedom = by_seed.mean(), stats.sem(by_seed), len(seeds) - 1
    reach = error * stats.t.ppf(1 - LEVEL / 2, freedom)
    times_seed, times_case = resamples(len(seeds), len(pairs[0][0].lesions), DRAWS, 0)
    drawn = np.stack([np.subtract(*(sums.endpoint(times_case) for sums in pair)) for pair in pairs], axis=-1)
    boot = np.quantile((drawn * times_seed).mean(axis=-1), [LEVEL / 2, 1 - LEVEL / 2])  # of (draws, seeds)
    numbers = {
        "mean": mean, "low": mean - reach, "high": mean + reach, "boot_low": boot[0], "boot_high": boot[1],
        "p": 2 * stats.t.sf(abs(mean) / error, freedom) if error else 1.0,
    }  # fmt: skip
    return {"ours": ours, "theirs": theirs, "seeds": seeds, "by_seed": by_seed.tolist(),
            **{name: float(number) for name, number in numbers.items()}}  # fmt: skip


def verdict(one: Mapping[str, Any], p: float) -> str:
    """One verdict for a comparison.

    "equal" if the t interval lies within the margin; "ahead" or "behind" if the corrected p is below 0.05 and both
    intervals leave 0 out on that side; else "undecided".
    """
    if one["low"] > -MARGIN and one["high"] < MARGIN:
        return "equal"
    if p < LEVEL and min(one["low"], one["boot_low"]) > 0:
        return "ahead"
    return "behind" if p < LEVEL and max(one["high"], one["boot_high"]) < 0 else "undecided"


# ---- all of it --------------------------------------------------------------------------------------------------


def write_evidence(
    out: Path, branches: Sequence[Record], bases: Sequence[Record], chosen: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the two tables, ``study.json``, ``study.md`` and its pictures.

    Args:
        out: where.
        branches: records of those that were tested.
        bases: those of the M-Nets trained by Dice.
        chosen: for each arm with an alpha the one that was "chosen", and the "validation" of all.

    Returns:
        What ``study.json`` holds: every number that the page shows.
    """
    records = {(branch["arm"], branch["seed"]): branch for branch in branches}
    write_tables(out, records)
    arms = list(dict.fromkeys(arm for arm, _ in records))
    gradients = [base["gradients"] for base in bases if base["gradients"]]
    result = {
        "arms": {arm: ", ".join([ARMS[arm.split("-")[0]].title, *arm.split("-")[1:]]) for arm in arms},
        "lrnets": {arm: record["config"].get("lrnet") for (arm, _), record in records.items()},
        "primary_cell": "/".join(PRIMARY_CELL),
        "margin": MARGIN,
        "rates": list(DENSE),
        "cells": {cell: cell_summary(records, arms, cell) for cell in map("/".join, CELLS)},
        "rounding": scatter_of_rounding(records),
        "chosen": json.loads(json.dumps(chosen)),
        "gradients": {term: float(np.mean([one[term] for one in gradients])) for term in gradients[0]},
        "bases": [{name: base[name] for name in ("arm", "seed", "log")} for base in bases],
        "logs": {arm: [record["log"] for (one, _), record in records.items() if one == arm] for arm in arms},
        "cpu_hours": sum(one["cpu_seconds"] for one in [*branches, *bases]) / 3600,
        "versions": branches[0]["versions"],
    }
    write_atomically(out / "study.json", (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    pictures = {"curves": curves_figure(result), "forest": forest_figure(result), "learning": learning_figure(result)}
    for name, picture in pictures.items():
        write_atomically(out / f"study_{name}.png", picture.png())
    text = as_markdown(result, {name: picture.alt for name, picture in pictures.items()})
    write_atomically(out / "study.md", text.encode())
    return result


def cell_summary(records: Records, arms: Sequence[str], cell: str) -> dict[str, Any]:
    """Of a set and view: "endpoints" and "curves" of every arm by seed, and what is compared."""
    found: dict[str, Any] = {"endpoints": {}, "curves": {}}
    for arm in arms:
        contents = [
            record["cells"][cell] for (one, _), record in records.items() if one == arm and cell in record["cells"]
        ]
        if contents:
            rows = [endpoints(content) for content in contents]
            found["endpoints"][arm] = {name: [row[name] for row in rows] for name in rows[0]}
            sums = [Sums(content) for content in contents]
            found["curves"][arm] = [one.at(DENSE, one.dice).round(4).tolist() for one in sums]
    more = gains(records, (*SECONDARY, *MORE), cell, family=False)
    return found | {"gains": gains(records, PRIMARY, cell, family=True), "further": more}


def scatter_of_rounding(records: Records) -> dict[str, float]:
    """How far the primary endpoint of seed 0 scatters when its first weights are moved by a millionth."""
    cell = "/".join(PRIMARY_CELL)
    values = {arm: [endpoint(record["cells"][cell]) for (name, seed), record in records.items()
                    if name == f"{arm}-rounding" or (name, seed) == (arm, 0)] for arm in ("A", "C")}  # fmt: skip
    return {arm: float(np.std(numbers, ddof=1)) for arm, numbers in values.items() if len(numbers) > 1}


def write_tables(out: Path, records: Records) -> None:
    """``lesions.csv.gz``, a row for each lesion and threshold, and ``cases.csv``, one for each case and threshold."""
    lesions, cases = [], []
    for (arm, seed), record in records.items():
        for cell, content in record["cells"].items():
            for case in content["cases"]:
                for t, threshold in enumerate(THRESHOLDS):
                    place = (arm, seed, *cell.split("/"), case["case"], threshold)
                    cases.append((*place, case["false_lesions"][t]))
                    lesions += [(*place, ml, dice, int(dice > 0))
                                for ml, dice in zip(case["ml"], case["dice"][t], strict=True)]  # fmt: skip
    heads = ("arm", "seed", "set", "view", "case", "threshold")
    write_csv(out / "lesions.csv.gz", (*heads, "ml", "dice", "found"), lesions)
    write_csv(out / "cases.csv", (*heads, "false_lesions"), cases)
