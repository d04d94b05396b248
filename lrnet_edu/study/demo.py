"""The whole paper in some minutes: phantoms, maps, LR-Net, M-Net alone and in tandem, criteria, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

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
from lrnet_edu.metrics import CRITERIA, columns, none_if_nan
from lrnet_edu.mnet_training import train_run
from lrnet_edu.study.scoring import cases_of_part, predictions, set_scores
from lrnet_edu.study.trainings import device_name, versions, write_csv
from lrnet_edu.support.checkpoints import load_checkpoint
from lrnet_edu.support.devices import choose_device
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import write_atomically
from lrnet_edu.support.labels import decode, encode, parse_labels
from lrnet_edu.trained import load_lrnet, load_mnet

DEMO_METHODS = ("dice", "mapdice", "dice+lrnet", "mapdice+lrnet")
LABEL = "2"  # the lesions; label 1 is the liver around them
LABELS = parse_labels(LABEL)
WINDOW = (-30.0, 180.0)  # HU, the liver and what lies in it


class MethodResult(NamedTuple):
    """What a method makes of the test cases: their records, and the masks (D, H, W) that it predicts, by case."""

    records: list[dict[str, Any]]
    masks: dict[str, np.ndarray]


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
    logs, results = {}, {}
    for method in DEMO_METHODS:
        config = demo_config(method, seed)
        if METHODS[method].uses_lrnet:
            config = replace(config, lrnet=str(out / "lrnet"))
        logs[METHODS[method].title] = train_run(study, config, out / method, resume=True).rows
        results[method] = test_method(study, out / method)
    write_results(out / "results.csv", results)
    rows = result_rows(results)
    typer.echo("\n".join(f"{title:<28}" + "".join(f"{cell:>8}" for cell in cells) for title, *cells in rows))
    typer.echo(SCORES)

    name = max(study.cached["test"], key=lambda case: len(case.foreground[0])).name  # with most lesion voxels
    case = study.cases[name]
    assert case.mask is not None
    scan, lesion = read_image(case.image), encode(read_mask(case.mask).data, LABELS)
    found = {METHODS[method].title: result.masks[name] for method, result in results.items()}
    slices = figures.representative_slices(lesion, 3)
    pretraining = load_checkpoint(out / "lrnet" / "last.safetensors")[1]["state"]["rows"]
    pictures = {
        "networks": figures.architecture_figure(load_mnet(out / "dice").mnet, lrnet, demo_config("dice", 0).patch_size),
        "maps": figures.maps_figure(lesion, scan.data, scan.spacing),
        "lrnet": figures.lrnet_quality_figure(quality, pretraining),
        "curves": figures.learning_curves_figure(logs),
        "found": figures.results_figure(scan.data, lesion, found, scan.spacing, slices),
    }
    facts = [*study.describe().splitlines(), f"Seed {seed}; the case in the pictures is {name}.",
             f"{device_name(choose_device())}, {', '.join(map(' '.join, versions().items()))}"]  # fmt: skip
    shown = {name: picture.to_html() for name, picture in pictures.items()}
    report = Template(REPORT).substitute(shown, scores=SCORES, table=as_html(rows), facts=escape("\n".join(facts)))
    write_atomically(out / "report.html", report.encode())
    typer.echo(f"{out / 'results.csv'} holds the table; open {out / 'report.html'} in a browser.")
    return out / "report.html"


def test_method(study: Study, run: Path) -> MethodResult:
    """Segment and score the test cases by a run's M-Net, and write what was found."""
    trained, result = load_mnet(run), MethodResult([], {})
    trained.mnet.to(choose_device())
    for one in predictions(trained, cases_of_part(study, "test")):
        mask = result.masks[one.name] = one.p > 0.5
        name = segmentation_name(study.cases[one.name].image.name)
        write(run / "predictions" / name, decode(mask.astype(np.uint8), LABELS), one.mask)
        result.records.append(one.record())
    return result


def write_results(path: Path, results: dict[str, MethodResult]) -> None:
    """``results.csv``: one row for each method, of the cases that hold a lesion; undefined values are left empty."""
    rows = []
    for method, result in results.items():
        means = [none_if_nan(set_scores(result.records).mean[name]) for name in columns()]
        rows.append([method, *("" if mean is None else f"{mean:.4f}" for mean in means)])
    write_csv(path, ["method", *columns()], rows)


def result_rows(results: dict[str, MethodResult]) -> list[list[str]]:
    """The same as it is printed, below its heads, and the voxels found in the cases where nothing is."""
    rows = [["Test cases with a lesion", *columns(), "missed", "false"]]
    for method, result in results.items():
        table = set_scores(result.records)
        false = sum(case["prediction_voxels"] for case in result.records if not case["reference_voxels"])
        cells = [CRITERIA[name].text(table.mean[name]) for name in columns()]
        rows.append([METHODS[method].title, *cells, str(table.undefined["ASSD"]), str(false)])
    return rows


def as_html(rows: Sequence[Sequence[str]]) -> str:
    """The rows of a table, the first one its heads."""
    tags = ["th"] + ["td"] * (len(rows) - 1)
    lines = ["".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) for tag, row in zip(tags, rows, strict=True)]
    return "\n".join(f"<tr>{line}</tr>" for line in lines)


SCORES = """\
DC, DG: larger is better. VOE, and ASSD, MSD, RMSD in mm: smaller. RVD: closer to 0. Missed: cases in which nothing was
found, so that they have no distance. False: voxels called lesion in the cases without one.
"""
REPORT = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><title>Small lesions, distance maps, two networks</title>
<style>
:root { color-scheme: light dark; }
main { max-width: 66rem; margin: 0 auto; padding: 1rem; font: 1.06rem/1.6 system-ui, sans-serif; }
p { max-width: 46rem; }
div { overflow-x: auto; margin: 1rem 0; }
img { display: block; width: 100%; min-width: 44rem; }
td, th { padding: 0.35rem 0.9rem 0.35rem 0; text-align: right; font-variant-numeric: tabular-nums; }
td:first-child, th:first-child { text-align: left; }
pre { white-space: pre-wrap; }
</style></head><body><main>
<h1>Small lesions, distance maps, two networks</h1>
<p>A small tumour is some hundred voxels among a million, and a network that overlooks it is wrong almost nowhere. The
paper's answer: a second network turns the first one's output into a distance map, where every voxel knows how far it is
from the lesion's border, and the first learns from that map's error as well. This page shows it once, on phantom CTs.

<h2>Two networks (section 2.2, Fig. 1)</h2>
<p>The <b>M-Net</b> gives for every voxel the probability p of being lesion. The <b>LR-Net</b> translates p into a
distance map, as it learned from masks alone. Then it is frozen: the error of its map flows back through it and teaches
the M-Net.
<div tabindex="0">$networks</div>

<h2>Distance maps (section 2.1, Eq. 1, Fig. 2)</h2>
<p>D is the distance of a lesion's voxel to the nearest background (O-DM). Turned round (I-DM), the border weighs most;
divided by the lesion's own maximum M (NI-DM), each rim voxel counts the same, whatever the lesion's size:
φ = (M + 1 − D) / M inside, and 0 outside. SNI-DM adds negative values outside.
<div tabindex="0">$maps</div>

<h2>The LR-Net (section 2.2)</h2>
<p>Its Dice proves little, as the mask was its input; the error of φ says whether the map is right. Left, the
lesions of the test cases; right, random shapes that were held out of its training.
<div tabindex="0">$lrnet</div>

<h2>Learning curves (section 2.3, Eq. 2)</h2>
<p>Each loss is a function of its own, so compare the shapes of the upper curves, not their heights. Where an LR-Net
takes part, its loss joins Dice later. The weights of each best point of the lower curves are kept.
<div tabindex="0">$curves</div>

<h2>What the methods find (section 3.1, Fig. 3)</h2>
<p>A case that no training saw. A contour of the ground truth with nothing in it is a lesion that a method missed; a
tint outside every contour is a lesion that is none.
<div tabindex="0">$found</div>

<h2>Seven criteria (section 3)</h2>
<p>$scores
<div tabindex="0"><table>$table</table></div>
<p>It is one seed and a few minutes of training: another seed alone can move DC by a tenth and more, so a smaller gap
between two rows says nothing about the methods.

<h2>What was run</h2>
<pre>$facts</pre>
</main></body></html>
"""
