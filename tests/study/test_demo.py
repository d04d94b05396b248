"""The demo at its small size: every stage runs, and leaves what it promises."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from lrnet_edu.commands.evaluate import evaluate_folders
from lrnet_edu.commands.predict import predict_files
from lrnet_edu.data.nifti import read_image, read_mask
from lrnet_edu.data.samples import sample_folder
from lrnet_edu.methods import METHODS
from lrnet_edu.study.demo import COLUMNS, DEMO_METHODS, LABEL, run_demo
from lrnet_edu.support.errors import InputError


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRNET_EDU_FAST", "1")
        patch.setenv("LRNET_EDU_CACHE", str(folder / "cache"))
        run_demo(folder / "out")
    return folder / "out"


def rows_of(demo: Path) -> list[dict[str, str]]:
    with (demo / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_table_has_a_row_for_each_method(demo: Path) -> None:
    rows = rows_of(demo)
    assert [row["method"] for row in rows] == ["dice", "mapdice", "dice+lrnet", "mapdice+lrnet"]
    assert list(rows[0]) == ["method", *COLUMNS]


def test_the_table_says_what_evaluate_says_of_the_cases_with_a_lesion(demo: Path) -> None:
    """The demo scores the written files; so does the command, over all test cases."""
    for row in rows_of(demo):
        scores = evaluate_folders(demo / row["method"] / "predictions", sample_folder(), label=LABEL)
        with_lesion = [
            case for case in scores["cases"] if np.any(read_mask(sample_folder() / f"{case['case']}.nii.gz").data == 2)
        ]
        assert 0 < len(with_lesion) < len(scores["cases"])
        assert math.isclose(float(row["DC"]), np.mean([case["dice"] for case in with_lesion]), abs_tol=1e-4)


def test_all_methods_take_the_same_steps_and_test_what_no_training_saw(demo: Path) -> None:
    for method in DEMO_METHODS:
        last = (demo / method / "log.csv").read_text().splitlines()[-1]
        assert last.split(",")[0] == (demo / "dice" / "log.csv").read_text().splitlines()[-1].split(",")[0]
        assert (demo / method / "split.json").read_text() == (demo / "dice" / "split.json").read_text()


def test_predict_accepts_its_runs(demo: Path, tmp_path: Path) -> None:
    scan = sample_folder() / "volume-3.nii.gz"
    predict_files(demo / "dice+lrnet", scan, tmp_path / "lesions.nii.gz")
    assert read_mask(tmp_path / "lesions.nii.gz").data.shape == read_image(scan).data.shape


def test_the_report_opens_offline_and_names_every_method(demo: Path) -> None:
    page = (demo / "report.html").read_text("utf-8")
    assert all(METHODS[method].title in page for method in DEMO_METHODS)
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_another_seed_does_not_overwrite_it(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRNET_EDU_FAST", "1")
    monkeypatch.setenv("LRNET_EDU_CACHE", str(demo.parent / "cache"))
    with pytest.raises(InputError, match="other settings"):
        run_demo(demo, seed=1)


@pytest.mark.parametrize("name", ["results.csv", "report.html"])
def test_a_file_of_that_name_which_is_not_the_demos_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name} exists and is not the demo's"):
        run_demo(tmp_path)
    assert (tmp_path / name).read_text() == "mine"
    assert list(tmp_path.iterdir()) == [tmp_path / name]
