"""Scores of folders: values worked out by hand, the JSON's layout, which file belongs to which."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scans import AFFINE, SHAPE, load, store

from lrnet_edu.commands.evaluate import evaluate_folders, scores_as_text
from lrnet_edu.support.errors import InputError

STEP = 1.5  # mm between two voxels along x, see AFFINE
Folders = tuple[Path, Path]


def voxels(*places: tuple[int, int, int], label: int = 2) -> np.ndarray:
    """A mask of single voxels (z, y, x)."""
    mask = np.zeros(SHAPE, np.uint8)
    for place in places:
        mask[place] = label
    return mask


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Three cases: two steps aside, one voxel of two found, one voxel found where there is none."""
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    wanted = {10: voxels(), 2: voxels((5, 5, 7)), 3: voxels((5, 5, 5), (5, 5, 6))}
    for number, reference in wanted.items():
        store(predictions / f"segmentation-{number}.nii.gz", voxels((5, 5, 5)))
        store(references / f"segmentation-{number}.nii.gz", reference)
    return predictions, references


ROOT = STEP / math.sqrt(3)  # of the mean of 0, 0 and STEP squared
CRITERIA = ("dice", "voe", "rvd", "assd", "msd", "rmsd")
CASES = {
    "segmentation-2": (0, 1, 0, 2 * STEP, 2 * STEP, 2 * STEP),
    "segmentation-3": (2 / 3, 0.5, -0.5, STEP / 3, STEP, ROOT),
    "segmentation-10": (0, 1, None, None, None, None),
}
BY_HAND: dict[str, Any] = {
    "cases": [{"case": name, **dict(zip(CRITERIA, values, strict=True))} for name, values in CASES.items()],
    "mean": {"DC": 2 / 9, "DG": 2 / 6, "VOE": 2.5 / 3, "RVD": -0.25, "abs_RVD": 0.25, "ASSD": 1.75, "MSD": 2.25,
             "RMSD": (3 + ROOT) / 2},
    "undefined": {"DC": 0, "DG": 0, "VOE": 0, "RVD": 1, "abs_RVD": 1, "ASSD": 1, "MSD": 1, "RMSD": 1},
}  # fmt: skip


def assert_by_hand(scores: dict[str, Any]) -> None:
    """Equal keys in equal order, and equal values up to rounding."""
    for found, wanted in zip([*scores["cases"], scores["mean"]], [*BY_HAND["cases"], BY_HAND["mean"]], strict=True):
        assert list(found) == list(wanted)
        assert found == pytest.approx(wanted)
    assert (list(scores), scores["undefined"]) == (list(BY_HAND), BY_HAND["undefined"])


def test_json_against_values_worked_out_by_hand(folders: Folders, tmp_path: Path) -> None:
    target = tmp_path / "new" / "scores.json"
    for _ in range(2):  # which replaces scores
        assert_by_hand(evaluate_folders(*folders, label="2", json_file=target))
    assert "NaN" not in target.read_text()
    assert_by_hand(json.loads(target.read_text()))
    target.write_text('{"training": []}')
    with pytest.raises(InputError, match="exists and holds no scores"):
        evaluate_folders(*folders, label="2", json_file=target)
    assert target.read_text() == '{"training": []}'


def test_several_objects_stand_under_their_labels_and_their_means_at_the_end(folders: Folders) -> None:
    for path in [path for folder in folders for path in folder.iterdir()]:
        mask = load(path).copy()
        mask[2, 2, 2] = 1
        store(path, mask)
    scores = evaluate_folders(*folders, label="2,1")
    assert list(scores) == ["2", "1"]
    assert_by_hand(scores["2"])
    assert [case["dice"] for case in scores["1"]["cases"]] == [1, 1, 1]
    assert scores["1"]["mean"]["DC"] == scores["1"]["mean"]["DG"] == 1
    union = evaluate_folders(*folders, label="1+2")["cases"]  # one object
    assert [case["dice"] for case in union] == pytest.approx([1 / 2, 4 / 5, 2 / 3])
    means = scores_as_text(scores, "2,1").rsplit("segmentation-", 1)[1]  # of all objects, below all cases
    assert "Label 1 " in means
    assert re.search(r"Label 2 +0.222 +0.333 +0.833 +-0.250 +0.250 +1.75 +2.25 +1.93", means)


def test_what_is_scored_and_against_what(folders: Folders) -> None:
    predictions, references = folders
    store(predictions / "segmentation-2_probability-2.nii.gz", np.full(SHAPE, 0.5, np.float32))
    store(predictions / "._segmentation-2.nii.gz", voxels())
    (predictions / "log.txt").write_text("no mask")
    (predictions / "segmentation-3.nii.gz").unlink()
    store(predictions / "segmentation-3.nii", voxels((5, 5, 5)))  # .nii stands for .nii.gz
    store(references / "segmentation-77.nii.gz", voxels((5, 5, 5)))  # more than was predicted
    store(references / "volume-2.nii.gz", np.full(SHAPE, -1000, np.int16))  # the LiTS layout
    said: list[str] = []
    assert_by_hand(evaluate_folders(predictions, references, label="2", say=said.append))
    assert said == ["Scoring 3 of 4 references; the others have no prediction."]
    store(predictions / "segmentation-77.nii", voxels())
    evaluate_folders(predictions, references, label="2", say=said.append)
    assert len(said) == 1


@pytest.mark.parametrize("channel", ["", "_0000"])  # the latter is nnU-Net's
def test_a_decathlon_data_set_and_its_labels_are_references(tmp_path: Path, channel: str) -> None:
    for number in (1, 2):
        store(tmp_path / f"Task/imagesTr/c_{number}{channel}.nii.gz", np.full(SHAPE, -1000, np.int16))
        store(tmp_path / f"Task/labelsTr/c_{number}.nii.gz", voxels((5, 5, number)))
        store(tmp_path / f"p/c_{number}.nii.gz", voxels((5, 5, 1)))
    pairs = [{"image": f"./imagesTr/c_{n}.nii.gz", "label": f"./labelsTr/c_{n}.nii.gz"} for n in (1, 2)]
    (tmp_path / "Task/dataset.json").write_text(json.dumps({"training": pairs}))
    for references in (tmp_path / "Task", tmp_path / "Task/labelsTr"):
        scores = evaluate_folders(tmp_path / "p", references, label="2")
        assert [(case["case"], case["dice"]) for case in scores["cases"]] == [("c_1", 1), ("c_2", 0)]


def test_a_label_must_occur_but_not_in_every_case(folders: Folders) -> None:
    predictions, references = folders
    for number in (2, 3):
        (predictions / f"segmentation-{number}.nii.gz").unlink()
    scores = evaluate_folders(predictions, references, label="2")  # case 10 has none, others have
    assert scores["undefined"]["ASSD"] == 1
    with pytest.raises(InputError, match=r"Label 4 does not occur in any segmentation of .*: there is 2\."):
        evaluate_folders(predictions, references, label="2,4")


MOVED = AFFINE + np.array([[0, 0, 0, 5.0]] + [[0] * 4] * 3)


@pytest.mark.parametrize(("files", "words"), [
    ({"segmentation-11.nii.gz": (voxels(), AFFINE)}, r"segmentation-11\.nii\.gz, which has no reference"),
    ({f"segmentation-{n}.nii.gz": (voxels(), MOVED) for n in (2, 3)}, "2 cannot be used.*-2.*-3.*lies elsewhere"),
    ({"segmentation-3.nii.gz": (voxels()[:-1], AFFINE)}, "has shape"),
    ({"segmentation-3.nii.gz": (np.full(SHAPE, 0.5, np.float32), AFFINE)}, "fractional"),
    ({"segmentation-3.nii": (voxels(), AFFINE)}, "segmentation-3 in two formats"),
])  # fmt: skip
def test_files_that_do_not_fit(folders: Folders, tmp_path: Path, files: dict[str, Any], words: str) -> None:
    for name, (data, affine) in files.items():
        store(folders[0] / name, data, affine)
    with pytest.raises(InputError, match=words):
        evaluate_folders(*folders, label="2", json_file=tmp_path / "scores.json")
    assert not (tmp_path / "scores.json").exists()


def test_the_table_fits_80_columns_and_shows_what_is_undefined(folders: Folders) -> None:
    for folder in folders:
        store(folder / f"{'long' * 20}-7.nii.gz", voxels((5, 5, 5)))
    text = scores_as_text(evaluate_folders(*folders, label="2"), "2")
    assert max(map(len, text.splitlines())) <= 80
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line}
    assert rows["segmentation-2"] == ["0.000", "1.000", "+0.000", "3.00", "3.00", "3.00"]
    assert rows["segmentation-10"] == ["0.000", "1.000", "–", "–", "–", "–"]
    assert rows["undefined"][1:] == ["0", "0", "0", "1", "1", "1", "1", "1"]
    assert "No prediction holds label 2" not in text
    for path in folders[0].iterdir():
        store(path, voxels((5, 5, 5), label=1))
    assert "No prediction holds label 2" in scores_as_text(evaluate_folders(*folders, label="2"), "2")
