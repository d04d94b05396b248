"""Section 2.1's distance maps as their definitions read: over all pairs of voxels, component by component."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

SCIPY_STEPS = {4: 1, 8: 2, 6: 1, 18: 2, 26: 3}  # SciPy's number of orthogonal steps for each connectivity


def over_all_pairs(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """From every voxel of the mask to the nearest other one; 0 elsewhere."""
    a, b = (np.argwhere(voxels) * np.asarray(spacing, float) for voxels in (mask, ~mask))
    distances = np.zeros(mask.shape)
    distances[mask] = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1)).min(1)
    return distances


def plain_map(
    mask: np.ndarray, kind: str, spacing: Sequence[float] | None = None, connectivity: int | None = None, *,
    distances: Callable[[np.ndarray, Sequence[float]], np.ndarray] = over_all_pairs,
) -> np.ndarray:  # fmt: skip
    """What ``distance_map`` should give for a bool mask (D, H, W) or (H, W)."""
    if not mask.any():
        return np.full(mask.shape, -1.0 if kind == "SNI-DM" else 0.0)
    if mask.all():  # as if one layer of background surrounded it; it has no outside
        padded = plain_map(np.pad(mask, 1), kind.removeprefix("S"), spacing, connectivity, distances=distances)
        return padded[(slice(1, -1),) * mask.ndim]
    spacing = spacing or (1.0,) * mask.ndim
    d = distances(mask, spacing)
    if kind == "O-DM":
        return d
    result = np.zeros(mask.shape)
    steps = mask.ndim if connectivity is None else SCIPY_STEPS[connectivity]
    labels, _ = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, steps))
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        here = labels[box] == number
        own = d[box][here]
        inverted = own.max() + own.min() - own
        result[box][here] = inverted if kind == "I-DM" else inverted / own.max()
    if kind == "SNI-DM":
        outside = distances(~mask, spacing)
        result[~mask] = -outside[~mask] / outside.max()
    return result
