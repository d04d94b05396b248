"""The study's pictures: free-response ROC, differences between the arms."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from lrnet_edu.figures.palette import ARM_COLORS, BLACK, GREY
from lrnet_edu.figures.picture import Picture, colour_of, styled
from lrnet_edu.figures.tables import Difference, forest_figure

if TYPE_CHECKING:
    from lrnet_edu.study.froc import Froc

VIEWS = {"whole": "whole body", "box": "liver's box"}
LUNA16 = {1 / 8: "1/8", 1 / 4: "1/4", 1 / 2: "1/2", 1: "1", 2: "2", 4: "4", 8: "8"}  # false lesions a case


@styled
def froc_figure(curves: Mapping[str, Froc]) -> Picture:
    """Sensitivity and mean lesion Dice over the false lesions a case, a line for each title."""
    rates = tuple(2.0 ** np.linspace(-3, 3, 49))
    figure = Picture(5.2)
    left, right = figure.subplots(1, 2, sharex=True)
    for (title, curve), style in zip(curves.items(), cycle(("--", "-", "-.", ":")), strict=False):
        colour = colour_of(title, BLACK)
        for axes, values in ((left, curve.sensitivity_at(rates)), (right, curve.dice_at(rates))):
            axes.plot(rates, values, style, color=colour, lw=2.4, label=title)
    for axes in (left, right):
        rates_axis(axes)
    left.set_ylabel("Sensitivity\n(share of the lesions found)")
    right.set_ylabel("Mean lesion Dice\n(missed = 0, no unit)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    told = "; ".join(f"{title} {curve.mean_dice:.3f}" for title, curve in curves.items())
    return figure.finish(f"Free-response ROC. Mean lesion Dice over LUNA16's rates of false lesions: {told}.")


def rates_axis(axes: Axes) -> None:
    """LUNA16's rates along x."""
    axes.set(xscale="log", xlabel="At most this many false lesions a case")
    axes.set_xticks(list(LUNA16), list(LUNA16.values()))
    axes.minorticks_off()
    axes.grid(color=GREY, alpha=0.3)


@styled
def curves_figure(result: Mapping[str, Any], suffix: str = "") -> Picture:
    """Mean lesion Dice over false lesions a case, a panel for each set and view: the mean of the seeds.

    The arms are those whose names end in ``suffix``, such as "-scratch".
    """
    arms = [f"{arm}{suffix}" for arm in ARM_COLORS]
    cells = {cell: content for cell, content in result["cells"].items() if content["curves"].keys() & arms}
    rows = len(cells) // len(VIEWS)
    figure = Picture(4.5 * rows + 0.6 * (rows == 1))
    rates, panels = np.array(result["rates"]), figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False)
    for axes, (cell, content) in zip(panels.T.ravel(), cells.items(), strict=True):
        for arm, colour, marker in zip(arms, ARM_COLORS.values(), "osD^vP", strict=True):
            if by_seed := content["curves"].get(arm):
                axes.plot(rates, np.mean(by_seed, axis=0), "--" if arm == arms[-1] else "-", color=colour, lw=2,
                          marker=marker, markevery=4,
                          label=f"{arm.removesuffix(suffix)}: {result['arms'][arm]}")  # fmt: skip
        which, view = cell.split("/")
        axes.set_title(f"{which}, {VIEWS[view]}")
        rates_axis(axes)
    for axes in panels[:-1].ravel():
        axes.set_xlabel("")
    for axes in panels[:, 0]:
        axes.set_ylabel("Mean lesion Dice, 0.25 to 5 ml\n(missed = 0, no unit)")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    primary = result["cells"][result["primary_cell"]]["endpoints"]
    means = [f"{arm} {np.mean(primary[arm]['mean lesion Dice']):.3f}" for arm in arms if arm in primary]
    where, told = result["primary_cell"], ", ".join(means)
    return figure.finish(f"Mean lesion Dice against false lesions a case. Mean at LUNA16's rates, {where}: {told}.")


def arms_figure(result: Mapping[str, Any]) -> Picture:
    """The primary endpoint's difference of every comparison of arms, whose letters are explained below."""
    content = result["cells"][result["primary_cell"]]
    rows = [
        Difference(f"{row['ours']} \u2212 {row['theirs']}", row, ARM_COLORS.get(row["ours"][0], GREY))
        for row in [*content["gains"], *content["further"]]
    ]
    what = "Difference in mean lesion Dice at LUNA16's rates"
    arms = [f"{arm}: {title}" for arm, title in sorted(result["arms"].items()) if len(arm) == 1]
    key = "\n".join("   ".join(arms[i : i + 3]) for i in range(0, len(arms), 3))
    return forest_figure(rows, what, result["margin"], len(content["gains"]), key)
