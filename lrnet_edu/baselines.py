"""What a guess scores that never looks at the image: the number that a network has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from lrnet_edu.data.cache import CachedCase

GRID = 48  # every box is stretched onto a cube of this edge
THRESHOLDS = np.linspace(0.05, 0.95, 19)


def location_baseline(train: Sequence[CachedCase], others: Sequence[CachedCase], classes: int) -> list[float]:
    """Dice per case of the average training shape at its usual place: one mean for each class 1 .. ``classes``.

    The masks are stretched onto a common cube and averaged; the share of cases from which on a voxel counts as
    object is the one that suits the training cases best. Cases without the object are left out.
    """
    scores = []
    for c in range(1, classes + 1):
        average = np.mean([_stretch(case.classes == c, (GRID,) * 3) for case in train], axis=0)
        with_object = [case for case in train if np.any(case.classes == c)]
        dice = [_mean_dice(average, threshold, with_object, c) for threshold in THRESHOLDS]
        best = float(np.median(THRESHOLDS[np.array(dice) >= max(dice) - 1e-9]))  # the middle of a plateau
        scores.append(_mean_dice(average, best, [case for case in others if np.any(case.classes == c)], c))
    return scores


def _mean_dice(average: np.ndarray, threshold: float, cases: Sequence[CachedCase], c: int) -> float:
    dice = []
    for case in cases:
        guess, truth = _stretch(average, case.classes.shape) > threshold, case.classes == c
        dice.append(2 * np.sum(guess & truth) / (np.sum(guess) + np.sum(truth)))
    return float(np.mean(dice)) if dice else float("nan")


def _stretch(volume: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    factors = [new / old for new, old in zip(shape, volume.shape, strict=True)]
    return ndimage.zoom(volume.astype(np.float32), factors, order=1, mode="nearest", grid_mode=True)
