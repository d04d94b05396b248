"""Arrays as a page can carry them: three dimensions, few enough voxels, one byte each; and how each is coloured.

What does not fit is reduced, and a sentence in ``notes`` says how.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import matplotlib
import numpy as np

from lrnet_edu.data.preprocessing import CT_WINDOW
from lrnet_edu.figures.palette import LABEL_COLORS, MAP_COLORMAP, PREDICTION_COLOR, REFERENCE_COLOR, SIGNED_MAP_COLORMAP
from lrnet_edu.support.errors import checked_range
from lrnet_edu.viewers.page import base64_of

MAX_VOXELS = 128**3  # of one volume on a page


@dataclass(eq=False)
class Layer:
    """A volume on the page, a byte for every voxel, and in ``meta`` what the script has to know to draw and read it.

    The codes of a mask number its labels; those of an image or a map run from "low" to "high" in so many "levels".
    """

    codes: np.ndarray  # (D, H, W) uint8
    meta: dict[str, Any]

    @property
    def step(self) -> float:
        """Of a code, in units of the values."""
        return (self.meta["high"] - self.meta["low"]) / (self.meta["levels"] - 1)

    def plane(self, k: int) -> np.ndarray:
        """The values of an axial slice, (H, W), masked where nothing is drawn."""
        first, codes = self.meta["first"], self.codes[k]
        values = self.meta["low"] + (codes.astype(float) - first) * self.step
        return np.ma.masked_where(codes < self.meta.get("visible", first), values)


class WindowedImage(NamedTuple):
    values: Layer
    low: float  # drawn black
    high: float  # drawn white
    is_ct: bool


def as_volume(array: np.ndarray, name: str, notes: list[str]) -> np.ndarray | None:
    """(D, H, W) of an array: a slice becomes a volume, of more dimensions the first is taken; else None."""
    if array.ndim < 2 or 0 in array.shape:
        return None
    if array.ndim > 3:
        notes.append(f"'{name}' has {array.ndim} dimensions: only its first volume is shown; index it for another one.")
    return array.reshape(-1, *array.shape[-3:])[0] if array.ndim > 2 else array[None]


def stride_for(shape: Sequence[int], spacing: Sequence[float]) -> tuple[int, int, int]:
    """Every how many voxels to keep per axis so that MAX_VOXELS suffice, finest axis first."""
    stride = [1, 1, 1]
    while np.prod([-(-n // s) for n, s in zip(shape, stride, strict=True)]) > MAX_VOXELS:
        lengths = [mm * s if s < n else np.inf for n, s, mm in zip(shape, stride, spacing, strict=True)]
        # Of axes alike the last: a slice is thinned before slices are dropped.
        stride[2 - int(np.argmin(lengths[::-1]))] += 1
    return stride[0], stride[1], stride[2]


def encode_values(name: str, array: np.ndarray, low: float, high: float, levels: int, notes: list[str]) -> Layer:
    """Values from low to high in so many codes; what lies beyond is clipped, NaN and infinity get code 0."""
    smallest, largest = _value_range(array)
    known = np.isfinite(array)
    missing, first = array.size - int(np.count_nonzero(known)), 0
    if missing:
        first, levels, array = 1, min(levels, 255), np.where(known, array, low)
        notes.append(f"{missing} voxels of '{name}' are NaN or infinite: shown as having no value.")
    share = (array.astype(float).clip(low, high) - low) / (high - low)
    codes = np.where(known, np.rint(share * (levels - 1)) + first, 0).astype(np.uint8)
    beyond = {"below": smallest < low, "above": largest > high}  # whether some value is
    return Layer(codes, {"name": name, "low": low, "high": high, "levels": levels, "first": first, **beyond})


def encode_image(array: np.ndarray, window: Any, levels: int, notes: list[str]) -> WindowedImage:
    """The image in grey levels over twice its window; None is soft tissue of what looks like a CT, else all values."""
    smallest, largest = _value_range(array)
    is_ct = -3100 <= smallest <= -100 and largest >= 100
    if smallest == largest:
        notes.append(f"Every voxel of the volume is {smallest:g}.")
        smallest, largest = smallest - max(1, abs(smallest)), largest + max(1, abs(largest))
    low, high = checked_range("window", window) if window is not None else CT_WINDOW if is_ct else (smallest, largest)
    if min(largest, high) - max(smallest, low) < 0.02 * (high - low):
        notes.append(
            f"The window from {low:g} to {high:g} would show the values from {smallest:g} to {largest:g} as one grey: "
            f"the whole range is shown."
        )
        low, high = smallest, largest
    half = (high - low) / 2
    layer = encode_values("image", array, max(smallest, low - half), min(largest, high + half), levels, notes)
    return WindowedImage(layer, low, high, is_ct)


def encode_map(name: str, array: np.ndarray, scale: tuple[float, float] | None, notes: list[str]) -> Layer:
    """A map on the given scale, else from 0 to 1 or, signed, from -1 to 1, or as far as it reaches."""
    low, high = _value_range(array)
    signed, reach = low < 0, max(1.0, high, -low)
    layer = encode_values(name, array, *(scale or (-reach if signed else 0.0, reach)), 256, notes)
    visible = layer.meta["first"] + (not signed)  # the smallest code that is drawn
    layer.meta |= {"visible": visible, **map_colours(signed=signed)}
    return layer


def map_colours(*, signed: bool) -> dict[str, str]:
    """A map's "colormap" by name, and as "lut" its 256 colours, three bytes each, as base64."""
    name = SIGNED_MAP_COLORMAP if signed else MAP_COLORMAP
    colours = matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3]
    return {"colormap": name, "lut": base64_of(colours.tobytes())}


def encode_masks(masks: Mapping[str, np.ndarray], notes: list[str]) -> list[Layer]:
    """Orange for the reference, blue for predictions; if they hold several labels, a colour for each label."""
    whole = {name: _whole_labels(name, mask, notes) for name, mask in masks.items()}
    labels = sorted(set().union(*(np.unique(mask).tolist() for mask in whole.values())) - {0})
    if len(labels) > 255:
        notes.append(f"The masks hold {len(labels)} labels: only the first 255 are shown.")
        labels = labels[:255]
    several = len(labels) > 1
    texts = ["0", *(f"{label:g}" for label in labels)] if several else ["outside", "inside"]
    layers: list[Layer] = []
    for name, mask in whole.items():
        codes, alone = np.zeros(mask.shape, np.uint8), PREDICTION_COLOR if layers else REFERENCE_COLOR
        colours = {}
        for code, label in enumerate(labels, 1):
            if (there := mask == label).any():
                codes[there] = code
                colours[code] = LABEL_COLORS[(code - 1) % len(LABEL_COLORS)] if several else alone
        if not colours:
            notes.append(f"The mask '{name}' is empty: it has no contour.")
        layers.append(Layer(codes, {"name": name, "colours": colours, "labels": texts}))  # labels: texts by code
    return layers


def _whole_labels(name: str, array: np.ndarray, notes: list[str]) -> np.ndarray:
    """The mask itself; where it holds fractions, what is at least 0.5."""
    if array.dtype.kind != "f" or np.array_equal(np.rint(array), array):
        return array
    notes.append(f"The mask '{name}' holds fractions or NaN: its contour runs where it reaches 0.5.")
    return array >= 0.5


def _value_range(array: np.ndarray) -> tuple[float, float]:
    """Smallest and largest finite value; (0, 1) where there is none."""
    finite = array[np.isfinite(array)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def times(numbers: Sequence[int]) -> str:
    return " x ".join(str(n) for n in numbers)
