"""The study from its phantoms to its page, on coarse grids: nothing is made twice."""

import csv
import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lrnet_edu.data.phantoms import settings
from lrnet_edu.methods import METHODS
from lrnet_edu.study import protocol
from lrnet_edu.study import reproduce_study as study_commands
from lrnet_edu.study.branches import VALIDATION, distances
from lrnet_edu.study.froc import THRESHOLDS
from lrnet_edu.study.protocol import ARMS, Plan, study_plan
from lrnet_edu.study.reproduce_study import base_branches, choose_alphas, reproduce_study
from lrnet_edu.study.trainings import read_record
from lrnet_edu.support.errors import InputError
from lrnet_edu.trained import load_mnet

COARSE = (((32, 70, 94), (6.0, 3.6, 3.6)),)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(folder, what it returned) of the arms A, B, C and E with one seed."""
    out = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRNET_EDU_FAST", "1")
        for which in ("study", "study-b"):
            patch.setitem(settings.SETS, which, replace(settings.SETS[which], grids=COARSE))
        for arm in set(ARMS) - {"A", "B", "C", "E"}:
            patch.delitem(protocol.ARMS, arm)
        patch.delitem(protocol.SCRATCH, "D")
        yield out, reproduce_study(out, seeds=1)


def test_every_branch_is_in_the_tables_with_its_visible_lesions(study: Any) -> None:
    out, result = study
    with (out / "data" / "detectability.csv").open() as file:
        visible = [row for row in csv.DictReader(file) if float(row["d_prime"]) >= 3]
    with gzip.open(out / "lesions.csv.gz", "rt") as file:
        rows = [row for row in csv.DictReader(file) if row["arm"] == "C" and float(row["threshold"]) == 0.5]
    for which, tested in (("study", range(6, 9)), ("study-b", range(3))):
        expected = sorted(float(row["ml"]) for row in visible if row["set"] == which and int(row["case"]) in tested)
        for view in ("whole", "box"):
            found = [float(row["ml"]) for row in rows if (row["set"], row["view"]) == (which, view)]
            assert sorted(found) == pytest.approx(expected, abs=1e-3)
    assert set(result["arms"]) == {*"ABCE", "A-rounding", "C-rounding", *(f"{arm}-scratch" for arm in "ABCE")}
    assert (out / "study.md").exists()


def test_a_finished_study_is_not_made_again(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    out, result = study
    monkeypatch.setattr(study_commands, "do_branch", lambda *_: pytest.fail("a finished branch was made again"))
    before = (out / "lesions.csv.gz").read_bytes()
    assert json.dumps(reproduce_study(out, seeds=1)) == json.dumps(result)
    assert (out / "lesions.csv.gz").read_bytes() == before
    monkeypatch.undo()
    (out / "branches" / "C_seed-0.json.gz").unlink()  # a lost one comes out the same again, from its base trained again
    shutil.rmtree(out / "runs" / "base_seed-0")
    assert reproduce_study(out, seeds=1)["cells"] == result["cells"]


def test_branches_start_from_the_base_and_rounding_from_next_to_it(study: Any) -> None:
    out, _ = study
    plan, path = study_plan(), out / "runs" / "base_seed-0" / "last.safetensors"
    base = load_mnet(path).mnet.state_dict()
    config = plan.branch("A", 0, str(path))
    start = METHODS["dice"].model(config, 2).get_submodule("mnet").state_dict()
    assert all(torch.equal(start[name], tensor) for name, tensor in base.items())
    moved = load_mnet(out / "runs" / "A-rounding_seed-1.safetensors").mnet.state_dict()
    for name, tensor in base.items():
        torch.testing.assert_close(moved[name], tensor, rtol=1e-5, atol=0)
    assert any(not torch.equal(moved[name], tensor) for name, tensor in base.items())
    shipped = load_mnet(out / "mnets" / "base.safetensors").mnet.state_dict()
    for name, tensor in base.items():  # in half precision
        torch.testing.assert_close(shipped[name], tensor, rtol=1e-3, atol=1e-6)
    assert load_mnet(out / "mnets" / "C.safetensors").labels == ((2,),)


def test_the_committed_records_are_those_of_todays_settings() -> None:
    """Whoever changes what a training depends on sees here that the study would have to be run again."""
    folder, plan = Path(__file__).parents[2] / "results" / "study", Plan()
    bases, twice = base_branches(plan, folder, 10)
    chosen = json.loads((folder / "study.json").read_text("utf-8"))["chosen"]
    tested = study_commands.branches_to_test(plan, folder, 10, {arm: row["chosen"] for arm, row in chosen.items()})
    selection = study_commands.selection_branches(plan, folder)
    branches = [*bases.values(), twice, *selection, *(one for part in tested for one in part)]
    assert [branch.name for branch in branches if not read_record(folder, branch)] == []
    with pytest.raises(InputError, match="other settings"):
        read_record(folder, replace(twice, config=replace(twice.config, learning_rate=0.5)))


def test_alpha_is_the_one_with_the_best_mean_on_validation() -> None:
    def record(arm: str, alpha: float, seed: int, dice: float) -> dict[str, Any]:
        case = {"ml": [1.0], "dice": [[dice]] * len(THRESHOLDS), "false_lesions": [0] * len(THRESHOLDS)}
        return {"arm": f"{arm}-alpha-{alpha:g}", "seed": seed, "config": {"alpha": alpha},
                "cells": {"/".join(VALIDATION): {"cases": [case]}}}  # fmt: skip

    rows = ((1, 0, 0.9), (1, 1, 0.1), (10, 0, 0.6), (10, 1, 0.6), (100, 0, 0.6), (100, 1, 0.6))
    given = [record("B", *row) for row in rows]
    chosen = choose_alphas([*given, record("D", 100, 0, 0.3), record("D", 10, 0, 0.2)])
    assert {arm: row["chosen"] for arm, row in chosen.items()} == {"B": 10, "D": 100}
    assert chosen["B"]["validation"] == pytest.approx({1: 0.5, 10: 0.6, 100: 0.6})


def test_distances_of_lesions_that_were_found_and_missed() -> None:
    wanted = np.zeros((8, 8, 16), bool)
    wanted[2:5, 2:5, 2:5] = wanted[2:5, 2:5, 10:13] = True
    predicted = wanted.copy()
    predicted[2:5, 2:5, 10:13] = False
    assert distances(predicted, wanted, (1.0, 1.0, 2.0)) == [0, None]
