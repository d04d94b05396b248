"""Connected components, boxes around voxels, and boxes cut out."""

from __future__ import annotations

import math
from collections.abc import Sequence
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


Box = tuple[slice, ...]


def occupied_box(*volumes: np.ndarray, margin: int = 0) -> Box:
    """The smallest box that holds every voxel != 0 of all the volumes, arrays of one shape (D, H, W) or (H, W).

    The volumes are read once, as maxima along the axes: NumPy finds those at the speed of the memory.

    Args:
        margin: voxels to add on every side, as far as the volume reaches.

    Returns:
        A slice for each axis. Without any voxel != 0 the box is the first voxel.
    """
    masks = [volume if volume.dtype == bool or volume.dtype.kind == "u" else volume != 0 for volume in volumes]
    numbers = [mask.view(np.uint8) if mask.dtype == bool else mask for mask in masks]
    others = tuple(range(1, volumes[0].ndim))
    first = np.flatnonzero(np.any([volume.max(axis=others, initial=0) for volume in numbers], axis=0))
    if len(first) == 0:
        return (slice(0, 1),) * volumes[0].ndim
    slab = slice(int(first[0]), int(first[-1]) + 1)
    shadow = np.any([volume[slab].max(axis=0) for volume in numbers], axis=0)  # (H, W) or (W,)
    axes = range(shadow.ndim)
    rest = [np.flatnonzero(shadow.any(axis=tuple(other for other in axes if other != axis))) for axis in axes]
    sides = [slab, *(slice(int(places[0]), int(places[-1]) + 1) for places in rest)]
    return tuple(
        slice(max(0, side.start - margin), min(size, side.stop + margin))
        for side, size in zip(sides, volumes[0].shape, strict=True)
    )


def cut(volume: np.ndarray, corner: np.ndarray, size: Sequence[int] | np.ndarray, *, mode: Any) -> np.ndarray:
    """Copy a box out of a volume, from the index ``corner``; what lies outside is padded ("edge", "constant")."""
    start, stop = np.maximum(corner, 0), np.minimum(corner + size, volume.shape)
    box = np.array(volume[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))])
    missing = np.stack((start - corner, corner + size - stop), axis=1)
    return np.pad(box, missing, mode=mode) if missing.any() else box
