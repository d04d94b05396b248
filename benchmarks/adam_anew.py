"""The control of results/NOTES.md: what of the gain of M-Net + LR-Net after a long warm-up is the optimiser's?

    lrnet-edu samples phantoms --cases 60
    python -m benchmarks.adam_anew phantoms [SEED ...]

Where Dice ends with the warm-up, Adam begins anew. So beside M-Net + Dice, and M-Net + LR-Net after half of the steps,
stands M-Net + Dice with Adam begun anew at the same step, all three as in Table 2 on the phantoms. Prints the three
test DCs of each seed.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from lrnet_edu import mnet_training as segmentation
from lrnet_edu.config import Config, short_preset
from lrnet_edu.data.study import Study, open_study
from lrnet_edu.mnet_training import train_run
from lrnet_edu.study.runs import one_thread, score_test_cases
from lrnet_edu.support.run_folder import Task
from lrnet_edu.trained import load_mnet

CPU = torch.device("cpu")


def dc_of_run(study: Study, config: Config) -> float:
    """Train one run, and take the mean Dice of the test cases with an object."""
    with TemporaryDirectory() as folder:
        train_run(study, config, Path(folder) / "run", device="cpu")
        cases = score_test_cases(study, load_mnet(Path(folder) / "run"), CPU)
    return float(np.mean([case["dice"] for case in cases if case["reference_voxels"]]))


def main(data: str, *seeds: str) -> None:
    """Three runs for each seed."""
    for seed in map(int, seeds or "01234"):
        dice = short_preset("cpu", label="2", method="dice", seed=seed, window=(-30.0, 180.0))
        dice = replace(dice, convergence_patience=dice.steps)
        half = dice.steps // 2
        study = open_study(Path(data), dice)

        def anew(*given: Any, half: int = half, **named: Any) -> Task:
            return Task(*given, **{**named, "warmup": half, "restart": True})

        with one_thread(CPU):
            found = [dc_of_run(study, dice)]
            with patch.object(segmentation, "Task", anew):
                found.append(dc_of_run(study, dice))
            found.append(dc_of_run(study, replace(dice, method="lrnet", warmup_steps=half)))
        print(f"seed {seed}: test DC " + ", ".join(f"{dc:.3f}" for dc in found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
