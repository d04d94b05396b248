"""What can be said of files before any work: pairs that do not fit, scans that are none, odd sizes and scales."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lrnet_edu.data.nifti import Volume, check_same_grid, read_grid
from lrnet_edu.data.preprocessing import Preprocessing
from lrnet_edu.support.errors import InputError, check_each

_MOST_NEW_VOXELS = 2**22  # of a prepared scan, unless it has ...
_MOST_GROWTH = 30  # ... fewer than this for each voxel of its file


def check_pairs(pairs: Iterable[tuple[Path, Path]]) -> None:
    """Raise one InputError for all pairs (image, mask) that lie on different grids, or whose headers cannot be read."""
    check_each(lambda pair: check_same_grid(read_grid(pair[0]), read_grid(pair[1]), *pair), pairs)


def check_growth(path: str | Path, image: Volume, settings: Preprocessing) -> None:
    """Raise InputError if a scan's voxels are so large that the network's grid would need many times as many."""
    voxels = math.prod(image.spacing) * image.data.size / settings.spacing**3
    if voxels > max(_MOST_NEW_VOXELS, _MOST_GROWTH * image.data.size):
        sizes = " x ".join(f"{step:g}" for step in image.spacing)
        raise InputError(
            f"{path} has voxels of {sizes} mm (z, y, x), too coarse for a network that works at {settings.spacing:g} "
            f"mm ({voxels:.1e} voxels for {image.data.size}): mend the spacing in its header, or use a finer scan."
        )


def check_scan(path: str | Path, image: Volume) -> None:
    """Raise InputError if what was given as a scan is a segmentation."""
    if is_segmentation(image.data):
        raise InputError(f"{path} is a segmentation, it holds nothing but a few small whole numbers: give its scan.")


def is_segmentation(data: np.ndarray) -> bool:
    """Whether numbers (D, H, W), not all the same, can only be labels: no scan holds but whole ones from 0 to 9."""
    low, high = data.min(), data.max()
    return bool(-1e-3 < low < high < 9 + 1e-3 and np.allclose(data, np.rint(data), rtol=0, atol=1e-3))


def doubtful_scale(name: str, image: Volume, settings: Preprocessing) -> str | None:
    """A sentence where a scan's numbers can hardly be HU: none is below 0, though the window is."""
    if settings.window is None or settings.window[0] >= 0 or image.data.min() < 0:
        return None
    return (
        f"{name} has no value below 0, and the window begins at {settings.window[0]:g} HU: if the scan was stored with "
        "an offset (often 1024), subtract it."
    )
