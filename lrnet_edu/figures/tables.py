"""Differences as a picture: every comparison with its mean, its intervals, each seed and the verdict."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lrnet_edu.figures.palette import BLACK, GREY
from lrnet_edu.figures.picture import Picture, colour_of, styled
from lrnet_edu.methods import BASELINE


class Difference(NamedTuple):
    label: str
    found: Mapping[str, Any]  # what `lrnet_edu.study.statistics.compare` says, and the verdict
    colour: str
    printed: float | None = None  # by the paper


@styled
def forest_figure(rows: Sequence[Difference], what: str, margin: float, corrected: int, key: str = "") -> Picture:
    """A forest plot of differences, one below the other; a filled mark stands for a verdict: ahead, behind or equal.

    Args:
        what: the differences are, for the axis.
        margin: within which they are called equal.
        corrected: how many of the rows, the first ones, have their p corrected together.
        key: what letters in the labels stand for.
    """
    figure = Picture(2.4 + 0.38 * max(1, len(rows)))
    axes = figure.subplots()
    axes.axvline(0, color=BLACK, lw=1.5)
    axes.axvspan(-margin, margin, color=GREY, alpha=0.2, lw=0, label=f"called equal (within {margin:g})")
    if corrected < len(rows):
        axes.axhline(corrected - 0.5, color=BLACK, lw=1, ls=":", label="below: p not corrected")
    for y, (_, found, colour, printed) in enumerate(rows):
        axes.plot([found["low"], found["high"]], [y, y], color=colour, lw=4, solid_capstyle="butt")
        axes.plot([found["boot_low"], found["boot_high"]], [y, y], color=BLACK, lw=1.2)
        axes.plot(found["by_seed"], np.full(len(found["by_seed"]), y + 0.28), "|", color=GREY, ms=7, mew=1.5)
        face = colour if found["verdict"] in ("ahead", "behind", "equal") else "white"
        axes.plot(found["mean"], y, "o", ms=8, mfc=face, mec=colour, mew=2, zorder=3)
        if printed is not None:
            axes.plot(printed, y, "D", ms=6, mfc="none", mec=BLACK, mew=1.2)
    axes.plot([], [], "-o", color=BLACK, lw=4, ms=8, mfc="white", label="mean of all seeds, 95 % interval")
    axes.plot([], [], color=BLACK, lw=1.2, label="bootstrap over seeds and cases")
    axes.plot([], [], "|", color=GREY, ms=7, mew=1.5, label="one seed")
    axes.plot([], [], "o", color=BLACK, ms=8, label="filled: ahead, behind or equal")
    if any(row.printed is not None for row in rows):
        axes.plot([], [], "D", mfc="none", mec=BLACK, label="the paper's difference")
    axes.set_yticks(range(len(rows)), [f"{row.label}: {row.found['verdict']}" for row in rows])
    axes.set_ylim(len(rows) - 0.3, -0.7)
    axes.set_xlim(*np.clip(axes.get_xlim(), -0.15, 0.15))  # a training that found nothing would squeeze all others
    axes.set_xlabel(f"{what} (no unit), right is better\n{key}".rstrip())
    axes.grid(axis="x", color=GREY, alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2)
    told = "; ".join(f"{row.label} {row.found['mean']:+z.3f}, {row.found['verdict']}" for row in rows)
    return figure.finish(f"{what} with 95 % intervals. {told or 'None yet'}.")


def comparison_figure(result: Mapping[str, Any]) -> Picture:
    """Difference in DC to M-Net + Dice of every row of a table, and the paper's own.

    Args:
        result: what :func:`lrnet_edu.study.table.build_table` returned.
    """
    baseline: Mapping[str, Any] = next((row for row in result["rows"] if row["row"] == BASELINE), {})
    rows = [
        Difference(name_of(row, ", "), row["comparison"], colour_of(row["method"]), paper_difference(row, baseline))
        for row in result["rows"]
        if row["comparison"]
    ]
    return forest_figure(rows, "Difference in DC to M-Net + Dice", result["margin"], len(rows))


def name_of(row: Mapping[str, Any], between: str = " ") -> str:
    """A row's title, and its map if it has one."""
    return between.join(filter(None, (row["title"], row["map"])))


def paper_difference(row: Mapping[str, Any], baseline: Mapping[str, Any]) -> float | None:
    """The difference in DC that the paper prints; None for a row that is not the paper's."""
    printed = [one["paper"].get("DC") for one in (row, baseline)]
    return None if None in printed else printed[0] - printed[1]
