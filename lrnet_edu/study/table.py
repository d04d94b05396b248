"""From the records of many trainings to a table: means, comparisons, claims, and the files that show them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lrnet_edu.figures.tables import comparison_figure
from lrnet_edu.methods import BASELINE
from lrnet_edu.metrics import CRITERIA, mean_of_defined, none_if_nan
from lrnet_edu.study.froc import BINS_ML, HALF, CaseLesions, curve_of, size_in_words
from lrnet_edu.study.page import write_page
from lrnet_edu.study.rows import TABLES, Claim, Row
from lrnet_edu.study.scoring import set_scores, with_object
from lrnet_edu.study.statistics import cases_needed, compare, correct
from lrnet_edu.study.text import as_markdown

Records = Mapping[str, Mapping[int, Mapping[str, Any]]]  # row -> seed -> what the training wrote
SHARED_SETTINGS = ("label", "steps", "validate_every", "learning_rate", "one_cycle", "features", "blocks",
                   "stride", "max_voxels", "patch_size", "batch_size", "object_share")  # fmt: skip


def write_table(
    out: Path, table: str, records: Sequence[Mapping[str, Any]], *, seeds: Sequence[int], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Build a table and write ``TABLE.json``, ``.md`` and its picture into the folder; returns the first."""
    result = build_table(table, records, seeds=seeds, facts=facts)
    write_page(out, table, result, {"differences": comparison_figure(result)}, as_markdown)
    return result


def build_table(
    table: str, records: Sequence[Mapping[str, Any]], *, seeds: Sequence[int], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """A table of the paper with our numbers, as JSON holds it: undefined numbers are None.

    Args:
        table: a key of ``TABLES``.
        records: what the finished trainings wrote, in any order.
        seeds: the seeds that were asked for.
        facts: what the caller knows about the data; kept as it is under "facts".

    Returns:
        "rows": one for each of the table's rows with a finished training: "mean" and "sd" (over the seeds) of each
        criterion, "by_seed", "undefined" (cases of all seeds), "paper" (what it prints), "comparison" with M-Net +
        Dice, "lesions" by size. "claims": each with its "outcome" and the comparisons behind it.
    """
    found: dict[str, dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for record in records:
        found[record["arm"]][record["seed"]] = record
    design, first = TABLES[table], records[0]
    rows = [row_result(row, found[row.key]) for row in design.rows if row.key in found]
    compared = compare_rows(found, [((row["row"],), (BASELINE,)) for row in rows if row["row"] != BASELINE])
    for row in rows:
        row["comparison"] = compared.get(((row["row"],), (BASELINE,)))
    holding = with_object(first["cases"])
    return {
        "table": table,
        "title": design.title,
        "paper": design.about,
        "facts": {
            **facts,
            "settings": {name: first["config"].get(name) for name in SHARED_SETTINGS},
            "grid_mm": first["config"]["preprocessing"]["spacing"],
            "window_hu": first["config"]["preprocessing"]["window"],
            "devices": sorted({record["device"] for record in records}),
            "versions": sorted({", ".join(f"{k} {v}" for k, v in record["versions"].items()) for record in records}),
            "seconds": round(sum(record["cpu_seconds"] for record in records), 1),
            "seeds": list(seeds),
            "runs": f"{len(records)} of {len(seeds) * len(design.rows)}",
        },
        "test": {  # what the test set can tell at all
            "cases": len(first["cases"]),
            "with_object": len(holding),
            "lesions": sum(len(case["lesions"]["ml"]) for case in holding),
            "comparisons": len(compared),
            "cases_needed": cases_needed(max(1, len(compared))),
        },
        "rows": rows,
        "claims": judge(design.claims, found),
    }


def row_result(row: Row, by_seed: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """What one row of the table says about itself: the cases that hold an object, and the others apart."""
    tables = [set_scores(by_seed[seed]["cases"]) for seed in sorted(by_seed)]
    values = {name: [none_if_nan(table.mean[name]) for table in tables] for name in CRITERIA}
    defined = {name: [number for number in numbers if number is not None] for name, numbers in values.items()}
    cases = [case for record in by_seed.values() for case in with_object(record["cases"])]
    empty = [case for record in by_seed.values() for case in record["cases"] if not case["reference_voxels"]]
    return {
        "row": row.key,
        "title": row.title,
        "map": row.map_name,
        "method": row.method,
        "alpha": row.alpha,
        "seeds": sorted(by_seed),
        "mean": {name: none_if_nan(mean_of_defined(numbers)) for name, numbers in defined.items()},
        "sd": {name: float(np.std(x, ddof=1)) if len(x) > 1 else None for name, x in defined.items()},
        "by_seed": values,
        "undefined": {name: sum(table.undefined[name] for table in tables) for name in CRITERIA},
        "paper": row.paper,
        "comparison": None,
        "lesions": {"by_size": lesions_by_size(cases), "false_per_case": false_lesions(cases)},
        "without_object": {"cases": len(empty) // len(by_seed), "false_per_case": false_lesions(empty)},
    }


def lesions_by_size(cases: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """For each size that occurs the "lesions" (their number), "found" (their share) and "dice" (mean, missed = 0)."""
    lesions = [CaseLesions.of(case["lesions"]) for case in cases]
    curves = {size_in_words(*size): curve_of(lesions, size=size) for size in BINS_ML if lesions}
    return {
        words: {"lesions": curve.lesions, "found": float(curve.sensitivity[HALF]), "dice": float(curve.dice[HALF])}
        for words, curve in curves.items() if curve.lesions
    }  # fmt: skip


def false_lesions(cases: Sequence[Mapping[str, Any]]) -> float | None:
    return sum(case["lesions"]["false_lesions"][HALF] for case in cases) / len(cases) if cases else None


# ---- comparisons and claims ---------------------------------------------------------------------------------------

Keys = tuple[str, ...]


def compare_rows(records: Records, pairs: Sequence[tuple[Keys, Keys]]) -> dict[tuple[Keys, Keys], Any]:
    """The mean Dice of some rows against that of others, by case and seed; the p-values are corrected together.

    A comparison is left out if there is no seed that all of its rows have finished.
    """
    seeds = {pair: sorted(set.intersection(*(set(records.get(key, {})) for key in pair[0] + pair[1])))
             for pair in pairs}  # fmt: skip
    done = [pair for pair in pairs if seeds[pair]]

    def dice(pair: tuple[Keys, Keys], keys: Keys) -> np.ndarray:  # (seeds, cases)
        by_row = [[[case["dice"] for case in with_object(records[key][seed]["cases"])] for seed in seeds[pair]]
                  for key in keys]  # fmt: skip
        return np.mean(by_row, axis=0)

    comparisons = correct([compare(*(dice(pair, keys) for keys in pair)) for pair in done])
    return {
        pair: {**asdict(one), "by_case": list(one.by_case), "verdict": one.verdict}
        for pair, one in zip(done, comparisons, strict=True)
    }


def judge(claims: Sequence[Claim], records: Records) -> list[dict[str, Any]]:
    """Which claims held, and the comparisons behind them."""
    compared = compare_rows(records, list(dict.fromkeys(pair[:2] for _, wanted in claims for pair in wanted)))
    result = []
    for words, wanted in claims:
        pairs = [{"pair": pair.words, **compared[pair[:2]]} for pair in wanted if pair[:2] in compared]
        verdict = outcome([pair["verdict"] for pair in pairs], len(wanted))
        result.append({"claim": words, "outcome": verdict, "pairs": pairs})
    return result


def outcome(verdicts: Sequence[str], wanted: int) -> str:
    """What becomes of a claim by the verdicts of its comparisons, of which ``wanted`` should be there."""
    if "worse" in verdicts:
        return "failed"
    if len(verdicts) < wanted:
        return "not run yet"
    if all(verdict == "better" for verdict in verdicts):
        return "held"
    return "held in part" if "better" in verdicts else "not distinguishable with this much data"
