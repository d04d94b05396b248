"""Finding the cases of a data set: the LiTS layout and the Decathlon layout, told apart by ``dataset.json``.

LiTS: ``volume-N.nii[.gz]`` with ``segmentation-N.nii[.gz]`` beside it. Decathlon: ``dataset.json`` lists
pairs of files, usually in ``imagesTr`` and ``labelsTr``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import read_json

_LITS_NAME = re.compile(r"(volume|segmentation)-([0-9]+)(\.nii(?:\.gz)?)")
_MEANT_AS_CASE = re.compile(r"(volume|segmentation)-\w+\.nii(\.gz)?", re.IGNORECASE)
_NEEDED = "volume-N.nii.gz with segmentation-N.nii.gz (LiTS) or dataset.json with imagesTr and labelsTr (Decathlon)"


@dataclass(frozen=True)
class Case:
    """One patient's scan.

    Attributes:
        name: file name of the image without its ending, such as ``volume-3`` or ``hippocampus_001``.
        image: the image file.
        mask: the segmentation file, None where there is none.
        modality: ``"CT"`` or ``"MR"`` where the data set says so, else None.
    """

    name: str
    image: Path
    mask: Path | None
    modality: str | None


def find_cases(folder: str | Path) -> list[Case]:
    """Find the cases of a folder in LiTS or Decathlon layout.

    Only the folder itself is searched, not its subfolders (but those that ``dataset.json`` names). Of the
    Decathlon's lists ``training`` is read; ``test`` has no masks.

    Args:
        folder: the data set.

    Returns:
        The cases in natural order (2 before 10); the mask is None where an image has none.

    Raises:
        InputError: if there is no such folder or no case in it, a mask has no image, a case comes both as
            .nii and .nii.gz, or ``dataset.json`` is malformed or lists a file that is not there.
    """
    folder = Path(folder)
    if not folder.exists():
        raise InputError(f"{folder} does not exist: give the folder that holds {_NEEDED}.")
    if not folder.is_dir():
        raise InputError(f"{folder} is a file: give the folder that holds {_NEEDED}.")
    cases = _decathlon(folder) if (folder / "dataset.json").is_file() else _lits(folder)
    if not cases:
        raise InputError(f"{folder} holds no case: it needs {_NEEDED}; convert DICOM with dcm2niix first.")
    return sorted(cases, key=lambda case: natural_order(case.name))


def segmentation_name(image_name: str) -> str:
    """The name of an image's mask: ``volume-3.nii.gz`` becomes ``segmentation-3.nii.gz``, others stay."""
    match = _LITS_NAME.fullmatch(image_name)
    return f"segmentation-{match[2]}{match[3]}" if match else image_name


def misnamed(folder: str | Path) -> list[str]:
    """Files of a folder in LiTS layout that were meant as cases, it seems, but have no number or capital letters."""
    names = () if (Path(folder) / "dataset.json").is_file() else sorted(path.name for path in Path(folder).iterdir())
    return [name for name in names if _MEANT_AS_CASE.fullmatch(name) and not _LITS_NAME.fullmatch(name)]


def first_names(names: Sequence[str]) -> str:
    """The first five names, and how many more there are."""
    more = len(names) - 5
    return ", ".join(names[:5]) + (f" and {more} more" if more > 0 else "")


def natural_order(name: str) -> list[tuple[int, str]]:
    """A sorting key by which runs of digits compare as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def _lits(folder: Path) -> list[Case]:
    files: dict[str, dict[str, Path]] = {"volume": {}, "segmentation": {}}
    for path in sorted(folder.iterdir()):
        if match := _LITS_NAME.fullmatch(path.name):
            kind, number, _ = match.groups()
            if number in files[kind]:
                raise InputError(f"{folder} holds {kind}-{number} both as .nii and as .nii.gz: keep one of the two.")
            files[kind][number] = path
    for number, path in files["segmentation"].items():
        if number not in files["volume"]:
            raise InputError(f"{path} has no image: put volume-{number}.nii.gz beside it, or take it away.")
    return [
        Case(f"volume-{number}", image, files["segmentation"].get(number), None)
        for number, image in files["volume"].items()
    ]


def _decathlon(folder: Path) -> list[Case]:
    listing = folder / "dataset.json"
    malformed = InputError(
        f'{listing} is malformed: it needs "training", a list of entries like '
        '{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}.'
    )
    try:
        content = read_json(listing)
        entries = [(entry["image"], entry.get("label")) for entry in content["training"]]
        modality = content.get("modality", {})
        modality = str(modality.get("0", "") if isinstance(modality, dict) else "").upper()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise malformed from error
    kind = "CT" if modality == "CT" else "MR" if modality.startswith("MR") else None
    cases: dict[str, Case] = {}
    for image, label in entries:
        if not isinstance(image, str) or not isinstance(label, str | None):
            raise malformed
        path = _listed(folder, image)
        name = re.sub(r"\.nii(\.gz)?$", "", path.name)
        if name in cases:
            raise InputError(f"{listing} lists {name} twice: keep one entry per case.")
        cases[name] = Case(name, path, None if label is None else _listed(folder, label), kind)
    return list(cases.values())


def _listed(folder: Path, name: str) -> Path:
    """The file that ``dataset.json`` names, which lies inside the folder."""
    parts = PurePosixPath(name.replace("\\", "/"))
    path = folder / parts
    if parts.is_absolute() or ".." in parts.parts or "\0" in name or Path(name).drive:
        raise InputError(f"{folder / 'dataset.json'} lists {name[:200]!r}: name files inside the folder only.")
    try:
        there = path.is_file()
    except (OSError, ValueError):  # no name that a file can have
        there = False
    if not there:
        raise InputError(
            f"{folder / 'dataset.json'} lists {name[:200]!r}, which is missing: download it, or remove its entry."
        )
    return path
