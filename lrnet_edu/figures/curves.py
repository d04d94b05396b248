"""Curves: how trainings went, and how well an LR-Net computes the map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D

from lrnet_edu.figures.palette import BLACK, BLUE, GREY, METHOD_COLORS, VERMILION
from lrnet_edu.figures.picture import Picture, colour_of, in_lines, styled

if TYPE_CHECKING:
    from lrnet_edu.lrnet_training import LRNetQuality

HALF_SIGHT = 15  # voxels: the LR-Net sees 31 in each direction, its own and 15 on either side
BINS_PER_OCTAVE = 2  # of the running mean over lesion sizes

Rows = Sequence[Mapping[str, float]]  # of a run's log.csv


@styled
def learning_curves_figure(logs: Mapping[str, Sequence[Rows]]) -> Picture:
    """Training and validation loss over the steps, a panel for each title and a line for each of its trainings.

    The losses of different methods are different functions, not to be compared, hence the panels.

    Args:
        logs: title -> the rows of each training, with their step, train_loss and val_loss.
    """
    columns = min(len(logs), 4)
    lines = -(-len(logs) // columns)
    figure = Picture(2.8 * lines + 0.6)
    panels = figure.subplots(lines, columns, squeeze=False)
    for axes in panels.flat[len(logs) :]:
        axes.set_axis_off()
    for axes, (title, runs) in zip(panels.flat, logs.items(), strict=False):
        for rows in runs:
            steps, training, validation = _columns(rows, "step", "train_loss", "val_loss")
            mark = "o" if len(rows) < 3 else ""  # a line through one point would not be seen
            axes.plot(steps, training, color=GREY, ls="--", marker=mark)
            axes.plot(steps, validation, color=colour_of(title, BLACK), marker=mark, lw=2)
        heights = np.concatenate([line.get_ydata() for line in axes.lines])
        if heights.min() > 0 and heights.max() > 20 * heights.min():  # the loss after a warm-up is another one
            axes.set_yscale("log")
        axes.set(title=in_lines(title), xlabel="Step", xlim=(0, None))
    for axes in panels[:, 0]:
        axes.set_ylabel("Loss (no unit)")
    handles = [Line2D([], [], color=GREY, ls="--"), Line2D([], [], color=BLACK, lw=2)]
    figure.legend(handles, ["training", "validation (in the method's colour)"], loc="outside upper right", ncols=2)
    return figure.finish(f"Training and validation losses over the steps: {'; '.join(logs)}.")


@styled
def lrnet_quality_figure(quality: LRNetQuality, rows: Rows) -> Picture:
    """Error of phi against the lesion's size, one dot a lesion, with the mean of lesions of similar size.

    The mark at 15 voxels is half of what the LR-Net sees: deeper inside a lesion no border is in sight, and
    the component's maximum M_C of Eq. 1 can only be guessed.

    Args:
        quality: of an LR-Net on masks it was not trained on.
        rows: of its pretraining with their step, val_error (of phi) and val_dice, drawn in a second panel.
    """
    figure, purple = Picture(4.8), METHOD_COLORS["lrnet"]
    axes, training = panels = figure.subplots(1, 2, width_ratios=[1.9, 1])
    radius = np.array([lesion.radius for lesion in quality.lesions])
    error = np.array([lesion.error for lesion in quality.lesions])
    axes.axvline(HALF_SIGHT, color=VERMILION, ls="--", lw=2, label=f"half its sight ({HALF_SIGHT} voxels)")
    if len(radius):
        axes.plot(radius, error, "o", color=purple, mec="white", ms=7, label="one lesion")
        sizes = np.floor(BINS_PER_OCTAVE * np.log2(radius))
        means = [[values[sizes == one].mean() for one in np.unique(sizes)] for values in (radius, error)]
        axes.plot(*means, color=BLACK, lw=2.5, marker="s", ms=6, label="mean by size")
    largest = max([30, *radius])
    axes.set(xscale="log", xlim=(0.95 * min([0.6, *radius]), 1.1 * largest), ylim=(0, 1.1 * max([0.1, *error])))
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if tick <= largest]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set(title="On each lesion of the held-out masks", xlabel="Radius of the lesion (voxels; ball of equal volume)")
    axes.set_ylabel("Error of φ in the lesion\n(mean |output − map|, no unit)")
    steps, errors, dice = _columns(rows, "step", "val_error", "val_dice")
    training.semilogy(steps, errors, "-o", color=purple, lw=2, label="error of φ")
    training.semilogy(steps, np.maximum(1 - dice, 1e-5), "--s", color=BLUE, lw=2, label="1 − Dice")
    training.set(title="While it was trained", xlabel="Step", ylabel="Error on held-out masks (no unit)")
    training.set_xlim(left=0)
    for axes in panels:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
    summary = f"Dice {quality.dice:.3f}, error of φ {quality.error:.3f} (mean of {len(quality.lesions)} lesions)"
    figure.suptitle(f"LR-Net: {summary}", size=12, weight="bold")
    return figure.finish(f"Error of phi against lesion radius. {summary.replace('φ', 'phi')}.")


def _columns(rows: Rows, *names: str) -> np.ndarray:
    return np.array([[row[name] for row in rows] for name in names], dtype=float)
