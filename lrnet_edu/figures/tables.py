"""A table as a picture: what every row gains over M-Net + Dice, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lrnet_edu.figures.palette import BLACK, GREY
from lrnet_edu.figures.picture import Picture, colour_of, styled
from lrnet_edu.methods import BASELINE

LEFT_END = -0.45  # of the axis, in DC, unless a row's mean lies further out


@styled
def comparison_figure(result: Mapping[str, Any]) -> Picture:
    """Difference in DC to M-Net + Dice of every row: mean, 95 % interval, each seed, and the paper's own.

    A filled mark says that the corrected test and the interval both tell the row from M-Net + Dice. A bar that would
    take the others' room ends in an arrow with its end's value and the number of seeds out there.

    Args:
        result: what :func:`lrnet_edu.study.table.build_table` returned.
    """
    rows = [row for row in result["rows"] if row["comparison"]]
    baseline: Mapping[str, Any] = next((row for row in result["rows"] if row["row"] == BASELINE), {})
    figure = Picture(1.9 + 0.34 * max(1, len(rows)))
    axes = figure.subplots()
    axes.axvline(0, color=BLACK, lw=1.5)
    for y, row in enumerate(rows):
        c, colour, by_seed = row["comparison"], colour_of(row["method"]), seed_differences(row, baseline)
        axes.plot([c["low"], c["high"]], [y, y], color=colour, lw=3, solid_capstyle="butt")
        axes.plot(by_seed, np.full(len(by_seed), y + 0.28), "|", color=GREY, ms=7, mew=1.5)
        face = colour if c["verdict"] != "not distinguishable" else "white"
        axes.plot(c["difference"], y, "o", ms=8, mfc=face, mec=colour, mew=2, zorder=3)
        if (printed := paper_difference(row, baseline)) is not None:
            axes.plot(printed, y, "D", ms=6, mfc="none", mec=BLACK, mew=1.2)
    left = max(axes.get_xlim()[0], min([LEFT_END, *(row["comparison"]["difference"] - 0.05 for row in rows)]))
    axes.set_xlim(left=left)
    for y, row in enumerate(rows):
        low, out = row["comparison"]["low"], sum(d < left for d in seed_differences(row, baseline))
        hidden = [f"\u2212{-low:.2f}"] if low < left else []
        hidden += [f"{out} seed{'s' if out > 1 else ''}"] if out else []
        if hidden:
            text = f"\u25c4 {', '.join(hidden)}"
            axes.annotate(text, (left, y), xytext=(3, 8), textcoords="offset points", va="center")
    axes.set_yticks(range(len(rows)), [name_of(row, ", ") for row in rows])
    axes.set_ylim(len(rows) - 0.3, -0.7)
    axes.set_xlabel("Difference in DC to M-Net + Dice (no unit), right is better")
    axes.grid(axis="x", color=GREY, alpha=0.3)
    for style, face, edge, label in (
        ("o", "none", BLACK, "mean of all seeds, 95 % interval"),
        ("o", BLACK, BLACK, "the same, distinguishable from M-Net + Dice"),
        ("|", "none", GREY, "one seed"),
        ("D", "none", BLACK, "the paper's difference"),
    ):
        axes.plot([], [], style, mfc=face, mec=edge, color=BLACK, label=label)
    figure.legend(loc="outside upper center", ncols=2, handlelength=1)
    if not rows:
        return figure.finish(f"{result['title']}: no row to compare yet.")
    alt = f"{result['title']}: difference in DC to M-Net + Dice with its 95 % interval, {len(rows)} rows. "
    for verdict in ("better", "worse"):
        told = [row for row in rows if row["comparison"]["verdict"] == verdict]
        gains = ", ".join(f"{name_of(row)} {row['comparison']['difference']:+.3f}" for row in told)
        alt += f"{verdict.capitalize()}: {gains or 'none'}. "
    return figure.finish(f"{alt}The others are not distinguishable.")


def name_of(row: Mapping[str, Any], between: str = " ") -> str:
    """A row's title, and its map if it has one."""
    return between.join(filter(None, (row["title"], row["map"])))


def seed_differences(row: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[float]:
    """DC of each seed that both have finished, minus the baseline's."""
    ours, theirs = (dict(zip(one["seeds"], one["by_seed"]["DC"], strict=True)) for one in (row, baseline))
    return [ours[seed] - theirs[seed] for seed in ours if seed in theirs]


def paper_difference(row: Mapping[str, Any], baseline: Mapping[str, Any]) -> float | None:
    """The difference in DC that the paper prints; None for a row that is not the paper's."""
    printed = [one["paper"].get("DC") for one in (row, baseline)]
    return None if None in printed else printed[0] - printed[1]
