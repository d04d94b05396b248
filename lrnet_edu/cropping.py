"""The box of what a volume holds. A scan is mostly background, and work on its object need not look at that."""

from __future__ import annotations

import numpy as np

Box = tuple[slice, ...]


def occupied_box(*volumes: np.ndarray, margin: int = 0) -> Box:
    """The smallest box that holds every voxel != 0 of all the volumes.

    The volumes are read once, as maxima along the axes: NumPy finds those at the speed of the memory.

    Args:
        volumes: arrays of one shape, (D, H, W) or (H, W).
        margin: voxels to add on every side, as far as the volume reaches.

    Returns:
        A slice for each axis. Without any voxel != 0 the box is the first voxel.
    """
    numbers = [_nonnegative(volume) for volume in volumes]
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


def _nonnegative(volume: np.ndarray) -> np.ndarray:
    """Numbers that are above 0 where the volume is not 0; no copy of a mask."""
    if volume.dtype == bool:
        return volume.view(np.uint8)
    return volume if volume.dtype.kind == "u" else (volume != 0).view(np.uint8)
