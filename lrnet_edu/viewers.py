"""A slice viewer that needs no kernel: linked panels of a volume, its masks and its maps.

The volumes travel inside the cell's output, once, in at most 256 levels each, and a small script on the page
(``page/slices.js``) draws every slice from them. So the same output scrolls in JupyterLab, on Colab and in an
exported page without a network, and where no script may run the picture of one slice stands in its place.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lrnet_edu.errors import InputError
from lrnet_edu.page import base64_of, caption, colours, fragment, panel_picture
from lrnet_edu.page.encoding import (
    OTHER_LABEL,
    Codes,
    as_array,
    as_volume,
    checked_spacing,
    encode_mask,
    encode_values,
    stride_for,
    times,
    value_range,
)
from lrnet_edu.palette import (
    LABEL_COLORS,
    MAP_COLORMAP,
    PREDICTION_COLOR,
    REFERENCE_COLOR,
    SIGNED_MAP_COLORMAP,
)

OTHER_COLOR = "#FFFFFF"  # of labels without a colour of their own: white on a dark rim
AXES = ("axial", "coronal", "sagittal")  # across z, y and x


@dataclass
class _Mask:
    name: str
    codes: np.ndarray  # (D, H, W) uint8
    colours: dict[int, str]  # of the codes that occur


@dataclass
class _Map:
    values: Codes
    visible: int  # smallest code that is drawn
    colours: np.ndarray  # (256, 3) uint8


class SliceViewer:
    """Panels side by side, linked: the volume, every mask as contours on it, every map as colours over it.

    Show it by making it the last line of a cell. Slices: slider, arrow keys, Page Up and Down, Home and End,
    mouse wheel, a finger's sideways drag. Window: sliders, or a mouse drag over a panel. The first mask is the
    reference; its contour appears in every panel but the first. What cannot be shown as it is (a mask of
    another shape, a fourth dimension, NaN, a label without a colour, a volume too big for a page) is left out
    or reduced; ``notes`` and the caption say so.

    Args:
        volume: (D, H, W) image, or (H, W) for one slice; NumPy or torch.
        spacing: mm per voxel, (z, y, x).
        window: (level, width) in ``unit``; the grey levels span twice this width, so that the window can be
            changed on the page. None: from the volume's own range.
        overlays: name -> mask (D, H, W), 0 is background; or one mask.
        heat: name -> map (D, H, W), drawn on a colour scale from 0 to 1, or from -1 to 1 where a value is
            negative; the scale reaches further where the map does. Zeros of an unsigned map are clear. Put the
            unit into the name ("O-DM (mm)"). Or one map.
        heat_range: (low, high) of every map's colour scale instead.
        title: shown above the panels.
        unit: of the volume's values.
        radiological: the volume's indices grow towards the patient's head, front and right (RAS+, as this
            package's cases do), and slices are turned to a radiologist's view, with letters at the sides. False:
            as the array lies, index 0 at the top and left. A 2-D image is always shown as it lies.
        levels: of the image, 2 to 256; 64 make the output of a noisy volume about half as large.

    Raises:
        InputError: nothing of the volume can be shown, or spacing, window, levels or range make no sense.
    """

    def __init__(
        self,
        volume: Any,
        *,
        spacing: Sequence[float] = (1.0, 1.0, 1.0),
        window: tuple[float, float] | None = (60.0, 400.0),
        overlays: Mapping[str, Any] | Any | None = None,
        heat: Mapping[str, Any] | Any | None = None,
        heat_range: tuple[float, float] | None = None,
        title: str = "",
        unit: str = "HU",
        radiological: bool = True,
        levels: int = 256,
    ) -> None:
        if not 2 <= levels <= 256:
            raise InputError(f"levels is {levels}: give a number from 2 to 256.")
        if heat_range is not None and not heat_range[0] < heat_range[1]:
            raise InputError(f"heat_range is {heat_range}: give (low, high) with low < high.")
        self.title, self.unit, self.levels = title, unit, levels
        self.notes: list[str] = []  # what was left out or reduced
        self.keep = ""  # viewers with the same non-empty name share slice and window on a page
        given = as_array(volume, "volume")
        array = as_volume(given, "volume", self.notes)
        if array is None:
            raise InputError(f"A volume of shape {given.shape} cannot be shown: give (D, H, W) or (H, W) voxels.")
        self.radiological = radiological and given.ndim > 2
        self.spacing = checked_spacing(spacing, given.ndim)
        self.full_shape = array.shape
        self.stride = stride_for(array.shape, self.spacing)
        array = self._thinned(array)
        self.shape = array.shape
        if self.stride != (1, 1, 1):
            self.notes.append(
                f"{times(self.full_shape)} voxels are too many for a page: {times(self.shape)} of them are shown, "
                f"one in {times(self.stride)} (z, y, x); what is smaller than that may be missing."
            )
        self._image = self._windowed(array, window)
        self._masks = self._coloured(self._fitting(overlays, "mask"))
        self._maps = [self._scaled(name, m, heat_range) for name, m in self._fitting(heat, "map").items()]
        self.first_slices = dict(zip(AXES, self._first_slices(), strict=True))

    def _thinned(self, array: np.ndarray) -> np.ndarray:
        z, y, x = self.stride
        return array[::z, ::y, ::x]

    def _fitting(self, given: Mapping[str, Any] | Any | None, what: str) -> dict[str, np.ndarray]:
        """The masks or maps of the volume's shape, thinned like it; a note for every other one."""
        if given is None:
            return {}
        kept = {}
        for name, values in (given if isinstance(given, Mapping) else {what: given}).items():
            array = as_array(values, str(name))
            found = as_volume(array, str(name), self.notes)
            if found is not None and found.shape == self.full_shape:
                kept[str(name)] = self._thinned(found)
            else:
                self.notes.append(
                    f"'{name}' is left out: its shape is {times(array.shape) or 'that of a number'}, the volume's "
                    f"{times(self.full_shape)}; resample it to the volume's grid."
                )
        return kept

    def _windowed(self, array: np.ndarray, window: tuple[float, float] | None) -> Codes:
        """The image in grey levels over twice its window, as far as its values reach."""
        low, high = value_range(array)
        if window is not None:
            level, width = (float(number) for number in window)
            if not (np.isfinite(level) and 0 < width < np.inf):
                raise InputError(f"window is {window}: give (level, width) with a width above 0.")
            if min(high, level + width / 2) - max(low, level - width / 2) < 0.02 * width:
                window = None
                self.notes.append(
                    f"The window (level {level:g}, width {width:g}) would show values from {low:g} to {high:g} "
                    f"as one grey: the whole range is shown."
                )
        if window is None:
            level, width = (low + high) / 2, (high - low) or 1.0
        self.window = level, width
        bottom, top = max(low, level - width), min(high, level + width)
        if not bottom < top:
            bottom, top = level - width, level + width
        return encode_values("image", array, bottom, top, self.levels, self.notes)

    def _scaled(self, name: str, array: np.ndarray, heat_range: tuple[float, float] | None) -> _Map:
        low, high = value_range(array)
        signed = low < 0
        reach = max(1.0, high, -low)
        bottom, top = heat_range or (-reach if signed else 0.0, reach)
        values = encode_values(name, array, float(bottom), float(top), 256, self.notes)
        return _Map(
            values, values.first + (not signed), colours(SIGNED_MAP_COLORMAP if signed else MAP_COLORMAP)
        )

    def _coloured(self, masks: Mapping[str, np.ndarray]) -> list[_Mask]:
        """Orange for the reference and blue for predictions; by label as soon as one mask has several."""
        encoded = {name: encode_mask(name, mask, self.notes) for name, mask in masks.items()}
        self.by_label = any(label > 1 for _, present in encoded.values() for label in present)
        result = []
        for name, (codes, present) in encoded.items():
            alone = PREDICTION_COLOR if result else REFERENCE_COLOR
            palette = {**LABEL_COLORS, OTHER_LABEL: OTHER_COLOR} if self.by_label else {1: alone}
            result.append(_Mask(name, codes, {label: palette[label] for label in present}))
        return result

    def _first_slices(self) -> list[int]:
        """Per axis the slice with most of the reference; where there is none the middle one."""
        middle = [n // 2 for n in self.shape]
        if not self._masks or not self._masks[0].colours:
            return middle
        inside = self._masks[0].codes > 0
        return [int(inside.sum(axis=tuple(j for j in range(3) if j != i)).argmax()) for i in range(3)]

    @property
    def panel_names(self) -> list[str]:
        return ["image", *(mask.name for mask in self._masks), *(m.values.name for m in self._maps)]

    # ---- the still picture

    def render(
        self, axis: str = "axial", index: int | None = None, *, overlay: bool = True, width: int = 256
    ) -> np.ndarray:
        """What the page shows of one slice, without a browser.

        Args:
            axis: "axial", "coronal" or "sagittal".
            index: the slice, counted in the voxels that are shown; None: where the page starts.
            overlay: with contours and maps.
            width: of one panel, in pixels; its height follows from the spacing.

        Returns:
            (height, panels * width, 3) uint8.

        Raises:
            InputError: no such axis or slice.
        """
        return np.concatenate(self._panels(axis, index, overlay, width), axis=1)

    def _panels(self, axis: str, index: int | None, overlay: bool, width: int) -> list[np.ndarray]:
        if axis not in AXES:
            raise InputError(f"axis is {axis!r}: choose one of {', '.join(AXES)}.")
        across = AXES.index(axis)
        index = self.first_slices[axis] if index is None else index
        if not 0 <= index < self.shape[across]:
            raise InputError(f"There is no {axis} slice {index}: choose one from 0 to {self.shape[across] - 1}.")
        mm = [self.spacing[i] * self.stride[i] for i in range(3) if i != across]
        rows, columns = (self.shape[i] for i in range(3) if i != across)
        height = max(1, round(width * rows * mm[0] / (columns * mm[1])))
        pick = np.ix_(np.arange(height) * rows // height, np.arange(width) * columns // width)

        def shown(codes: np.ndarray) -> np.ndarray:  # (height, width)
            plane = codes.take(index, axis=across)
            return (plane[::-1, ::-1] if self.radiological else plane)[pick]

        base = self._greys(shown(self._image.codes))
        panels = [base]
        for i, mask in enumerate(self._masks):
            panel = base.copy()
            for contour in dict.fromkeys((0, i)) if overlay else ():
                _draw_contour(panel, shown(self._masks[contour].codes), self._masks[contour].colours)
            panels.append(panel)
        for layer in self._maps:
            panel = base.copy()
            if overlay:
                _draw_map(panel, shown(layer.values.codes), layer)
                for mask in self._masks[:1]:
                    _draw_contour(panel, shown(mask.codes), mask.colours)
            panels.append(panel)
        return panels

    def _greys(self, codes: np.ndarray) -> np.ndarray:
        image, (level, width) = self._image, self.window
        value = image.low + (codes.astype(np.float64) - image.first) * image.step
        shade = np.clip((value - level) / width + 0.5, 0, 1) * (codes >= image.first)
        return np.repeat(np.rint(shade * 255).astype(np.uint8)[..., None], 3, axis=-1)  # (height, width, 3)

    # ---- the page

    @cached_property
    def _png(self) -> bytes:
        panels = self._panels("axial", None, True, max(96, min(256, 960 // len(self.panel_names))))
        scales = [None] * (1 + len(self._masks)) + [(m.colours, m.values.low, m.values.high) for m in self._maps]
        return panel_picture(panels, self.panel_names, scales)

    @cached_property
    def _html(self) -> str:
        layers = [self._image.codes, *(m.codes for m in self._masks), *(m.values.codes for m in self._maps)]
        # Run lengths alone: noise has nothing else to gain, and it is three times as fast as zlib's default.
        packer = zlib.compressobj(6, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
        data = packer.compress(b"".join(np.ascontiguousarray(layer) for layer in layers)) + packer.flush()
        meta = {
            "shape": self.shape,
            "spacing": [s * t for s, t in zip(self.spacing, self.stride, strict=True)],
            "stride": self.stride,
            "index": self.first_slices,
            "level": self.window[0],
            "width": self.window[1],
            "unit": self.unit,
            "radiological": self.radiological,
            "image": _described(self._image),
            "byLabel": self.by_label,
            "masks": [self._legend(mask) for mask in self._masks],
            "maps": [
                {**_described(m.values), "visible": m.visible, "lut": base64_of(m.colours)} for m in self._maps
            ],
            "keep": self.keep,
            "data": base64_of(data),
        }
        index = self.first_slices["axial"]
        alt = f"Axial slice {index + 1} of {self.shape[0]}, panels: {', '.join(self.panel_names)}"
        return fragment("slices", meta, title=self.title, alt=alt, png=self._png, caption=self._caption())

    def _legend(self, mask: _Mask) -> dict[str, Any]:
        def named(label: int) -> str:
            return "other labels" if label == OTHER_LABEL else f"{mask.name} {label}" if self.by_label else mask.name

        words = {0: "outside", 1: "inside"}
        labels = ["other" if i == OTHER_LABEL else i if self.by_label else words.get(i) for i in range(OTHER_LABEL + 1)]
        legend = [{"text": named(label), "colour": colour} for label, colour in mask.colours.items()]
        return {"name": mask.name, "colours": mask.colours, "labels": labels, "legend": legend}

    def _caption(self) -> str:
        image, unit = self._image, f" {self.unit}" if self.unit else ""
        sentences = [
            f"{times(self.full_shape)} voxels of {' x '.join(f'{mm:.3g}' for mm in self.spacing)} mm (z, y, x).",
            f"Image in {image.levels} levels from {image.low:.4g} to {image.high:.4g}{unit}, one level {image.step:.2g}{unit}.",
        ]
        for layer in self._maps:
            v = layer.values
            clear = "" if layer.visible == v.first else f", {v.low:g} left clear"
            sentences.append(f"{v.name}: colours from {v.low:.3g} to {v.high:.3g}{clear}.")
        return caption(sentences, self.notes)

    def __repr__(self) -> str:
        return f"SliceViewer({times(self.shape)}, panels: {', '.join(self.panel_names)})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/html": self._html, "image/png": self._png, "text/plain": repr(self)}


def _described(values: Codes) -> dict[str, Any]:
    return {name: value for name, value in vars(values).items() if name != "codes"}


def _draw_map(panel: np.ndarray, codes: np.ndarray, layer: _Map) -> None:
    seen = codes >= layer.visible
    at = (codes[seen].astype(np.float64) - layer.values.first) * 255 / (layer.values.levels - 1)
    panel[seen] = layer.colours[np.rint(at).astype(int)]


def _draw_contour(panel: np.ndarray, codes: np.ndarray, colours: Mapping[int, str]) -> None:
    """Colour a label's pixels within two of another label or of the picture's edge, along rows and columns."""
    padded = np.pad(codes, 2)
    height, width = codes.shape
    near = [padded[2 + i : 2 + i + height, 2 : 2 + width] for i in (-2, -1, 1, 2)]
    near += [padded[2 : 2 + height, 2 + i : 2 + i + width] for i in (-2, -1, 1, 2)]
    edge = np.any([neighbour != codes for neighbour in near], axis=0)
    for label, colour in colours.items():
        panel[edge & (codes == label)] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
