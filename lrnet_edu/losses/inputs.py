"""What the losses share: their two bases, and sums per class over batch, voxels and processes."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrnet_edu.kinds import kind_of_map
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.loss_inputs import (
    check_keywords,
    foreground_and_maps,
    probabilities_and_one_hot,
    values_are_readable,
)
from lrnet_edu.support.parallel import sum_over_processes

EPS = 1e-5  # of Eq. 2, in voxels: avoids 0 / 0


class Loss(nn.Module):
    """Base class of the losses: a keyword known from another library raises an InputError that says what to do here."""

    def __new__(cls, *args: Any, **keywords: Any) -> Self:
        check_keywords(cls.__name__, keywords)
        return super().__new__(cls)


class MaskLoss(Loss):
    """A loss that compares probabilities with labels; ``value`` is its formula."""

    def forward(self, probabilities: Tensor, target: Tensor) -> Tensor:
        """(B, classes, D, H, W), labels (B, D, H, W) or (B, 1, ...) -> one number; InputError if they do not fit."""
        return self.value(*probabilities_and_one_hot(probabilities, target))

    def value(self, p: Tensor, g: Tensor) -> Tensor:
        """The loss of probabilities and one-hot labels, (B, C, D, H, W) each."""
        raise NotImplementedError


class MapLoss(Loss):
    """A loss that compares probabilities with NI-DM, whatever kind the LR-Net regresses; others leave [0, 1]."""

    def forward(self, probabilities: Tensor, target: Tensor) -> Tensor:
        """(B, classes, D, H, W), maps (B, classes - 1, D, H, W) -> one number; InputError if they do not fit."""
        p, phi = foreground_and_maps(probabilities, target)
        check_map(phi, "NI-DM", type(self).__name__)
        return self.value(p, phi)

    def value(self, p: Tensor, phi: Tensor) -> Tensor:
        """The loss of foreground probabilities and maps, (B, C - 1, D, H, W) each."""
        raise NotImplementedError


def class_sums(*terms: Tensor) -> tuple[Tensor, ...]:
    """The sum of each term (B, C, D, H, W) over batch, voxels and processes, for every class: (C,) each."""
    all_but_class = [axis for axis in range(terms[0].ndim) if axis != 1]
    return sum_over_processes(torch.stack([term.sum(all_but_class) for term in terms])).unbind(0)


def ratio(numerator: Tensor, denominator: Tensor, eps: float = EPS) -> Tensor:
    return (numerator + eps) / (denominator + eps)


def check_map(phi: Tensor, kind: str, who: str) -> None:
    """Raise InputError if maps (B, C, D, H, W) cannot be of this kind: a mask, or another kind. CPU values only.

    A step from a voxel towards its nearest background stays in the lesion and brings it nearer. So at every voxel
    with all its neighbours in the lesion, a map that falls to the core has a larger neighbour, and one that rises a
    smaller one. A mask has neither. Thin lesions have no such voxel: all kinds but SNI-DM are then alike.
    """
    if not values_are_readable(phi) or phi.numel() == 0:
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
