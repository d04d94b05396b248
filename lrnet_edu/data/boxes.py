"""Boxes cut or padded at random, so that where an object lies in its scan says nothing about the object.

Some collections are cropped around the tumour: there a centred ellipsoid scores well without looking at the image.
A network trained and tested on such crops may have learned nothing else.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from lrnet_edu.data.cases import find_cases
from lrnet_edu.data.nifti import Volume, read_mask
from lrnet_edu.support.labels import encode, parse_labels

PADDING = 0.25  # of the axis, at most, on each side
MARGIN = 2  # voxels kept around the objects
PROBES = 12  # masks that are looked at, at most


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
        volume = encode(read_mask(mask).data, labels)  # (D, H, W)
        voxels = np.argwhere(volume)  # (n, 3)
        if len(voxels) == 0:
            continue
        before, after = voxels.min(0), np.array(volume.shape) - 1 - voxels.max(0)
        if np.sum(np.abs(before - after) <= 1) < 2:
            return False
        seen = True
    return seen


def random_box(image: Volume, mask: Volume, name: str) -> tuple[Volume, Volume]:
    """Crop or pad each of the six sides at random, never into an object; the same for the same case name.

    Padding repeats the border voxels. Both volumes keep their place in the scanner's space: the affine moves along.

    Args:
        image: (D, H, W).
        mask: label numbers on the same grid; every voxel that is not 0 stays in the box.
        name: of the case; decides the box.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    voxels = np.argwhere(mask.data != 0)
    shape = np.array(mask.data.shape)
    first = voxels.min(0) if len(voxels) else shape // 2
    last = voxels.max(0) if len(voxels) else shape // 2
    most_before = np.maximum(first - MARGIN, 0)
    most_after = np.maximum(shape - 1 - last - MARGIN, 0)
    padding = np.floor(PADDING * shape)
    before = np.round(rng.uniform(-padding, most_before)).astype(int)  # voxels cut off; negative: added
    after = np.round(rng.uniform(-padding, most_after)).astype(int)
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ before[::-1]  # the affine is of (x, y, z)
    keep = tuple(slice(max(b, 0), n - max(a, 0)) for b, a, n in zip(before, after, shape, strict=True))
    added = [(max(-b, 0), max(-a, 0)) for b, a in zip(before, after, strict=True)]
    return (
        Volume(np.pad(image.data[keep], added, mode="edge"), affine),
        Volume(np.pad(mask.data[keep], added), affine),
    )
