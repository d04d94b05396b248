"""One training loop for both networks (section 3): Adam, with the rate lowered on a plateau, until convergence.

A batch depends only on the seed and the step, so an interrupted run that is resumed ends with the same weights, bit for
bit on a CPU.
"""

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from lrnet_edu.support.devices import channels_last, explain_out_of_memory, ordered_batches, reduced_precision
from lrnet_edu.support.errors import check_finite, check_whole, checked_number
from lrnet_edu.support.files import write_csv
from lrnet_edu.support.run_folder import State, load_state, save_best, save_state

Row = dict[str, float]  # the figures of one validation


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network learns."""

    steps: int = 600
    validate_every: int = 50  # steps
    learning_rate: float = 1e-3
    plateau_factor: float = 0.8
    plateau_patience: int = 3  # more validations than these without improvement lower the rate
    convergence_patience: int = 12  # validations without improvement before the run ends
    one_cycle: bool = False  # instead of both: linear warm-up for a tenth of the steps, then a cosine down to 0
    max_gradient_norm: float | None = None  # gradients are clipped to this norm; None: not clipped

    def __post_init__(self) -> None:
        check_whole("steps", self.steps, least=1)
        check_whole("validate_every", self.validate_every, least=1)
        object.__setattr__(self, "learning_rate", checked_number("learning_rate", self.learning_rate, least=1e-12))
        checked_number("plateau_factor", self.plateau_factor, least=0.01, most=0.99)
        check_whole("plateau_patience", self.plateau_patience, least=0)
        check_whole("convergence_patience", self.convergence_patience, least=1)
        if self.max_gradient_norm is not None:
            checked_number("max_gradient_norm", self.max_gradient_norm, least=1e-12)


@dataclass(frozen=True)
class Phase:
    """A part of a training with its own loss: batch on the device -> scalar. Adam begins anew in each.

    Else it would divide the new gradients by the size of the old ones, and its steps could be many times too long.
    """

    name: str
    steps: int
    loss: Callable[[Any], Tensor]


@dataclass
class Task:
    """What the loop trains, and how it is validated."""

    model: nn.Module  # trained and saved; weights without ``requires_grad`` stay as they are
    batches: Dataset[Any]  # batch i at index i, on the CPU, with a method ``to(device)`` and a field ``cases``
    # In order; their steps add up to the schedule's. Best weights, plateaus and convergence are judged in the last one
    # only; until its first validation the best weights so far are kept.
    phases: Sequence[Phase]
    # Step -> figures of the model as it is now. "val_loss" steers the learning rate and the end, "score" (higher is
    # better) chooses best.safetensors.
    validate: Callable[[int], Row]
    metadata: dict[str, Any]  # what is needed to rebuild the network; stored in both checkpoints
    best_prefix: str  # of the names of the weights that best.safetensors holds
    after_backward: Callable[[int], None] = lambda step: None  # called with the step, before the optimiser's


def fit(
    task: Task, schedule: Schedule, folder: Path, device: torch.device, *, resume: bool = False,
    rate: Callable[[float], float] | None = None, log: Callable[[Row], None] | None = None, title: str = "training",
) -> State:  # fmt: skip
    """Train until the validation loss has converged or the steps are used up; return where it ended.

    Args:
        folder: a run folder that holds ``config.json`` already; ``log.csv`` and both checkpoints are written there.
        resume: go on from ``last.safetensors``, if there is one.
        rate: function from the share of steps done to the factor on the learning rate; None uses the schedule.
        log: called with each validation's row: "step", "seconds", "lr", "train_loss" and the task's figures.

    Raises InputError if a loss is not finite (naming the step and the cases), memory runs out (naming what to lower),
    or ``resume`` finds another run.
    """
    rate = one_cycle if rate is None and schedule.one_cycle else rate
    model = channels_last(task.model.to(device))
    optimizer = torch.optim.Adam((w for w in model.parameters() if w.requires_grad), lr=schedule.learning_rate)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=schedule.plateau_factor, patience=schedule.plateau_patience
    )
    state = load_state(folder, task.model, optimizer, plateau) if resume else State()
    starts = list(accumulate((phase.steps for phase in task.phases[:-1]), initial=0))  # first step of each phase
    started, cpu, train_losses = time.perf_counter() - state.seconds, time.process_time() - state.cpu_seconds, []
    # Without smoothing the time left is that of the mean step, with its share of the validations.
    bar = tqdm(total=schedule.steps, initial=state.step, desc=title, unit="step", dynamic_ncols=True, smoothing=0)
    with explain_out_of_memory(device), bar:
        for batch in ordered_batches(task.batches, state.step, schedule.steps, device):
            if state.converged:
                break
            if rate is not None:
                optimizer.param_groups[0]["lr"] = schedule.learning_rate * float(rate(state.step / schedule.steps))
            if state.step in starts:
                optimizer.state.clear()
            phase = task.phases[bisect_right(starts, state.step) - 1]
            train_losses.append(learn(task, phase, batch.to(device), optimizer, state.step, schedule))
            state.step += 1
            bar.update()
            if state.step % schedule.validate_every and state.step < schedule.steps:
                continue

            model.eval()
            figures = task.validate(state.step)
            check_finite(figures["val_loss"], "validation loss", f"step {state.step} (the validation cases)")
            state.seconds, state.cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
            row = {"step": state.step, "seconds": round(state.seconds, 2), "lr": optimizer.param_groups[0]["lr"],
                   "train_loss": sum(train_losses) / len(train_losses), **figures}  # fmt: skip
            train_losses = []
            if rate is None and state.step > starts[-1]:
                plateau.step(figures["val_loss"])
            if record_validation(row, state, starts[-1], schedule.convergence_patience if rate is None else None):
                save_best(folder, task.model, task.best_prefix, task.metadata)
            write_csv(folder / "log.csv", state.rows[0], [each.values() for each in state.rows])
            if log is not None:
                log(dict(row))
            save_state(folder, task.model, task.metadata, optimizer, plateau, state)
            bar.set_postfix(val_loss=f"{figures['val_loss']:.3f}", score=f"{figures['score']:.3f}")
    return state


def learn(task: Task, phase: Phase, batch: Any, optimizer: torch.optim.Adam, step: int, schedule: Schedule) -> float:
    """One step of the optimiser, on one batch; returns its loss."""
    task.model.train()
    with reduced_precision(next(task.model.parameters()).device):
        loss = phase.loss(batch)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    value = check_finite(loss.item(), "loss", f"step {step} (cases {', '.join(batch.cases)})")
    task.after_backward(step)
    if schedule.max_gradient_norm is not None:
        nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], schedule.max_gradient_norm)
    optimizer.step()
    return value


def record_validation(row: Row, state: State, last_phase: int, patience: int | None) -> bool:
    """Record a validation in the state, and return whether it is the best.

    Without a better loss for ``patience`` validations the training has converged (section 3). Both look only at
    validations after step ``last_phase``; the first of these replaces whatever was best before.
    """
    state.rows.append(row)
    losses = [row["val_loss"] for row in state.rows if row["step"] > last_phase]
    if losses and patience is not None:
        state.converged = len(losses) - 1 - losses.index(min(losses)) >= patience
    if row["score"] <= state.best_score and not state.best_step <= last_phase < state.step:
        return False
    state.best_score, state.best_step = row["score"], state.step
    return True


def one_cycle(share: float) -> float:
    """Factor on the learning rate after this share of the steps: linear up to 0.1, then a cosine down to 0."""
    return share / 0.1 if share < 0.1 else 0.5 + 0.5 * math.cos(math.pi * (share - 0.1) / 0.9)
