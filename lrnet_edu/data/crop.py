"""A data set of scans and masks cut to boxes, in the layout of the old one: what the command ``crop`` does.

Some collections are cropped around the tumour: there a centred ellipsoid scores well without looking at the image.
A network trained and tested on such crops may have learned nothing else. Random boxes take that knowledge away.
"""

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lrnet_edu.data import nifti
from lrnet_edu.data.cases import check_labels, check_not_among_scans, find_cases
from lrnet_edu.support import files
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.jobs import progress
from lrnet_edu.support.labels import encode, parse_labels
from lrnet_edu.support.voxels import cut, occupied_box

PADDING = 0.25  # of the axis, at most, that random boxes add on each side
MARGIN = 2  # voxels that random boxes keep around the objects
PROBES = 12  # masks that are looked at, at most

Box = tuple[np.ndarray, np.ndarray]
"""Index (z, y, x) of a box's first voxel, negative where voxels are added; and its size (d, h, w)."""


def cropped_around(folder: str | Path, label: str) -> bool:
    """Whether a folder's scans were cropped around the object ("1", "1+2"), so that its position gives it away.

    They were if in every mask looked at, the object's bounding box lies in the very middle along two axes or more
    (as far from one side as from the other, to a voxel). In whole scans the first mask mostly says no.
    """
    masks = [case.mask for case in find_cases(folder) if case.mask]
    labels, seen = parse_labels(label), False
    for mask in masks[:: 1 + len(masks) // PROBES]:
        objects = encode(nifti.read_mask(mask).data, labels)  # (D, H, W)
        if not objects.any():
            continue
        ends = [(side.start, n - side.stop) for side, n in zip(occupied_box(objects), objects.shape, strict=True)]
        if sum(abs(before - after) <= 1 for before, after in ends) < 2:
            return False
        seen = True
    return seen


def box_around(objects: np.ndarray, spacing: tuple[float, float, float], margin: float) -> Box:
    """The box that holds every voxel != 0 of (D, H, W) and ``margin`` mm around, as far as the volume reaches."""
    starts, stops = np.transpose([(side.start, side.stop) for side in occupied_box(objects)])
    wide = np.ceil(margin / np.array(spacing) - 1e-3).astype(int)
    first = np.maximum(0, starts - wide)
    return first, np.minimum(objects.shape, stops + wide) - first


def random_box(objects: np.ndarray, name: str) -> Box:
    """A box whose six sides were cropped or padded at random, never into an object; the case's name decides it."""
    rng, shape = np.random.default_rng(zlib.crc32(name.encode())), np.array(objects.shape)
    starts, stops = np.transpose([(side.start, side.stop) for side in occupied_box(objects)])
    padding = np.floor(PADDING * shape)
    before = np.round(rng.uniform(-padding, np.maximum(starts - MARGIN, 0))).astype(int)  # cut off; negative: added
    after = np.round(rng.uniform(-padding, np.maximum(shape - stops - MARGIN, 0))).astype(int)
    return before, shape - before - after


def crop_scans(
    data: str | Path, out: str | Path, label: str, margin_mm: float = 0.0, *,
    random: bool = False, say: Callable[[str], None] = print,
) -> list[Path]:  # fmt: skip
    """Cut every scan and its mask to the box of an object, or to a random one that holds it.

    The liver's box and 10 mm around it, ``label="1+2", margin_mm=10``, is what the paper's "effective range
    extraction" (section 3) may mean. It needs the mask, so that it cannot be done for a patient without one.

    Args:
        data: a data set in LiTS or Decathlon layout.
        out: a new or empty folder for the same layout, same names of files.
        label: the object, "1" or "1+2"; with "1,2" both are in the box.
        margin_mm: what stays around it on every side, as far as the scan reaches.
        random: every side is cropped or padded at random instead, never into the object, so that its place tells
            nothing. Added voxels repeat the scan's border and are background in the mask.
        say: takes a sentence about the cases that were not cut.

    Returns the files, each scan followed by its mask, which lie where they lay in the scanner's space; InputError if a
    file cannot be used, the label occurs in no mask, or ``out`` holds something.
    """
    data, out, labels = Path(data), Path(out), parse_labels(label)
    found = find_cases(data)
    cases = [case for case in found if case.mask]
    if not cases:
        raise InputError(f"{data} holds no mask, and so no object to cut to: add segmentation-N to volume-N.")
    files.check_empty(out)
    check_not_among_scans(out)
    files.check_writable(out)
    nifti.check_pairs(case.pair for case in cases)
    check_labels(cases, labels, str(data))
    written, healthy = [], []
    with files.folder_lock(out):
        for case in progress(cases, "Cutting", unit="case"):
            image, mask = nifti.read_volume(case.image), nifti.read_mask(case.pair[1])
            if not (objects := encode(mask.data, labels)).any():
                healthy.append(case.name)
                objects += 1  # nothing is cut off
            first, size = random_box(objects, case.name) if random else box_around(objects, mask.spacing, margin_mm)
            for source, volume, mode in zip(case.pair, (image, mask), ("edge", "constant"), strict=True):
                voxels = cut(volume.data, first, size, mode=mode)
                written.append(out / source.relative_to(data))
                nifti.write(written[-1], voxels, volume.moved(voxels, first))
        if (data / "dataset.json").is_file():
            names = [f"./{target.relative_to(out).as_posix()}" for target in written]
            entries = [{"image": a, "label": b} for a, b in zip(names[::2], names[1::2], strict=True)]
            ours = {"numTraining": len(entries), "numTest": 0, "training": entries, "validation": [], "test": []}
            listing = files.read_json(data / "dataset.json") | ours | {"dataset": {}}  # nnU-Net's list
            files.write_atomically(out / "dataset.json", json.dumps(listing, indent=2).encode())
    if without := [case.name for case in found if not case.mask]:
        say(f"Left out, as they have no mask: {files.abbreviated(without)}.")
    if healthy:
        say(f"Kept whole, as they do not hold label {label}: {files.abbreviated(healthy)}.")
    return written
