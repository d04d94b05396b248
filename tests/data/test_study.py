"""A folder of scans divided, preprocessed and described; splits and studies that cannot be used."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scans import AFFINE, lits, mask, scan, store, told

from lrnet_edu.data.study import (
    PARTS,
    DataSettings,
    check_same_study,
    fitted_patch,
    open_study,
    read_split,
    split_cases,
)

SETTINGS = DataSettings(patch_size=(8, 12, 12), max_voxels=40_000)


@pytest.mark.parametrize("number", [3, 4, 7, 20, 131])
def test_every_case_belongs_to_exactly_one_part(number: int) -> None:
    names = [f"volume-{i}" for i in range(number)]
    split = split_cases(names)
    assert sorted(name for part in PARTS for name in split[part]) == sorted(names)
    assert all(split[part] for part in PARTS)
    assert split == split_cases(names)
    if number >= 20:
        assert [len(split[part]) / number for part in PARTS] == pytest.approx([0.6, 0.15, 0.25], abs=0.03)
        assert split["test"] != names[-len(split["test"]) :]  # drawn, not cut off


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])  # with the mark of Windows' editors
def test_a_split_of_one_s_own(tmp_path: Path, encoding: str) -> None:
    split = {"train": ["b", "c"], "validation": ["a"], "test": []}
    (tmp_path / "split.json").write_text(json.dumps(split), encoding)
    assert read_split(tmp_path / "split.json", ["a", "b", "c", "d"]) == split


@pytest.mark.parametrize(("content", "words"), [
    (None, "no split"),
    ('{"train": ["a"], "validation": ["b"]}', "no split"),
    ('{"train": "ab", "validation": ["b"], "test": []}', "no split"),
    ('{"train": ["a"], "validation": ["z", "y"], "test": []}', "does not hold with a mask: y, z"),
    ('{"train": ["a"], "validation": ["b"], "test": ["a"]}', "names a case twice"),
    ('{"train": [], "validation": ["a"], "test": ["b"]}', "leaves train or validation empty"),
])  # fmt: skip
def test_a_split_that_cannot_be_used(tmp_path: Path, content: str | None, words: str) -> None:
    if content:
        (tmp_path / "split.json").write_text(content, encoding="utf-8")
    told(lambda: read_split(tmp_path / "split.json", ["a", "b", "c"]), words)
    told(lambda: split_cases(["a", "b"]), "three cases", ": 2.")


def split_file(folder: Path, train: int, validation: int) -> Path:
    """A split of volume-0 to volume-4 in this order."""
    parts = np.split([f"volume-{i}" for i in range(5)], [train, train + validation])
    split = {part: list(names) for part, names in zip(PARTS, parts, strict=True)}
    (folder / "split.json").write_text(json.dumps(split))
    return folder / "split.json"


def test_a_study_says_what_it_found_and_what_a_guess_scores(tmp_path: Path) -> None:
    study = open_study(lits(tmp_path, range(5)), SETTINGS)
    said = study.describe()
    assert said.startswith("Cases: 3 train, 1 validation, 1 test. Grid 1.45 mm, window -200 to 250 HU.\nLocation alone")
    scores = re.findall(r"(?:validation|test) DC: ([0-9.]+) \(label 1\)", said)
    assert len(scores) == 2
    assert min(map(float, scores)) > 0.9  # the ball is at the same place in every case
    _, height, width = np.max([case.image.shape for case in study.cached["train"]], axis=0)
    fitted = fitted_patch((8, 500, 500), study.cached["train"])  # no larger than the largest case needs
    assert fitted == (8, -(-height // 8) * 8, -(-width // 8) * 8)
    for change in ({"label": "2"}, {"window": (-30.0, 180.0)}, {"max_voxels": 50_000}):
        told(lambda change=change: check_same_study(study, replace(SETTINGS, **change)), "label, window or max_voxels")
    other = replace(study, settings=replace(SETTINGS, window=(-30.0, 180.0)))
    told(lambda: check_same_study(other, SETTINGS), "label, window or max_voxels")


def test_the_grid_is_chosen_from_the_training_part_alone(tmp_path: Path) -> None:
    """Validation and test are four times as coarse, and nobody looks at them."""
    for i in range(5):
        affine = AFFINE if i < 2 else AFFINE @ np.diag([4, 4, 4, 1.0])
        store(tmp_path / f"volume-{i}.nii.gz", scan(seed=i), affine)
        store(tmp_path / f"segmentation-{i}.nii.gz", mask(), affine)
    study = open_study(tmp_path, SETTINGS, split=split_file(tmp_path, 2, 2))
    assert study.preprocessing.spacing == pytest.approx(3.0 ** (1 / 3), abs=0.01)
    assert {part: [case.name for case in cases] for part, cases in study.cached.items()} == study.split
    assert study.split["test"] == ["volume-4"]


def test_several_labels(tmp_path: Path) -> None:
    """The ball as label 1 and a box in another corner as label 3: two classes, or one."""
    both = mask()
    both[9:12, 12:16, 11:15] = 3
    for number in range(4):
        store(tmp_path / f"volume-{number}.nii.gz", scan(seed=number) - 100 * (both == 3).astype(np.int16))
        store(tmp_path / f"segmentation-{number}.nii.gz", both)
    study = open_study(tmp_path, replace(SETTINGS, label="1,3"))
    assert study.labels == ((1,), (3,))
    assert re.search(r"test DC: [0-9.]+ \(label 1\), [0-9.]+ \(label 3\)", study.describe())
    assert set(np.unique(open_study(tmp_path, replace(SETTINGS, label="1+3")).cached["train"][0].classes)) == {0, 1}
    told(lambda: open_study(tmp_path, replace(SETTINGS, label="2")), "Label 2 does not occur", ": there is 1, 3.")


def test_what_takes_no_part_is_odd_or_lacks_the_label_is_told(tmp_path: Path) -> None:
    data = lits(tmp_path, range(6))
    store(data / "volume-2.nii.gz", (scan() + 1100).clip(0))
    store(data / "segmentation-3.nii.gz", 0 * mask())
    (data / "segmentation-5.nii.gz").unlink()
    said = open_study(data, SETTINGS, split=split_file(data, 2, 1)).describe()
    assert "volume-2 has no value below 0, and the window begins at -200 HU" in said
    assert "Left out, as they have no mask: volume-5." in said
    dark = replace(SETTINGS, window=(2000, 3000))
    told(lambda: open_study(data, dark, split=split_file(data, 2, 1)), "Between 2000 and 3000 HU", "of one grey")
    for number in (0, 1, 2):
        store(data / f"segmentation-{number}.nii.gz", (number == 2) * mask())
    told(lambda: open_study(data, SETTINGS, split=split_file(data, 2, 1)), "Label 1 does not", "there is none but 0.")
    for number, lesion in ((3, 1), (4, 0)):
        store(data / f"segmentation-{number}.nii.gz", lesion * mask())
    study = open_study(data, SETTINGS, split=split_file(data, 3, 1))
    assert "test DC: no case holds it (label 1)" in study.describe()
    store(data / "segmentation-3.nii.gz", 0 * mask())  # no weights could be chosen
    told(lambda: open_study(data, SETTINGS, split=split_file(data, 3, 1)), "in the validation cases, which choose")
