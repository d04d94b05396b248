"""The study's branches: its phantoms, and what each trained M-Net scores on them."""

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import ndimage

from lrnet_edu.config import Config
from lrnet_edu.data.cache import CachedCase, cache_cases
from lrnet_edu.data.cases import Case, find_cases
from lrnet_edu.data.crop import crop_scans
from lrnet_edu.data.nifti import read_image, read_mask
from lrnet_edu.data.patches import PatchBatches
from lrnet_edu.data.phantoms.phantom import phantom_of_set, write_samples
from lrnet_edu.data.study import Study, open_study
from lrnet_edu.kinds import KINDS
from lrnet_edu.losses import DiceLoss, MapDiceLoss
from lrnet_edu.methods import Method, TandemMethod, VoxelwiseMethod
from lrnet_edu.metrics import case_scores, dice
from lrnet_edu.study.detectability import VISIBLE, detectability
from lrnet_edu.study.froc import THRESHOLDS, lesions_by_threshold
from lrnet_edu.study.protocol import ARMS, CELLS, LABEL, MARGIN_MM, ROUNDING, SETS, Plan
from lrnet_edu.study.scoring import predictions
from lrnet_edu.study.trainings import Training, train_and_record
from lrnet_edu.support.checkpoints import load_checkpoint, save_checkpoint
from lrnet_edu.support.files import write_atomically, write_csv
from lrnet_edu.support.jobs import in_processes
from lrnet_edu.support.voxels import connected_components
from lrnet_edu.trained import TrainedMNet, load_mnet

Cell = tuple[str, str]  # a set (or "validation") and a view
VALIDATION: Cell = ("validation", "box")
OVERLAP = 0.25  # of the windows
BINS = 10  # of p, for its calibration


# ---- phantoms ---------------------------------------------------------------------------------------------------


class ScanWithLesions(NamedTuple):
    """A scan to test on, and which of its lesions somebody could see: (lesions,) of bool."""

    case: Case
    cached: CachedCase
    visible: np.ndarray


class Scans(NamedTuple):
    """All phantoms of the study, prepared."""

    study: Study
    tests: dict[Cell, list[ScanWithLesions]]


def prepare_scans(out: Path, plan: Plan, *, workers: int, say: Callable[[str], None]) -> Scans:
    """Make the phantoms, as far as they are not there, and prepare them for the M-Net."""
    data = out / "data"
    table = data / "detectability.csv"
    if not table.exists():
        for which, count in zip(SETS, (sum(plan.cases), plan.cases[-1]), strict=True):
            write_samples(data / which, count, 0, which)
            shutil.rmtree(data / f"{which}-box", ignore_errors=True)
            crop_scans(data / which, data / f"{which}-box", "1+2", MARGIN_MM, say=say)
        jobs = [(data, which, number) for which in SETS for number in plan.measured_cases(which)]
        rows = sorted(row for case in in_processes(measure_lesions, jobs, workers) for row in case)
        write_csv(table, ("set", "case", "lesion", "ml", "d_prime"), rows)
    visible: dict[tuple[str, str], list[bool]] = {}
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            visible.setdefault((row["set"], f"volume-{int(row['case'])}"), []).append(float(row["d_prime"]) >= VISIBLE)
    write_atomically(data / "split.json", json.dumps(plan.split, indent=1).encode())
    study = open_study(data / SETS[0], plan.base(0), split=data / "split.json")

    def cases_of(which: str, view: str, names: Sequence[str]) -> list[ScanWithLesions]:
        cases = [case for case in find_cases(data / (which if view == "whole" else f"{which}-{view}"))
                 if case.name in names]  # fmt: skip
        cached = cache_cases(cases, study.preprocessing, study.labels)
        return [ScanWithLesions(case, arrays, np.array(visible.get((which, case.name), []), dtype=bool))
                for case, arrays in zip(cases, cached, strict=True)]  # fmt: skip

    tested = {SETS[0]: study.split["test"], SETS[1]: [f"volume-{number}" for number in plan.measured_cases(SETS[1])]}
    tests = {(which, view): cases_of(which, view, tested[which]) for which, view in CELLS}
    return Scans(study, tests | {VALIDATION: cases_of(SETS[0], VALIDATION[1], study.split["validation"])})


def measure_lesions(data: Path, which: str, number: int) -> list[tuple[str, int, int, float, float]]:
    """Set, case, lesion, ml and d' of every lesion of a phantom."""
    healthy = phantom_of_set(number, which, lesions=False)
    image = read_image(data / which / f"volume-{number}.nii.gz").data
    mask = read_mask(data / which / f"segmentation-{number}.nii.gz").data
    found = detectability(image, healthy.image, mask, seed=number)
    sizes = np.bincount(connected_components(mask == int(LABEL), 26)[0].ravel())[1:] * np.prod(healthy.spacing) / 1000
    return [(which, number, i, round(float(ml), 4), round(float(d), 3))
            for i, (ml, d) in enumerate(zip(sizes, found, strict=True))]  # fmt: skip


# ---- a branch ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Branch(Training):
    """What an arm with one seed trains, and what is tested with it.

    The arm may have a suffix where it is no part of the main comparison, or be "base".

    Attributes:
        cells: what is tested.
        moved: number of the repetition whose first weights are moved by ``ROUNDING``; 0 for none.
    """

    cells: tuple[Cell, ...] = CELLS
    moved: int = 0


def do_branch(scans: Scans, out: Path, device: str | None, branch: Branch) -> str:
    """Train, test and record a branch; returns what went wrong, or nothing."""
    folder = out / "runs" / branch.name
    if branch.moved:
        branch = replace(branch, config=with_moved_weights(branch, folder))

    def test(folder: Path, place: torch.device) -> dict[str, Any]:
        last = folder / "last.safetensors"
        trained = load_mnet(last, place)
        cells = {"/".join(cell): score_cell(trained, scans.tests[cell]) for cell in branch.cells}
        norms = gradient_norms(scans.study, replace(branch.config, start=str(last))) if branch.arm == "base" else {}
        return {"cells": cells, "gradients": norms}

    if error := train_and_record(branch, scans.study, out, device, test):
        return error
    if branch.seed == 0 and branch.arm in ("base", *ARMS):
        tensors, facts = load_checkpoint(folder / "last.safetensors")
        mnet = {name: tensor.half() for name, tensor in tensors.items() if name.startswith("mnet.")}  # half the size
        facts = {name: facts[name] for name in facts if name not in ("state", "plateau", "lr")}
        save_checkpoint(out / "mnets" / f"{branch.arm}.safetensors", mnet, facts)
    if branch.arm != "base":  # the others start from its last weights
        shutil.rmtree(folder, ignore_errors=True)
    return ""


def with_moved_weights(branch: Branch, folder: Path) -> Config:
    """The branch's training from its first weights moved by a millionth: what rounding does elsewhere."""
    assert branch.config.start is not None
    path, generator = folder.with_suffix(".safetensors"), torch.Generator().manual_seed(branch.moved)
    tensors, facts = load_checkpoint(Path(branch.config.start))
    moved = {name: tensor * (1 + ROUNDING * torch.randn(tensor.shape, generator=generator))
             for name, tensor in tensors.items() if name.startswith("mnet.")}  # fmt: skip
    save_checkpoint(path, moved, facts)
    return replace(branch.config, start=str(path))


def score_cell(trained: TrainedMNet, tests: Sequence[ScanWithLesions]) -> dict[str, Any]:
    """Every case's lesions at all thresholds and its Dice, and how many lesion voxels there are where p is what it is.

    "calibration" holds, for each of ten bins of p, the liver's voxels, the sum of p and the number of lesion voxels.
    """
    rows, calibration = [], np.zeros((3, BINS))
    predicted = predictions(trained, [(test.case, test.cached) for test in tests], overlap=OVERLAP)
    for (name, p, wanted, mask), test in zip(predicted, tests, strict=True):
        lesions, at_half = lesions_by_threshold(p, wanted, mask.spacing, THRESHOLDS), p > 0.5
        assd = zip(distances(at_half, wanted, mask.spacing), test.visible, strict=True)
        rows.append({
            "case": name,
            **lesions.record(test.visible),
            "DC": round(dice(at_half, wanted), 4),
            "ASSD": [distance for distance, seen in assd if seen],
        })  # fmt: skip
        liver = mask.data > 0
        for row, weights in enumerate((None, p[liver], wanted[liver].astype(float))):
            calibration[row] += np.histogram(p[liver], BINS, (0, 1), weights=weights)[0]
    return {"cases": rows, "calibration": calibration.round(3).tolist()}


def distances(predicted: np.ndarray, wanted: np.ndarray, spacing: Sequence[float]) -> list[float | None]:
    """ASSD in mm of every lesion to the predicted components that touch it; None for a lesion that was missed."""
    (components, _), (lesions, _) = (connected_components(mask, 26) for mask in (predicted, wanted))
    result: list[float | None] = []
    for number, box in enumerate(ndimage.find_objects(lesions), start=1):
        touching = np.setdiff1d(components[box][lesions[box] == number], [0])
        scores = case_scores(np.isin(components, touching), lesions == number, spacing) if len(touching) else None
        result.append(round(scores.assd, 3) if scores else None)
    return result


def gradient_norms(study: Study, config: Config) -> dict[str, float]:
    """The gradient that each term of a loss gives the weights of ``config.start``, at alpha = 1: its mean length."""
    terms: dict[str, tuple[Method, Config]] = {
        "Dice": (Method("", DiceLoss), config),
        "MapDice": (Method("", MapDiceLoss, target="NI-DM"), config),
        "SmoothL1(p, mask)": (VoxelwiseMethod(""), replace(config, alpha=1.0)),
        **{f"LR-Net {kind}": (TandemMethod(""), replace(config, kind=kind, alpha=1.0)) for kind in KINDS},
    }
    patches = PatchBatches(
        study.cached["train"], kinds=list(KINDS), classes=1, patch_size=config.patch_size,
        batch_size=config.batch_size, object_share=config.object_share, augment=True, seed=[config.seed, 0],
        length=8,
    )  # fmt: skip
    drawn, norms = [patches[i] for i in range(len(patches))], {}
    for name, (method, settings) in terms.items():
        model = method.model(settings, 2)
        loss, weights = method.loss(settings, model), [*model.get_submodule("mnet").parameters()]
        lengths = [torch.stack([g.norm() for g in torch.autograd.grad(loss(batch), weights)]).norm() for batch in drawn]
        norms[name] = float(torch.stack(lengths).mean())
    return norms
