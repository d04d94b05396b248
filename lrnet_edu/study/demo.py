"""The whole paper in some minutes: phantoms, maps, LR-Net, M-Net alone and in tandem, criteria, report."""

from __future__ import annotations

import csv
import io
import math
import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path

import numpy as np
import typer

from lrnet_edu._version import __version__
from lrnet_edu.commands.predict import predict_files
from lrnet_edu.config import Config, pretrain_config, short_preset
from lrnet_edu.data.cases import Case, find_cases, segmentation_name
from lrnet_edu.data.nifti import read_image, read_mask
from lrnet_edu.data.samples import sample_folder
from lrnet_edu.data.study import Study, open_study
from lrnet_edu.lrnet_training import LRNetQuality, lrnet_quality, pretrain_run
from lrnet_edu.methods import METHODS
from lrnet_edu.metrics import CaseScores, ScoreTable, case_scores, score_table
from lrnet_edu.mnet_training import train_run
from lrnet_edu.networks import LRNet
from lrnet_edu.study.report import DemoResults, write_report
from lrnet_edu.support.checkpoints import load_checkpoint
from lrnet_edu.support.devices import choose_device
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import write_atomically
from lrnet_edu.support.labels import encode, parse_labels
from lrnet_edu.support.run_folder import State
from lrnet_edu.trained import load_lrnet, load_mnet

DEMO_METHODS = ("dice", "mapdice", "dice+lrnet", "mapdice+lrnet")
LABEL = "2"  # the lesions; label 1 is the liver around them
LABELS = parse_labels(LABEL)

WINDOW = (-30.0, 180.0)  # HU, the liver and what lies in it
COLUMNS = ("DC", "DG", "VOE", "RVD", "ASSD", "MSD", "RMSD")


@dataclass(frozen=True)
class MethodResult:
    """What one method made of the test cases."""

    title: str
    state: State
    table: ScoreTable  # of the cases that hold a lesion
    false_voxels: dict[str, int]  # lesion voxels predicted in each case that holds none
    predictions: dict[str, np.ndarray]  # case -> (D, H, W) bool


@dataclass
class Clock:
    """Seconds of every stage of the demo."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started


def demo_config(method: str, seed: int) -> Config:
    """The M-Net's settings in the demo, the same for every method: a coarse grid, a narrow window, few steps."""
    return short_preset(label=LABEL, method=method, seed=seed, window=WINDOW)


def run_demo(out: Path, *, seed: int = 0) -> Path:
    """Run everything on the sample data into ``out``; a repeated call goes on where the last one stopped.

    Returns:
        The report, ``out/report.html``; beside it are ``results.csv`` and a run folder for the LR-Net and for each
        method.

    Raises:
        InputError: if ``out`` holds a ``results.csv`` or a ``report.html`` but no run of the demo, or one with another
            seed.
    """
    for name in ("results.csv", "report.html"):
        if (out / name).exists() and not (out / "lrnet" / "config.json").exists():
            raise InputError(f"{out / name} exists and is not the demo's; name another folder.")
    clock, samples = Clock(), sample_folder()
    with clock.stage("Preparing the scans"):
        study = open_study(samples, demo_config("dice", seed))
    typer.echo(study.describe())
    with clock.stage("LR-Net"):
        pretrain_run(out / "lrnet", config=pretrain_config(seed=seed), resume=True)
        lrnet = load_lrnet(out / "lrnet" / "best.safetensors")
        quality = lrnet_quality(lrnet, [case.classes == 1 for case in study.cached["test"]])
    typer.echo(f"LR-Net on the masks of the test cases: Dice {quality.dice:.4f}, error of phi {quality.error:.3f}.")

    cases = {case.name: case for case in find_cases(samples)}
    test = [cases[name] for name in study.split["test"]]
    results: dict[str, MethodResult] = {}
    for method in DEMO_METHODS:
        config = demo_config(method, seed)
        if METHODS[method].uses_lrnet:
            config = replace(config, lrnet=str(out / "lrnet"))
        with clock.stage(METHODS[method].title):
            state = train_run(study, config, out / method, resume=True)
            predict_files(out / method, samples, out / method / "predictions", part="test")
        title = METHODS[method].title
        clock.seconds[title] = max(clock.seconds[title], state.seconds)  # of a run that was finished before
        results[method] = score_method(title, state, out / method / "predictions", test)
    write_results(out / "results.csv", results)
    typer.echo(results_as_text(results))
    report = out / "report.html"
    with clock.stage("Report"):
        pretraining = load_checkpoint(out / "lrnet" / "last.safetensors")[1]["state"]["rows"]
        write_report(report, demo_results(results, study, test, lrnet, quality, pretraining, out, seed, clock))
    typer.echo(f"{out / 'results.csv'} holds the table; open {report} in a browser.")
    return report


def demo_results(
    results: dict[str, MethodResult],
    study: Study,
    test: Sequence[Case],
    lrnet: LRNet,
    quality: LRNetQuality,
    pretraining: Sequence[dict[str, float]],
    out: Path,
    seed: int,
    clock: Clock,
) -> DemoResults:
    """What the report shows: the test case with most lesion voxels, and how everything came about."""
    masks = {case.name: encode(read_mask(case.mask).data, LABELS) for case in test if case.mask}
    name = max(masks, key=lambda case: int(masks[case].sum()))
    scan, lesion = read_image(next(case.image for case in test if case.name == name)), masks[name]
    config = demo_config("dice", seed)
    versions = {name: metadata.version(name) for name in ("torch", "numpy", "torchio")}
    return DemoResults(
        mnet=load_mnet(out / "dice").mnet,
        lrnet=lrnet,
        patch=config.patch_size,
        sample=(scan.data, lesion, scan.spacing),
        quality=quality,
        pretraining=pretraining,
        curves={result.title: result.state.rows for result in results.values()},
        panel=(scan.data, lesion, {r.title: r.predictions[name] for r in results.values()}, scan.spacing),
        table={result.title: result.table for result in results.values()},
        no_lesion={result.title: sum(result.false_voxels.values()) for result in results.values()},
        facts={
            "cases": ", ".join(f"{len(names)} {part}" for part, names in study.split.items()),
            "case in the pictures": name,
            "window": f"{WINDOW[0]:g} to {WINDOW[1]:g} HU",
            "grid": f"{study.preprocessing.spacing:g} mm",
            "steps of every M-Net": config.steps,
            "seed": seed,
            "device": f"{choose_device()} ({platform.machine()}, {os.cpu_count()} cores)",
            "versions": ", ".join(f"{k} {v}" for k, v in {"lrnet_edu": __version__, **versions}.items()),
            "command": f"lrnet-edu demo --out {out} --seed {seed}",
        },
        seconds=clock.seconds,
    )


def score_method(title: str, state: State, predictions: Path, test: Sequence[Case]) -> MethodResult:
    """Score the predictions of the test cases; those without a lesion are kept apart."""
    scores: list[CaseScores] = []
    false_voxels, arrays = {}, {}
    for case in test:
        assert case.mask is not None
        truth = read_mask(case.mask)
        lesion = encode(truth.data, LABELS) == 1
        arrays[case.name] = encode(read_mask(predictions / segmentation_name(case.image.name)).data, LABELS) == 1
        if lesion.any():
            scores.append(case_scores(arrays[case.name], lesion, truth.spacing))
        else:
            false_voxels[case.name] = int(arrays[case.name].sum())
    return MethodResult(title, state, score_table(scores), false_voxels, arrays)


def write_results(path: Path, results: dict[str, MethodResult]) -> None:
    """``results.csv``: one row for each method, undefined values left empty."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["method", *COLUMNS])
    for method, result in results.items():
        values = [result.table.mean[name] for name in COLUMNS]
        table.writerow([method, *("" if math.isnan(value) else f"{value:.4f}" for value in values)])
    write_atomically(path, text.getvalue().encode())


def results_as_text(results: dict[str, MethodResult]) -> str:
    """The table for the terminal, with what was found where nothing is."""
    lines = ["", f"{'Test cases with a lesion':<28}" + "".join(f"{name:>8}" for name in COLUMNS)]
    for result in results.values():
        lines.append(f"{result.title:<28}" + "".join(f"{result.table.mean[name]:8.3f}" for name in COLUMNS))
    lines.append("DC, DG: larger is better. VOE, and ASSD, MSD, RMSD in mm: smaller. RVD: closer to 0.")
    for name in next(iter(results.values())).false_voxels:
        found = ", ".join(f"{result.title} {result.false_voxels[name]}" for result in results.values())
        lines.append(f"{name} has no lesion; lesion voxels found there: {found}.")
    return "\n".join([*lines, ""])
