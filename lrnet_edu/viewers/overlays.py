"""What a viewer's panels lay over one another: the windowed image, masks with colours, maps with a scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np

from lrnet_edu.data.preprocessing import CT_WINDOW
from lrnet_edu.figures.palette import LABEL_COLORS, MAP_COLORMAP, PREDICTION_COLOR, REFERENCE_COLOR, SIGNED_MAP_COLORMAP
from lrnet_edu.support.checks import checked_range
from lrnet_edu.viewers.encoding import OTHER_LABEL, Codes, encode_mask, encode_values, value_range

OTHER_COLOR = "#FFFFFF"  # of labels without a colour of their own: white on a dark rim
LEAST_HU = 20  # a window of HU is wider than that


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


@dataclass
class MapLayer:
    values: Codes
    visible: int  # smallest code that is drawn
    colours: np.ndarray  # (256, 3) uint8


def colours(*, signed: bool) -> np.ndarray:
    """(256, 3) uint8, the colours of maps."""
    return matplotlib.colormaps[SIGNED_MAP_COLORMAP if signed else MAP_COLORMAP](np.arange(256), bytes=True)[:, :3]


def image_layer(array: np.ndarray, window: Any, levels: int, notes: list[str]) -> ImageLayer:
    """The image in grey levels over twice its window (low, high), as far as its values reach."""
    smallest, largest = value_range(array)
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
    low, high = value_range(array)
    signed = low < 0
    reach = max(1.0, high, -low)
    bottom, top = scale or (-reach if signed else 0.0, reach)
    values = encode_values(name, array, bottom, top, 256, notes)
    return MapLayer(values, values.first + (not signed), colours(signed=signed))


def mask_layers(masks: Mapping[str, np.ndarray], notes: list[str]) -> tuple[list[MaskLayer], bool]:
    """Orange for the reference, blue for predictions; by label, and True, if one mask has several."""
    encoded = {name: encode_mask(name, mask, notes) for name, mask in masks.items()}
    by_label = any(label > 1 for _, present in encoded.values() for label in present)
    layers: list[MaskLayer] = []
    for name, (codes, present) in encoded.items():
        alone = PREDICTION_COLOR if layers else REFERENCE_COLOR
        palette = {**LABEL_COLORS, OTHER_LABEL: OTHER_COLOR} if by_label else {1: alone}
        layers.append(MaskLayer(name, codes, {label: palette[label] for label in present}))
    return layers, by_label
