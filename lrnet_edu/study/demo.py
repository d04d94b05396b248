"""The whole paper in some minutes: phantoms, maps, LR-Net, M-Net alone and in tandem, criteria, report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import typer

from lrnet_edu import figures
from lrnet_edu.config import Config, pretrain_config, short_preset
from lrnet_edu.data.cases import segmentation_name
from lrnet_edu.data.nifti import read_image, read_mask, write
from lrnet_edu.data.samples import sample_folder
from lrnet_edu.data.study import Study, open_study
from lrnet_edu.lrnet_training import lrnet_quality, pretrain_run
from lrnet_edu.methods import METHODS
from lrnet_edu.metrics import CRITERIA, ScoreTable, columns
from lrnet_edu.mnet_training import train_run
from lrnet_edu.study.page import as_html, joined, table
from lrnet_edu.study.scoring import cases_of_part, predictions, set_scores
from lrnet_edu.study.trainings import device_name, versions, write_csv
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
    predictions: dict[str, np.ndarray]  # case -> (D, H, W), True is lesion


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
    study = open_study(sample_folder(), demo_config("dice", seed))
    typer.echo(study.describe())
    pretrain_run(out / "lrnet", config=pretrain_config(seed=seed), resume=True)
    lrnet = load_lrnet(out / "lrnet" / "best.safetensors")
    quality = lrnet_quality(lrnet, [case.classes == 1 for case in study.cached["test"]])
    typer.echo(f"LR-Net on the masks of the test cases: Dice {quality.dice:.4f}, error of phi {quality.error:.3f}.")
    results: dict[str, MethodResult] = {}
    for method in DEMO_METHODS:
        config = demo_config(method, seed)
        if METHODS[method].uses_lrnet:
            config = replace(config, lrnet=str(out / "lrnet"))
        state = train_run(study, config, out / method, resume=True)
        results[method] = test_method(METHODS[method].title, state, study, out / method)
    write_results(out / "results.csv", results)
    rows = result_rows(results.values())
    typer.echo("\n".join(f"{title:<28}" + "".join(f"{cell:>8}" for cell in cells) for title, *cells in rows))
    typer.echo(SCORES)

    name = max(study.cached["test"], key=lambda case: len(case.foreground[0])).name  # with most lesion voxels
    case = study.cases[name]
    assert case.mask is not None
    scan, lesion = read_image(case.image), encode(read_mask(case.mask).data, LABELS)
    found = {result.title: result.predictions[name] for result in results.values()}
    slices = figures.representative_slices(lesion, 3)
    pretraining = load_checkpoint(out / "lrnet" / "last.safetensors")[1]["state"]["rows"]
    pictures = {
        "networks": figures.architecture_figure(load_mnet(out / "dice").mnet, lrnet, demo_config("dice", 0).patch_size),
        "maps": figures.maps_figure(lesion, scan.data, scan.spacing),
        "lrnet": figures.lrnet_quality_figure(quality, pretraining),
        "curves": figures.learning_curves_figure({result.title: result.state.rows for result in results.values()}),
        "found": figures.results_figure(scan.data, lesion, found, scan.spacing, slices),
    }
    facts = [*study.describe().splitlines(), f"Seed {seed}; the case in the pictures is {name}.",
             f"{device_name(choose_device())}, {', '.join(map(' '.join, versions().items()))}"]  # fmt: skip
    text = joined([REPORT, "## Seven criteria (section 3)", SCORES, table(rows[0], rows[1:]), CAUTION,
                   "## What was run", "\n".join(f"- {fact}" for fact in facts)])  # fmt: skip
    write_atomically(out / "report.html", as_html(text, pictures).encode())
    typer.echo(f"{out / 'results.csv'} holds the table; open {out / 'report.html'} in a browser.")
    return out / "report.html"


def test_method(title: str, state: State, study: Study, run: Path) -> MethodResult:
    """Segment and score the test cases, and write what was found; those without a lesion are kept apart."""
    trained, records, found = load_mnet(run), [], {}
    trained.mnet.to(choose_device())
    for one in predictions(trained, cases_of_part(study, "test")):
        found[one.name] = one.p > 0.5
        name = segmentation_name(study.cases[one.name].image.name)
        write(run / "predictions" / name, decode(found[one.name].astype(np.uint8), LABELS), one.mask)
        records.append(one.record())
    false = {one["case"]: one["prediction_voxels"] for one in records if not one["reference_voxels"]}
    return MethodResult(title, state, set_scores(records), false, found)


def write_results(path: Path, results: Mapping[str, MethodResult]) -> None:
    """``results.csv``: one row for each method, undefined values left empty."""
    means = {method: [result.table.mean[name] for name in columns()] for method, result in results.items()}
    write_csv(path, ["method", *columns()], [[method, *("" if math.isnan(x) else f"{x:.4f}" for x in row)]
                                             for method, row in means.items()])  # fmt: skip


def result_rows(results: Iterable[MethodResult]) -> list[list[str]]:
    """The criteria as they are printed, below their names, and what was found where nothing is."""
    return [["Test cases with a lesion", *columns(), "missed", "false"]] + [
        [one.title, *(CRITERIA[name].text(one.table.mean[name]) for name in columns()),
         str(one.table.undefined["ASSD"]), str(sum(one.false_voxels.values()))]
        for one in results
    ]  # fmt: skip


REPORT = """\
# Small lesions, distance maps, two networks

A small tumour is some hundred voxels among a million, and a network that overlooks it is wrong almost nowhere. The
paper's answer: a second network turns the first one's output into a distance map, where every voxel knows how far it is
from the lesion's border, and the first learns from that map's error as well. This page shows it once, on phantom CTs.

## Two networks (section 2.2, Fig. 1)

The **M-Net** gives for every voxel the probability p of being lesion. The **LR-Net** translates p into a distance map,
as it learned from masks alone. Then it is frozen: the error of its map flows back through it and teaches the M-Net.

![](networks)

## Distance maps (section 2.1, Eq. 1, Fig. 2)

D is the distance of a lesion's voxel to the nearest background (O-DM). Turned round (I-DM), the border weighs most;
divided by the lesion's own maximum M (NI-DM), each rim voxel counts the same, whatever the lesion's size:
φ = (M + 1 − D) / M inside, and 0 outside. SNI-DM adds negative values outside.

![](maps)

## The LR-Net (section 2.2)

A Dice near 0.99 proves little, as the mask was its input; the error of φ says whether the map is right. Left, the
lesions of the test cases; right, random shapes that were held out of its training.

![](lrnet)

## Learning curves (section 2.3, Eq. 2)

Each loss is a function of its own, so compare the shapes of the upper curves, not their heights. Where an LR-Net takes
part, its loss joins Dice later. The weights of each best point of the lower curves are kept.

![](curves)

## What the methods find (section 3.1, Fig. 3)

A case that no training saw. A contour of the ground truth with nothing in it is a lesion that a method missed; a tint
outside every contour is a lesion that is none.

![](found)
"""
SCORES = """\
DC, DG: larger is better. VOE, and ASSD, MSD, RMSD in mm: smaller. RVD: closer to 0. Missed: cases in which nothing was
found, so that they have no distance. False: voxels called lesion in the cases without one.
"""
CAUTION = (
    "It is one seed and a few minutes of training: another seed alone can move DC by a tenth and more, so a smaller "
    "gap between two rows says nothing about the methods."
)
