"""The study from phantoms to its page, at its small size on coarse grids."""

import csv
import gzip
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lrnet_edu.data.nifti import read_mask
from lrnet_edu.data.phantoms import settings
from lrnet_edu.methods import METHODS
from lrnet_edu.study import branches, experiment, protocol
from lrnet_edu.study.branches import VALIDATION, distances, read_branch
from lrnet_edu.study.experiment import choose_alphas, reproduce_study
from lrnet_edu.study.protocol import ARMS, THRESHOLDS, plan
from lrnet_edu.support.errors import InputError
from lrnet_edu.trained import load_mnet

COARSE = (((32, 70, 94), (6.0, 3.6, 3.6)),)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(folder, what it returned) of the arms A, B and C with one seed."""
    out = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRNET_EDU_FAST", "1")
        patch.setenv("LRNET_EDU_CACHE", str(out / "cache"))
        for which in ("study", "study-b"):
            patch.setitem(settings.SETS, which, replace(settings.SETS[which], grids=COARSE))
        for arm in set(ARMS) - {"A", "B", "C"}:
            patch.delitem(protocol.ARMS, arm)
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
    assert set(result["arms"]) == {"A", "B", "C", "A-rounding", "C-rounding", "A-scratch", "B-scratch", "C-scratch"}
    assert (out / "study.md").exists()


def test_views_hold_the_same_lesions_and_the_box_is_smaller(study: Any) -> None:
    out, _ = study
    for number in (6, 7):
        whole, box = (read_mask(out / "data" / folder / f"segmentation-{number}.nii.gz").data
                      for folder in ("study", "study-box"))  # fmt: skip
        assert (box == 2).sum() == (whole == 2).sum()
        assert box.size < 0.6 * whole.size


def test_a_finished_study_is_not_made_again(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    out, result = study
    monkeypatch.setattr(experiment, "do_branch", lambda *_: pytest.fail("a finished branch was made again"))
    before = (out / "lesions.csv.gz").read_bytes()
    assert json.dumps(reproduce_study(out, seeds=1)) == json.dumps(result)
    assert (out / "lesions.csv.gz").read_bytes() == before


def test_a_lost_branch_comes_out_the_same_again(study: Any) -> None:
    out, result = study
    (out / "branches" / "C_seed-0.json.gz").unlink()
    assert reproduce_study(out, seeds=1)["cells"] == result["cells"]


def test_other_settings_need_another_folder(study: Any) -> None:
    out, _ = study
    (branch,) = experiment.base_branches(plan(), 1)[1:2]
    assert read_branch(out, branch) is not None
    with pytest.raises(InputError, match="other settings"):
        read_branch(out, replace(branch, config=replace(branch.config, learning_rate=0.5)))


def test_branches_start_from_the_base_and_rounding_from_next_to_it(study: Any) -> None:
    out, _ = study
    size, path = plan(), out / "runs" / "base_seed-0" / "last.safetensors"
    base = load_mnet(path).mnet.state_dict()
    config = size.branch("A", 0, str(path))
    start = METHODS["dice"].model(config, 2).get_submodule("mnet").state_dict()
    assert all(torch.equal(start[name], tensor) for name, tensor in base.items())
    moved = load_mnet(out / "runs" / "A-rounding_seed-1.safetensors").mnet.state_dict()
    for name, tensor in base.items():
        torch.testing.assert_close(moved[name], tensor, rtol=1e-5, atol=0)
    assert any(not torch.equal(moved[name], tensor) for name, tensor in base.items())
    assert load_mnet(out / "mnets" / "C.safetensors").labels == ((2,),)


def test_alpha_is_the_one_with_the_best_mean_on_validation() -> None:
    def record(arm: str, alpha: float, seed: int, dice: float) -> dict[str, Any]:
        case = {"ml": [1.0], "dice": [[dice]] * len(THRESHOLDS), "false_lesions": [0] * len(THRESHOLDS)}
        return {"arm": f"{arm}-alpha-{alpha:g}", "seed": seed, "config": {"alpha": alpha},
                "cells": {"/".join(VALIDATION): {"cases": [case]}}}  # fmt: skip

    records = [record("B", *row) for row in ((1, 0, 0.9), (1, 1, 0.1), (10, 0, 0.6), (10, 1, 0.6), (100, 0, 0.6),
               (100, 1, 0.6))]  # fmt: skip
    chosen = choose_alphas([*records, record("D", 100, 0, 0.3), record("D", 10, 0, 0.2)])
    assert {arm: row["chosen"] for arm, row in chosen.items()} == {"B": 10, "D": 100}
    assert chosen["B"]["validation"] == pytest.approx({1: 0.5, 10: 0.6, 100: 0.6})


def test_distances_of_lesions_that_were_found_and_missed() -> None:
    wanted = np.zeros((8, 8, 24), bool)
    wanted[2:5, 2:5, 2:5] = wanted[2:5, 2:5, 10:13] = wanted[2:5, 2:5, 18:21] = True
    predicted = wanted.copy()
    predicted[2:5, 2:5, 10:13] = False
    predicted[2:5, 2:5, 20] = False  # a layer of the third is missing
    first, second, third = distances(predicted, wanted, (1.0, 1.0, 2.0))
    assert (first, second) == (0, None)
    assert third is not None
    assert 0 < third < 2
    assert branches.distances(~wanted & False, wanted, (1.0, 1.0, 1.0)) == [None] * 3
