"""Train the five LR-Nets that ship with the package, on random shapes alone, and report how good they are.

    python -m benchmarks.lrnet_weights [NAME ...]
    python -m benchmarks.lrnet_weights NAME --last
    python -m benchmarks.lrnet_weights --judge

NAME is one of ``lrnet_ni-dm_relu`` and so on; without one, all five. ``--last`` trains the last stage alone, from the
weights that are there. ``--judge`` trains nothing and measures them. The weights go to ``lrnet_edu/weights``, the
figures to ``results/lrnet/NAME.json`` and all together to ``results/lrnet.md``. Lesions of real scans (the masks of
``sarcoma_ct`` on a 2 mm grid) are measured if ``LRNET_EDU_REAL_DATA`` names their folder; no training sees them.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import sys
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from scipy import ndimage

from lrnet_edu.config import pretrain_config
from lrnet_edu.data.cache import cache_cases
from lrnet_edu.data.cases import find_cases
from lrnet_edu.data.preprocessing import Preprocessing
from lrnet_edu.data.samples import sample_folder
from lrnet_edu.distance_maps import distance_map
from lrnet_edu.lrnet_training import LRNetQuality, held_out_shapes, lrnet_quality, pretrain_run, soft_response
from lrnet_edu.support.labels import parse_labels
from lrnet_edu.support.voxels import connected_components
from lrnet_edu.trained import load_lrnet, lrnet_file_name

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "lrnet_edu" / "weights"
PAIRS = (("NI-DM", "relu"), ("NI-DM", "sigmoid"), ("O-DM", "relu"), ("I-DM", "relu"), ("SNI-DM", "tanh"))
# One stage after the other: the second goes on from the first's best weights, in smaller steps.
STAGES = (
    {"steps": 2400, "validate_every": 600, "soft": 0.25, "cubes": ((16, 4), (24, 2), (32, 2), (48, 2)),
     "max_gradient_norm": None},
    {"steps": 1500, "validate_every": 500, "soft": 0.2, "cubes": ((16, 4), (20, 2), (28, 2), (44, 2)),
     "max_gradient_norm": 0.3},
)  # fmt: skip
SLOWER = 0.3  # the second stage's learning rate, times the first's
LONGER = {"lrnet_ni-dm_relu": {"steps": 2200, "validate_every": 550}}  # the second stage of the course's own LR-Net
FURTHER = {  # a third stage
    "lrnet_i-dm_relu": {"steps": 1500, "validate_every": 500, "soft": 0.2, "learning_rate": 5e-3,
                        "cubes": ((16, 4), (24, 2), (32, 2), (16, 4), (40, 2)), "max_gradient_norm": 0.3,
                        "cubes_alike": True},
}  # fmt: skip


def lesion_masks(folder: Path, label: str, spacing: float) -> list[np.ndarray]:
    """The masks of all cases of a folder, (D, H, W) bool on an isotropic grid."""
    cases = [case for case in find_cases(folder) if case.mask]
    cached = cache_cases(cases, Preprocessing(spacing, (-200.0, 250.0)), parse_labels(label))
    return [case.classes == 1 for case in cached if np.any(case.classes)]


def judged(quality: LRNetQuality) -> dict[str, float | int | None]:
    """Dice, and the error of phi by lesion size."""
    radii = [lesion.radius for lesion in quality.lesions]

    def known(value: float) -> float | None:
        return None if math.isnan(value) else round(value, 4)

    return {
        "lesions": len(radii),
        "dice": round(quality.dice, 4),
        "error": round(quality.error, 4),
        "error_up_to_12_voxels": known(quality.error_between(0, 12)),
        "error_beyond_12_voxels": known(quality.error_between(12, math.inf)),
        "largest_radius": round(max(radii), 1),
    }


def train(kind: str, activation: str, *, last: bool = False) -> dict[str, object]:
    """Train one LR-Net, or its last stage alone, put it among the package's weights, return how it was made."""
    name = Path(lrnet_file_name(kind, activation))
    untouched = pretrain_config(kind, activation=activation)
    recipe = [{**stage, "learning_rate": untouched.learning_rate * SLOWER**i} for i, stage in enumerate(STAGES)]
    recipe[-1] |= LONGER.get(name.stem, {})
    recipe += [FURTHER[name.stem]] if name.stem in FURTHER else []
    started = time.process_time()
    best = WEIGHTS / name if last else None
    with TemporaryDirectory() as folder:
        for i, stage in enumerate(recipe[-1:] if last else recipe):
            run = Path(folder) / f"stage{i}"
            start = load_lrnet(best) if best else None
            pretrain_run(run, config=replace(untouched, **stage), start=start)
            best = run / "best.safetensors"
        shutil.copy(best, WEIGHTS / name)
    return {
        "name": name.stem,
        "command": f"python -m benchmarks.lrnet_weights {name.stem}",
        "recipe": recipe,
        "seconds": round(time.process_time() - started),
        "device": f"{platform.machine()} CPU, {torch.get_num_threads()} of {os.cpu_count()} cores",
        "versions": {package: metadata.version(package) for package in ("torch", "numpy", "lrnet_edu")},
    }


def judge(name: str, sets: dict[str, list[np.ndarray]]) -> dict[str, object]:
    """Measure the weights of one LR-Net on sets of masks, and on soft ones."""
    lrnet = load_lrnet(WEIGHTS / f"{name}.safetensors")
    return {
        "quality": {title: judged(lrnet_quality(lrnet, masks)) for title, masks in sets.items()},
        "soft": [
            {key: round(value, 4) for key, value in vars(response).items()}
            for response in soft_response(lrnet, sets["phantoms"][:4])
        ],
    }


def mask_sets() -> dict[str, list[np.ndarray]]:
    """What the LR-Nets are judged on; no training saw any of it."""
    sets = {"random shapes": held_out_shapes(), "phantoms": lesion_masks(sample_folder(), "2", 3.32)}
    if real := os.environ.get("LRNET_EDU_REAL_DATA"):
        sets["sarcoma_ct, 2 mm"] = lesion_masks(Path(real) / "sarcoma_ct", "1", 2.0)
    return sets


def copying(masks: list[np.ndarray]) -> float:
    """The error of phi of an LR-Net that copies the mask, the mean over lesions of (D - 1) / M_C."""
    shares: list[float] = []
    for mask in masks:
        lesions, number = connected_components(mask, 26)
        shares += list(1 - ndimage.mean(distance_map(mask), lesions, np.arange(1, number + 1)))
    return float(np.mean(shares))


def write_table(records: list[dict], sets: dict[str, list[np.ndarray]]) -> None:
    """``results/lrnet.md`` out of the records."""
    copied = ", ".join(f"{copying(masks):.2f} on {title}" for title, masks in sets.items())
    first = records[0]
    lines = [
        "# The LR-Nets that ship with the package",
        "",
        "Trained on random shapes alone by `python -m benchmarks.lrnet_weights`, never on a scan, in the stages at the "
        f"end of this page. Device: {first['device']}; versions: "
        f"{', '.join(f'{k} {v}' for k, v in first['versions'].items())}.",
        "",
        "Dice is that of `output > threshold` with the mask that went in. The error of phi is the mean absolute error "
        "over a lesion's voxels, then the mean over lesions (O-DM, I-DM: divided by the lesion's maximum).",
        "",
        "What is hard is M_C, the depth of the whole lesion, which every voxel has to know. An error in it moves all "
        "of an I-DM, but only (D - 1) / M_C of an NI-DM, whose border is 1 whatever M_C. The mean of that share, which "
        f"is also NI-DM's error of phi if the mask is merely copied: {copied}. An error of I-DM times this share is "
        "what the same ignorance would cost in NI-DM.",
        "",
        "| LR-Net | steps | CPU seconds | masks | lesions | Dice | error of phi | up to 12 voxels radius | beyond |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        for title, q in record["quality"].items():
            errors = [q["error"], q["error_up_to_12_voxels"], q["error_beyond_12_voxels"]]
            cells = " | ".join("-" if error is None else f"{error:.3f}" for error in errors)
            steps = " + ".join(str(stage["steps"]) for stage in record["recipe"])
            lines.append(
                f"| {record['name']} | {steps} | {record['seconds']} | {title} "
                f"| {q['lesions']} | {q['dice']:.4f} | {cells} |"
            )
    lines += [
        "",
        "## On probabilities instead of masks",
        "",
        "Every lesion voxel of four phantoms gets the same probability, as an unsure M-Net would give. The second "
        "number is the share of lesion voxels that the regression loss reaches with a gradient through the LR-Net.",
        "",
        "| LR-Net | true mean | " + " | ".join(f"p = {r['probability']:g}" for r in first["soft"]) + " |",
        "|---|---|" + "---|" * len(first["soft"]),
    ]
    for record in records:
        cells = " | ".join(f"{r['output']:.2f} ({r['with_gradient']:.0%})" for r in record["soft"])
        lines.append(f"| {record['name']} | {record['soft'][0]['truth']:.2f} | {cells} |")
    lines += recipes(records)
    (ROOT / "results" / "lrnet.md").write_text("\n".join(lines) + "\n", "utf-8")


def recipes(records: list[dict]) -> list[str]:
    """A table of every LR-Net's stages."""
    lines = [
        "",
        "## How they were trained",
        "",
        "Each stage goes on from the weights that were best in the one before. Its batches take the sets of cubes in "
        "turn, written as number x edge in voxels; a share of the cubes is soft, blurred and scaled as an M-Net's "
        "uncertain output is.",
        "",
        "| LR-Net | stage | steps | learning rate | cubes | soft | longest gradient |",
        "|---|---|---|---|---|---|---|",
    ]
    for record in records:
        for number, stage in enumerate(record["recipe"], start=1):
            cubes = ", ".join(f"{many} x {edge}" for edge, many in stage["cubes"])
            alike = "; small lesions weigh as much as large ones" if stage.get("cubes_alike") else ""
            lines.append(
                f"| {record['name']} | {number} | {stage['steps']} | {stage['learning_rate']:g} | {cubes}{alike} "
                f"| {stage['soft']:.0%} | {stage['max_gradient_norm'] or 'any'} |"
            )
    return lines


def main() -> None:
    """Train what the command line names, then write the table of all records there are."""
    folder = ROOT / "results" / "lrnet"
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [name for name in sys.argv[1:] if not name.startswith("--")]
    sets = mask_sets()
    for kind, activation in PAIRS:
        name = Path(lrnet_file_name(kind, activation)).stem
        path = folder / f"{name}.json"
        if "--judge" in sys.argv:
            record = json.loads(path.read_text("utf-8"))
        elif not chosen or name in chosen:
            last = "--last" in sys.argv
            record = train(kind, activation, last=last)
            record["seconds"] += json.loads(path.read_text())["seconds"] if last else 0
        else:
            continue
        path.write_text(json.dumps({**record, **judge(name, sets)}, indent=2) + "\n", "utf-8")
    write_table([json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))], sets)


if __name__ == "__main__":
    main()
