"""A table's page, ``TABLE.md``: ours beside the paper's, the comparisons, and which of the claims held."""

from collections.abc import Mapping
from typing import Any

from lrnet_edu.figures.tables import name_of, paper_difference
from lrnet_edu.methods import BASELINE
from lrnet_edu.metrics import CRITERIA, columns
from lrnet_edu.study.page import bullets, interval, joined, mean_and_deviation, signed, table
from lrnet_edu.study.protocol import CONVERGED
from lrnet_edu.study.rows import TABLES
from lrnet_edu.study.statistics import MARGIN

COMPARISONS = (
    "Difference in DC by seed: mean, 95 % t interval over the seeds, 95 % bootstrap interval over seeds and cases, p "
    f"of the t test corrected by Holm's method. Equal: the t interval lies within \u00b1{MARGIN:g}. Ahead or behind: a "
    "corrected p below 0.05, and both intervals leave 0 out. No verdict where both sides are below location alone, or "
    f"where a row's family of losses gains {CONVERGED:g} validation DC or more by twice the steps, or was not "
    "trained for so many: not converged."
)
CLAIMS = (
    'A claim held if every comparison behind it is "ahead", in part if some are, and failed if one is "behind". '
    "These comparisons are corrected together, apart from those above."
)
NOTES = (
    "Means over the seeds \u00b1 their standard deviation, the paper's figure in parentheses. One voxel found far from "
    "every lesion decides MSD. \u03b1: the default by kind of map; in Table 1 a row without \u03b1 has \u03b1 = 1. "
    "Rows that regress a map or the mask begin with Dice alone, the warm-up, seen in their training loss. Both "
    "regression networks have Dice beside cross-entropy. SmoothL1(p, mask) in an LR-Net's place is its control."
)
LESIONS = (
    "False lesions: predicted components that touch none, a case, at p > 0.5. DC without them: they are removed first. "
    "Mean lesion Dice (missed = 0) and sensitivity are averaged over at most 1/8, 1/4, 1/2, 1, 2, 4 and 8 false "
    "lesions a case; the lesion Dice by size is at p > 0.5."
)
CONVERGENCE = (
    "The learning rate of each family of losses, by its best validation DC with a seed that takes no other part (wce "
    "weighs by the inverse frequency, wce-power-0.5 by its square root). By the study's bar a training has converged "
    f"if twice the steps gain less than {CONVERGED:g}. All rates end at 0, so that every curve below flattens."
)
LESION_COLUMNS = {"DC without false lesions": ".3f", "false lesions": ".2f", "mean lesion Dice": ".3f",
                  "sensitivity": ".3f"}  # fmt: skip


def as_markdown(result: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """What :func:`lrnet_edu.study.table.build_table` returned as a page, with its pictures as Markdown shows them."""
    claims = "\n".join(claim_in_words(claim) for claim in result["claims"])
    return joined([
        f"# {result['title']}",
        introduction(result),
        "## Ours, and the paper's in parentheses",
        grid(result) if TABLES[result["table"]].by_map else rows_by_criteria(result),
        NOTES,
        "## Lesions",
        LESIONS,
        lesions(result),
        "## Against M-Net + Dice",
        COMPARISONS,
        comparisons(result),
        pictures.get("differences", ""),
        *(("## What the paper claims, and what held here", CLAIMS, claims) if claims else ()),
        *(("## What the methods find", pictures["found"]) if "found" in pictures else ()),
        "## Had they converged?",
        convergence(result),
        pictures.get("learning", ""),
        "## How this was made",
        bullets(result["facts"]),
    ])  # fmt: skip


def introduction(result: Mapping[str, Any]) -> str:
    """What was tested, what is missing of it, and what has to be beaten."""
    test, seeds = result["test"], len(result["facts"]["seeds"])
    cases, paper = test["with_object"], f" The paper: {result['paper']}." if result["paper"] else ""
    sizes = ", ".join(f"{n} of {words}" for words, n in test["lesions"].items())
    lines = [f"{cases} test case{'s' * (cases != 1)} with lesions ({sizes}), {seeds} seed{'s' * (seeds != 1)}, "
             f"{result['facts']['runs']} runs finished.{paper}"]  # fmt: skip
    if more := test["cases"] - cases:
        lines.append(f"{more} more without an object: what is found there counts as false lesions alone.")
    if result["location"] is not None:
        lines.append(f"Location alone, the image unseen: DC {result['location']:.3f}.")
    if fewer := [f"{name_of(row)} ({len(row['seeds'])})" for row in result["rows"] if len(row["seeds"]) < seeds]:
        lines.append(f"With fewer seeds: {', '.join(fewer)}.")
    if missed := [f"{name_of(row)} {n}" for row in result["rows"] if (n := row["undefined"]["ASSD"])]:
        lines.append(f"Cases of all seeds without a distance, as nothing was predicted: {'; '.join(missed)}.")
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
    """All criteria of every row."""
    heads = ["Row", *(f"{name} (mm)" if CRITERIA[name].unit else name for name in columns())]
    return table(heads, [[row["title"], *(cell_of(row, name) for name in columns())] for row in result["rows"]])


def cell_of(row: Mapping[str, Any], name: str) -> str:
    """ "0.431 ± 0.012 (0.742)": mean over the seeds, deviation, the paper's if it prints one."""
    paper = row["paper"].get(name)
    printed = "" if paper is None else f" ({CRITERIA[name].text(paper)})"
    return mean_and_deviation(row["scores"][name], CRITERIA[name].form) + printed


def lesions(result: Mapping[str, Any]) -> str:
    """What became of the lesions, by row."""
    forms = {**LESION_COLUMNS, **{f"lesion Dice, {words}": ".3f" for words in result["test"]["lesions"]}}
    lines = [[name_of(row, ", "), *(mean_and_deviation(row["scores"][name], form) for name, form in forms.items())]
             for row in result["rows"]]  # fmt: skip
    return table(["Row", *(name[0].upper() + name[1:] for name in forms)], lines)


def comparisons(result: Mapping[str, Any]) -> str:
    """Every row against M-Net + Dice."""
    heads = ["Row", "Difference in DC", "t over seeds", "Bootstrap", "p by Holm", "Verdict", "Seeds", "The paper's"]
    baseline: Mapping[str, Any] = next((row for row in result["rows"] if row["row"] == BASELINE), {})
    lines = [
        [name_of(row, ", "), signed(c["mean"]), interval(c), interval(c, "boot_"), f"{c['p_holm']:.2g}", c["verdict"],
         str(len(c["seeds"])), "–" if (printed := paper_difference(row, baseline)) is None else signed(printed)]
        for row in result["rows"] if (c := row["comparison"])
    ]  # fmt: skip
    return table(heads, lines) or "No row has finished a seed that M-Net + Dice has."


def claim_in_words(claim: Mapping[str, Any]) -> str:
    """One claim, its outcome and the comparisons behind it."""
    lines = [f"- **{claim['claim']}: {claim['outcome']}.**"]
    for pair in claim["pairs"]:
        lines.append(f"  - {pair['pair']}: {signed(pair['mean'])} ({interval(pair)}): {pair['verdict']}.")
    return "\n".join(lines)


def convergence(result: Mapping[str, Any]) -> str:
    """How the learning rates were chosen, and what twice the steps gain."""
    lines = [f"- {family}: {', '.join(f'{name} {dc:.3f}' for name, dc in one['validation'].items())}; chosen: "
             f"{one['chosen']}" + (f"; with twice the steps {one['twice']:.3f}." if "twice" in one else ".")
             for family, one in result["chosen"].items()]  # fmt: skip
    return joined([CONVERGENCE, "\n".join(lines)]) if lines else ""
