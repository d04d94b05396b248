"""A small grid to paint a mask on, and its distance maps beside it: Fig. 2 of the paper, by hand.

On the page a script computes the maps (``js/painting.js``), so that painting needs no kernel and works in an exported
page; ``tests/browser`` holds them against ``distance_map``.
"""

from typing import Any

import numpy as np

from lrnet_edu.figures import Picture, maps_figure
from lrnet_edu.figures.palette import REFERENCE_COLOR
from lrnet_edu.kinds import KINDS
from lrnet_edu.support.arrays import plain_array
from lrnet_edu.support.errors import InputError
from lrnet_edu.viewers.encoding import map_colours, times
from lrnet_edu.viewers.page import bundle, caption

MAX_CELLS = 64  # of one side: beyond, a cell is too small to be painted
PAINTED = ("O-DM", "I-DM", "NI-DM", "SNI-DM")  # kinds that the script computes
HELP = [
    "Mouse or finger: drag on the mask.",
    "Keyboard: arrows move, space paints or erases, shift and arrow paint along.",
    "Distances in voxels; touching voxels, corners included, make one component.",
    "Dark means 0 in O-DM, I-DM and NI-DM.",
]


def preset_shapes(height: int, width: int) -> dict[str, np.ndarray]:
    """Masks (height, width) to start from; each shows something about the maps."""
    y = (np.arange(height)[:, None] + 0.5) / height  # 0 to 1 from top to bottom
    x = (np.arange(width)[None] + 0.5) / width

    def disc(row: float, column: float, radius: float) -> np.ndarray:
        return np.hypot(y - row, x - column) < radius

    cells = np.arange(height * width).reshape(height, width)
    return {
        "disc": disc(0.5, 0.5, 0.36),
        "large and small": disc(0.42, 0.36, 0.28) | disc(0.82, 0.82, 0.1),
        "touching": disc(0.5, 0.33, 0.24) | disc(0.5, 0.76, 0.17),
        "ring": disc(0.5, 0.5, 0.42) & ~disc(0.5, 0.5, 0.2),
        "bar": (abs(y - 0.5) < 0.1) & (abs(x - 0.5) < 0.4),
        "cut by the border": disc(0.5, 0.0, 0.36),
        "single voxel": cells == height // 2 * width + width // 2,
        "full": cells >= 0,
        "empty": cells < 0,
    }


class MaskPainter:
    """Paint or erase voxels with mouse, finger or keyboard and watch O-DM, I-DM, NI-DM and SNI-DM follow.

    Show it by making it the last line of a cell. Buttons choose the two maps beside the grid. The painted mask stays
    on the page; "this mask as Python" carries it into a cell.

    Args:
        mask: (H, W) to start from, at most 64 x 64, object where not 0; or the name of a shape of ``preset_shapes``.
        size: cells of one side, where no array is given.
        title: shown above.

    Raises:
        InputError: the mask is not such a slice, the shape's name is unknown, or the size is out of range.
    """

    def __init__(self, mask: Any = "large and small", *, size: int = 24, title: str = "") -> None:
        self.title = title
        if size not in range(4, MAX_CELLS + 1):
            raise InputError(f"size is {size!r}: give a number of cells from 4 to {MAX_CELLS}.")
        shapes = preset_shapes(size, size)
        if isinstance(mask, str) and mask not in shapes:
            raise InputError(f"There is no shape {mask!r}: choose one of {', '.join(shapes)}.")
        self.mask = shapes[mask] if isinstance(mask, str) else plain_array(mask, "mask") != 0
        if self.mask.ndim != 2 or not self.mask.size or max(self.mask.shape) > MAX_CELLS:
            raise InputError(
                f"A mask of shape {self.mask.shape} cannot be painted on: give one slice (H, W) of it, or a part of it "
                f"of at most {MAX_CELLS} cells a side."
            )

    def _picture(self) -> Picture:
        height, width = self.mask.shape
        about = f"A mask of {height} by {width} voxels and its four distance maps: {', '.join(PAINTED)}"
        return maps_figure(self.mask).finish(about)

    def _meta(self) -> dict[str, Any]:
        maps = []
        for kind in PAINTED:
            unit, signed = KINDS[kind].unit, KINDS[kind].outside is not None
            title = f"{kind} ({unit})" if unit else kind
            maps.append({"kind": kind, "title": title, "signed": signed, **map_colours(signed=signed)})
        shapes = {"": self.mask, **preset_shapes(*self.mask.shape)}
        rows = {name: mask.astype(int).tolist() for name, mask in shapes.items()}
        return {"rows": rows.pop(""), "presets": rows, "maps": maps, "objectColour": REFERENCE_COLOR}

    def __repr__(self) -> str:
        return f"MaskPainter({times(self.mask.shape)}, {int(self.mask.sum())} voxels painted)"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return bundle("painting", self._meta(), self.title, self._picture(), caption(HELP), repr(self))
