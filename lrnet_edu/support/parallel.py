"""Sums over the processes of a distributed training, for losses that are ratios of sums."""

import torch
from torch import Tensor, distributed


def sum_over_processes(sums: Tensor) -> Tensor:
    """Add the sums of all processes, differentiably: each has the same loss, and its batch's share of the gradient.

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
