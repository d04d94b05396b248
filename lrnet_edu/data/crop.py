"""A data set of scans and masks cut to boxes, in the layout of the old one: what the command ``crop`` does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lrnet_edu.data import nifti
from lrnet_edu.data.boxes import Box, box_around, random_box
from lrnet_edu.data.cases import Case, check_not_among_scans, find_cases
from lrnet_edu.data.checks import check_pairs
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import (
    check_holds_only,
    check_writable,
    folder_lock,
    read_json,
    shortened,
    write_atomically,
)
from lrnet_edu.support.labels import encode, parse_labels
from lrnet_edu.support.progress import progress
from lrnet_edu.support.voxels import cut


def crop_around(
    data: str | Path, out: str | Path, label: str, margin_mm: float = 0.0, *, say: Callable[[str], None] = print
) -> list[Path]:
    """Cut every scan and its mask to the box of an object.

    The liver's box and 10 mm around it, ``label="1+2", margin_mm=10``, is what the paper's "effective range
    extraction" (section 3) may mean. It needs the mask, so that it cannot be done for a patient without one.

    Args:
        data: a data set in LiTS or Decathlon layout.
        out: a new or empty folder for the same layout, same names of files.
        label: the object, "1" or "1+2"; with "1,2" both are in the box.
        margin_mm: what stays around it on every side, as far as the scan reaches.
        say: takes a sentence about the cases that were not cut.

    Returns:
        The files, each scan followed by its mask. They lie where they lay in the scanner's space.

    Raises:
        InputError: if a file cannot be used, the label occurs in no mask, or ``out`` holds something.
    """
    if not 0 <= margin_mm < np.inf:
        raise InputError(f"A margin of {margin_mm} mm cannot be; give 0 or more.")
    return _crop(data, out, label, lambda case, volume: box_around(volume.data, volume.spacing, margin_mm), say)


def crop_random(data: str | Path, out: str | Path, label: str, *, say: Callable[[str], None] = print) -> list[Path]:
    """Crop or pad the sides of every scan at random, never into the object, so that its place tells nothing.

    Added voxels repeat the scan's border and are background in the mask. A case's name decides its box. Arguments,
    result and errors as in :func:`crop_around`.
    """
    return _crop(data, out, label, lambda case, volume: random_box(volume.data, case.name), say)


def _crop(
    data: str | Path, out: str | Path, label: str, choose: Callable[[Case, nifti.Volume], Box],
    say: Callable[[str], None],
) -> list[Path]:  # fmt: skip
    data, out, labels = Path(data), Path(out), parse_labels(label)
    found = find_cases(data)
    pairs = [(case, case.mask) for case in found if case.mask is not None]
    check_holds_only(out)
    check_not_among_scans(out)
    check_writable(out)
    check_pairs((case.image, mask) for case, mask in pairs)
    boxes: dict[str, Box] = {}
    for case, path in progress(pairs, "Looking for boxes", unit="case"):
        mask = nifti.read_mask(path)
        objects = nifti.Volume(encode(mask.data, labels), mask.affine)
        if objects.data.any():
            boxes[case.name] = choose(case, objects)
    if not boxes:
        raise InputError(f"Label {label} occurs in no mask of {data}: choose another.")
    written, entries = [], []
    with folder_lock(out):
        for case, path in progress(pairs, "Cutting", unit="case"):
            image, mask = nifti.read_image(case.image), nifti.read_mask(path)
            first, size = boxes.get(case.name, (np.zeros(3, int), np.array(image.data.shape)))
            targets = [_target(source, data, out) for source in (case.image, path)]
            _write(targets[0], image, cut(image.data, first, size, mode="edge"), first)
            _write(targets[1], mask, cut(mask.data, first, size, mode="constant"), first)
            written += targets
            image_name, mask_name = (f"./{target.relative_to(out).as_posix()}" for target in targets)
            entries.append({"image": image_name, "label": mask_name})
        if (data / "dataset.json").is_file():
            old = {name: value for name, value in read_json(data / "dataset.json").items() if name != "dataset"}
            new = old | {"numTraining": len(entries), "numTest": 0, "training": entries, "validation": [], "test": []}
            write_atomically(out / "dataset.json", json.dumps(new, indent=2).encode())
    if without := [case.name for case in found if case.mask is None]:
        say(f"Left out, as they have no mask: {shortened(without)}.")
    if whole := [case.name for case, _ in pairs if case.name not in boxes]:
        say(f"Kept whole, as they do not hold label {label}: {shortened(whole)}.")
    return written


def _target(source: Path, data: Path, out: Path) -> Path:
    """The file that a file of the data set becomes."""
    path = out / source.relative_to(data)
    suffix = nifti.ending(path.name)
    return path if suffix in (".nii", ".nii.gz") else path.with_name(f"{path.name.removesuffix(suffix)}.nii.gz")


def _write(path: Path, source: nifti.Volume, data: np.ndarray, first: np.ndarray) -> None:
    """Write voxels (d, h, w) whose first lies at an index (z, y, x) of their source; as int16 where that holds all."""
    with np.errstate(invalid="ignore"):  # numbers far beyond an int16
        small = data.astype(np.int16)
    data = small if data.dtype != np.uint8 and (small == data).all() else data
    nifti.write(path, data, source.moved(data, first))
