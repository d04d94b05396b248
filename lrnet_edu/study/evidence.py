"""What the study's branches say: tables, endpoints, comparisons, verdicts.

The primary endpoint is computed from what ``lesions.csv.gz`` and ``cases.csv`` hold, and can be from them again.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lrnet_edu.figures import learning_curves_figure
from lrnet_edu.figures.study import arms_figure, curves_figure
from lrnet_edu.metrics import mean_of_defined, none_if_nan
from lrnet_edu.study.evidence_text import as_markdown
from lrnet_edu.study.froc import BINS_ML, HALF, THRESHOLDS, CaseLesions, Froc, curve_of
from lrnet_edu.study.page import write_page
from lrnet_edu.study.protocol import ARMS, CELLS, MORE, PRIMARY, PRIMARY_CELL, SECONDARY, SIZES_ML
from lrnet_edu.study.statistics import MARGIN, compare, with_verdicts
from lrnet_edu.support.files import write_csv

DENSE = tuple(2.0 ** np.linspace(-3, 3, 25))  # false lesions a case, for the pictures

Record = Mapping[str, Any]
Records = dict[tuple[str, int], Record]  # by arm and seed


def cell_curve(cell: Mapping[str, Any], size: tuple[float, float] = SIZES_ML, times: np.ndarray | None = None) -> Froc:
    """The curve of a branch on one set and view, of its lesions of a size; as :func:`lrnet_edu.study.froc.curve_of`."""
    return curve_of([CaseLesions.of(case) for case in cell["cases"]], size=size, times=times)


def endpoint(cell: Mapping[str, Any]) -> float:
    """The primary endpoint of a branch: that of the lesions of 0.25 to 5 ml."""
    return float(cell_curve(cell).mean_dice)


def endpoints(cell: Mapping[str, Any]) -> dict[str, float | None]:
    """All endpoints of one branch on one set and view."""
    curve, n, p, g = cell_curve(cell), *np.array(cell["calibration"])  # (bins,) each
    by_size = {words: cell_curve(cell, size) for words, size in BINS_ML.items()}
    cases = [case for case in cell["cases"] if case["ml"]]
    distances = [distance for case in cases for distance in case["ASSD"] if distance is not None]
    return {
        "mean lesion Dice": float(curve.mean_dice),
        "sensitivity": float(curve.sensitivity_at().mean()),
        **{f"mean lesion Dice, {words}": float(one.mean_dice) for words, one in by_size.items() if one.lesions},
        "DC": none_if_nan(mean_of_defined(case["DC"] for case in cases)),
        "false lesions": float(curve.false_lesions[HALF]),
        "lesion Dice at 0.5": float(curve.dice[HALF]),
        "ASSD of found lesions": none_if_nan(mean_of_defined(distances)),
        "calibration error": float(np.abs(p - g).sum() / n.sum()),
    }


def gains(records: Records, pairs: Sequence[tuple[str, str]], cell: str, *, family: bool) -> list[dict[str, Any]]:
    """What the primary endpoint gains from the first arm of each pair over the second, where two seeds are finished.

    Each holds "ours", "theirs", "seeds", and what `compare` and `with_verdicts` say.
    """
    found, tested = [], {key for key, record in records.items() if cell in record["cells"]}
    for ours, theirs in pairs:
        seeds = sorted(seed for arm, seed in tested if arm == ours and (theirs, seed) in tested)
        if len(seeds) > 1:
            us, them = ([records[arm, seed]["cells"][cell] for seed in seeds] for arm in (ours, theirs))
            compared = compare(partial(by_seed, us), partial(by_seed, them), len(us[0]["cases"]))
            found.append({"ours": ours, "theirs": theirs, "seeds": seeds, **compared})
    return with_verdicts(found, family=family)


def by_seed(cells: Sequence[Mapping[str, Any]], times: np.ndarray | None) -> np.ndarray:
    """The primary endpoint of an arm's branches, each case counting so often: (..., seeds)."""
    return np.stack([cell_curve(cell, times=times).mean_dice for cell in cells], axis=-1)


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
        "arms": {arm: ARMS[arm.split("-")[0]].title for arm in arms},
        "primary_cell": "/".join(PRIMARY_CELL), "margin": MARGIN, "rates": list(DENSE),
        "cells": {cell: cell_summary(records, arms, cell) for cell in map("/".join, CELLS)},
        "rounding": scatter_of_rounding(records), "chosen": json.loads(json.dumps(chosen)),
        "gradients": {term: float(np.mean([one[term] for one in gradients])) for term in next(iter(gradients), {})},
        "bases": [{name: base[name] for name in ("arm", "seed", "log")} for base in bases],
        "logs": {arm: [record["log"] for (one, _), record in records.items() if one == arm] for arm in arms},
        "cpu_hours": sum(one["cpu_seconds"] for one in [*branches, *bases]) / 3600, "versions": branches[0]["versions"],
    }  # fmt: skip
    logs = {"M-Net + Dice": [base["log"] for base in bases]}
    logs |= {f"{arm}: {result['arms'][arm]}": logs_of_arm for arm, logs_of_arm in result["logs"].items()}
    pictures = {
        "curves": curves_figure(result),
        **({"scratch": curves_figure(result, "-scratch")} if any(arm.endswith("-scratch") for arm in arms) else {}),
        "forest": arms_figure(result),
        "learning": learning_curves_figure(logs),
    }
    write_page(out, "study", result, pictures, as_markdown)
    return result


def cell_summary(records: Records, arms: Sequence[str], cell: str) -> dict[str, Any]:
    """Of a set and view: "endpoints" and "curves" of every arm by seed, and what is compared."""
    found: dict[str, Any] = {"endpoints": {}, "curves": {}}
    for arm in arms:
        contents = [record["cells"][cell] for (one, _), record in records.items()
                    if one == arm and cell in record["cells"]]  # fmt: skip
        if contents:
            rows = [endpoints(content) for content in contents]
            found["endpoints"][arm] = {name: [row[name] for row in rows] for name in rows[0]}
            found["curves"][arm] = [cell_curve(content).dice_at(DENSE).round(4).tolist() for content in contents]
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
