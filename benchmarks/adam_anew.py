"""The control of results/NOTES.md: M-Net + Dice, with Adam begun anew after half of the steps, as a tandem's has to.

    lrnet-edu samples phantoms --cases 60
    python -m benchmarks.adam_anew phantoms [SEED ...]

Everything else is as in Table 2 on the phantoms. Prints the test DC of each seed.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np

from lrnet_edu import segmentation
from lrnet_edu.config import short_preset
from lrnet_edu.experiments import one_thread, score_test_cases
from lrnet_edu.segmentation import load_mnet, open_study, train_run
from lrnet_edu.training import Task, choose_device


def main(data: str, *seeds: str) -> None:
    """Train and test one run for each seed."""
    for seed in map(int, seeds or "01234"):
        config = short_preset("cpu", label="2", method="dice", seed=seed, window=(-30.0, 180.0))
        config = replace(config, convergence_patience=config.steps)
        study, cpu = open_study(Path(data), config), choose_device("cpu")

        def task(*given: Any, half: int = config.steps // 2, **named: Any) -> Task:
            return Task(*given, **{**named, "warmup": half, "restart": True})

        with TemporaryDirectory() as folder, patch.object(segmentation, "Task", task), one_thread(cpu):
            train_run(study, config, Path(folder) / "run", device="cpu")
            cases = score_test_cases(study, load_mnet(Path(folder) / "run"), cpu)
        dice = [case["dice"] for case in cases if case["reference_voxels"]]
        print(f"seed {seed}: test DC {np.mean(dice):.3f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
