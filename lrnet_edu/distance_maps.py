"""The four distance maps of section 2.1 and Fig. 2: exact, per connected component, in voxels or mm.

Equation 1, for a voxel x of the connected component C of the object:

    phi(x) = (M_C + 1 - D(x)) / M_C        and phi(x) = 0 outside the object

D(x) is the Euclidean distance from x to the nearest background voxel, so D is 1 on the border layer and grows
inwards; M_C is the largest D in C. phi is 1 on the border of every component, whatever its size, and falls to
1 / M_C at its deepest voxel.

The printed numerator, "max over C of (D(x) + 1 - D(x))", is a misprint: it would be the constant 1. The text
beside it ("subtracted by its local maximum distance value plus 1") says what is meant. The paper also
measures D to "the set of points on the object boundary". Were these the border voxels of the object itself, D
would be 0 on them and phi above 1, against the stated range [0, 1].

In millimetres the "+1", the distance of the border layer in unit voxels, becomes m_C, the smallest D in C.
With unit voxels m_C is 1, so that one formula serves both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import edt
import numpy as np
import torch
from scipy import ndimage

from lrnet_edu.components import connected_components
from lrnet_edu.cropping import occupied_box
from lrnet_edu.errors import InputError
from lrnet_edu.gpu_maps import map_by_torch

KINDS = ("O-DM", "I-DM", "NI-DM", "SNI-DM")

# `map > threshold` gives the mask back, in unit voxels; with NI-DM only while every M_C is below 20 voxels,
# for the map sinks to 1 / M_C in the middle of a component.
HARD_THRESHOLD = {"NI-DM": 0.05, "O-DM": 0.5, "I-DM": 0.5, "SNI-DM": 0.0}

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
    has no border layer there. Two masks have no boundary at all. An empty one gives 0 everywhere, and -1 for
    SNI-DM. A full one is treated as if one layer of background surrounded the image; it has no outside, so
    its SNI-DM is its NI-DM.

    Cropping or resampling a mask changes M: crop and resample masks, never maps, and compute the map last.

    Args:
        mask: bool, integer or float; the object is every voxel != 0 (of several labels take one,
            ``labels == 2``). A NumPy array (H, W) or (D, H, W), or a
            tensor (H, W), (D, H, W) or (B, 1, D, H, W) on any device; on a CUDA GPU the
            work is done there (``gpu_maps``), for other devices on the CPU.
        kind: one of ``KINDS``.
        spacing: mm per voxel in the order of the axes, (z, y, x) or (y, x); O-DM and I-DM are then in mm.
            None means unit voxels, and maps in voxels: Eq. 1 as it stands. With anisotropic spacing only
            those border voxels reach 1 in NI-DM whose D is m, the others stay below.
        connectivity: which neighbours make one component: 6, 18 or 26 in 3-D, 4 or 8 in 2-D; None means all,
            26 or 8. It decides M and m only: D always ends at background, never at another component.
        outside: of SNI-DM, ignored by the others. With D' the distance from a background voxel to the object
            and M' and m' its extremes over the background: "distance" (-D' / M') is near 0 beside the object
            and -1 far away, "inverse" the other way round. The paper says no more than "negative".

    Returns:
        The map, float32, in the mask's shape: a new array, or a tensor on the mask's device.

    Raises:
        InputError: a mask of another type or shape, without voxels or with NaN; an option that does not fit.

    >>> distance_map(np.array([[0, 1, 1, 1, 1, 1, 0]]), "O-DM")
    array([[0., 1., 2., 3., 2., 1., 0.]], dtype=float32)
    >>> distance_map(np.array([[0, 1, 1, 1, 1, 1, 0]]), "I-DM", spacing=(3, 2))
    array([[0., 6., 4., 2., 4., 6., 0.]], dtype=float32)
    """
    _check_mask(mask)
    if kind not in KINDS:
        raise InputError(f"kind {kind!r} is unknown: choose one of {', '.join(KINDS)}.")
    if outside not in ("distance", "inverse"):
        raise InputError(f'outside {outside!r} is unknown: choose "distance" or "inverse".')
    axes = min(mask.ndim, 3)
    steps = _checked_spacing(spacing, axes)
    neighbours = _checked_connectivity(connectivity, axes)

    if isinstance(mask, np.ndarray):
        return _map_of(mask, kind, steps, neighbours, outside)
    if mask.device.type == "cuda":
        return map_by_torch(mask, kind, steps, neighbours, outside)
    maps = []
    for sample in mask[:, 0] if mask.ndim == 5 else [mask]:  # (D, H, W) or (H, W)
        inside = sample.bool().contiguous().cpu().numpy()  # bools: a quarter of what floats would move
        one = torch.from_numpy(_map_of(inside, kind, steps, neighbours, outside))
        maps.append(one.to(mask.device))
    return (maps[0] if len(maps) == 1 else torch.stack(maps)).reshape(mask.shape)


def _map_of(mask: np.ndarray, kind: str, spacing: Spacing, connectivity: int, outside: str) -> np.ndarray:
    """The map of one array: the object's part in the box that holds it, the rest 0, or the outside of SNI-DM.

    The box is one voxel wider than the object, and what is computed in it is exact: see ``_component_map``.
    """
    box = occupied_box(mask, margin=1)
    inside = np.ascontiguousarray(mask[box] != 0)
    if not inside.any():
        return np.full(mask.shape, -1 if kind == "SNI-DM" else 0, dtype=np.float32)
    whole = inside.size == mask.size
    if kind == "SNI-DM" and not (whole and inside.all()):
        result = _outside_map(mask, spacing, inverse=outside == "inverse")  # before the inside's arrays take memory
    elif whole:
        return _inside_map(inside, kind, spacing, connectivity)
    else:
        result = np.zeros(mask.shape, dtype=np.float32)
    np.copyto(result[box], _inside_map(inside, kind, spacing, connectivity), where=inside)
    return result


def _inside_map(inside: np.ndarray, kind: str, spacing: Spacing, connectivity: int) -> np.ndarray:
    """The map of an object's own voxels, 0 elsewhere; a contiguous bool array with at least one of them.

    Lesions fill about a hundredth of a scan, so each component gets its map in its own box. Where that saves
    nothing (noise of many tiny components whose boxes overlap) one distance transform serves them all.
    """
    if inside.all():
        return _inverted(_full_distances(inside.shape, spacing), kind)
    labels = _components(inside, connectivity)
    boxes = [
        tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box) for box in ndimage.find_objects(labels)
    ]
    # A call costs about as much as 1000 voxels.
    if sum(1000 + labels[box].size for box in boxes) > 1.5 * inside.size + 1000:
        distances = _distances(inside, spacing)
        if kind != "O-DM":
            _invert_components(distances, inside, labels, normalize=kind != "I-DM")
        return distances
    result = np.zeros(inside.shape, dtype=np.float32)
    for number, box in enumerate(boxes, start=1):
        component = labels[box] == number
        result[box][component] = _component_map(component, kind, spacing)
    return result


def _component_map(component: np.ndarray, kind: str, spacing: Spacing) -> np.ndarray:
    """The map's values on one component, (n,), from its box alone, which is one voxel wider than it is.

    That is many times faster than on the whole scan, and as exact. Let y be the voxel outside component C that is
    nearest to the voxel x of C. It lies in the box, else the voxel of the box nearest to y, not in C either, would
    be nearer to x. And it is background: one step towards x along one axis leads to a voxel nearer to x, hence in
    C, so an object voxel y would share a face with C and be part of it.
    """
    return _inverted(_distances(component, spacing)[component], kind)


def _inverted(d: np.ndarray, kind: str) -> np.ndarray:
    """D of one component to its map: M + m - D, divided by M if normalised; O-DM is D itself."""
    if kind == "O-DM":
        return d
    depth, highest = d - d.min(), d.max()  # depth from 0 on: so no rounding error lifts NI-DM above 1
    return highest - depth if kind == "I-DM" else 1 - depth / highest


def _outside_map(mask: np.ndarray, spacing: Spacing, inverse: bool) -> np.ndarray:
    """The negative half of SNI-DM, in place in the array of its distances: a scan is large."""
    distances = _distances(mask == 0, spacing)  # D', 0 inside
    highest = distances.max()  # M'
    if not inverse:
        return np.divide(distances, -highest, out=distances)
    lowest = min(plane[plane > 0].min(initial=np.inf) for plane in distances)  # m'
    distances -= lowest
    distances /= highest
    distances -= 1  # -(M' + m' - D') / M'
    return distances


def _full_distances(shape: tuple[int, ...], spacing: Spacing) -> np.ndarray:
    """D of an object that fills the image, as if one layer of background surrounded it."""
    distances = np.full(shape, np.inf, dtype=np.float32)
    for axis, (size, step) in enumerate(zip(shape, spacing, strict=True)):
        along_axis = np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1)) * np.float32(step)
        along_last = np.moveaxis(distances, axis, -1)  # a view
        np.minimum(along_last, along_axis, out=along_last)
    return distances


def _distances(inside: np.ndarray, spacing: Spacing) -> np.ndarray:
    """Distance to the nearest voxel that is False, 0 where it is False itself; the image border is none.

    SciPy's transform is the slower one for each voxel and the faster one to start: up to twice as fast in the box of a
    small lesion, which training patches are full of. The other library takes two to three times as long for the type
    bool as for the same bytes as numbers.
    """
    if inside.size < SMALL_BOX:
        return ndimage.distance_transform_edt(inside, sampling=spacing).astype(np.float32)
    threads = torch.get_num_threads() if inside.size > 2**20 else 1  # not worth starting for small boxes
    return edt.edt(inside.view(np.uint8), anisotropy=spacing, black_border=False, parallel=threads)


def _components(inside: np.ndarray, connectivity: int) -> np.ndarray:
    """The connected components, numbered 1, 2, ... in the smallest type that holds them: one byte, mostly."""
    labels, count = connected_components(inside, connectivity)
    return labels.astype(np.min_scalar_type(count))


def _invert_components(distances: np.ndarray, inside: np.ndarray, labels: np.ndarray, normalize: bool) -> None:
    """Turn D into M + m - D, and divide that by M if asked, in place and inside the object only."""
    highest = np.zeros(int(labels.max()) + 1, dtype=np.float32)  # M of every component, by its number
    lowest = np.full_like(highest, np.inf)  # m
    for here, where, number in zip(distances, inside, labels, strict=True):
        component, d = number[where].astype(np.intp), here[where]
        np.maximum.at(highest, component, d)
        np.minimum.at(lowest, component, d)
    for here, where, number in zip(distances, inside, labels, strict=True):
        component = number[where]
        depth = here[where] - lowest[component]  # from 0 on: so no rounding error lifts NI-DM above 1
        here[where] = 1 - depth / highest[component] if normalize else highest[component] - depth


def _check_mask(mask: np.ndarray | torch.Tensor) -> None:
    if isinstance(mask, np.ndarray):
        shapes, fits = "(H, W) or (D, H, W)", mask.ndim in (2, 3)
        real, floating = mask.dtype.kind in "biuf", mask.dtype.kind == "f"
    elif isinstance(mask, torch.Tensor):
        shapes = "(H, W), (D, H, W) or (B, 1, D, H, W)"
        fits = mask.ndim in (2, 3) or (mask.ndim == 5 and mask.shape[1] == 1)
        real, floating = not mask.is_complex(), mask.is_floating_point()
    else:
        raise InputError(f"mask is a {type(mask).__name__}: give a NumPy array or a torch tensor.")
    if not fits:
        raise InputError(f"mask has the shape {tuple(mask.shape)}: give {shapes}.")
    if 0 in mask.shape:
        raise InputError(f"mask has the shape {tuple(mask.shape)}, so no voxels: give at least one.")
    if not real:
        raise InputError(f"mask has the type {mask.dtype}: give booleans, integers or floats.")
    if floating and (highest := mask.max()) != highest:  # a maximum hands NaN on, and NaN differs from itself
        raise InputError("mask holds NaN: replace it by 0 (background) or 1 (object) first.")


def _checked_spacing(spacing: Sequence[float] | None, axes: int) -> Spacing:
    if spacing is None:
        return (1.0,) * axes
    try:
        steps = tuple(float(step) for step in spacing)
    except (TypeError, ValueError):
        steps = ()
    if len(steps) != axes or not all(0 < step < math.inf for step in steps):
        order = "(z, y, x)" if axes == 3 else "(y, x)"
        raise InputError(f"spacing {spacing!r} does not fit: give {axes} positive numbers in mm, {order}.")
    return steps


def _checked_connectivity(connectivity: int | None, axes: int) -> int:
    allowed = (6, 18, 26) if axes == 3 else (4, 8)
    if connectivity is None:
        return allowed[-1]
    if connectivity not in allowed:
        raise InputError(f"connectivity {connectivity!r} does not fit {axes}-D: choose one of {allowed}.")
    return int(connectivity)
