"""Checks of notebook 03, the LR-Net's pretraining."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lrnet_edu.distance_maps import distance_map
from lrnet_edu.exercises.verdict import check, close
from lrnet_edu.networks import LRNet

SEED = 10
DEAD_BIAS = -5.0


@check("The smaller the lesion, the less copying costs. On a single voxel the photocopier is perfect.")
def check_3_1(answer: Any) -> str | None:
    """Mean of 1 - phi over a cube of 5 voxels: (26 * 1/3 + 1 * 2/3) / 125 = 0.075."""
    cube = np.pad(np.ones((5, 5, 5), dtype=bool), 2)  # (D, H, W)
    phi = distance_map(cube, "NI-DM")
    error = float(1 - phi[cube].mean())
    if close(answer, 1 - error, 0.002):
        return "That is the mean of phi itself. The error is its distance from what the photocopier says."
    if close(answer, float(np.abs(cube - phi).mean()), 0.002):
        return "That is a mean over all voxels of your volume. The error of phi counts those of the lesion."
    hint = "It says 1 in the lesion. Take |1 - phi| and its mean over 125 voxels."
    return None if close(answer, error, 0.002) else hint


@check("Deeper layers see farther at the same price: a block below the down-sampling counts twice.")
def check_3_2(answer: Any) -> str | None:
    """31 voxels, and two convolutions of one step to either side, a step being two voxels: 39."""
    if close(answer, 35, 0.1):
        return "Nearly: below the down-sampling one step is not one voxel of the input but two."
    if close(answer, 8, 0.1):
        return "That is what is added. How many does it see in all?"
    return None if close(answer, 39, 0.1) else "By how many voxels does one 3 x 3 x 3 convolution widen it down there?"


@check("The resampling of notebook 02 decides what the LR-Net can see: coarse voxels for large lesions.")
def check_3_3(answer: Any) -> str | None:
    """The voxel size at which 45 mm are 14 voxels: the fifteenth, the last one in sight, is background."""
    if close(answer, 3, 0.01):
        return "A ball of 15 voxels radius fills all that the middle sees; the first background lies one step beyond."
    if close(answer, 45 / 31, 0.02):
        return "The window's 31 voxels lie to BOTH sides of the middle; the radius needs one side."
    if close(answer, 14 / 45, 0.01) or close(answer, 15 / 45, 0.01):
        return "Turn it around: how many mm must one voxel measure so that the ball becomes small enough?"
    hint = "How many voxels may the radius measure, if the next voxel has to be in sight? Then divide 45 mm by that."
    return None if close(answer, 45 / 14, 0.05) else hint


@check("It lives, and every weight is what it was. Now it has to train on, with a loss that small lesions can win.")
def check_3_4(answer: Any) -> str | None:
    """A function that revives a dead LR-Net in place by nothing but the bias of its last layer."""
    torch.manual_seed(SEED)
    lrnet = LRNet("NI-DM")
    last: Any = lrnet.head[-1]
    last.weight.data.abs_().neg_()  # whatever the layers below say, the output is negative
    last.bias.data.fill_(DEAD_BIAS)
    before = {name: weight.clone() for name, weight in lrnet.state_dict().items() if name != "head.1.bias"}
    lesion = torch.zeros(1, 12, 12, 12)
    lesion[:, 4:8, 4:8, 4:8] = 1
    probabilities = torch.stack((1 - lesion, lesion), dim=1)  # (1, 2, D, H, W)
    answer(lrnet, probabilities.clone())
    output = lrnet(probabilities)  # (1, 1, D, H, W)
    if any(not torch.equal(weight, lrnet.state_dict()[name]) for name, weight in before.items()):
        return "Some weights have changed, and what they had learnt is lost. Change the last layer's bias only."
    if not output.isfinite().all():
        return "Its output holds what is no number (NaN or infinite): look at the bias that you gave the layer."
    if output.max() <= 0:
        return "It is still dead: the output is 0 everywhere. How far below 0 is the largest value before the ReLU?"
    if output.max() > 1:
        return f"It lives, but its output reaches {output.max():.1f} where phi ends at 1. A smaller push is enough."
    return None
