"""What a guess scores that never looks at the image: the number that a network has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from lrnet_edu.data.cache import CachedCase

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
    masks = [[_coarse(case.classes) for case in part] for part in (train, others)]  # (D, H, W) each
    for c in range(1, classes + 1):
        training, other = ([mask == c for mask in part if np.any(mask == c)] for part in masks)
        if not training or not other:
            scores.append(float("nan"))
            continue
        average = np.sum([_stretch(mask, (GRID,) * 3) for mask in training], axis=0) / len(train)
        dice = _mean_dice(average, THRESHOLDS, training)
        best = float(np.median(THRESHOLDS[dice >= dice.max() - 1e-9]))  # the middle of a plateau
        scores.append(float(_mean_dice(average, np.array([best]), other)[0]))
    return scores


def _mean_dice(
    average: np.ndarray, thresholds: Sequence[float] | np.ndarray, masks: Sequence[np.ndarray]
) -> np.ndarray:
    """Mean Dice over the masks (D, H, W) at each threshold."""
    dice = np.zeros((len(masks), len(thresholds)))
    for row, truth in zip(dice, masks, strict=True):
        guess = _stretch(average, truth.shape)
        for i, threshold in enumerate(thresholds):
            found = guess > threshold
            row[i] = 2 * np.sum(found & truth) / (np.sum(found) + np.sum(truth))
    return dice.mean(axis=0)


def _coarse(classes: np.ndarray) -> np.ndarray:
    step = max(1, round((classes.size / MOST_VOXELS) ** (1 / 3)))
    return np.array(classes[::step, ::step, ::step])


def _stretch(volume: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    factors = [new / old for new, old in zip(shape, volume.shape, strict=True)]
    return ndimage.zoom(volume.astype(np.float32), factors, order=1, mode="nearest", grid_mode=True)
