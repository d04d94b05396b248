"""The seven criteria of the paper's section 3, "Evaluation Criteria", for one case and for a set of cases.

The paper names them and leaves their definitions to the LiTS benchmark (its reference 3). With P the predicted and R
the reference object, dP and dR their surfaces, and ``|...|`` a count of voxels:

====  ============================================================  ==============  =======
name  definition                                                    range           perfect
====  ============================================================  ==============  =======
DC    mean over the cases of Dice, ``2 |P and R| / (|P| + |R|)``    0 to 1          1
DG    ``2 sum |P and R| / sum (|P| + |R|)``, sums over the cases    0 to 1          1
VOE   ``1 - |P and R| / |P or R|``                                  0 to 1          0
RVD   ``(|P| - |R|) / |R|``, positive = too much                    -1 and above    0
ASSD  mean of the distances dP to dR and dR to dP, pooled, in mm    0 and above     0
MSD   the largest of them (the Hausdorff distance, 100 %)           0 and above     0
RMSD  square root of the mean of their squares                      0 and above     0
====  ============================================================  ==============  =======

An empty mask has no surface, and RVD divides by the reference's size: such values are undefined, here NaN. Two empty
masks have Dice 1, VOE 0 and RVD 0; if one is empty they are 0, 1 and -1 (or undefined, if it is the reference).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import edt
import numpy as np
from scipy import ndimage

from lrnet_edu.support.arrays import checked_spacing, plain_array
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.voxels import occupied_box

COUNTS = ("intersection", "prediction_voxels", "reference_voxels")


@dataclass(frozen=True)
class CaseScores:
    """What one case scores; distances are in mm, undefined values NaN.

    Attributes:
        dice: one wrong layer of voxels costs a small object far more of it than a large one.
        voe: 1 - dice / (2 - dice): it ranks as Dice does.
        rvd: 0 says that the volumes agree, not that the objects meet.
        assd: in mm; the larger of the two surfaces counts more.
        msd: in mm; one wrong voxel far away decides it alone.
        rmsd: in mm, between ASSD and MSD.
        intersection: voxels in both objects; with the two sizes, all that DG needs.
        prediction_voxels: size of the predicted object.
        reference_voxels: size of the reference object.
        more: values of the criteria added to ``CRITERIA``, by their attribute.
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
    more: Mapping[str, float] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> CaseScores:
        """The scores out of a dictionary that holds :meth:`row` and the three ``COUNTS``."""
        known = {*COUNTS, *(criterion.attribute for criterion in CRITERIA.values())} & record.keys()
        values: dict[str, Any] = {name: math.nan if record[name] is None else record[name] for name in known}
        return cls(**{name: values.pop(name) for name in cls.__annotations__ if name in values}, more=values)

    def value(self, attribute: str) -> float:
        """A criterion's value; NaN for one that was added after this case was scored."""
        return {**vars(self), **self.more}.get(attribute, math.nan)

    def row(self) -> dict[str, float | None]:
        """The criteria of this case as JSON holds them: by attribute, None where undefined."""
        return {c.attribute: none_if_nan(self.value(c.attribute)) for c in CRITERIA.values()}


@dataclass(frozen=True)
class ScoreTable:
    """What a set of cases scores: one row of the paper's Table 2.

    Attributes:
        cases: how many.
        mean: the set's value of every criterion in ``CRITERIA``; NaN where no case has a value.
        undefined: for the same names, in how many cases the value is undefined.
    """

    cases: int
    mean: dict[str, float]
    undefined: dict[str, int]


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Dice of two boolean arrays of one shape; 1 if both are empty."""
    both, p, r = overlap_counts(prediction, reference)
    return dice_of_counts(both, p + r)


def overlap_counts(prediction: np.ndarray, reference: np.ndarray) -> list[int]:
    """The voxels of intersection, prediction and reference, two boolean arrays of one shape."""
    return [int(np.count_nonzero(mask)) for mask in (prediction & reference, prediction, reference)]


def dice_of_counts(intersection: int, sizes: int) -> float:
    """Dice of objects by their common voxels and the sum of their sizes; 1 if there are none."""
    return 2 * intersection / sizes if sizes else 1.0


def mean_of_defined(values: Iterable[float]) -> float:
    """The mean of the values that are not NaN; NaN if there are none."""
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def none_if_nan(value: Any) -> Any:
    """The value, or None for NaN, which JSON does not know."""
    return None if isinstance(value, float) and math.isnan(value) else value


@dataclass(frozen=True)
class Criterion:
    """One criterion: how it is computed, named and printed.

    A case's value comes ``of_counts``, the voxels of intersection, prediction and reference, or ``of_distances``, those
    (n,) in mm from either surface to the other, n > 0; without both it is that of another criterion's ``attribute``.
    """

    title: str
    unit: str  # "mm", or "" without one
    form: str  # how its values are printed, ".3f"
    attribute: str  # name of a case's value in CaseScores and in JSON
    of_counts: Callable[[int, int, int], float] | None = None
    of_distances: Callable[[np.ndarray], float] | None = None
    of_set: Callable[[Sequence[float], Sequence[CaseScores]], float] = lambda values, cases: mean_of_defined(values)
    symbol: str = ""  # heading of its column, if that is not its key
    column: bool = True  # whether it has a column where methods are compared

    def text(self, value: float | None) -> str:
        """A value as it is printed; a dash where it is undefined."""
        return "–" if value is None or math.isnan(value) else format(value, self.form.replace(".", "z."))


def _global_dice(values: Sequence[float], cases: Sequence[CaseScores]) -> float:
    both, p, r = (sum(getattr(case, name) for case in cases) for name in COUNTS)
    return dice_of_counts(both, p + r) if cases else math.nan


CRITERIA: dict[str, Criterion] = {
    "DC": Criterion("Dice per case", "", ".3f", "dice", lambda both, p, r: dice_of_counts(both, p + r)),
    "DG": Criterion("Dice global", "", ".3f", "dice", of_set=_global_dice),
    "VOE": Criterion("volumetric overlap error", "", ".3f", "voe",
                     lambda both, p, r: 1 - both / (p + r - both) if p + r else 0.0),
    "RVD": Criterion("relative volume difference, signed", "", "+.3f", "rvd",
                     lambda both, p, r: (p - r) / r if r else math.nan if p else 0.0),
    "abs_RVD": Criterion("mean size of the relative volume difference", "", ".3f", "rvd", symbol="|RVD|",
                         of_set=lambda values, cases: mean_of_defined(map(abs, values)), column=False),
    "ASSD": Criterion("average symmetric surface distance", "mm", ".2f", "assd", of_distances=np.mean),
    "MSD": Criterion("maximum surface distance", "mm", ".2f", "msd", of_distances=np.max),
    "RMSD": Criterion("root mean square symmetric surface distance", "mm", ".2f", "rmsd",
                      of_distances=lambda distances: np.sqrt(np.square(distances).mean())),
}  # fmt: skip


def columns() -> list[str]:
    """The criteria by which methods are compared: the paper's seven, and any that were added."""
    return [name for name, criterion in CRITERIA.items() if criterion.column]


def case_scores(prediction: Any, reference: Any, spacing: Sequence[float]) -> CaseScores:
    """Score one predicted mask against its reference.

    Args:
        prediction: Mask (D, H, W), boolean or whole numbers, NumPy or torch; the object is every voxel that is not 0.
        reference: Mask of the same shape.
        spacing: Voxel size (z, y, x) in mm.

    Raises InputError if these are not volumes of whole numbers >= 0 of one shape, and three positive numbers.

    >>> reference = np.zeros((9, 9, 9))
    >>> reference[2:6, 2:6, 2:6] = 1
    >>> scores = case_scores(np.roll(reference, 1, axis=0), reference, spacing=(2.5, 1, 1))
    >>> scores.dice, scores.voe, scores.rvd, scores.msd
    (0.75, 0.4, 0.0, 2.5)
    """
    p, r, steps = checked_pair(prediction, reference, spacing)
    p, r = p != 0, r != 0
    counts = overlap_counts(p, r)
    distances = np.concatenate(surface_distances(p, r, steps))  # pooled: one mean, not the mean of two means
    values: dict[str, Any] = dict(zip(COUNTS, counts, strict=True))
    for c in CRITERIA.values():
        if c.of_counts:
            values[c.attribute] = float(c.of_counts(*counts))
        elif c.of_distances:
            values[c.attribute] = float(c.of_distances(distances)) if distances.size else math.nan
    return CaseScores.of(values)


def score_table(cases: Iterable[CaseScores]) -> ScoreTable:
    """The scores of a set of cases: DC, DG, and the means of the other criteria.

    One case with a large tumour can dominate DG. RVD is signed: a mean near 0 may hide cases far above and far below;
    ``abs_RVD``, the mean of its absolute values, shows them. Undefined values are left out of the means, and counted: a
    model that misses a lesion altogether gains, as the case has no surface distance.

    Args:
        cases: scores of the cases. Without any, every mean is NaN; DG of a set without any object voxel is 1.

    Raises InputError if the cases are not CaseScores.
    """
    cases = list(cases) if isinstance(cases, Iterable) else [cases]
    if not all(isinstance(case, CaseScores) for case in cases):
        raise InputError("score_table takes a list of what case_scores returned, one for each case.")
    table = ScoreTable(len(cases), mean={}, undefined={})
    for name, criterion in CRITERIA.items():
        values = [case.value(criterion.attribute) for case in cases]
        table.undefined[name] = sum(map(math.isnan, values))
        table.mean[name] = criterion.of_set(values, cases)
    return table


def surface_distances(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Distances in mm of every surface voxel of one mask to the nearest of the other: (prediction's, reference's).

    Takes bool arrays (D, H, W) and three numbers. Both results are empty if either mask is.
    """
    p, r = surface(prediction), surface(reference)
    if not p.any() or not r.any():
        return np.empty(0), np.empty(0)
    to_p, to_r = (edt.edt((~target).view(np.uint8), anisotropy=tuple(spacing), black_border=False) for target in (p, r))
    return to_r[p].astype(float), to_p[r].astype(float)


def surface(mask: np.ndarray) -> np.ndarray:
    """The surface of a mask, bool (D, H, W) both: the voxels that one erosion with the 18-neighbourhood (by a face or
    an edge) removes. What lies outside the image counts as background."""
    return mask & ~ndimage.binary_erosion(mask, ndimage.generate_binary_structure(3, 2))


def checked_pair(
    prediction: Any, reference: Any, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """The door of all scores: both volumes (D, H, W), masks or label numbers, and the voxel size (z, y, x) in mm.

    The volumes are views, cut to the smallest box with every voxel != 0 of either; a single voxel if both are empty.
    Raises what :func:`case_scores` does.
    """
    steps = checked_spacing(spacing, needed=True)
    prediction, reference = whole_numbers(prediction, "prediction"), whole_numbers(reference, "reference")
    if prediction.shape != reference.shape:
        raise InputError(f"The shapes are {prediction.shape} and {reference.shape}; bring both to one grid first.")
    box = occupied_box(prediction, reference)
    return prediction[box], reference[box], steps


def whole_numbers(volume: Any, name: str) -> np.ndarray:
    """The volume as an array (D, H, W) of whole numbers from 0 on."""
    volume = plain_array(volume, name)
    if volume.ndim != 3:
        raise InputError(f"The {name} has shape {volume.shape}; give one volume (D, H, W): a slice is all surface.")
    for plane in volume if volume.dtype.kind in "if" else ():  # slice by slice, to save memory
        if not (np.isfinite(plane) & (plane >= 0) & (plane == np.trunc(plane))).all():
            raise InputError(
                f"The {name} holds NaN, infinity, fractional or negative values; give whole numbers, 0 for the "
                "background (threshold probabilities first)."
            )
    return volume
