"""Connected components: what makes several lesions of one mask."""

from __future__ import annotations

import math
from typing import Any, cast

import cc3d
import numpy as np


def connected_components(mask: np.ndarray, connectivity: int) -> tuple[np.ndarray, int]:
    """Number the connected components of a mask 1, 2, ... in the order in which (z, y, x) meets them.

    Args:
        mask: bool (D, H, W) or (H, W).
        connectivity: neighbours of a voxel: 6, 18 or 26 in 3-D, 4 or 8 in 2-D.

    Returns:
        Integers of the mask's shape, 0 for the background, and how many components there are.
    """
    if mask.ndim == 2:  # as one slice: cc3d's 8-connectivity labels background in an image of one row
        labels, count = connected_components(mask[None], {4: 6, 8: 26}[connectivity])
        return labels[0], count
    mask = np.ascontiguousarray(mask)
    if connectivity == 26 and math.prod((n + 1) // 2 for n in mask.shape) > mask.size // 4:
        # For bools cc3d keeps room for a quarter of the voxels, and stops where isolated voxels of a thin volume
        # (101 in one row) are more; for integers it keeps room for all.
        mask = mask.view(np.uint8)
    return cc3d.connected_components(mask, connectivity=cast(Any, connectivity), return_N=True)
