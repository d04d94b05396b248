"""Boxes that scans are cut to: around an object, or at random, so that its place in the scan says nothing about it.

Some collections are cropped around the tumour: there a centred ellipsoid scores well without looking at the image.
A network trained and tested on such crops may have learned nothing else. Random boxes take that knowledge away.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from lrnet_edu.data.cases import find_cases
from lrnet_edu.data.nifti import read_mask
from lrnet_edu.support.labels import encode, parse_labels
from lrnet_edu.support.voxels import occupied_box

PADDING = 0.25  # of the axis, at most, on each side
MARGIN = 2  # voxels kept around the objects
PROBES = 12  # masks that are looked at, at most

Box = tuple[np.ndarray, np.ndarray]
"""Index (z, y, x) of a box's first voxel, negative where voxels are added; and its size (d, h, w)."""


def cropped_around(folder: str | Path, label: str) -> bool:
    """Whether a folder's scans were cropped around the object, so that its position gives it away.

    They were if in every mask looked at, the object's bounding box lies in the very middle along two axes or more
    (as far from one side as from the other, to a voxel). In whole scans the first mask mostly says no.

    Args:
        folder: the data set, as :func:`lrnet_edu.data.cases.find_cases` takes it.
        label: the object, as the commands take it; several count together.
    """
    masks = [case.mask for case in find_cases(folder) if case.mask is not None]
    labels, seen = parse_labels(label), False
    for mask in masks[:: 1 + len(masks) // PROBES]:
        objects = encode(read_mask(mask).data, labels)  # (D, H, W)
        if not objects.any():
            continue
        ends = [(side.start, n - side.stop) for side, n in zip(occupied_box(objects), objects.shape, strict=True)]
        if sum(abs(before - after) <= 1 for before, after in ends) < 2:
            return False
        seen = True
    return seen


def box_around(objects: np.ndarray, spacing: tuple[float, float, float], margin: float) -> Box:
    """The box that holds every voxel != 0 of (D, H, W) and ``margin`` mm around, as far as the volume reaches."""
    ends = [(side.start, side.stop) for side in occupied_box(objects)]
    wide = np.ceil(margin / np.array(spacing) - 1e-3).astype(int)
    first = np.maximum(0, [a for a, _ in ends] - wide)
    return first, np.minimum(objects.shape, [b for _, b in ends] + wide) - first


def random_box(objects: np.ndarray, name: str) -> Box:
    """A box whose six sides were cropped or padded at random, never into an object; the same for the same name.

    Args:
        objects: (D, H, W); every voxel that is not 0 stays in the box.
        name: of the case; decides the box.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    shape = np.array(objects.shape)
    box = occupied_box(objects) if objects.any() else [slice(n // 2, n // 2 + 1) for n in shape]
    most_before = np.maximum([side.start - MARGIN for side in box], 0)
    most_after = np.maximum([n - side.stop - MARGIN for side, n in zip(box, shape, strict=True)], 0)
    padding = np.floor(PADDING * shape)
    before = np.round(rng.uniform(-padding, most_before)).astype(int)  # voxels cut off; negative: added
    after = np.round(rng.uniform(-padding, most_after)).astype(int)
    return before, shape - before - after
