"""At test time the LR-Net is discarded: the M-Net alone, window by window, on a volume of any size."""

import math
from collections.abc import Sequence
from itertools import product
from numbers import Real

import numpy as np
import torch
from torch import Tensor, nn

from lrnet_edu.support.arrays import plain_array
from lrnet_edu.support.errors import InputError

BATCH = 2  # windows at a time


@torch.inference_mode()
def predict_probabilities(
    mnet: nn.Module, image: np.ndarray, *, patch_size: Sequence[int], overlap: float = 0.5
) -> np.ndarray:
    """Softmax probabilities of a whole volume by overlapping windows, averaged with a bell-shaped weight.

    Near a window's edge half of a voxel's surroundings is missing, so windows overlap and their centres count most.

    Args:
        mnet: image (B, 1, d, h, w) -> logits (B, classes, d, h, w); used on its device and in its mode, not changed.
        image: (D, H, W), preprocessed.
        patch_size: voxels (z, y, x) of a window; along a shorter axis the window is as long as the image.
        overlap: share of a window that the next one covers as well, from 0 to below 1.

    Returns:
        (classes, D, H, W) float32, summing to 1 at every voxel.

    Raises InputError if the image is not (D, H, W), the patch size or overlap is invalid, or the network does not
    return logits or returns NaN.
    """
    image = plain_array(image, "image")
    if image.ndim != 3 or 0 in image.shape:
        raise InputError(f"The image has the shape {image.shape}; give one volume (D, H, W).")
    sized = isinstance(patch_size, Sequence | np.ndarray) and len(patch_size) == 3
    if not sized or not all(isinstance(w, int | np.integer) and w > 0 for w in patch_size):
        raise InputError(f"patch_size is {patch_size!r}; give three whole numbers of voxels (z, y, x), at least 1.")
    if not isinstance(overlap, Real) or not 0 <= overlap < 1:
        raise InputError(f"overlap is {overlap!r}; give a share of the window, 0 to below 1.")
    volume = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))
    taken = next(mnet.parameters(), volume)  # the network's device and type
    size = tuple(min(w, s) for w, s in zip(patch_size, image.shape, strict=True))
    starts = [_starts(s, w, overlap) for s, w in zip(image.shape, size, strict=True)]
    weight = _bell(size)  # (d, h, w)
    boxes = [tuple(slice(c, c + w) for c, w in zip(corner, size, strict=True)) for corner in product(*starts)]
    total, weights = torch.zeros(()), torch.zeros(image.shape)
    for first in range(0, len(boxes), BATCH):
        patches = torch.stack([volume[box] for box in boxes[first : first + BATCH]])[:, None]  # (b, 1, d, h, w)
        patches = patches.expand(BATCH, -1, -1, -1, -1) if len(patches) == 1 else patches  # one alone is slow
        logits = mnet(patches.to(taken))
        if not isinstance(logits, Tensor) or logits.shape[2:] != size or logits.shape[1] < 2:
            raise InputError(
                "The network does not return logits (B, classes, D, H, W) of the patch's size with the background as "
                "class 0; of a Tandem, pass tandem.mnet."
            )
        probabilities = torch.softmax(logits.float(), dim=1).cpu()  # (b, classes, d, h, w)
        if first == 0:
            total = torch.zeros(probabilities.shape[1], *image.shape)
        for box, patch in zip(boxes[first : first + BATCH], probabilities, strict=False):
            total[(slice(None), *box)] += patch * weight
            weights[box] += weight
    if not math.isfinite(float(total.sum())):
        raise InputError("The network's output holds NaN; look whether the image's values or its weights are far off.")
    total /= weights
    return total.numpy()


def _starts(size: int, window: int, overlap: float) -> list[int]:
    """Evenly spread first voxels of the windows along one axis; the last window ends with the volume."""
    step = max(1, int(window * (1 - overlap)))
    number = -(-(size - window) // step) + 1
    return [round(i * (size - window) / max(1, number - 1)) for i in range(number)]


def _bell(size: Sequence[int]) -> Tensor:
    """Product of Hann windows, largest in the middle and never zero: (d, h, w)."""
    z, y, x = (torch.hann_window(length + 2, periodic=False)[1:-1].clamp(min=0.02) for length in size)
    return z[:, None, None] * y[:, None] * x
