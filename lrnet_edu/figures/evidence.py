"""The study in three pictures: the curves, the differences, how the trainings went."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np

from lrnet_edu.figures.palette import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY_BLUE, VERMILION
from lrnet_edu.figures.picture import Picture, styled
from lrnet_edu.figures.tables import Difference, forest

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
        axes.set_xticks([1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8], ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
        axes.minorticks_off()
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
    content, margin = result["cells"][result["primary_cell"]], result["margin"]
    rows = [*content["gains"], *content["further"]]
    differences = []
    for row in rows:
        label, colour = f"{row['ours']} \u2212 {row['theirs']}: {row['verdict']}", COLORS.get(row["ours"], GREY)
        differences.append(Difference(label, row["mean"], (row["low"], row["high"]), row["by_seed"], colour))
    figure, axes = forest(differences, "Difference in mean lesion Dice at LUNA16's rates")
    axes.axvspan(-margin, margin, color=GREY, alpha=0.2, lw=0, label=f"called equal (within {margin:g})")
    for y, row in enumerate(rows):
        label = "" if y else "bootstrap over seeds and cases"
        axes.plot([row["boot_low"], row["boot_high"]], [y, y], color=differences[y].colour, lw=1.2, label=label)
    figure.legend(loc="outside upper center", ncols=2)
    told = [f"{row['ours']} minus {row['theirs']} {row['mean']:+.3f}, {row['verdict']}" for row in rows]
    return figure.finish(f"Differences between the arms. {'; '.join(told) or 'None yet'}.")


@styled
def learning_figure(result: Mapping[str, Any]) -> Picture:
    """Validation DC over the steps: of the M-Nets that Dice trains, once with twice the steps, and of the branches."""
    bases = [(base["arm"] == "base", base["log"]) for base in result["bases"]]
    left = [("one seed" if once else "twice the steps", BLUE if once else VERMILION, log) for once, log in bases]
    right = [(arm, COLORS[arm], log) for arm, logs in result["logs"].items() if arm in COLORS for log in logs]
    figure = Picture(4.4)
    for axes, lines in zip(figure.subplots(1, 2, sharey=True), (left, right), strict=True):
        for label, colour, log in lines:
            steps, scores = [row["step"] for row in log], [row["score"] for row in log]
            axes.plot(steps, scores, "-o", ms=3, color=colour, label=label)
        named = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))  # each label once
        axes.legend(named.values(), named.keys(), loc="lower right", ncols=2)
        axes.grid(color=GREY, alpha=0.3)
    figure.axes[0].set(title="M-Net + Dice", xlabel="Step", ylabel="Validation DC (Dice per case)", ylim=(0, 1))
    figure.axes[1].set(title="What the arms make of it", xlabel="Step of the branch")
    longest = max((log[-1]["step"] for _, log in bases), default=0)
    ends = [log[-1]["score"] for once, log in bases if once]
    mean = f"{np.mean(ends):.3f}" if ends else "not there"
    return figure.finish(f"Learning curves over {longest:g} steps. Validation DC of M-Net + Dice at its end: {mean}.")
