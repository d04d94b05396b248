"""Connected components, boxes around voxels, and boxes cut out."""

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
    mask = np.ascontiguousarray(mask).view(np.uint8)  # of bools cc3d takes a quarter as components at most
    return cc3d.connected_components(mask, connectivity=cast(Any, connectivity), return_N=True)


Box = tuple[slice, ...]


def occupied_box(*volumes: np.ndarray, margin: int = 0) -> Box:
    """The smallest box that holds every voxel != 0 of all the volumes, arrays of one shape (D, H, W) or (H, W).

    ``margin`` voxels are added on every side as far as the volume reaches. Without any voxel != 0 it is the first.
    """
    occupied, box = np.any([volume != 0 for volume in volumes], axis=0), []
    for axis, size in enumerate(occupied.shape):
        found = np.flatnonzero(occupied.any(axis=tuple({*range(occupied.ndim)} - {axis})))
        if not len(found):
            return (slice(0, 1),) * occupied.ndim
        box.append(slice(max(0, int(found[0]) - margin), min(size, int(found[-1]) + 1 + margin)))
    return tuple(box)


def cut(volume: np.ndarray, corner: np.ndarray, size: Sequence[int] | np.ndarray, *, mode: Any) -> np.ndarray:
    """Copy a box out of a volume, from the index ``corner``; what lies outside is padded ("edge", "constant")."""
    start, stop = np.maximum(corner, 0), np.minimum(corner + size, volume.shape)
    box = np.array(volume[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))])
    missing = np.stack((start - corner, corner + size - stop), axis=1)
    return np.pad(box, missing, mode=mode) if missing.any() else box
