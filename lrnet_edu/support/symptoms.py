"""What goes wrong in a training, said early, with the cure.

What cannot be mended is an :class:`InputError`. What may pass by itself, or is the finding (the regression loss alone
does drift to "all background"), is a sentence above the progress bar, and the run goes on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from lrnet_edu.support.errors import InputError


def check_finite(value: float, what: str, where: str) -> float:
    """The value of a loss; InputError if it is NaN or infinite."""
    if not math.isfinite(value):
        raise InputError(
            f"The {what} became {value} at {where}; look at these cases, or lower the learning rate or alpha."
        )
    return value


def stuck_training(rows: Sequence[dict[str, float]]) -> str | None:
    """At the second validation: a sentence if the validation loss, which has fixed patches, is still the first one."""
    if len(rows) != 2 or not math.isclose(rows[0]["val_loss"], rows[1]["val_loss"], rel_tol=1e-7):
        return None
    return (
        f"The validation loss has not moved since step {rows[0]['step']} (it is {rows[1]['val_loss']:.6g}): no "
        "gradient reaches the weights, or the learning rate is too small; stop this run and raise the rate, or look "
        "whether the label and the window show the object."
    )


class MissedObjects:
    """Watches the validations for a network that finds no voxel of the object any more; ``advice`` says what to do."""

    def __init__(self, advice: str) -> None:
        self.advice, self.since = advice, -1

    def warning(self, dice: np.ndarray, present: np.ndarray, step: int) -> str | None:
        """A sentence once nothing has been found from one validation to the next.

        Of the validation after ``step`` steps: Dice, and whether the case holds the object, (cases, classes) both.
        """
        first = self.since
        self.since = -1 if not present.any() or dice[present].any() else step
        if min(first, self.since) < 0:
            return None
        return (
            f"From step {first} to step {step} the network has found no voxel of the object in any validation case: "
            f"it predicts background only; {self.advice}."
        )


@torch.no_grad()
def dead_output(lrnet: nn.Module) -> str | None:
    """What an LR-Net does whose output layer has died, in words: one value for everything. None if it lives."""
    grid = np.indices((24,) * getattr(lrnet, "spatial_dims", 3)) - 12
    ball = torch.from_numpy((grid**2).sum(0) < 49).float()[None]  # (1, D, H, W) or (1, H, W), radius 7
    output = lrnet(torch.stack((1 - ball, ball), dim=1).to(next(lrnet.parameters()).device))
    if output.max() > output.min():
        return None
    return (
        f"gives {float(output.max()):g} everywhere, with an object and without: its output layer has died, and no "
        "gradient passes"
    )
