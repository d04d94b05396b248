"""The LiTS board's scoring read literally: whole volumes, pair by pair. `lrnet_edu.study.challenge` must agree with it.

Slow on purpose. The benchmarks take it as the straightforward implementation.
"""

import math
from typing import Any

import numpy as np
from scipy import ndimage

FACES = ndimage.generate_binary_structure(3, 1)
EIGHTEEN = ndimage.generate_binary_structure(3, 2)
COUNTS = ("true_positives", "false_positives", "false_negatives", "found", "missed", "false_lesions")
WORST = {"dice": 0.0, "jaccard": 0.0, "voe": 1.0, "rvd": 9001.0, "assd": 9001.0, "rmsd": 9001.0, "msd": 9001.0}


def plain_matches(predicted: np.ndarray, reference: np.ndarray) -> list[tuple[list[int], list[int], float]]:
    """The five steps on two volumes of numbered lesions: predicted numbers, reference numbers, overlap of a pair."""
    ps, rs = range(1, predicted.max() + 1), range(1, reference.max() + 1)
    # 1. every intersection
    shared = np.array([[np.sum((predicted == p) & (reference == r)) for r in rs] for p in ps]).reshape(len(ps), len(rs))
    # 2. merge reference lesions that have the same predicted lesion with the largest intersection
    groups: dict[int, list[int]] = {}
    for r in rs:
        if shared[:, r - 1].any():
            groups.setdefault(int(shared[:, r - 1].argmax()), []).append(r)
    # 3. each predicted lesion goes to the group that it overlaps most, 4. and is merged with the others there
    owned: dict[int, list[int]] = {key: [] for key in groups}
    for p in ps:
        overlaps = {key: sum(shared[p - 1, r - 1] for r in group) for key, group in groups.items()}
        if any(overlaps.values()):
            owned[max(overlaps, key=lambda key: overlaps[key])].append(p)  # of equal ones the first
    # 5. intersection over union of the merged lesions
    pairs = []
    for key, group in groups.items():
        a, b = np.isin(predicted, owned[key]), np.isin(reference, group)
        if a.any():
            pairs.append((owned[key], group, (a & b).sum() / (a | b).sum()))
    return pairs


def plain_counts(matches: Any, threshold: float, n_predicted: int, n_wanted: int) -> tuple[int, ...]:
    """``COUNTS`` of one case: the program's count starts from all pairs, undetected ones cost every lesion in them."""
    hits = len(matches) - sum(len(group) for _, group, overlap in matches if overlap <= threshold)
    detected = [(members, group) for members, group, overlap in matches if overlap > threshold]
    found = sum(len(group) for _, group in detected)
    false = n_predicted - sum(len(members) for members, _ in detected)
    return hits, n_predicted - hits, n_wanted - hits, found, n_wanted - found, false


def plain_scores(p: np.ndarray, r: np.ndarray, spacing: Any) -> dict[str, float]:
    """The scores of two masks that are not empty, distances by whole distance transforms."""
    surfaces = [mask & ~ndimage.binary_erosion(mask, EIGHTEEN, border_value=0) for mask in (p, r)]
    to_p, to_r = (ndimage.distance_transform_edt(~surface, sampling=spacing) for surface in surfaces)
    distances = np.concatenate([to_r[surfaces[0]], to_p[surfaces[1]]])
    jaccard = (p & r).sum() / (p | r).sum()
    return {"dice": plain_dice(p, r), "jaccard": jaccard, "voe": 1 - jaccard, "rvd": (r.sum() - p.sum()) / p.sum(),
            "assd": distances.mean(), "rmsd": math.sqrt((distances**2).mean()), "msd": distances.max()}  # fmt: skip


def plain_dice(p: np.ndarray, r: np.ndarray) -> float:
    return 2 * (p & r).sum() / (p.sum() + r.sum()) if p.any() or r.any() else 1.0


def plain_challenge_scores(cases: Any) -> dict[str, Any]:
    """The whole board: nested dictionaries of `ChallengeScores`' fields."""
    pairs, livers, burdens, lesion_dice, liver_dice, missing = [], [], [], [], [], 0
    counts = {threshold: np.zeros(6, int) for threshold in (0.0, 0.5)}
    for prediction, reference, spacing in cases:
        predicted, n_predicted = ndimage.label(prediction == 2, FACES)
        wanted, n_wanted = ndimage.label(reference == 2, FACES)
        matches = plain_matches(predicted, wanted)
        for threshold, total in counts.items():
            total += plain_counts(matches, threshold, n_predicted, n_wanted)
        for members, group, overlap in matches:
            if overlap > 0.5:
                pairs.append(plain_scores(np.isin(predicted, members), np.isin(wanted, group), spacing))
        lesion_dice.append(plain_dice(prediction == 2, reference == 2))
        p, r = prediction >= 1, reference >= 1
        if (prediction == 1).any():
            liver_dice.append(plain_dice(p, r))
            livers.append(plain_scores(p, r, spacing) if r.any() else WORST)
            ours, theirs = ((v == 2).sum() / max(1, (v >= 1).sum()) for v in (prediction, reference))
            burdens.append(theirs - ours)
        else:
            missing += 1
            liver_dice.append(0.0)
            livers.append(WORST)
            burdens.append(9001.0)

    def whole(by_case: list[float], scores: list[dict[str, float]], masks: list[Any]) -> dict[str, float]:
        p, r = (np.concatenate([pair[i].ravel() for pair in masks]) for i in (0, 1))
        means = {name: np.mean([one[name] for one in scores]) for name in WORST}
        return {"dice_per_case": np.mean(by_case), "dice_global": plain_dice(p, r), **means}

    return {
        "cases": len(burdens),
        "without_liver": missing,
        "pairs": len(pairs),
        "detection": {threshold: dict(zip(COUNTS, total.tolist(), strict=True)) for threshold, total in counts.items()},
        "lesion": whole(lesion_dice, pairs or [WORST], [(p == 2, r == 2) for p, r, _ in cases]),
        "liver": whole(liver_dice, livers, [(p >= 1, r >= 1) for p, r, _ in cases]),
        "tumour_burden": {
            "rms": np.sqrt(np.mean(np.square(burdens))),
            "max": max(burdens),
            "max_abs": np.abs(burdens).max(),
        },
    }
