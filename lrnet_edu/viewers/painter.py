"""A small grid to paint a mask on, and its four distance maps beside it: Fig. 2 of the paper, by hand.

On the page a script computes the maps (``page/painter.js``), so that painting needs no kernel and works in an
exported page; ``tests/browser`` holds it against ``distance_map``, which computes what ``render`` shows.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from lrnet_edu.figures.palette import MAP_COLORMAP, REFERENCE_COLOR, SIGNED_MAP_COLORMAP
from lrnet_edu.support.errors import InputError
from lrnet_edu.viewers.encoding import as_array, times
from lrnet_edu.viewers.overlays import colours
from lrnet_edu.viewers.page import base64_of, caption, fragment
from lrnet_edu.viewers.still import panel_picture, rgb

MAX_CELLS = 64  # of one side: beyond, a cell is too small to be painted
UNITS = {"O-DM": "voxels", "I-DM": "voxels", "NI-DM": "", "SNI-DM": ""}
EMPTY_COLOR = "#1B1B1B"


def preset_shapes(height: int, width: int) -> dict[str, np.ndarray]:
    """Masks (height, width) to start from; each shows something about the maps."""
    y = (np.arange(height)[:, None] + 0.5) / height  # 0 to 1 from top to bottom
    x = (np.arange(width)[None] + 0.5) / width

    def disc(row: float, column: float, radius: float) -> np.ndarray:
        return np.hypot(y - row, x - column) < radius

    single = np.zeros((height, width), bool)
    single[height // 2, width // 2] = True
    return {
        "disc": disc(0.5, 0.5, 0.36),
        "large and small": disc(0.42, 0.36, 0.28) | disc(0.82, 0.82, 0.1),
        "touching": disc(0.5, 0.33, 0.24) | disc(0.5, 0.76, 0.17),
        "ring": disc(0.5, 0.5, 0.42) & ~disc(0.5, 0.5, 0.2),
        "bar": (abs(y - 0.5) < 0.1) & (abs(x - 0.5) < 0.4),
        "cut by the border": disc(0.5, 0.0, 0.36),
        "single voxel": single,
        "full": np.ones((height, width), bool),
        "empty": np.zeros((height, width), bool),
    }


class MaskPainter:
    """Paint or erase voxels with mouse, finger or keyboard and watch O-DM, I-DM, NI-DM and SNI-DM follow.

    Show it by making it the last line of a cell. The painted mask stays on the page; "this mask as Python"
    carries it into a cell. ``notes`` and the caption say where a given mask had to be changed.

    Args:
        mask: (H, W) to start from, object where not 0; or the name of a shape of ``preset_shapes``.
        size: cells of one side, where no array is given.
        title: shown above.

    Raises:
        InputError: the mask is not two-dimensional, the shape's name is unknown, or the size is out of range.
    """

    def __init__(self, mask: Any = "large and small", *, size: int = 24, title: str = "") -> None:
        self.title = title
        self.notes: list[str] = []
        if isinstance(mask, str):
            if not 4 <= size <= MAX_CELLS:
                raise InputError(f"size is {size}: give a number of cells from 4 to {MAX_CELLS}.")
            shapes = preset_shapes(size, size)
            if mask not in shapes:
                raise InputError(f"There is no shape {mask!r}: choose one of {', '.join(shapes)}.")
            self.mask = shapes[mask]
        else:
            self.mask = self._checked(as_array(mask, "mask"))

    def _checked(self, array: np.ndarray) -> np.ndarray:
        if array.ndim != 2 or array.size == 0:
            raise InputError(f"A mask of shape {array.shape} cannot be painted on: give one slice (H, W) of it.")
        missing = int(np.count_nonzero(~np.isfinite(array)))
        if missing:
            self.notes.append(f"{missing} values of the mask are NaN or infinite: taken as background.")
        mask = np.isfinite(array) & (array != 0)
        step = -(-max(mask.shape) // MAX_CELLS)
        if step > 1:
            self.notes.append(f"{times(mask.shape)} cells are too many to paint on: one in {step} x {step} is kept.")
        return mask[::step, ::step]

    def maps(self) -> dict[str, np.ndarray]:
        """The four maps (H, W) float32 of the mask the page starts with, in unit voxels."""
        from lrnet_edu.distance_maps import distance_map

        return {kind: distance_map(self.mask, kind) for kind in UNITS}

    def render(self, *, cell: int = 8) -> np.ndarray:
        """What the page starts with, without a browser: the mask and its four maps.

        Args:
            cell: pixels of one cell's side.

        Returns:
            (H * cell, 5 * W * cell, 3) uint8.
        """
        return np.concatenate([panel for panel, _ in self._panels(cell)], axis=1)

    def _panels(self, cell: int) -> list[tuple[np.ndarray, tuple[np.ndarray, float, float] | None]]:
        """The picture of the mask and of every map, with its colour scale."""
        empty = np.array(rgb(EMPTY_COLOR), np.uint8)
        inside = np.array(rgb(REFERENCE_COLOR), np.uint8)
        pictures = [(np.where(self.mask[..., None], inside, empty), None)]  # (H, W, 3)
        scales: list[Any] = []
        for kind, values in self.maps().items():
            signed = kind == "SNI-DM"
            table = colours(SIGNED_MAP_COLORMAP if signed else MAP_COLORMAP)
            low, high = (-1.0 if signed else 0.0), max(1.0, float(values.max()))
            shown = table[np.rint((values - low) / (high - low) * 255).astype(int)]
            scales.append((np.where((values == 0)[..., None] & (not signed), empty, shown), (table, low, high)))
        return [(p.repeat(cell, 0).repeat(cell, 1).astype(np.uint8), s) for p, s in [*pictures, *scales]]

    @cached_property
    def _png(self) -> bytes:
        panels, scales = zip(*self._panels(max(1, 190 // self.mask.shape[1])), strict=True)
        names = ["mask", *(f"{kind} ({unit})" if unit else kind for kind, unit in UNITS.items())]
        return panel_picture(panels, names, scales)

    @cached_property
    def _html(self) -> str:
        def rows(mask: np.ndarray) -> list[str]:
            return ["".join("1" if cell else "0" for cell in row) for row in mask]

        meta = {
            "rows": rows(self.mask),
            "presets": {name: rows(mask) for name, mask in preset_shapes(*self.mask.shape).items()},
            "units": UNITS,
            "objectColour": REFERENCE_COLOR,
            "mapColours": base64_of(colours(MAP_COLORMAP)),
            "signedColours": base64_of(colours(SIGNED_MAP_COLORMAP)),
        }
        height, width = self.mask.shape
        alt = f"A mask of {height} by {width} voxels and its four distance maps: {', '.join(UNITS)}"
        below = caption(
            [
                "Mouse or finger: drag on the mask.",
                "Keyboard: arrows move, space paints or erases, shift and arrow paint along.",
                "Distances in voxels; touching voxels, corners included, make one component.",
                "Dark means 0 in O-DM, I-DM and NI-DM.",
            ],
            self.notes,
        )
        return fragment("painter", meta, title=self.title, alt=alt, png=self._png, caption=below)

    def __repr__(self) -> str:
        return f"MaskPainter({times(self.mask.shape)}, {int(self.mask.sum())} voxels painted)"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/html": self._html, "image/png": self._png, "text/plain": repr(self)}
