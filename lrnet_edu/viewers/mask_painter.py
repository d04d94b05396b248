"""A small grid to paint a mask on, and its distance maps beside it: Fig. 2 of the paper, by hand.

On the page a script computes the maps (``js/painting.js``), so that painting needs no kernel and works in an exported
page; ``tests/browser`` holds them against ``distance_map``.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from lrnet_edu.distance_maps import distance_map
from lrnet_edu.figures.palette import REFERENCE_COLOR
from lrnet_edu.kinds import KINDS
from lrnet_edu.support.arrays import plain_array
from lrnet_edu.support.checks import check_whole
from lrnet_edu.support.errors import InputError
from lrnet_edu.viewers.encoding import times
from lrnet_edu.viewers.overlays import colours
from lrnet_edu.viewers.page import base64_of, caption, fragment
from lrnet_edu.viewers.still import Scale, png_of, rgb

MAX_CELLS = 64  # of one side: beyond, a cell is too small to be painted
PAINTED = {kind: KINDS[kind] for kind in ("O-DM", "I-DM", "NI-DM", "SNI-DM")}  # what the script computes
FIRST = [0, 2]  # of these, shown beside the grid at first
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

    Show it by making it the last line of a cell. Two of the maps stand beside the grid, of its size; buttons choose
    them. The painted mask stays on the page; "this mask as Python" carries it into a cell. ``notes`` and the caption
    say where a given mask had to be changed.

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
            check_whole("size", size, least=4)
            if size > MAX_CELLS:
                raise InputError(f"size is {size}: give a number of cells from 4 to {MAX_CELLS}.")
            shapes = preset_shapes(size, size)
            if mask not in shapes:
                raise InputError(f"There is no shape {mask!r}: choose one of {', '.join(shapes)}.")
            self.mask = shapes[mask]
        else:
            self.mask = self._checked(plain_array(mask, "mask"))

    def _checked(self, array: np.ndarray) -> np.ndarray:
        if array.ndim != 2 or array.size == 0:
            raise InputError(f"A mask of shape {array.shape} cannot be painted on: give one slice (H, W) of it.")
        if missing := int(np.count_nonzero(~np.isfinite(array))):
            self.notes.append(f"{missing} values of the mask are NaN or infinite: taken as background.")
        mask = np.isfinite(array) & (array != 0)
        step = -(-max(mask.shape) // MAX_CELLS)
        if step > 1:
            self.notes.append(f"{times(mask.shape)} cells are too many to paint on: one in {step} x {step} is kept.")
        return mask[::step, ::step]

    @cached_property
    def _png(self) -> bytes:
        """The mask and all its maps."""
        cell, empty = max(1, 190 // self.mask.shape[1]), rgb(EMPTY_COLOR)
        panels: list[tuple[str, np.ndarray, Scale | None]] = [
            ("mask", np.where(self.mask[..., None], rgb(REFERENCE_COLOR), empty), None)  # (H, W, 3)
        ]
        for kind, row in PAINTED.items():
            values, signed = distance_map(self.mask, kind), row.outside is not None
            table, low, high = colours(signed=signed), -float(signed), max(1.0, float(values.max()))
            shown = table[np.rint((values - low) / (high - low) * 255).astype(int)]
            shown = np.where((values == 0)[..., None] & (not signed), empty, shown)
            panels.append((_title(kind), shown, (table, low, high)))
        return png_of([(name, panel.repeat(cell, 0).repeat(cell, 1), scale) for name, panel, scale in panels])

    @cached_property
    def _html(self) -> str:
        def rows(mask: np.ndarray) -> list[str]:
            return ["".join("1" if cell else "0" for cell in row) for row in mask]

        signed = {kind: row.outside is not None for kind, row in PAINTED.items()}
        meta = {
            "rows": rows(self.mask),
            "presets": {name: rows(mask) for name, mask in preset_shapes(*self.mask.shape).items()},
            "maps": [
                {"kind": k, "title": _title(k), "signed": s, "lut": base64_of(colours(signed=s))}
                for k, s in signed.items()
            ],
            "chosen": FIRST,
            "objectColour": REFERENCE_COLOR,
            "emptyColour": EMPTY_COLOR,
        }
        height, width = self.mask.shape
        alt = f"A mask of {height} by {width} voxels and its four distance maps: {', '.join(PAINTED)}"
        sentences = [
            "Mouse or finger: drag on the mask.",
            "Keyboard: arrows move, space paints or erases, shift and arrow paint along.",
            "Distances in voxels; touching voxels, corners included, make one component.",
            "Dark means 0 in O-DM, I-DM and NI-DM.",
        ]
        below = caption(sentences, self.notes)
        return fragment("painting", meta, title=self.title, alt=alt, png=self._png, caption=below)

    def __repr__(self) -> str:
        return f"MaskPainter({times(self.mask.shape)}, {int(self.mask.sum())} voxels painted)"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"text/html": self._html, "image/png": self._png, "text/plain": repr(self)}


def _title(kind: str) -> str:
    return f"{kind} ({unit})" if (unit := KINDS[kind].unit) else kind
