"""Each lesion for itself: whether it was found, how well, and what was found where there is none.

Small lesions are the paper's point, and the seven criteria hide them: a case with one large tumour scores well without
its small ones. A lesion is a 26-connected component, as in section 2.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from lrnet_edu.metrics import cropped_pair, dice_of_counts, voxel_size
from lrnet_edu.support.voxels import connected_components

SIZES = (1.0, 5.0, 20.0)  # ml; balls of 6.2, 10.6 and 16.8 mm radius


def lesion_scores(prediction: Any, reference: Any, spacing: Sequence[float]) -> dict[str, Any]:
    """What became of every lesion of one case.

    Takes what :func:`lrnet_edu.metrics.case_scores` takes, and raises the same.

    Returns:
        ``{"lesions": [{"ml", "dice"}, ...], "false_lesions": [ml, ...]}``, the volumes in ml. A lesion's Dice is that
        of its voxels with all predicted components that touch it, so that two lesions which were predicted as one
        both lose; it is 0 exactly if no voxel of the lesion was found. A false lesion touches none.
    """
    predicted, wanted = (connected_components(v != 0, connectivity=26)[0] for v in cropped_pair(prediction, reference))
    ml = math.prod(voxel_size(spacing).tolist()) / 1000
    sizes_p, sizes_r = (np.bincount(labels.ravel()) for labels in (predicted, wanted))  # by number, 0 the background
    p, r, common = shared_voxels(predicted, wanted)
    found = np.bincount(r, common, len(sizes_r))  # for each lesion its voxels that were predicted
    touching = np.bincount(r, sizes_p[p], len(sizes_r))  # and the voxels of all that touches it
    lesions = [
        {"ml": float(size * ml), "dice": float(dice_of_counts(inside, size + outside))}
        for inside, size, outside in zip(found[1:], sizes_r[1:], touching[1:], strict=True)
    ]
    false = np.setdiff1d(np.arange(1, len(sizes_p)), p)
    return {"lesions": lesions, "false_lesions": [float(size * ml) for size in sizes_p[false]]}


def shared_voxels(predicted: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which components of two numbered volumes (D, H, W) meet: numbers in one, numbers in the other, common voxels.

    The pairs (n,) come in the order of the first number, then the second. Of thousands of lesions few meet, so there
    is no table of all pairs.
    """
    both = (predicted > 0) & (wanted > 0)
    factor = int(wanted.max(initial=0)) + 1
    pairs, voxels = np.unique(predicted[both].astype(np.int64) * factor + wanted[both], return_counts=True)
    return *np.divmod(pairs, factor), voxels


def by_size(cases: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Recall and Dice of the lesions of many cases, by volume.

    Args:
        cases: what :func:`lesion_scores` returned for each.

    Returns:
        For each bin of ``SIZES`` that holds a lesion, by its name ("1 to 5 ml"): "lesions" (their number), "found"
        (their share), "dice" (their mean; 0 for one that was missed).
    """
    names = [
        f"under {SIZES[0]:g} ml",
        *(f"{a:g} to {b:g} ml" for a, b in pairwise(SIZES)),
        f"{SIZES[-1]:g} ml and more",
    ]
    dice: dict[str, list[float]] = {name: [] for name in names}
    for lesion in (lesion for case in cases for lesion in case["lesions"]):
        dice[names[np.digitize(lesion["ml"], SIZES)]].append(lesion["dice"])
    return {name: {"lesions": len(d), "found": np.count_nonzero(d) / len(d), "dice": float(np.mean(d))}
            for name, d in dice.items() if d}  # fmt: skip
