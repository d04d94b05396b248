"""The seven criteria of the paper's section 3, "Evaluation Criteria", for one case and for a set of cases.

The paper names them (DC, DG, VOE, RVD, ASSD, MSD, RMSD) and leaves their definitions to the LiTS benchmark
(its reference 3). Some count voxels, some measure in millimetres from surface to surface, and DG only
exists for a set of cases. With P the predicted and R the reference object, dP and dR their surfaces, and
``|...|`` a count:

========  ============================================================  ======  ==============  =======
name      definition                                                    unit    range           perfect
========  ============================================================  ======  ==============  =======
Dice      ``2 |P and R| / (|P| + |R|)``                                 none    0 to 1          1
VOE       ``1 - |P and R| / |P or R|``                                  none    0 to 1          0
RVD       ``(|P| - |R|) / |R|``, positive = too much                    none    -1 and above    0
ASSD      mean of the distances dP to dR and dR to dP, pooled           mm      0 and above     0
RMSD      square root of the mean of their squares, pooled              mm      0 and above     0
MSD       the largest of them (the Hausdorff distance, 100 %)           mm      0 and above     0
DC        mean of the cases' Dice                                       none    0 to 1          1
DG        ``2 sum |P and R| / sum (|P| + |R|)``, sums over the cases    none    0 to 1          1
========  ============================================================  ======  ==============  =======

An empty mask has no surface, and RVD divides by the reference's size: such values are undefined, here NaN:

====================  ====  ===  =========  ================
case                  Dice  VOE  RVD        ASSD, MSD, RMSD
====================  ====  ===  =========  ================
both masks empty      1     0    0          undefined
prediction empty      0     1    -1         undefined
reference empty       0     1    undefined  undefined
====================  ====  ===  =========  ================
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import edt
import numpy as np
from scipy.spatial import KDTree

from lrnet_edu.support.errors import InputError
from lrnet_edu.support.voxels import occupied_box

CROWDED = 0.02  # share of target voxels in a box above which no search tree is built
SEARCH_COST = 40  # one search in the tree takes about as long as the transform of so many voxels


@dataclass(frozen=True)
class CaseScores:
    """What one case scores; undefined values are NaN (the module's second table says when).

    Attributes:
        dice: Dice, 0 to 1. Small objects lose far more of it to one wrong layer of voxels than large ones.
        voe: Volumetric overlap error, 1 - Jaccard. It is ``1 - dice / (2 - dice)``: it ranks as Dice does.
        rvd: Relative volume difference, signed: 0 says that the volumes agree, not that the objects meet.
        assd: Average symmetric surface distance in mm. The larger of the two surfaces has the greater say.
        msd: Maximum surface distance in mm. One wrong voxel far away decides it alone.
        rmsd: Root mean square symmetric surface distance in mm, between ASSD and MSD.
        intersection: Voxels in both objects; with the two sizes below it is all that DG needs.
        prediction_voxels: Size of the predicted object.
        reference_voxels: Size of the reference object.
    """

    dice: float
    voe: float
    rvd: float
    assd: float
    msd: float
    rmsd: float
    intersection: int
    prediction_voxels: int
    reference_voxels: int


@dataclass(frozen=True)
class ScoreTable:
    """What a set of cases scores: one row of the paper's Table 2.

    Attributes:
        cases: Number of cases in the set.
        mean: The set's DC, DG, VOE, RVD, abs_RVD, and in mm ASSD, MSD and RMSD; NaN where no case has a value.
        undefined: For the same names, in how many cases the value is undefined.
    """

    cases: int
    mean: dict[str, float]
    undefined: dict[str, int]


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Dice of two boolean arrays of one shape; 1 if both are empty."""
    sizes = np.count_nonzero(prediction) + np.count_nonzero(reference)
    return 2 * int(np.count_nonzero(prediction & reference)) / int(sizes) if sizes else 1.0


def case_scores(prediction: Any, reference: Any, spacing: Sequence[float]) -> CaseScores:
    """Scores one predicted mask against its reference (the module's tables give every formula).

    Args:
        prediction: Mask (D, H, W), boolean or whole numbers; the object is every voxel that is not 0. A torch
            tensor on the CPU will do.
        reference: Mask of the same shape.
        spacing: Voxel size (z, y, x) in mm.

    Returns:
        The six criteria of this case, and the three counts that DG is made of.

    Raises:
        InputError: If the masks are not volumes of one shape, hold NaN, fractional or negative values, or the
            spacing is not three positive numbers.

    >>> reference = np.zeros((9, 9, 9))
    >>> reference[2:6, 2:6, 2:6] = 1
    >>> scores = case_scores(np.roll(reference, 1, axis=0), reference, spacing=(2.5, 1, 1))
    >>> scores.dice, scores.voe, scores.rvd, scores.msd
    (0.75, 0.4, 0.0, 2.5)
    """
    p, r = (volume != 0 for volume in cropped_pair(prediction, reference))
    intersection = int(np.count_nonzero(p & r))
    predicted, wanted = int(np.count_nonzero(p)), int(np.count_nonzero(r))
    union = predicted + wanted - intersection

    to_reference, to_prediction = _both_ways(p, r, voxel_size(spacing))
    distances = np.concatenate([to_reference, to_prediction])  # pooled: one mean, not the mean of two means
    measurable = distances.size > 0

    return CaseScores(
        dice=dice(p, r),
        voe=1 - intersection / union if union else 0.0,
        rvd=(predicted - wanted) / wanted if wanted else (math.nan if predicted else 0.0),
        assd=float(distances.mean()) if measurable else math.nan,
        msd=float(distances.max()) if measurable else math.nan,
        rmsd=float(np.sqrt(np.square(distances).mean())) if measurable else math.nan,
        intersection=intersection,
        prediction_voxels=predicted,
        reference_voxels=wanted,
    )


def score_table(cases: Sequence[CaseScores], penalties: Mapping[str, float] | None = None) -> ScoreTable:
    """Puts the scores of a set's cases into one row: DC, DG, and the means of the other criteria.

    DC weighs every case alike, DG every voxel: one case with a large tumour can carry DG alone. RVD is
    signed, so a mean near 0 may be half the cases far above and half far below; ``abs_RVD``, the mean of
    its absolute values, tells.

    Undefined values are left out of the means, and counted. That rewards a model for missing a lesion
    altogether: the case then has no surface distance, and the mean improves. ``penalties`` turns this
    round: in every case where exactly one of the masks is empty, the given value stands in for an undefined
    one. (Where both are empty nothing was missed, and the distances stay out.) No value is agreed upon; for
    distances the diagonal of the scan in mm is the largest that could have occurred. The counts are the
    same with and without penalties.

    Args:
        cases: Scores of the cases; without any, every mean is NaN.
        penalties: Value for undefined "RVD", "ASSD", "MSD" or "RMSD"; names left out stay undefined.

    Returns:
        Means and counts of undefined cases. DG of a set without any voxel is 1, as the Dice of an empty case.

    Raises:
        InputError: If a penalty is given for another name, or is not a finite number.

    >>> lesion, nothing = np.ones((2, 2, 2)), np.zeros((2, 2, 2))
    >>> table = score_table([case_scores(found, lesion, (1, 1, 1)) for found in (lesion, nothing)])
    >>> table.mean["DC"], table.mean["ASSD"], table.undefined["ASSD"]
    (0.5, 0.0, 1)
    """
    penalties = penalties or {}
    for name, value in penalties.items():
        if name not in ("RVD", "ASSD", "MSD", "RMSD"):
            raise InputError(f"There is no penalty for {name!r}; give it for RVD, ASSD, MSD or RMSD.")
        if not math.isfinite(value):
            raise InputError(f"The penalty for {name} is {value}; give a finite number.")

    values = {
        "DC": [case.dice for case in cases],
        "VOE": [case.voe for case in cases],
        "RVD": [case.rvd for case in cases],
        "ASSD": [case.assd for case in cases],
        "MSD": [case.msd for case in cases],
        "RMSD": [case.rmsd for case in cases],
    }
    undefined = {name: sum(map(math.isnan, column)) for name, column in values.items()}

    for name, value in penalties.items():
        for k, case in enumerate(cases):
            one_empty = (case.prediction_voxels == 0) != (case.reference_voxels == 0)
            if one_empty and math.isnan(values[name][k]):
                values[name][k] = value

    values["abs_RVD"] = [abs(rvd) for rvd in values["RVD"]]
    undefined["abs_RVD"] = undefined["RVD"]
    mean = {name: _mean_of_defined(column) for name, column in values.items()}
    mean["DG"], undefined["DG"] = _dice_global(cases), 0

    order = ("DC", "DG", "VOE", "RVD", "abs_RVD", "ASSD", "MSD", "RMSD")
    return ScoreTable(len(cases), {name: mean[name] for name in order}, {name: undefined[name] for name in order})


def surface_distances(prediction: Any, reference: Any, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Distances in mm between two surfaces, the raw material of ASSD, MSD and RMSD.

    Args:
        prediction: Mask (D, H, W), as for :func:`case_scores`.
        reference: Mask of the same shape.
        spacing: Voxel size (z, y, x) in mm.

    Returns:
        For every surface voxel of the prediction the distance to the nearest surface voxel of the reference,
        and the reverse. The two differ in length and in value. Both are empty if either mask is.

    Raises:
        InputError: As :func:`case_scores`.
    """
    p, r = (volume != 0 for volume in cropped_pair(prediction, reference))
    return _both_ways(p, r, voxel_size(spacing))


def surface_voxels(mask: Any) -> np.ndarray:
    """The object's surface: the voxels that one erosion with the 18-neighbourhood removes.

    A voxel stays if its 18 neighbours (those that share a face or an edge with it) all belong to the
    object; what lies outside the image counts as background. In its own slice these neighbours fill a 3 x 3
    square, in the slices above and below a cross.

    Args:
        mask: Mask (D, H, W), as for :func:`case_scores`.

    Returns:
        Indices (N, 3) of the surface voxels, in the mask's order; (0, 3) for an empty mask.

    Raises:
        InputError: If the mask is not a volume, or holds NaN, fractional or negative values.
    """
    mask = _checked(mask, "mask")
    box = occupied_box(mask)
    padded = np.pad(mask[box] != 0, 1)  # the object's box and one layer of background
    z0, y0, x0 = (side.start for side in box)
    found = []
    for z in range(len(padded) - 2):
        below, here, above = padded[z : z + 3]  # each (H + 2, W + 2)
        kept = _erode_square(here) & _erode_cross(below & above)  # (H, W)
        y, x = np.nonzero(here[1:-1, 1:-1] & ~kept)
        found.append(np.stack([np.full_like(y, z + z0), y + y0, x + x0], axis=1).astype(np.int32))
    return np.concatenate(found)


def _both_ways(prediction: np.ndarray, reference: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p, r = surface_voxels(prediction), surface_voxels(reference)
    if len(p) == 0 or len(r) == 0:
        return np.empty(0), np.empty(0)
    return _nearest(p, r, spacing), _nearest(r, p, spacing)


def _erode_square(a: np.ndarray) -> np.ndarray:
    rows = a[:-2] & a[1:-1] & a[2:]
    return rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]


def _erode_cross(a: np.ndarray) -> np.ndarray:
    return a[1:-1, 1:-1] & a[:-2, 1:-1] & a[2:, 1:-1] & a[1:-1, :-2] & a[1:-1, 2:]


def _nearest(points: np.ndarray, targets: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Distance in mm from every point (N, 3) to the nearest of the targets (M, 3), exact either way.

    A few lesions in a large scan are few points in a large box: a search tree looks at the points alone.
    Its time grows with the targets that lie about as near as the nearest one (from the centre of a ball,
    all of its surface). A sample tells how many; where they would cost more than a pass over the box, or
    the targets crowd it (the noise of an untrained network), the distance transform of the box does the
    work, in single precision.
    """
    low = np.minimum(points.min(axis=0), targets.min(axis=0))
    shape = np.maximum(points.max(axis=0), targets.max(axis=0)) - low + 1
    voxels = math.prod(shape.tolist())
    if len(targets) < CROWDED * voxels:
        tree = KDTree(targets * spacing)
        sample = points[:: len(points) // 50 + 1] * spacing
        about_as_near = 1.1 * tree.query(sample)[0]
        rivals = tree.query_ball_point(sample, about_as_near, return_length=True).mean()
        if len(points) * (SEARCH_COST + rivals) < voxels:
            return tree.query(points * spacing)[0]
    elsewhere = np.ones(shape, np.uint8)  # as bool it would take twice as long
    elsewhere[tuple((targets - low).T)] = 0  # edt measures from every 1 to the nearest 0
    to_target = edt.edt(elsewhere, anisotropy=tuple(spacing.tolist()), black_border=False)  # (D, H, W)
    return to_target[tuple((points - low).T)].astype(float)


def _dice_global(cases: Sequence[CaseScores]) -> float:
    if not cases:
        return math.nan
    intersection = sum(case.intersection for case in cases)
    sizes = sum(case.prediction_voxels + case.reference_voxels for case in cases)
    return 2 * intersection / sizes if sizes else 1.0


def _mean_of_defined(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


# ---- what is accepted, and the part of it that matters -------------------------------------------------------


def cropped_pair(prediction: Any, reference: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both volumes cut to the smallest box that holds every voxel != 0 of either: a scan is mostly background.

    Args:
        prediction: (D, H, W), as for :func:`case_scores`, or label numbers.
        reference: of the same shape.

    Returns:
        Views of the two volumes. Where both are empty the box is a single voxel.

    Raises:
        InputError: As :func:`case_scores`.
    """
    prediction, reference = _checked(prediction, "prediction"), _checked(reference, "reference")
    if prediction.shape != reference.shape:
        raise InputError(
            f"The prediction has shape {prediction.shape} and the reference {reference.shape}; "
            "bring both to one grid before they are compared."
        )
    box = occupied_box(prediction, reference)
    return prediction[box], reference[box]


def voxel_size(spacing: Sequence[float]) -> np.ndarray:
    """The spacing (z, y, x) in mm as an array; raises InputError unless it is three positive numbers."""
    try:
        millimetres = np.asarray(spacing, dtype=float)
    except (TypeError, ValueError):
        millimetres = np.empty(0)
    if millimetres.shape != (3,) or not np.isfinite(millimetres).all() or (millimetres <= 0).any():
        raise InputError(f"The spacing is {spacing!r}; give three positive numbers (z, y, x) in mm.")
    return millimetres


def _checked(volume: Any, name: str) -> np.ndarray:
    """The volume as an array (D, H, W) of whole numbers from 0 on."""
    volume = np.asarray(volume)
    if volume.ndim != 3:
        raise InputError(
            f"The {name} has shape {volume.shape}; give one volume (D, H, W) at a time (a slice alone would be all "
            "surface, for what lies beyond the image counts as background)."
        )
    if volume.dtype.kind not in "buif":
        raise InputError(f"The {name} holds {volume.dtype} values; give booleans or whole numbers.")
    for plane in volume if volume.dtype.kind in "if" else ():  # slice by slice, for the memory's sake
        if volume.dtype.kind == "f" and not np.isfinite(plane).all():
            raise InputError(f"The {name} holds NaN or infinity; give a mask of whole numbers.")
        if volume.dtype.kind == "f" and (plane != np.trunc(plane)).any():
            raise InputError(f"The {name} holds fractional values; threshold probabilities before scoring.")
        if (plane < 0).any():
            raise InputError(f"The {name} holds negative values; use 0 for background and a positive label.")
    return volume
