"""The paper and the study in some minutes: phantoms, maps, LR-Net, one M-Net and two ways on, criteria, report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import numpy as np
import typer

from lrnet_edu import figures
from lrnet_edu.config import fast, pretrain_config
from lrnet_edu.data.cases import segmentation_name
from lrnet_edu.data.nifti import read_image, write
from lrnet_edu.data.samples import TEST, study_folder, study_mnet
from lrnet_edu.data.study import Study, open_study
from lrnet_edu.figures.study import froc_figure
from lrnet_edu.lrnet_training import LRNetQuality, lrnet_quality, pretrain_run
from lrnet_edu.methods import METHODS
from lrnet_edu.metrics import CRITERIA, columns
from lrnet_edu.mnet_training import train_run
from lrnet_edu.study.froc import HALF, CaseLesions, Froc, curve_of
from lrnet_edu.study.protocol import ARMS, LABEL, SIZES_ML, Plan, falling_rate
from lrnet_edu.study.scoring import cases_of_part, predictions, set_scores
from lrnet_edu.study.trainings import device_name, versions
from lrnet_edu.support.checkpoints import load_checkpoint
from lrnet_edu.support.devices import choose_device
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import write_atomically, write_csv
from lrnet_edu.support.labels import decode, parse_labels
from lrnet_edu.trained import load_lrnet, load_mnet
from lrnet_edu.training import Row

DEMO_ARMS = ("A", "C")  # of the study: Dice goes on; the LR-Net takes over
BEFORE = "M-Net before"
LABELS = parse_labels(LABEL)
PLAN = Plan(cases=(12, 2, 8), steps=200, first=TEST - 14)  # a third of the steps of the study's branches


class Tested(NamedTuple):
    """What an M-Net makes of the test cases."""

    records: list[dict[str, Any]]
    masks: dict[str, np.ndarray]  # predicted, by case, (D, H, W)
    truths: dict[str, np.ndarray]

    @property
    def curve(self) -> Froc:
        """Of the lesions of the study's sizes."""
        return curve_of([CaseLesions.of(record["lesions"]) for record in self.records], size=SIZES_ML)


def run_demo(out: Path, *, seed: int = 0) -> Path:
    """Run the study in small into ``out``; a repeated call goes on where the last one stopped.

    Returns:
        The report, ``out/report.html``; beside it are ``results.csv``, and a run folder for the LR-Net and for
        each method, with its predictions of the test cases. InputError if ``out`` holds files of those names
        but no run of the demo, or one with another seed.
    """
    plan = replace(PLAN, cases=(2, 1, 2), steps=2, first=TEST - 3) if fast() else PLAN
    split, begun = json.dumps(plan.split, indent=1).encode(), (out / "lrnet" / "config.json").exists()
    for path in (out / "split.json", out / "results.csv", out / "report.html"):
        if path.exists() and not begun and path.read_bytes() != split:  # a demo stopped early leaves its split
            raise InputError(f"{path} exists and is not the demo's; name another folder.")
    write_atomically(out / "split.json", split)
    study = open_study(study_folder(sum(plan.cases), plan.first), plan.base(seed), split=out / "split.json")
    before = str(study_mnet())
    typer.echo(study.describe())
    pretrain_run(out / "lrnet", config=pretrain_config(seed=seed), resume=True)
    lrnet = load_lrnet(out / "lrnet" / "best.safetensors")
    quality = lrnet_quality(lrnet, [case.classes == 1 for case in study.cached["test"]])
    typer.echo(f"LR-Net on the masks of the test cases: Dice {quality.dice:.4f}, error of phi {quality.error:.3f}.")
    logs, tested = {}, {BEFORE: segment_and_score(study, before, out / "before")}
    for arm in DEMO_ARMS:
        config = plan.branch(arm, seed, before)
        title, run = METHODS[config.method].title, out / f"{arm}_{config.method}"
        if METHODS[config.method].uses_lrnet:
            config = replace(config, lrnet=str(out / "lrnet"))
        logs[title] = [train_run(study, config, run, resume=True, rate=falling_rate).rows]
        tested[title] = segment_and_score(study, run / "last.safetensors", run)
    write_results(out / "results.csv", {ARMS[arm].method: tested[METHODS[ARMS[arm].method].title] for arm in DEMO_ARMS})
    typer.echo("\n\n".join([as_text(criteria_rows(tested)), as_text(lesion_rows(tested)), SCORES]))
    write_report(out, study, quality, logs, tested, seed=seed, steps=plan.steps)
    typer.echo(f"{out / 'results.csv'} holds the criteria; open {out / 'report.html'} in a browser.")
    return out / "report.html"


def segment_and_score(study: Study, checkpoint: str | Path, out: Path) -> Tested:
    """Segment and score the test cases, and write what was found into ``out/predictions``."""
    trained, result = load_mnet(checkpoint, choose_device()), Tested([], {}, {})
    for one in predictions(trained, cases_of_part(study, "test")):
        mask, result.truths[one.name] = one.p > 0.5, one.wanted
        result.masks[one.name] = mask
        name = segmentation_name(study.cases[one.name].image.name)
        write(out / "predictions" / name, decode(mask.astype(np.uint8), LABELS), one.mask)
        result.records.append(one.record())
    return result


def write_report(
    out: Path, study: Study, quality: LRNetQuality, logs: Mapping[str, Sequence[list[Row]]],
    tested: Mapping[str, Tested], *, seed: int, steps: int,
) -> None:  # fmt: skip
    """``report.html``: both tables, and pictures of the test case with most lesion voxels."""
    name = max(study.cached["test"], key=lambda case: len(case.foreground[0])).name
    scan, lesion = read_image(study.cases[name].image), tested[BEFORE].truths[name]
    found = {title: result.masks[name] for title, result in tested.items()}
    slices = figures.differing_slices([*found.values()])
    pretraining = load_checkpoint(out / "lrnet" / "last.safetensors")[1]["state"]["rows"]
    pictures = {
        "maps": figures.maps_figure(lesion, scan.data, scan.spacing),
        "lrnet": figures.lrnet_quality_figure(quality, pretraining),
        "curves": figures.learning_curves_figure(logs),
        "found": figures.results_figure(scan.data, lesion, found, scan.spacing, slices),
        "froc": froc_figure({title: result.curve for title, result in tested.items()}),
    }
    facts = [*study.describe().splitlines(), f"Seed {seed}; the case in the pictures is {name}.",
             f"{device_name(choose_device())}, {', '.join(map(' '.join, versions().items()))}"]  # fmt: skip
    shown = {name: picture.to_html() for name, picture in pictures.items()} | {"networks": figures.picture.figure_1()}
    page = resources.files(__package__).joinpath("report.html").read_text("utf-8")
    report = Template(page).substitute(
        shown, scores=SCORES, criteria=as_html(criteria_rows(tested)), lesions=as_html(lesion_rows(tested)),
        steps=steps, facts=escape("\n".join(facts)),
    )  # fmt: skip
    write_atomically(out / "report.html", report.encode())


def write_results(path: Path, tested: Mapping[str, Tested]) -> None:
    """``results.csv``: one row for each method, of the cases that hold a lesion; undefined values are left empty."""
    means = {method: set_scores(result.records).mean for method, result in tested.items()}
    rows = [[method, *("" if np.isnan(mean[name]) else f"{mean[name]:.4f}" for name in columns())]
            for method, mean in means.items()]  # fmt: skip
    write_csv(path, ["method", *columns()], rows)


def criteria_rows(tested: Mapping[str, Tested]) -> list[list[str]]:
    """The seven criteria at p > 0.5 of the cases that hold a lesion, below their heads."""
    rows = [["Test cases with a lesion", *columns()]]
    for title, result in tested.items():
        means = set_scores(result.records).mean
        rows.append([title, *(CRITERIA[name].text(means[name]) for name in columns())])
    return rows


def lesion_rows(tested: Mapping[str, Tested]) -> list[list[str]]:
    """Lesions of 0.25 to 5 ml found and false ones at p > 0.5, and their mean Dice along the curve."""
    rows = [["Lesions of 0.25 to 5 ml", "found", "of", "false", "healthy", "Dice at equal false lesions"]]
    for title, result in tested.items():
        curve = result.curve
        found, false = curve.sensitivity[HALF] * curve.lesions, curve.false_lesions[HALF] * curve.cases
        healthy = sum(r["lesions"]["false_lesions"][HALF] for r in result.records if not r["reference_voxels"])
        rows.append([title, f"{found:.0f}", str(curve.lesions), f"{false:.0f}", str(healthy), f"{curve.mean_dice:.3f}"])
    return rows


def as_text(rows: Sequence[Sequence[str]]) -> str:
    """The rows of a table for a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)


def as_html(rows: Sequence[Sequence[str]]) -> str:
    """The rows of a table, the first one its heads."""
    tags = ["th"] + ["td"] * (len(rows) - 1)
    lines = ["".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) for tag, row in zip(tags, rows, strict=True)]
    return "\n".join(f"<tr>{line}</tr>" for line in lines)


SCORES = """\
DC, DG: larger is better. VOE, and ASSD, MSD, RMSD in mm: smaller. RVD: closer to 0. False: predicted lesions that touch
none; healthy: those of them in cases without a lesion. Dice at equal false lesions: the mean Dice of these lesions, 0
for one that was missed, with at most 1/8, 1/4, 1/2, 1, 2, 4 and 8 false lesions a case, averaged.
"""
