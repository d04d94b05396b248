"""The free-response ROC: how many lesions are found, and how well, at how many false ones a case.

A network with a lower threshold finds more lesions and more that are none, so at one threshold two networks cannot be
told apart by either number. The curve over all thresholds can (Bunch et al., 1977; as LUNA16 uses it: Setio et al.,
"Validation, comparison, and combination of algorithms for automatic detection of pulmonary nodules", Medical Image
Analysis 42, 2017). One threshold holds for all cases. Lesions, what finds them and what is false are those of
:func:`lrnet_edu.study.lesions.lesion_scores`.

A threshold so low that everything predicted hangs together finds all lesions and nothing false. The sensitivity does
not see that, the lesions' mean Dice does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrnet_edu.study.lesions import shared_voxels
from lrnet_edu.support.arrays import checked_spacing, plain_array
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.voxels import connected_components, occupied_box

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""LUNA16's numbers of false lesions a case."""

THRESHOLDS = (0.999999, 0.99999, 0.9999, 0.999, 0.99, 0.95, 0.9, 0.8, 0.65, 0.5, 0.35, 0.2, 0.1, 0.05, 0.01, 0.001)
"""Of probabilities; close to 1, where those of a network trained by Dice are."""


@dataclass(frozen=True)
class CaseLesions:
    """The lesions of one case at T thresholds.

    Attributes:
        ml: (lesions,) volumes.
        dice: (T, lesions), each lesion with all predicted components that touch it; 0 where it is missed.
        false_lesions: (T,) predicted components that touch no lesion.
    """

    ml: np.ndarray
    dice: np.ndarray
    false_lesions: np.ndarray


@dataclass(frozen=True)
class Froc:
    """A curve with a point for each of T thresholds, the highest first.

    Attributes:
        thresholds: (T,).
        false_lesions: (T,) a case.
        sensitivity: (T,) share of the lesions that were found; NaN if there are none.
        dice: (T,) mean Dice of the lesions, 0 for one that was missed.
        cases: Their number.
        lesions: Their number.
    """

    thresholds: np.ndarray
    false_lesions: np.ndarray
    sensitivity: np.ndarray
    dice: np.ndarray
    cases: int
    lesions: int

    def sensitivity_at(self, rates: Sequence[float] = RATES) -> np.ndarray:
        """The sensitivity with at most so many false lesions a case: (rates,). LUNA16's score is the mean."""
        return at_most(rates, self.false_lesions, self.sensitivity)

    def dice_at(self, rates: Sequence[float] = RATES) -> np.ndarray:
        """The mean lesion Dice with at most so many false lesions a case: (rates,)."""
        return at_most(rates, self.false_lesions, self.dice)


def froc(cases: Iterable[tuple[Any, Any, Sequence[float]]], thresholds: Sequence[float] = THRESHOLDS) -> Froc:
    """The curve of a network's predictions of many cases.

    >>> import numpy as np
    >>> scores, mask = np.zeros((2, 8, 8, 8))
    >>> mask[1:3, 1:3, 1:3] = 1
    >>> scores[1:3, 1:3, 1:3], scores[6, 6, 6] = 0.7, 0.3  # a lesion found, and a weaker spot where there is none
    >>> curve = froc([(scores, mask, (1, 1, 1))], thresholds=(0.5, 0.2))
    >>> curve.false_lesions.tolist(), curve.sensitivity.tolist(), curve.dice_at([0.5, 1]).tolist()
    ([0.0, 1.0], [1.0, 1.0], [1.0, 1.0])

    Args:
        cases: (scores, reference, spacing) of each, one in memory at a time: probabilities or other scores (D, H, W),
            the reference's mask (D, H, W) and the voxel's size (z, y, x) in mm.
        thresholds: What counts as predicted is above the threshold; in any order.

    Raises:
        InputError: If there is no case or no threshold, the volumes of one are not (D, H, W) of one shape, or the
            scores hold NaN.
    """
    falling = np.unique(np.asarray(thresholds, dtype=float))[::-1]
    scored = [lesions_by_threshold(*case, falling) for case in cases]
    if not scored or not falling.size:
        raise InputError("There is no curve without a case and a threshold; give at least one of each.")
    dice = np.concatenate([case.dice for case in scored], axis=1)  # (T, lesions)
    none = np.full(len(falling), math.nan)
    return Froc(
        thresholds=falling,
        false_lesions=np.mean([case.false_lesions for case in scored], axis=0),
        sensitivity=(dice > 0).mean(axis=1) if dice.size else none,
        dice=dice.mean(axis=1) if dice.size else none,
        cases=len(scored),
        lesions=dice.shape[1],
    )


def lesions_by_threshold(
    scores: Any, reference: Any, spacing: Sequence[float], thresholds: Sequence[float] | np.ndarray
) -> CaseLesions:
    """What becomes of the lesions of one case at each threshold; arguments and errors as for :func:`froc`."""
    p, r = plain_array(scores, "scores"), plain_array(reference, "reference")
    if p.ndim != 3 or p.shape != r.shape:
        raise InputError(f"The scores are {p.shape} and the reference {r.shape}; give both as (D, H, W), of one shape.")
    if np.isnan(p.max(initial=0)):
        raise InputError("The scores hold NaN; look whether the network's output does.")
    ml = math.prod(checked_spacing(spacing)) / 1000
    wanted, count = connected_components(r != 0, connectivity=26)
    sizes = np.bincount(wanted.ravel(), minlength=count + 1)
    dice, false = np.zeros((len(thresholds), count)), np.zeros(len(thresholds), dtype=int)
    for t, threshold in enumerate(thresholds):
        above = p > threshold
        box = occupied_box(above)
        predicted, number = connected_components(above[box], connectivity=26)
        predicted_sizes = np.bincount(predicted.ravel(), minlength=number + 1)
        a, b, common = shared_voxels(predicted, wanted[box])
        inside, touching = (np.bincount(b, voxels, count + 1)[1:] for voxels in (common, predicted_sizes[a]))
        dice[t] = 2 * inside / (sizes[1:] + touching)
        false[t] = number - len(np.unique(a))
    return CaseLesions(sizes[1:] * ml, dice, false)


def at_most(rates: Sequence[float], false_lesions: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The best value of a curve with at most so many false lesions a case.

    As LUNA16's and MONAI's ``compute_froc_score`` do it, the curve is a line from point to point that begins at the
    origin (a threshold above all scores), and beyond its last point it stays where it is. Where a value rises with the
    false lesions, as the sensitivity does, the best one up to a rate is the one at that rate, and theirs. The mean
    Dice falls again when the threshold is too low: nobody would use such a threshold only because more false lesions
    are allowed.

    Args:
        rates: False lesions a case.
        false_lesions: (..., T) at falling thresholds.
        values: (..., T), at least 0.

    Returns:
        (..., rates).
    """
    origin = np.zeros((*false_lesions.shape[:-1], 1))
    x, y = (np.concatenate((origin, points), axis=-1) for points in (false_lesions, values))
    best = []
    for rate in rates:
        left, right = x[..., :-1] - rate, x[..., 1:] - rate
        crosses = left * right < 0
        share = np.divide(left, left - right, out=np.zeros_like(left), where=crosses)
        crossing = np.where(crosses, y[..., :-1] + share * np.diff(y), 0)
        best.append(np.maximum(np.where(x <= rate, y, 0).max(axis=-1), crossing.max(axis=-1)))
    return np.stack(best, axis=-1)
