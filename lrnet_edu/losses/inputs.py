"""What the losses share: checked inputs, and sums per class over batch, voxels and processes."""

from __future__ import annotations

import sys
from numbers import Real
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrnet_edu.kinds import kind_of_map
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.parallel import sum_over_processes

EPS = 1e-5  # of Eq. 2, in voxels: keeps 0 / 0 from happening

ELSEWHERE = {  # what other libraries' losses are told by a keyword, and what does it here
    "softmax": "give it torch.softmax(logits, dim=1), or take TandemLoss, which starts from logits",
    "sigmoid": "give it two classes, torch.cat((1 - p, p), dim=1) with p = torch.sigmoid(logits)",
    "to_onehot_y": "it takes labels as they are, whole numbers (B, D, H, W) or (B, 1, D, H, W)",
    "include_background": "overlap losses leave the background, class 0, out",
    "reduction": "it returns one number, the mean over the foreground classes",
    "ignore_index": "take TandemLoss(ignore_label=...), which leaves such voxels out",
}


class Loss(nn.Module):
    """The base of the losses: keywords that belong to other libraries get a sentence that says what to do here."""

    def __new__(cls, *args: Any, **keywords: Any) -> Self:
        for name in ELSEWHERE.keys() & keywords:
            raise InputError(f"{cls.__name__} has no {name}: {ELSEWHERE[name]}.")
        return super().__new__(cls)


def class_sums(*terms: Tensor) -> tuple[Tensor, ...]:
    """Of each term (B, C, D, H, W) the sum over batch, voxels and processes, for every class: (C,) each."""
    all_but_class = [axis for axis in range(terms[0].ndim) if axis != 1]
    return sum_over_processes(torch.stack([term.sum(all_but_class) for term in terms])).unbind(0)


def ratio(numerator: Tensor, denominator: Tensor, eps: float = EPS) -> Tensor:
    return (numerator + eps) / (denominator + eps)


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
            f"{(batch, *space)} or {(batch, 1, *space)}{or_batch_axis(p)}."
        )
    if readable(target) and (int(target.min()) < 0 or int(target.max()) >= classes):
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
            f"one map for each foreground class, {tuple(p.shape)}{or_batch_axis(p)}."
        )
    if readable(target) and not target.max() < float("inf"):  # a maximum hands NaN on
        raise InputError("The maps hold NaN or infinity; compute them with distance_map.")
    return p, target.to(p.dtype)


def check_map(phi: Tensor, kind: str, who: str) -> None:
    """InputError if maps (B, C, D, H, W) can be no ``kind``, where values can be read: a mask, or another kind.

    A step from a voxel towards its nearest background stays in the lesion and brings it nearer. So at every voxel
    with all its neighbours in the lesion, a map that falls to the core has a larger neighbour, and one that rises a
    smaller one. A mask has neither. Thin lesions have no such voxel: all kinds but SNI-DM are then alike.
    """
    if not readable(phi) or phi.numel() == 0:
        return
    row, low, high = kind_of_map(kind), float(phi.min()), float(phi.max())
    advice = f"compute it with distance_map(mask, {kind!r})"
    if (row.empty < 0 <= low and bool((phi == 0).any())) or (row.empty >= 0 > low) or (row.normalised and high > 1.001):
        raise InputError(f"{who} takes {kind} and these maps run from {low:.3g} to {high:.3g}; {advice}.")
    dims = phi.ndim - 2
    pool = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[dims]
    outside = F.pad((phi <= 0).to(phi.dtype), [1] * (2 * dims), value=1.0)
    inner = pool(outside, 3, stride=1) == 0  # all neighbours in the lesion, and in the image
    if not inner.any():
        return
    falls = row.inside(1.0, 1.0, 2.0) > row.inside(2.0, 1.0, 2.0)
    signed = phi if falls else -phi
    nearer = pool(signed, 3, stride=1, padding=1) > signed  # a neighbour nearer to the background
    if not nearer[inner].all() or (high <= 1.001 and not row.normalised):
        what = "a mask" if low >= 0 and bool(((phi == 0) | (phi == high)).all()) else "another kind of map"
        raise InputError(f"{who} takes {kind} and this is {what}, or a map that was changed afterwards; {advice}.")


def checked_probabilities(probabilities: Tensor) -> Tensor:
    """The probabilities in at least float32. Values are checked where they are ``readable``."""
    _check_tensor(probabilities, "probabilities")
    shape = tuple(probabilities.shape)
    if len(shape) not in (4, 5) or shape[1] < 2 or 0 in shape:
        raise InputError(
            f"The probabilities are {shape}; give (B, classes, D, H, W) or (B, classes, H, W) with the "
            "background as class 0 and at least one class more."
        )
    if not probabilities.is_floating_point():
        raise InputError(f"The probabilities are {probabilities.dtype}; give a softmax, not labels.")
    if readable(probabilities) and (probabilities.min() < 0 or probabilities.max() > 1.001):
        raise InputError("The probabilities leave [0, 1], as logits do; apply torch.softmax(logits, dim=1).")
    return at_least_float32(probabilities)


def or_batch_axis(p: Tensor) -> str:
    """Four axes are a batch of images, or one volume whose batch axis was forgotten."""
    return "; of one volume, give both with a batch axis, tensor[None]" if p.ndim == 4 else ""


def readable(x: Tensor) -> bool:
    """True where values can be checked: on a CPU, where nothing has to wait for them, and not while compiling."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def setting(name: str, value: float, *, least: float = 0.0, most: float = sys.float_info.max) -> float:
    """A number that a loss is built with, a Python or NumPy one; InputError unless it lies between these."""
    if not isinstance(value, Real) or not least <= value <= most:
        raise InputError(f"{name} is {value!r}; give a finite number of at least {least:g}.")
    return float(value)


def _check_tensor(x: object, name: str) -> None:
    if not isinstance(x, Tensor):
        raise InputError(f"The {name} are of type {type(x).__name__}; give a tensor, torch.as_tensor(...).")
