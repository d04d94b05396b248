"""Section 2.3's losses: what must hold for every output of a network and every target."""

import math

import numpy as np
import pytest
import torch
from every_loss import MASK_LOSSES, OVERLAP_MAP_LOSSES, name, target_of
from generated import DEVICES, masks, shapes
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from lrnet_edu.distance_maps import distance_map
from lrnet_edu.kinds import KINDS
from lrnet_edu.losses import (
    DiceCrossEntropyLoss,
    DiceLoss,
    DistanceRegressionLoss,
    ExpLogLoss,
    FocalTverskyLoss,
    GeneralizedDiceLoss,
    MapDiceLoss,
    MapWeightedDiceLoss,
    TverskyLoss,
    WeightedCrossEntropyLoss,
)
from lrnet_edu.losses.inputs import check_map
from lrnet_edu.networks import regress_maps
from lrnet_edu.trained import load_pretrained_lrnet

FORMULAS = [*MASK_LOSSES, *OVERLAP_MAP_LOSSES]
Output = tuple[Tensor, Tensor]  # probabilities (B, C, ...) in float64 and labels (B, ...)


@st.composite
def outputs(draw: st.DrawFn) -> Output:
    classes, batch, axes = draw(st.integers(2, 4)), draw(st.integers(1, 2)), draw(st.integers(2, 3))
    shape = draw(shapes(axes, longest=4))
    labels = np.zeros((batch, *shape), np.int64)
    for sample in labels:
        for c in range(1, classes):
            sample[draw(masks(shape))] = c
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sharpness = draw(st.sampled_from([0.1, 1.0, 10.0]))
    logits = torch.from_numpy(sharpness * rng.normal(size=(batch, classes, *shape)))
    return logits.softmax(1), torch.from_numpy(labels)


@pytest.mark.parametrize(
    "loss", [one for one in FORMULAS if not isinstance(one, MapDiceLoss | GeneralizedDiceLoss)], ids=name
)
@given(output=outputs(), steps=st.lists(st.floats(0.05, 1), min_size=1, max_size=3))
def test_moving_towards_the_target_never_costs_more(loss: nn.Module, output: Output, steps: list[float]) -> None:
    """And the target itself costs nothing but the floor that keeps a power's slope finite.

    (MapDice has another minimiser, and the weights of GDS prefer another way.)
    """
    p, labels = output
    best, target = F.one_hot(labels, p.shape[1]).movedim(-1, 1).double(), target_of(loss, labels, p.shape[1])
    costs = [loss(torch.lerp(p, best, t), target).item() for t in [0.0, *sorted(steps), 1.0]]
    assert np.diff(costs).max() <= 1e-9
    assert 0 <= costs[-1] <= 0.02


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), axes=st.integers(2, 3))
def test_a_genuine_map_is_never_refused(kind: str, data: st.DataObject, axes: int) -> None:
    mask = torch.from_numpy(data.draw(masks(axes=axes)).copy())
    connectivity = data.draw(st.sampled_from([4, 8] if axes == 2 else [6, 18, 26]))
    phi = distance_map(torch.stack((mask, mask.flip(0)))[None], kind, connectivity=connectivity)  # (1, 2, D, H, W)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        check_map(phi.to(dtype), kind, "It")


def numpy_loss(loss: nn.Module, p: np.ndarray, labels: np.ndarray, phi: np.ndarray) -> float:
    """Every loss by its formula, one class after the other, in float64."""
    eps, classes = 1e-5, range(p.shape[1])
    g = np.stack([labels == c for c in classes], axis=1).astype(float)
    size, predicted, both = ([x[:, c].sum() for c in classes] for x in (g, p, p * g))
    log = np.log(np.maximum(p, 1e-30))

    def tversky(c: int) -> float:
        misses, alarms = size[c] - both[c], predicted[c] - both[c]
        return (both[c] + eps) / (both[c] + 0.3 * alarms + 0.7 * misses + eps)

    if isinstance(loss, DiceLoss):
        nnunet = isinstance(loss, DiceCrossEntropyLoss)
        entropy = -(g * log).sum() / labels.size if nnunet else 0
        return entropy + np.mean([1 - (2 * both[c] + eps) / (size[c] + predicted[c] + eps) for c in classes[1:]])
    if isinstance(loss, FocalTverskyLoss):
        return np.mean([max(1 - tversky(c), 1e-7) ** 0.75 for c in classes[1:]])
    if isinstance(loss, TverskyLoss):
        return np.mean([1 - tversky(c) for c in classes[1:]])
    if isinstance(loss, WeightedCrossEntropyLoss):
        w = [1.0, *(float(np.clip(size[0] / max(size[c], 1), 1e-3, 1e3)) for c in classes[1:])]
        return -sum(w[c] * (g * log)[:, c].sum() for c in classes) / sum(w[c] * size[c] for c in classes)
    if isinstance(loss, GeneralizedDiceLoss):
        largest = max(size[c] ** -2 for c in classes if size[c])
        w = [size[c] ** -2 if size[c] else largest for c in classes]
        return 1 - 2 * sum(map(np.prod, zip(w, both))) / sum(w[c] * (size[c] + predicted[c]) for c in classes)  # noqa: B905
    if isinstance(loss, ExpLogLoss):
        dice = [(2 * both[c] + 1) / (size[c] + predicted[c] + 1) for c in classes]
        w = [math.sqrt(labels.size / max(size[c], 1)) for c in classes]
        surprise = g * np.maximum(-log, 1e-7) ** 0.3
        entropy = sum(w[c] * surprise[:, c].sum() for c in classes) / labels.size
        return 0.8 * np.mean([max(-math.log(d), 1e-7) ** 0.3 for d in dice]) + 0.2 * entropy
    weight = np.where(phi > 0, phi, 1.0) if isinstance(loss, MapWeightedDiceLoss) else np.ones_like(phi)
    wanted = phi if isinstance(loss, MapDiceLoss) else weight * (phi > 0)
    found = weight * p[:, 1:]
    overlap = [(p[:, c] * wanted[:, c - 1]).sum() for c in classes[1:]]
    sums = [found[:, c].sum() + wanted[:, c].sum() for c in range(phi.shape[1])]
    return np.mean([1 - (2 * o + eps) / (s + eps) for o, s in zip(overlap, sums, strict=True)])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("loss", FORMULAS, ids=name)
@given(output=outputs())
def test_numpy_and_torch_agree(device: str, loss: nn.Module, output: Output) -> None:
    p, labels = output
    target, phi = target_of(loss, labels, p.shape[1]), target_of(MapDiceLoss(), labels, p.shape[1])
    expected = numpy_loss(loss, p.numpy(), labels.numpy(), phi.numpy().astype(float))
    found = loss(p.to(device), target.to(device))
    assert found.device.type == device
    assert float(found) == pytest.approx(expected, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("device", DEVICES)
@given(output=outputs(), alpha=st.floats(0, 100))
def test_the_regression_loss_is_smooth_l1_by_numpy(device: str, output: Output, alpha: float) -> None:
    (p, labels), lrnet = output, load_pretrained_lrnet(spatial_dims=output[0].ndim - 2).double().to(device)
    loss = DistanceRegressionLoss(lrnet, alpha=alpha)
    phi = target_of(loss, labels, p.shape[1])
    gap = np.abs(regress_maps(lrnet, p.to(device)).detach().cpu().numpy() - phi.numpy())
    expected = alpha * np.where(gap < 1, gap**2 / 2, gap - 0.5).mean()
    assert float(loss(p.to(device), phi.to(device))) == pytest.approx(expected, rel=1e-6, abs=1e-9)
