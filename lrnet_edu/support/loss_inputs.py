"""Probabilities, labels and maps as the losses take them, checked: what does not fit gets its sentence.

Values are looked at on the CPU only: on a GPU that would have to wait, and under ``torch.compile`` it cannot.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from numbers import Real

import torch
from torch import Tensor

from lrnet_edu.support.errors import InputError

ELSEWHERE = {  # what other libraries' losses are told by a keyword, and what does it here
    "softmax": "give it torch.softmax(logits, dim=1), or take TandemLoss, which starts from logits",
    "sigmoid": "give it two classes, torch.cat((1 - p, p), dim=1) with p = torch.sigmoid(logits)",
    "to_onehot_y": "it takes labels as they are, whole numbers (B, D, H, W) or (B, 1, D, H, W)",
    "include_background": "overlap losses leave the background, class 0, out",
    "reduction": "it returns one number, the mean over the foreground classes",
    "ignore_index": "take TandemLoss(ignore_label=...), which leaves such voxels out",
}


def check_keywords(loss: str, keywords: Iterable[str]) -> None:
    """InputError for a keyword of another library's losses, with what does it here."""
    for name in keywords:
        if name in ELSEWHERE:
            raise InputError(f"{loss} has no {name}: {ELSEWHERE[name]}.")


def at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def probabilities_and_one_hot(probabilities: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Checked probabilities p and one-hot labels g, (B, C, D, H, W) both."""
    p = checked_probabilities(probabilities)
    batch, classes, *space = p.shape
    _check_tensor(target, "labels")
    if target.shape == p.shape and classes > 1:
        raise InputError(f"The labels are one-hot, {tuple(p.shape)}; give each voxel's class, labels.argmax(1).")
    if target.is_floating_point() or target.is_complex():
        raise InputError(f"The labels are {target.dtype}; give whole numbers, for example labels.long().")
    if target.shape not in ((batch, *space), (batch, 1, *space)):
        raise InputError(
            f"The probabilities are {tuple(p.shape)} and the labels {tuple(target.shape)}; give labels "
            f"{(batch, *space)} or {(batch, 1, *space)}{batch_axis_hint(p)}."
        )
    if values_are_readable(target) and (int(target.min()) < 0 or int(target.max()) >= classes):
        raise InputError(
            f"The labels run from {int(target.min())} to {int(target.max())} and the network knows {classes} "
            f"classes; renumber them to 0 .. {classes - 1} or build it with more classes."
        )
    numbers = torch.arange(classes, device=target.device).reshape(-1, *[1] * len(space))  # (C, 1, 1, 1)
    return p, (target.reshape(batch, 1, *space) == numbers).to(p.dtype)


def foreground_and_maps(probabilities: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Checked foreground probabilities p and maps phi, (B, classes - 1, D, H, W) both."""
    p = checked_probabilities(probabilities)[:, 1:]
    _check_tensor(target, "maps")
    if target.shape != p.shape:
        raise InputError(
            f"The probabilities are {tuple(probabilities.shape)} and the maps {tuple(target.shape)}; give "
            f"one map for each foreground class, {tuple(p.shape)}{batch_axis_hint(p)}."
        )
    if values_are_readable(target) and not target.max() < float("inf"):  # a maximum hands NaN on
        raise InputError("The maps hold NaN or infinity; compute them with distance_map.")
    return p, target.to(p.dtype)


def checked_probabilities(probabilities: Tensor) -> Tensor:
    """The probabilities in at least float32. Values are checked where they can be."""
    _check_tensor(probabilities, "probabilities")
    shape = tuple(probabilities.shape)
    if len(shape) not in (4, 5) or shape[1] < 2 or 0 in shape:
        raise InputError(
            f"The probabilities are {shape}; give (B, classes, D, H, W) or (B, classes, H, W) with the "
            "background as class 0 and at least one class more."
        )
    if not probabilities.is_floating_point():
        raise InputError(f"The probabilities are {probabilities.dtype}; give a softmax, not labels.")
    if values_are_readable(probabilities) and (probabilities.min() < 0 or probabilities.max() > 1.001):
        raise InputError("The probabilities leave [0, 1], as logits do; apply torch.softmax(logits, dim=1).")
    return at_least_float32(probabilities)


def batch_axis_hint(p: Tensor) -> str:
    """Four axes are a batch of images, or one volume whose batch axis was forgotten."""
    return "; of one volume, give both with a batch axis, tensor[None]" if p.ndim == 4 else ""


def values_are_readable(x: Tensor) -> bool:
    """True where values can be checked: on a CPU, where nothing has to wait for them, and not while compiling."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def checked_setting(name: str, value: float, *, least: float = 0.0, most: float = sys.float_info.max) -> float:
    """A number that a loss is built with, a Python or NumPy one; InputError unless it lies between these."""
    if not isinstance(value, Real) or not least <= float(value) <= most:
        raise InputError(f"{name} is {value!r}; give a finite number of at least {least:g}.")
    return float(value)


def _check_tensor(x: object, name: str) -> None:
    if not isinstance(x, Tensor):
        raise InputError(f"The {name} are of type {type(x).__name__}; give a tensor, torch.as_tensor(...).")
