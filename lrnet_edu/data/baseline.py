"""What a guess scores that never looks at the image: the number that a network has to beat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from scipy import ndimage

from lrnet_edu.data.cache import CachedCase
from lrnet_edu.metrics import dice

GRID = 48  # every box is stretched onto a cube of this edge
THRESHOLDS = np.linspace(0.05, 0.95, 19)
MOST_VOXELS = 1_000_000  # of larger cases every second voxel is looked at, or every third, along each axis


def location_baseline(train: Sequence[CachedCase], others: Sequence[CachedCase], classes: int) -> list[float]:
    """Dice per case of the average training shape at its usual place: one mean for each class 1 .. ``classes``.

    The masks are stretched onto a common cube and averaged; the share of cases from which on a voxel counts as
    object is the one that suits the training cases best. Cases without the object are left out; NaN where none of
    ``train`` or none of ``others`` is left.
    """
    scores = []
    for c in range(1, classes + 1):
        average = np.zeros((GRID,) * 3, np.float32)
        for mask in _masks(train, c):
            average += _stretch(mask, average.shape) / len(train)
        if not average.any():
            scores.append(float("nan"))
            continue
        by_threshold = _mean_dice(average, THRESHOLDS, _masks(train, c))
        best = np.median(THRESHOLDS[by_threshold >= by_threshold.max() - 1e-9])  # the middle of a plateau
        scores.append(float(_mean_dice(average, np.array([best]), _masks(others, c))[0]))
    return scores


def _mean_dice(average: np.ndarray, thresholds: np.ndarray, masks: Iterable[np.ndarray]) -> np.ndarray:
    """Mean Dice over the masks (D, H, W) at each threshold; NaN without a mask."""
    scores = []
    for truth in masks:
        guess = _stretch(average, truth.shape)
        scores.append([dice(guess > threshold, truth) for threshold in thresholds])
    return np.mean(scores, axis=0) if scores else np.full(len(thresholds), np.nan)


def _masks(cases: Sequence[CachedCase], c: int) -> Iterator[np.ndarray]:
    """The masks (D, H, W) of the cases that hold class c, one in memory at a time."""
    for case in cases:
        mask = _coarse(case.classes) == c
        if mask.any():
            yield mask


def _coarse(classes: np.ndarray) -> np.ndarray:
    step = max(1, round((classes.size / MOST_VOXELS) ** (1 / 3)))
    return np.array(classes[::step, ::step, ::step])


def _stretch(volume: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    factors = [new / old for new, old in zip(shape, volume.shape, strict=True)]
    return ndimage.zoom(volume.astype(np.float32), factors, order=1, mode="nearest", grid_mode=True)
