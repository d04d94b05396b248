"""The study in three pictures: the curves, the differences, how the trainings went."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from lrnet_edu.figures.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY_BLUE, VERMILION
from lrnet_edu.figures.picture import Picture, styled

COLORS = {"A": BLUE, "B": VERMILION, "C": PURPLE, "D": ORANGE, "E": GREEN, "J": SKY_BLUE}  # others are grey
VIEWS = {"whole": "whole body", "box": "liver's box"}


@styled
def curves_figure(result: Mapping[str, Any]) -> Picture:
    """Mean lesion Dice over false lesions a case, a panel for each set and view: mean of the seeds, and their range."""
    figure = Picture(9.0)
    rates, panels = np.array(result["rates"]), figure.subplots(2, 2, sharex=True, sharey=True)
    for axes, (cell, content) in zip(panels.T.ravel(), result["cells"].items(), strict=True):
        for arm, marker in zip(COLORS, cycle("osD^vP"), strict=False):
            if by_seed := content["curves"].get(arm):
                curves = np.array(by_seed)
                axes.fill_between(rates, curves.min(axis=0), curves.max(axis=0), color=COLORS[arm], alpha=0.12, lw=0)
                axes.plot(rates, curves.mean(axis=0), color=COLORS[arm], lw=2, marker=marker, markevery=4,
                          label=f"{arm}: {result['arms'][arm]}")  # fmt: skip
        which, view = cell.split("/")
        axes.set(title=f"{which}, {VIEWS[view]}", xscale="log")
        axes.xaxis.set_major_locator(FixedLocator([1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}" if x >= 1 else f"1/{1 / x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(color=GREY, alpha=0.3)
    for axes in panels[-1]:
        axes.set_xlabel("At most so many false lesions a case")
    for axes in panels[:, 0]:
        axes.set_ylabel("Mean lesion Dice, 0.25 to 5 ml\n(missed = 0, no unit)")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    primary = result["cells"][result["primary_cell"]]["endpoints"]
    means = [f"{arm} {np.mean(primary[arm]['mean lesion Dice']):.3f}" for arm in COLORS if arm in primary]
    return figure.finish(f"Mean lesion Dice against false lesions a case. Mean at LUNA16's rates: {', '.join(means)}.")


@styled
def forest_figure(result: Mapping[str, Any]) -> Picture:
    """The primary endpoint's difference of every comparison: each seed, mean, 95 % intervals, and the margin."""
    content = result["cells"][result["primary_cell"]]
    rows = [*content["gains"], *content["further"]]
    figure = Picture(2.2 + 0.42 * max(1, len(rows)))
    axes = figure.subplots()
    margin = result["margin"]
    axes.axvspan(-margin, margin, color=GREY, alpha=0.2, lw=0, label=f"called equal (within {margin:g})")
    axes.axvline(0, color=BLACK, lw=1.5)
    for y, row in enumerate(rows):
        colour = COLORS.get(row["ours"], GREY)
        axes.plot([row["boot_low"], row["boot_high"]], [y, y], color=colour, lw=1.2)
        axes.plot([row["low"], row["high"]], [y, y], color=colour, lw=4, solid_capstyle="butt")
        axes.plot(row["by_seed"], np.full(len(row["by_seed"]), y + 0.28), "|", color=GREY, ms=7, mew=1.5)
        axes.plot(row["mean"], y, "o", ms=8, mfc=colour, mec=BLACK, zorder=3)
    for style, width, label in (("-", 4, "t interval over seeds, 95 %"), ("-", 1.2, "bootstrap over seeds and cases")):
        axes.plot([], [], style, lw=width, color=BLACK, label=label)
    axes.plot([], [], "|", color=GREY, ms=7, mew=1.5, label="one seed")
    axes.set_yticks(range(len(rows)), [f"{row['ours']} \u2212 {row['theirs']}: {row['verdict']}" for row in rows])
    axes.set_ylim(len(rows) - 0.3, -0.7)
    axes.set_xlabel("Difference in mean lesion Dice at LUNA16's rates (no unit), right is better")
    figure.legend(loc="outside upper center", ncols=2)
    told = [f"{row['ours']} minus {row['theirs']} {row['mean']:+.3f}, {row['verdict']}" for row in rows]
    return figure.finish(f"Differences between the arms. {'; '.join(told) or 'None yet'}.")


@styled
def learning_figure(result: Mapping[str, Any]) -> Picture:
    """Validation DC over the steps: of the M-Nets that Dice trains, once with twice the steps, and of the branches."""
    figure = Picture(4.4)
    left, right = figure.subplots(1, 2, sharey=True)
    longest = 0.0
    for base in result["bases"]:
        twice = base["arm"] != "base"
        longest = max(longest, base["log"][-1]["step"])
        _line(left, base["log"], VERMILION if twice else BLUE, label="twice the steps" if twice else "one seed")
    for arm, logs in result["logs"].items():
        if arm in COLORS:
            for log in logs:
                _line(right, log, COLORS[arm], label=arm)
    left.set(title="M-Net + Dice", xlabel="Step", ylabel="Validation DC (Dice per case)", ylim=(0, 1))
    right.set(title="What the arms make of it", xlabel="Step of the branch")
    for axes in (left, right):
        axes.grid(color=GREY, alpha=0.3)
        named = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        axes.legend(named.values(), named.keys(), loc="lower right", ncols=2)
    ends = [base["log"][-1]["score"] for base in result["bases"] if base["arm"] == "base"]
    mean = f"{np.mean(ends):.3f}" if ends else "not there"
    return figure.finish(f"Learning curves over {longest:g} steps. Validation DC of M-Net + Dice at its end: {mean}.")


def _line(axes: Axes, log: list[Mapping[str, float]], colour: str, label: str) -> None:
    axes.plot([row["step"] for row in log], [row["score"] for row in log], "-o", ms=3, color=colour, label=label)
