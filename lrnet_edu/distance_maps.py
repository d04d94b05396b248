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
from typing import Any, TypeVar, cast

import cc3d
import edt
import numpy as np
import torch
from scipy import ndimage

from lrnet_edu.errors import InputError

KINDS = ("O-DM", "I-DM", "NI-DM", "SNI-DM")

# `map > threshold` gives the mask back, in unit voxels; with NI-DM only while every M_C is below 20 voxels,
# for the map sinks to 1 / M_C in the middle of a component.
HARD_THRESHOLD = {"NI-DM": 0.05, "O-DM": 0.5, "I-DM": 0.5, "SNI-DM": 0.0}

Mask = TypeVar("Mask", np.ndarray, torch.Tensor)


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
        mask: bool, integer or float; the object is every voxel != 0. A NumPy array (H, W) or (D, H, W), or a
            tensor (H, W), (D, H, W) or (B, 1, D, H, W) on any device (the work is done on the CPU).
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
        return _map_of(np.ascontiguousarray(mask, dtype=bool), kind, steps, neighbours, outside)
    maps = []
    for sample in mask[:, 0] if mask.ndim == 5 else [mask]:  # (D, H, W) or (H, W)
        inside = sample.bool().contiguous().cpu().numpy()  # bools: a quarter of what floats would move
        one = torch.from_numpy(_map_of(inside, kind, steps, neighbours, outside))
        maps.append(one.to(mask.device))
    return (maps[0] if len(maps) == 1 else torch.stack(maps)).reshape(mask.shape)


def _map_of(inside: np.ndarray, kind: str, spacing: tuple[float, ...], connectivity: int, outside: str) -> np.ndarray:
    """The map of one contiguous bool array, made in place in the array of its distances: a scan is large."""
    if not inside.any():
        return np.full(inside.shape, -1 if kind == "SNI-DM" else 0, dtype=np.float32)
    full = bool(inside.all())
    labels = _components(inside, connectivity)
    if full:
        distances = _full_distances(inside.shape, spacing)
    elif kind == "SNI-DM":  # object and background as two labels: D and D' in one pass
        distances = _distances_to_other_label(inside + np.uint8(1), spacing)
    else:
        distances = _inside_distances(inside, labels, spacing)
    if kind == "O-DM":
        return distances
    if kind == "SNI-DM" and not full:
        _negate_outside(distances, ~inside, inverse=outside == "inverse")
    _invert_components(distances, inside, labels, normalize=kind != "I-DM")
    return distances


def _inside_distances(inside: np.ndarray, labels: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """D inside the object, 0 outside; there is an inside and an outside.

    Lesions fill about a hundredth of a scan, so D is computed in each component's box, one voxel wider than
    the component: many times faster than on the whole scan, and as exact. Let y be the voxel outside
    component C that is nearest to the voxel x of C. It lies in the box, else the voxel of the box nearest to
    y, not in C either, would be nearer to x. And it is background: one step towards x along one axis leads
    to a voxel nearer to x, hence in C, so an object voxel y would share a face with C and be part of it.
    """
    boxes = [
        tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box) for box in ndimage.find_objects(labels)
    ]
    # A call costs about as much as 1000 voxels. Where boxes save too little (an organ, noise): no boxes.
    if sum(1000 + labels[box].size for box in boxes) > inside.size / 2:
        return _distances_to_other_label(inside, spacing)
    distances = np.zeros(inside.shape, dtype=np.float32)
    for number, box in enumerate(boxes, start=1):
        # Boxes may overlap, hence +=, which adds 0 outside the component.
        distances[box] += _distances_to_other_label(labels[box] == number, spacing)
    return distances


def _full_distances(shape: tuple[int, ...], spacing: tuple[float, ...]) -> np.ndarray:
    """D of an object that fills the image, as if one layer of background surrounded it."""
    distances = np.full(shape, np.inf, dtype=np.float32)
    for axis, (size, step) in enumerate(zip(shape, spacing, strict=True)):
        along_axis = np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1)) * np.float32(step)
        along_last = np.moveaxis(distances, axis, -1)  # a view
        np.minimum(along_last, along_axis, out=along_last)
    return distances


def _distances_to_other_label(labels: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Distance to the nearest voxel of another label, 0 where the label is 0; the image border is none."""
    threads = torch.get_num_threads() if labels.size > 2**20 else 1  # not worth starting for small boxes
    return edt.edt(labels, anisotropy=spacing, black_border=False, parallel=threads)


def _components(inside: np.ndarray, connectivity: int) -> np.ndarray:
    """The connected components, numbered 1, 2, ... in the smallest type that holds them: one byte, mostly."""
    labels, count = cc3d.connected_components(inside, connectivity=cast(Any, connectivity), return_N=True)
    return labels.astype(np.min_scalar_type(count))


def _negate_outside(distances: np.ndarray, background: np.ndarray, inverse: bool) -> None:
    """Turn D' into the negative half of SNI-DM, in place; slice by slice, to need no second volume."""
    highest = distances.max(where=background, initial=0)  # M'
    lowest = distances.min(where=background, initial=np.inf)  # m'
    for here, where in zip(distances, background, strict=True):
        d = here[where]
        here[where] = (d - lowest) / highest - 1 if inverse else -d / highest


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


def _checked_spacing(spacing: Sequence[float] | None, axes: int) -> tuple[float, ...]:
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
