"""The distance maps of section 2.1 in PyTorch's operations alone: a batch on a GPU is computed there, all at once.

``distance_maps`` works in each component's box, one after the other; a GPU would rather do one simple thing to many
voxels at a time. Lesions fill about a hundredth of a patch, so what can be is done to their voxels, or to the lines
that meet them, alone. Both ways give the same maps (``tests/test_gpu_maps.py``), and this one works on any device.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

AXES_CROSSED = {4: 1, 8: 2, 6: 1, 18: 2, 26: 3}  # connectivity -> along how many axes a neighbour may lie aside
AT_ONCE = 2**26  # numbers that one step may take: 256 MB as floats, 512 MB as indices


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
    d = torch.where(_each(full), _full_distances(inside, spacing), distances_to(~inside | _each(full), steps))
    voxels = inside.flatten().nonzero()[:, 0]  # (n,)
    result = torch.zeros_like(d)  # (B, D, H, W)
    if kind == "SNI-DM":
        result = _outside_map(distances_to(inside | _each(empty), steps), inverse=outside == "inverse")
        result.masked_fill_(_each(empty), -1)
    result.view(-1)[voxels] = _inverted(d.flatten()[voxels], kind, components(inside, connectivity))
    return result.reshape(mask.shape)


def distances_to(target: Tensor, spacing: tuple[float, ...]) -> Tensor:
    """Euclidean distance of every voxel to the nearest one of the target in its sample, infinite where there is none.

    Exact, axis by axis (Felzenszwalb and Huttenlocher 2012, section 3): along the last axis the distance is read off;
    then each axis adds its offsets, of which only those can matter that are shorter than an upper bound of all
    distances. The longest one along any axis is such a bound. Lines within the target are zero and stay so.

    Args:
        target: bool (B, D, H, W).
        spacing: mm (z, y, x).
    """
    squared = torch.zeros(target.shape, dtype=torch.float32, device=target.device).masked_fill_(~target, math.inf)
    reach = math.inf
    for axis in (3, 2, 1):
        step = spacing[axis - 1]
        lines = target.logical_not().any(axis)  # those with something to measure
        along = _distances_along(target.movedim(axis, -1)[lines]) * step  # (L, n)
        reach = min(reach, float(along.max()) if len(along) else 0)
        now = squared.movedim(axis, -1)  # a view
        now[lines] = along.square_() if axis == 3 else _lower_envelope(now[lines], step, reach)
    return squared.sqrt_()


def _distances_along(target: Tensor) -> Tensor:
    """Voxels to the nearest one of the target on the same line: (L, n), bool to float32."""
    here = torch.arange(target.shape[1], dtype=torch.float32, device=target.device)
    before = torch.where(target, here, -math.inf).cummax(1).values
    behind = torch.where(target, here, math.inf).flip(1).cummin(1).values.flip(1)
    return torch.minimum(here - before, behind - here)


def _lower_envelope(squared: Tensor, step: float, reach: float) -> Tensor:
    """At every voxel the least of ``squared`` k voxels along its line plus (k step)^2, for all k step up to the reach.

    Args:
        squared: (L, n).
    """
    n = squared.shape[1]
    most = n - 1 if reach == math.inf else min(n - 1, math.ceil(reach / step))
    added = (torch.arange(-most, most + 1, dtype=squared.dtype, device=squared.device) * step).square()  # (2 most + 1,)
    least = torch.empty_like(squared)
    some = max(1, AT_ONCE // (n * len(added)))  # lines
    for ours, given in zip(least.split(some), squared.split(some), strict=True):
        around = F.pad(given, (most, most), value=math.inf).unfold(1, len(added), 1)  # a view: (L, n, 2 most + 1)
        torch.amin(around + added, 2, out=ours)
    return least


def components(inside: Tensor, connectivity: int) -> Tensor:
    """Number the connected components of every sample.

    A voxel takes the highest number among its neighbours, hands it on to the voxel that its old number names, and
    follows where that one leads. Numbers thus travel in leaps, and what is left to do halves with every round.

    Args:
        inside: bool (B, D, H, W), with n voxels in the objects.
        connectivity: 4 or 8 within images (D = 1), else 6, 18 or 26.

    Returns:
        int64 (n,): of each of ``inside.nonzero()`` the number of its component, which is the place of its last voxel
        among them.
    """
    neighbours = _neighbours(inside, connectivity)
    numbers = torch.arange(len(neighbours), device=inside.device)
    while True:
        around = torch.cat([numbers[some].amax(1) for some in neighbours.split(AT_ONCE // connectivity)])
        seen = torch.maximum(numbers, around)
        news = (seen > numbers).nonzero()[:, 0]
        if not len(news):
            return numbers
        leads_to = seen.scatter_reduce(0, numbers[news], seen[news], "amax")  # of every number the highest one known
        numbers = leads_to[leads_to[seen]]


def _neighbours(inside: Tensor, connectivity: int) -> Tensor:
    """Of each voxel of the objects its neighbours among them; itself where there is none: int32 (n, connectivity)."""
    room = F.pad(inside, (1,) * 6)  # no neighbour lies in another line or sample
    voxels = room.flatten().nonzero()  # (n, 1)
    places = torch.arange(len(voxels), dtype=torch.int32, device=inside.device)[:, None]
    place = torch.full((room.numel(),), -1, dtype=torch.int32, device=inside.device)
    place[voxels] = places
    depth, height, width = room.stride()[1:]
    offsets = [
        z * depth + y * height + x * width
        for z, y, x in itertools.product((-1, 0, 1) if connectivity not in (4, 8) else (0,), (-1, 0, 1), (-1, 0, 1))
        if 0 < abs(z) + abs(y) + abs(x) <= AXES_CROSSED[connectivity]
    ]
    aside, some = torch.tensor(offsets).to(inside.device), AT_ONCE // len(offsets)
    found = torch.cat([place[part + aside] for part in voxels.split(some)])
    return torch.where(found < 0, places, found)


def _inverted(d: Tensor, kind: str, labels: Tensor) -> Tensor:
    """D to M + m - D, divided by M if normalised, with the extremes of each voxel's component; O-DM is D itself.

    Args:
        d, labels: of each voxel of the objects (n,).
    """
    if kind == "O-DM":
        return d
    highest, lowest = (
        torch.zeros_like(d).scatter_reduce(0, labels, d, which, include_self=False)[labels]
        for which in ("amax", "amin")
    )
    depth = d - lowest
    return highest - depth if kind == "I-DM" else 1 - depth / highest


def _outside_map(distances: Tensor, inverse: bool) -> Tensor:
    """The negative half of SNI-DM; NaN in a sample without an object or without an outside."""
    highest = _each(distances.flatten(1).amax(1))  # M'
    if not inverse:
        return -distances / highest
    lowest = _each(distances.masked_fill(distances == 0, math.inf).flatten(1).amin(1))  # m'
    return (distances - lowest) / highest - 1


def _full_distances(inside: Tensor, spacing: tuple[float, ...]) -> Tensor:
    """D of an object that fills its image, as if one layer of background surrounded it: (1, D, H, W)."""
    distances = torch.full(inside.shape[1:], math.inf, dtype=torch.float32, device=inside.device)
    for axis, step in zip(range(3 - len(spacing), 3), spacing, strict=True):
        n = inside.shape[axis + 1]
        first = torch.arange(1, n + 1, dtype=torch.float32, device=inside.device)
        shape = [n if i == axis else 1 for i in range(3)]
        distances = torch.minimum(distances, torch.minimum(first, first.flip(0)).mul(step).view(shape))
    return distances[None]


def _each(values: Tensor) -> Tensor:
    """(B,) to (B, 1, 1, 1)."""
    return values[:, None, None, None]
