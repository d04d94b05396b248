"""A file or folder in, a file or folder out: what the commands ``maps`` and ``predict`` do.

Nothing is overwritten but what the same command wrote and nobody changed since: the header of a written file
names the command and a checksum of the voxels, so a prediction that was corrected by hand is safe as well.
All paths are looked at before the work starts, so that a mistake costs seconds and leaves nothing behind.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from tqdm import tqdm

from lrnet_edu.data import nifti
from lrnet_edu.data.cases import find_cases, natural_order, segmentation_name
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import check_writable, folder_lock, hidden, read_json, shortened
from lrnet_edu.support.labels import Labels, decode, format_labels

if TYPE_CHECKING:  # torch is loaded by the functions that need it: its import takes seconds
    from lrnet_edu.trained import TrainedMNet

Item = TypeVar("Item")

_ENDING = re.compile(r"\.nii(\.gz)?$")


def absent_label(objects: Labels, numbers: Iterable[int], where: str) -> InputError:
    """The error for objects that are not among the label numbers found."""
    present = ", ".join(str(number) for number in sorted(set(numbers) - {0})) or "none but 0"
    return InputError(f"Label {format_labels(objects)} does not occur in {where}: there is {present}.")


# ---- predict --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One scan to segment, and the files to write: labels, and each object's probability if wanted."""

    image: Path
    labels: Path
    probabilities: list[Path]


def predict_files(
    run: str | Path,
    input: str | Path,
    out: str | Path,
    *,
    part: str | None = None,
    probabilities: bool = False,
    device: str | None = None,
) -> list[Path]:
    """Segment one scan, or a folder of scans one after the other, with a trained M-Net alone (section 2.2).

    Args:
        run: run folder of a training, or a checkpoint.
        input: a NIfTI file; or a folder: the scans that its ``dataset.json`` lists for training (Decathlon
            layout), or else every NIfTI file in it whose name does not start with ``segmentation-``.
        out: a file for a file, a folder for a folder. There ``volume-3.nii.gz`` becomes
            ``segmentation-3.nii.gz``, any other name stays.
        part: "train", "validation" or "test": only these cases of the run, ``input`` being the folder that it
            was trained on. A run trained on random boxes sees each case in the same box; outside it is background.
        probabilities: write ``<name>_probability-<label>.nii.gz``, float32, of each object beside the labels.
        device: as for training; the best there is by default.

    Returns:
        The label files written, in natural order: uint8, the label numbers of the training (a union is
        written as its first number), the grid and affine of the input.

    Raises:
        InputError: if the checkpoint or a scan cannot be used (a segmentation is none), or an output cannot be written
            or is a file that this command did not write; nothing has been written then.
    """
    from lrnet_edu.support.devices import choose_device, enough_memory
    from lrnet_edu.trained import load_mnet

    run, input, out = Path(run), Path(input), Path(out)
    images = find_images(input)
    if part is not None:
        images = _images_of_part(images, input, run, part)
    trained = load_mnet(run)
    place = choose_device(device)
    trained.mnet.to(place)
    objects = [format_labels((group,)) for group in trained.labels] if probabilities else []
    jobs = []
    for image in images:
        labels = out / segmentation_name(image.name) if input.is_dir() else out
        beside = [labels.with_name(f"{stem(labels)}_probability-{text}.nii.gz") for text in objects]
        jobs.append(Job(image, labels, beside))
    check_outputs([path for job in jobs for path in (job.labels, *job.probabilities)], images, "predict")
    for image in progress(images, "Checking scans") if len(images) > 1 else ():
        _read_scan(image, trained)  # a damaged scan is reported now, not after an hour
    names = [] if input.is_dir() else [path.name for path in (jobs[0].labels, *jobs[0].probabilities)]
    with folder_lock(jobs[0].labels.parent, *names):
        for job in tqdm(jobs, "Segmenting", unit="scan", dynamic_ncols=True):
            with enough_memory(place, "segment on --device cpu"):
                _segment(trained, job)
    return [job.labels for job in jobs]


def _read_scan(path: Path, trained: TrainedMNet) -> nifti.Volume:
    from lrnet_edu.data.checks import check_growth, check_scan

    image = nifti.read_image(path)
    check_growth(path, image, trained.preprocessing)
    check_scan(path, image)
    return image


def _segment(trained: TrainedMNet, job: Job) -> None:
    """From a scan to its files: onto the network's grid, through the network, back to the file's grid."""
    from lrnet_edu.data.checks import doubtful_scale
    from lrnet_edu.data.preprocessing import back_to_original, prepare
    from lrnet_edu.inference import predict_probabilities

    image = _read_scan(job.image, trained)  # (D, H, W)
    if sentence := doubtful_scale(str(job.image), image, trained.preprocessing):
        tqdm.write(sentence)
    prepared = prepare(image, trained.preprocessing)  # image (d, h, w)
    try:
        output = predict_probabilities(trained.mnet, prepared.image, patch_size=trained.patch_size)  # (K + 1, d, h, w)
    except InputError as error:
        raise InputError(f"{job.image}: {error}") from None
    classes, shares = back_to_original(
        output, prepared.affine, image, keep_probabilities=bool(job.probabilities)
    )  # (D, H, W), (K + 1, D, H, W)
    for path, share in zip(job.probabilities, () if shares is None else shares[1:], strict=True):
        nifti.write(path, share, image, description=mark("predict", share))
    labels = decode(classes, trained.labels)
    nifti.write(job.labels, labels, image, description=mark("predict", labels))


def find_images(source: Path) -> list[Path]:
    """One scan, or those of a folder in natural order, as :func:`predict_files` says."""
    if not source.exists():
        raise InputError(f"{source} does not exist: name a NIfTI file or a folder of them.")
    if not source.is_dir():
        return [source]
    if (source / "dataset.json").is_file():
        return [case.image for case in find_cases(source)]
    images = [path for path in nifti_files(source) if not path.name.startswith("segmentation-")]
    check_stems_differ(images)
    if not images:
        raise InputError(f"{source} holds no scan: put .nii or .nii.gz files in it; dcm2niix converts DICOM.")
    return images


def _images_of_part(images: Sequence[Path], source: Path, run: Path, part: str) -> list[Path]:
    """The images of the cases that the run's ``split.json`` lists under train, validation or test."""
    from lrnet_edu.data.study import PARTS, case_names

    if part not in PARTS:
        raise InputError(f"There is no part {part!r}: choose one of {', '.join(PARTS)}.")
    if not source.is_dir():
        raise InputError(f"--part chooses among the cases of a folder, {source} is a file: leave --part out.")
    try:
        names = case_names(read_json(run / "split.json")[part])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"--part needs a run folder with its split.json, {run} is none: name one.") from None
    by_name = {stem(image): image for image in images}
    if lacking := [name for name in names if name not in by_name]:
        raise InputError(
            f"{source} lacks {shortened(lacking)} of the run's {part} cases: name the folder that it was trained on."
        )
    if not names:
        raise InputError(f"The split of {run} has no {part} cases: choose another part.")
    return [by_name[name] for name in names]


# ---- what may be written --------------------------------------------------------------------------------


def mark(command: str, data: np.ndarray) -> str:
    """The description of a file that a command writes: its name and a checksum of the voxels (D, H, W)."""
    checksum = 0
    for plane in data:
        checksum = zlib.crc32(np.asarray(plane, dtype=np.float32).tobytes(), checksum)
    return f"lrnet_edu {command} {checksum:08x}"


def check_outputs(outputs: Sequence[Path], inputs: Sequence[Path], command: str) -> None:
    """Make sure, before any work, that a command may write its NIfTI files.

    Raises:
        InputError: if an output is an input, a folder, no name of a NIfTI file, in a place where nothing can
            be written, or exists and is not what the same command wrote, unchanged.
    """
    taken = {_identity(path) for path in inputs if path.exists()}
    for folder in {path.parent for path in outputs}:
        check_writable(folder)
    for path in progress(outputs, "Checking outputs"):
        if path.is_dir():
            raise InputError(f"{path} is a folder: give the name of a file to write.")
        if not _ENDING.search(path.name):
            raise InputError(f'{path} would be written as NIfTI: let its name end in ".nii.gz" or ".nii".')
        if not path.exists():
            continue
        if _identity(path) in taken:
            raise InputError(f"{path} is an input and would be overwritten: choose another output.")
        if not _written_by(command, path):
            raise InputError(
                f"{path} exists and is no unchanged output of `lrnet-edu {command}`: choose another output, "
                "or move it away."
            )


def _identity(path: Path) -> tuple[int, int]:
    """Equal for two names of one file."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _written_by(command: str, path: Path) -> bool:
    try:
        description = nifti.read_description(path)
        return description.startswith(f"lrnet_edu {command} ") and description == mark(
            command, nifti.read_image(path).data
        )
    except InputError:
        return False


# ---- NIfTI files of a folder ----------------------------------------------------------------------------


def nifti_files(folder: Path) -> list[Path]:
    """The NIfTI files of a folder in natural order, without hidden ones (macOS leaves ``._name`` copies)."""
    found = [path for path in folder.iterdir() if _ENDING.search(path.name) and not hidden(path.name)]
    return sorted((path for path in found if path.is_file()), key=lambda path: natural_order(path.name))


def check_stems_differ(files: Sequence[Path]) -> None:
    """Raise InputError if a name comes with both endings."""
    names = {path.name for path in files}
    for path in files:
        if f"{path.name}.gz" in names:
            raise InputError(f"{path.parent} holds {stem(path)} as .nii and as .nii.gz: keep one of the two.")


def stem(path: Path) -> str:
    """A file's name without .nii or .nii.gz."""
    return _ENDING.sub("", path.name)


def progress(items: Sequence[Item], title: str) -> Iterable[Item]:
    """A progress bar that shows itself only when the work takes longer than a moment."""
    return tqdm(items, title, unit="file", dynamic_ncols=True, leave=False, delay=1.0)
