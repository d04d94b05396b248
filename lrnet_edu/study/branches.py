"""The study's branches: its phantoms, the trainings, and what each trained M-Net scores.

A finished branch is one small file in ``branches/``, written whole and never made again; the one in hand goes on from
its last validation.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import ndimage

from lrnet_edu.config import Config
from lrnet_edu.data.cache import CachedCase, cache_cases
from lrnet_edu.data.cases import Case, find_cases
from lrnet_edu.data.crop import crop_around
from lrnet_edu.data.nifti import read_image, read_mask
from lrnet_edu.data.patches import PatchBatches
from lrnet_edu.data.phantoms.phantom import phantom, sample, write_samples
from lrnet_edu.data.phantoms.settings import SETS as PHANTOMS
from lrnet_edu.data.preprocessing import back_to_original
from lrnet_edu.data.study import Study, open_study
from lrnet_edu.inference import predict_probabilities
from lrnet_edu.kinds import KINDS
from lrnet_edu.losses import DiceLoss, MapDiceLoss
from lrnet_edu.methods import METHODS, Method, TandemMethod, lrnet_of
from lrnet_edu.metrics import case_scores, dice
from lrnet_edu.mnet_training import train_run
from lrnet_edu.study.detectability import VISIBLE, detectability
from lrnet_edu.study.froc import lesions_by_threshold
from lrnet_edu.study.protocol import (
    CELLS,
    LABEL,
    MARGIN_MM,
    ROUNDING,
    SETS,
    THRESHOLDS,
    VIEWS,
    Plan,
    VoxelwiseMethod,
    falling_rate,
)
from lrnet_edu.study.runs import device_name, versions
from lrnet_edu.support.checkpoints import load_checkpoint, save_checkpoint
from lrnet_edu.support.devices import choose_device
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import write_atomically
from lrnet_edu.support.jobs import in_processes, one_thread
from lrnet_edu.support.voxels import connected_components
from lrnet_edu.trained import TrainedMNet, load_mnet

Cell = tuple[str, str]  # a set (or "validation") and a view
VALIDATION: Cell = ("validation", "box")
OVERLAP = 0.25  # of the windows
BINS = 10  # of p, for its calibration


# ---- phantoms ---------------------------------------------------------------------------------------------------


class TestCase(NamedTuple):
    """A scan to test on, and which of its lesions somebody could see: (lesions,) of bool."""

    case: Case
    cached: CachedCase
    visible: np.ndarray


@dataclass(frozen=True)
class Scans:
    """All phantoms of the study, prepared."""

    study: Study
    tests: dict[Cell, list[TestCase]]


def prepare_scans(out: Path, plan: Plan, *, workers: int, say: Callable[[str], None]) -> Scans:
    """Make the phantoms, as far as they are not there, and prepare them for the M-Net."""
    data, numbers = out / "data", {which: plan.tested(which) for which in SETS}
    if not (data / "detectability.csv").exists():
        for which, count in zip(SETS, (sum(plan.cases), plan.cases[-1]), strict=True):
            write_samples(data / which, count, 0, which)
            shutil.rmtree(data / f"{which}-box", ignore_errors=True)
            crop_around(data / which, data / f"{which}-box", "1+2", MARGIN_MM, say=say)
        jobs = [(data, which, number) for which in SETS for number in numbers[which]]
        rows = sorted(row for case in in_processes(measure_lesions, jobs, workers) for row in case)
        write_csv(data / "detectability.csv", ("set", "case", "lesion", "ml", "d_prime"), rows)
    visible: dict[tuple[str, str], list[bool]] = {}
    with (data / "detectability.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            visible.setdefault((row["set"], f"volume-{int(row['case'])}"), []).append(float(row["d_prime"]) >= VISIBLE)
    write_atomically(data / "split.json", json.dumps(plan.split, indent=1).encode())
    study = open_study(data / SETS[0], plan.base(0), split=data / "split.json")

    def cases_of(which: str, view: str, names: Sequence[str]) -> list[TestCase]:
        folder = data / which if view == "whole" else data / f"{which}-{view}"
        cases = [case for case in find_cases(folder) if case.name in names]
        cached = cache_cases(cases, study.preprocessing, study.labels)
        marks = [np.array(visible.get((which, case.name), []), dtype=bool) for case in cases]
        return [TestCase(*one) for one in zip(cases, cached, marks, strict=True)]

    others = [f"volume-{number}" for number in range(plan.cases[-1])]
    tests = {(which, view): cases_of(which, view, study.split["test"] if which == SETS[0] else others)
             for which in SETS for view in VIEWS}  # fmt: skip
    return Scans(study, tests | {VALIDATION: cases_of(SETS[0], VALIDATION[1], study.split["validation"])})


def measure_lesions(data: Path, which: str, number: int) -> list[tuple[str, int, int, float, float]]:
    """Set, case, lesion, ml and d' of every lesion of a phantom."""
    recipe = sample(number, which)
    if not recipe.lesions:
        return []
    image, mask = (read(data / which / f"{name}-{number}.nii.gz").data for name, read in
                   (("volume", read_image), ("segmentation", read_mask)))  # fmt: skip
    healthy = phantom(number, shape=recipe.shape, spacing=recipe.spacing, lesions=False, settings=PHANTOMS[which])
    found = detectability(image, healthy.image, mask, seed=number)
    sizes = np.bincount(connected_components(mask == int(LABEL), 26)[0].ravel())[1:] * np.prod(recipe.spacing) / 1000
    return [(which, number, i, round(float(ml), 4), round(float(d), 3))
            for i, (ml, d) in enumerate(zip(sizes, found, strict=True))]  # fmt: skip


# ---- a branch ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Branch:
    """One training and what is tested with it.

    Attributes:
        arm: the letter of an arm, with a suffix where it is no part of the main comparison; or "base".
        seed: of the tables.
        config: of the training.
        cells: what is tested.
        moved: number of the repetition whose first weights are moved by ``ROUNDING``; 0 for none.
    """

    arm: str
    seed: int
    config: Config
    cells: tuple[Cell, ...] = CELLS
    moved: int = 0

    @property
    def name(self) -> str:
        """For files."""
        return f"{self.arm}_seed-{self.seed}"


def read_branch(out: Path, branch: Branch) -> dict[str, Any] | None:
    """What a finished branch wrote, None if it is not finished; InputError if it was another one."""
    path = out / "branches" / f"{branch.name}.json.gz"
    if not path.exists():
        return None
    record = json.loads(gzip.decompress(path.read_bytes()))
    if record["config"] != settings_of(branch.config):
        raise InputError(f"{path} was made with other settings; name another folder.")
    return record


def settings_of(config: Config) -> dict[str, Any]:
    """A configuration as JSON gives it back: without the path of the weights it starts from, the LR-Net by its hash."""
    weights = lrnet_of(config).state_dict().values() if METHODS[config.method].uses_lrnet else ()
    digest = hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in weights)).hexdigest() if weights else None
    return json.loads(json.dumps({**asdict(config), "start": config.start is not None, "lrnet": digest}))


def do_branch(scans: Scans, branch: Branch, out: Path, device: str | None) -> tuple[str, float, str]:
    """Train, test, write; returns the branch's name, its CPU seconds, and what went wrong, where something did."""
    folder, place, started = out / "runs" / branch.name, choose_device(device), time.process_time()
    try:
        with one_thread(place):
            config = with_moved_weights(branch, folder) if branch.moved else branch.config
            state = train_run(scans.study, config, folder, device=device, resume=True, rate=falling_rate)
            trained = load_mnet(folder / "last.safetensors")
            trained.mnet.to(place)
            cells = {"/".join(cell): score_cell(trained, scans.tests[cell]) for cell in branch.cells}
            last = replace(config, start=str(folder / "last.safetensors"))
            gradients = gradient_norms(scans, last) if branch.arm == "base" else {}
    except InputError as error:
        return branch.name, 0.0, str(error)
    seconds = time.process_time() - started
    record = {
        "arm": branch.arm, "seed": branch.seed, "config": settings_of(branch.config), "log": state.rows,
        "cpu_seconds": round(seconds, 1), "device": device_name(place), "versions": versions(), "cells": cells,
        "gradients": gradients,
    }  # fmt: skip
    write_gzip(out / "branches" / f"{branch.name}.json.gz", json.dumps(record, allow_nan=False))
    if branch.seed == 0 and branch.cells == CELLS:
        tensors, facts = load_checkpoint(folder / "last.safetensors")
        mnet = {name: tensor for name, tensor in tensors.items() if name.startswith("mnet.")}
        facts = {name: facts[name] for name in facts if name not in ("state", "plateau", "lr")}
        save_checkpoint(out / "mnets" / f"{branch.arm}.safetensors", mnet, facts)
    if branch.arm != "base":  # the others start from its last weights
        shutil.rmtree(folder, ignore_errors=True)
    return branch.name, seconds, ""


def with_moved_weights(branch: Branch, folder: Path) -> Config:
    """The branch's training from its first weights moved by a millionth: what rounding does elsewhere."""
    assert branch.config.start is not None
    path, generator = folder.with_suffix(".safetensors"), torch.Generator().manual_seed(branch.moved)
    tensors, facts = load_checkpoint(Path(branch.config.start))
    moved = {name: tensor * (1 + ROUNDING * torch.randn(tensor.shape, generator=generator))
             for name, tensor in tensors.items() if name.startswith("mnet.")}  # fmt: skip
    save_checkpoint(path, moved, facts)
    return replace(branch.config, start=str(path))


def score_cell(trained: TrainedMNet, cases: Sequence[TestCase]) -> dict[str, Any]:
    """Every case's lesions at all thresholds and its Dice, and how many lesion voxels there are where p is what it is.

    "calibration" holds, for each of ten bins of p, the liver's voxels, the sum of p and the number of lesion voxels.
    """
    rows, calibration = [], np.zeros((3, BINS))
    for case, cached, visible in cases:
        assert case.mask is not None
        mask = read_mask(case.mask)
        output = predict_probabilities(trained.mnet, cached.image, patch_size=trained.patch_size, overlap=OVERLAP)
        kept = back_to_original(output, cached.affine, mask, keep_probabilities=True)[1]  # (2, D, H, W)
        assert kept is not None
        p, wanted = 1.0 - kept[0].astype(np.float64), mask.data == int(LABEL)  # 1 - 1e-9 is no float32
        found = lesions_by_threshold(p, wanted, mask.spacing, THRESHOLDS)
        at_half = p > 0.5
        rows.append({
            "case": case.name,
            "ml": found.ml[visible].round(4).tolist(),
            "dice": found.dice[:, visible].round(4).tolist(),  # (thresholds, lesions)
            "false_lesions": found.false_lesions.tolist(),
            "DC": round(dice(at_half, wanted), 4),
            "ASSD": [distance for distance, seen in zip(distances(at_half, wanted, mask.spacing), visible, strict=True)
                     if seen],
        })  # fmt: skip
        liver = mask.data > 0
        counts = [np.histogram(p[liver], BINS, (0, 1), weights=weights)[0] for weights in (None, p[liver],
                  wanted[liver].astype(float))]  # fmt: skip
        calibration += counts
    return {"cases": rows, "calibration": calibration.round(3).tolist()}


def distances(predicted: np.ndarray, wanted: np.ndarray, spacing: Sequence[float]) -> list[float | None]:
    """ASSD in mm of every lesion to the predicted components that touch it; None for a lesion that was missed."""
    components, _ = connected_components(predicted, 26)
    lesions, _ = connected_components(wanted, 26)
    result: list[float | None] = []
    for number, box in enumerate(ndimage.find_objects(lesions), start=1):
        touching = np.setdiff1d(components[box][lesions[box] == number], [0])
        scores = case_scores(np.isin(components, touching), lesions == number, spacing) if len(touching) else None
        result.append(round(scores.assd, 3) if scores else None)
    return result


# ---- how large the terms of the losses are ----------------------------------------------------------------------


def gradient_norms(scans: Scans, config: Config, batches: int = 8) -> dict[str, float]:
    """The gradient that each term of a loss gives the M-Net's weights, at alpha = 1: its length, mean over batches.

    Args:
        scans: the training cases.
        config: a branch's, whose weights it starts from are where the gradient is taken.
        batches: how many.
    """
    terms: dict[str, tuple[Method, Config]] = {
        "Dice": (Method("", DiceLoss), config),
        "MapDice": (Method("", MapDiceLoss, target="NI-DM"), config),
        "SmoothL1(p, mask)": (VoxelwiseMethod(""), replace(config, alpha=1.0)),
        **{f"LR-Net {kind}": (TandemMethod(""), replace(config, kind=kind, alpha=1.0))
           for kind in KINDS},
    }  # fmt: skip
    patches = PatchBatches(
        scans.study.cached["train"], kinds=list(KINDS), classes=1, patch_size=config.patch_size,
        batch_size=config.batch_size, object_share=config.object_share, augment=True, seed=[config.seed, 0],
        length=batches,
    )  # fmt: skip
    drawn, norms = [patches[i] for i in range(batches)], {}
    for name, (method, settings) in terms.items():
        model = method.model(settings, 2)
        loss, weights = method.loss(settings, model), [*model.get_submodule("mnet").parameters()]
        lengths = [torch.stack([g.norm() for g in torch.autograd.grad(loss(batch), weights)]).norm() for batch in drawn]
        norms[name] = float(torch.stack(lengths).mean())
    return norms


# ---- files ------------------------------------------------------------------------------------------------------


def write_csv(path: Path, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table; gzipped, with the same bytes for the same rows, where the name ends in .gz."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(heads)
    table.writerows(rows)
    if path.suffix == ".gz":
        write_gzip(path, text.getvalue())
    else:
        write_atomically(path, text.getvalue().encode())


def write_gzip(path: Path, text: str) -> None:
    """Write a text gzipped, the same bytes for the same text."""
    write_atomically(path, gzip.compress(text.encode(), mtime=0))
