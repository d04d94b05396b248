"""A table in words and Markdown: ours beside the paper's, the comparisons, and which of the claims held."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrnet_edu.figures.tables import name_of, paper_difference
from lrnet_edu.methods import BASELINE
from lrnet_edu.metrics import CRITERIA, columns
from lrnet_edu.study.page import joined, table
from lrnet_edu.study.rows import TABLES

DIFFERENCE = "+z.4f"  # print format of one in DC
CLAIMS = (
    'A claim held if every comparison behind it is "better", in part if some are, and failed if one is "worse". '
    "These comparisons are corrected together, apart from those above, so a p may differ between the two lists."
)


def as_markdown(result: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """What :func:`lrnet_edu.study.table.build_table` returned as a page, with its pictures as Markdown shows them."""
    claims = "\n".join(claim_in_words(claim) for claim in result["claims"])
    return joined([
        f"# {result['title']}",
        introduction(result),
        "## Ours, and the paper's in parentheses",
        grid(result) if TABLES[result["table"]].maps else rows_by_criteria(result),
        reading_notes(result),
        "## Against M-Net + Dice",
        comparisons(result),
        *pictures.values(),
        *(("## What the paper claims, and what held here", CLAIMS, claims) if claims else ()),
        "## By size of the lesion",
        lesions(result),
        "## How this was made",
        facts(result),
    ])  # fmt: skip


def introduction(result: Mapping[str, Any]) -> str:
    test, seeds = result["test"], len(result["facts"]["seeds"])
    cases, paper = test["with_object"], f" The paper: {result['paper']}." if result["paper"] else ""
    lines = [
        f"{cases} test case{'s' * (cases != 1)} with {test['lesions']} lesions in all, "
        f"{seeds} seed{'s' * (seeds != 1)}, {result['facts']['runs']} runs finished.{paper}",
    ]
    if more := test["cases"] - cases:
        lines.append(f"{more} more without an object are no part of these means: Dice would be 0 or 1 there.")
    if test["comparisons"] and cases < test["cases_needed"]:
        lines.append(
            "**With so few cases the corrected test cannot call any difference to M-Net + Dice significant**, were all "
            f"cases to agree: for {test['comparisons']} comparisons it takes {test['cases_needed']}."
        )
    return "\n".join(lines)


# ---- the numbers --------------------------------------------------------------------------------------------------


def grid(result: Mapping[str, Any]) -> str:
    """DC as the paper's Table 1 has it: trainings down, maps across, and above them the rows without such a map."""
    found, design = {row["row"]: row for row in result["rows"]}, TABLES[result["table"]]
    above: list[str] = []
    trainings: dict[tuple[str, float | None], dict[str, str]] = {}
    for row in design.rows:
        cell = cell_of(found.get(row.key), "DC") + seeds_of(found.get(row.key), result)
        if row.map_name in design.maps:
            trainings.setdefault((row.title, row.alpha), dict.fromkeys(design.maps, "–"))[row.map_name] = cell
        else:
            above.append(f"- {' '.join(filter(None, (row.title, row.map_name)))}: DC {cell}")
    lines = [[title, *cells.values()] for (title, _), cells in trainings.items()]
    return "\n".join(above) + "\n\n" + table(["DC", *design.maps], lines)


def rows_by_criteria(result: Mapping[str, Any]) -> str:
    """All criteria of every row, mean over the seeds and deviation; the paper's figure behind."""
    heads = ["row", *(f"{name} (mm)" if CRITERIA[name].unit else name for name in columns())]
    return table(heads, [[row["title"] + seeds_of(row, result), *(cell_of(row, name) for name in columns())]
                         for row in result["rows"]])  # fmt: skip


def seeds_of(row: Mapping[str, Any] | None, result: Mapping[str, Any]) -> str:
    """How many seeds a row has finished, if it lacks one."""
    wanted = len(result["facts"]["seeds"])
    return "" if row is None or len(row["seeds"]) == wanted else f" ({len(row['seeds'])} of {wanted} seeds)"


def cell_of(row: Mapping[str, Any] | None, name: str) -> str:
    """ "0.431 ± 0.012 (0.742)": mean over the seeds, deviation, the paper's."""
    if row is None:
        return "–"
    form = CRITERIA[name].form.replace(".", "z.")
    spread = f" ± {number(row['sd'][name], form.lstrip('+'))}" if row["sd"].get(name) is not None else ""
    return f"{number(row['mean'].get(name), form)}{spread} ({number(row['paper'].get(name), form[:-2] + '3f')})"


def number(value: float | None, form: str) -> str:
    """A number with a proper minus; a dash for None."""
    return "–" if value is None else format(value, form).replace("-", "−")


def probability(p: float) -> str:
    if p < 0.001:
        return "< 0.001"
    return f"{p:.4f}" if 0.0495 <= p < 0.05 else f"{p:.3f}"  # which would round to the level itself


def reading_notes(result: Mapping[str, Any]) -> str:
    """How to read the numbers, and which means leave cases out: where nothing was predicted there is no distance."""
    note = (
        "One voxel found far from every lesion decides MSD. α: the default by kind of map; in Table 1 a row without α "
        "has α = 1."
    )
    if missed := [f"{name_of(row)} {n}" for row in result["rows"] if (n := row["undefined"]["ASSD"])]:
        note += "\n\nNothing was predicted, so that no distance is defined, in this many cases of all seeds: "
        note += f"{'; '.join(missed)}."
    return note


def comparisons(result: Mapping[str, Any]) -> str:
    """Every row against M-Net + Dice."""
    heads = ["row", "map", "difference in DC", "95 % interval", "p", "p corrected", "verdict", "paper's difference"]
    baseline: Mapping[str, Any] = next((row for row in result["rows"] if row["row"] == BASELINE), {})
    lines = [
        [row["title"] + seeds_of(row, result), row["map"], number(c["difference"], DIFFERENCE), interval(c),
         probability(c["p"]), probability(c["p_corrected"]), c["verdict"],
         number(paper_difference(row, baseline), "+z.3f")]
        for row in result["rows"] if (c := row["comparison"])
    ]  # fmt: skip
    how = (
        "Dice of the same cases after trainings from the same seeds. The interval is a bootstrap over cases and seeds; "
        "p is Wilcoxon's signed-rank test over the cases, each the mean of its seeds, corrected by Holm's method. "
        "Better or worse needs both: a corrected p below 0.05 and an interval without 0."
    )
    return f"{how}\n\n{table(heads, lines)}" if lines else "No row has finished a seed that M-Net + Dice has."


def interval(comparison: Mapping[str, Any]) -> str:
    return f"{number(comparison['low'], DIFFERENCE)} to {number(comparison['high'], DIFFERENCE)}"


def claim_in_words(claim: Mapping[str, Any]) -> str:
    """One claim, its outcome and the comparisons behind it."""
    lines = [f"- **{claim['claim']}: {claim['outcome']}.**"]
    for pair in claim["pairs"]:
        gain, p = number(pair["difference"], DIFFERENCE), probability(pair["p_corrected"])
        lines.append(f"  - {pair['pair']}: {gain} ({interval(pair)}), corrected p {p}: {pair['verdict']}.")
    return "\n".join(lines)


def lesions(result: Mapping[str, Any]) -> str:
    """Recall and Dice of the lesions by volume, and what was found where there is none."""
    numbers = {name: found["lesions"] // len(row["seeds"]) for row in result["rows"]  # the same in every row
               for name, found in row["lesions"]["by_size"].items()}  # fmt: skip
    heads = ["row", "map", *(f"{name} (n = {n})" for name, n in numbers.items())]
    heads += ["false lesions a case", "the same in cases without an object"]
    lines = []
    for row in result["rows"]:
        cells = [f"{size['found']:.2f} / {size['dice']:.3f}" for size in row["lesions"]["by_size"].values()]
        false = [number(row[part]["false_per_case"], ".2f") for part in ("lesions", "without_object")]
        lines.append([row["title"], row["map"], *cells, *false])
    how = "Share of the lesions of which at least one voxel was found / mean Dice of each with all that touches it."
    return f"{how}\n\n{table(heads, lines)}"


def facts(result: Mapping[str, Any]) -> str:
    known = result["facts"]
    cases = ", ".join(f"{number} {part}" for part, number in known["cases"].items())
    settings = ", ".join(f"{name} {value}" for name, value in known["settings"].items())
    window = known["window_hu"]
    scale = f"window {window[0]:g} to {window[1]:g} HU" if window else "intensities standardised"
    return "\n".join([
        f"- Command: `{known['command']}`",
        f"- Cases: {cases}; grid {known['grid_mm']:g} mm, {scale}",
        f"- Settings of all rows: {settings}; rows with an LR-Net begin with Dice alone, the warm-up",
        f"- Device: {'; '.join(known['devices'])}",
        f"- Versions: {'; '.join(known['versions'])}",
        f"- CPU seconds of all trainings together: {known['seconds']:.0f}",
    ])  # fmt: skip
