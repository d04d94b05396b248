"""Connected components, boxes around voxels, and boxes cut out."""

import math
from collections.abc import Sequence
from typing import Any, cast

import cc3d
import numpy as np


def connected_components(mask: np.ndarray, connectivity: int) -> tuple[np.ndarray, int]:
    """Number the components of a bool mask (D, H, W) or (H, W) 1, 2, ... in the order (z, y, x); and their number.

    ``connectivity`` is 6, 18 or 26 in 3-D, 4 or 8 in 2-D.
    """
    if mask.ndim == 2:  # as one slice: cc3d's 8-connectivity labels background in an image of one row
        labels, count = connected_components(mask[None], {4: 6, 8: 26}[connectivity])
        return labels[0], count
    mask = np.ascontiguousarray(mask)
    if connectivity == 26 and math.prod((n + 1) // 2 for n in mask.shape) > mask.size // 4:
        mask = mask.view(np.uint8)  # of bools cc3d takes a quarter as components at most; thin volumes can hold more
    return cc3d.connected_components(mask, connectivity=cast(Any, connectivity), return_N=True)


Box = tuple[slice, ...]


def occupied_box(*volumes: np.ndarray, margin: int = 0) -> Box:
    """The smallest box that holds every voxel != 0 of all the volumes, arrays of one shape (D, H, W) or (H, W).

    ``margin`` voxels are added on every side as far as the volume reaches. Without any voxel != 0 it is the first.
    """
    shape, box = volumes[0].shape, []
    views = [mask.astype(bool, copy=False).view(np.uint8) for mask in volumes]  # maxima of bytes are fast
    for axis, size in enumerate(shape):
        others = tuple(other for other in range(len(shape)) if other != axis)
        occupied = np.flatnonzero(np.any([view.max(axis=others, initial=0) for view in views], axis=0))
        if not len(occupied):
            return (slice(0, 1),) * len(shape)
        first, stop = int(occupied[0]), int(occupied[-1]) + 1
        views = [view[(slice(None),) * axis + (slice(first, stop),)] for view in views]  # the next axis reads less
        box.append(slice(max(0, first - margin), min(size, stop + margin)))
    return tuple(box)


def cut(volume: np.ndarray, corner: np.ndarray, size: Sequence[int] | np.ndarray, *, mode: Any) -> np.ndarray:
    """Copy a box out of a volume, from the index ``corner``; what lies outside is padded ("edge", "constant")."""
    start, stop = np.maximum(corner, 0), np.minimum(corner + size, volume.shape)
    box = np.array(volume[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))])
    missing = np.stack((start - corner, corner + size - stop), axis=1)
    return np.pad(box, missing, mode=mode) if missing.any() else box
