"""A table's page, ``TABLE.md``: ours beside the paper's, the comparisons, and which of the claims held."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrnet_edu.figures.tables import name_of, paper_difference
from lrnet_edu.methods import BASELINE
from lrnet_edu.metrics import CRITERIA, columns
from lrnet_edu.study.page import bullets, interval, joined, signed, table
from lrnet_edu.study.rows import TABLES

CLAIMS = (
    'A claim held if every comparison behind it is "better", in part if some are, and failed if one is "worse". '
    "These comparisons are corrected together, apart from those above, so a p may differ between the two lists."
)
NOTES = (
    "One voxel found far from every lesion decides MSD. α: the default by kind of map; in Table 1 a row without α "
    "has α = 1. Rows with an LR-Net begin with Dice alone, the warm-up."
)
COMPARISONS = (
    "Dice of the same cases after trainings from the same seeds. The interval is a bootstrap over cases and seeds; p "
    "is Wilcoxon's signed-rank test over the cases, each the mean of its seeds, corrected by Holm's method. Better or "
    "worse needs both: a corrected p below 0.05 and an interval without 0."
)
LESIONS = "Share of the lesions of which at least one voxel was found / mean Dice of each with all that touches it."


def as_markdown(result: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """What :func:`lrnet_edu.study.table.build_table` returned as a page, with its pictures as Markdown shows them."""
    claims = "\n".join(claim_in_words(claim) for claim in result["claims"])
    return joined([
        f"# {result['title']}",
        introduction(result),
        "## Ours, and the paper's in parentheses",
        grid(result) if TABLES[result["table"]].by_map else rows_by_criteria(result),
        NOTES,
        "## Against M-Net + Dice",
        comparisons(result),
        *pictures.values(),
        *(("## What the paper claims, and what held here", CLAIMS, claims) if claims else ()),
        "## By size of the lesion",
        lesions(result),
        "## How this was made",
        bullets(result["facts"]),
    ])  # fmt: skip


def introduction(result: Mapping[str, Any]) -> str:
    """What was tested, and what is missing of it."""
    test, seeds = result["test"], len(result["facts"]["seeds"])
    cases, paper = test["with_object"], f" The paper: {result['paper']}." if result["paper"] else ""
    lines = [
        f"{cases} test case{'s' * (cases != 1)} with {test['lesions']} lesions in all, "
        f"{seeds} seed{'s' * (seeds != 1)}, {result['facts']['runs']} runs finished.{paper}",
    ]
    if more := test["cases"] - cases:
        lines.append(f"{more} more without an object are no part of these means: Dice would be 0 or 1 there.")
    if fewer := [f"{name_of(row)} ({len(row['seeds'])})" for row in result["rows"] if len(row["seeds"]) < seeds]:
        lines.append(f"With fewer seeds: {', '.join(fewer)}.")
    if missed := [f"{name_of(row)} {n}" for row in result["rows"] if (n := row["undefined"]["ASSD"])]:
        lines.append(f"Cases of all seeds without a distance, as nothing was predicted: {'; '.join(missed)}.")
    if test["comparisons"] and cases < test["cases_needed"]:
        lines.append(
            "**With so few cases the corrected test cannot call any difference to M-Net + Dice significant**, were all "
            f"cases to agree: for {test['comparisons']} comparisons it takes {test['cases_needed']}."
        )
    return "\n".join(lines)


def grid(result: Mapping[str, Any]) -> str:
    """DC as the paper's Table 1 has it: trainings down, maps across."""
    maps = dict.fromkeys(row["map"] for row in result["rows"])
    trainings: dict[tuple[str, float | None], dict[str, str]] = {}
    for row in result["rows"]:
        cells = trainings.setdefault((row["title"], row["alpha"]), dict.fromkeys(maps, ""))
        cells[row["map"]] = cell_of(row, "DC")
    return table(["DC", *(name or "no LR-Net" for name in maps)],
                 [[title, *cells.values()] for (title, _), cells in trainings.items()])  # fmt: skip


def rows_by_criteria(result: Mapping[str, Any]) -> str:
    """All criteria of every row, mean over the seeds and deviation; the paper's figure behind."""
    heads = ["row", *(f"{name} (mm)" if CRITERIA[name].unit else name for name in columns())]
    return table(heads, [[row["title"], *(cell_of(row, name) for name in columns())] for row in result["rows"]])


def cell_of(row: Mapping[str, Any], name: str) -> str:
    """ "0.431 ± 0.012 (0.742)": mean over the seeds, deviation, the paper's."""
    mean, deviation, paper = (CRITERIA[name].text(row[what].get(name)) for what in ("mean", "sd", "paper"))
    return f"{mean} ± {deviation.lstrip('+')} ({paper})"


def probability(p: float) -> str:
    if p < 0.001:
        return "< 0.001"
    return f"{p:.4f}" if 0.0495 <= p < 0.05 else f"{p:.3f}"  # which would round to the level itself


def comparisons(result: Mapping[str, Any]) -> str:
    """Every row against M-Net + Dice."""
    heads = ["row", "map", "difference in DC", "95 % interval", "p", "p corrected", "verdict", "paper's difference"]
    baseline: Mapping[str, Any] = next((row for row in result["rows"] if row["row"] == BASELINE), {})
    lines = [
        [row["title"], row["map"], signed(c["difference"]), interval(c), probability(c["p"]),
         probability(c["p_corrected"]), c["verdict"],
         "–" if (printed := paper_difference(row, baseline)) is None else signed(printed)]
        for row in result["rows"] if (c := row["comparison"])
    ]  # fmt: skip
    return f"{COMPARISONS}\n\n{table(heads, lines)}" if lines else "No row has finished a seed that M-Net + Dice has."


def claim_in_words(claim: Mapping[str, Any]) -> str:
    """One claim, its outcome and the comparisons behind it."""
    lines = [f"- **{claim['claim']}: {claim['outcome']}.**"]
    for pair in claim["pairs"]:
        gain, p = signed(pair["difference"]), probability(pair["p_corrected"])
        lines.append(f"  - {pair['pair']}: {gain} ({interval(pair)}), corrected p {p}: {pair['verdict']}.")
    return "\n".join(lines)


def lesions(result: Mapping[str, Any]) -> str:
    """Recall and Dice of the lesions by volume, and what was found where there is none."""
    numbers = {name: found["lesions"] // len(row["seeds"]) for row in result["rows"]  # the same in every row
               for name, found in row["lesions"]["by_size"].items()}  # fmt: skip
    heads = ["row", "map", *(f"{name} (n = {n})" for name, n in numbers.items()), "false lesions a case",
             "the same in cases without an object"]  # fmt: skip
    lines = []
    for row in result["rows"]:
        cells = [f"{size['found']:.2f} / {size['dice']:.3f}" for size in row["lesions"]["by_size"].values()]
        false = [row[part]["false_per_case"] for part in ("lesions", "without_object")]
        lines.append([row["title"], row["map"], *cells, *("–" if n is None else f"{n:.2f}" for n in false)])
    return f"{LESIONS}\n\n{table(heads, lines)}"
