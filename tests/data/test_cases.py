"""Cases of the two layouts and of the dialects of ``dataset.json``, and folders that are neither."""

import json
from pathlib import Path
from typing import Any

import pytest
from scans import told

from lrnet_edu import find_cases
from lrnet_edu.data import nifti
from lrnet_edu.data.cases import Case, check_not_among_scans, segmentation_name


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def decathlon(folder: Path, content: Any, *names: str, channel: str = "", encoding: str = "utf-8") -> Path:
    """A listing, and the image and the label of every name."""
    images = [f"imagesTr/{name}{channel}.nii.gz" for name in names]
    fill(folder, "dataset.json", *images, *(f"labelsTr/{name}.nii.gz" for name in names))
    (folder / "dataset.json").write_text(content if isinstance(content, str) else json.dumps(content), encoding)
    return folder


def entry(name: str) -> dict[str, str]:
    return {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}


def fails(folder: Path, *words: str) -> None:
    told(lambda: find_cases(folder), *words)


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


def test_files_of_another_format_once_there_is_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "volume-3.nrrd", "segmentation-3.nii.gz")
    monkeypatch.setitem(nifti.READERS, ".nrrd", nifti.read_nifti)
    expected = Case("volume-3", tmp_path / "volume-3.nrrd", tmp_path / "segmentation-3.nii.gz", None)
    assert find_cases(tmp_path) == [expected]
    for image, mask in [("volume-3.nii", "segmentation-3.nii"), ("volume-3.nrrd", "segmentation-3.nii.gz"),
                        ("volume-3b.nii.gz", "volume-3b.nii.gz"), ("scan.nrrd", "scan.nii.gz")]:  # fmt: skip
        assert segmentation_name(image) == mask
    for name in ("a", "case_00001"):
        assert Case("", Path(f"{name}_0000.nrrd"), Path(f"{name}.nrrd"), None).prediction == f"{name}.nii.gz"


def test_outputs_do_not_go_among_scans(tmp_path: Path) -> None:
    lits, listed = fill(tmp_path / "l", "volume-1.nii.gz"), decathlon(tmp_path / "d", {}, "a")
    for out in (lits, listed, listed / "imagesTr", listed / "runs" / "new"):
        told(lambda out=out: check_not_among_scans(out), "choose")
    for out in (tmp_path / "runs", lits / "runs", fill(tmp_path / "out", "segmentation-1.nii.gz")):
        check_not_among_scans(out)


@pytest.mark.parametrize(("stated", "modality"), [({"0": "MRI"}, "MR"), ({"0": "PET"}, None), ({}, None), ("CT", None)])
def test_decathlon_layout(tmp_path: Path, stated: Any, modality: str | None) -> None:
    content = {"modality": stated, "training": [entry("liver_10"), entry("liver_9"), {"image": "imagesTr/b.nii"}]}
    fill(decathlon(tmp_path, content, "liver_10", "liver_9"), "imagesTr/b.nii", "volume-1.nii.gz")
    images, labels = tmp_path / "imagesTr", tmp_path / "labelsTr"
    assert find_cases(str(tmp_path)) == [Case("b", images / "b.nii", None, modality)] + [
        Case(f"liver_{n}", images / f"liver_{n}.nii.gz", labels / f"liver_{n}.nii.gz", modality) for n in (9, 10)
    ]


def dialects(folder: Path) -> dict[str, Any]:
    both, nnunet_2 = [entry("a"), entry("b")], {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}}
    named = {one["label"]: {"images": [one["image"].replace(".n", "_0000.n")], "label": one["label"]} for one in both}
    listed = {
        "nnU-Net 1": both,
        "MONAI": [{**one, "fold": 0, "image": [one["image"]]} for one in both],
        "absolute": [{k: str(folder / one[k]) for k in one} for one in both],
        "Windows": [{k: one[k].replace("/", "\\") for k in one} for one in both],
    }
    return {
        "nnU-Net 2": {**nnunet_2, "numTraining": 2, "file_ending": ".nii.gz"},
        "nnU-Net 2 with its list": {**nnunet_2, "dataset": named},
        **{name: {"modality": {"0": "CT"}, "training": training} for name, training in listed.items()},
    }


@pytest.mark.parametrize("name", dialects(Path()))
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_dialects(tmp_path: Path, name: str, encoding: str) -> None:
    folder, channel = tmp_path / "é", "_0000" if "nnU" in name else ""
    decathlon(folder, dialects(folder)[name], "a", "b", channel=channel, encoding=encoding)
    fill(folder, "imagesTr/._c_0000.nii.gz")
    images, labels = folder / "imagesTr", folder / "labelsTr"
    assert find_cases(folder) == [
        Case(f"{n}{channel}", images / f"{n}{channel}.nii.gz", labels / f"{n}.nii.gz", "CT") for n in "ab"
    ]
    assert [case.prediction for case in find_cases(folder)] == ["a.nii.gz", "b.nii.gz"]


def test_an_absolute_path_may_go_through_a_link(tmp_path: Path) -> None:
    real = decathlon(tmp_path / "real", {"training": [{"image": str(tmp_path / "real/imagesTr/a.nii.gz")}]}, "a")
    (tmp_path / "link").symlink_to(real)
    assert find_cases(tmp_path / "link")[0].image == tmp_path / "link/imagesTr/a.nii.gz"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        *((text, ("dataset.json is malformed", '"training"')) for text in (
            "", "{", "\0", "[]", "null", "{}", '{"training": [3]}', '{"training": [{"label": "a"}]}',
            '{"training": [{"image": null}]}', '{"training": ["a.nii.gz"]}', '{"channel_names": {"0": "CT"}}',
            '{"training": [{"image": ["a.nii", "b.nii"]}]}')),
        ({"channel_names": {"0": "T1", "1": "FLAIR"}, "dataset": {}}, ("several channels", "T1, FLAIR", "one channel")),
        ({"training": [entry("a"), entry("b")]}, ("labelsTr/b", "imagesTr/b", "missing", "download")),
        ({"training": []}, ("no case",)),
        ({"training": [entry("a"), entry("a")]}, ("lists a twice",)),
        *(({"training": [{"image": name}]}, ("dataset.json", "missing")) for name in (
            "x" * 5000, "\ud800.nii", "two\nlines.nii", "a\0b", "C:\\data\\a.nii")),
        *(({"training": [{"image": name}]}, ("inside the folder",)) for name in (
            "../outside.nii", "/outside.nii", "imagesTr\\..\\..\\outside.nii")),
    ],
)  # fmt: skip
def test_listings_that_cannot_be_used(tmp_path: Path, content: Any, words: tuple[str, ...]) -> None:
    fill(tmp_path, "outside.nii")
    fails(decathlon(tmp_path / "inner", content, "a"), *words)
