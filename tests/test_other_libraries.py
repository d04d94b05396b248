"""What other libraries hand over: MONAI's MetaTensor, or any tensor subclass, through everything as plain tensors.

Whole trainings with MONAI and Lightning are in examples/ (tests/test_examples.py).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from every_loss import LOSSES, name, target_of
from torch import Tensor, nn

from lrnet_edu import (
    LRNet,
    MNet,
    Tandem,
    TandemLoss,
    case_scores,
    challenge_scores,
    distance_map,
    load_pretrained_lrnet,
)
from lrnet_edu.inference import predict_probabilities
from lrnet_edu.kinds import KINDS
from lrnet_edu.rivals import CascadedMNet, MultiBranch

SIZES: dict[str, Any] = {"features": (2, 4), "blocks": (1,)}
Wrap = Callable[[Tensor], Tensor]


class Mine(torch.Tensor):
    """Any subclass: what is computed from one is one again."""


def monai_batch(tensor: Tensor) -> Tensor:
    """A MetaTensor, as MONAI's loaders give it: samples with metadata, put together."""
    data = pytest.importorskip("monai.data", reason="MONAI is not installed; it is one of the examples' extras")
    return next(iter(data.DataLoader(data.Dataset([data.MetaTensor(one) for one in tensor]), batch_size=len(tensor))))


wrapped = pytest.mark.parametrize("wrap", [lambda tensor: tensor.as_subclass(Mine), monai_batch], ids=["Mine", "MONAI"])


def a_mask(batch: int, dims: int = 3) -> Tensor:
    """A box in each sample, (B, 1, D, H, W) or (B, 1, H, W)."""
    mask = torch.zeros(batch, 1, *[12] * dims, dtype=torch.long)
    mask[(slice(None), slice(None), *[slice(3, 9)] * dims)] = 1
    return mask


def some(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def assert_same_when_wrapped(wrap: Wrap, module: nn.Module, x: Tensor, *others: Tensor) -> None:
    """Its outputs, and the gradients of x and of its weights."""
    results = []
    for dressed in (x.clone(), *others), (wrap(x), *map(wrap, others)):
        module.zero_grad()
        outputs = module(dressed[0].requires_grad_(), *dressed[1:])
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        sum((output**2).sum() for output in outputs).backward()
        gradients = [leaf.grad for leaf in (dressed[0], *module.parameters()) if leaf.grad is not None]
        results.append([one.detach().as_subclass(Tensor).clone() for one in (*outputs, *gradients)])
    torch.testing.assert_close(results[1], results[0])


@wrapped
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_maps(wrap: Wrap, batch: int, kind: str) -> None:
    for dims in (2, 3):
        mask = a_mask(batch, dims)
        assert torch.equal(distance_map(wrap(mask), kind).as_subclass(Tensor), distance_map(mask, kind))


@wrapped
@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_losses(wrap: Wrap, loss: nn.Module) -> None:
    labels = a_mask(2)[:, 0]
    assert_same_when_wrapped(wrap, loss, some(2, 2, 12, 12, 12).softmax(1), target_of(loss, labels))


@wrapped
def test_the_loss_of_logits(wrap: Wrap) -> None:
    loss = TandemLoss(segmentation="mapdice", alpha=1e4)  # computed in single precision: large gradients
    assert_same_when_wrapped(wrap, loss, some(2, 2, 12, 12, 12), a_mask(2))


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
@pytest.mark.parametrize("network", NETWORKS)
def test_networks(wrap: Wrap, network: str) -> None:
    torch.manual_seed(0)
    x = some(2, 2 if "LRNet" in network else 1, *[7, 6, 5][: 2 if "2-D" in network else 3]).softmax(1)
    assert_same_when_wrapped(wrap, NETWORKS[network]().double().train(), x)


@wrapped
def test_criteria_and_inference(wrap: Wrap) -> None:
    reference = a_mask(1)[0]  # (1, D, H, W): what a loader's samples look like
    prediction = reference.roll(1, dims=-1)
    scores = []
    for p, r in ((prediction[0], reference[0]), (wrap(prediction)[0], wrap(reference)[0])):
        scores.append((case_scores(p, r, (1, 2, 3)), challenge_scores([(2 * p, 2 * r, (1, 2, 3))])))
    assert repr(scores[0]) == repr(scores[1])
    torch.manual_seed(0)
    mnet, image = MNet(**SIZES).eval(), some(1, 12, 12, 12)
    expected = predict_probabilities(mnet, image[0].numpy(), patch_size=(8, 8, 8))
    assert np.array_equal(predict_probabilities(mnet, wrap(image)[0], patch_size=(8, 8, 8)), expected)
