"""Each lesion for itself: whether it was found, how well, and what was found where there is none.

Small lesions are the paper's point, and the seven criteria hide them: a case with one large tumour scores well without
its small ones. A lesion is a 26-connected component, as in section 2.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lrnet_edu.metrics import cropped_pair, voxel_size
from lrnet_edu.support.voxels import connected_components

SIZES = (1.0, 5.0, 20.0)  # ml; balls of 6.2, 10.6 and 16.8 mm radius


def lesion_scores(prediction: Any, reference: Any, spacing: Sequence[float]) -> dict[str, Any]:
    """What became of every lesion of one case.

    Args:
        prediction: mask (D, H, W), as for :func:`lrnet_edu.metrics.case_scores`.
        reference: mask of the same shape.
        spacing: voxel size (z, y, x) in mm.

    Returns:
        ``{"lesions": [{"ml", "dice"}, ...], "false_lesions": [ml, ...]}``, the volumes in ml. A lesion's Dice is that
        of its voxels with all predicted components that touch it, so that two lesions which were predicted as one
        both lose; it is 0 exactly if no voxel of the lesion was found. A false lesion touches none.

    Raises:
        InputError: as ``case_scores``.
    """
    predicted, wanted = (
        connected_components(volume != 0, connectivity=26) for volume in cropped_pair(prediction, reference)
    )
    p, r = (labels.ravel().astype(np.int64) for labels, _ in (predicted, wanted))
    ml = math.prod(voxel_size(spacing).tolist()) / 1000
    shape = (wanted[1] + 1, predicted[1] + 1)
    shared = np.bincount(r * shape[1] + p, minlength=math.prod(shape)).reshape(shape)  # voxels, row 0 = background
    sizes_p, sizes_r, overlap = shared.sum(axis=0)[1:], shared.sum(axis=1)[1:], shared[1:, 1:]
    touching = (overlap > 0) @ sizes_p  # for each lesion the voxels of all that touches it
    dice = 2 * overlap.sum(axis=1) / (sizes_r + touching)
    lesions = [{"ml": float(size * ml), "dice": float(score)} for size, score in zip(sizes_r, dice, strict=True)]
    false = sizes_p[~(overlap > 0).any(axis=0)]
    return {"lesions": lesions, "false_lesions": [float(size * ml) for size in false]}


def size_name(bin_number: int) -> str:
    """The words for a bin of ``SIZES``: "under 1 ml", "1 to 5 ml", ..."""
    if bin_number == 0:
        return f"under {SIZES[0]:g} ml"
    if bin_number == len(SIZES):
        return f"{SIZES[-1]:g} ml and more"
    return f"{SIZES[bin_number - 1]:g} to {SIZES[bin_number]:g} ml"


def by_size(cases: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Recall and Dice of the lesions of many cases, by volume.

    Args:
        cases: what :func:`lesion_scores` returned for each.

    Returns:
        For each bin of ``SIZES`` that holds a lesion, by its name: "lesions" (their number), "found" (their share),
        "dice" (their mean; 0 for one that was missed).
    """
    lesions = [lesion for case in cases for lesion in case["lesions"]]
    bins = np.digitize([lesion["ml"] for lesion in lesions], SIZES)
    result = {}
    for b in range(len(SIZES) + 1):
        dice = [lesion["dice"] for lesion, own in zip(lesions, bins, strict=True) if own == b]
        if dice:
            found = sum(score > 0 for score in dice) / len(dice)
            result[size_name(b)] = {"lesions": len(dice), "found": found, "dice": float(np.mean(dice))}
    return result
