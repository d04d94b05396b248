"""Each lesion for itself, and the free-response ROC: how many are found, and how well, at how many false ones a case.

Small lesions are the paper's point, and the seven criteria hide them: a case with one large tumour scores well without
its small ones. A lesion is a 26-connected component, as in section 2.1.

A network with a lower threshold finds more lesions and more that are none. So two networks are compared by the curve
over all thresholds, one threshold for all cases (Bunch et al., 1977; as LUNA16 uses it: Setio et al., "Validation,
comparison, and combination of algorithms for automatic detection of pulmonary nodules", Medical Image Analysis 42,
2017). A threshold so low that everything predicted hangs together finds all lesions and nothing false: the sensitivity
does not see that, the lesions' mean Dice does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lrnet_edu.metrics import whole_numbers
from lrnet_edu.support.arrays import checked_spacing, plain_array
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.voxels import connected_components, occupied_box

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""LUNA16's numbers of false lesions a case."""

# Of probabilities; those of a network trained by Dice lie close to 0 and 1.
THRESHOLDS = (1 - 1e-9, 1 - 1e-7, 1 - 1e-5, 1 - 1e-4, 0.999, 0.99, 0.95, 0.85, 0.7, 0.5, 0.3, 0.15, 0.05, 0.01, 1e-3)
HALF = THRESHOLDS.index(0.5)

BINS_ML = {"under 0.25 ml": (0.0, 0.25), "0.25 to 1 ml": (0.25, 1.0), "1 to 5 ml": (1.0, 5.0),
           "5 ml and more": (5.0, math.inf)}  # fmt: skip
"""Sizes of lesions, from the first number up to below the second."""


@dataclass(frozen=True)
class CaseLesions:
    """The lesions of one case at T thresholds.

    A lesion's Dice is that with all predicted components that touch it, so that two which were predicted as one both
    lose; it is 0 exactly where the lesion is missed.
    """

    ml: np.ndarray  # (lesions,) volumes
    dice: np.ndarray  # (T, lesions)
    false_lesions: np.ndarray  # (T,) predicted components that touch no lesion

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> CaseLesions:
        """What :meth:`record` wrote."""
        return cls(*(np.array(record[name], dtype=float) for name in ("ml", "dice", "false_lesions")))

    def record(self, chosen: Any = slice(None)) -> dict[str, Any]:
        """As JSON holds it; only the chosen lesions."""
        dice = np.where(self.dice > 0, self.dice.clip(1e-4), 0)[:, chosen]  # rounding makes none of those found missed
        return {"ml": self.ml[chosen].round(4).tolist(), "dice": dice.round(4).tolist(),
                "false_lesions": self.false_lesions.tolist()}  # fmt: skip


@dataclass(frozen=True)
class Froc:
    """A curve with a point for each of T thresholds, the highest first.

    Attributes:
        thresholds: (T,).
        false_lesions: (T,) a case.
        sensitivity: (T,) share of the lesions that were found; of `froc` NaN if there are none.
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

    @property
    def mean_dice(self) -> Any:
        """The mean lesion Dice, missed ones 0, averaged at LUNA16's seven rates: the study's endpoint."""
        return self.dice_at().mean(axis=-1)


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
        InputError: If there is no case or no threshold, the volumes of one are not (D, H, W) of one shape, the scores
            hold NaN, or the reference holds no whole numbers.
    """
    falling, scored = np.unique(np.asarray(thresholds, dtype=float))[::-1], []
    for case in cases:
        if not isinstance(case, tuple | list) or len(case) != 3:
            raise InputError("froc takes a list of cases, each of them (scores, reference, spacing).")
        scored.append(lesions_by_threshold(*case, falling))
    if not scored or not falling.size or not np.isfinite(falling).all():
        raise InputError("There is no curve without a case and a threshold; give at least one of each, as numbers.")
    curve, none = curve_of(scored, falling), np.full(len(falling), math.nan)
    return curve if curve.lesions else replace(curve, sensitivity=none, dice=none)


def curve_of(
    cases: Sequence[CaseLesions], thresholds: Sequence[float] | np.ndarray = THRESHOLDS, *,
    size: tuple[float, float] = (0.0, math.inf), times: np.ndarray | None = None,
) -> Froc:  # fmt: skip
    """The curve of many cases and of their lesions of a size in ml, one of :data:`BINS_ML`; 0 without such a lesion.

    ``times`` (..., cases) says how often each case counts, as in a bootstrap; the curve's arrays are (..., T) then.
    """
    chosen = [(size[0] <= case.ml) & (case.ml < size[1]) for case in cases]
    dice = [case.dice[:, own] for case, own in zip(cases, chosen, strict=True)]  # (T, lesions) of each
    lesions = np.array([own.sum() for own in chosen])
    times = np.ones(len(cases)) if times is None else times

    def mean(by_case: list[np.ndarray], number: np.ndarray) -> np.ndarray:
        return times @ np.stack(by_case) / number[..., None]

    number = np.maximum(times @ lesions, 1)
    return Froc(
        thresholds=np.asarray(thresholds),
        false_lesions=mean([case.false_lesions for case in cases], times.sum(axis=-1)),
        sensitivity=mean([(one > 0).sum(axis=1) for one in dice], number),
        dice=mean([one.sum(axis=1) for one in dice], number),
        cases=len(cases),
        lesions=int(lesions.sum()),
    )


def lesions_by_threshold(
    scores: Any, reference: Any, spacing: Sequence[float], thresholds: Sequence[float] | np.ndarray
) -> CaseLesions:
    """What becomes of the lesions of one case at each threshold; arguments and errors as for :func:`froc`."""
    p, r = plain_array(scores, "scores"), whole_numbers(reference, "reference")
    if p.ndim != 3 or p.shape != r.shape:
        raise InputError(f"The scores are {p.shape} and the reference {r.shape}; give both as (D, H, W), of one shape.")
    if np.isnan(p.max(initial=0)):
        raise InputError("The scores hold NaN; look whether the network's output does.")
    ml = math.prod(checked_spacing(spacing, needed=True)) / 1000
    wanted, count = connected_components(r != 0, connectivity=26)
    sizes = np.bincount(wanted.ravel(), minlength=count + 1)
    dice, false = np.zeros((len(thresholds), count)), np.zeros(len(thresholds), dtype=int)
    for t, threshold in enumerate(thresholds):
        above = np.greater(p, threshold, signature="dd->?")  # in float32, 1 - 1e-9 would be 1
        box = occupied_box(above)
        predicted, number = connected_components(above[box], connectivity=26)
        predicted_sizes = np.bincount(predicted.ravel(), minlength=number + 1)
        a, b, common = shared_voxels(predicted, wanted[box])
        inside, touching = (np.bincount(b, voxels, count + 1)[1:] for voxels in (common, predicted_sizes[a]))
        dice[t] = 2 * inside / (sizes[1:] + touching)
        false[t] = number - len(np.unique(a))
    return CaseLesions(sizes[1:] * ml, dice, false)


def shared_voxels(predicted: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which components of two numbered volumes (D, H, W) meet: numbers in one, numbers in the other, common voxels.

    The pairs (n,) come in the order of the first number, then the second. There is no table of all, as few meet.
    """
    both = (predicted > 0) & (wanted > 0)
    factor = int(wanted.max(initial=0)) + 1
    pairs, voxels = np.unique(predicted[both].astype(np.int64) * factor + wanted[both], return_counts=True)
    return *np.divmod(pairs, factor), voxels


def at_most(rates: Sequence[float], false_lesions: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The best value of a curve with at most so many false lesions a case.

    ``false_lesions`` and ``values`` are (..., T) at falling thresholds; the result is (..., rates). As in LUNA16's and
    MONAI's ``compute_froc_score``, the curve is a line from point to point that begins at the origin (a threshold above
    all scores), and beyond its last point it stays where it is. The sensitivity rises with the false lesions, so its
    best value up to a rate is the one there. The mean Dice falls again when the threshold is too low, and nobody would
    use such a threshold only because more false lesions are allowed.
    """
    origin = np.zeros((*false_lesions.shape[:-1], 1))
    x, y = (np.concatenate((origin, points), axis=-1)[..., None] for points in (false_lesions, values))
    left, right = x[..., :-1, :] - rates, x[..., 1:, :] - rates  # (..., T, rates), of each piece of the line
    crosses = left * right < 0
    share = np.divide(left, left - right, out=np.zeros_like(left), where=crosses)
    crossing = np.where(crosses, y[..., :-1, :] + share * np.diff(y, axis=-2), 0)
    return np.concatenate((np.where(x <= rates, y, 0), crossing), axis=-2).max(axis=-2)
