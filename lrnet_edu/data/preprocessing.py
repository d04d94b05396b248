"""From a scan as stored to what a network sees, and back (section 3, "Dataset and Preprocessing").

The paper lists "spacing interpolation, window transform, effective range extraction, and sub-image generation"
without figures. Here, in this order:

1. the volume is reordered to RAS+ (x to the right, y to the front, z to the head), however its file stores it;
2. effective range: it is cropped to a box around the body, found from the image alone, for at test time there
   is no mask (the paper names this step third; first, it is cheaper);
3. it is interpolated to an isotropic grid whose spacing comes from the training set;
4. CT: the HU window is mapped to [0, 1]. MR, where intensities have no scale: mean 0 and deviation 1.

Sub-images are cut later (``patches``). Arrays are (D, H, W) = (z, y, x), spacing in mm.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from lrnet_edu.data.cases import Case
from lrnet_edu.data.nifti import Volume, read_grid, read_image
from lrnet_edu.support.errors import InputError, checked_range
from lrnet_edu.support.labels import Labels, encode
from lrnet_edu.support.voxels import Box, connected_components, occupied_box

CT_WINDOW = (-200.0, 250.0)
"""The default window in HU: liver, its lesions and other soft tissue."""

_AIR = -500.0  # HU: below is air, above is body
_MARGIN = 5.0  # mm kept around the body
_TIE = 1e-3  # probabilities closer than this count as equal


@dataclass(frozen=True)
class Preprocessing:
    """What is chosen once, from the training set, and stored with the run."""

    spacing: float  # voxel size of the isotropic grid in mm
    window: tuple[float, float] | None  # the HU range that is mapped to [0, 1]; None standardises instead (MR)

    def __post_init__(self) -> None:
        if not 0 < self.spacing < 1e4:
            raise InputError(f"A grid of {self.spacing} mm is none: give a spacing in mm.")
        if self.window is not None:  # a list, when it comes from JSON
            object.__setattr__(self, "window", checked_range("window", self.window))


@dataclass
class Prepared:
    """A case on the grid of the network."""

    image: np.ndarray  # float32 (D, H, W), in [0, 1] (CT) or with mean 0 and deviation 1 (MR)
    classes: np.ndarray  # uint8 (D, H, W), 0..K; all 0 without a mask
    affine: np.ndarray  # (4, 4), from indices (x, y, z) of this grid to RAS+ mm


def choose_preprocessing(
    training_cases: Sequence[Case], *, max_voxels: int, window: tuple[float, float] | None = None
) -> Preprocessing:
    """Choose spacing and window from the training set; InputError if a file cannot be read.

    The spacing is the median over the cases of the geometric mean of a voxel's three edges, made coarser where the
    case of median volume would have more than ``max_voxels`` voxels, and rounded up to 0.01 mm. Only headers are read
    for it. Without a ``window`` (low, high) in HU, CT gets :data:`CT_WINDOW` and everything else None. What is CT is
    said by the data set (``Case.modality``) or else by the values: in most of three images (first, middle, last) a
    thousandth of the voxels or more is at -200 or below, which only air and lung in a CT are.
    """
    grids = [read_grid(case.image) for case in training_cases]
    voxels = np.array([math.prod(grid.spacing) for grid in grids])  # mm3
    volumes = voxels * [grid.data.size for grid in grids]
    spacing = max(float(np.median(voxels ** (1 / 3))), (float(np.median(volumes)) / max_voxels) ** (1 / 3))
    if window is None:
        modalities = {case.modality for case in training_cases}
        is_ct = modalities == {"CT"}
        if None in modalities:
            probes = [training_cases[i].image for i in sorted({0, len(grids) // 2, len(grids) - 1})]
            is_ct = np.mean([np.quantile(read_image(path).data, 0.001) <= -200 for path in probes]) > 0.5
        window = CT_WINDOW if is_ct else None
    return Preprocessing(math.ceil(round(spacing * 100, 3)) / 100, window)


def read_scan(path: Path) -> Volume:
    """Read a scan as :func:`read_image` does; InputError for a segmentation, which is nothing but whole numbers."""
    image = read_image(path)
    low, high = image.data.min(), image.data.max()
    if -1e-3 < low < high < 9 + 1e-3 and np.allclose(image.data, np.rint(image.data), rtol=0, atol=1e-3):
        raise InputError(f"{path} is a segmentation, it holds nothing but a few small whole numbers: give its scan.")
    return image


def unusual_intensities(name: str, image: Volume, settings: Preprocessing) -> str | None:
    """A sentence where a scan's numbers can hardly be HU: none is below 0, though the window is."""
    if settings.window is None or settings.window[0] >= 0 or image.data.min() < 0:
        return None
    advice = "if the scan was stored with an offset (often 1024), subtract it"
    return f"{name} has no value below 0, and the window begins at {settings.window[0]:g} HU: {advice}."


def prepare(image: Volume, settings: Preprocessing, mask: Volume | None = None, labels: Labels = ()) -> Prepared:
    """Bring a scan, and its mask (label numbers on the same grid) if there is one, onto the grid of the network.

    The image is interpolated linearly, after the Gaussian smoothing that sampling on a coarser grid asks for
    (TorchIO's ``antialias``). The mask is not smoothed: it is interpolated class by class, and each voxel takes the
    class with the largest share (an object before the background), so that surfaces move less than with the nearest
    neighbour. A lesion that the new grid is too coarse for keeps one voxel.
    """
    import torch
    import torchio as tio

    turned = image.oriented("RAS")
    box = effective_range(turned.data, turned.spacing, is_ct=settings.window is not None)
    scan = turned.moved(turned.data[box], [side.start for side in box])  # (D, H, W)
    grid = _isotropic_grid(scan, settings.spacing)
    classes = np.zeros(grid.data.shape, np.uint8)
    if mask is not None:
        stored = Volume(encode(mask.data, labels), image.affine).oriented("RAS")
        classes = _resample_classes(Volume(stored.data[box], scan.affine), grid, count=len(labels))
    # TorchIO wants (channel, x, y, z), and ITK a copy in which flipped axes are made straight.
    given = tio.ScalarImage(tensor=torch.from_numpy(scan.data.copy().T[None]), affine=scan.affine)
    antialias = min(scan.data.shape) >= 4  # ITK's smoothing needs four voxels along every axis
    resample = tio.Resample((grid.data.shape[::-1], grid.affine), antialias=antialias, copy=False)
    values = resample(given).numpy()[0].T  # (D, H, W)
    if settings.window is not None:
        low, high = settings.window
        values = np.clip((values - low) / (high - low), 0, 1, dtype=np.float32)
    else:
        mean, deviation = values.mean(dtype=np.float64), values.std(dtype=np.float64)
        values = ((values - mean) / (deviation or 1.0)).astype(np.float32)
    return Prepared(values, classes, grid.affine)


def effective_range(image: np.ndarray, spacing: tuple[float, float, float], is_ct: bool) -> Box:
    """The box of the body, from the image (D, H, W) alone (section 3, "effective range extraction").

    CT: the connected parts above -500 HU, of which those count that have at least a tenth of the largest one's volume
    (two legs are two parts, a cable is none), with a margin of 5 mm. It is looked for on every n-th voxel about 4 mm
    apart, which is plenty for a box. MR: all voxels above the minimum. Where nothing is found: everything.
    """
    strides = [max(1, int(4.0 / step)) if is_ct else 1 for step in spacing]
    coarse = image[tuple(slice(None, None, stride) for stride in strides)]
    body = coarse > (_AIR if is_ct else coarse.min())
    if is_ct:
        parts, _ = ndimage.label(body)
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        body = (10 * sizes >= max(1, sizes.max()))[parts] & body
    sides = occupied_box(body) if body.any() else [slice(0, n) for n in coarse.shape]
    box = []
    for side, stride, step, n in zip(sides, strides, spacing, image.shape, strict=True):
        margin = math.ceil(_MARGIN / step) + stride - 1 if is_ct else 0
        box.append(slice(max(0, side.start * stride - margin), min(n, (side.stop - 1) * stride + 1 + margin)))
    return tuple(box)


def _isotropic_grid(volume: Volume, spacing: float) -> Volume:
    """The grid around the same centre that covers a volume, with zeros that take no memory."""
    old, ratio = np.array(volume.data.shape[::-1]), spacing / np.array(volume.spacing[::-1])  # (x, y, z)
    new = np.ceil(old / ratio - 1e-3).clip(1).astype(int)
    to_old = np.diag([*ratio, 1.0])
    to_old[:3, 3] = (old - 1) / 2 - ratio * (new - 1) / 2
    return Volume(np.broadcast_to(np.uint8(0), new[::-1]), volume.affine @ to_old)


def _place(grid: Volume, within: Volume) -> tuple[np.ndarray, np.ndarray]:
    """A grid's first voxel and its steps (z, y, x) in voxels of another one, whose axes are parallel."""
    between = np.linalg.inv(within.affine) @ grid.affine
    return between[2::-1, 3], np.diag(between)[2::-1]


def _interpolation(old: Volume, new: Volume) -> list[np.ndarray]:
    """Linear interpolation from one grid to another: for z, y and x a matrix (new voxels, old voxels) of weights.

    Rows from half a voxel beyond the old grid are 0.
    """
    weights = []
    for first, step, m, n in zip(*_place(new, old), new.data.shape, old.data.shape, strict=True):
        at = first + step * np.arange(m)
        hats = 1 - np.abs(at.clip(0, n - 1)[:, None] - np.arange(n))  # 1 at an old voxel, 0 at its neighbours
        hats[(at < -0.5 - 1e-3) | (at > n - 0.5 + 1e-3)] = 0
        weights.append(hats.clip(0).astype(np.float32))
    return weights


def _resample_classes(stored: Volume, grid: Volume, count: int) -> np.ndarray:
    """Linear interpolation class by class (D, H, W), then the largest share; on a tie the first object wins."""
    box = occupied_box(stored.data, margin=1)  # beyond it every share is 0
    old = stored.moved(stored.data[box], [side.start for side in box])
    along = _interpolation(old, grid)
    masks = [old.data == k for k in range(1, count + 1)]
    shares = np.stack([np.einsum("zd,yh,xw,dhw->zyx", *along, np.float32(mask), optimize=True) for mask in masks])
    largest = shares.max(axis=0)
    classes = (shares >= largest - _TIE).argmax(axis=0).astype(np.uint8) + 1
    classes[1 - shares.sum(axis=0) > largest + _TIE] = 0
    for k, mask in enumerate(masks, start=1):
        _keep_small_parts(classes, k, mask, *_place(old, grid))
    return classes


def _keep_small_parts(classes: np.ndarray, k: int, mask: np.ndarray, first: np.ndarray, step: np.ndarray) -> None:
    """Give each connected part of the mask that left no voxel in the new classes the one at its centre."""
    parts, count = connected_components(mask, 26)
    part_of = parts[mask] - 1  # (n,)
    places = first + step * np.argwhere(mask)  # (n, 3), on the new grid
    sums = [np.bincount(part_of, along, count) for along in places.T]
    centres = np.transpose(sums / np.bincount(part_of, minlength=count))  # (parts, 3)
    nearest, middle = (np.rint(at).astype(int).clip(0, np.array(classes.shape) - 1).T for at in (places, centres))
    lost = np.bincount(part_of, classes[tuple(nearest)] == k, count) == 0
    classes[tuple(middle[:, lost])] = k


def back_to_original(
    probabilities: np.ndarray, affine: np.ndarray, original: Volume, *, keep_probabilities: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Bring a network's output back onto the grid of the file it came from.

    The probabilities are interpolated linearly and the largest one is taken last, on the fine grid, so that surfaces
    come out smooth; slice by slice, which takes little memory. Outside the effective range all is background.

    Args:
        probabilities: (K + 1, d, h, w) on the prepared grid.
        affine: that grid's, ``Prepared.affine``.
        original: the volume that was prepared; only its shape and affine are used.
        keep_probabilities: whether the second result is wanted; else it is (0, D, H, W).

    Returns uint8 classes (D, H, W) and float32 probabilities (K + 1, D, H, W), both in the file's own axis order.
    """
    shape = original.data.shape
    classes, kept = np.zeros(shape, np.uint8), np.zeros((keep_probabilities * len(probabilities), *shape), np.float32)
    # Views: what is put there is in the file's order.
    turned, *shares = (Volume(one, original.affine).oriented("RAS") for one in (classes, *kept))
    along_d, along_h, along_w = _interpolation(Volume(probabilities[0], affine), turned)
    inside = np.outer(along_h.any(axis=1), along_w.any(axis=1))  # (H, W), of the effective range
    for z, row in enumerate(along_d):
        used = np.flatnonzero(row)  # two slices
        plane = np.einsum("d,cdhw->chw", row[used], probabilities[:, used])
        plane = along_h @ plane @ along_w.T  # (K + 1, H, W)
        plane[0, ~(inside & row.any())] = 1
        turned.data[z] = plane.argmax(axis=0)
        for volume, share in zip(shares, plane, strict=False):
            volume.data[z] = share
    return classes, kept
