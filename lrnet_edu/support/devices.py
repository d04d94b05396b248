"""Where a training computes: devices, their precision and memory, and the batches that wait for them."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from traceback import clear_frames
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import first_line

# CUDA, the CPU, Windows, cuDNN and cuBLAS, MPS.
FULL = ("out of memory", "can't allocate memory", "not enough memory", "STATUS_ALLOC_FAILED", "Invalid buffer size")


@contextmanager
def explain_out_of_memory(device: torch.device) -> Iterator[None]:
    """While tensors are computed: memory that runs out becomes an InputError that says what to do."""
    try:
        yield
    except RuntimeError as error:  # CUDA's OutOfMemoryError is one, the others raise nothing more special
        if not any(words in str(error) for words in FULL):
            raise
        clear_frames(error.__traceback__)  # a notebook keeps the last error, and its frames keep every tensor
        raise InputError(
            f"The memory of {device} is full ({first_line(error)}); lower patch_size or batch_size (preset cpu has the "
            "smallest patches; in a pretraining the cubes), or compute on --device cpu."
        ) from None


def channels_last(network: nn.Module) -> nn.Module:
    """Keep the features of a voxel side by side in memory: on a CPU a step takes a fifth less time."""
    flat = any(weight.ndim == 4 for weight in network.parameters())
    memory_format = torch.channels_last if flat else torch.channels_last_3d
    return network.to(memory_format=memory_format)  # type: ignore[call-overload]


def choose_device(name: str | None = None) -> torch.device:
    """The named device; without a name CUDA where there is a GPU for it, else the CPU. InputError if it is unusable."""
    # Apple's MPS has to be named: many versions of PyTorch lack a layer or two of these networks there.
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        why = f"The device {name!r} cannot be used ({first_line(error)})"
        raise InputError(f"{why}; leave it out to take the best there is, or take cpu.") from None


def reduced_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Autocast to bfloat16 for a GPU that computes in it, from compute capability 8.0 on; float32 for all others.

    Older ones (Colab's T4) only imitate it and have no convolutions of it, nor has PyTorch 2.9 (its issue 166643).
    """
    native = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    native = native and not torch.__version__.startswith("2.9.")
    return torch.autocast("cuda", dtype=torch.bfloat16) if native else nullcontext()


def ordered_batches(batches: Dataset[Any], first: int, last: int, device: torch.device) -> DataLoader[Any]:
    """Batches first .. last - 1; prepared by worker processes where a GPU would have to wait for them."""
    gpu = device.type == "cuda"
    workers = min(4, os.cpu_count() or 1) if gpu else 0
    return DataLoader(batches, batch_size=None, sampler=range(first, last), num_workers=workers, pin_memory=gpu)
