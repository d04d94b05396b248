"""Scores of folders: values worked out by hand, the JSON's layout, which file belongs to which."""

from __future__ import annotations

import json
import math
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scans import AFFINE, SHAPE, load, store

from lrnet_edu.commands.evaluate import evaluate_folders, scores_as_text, without_prediction
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import folder_lock

STEP = 1.5  # mm between two voxels along x, see AFFINE


def voxels(*places: tuple[int, int, int], label: int = 2) -> np.ndarray:
    """A mask of single voxels (z, y, x)."""
    mask = np.zeros(SHAPE, np.uint8)
    for place in places:
        mask[place] = label
    return mask


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three cases: two steps aside, one voxel of two found, one voxel found where there is none."""
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    store(predictions / "segmentation-10.nii.gz", voxels((5, 5, 5)))
    store(references / "segmentation-10.nii.gz", voxels())
    store(predictions / "segmentation-2.nii.gz", voxels((5, 5, 5)))
    store(references / "segmentation-2.nii.gz", voxels((5, 5, 7)))
    store(predictions / "segmentation-3.nii.gz", voxels((5, 5, 5)))
    store(references / "segmentation-3.nii.gz", voxels((5, 5, 5), (5, 5, 6)))
    return predictions, references


CRITERIA = ("dice", "voe", "rvd", "assd", "msd", "rmsd")
ROOT = STEP / math.sqrt(3)  # of the mean of 0, 0 and STEP squared
BY_HAND: dict[str, Any] = {
    "cases": [
        {"case": name, **dict(zip(CRITERIA, values, strict=True))}
        for name, values in {
            "segmentation-2": (0, 1, 0, 2 * STEP, 2 * STEP, 2 * STEP),
            "segmentation-3": (2 / 3, 0.5, -0.5, STEP / 3, STEP, ROOT),
            "segmentation-10": (0, 1, None, None, None, None),
        }.items()
    ],
    "mean": {
        "DC": 2 / 9,
        "DG": 2 / 6,
        "VOE": 2.5 / 3,
        "RVD": -0.25,
        "abs_RVD": 0.25,
        "ASSD": 1.75,
        "MSD": 2.25,
        "RMSD": (3 + ROOT) / 2,
    },
    "undefined": {"DC": 0, "DG": 0, "VOE": 0, "RVD": 1, "abs_RVD": 1, "ASSD": 1, "MSD": 1, "RMSD": 1},
}


def assert_equal(scores: dict[str, Any], expected: dict[str, Any]) -> None:
    """Equal keys in equal order, and equal values up to rounding."""
    assert list(scores) == list(expected)
    assert [list(case) for case in scores["cases"]] == [list(case) for case in expected["cases"]]
    for case, wanted in zip(scores["cases"], expected["cases"], strict=True):
        assert case == pytest.approx(wanted)
    assert list(scores["mean"]) == list(expected["mean"])
    assert scores["mean"] == pytest.approx(expected["mean"])
    assert scores["undefined"] == expected["undefined"]


def test_json_against_values_worked_out_by_hand(folders: tuple[Path, Path], tmp_path: Path) -> None:
    scores = evaluate_folders(*folders, label="2", json_file=tmp_path / "new" / "scores.json")
    assert_equal(scores, BY_HAND)
    text = (tmp_path / "new" / "scores.json").read_text()
    assert "NaN" not in text
    assert_equal(json.loads(text), BY_HAND)


def test_a_mean_without_any_defined_case_is_null(tmp_path: Path) -> None:
    store(tmp_path / "p/a.nii.gz", voxels())
    store(tmp_path / "r/a.nii.gz", voxels((5, 5, 5)))
    scores = evaluate_folders(tmp_path / "p", tmp_path / "r", label="2", json_file=tmp_path / "scores.json")
    assert scores["mean"]["ASSD"] is None
    assert scores["mean"]["RVD"] == -1
    assert json.loads((tmp_path / "scores.json").read_text()) == scores


def test_several_objects_stand_under_their_labels(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for path in [path for folder in folders for path in folder.iterdir()]:
        mask = load(path).copy()
        mask[2, 2, 2] = 1
        store(path, mask)
    scores = evaluate_folders(*folders, label="2,1", json_file=tmp_path / "scores.json")
    assert list(json.loads((tmp_path / "scores.json").read_text())) == list(scores) == ["2", "1"]
    assert_equal(scores["2"], BY_HAND)
    assert [case["dice"] for case in scores["1"]["cases"]] == [1, 1, 1]
    assert scores["1"]["mean"]["DC"] == scores["1"]["mean"]["DG"] == 1


def test_a_union_is_one_object(tmp_path: Path) -> None:
    reference = voxels((5, 5, 5)) + voxels((5, 5, 6), label=1)
    store(tmp_path / "r/a.nii.gz", reference)
    store(tmp_path / "p/a.nii.gz", (reference > 0).astype(np.uint8))  # a union is written as its first number
    assert evaluate_folders(tmp_path / "p", tmp_path / "r", label="1+2")["mean"]["DC"] == 1
    store(tmp_path / "r/a.nii.gz", reference + voxels((1, 1, 1), label=3))
    assert list(evaluate_folders(tmp_path / "p", tmp_path / "r", label="1+2,3")) == ["1+2", "3"]


def test_what_is_scored_and_against_what(folders: tuple[Path, Path]) -> None:
    predictions, references = folders
    store(predictions / "segmentation-2_probability-2.nii.gz", np.full(SHAPE, 0.5, np.float32))
    store(predictions / "._segmentation-2.nii.gz", voxels())
    (predictions / "log.txt").write_text("no mask")
    (predictions / "segmentation-3.nii.gz").unlink()
    store(predictions / "segmentation-3.nii", voxels((5, 5, 5)))  # .nii stands for .nii.gz
    store(references / "segmentation-77.nii.gz", voxels((5, 5, 5)))  # more than was predicted
    store(references / "volume-2.nii.gz", np.full(SHAPE, -1000, np.int16))  # the LiTS layout
    assert_equal(evaluate_folders(predictions, references, label="2"), BY_HAND)


def test_a_decathlon_data_set_and_its_labels_are_references(tmp_path: Path) -> None:
    for number in (1, 2):
        store(tmp_path / f"Task/imagesTr/c_{number}.nii.gz", np.full(SHAPE, -1000, np.int16))
        store(tmp_path / f"Task/labelsTr/c_{number}.nii.gz", voxels((5, 5, number)))
        store(tmp_path / f"p/c_{number}.nii.gz", voxels((5, 5, 1)))
    pairs = [{"image": f"./imagesTr/c_{n}.nii.gz", "label": f"./labelsTr/c_{n}.nii.gz"} for n in (1, 2)]
    (tmp_path / "Task/dataset.json").write_text(json.dumps({"training": pairs}))
    for references in (tmp_path / "Task", tmp_path / "Task/labelsTr"):
        scores = evaluate_folders(tmp_path / "p", references, label="2")
        assert [(case["case"], case["dice"]) for case in scores["cases"]] == [("c_1", 1), ("c_2", 0)]


def test_a_label_must_occur_but_not_in_every_case(folders: tuple[Path, Path]) -> None:
    predictions, references = folders
    for number in (2, 3):
        (predictions / f"segmentation-{number}.nii.gz").unlink()
    scores = evaluate_folders(predictions, references, label="2")  # case 10 has none, others have
    assert scores["undefined"]["ASSD"] == 1
    with pytest.raises(InputError, match=r"Label 4 does not occur in any segmentation of .*: there is 2\."):
        evaluate_folders(predictions, references, label="2,4")


def test_names_whose_accents_are_stored_apart_are_the_same_names(tmp_path: Path) -> None:
    """As a Mac's archive may bring them."""
    together, apart = (unicodedata.normalize(form, "Zoë.nii.gz") for form in ("NFC", "NFD"))
    assert together != apart
    for first, second in ((together, apart), (apart, together)):
        predictions, references = tmp_path / first / "predictions", tmp_path / first / "references"
        store(predictions / first, voxels((5, 5, 5)))
        store(references / second, voxels((5, 5, 5)))
        assert evaluate_folders(predictions, references, label="2")["mean"]["DC"] == 1


def test_files_that_do_not_fit(folders: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, references = folders
    json_file = tmp_path / "scores.json"

    def refused(match: str, label: str = "2") -> None:
        with pytest.raises(InputError, match=match):
            evaluate_folders(predictions, references, label=label, json_file=json_file)
        assert not json_file.exists()

    store(predictions / "segmentation-11.nii.gz", voxels())
    refused(r"segmentation-11\.nii\.gz has no reference")
    (predictions / "segmentation-11.nii.gz").unlink()
    moved = AFFINE.copy()
    moved[0, 3] += 5
    store(predictions / "segmentation-3.nii.gz", voxels((5, 5, 5)), moved)
    refused("different grids")
    store(predictions / "segmentation-3.nii.gz", voxels((5, 5, 5))[:-1])
    refused("different grids")
    store(predictions / "segmentation-3.nii.gz", np.full(SHAPE, 0.5, np.float32))
    refused("fractional")
    store(predictions / "segmentation-3.nii.gz", voxels((5, 5, 5)))
    store(predictions / "segmentation-3.nii", voxels((5, 5, 5)))
    refused(r"as \.nii and as \.nii\.gz")


def test_json_replaces_scores_only(folders: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "scores.json"
    for label in ("2", "2"):  # again
        evaluate_folders(*folders, label=label, json_file=target)
    for foreign in ('{"training": []}', "{}", "[1]", "no json"):
        target.write_text(foreign)
        with pytest.raises(InputError, match="exists and holds no scores"):
            evaluate_folders(*folders, label="2", json_file=target)
        assert target.read_text() == foreign
    with pytest.raises(InputError):
        evaluate_folders(*folders, label="2", json_file=tmp_path)


def test_two_at_once_write_their_scores_in_turn(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Only the writing waits; what a killed process left goes."""
    out = tmp_path / "scores" / "a.json"
    with ThreadPoolExecutor() as other:
        with folder_lock(out.parent, out.name):
            (out.parent / ".a.json.4711.part").write_text("{")
            done = other.submit(evaluate_folders, *folders, label="2", json_file=out)
            with pytest.raises(TimeoutError):
                done.result(timeout=0.5)
            assert not out.exists()
        assert done.result() == json.loads(out.read_text())
    assert [path.name for path in out.parent.iterdir()] == ["a.json"]


def test_the_table_fits_80_columns(folders: tuple[Path, Path]) -> None:
    for folder in folders:
        store(folder / f"{'long' * 20}-7.nii.gz", voxels((5, 5, 5)))
    lines = scores_as_text(evaluate_folders(*folders, label="2"), "2").splitlines()
    assert max(map(len, lines)) <= 80
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert rows["segmentation-3"] == ["0.667", "0.500", "-0.500", "0.50", "1.50", "0.87"]
    assert rows["segmentation-10"] == ["0.000", "1.000", "-", "-", "-", "-"]
    assert rows["undefined"] == ["0", "0", "1", "1", "1", "1"]
    assert any(name.startswith("..") and name.endswith("long-7") for name in rows)
    assert "mm" in lines[0]
    assert "Without label 2: 1 of the 4 references." in "\n".join(lines)
    widths = {len(line) for line in lines if line.startswith(("case", "segmentation", "mean", "undef", ".."))}
    assert len(widths) == 1


def test_predictions_of_another_label_are_noticed(tmp_path: Path) -> None:
    store(tmp_path / "r/a.nii.gz", voxels((5, 5, 5)))
    store(tmp_path / "r/b.nii.gz", voxels((5, 5, 5)))
    store(tmp_path / "p/a.nii.gz", voxels())
    for name in "pr":
        store(tmp_path / name / "c.nii.gz", voxels())

    def said(**found: Any) -> bool:
        for name, data in found.items():
            store(tmp_path / f"p/{name}.nii.gz", data)
        text = scores_as_text(evaluate_folders(tmp_path / "p", tmp_path / "r", label="2"), "2")
        assert "Without label 2: 1 of the 3 references." in text
        return "No prediction holds label 2" in text

    assert said(b=voxels())
    assert not said(b=voxels((5, 5, 5)))
    assert not said(b=voxels(), c=voxels((5, 5, 5)))


def test_references_without_a_prediction_are_named(tmp_path: Path) -> None:
    for name in ("a", "b", "c10", "c9"):
        store(tmp_path / f"r/{name}.nii.gz", voxels((5, 5, 5)))
    for name in ("a.nii", "b.nii.gz"):
        store(tmp_path / "p" / name, voxels((5, 5, 5)))
    said = without_prediction(tmp_path / "p", tmp_path / "r")
    assert said == "Scored 2 of 4 references; without a prediction: c9.nii.gz, c10.nii.gz."
    assert without_prediction(tmp_path / "r", tmp_path / "r") is None


def test_large_numbers_do_not_run_into_their_neighbours(tmp_path: Path) -> None:
    store(tmp_path / "r/a.nii.gz", voxels((5, 5, 5)))
    everything = np.full_like(voxels(), 2)
    store(tmp_path / "p/a.nii.gz", everything)
    text = scores_as_text(evaluate_folders(tmp_path / "p", tmp_path / "r", label="2"), "2")
    (row,) = [line.split() for line in text.splitlines() if line.startswith("a ")]
    assert len(row) == 7
    assert float(row[3]) == everything.size - 1
