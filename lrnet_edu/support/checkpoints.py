"""Weights on disk: safetensors only, never a pickle, written whole or not at all."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import first_line, write_atomically


def save_checkpoint(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> None:
    """Write named tensors and what is known of them (anything JSON can hold) as one safetensors file."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(Path(path), save(contiguous, metadata={"lrnet_edu": json.dumps(metadata)}))


def load_checkpoint(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a checkpoint, or the best one of a run folder: (tensors on the CPU, metadata); InputError if it is none.

    A pickle (``.pt``, ``.pth``) is never opened as one: unpickling can run any code.
    """
    path = Path(path)
    path = path / "best.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"There is no checkpoint at {path}; name a run folder or a .safetensors file in it.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(json.loads((file.metadata() or {})["lrnet_edu"]))
            # Copies: the file's own pages, mapped into memory, would keep Windows from writing the file anew.
            return {name: file.get_tensor(name).clone() for name in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError):
        raise InputError(
            f"{path} is not a checkpoint of lrnet_edu (a whole .safetensors file); pickled .pt or .pth files "
            "are never opened, so train or copy the checkpoint again."
        ) from None


@contextmanager
def malformed_metadata(path: str | Path) -> Iterator[None]:
    """While a network is built from a checkpoint: what is missing or odd in its metadata becomes an InputError."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError) as error:
        odd = first_line(error)[:200]
        raise InputError(f"The metadata of {path} cannot be used ({odd}); train or copy it again.") from None
