"""A table in words and Markdown: ours beside the paper's, the comparisons, and which of the claims held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lrnet_edu.study.rows import BASELINE, COLUMNS, CRITERIA, TABLES, TRAININGS, Row

UNITS = {"DC": "", "DG": "", "VOE": "", "RVD": "", "ASSD": " (mm)", "MSD": " (mm)", "RMSD": " (mm)"}
DIGITS = {"ASSD": 2, "MSD": 2, "RMSD": 2}  # three for the others
DASH = "–"


def as_markdown(result: Mapping[str, Any], *, picture: str, alt: str) -> str:
    """The whole result of :func:`lrnet_edu.study.table.build_table` as a page.

    Args:
        result: what it returned.
        picture: name of the figure's file.
        alt: its alt text.
    """
    parts = [
        f"# {result['title']}",
        introduction(result),
        "## Ours, and the paper's in parentheses",
        grid(result) if result["table"] == "table1" else rows_by_criteria(result),
        "\n\n".join(reading_notes(result)),
        "## Against M-Net + Dice",
        comparisons(result),
        f"![{alt}]({picture})",
        "## What the paper claims, and what held here",
        'A claim held if every comparison behind it is "better", in part if some are, and failed if one is "worse". '
        "These comparisons are corrected together, apart from those above, so a p may differ between the two lists.",
        "\n".join(claim_in_words(claim) for claim in result["claims"]),
        "## By size of the lesion",
        lesions(result),
        "## How every row was trained",
        trainings(result),
        "## How this was made",
        facts(result),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def introduction(result: Mapping[str, Any]) -> str:
    test, seeds = result["test"], len(result["facts"]["seeds"])
    cases = test["with_object"]
    lines = [
        f"{cases} test case{'s' * (cases != 1)} with {test['lesions']} lesions in all, "
        f"{seeds} seed{'s' * (seeds != 1)}, {result['facts']['runs']} runs finished. The paper: {result['paper']}.",
    ]
    if test["cases"] > cases:
        number = test["cases"] - cases
        lines.append(
            f"{number} more test case{'s hold' if number > 1 else ' holds'} no object: Dice would be 0 or 1 there, so "
            "they are no part of these means, and what was found in them stands in the table by size."
        )
    if test["comparisons"] and cases < test["cases_needed"]:
        lines.append(
            "**With so few cases the corrected test cannot call any difference to M-Net + Dice significant**, were all "
            f"cases to agree: for {test['comparisons']} comparisons it takes {test['cases_needed']}."
        )
    return "\n".join(lines)


# ---- the numbers --------------------------------------------------------------------------------------------------


def grid(result: Mapping[str, Any]) -> str:
    """DC as the paper's Table 1 has it: trainings down, maps across, and the baselines above."""
    found = {row["row"]: row for row in result["rows"]}

    def cell(row: Row) -> str:
        return cell_of(found.get(row.key), "DC") + seeds_of(found.get(row.key), result)

    above = [f"- {row.title}: DC {cell(row)}" for row in TABLES["table1"].rows if not row.map_name]
    lines = []
    for method, alpha in TRAININGS:
        rows = [Row(method, *COLUMNS[name], alpha=alpha) for name in COLUMNS]
        lines.append([rows[0].title, *map(cell, rows)])
    return "\n".join(above) + "\n\n" + table(["DC", *COLUMNS], lines)


def rows_by_criteria(result: Mapping[str, Any]) -> str:
    """All criteria of every row, mean over the seeds and deviation; the paper's figure behind."""
    heads = ["row", *(f"{name}{UNITS[name]}" for name in CRITERIA)]
    lines = [[row["title"] + seeds_of(row, result), *(cell_of(row, name) for name in CRITERIA)]
             for row in result["rows"]]  # fmt: skip
    return table(heads, lines)


def seeds_of(row: Mapping[str, Any] | None, result: Mapping[str, Any]) -> str:
    """ " (1 of 3 seeds)" after a row that has not finished all."""
    number, asked = len(row["seeds"]) if row else 0, len(result["facts"]["seeds"])
    return f" ({number} of {asked} seeds)" if row and number < asked else ""


def cell_of(row: Mapping[str, Any] | None, name: str) -> str:
    """ "0.431 ± 0.012 (0.742)": mean over the seeds, deviation, the paper's."""
    if row is None:
        return DASH
    digits, signed = DIGITS.get(name, 3), name == "RVD"
    ours = number(row["mean"][name], digits, signed=signed)
    spread = f" ± {row['sd'][name]:.{digits}f}" if row["sd"][name] is not None else ""
    return f"{ours}{spread} ({number(row['paper'].get(name), 3, signed=signed)})"


def number(value: float | None, digits: int, *, signed: bool = False) -> str:
    return DASH if value is None else f"{value:{'+' if signed else ''}z.{digits}f}".replace("-", "−")


def probability(p: float) -> str:
    if p < 0.001:
        return "< 0.001"
    return f"{p:.4f}" if 0.0495 <= p < 0.05 else f"{p:.3f}"  # which would round to the level itself


def reading_notes(result: Mapping[str, Any]) -> list[str]:
    """How to read the numbers, and which means leave cases out: where nothing was predicted there is no distance."""
    notes = [
        "Distances are long where something is found far from every lesion: one such voxel decides MSD, and the "
        "number of false lesions stands in the table by size. α: the default by kind of map; in Table 1 a row "
        "without α has α = 1."
    ]
    missed = [row for row in result["rows"] if row["undefined"]["ASSD"]]
    if not missed:
        return notes
    listed = "; ".join(f"{' '.join((row['title'], row['map'])).strip()} {row['undefined']['ASSD']}" for row in missed)
    return [
        *notes,
        f"Nothing was predicted, so that no distance is defined, in this many cases of all seeds: {listed}.",
    ]


def comparisons(result: Mapping[str, Any]) -> str:
    heads = ["row", "map", "difference in DC", "95 % interval", "p", "p corrected", "verdict", "paper's difference"]
    baseline = next(row for row in TABLES[result["table"]].rows if row.key == BASELINE)
    lines = []
    for row in result["rows"]:
        if (c := row["comparison"]) is None:
            continue
        lines.append([row["title"] + seeds_of(row, result), row["map"], number(c["difference"], 4, signed=True),
                      interval(c), probability(c["p"]), probability(c["p_corrected"]), c["verdict"],
                      number(row["paper"]["DC"] - baseline.paper["DC"], 3, signed=True)])  # fmt: skip
    how = (
        "Dice of the same cases after trainings from the same seeds. The interval is a bootstrap over cases and seeds; "
        "p is Wilcoxon's signed-rank test over the cases, each the mean of its seeds, corrected by Holm's method. "
        "Better or worse needs both: a corrected p below 0.05 and an interval without 0."
    )
    return f"{how}\n\n{table(heads, lines)}" if lines else "No row has finished a seed that M-Net + Dice has."


def interval(comparison: Mapping[str, Any]) -> str:
    return f"{number(comparison['low'], 4, signed=True)} to {number(comparison['high'], 4, signed=True)}"


def claim_in_words(claim: Mapping[str, Any]) -> str:
    """One claim, its outcome and the comparisons behind it."""
    lines = [f"- **{claim['claim']}: {claim['outcome']}.**"]
    for pair in claim["pairs"]:
        lines.append(
            f"  - {pair['pair']}: {number(pair['difference'], 4, signed=True)} ({interval(pair)}), corrected p "
            f"{probability(pair['p_corrected'])}: {pair['verdict']}."
        )
    return "\n".join(lines)


def lesions(result: Mapping[str, Any]) -> str:
    """Recall and Dice of the lesions by volume, and what was found where there is none."""
    numbers: dict[str, int] = {}  # of the lesions of each size, which are the same in every row
    for row in result["rows"]:
        for name, found in row["lesions"]["by_size"].items():
            numbers.setdefault(name, found["lesions"] // len(row["seeds"]))
    heads = ["row", "map", *(f"{name} (n = {n})" for name, n in numbers.items())]
    heads += ["false lesions a case", "the same in cases without an object"]
    lines = []
    for row in result["rows"]:
        bins = [row["lesions"]["by_size"].get(name) for name in numbers]  # None only if somebody edited the scores
        cells = [f"{found['found']:.2f} / {found['dice']:.3f}" if found else "" for found in bins]
        false = [number(row[part]["false_per_case"], 2) for part in ("lesions", "without_object")]
        lines.append([row["title"], row["map"], *cells, *false])
    how = "Share of the lesions of which at least one voxel was found / mean Dice of each with all that touches it."
    return f"{how}\n\n{table(heads, lines)}"


def trainings(result: Mapping[str, Any]) -> str:
    """The schedule of every row; the maps that share one stand in one line."""
    maps: dict[tuple[str, str], list[str]] = {}
    for row in result["rows"]:
        maps.setdefault((row["title"], row["schedule"]), []).append(row["map"])
    return table(["row", "map", "training"], [[title, ", ".join(m), words] for (title, words), m in maps.items()])


def facts(result: Mapping[str, Any]) -> str:
    known = result["facts"]
    cases = ", ".join(f"{number} {part}" for part, number in known["cases"].items())
    settings = ", ".join(f"{name} {value}" for name, value in known["settings"].items())
    window = known["window_hu"]
    scale = f"window {window[0]:g} to {window[1]:g} HU" if window else "intensities standardised"
    lines = [
        f"- Command: `{known['command']}`",
        f"- Cases: {cases}; grid {known['grid_mm']:g} mm, {scale}",
        f"- Settings of all rows: {settings}",
        "- Kept of each run: the weights with the best validation DC (after the warm-up, where there is one).",
        f"- Device: {'; '.join(known['devices'])}",
        f"- Versions: {'; '.join(known['versions'])}",
        f"- Seconds of all runs together: {known['seconds']:.0f}",
    ]
    return "\n".join(lines)


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
