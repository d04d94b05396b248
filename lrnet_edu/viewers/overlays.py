"""What a viewer's panels lay over one another: the windowed image, masks with colours, maps with a scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lrnet_edu.figures.palette import LABEL_COLORS, MAP_COLORMAP, PREDICTION_COLOR, REFERENCE_COLOR, SIGNED_MAP_COLORMAP
from lrnet_edu.support.errors import InputError
from lrnet_edu.viewers.encoding import OTHER_LABEL, Codes, encode_mask, encode_values, value_range

OTHER_COLOR = "#FFFFFF"  # of labels without a colour of their own: white on a dark rim


@dataclass
class ImageLayer:
    values: Codes
    level: float
    width: float  # of the window


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


def colours(colormap: str) -> np.ndarray:
    """(256, 3) uint8, one of matplotlib's colormaps."""
    import matplotlib

    return matplotlib.colormaps[colormap](np.arange(256), bytes=True)[:, :3]


def image_layer(array: np.ndarray, window: tuple[float, float] | None, levels: int, notes: list[str]) -> ImageLayer:
    """The image in grey levels over twice its window (level, width), as far as its values reach."""
    low, high = value_range(array)
    if window is not None:
        try:
            level, width = (float(number) for number in window)
        except (TypeError, ValueError):  # not two, or no numbers
            level = width = np.nan
        if not (np.isfinite(level) and 0 < width < np.inf):
            raise InputError(f"window is {window!r}: give two numbers (level, width) with a width above 0.")
        if min(high, level + width / 2) - max(low, level - width / 2) < 0.02 * width:
            window = None
            notes.append(
                f"The window (level {level:g}, width {width:g}) would show values from {low:g} to {high:g} "
                f"as one grey: the whole range is shown."
            )
    if window is None:
        level, width = (low + high) / 2, (high - low) or 1.0
    bottom, top = max(low, level - width), min(high, level + width)
    if not bottom < top:  # one value everywhere
        bottom, top = level - width, level + width
    return ImageLayer(encode_values("image", array, bottom, top, levels, notes), level, width)


def map_layer(name: str, array: np.ndarray, scale: tuple[float, float] | None, notes: list[str]) -> MapLayer:
    """A map on the given scale, else from 0 to 1 or, signed, from -1 to 1, or as far as it reaches."""
    low, high = value_range(array)
    signed = low < 0
    reach = max(1.0, high, -low)
    bottom, top = scale or (-reach if signed else 0.0, reach)
    values = encode_values(name, array, float(bottom), float(top), 256, notes)
    table = colours(SIGNED_MAP_COLORMAP if signed else MAP_COLORMAP)
    return MapLayer(values, values.first if signed else values.first + 1, table)


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
