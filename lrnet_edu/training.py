"""One loop for every stage: the LR-Net alone, the M-Net alone, both in tandem (section 3, Implementation Details).

A :class:`Task` says what is trained and how a batch becomes a loss; :func:`fit` does the rest. A run folder holds
``config.json``, ``split.json``, ``log.csv``, ``best.safetensors`` (the best by validation) and ``last.safetensors``
(everything needed to go on). Batches depend on the seed and the step alone, so a killed run that is resumed ends
with the same weights, bit for bit on a CPU.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from lrnet_edu.allocator import freed_memory_kept
from lrnet_edu.checkpoints import load_checkpoint, malformed_facts, save_checkpoint
from lrnet_edu.config import Schedule
from lrnet_edu.errors import InputError
from lrnet_edu.layers import lay_out
from lrnet_edu.parallel import rank, shared
from lrnet_edu.reading import first_line, hidden, read_json, shortened, told_apart
from lrnet_edu.symptoms import check_finite, enough_memory, never_moved, tell
from lrnet_edu.writing import alone, reason, write_atomically


@dataclass
class Task:
    """A stage of the training as the loop sees it.

    Attributes:
        model: what is trained, moved and stored; weights with ``requires_grad`` off stay as they are.
        batches: batch i at index i, on the CPU, with a method ``to(device)`` and a field ``cases``.
        loss: (batch on the device, step) -> scalar.
        validate: () -> figures of the model as it is now. ``val_loss`` steers the learning rate and the end,
            ``score`` (higher is better) chooses ``best.safetensors``.
        facts: what must be known to build the network again; stored in both checkpoints.
        kept: prefix of the weights that ``best.safetensors`` holds.
        warmup: steps of another loss at the beginning. What was best in them is kept until the first validation
            after them; learning rate and convergence count only those after them.
        restart: whether Adam begins anew after the warm-up.
    """

    model: nn.Module
    batches: Dataset[Any]
    loss: Callable[[Any, int], Tensor]
    validate: Callable[[], dict[str, float]]
    facts: dict[str, Any]
    kept: str
    warmup: int = 0
    restart: bool = False


@dataclass
class State:
    """Where a run stands; stored in ``last.safetensors`` beside the weights."""

    step: int = 0
    best_score: float = -float("inf")
    best_step: int = 0
    seconds: float = 0.0
    converged: bool = False
    rows: list[dict[str, float]] = field(default_factory=list)


def choose_device(name: str | None = None) -> torch.device:
    """The named device; without a name CUDA where there is a GPU for it, else the CPU.

    Apple's MPS has to be named: many versions of PyTorch lack a layer or two of these networks there.

    Raises:
        InputError: if the device is not there, or cannot be used.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        if name in gpus or (gpus and name == "cuda"):  # full, or too old for this PyTorch
            raise InputError(f"{name} cannot be used ({first_line(error)}); free it, or take the device cpu.") from None
        raise InputError(
            f"There is no device {name!r} here (names are cpu, cuda, cuda:1, mps); leave it out to take the best there "
            "is."
        ) from None


def fit(task: Task, config: Schedule, folder: Path, device: torch.device, *, resume: bool = False,
        tensorboard: bool = False, title: str = "training") -> State:  # fmt: skip
    """Train until the validation loss has converged or the steps are used up; returns where it ended.

    Raises:
        InputError: if a loss is not finite (names the step and the cases), the memory does not suffice (names what
            to lower), or ``resume`` finds another run.
    """
    model = lay_out(task.model.to(device))
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=config.learning_rate)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=config.plateau_factor, patience=config.plateau_patience
    )
    state = load_state(task, optimizer, plateau, folder) if resume else State()
    log = Log(folder, tensorboard)
    loss_of = shared(model, task.loss)
    started, losses = time.perf_counter() - state.seconds, []
    with freed_memory_kept(), enough_memory(device, f"lower {what_fills_memory(config)}"), tqdm(
        total=config.steps, initial=state.step, desc=title, unit="step", dynamic_ncols=True, disable=rank() > 0
    ) as bar:  # fmt: skip
        for batch in loader(task.batches, state.step, config.steps, device):
            if state.converged:
                break
            model.train()
            if config.one_cycle:
                optimizer.param_groups[0]["lr"] = config.learning_rate * one_cycle(state.step / config.steps)
            if task.restart and state.step == task.warmup:
                optimizer.state.clear()  # Adam's moments speak of the loss before
            with reduced_precision(device):
                loss = loss_of(batch.to(device), state.step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            losses.append(check_finite(loss.item(), "loss", f"step {state.step} (cases {', '.join(batch.cases)})"))
            if config.max_gradient_norm is not None:
                nn.utils.clip_grad_norm_(weights, config.max_gradient_norm)
            optimizer.step()
            state.step += 1
            bar.update()
            if state.step % config.validate_every and state.step < config.steps:
                continue
            model.eval()
            figures = task.validate()
            check_finite(figures["val_loss"], "validation loss", f"step {state.step} (the validation cases)")
            warm = state.step > task.warmup
            if not config.one_cycle and warm:
                plateau.step(figures["val_loss"])
            state.seconds = time.perf_counter() - started
            row = {"step": state.step, "seconds": round(state.seconds, 2), "lr": optimizer.param_groups[0]["lr"],
                   "train_loss": sum(losses) / len(losses), **figures}  # fmt: skip
            losses = []
            state.rows.append(row)
            if rank() == 0 and (sentence := never_moved(state.rows)):
                tell(sentence)
            counted = [row for row in state.rows if row["step"] > task.warmup]
            state.converged = not config.one_cycle and warm and converged(counted, config.convergence_patience)
            if figures["score"] > state.best_score or (warm and state.best_step <= task.warmup):
                state.best_score, state.best_step = figures["score"], state.step
                save_best(task, folder)
            log.write(state.rows)
            save_state(task, optimizer, plateau, folder, state)
            bar.set_postfix(val_loss=f"{figures['val_loss']:.3f}", score=f"{figures['score']:.3f}")
    return state


def loader(batches: Dataset[Any], first: int, last: int, device: torch.device) -> Iterator[Any]:
    """Batches first .. last - 1 in order; prepared by worker processes where a GPU would have to wait for them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpu = device.type == "cuda"
    workers = min(4, cores) if gpu else 0  # PyTorch warns of more workers than cores
    numbers = range(first, last)
    for batch in DataLoader(Told(batches), batch_size=None, sampler=numbers, num_workers=workers, pin_memory=gpu):
        if isinstance(batch, Exception):
            raise batch
        yield batch


class Told(Dataset[Any]):
    """Batches, or in a batch's place the error that a user can mend: raised in a worker, it would be a traceback."""

    def __init__(self, batches: Dataset[Any]) -> None:
        self.batches = batches

    def __getitem__(self, index: int) -> Any:
        try:
            return self.batches[index]
        except (InputError, OSError) as error:
            return error


def reduced_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Autocast to bfloat16 for a GPU that computes in it, from compute capability 8.0 on; float32 for all others.

    Older ones (Colab's T4, the paper's RTX 2080 Ti) only imitate bfloat16, and cuDNN has no convolutions of it there.
    """
    native = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    native = native and not torch.__version__.startswith("2.9.")  # which lacks them everywhere (PyTorch's issue 166643)
    return torch.autocast("cuda", dtype=torch.bfloat16) if native else nullcontext()


def one_cycle(share: float) -> float:
    """Share of the learning rate when ``share`` of the steps are done: linear up to 0.1, then a cosine down to 0."""
    return share / 0.1 if share < 0.1 else 0.5 + 0.5 * math.cos(math.pi * (share - 0.1) / 0.9)


def what_fills_memory(config: Schedule) -> str:
    """The settings that decide how much memory a step needs, and the option that chooses them."""
    if hasattr(config, "cubes"):
        return "the number or the edge of the cubes, or pretrain on --device cpu"
    return "patch_size or batch_size (preset cpu has the smallest patches), or train on --device cpu"


def converged(rows: list[dict[str, float]], patience: int) -> bool:
    """True once the validation loss has not improved for ``patience`` validations (section 3)."""
    losses = [row["val_loss"] for row in rows]
    return len(losses) - 1 - losses.index(min(losses)) >= patience


def save_best(task: Task, folder: Path) -> None:
    """Write ``best.safetensors``: the weights that are used afterwards."""
    kept = {name: tensor for name, tensor in task.model.state_dict().items() if name.startswith(task.kept)}
    if rank() == 0:
        save_checkpoint(folder / "best.safetensors", kept, task.facts)


def save_state(task: Task, optimizer: torch.optim.Optimizer, plateau: Any, folder: Path, state: State) -> None:
    """Write ``last.safetensors``: the model, Adam's moments, and everything else as facts."""
    if rank() > 0:
        return
    moments = optimizer.state_dict()["state"]
    tensors = dict(task.model.state_dict())
    for index, values in moments.items():
        tensors |= {f"adam.{index}.{name}": tensor for name, tensor in values.items()}
    scheduler = {k: v for k, v in plateau.state_dict().items() if isinstance(v, int | float | list)}
    facts = {**task.facts, "state": vars(state), "plateau": scheduler, "lr": optimizer.param_groups[0]["lr"]}
    save_checkpoint(folder / "last.safetensors", tensors, facts)


def load_state(task: Task, optimizer: torch.optim.Optimizer, plateau: Any, folder: Path) -> State:
    """Go back to where ``last.safetensors`` stood; a folder without one starts at step 0."""
    path = folder / "last.safetensors"
    if not path.exists():
        return State()
    tensors, facts = load_checkpoint(path)
    with malformed_facts(path):
        moments, state = pop_moments(tensors), checked_state(facts, plateau)
    try:
        task.model.load_state_dict(tensors)
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


class Log:
    """``log.csv``, one row for each validation, rewritten whole; TensorBoard's events where asked for."""

    def __init__(self, folder: Path, tensorboard: bool) -> None:
        self.path = folder / "log.csv"
        self.writer = summary_writer()(str(folder / "tensorboard")) if tensorboard and rank() == 0 else None

    def write(self, rows: list[dict[str, float]]) -> None:
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
            tell(f"The training goes on, but {error}")  # a spreadsheet has it open; the next validation writes all rows
        if self.writer:
            try:
                for name, value in rows[-1].items():
                    self.writer.add_scalar(name, value, int(rows[-1]["step"]))
                self.writer.flush()
            except OSError as error:
                raise InputError(f"TensorBoard cannot write its events ({reason(error)}); leave it out.") from error


def summary_writer() -> Any:
    """TensorBoard's class; call it before a run's first file is written, since it may not be installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError("TensorBoard is not installed; run `pip install tensorboard` or leave it out.") from None
    return SummaryWriter


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
def opened_run(
    folder: Path, config: Schedule, *, resume: bool, more: dict[str, Any], split: dict[str, list[str]] | None
) -> Iterator[None]:
    """Train in a run folder, alone; what fails before the first checkpoint of a new run leaves nothing in it.

    The next attempt, with what was wrong put right, then needs no other folder.
    """
    if rank() > 0:
        yield
        return
    with alone(folder):
        new = not check_run(folder, resume=resume)
        try:
            open_run(folder, config, resume=resume, more=more)
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


def open_run(folder: Path, config: Schedule, *, resume: bool, more: dict[str, Any] | None = None) -> None:
    """Make a run folder with its ``config.json``, or check that the one to resume was started alike.

    Raises:
        InputError: if the folder holds a run already and ``resume`` is off, holds a run of another configuration or
            something else, or is a file.
    """
    settings = json.loads(json.dumps({**asdict(config), **(more or {})}))
    path = folder / "config.json"
    if check_run(folder, resume=resume):
        try:
            before = dict(read_json(path))
        except (OSError, ValueError, TypeError):
            raise InputError(f"{path} is damaged; name another folder for a new run.") from None
        changed = sorted(name for name in settings if before.get(name) != settings[name])
        if changed:
            raise InputError(
                f"The run in {folder} was started with other settings ({told_apart(changed, before, settings)}); give "
                "it the same ones again, or name another folder."
            )
        return
    write_atomically(path, json.dumps(settings, indent=2).encode())


def estimate(task: Task, device: torch.device) -> tuple[float, int]:
    """Seconds of one training step, and bytes it keeps for the backward pass, measured on one real batch.

    The weights are not changed.
    """
    model = lay_out(task.model.to(device)).train()
    batch = task.batches[0].to(device)
    last_step = 10**9  # after every warm-up: the dearest step
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    def step() -> None:
        with reduced_precision(device):
            loss = task.loss(batch, last_step)
        loss.backward()
        loss.item()  # a GPU answers when it has come to the end

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        step()  # also warms up
    started = time.perf_counter()
    step()
    seconds = time.perf_counter() - started
    model.zero_grad(set_to_none=True)
    return seconds, sum(kept.values())
