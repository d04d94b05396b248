"""Training as a student waits for it: minutes until the M-Net is good, and what our loop adds to a plain one."""

import contextlib
import io
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from benchmarks import timing
from benchmarks.timing import DisagreementError, Row, installed
from lrnet_edu import DiceLoss, find_cases
from lrnet_edu.config import Config, preset, pretrain_config
from lrnet_edu.data.cache import cache_cases
from lrnet_edu.data.patches import Batch
from lrnet_edu.data.preprocessing import Preprocessing
from lrnet_edu.data.samples import sample_folder
from lrnet_edu.data.study import Study, open_study
from lrnet_edu.lrnet_training import lrnet_quality, pretrain_run
from lrnet_edu.methods import METHODS, BatchLoss, Method
from lrnet_edu.mnet_training import mnet_task
from lrnet_edu.support.devices import channels_last
from lrnet_edu.trained import load_lrnet
from lrnet_edu.training import Phase, Schedule, Task, fit

CPU = torch.device("cpu")
DCS = (0.70, 0.75)  # of the validation cases
SEEDS = (0, 1, 2)
Loop = Callable[[Config, "SameBatch", list[float]], list[Tensor]]


@dataclass(frozen=True)
class MonaiMethod(Method):
    """The M-Net's place taken by MONAI's UNet of the same widths, with two residual units a level."""

    def mnet(self, config: Config, classes: int) -> Any:
        from monai.networks.nets import UNet

        return UNet(3, 1, classes, config.features, strides=[2] * (len(config.features) - 1), num_res_units=2)


def rows(quick: bool) -> Iterator[Row]:
    """Minutes to a validation DC, one step, the LR-Net's pretraining."""
    METHODS["monai"] = MonaiMethod("MONAI UNet", DiceLoss)
    yield from minutes_rows(quick)
    yield from step_rows(quick)
    yield pretraining_row(quick, "cpu")


# ---- minutes to a validation DC -------------------------------------------------------------------------------


class ReachedError(Exception):
    """All that was asked for: the training may end."""


def minutes_rows(quick: bool) -> Iterator[Row]:
    """Preset cpu on the sample scans; beside it MONAI's UNet in the same loop, on the same patches."""
    small: dict[str, Any] = {"steps": 4, "validate_every": 2} if quick else {"validate_every": 20}
    config = preset("cpu", label="2", window=(-30.0, 180.0), **small)
    study, seeds = open_study(sample_folder(), config), SEEDS[:1] if quick else SEEDS
    methods = ["dice", *(["monai"] if installed("monai") else []), "mapdice+lrnet"]
    found = {name: [until(study, replace(config, method=name, seed=seed)) for seed in seeds] for name in methods}
    for i, dc in enumerate(DCS):
        steps = {name: [run[i][0] for run in runs] for name, runs in found.items()}
        minutes = {name: statistics.mean(run[i][1] for run in runs) / 60 for name, runs in found.items()}
        note = (
            f"Validation DC on the sample scans, looked at every {config.validate_every} steps; minutes are the mean "
            f"of {len(seeds)} seeds, without what the validations took. A training that never gets there counts with "
            f"all its {config.steps} steps."
        )
        for name in ("dice", "mapdice+lrnet"):
            title = f"{METHODS[name].title}: minutes from the first step to DC {dc:.2f} (steps {words(steps[name])}"
            peers = {"MONAI UNet": minutes.get("monai")} if name == "dice" else {}
            title += f"; MONAI {words(steps['monai'])})" if peers and "monai" in steps else ")"
            yield Row(title, minutes[name], peers, unit="min", note=note)


def words(steps: list[int | None]) -> str:
    return ", ".join("never" if step is None else str(step) for step in steps)


def until(study: Study, config: Config) -> list[tuple[int | None, float]]:
    """The step at which each of ``DCS`` was reached, and the seconds before it without those of validations."""
    task = mnet_task(study, config)
    reached: list[tuple[int | None, float]] = []
    began, validate, validating = timing.clock(), task.validate, 0.0

    def watched(step: int) -> dict[str, float]:
        nonlocal validating
        started = timing.clock()
        figures = validate(step)
        while len(reached) < len(DCS) and figures["score"] >= DCS[len(reached)]:
            reached.append((step, started - began - validating))
        if len(reached) == len(DCS):
            raise ReachedError
        validating += timing.clock() - started
        return figures

    task.validate = watched
    quiet = contextlib.redirect_stderr(io.StringIO())
    with TemporaryDirectory() as folder, quiet, contextlib.suppress(ReachedError):
        fit(task, config, Path(folder), CPU)
    never = (None, timing.clock() - began - validating)
    return reached + [never] * (len(DCS) - len(reached))


# ---- one step -------------------------------------------------------------------------------------------------


class SameBatch(Dataset[Batch]):
    """One batch over and over: the loop is measured, not the data."""

    def __init__(self, shape: tuple[int, int, int], length: int) -> None:
        image = torch.randn(2, 1, *shape, generator=torch.Generator().manual_seed(0))  # (B, 1, D, H, W)
        classes = (image[:, 0] > 1).long()  # (B, D, H, W)
        self.batch = Batch(image, classes, {"NI-DM": classes[:, None].float()}, ["noise"])
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Batch:
        return self.batch


def noting(loss: BatchLoss, ticks: list[float]) -> BatchLoss:
    """The loss, which notes when it is called."""

    def noted(batch: Any) -> Tensor:
        ticks.append(timing.clock())
        return loss(batch)

    return noted


def plain_loop(config: Config, batches: SameBatch, ticks: list[float]) -> list[Tensor]:
    """The loop of every tutorial; the weights afterwards."""
    torch.manual_seed(0)
    model = channels_last(METHODS[config.method].model(config, 2)).train()
    loss = noting(METHODS[config.method].loss(config, model), ticks)
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], lr=1e-3)
    for i in range(len(batches)):
        value = loss(batches[i])
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
    return [weight.detach() for weight in model.parameters()]


def our_loop(config: Config, batches: SameBatch, ticks: list[float]) -> list[Tensor]:
    """The same by :func:`lrnet_edu.training.fit`."""
    torch.manual_seed(0)
    model, steps = METHODS[config.method].model(config, 2), len(batches)
    phase = Phase("training", steps, noting(METHODS[config.method].loss(config, model), ticks))
    task = Task(model, batches, [phase], lambda step: {"val_loss": 0.0, "score": 0.0}, {}, "mnet.")
    with TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        fit(task, Schedule(steps=steps, validate_every=steps), Path(folder), CPU)
    return [weight.detach() for weight in model.parameters()]


def step_rows(quick: bool) -> Iterator[Row]:
    """One step of preset cpu: the loops take turns; the median of all steps but each loop's first."""
    config, steps = preset("cpu", method="dice"), 3 if quick else 10
    batches = SameBatch((16, 16, 16) if quick else config.patch_size, steps)
    loops: dict[str, tuple[Loop, str]] = {"ours": (our_loop, "dice"), "plain loop": (plain_loop, "dice"),
                                          "tandem": (our_loop, "dice+lrnet")}  # fmt: skip
    loops |= {"MONAI UNet": (our_loop, "monai")} if installed("monai") else {}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    weights: dict[str, list[Tensor]] = {}
    for _ in range(1 if quick else 4):
        for name, (loop, method) in loops.items():
            ticks: list[float] = []
            weights[name] = loop(replace(config, method=method), batches, ticks)
            seconds[name] += [later - earlier for earlier, later in pairwise(ticks)]
    apart = max(float((a - b).abs().max()) for a, b in zip(weights["ours"], weights["plain loop"], strict=True))
    if apart > 1e-6:
        raise DisagreementError(f"After {steps} steps our loop's weights differ from the plain loop's by {apart:g}.")
    found = {name: statistics.median(times) for name, times in seconds.items()}
    title = f"preset cpu, 2 x {' x '.join(map(str, batches.batch.image.shape[2:]))}"
    row = Row(f"one step of the M-Net alone, {title}", found["ours"],
              {"plain loop": found["plain loop"], "MONAI UNet": found.get("MONAI UNet")},
              agreement=f"{apart:.1e} (limit 1e-06), the weights", target="within 3 % of the plain loop",
              reached=found["ours"] <= 1.03 * found["plain loop"])  # fmt: skip
    row.note = "Plain loop: the same network without our trainer. MONAI's UNet of the same widths is another network."
    yield row
    yield Row(f"one step in tandem, {title}", found["tandem"], {"M-Net alone": found["ours"]})
    yield compiled_row(config, batches.batch, 1 if quick else 20, title)


def compiled_row(config: Config, batch: Batch, steps: int, title: str) -> Row:
    """A step of the M-Net by ``torch.compile`` beside one without; the package does not compile."""
    plain = channels_last(METHODS["dice"].mnet(config, 2)).train()
    loss, networks = DiceLoss(), {"plain": plain, "compiled": torch.compile(plain)}
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(1 + steps):
        for name, network in networks.items():
            started = timing.clock()
            loss(torch.softmax(network(batch.image), dim=1), batch.classes).backward()
            seconds[name].append(timing.clock() - started)
    compiling = seconds["compiled"][0]
    plain_step, compiled_step = (statistics.median(times[1:]) for times in seconds.values())
    gained = plain_step - compiled_step
    pays = f"pays after {compiling / gained:.0f} steps" if gained > 0 else "never pays"
    return Row(f"one step compiled, {title}", compiled_step, {"not compiled": plain_step},
               note=f"torch.compile takes {compiling:.0f} s at the first step, which {pays}.")  # fmt: skip


def pretraining_row(quick: bool, device: str) -> Row:
    """Seconds of the LR-Net's pretraining in the demo, and how good it is on lesions of phantoms it never saw."""
    cases = cache_cases(find_cases(sample_folder()), Preprocessing(3.32, (-200.0, 250.0)), ((2,),))
    masks = [case.classes == 1 for case in cases if np.any(case.classes)]
    config = pretrain_config("NI-DM", **({"steps": 12, "validate_every": 6} if quick else {}))
    with TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        started = timing.clock()
        pretrain_run(Path(folder) / "run", config=config, device=device)
        seconds = timing.clock() - started
        quality = lrnet_quality(load_lrnet(Path(folder) / "run" / "best.safetensors"), masks)
    good = quality.dice >= 0.99 and quality.error <= 0.06
    found = f"Dice {quality.dice:.4f}, error of phi {quality.error:.3f} on the lesions of {len(masks)} phantoms"
    return Row(f"LR-Net pretraining, {config.steps} steps: {found}", seconds,
               target="Dice 0.99, error 0.06, within 60 s", reached=good and seconds <= 60)  # fmt: skip
