"""Arrays as a page can carry them: three dimensions, few enough voxels, one byte each.

What does not fit is reduced, and a sentence in ``notes`` says how.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrnet_edu.figures.palette import LABEL_COLORS

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


def as_volume(array: np.ndarray, name: str, notes: list[str]) -> np.ndarray | None:
    """(D, H, W) of an array: a slice becomes a volume, of more dimensions the first is taken; else None."""
    if array.ndim < 2 or 0 in array.shape:
        return None
    if array.ndim > 3:
        notes.append(
            f"'{name}' has {array.ndim} dimensions, {times(array.shape)}: only its first volume is shown; "
            f"pick another one by indexing."
        )
    return array.reshape(-1, *array.shape[-3:])[0] if array.ndim > 2 else array[None]


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
    finite = array[np.isfinite(array)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def encode_values(name: str, array: np.ndarray, low: float, high: float, levels: int, notes: list[str]) -> Codes:
    """Codes of the values from low to high; what lies beyond is clipped, NaN and infinity get code 0."""
    smallest, largest = value_range(array)
    known = np.isfinite(array)
    missing, first = array.size - int(np.count_nonzero(known)), 0
    if missing:
        first, levels = 1, min(levels, 255)
        notes.append(f"{missing} voxels of '{name}' are NaN or infinite: shown as having no value.")
    share = (np.where(known, array, low).astype(np.float64).clip(low, high) - low) / (high - low)  # 0 to 1
    codes = np.where(known, np.rint(share * (levels - 1)) + first, 0).astype(np.uint8)
    return Codes(name, codes, low, high, levels, first, smallest < low, largest > high)


def encode_mask(name: str, array: np.ndarray, notes: list[str]) -> tuple[np.ndarray, list[int]]:
    """Label codes (D, H, W) uint8 and the codes that occur; labels without a colour become OTHER_LABEL."""
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            notes.append(f"The mask '{name}' holds NaN or infinity: taken as background.")
            array = np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)
        if not np.array_equal(np.rint(array), array):
            notes.append(f"The mask '{name}' holds fractions: its contour runs where it reaches 0.5.")
            array = array >= 0.5
    known = (array >= 0) & (array < OTHER_LABEL)
    if not known.all():
        strange = np.unique(array[~known])
        listed = ", ".join(f"{label:g}" for label in strange[:5]) + (", ..." if strange.size > 5 else "")
        notes.append(f"The mask '{name}' holds labels without a colour of their own ({listed}): all drawn in white.")
    codes = np.where(known, array, OTHER_LABEL).astype(np.uint8)
    present = np.flatnonzero(np.bincount(codes.ravel())).tolist()
    if present == [0]:
        notes.append(f"The mask '{name}' is empty: it has no contour.")
    return codes, [label for label in present if label]


def times(numbers: Sequence[int]) -> str:
    return " x ".join(str(n) for n in numbers)
