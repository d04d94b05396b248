"""A run folder: settings, split and log, and the checkpoints ``best`` (by validation) and ``last`` (to go on)."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lrnet_edu.support.checkpoints import load_checkpoint, malformed_facts, save_checkpoint
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import (
    changed_settings,
    folder_lock,
    hidden,
    read_json,
    reason,
    shortened,
    write_atomically,
)
from lrnet_edu.support.parallel import rank
from lrnet_edu.support.symptoms import print_above_bar


@dataclass
class State:
    """Where a run stands; stored in ``last.safetensors`` beside the weights."""

    step: int = 0
    best_score: float = -float("inf")
    best_step: int = 0
    seconds: float = 0.0
    converged: bool = False
    rows: list[dict[str, float]] = field(default_factory=list)


def save_best(folder: Path, model: nn.Module, prefix: str, facts: dict[str, Any]) -> None:
    """Write ``best.safetensors``: the weights under a prefix, which are used afterwards."""
    kept = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(prefix)}
    if rank() == 0:
        save_checkpoint(folder / "best.safetensors", kept, facts)


def save_state(
    folder: Path, model: nn.Module, facts: dict[str, Any], optimizer: torch.optim.Optimizer, plateau: Any, state: State
) -> None:
    """Write ``last.safetensors``: the model, Adam's moments, and everything else as facts."""
    if rank() > 0:
        return
    tensors = dict(model.state_dict())
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{name}": tensor for name, tensor in values.items()}
    scheduler = {k: v for k, v in plateau.state_dict().items() if isinstance(v, int | float | list)}
    facts = {**facts, "state": vars(state), "plateau": scheduler, "lr": optimizer.param_groups[0]["lr"]}
    save_checkpoint(folder / "last.safetensors", tensors, facts)


def load_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, plateau: Any) -> State:
    """Go back to where ``last.safetensors`` stood; a folder without one starts at step 0."""
    path = folder / "last.safetensors"
    if not path.exists():
        return State()
    tensors, facts = load_checkpoint(path)
    with malformed_facts(path):
        moments, state = pop_moments(tensors), checked_state(facts, plateau)
    try:
        model.load_state_dict(tensors)
    except RuntimeError:
        raise InputError(f"{path} belongs to another architecture; resume with the settings of that run.") from None
    with malformed_facts(path):
        check_moments(moments, optimizer.param_groups[0]["params"])
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    optimizer.param_groups[0]["lr"] = facts["lr"]
    plateau.load_state_dict(facts["plateau"])
    return state


def pop_moments(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """Take Adam's moments of each weight out of the tensors of ``last.safetensors``."""
    moments: dict[int, dict[str, Tensor]] = {}
    for name in [name for name in tensors if name.startswith("adam.")]:
        _, index, value = name.split(".")
        moments.setdefault(int(index), {})[value] = tensors.pop(name)
    return moments


def check_moments(moments: dict[int, dict[str, Tensor]], weights: list[Tensor]) -> None:
    """Raise ValueError or IndexError unless these are moments of these weights."""
    for number, values in moments.items():
        like = weights[number].shape
        if {name: tensor.shape for name, tensor in values.items()} != {"step": (), "exp_avg": like, "exp_avg_sq": like}:
            raise ValueError("moments of other weights")


def checked_state(facts: dict[str, Any], plateau: Any) -> State:
    """The state among the facts of ``last.safetensors``; ValueError or TypeError where a training could not go on."""
    state, known = State(**facts["state"]), plateau.state_dict()
    if not isinstance(facts["state"]["rows"], list) or not isinstance(facts["state"]["step"], int):
        raise TypeError("no rows, or half a step")
    numbers = [facts["lr"], state.best_score, state.best_step, state.seconds]
    numbers += [value for row in state.rows for value in row.values()]
    if not all(isinstance(number, int | float) for number in numbers):
        raise TypeError("no number where one belongs")
    if state.step < 0 or not 0 <= facts["lr"] < math.inf or any("val_loss" not in row for row in state.rows):
        raise ValueError("no state of a training")
    if len({tuple(row) for row in state.rows}) > 1:
        raise ValueError("rows of different columns")
    if any(type(value) is not type(known[name]) for name, value in facts["plateau"].items()):
        raise TypeError("no state of a learning rate's schedule")
    return state


class CsvLog:
    """``log.csv``, one row for each validation, rewritten whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, rows: list[dict[str, float]]) -> None:
        text = io.StringIO()
        table = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        if rank() > 0:
            return
        try:
            write_atomically(self.path, text.getvalue().encode())
        except InputError as error:
            if not isinstance(error.__cause__, PermissionError):
                raise
            # A spreadsheet has it open; the next validation writes all rows.
            print_above_bar(f"The training goes on, but {error}")


class TensorBoardLog:
    """Each row as TensorBoard's events in ``tensorboard/``; make it before a run's first file is written.

    Raises:
        InputError: if TensorBoard is not installed, or its events cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise InputError("TensorBoard is not installed; run `pip install tensorboard` or leave it out.") from None
        self.folder, self.make = folder, SummaryWriter
        self.writer: Any = None

    def __call__(self, row: dict[str, float]) -> None:
        try:
            self.writer = self.writer or self.make(str(self.folder / "tensorboard"))
            for name, value in row.items():
                self.writer.add_scalar(name, value, int(row["step"]))
            self.writer.flush()
        except OSError as error:
            raise InputError(f"TensorBoard cannot write its events ({reason(error)}); leave it out.") from error


def check_run(folder: Path, *, resume: bool) -> bool:
    """True if the folder holds a run to resume, False if a new one may begin there; before any slow work.

    Raises:
        InputError: if the folder holds a run already and ``resume`` is off, holds something else, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder for the run.")
    exists = (folder / "config.json").exists()
    if exists and not resume:
        raise InputError(f"{folder} holds a run already; add --resume to go on with it or name another folder.")
    if folder.is_dir() and not exists and (other := [p.name for p in folder.iterdir() if not hidden(p.name)]):
        raise InputError(f"{folder} holds other files ({shortened(sorted(other))}); name a new or an empty folder.")
    return exists


@contextmanager
def open_run(
    folder: Path, config: Any, *, resume: bool, more: dict[str, Any], split: dict[str, list[str]] | None
) -> Iterator[None]:
    """Train in a run folder, one process at a time.

    What fails before the first checkpoint of a new run leaves nothing in it: the next attempt needs no other folder.
    """
    if rank() > 0:
        yield
        return
    with folder_lock(folder):
        new = not check_run(folder, resume=resume)
        try:
            _begin_or_check(folder, config, resume=resume, more=more)
            if split:
                write_atomically(folder / "split.json", json.dumps(split, indent=2).encode())
            yield
        except BaseException:
            if new and not any(folder.glob("*.safetensors")):
                shutil.rmtree(folder / "tensorboard", ignore_errors=True)
                for name in ("split.json", "config.json"):  # the one that makes it a run goes last
                    with suppress(OSError):
                        (folder / name).unlink()
            raise


def _begin_or_check(folder: Path, config: Any, *, resume: bool, more: dict[str, Any] | None = None) -> None:
    """Write ``config.json`` of a new run, or check that the one to resume was started alike; it may get more steps.

    Raises:
        InputError: if the folder holds a run already and ``resume`` is off, holds a run of another configuration or
            something else, or is a file.
    """
    settings = json.loads(json.dumps({**asdict(config), **(more or {})}))
    path = folder / "config.json"
    if check_run(folder, resume=resume):
        before = settings_of_run(folder)
        longer = before.get("steps", settings["steps"]) < settings["steps"]
        free = {"steps", "warmup_steps"} if longer else set()
        changed = sorted(name for name in settings if name not in free and before.get(name) != settings[name])
        if changed:
            raise InputError(
                f"The run in {folder} was started with other settings ({changed_settings(changed, before, settings)}); "
                "give it the same ones again, or name another folder."
            )
        if not longer:
            return
    write_atomically(path, json.dumps(settings, indent=2).encode())


def settings_of_run(folder: Path) -> dict[str, Any]:
    """What ``config.json`` of a run holds; InputError if it is damaged."""
    path = folder / "config.json"
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError):
        raise InputError(f"{path} is damaged; name another folder for a new run.") from None
