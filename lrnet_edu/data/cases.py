"""Finding the cases of a data set: the LiTS layout and the Decathlon layout, told apart by ``dataset.json``.

LiTS: ``volume-N.nii[.gz]`` with ``segmentation-N.nii[.gz]`` beside it. Decathlon: ``dataset.json`` lists
pairs of files, usually in ``imagesTr`` and ``labelsTr``; the dialects of nnU-Net and MONAI are read as well.
"""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lrnet_edu.data.nifti import ending, read_mask, stem
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import abbreviated, read_json
from lrnet_edu.support.labels import Labels, absent_label

_LITS_NAME = re.compile(r"(volume|segmentation)-([0-9]+)(\..+)")
_NEEDED = "volume-N.nii.gz with segmentation-N.nii.gz (LiTS) or dataset.json with imagesTr and labelsTr (Decathlon)"


@dataclass(frozen=True)
class Case:
    """One patient's scan, as LiTS and the Decathlon store it.

    Attributes:
        name: the image file's without its ending, such as "volume-3" or "hippocampus_001".
        image: the scan's file.
        mask: the segmentation's file, None without one; then ``pair`` raises an InputError.
        modality: "CT" or "MR" where the data set says so.
    """

    name: str
    image: Path
    mask: Path | None
    modality: str | None

    @property
    def prediction(self) -> str:
        """The file name of a prediction: that of the mask in LiTS' layout and in nnU-Net's, else the image's."""
        name = self.image.name.replace("_0000.", ".")
        return segmentation_name(name if self.mask and self.mask.name == name else self.image.name)

    @property
    def pair(self) -> tuple[Path, Path]:
        """The files of scan and segmentation; InputError where there is none."""
        if self.mask is None:
            raise InputError(f"{self.image} has no segmentation beside it: add one, or take the image away.")
        return self.image, self.mask


def find_cases(folder: str | Path) -> list[Case]:
    """Find the cases of a folder in LiTS or Decathlon layout, in natural order (2 before 10).

    Args:
        folder: of scans; files of every ending in ``nifti.READERS`` count. In ``dataset.json`` ``training`` is read.

    InputError if there is no such folder or no case in it, a mask has no image, a case comes in two formats, or
    ``dataset.json`` is malformed, lists files that are not there, or several channels.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {what}: give the folder that holds {_NEEDED}.")
    cases = _listed(folder) if (folder / "dataset.json").is_file() else _lits(folder)
    if not cases:
        raise InputError(f"{folder} holds no case: it needs {_NEEDED}; convert DICOM with dcm2niix first.")
    return sorted(cases, key=lambda case: natural_order(case.name))


def check_not_among_scans(out: Path) -> None:
    """Raise InputError if a folder for outputs is a data set of scans, or lies in one that has a ``dataset.json``."""
    place = out.absolute()
    for folder in (place, *place.parents):
        if (folder / "dataset.json").is_file():
            raise InputError(f"{out} lies in the data set {folder}: choose a folder outside it.")
    if place.is_dir() and any(kind == "volume" for kind, _, _ in _lits_files(place)):
        raise InputError(f"{out} holds scans: choose another folder.")


def check_labels(cases: Sequence[Case], labels: Labels, where: str) -> None:
    """InputError unless each class occurs in one of the masks, which are read only until all have been seen."""
    seen: set[int] = set()
    for case in cases:
        seen.update(np.unique(read_mask(case.pair[1]).data).tolist())
        if not (absent := tuple(group for group in labels if not seen.intersection(group))):
            return
    raise absent_label(absent, seen, where)


def segmentation_name(image_name: str) -> str:
    """The name of an image's mask, always NIfTI: ``volume-3.nii.gz`` becomes ``segmentation-3.nii.gz``, others stay."""
    match, suffix = _LITS_NAME.fullmatch(image_name), ending(image_name)
    name = f"segmentation-{match[2]}{match[3]}" if match and match[3] == suffix else image_name
    return name if suffix in ("", ".nii", ".nii.gz") else f"{name.removesuffix(suffix)}.nii.gz"


def natural_order(name: str) -> list[tuple[int, str]]:
    """A sorting key by which runs of digits compare as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def _lits_files(folder: Path) -> list[tuple[str, str, Path]]:
    """The files of a folder that have a name of the LiTS layout: kind ("volume", "segmentation"), number and path."""
    matches = [(_LITS_NAME.fullmatch(path.name), path) for path in sorted(folder.iterdir())]
    return [(match[1], match[2], path) for match, path in matches if match and match[3] == ending(path.name)]


def _lits(folder: Path) -> list[Case]:
    files = _lits_files(folder)
    images, masks = ({number: path for kind, number, path in files if kind == wanted}
                     for wanted in ("volume", "segmentation"))  # fmt: skip
    kept = {*images.values(), *masks.values()}
    if twice := [f"{kind}-{number}" for kind, number, path in files if path not in kept]:
        raise InputError(f"{folder} holds {abbreviated(twice)} in two formats (.nii and .nii.gz): keep one of the two.")
    if alone := [path.name for number, path in masks.items() if number not in images]:
        raise InputError(f"{folder} holds {abbreviated(alone)} without a volume of that number: add it or remove it.")
    return [Case(f"volume-{number}", image, masks.get(number), None) for number, image in images.items()]


def _listed(folder: Path) -> list[Case]:
    listing = folder / "dataset.json"
    try:
        content = read_json(listing)
        channels = content.get("channel_names") or content.get("modality") or {}
        names = list(map(str, channels.values() if isinstance(channels, dict) else ()))
        pairs = [
            (_inside(folder, image), _inside(folder, mask) if mask else None) for image, mask in _pairs(folder, content)
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        entry = '{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}'
        needed = f'"training", a list of entries like {entry}, with files inside the folder'
        raise InputError(f"{listing} is malformed: it needs {needed}.") from error
    if len(names) > 1:
        raise InputError(f"{listing} lists several channels ({abbreviated(names)}): choose the files of one channel.")
    modality = (names or [""])[0].upper()
    kind = "CT" if modality == "CT" else "MR" if modality.startswith("MR") else None
    cases = [Case(stem(image), image, mask, kind) for image, mask in pairs]
    if missing := [path for pair in pairs for path in pair if path and not os.path.isfile(path)]:
        listed = abbreviated([path.relative_to(folder).as_posix() for path in missing])
        raise InputError(f"{listing} lists files that are missing ({listed}): download them.")
    if twice := [name for name, number in Counter(case.name for case in cases).items() if number > 1]:
        raise InputError(f"{listing} lists {abbreviated(twice)} twice: keep one entry per case.")
    return cases


def _pairs(folder: Path, content: Any) -> list[tuple[Any, Any]]:
    """Image and label, if there is one, of each training case, in the dialect of the listing.

    nnU-Net's second version names them or leaves them to be found: ``a_0000.nii.gz`` is the image of ``a.nii.gz``.
    """
    if "training" in content:
        return [(entry["image"], entry.get("label")) for entry in content["training"]]
    if "dataset" in content:
        return [(entry["images"], entry["label"]) for entry in content["dataset"].values()]
    suffix = content.get("file_ending", ".nii.gz" if "channel_names" in content else None)
    stems = sorted(path.name.removesuffix(suffix) for path in (folder / "imagesTr").glob(f"[!.]*_0000{suffix}"))
    if not stems:
        raise KeyError("training")
    return [(f"imagesTr/{stem}{suffix}", f"labelsTr/{stem.removesuffix('_0000')}{suffix}") for stem in stems]


def _inside(folder: Path, files: Any) -> Path:
    """The path of a file that ``dataset.json`` names, maybe in a list of one; nnU-Net adds the channel's number."""
    (name,) = files if isinstance(files, list) else [files]
    path = Path(os.path.abspath(folder / name.replace("\\", "/")))
    root = folder.resolve() if path.is_relative_to(folder.resolve()) else folder.absolute()
    found = folder / path.relative_to(root)  # ValueError outside
    channel = found.with_name(f"{found.name.removesuffix(ending(name))}_0000{ending(name)}")
    return channel if os.path.isfile(channel) and not os.path.isfile(found) else found
