"""What the losses share: their bases, sums per class over batch and voxels, and what is a map."""

import inspect
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrnet_edu.kinds import kind_of_map
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.tensor_checks import ELSEWHERE, check_target, checked_probabilities, class_numbers
from lrnet_edu.support.tensor_checks import values_are_readable as readable

EPS = 1e-5  # of Eq. 2, in voxels: avoids 0 / 0


class Loss(nn.Module):
    """Base class of the losses: a keyword known from another library raises an InputError that says what to do here."""

    def __new__(cls, *args: Any, **keywords: Any) -> Self:
        for name in (ELSEWHERE.keys() & keywords) - inspect.signature(cls).parameters.keys():
            raise InputError(f"{cls.__name__} has no {name}: {ELSEWHERE[name]}.")
        return super().__new__(cls)


class MaskLoss(Loss):
    """A loss that compares probabilities with labels; ``value`` is its formula."""

    def forward(self, probabilities: Tensor, target: Tensor) -> Tensor:
        """(B, classes, D, H, W), labels (B, D, H, W) or (B, 1, ...) -> one number; InputError if they do not fit."""
        p = checked_probabilities(probabilities)
        each = torch.arange(p.shape[1], device=p.device).reshape(-1, *[1] * (p.ndim - 2))  # (C, 1, 1, 1)
        return self.value(p, (class_numbers(target, p)[:, None] == each).to(p.dtype))

    def value(self, p: Tensor, g: Tensor) -> Tensor:
        """The loss of probabilities and one-hot labels, (B, C, D, H, W) each."""
        raise NotImplementedError


class MapLoss(Loss):
    """A loss that compares probabilities with NI-DM, whatever kind the LR-Net regresses; others leave [0, 1]."""

    def forward(self, probabilities: Tensor, target: Tensor) -> Tensor:
        """(B, classes, D, H, W), maps (B, classes - 1, D, H, W) -> one number; InputError if they do not fit."""
        return self.value(*foreground_and_maps(probabilities, target, "NI-DM", type(self).__name__))

    def value(self, p: Tensor, phi: Tensor) -> Tensor:
        """The loss of foreground probabilities and maps, (B, C - 1, D, H, W) each."""
        raise NotImplementedError


def class_sums(*terms: Tensor) -> tuple[Tensor, ...]:
    """The sum of each term (B, C, D, H, W) over batch and voxels, for every class: (C,) each."""
    all_but_class = [axis for axis in range(terms[0].ndim) if axis != 1]
    return tuple(term.sum(all_but_class) for term in terms)


def ratio(numerator: Tensor, denominator: Tensor, eps: float = EPS) -> Tensor:
    """The quotient, 1 where both are 0."""
    return (numerator + eps) / (denominator + eps)


def foreground_and_maps(probabilities: Tensor, target: Tensor, kind: str | None, who: str) -> tuple[Tensor, Tensor]:
    """Checked foreground probabilities p and maps phi, (B, classes - 1, D, H, W) both, the maps of a kind if known."""
    p = checked_probabilities(probabilities)[:, 1:]
    check_target(target, "maps", probabilities, (tuple(p.shape),))
    if kind is not None and readable(target):
        check_map(target, kind, who)
    return p, target.to(p.dtype)


def check_map(phi: Tensor, kind: str, who: str) -> None:
    """Raise InputError if maps (B, C, D, H, W) cannot be of this kind: a mask, or another kind.

    Every voxel with all its neighbours in the lesion has one nearer to the background: a larger one in a map that falls
    to the core, a smaller one in a map that rises. A mask has neither. Thin lesions have no such voxel.
    """
    row, low, high = kind_of_map(kind), float(phi.min()), float(phi.max())
    wrong = (low == 0 if row.empty < 0 else low < 0) or not high <= (1.001 if row.normalised else 1e9)  # or NaN
    pool = F.max_pool2d if phi.ndim == 4 else F.max_pool3d
    outside = F.pad((phi <= 0).to(phi.dtype), [1] * (2 * (phi.ndim - 2)), value=1.0)
    inner = pool(outside, 3, stride=1) == 0  # all neighbours in the lesion, and in the image
    if inner.any():
        falls = row.inside(1.0, 1.0, 2.0) > row.inside(2.0, 1.0, 2.0)
        signed = phi if falls else -phi
        nearer = pool(signed, 3, stride=1, padding=1) > signed  # a neighbour nearer to the background
        wrong |= not nearer[inner].all() or (high <= 1.001 and not row.normalised)
    if wrong:
        raise InputError(
            f"{who} takes {kind}, and these maps from {low:.3g} to {high:.3g} are a mask, another kind of map, or "
            f"changed; compute them with distance_map(mask, {kind!r})."
        )
