"""From the records of many trainings to a table: columns, comparisons, claims, and the files that show them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from lrnet_edu.figures import Picture, learning_curves_figure
from lrnet_edu.figures.tables import comparison_figure
from lrnet_edu.methods import BASELINE
from lrnet_edu.metrics import CRITERIA, ScoreTable, mean_of_defined, none_if_nan
from lrnet_edu.study.froc import BINS_ML, HALF, CaseLesions, curve_of
from lrnet_edu.study.page import write_page
from lrnet_edu.study.protocol import CONVERGED
from lrnet_edu.study.rows import TABLES, Claim, Row
from lrnet_edu.study.scoring import set_scores, with_object
from lrnet_edu.study.statistics import MARGIN, Score, compare, with_verdicts
from lrnet_edu.study.text import as_markdown

Records = Mapping[str, Mapping[int, Mapping[str, Any]]]  # row -> seed -> what the training wrote
Keys = tuple[str, ...]
SHARED_SETTINGS = ("label", "steps", "validate_every", "features", "blocks", "stride", "max_voxels", "patch_size",
                   "batch_size", "object_share")  # fmt: skip
BELOW, LEARNING = "below location alone", "not converged"  # in a verdict's place


def write_table(
    out: Path, table: str, records: Sequence[Mapping[str, Any]], *, seeds: Sequence[int], facts: Mapping[str, Any],
    location: float | None, chosen: Mapping[str, Any], pictures: Mapping[str, Picture],
) -> dict[str, Any]:  # fmt: skip
    """Build a table and write ``TABLE.json``, ``.md`` and its pictures into the folder; returns the first."""
    result = build_table(table, records, seeds=seeds, facts=facts, location=location, chosen=chosen)
    logs = {row["title"] + (f", {row['map']}" if row["map"] else ""): row["logs"] for row in result["rows"]}
    shown = {"differences": comparison_figure(result), **pictures, "learning": learning_curves_figure(logs)}
    write_page(out, table, result, shown, as_markdown)
    return result


def build_table(
    table: str, records: Sequence[Mapping[str, Any]], *, seeds: Sequence[int], facts: Mapping[str, Any],
    location: float | None = None, chosen: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A table of the paper with our numbers, as JSON holds it: undefined numbers are None.

    Args:
        table: a key of ``TABLES``.
        records: what the finished trainings wrote, in any order.
        seeds: the seeds that were asked for.
        facts: what the caller knows about the data; kept as it is under "facts".
        location: test DC of the guess by location alone, below which no comparison gets a verdict.
        chosen: how the learning rates were chosen, kept as it is.

    Returns:
        "rows": one for each of the table's rows with a finished training: "scores" (each column's value by seed),
        "undefined" (cases of all seeds), "paper" (what it prints), "logs", and its "comparison" with M-Net + Dice.
        "claims": each with its "outcome" and the comparisons behind it.
    """
    lesions = [CaseLesions.of(case["lesions"]) for case in records[0]["cases"]]
    found: dict[str, dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for record in records:
        found[record["arm"]][record["seed"]] = record
    design, first = TABLES[table], records[0]
    rows = [row_result(row, found[row.key]) for row in design.rows if row.key in found]
    learning = still_learning(design.rows, chosen or {})
    pairs = [((row["row"],), (BASELINE,)) for row in rows if row["row"] != BASELINE]
    compared = compare_rows(found, pairs, location, learning)
    for row in rows:
        row["comparison"] = compared.get(((row["row"],), (BASELINE,)))
    return {
        "table": table,
        "title": design.title,
        "paper": design.about,
        "location": location,
        "margin": MARGIN,
        "chosen": chosen or {},
        "facts": {
            **facts,
            "settings": {name: first["config"].get(name) for name in SHARED_SETTINGS},
            "grid_mm": first["config"]["preprocessing"]["spacing"],
            "window_hu": first["config"]["preprocessing"]["window"],
            "devices": sorted({record["device"] for record in records}),
            "versions": sorted({", ".join(f"{k} {v}" for k, v in record["versions"].items()) for record in records}),
            "CPU hours": round(sum(record["cpu_seconds"] for record in records) / 3600, 1),
            "seeds": list(seeds),
            "runs": f"{len(records)} of {len(seeds) * len(design.rows)}",
        },
        "test": {
            "cases": len(first["cases"]),
            "with_object": len(with_object(first["cases"])),
            "lesions": {words: curve.lesions for words, curve in curves_by_size(lesions).items()},
        },
        "rows": rows,
        "claims": judge(design.claims, found, location, learning),
    }


def row_result(row: Row, by_seed: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """What one row of the table says about itself."""
    seeds = sorted(by_seed)
    tables = [set_scores(by_seed[seed]["cases"]) for seed in seeds]
    scores = [seed_scores(by_seed[seed]["cases"], table) for seed, table in zip(seeds, tables, strict=True)]
    return {
        "row": row.key, "title": row.title, "map": row.map_name, "method": row.method, "alpha": row.alpha,
        "seeds": seeds,
        "scores": {name: [one[name] for one in scores] for name in scores[0]},
        "undefined": {name: sum(table.undefined[name] for table in tables) for name in CRITERIA},
        "paper": row.paper,
        "logs": [by_seed[seed]["log"] for seed in seeds],
    }  # fmt: skip


def seed_scores(cases: Sequence[Mapping[str, Any]], criteria: ScoreTable) -> dict[str, float | None]:
    """All columns of one training: the criteria of the cases that hold an object, then lesions, false ones of all."""
    lesions = [CaseLesions.of(case["lesions"]) for case in cases]
    curve, curves = curve_of(lesions), curves_by_size(lesions)
    values = {
        **criteria.mean,
        "DC without false lesions": mean_of_defined(case["dice_without_false"] for case in with_object(cases)),
        "false lesions": curve.false_lesions[HALF],
        "mean lesion Dice": curve.mean_dice,
        "sensitivity": curve.sensitivity_at().mean(),
        **{f"lesion Dice, {words}": one.dice[HALF] for words, one in curves.items()},
    }
    return {name: none_if_nan(float(value)) for name, value in values.items()}


def curves_by_size(lesions: Sequence[CaseLesions]) -> dict[str, Any]:
    """The curve of the lesions of each size that occurs."""
    curves = {words: curve_of(lesions, size=size) for words, size in BINS_ML.items()}
    return {words: curve for words, curve in curves.items() if curve.lesions}


# ---- comparisons and claims ---------------------------------------------------------------------------------------


def still_learning(rows: Sequence[Row], chosen: Mapping[str, Any]) -> set[str]:
    """The rows of the families whose validation DC gains too much by twice the steps, or that had not that many yet."""
    gain = {family: one.get("twice", np.inf) - max(one["validation"].values()) for family, one in chosen.items()}
    return {row.key for row in rows if gain.get(row.family, 0.0) >= CONVERGED}


def compare_rows(
    records: Records, pairs: Sequence[tuple[Keys, Keys]], location: float | None, learning: Set[str]
) -> dict[tuple[Keys, Keys], dict[str, Any]]:
    """The mean Dice of some rows against that of others, by seed; the p-values are corrected together.

    A comparison is left out if there is no seed that all of its rows have finished. It gets no verdict if both sides
    are below what location alone scores, or a row is still ``learning``.
    """
    done, compared = [], []
    for pair in pairs:
        if seeds := sorted(set.intersection(*(set(records.get(key, {})) for key in pair[0] + pair[1]))):
            ours, theirs = (case_dice(records, keys, seeds) for keys in pair)
            below = location is not None and max(ours.mean(), theirs.mean()) < location
            done.append((pair, BELOW if below else LEARNING if learning & {*pair[0], *pair[1]} else None))
            compared.append({"seeds": seeds, **compare(weighted_mean(ours), weighted_mean(theirs), ours.shape[1])})
    return {
        pair: {**one, "verdict": instead or one["verdict"]}
        for (pair, instead), one in zip(done, with_verdicts(compared), strict=True)
    }


def case_dice(records: Records, keys: Keys, seeds: Sequence[int]) -> np.ndarray:
    """Dice of the cases that hold an object, the mean of some rows: (seeds, cases)."""
    return np.mean([[[case["dice"] for case in with_object(records[key][seed]["cases"])] for seed in seeds]
                    for key in keys], axis=0)  # fmt: skip


def weighted_mean(values: np.ndarray) -> Score:
    """The mean over the cases of (seeds, cases), as `compare` asks for it."""
    return lambda times: values.mean(axis=1) if times is None else times @ values.T / times.sum(axis=1, keepdims=True)


def judge(claims: Sequence[Claim], records: Records, location: float | None, learning: Set[str]) -> list[Any]:
    """Which claims held, and the comparisons behind them."""
    wanted = list(dict.fromkeys(pair[:2] for _, pairs in claims for pair in pairs))
    compared, result = compare_rows(records, wanted, location, learning), []
    for words, pairs in claims:
        found = [{"pair": pair.words, **compared[pair[:2]]} for pair in pairs if pair[:2] in compared]
        verdict = outcome([pair["verdict"] for pair in found], len(pairs))
        result.append({"claim": words, "outcome": verdict, "pairs": found})
    return result


def outcome(verdicts: Sequence[str], wanted: int) -> str:
    """What becomes of a claim by the verdicts of its comparisons, of which ``wanted`` should be there."""
    if "behind" in verdicts:
        return "failed"
    if len(verdicts) < wanted:
        return "not run yet"
    if all(verdict == "ahead" for verdict in verdicts):
        return "held"
    if "ahead" in verdicts:
        return "held in part"
    return "no difference" if set(verdicts) == {"equal"} else "undecided"
