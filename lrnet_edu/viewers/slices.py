"""A slice viewer that needs no kernel: linked panels of a volume, its masks and its maps.

The volumes travel inside the cell's output, once, in at most 256 levels each, and a small script on the page
(``page/slices.js``) draws every slice from them. So the same output scrolls in JupyterLab, on Colab and in an
exported page without a network, and where no script may run the picture of one slice stands in its place. Its panels
are those of the paper's Fig. 3, for every slice.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from lrnet_edu.support.errors import InputError
from lrnet_edu.viewers.encoding import OTHER_LABEL, Codes, as_array, as_volume, checked_spacing, stride_for, times
from lrnet_edu.viewers.overlays import MaskLayer, image_layer, map_layer, mask_layers
from lrnet_edu.viewers.page import base64_of, caption, fragment
from lrnet_edu.viewers.still import draw_contour, draw_map, grey_panel, panel_picture

AXES = ("axial", "coronal", "sagittal")  # across z, y and x


class SliceViewer:
    """Panels side by side, linked: the volume, every mask as contours on it, every map as colours over it.

    Show it by making it the last line of a cell. Slices: slider, arrow keys, Page Up and Down, Home and End,
    mouse wheel, a finger's sideways drag. Window: sliders, or a mouse drag over a panel. The first mask is
    the reference; its contour appears in every panel but the first. What cannot be shown as it is (a mask of
    another shape, a fourth dimension, NaN, a label without a colour, a volume too big for a page) is left out
    or reduced; ``notes`` and the caption say so.

    Args:
        volume: (D, H, W) image, or (H, W) for one slice; NumPy or torch.
        spacing: mm per voxel, (z, y, x).
        window: (level, width) in ``unit``; the grey levels span twice this width, so that the window can be
            changed on the page. None: from the volume's own range.
        overlays: name -> mask (D, H, W), 0 is background; or one mask.
        heat: name -> map (D, H, W), drawn on a colour scale from 0 to 1, or from -1 to 1 where a value is
            negative; the scale reaches further where the map does. Zeros of an unsigned map are clear. Put
            the unit into the name ("O-DM (mm)"). Or one map.
        heat_range: (low, high) of every map's colour scale instead.
        title: shown above the panels.
        unit: of the volume's values.
        radiological: the volume's indices grow towards the patient's head, front and right (RAS+, as this
            package's cases do; of files of your own ``read_image(path).in_ras()`` and ``read_mask(path).in_ras()``),
            and slices are turned to a radiologist's view, with letters at the sides.
            False: as the array lies, index 0 at the top and left. A 2-D image is always shown as it lies.
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
        if heat_range is not None and not -math.inf < heat_range[0] < heat_range[1] < math.inf:
            raise InputError(f"heat_range is {heat_range}: give (low, high), finite numbers with low < high.")
        self.title, self.unit = title, unit
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
                f"{times(self.full_shape)} voxels are too many for a page: {times(self.shape)} of them are "
                f"shown, one in {times(self.stride)} (z, y, x); what is smaller than that may be missing."
            )
        self._image = image_layer(array, window, levels, self.notes)
        self._masks, self._by_label = mask_layers(self._fitting(overlays, "mask"), self.notes)
        fitting = self._fitting(heat, "map")
        self._maps = [map_layer(name, values, heat_range, self.notes) for name, values in fitting.items()]
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
                shape = times(array.shape) or "that of a number"
                self.notes.append(
                    f"'{name}' is left out: its shape is {shape}, the volume's {times(self.full_shape)}; "
                    f"resample it to the volume's grid."
                )
        return kept

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

        base = grey_panel(shown(self._image.values.codes), self._image)
        panels = [base]
        for mask in self._masks:
            panels.append(base.copy())
            if overlay:
                for contour in (self._masks[0], mask):  # the reference below
                    draw_contour(panels[-1], shown(contour.codes), contour.colours)
        for layer in self._maps:
            panels.append(base.copy())
            if overlay:
                draw_map(panels[-1], shown(layer.values.codes), layer)
                for mask in self._masks[:1]:
                    draw_contour(panels[-1], shown(mask.codes), mask.colours)
        return panels

    # ---- the page

    @cached_property
    def _png(self) -> bytes:
        panels = self._panels("axial", None, True, max(96, min(256, 960 // len(self.panel_names))))
        scales = [(m.colours, m.values.low, m.values.high) for m in self._maps]
        bare = [None] * (1 + len(self._masks))
        return panel_picture(panels, self.panel_names, [*bare, *scales])

    @cached_property
    def _html(self) -> str:
        image, masks, maps = self._image, self._masks, self._maps
        layers = [image.values.codes, *(m.codes for m in masks), *(m.values.codes for m in maps)]
        # Run lengths alone: noise has nothing else to gain, and it is three times as fast as zlib's default.
        packer = zlib.compressobj(6, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
        data = packer.compress(b"".join(layer.tobytes() for layer in layers)) + packer.flush()
        meta = {
            "shape": self.shape,
            "spacing": [s * t for s, t in zip(self.spacing, self.stride, strict=True)],
            "stride": self.stride,
            "index": self.first_slices,
            "level": image.level,
            "width": image.width,
            "unit": self.unit,
            "radiological": self.radiological,
            "image": _described(image.values),
            "byLabel": self._by_label,
            "masks": [self._legend(mask) for mask in masks],
            "maps": [{**_described(m.values), "visible": m.visible, "lut": base64_of(m.colours)} for m in maps],
            "keep": self.keep,
            "data": base64_of(data),
        }
        index = self.first_slices["axial"]
        alt = f"Axial slice {index + 1} of {self.shape[0]}, panels: {', '.join(self.panel_names)}"
        return fragment("slices", meta, title=self.title, alt=alt, png=self._png, caption=self._caption())

    def _legend(self, mask: MaskLayer) -> dict[str, Any]:
        """What the page writes: beside every contour, and of the voxel under the pointer, by its code."""
        labels: list[Any] = ["outside", "inside"]
        names = {1: mask.name}
        if self._by_label:
            labels = [*range(OTHER_LABEL), "other"]
            names = {label: f"{mask.name} {label}" for label in range(OTHER_LABEL)}
            names[OTHER_LABEL] = f"{mask.name}, other labels"
        legend = [{"text": names[label], "colour": colour} for label, colour in mask.colours.items()]
        return {"name": mask.name, "colours": mask.colours, "labels": labels, "legend": legend}

    def _caption(self) -> str:
        image, unit = self._image.values, f" {self.unit}" if self.unit else ""
        mm = " x ".join(f"{length:.3g}" for length in self.spacing)
        sentences = [
            f"{times(self.full_shape)} voxels of {mm} mm (z, y, x).",
            f"Image in {image.levels} levels from {image.low:.4g} to {image.high:.4g}{unit}, "
            f"one level {image.step:.2g}{unit}.",
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
