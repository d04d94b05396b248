"""Differences to a baseline as a picture: every row with its mean, its interval, and each seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from lrnet_edu.figures.palette import BLACK, GREY
from lrnet_edu.figures.picture import Picture, colour_of, styled
from lrnet_edu.methods import BASELINE

LEFT_END = -0.45  # of the axis, in DC, unless a row's mean lies further out


class Difference(NamedTuple):
    label: str
    mean: float
    interval: tuple[float, float]  # 95 %
    by_seed: Sequence[float]
    colour: str
    filled: bool = True


def forest(rows: Sequence[Difference], what: str) -> tuple[Picture, Axes]:
    """A forest plot of differences, one below the other; ``what`` they are stands at the axis."""
    figure = Picture(2.1 + 0.38 * max(1, len(rows)))
    axes = figure.subplots()
    axes.axvline(0, color=BLACK, lw=1.5)
    for y, row in enumerate(rows):
        axes.plot(row.interval, [y, y], color=row.colour, lw=4, solid_capstyle="butt")
        axes.plot(row.by_seed, np.full(len(row.by_seed), y + 0.28), "|", color=GREY, ms=7, mew=1.5)
        face = row.colour if row.filled else "white"
        axes.plot(row.mean, y, "o", ms=8, mfc=face, mec=row.colour, mew=2, zorder=3)
    axes.plot([], [], "-o", color=BLACK, lw=4, ms=8, mfc="white", label="mean of all seeds, 95 % interval")
    axes.plot([], [], "|", color=GREY, ms=7, mew=1.5, label="one seed")
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylim(len(rows) - 0.3, -0.7)
    axes.set_xlabel(f"{what} (no unit), right is better")
    axes.grid(axis="x", color=GREY, alpha=0.3)
    return figure, axes


@styled
def comparison_figure(result: Mapping[str, Any]) -> Picture:
    """Difference in DC to M-Net + Dice of every row: mean, 95 % interval, each seed, and the paper's own.

    A filled mark stands for a verdict: ahead, behind or equal. What would take the others' room ends in an arrow with
    its last value.

    Args:
        result: what :func:`lrnet_edu.study.table.build_table` returned.
    """
    rows = [row for row in result["rows"] if row["comparison"]]
    baseline: Mapping[str, Any] = next((row for row in result["rows"] if row["row"] == BASELINE), {})
    differences = []
    for row in rows:
        c, decided = row["comparison"], row["comparison"]["verdict"] in ("ahead", "behind", "equal")
        label, interval, colour = (
            f"{name_of(row, ', ')}: {c['verdict']}",
            (c["low"], c["high"]),
            colour_of(row["method"]),
        )
        differences.append(Difference(label, c["mean"], interval, c["by_seed"], colour, decided))
    figure, axes = forest(differences, "Difference in DC to M-Net + Dice")
    left = max(axes.get_xlim()[0], min([LEFT_END, *(row.mean - 0.05 for row in differences)]))
    for y, (row, drawn) in enumerate(zip(rows, differences, strict=True)):
        if (printed := paper_difference(row, baseline)) is not None:
            axes.plot(printed, y, "D", ms=6, mfc="none", mec=BLACK, mew=1.2)
        if (lowest := min([drawn.interval[0], *drawn.by_seed])) < left:
            text = f"\u25c4 \u2212{-lowest:.2f}"
            axes.annotate(text, (left, y), xytext=(3, 8), textcoords="offset points", va="center")
    axes.set_xlim(left=left)
    axes.plot([], [], "o", color=BLACK, ms=8, label="filled: ahead, behind or equal")
    axes.plot([], [], "D", mfc="none", mec=BLACK, label="the paper's difference")
    figure.legend(loc="outside upper center", ncols=2)
    alt = f"{result['title']}: difference in DC to M-Net + Dice with its 95 % interval, {len(rows)} rows. "
    for verdict in ("ahead", "behind"):
        told = [row for row in rows if row["comparison"]["verdict"] == verdict]
        gains = ", ".join(f"{name_of(row)} {row['comparison']['mean']:+.3f}" for row in told)
        alt += f"{verdict.capitalize()}: {gains or 'none'}. "
    return figure.finish(alt.strip())


def name_of(row: Mapping[str, Any], between: str = " ") -> str:
    """A row's title, and its map if it has one."""
    return between.join(filter(None, (row["title"], row["map"])))


def paper_difference(row: Mapping[str, Any], baseline: Mapping[str, Any]) -> float | None:
    """The difference in DC that the paper prints; None for a row that is not the paper's."""
    printed = [one["paper"].get("DC") for one in (row, baseline)]
    return None if None in printed else printed[0] - printed[1]
