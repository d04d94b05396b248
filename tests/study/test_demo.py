"""The demo's own parts. Its trainings are those of every run, and CI runs the whole command."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scans import checkpoint, lits, mask, store

from lrnet_edu.commands.evaluate import evaluate_folders
from lrnet_edu.config import FAST, Config
from lrnet_edu.data.study import open_study
from lrnet_edu.methods import METHODS
from lrnet_edu.study import demo
from lrnet_edu.study.demo import DEMO_METHODS, LABEL, MethodResult, demo_config, run_demo
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


def test_all_tables_hold_these_numbers(result: tuple[MethodResult, Path, Path], tmp_path: Path) -> None:
    found = result[0]
    missed = replace(found, title="Missed", table=replace(found.table, mean=dict.fromkeys(found.table.mean, np.nan)))
    demo.write_results(tmp_path / "results.csv", {"dice": found, "mapdice": missed})
    lines = list(csv.reader((tmp_path / "results.csv").open()))
    assert lines[0] == ["method", "DC", "DG", "VOE", "RVD", "ASSD", "MSD", "RMSD"]
    assert lines[1][0] == "dice"
    assert float(lines[1][1]) == pytest.approx(found.table.mean["DC"], abs=1e-4)
    assert lines[2] == ["mapdice"] + [""] * 7
    _, row, _ = demo.result_rows([found, missed])
    [[_, voxels]] = found.false_voxels.items()
    assert row[0] == "M-Net + Dice"
    assert row[5] == f"{found.table.mean['ASSD']:.2f}"
    assert row[-1] == str(voxels)


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
