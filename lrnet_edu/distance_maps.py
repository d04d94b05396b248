"""The four distance maps of section 2.1 and Fig. 2: exact, per connected component, in voxels or mm.

Equation 1, for a voxel x of the connected component C of the object:

    phi(x) = (M_C + 1 - D(x)) / M_C        and phi(x) = 0 outside the object

D(x) is the Euclidean distance from x to the nearest background voxel, so D is 1 on the border layer and grows
inwards; M_C is the largest D in C. phi is 1 on the border of every component, whatever its size, and falls to
1 / M_C at its deepest voxel.

The printed numerator, "max over C of (D(x) + 1 - D(x))", is a misprint, the constant 1; the text beside it ("subtracted
by its local maximum distance value plus 1") says what is meant. Other readings: docs/reading_the_paper.md.

In millimetres the "+1", the distance of the border layer in unit voxels, becomes m_C, the smallest D in C.
"""

from collections.abc import Sequence
from typing import TypeVar

import edt
import numpy as np
import torch
from scipy import ndimage

from lrnet_edu.kinds import Kind, kind_of_map
from lrnet_edu.support.arrays import checked_spacing, plain_array
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.tensor_checks import check_class_numbers
from lrnet_edu.support.voxels import connected_components, occupied_box

Mask = TypeVar("Mask", np.ndarray, torch.Tensor)


def distance_map(
    mask: Mask, kind: str = "NI-DM", *, spacing: Sequence[float] | None = None, connectivity: int | None = None
) -> Mask:
    """Compute one of the paper's distance maps of a mask (section 2.1, Eq. 1 and its repair: see the module).

    With D the distance to the nearest background voxel, M and m its extremes in the voxel's connected component:

    ========  ==================  ============================================
    kind      inside the object   outside
    ========  ==================  ============================================
    O-DM      D                   0
    I-DM      M + m - D           0
    NI-DM     (M + m - D) / M     0
    SNI-DM    (M + m - D) / M     -D' / M', with D' the distance to the object
    ========  ==================  ============================================

    What lies beyond the image is unknown, neither object nor background: an object cut by the image border has no
    border layer there. An empty mask gives 0 everywhere, and -1 for SNI-DM. A full one is treated as if one layer of
    background surrounded the image; it has no outside, so its SNI-DM is its NI-DM.

    Cropping or resampling a mask changes M: crop and resample masks, never maps, and compute the map last.

    Args:
        mask: the object is every voxel != 0 (select one of several labels with ``labels == 2``). A NumPy array (H, W)
            or (D, H, W); or a tensor on any device, also a batch (B, C, H, W) or (B, C, D, H, W), in which every
            channel is a mask with its own map. The computation runs on the CPU.
        kind: a key of ``kinds.KINDS``.
        spacing: mm per voxel in the order of the axes, (z, y, x) or (y, x); O-DM and I-DM are then in mm. None means
            unit voxels: Eq. 1 as it stands. With anisotropic spacing only border voxels whose D is m reach 1 in NI-DM.
        connectivity: which neighbours make one component: 6, 18 or 26 in 3-D, 4 or 8 in 2-D; None means all. It
            affects M and m only: D is always measured to the background, never to another component.

    Returns:
        The map, float32, in the mask's shape: a new array, or a tensor on the mask's device.

    Raises InputError if the mask has the wrong type or shape, has no voxels or holds NaN, or if an option is invalid.

    >>> distance_map(np.array([[0, 1, 1, 1, 1, 1, 0]]), "O-DM")
    array([[0., 1., 2., 3., 2., 1., 0.]], dtype=float32)
    >>> distance_map(np.array([[0, 1, 1, 1, 1, 1, 0]]), "I-DM", spacing=(3, 2))
    array([[0., 6., 4., 2., 4., 6., 0.]], dtype=float32)
    """
    row = kind_of_map(kind)
    array = _checked_mask(mask)
    axes = {2: 2, 3: 3, 4: 2, 5: 3}[array.ndim]  # the spatial ones
    steps = checked_spacing(spacing, axes)
    allowed: tuple[int, ...] = (4, 8) if axes == 2 else (6, 18, 26)
    if connectivity not in (None, *allowed):
        raise InputError(f"connectivity {connectivity!r} does not fit {axes}-D: choose one of {allowed}.")
    samples = array.reshape(-1, *array.shape[-axes:])  # (B * C, D, H, W)
    maps = [_map_of(sample, row, steps, connectivity or allowed[-1]) for sample in samples]
    phi = (np.stack(maps) if len(maps) > 1 else maps[0]).reshape(array.shape)  # of one, without a copy
    return torch.from_numpy(phi).to(mask.device) if isinstance(mask, torch.Tensor) else phi


@torch.compiler.disable
def maps_of_classes(classes: torch.Tensor, number: int, kind: str) -> torch.Tensor:
    """The map of each foreground class 1 .. ``number`` of a batch: (B, D, H, W) -> (B, number, D, H, W) float32."""
    check_class_numbers(classes, number + 1)  # also on a GPU: the maps' computation waits for the labels anyway
    return distance_map(torch.stack([classes == c for c in range(1, number + 1)], dim=1), kind)


def _map_of(mask: np.ndarray, kind: Kind, spacing: tuple[float, ...], connectivity: int) -> np.ndarray:
    """The map of one mask (D, H, W), component by component, each in its own box.

    Lesions fill about a hundredth of a scan, so this is many times faster than on the whole scan, and just as exact:
    a box has a margin of one voxel. Let y be the voxel outside component C that is nearest to the voxel x of C. It lies
    in the box, or the voxel of the box nearest to y, not in C either, would be nearer to x. And it is background: one
    step towards x along one axis leads to a voxel nearer to x, hence in C, so an object voxel y would share a face with
    C and be part of it.
    """
    whole = occupied_box(mask, margin=1)
    inside = np.ascontiguousarray(mask[whole] != 0)
    if not inside.any():
        return np.full(mask.shape, kind.empty, np.float32)
    if inside.size == mask.size and inside.all():  # no boundary at all: as if background surrounded the image
        d = edt.edt(inside.view(np.uint8), anisotropy=spacing, black_border=True)
        return kind.inside(d, d.min(), d.max())
    if kind.outside is None:
        phi = np.zeros(mask.shape, np.float32)
    else:
        d = _distances(mask == 0, spacing)  # 0 in the object
        phi = kind.outside(d, min(plane[plane > 0].min(initial=np.inf) for plane in d), d.max())
    labels, _ = connected_components(inside, connectivity)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        box = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
        component = labels[box] == number
        d = _distances(component, spacing)[component]
        phi[whole][box][component] = kind.inside(d, d.min(), d.max())
    return phi


def _distances(inside: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Distance to the nearest False voxel, 0 on False voxels themselves; the image border does not count as False."""
    threads = torch.get_num_threads() if inside.size > 2**20 else 1  # not worth starting for small boxes
    numbers = inside.view(np.uint8)  # of bools edt takes two to three times as long
    return edt.edt(numbers, anisotropy=spacing, black_border=False, parallel=threads)


def _checked_mask(mask: np.ndarray | torch.Tensor) -> np.ndarray:
    array = plain_array(mask, "mask")
    if array.ndim not in ((2, 3, 4, 5) if isinstance(mask, torch.Tensor) else (2, 3)) or 0 in array.shape:
        raise InputError(f"mask has the shape {array.shape}: give (H, W), (D, H, W) or a torch batch (B, C, ...).")
    if array.dtype.kind == "f" and np.isnan(array.max()):  # max() propagates NaN
        raise InputError("mask holds NaN: replace it by 0 (background) or 1 (object) first.")
    return array
