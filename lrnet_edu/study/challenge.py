"""The LiTS challenge's own scoring: its board counts lesions, and measures the ones that were found.

The paper's Table 2 scores the tumour of a case as one object (``lrnet_edu.metrics``). The board of the LiTS
challenge (the paper's reference 3, Bilic et al., "The Liver Tumor Segmentation Benchmark") asks first which
lesions were found at all, and measures overlap and distances of those alone. So a VOE of the board and a Dice
per case of the board speak of different things: of the lesions found, and of everything. What follows are the
rules of the board's public scoring program.

Liver is every label >= 1, lesion is label 2, and the lesions are the 6-connected components of each volume.
Within a case they are matched in five steps:

1. The voxels that every predicted lesion shares with every reference lesion are counted.
2. Reference lesions that share most of their voxels with the same predicted lesion are merged into one.
3. Each predicted lesion is given to the one reference lesion, merged or not, that it shares most voxels with.
4. Predicted lesions given to the same reference lesion are merged.
5. Such a pair is detected if its intersection over union EXCEEDS a threshold, and there are two: 0 and 0.5.

Where two lesions tie, the one that comes first in the volume's order (z, y, x) is taken.

True positives are the unmerged reference lesions of the detected pairs. False negatives are the other reference
lesions. False positives are the predicted lesions minus the true positives: one predicted lesion that covers
three real ones makes three true positives and MINUS TWO false ones. That is the board's count, and kept here.

Two conventions differ from the paper's criteria: RVD is ``(|R| - |P|) / |P|``, of the opposite sign and relative
to the prediction; and where there is nothing to measure a score is not undefined but the worst (``WORST``).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from lrnet_edu.metrics import case_scores, cropped_pair, voxel_size
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.voxels import connected_components

LESION = 2  # the liver is this label and 1
THRESHOLDS = (0.0, 0.5)  # of intersection over union; the scores of lesions are those of pairs above the last
NOTHING = 9001.0  # what the board writes for a distance, an RVD or a burden that cannot be measured
WORST = {
    "dice": 0.0,
    "jaccard": 0.0,
    "voe": 1.0,
    "rvd": NOTHING,
    "assd": NOTHING,
    "rmsd": NOTHING,
    "msd": NOTHING,
}


@dataclass(frozen=True)
class Detection:
    """How many lesions of a set were found, at one threshold; the module says what counts as found.

    Attributes:
        true_positives: Reference lesions found.
        false_positives: Predicted lesions minus true positives; below 0 where one covers several real ones.
        false_negatives: Reference lesions not found.
    """

    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def precision(self) -> float:
        """True positives for each predicted lesion; above 1 where one covers several, NaN without any."""
        predicted = self.true_positives + self.false_positives
        return self.true_positives / predicted if predicted else math.nan

    @property
    def recall(self) -> float:
        """Share of the reference lesions that were found; NaN without any."""
        wanted = self.true_positives + self.false_negatives
        return self.true_positives / wanted if wanted else math.nan


@dataclass(frozen=True)
class ChallengeScores:
    """What a set of cases scores on the LiTS board.

    Attributes:
        cases: Number of cases.
        without_liver: Cases whose prediction has no voxel equal to 1; they score ``WORST`` for the liver.
        pairs: Detected pairs of lesions (above 0.5) in the whole set.
        detection: For each of ``THRESHOLDS`` the lesions found.
        lesion: "dice_per_case" and "dice_global" of all lesion voxels, which are DC and DG of the paper's
            criteria; then the keys of ``WORST``, each the mean over the detected pairs of the whole SET, so that
            a case with many lesions counts for more. Distances in mm. Without any pair ``WORST``.
        liver: The same of the liver, all of them means over the cases but "dice_global". A case of
            ``without_liver`` has Dice 0.
        tumour_burden: Lesion voxels / liver voxels, reference minus prediction: its root mean square over the
            cases ("rms"), its largest value as the board takes it, with its sign ("max"), and the largest
            without sign ("max_abs"). A case of ``without_liver`` counts as 9001.
    """

    cases: int
    without_liver: int
    pairs: int
    detection: dict[float, Detection]
    lesion: dict[str, float]
    liver: dict[str, float]
    tumour_burden: dict[str, float]


@dataclass(frozen=True)
class _Case:
    """What one case adds to the set's scores. Overlaps are (intersection, |P|, |R|) in voxels."""

    detection: dict[float, Detection]
    pairs: list[dict[str, float]]
    lesion: tuple[int, int, int]
    liver: tuple[int, int, int]
    liver_scores: dict[str, float] | None  # None: no voxel of the prediction equals 1
    burden: float


def challenge_scores(cases: Iterable[tuple[Any, Any, Sequence[float]]]) -> ChallengeScores:
    """Scores a set of cases as the LiTS board does (the module's text gives every rule).

    Where the board's program fails, this is what it means: a reference without a lesion has no true positives,
    and every predicted lesion is a false positive; a reference without a liver has a tumour burden of 0, and a
    liver predicted there scores ``WORST``.

    Args:
        cases: (prediction, reference, spacing) of every case: label volumes (D, H, W) of whole numbers, and the
            voxel size (z, y, x) in mm. They are taken one after the other, so a generator needs the memory of
            one case only.

    Raises:
        InputError: If there is no case, the volumes of one are not (D, H, W) of one shape, hold NaN, fractional
            or negative values, or its spacing is not three positive numbers.
    """
    scored = [_score_case(*case) for case in cases]
    if not scored:
        raise InputError("There are no cases to score; give at least one.")
    pairs = [pair for case in scored for pair in case.pairs]
    livers = [case.liver_scores or WORST for case in scored]
    burden = np.array([case.burden for case in scored])
    liver_dice = [0.0 if case.liver_scores is None else _dice(case.liver) for case in scored]
    return ChallengeScores(
        cases=len(scored),
        without_liver=sum(case.liver_scores is None for case in scored),
        pairs=len(pairs),
        detection={threshold: _sum([case.detection[threshold] for case in scored]) for threshold in THRESHOLDS},
        lesion={
            "dice_per_case": float(np.mean([_dice(case.lesion) for case in scored])),
            "dice_global": _dice(tuple(map(sum, zip(*(case.lesion for case in scored), strict=True)))),
            **_mean(pairs or [WORST]),
        },
        liver={
            "dice_per_case": float(np.mean(liver_dice)),
            "dice_global": _dice(tuple(map(sum, zip(*(case.liver for case in scored), strict=True)))),
            **_mean(livers),
        },
        tumour_burden={
            "rms": float(np.sqrt(np.square(burden).mean())),
            "max": float(burden.max()),
            "max_abs": float(np.abs(burden).max()),
        },
    )


def _score_case(prediction: Any, reference: Any, spacing: Sequence[float]) -> _Case:
    """One case, in the box of its livers: lesions are liver as well."""
    voxel_size(spacing)  # refused even where nothing is measured
    p, r = map(np.ascontiguousarray, cropped_pair(prediction, reference))  # label numbers (D, H, W)
    has_liver = bool((p == 1).any())
    detection, pairs = _lesions(p == LESION, r == LESION, spacing)
    lesion, liver = _overlap(p == LESION, r == LESION), _overlap(p >= 1, r >= 1)
    burden = [tumour / whole if whole else 0.0 for tumour, whole in zip(lesion[1:], liver[1:], strict=True)]
    return _Case(
        detection=detection,
        pairs=pairs,
        lesion=lesion,
        liver=liver,
        liver_scores=(_measured(p >= 1, r >= 1, spacing) if liver[2] else WORST) if has_liver else None,
        burden=burden[1] - burden[0] if has_liver else NOTHING,
    )


def _lesions(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]
) -> tuple[dict[float, Detection], list[dict[str, float]]]:
    """Which lesions of the masks (D, H, W) are detected, and what the pairs above the last threshold score."""
    predicted, number_predicted = connected_components(prediction, connectivity=6)
    wanted, number_wanted = connected_components(reference, connectivity=6)
    matches = _match(predicted, wanted)
    sizes = np.bincount(predicted[prediction]), np.bincount(wanted[reference])  # by the component's number

    detected: dict[float, list[tuple[list[int], list[int]]]] = {threshold: [] for threshold in THRESHOLDS}
    for ps, rs, intersection in matches:
        union = int(sizes[0][ps].sum() + sizes[1][rs].sum()) - intersection
        for threshold in THRESHOLDS:
            if intersection > threshold * union:
                detected[threshold].append((ps, rs))

    detection = {}
    for threshold, found in detected.items():
        hits = sum(len(rs) for _, rs in found)
        detection[threshold] = Detection(hits, number_predicted - hits, number_wanted - hits)

    boxes = ndimage.find_objects(predicted), ndimage.find_objects(wanted)
    scores = []
    for ps, rs in detected[THRESHOLDS[-1]]:
        box = _joint_box([boxes[0][p - 1] for p in ps] + [boxes[1][r - 1] for r in rs])
        scores.append(_measured(np.isin(predicted[box], ps), np.isin(wanted[box], rs), spacing))
    return detection, scores


def _match(predicted: np.ndarray, wanted: np.ndarray) -> list[tuple[list[int], list[int], int]]:
    """Steps 1 to 4 of the module: pairs of merged lesions by their numbers, and the voxels that each pair shares.

    All that is needed is one table of the voxels shared, and it has few entries: most lesions never meet.
    """
    shared = _shared_voxels(predicted, wanted)  # step 1: {(p, r): voxels}, ordered by p, then r

    favourite = _most_shared((r, p, voxels) for (p, r), voxels in shared.items())  # step 2: of each r the p
    together = defaultdict(list)
    for r in sorted(favourite):
        together[favourite[r]].append(r)
    merged = {rs[0]: rs for rs in together.values()}  # merged reference lesions, named by their first
    name = {r: first for first, rs in merged.items() for r in rs}

    shared_merged: dict[tuple[int, int], int] = defaultdict(int)
    for (p, r), voxels in shared.items():
        shared_merged[p, name[r]] += voxels
    owner = _most_shared((p, first, voxels) for (p, first), voxels in sorted(shared_merged.items()))  # step 3

    given = defaultdict(list)  # step 4
    for p, first in owner.items():
        given[first].append(p)
    return [(ps, merged[first], sum(shared_merged[p, first] for p in ps)) for first, ps in sorted(given.items())]


def _shared_voxels(predicted: np.ndarray, wanted: np.ndarray) -> dict[tuple[int, int], int]:
    """How many voxels each predicted component shares with each reference component; 0 is left out."""
    both = (predicted > 0) & (wanted > 0)  # (D, H, W)
    p, r = predicted[both].astype(np.int64), wanted[both].astype(np.int64)
    factor = int(r.max(initial=0)) + 1
    codes, voxels = np.unique(p * factor + r, return_counts=True)
    return {divmod(code, factor): n for code, n in zip(codes.tolist(), voxels.tolist(), strict=True)}


def _most_shared(entries: Iterable[tuple[int, int, int]]) -> dict[int, int]:
    """Of (chooser, choice, voxels) the choice with most voxels for each chooser, the first among equals."""
    best: dict[int, tuple[int, int]] = {}
    for chooser, choice, voxels in entries:
        if chooser not in best or voxels > best[chooser][1]:
            best[chooser] = choice, voxels
    return {chooser: choice for chooser, (choice, _) in best.items()}


def _joint_box(boxes: Sequence[tuple[slice, ...]]) -> tuple[slice, ...]:
    return tuple(slice(min(s.start for s in sides), max(s.stop for s in sides)) for sides in zip(*boxes, strict=True))


def _measured(p: np.ndarray, r: np.ndarray, spacing: Sequence[float]) -> dict[str, float]:
    """What two masks (D, H, W) with an object in each score; the keys of ``WORST``."""
    scores = case_scores(p, r, spacing)
    return {
        "dice": scores.dice,
        "jaccard": 1 - scores.voe,
        "voe": scores.voe,
        "rvd": (scores.reference_voxels - scores.prediction_voxels) / scores.prediction_voxels,
        "assd": scores.assd,
        "rmsd": scores.rmsd,
        "msd": scores.msd,
    }


def _overlap(p: np.ndarray, r: np.ndarray) -> tuple[int, int, int]:
    return int(np.count_nonzero(p & r)), int(np.count_nonzero(p)), int(np.count_nonzero(r))


def _dice(overlap: Sequence[int]) -> float:
    intersection, predicted, wanted = overlap
    return 2 * intersection / (predicted + wanted) if predicted + wanted else 1.0


def _mean(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: math.fsum(one[name] for one in scores) / len(scores) for name in WORST}


def _sum(counts: Sequence[Detection]) -> Detection:
    return Detection(
        sum(count.true_positives for count in counts),
        sum(count.false_positives for count in counts),
        sum(count.false_negatives for count in counts),
    )
