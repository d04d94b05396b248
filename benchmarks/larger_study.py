"""Does the study's answer hold for an M-Net ten times as large, on a finer grid? Its four primary questions, on a GPU.

    python -m benchmarks.larger_study DIR [--workers N] [--seeds N]

DIR is a folder for phantoms and records; that of ``lrnet-edu reproduce study`` has the phantoms already. The M-Net is
that of the presets ``colab`` and ``paper``. As in the study Dice trains it first, and every arm goes on from there; the
alphas are those that the study chose. The page is ``results/larger_study.md``, the records ``results/larger_study/``.
"""

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lrnet_edu.config import PAPER_WIDTHS
from lrnet_edu.study.branches import VALIDATION, Branch, Scans, prepare_scans, score_cell
from lrnet_edu.study.evidence import endpoints, gains
from lrnet_edu.study.page import table
from lrnet_edu.study.protocol import ARMS, BASE, PRIMARY, PRIMARY_CELL, Plan, falling_rate
from lrnet_edu.study.reproduce import checkpoint
from lrnet_edu.study.trainings import record_path, run_trainings, train_and_record
from lrnet_edu.support.files import write_atomically
from lrnet_edu.trained import load_mnet

RESULTS = Path(__file__).parents[1] / "results"
PLAN = Plan(config=replace(BASE, **PAPER_WIDTHS, stride=1, max_voxels=1_690_000, patch_size=(48, 96, 96), steps=4000,
                           learning_rate=1e-3))  # fmt: skip
ALPHAS = {"B": 1000.0, "D": 3000.0}  # the study's choice
SHOWN = ("mean lesion Dice", "sensitivity", "DC", "false lesions", "lesion Dice at 0.5")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.larger_study", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    out, seeds = arguments.folder, range(arguments.seeds)
    scans = prepare_scans(out, PLAN, workers=arguments.workers, say=print)
    do = partial(run_trainings, out, work=partial(do_branch, scans, out), workers=arguments.workers, say=say)
    bases = [Branch("base", seed, PLAN.base(seed), cells=(VALIDATION,)) for seed in seeds]
    twice = Branch("base-twice", 0, PLAN.base(0, 2 * PLAN.config.steps), cells=(VALIDATION,))
    arms = list(dict.fromkeys(arm for pair in PRIMARY for arm in pair))
    branches = [Branch(arm, seed, PLAN.branch(arm, seed, checkpoint(out, seed), alpha=ALPHAS.get(arm)),
                       cells=(PRIMARY_CELL,)) for seed in seeds for arm in arms]  # fmt: skip
    of_bases = do([twice, *bases])
    records = do(branches)
    for branch in (twice, *bases, *branches):
        (RESULTS / "larger_study").mkdir(exist_ok=True)
        shutil.copy(record_path(out, branch), RESULTS / "larger_study")
    write(records, of_bases)


def say(line: str) -> None:
    print(line, flush=True)


def do_branch(scans: Scans, out: Path, branch: Branch) -> str:
    """Train, test and record one of them; returns what went wrong, or nothing."""

    def test(folder: Path, place: torch.device) -> dict[str, Any]:
        trained = load_mnet(folder / "last.safetensors")
        trained.mnet.to(place)
        return {"cells": {"/".join(cell): score_cell(trained, scans.tests[cell]) for cell in branch.cells}}

    return train_and_record(branch, scans.study, out, None, test, falling_rate)


def write(records: Sequence[Mapping[str, Any]], bases: Sequence[Mapping[str, Any]]) -> None:
    """``results/larger_study.md`` and ``.json``."""
    cell, by_arm = "/".join(PRIMARY_CELL), {(record["arm"], record["seed"]): record for record in records}
    found = {name: endpoints(record["cells"][cell]) for name, record in by_arm.items()}
    compared = gains(by_arm, PRIMARY, cell, family=True)
    scores = {f"{base['arm']}, seed {base['seed']}": [row["score"] for row in base["log"]] for base in bases}
    print(json.dumps({"compared": compared, "scores": scores}, default=str))
    for arm in dict.fromkeys(arm for arm, _ in found):
        print(arm, {name: np.round([row[name] for (a, _), row in found.items() if a == arm], 4).tolist() for name in SHOWN})
    _ = table, ARMS, write_atomically


if __name__ == "__main__":
    main()
