"""A training that takes milliseconds: a line through points, for the tests of what surrounds a training."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lrnet_edu.support.checkpoints import load_checkpoint
from lrnet_edu.training import Phase, Schedule, Task

CPU = torch.device("cpu")
SCHEDULE = Schedule(steps=8, validate_every=2, learning_rate=0.05, plateau_patience=0)


class Points(NamedTuple):
    """A batch of points and of the values that a line takes there."""

    x: Tensor  # (B, 3)
    y: Tensor  # (B, 1)
    cases: list[str]
    number: int

    def to(self, device: torch.device) -> Points:
        return self._replace(x=self.x.to(device), y=self.y.to(device))


class PointBatches(Dataset[Points]):
    def __getitem__(self, index: int) -> Points:
        x = torch.randn(16, 3, generator=torch.Generator().manual_seed(index))
        return Points(x, x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 3, [f"case-{index}", "other"], index)

    def __len__(self) -> int:
        return 10**6


def toy_task(validation: Callable[[int], dict[str, float]] | None = None, warm_up: int = 0) -> Task:
    """A line to fit, with a warm-up or without, beside a frozen part; ``validation`` gives the n-th one's figures."""
    torch.manual_seed(0)
    model: Any = nn.ModuleDict({"line": nn.Linear(3, 1), "fixed": nn.Linear(2, 2).requires_grad_(False)})
    held_out, number = PointBatches()[10**6], 0

    def loss(batch: Points) -> Tensor:
        return ((model["line"](batch.x) - batch.y) ** 2).mean()

    def validate(step: int) -> dict[str, float]:
        nonlocal number
        number += 1
        value = float(loss(held_out).detach())
        return validation(number) if validation else {"val_loss": value, "score": -value}

    warming = [Phase("warm-up", warm_up, loss)] if warm_up else []
    phases = [*warming, Phase("line", SCHEDULE.steps - warm_up, loss)]
    return Task(model, PointBatches(), phases, validate, {"network": "line"}, best_prefix="line.")


def line(task: Task) -> Any:
    """What a toy task trains."""
    return task.model.get_submodule("line")


def change_loss(task: Task, change: Callable[[Tensor, Any], Tensor]) -> Task:
    """The task with (loss, batch) -> loss in every phase."""

    task.phases = [replace(phase, loss=lambda batch, loss=phase.loss: change(loss(batch), batch))
                   for phase in task.phases]  # fmt: skip
    return task


def dying(task: Task, step: int) -> Task:
    """The task, whose process is killed in a step."""

    def kill(at: int) -> None:
        if at == step:
            raise KeyboardInterrupt

    task.after_backward = kill
    return task


def rows_of(folder: Path) -> list[dict[str, float]]:
    with (folder / "log.csv").open(encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, optimiser and log bit for bit; only the seconds may differ."""
    for name in ("last.safetensors", "best.safetensors"):
        a, b = load_checkpoint(one / name), load_checkpoint(other / name)
        assert a[0].keys() == b[0].keys()
        assert all(torch.equal(a[0][key], b[0][key]) for key in a[0])
        assert timeless(a[1]) == timeless(b[1])
    assert timeless(rows_of(one)) == timeless(rows_of(other))


def timeless(facts: Any) -> Any:
    if isinstance(facts, dict):
        return {key: timeless(value) for key, value in facts.items() if key not in ("seconds", "cpu_seconds")}
    return [timeless(value) for value in facts] if isinstance(facts, list) else facts
