"""Boxes cut or padded at random, so that where an object lies in its scan says nothing about the object.

Some collections are cropped around the tumour: there a centred ellipsoid scores well without looking at the image.
A network trained and tested on such crops may have learned nothing else.
"""

from __future__ import annotations

import zlib

import numpy as np

from lrnet_edu.data.nifti import Volume

PADDING = 0.25  # of the axis, at most, on each side
MARGIN = 2  # voxels kept around the objects


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
