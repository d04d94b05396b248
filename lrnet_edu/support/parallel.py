"""Several GPUs: ``torchrun --nproc_per_node N -m lrnet_edu train ...``, one process for each.

Every process works on its share of each batch. The losses add their sums over all processes
(``sum_over_processes``) and PyTorch's DistributedDataParallel adds the gradients, so N processes take the
step that one process would take with the whole batch. The first one alone prints and writes files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import first_line


def rank() -> int:
    """This process's number, 0 without torchrun."""
    return int(os.environ.get("RANK", 0))


def processes() -> int:
    """How many there are, 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", 1))


def local_device(name: str | None) -> str | None:
    """Under torchrun the process's own GPU, InputError if there are too few; else the device as it was named."""
    if processes() == 1 or not (name or "cuda").startswith("cuda") or not torch.cuda.is_available():
        return name
    own, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if name not in (None, "cuda") or own >= gpus:
        raise InputError(
            "Under torchrun every process takes a GPU of its own; leave --device out, and start it with "
            f"--nproc_per_node {gpus}."
        )
    return f"cuda:{own}"


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Meet the other processes, and part from them at the end; does nothing without torchrun."""
    if processes() == 1 or distributed.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    nccl = device.type == "cuda" and distributed.is_nccl_available()
    # The others wait while the first one prepares the scans; NCCL would wait for ten minutes.
    distributed.init_process_group("nccl" if nccl else "gloo", timeout=timedelta(days=1))
    try:
        yield
    except RuntimeError as error:
        if "onnection" not in str(error):  # what gloo says of a process that is gone; with NCCL torchrun ends us all
            raise
        raise InputError(
            f"Another process of this training has ended ({first_line(error)}); go on with the same command and "
            "--resume."
        ) from None
    finally:
        distributed.destroy_process_group()


def first_process_first(work: Callable[[], Any]) -> Any:
    """Let process 0 do the work before the others do it too, who then find its results on the disk."""
    if processes() == 1:
        return work()
    if rank() > 0:
        distributed.barrier()
    done = work()
    if rank() == 0:
        distributed.barrier()
    return done


class _Losses(nn.Module):
    """Losses beside the model they train: what DistributedDataParallel has to be wrapped around."""

    def __init__(self, model: nn.Module, losses: Mapping[str, Callable[[Any], Tensor]]) -> None:
        super().__init__()
        self.model, self.losses = model, losses

    def forward(self, name: str, batch: Any) -> Tensor:
        return self.losses[name](batch)


def data_parallel(model: nn.Module, losses: Mapping[str, Callable[[Any], Tensor]]) -> Callable[[str, Any], Tensor]:
    """(name of a loss, batch) -> that loss, whose gradients are added over all processes where there are several."""
    together = _Losses(model, losses)
    if processes() == 1:
        return together.forward
    # In the warm-up an unfrozen LR-Net has no part in the loss, and its weights would wait in vain for a gradient.
    unfrozen = any(weight.requires_grad for name, weight in model.named_parameters() if name.startswith("lrnet."))
    return DistributedDataParallel(together, find_unused_parameters=unfrozen)


def sum_over_processes(sums: Tensor) -> Tensor:
    """Add the sums of all processes, differentiably.

    Every process then computes the same loss, and its own batch's share of the gradient.
    DistributedDataParallel AVERAGES these shares where the whole batch's gradient is their sum: hence the
    number of processes as a factor on the gradient, and none on the value.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return sums
    total = sums.detach().clone()
    distributed.all_reduce(total)
    return total + distributed.get_world_size() * (sums - sums.detach())


def mean_over_processes(total: Tensor, number: int | Tensor) -> Tensor:
    """The mean of numbers that lie in all processes, of which this one has so many that add up to ``total``."""
    total, number_of_all = sum_over_processes(torch.stack((total, torch.as_tensor(number).to(total))))
    return total / number_of_all.clamp_min(1)
