"""How trainings went, and how well an LR-Net computes the map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, ScalarFormatter

from lrnet_edu.errors import InputError
from lrnet_edu.figures.picture import Picture, colour_of, styled, two_lines
from lrnet_edu.palette import BLACK, GREY, METHOD_COLORS, VERMILION
from lrnet_edu.pretraining import LRNetQuality

HALF_SIGHT = 15  # voxels: the LR-Net sees 31 in each direction, its own and 15 on either side
BINS_PER_OCTAVE = 2  # of the running mean over lesion sizes

Rows = Sequence[Mapping[str, float]]


@styled
def learning_curves_figure(
    rows_by_title: Mapping[str, Rows], *, score: str | None = "Validation DC (Dice per case)"
) -> Picture:
    """Training and validation loss of every run in a panel of its own, and the validation score of all in one.

    The losses of different methods are different functions: their heights are not to be compared, hence the
    panels. The score means the same for all. The best score, whose weights are kept, is marked.

    Args:
        rows_by_title: title -> the rows of a run's ``log.csv`` (``State.rows``): step, train_loss, val_loss, score.
        score: what the rows' ``score`` is; None leaves its panel out.

    Raises:
        InputError: if there are no runs, or one has no rows yet.
    """
    if not rows_by_title or not all(rows_by_title.values()):
        raise InputError("A run without a validation has no curve; give the rows of runs that have one each.")
    columns = min(len(rows_by_title), 2 if score is None else 4)
    lines = -(-len(rows_by_title) // columns)
    figure = Picture(2.7 * lines + (3.2 if score else 0))
    grid = figure.add_gridspec(
        lines + bool(score), columns, height_ratios=[2.7] * lines + [3.2] * bool(score)
    )
    for i, (title, rows) in enumerate(rows_by_title.items()):
        axes = figure.add_subplot(grid[i // columns, i % columns])
        _losses(axes, title, rows)
        axes.set_ylabel("Loss (no unit)" if i % columns == 0 else "")
        axes.set_xlabel("" if score and i // columns < lines - 1 else "Step")
        if i == 0:
            axes.legend(loc="upper right", handlelength=1.5)
    if score is not None:
        _scores(figure.add_subplot(grid[lines, :]), rows_by_title, score)
    last = [f"{title} from {rows[0]['val_loss']:.2f} to {rows[-1]['val_loss']:.2f}"
            for title, rows in rows_by_title.items()]  # fmt: skip
    best = [f"{title} {max(row['score'] for row in rows):.2f}" for title, rows in rows_by_title.items()]
    sentences = [f"Learning curves. Validation loss over the steps: {'; '.join(last)}."]
    return figure.finish(" ".join([*sentences, f"Best {score}: {'; '.join(best)}."] if score else sentences))


def _losses(axes: Axes, title: str, rows: Rows) -> None:
    steps = [row["step"] for row in rows]
    mark = "o" if len(rows) < 3 else ""  # a line through one point would not be seen
    axes.plot(steps, [row["train_loss"] for row in rows], color=GREY, marker=mark, label="training")
    axes.plot(
        steps,
        [row["val_loss"] for row in rows],
        color=colour_of(title),
        marker=mark,
        lw=2,
        label="validation",
    )
    axes.set_title(two_lines(title))
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    axes.set_xlim(left=0)


def _scores(axes: Axes, rows_by_title: Mapping[str, Rows], score: str) -> None:
    for (title, rows), marker in zip(rows_by_title.items(), "osD^vPX*" * len(rows_by_title), strict=False):
        steps, values = [row["step"] for row in rows], [row["score"] for row in rows]
        best = int(np.argmax(values))
        axes.plot(steps, values, color=colour_of(title), lw=2)
        axes.plot(
            [], [], color=colour_of(title), lw=2, marker=marker, ms=9, label=f"{title}: {values[best]:.2f}"
        )
        axes.plot(steps[best], values[best], color=colour_of(title), marker=marker, ms=9, mec=BLACK, zorder=3)
    axes.set(xlabel="Step", ylabel=score.replace(" (", "\n("), ylim=(0, 1), xlim=(0, None))
    axes.grid(axis="y", color=GREY, alpha=0.3)
    axes.legend(title="Best, marked", loc="lower right", handlelength=1.5, frameon=True, framealpha=0.85)


@styled
def lrnet_quality_figure(quality: LRNetQuality) -> Picture:
    """Error of phi against the lesion's size, one dot a lesion, with the mean of lesions of similar size.

    The mark at 15 voxels is half of what the LR-Net sees: deeper inside a lesion than that no border is in sight,
    and the component's maximum M_C of Eq. 1 can only be guessed.
    """
    figure = Picture(4.2)
    axes = figure.add_subplot()
    radius = np.array([lesion.radius for lesion in quality.lesions])
    error = np.array([lesion.error for lesion in quality.lesions])
    axes.axvline(
        HALF_SIGHT, color=VERMILION, ls="--", label=f"half of what the LR-Net sees ({HALF_SIGHT} voxels)"
    )
    if len(radius):
        axes.plot(radius, error, "o", color=METHOD_COLORS["lrnet"], mec="white", ms=7, label="one lesion")
        axes.plot(*running_mean(radius, error), color=BLACK, lw=2.5, marker="s", ms=6, label="mean by size")
    axes.set_xscale("log")
    axes.set_xlim(min(0.6, *radius, 1) * 0.95, max(30.0, *radius, 1) * 1.1)
    axes.set_xticks([1, 2, 5, 10, 20, *([50] if len(radius) and radius.max() > 40 else [])])
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, max(0.1, *(1.1 * error), 0))
    axes.set_xlabel("Radius of the lesion (voxels, of the ball of equal volume)")
    axes.set_ylabel("Error of φ in the lesion\n(mean |output − map|, no unit)")
    summary = (
        f"error of φ {quality.error:.3f} (mean of {len(radius)} lesions)" if len(radius) else "no lesion"
    )
    axes.set_title(f"LR-Net: Dice {quality.dice:.3f}, {summary}")
    axes.legend(loc="upper left")
    small, large = quality.error_between(0, 12), quality.error_between(12, np.inf)
    by_size = [f"{value:.3f} for lesions {name} 12 voxels radius" for name, value in (("up to", small), ("beyond", large))
               if value == value]  # fmt: skip
    return figure.finish(
        f"Error of phi against lesion radius. Dice {quality.dice:.3f}; error of phi: {', '.join(by_size) or 'none'}."
    )


def running_mean(radius: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean radius and mean error of the lesions of each size class (half an octave wide) that holds any."""
    first, last = np.floor(BINS_PER_OCTAVE * np.log2([radius.min(), radius.max()]))
    edges = 2.0 ** (np.arange(first, last + 2) / BINS_PER_OCTAVE)
    groups = [(low <= radius) & (radius < high) for low, high in pairwise(edges)]
    means = [(radius[group].mean(), error[group].mean()) for group in groups if group.any()]
    return np.array(means)[:, 0], np.array(means)[:, 1]
