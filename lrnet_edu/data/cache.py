"""Prepared cases on disk: computed once, in parallel, then read piece by piece through memory maps.

Every case has a folder of its own, named by a hash of all that its content depends on: the files (path, size,
time of last change), TorchIO's version, the preprocessing, the labels. Changed settings therefore lead to another
folder, and a folder that exists is complete: it is written under another name and renamed as the last step.
Reading a cache needs neither TorchIO nor nibabel.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from lrnet_edu.data.cases import Case
from lrnet_edu.data.checks import check_growth, check_pairs, check_scan, doubtful_scale
from lrnet_edu.data.nifti import READERS, read_image, read_mask, spacing_of
from lrnet_edu.data.preprocessing import Preprocessing, prepare
from lrnet_edu.support.errors import InputError, raise_together
from lrnet_edu.support.files import check_writable, first_line, folder_lock, replace
from lrnet_edu.support.jobs import in_processes
from lrnet_edu.support.labels import Labels, format_labels

_FORMAT = 3  # raise it when the content of a case's folder changes its meaning


class OpenCase(NamedTuple):
    """The memory maps of a prepared case; see :class:`CachedCase` for their content."""

    image: np.ndarray
    classes: np.ndarray
    foreground: list[np.ndarray]


@dataclass(frozen=True)
class CachedCase:
    """A prepared case on disk; a property opens its file whenever it is read, so the object itself is small.

    Attributes:
        name: of the case.
        folder: where its files are.
    """

    name: str
    folder: Path

    @property
    def image(self) -> np.ndarray:
        """float16 (D, H, W), memory-mapped."""
        return np.load(self.folder / "image.npy", mmap_mode="r")

    @property
    def classes(self) -> np.ndarray:
        """uint8 (D, H, W), 0..K, memory-mapped."""
        return np.load(self.folder / "classes.npy", mmap_mode="r")

    @property
    def foreground(self) -> list[np.ndarray]:
        """Per class 1..K the indices (z, y, x) of its voxels, int32 (n, 3), memory-mapped; n may be 0."""
        return [np.load(file, mmap_mode="r") for file in sorted(self.folder.glob("foreground-*.npy"))]

    def open(self) -> OpenCase:
        """All three, for whoever reads them often: opening takes longer than reading a patch."""
        return OpenCase(self.image, self.classes, self.foreground)

    @property
    def facts(self) -> dict[str, Any]:
        """ "affine", the label "numbers" in the mask, and "remarks"."""
        return json.loads((self.folder / "facts.json").read_text("utf-8"))

    @property
    def affine(self) -> np.ndarray:
        """(4, 4), from indices (x, y, z) of the prepared grid to RAS+ mm."""
        return np.array(self.facts["affine"])

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) in mm."""
        return spacing_of(self.affine)

    @property
    def remarks(self) -> list[str]:
        """Sentences about what is odd in the case's files."""
        return self.facts["remarks"]


def cache_root() -> Path:
    """The folder for what can be computed again: ``LRNET_EDU_CACHE``, or the system's usual place for it.

    Raises:
        InputError: if there is no such place, or nothing can be written to it.
    """
    places = {"win32": ("LOCALAPPDATA", "AppData/Local"), "darwin": ("", "Library/Caches")}
    variable, usual = places.get(sys.platform, ("XDG_CACHE_HOME", ".cache"))
    try:
        given = os.environ.get("LRNET_EDU_CACHE")
        root = Path(given) if given else Path(os.environ.get(variable) or Path.home() / usual) / "lrnet_edu"
        check_writable(root)
    except (RuntimeError, InputError) as error:  # RuntimeError: there is no home directory
        why = str(error).rsplit(": ", 1)[0].rstrip(".")
        raise InputError(
            f"There is no folder for prepared scans ({why}): set the environment variable LRNET_EDU_CACHE to one with "
            "room."
        ) from None
    return root


def cache_cases(
    cases: Sequence[Case], settings: Preprocessing, labels: Labels, *,
    folder: Path | None = None, workers: int | None = None,
) -> list[CachedCase]:  # fmt: skip
    """Prepare cases and keep the results on disk; what is there already is not computed again.

    It can be interrupted at any moment. Give all cases of a data set at once: a label has to occur in one of them.

    Args:
        cases: all with a mask.
        settings: how to prepare them.
        labels: which label numbers become which class.
        folder: where to keep them; by default in :func:`cache_root`.
        workers: processes; 1 works in this process. None takes one more for every 20 MB of images, up to the
            number of cores and 8 (a full-size CT needs about 3 GB of memory while it is prepared).

    Returns:
        One entry per case, in the given order.

    Raises:
        InputError: if a case has no mask, files are bad, a label occurs nowhere, or the folder cannot be written.
    """
    folder = cache_root() / "cases" if folder is None else Path(folder)
    places = [folder / _key(case, settings, labels) for case in cases]
    todo = {place: case for place, case in zip(places, cases, strict=True) if not place.is_dir()}
    check_pairs((case.image, case.mask) for case in todo.values() if case.mask)
    _check_labels(cases, places, labels)
    jobs = [(case, settings, labels, place) for place, case in todo.items()]
    done = in_processes(_cache_case, jobs, _default_workers(todo.values()) if workers is None else workers)
    try:
        bar = tqdm(done, "Preparing cases", total=len(jobs), unit="case", disable=not jobs)
        raise_together([fault for fault in bar if fault])
    except OSError as error:
        why = f"The cache folder {folder} cannot be written ({first_line(error)})"
        raise InputError(f"{why}: set LRNET_EDU_CACHE to a folder with room.") from error
    return [CachedCase(case.name, place) for case, place in zip(cases, places, strict=True)]


def _default_workers(cases: Iterable[Case]) -> int:
    """A process takes seconds to start, which pays for itself from about 20 MB of compressed images on."""
    if len(READERS) > 2:  # a new process would not know the reader that was added
        return 1
    size = sum(case.image.stat().st_size for case in cases)
    return min(os.cpu_count() or 1, 8, 1 + size // 20_000_000)


def _cache_case(case: Case, settings: Preprocessing, labels: Labels, place: Path) -> str:
    """Prepare one case into a folder under another name, which is renamed once it is complete; what is wrong, or "".

    Where another process prepares the same case, this one waits for it.
    """
    partial = place.with_name(f"{place.name}.part")
    with folder_lock(place.parent, place.name, wait=True):
        if place.is_dir():
            return ""
        try:
            arrays, facts = _prepared(case, settings, labels)
            shutil.rmtree(partial, ignore_errors=True)  # of a killed process
            partial.mkdir()
            for name, array in arrays.items():
                _save(partial / f"{name}.npy", array)
            (partial / "facts.json").write_text(json.dumps(facts), "utf-8")
            replace(partial, place)
        except InputError as error:
            return str(error)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return ""


def _prepared(case: Case, settings: Preprocessing, labels: Labels) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and facts of a case's folder."""
    assert case.mask is not None
    image, mask = read_image(case.image), read_mask(case.mask)
    check_scan(case.image, image)
    check_growth(case.image, image, settings)
    prepared = prepare(image, settings, mask, labels)
    assert prepared.classes is not None
    remarks = [sentence] if (sentence := doubtful_scale(case.name, image, settings)) else []
    if prepared.beyond:
        remarks.append(f"Annotated voxels of {case.name} outside the body are left out, {prepared.beyond} of them.")
    arrays = {"image": prepared.image.astype(np.float16), "classes": prepared.classes}
    for k in range(1, len(labels) + 1):
        arrays[f"foreground-{k:03d}"] = np.argwhere(prepared.classes == k).astype(np.int32)  # (n, 3)
    return arrays, {"affine": prepared.affine.tolist(), "numbers": _numbers_in(mask.data), "remarks": remarks}


def _save(path: Path, array: np.ndarray) -> None:
    """As ``np.save``, which to a file of its own writes through C and does not notice that the disk is full."""
    with path.open("wb") as file:
        np.save(SimpleNamespace(write=file.write), array)


def _key(case: Case, settings: Preprocessing, labels: Labels) -> str:
    """A name for all that the content of a case's folder depends on."""
    if case.mask is None:
        raise InputError(f"{case.image} has no segmentation beside it: add one, or take the image away.")
    files = []
    for path in (case.image, case.mask):
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"{path} cannot be found: check the data folder.") from error
        files.append([str(path.resolve()), status.st_size, status.st_mtime_ns])
    content = [_FORMAT, _installed("torchio"), files, asdict(settings), format_labels(labels)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]


_installed = cache(version)  # of a package


def _numbers_in(mask: np.ndarray) -> list[int]:
    """The label numbers in a mask, without 0."""
    return sorted({int(number) for plane in mask for number in np.unique(plane)} - {0})


def _check_labels(cases: Sequence[Case], places: Sequence[Path], labels: Labels) -> None:
    """Raise InputError if a label occurs in no case; masks are read only until all labels have been seen."""
    missing = {number for group in labels for number in group}
    seen: set[int] = set()
    for place, case in sorted(zip(places, cases, strict=True), key=lambda pair: not pair[0].is_dir()):  # finished first
        if missing <= seen:
            return
        assert case.mask is not None
        prepared = CachedCase(case.name, place)
        seen.update(prepared.facts["numbers"] if place.is_dir() else _numbers_in(read_mask(case.mask).data))
    if cases and (missing := missing - seen):
        absent, present = (", ".join(map(str, sorted(some))) for some in (missing, seen))
        advice = f"choose among the labels that do ({present})" if seen else "every mask is empty, so export them again"
        raise InputError(f"Label {absent} occurs in no mask: {advice}.")
