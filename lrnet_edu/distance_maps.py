"""The four distance maps of section 2.1 and Fig. 2: exact, per connected component, in voxels or mm.

Equation 1, for a voxel x of the connected component C of the object:

    phi(x) = (M_C + 1 - D(x)) / M_C        and phi(x) = 0 outside the object

D(x) is the Euclidean distance from x to the nearest background voxel, so D is 1 on the border layer and grows
inwards; M_C is the largest D in C. phi is 1 on the border of every component, whatever its size, and falls to
1 / M_C at its deepest voxel.

The printed numerator, "max over C of (D(x) + 1 - D(x))", is a misprint: it would be the constant 1. The text
beside it ("subtracted by its local maximum distance value plus 1") says what is meant. The paper also
measures D to "the set of points on the object boundary". If these were the object's own border voxels, D
would be 0 there and phi would exceed 1, outside the stated range [0, 1].

In millimetres the "+1", the distance of the border layer in unit voxels, becomes m_C, the smallest D in C.
With unit voxels m_C is 1, so one formula serves both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import edt
import numpy as np
import torch
from scipy import ndimage

from lrnet_edu.kinds import Formula, Kind, kind_of_map
from lrnet_edu.support.arrays import checked_spacing, plain_array
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.voxels import connected_components, occupied_box

SMALL_BOX = 4096  # voxels, see _distances

Mask = TypeVar("Mask", np.ndarray, torch.Tensor)
Spacing = tuple[float, ...]


def distance_map(
    mask: Mask,
    kind: str = "NI-DM",
    *,
    spacing: Sequence[float] | None = None,
    connectivity: int | None = None,
    outside: str = "distance",
) -> Mask:
    """Compute one of the paper's distance maps of a mask (section 2.1, Eq. 1 and its repair: see the module).

    With D the distance to the nearest background voxel, and M and m the largest and the smallest D of the
    voxel's connected component:

    ========  ==================  ====================================================
    kind      inside the object   outside
    ========  ==================  ====================================================
    O-DM      D                   0
    I-DM      M + m - D           0
    NI-DM     (M + m - D) / M     0
    SNI-DM    (M + m - D) / M     -D' / M', or -(M' + m' - D') / M' (see ``outside``)
    ========  ==================  ====================================================

    What lies beyond the image is unknown, neither object nor background: an object cut by the image border
    has no border layer there. Two kinds of mask have no boundary. An empty one gives 0 everywhere, and -1 for
    SNI-DM. A full one is treated as if one layer of background surrounded the image; it has no outside, so
    its SNI-DM is its NI-DM.

    Cropping or resampling a mask changes M: crop and resample masks, never maps, and compute the map last.

    Args:
        mask: booleans or numbers; the object is every voxel != 0 (select one of several labels with ``labels == 2``). A
            NumPy array (H, W) or (D, H, W); or a tensor on any device, also a batch (B, C, H, W) or (B, C, D, H, W),
            in which every channel is a mask with its own map. The computation runs on the CPU.
        kind: a key of ``kinds.KINDS``.
        spacing: mm per voxel in the order of the axes, (z, y, x) or (y, x); O-DM and I-DM are then in mm.
            None means unit voxels, and maps in voxels: Eq. 1 as it stands. With anisotropic spacing only
            those border voxels reach 1 in NI-DM whose D is m, the others stay below.
        connectivity: which neighbours make one component: 6, 18 or 26 in 3-D, 4 or 8 in 2-D; None means all,
            26 or 8. It affects M and m only: D is always measured to the background, never to another component.
        outside: for SNI-DM only; the other kinds ignore it. With D' the distance from a background voxel to the object
            and M' and m' its extremes over the background: "distance" (-D' / M') is near 0 beside the object
            and -1 far away, "inverse" the other way round. The paper says only "negative".

    Returns:
        The map, float32, in the mask's shape: a new array, or a tensor on the mask's device.

    Raises:
        InputError: if the mask has the wrong type or shape, has no voxels or holds NaN, or if an option is invalid.

    >>> distance_map(np.array([[0, 1, 1, 1, 1, 1, 0]]), "O-DM")
    array([[0., 1., 2., 3., 2., 1., 0.]], dtype=float32)
    >>> distance_map(np.array([[0, 1, 1, 1, 1, 1, 0]]), "I-DM", spacing=(3, 2))
    array([[0., 6., 4., 2., 4., 6., 0.]], dtype=float32)
    """
    row = kind_of_map(kind)
    if outside not in ("distance", "inverse"):
        raise InputError(f'outside {outside!r} is unknown: choose "distance" or "inverse".')
    array = _checked_mask(mask)
    axes = {2: 2, 3: 3, 4: 2, 5: 3}[array.ndim]  # the spatial ones
    steps, neighbours = checked_spacing(spacing, axes), _checked_connectivity(connectivity, axes)
    if outside == "inverse" and row.outside is not None:
        row = replace(row, outside=lambda d, low, high: -1 + (d - low) / high)  # = -(M' + m' - D') / M'

    samples = array.reshape(-1, *array.shape[array.ndim - axes :])  # (B * C, D, H, W), or one of (D, H, W)
    maps = np.stack([_map_of(sample, row, steps, neighbours) for sample in samples]) if len(samples) > 1 else (
        _map_of(samples[0], row, steps, neighbours))  # fmt: skip
    maps = maps.reshape(array.shape)
    return torch.from_numpy(maps).to(mask.device) if isinstance(mask, torch.Tensor) else maps


def _map_of(mask: np.ndarray, kind: Kind, spacing: Spacing, connectivity: int) -> np.ndarray:
    """The map of one mask: inside the object, computed in its bounding box, and outside it.

    The box has a margin of one voxel, which keeps the result exact; see ``_component_map``.
    """
    box = occupied_box(mask, margin=1)
    inside = np.ascontiguousarray(mask[box] != 0)
    if not inside.any():
        return np.full(mask.shape, kind.empty, dtype=np.float32)
    full = inside.size == mask.size and bool(inside.all())
    if kind.outside is not None and not full:
        result = _outside_map(mask, kind.outside, spacing)
    else:
        result = np.zeros(mask.shape, dtype=np.float32)
    np.copyto(result[box], _inside_map(inside, kind, spacing, connectivity), where=inside)
    return result


def _inside_map(inside: np.ndarray, kind: Kind, spacing: Spacing, connectivity: int) -> np.ndarray:
    """The map of an object's own voxels, 0 elsewhere; ``inside`` is a contiguous bool array with at least one of them.

    Lesions fill about a hundredth of a scan, so each component gets its map in its own box. Where that saves
    nothing (noise: many tiny components whose boxes overlap), one distance transform serves them all.
    """
    if inside.all():  # no boundary at all: as if one layer of background surrounded the image
        distances = edt.edt(inside.view(np.uint8), anisotropy=spacing, black_border=True)
        return kind.inside(distances, distances.min(), distances.max())
    labels, count = connected_components(inside, connectivity)
    boxes = [
        tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box) for box in ndimage.find_objects(labels)
    ]
    result = np.zeros(inside.shape, dtype=np.float32)
    # One call costs about as much as 1000 voxels.
    if sum(1000 + labels[box].size for box in boxes) > 1.5 * inside.size + 1000:
        number, d = labels[inside], _distances(inside, spacing)[inside]
        low, high = np.full(count + 1, np.inf, np.float32), np.zeros(count + 1, np.float32)  # m and M by number
        np.minimum.at(low, number, d)
        np.maximum.at(high, number, d)
        result[inside] = kind.inside(d, low[number], high[number])
        return result
    for number, box in enumerate(boxes, start=1):
        component = labels[box] == number
        result[box][component] = _component_map(component, kind, spacing)
    return result


def _component_map(component: np.ndarray, kind: Kind, spacing: Spacing) -> np.ndarray:
    """The map's values on one component, (n,), from its box alone, which has a margin of one voxel.

    This is many times faster than on the whole scan, and just as exact. Let y be the voxel outside component C that is
    nearest to the voxel x of C. It lies in the box, or the voxel of the box nearest to y, not in C either, would
    be nearer to x. And it is background: one step towards x along one axis leads to a voxel nearer to x, hence in
    C, so an object voxel y would share a face with C and be part of it.
    """
    d = _distances(component, spacing)[component]
    return kind.inside(d, d.min(), d.max())


def _outside_map(mask: np.ndarray, formula: Formula, spacing: Spacing) -> np.ndarray:
    """The map of the voxels outside the object; D' is 0 inside it."""
    d = _distances(mask == 0, spacing)
    return formula(d, min(plane[plane > 0].min(initial=np.inf) for plane in d), d.max())


def _distances(inside: np.ndarray, spacing: Spacing) -> np.ndarray:
    """Distance to the nearest False voxel, 0 on False voxels themselves; the image border does not count as False.

    SciPy's transform is slower per voxel but starts faster: up to twice as fast in the box of a
    small lesion, and training patches are full of those. edt takes two to three times as long for the type
    bool as for the same bytes as numbers.
    """
    if inside.size < SMALL_BOX:
        return ndimage.distance_transform_edt(inside, sampling=spacing).astype(np.float32)
    threads = torch.get_num_threads() if inside.size > 2**20 else 1  # not worth starting for small boxes
    return edt.edt(inside.view(np.uint8), anisotropy=spacing, black_border=False, parallel=threads)


def _checked_mask(mask: np.ndarray | torch.Tensor) -> np.ndarray:
    array = plain_array(mask, "mask")
    batch = isinstance(mask, torch.Tensor) and array.ndim in (4, 5)
    if array.ndim not in (2, 3) and not batch:
        raise InputError(
            f"mask has the shape {array.shape}: give (H, W) or (D, H, W), or a torch batch (B, C, H, W) or "
            "(B, C, D, H, W)."
        )
    if 0 in array.shape:
        raise InputError(f"mask has the shape {array.shape}, so no voxels: give at least one.")
    if array.dtype.kind == "f" and np.isnan(array.max()):  # max() propagates NaN
        raise InputError("mask holds NaN: replace it by 0 (background) or 1 (object) first.")
    return array


def _checked_connectivity(connectivity: int | None, axes: int) -> int:
    allowed = (6, 18, 26) if axes == 3 else (4, 8)
    if connectivity is None:
        return allowed[-1]
    if connectivity not in allowed:
        raise InputError(f"connectivity {connectivity!r} does not fit {axes}-D: choose one of {allowed}.")
    return int(connectivity)
