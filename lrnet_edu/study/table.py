"""From the scores of many runs to a table: means, comparisons, claims, and the files that show them."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lrnet_edu.figures.tables import comparison_figure
from lrnet_edu.methods import BASELINE
from lrnet_edu.metrics import CRITERIA, columns, mean_of_defined, none_if_nan
from lrnet_edu.study.lesions import by_size
from lrnet_edu.study.rows import TABLES, Claim, Pair, Row
from lrnet_edu.study.scoring import set_scores, with_object
from lrnet_edu.study.statistics import Comparison, cases_needed, compare, correct
from lrnet_edu.study.text import as_markdown
from lrnet_edu.support.files import write_atomically

Runs = Mapping[int, Mapping[str, Any]]  # seed -> what the run of a row wrote
SHARED_SETTINGS = ("label", "steps", "validate_every", "learning_rate", "one_cycle", "features", "blocks",
                   "stride", "max_voxels", "patch_size", "batch_size", "object_share")  # fmt: skip


def write_table(
    out: Path, table: str, records: Sequence[Mapping[str, Any]], *, seeds: Sequence[int], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Build a table and write ``TABLE.json``, ``.csv``, ``.md`` and ``.png`` into the folder; returns the first."""
    result = build_table(table, records, seeds=seeds, facts=facts)
    picture = comparison_figure(result)
    files = {
        "json": (json.dumps(result, indent=1, allow_nan=False) + "\n").encode(),
        "csv": as_csv(result).encode(),
        "png": picture.png(),
        "md": as_markdown(result, picture=f"{table}.png", alt=picture.alt).encode(),
    }
    for ending, content in files.items():
        write_atomically(out / f"{table}.{ending}", content)
    return result


def build_table(
    table: str, records: Sequence[Mapping[str, Any]], *, seeds: Sequence[int], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """A table of the paper with our numbers, as JSON holds it: undefined numbers are None.

    Args:
        table: a key of ``TABLES``.
        records: what the finished runs wrote, in any order.
        seeds: the seeds that were asked for.
        facts: what the caller knows about the data; kept as it is under "facts".

    Returns:
        "rows": one for each of the table's rows with a finished run: "mean" and "sd" (over the seeds) of each
        criterion, "by_seed", "undefined" (cases of all seeds), "paper" (what it prints), "comparison" with M-Net +
        Dice, "lesions" by size. "claims": each with its "outcome" and the comparisons behind it.
    """
    runs: dict[str, dict[int, Mapping[str, Any]]] = {}
    for record in records:
        runs.setdefault(record["row"], {})[record["seed"]] = record
    design = TABLES[table]
    rows = [row_result(row, runs[row.key]) for row in design.rows if row.key in runs]
    others = [row for row in rows if row["row"] != BASELINE and common_seeds(runs, (row["row"], BASELINE))]
    comparisons = correct([compare_rows(runs, (row["row"],), (BASELINE,)) for row in others])
    for row, comparison in zip(others, comparisons, strict=True):
        row["comparison"] = comparison_result(comparison)
    return {
        "table": table,
        "title": design.title,
        "paper": design.about,
        "facts": {**facts, **shared_facts(records), "seeds": list(seeds),
                  "runs": f"{len(records)} of {len(seeds) * len(design.rows)}"},
        "test": facts_of_the_test(records[0]["cases"], len(others)),
        "rows": rows,
        "claims": judge(design.claims, runs),
    }  # fmt: skip


# ---- rows -------------------------------------------------------------------------------------------------------


def row_result(row: Row, runs: Runs) -> dict[str, Any]:
    """What one row of the table says about itself: the cases that hold an object, and the others apart."""
    seeds = sorted(runs)
    tables = [set_scores(runs[seed]["cases"]) for seed in seeds]
    values = {name: [table.mean[name] for table in tables] for name in CRITERIA}
    cases = [case for seed in seeds for case in with_object(runs[seed]["cases"])]
    empty = [case for seed in seeds for case in runs[seed]["cases"] if not case["reference_voxels"]]
    return {
        "row": row.key,
        "title": row.title,
        "map": row.map_name,
        "method": row.method,
        "alpha": row.alpha,
        "schedule": runs[seeds[0]]["schedule"],
        "seeds": seeds,
        "mean": {name: none_if_nan(mean_of_defined(numbers)) for name, numbers in values.items()},
        "sd": {name: none_if_nan(deviation(numbers)) for name, numbers in values.items()},
        "by_seed": {name: [none_if_nan(number) for number in numbers] for name, numbers in values.items()},
        "undefined": {name: sum(table.undefined[name] for table in tables) for name in CRITERIA},
        "paper": row.paper,
        "comparison": None,
        "lesions": {"by_size": by_size(cases), "false_per_case": false_lesions(cases)},
        "without_object": {"cases": len(empty) // len(seeds), "false_per_case": false_lesions(empty)},
    }


def false_lesions(cases: Sequence[Mapping[str, Any]]) -> float | None:
    return sum(len(case["false_lesions"]) for case in cases) / len(cases) if cases else None


def deviation(numbers: Sequence[float]) -> float:
    """Sample deviation over the seeds; NaN for a single one."""
    defined = [number for number in numbers if not math.isnan(number)]
    return float(np.std(defined, ddof=1)) if len(defined) > 1 else math.nan


# ---- comparisons and claims ---------------------------------------------------------------------------------------


def common_seeds(runs: Mapping[str, Runs], keys: Sequence[str]) -> list[int]:
    """The seeds that all of these rows have finished."""
    return sorted(set.intersection(*(set(runs.get(key, {})) for key in keys)))


def compare_rows(runs: Mapping[str, Runs], better: Sequence[str], than: Sequence[str]) -> Comparison:
    """The Dice of some rows (their mean) against that of others, paired by case and seed."""
    seeds = common_seeds(runs, (*better, *than))

    def dice(keys: Sequence[str]) -> np.ndarray:
        cases = [[with_object(runs[key][seed]["cases"]) for seed in seeds] for key in keys]
        return np.mean([[[case["dice"] for case in of_seed] for of_seed in of_row] for of_row in cases], axis=0)

    return compare(dice(better), dice(than))  # (seeds, cases) each


def comparison_result(comparison: Comparison) -> dict[str, Any]:
    return {**asdict(comparison), "by_case": list(comparison.by_case), "verdict": comparison.verdict}


def judge(claims: Sequence[Claim], runs: Mapping[str, Runs]) -> list[dict[str, Any]]:
    """Which claims held; the p-values of all their comparisons are corrected together."""

    def can_run(pair: Pair) -> bool:
        return bool(common_seeds(runs, (*pair.better, *pair.than)))

    pairs = [pair for claim in claims for pair in claim.pairs if can_run(pair)]
    compared = correct([compare_rows(runs, pair.better, pair.than) for pair in pairs])
    found = {pair: comparison_result(comparison) for pair, comparison in zip(pairs, compared, strict=True)}
    return [
        {
            "claim": claim.words,
            "outcome": outcome([found[pair]["verdict"] for pair in claim.pairs if pair in found], len(claim.pairs)),
            "pairs": [{"pair": pair.words, **found[pair]} for pair in claim.pairs if pair in found],
        }
        for claim in claims
    ]


def outcome(verdicts: Sequence[str], wanted: int) -> str:
    """What becomes of a claim by the verdicts of its comparisons, of which ``wanted`` should be there."""
    if "worse" in verdicts:
        return "failed"
    if len(verdicts) < wanted:
        return "not run yet"
    if all(verdict == "better" for verdict in verdicts):
        return "held"
    return "held in part" if "better" in verdicts else "not distinguishable with this much data"


# ---- facts ------------------------------------------------------------------------------------------------------


def facts_of_the_test(cases: Sequence[Mapping[str, Any]], comparisons: int) -> dict[str, Any]:
    """What the test set can tell at all."""
    holding = with_object(cases)
    return {
        "cases": len(cases),
        "with_object": len(holding),
        "lesions": sum(len(case["lesions"]) for case in holding),
        "comparisons": comparisons,
        "cases_needed": cases_needed(max(1, comparisons)),
    }


def shared_facts(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the runs say about themselves: settings that all share, devices, versions, seconds."""
    return {
        "settings": {name: records[0]["config"].get(name) for name in SHARED_SETTINGS},
        "grid_mm": records[0]["preprocessing"]["spacing"],
        "window_hu": records[0]["preprocessing"]["window"],
        "devices": sorted({record["device"] for record in records}),
        "versions": sorted({", ".join(f"{k} {v}" for k, v in record["versions"].items()) for record in records}),
        "seconds": round(sum(sum(record["seconds"].values()) for record in records), 1),
    }


def as_csv(result: Mapping[str, Any]) -> str:
    """One line for each row: every criterion with its deviation and the paper's figure, and the comparison."""
    compared = ("difference", "low", "high", "p", "p_corrected", "verdict")
    text = io.StringIO()
    names = [f"{name}{suffix}" for name in columns() for suffix in ("", "_sd", "_paper")]
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["row", "title", "map", "seeds", *names, *compared])
    for row in result["rows"]:
        numbers = [source.get(name) for name in columns() for source in (row["mean"], row["sd"], row["paper"])]
        comparison = row["comparison"] or {}
        cells = [*numbers, *(comparison.get(name) for name in compared)]
        written = ["" if cell is None else f"{cell:z.4f}" if isinstance(cell, float) else cell for cell in cells]
        table.writerow([row["row"], row["title"], row["map"], len(row["seeds"]), *written])
    return text.getvalue()
