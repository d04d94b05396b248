"""What other libraries hand over: MONAI's MetaTensor, or any tensor subclass, through everything as plain tensors.

Whole trainings with MONAI and Lightning are in examples/ (tests/test_examples.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lrnet_edu import (
    DiceLoss,
    DistanceRegressionLoss,
    ExpLogLoss,
    FocalTverskyLoss,
    GeneralizedDiceLoss,
    LRNet,
    MapDiceLoss,
    MapWeightedDiceLoss,
    MNet,
    Tandem,
    TandemLoss,
    TverskyLoss,
    WeightedCrossEntropyLoss,
    case_scores,
    challenge_scores,
    distance_map,
    load_pretrained_lrnet,
)
from lrnet_edu.inference import predict_probabilities
from lrnet_edu.kinds import KINDS
from lrnet_edu.rivals import CascadedMNet, MultiBranch

MISSING = "MONAI is not installed; it is one of the examples' extras"
SIZES: dict[str, Any] = {"features": (2, 4), "blocks": (1,)}


class Mine(torch.Tensor):
    """Any subclass: what is computed from one is one again."""


def meta_tensor(tensor: Tensor) -> Tensor:
    return pytest.importorskip("monai.data", reason=MISSING).MetaTensor(tensor)


def monai_batch(tensor: Tensor) -> Tensor:
    """As MONAI's loaders give it: samples with metadata, put together."""
    data = pytest.importorskip("monai.data", reason=MISSING)
    return next(iter(data.DataLoader(data.Dataset([data.MetaTensor(one) for one in tensor]), batch_size=len(tensor))))


wrapped = pytest.mark.parametrize("wrap", [lambda tensor: tensor.as_subclass(Mine), meta_tensor, monai_batch],
                                  ids=["Mine", "MetaTensor", "MONAI's loader"])  # fmt: skip
batches = pytest.mark.parametrize("batch", [1, 2])
Wrap = Callable[[Tensor], Tensor]


def a_mask(batch: int, dims: int = 3) -> Tensor:
    """A box in each sample, (B, 1, D, H, W) or (B, 1, H, W)."""
    mask = torch.zeros(batch, 1, *[12] * dims, dtype=torch.long)
    mask[(slice(None), slice(None), *[slice(3, 9)] * dims)] = 1
    return mask


def some(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def plain(tensor: Any) -> Tensor:
    return tensor.detach().as_subclass(Tensor)


@wrapped
@batches
@pytest.mark.parametrize("kind", KINDS)
def test_maps(wrap: Wrap, batch: int, kind: str) -> None:
    for dims in (2, 3):
        mask = a_mask(batch, dims)
        assert torch.equal(plain(distance_map(wrap(mask), kind)), distance_map(mask, kind))


REGRESSION = DistanceRegressionLoss(load_pretrained_lrnet())
LOSSES: list[nn.Module] = [
    DiceLoss(), WeightedCrossEntropyLoss(), GeneralizedDiceLoss(), TverskyLoss(), FocalTverskyLoss(), ExpLogLoss(),
    MapDiceLoss(), MapWeightedDiceLoss(), REGRESSION, TandemLoss(segmentation="mapdice"),
]  # fmt: skip


@wrapped
@batches
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_losses(wrap: Wrap, batch: int, loss: nn.Module) -> None:
    mask = a_mask(batch)
    target = distance_map(mask) if isinstance(loss, MapDiceLoss | MapWeightedDiceLoss) or loss is REGRESSION else mask
    given = some(batch, 2, 12, 12, 12) if isinstance(loss, TandemLoss) else some(batch, 2, 12, 12, 12).softmax(1)
    expected, found = given.clone().requires_grad_(), wrap(given).requires_grad_()
    values = [loss(expected, target), loss(found, wrap(target))]
    for value in values:
        value.backward()
    torch.testing.assert_close(plain(values[1]), plain(values[0]), rtol=1e-6, atol=0)
    torch.testing.assert_close(plain(found.grad), plain(expected.grad), rtol=1e-5, atol=1e-9)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "MNet": lambda: MNet(**SIZES),
    "MNet 2-D": lambda: MNet(**SIZES, spatial_dims=2),
    "Tandem": lambda: Tandem(MNet(**SIZES), load_pretrained_lrnet()),
    "MultiBranch": lambda: MultiBranch(MNet(**SIZES)),
    "CascadedMNet": lambda: CascadedMNet(**SIZES),
    "LRNet": load_pretrained_lrnet,
    "LRNet 2-D": lambda: LRNet(spatial_dims=2, norm="instance"),
}


@wrapped
@batches
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(wrap: Wrap, batch: int, name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().train()
    given = some(batch, 2 if "LRNet" in name else 1, *[7, 6, 5][: 2 if "2-D" in name else 3]).softmax(1)
    results = []
    for x in (given.clone().requires_grad_(), wrap(given).requires_grad_()):
        network.zero_grad()
        outputs = network(x)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        sum((output**2).sum() for output in outputs).backward()
        weights = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        results.append([plain(one).clone() for one in (*outputs, x.grad, *weights)])
    assert len(results[0]) == len(results[1])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@wrapped
def test_criteria_and_inference(wrap: Wrap) -> None:
    reference = a_mask(1)[0]  # (1, D, H, W): what a loader's samples look like
    prediction = reference.roll(1, dims=-1)
    expected = case_scores(prediction[0], reference[0], (1, 2, 3))
    assert case_scores(wrap(prediction)[0], wrap(reference)[0], (1, 2, 3)) == expected
    scores = [
        challenge_scores([(p, r, (1, 2, 3))])
        for p, r in ((2 * prediction[0], 2 * reference[0]), (wrap(2 * prediction)[0], wrap(2 * reference)[0]))
    ]
    assert repr(scores[0]) == repr(scores[1])
    torch.manual_seed(0)
    mnet, image = MNet(**SIZES).eval(), some(1, 12, 12, 12)
    expected_p = predict_probabilities(mnet, image[0].numpy(), patch_size=(8, 8, 8))
    assert np.array_equal(predict_probabilities(mnet, wrap(image)[0], patch_size=(8, 8, 8)), expected_p)
