"""Arrays as a page can carry them: three dimensions, few enough voxels, one byte each.

What does not fit is reduced, and a sentence in ``notes`` says how: a page shows what it can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrnet_edu.figures.palette import LABEL_COLORS
from lrnet_edu.support.errors import InputError

MAX_VOXELS = 128**3  # of one volume on a page
OTHER_LABEL = max(LABEL_COLORS) + 1  # the code of every label without a colour of its own


@dataclass
class Codes:
    """Values in one byte each: ``low + (code - first) * step``; codes below ``first`` are "no value"."""

    name: str
    codes: np.ndarray  # (D, H, W) uint8
    low: float
    high: float
    levels: int
    first: int
    below: bool  # some value lies below low
    above: bool  # some value lies above high

    @property
    def step(self) -> float:
        return (self.high - self.low) / (self.levels - 1)


def as_array(values: Any, name: str) -> np.ndarray:
    """NumPy array of numbers from NumPy, torch or lists; InputError for anything else."""
    if hasattr(values, "detach"):  # a torch tensor, on whatever device
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    array = np.asarray(values)
    if array.dtype.kind not in "buif":
        raise InputError(f"'{name}' is no array of numbers ({array.dtype}): give a NumPy array or a torch tensor.")
    return array


def as_volume(array: np.ndarray, name: str, notes: list[str]) -> np.ndarray | None:
    """(D, H, W) of an array: a slice becomes a volume, of more dimensions the first is taken; else None."""
    if array.ndim < 2 or 0 in array.shape:
        return None
    if array.ndim > 3:
        notes.append(
            f"'{name}' has {array.ndim} dimensions, {times(array.shape)}: only its first volume is shown; "
            f"pick another one by indexing."
        )
        array = array[(0,) * (array.ndim - 3)]
    return array[None] if array.ndim == 2 else array


def checked_spacing(spacing: Sequence[float], dimensions: int) -> tuple[float, float, float]:
    """(z, y, x) in mm; a 2-D array's (y, x) gets a slice of 1 mm."""
    values = [float(value) for value in spacing]
    if dimensions == 2 and len(values) == 2:
        values = [1.0, *values]
    if len(values) != 3 or not all(0 < value < np.inf for value in values):
        raise InputError(f"spacing is {tuple(spacing)}: give three lengths above 0, (z, y, x) in mm.")
    return values[0], values[1], values[2]


def stride_for(shape: Sequence[int], spacing: Sequence[float]) -> tuple[int, int, int]:
    """Every how many voxels to keep per axis so that MAX_VOXELS suffice, finest axis first."""
    stride = [1, 1, 1]
    while np.prod([-(-n // s) for n, s in zip(shape, stride, strict=True)]) > MAX_VOXELS:
        lengths = [mm * s if s < n else np.inf for n, s, mm in zip(shape, stride, spacing, strict=True)]
        # Of axes alike the last: a slice is thinned before slices are dropped.
        stride[2 - int(np.argmin(lengths[::-1]))] += 1
    return stride[0], stride[1], stride[2]


def value_range(array: np.ndarray) -> tuple[float, float]:
    """Smallest and largest finite value; (0, 1) where there is none."""
    low, high = float(array.min()), float(array.max())
    if np.isfinite(low) and np.isfinite(high):
        return low, high
    finite = array[np.isfinite(array)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def encode_values(name: str, array: np.ndarray, low: float, high: float, levels: int, notes: list[str]) -> Codes:
    """Codes of the values from low to high; what lies beyond is clipped, NaN and infinity get code 0."""
    smallest, largest = value_range(array)
    missing = 0 if array.dtype.kind != "f" else int(array.size - np.count_nonzero(np.isfinite(array)))
    first = 0
    if missing:
        first, levels = 1, min(levels, 255)
        notes.append(f"{missing} voxels of '{name}' are NaN or infinite: shown as having no value.")
    scaled = (array.astype(np.float32) - np.float32(low)) * np.float32((levels - 1) / (high - low))
    scaled = np.clip(np.rint(scaled, out=scaled), 0, levels - 1, out=scaled)
    if missing:
        scaled = np.where(np.isfinite(array), scaled + 1, 0)
    return Codes(name, scaled.astype(np.uint8), low, high, levels, first, smallest < low, largest > high)


def encode_mask(name: str, array: np.ndarray, notes: list[str]) -> tuple[np.ndarray, list[int]]:
    """Label codes (D, H, W) uint8 and the codes that occur; labels without a colour become OTHER_LABEL."""
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            notes.append(f"The mask '{name}' holds NaN or infinity: taken as background.")
            array = np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)
        if not np.array_equal(np.rint(array), array):
            notes.append(f"The mask '{name}' holds fractions: its contour runs where it reaches 0.5.")
            array = array >= 0.5
    low, high = value_range(array)
    if low < 0 or high >= OTHER_LABEL:
        known = (array >= 0) & (array < OTHER_LABEL)
        strange = np.unique(array[~known])
        listed = ", ".join(f"{label:g}" for label in strange[:5]) + (", ..." if strange.size > 5 else "")
        notes.append(f"The mask '{name}' holds labels without a colour of their own ({listed}): all drawn in white.")
        array = np.where(known, array, OTHER_LABEL)
    codes = array.astype(np.uint8)
    counts = np.bincount(codes.ravel(), minlength=OTHER_LABEL + 1)
    present = [label for label in range(1, OTHER_LABEL + 1) if counts[label]]
    if not present:
        notes.append(f"The mask '{name}' is empty: it has no contour.")
    return codes, present


def times(numbers: Sequence[int]) -> str:
    return " x ".join(str(n) for n in numbers)
