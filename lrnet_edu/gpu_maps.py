"""The distance maps of section 2.1 in PyTorch's operations alone: a batch on a GPU is computed there, all at once.

``distance_maps`` works in each component's box, which is fastest on a CPU; a GPU would rather do the same simple thing
to every voxel. Both give the same maps (``tests/test_gpu_maps.py``), and this one works on any device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

# The neighbours of a voxel are all that lie under one of these windows around it; those of a pixel by 4 and 8.
WINDOWS = {
    4: [(1, 3, 1), (1, 1, 3)],
    8: [(1, 3, 3)],
    6: [(3, 1, 1), (1, 3, 1), (1, 1, 3)],
    18: [(3, 3, 1), (3, 1, 3), (1, 3, 3)],
    26: [(3, 3, 3)],
}


@torch.no_grad()
def map_by_torch(mask: Tensor, kind: str, spacing: tuple[float, ...], connectivity: int, outside: str) -> Tensor:
    """The map of :func:`lrnet_edu.distance_map`, which has checked what it is given.

    Args:
        mask: (H, W), (D, H, W) or (B, 1, D, H, W), on any device.
        kind: one of ``distance_maps.KINDS``.
        spacing: mm per voxel, (y, x) or (z, y, x).
        connectivity: 4 or 8 of an image, else 6, 18 or 26.
        outside: of SNI-DM, "distance" or "inverse".

    Returns:
        float32, in the mask's shape, on its device.
    """
    inside = mask.bool().reshape(-1, *(1, *mask.shape)[-3:])  # (B, D, H, W); an image has D = 1
    steps = (1.0, *spacing)[-3:]
    empty, full = ~inside.flatten(1).any(1), inside.flatten(1).all(1)  # (B,)
    d = torch.where(_each(full), _full_distances(inside, spacing), distances_to(~inside, steps))  # (B, D, H, W)
    result = torch.where(inside, _inverted(d, kind, components(inside, connectivity)), 0)
    if kind == "SNI-DM":
        beyond = _outside_map(distances_to(inside, steps), inverse=outside == "inverse")
        result = torch.where(inside, result, beyond).masked_fill_(_each(empty), -1)
    return result.reshape(mask.shape)


def distances_to(target: Tensor, spacing: tuple[float, ...]) -> Tensor:
    """Euclidean distance of every voxel to the nearest one of the target in its sample, infinite where there is none.

    Exact, axis by axis (Felzenszwalb and Huttenlocher 2012, section 3): along the last axis the distance is read off;
    then each axis adds its offsets, of which only those can matter that are shorter than an upper bound of all
    distances. Every voxel's distance along its own three lines is such a bound.

    Args:
        target: bool (B, D, H, W).
        spacing: mm (z, y, x).
    """
    along = [_distances_along(target, axis).mul_(step) for axis, step in zip((1, 2, 3), spacing, strict=True)]
    reach = float(torch.minimum(along[0], along[1]).minimum(along[2]).max())
    squared = along[2].square_()
    for axis in (2, 1):
        squared = _lower_envelope(squared, axis, spacing[axis - 1], reach)
    return squared.sqrt_()


def _distances_along(target: Tensor, axis: int) -> Tensor:
    """Voxels to the nearest one of the target on the same line along an axis: float32 (B, D, H, W)."""
    shape = [1] * target.ndim
    shape[axis] = target.shape[axis]
    here = torch.arange(target.shape[axis], dtype=torch.float32, device=target.device).view(shape)
    before = torch.where(target, here, -math.inf).cummax(axis).values
    behind = torch.where(target, here, math.inf).flip(axis).cummin(axis).values.flip(axis)
    return torch.minimum(here - before, behind - here)


def _lower_envelope(squared: Tensor, axis: int, step: float, reach: float) -> Tensor:
    """At every voxel the least of ``squared`` k voxels away plus (k step)^2, for all k step up to the reach."""
    n = squared.shape[axis]
    least = squared.clone()
    for k in range(1, n if reach == math.inf else min(n, math.ceil(reach / step) + 1)):  # one more, for rounding
        for to, source in ((0, k), (k, 0)):
            there = least.narrow(axis, to, n - k)  # a view
            torch.minimum(there, squared.narrow(axis, source, n - k) + (k * step) ** 2, out=there)
    return least


def components(inside: Tensor, connectivity: int) -> Tensor:
    """Number the connected components of every sample: int64 (B, D, H, W), 0 outside, otherwise the number of a voxel.

    A voxel takes the highest number among its neighbours, hands it on to the voxel that its old number names, and
    follows where that one leads. Numbers thus travel in leaps, and what is left to do halves with every round.
    """
    number = torch.arange(1, inside.numel() + 1, device=inside.device).view(inside.shape)
    labels = torch.where(inside, number, 0)
    exact = torch.float32 if inside.numel() < 2**24 else torch.float64  # pooling wants floats
    while True:
        pooled = [
            F.max_pool3d(labels.to(exact)[:, None], window, stride=1, padding=[side // 2 for side in window])
            for window in WINDOWS[connectivity]
        ]
        seen = torch.stack(pooled).amax(0)[:, 0].long() * inside  # (B, D, H, W)
        leads_to = torch.cat((labels.new_zeros(1), seen.flatten()))  # of every number the highest one known
        leads_to.scatter_reduce_(0, labels.flatten(), seen.flatten(), "amax")
        after = leads_to[leads_to[seen]]
        if torch.equal(after, labels):
            return labels
        labels = after


def _inverted(d: Tensor, kind: str, labels: Tensor) -> Tensor:
    """D to M + m - D, divided by M if normalised, with the extremes of each voxel's component; O-DM is D itself."""
    if kind == "O-DM":
        return d
    start = d.new_zeros(labels.numel() + 1)
    highest, lowest = (
        start.scatter_reduce(0, labels.flatten(), d.flatten(), which, include_self=False)[labels]
        for which in ("amax", "amin")
    )
    depth = d - lowest
    return highest - depth if kind == "I-DM" else 1 - depth / highest


def _outside_map(distances: Tensor, inverse: bool) -> Tensor:
    """The negative half of SNI-DM; NaN in a sample without an object."""
    highest = _each(distances.flatten(1).amax(1))  # M'
    if not inverse:
        return -distances / highest
    lowest = _each(distances.masked_fill(distances == 0, math.inf).flatten(1).amin(1))  # m'
    return (distances - lowest) / highest - 1


def _full_distances(inside: Tensor, spacing: tuple[float, ...]) -> Tensor:
    """D of an object that fills its image, as if one layer of background surrounded it: (1, D, H, W)."""
    distances = torch.full(inside.shape[1:], math.inf, device=inside.device)
    for axis, step in zip(range(3 - len(spacing), 3), spacing, strict=True):
        n = inside.shape[axis + 1]
        first = torch.arange(1, n + 1, dtype=torch.float32, device=inside.device)
        shape = [n if i == axis else 1 for i in range(3)]
        distances = torch.minimum(distances, torch.minimum(first, first.flip(0)).mul(step).view(shape))
    return distances[None]


def _each(values: Tensor) -> Tensor:
    """(B,) to (B, 1, 1, 1)."""
    return values[:, None, None, None]
