"""The whole paper in some minutes: phantoms, maps, LR-Net, M-Net alone and in tandem, criteria, report."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import typer

from lrnet_edu.config import Config, pretrain_config, short_preset
from lrnet_edu.data.cases import segmentation_name
from lrnet_edu.data.nifti import read_image, read_mask, write
from lrnet_edu.data.samples import sample_folder
from lrnet_edu.data.study import Study, open_study
from lrnet_edu.lrnet_training import LRNetQuality, lrnet_quality, pretrain_run
from lrnet_edu.methods import METHODS
from lrnet_edu.metrics import CRITERIA, ScoreTable, columns
from lrnet_edu.mnet_training import train_run
from lrnet_edu.networks import LRNet
from lrnet_edu.study.report import DemoResults, write_report
from lrnet_edu.study.runs import device_name, versions
from lrnet_edu.study.scoring import predicted_cases, set_scores
from lrnet_edu.support.checkpoints import load_checkpoint
from lrnet_edu.support.devices import choose_device
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import write_atomically
from lrnet_edu.support.labels import decode, encode, parse_labels
from lrnet_edu.support.run_folder import State
from lrnet_edu.trained import load_lrnet, load_mnet

DEMO_METHODS = ("dice", "mapdice", "dice+lrnet", "mapdice+lrnet")
LABEL = "2"  # the lesions; label 1 is the liver around them
LABELS = parse_labels(LABEL)
WINDOW = (-30.0, 180.0)  # HU, the liver and what lies in it


@dataclass(frozen=True)
class MethodResult:
    """What one method made of the test cases."""

    title: str
    state: State
    table: ScoreTable  # of the cases that hold a lesion
    false_voxels: dict[str, int]  # lesion voxels predicted in each case that holds none
    predictions: dict[str, np.ndarray]  # case -> (D, H, W), 1 is lesion


def demo_config(method: str, seed: int) -> Config:
    """The M-Net's settings in the demo, the same for every method: a coarse grid, a narrow window, few steps."""
    return short_preset(label=LABEL, method=method, seed=seed, window=WINDOW)


def run_demo(out: Path, *, seed: int = 0) -> Path:
    """Run everything on the sample data into ``out``; a repeated call goes on where the last one stopped.

    Returns:
        The report, ``out/report.html``; beside it are ``results.csv`` and a run folder for the LR-Net and for each
        method, with its predictions of the test cases. InputError if ``out`` holds files of those names but no run of
        the demo, or one with another seed.
    """
    for name in ("results.csv", "report.html"):
        if (out / name).exists() and not (out / "lrnet" / "config.json").exists():
            raise InputError(f"{out / name} exists and is not the demo's; name another folder.")
    seconds: dict[str, float] = {}
    with timed(seconds, "Preparing the scans"):
        study = open_study(sample_folder(), demo_config("dice", seed))
    typer.echo(study.describe())
    with timed(seconds, "LR-Net"):
        pretrain_run(out / "lrnet", config=pretrain_config(seed=seed), resume=True)
        lrnet = load_lrnet(out / "lrnet" / "best.safetensors")
        quality = lrnet_quality(lrnet, [case.classes == 1 for case in study.cached["test"]])
    typer.echo(f"LR-Net on the masks of the test cases: Dice {quality.dice:.4f}, error of phi {quality.error:.3f}.")

    results: dict[str, MethodResult] = {}
    for method in DEMO_METHODS:
        title, config = METHODS[method].title, demo_config(method, seed)
        if METHODS[method].uses_lrnet:
            config = replace(config, lrnet=str(out / "lrnet"))
        with timed(seconds, title):
            state = train_run(study, config, out / method, resume=True)
            results[method] = tested(title, state, study, out / method)
        seconds[title] = max(seconds[title], state.seconds)  # of a run that was finished before
    write_atomically(out / "results.csv", results_as_csv(results).encode())
    found = list(results.values())
    typer.echo(results_as_text(found))
    with timed(seconds, "Report"):
        write_report(out / "report.html", demo_results(found, study, lrnet, quality, out, seed, seconds))
    typer.echo(f"{out / 'results.csv'} holds the table; open {out / 'report.html'} in a browser.")
    return out / "report.html"


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Note how long a stage takes."""
    started = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - started


def tested(title: str, state: State, study: Study, run: Path) -> MethodResult:
    """Segment and score the test cases, and write what was found; those without a lesion are kept apart."""
    records, predictions = [], {}
    for case in predicted_cases(study, load_mnet(run), choose_device()):
        name = segmentation_name(study.cases[case.name].image.name)
        write(run / "predictions" / name, decode(case.predicted, LABELS), case.mask)
        records.append(case.record())
        predictions[case.name] = case.predicted
    false = {one["case"]: one["prediction_voxels"] for one in records if not one["reference_voxels"]}
    return MethodResult(title, state, set_scores(records), false, predictions)


def demo_results(
    results: Sequence[MethodResult], study: Study, lrnet: LRNet, quality: LRNetQuality, out: Path, seed: int,
    seconds: dict[str, float],
) -> DemoResults:  # fmt: skip
    """What the report shows: the test case with most lesion voxels, and how everything came about."""
    name = max(study.cached["test"], key=lambda case: len(case.foreground[0])).name
    case, config = study.cases[name], demo_config("dice", seed)
    assert case.mask is not None
    scan, lesion = read_image(case.image), encode(read_mask(case.mask).data, LABELS)
    return DemoResults(
        mnet=load_mnet(out / "dice").mnet,
        lrnet=lrnet,
        patch=config.patch_size,
        sample=(scan.data, lesion, scan.spacing),
        quality=quality,
        pretraining=load_checkpoint(out / "lrnet" / "last.safetensors")[1]["state"]["rows"],
        curves={result.title: result.state.rows for result in results},
        predictions={result.title: result.predictions[name] for result in results},
        table={result.title: result.table for result in results},
        no_lesion={result.title: sum(result.false_voxels.values()) for result in results},
        facts={
            "cases": ", ".join(f"{len(names)} {part}" for part, names in study.split.items()),
            "case in the pictures": name,
            "window": f"{WINDOW[0]:g} to {WINDOW[1]:g} HU",
            "grid": f"{study.preprocessing.spacing:g} mm",
            "steps of every M-Net": config.steps,
            "seed": seed,
            "device": device_name(choose_device()),
            "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
            "command": f"lrnet-edu demo --out {out} --seed {seed}",
        },
        seconds=seconds,
    )


def results_as_csv(results: dict[str, MethodResult]) -> str:
    """``results.csv``: one row for each method, undefined values left empty."""
    lines = [["method", *columns()]]
    for method, result in results.items():
        values = [result.table.mean[name] for name in columns()]
        lines.append([method, *("" if math.isnan(value) else f"{value:.4f}" for value in values)])
    return "".join(f"{','.join(line)}\n" for line in lines)


def results_as_text(results: Sequence[MethodResult]) -> str:
    """The table for the terminal, with what was found where nothing is."""
    rows = {"Test cases with a lesion": columns()}
    for result in results:
        rows[result.title] = [CRITERIA[name].text(result.table.mean[name]) for name in columns()]
    lines = ["", *(f"{title:<28}" + "".join(f"{cell:>8}" for cell in cells) for title, cells in rows.items())]
    lines.append("DC, DG: larger is better. VOE, and ASSD, MSD, RMSD in mm: smaller. RVD: closer to 0.")
    for name in results[0].false_voxels:
        found = ", ".join(f"{result.title} {result.false_voxels[name]}" for result in results)
        lines.append(f"{name} has no lesion; lesion voxels found there: {found}.")
    return "\n".join([*lines, ""])
