"""Cases of the two layouts and of the dialects of ``dataset.json``, and folders that are neither."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lrnet_edu import find_cases
from lrnet_edu.data import nifti
from lrnet_edu.data.cases import Case, check_not_among_scans, segmentation_name
from lrnet_edu.support.errors import InputError


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def decathlon(folder: Path, content: Any, *names: str, encoding: str = "utf-8") -> Path:
    fill(folder, "dataset.json", *names)
    (folder / "dataset.json").write_text(content if isinstance(content, str) else json.dumps(content), encoding)
    return folder


def entry(name: str) -> dict[str, str]:
    return {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}


def files(*names: str, channel: str = "") -> list[str]:
    images = [f"imagesTr/{name}{channel}.nii.gz" for name in names]
    return images + [f"labelsTr/{name}.nii.gz" for name in names]


def fails(folder: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        find_cases(folder)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert all(word in message for word in words)


def test_lits_layout_in_natural_order(tmp_path: Path) -> None:
    fill(tmp_path, "volume-10.nii.gz", "segmentation-10.nii.gz", "volume-2.nii", "segmentation-2.nii.gz")
    fill(tmp_path, "volume-1.nii.gz", "notes.txt", "._volume-3.nii.gz", "volume-x.nii", "volume-4.nii.gz.part")
    assert find_cases(tmp_path) == [
        Case("volume-1", tmp_path / "volume-1.nii.gz", None, None),
        Case("volume-2", tmp_path / "volume-2.nii", tmp_path / "segmentation-2.nii.gz", None),
        Case("volume-10", tmp_path / "volume-10.nii.gz", tmp_path / "segmentation-10.nii.gz", None),
    ]


def test_incomplete_folders_are_told_with_all_that_is_wrong(tmp_path: Path) -> None:
    fails(tmp_path, str(tmp_path), "no case", "volume-N.nii.gz", "dataset.json", "dcm2niix")
    fails(tmp_path / "none", "does not exist")
    fails(fill(tmp_path, "a.nii.gz") / "a.nii.gz", "is a file", "give the folder")
    alone = fill(tmp_path / "a", "volume-1.nii", "segmentation-2.nii", "segmentation-3.nii.gz")
    fails(alone, "segmentation-2.nii, segmentation-3.nii.gz", "without a volume")
    twice = fill(tmp_path / "b", *(f"{name}-1.nii{end}" for name in ("volume", "segmentation") for end in ("", ".gz")))
    fails(twice, "segmentation-1, volume-1", "keep one")


def test_names_of_segmentations_and_files_of_another_format_once_there_is_a_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "volume-3.nrrd", "segmentation-3.nii.gz")
    fails(tmp_path, "segmentation-3.nii.gz")
    monkeypatch.setitem(nifti.READERS, ".nrrd", nifti.read_nifti)
    expected = Case("volume-3", tmp_path / "volume-3.nrrd", tmp_path / "segmentation-3.nii.gz", None)
    assert find_cases(tmp_path) == [expected]
    for image, mask in [("volume-3.nii", "segmentation-3.nii"), ("volume-3.nrrd", "segmentation-3.nii.gz"),
                        ("volume-3b.nii.gz", "volume-3b.nii.gz"), ("scan.nrrd", "scan.nii.gz")]:  # fmt: skip
        assert segmentation_name(image) == mask


def test_outputs_do_not_go_among_scans(tmp_path: Path) -> None:
    lits, listed = fill(tmp_path / "l", "volume-1.nii.gz"), decathlon(tmp_path / "d", {}, "imagesTr/a.nii.gz")
    for out in (lits, listed, listed / "imagesTr", listed / "runs" / "new"):
        with pytest.raises(InputError, match="choose"):
            check_not_among_scans(out)
    for out in (tmp_path / "runs", lits / "runs", fill(tmp_path / "out", "segmentation-1.nii.gz")):
        check_not_among_scans(out)


@pytest.mark.parametrize(
    ("stated", "modality"),
    [({"0": "MRI"}, "MR"), ({"0": "CT"}, "CT"), ({"0": "PET"}, None), ({}, None), ("CT", None)],
)
def test_decathlon_layout(tmp_path: Path, stated: Any, modality: str | None) -> None:
    content = {"modality": stated, "training": [entry("liver_10"), entry("liver_9"), {"image": "imagesTr/b.nii"}]}
    decathlon(tmp_path, content, *files("liver_10", "liver_9"), "imagesTr/b.nii", "volume-1.nii.gz")
    images, labels = tmp_path / "imagesTr", tmp_path / "labelsTr"
    assert find_cases(str(tmp_path)) == [Case("b", images / "b.nii", None, modality)] + [
        Case(f"liver_{n}", images / f"liver_{n}.nii.gz", labels / f"liver_{n}.nii.gz", modality) for n in (9, 10)
    ]


def dialects(folder: Path) -> dict[str, Any]:
    both, nnunet_2 = [entry("a"), entry("b")], {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}}
    by_name = {
        one["label"][11]: {"images": [one["image"].replace(".n", "_0000.n")], "label": one["label"]} for one in both
    }
    return {
        "nnU-Net 2": {**nnunet_2, "numTraining": 2, "file_ending": ".nii.gz"},
        "nnU-Net 2 with its list": {**nnunet_2, "dataset": by_name},
        "nnU-Net 1": {"modality": {"0": "CT"}, "training": both},
        "MONAI": {"modality": {"0": "CT"}, "training": [{**one, "fold": 0, "image": [one["image"]]} for one in both]},
        "absolute": {"modality": {"0": "CT"}, "training": [{k: str(folder / one[k]) for k in one} for one in both]},
        "Windows": {"modality": {"0": "CT"}, "training": [{k: one[k].replace("/", "\\") for k in one} for one in both]},
    }


@pytest.mark.parametrize("name", dialects(Path()))
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_dialects(tmp_path: Path, name: str, encoding: str) -> None:
    folder, channel = tmp_path / "é", "_0000" if "nnU" in name else ""
    decathlon(folder, dialects(folder)[name], *files("a", "b", channel=channel), encoding=encoding)
    fill(folder, "imagesTr/._c_0000.nii.gz")
    images, labels = folder / "imagesTr", folder / "labelsTr"
    assert find_cases(folder) == [
        Case(f"{n}{channel}", images / f"{n}{channel}.nii.gz", labels / f"{n}.nii.gz", "CT") for n in "ab"
    ]


def test_an_absolute_path_may_go_through_a_link(tmp_path: Path) -> None:
    listing = {"training": [{"image": str(tmp_path / "real/imagesTr/a.nii.gz")}]}
    real = decathlon(tmp_path / "real", listing, *files("a"))
    (tmp_path / "link").symlink_to(real)
    assert find_cases(tmp_path / "link")[0].image == tmp_path / "link/imagesTr/a.nii.gz"


def test_several_channels_are_named(tmp_path: Path) -> None:
    two = {"channel_names": {"0": "T1", "1": "FLAIR"}, "file_ending": ".nii.gz"}
    fails(decathlon(tmp_path / "a", two, *files("a", channel="_0000")), "several channels", "T1, FLAIR", "one channel")
    pair = {"training": [{"image": ["imagesTr/a.nii.gz", "imagesTr/b.nii.gz"], "label": "labelsTr/a.nii.gz"}]}
    fails(decathlon(tmp_path / "b", pair, *files("a", "b")), "several channels")


@pytest.mark.parametrize(
    "content",
    ["", "{", "\0", "[]", "null", "{}", '{"training": 3}', '{"training": [3]}', '{"training": [{"label": "a"}]}',
     '{"training": [{"image": 3}]}', '{"training": [{"image": null}]}',
     '{"training": ["imagesTr/a.nii.gz"]}', '{"channel_names": {"0": "CT"}}'],
)  # fmt: skip
def test_malformed_listings(tmp_path: Path, content: str) -> None:
    fails(decathlon(tmp_path, content, *files("a")), "dataset.json is malformed", '"training"')


def test_listed_files_must_be_there_once_and_inside(tmp_path: Path) -> None:
    content = {"training": [entry("a"), entry("b")]}
    fails(decathlon(tmp_path, content, "imagesTr/a.nii.gz"), "labelsTr/a", "imagesTr/b", "missing", "download")
    fails(decathlon(tmp_path, {"training": []}), "no case")
    fails(decathlon(tmp_path, {"training": [entry("a"), entry("a")]}, *files("a")), "lists a twice")
    for name in ("x" * 5000, "\ud800.nii", "two\nlines.nii", "a\0b", "C:\\data\\a.nii"):
        fails(decathlon(tmp_path, {"training": [{"image": name}]}), "dataset.json", "missing")
    fill(tmp_path, "outside.nii")
    for name in ("../outside.nii", str(tmp_path / "outside.nii"), "imagesTr\\..\\..\\outside.nii"):
        fails(decathlon(tmp_path / "inner", {"training": [{"image": name}]}, "x"), "inside the folder")
