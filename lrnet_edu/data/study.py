"""A folder of scans divided, preprocessed and kept with its cases: what several trainings share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lrnet_edu.data.baseline import location_baseline
from lrnet_edu.data.cache import CachedCase, cache_cases, cache_root
from lrnet_edu.data.cases import Case, check_labels, find_cases
from lrnet_edu.data.nifti import check_pairs
from lrnet_edu.data.preprocessing import Preprocessing, choose_preprocessing
from lrnet_edu.support.errors import InputError, check_whole, checked_number, checked_range
from lrnet_edu.support.files import abbreviated, read_json
from lrnet_edu.support.labels import Labels, format_labels, parse_labels

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class DataSettings:
    """What decides which scans and patches a network sees."""

    label: str = "1"  # "2", "1+2" (a union), "1,2" (two classes)
    max_voxels: int = 700_000  # the isotropic grid is coarsened until the median case holds no more
    window: tuple[float, float] | None = None  # HU; None: (-200, 250) for CT, standardised for MR
    patch_size: tuple[int, int, int] = (32, 64, 64)  # voxels (z, y, x)
    batch_size: int = 2
    object_share: float = 0.67  # of a case's patches are centred on a voxel of an object, if it holds one

    def __post_init__(self) -> None:
        if self.window is not None:
            object.__setattr__(self, "window", checked_range("window", self.window))
        if np.shape(self.patch_size) != (3,) or not all(isinstance(n, int) and n >= 8 for n in self.patch_size):
            raise InputError(f"patch_size is {self.patch_size}; give voxels (z, y, x), at least 8 on every axis.")
        check_whole("batch_size", self.batch_size, least=1)
        check_whole("max_voxels", self.max_voxels, least=1000)
        checked_number("object_share", self.object_share, most=1)
        parse_labels(self.label)


def split_cases(names: Sequence[str]) -> dict[str, list[str]]:
    """Divide cases at random into train, validation and test, about 60, 15 and 25 %, at least one each.

    The same in every run, so that runs are compared on the same cases; InputError for fewer than three.
    """
    if len(names) < 3:
        raise InputError(f"A training needs three cases with a mask (segmentation-N to volume-N), here: {len(names)}.")
    shuffled = [names[i] for i in np.random.default_rng(0).permutation(len(names))]
    validation, test = (max(1, round(share * len(names))) for share in (0.15, 0.25))
    parts = (shuffled[validation + test :], shuffled[:validation], shuffled[validation : validation + test])
    return {part: [name for name in names if name in chosen] for part, chosen in zip(PARTS, parts, strict=True)}


def read_split(path: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Read a ``split.json``; InputError if it is no such file, names an unknown case, or one case twice."""
    try:
        content = read_json(path)
        split = {part: case_names(content[part]) for part in PARTS}
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} is not there, or no split with lists of cases under {', '.join(PARTS)}.") from None
    listed = [name for part in PARTS for name in split[part]]
    if unknown := sorted(set(listed) - set(names)):
        raise InputError(f"{path} names cases that the data does not hold with a mask: {abbreviated(unknown)}.")
    if len(listed) != len(set(listed)) or not split["train"] or not split["validation"]:
        raise InputError(f"{path} names a case twice, or leaves train or validation empty; each needs cases.")
    return split


def case_names(listed: Any) -> list[str]:
    """A list of names out of a JSON file; TypeError if it is something else."""
    if not isinstance(listed, list):
        raise TypeError(f"{type(listed).__name__} instead of a list")
    return [str(name) for name in listed]


@dataclass(frozen=True)
class Study:
    """Cases of a folder, divided and preprocessed: what several runs share."""

    data: Path
    labels: Labels
    split: dict[str, list[str]]
    preprocessing: Preprocessing
    cases: dict[str, Case]  # by name, those that take part
    cached: dict[str, list[CachedCase]]  # by part
    settings: DataSettings
    without_mask: tuple[str, ...] = ()  # cases of the folder that take no part

    def describe(self) -> str:
        """What was found and chosen, and what a guess by location alone scores."""
        counts = ", ".join(f"{len(self.split[part])} {part}" for part in PARTS)
        window = self.preprocessing.window
        scale = f"window {window[0]:g} to {window[1]:g} HU" if window else "intensities standardised"
        lines = [f"Cases: {counts}. Grid {self.preprocessing.spacing:g} mm, {scale}."]
        if self.without_mask:
            lines.append(f"Left out, as they have no mask: {abbreviated(self.without_mask)}.")
        remarks = [remark for part in PARTS for case in self.cached[part] for remark in case.facts["remarks"]]
        lines += remarks[:5] + ([f"The same of {len(remarks) - 5} more."] if len(remarks) > 5 else [])
        for part in ("validation", "test"):
            scores = location_baseline(self.cached["train"], self.cached[part], len(self.labels))
            listed = [f"{'no case holds it' if np.isnan(dc) else f'{dc:.3f}'} (label {format_labels((group,))})"
                      for group, dc in zip(self.labels, scores, strict=True)]  # fmt: skip
            lines.append(f"Location alone (the average training shape, image unseen), {part} DC: {', '.join(listed)}")
        return "\n".join(lines)


def open_study(data: Path, settings: DataSettings, *, split: Path | None = None) -> Study:
    """Find the cases of a folder, divide them, choose the grid from the training part, preprocess, cache.

    Args:
        data: folder of scans, in LiTS or Decathlon layout.
        settings: a training's `Config`, or the part of it that concerns the data.
        split: a ``split.json``; None divides the cases at random.

    InputError if the cases cannot be used together; it names the file and what to do.
    """
    data, labels = Path(data), parse_labels(settings.label)
    cache_root()  # that it cannot be written is told before any scan is read
    found = find_cases(data)
    cases = {case.name: case for case in found if case.mask}
    parts = read_split(Path(split), list(cases)) if split else split_cases(list(cases))
    cases = {name: cases[name] for part in PARTS for name in parts[part]}
    check_pairs(case.pair for case in cases.values())
    training, validation = ([cases[name] for name in parts[part]] for part in PARTS[:2])
    check_labels(training, labels, "the training cases (--split chooses others)")
    check_labels(validation, labels, "the validation cases, which choose the weights (--split names others)")
    chosen = choose_preprocessing(training, max_voxels=settings.max_voxels, window=settings.window)
    cached = {case.name: case for case in cache_cases(list(cases.values()), chosen, labels)}
    by_part = {part: [cached[name] for name in parts[part]] for part in PARTS}
    if chosen.window and all(np.ptp(case.image) == 0 for case in by_part["train"][:3]):
        low, high = chosen.window
        raise InputError(f"Between {low:g} and {high:g} HU the scans are of one grey; choose a --window in which the "
                         "object differs from what surrounds it, as -200 250 for the liver.")  # fmt: skip
    without_mask = tuple(case.name for case in found if not case.mask)
    return Study(data, labels, parts, chosen, cases, by_part, settings, without_mask)


def fitted_patch(size: Sequence[int], cases: Sequence[CachedCase]) -> tuple[int, int, int]:
    """A patch (z, y, x) no larger than the largest case needs, in steps of 8: padding teaches nothing."""
    largest = np.max([case.image.shape for case in cases], axis=0)
    depth, height, width = (min(given, -(-int(need) // 8) * 8) for given, need in zip(size, largest, strict=True))
    return depth, height, width


def check_same_study(study: Study, settings: DataSettings) -> None:
    """InputError unless the study was opened for the labels, window and grid of this training."""
    wanted, given = ((parse_labels(one.label), one.max_voxels) for one in (settings, study.settings))
    windows = [one.window for one in (settings, study.settings, study.preprocessing)]
    if wanted != given or windows[0] not in windows[1:]:  # None became that of CT, where the scans are CTs
        raise InputError("The study was opened with another label, window or max_voxels; call open_study with this "
                         "run's settings.")  # fmt: skip
