"""Cases of the two layouts, and folders that are neither."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lrnet_edu import find_cases
from lrnet_edu.data.cases import Case, misnamed, segmentation_name
from lrnet_edu.support.errors import InputError


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def decathlon(folder: Path, content: Any, *names: str) -> Path:
    fill(folder, *names)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "dataset.json").write_text(text, "utf-8")
    return folder


def entry(name: str) -> dict[str, str]:
    return {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}


def files(*names: str) -> list[str]:
    return [f"{folder}/{name}.nii.gz" for name in names for folder in ("imagesTr", "labelsTr")]


def test_lits_layout_in_natural_order(tmp_path: Path) -> None:
    fill(tmp_path, "volume-10.nii.gz", "segmentation-10.nii.gz", "volume-2.nii", "segmentation-2.nii.gz")
    fill(tmp_path, "volume-1.nii.gz", "notes.txt", "._volume-3.nii.gz", "volume-x.nii", "volume-4.nii.gz.part")
    assert find_cases(tmp_path) == [
        Case("volume-1", tmp_path / "volume-1.nii.gz", None, None),
        Case("volume-2", tmp_path / "volume-2.nii", tmp_path / "segmentation-2.nii.gz", None),
        Case("volume-10", tmp_path / "volume-10.nii.gz", tmp_path / "segmentation-10.nii.gz", None),
    ]


def test_names_without_a_number_are_listed(tmp_path: Path) -> None:
    fill(tmp_path, "volume-1.nii.gz", "volume-p07.nii.gz", "segmentation-p07.nii", "Volume-6.nii.gz", "notes.txt")
    fill(tmp_path, "segmentation-1_probability-2.nii.gz", "._volume-3.nii.gz", "other.nii.gz")
    assert misnamed(tmp_path) == ["Volume-6.nii.gz", "segmentation-p07.nii", "volume-p07.nii.gz"]
    assert misnamed(decathlon(tmp_path, {"training": []})) == []


@pytest.mark.parametrize(
    ("stated", "modality"),
    [({"0": "MRI"}, "MR"), ({"0": "CT"}, "CT"), ({"0": "PET"}, None), ({}, None), ("CT", None)],
)
def test_decathlon_layout(tmp_path: Path, stated: Any, modality: str | None) -> None:
    content = {
        "modality": stated,
        "training": [entry("liver_10"), entry("liver_9"), {"image": "imagesTr/b.nii"}],
    }
    decathlon(tmp_path, content, *files("liver_10", "liver_9"), "imagesTr/b.nii", "volume-1.nii.gz")
    images, labels = tmp_path / "imagesTr", tmp_path / "labelsTr"
    assert find_cases(str(tmp_path)) == [
        Case("b", images / "b.nii", None, modality),
        Case("liver_9", images / "liver_9.nii.gz", labels / "liver_9.nii.gz", modality),
        Case("liver_10", images / "liver_10.nii.gz", labels / "liver_10.nii.gz", modality),
    ]


def fails(folder: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        find_cases(folder)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_folders_without_cases(tmp_path: Path) -> None:
    fails(tmp_path, str(tmp_path), "no case", "volume-N.nii.gz", "dataset.json", "dcm2niix")
    fails(tmp_path / "none", "does not exist")
    fill(tmp_path, "a.nii.gz")
    fails(tmp_path / "a.nii.gz", "is a file", "give the folder")
    fails(decathlon(tmp_path, {"training": []}), "no case")


def test_incomplete_lits_folders(tmp_path: Path) -> None:
    fails(
        fill(tmp_path / "a", "volume-1.nii", "segmentation-2.nii"),
        "segmentation-2.nii has no image",
        "volume-2",
    )
    fails(fill(tmp_path / "b", "volume-1.nii", "volume-1.nii.gz"), "volume-1 both", "keep one")
    fails(
        fill(tmp_path / "c", "volume-1.nii", "segmentation-1.nii", "segmentation-1.nii.gz"),
        "segmentation-1 both",
        "keep one",
    )


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"training": 3}',
        '{"training": [3]}',
        '{"training": [{"label": "a"}]}',
        '{"training": [{"image": 3}]}',
        '{"training": [{"image": "imagesTr/a.nii.gz", "label": ["labelsTr/a.nii.gz"]}]}',
        "[" * 100_000,
    ],
)
def test_malformed_listings(tmp_path: Path, content: str) -> None:
    fails(decathlon(tmp_path, content, *files("a")), "dataset.json is malformed", '"training"')


def test_listings_that_are_not_text(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_bytes(b"\xff\xfe\x00")
    fails(tmp_path, "malformed")


def test_listed_files_must_be_there_once_and_inside(tmp_path: Path) -> None:
    fails(
        decathlon(tmp_path, {"training": [entry("a")]}, "imagesTr/a.nii.gz"),
        "labelsTr",
        "missing",
        "download",
    )
    fails(decathlon(tmp_path, {"training": [entry("a"), entry("a")]}, *files("a")), "lists a twice")
    for name in ("x" * 5000, "\ud800.nii", "two\nlines.nii"):
        fails(decathlon(tmp_path, {"training": [{"image": name}]}), "dataset.json", "missing")
    fill(tmp_path, "outside.nii")
    for name in ("../outside.nii", str(tmp_path / "outside.nii"), "imagesTr\\..\\..\\outside.nii", "a\0b"):
        content = {"training": [{"image": name}]}
        fails(decathlon(tmp_path / "inner", content, "x"), "inside the folder")


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("volume-3.nii.gz", "segmentation-3.nii.gz"),
        ("volume-3.nii", "segmentation-3.nii"),
        ("hippocampus_001.nii.gz", "hippocampus_001.nii.gz"),
        ("volume-3b.nii.gz", "volume-3b.nii.gz"),
        ("my-volume-3.nii.gz", "my-volume-3.nii.gz"),
    ],
)
def test_segmentation_names(image: str, mask: str) -> None:
    assert segmentation_name(image) == mask
