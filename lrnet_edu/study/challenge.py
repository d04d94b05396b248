"""The LiTS challenge's own scoring: its board counts lesions, and measures the ones that were found.

The paper's Table 2 scores the tumour of a case as one object. The board of the LiTS challenge (the paper's reference 3,
Bilic et al., "The Liver Tumor Segmentation Benchmark") asks first which lesions were found at all, and measures those
alone. These are the rules of its public scoring program.

Liver is every label >= 1, lesion is label 2, and the lesions are the 6-connected components, matched in five steps:

1. The voxels that every predicted lesion shares with every reference lesion are counted.
2. Reference lesions that share most of their voxels with the same predicted lesion are merged into one.
3. Each predicted lesion is given to the one reference lesion, merged or not, that it shares most voxels with.
4. Predicted lesions given to the same reference lesion are merged: that is a pair.
5. A pair is detected if its intersection over union EXCEEDS a threshold, and there are two: 0 and 0.5.

Where two lesions tie, the one that comes first in the volume's order (z, y, x) is taken.

The program's true positives are the pairs, minus all reference lesions in pairs that are not detected: a detected pair
counts one, however many lesions were merged in it, an undetected one costs them all, and the number can fall below 0.
That is not what the board's words say, so the lesions themselves are counted beside it.

Two conventions differ from the paper's criteria: RVD is ``(|R| - |P|) / |P|``, of the opposite sign and relative
to the prediction; and where there is nothing to measure a score is not undefined but the worst (``WORST``).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lrnet_edu.metrics import case_scores, checked_pair, dice_of_counts, overlap_counts
from lrnet_edu.study.froc import shared_voxels
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.voxels import connected_components

LESION = 2  # the liver is this label and 1
THRESHOLDS = (0.0, 0.5)  # of intersection over union; the scores of lesions are those of pairs above the last
NOTHING = 9001.0  # what the board writes for a distance, an RVD or a burden that cannot be measured
WORST = {"dice": 0.0, "jaccard": 0.0, "voe": 1.0, "rvd": NOTHING, "assd": NOTHING, "rmsd": NOTHING, "msd": NOTHING}


@dataclass(frozen=True)
class Detection:
    """How many lesions of a set were found, at one threshold, as the board counts and as one would expect."""

    true_positives: int  # the board's; below 0 where many undetected lesions were merged
    false_positives: int  # predicted lesions minus the true positives
    false_negatives: int  # reference lesions minus the true positives
    found: int  # reference lesions in detected pairs
    missed: int  # the other reference lesions
    false_lesions: int  # predicted lesions in no detected pair

    @property
    def precision(self) -> float:
        """The board's: true positives for each predicted lesion; NaN without any."""
        predicted = self.true_positives + self.false_positives
        return self.true_positives / predicted if predicted else math.nan

    @property
    def recall(self) -> float:
        """The board's: true positives for each reference lesion; NaN without any."""
        wanted = self.true_positives + self.false_negatives
        return self.true_positives / wanted if wanted else math.nan


@dataclass(frozen=True)
class ChallengeScores:
    """What a set of cases scores on the LiTS board; distances in mm.

    "dice_per_case" and "dice_global" are of all voxels, the keys of ``WORST`` are means: those of ``lesion`` over the
    detected pairs of the whole SET, so a case with many lesions counts for more, those of ``liver`` over the cases.

    Attributes:
        cases: how many.
        without_liver: cases whose prediction has no voxel equal to 1: ``WORST`` for the liver, 9001 for the burden.
        pairs: detected pairs of lesions (above 0.5) in the whole set.
        detection: for each of ``THRESHOLDS``.
        lesion: scores of the lesions, by name.
        liver: scores of the liver, by name.
        tumour_burden: lesion / liver voxels, reference minus prediction: "rms", "max", "max_abs".
    """

    cases: int
    without_liver: int
    pairs: int
    detection: dict[float, Detection]
    lesion: dict[str, float]
    liver: dict[str, float]
    tumour_burden: dict[str, float]


class _Case(NamedTuple):
    counts: list[list[int]]  # for each threshold the fields of Detection
    pairs: list[dict[str, float]]  # what each detected pair of lesions scores
    lesion: list[int]  # voxels in both, in the prediction, in the reference
    liver: list[int]
    liver_scores: dict[str, float] | None  # None: no voxel of the prediction equals 1
    burden: float  # the reference's minus the prediction's


def challenge_scores(cases: Iterable[tuple[Any, Any, Sequence[float]]]) -> ChallengeScores:
    """Scores a set of cases as the LiTS board does (the module's text gives every rule).

    Where the board's program fails, this is what it means: a reference without a lesion has no true positives, and
    every predicted lesion is a false positive; a reference without a liver has a tumour burden of 0, and a liver
    predicted there scores ``WORST``.

    Args:
        cases: (prediction, reference, spacing) of every case: label volumes (D, H, W) of whole numbers, and the voxel
            size (z, y, x) in mm. They are taken one after the other, so a generator needs the memory of one case only.

    Raises InputError if there is no case, or one is not as `lrnet_edu.metrics.case_scores` takes it.
    """
    scored = []
    for case in cases:
        if not isinstance(case, tuple | list) or len(case) != 3:
            raise InputError("challenge_scores takes a list of cases, each of them (prediction, reference, spacing).")
        scored.append(_score_case(*checked_pair(*case)))
    if not scored:
        raise InputError("There are no cases to score; give at least one.")
    pairs = [pair for case in scored for pair in case.pairs]
    dice_of_livers = [_dice(case.liver) if case.liver_scores else 0.0 for case in scored]
    counts = np.sum([case.counts for case in scored], axis=0).tolist()  # (thresholds, fields of Detection)
    burden = np.array([case.burden for case in scored])
    return ChallengeScores(
        cases=len(scored),
        without_liver=sum(case.liver_scores is None for case in scored),
        pairs=len(pairs),
        detection={threshold: Detection(*numbers) for threshold, numbers in zip(THRESHOLDS, counts, strict=True)},
        lesion=_whole([case.lesion for case in scored], [_dice(case.lesion) for case in scored], pairs or [WORST]),
        liver=_whole([case.liver for case in scored], dice_of_livers, [case.liver_scores or WORST for case in scored]),
        tumour_burden={"rms": np.sqrt(np.square(burden).mean()).item(), "max": burden.max().item(),
                       "max_abs": np.abs(burden).max().item()},
    )  # fmt: skip


def _score_case(p: np.ndarray, r: np.ndarray, spacing: Sequence[float]) -> _Case:
    """One case; label numbers (D, H, W)."""
    counts, pairs = _score_lesions(p == LESION, r == LESION, spacing)
    lesion, liver = overlap_counts(p == LESION, r == LESION), overlap_counts(p >= 1, r >= 1)
    if not (p == 1).any():
        return _Case(counts, pairs, lesion, liver, None, NOTHING)
    liver_scores = _measured(p >= 1, r >= 1, spacing) if liver[2] else WORST
    burden = (lesion[2] / liver[2] if liver[2] else 0.0) - lesion[1] / liver[1]
    return _Case(counts, pairs, lesion, liver, liver_scores, burden)


def _score_lesions(p: np.ndarray, r: np.ndarray, spacing: Sequence[float]) -> tuple[list[list[int]], list[Any]]:
    """Which lesions of the masks (D, H, W) are detected, and what the pairs above the last threshold score."""
    (predicted, number_p), (wanted, number_r) = (connected_components(mask, connectivity=6) for mask in (p, r))
    sizes_p, sizes_r = np.bincount(predicted.ravel()), np.bincount(wanted.ravel())  # by the component's number
    pairs, counts, detected = _match(predicted, wanted), [], []
    for threshold in THRESHOLDS:
        detected = [(ps, rs) for ps, rs, common in pairs
                    if common > threshold * (sizes_p[ps].sum() + sizes_r[rs].sum() - common)]  # fmt: skip
        found, real = sum(len(rs) for _, rs in detected), sum(len(rs) for _, rs, _ in pairs)
        hits, false = len(pairs) - (real - found), number_p - sum(len(ps) for ps, _ in detected)
        counts.append([hits, number_p - hits, number_r - hits, found, number_r - found, false])
    return counts, [_measured(np.isin(predicted, ps), np.isin(wanted, rs), spacing) for ps, rs in detected]


def _match(predicted: np.ndarray, wanted: np.ndarray) -> list[tuple[list[int], list[int], int]]:
    """Steps 1 to 4 of the module: of each pair the numbers of predicted and of reference lesions, and common voxels."""
    shared = list(zip(*(column.tolist() for column in shared_voxels(predicted, wanted)), strict=True))  # step 1
    # Of several entries a dictionary keeps the last: here the one with most voxels, the first lesion among equals.
    favourite = {r: p for p, r, _ in sorted(shared, key=lambda entry: (entry[2], -entry[0]))}  # step 2
    together = defaultdict(list)
    for r in sorted(favourite):
        together[favourite[r]].append(r)
    merged = {r: tuple(rs) for rs in together.values() for r in rs}
    common: Counter[tuple[int, tuple[int, ...]]] = Counter()
    for p, r, voxels in shared:
        common[p, merged[r]] += voxels
    by_voxels = sorted(common, key=lambda pair: (common[pair], -pair[1][0]))
    given = defaultdict(list)
    for p, rs in dict(by_voxels).items():  # step 3
        given[rs].append(p)
    return [(ps, list(rs), sum(common[p, rs] for p in ps)) for rs, ps in given.items()]  # step 4


def _measured(p: np.ndarray, r: np.ndarray, spacing: Sequence[float]) -> dict[str, float]:
    """What two masks (D, H, W) with an object in each score; the keys of ``WORST``."""
    scores = case_scores(p, r, spacing)
    rvd = (scores.reference_voxels - scores.prediction_voxels) / scores.prediction_voxels
    return {name: scores.value(name) for name in WORST} | {"jaccard": 1 - scores.voe, "rvd": rvd}


def _dice(voxels: Sequence[int]) -> float:
    return dice_of_counts(voxels[0], voxels[1] + voxels[2])


def _whole(voxels: Sequence[Any], dice: Sequence[float], scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """The lesions or the livers of a set: Dice by case, of all their voxels together, and the means of scores."""
    means = {name: math.fsum(one[name] for one in scores) / len(scores) for name in WORST}
    return {"dice_per_case": float(np.mean(dice)), "dice_global": _dice(np.sum(voxels, axis=0).tolist()), **means}
