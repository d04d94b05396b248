"""Arrays as a page can carry them: three dimensions, few enough voxels, one byte each; and how each is coloured.

What does not fit is reduced, and a sentence in ``notes`` says how.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np

from lrnet_edu.data.preprocessing import CT_WINDOW
from lrnet_edu.figures.palette import LABEL_COLORS, MAP_COLORMAP, PREDICTION_COLOR, REFERENCE_COLOR, SIGNED_MAP_COLORMAP
from lrnet_edu.support.checks import checked_range

MAX_VOXELS = 128**3  # of one volume on a page
OTHER_LABEL = max(LABEL_COLORS) + 1  # the code of every label without a colour of its own
OTHER_COLOR = "#FFFFFF"  # of these labels: white on a dark rim
LEAST_HU = 20  # a window of HU is wider than that


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

    def described(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "codes"}


@dataclass
class ImageLayer:
    values: Codes
    low: float  # of the window: black
    high: float  # white
    is_hu: bool  # as far as window and values tell


@dataclass
class MaskLayer:
    name: str
    codes: np.ndarray  # (D, H, W) uint8
    colours: dict[int, str]  # of the codes that occur
    by_label: bool

    def described(self) -> dict[str, Any]:
        """What the page writes: beside every contour, and of the voxel under the pointer, by its code."""
        legend = []
        for label, colour in self.colours.items():
            which = ", other labels" if label == OTHER_LABEL else f" {label}" if self.by_label else ""
            legend.append({"text": self.name + which, "colour": colour})
        labels = [*range(OTHER_LABEL), "other"] if self.by_label else ["outside", "inside"]
        return {"name": self.name, "colours": self.colours, "labels": labels, "legend": legend}


@dataclass
class MapLayer:
    values: Codes
    visible: int  # smallest code that is drawn
    colours: np.ndarray  # (256, 3) uint8


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


def encode_values(name: str, array: np.ndarray, low: float, high: float, levels: int, notes: list[str]) -> Codes:
    """Codes of the values from low to high; what lies beyond is clipped, NaN and infinity get code 0."""
    smallest, largest = _value_range(array)
    known = np.isfinite(array)
    missing, first = array.size - int(np.count_nonzero(known)), 0
    if missing:
        first, levels = 1, min(levels, 255)
        notes.append(f"{missing} voxels of '{name}' are NaN or infinite: shown as having no value.")
    share = (np.where(known, array, low).astype(np.float64).clip(low, high) - low) / (high - low)  # 0 to 1
    codes = np.where(known, np.rint(share * (levels - 1)) + first, 0).astype(np.uint8)
    return Codes(name, codes, low, high, levels, first, smallest < low, largest > high)


def image_layer(array: np.ndarray, window: Any, levels: int, notes: list[str]) -> ImageLayer:
    """The image in grey levels over twice its window (low, high), as far as its values reach."""
    smallest, largest = _value_range(array)
    is_ct = -3100 <= smallest <= -100 and largest >= 100
    if window is not None:
        low, high = window = checked_range("window", window)
        if min(largest, high) - max(smallest, low) < 0.02 * (high - low):
            notes.append(
                f"The window from {low:g} to {high:g} would show the values from {smallest:g} to {largest:g} as one "
                f"grey: the whole range is shown."
            )
            window = None
    if window is None:
        low, high = CT_WINDOW if is_ct else (smallest, largest)
    if not low < high:
        notes.append(f"Every voxel of the volume is {low:g}.")
        low, high = low - max(1.0, abs(low)), high + max(1.0, abs(high))
    is_hu = is_ct or (window is not None and high - low >= LEAST_HU)
    half = (high - low) / 2
    bottom, top = max(smallest, low - half), min(largest, high + half)
    if not bottom < top:
        bottom, top = low, high
    return ImageLayer(encode_values("image", array, bottom, top, levels, notes), low, high, is_hu)


def map_layer(name: str, array: np.ndarray, scale: tuple[float, float] | None, notes: list[str]) -> MapLayer:
    """A map on the given scale, else from 0 to 1 or, signed, from -1 to 1, or as far as it reaches."""
    low, high = _value_range(array)
    signed, reach = low < 0, max(1.0, high, -low)
    values = encode_values(name, array, *(scale or (-reach if signed else 0.0, reach)), 256, notes)
    return MapLayer(values, values.first + (not signed), map_colours(signed=signed))


def map_colours(*, signed: bool) -> np.ndarray:
    """(256, 3) uint8."""
    return matplotlib.colormaps[SIGNED_MAP_COLORMAP if signed else MAP_COLORMAP](np.arange(256), bytes=True)[:, :3]


def mask_layers(masks: Mapping[str, np.ndarray], notes: list[str]) -> list[MaskLayer]:
    """Orange for the reference, blue for predictions; by label if one mask has several."""
    encoded = {name: _encode_mask(name, mask, notes) for name, mask in masks.items()}
    by_label = any(codes.max() > 1 for codes in encoded.values())
    layers: list[MaskLayer] = []
    for name, codes in encoded.items():
        alone = PREDICTION_COLOR if layers else REFERENCE_COLOR
        palette = {**LABEL_COLORS, OTHER_LABEL: OTHER_COLOR} if by_label else {1: alone}
        present = np.bincount(codes.ravel(), minlength=OTHER_LABEL + 1) > 0
        colours = {label: colour for label, colour in palette.items() if present[label]}
        layers.append(MaskLayer(name, codes, colours, by_label))
    return layers


def _encode_mask(name: str, array: np.ndarray, notes: list[str]) -> np.ndarray:
    """Label codes (D, H, W) uint8; labels without a colour become OTHER_LABEL."""
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
    if not codes.any():
        notes.append(f"The mask '{name}' is empty: it has no contour.")
    return codes


def _value_range(array: np.ndarray) -> tuple[float, float]:
    """Smallest and largest finite value; (0, 1) where there is none."""
    finite = array[np.isfinite(array)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def times(numbers: Sequence[int]) -> str:
    return " x ".join(str(n) for n in numbers)
