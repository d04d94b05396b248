"""Tables, endpoints and verdicts of the study, from records of branches that were made up."""

import csv
import gzip
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrnet_edu.study.branches import BINS
from lrnet_edu.study.evidence import by_seed, endpoint, write_evidence
from lrnet_edu.study.froc import RATES, THRESHOLDS, at_most
from lrnet_edu.study.protocol import CELLS, PRIMARY

CASES, GAINS = 12, {"A": 0.0, "B": 0.1, "C": 0.2, "D": 0.1, "E": 0.0, "J": -0.1}
CELL = "study/box"


def made_up(arm: str, seed: int) -> dict[str, Any]:
    """A branch whose lesions' Dice rises with the arm's gain; lower thresholds find more and more that is false."""
    patients, luck = np.random.default_rng(7), np.random.default_rng([seed, ord(arm[0]), len(arm)])
    cells = {}
    for cell in map("/".join, CELLS):
        cases = []
        for number in range(CASES):
            ml = patients.lognormal(0, 1.2, 0 if number % 4 == 3 else 5).round(4)
            skill = 0.5 + GAINS[arm[0]] + 0.01 * luck.standard_normal() + 0.1 * patients.standard_normal(len(ml))
            levels = np.linspace(0, 1, len(THRESHOLDS))[:, None]  # (T, 1)
            dice = np.where(levels > patients.uniform(0, 0.8, len(ml)), skill * (1 - 0.5 * levels**3), 0).clip(0, 1)
            cases.append({
                "case": f"volume-{number}", "ml": ml.tolist(), "dice": dice.round(4).tolist(),
                "false_lesions": np.sort(patients.poisson(3 * levels[:, 0] ** 2)).tolist(), "DC": 0.5,
                "ASSD": [1.0 if d else None for d in dice[9]],
            })  # fmt: skip
        cells[cell] = {"cases": cases, "calibration": [[10.0] * BINS, [5.0] * BINS, [4.0] * BINS]}
    log = [{"step": step, "score": 0.5, "train_loss": 0.3, "val_loss": 0.4} for step in (300, 600)]
    return {"arm": arm, "seed": seed, "config": {}, "log": log, "cpu_seconds": 300.0, "cells": cells,
            "versions": {"torch": "2"}, "gradients": {"Dice": 0.1, "LR-Net NI-DM": 1e-3}}  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The study of made-up branches, and what it returned."""
    out = tmp_path_factory.mktemp("study")
    branches = [made_up(arm, seed) for arm in GAINS for seed in range(3)]
    branches += [made_up(arm, seed) for arm in ("A-rounding", "C-rounding") for seed in (1, 2, 3)]
    for one in [made_up(f"{arm}-scratch", seed) for arm in "ACE" for seed in range(3)]:
        branches.append(one | {"cells": {cell: one["cells"][cell] for cell in ("study/whole", CELL)}})
    bases = [made_up("A", seed) | {"arm": arm} for arm, seed in (("base", 0), ("base", 100), ("base-twice", 100))]
    chosen = {arm: {"chosen": 100.0, "validation": {10.0: 0.4, 100.0: 0.5}} for arm in ("B", "D")}
    return out, write_evidence(out, branches, bases, chosen)


def test_the_primary_endpoint_can_be_computed_from_the_two_tables_alone(written: tuple[Path, dict]) -> None:
    out, result = written
    dice, false = defaultdict(list), defaultdict(list)
    with gzip.open(out / "lesions.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            assert int(row["found"]) == (float(row["dice"]) > 0)
            if (row["set"], row["view"]) == ("study", "box") and 0.25 <= float(row["ml"]) < 5:
                dice[row["arm"], row["seed"], float(row["threshold"])].append(float(row["dice"]))
    with (out / "cases.csv").open() as file:
        for row in csv.DictReader(file):
            if (row["set"], row["view"]) == ("study", "box"):
                false[row["arm"], row["seed"], float(row["threshold"])].append(int(row["false_lesions"]))
    for arm in GAINS:
        for seed in range(3):
            curve = [[np.mean(table[arm, str(seed), t]) for t in THRESHOLDS] for table in (false, dice)]
            expected = at_most(RATES, *map(np.array, curve)).mean()
            assert result["cells"][CELL]["endpoints"][arm]["mean lesion Dice"][seed] == pytest.approx(expected)


def test_differences_are_paired_by_seed_with_a_t_interval(written: tuple[Path, dict]) -> None:
    rows = {(row["ours"], row["theirs"]): row for row in written[1]["cells"][CELL]["gains"]}
    assert set(rows) == set(PRIMARY)
    ours, theirs = ([endpoint(made_up(arm, seed)["cells"][CELL]) for seed in range(3)] for arm in ("C", "A"))
    row = rows["C", "A"]
    assert row["by_seed"] == pytest.approx(np.subtract(ours, theirs))
    assert row["low"] < row["boot_high"]
    assert row["boot_low"] < row["mean"] < row["boot_high"]
    assert row["verdict"] == "ahead"


def test_the_bootstrap_weighs_the_cases_of_the_curve() -> None:
    """Cases that count several times make the curve of a study in which they occur several times."""
    cell, times = made_up("C", 0)["cells"][CELL], np.array([[1.0, 3, 0, 0, 0, 2, 1, 0, 1, 1, 1, 2]])
    repeated = [case for case, n in zip(cell["cases"], times[0], strict=True) for _ in range(int(n))]
    assert by_seed([cell], times)[0] == pytest.approx(endpoint({"cases": repeated}))


def test_the_page_says_what_the_numbers_say(written: tuple[Path, dict]) -> None:
    out, result = written
    text = (out / "study.md").read_text("utf-8")
    assert json.loads((out / "study.json").read_text("utf-8")) == json.loads(json.dumps(result))
    for row in result["cells"][CELL]["gains"]:
        assert f"{row['mean']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}; 3 seeds)" in text
    assert "C (LR-Net alone) is ahead of A (Dice)" in text
    assert "For C (LR-Net alone) the paper's claim is established." in text
    assert "the paper's claim is refuted in this setting: D, without an LR-Net, is equal within 0.02." in text
    assert "**C-scratch (LR-Net alone) is ahead of E-scratch (SmoothL1(p, mask) alone): +0" in text
    for name in ("curves", "forest", "scratch", "learning"):
        assert f"study_{name}.png" in text
        assert (out / f"study_{name}.png").stat().st_size > 10_000
