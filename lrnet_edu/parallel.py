"""Several GPUs: ``torchrun --nproc_per_node N -m lrnet_edu train ...``, one process for each.

Every process works on its share of each batch. The losses add their sums over all processes
(``losses._shared.over_processes``) and PyTorch's DistributedDataParallel adds the gradients, so N processes take the
step that one process would take with the whole batch. The first one alone prints and writes files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lrnet_edu.errors import InputError


def rank() -> int:
    """This process's number, 0 without torchrun."""
    return int(os.environ.get("RANK", 0))


def processes() -> int:
    """How many there are, 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", 1))


def local_device(device: torch.device) -> torch.device:
    """The process's own GPU among those of its machine."""
    several = device.type == "cuda" and device.index is None and processes() > 1
    return torch.device("cuda", int(os.environ["LOCAL_RANK"])) if several else device


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Meet the other processes, and part from them at the end; does nothing without torchrun.

    Raises:
        InputError: if another process ends before the training does.
    """
    if processes() == 1 or distributed.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    except RuntimeError as error:
        if "onnection" not in str(error):  # what gloo and NCCL say of a process that is gone
            raise
        raise InputError(
            f"Another process of this training has ended ({str(error).splitlines()[0]}); what was trained until the "
            "last validation is kept, go on with the same command and --resume."
        ) from None
    finally:
        distributed.destroy_process_group()


def first_alone_first(work: Callable[[], Any]) -> Any:
    """Let process 0 do the work before the others do it too, who then find its results on the disk."""
    if processes() == 1:
        return work()
    if rank() > 0:
        distributed.barrier()
    done = work()
    if rank() == 0:
        distributed.barrier()
    return done


class Loss(nn.Module):
    """A loss as a module that holds the model it trains: what DistributedDataParallel has to be wrapped around."""

    def __init__(self, model: nn.Module, loss: Callable[[Any, int], Tensor]) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Any, step: int) -> Tensor:
        return self.loss(batch, step)


def shared(model: nn.Module, loss: Callable[[Any, int], Tensor]) -> Callable[[Any, int], Tensor]:
    """The loss whose gradients are added over all processes; the loss itself where there is one process."""
    if processes() == 1:
        return loss
    # In the warm-up an unfrozen LR-Net has no part in the loss, and its weights would wait in vain for a gradient.
    unfrozen = any(weight.requires_grad for name, weight in model.named_parameters() if name.startswith("lrnet."))
    return DistributedDataParallel(Loss(model, loss), find_unused_parameters=unfrozen)
