"""Checks of notebook 05, the frozen tandem."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lrnet_edu.distance_maps import distance_map
from lrnet_edu.exercises.verdict import check, close
from lrnet_edu.losses import cost_of_empty_output, map_regression_loss
from lrnet_edu.trained import load_pretrained_lrnet


@check("The gradient has passed through a network that did not learn from it: the whole trick of the paper.")
def check_5_1(answer: Any) -> str | None:
    """The gradient of the map's error on the probabilities, and none on the LR-Net's weights."""
    box = np.zeros((8, 10, 12), dtype=bool)  # (D, H, W)
    box[2:6, 2:8, 3:9] = True
    true_map = torch.from_numpy(distance_map(box))[None, None]  # (1, 1, D, H, W)
    p = 0.1 + 0.7 * torch.from_numpy(box).float()
    pair = torch.stack((1 - p, p))[None]  # (1, 2, D, H, W)

    leaf = pair.clone().requires_grad_()
    wanted = torch.autograd.grad(map_regression_loss(load_pretrained_lrnet()(leaf), true_map), leaf)[0]
    lrnet = load_pretrained_lrnet()
    yours = answer(lrnet, pair.clone(), true_map)
    if not isinstance(yours, torch.Tensor):
        return f"The function should return the gradient, a tensor; yours returns {type(yours).__name__}."
    if yours.shape != pair.shape:
        return f"The gradient on p has p's shape {tuple(pair.shape)}; yours has {tuple(yours.shape)}."
    if (yours + wanted).abs().max() < 1e-3 * wanted.abs().max():
        return "That is the push, with its sign turned. Asked is the gradient itself."
    if not (yours - wanted).abs().max() <= 1e-3 * wanted.abs().max():  # nor if it is no number
        return "The shape is right, the values are not. Is it the map's error, without alpha, that you differentiate?"
    if any(weight.grad is not None for weight in lrnet.parameters()):
        return "The gradient is right, but the LR-Net's weights have got one, too: it is not frozen."
    return None


@check("A voxel about which the network is sure hardly listens to any loss, right or wrong.")
def check_5_2(answer: Any) -> str | None:
    """p (1 - p) at 0.5 over p (1 - p) at 0.01: 0.25 / 0.0099 = 25.3."""
    ratio = 0.25 / (0.01 * 0.99)
    if close(answer, 1 / ratio, 0.001):
        return "That is how many times weaker the second one is. Turn it around."
    if close(answer, 50, 1e-6):
        return "Twice too much: the factor is p (1 - p), not p."
    return None if close(answer, ratio, 0.4) else "Divide p (1 - p) at p = 0.5 by p (1 - p) at p = 0.01."


@check("Small lesions need a larger alpha: the mean runs over all voxels, so what is small is cheap to miss.")
def check_5_3(answer: Any) -> str | None:
    """The alpha at which an empty output costs 0.03 where the truth is a ball of radius 3 in 48^3."""
    alphas = {}
    for radius in (3, 6):
        z, y, x = np.ogrid[-24:24, -24:24, -24:24]
        phi = distance_map(z**2 + y**2 + x**2 <= radius**2)  # (D, H, W)
        alphas[radius] = 0.03 / cost_of_empty_output(torch.from_numpy(phi), "NI-DM")
    if close(answer, alphas[6], 0.15 * alphas[6]):
        return "That is the alpha of the large ball. What does an empty output cost with the small one?"
    if close(answer, 8 * alphas[6], 0.05 * alphas[6]):
        return "An eighth of the voxels, but not of the cost: phi is larger in a small ball. Compute its cost."
    hint = "Divide 0.03 by what an empty output costs at alpha = 1 (cost_of_empty_output) with the small ball."
    return None if close(answer, alphas[3], 0.05 * alphas[3]) else hint
