"""What a guess scores that never looks at the image: the number that a network has to beat."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from lrnet_edu.data.cache import CachedCase
from lrnet_edu.metrics import dice

GRID = (48, 48, 48)  # every box is stretched onto this cube
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
        ours, theirs = ([m for case in cases if (m := _coarse(case.classes) == c).any()] for cases in (train, others))
        average = sum((_stretch(mask, GRID) / len(ours) for mask in ours), np.zeros(GRID, np.float32))
        if not average.any() or not theirs:
            scores.append(float("nan"))
            continue
        by_threshold = _mean_dice(average, THRESHOLDS, ours)
        best = np.median(THRESHOLDS[by_threshold >= by_threshold.max() - 1e-9])  # the middle of a plateau
        scores.append(float(_mean_dice(average, np.array([best]), theirs)[0]))
    return scores


def _mean_dice(average: np.ndarray, thresholds: np.ndarray, masks: Sequence[np.ndarray]) -> np.ndarray:
    guesses = ((_stretch(average, truth.shape), truth) for truth in masks)  # one in memory at a time
    return np.mean([[dice(guess > least, truth) for least in thresholds] for guess, truth in guesses], axis=0)


def _coarse(classes: np.ndarray) -> np.ndarray:
    step = max(1, round((classes.size / MOST_VOXELS) ** (1 / 3)))
    return np.array(classes[::step, ::step, ::step])


def _stretch(volume: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    factors = np.divide(shape, volume.shape)
    return ndimage.zoom(volume.astype(np.float32), factors, order=1, mode="nearest", grid_mode=True)
