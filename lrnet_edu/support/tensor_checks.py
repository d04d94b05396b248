"""Probabilities, labels and maps as the losses take them, checked: what does not fit gets its sentence.

Values are looked at on the CPU only: on a GPU that would have to wait, and under ``torch.compile`` it cannot.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from lrnet_edu.support.errors import InputError

ELSEWHERE = {  # what other libraries' losses are told by a keyword, and what does it here
    "softmax": "TandemLoss takes logits, every other loss torch.softmax(logits, dim=1)",
    "sigmoid": "stack two classes, for TandemLoss torch.cat((0 * x, x), dim=1) of logits x, else (1 - p, p)",
    "to_onehot_y": "it takes labels as they are, whole numbers (B, D, H, W) or (B, 1, D, H, W)",
    "include_background": "overlap losses leave the background, class 0, out",
    "reduction": "it returns one number, the mean over the foreground classes",
    "ignore_index": "take TandemLoss(ignore_label=...), which leaves such voxels out",
}


def values_are_readable(x: Tensor) -> bool:
    """True where values can be checked: on a CPU, where nothing has to wait for them, and not while compiling."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def check_output(x: Tensor, name: str) -> None:
    """InputError unless this is a network's output for classes, floats (B, C, D, H, W) or (B, C, H, W) with C > 1."""
    if not isinstance(x, Tensor):
        raise InputError(f"The {name} are of type {type(x).__name__}; give a tensor, torch.as_tensor(...).")
    if x.ndim not in (4, 5) or x.shape[1] < 2 or 0 in x.shape or not x.is_floating_point():
        raise InputError(
            f"The {name} are {tuple(x.shape)} of {x.dtype}; give floats (B, classes, D, H, W) or (B, classes, H, W) "
            "with the background as class 0 and at least one class more."
        )


def checked_probabilities(probabilities: Tensor) -> Tensor:
    """The probabilities in at least float32."""
    check_output(probabilities, "probabilities")
    if values_are_readable(probabilities) and (probabilities.min() < 0 or probabilities.max() > 1.001):
        raise InputError("The probabilities leave [0, 1], as logits do; apply torch.softmax(logits, dim=1).")
    return at_least_float32(probabilities)


def check_target(target: Tensor, name: str, output: Tensor, shapes: Iterable[tuple[int, ...]]) -> None:
    """InputError unless labels or maps have one of these shapes and lie on the device of the network's output."""
    if not isinstance(target, Tensor):
        raise InputError(f"The {name} are of type {type(target).__name__}; give a tensor, torch.as_tensor(...).")
    if target.shape not in shapes:
        hint = " (of one-hot labels, labels.argmax(1))" if target.shape == output.shape else ""
        if output.ndim == 4:  # a batch of images, or one volume whose batch axis was forgotten
            hint += "; of one volume, give both with a batch axis, tensor[None]"
        raise InputError(
            f"The network's output is {tuple(output.shape)} and the {name} are {tuple(target.shape)}; give {name} "
            f"{' or '.join(map(str, shapes))}{hint}."
        )
    if target.device != output.device:
        raise InputError(f"The {name} are on {target.device}, the output on {output.device}; move one of them.")


def class_numbers(labels: Tensor, output: Tensor) -> Tensor:
    """Checked labels of a network's output (B, C, D, H, W): each voxel's class, (B, D, H, W) int64."""
    batch, classes, *space = output.shape
    check_target(labels, "labels", output, ((batch, *space), (batch, 1, *space)))
    if labels.is_floating_point() or labels.is_complex():
        raise InputError(f"The labels are {labels.dtype}; give whole numbers, for example labels.long().")
    numbers = labels.reshape(batch, *space).long()
    if values_are_readable(numbers):
        check_class_numbers(numbers, classes)
    return numbers


def check_class_numbers(numbers: Tensor, classes: int) -> None:
    """InputError for a number that is none of 0 .. classes - 1."""
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0 or high >= classes:
        raise InputError(
            f"The labels run from {low} to {high} and the network knows {classes} classes; renumber them to 0 .. "
            f"{classes - 1}, or leave one out by TandemLoss(ignore_label=...)."
        )
