"""Prepared cases on disk: computed once, in parallel, then read piece by piece through memory maps.

Every case has a folder of its own, named by a hash of all that its content depends on: the files (path, size,
time of last change), TorchIO's version, the preprocessing, the labels. Changed settings therefore lead to another
folder, and a folder that exists is complete: it is written under another name and renamed as the last step.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lrnet_edu.data.cases import Case
from lrnet_edu.data.nifti import READERS, check_pairs, read_mask, spacing_of
from lrnet_edu.data.preprocessing import Preprocessing, prepare, read_scan, unusual_intensities
from lrnet_edu.support.errors import InputError, raise_together
from lrnet_edu.support.files import check_writable, first_line, folder_lock
from lrnet_edu.support.jobs import in_processes
from lrnet_edu.support.labels import Labels, format_labels

_FORMAT = 3  # raise it when the content of a case's folder changes its meaning


@lru_cache(128)  # opening takes longer than cutting a patch; macOS lets a process open 256 files
def _memory_maps(folder: Path, names: str) -> list[np.ndarray]:
    return [np.load(file, mmap_mode="r") for file in sorted(folder.glob(names))]


@dataclass(frozen=True)
class CachedCase:
    """A prepared case in a folder on disk, whose arrays are memory-mapped."""

    name: str
    folder: Path

    @property
    def image(self) -> np.ndarray:
        """float16 (D, H, W)."""
        return _memory_maps(self.folder, "image.npy")[0]

    @property
    def classes(self) -> np.ndarray:
        """uint8 (D, H, W), 0..K."""
        return _memory_maps(self.folder, "classes.npy")[0]

    @property
    def foreground(self) -> list[np.ndarray]:
        """Per class 1..K the indices (z, y, x) of its voxels, int32 (n, 3); n may be 0."""
        return _memory_maps(self.folder, "foreground-*.npy")

    @property
    def facts(self) -> dict[str, Any]:
        """Its "affine", (4, 4) from indices (x, y, z) to RAS+ mm, and "remarks", what is odd in its files."""
        return json.loads((self.folder / "facts.json").read_text("utf-8"))

    @property
    def affine(self) -> np.ndarray:
        """(4, 4), from indices (x, y, z) of the prepared grid to RAS+ mm."""
        return np.array(self.facts["affine"])

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) in mm."""
        return spacing_of(self.affine)


def cache_root() -> Path:
    """The folder for what can be computed again: ``LRNET_EDU_CACHE``, or ``lrnet_edu`` in the user's ``.cache``.

    InputError if there is no such place, or nothing can be written to it.
    """
    try:
        given = os.environ.get("LRNET_EDU_CACHE")
        root = Path(given or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "lrnet_edu"))
        check_writable(root)
    except (RuntimeError, InputError) as error:  # RuntimeError: there is no home directory
        why = f"There is no folder for prepared scans ({first_line(error)})"
        raise InputError(f"{why}: set the environment variable LRNET_EDU_CACHE to one with room.") from None
    return root


def cache_cases(
    cases: Sequence[Case], settings: Preprocessing, labels: Labels, *,
    folder: Path | None = None, workers: int | None = None,
) -> list[CachedCase]:  # fmt: skip
    """Prepare cases and keep the results on disk, by default in :func:`cache_root`; what is there is not done again.

    ``workers`` is the number of processes; 1 works in this process. None takes one more for every 20 MB of images, up
    to the number of cores and 8 (a full-size CT needs about 3 GB of memory while it is prepared). InputError if a case
    has no mask, files are bad, or the folder cannot be written.
    """
    folder = cache_root() / "cases" if folder is None else Path(folder)
    cached = [CachedCase(case.name, folder / _key(case, settings, labels)) for case in cases]
    pairs = zip(cases, cached, strict=True)
    jobs = [(case, settings, labels, to.folder) for case, to in pairs if not to.folder.is_dir()]
    check_pairs(case.pair for case, *_ in jobs)
    if workers is None:
        # A process takes seconds to start, and would not know a reader that was added.
        size = sum(case.image.stat().st_size for case, *_ in jobs)
        workers = min(os.cpu_count() or 1, 8, 1 + size // 20_000_000) if len(READERS) == 2 else 1
    try:
        done = in_processes(_cache_case, jobs, workers)
        bar = tqdm(done, "Preparing cases", total=len(jobs), unit="case", disable=not jobs)
        raise_together([fault for fault in bar if fault])
    except OSError as error:
        why = f"The cache folder {folder} cannot be written ({first_line(error)})"
        raise InputError(f"{why}: set LRNET_EDU_CACHE to a folder with room.") from error
    return cached


def _key(case: Case, settings: Preprocessing, labels: Labels) -> str:
    """A name for all that the content of a case's folder depends on."""
    files = [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in case.pair]
    content = [_FORMAT, version("torchio"), files, asdict(settings), format_labels(labels)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]


def _cache_case(case: Case, settings: Preprocessing, labels: Labels, place: Path) -> str:
    """Prepare one case into a folder that is renamed once it is complete; what is wrong, or ""."""
    scan_file, mask_file = case.pair
    with folder_lock(place.parent, place.name, wait=True):  # for another process that prepares the same case
        if place.is_dir():
            return ""
        try:
            scan, mask = read_scan(scan_file), read_mask(mask_file)
        except InputError as error:
            return str(error)
        prepared, remark = prepare(scan, settings, mask, labels), unusual_intensities(case.name, scan, settings)
        arrays = {"image": prepared.image.astype(np.float16), "classes": prepared.classes}
        for k in range(1, len(labels) + 1):
            arrays[f"foreground-{k:03d}"] = np.argwhere(prepared.classes == k).astype(np.int32)  # (n, 3)

        partial = place.with_name(f"{place.name}.part")
        shutil.rmtree(partial, ignore_errors=True)  # of an interrupted process
        partial.mkdir()
        for name, array in arrays.items():
            np.save(partial / f"{name}.npy", array)
        facts = {"affine": prepared.affine.tolist(), "remarks": [remark] if remark else []}
        (partial / "facts.json").write_text(json.dumps(facts), "utf-8")
        partial.rename(place)
    return ""
