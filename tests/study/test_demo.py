"""The demo's own parts. Its trainings are those of every run, and CI runs the whole command."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scans import checkpoint, lits, mask, store

from lrnet_edu.commands.evaluate import evaluate_folders
from lrnet_edu.config import FAST, Config
from lrnet_edu.data.study import open_study
from lrnet_edu.figures import Picture
from lrnet_edu.methods import METHODS
from lrnet_edu.study import demo
from lrnet_edu.study.demo import (
    DEMO_METHODS,
    LABEL,
    MethodResult,
    demo_config,
    report_text,
    results_as_csv,
    results_as_text,
    run_demo,
)
from lrnet_edu.study.page import as_html
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.run_folder import State


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> tuple[MethodResult, Path, Path]:
    """What an untrained M-Net finds in a folder's test cases, one without a lesion; its run, and the folder."""
    folder = tmp_path_factory.mktemp("demo")
    scans, run = (
        lits(folder / "scans", range(8), label=2),
        checkpoint(folder / "run" / "best.safetensors", LABEL).parent,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRNET_EDU_CACHE", str(folder / "cache"))
        study = open_study(scans, Config(**{**FAST, "label": LABEL}))
        empty = study.cases[study.split["test"][0]].mask
        assert empty is not None
        store(empty, mask(label=1))
        study = open_study(scans, Config(**{**FAST, "label": LABEL}))
        return demo.test_method("M-Net + Dice", State(), study, run), run, scans


def test_the_table_says_what_evaluate_says_of_the_predictions_written(result: tuple[MethodResult, Path, Path]) -> None:
    found, run, scans = result
    [[healthy, voxels]] = found.false_voxels.items()
    scores = evaluate_folders(run / "predictions", scans, label=LABEL)
    by_name = {case["case"].replace("segmentation", "volume"): case for case in scores["cases"]}
    assert set(by_name) == set(found.predictions)
    with_lesion = [case for name, case in by_name.items() if name != healthy]
    assert found.table.mean["DC"] == pytest.approx(np.mean([case["dice"] for case in with_lesion]))
    assert found.table.mean["ASSD"] == pytest.approx(np.mean([case["assd"] for case in with_lesion]))
    assert voxels == np.count_nonzero(found.predictions[healthy])


def test_the_csv_and_the_text_hold_these_numbers(result: tuple[MethodResult, Path, Path]) -> None:
    found = result[0]
    missed = replace(found, title="Missed", table=replace(found.table, mean=dict.fromkeys(found.table.mean, np.nan)))
    lines = list(csv.reader(io.StringIO(results_as_csv({"dice": found, "mapdice": missed}))))
    assert lines[0] == ["method", "DC", "DG", "VOE", "RVD", "ASSD", "MSD", "RMSD"]
    assert lines[1][0] == "dice"
    assert float(lines[1][1]) == pytest.approx(found.table.mean["DC"], abs=1e-4)
    assert lines[2] == ["mapdice"] + [""] * 7
    text = results_as_text([found, missed])
    assert f"{found.table.mean['ASSD']:.2f}" in text
    [[healthy, voxels]] = found.false_voxels.items()
    assert f"{healthy} has no lesion; lesion voxels found there: M-Net + Dice {voxels}, Missed {voxels}." in text


def test_every_method_takes_the_same_steps() -> None:
    configs = [demo_config(method, 0) for method in DEMO_METHODS]
    assert {replace(config, method="dice") for config in configs} == {replace(configs[0], method="dice")}
    assert [METHODS[method].uses_lrnet for method in DEMO_METHODS] == [False, False, True, True]


@pytest.mark.parametrize("name", ["results.csv", "report.html"])
def test_a_file_of_that_name_which_is_not_the_demos_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name} exists and is not the demo's"):
        run_demo(tmp_path)
    assert (tmp_path / name).read_text() == "mine"
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_the_report_shows_the_scores_and_every_picture(result: tuple[MethodResult, Path, Path]) -> None:
    found = result[0]
    text = report_text([found], {"command": "lrnet-edu demo"})
    pictures = {name: Picture(1.0).finish(name) for name in re.findall(r"!\[\]\((\w+)\)", text)}
    html = as_html(text, pictures)
    assert html.count("<img src=") == len(pictures) == 5
    [[_, voxels]] = found.false_voxels.items()
    row = ["M-Net + Dice", *found.cells, str(found.table.undefined["ASSD"]), str(voxels)]
    assert "".join(f"<td>{cell}</td>" for cell in row) in html
