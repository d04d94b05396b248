"""The losses, for the tests that ask the same of each of them, and what each is compared with."""

import pytest
import torch
from torch import Tensor, nn

from lrnet_edu import losses
from lrnet_edu.distance_maps import distance_map
from lrnet_edu.trained import load_pretrained_lrnet

MASK_LOSSES = [losses.DiceLoss(), losses.TverskyLoss(), losses.FocalTverskyLoss(), losses.WeightedCrossEntropyLoss(),
               losses.GeneralizedDiceLoss(), losses.ExpLogLoss(), losses.DiceCrossEntropyLoss()]  # fmt: skip
OVERLAP_MAP_LOSSES = [losses.MapDiceLoss(), losses.MapWeightedDiceLoss()]
REGRESSION = losses.DistanceRegressionLoss(load_pretrained_lrnet(activation="sigmoid").double())
LOSSES = [*MASK_LOSSES, *OVERLAP_MAP_LOSSES, REGRESSION]


def name(value: object) -> str | None:
    return type(value).__name__ if isinstance(value, nn.Module) else None


every_loss = pytest.mark.parametrize("loss", LOSSES, ids=name)


def maps_of(labels: Tensor, classes: int = 2, kind: str = "NI-DM") -> Tensor:
    """(B, D, H, W) -> (B, classes - 1, D, H, W)."""
    return distance_map(torch.stack([labels == c for c in range(1, classes)], dim=1), kind)


def target_of(loss: nn.Module, labels: Tensor, classes: int = 2) -> Tensor:
    """What this loss compares with."""
    return labels if isinstance(loss, losses.MaskLoss) else maps_of(labels, classes)
