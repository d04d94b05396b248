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
from lrnet_edu.study.demo import DEMO_METHODS, LABEL, MethodResult, as_html, demo_config, result_rows, run_demo
from lrnet_edu.support.errors import InputError


def test_all_tables_say_what_evaluate_says_of_the_predictions_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LRNET_EDU_CACHE", str(tmp_path / "cache"))
    scans, run = (
        lits(tmp_path / "scans", range(8), label=2),
        checkpoint(tmp_path / "run/best.safetensors", LABEL).parent,
    )
    study = open_study(scans, Config(**{**FAST, "label": LABEL}))
    healthy = study.split["test"][0]
    store(scans / f"{healthy.replace('volume', 'segmentation')}.nii.gz", mask(label=1))
    found = demo.test_method(open_study(scans, Config(**{**FAST, "label": LABEL})), run)
    cases = evaluate_folders(run / "predictions", scans, label=LABEL)["cases"]
    assert {case["case"].replace("segmentation", "volume") for case in cases} == set(found.masks)
    expected = [case for case in cases if case["case"].replace("segmentation", "volume") != healthy]
    means = {name: np.mean([case[name] for case in expected]) for name in ("dice", "assd")}

    missed = [one | dict.fromkeys(("assd", "msd", "rmsd")) for one in found.records]
    results = {"dice": found, "mapdice": MethodResult(missed, {})}
    demo.write_results(tmp_path / "results.csv", results)
    heads, first, second = csv.reader((tmp_path / "results.csv").open())
    assert heads == ["method", "DC", "DG", "VOE", "RVD", "ASSD", "MSD", "RMSD"]
    assert (first[0], second[0], second[5:]) == ("dice", "mapdice", [""] * 3)
    assert [float(first[1]), float(first[5])] == pytest.approx([means["dice"], means["assd"]], abs=1e-4)
    _, row, _ = result_rows(results)
    assert (row[0], row[1], row[5]) == ("M-Net + Dice", f"{means['dice']:.3f}", f"{means['assd']:.2f}")
    assert row[-1] == str(np.count_nonzero(found.masks[healthy]))
    assert as_html([["a", "<b>"], ["1", "2"]]) == "<tr><th>a</th><th>&lt;b&gt;</th></tr>\n<tr><td>1</td><td>2</td></tr>"


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
