"""Slices of volumes: the distance maps of a mask (Fig. 2) and the predictions of several methods (Fig. 3).

Slices of a volume (RAS+, as this package's cases are) are shown as a radiologist sees them: the front on top, the
patient's right at the left. A 2-D array is shown as it lies. Lengths are in mm from the corner of what is shown.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lrnet_edu.data.preprocessing import CT_WINDOW
from lrnet_edu.distance_maps import distance_map
from lrnet_edu.figures.palette import CT_COLORMAP, MAP_COLORMAP, PREDICTION_COLOR, REFERENCE_COLOR, SIGNED_MAP_COLORMAP
from lrnet_edu.figures.picture import LETTERS, Picture, in_lines, styled
from lrnet_edu.kinds import KINDS
from lrnet_edu.metrics import dice
from lrnet_edu.support.arrays import checked_spacing, plain_array
from lrnet_edu.support.errors import InputError

FORMULAS = {  # for the titles; {m} is 1 in voxels, the smallest D of the component in mm
    "O-DM": "$D$",
    "I-DM": "$M_C + {m} - D$",
    "NI-DM": "$(M_C + {m} - D)\\,/\\,M_C$",
    "SNI-DM": "$-D'/M'$ outside",
}
LEAST_VIEW = 100.0  # mm: a scan is not zoomed in further than that
TINT = 0.6  # how opaque a prediction lies on the scan
SURROUNDINGS = 0.25  # of the object's longer side, shown on either side of it


class View(NamedTuple):
    """Which part of an axial slice is shown, and how large its voxels are."""

    box: tuple[slice, ...]  # rows and columns of the array
    spacing: Sequence[float]  # (y, x)
    turned: bool  # to the radiologist's view

    def of(self, plane: np.ndarray) -> np.ndarray:
        shown = plane[self.box]
        return shown[::-1, ::-1] if self.turned else shown

    @property
    def extent(self) -> list[float]:
        """Height and width of what is shown."""
        return [(side.stop - side.start) * step for side, step in zip(self.box, self.spacing, strict=True)]

    def show(self, axes: Axes, plane: np.ndarray, **settings: Any) -> Any:
        """Draw the voxels of a plane (H, W) in their true proportions."""
        height, width = self.extent
        return axes.imshow(self.of(plane), extent=(0, width, height, 0), **{"interpolation": "nearest", **settings})

    def outline(
        self, axes: Axes, plane: np.ndarray, colour: str, width: float, *, level: float = 0.5, filled: bool = False
    ) -> None:
        """Draw the contours of a mask (H, W), closed where the view cuts it, and what lies within them in a tint.

        At a level of 0.5 they follow the voxels' edges, at less they run beside them and leave the rim in sight.
        """
        shown = np.pad(self.of(plane).astype(float), 1)
        if not shown.any():
            return
        y, x = ((np.arange(n) - 0.5) * step for n, step in zip(shown.shape, self.spacing, strict=True))
        if filled:
            axes.contourf(x, y, shown, levels=[0.5, 1], colors=[colour], alpha=TINT)
        axes.contour(x, y, shown, levels=[level], colors=[colour], linewidths=width)

    def panels(self, count: int, columns: int, spare: float, share: Any = True) -> tuple[Picture, np.ndarray]:
        """So many axes of these proportions, ``spare`` inches around each row; limits are shared by all or by "row"."""
        (height, width), lines = self.extent, -(-count // columns)
        figure = Picture(lines * (8.7 / columns * height / width + spare))
        grid = figure.subplots(lines, columns, sharex=share, sharey=share, squeeze=False)
        for unused in grid.flat[count:]:
            unused.set_axis_off()
        return figure, grid


def box_around(mask: np.ndarray, spacing: Sequence[float], least: float = 0.0) -> tuple[slice, ...]:
    """A square, or a cube, around all objects of a mask with some surroundings, as far as the image reaches.

    Args:
        mask: bool (H, W) or (D, H, W); all of it where it is empty.
        spacing: mm per voxel, in the mask's order.
        least: mm of a side.
    """
    if not mask.any():
        return tuple(slice(0, n) for n in mask.shape)
    objects = np.argwhere(mask)
    low, high = objects.min(axis=0), objects.max(axis=0) + 1
    longest = ((high - low) * spacing).max()
    side = max(longest * (1 + 2 * SURROUNDINGS), least, longest + 4 * max(spacing))
    size = np.minimum(np.rint(side / np.array(spacing)).astype(int), mask.shape)
    start = ((low + high - size) // 2).clip(0, mask.shape - size)
    return tuple(map(slice, start.tolist(), (start + size).tolist()))


@styled
def maps_figure(mask: Any, image: Any = None, spacing: Sequence[float] | None = None) -> Picture:
    """Fig. 2: the slice of a mask with the largest object (on its CT, where there is one) and its map of every kind.

    The maps are computed on the whole mask and cropped afterwards, for a crop would change M_C.

    Args:
        mask: (D, H, W) or (H, W); the object is every voxel that is not 0.
        image: CT of the same shape in HU.
        spacing: mm per voxel, (z, y, x) or (y, x). None: unit voxels, and the maps in voxels.

    InputError if the shapes differ.
    """
    mask, unit = plain_array(mask, "mask") != 0, "voxels" if spacing is None else "mm"
    flat, steps = mask.ndim == 2, checked_spacing(spacing, mask.ndim)
    k = 0 if flat else int(np.argmax(mask.sum(axis=(1, 2))))
    plane = ... if flat else k
    view = View(box_around(mask[plane], steps[-2:]), steps[-2:], turned=not flat)

    shown: list[tuple[np.ndarray, str, str, str, float, float]] = []  # plane, title, unit, colour map, its limits
    if image is not None:
        ct = _checked_shape(image, mask.shape, "image")[plane]
        shown.append((ct, "CT and the\nmask's contour", "HU", CT_COLORMAP, *CT_WINDOW))
    shown.append((mask[plane], "Mask\n", "no unit", MAP_COLORMAP, 0, 1))
    for name, kind in KINDS.items():
        values = distance_map(mask, name, spacing=steps)[plane]
        title = f"{name}\n" + FORMULAS.get(name, "").replace("{m}", "1" if unit == "voxels" else "m_C")
        bar, high = ("no unit", 1) if kind.normalised else (unit, view.of(values).max() or 1)
        colours, low = (MAP_COLORMAP, 0.0) if kind.outside is None else (SIGNED_MAP_COLORMAP, -1.0)
        shown.append((values, title, bar, colours, low, high))

    figure, panels = view.panels(len(shown), len(shown) if image is None else 3, spare=1.9)
    for axes, (values, title, bar, colours, low, high) in zip(panels.flat, shown, strict=False):
        axes.set_title(title)
        drawn = view.show(axes, values, cmap=colours, vmin=low, vmax=high)
        figure.colorbar(drawn, ax=axes, orientation="horizontal", label=bar, shrink=0.85)
        if bar == "HU":
            view.outline(axes, mask[plane], REFERENCE_COLOR, 2)
    figure.supylabel(f"y ({unit})", size=LETTERS)
    figure.supxlabel(f"x ({unit})", size=LETTERS)
    return figure.finish(
        f"Fig. 2, slice {k}: the mask; O-DM, largest deep inside each object; I-DM and NI-DM, largest at its "
        "border, NI-DM never above 1; SNI-DM, which is NI-DM inside and negative outside."
    )


@styled
def results_figure(
    image: Any, reference: Any, predictions_by_title: Mapping[str, Any], spacing: Sequence[float], slices: Sequence[int]
) -> Picture:
    """Fig. 3: the same slices for the ground truth and every method, each zoomed to what is or was taken for a lesion.

    Args:
        image: (D, H, W), CT in HU; one without a value below 0, as an MR, is shown over its own range.
        reference: mask of the same shape; the object is every voxel that is not 0.
        predictions_by_title: title -> mask of the same shape.
        spacing: mm per voxel (z, y, x).
        slices: indices of the rows; :func:`differing_slices` proposes some.

    InputError if shapes differ, or there is no slice to show.
    """
    if (image := plain_array(image, "image")).ndim != 3:
        raise InputError(f"The image has shape {image.shape}; give a volume (D, H, W), one slice as image[None].")
    truth = _checked_shape(reference, image.shape, "reference") != 0
    found = {t: _checked_shape(p, image.shape, f"prediction {t!r}") != 0 for t, p in predictions_by_title.items()}
    scores = {title: f"{dice(mask, truth):.2f}" for title, mask in found.items()}  # of the whole case
    masks, chosen = [truth, *found.values()], list(slices)
    if not chosen or not all(0 <= k < len(image) for k in chosen):
        raise InputError(f"The slices {chosen} cannot be shown; choose some from 0 to {len(image) - 1}.")
    steps, (low, high) = checked_spacing(spacing)[1:], CT_WINDOW if image.min() < 0 else (image.min(), image.max())
    boxes = [box_around(np.any([mask[k] for mask in masks], axis=0), steps, LEAST_VIEW) for k in chosen]
    views = [View(box, steps, turned=True) for box in boxes]

    tallest = max(views, key=lambda view: view.extent[0] / view.extent[1])
    figure, grid = tallest.panels(len(chosen) * len(masks), len(masks), 0.1 + 1.8 / len(chosen), "row")
    for row, k, view in zip(grid, chosen, views, strict=True):
        row[0].set_ylabel(f"Slice {k}\nmm")
        for axes, mask in zip(row, masks, strict=True):
            view.show(axes, image[k], cmap=CT_COLORMAP, vmin=low, vmax=high, interpolation="bilinear")
            if mask is not truth:
                view.outline(axes, mask[k], PREDICTION_COLOR, 1.0, filled=True)
            view.outline(axes, truth[k], REFERENCE_COLOR, 1.6)
    titles = ["Ground truth", *(f"{in_lines(title)}\nDice {score}" for title, score in scores.items())]
    for top, bottom, title in zip(grid[0], grid[-1], titles, strict=True):
        top.set_title(title)
        bottom.set_xlabel("mm")
    line = Line2D([], [], color=REFERENCE_COLOR, lw=3)
    area = Patch(facecolor=to_rgba(PREDICTION_COLOR, TINT), edgecolor=PREDICTION_COLOR)
    figure.legend([line, area], ["ground truth", "prediction"], loc="outside lower center", ncols=2)
    told = "; ".join(f"{title} {score}" for title, score in scores.items())
    return figure.finish(
        f"Fig. 3, slice {', '.join(map(str, chosen))}: the ground truth's contours in one case, and what each method "
        f"found, in a tint. Dice of the whole case: {told or 'no predictions'}."
    )


def differing_slices(masks: Sequence[Any], n: int = 3) -> list[int]:
    """Up to ``n`` slices in which masks (D, H, W) of one shape differ most, ten slices apart or more; in order."""
    found = [plain_array(mask, "mask") != 0 for mask in masks]
    differ = (np.any(found, axis=0) & ~np.all(found, axis=0)).sum(axis=(1, 2))  # (D,)
    chosen: list[int] = []
    while len(chosen) < n and differ.any():
        chosen.append(k := int(differ.argmax()))
        differ[max(k - 9, 0) : k + 10] = 0
    return sorted(chosen) or [len(differ) // 2]


def _checked_shape(array: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    array = plain_array(array, name)
    if array.shape != shape:
        raise InputError(f"The {name} has shape {array.shape} and should have {shape}; bring both to one grid.")
    return array
