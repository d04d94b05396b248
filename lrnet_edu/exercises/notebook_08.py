"""Checks of notebook 08, your own data and network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from lrnet_edu.data.patches import maps_of_classes
from lrnet_edu.exercises.verdict import check, close
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.labels import parse_labels


@check("A comma divides objects, a plus unites numbers; what is not named is background.")
def check_8_1(answer: Any) -> str | None:
    """Labels 1 = kidney as class 1, 2 and 3 united as class 2."""
    try:
        objects = [set(group) for group in parse_labels(str(answer).replace(" ", ""))]
    except InputError as error:
        return str(error)
    if objects == [{2, 3}, {1}]:
        return "Two objects, and the right ones. But the first one named becomes class 1."
    if len(objects) != 2:
        return f"That makes {len(objects)} object{'s' * (len(objects) != 1)}; wanted are two."
    return None if objects == [{1}, {2, 3}] else "Which numbers belong together, and which stand alone?"


@check("Ten voxels, nearly all of them rim: what helps the large lesions costs the small ones.")
def check_8_2(answer: Any) -> str | None:
    """A ball of 4 mm radius in cubes of 3 mm."""
    ball = 4 / 3 * math.pi * 4**3  # mm^3
    if close(answer, ball, 1):
        return "Those are cubic millimetres. How many has one voxel?"
    if close(answer, ball / 3, 1):
        return "A voxel has three edges of 3 mm, not one."
    if close(answer, ball * 2**3 / 27, 1):
        return "4 mm is the radius, not the diameter."
    return None if close(answer, ball / 27, 1) else "Divide the volume of the ball by that of a voxel."


@check("Background first, then the object, and both sum to 1: what a softmax of two channels would have given.")
def check_8_3(answer: Any) -> str | None:
    """Sigmoid logits (B, 1, D, H, W) to probabilities (B, 2, D, H, W)."""
    logits = torch.linspace(-3, 4, 2 * 3 * 4 * 5).reshape(2, 1, 3, 4, 5)  # (B, 1, D, H, W)
    p = torch.sigmoid(logits)
    right = torch.cat((1 - p, p), dim=1)  # (B, 2, D, H, W)
    yours = answer(logits.clone()).float()
    if tuple(yours.shape) != tuple(right.shape):
        return f"Logits {tuple(logits.shape)} should become {tuple(right.shape)}; yours are {tuple(yours.shape)}."
    if torch.allclose(yours, right.flip(1), atol=1e-5):
        return "Both channels are right, their order is not: the background comes first."
    if float(yours.min()) < 0 or float(yours.max()) > 1:
        return f"They run from {float(yours.min()):.1f} to {float(yours.max()):.1f}: those are logits still."
    if not torch.allclose(yours.sum(1), torch.ones(2, 3, 4, 5), atol=1e-4):
        return "At every voxel the two probabilities should sum to 1."
    return None if torch.allclose(yours, right, atol=1e-5) else "The object's probability is the sigmoid of its logit."


@check("One map for each foreground class, each with its own maximum per component; the background has none.")
def check_8_4(answer: Any) -> str | None:
    """Labels (B, D, H, W) with the classes 1 and 2 to NI-DM (B, 2, D, H, W)."""
    labels = torch.zeros(2, 9, 12, 12, dtype=torch.long)  # (B, D, H, W)
    labels[0, 2:7, 2:9, 1:6] = 1
    labels[0, 2:7, 2:9, 6:11] = 2  # touches the first
    labels[1, 3:6, 3:8, 3:8] = 2  # and no 1 in this patch
    right = torch.from_numpy(maps_of_classes(labels.numpy(), 2, "NI-DM"))  # (B, 2, D, H, W)
    yours = torch.as_tensor(np.asarray(answer(labels.clone()))).float()
    if yours.shape != right.shape:
        return f"Labels {tuple(labels.shape)} should become {tuple(right.shape)}; yours are {tuple(yours.shape)}."
    if torch.allclose(yours, right, atol=1e-4):
        return None
    if torch.allclose(yours, right.flip(1), atol=1e-4):
        return "Both maps are right, their order is not: class 1 comes first."
    if torch.equal(yours > 0, right > 0):
        return (
            "The objects are right, the values are not. Is it the NI-DM, and of volumes? Four axes are read as a batch "
            "of slices, (B, C, H, W): give distance_map (B, C, D, H, W)."
        )
    return "Take the map of (labels == 1), then of (labels == 2)."
