"""A slice viewer that needs no kernel: linked panels of a volume, its masks and its maps, as in Fig. 3 of the paper.

The volumes travel inside the cell's output, once, in at most 256 levels each, and a small script on the page
(``js/slices.js``) draws every slice from them. So the same output scrolls in JupyterLab, on Colab and in an exported
page without a network. Where no script may run, the picture of one slice stands in its place.
"""

import zlib
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np

from lrnet_edu.figures.palette import CT_COLORMAP
from lrnet_edu.figures.picture import Picture, styled
from lrnet_edu.figures.volumes import View, box_around
from lrnet_edu.support.arrays import checked_spacing, plain_array
from lrnet_edu.support.errors import InputError, checked_range
from lrnet_edu.viewers.encoding import as_volume, encode_image, encode_map, encode_masks, stride_for, times
from lrnet_edu.viewers.page import base64_of, bundle, caption

AXES = ("axial", "coronal", "sagittal")  # across z, y and x
AT_ONCE = 3  # panels that the page shows at a time
LEAST_VIEW = 40.0  # mm: a small lesion is shown with its surroundings


class SliceViewer:
    """Panels side by side, linked: the volume, every mask as contours on it, every map as colours over it.

    Show it by making it the last line of a cell. Slices: slider, arrow keys, Page Up and Down, Home and End, mouse
    wheel, a finger's sideways drag. Window: sliders, or a mouse drag over a panel. The page starts with the
    surroundings of the first mask, the reference, whose contour is in every panel but the first; W switches to the
    whole slice and back, O takes contours and maps away, and buttons choose the panels, three at a time. What cannot
    be shown as it is (another shape, a fourth dimension, NaN, a label without a colour, a volume too big for a page)
    is left out or reduced; ``notes`` and the caption say so. ``facts``, name -> text, become a table below.

    Args:
        volume: (D, H, W) image, or (H, W) for one slice; NumPy or torch.
        overlays: name -> mask (D, H, W), 0 is background; or one mask, or a list of masks.
        heat: name ("O-DM (mm)") -> map (D, H, W), drawn on a colour scale from 0 to 1, or from -1 to 1 where a value
            is negative, further where the map reaches further; zeros of an unsigned map are clear. Or one, or a list.
        spacing: mm per voxel, (z, y, x).
        window: (low, high) in ``unit``, drawn black and white; the grey levels span twice this width, so that the
            window can be changed on the page. None: soft tissue of a CT, else the volume's own range.
        heat_range: (low, high) of every map's colour scale instead.
        title: shown above the panels.
        unit: of the volume's values; None: "HU" if they look like those of a CT.
        radiological: the volume is RAS+ (as this package's cases are, and ``read_image(path).oriented("RAS")``,
            ``read_mask(path).oriented("RAS")`` of your own files), and slices are turned to a radiologist's view, with
            letters at the sides. False, and always in 2-D: as the array lies, index 0 at the top and left.
        levels: of the image, 2 to 256; 64 make the output of a noisy volume about half as large.

    Raises:
        InputError: nothing of the volume can be shown, or spacing, window, levels or range make no sense.
    """

    def __init__(
        self, volume: Any, overlays: Any = None, heat: Any = None, *, spacing: Sequence[float] | None = None,
        window: tuple[float, float] | None = None, heat_range: tuple[float, float] | None = None, title: str = "",
        unit: str | None = None, radiological: bool = True, levels: int = 256,
    ) -> None:  # fmt: skip
        if levels not in range(2, 257):
            raise InputError(f"levels is {levels!r}: give a whole number from 2 to 256.")
        scale = None if heat_range is None else checked_range("heat_range", heat_range)
        self.title, self.notes = title, list[str]()  # notes: what was left out or reduced
        self.facts: dict[str, str] = {}
        self.keep = ""  # viewers with the same non-empty name share slice and window on a page
        given = plain_array(volume, "volume")
        array = as_volume(given, "volume", self.notes)
        if array is None:
            raise InputError(f"A volume of shape {given.shape} cannot be shown: give (D, H, W) or (H, W) voxels.")
        self.radiological = radiological and given.ndim > 2
        self.spacing = (1.0, 1.0, *checked_spacing(spacing, min(given.ndim, 3)))[-3:]
        self.full_shape = array.shape
        self.stride = stride_for(array.shape, self.spacing)
        self._kept = tuple(slice(None, None, step) for step in self.stride)
        self.shown_spacing = [mm * step for mm, step in zip(self.spacing, self.stride, strict=True)]
        array = array[self._kept]
        self.shape = array.shape
        if self.stride != (1, 1, 1):
            self.notes.append(
                f"{times(self.full_shape)} voxels are too many for a page: {times(self.shape)} of them are "
                f"shown, one in {times(self.stride)} (z, y, x); what is smaller than that may be missing."
            )
        self._image = encode_image(array, window, levels, self.notes)
        self.unit = unit if unit is not None else "HU" if self._image.is_ct else ""
        self._masks = encode_masks(self._fitting(overlays, "mask"), self.notes)
        self._maps = [encode_map(name, a, scale, self.notes) for name, a in self._fitting(heat, "map").items()]
        self._layers = [self._image.values, *self._masks, *self._maps]
        self.panel_names = [layer.meta["name"] for layer in self._layers]
        inside = self._masks[0].codes > 0 if self._masks else np.zeros(self.shape, bool)
        self.box = box_around(inside, self.shown_spacing, LEAST_VIEW)  # what the page starts with
        self.first_slices = {}  # with most of the reference; where there is none the middle ones
        for i, axis in enumerate(AXES):
            sizes = inside.sum(axis=tuple({0, 1, 2} - {i}))
            self.first_slices[axis] = int(sizes.argmax()) if sizes.any() else self.shape[i] // 2

    def _fitting(self, given: Any, what: str) -> dict[str, np.ndarray]:
        """The masks or maps of the volume's shape, thinned like it; a note for every other one."""
        if isinstance(given, list | tuple) and all(hasattr(one, "shape") for one in given):
            given = {f"{what} {number}": one for number, one in enumerate(given, 1)}
        if not isinstance(given, Mapping) or hasattr(given, "spacing"):  # a TorchIO image is a dictionary, too
            given = {} if given is None else {what: given}
        kept = {}
        for name, values in given.items():
            array = plain_array(values, what)
            found = as_volume(array, str(name), self.notes)
            if found is not None and found.shape == self.full_shape:
                kept[str(name)] = found[self._kept]
            else:
                self.notes.append(
                    f"'{name}' is left out: its shape is {times(array.shape) or 'that of a number'}, the volume's "
                    f"{times(self.full_shape)}; resample it to the volume's grid."
                )
        return kept

    @styled
    def _picture(self) -> Picture:
        """The first axial slice as the page shows it, all panels in rows of three."""
        k, image = self.first_slices["axial"], self._image
        view = View(self.box[1:], self.shown_spacing[1:], self.radiological)
        lines, panel = -(-len(self._layers) // AT_ONCE), 3.2 * view.extent[0] / view.extent[1]  # inches high
        figure = Picture(lines * (panel + 0.9), layout=None)  # a layout engine would take longer than all the rest
        grid = figure.subplots(lines, AT_ONCE, sharex=True, sharey=True, squeeze=False)
        edge = 0.45 / figure.get_figheight()
        figure.subplots_adjust(left=0.01, right=0.99, bottom=edge, top=1 - edge, wspace=0.03, hspace=0.9 / panel)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, layer in zip(grid.flat, self._layers, strict=False):
            axes.set_title(fill(layer.meta["name"], 36), parse_math=False)
            view.show(axes, image.values.plane(k), cmap=CT_COLORMAP, vmin=image.low, vmax=image.high)
            if layer in self._maps:
                low, high = layer.meta["low"], layer.meta["high"]
                drawn = view.show(axes, layer.plane(k), cmap=layer.meta["colormap"], vmin=low, vmax=high)
                below = axes.inset_axes((0.05, -0.15 / panel, 0.9, 0.08 / panel))
                figure.colorbar(drawn, cax=below, orientation="horizontal", ticks=[low, (low + high) / 2, high])
            own = [(layer, 2.0)] if layer in self._masks else []
            reference = [(mask, 4.0 if own else 2.0) for mask in self._masks[:1] if layer is not image.values]
            for mask, width in reference + own:  # the reference below
                for label, colour in mask.meta["colours"].items():
                    view.outline(axes, mask.codes[k] == label, colour, width, level=0.15)
        return figure.finish(f"Axial slice {k + 1} of {self.shape[0]}, panels: {', '.join(self.panel_names)}")

    def _meta(self) -> dict[str, Any]:
        # Run lengths alone: noise has nothing else to gain, and it is three times as fast as zlib's default.
        packer = zlib.compressobj(6, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
        data = packer.compress(b"".join(layer.codes.tobytes() for layer in self._layers)) + packer.flush()
        first = int(len(self._layers) > AT_ONCE)  # the image gives way first
        return {
            "shape": self.shape, "spacing": self.shown_spacing, "stride": self.stride, "index": self.first_slices,
            "box": [(side.start, side.stop) for side in self.box],
            "panels": list(range(len(self._layers)))[first : first + AT_ONCE],
            "low": self._image.low, "high": self._image.high, "unit": self.unit, "radiological": self.radiological,
            "image": self._image.values.meta, "masks": [mask.meta for mask in self._masks],
            "maps": [one.meta for one in self._maps], "keep": self.keep, "data": base64_of(data),
        }  # fmt: skip

    def _caption(self) -> str:
        image, unit = self._image.values.meta, f" {self.unit}" if self.unit else ""
        mm = " x ".join(f"{length:.3g}" for length in self.spacing)
        sentences = [
            f"{times(self.full_shape)} voxels of {mm} mm (z, y, x).",
            f"Image in {image['levels']} levels from {image['low']:.4g} to {image['high']:.4g}{unit}.",
        ]
        return caption(sentences, self.notes, self.facts)

    def __repr__(self) -> str:
        facts = "".join(f"; {name} {value}" for name, value in self.facts.items())
        return f"SliceViewer({times(self.shape)}, panels: {', '.join(self.panel_names)}{facts})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return bundle("slices", self._meta(), self.title, self._picture(), self._caption(), repr(self))
