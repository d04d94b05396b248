"""A run folder: settings, split and log, and the checkpoints ``best`` (by validation) and ``last`` (to go on)."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lrnet_edu.support.checkpoints import load_checkpoint, malformed_metadata, save_checkpoint
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import changed_settings, check_empty, folder_lock, read_json, write_atomically


def check_run(folder: Path, *, resume: bool) -> bool:
    """True if a run is there to go on with, False if one may begin there; InputError if neither, before any work."""
    if not (folder / "config.json").exists():
        check_empty(folder)
        return False
    if not resume:
        raise InputError(f"{folder} holds a run already; add --resume to go on with it or name another folder.")
    return True


@contextmanager
def open_run(
    folder: Path, settings: dict[str, Any], *, resume: bool, split: dict[str, list[str]] | None = None
) -> Iterator[None]:
    """Train in a run folder, one process at a time; ``config.json`` holds the settings.

    A run to resume must have been started with the same settings; it may get more steps. What fails before the first
    checkpoint leaves nothing in the folder: the next attempt needs no other one.
    """
    parts = {"split": split} if split else {}  # one of the settings: other cases are another run
    files = {"config.json": json.loads(json.dumps(settings | parts)), **({"split.json": split} if split else {})}
    with folder_lock(folder):
        if check_run(folder, resume=resume):
            _check_same_settings(folder, files["config.json"])
        try:
            for name, content in files.items():
                write_atomically(folder / name, json.dumps(content, indent=2).encode())
            yield
        finally:
            if not any(folder.glob("*.safetensors")):
                for name in reversed(files):  # the one that makes it a run goes last
                    (folder / name).unlink(missing_ok=True)


def _check_same_settings(folder: Path, settings: dict[str, Any]) -> None:
    before = settings_of_run(folder)
    longer = before.get("steps", settings["steps"]) < settings["steps"]
    free = {"steps"} if longer else set()
    if changed := sorted(name for name in settings if name not in free and before.get(name) != settings[name]):
        raise InputError(
            f"The run in {folder} was started with other settings ({changed_settings(changed, before, settings)}); "
            "give it the same ones again, or name another folder."
        )


def settings_of_run(folder: Path) -> dict[str, Any]:
    """What ``config.json`` of a run holds; InputError if it is damaged."""
    path = folder / "config.json"
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError):
        raise InputError(f"{path} is damaged; name another folder for a new run.") from None


@dataclass
class State:
    """Where a run stands; stored in ``last.safetensors`` beside the weights."""

    step: int = 0
    best_score: float = -float("inf")
    best_step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    converged: bool = False
    rows: list[dict[str, float]] = field(default_factory=list)


def save_best(folder: Path, model: nn.Module, prefix: str, metadata: dict[str, Any]) -> None:
    """Write ``best.safetensors``: the weights under a prefix, which are used afterwards."""
    best = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(prefix)}
    save_checkpoint(folder / "best.safetensors", best, metadata)


def save_state(
    folder: Path, model: nn.Module, metadata: dict[str, Any], optimizer: torch.optim.Optimizer, plateau: Any,
    state: State,
) -> None:  # fmt: skip
    """Write ``last.safetensors``: the model, Adam's moments, and everything else as metadata."""
    tensors = dict(model.state_dict())
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{name}": tensor for name, tensor in values.items()}
    scheduler = {k: v for k, v in plateau.state_dict().items() if isinstance(v, int | float | list)}
    metadata = {**metadata, "state": vars(state), "plateau": scheduler, "lr": optimizer.param_groups[0]["lr"]}
    save_checkpoint(folder / "last.safetensors", tensors, metadata)


def load_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, plateau: Any) -> State:
    """Go back to where ``last.safetensors`` stood; a folder without one starts at step 0."""
    path = folder / "last.safetensors"
    if not path.exists():
        return State()
    tensors, metadata = load_checkpoint(path)
    moments: dict[int, dict[str, torch.Tensor]] = {}
    with malformed_metadata(path):
        for name in [name for name in tensors if name.startswith("adam.")]:
            _, index, value = name.split(".")
            moments.setdefault(int(index), {})[value] = tensors.pop(name)
        model.load_state_dict(tensors)
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        optimizer.param_groups[0]["lr"] = float(metadata["lr"])
        plateau.load_state_dict(metadata["plateau"])
        return State(**metadata["state"])
