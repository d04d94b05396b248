"""Checks of notebook 04, the M-Net and its losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrnet_edu.distance_maps import distance_map
from lrnet_edu.exercises.verdict import check, close
from lrnet_edu.losses import DiceLoss


@check("Half the ratio: a voxel has to bring more than it adds to the sum below the line.")
def check_4_1(answer: Any) -> str | None:
    """The phi below which MapDice pushes a voxel out at a ratio of 0.88: 0.44."""
    if close(answer, 0.88, 1e-6) or close(answer, 0.12, 1e-6):
        return "Look at the condition on phi again: it has a 2 below the line."
    return None if close(answer, 0.44, 0.005) else "The voxel pays off where phi exceeds N / (2 S). What is N / S here?"


@check("Positive everywhere, and heavier at the rim: the border gets its stress, and the mask stays the best answer.")
def check_4_2(answer: Any) -> str | None:
    """A weight map that is positive at every voxel and larger at the rim than in the middle."""
    ball = torch.from_numpy(np.hypot(np.hypot(*np.ogrid[-9:10, -9:10])[None], np.arange(-9, 10)[:, None, None]) < 7.5)
    phi = distance_map(ball)  # (D, H, W)
    weight = torch.as_tensor(answer(phi.clone()), dtype=torch.float32)
    if weight.shape != phi.shape:
        return f"The weights should have the shape {tuple(phi.shape)} of the map; yours have {tuple(weight.shape)}."
    if not torch.isfinite(weight).all():
        return "Some weights are not finite. Mind that phi is 0 outside the lesion."
    if weight[~ball].min() <= 0:
        return "Some background voxels weigh nothing or less: painting them as lesion would be free of charge."
    if weight[ball].min() <= 0:
        return "Some lesion voxels weigh nothing or less: missing them would be free of charge."
    if not weight[phi == 1].mean() > weight[phi == phi[ball].min()].mean():
        return "The mask is its minimiser. But the rim weighs no more than the middle, so the map has no say."
    return None


@check("Inside the lesion the sign is minus, outside it is plus, and both sums know about all other voxels.")
def check_4_3(answer: Any) -> str | None:
    """dL/dp of the Dice loss, against autograd."""
    p = torch.rand((6, 7, 8), generator=torch.Generator().manual_seed(3))  # (D, H, W)
    g = (torch.rand(p.shape, generator=torch.Generator().manual_seed(4)) < 0.2).float()
    wanted = slope_of_dice(p, g)
    yours = torch.as_tensor(answer(p.clone(), g.clone()), dtype=torch.float32)
    if yours.shape != wanted.shape:
        return (
            f"There is one derivative for each voxel, {tuple(wanted.shape)}; yours has the shape {tuple(yours.shape)}."
        )
    tolerance = 1e-3 * wanted.abs().max()
    if (yours + wanted).abs().max() < tolerance:
        return "The size is right, the sign is not: the loss is 1 MINUS the ratio."
    if (yours - wanted).abs().max() < tolerance:
        return None
    return "It differs from autograd. The quotient rule: (N / S)' = (N' S - N S') / S², N' = 2 g and S' = 1."


def slope_of_dice(p: Tensor, g: Tensor) -> Tensor:
    """What autograd says: (D, H, W) both, and the result too."""
    p = p.clone().requires_grad_()
    DiceLoss()(torch.stack((1 - p, p))[None], g[None].long()).backward()
    assert p.grad is not None
    return p.grad
