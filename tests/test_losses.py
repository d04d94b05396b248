"""Losses against PyTorch's own and gradcheck, and what they claim of empty targets, minimisers and wrong targets.

By formula in NumPy, and what must hold for every output: tests/properties/test_loss_properties.py.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from every_loss import MASK_LOSSES, OVERLAP_MAP_LOSSES, REGRESSION, every_loss, maps_of, name, target_of
from torch import Tensor, nn
from torch.nn import functional as F

from lrnet_edu import losses
from lrnet_edu.kinds import KINDS
from lrnet_edu.losses import DistanceRegressionLoss, MapDiceLoss, MapWeightedDiceLoss, map_regression_loss
from lrnet_edu.networks import LRNet
from lrnet_edu.support.errors import InputError
from lrnet_edu.trained import load_pretrained_lrnet


def random_case(loss: nn.Module, classes: int = 3, batch: int = 2) -> tuple[Tensor, Tensor]:
    """Logits (float64) and the target that this loss takes, all classes present."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, classes, 4, 3, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (batch, 4, 3, 5), generator=generator)
    return logits, target_of(loss, labels, classes)


def ball(radius: int, size: int) -> Tensor:
    """A mask (1, D, H, W)."""
    return torch.from_numpy(((np.indices((size,) * 3) - size // 2) ** 2).sum(0) <= radius**2)[None]


def pair(foreground: Tensor) -> Tensor:
    """(B, D, H, W) foreground probability -> (B, 2, D, H, W)."""
    return torch.stack((1 - foreground, foreground), dim=1)


def grad(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


# ---- values -----------------------------------------------------------------------------------------------------


def test_weighted_cross_entropy_is_pytorchs() -> None:
    logits, labels = random_case(MASK_LOSSES[0])
    counts = torch.bincount(labels.flatten(), minlength=3).double()
    expected = F.cross_entropy(logits, labels, weight=counts[0] / counts)
    p, wce = logits.softmax(1), losses.WeightedCrossEntropyLoss
    assert wce()(p, labels).item() == pytest.approx(expected.item(), rel=1e-9)
    rare = (labels == 1) & (torch.arange(5) == 0)
    expected = F.cross_entropy(logits[:, :2], rare.long(), weight=torch.tensor([1.0, 2.0]).double())
    assert wce(max_weight=2)(logits[:, :2].softmax(1), rare).item() == pytest.approx(expected.item(), rel=1e-9)
    assert wce(math.inf)(p, labels) == wce(1e6)(p, labels)


def test_nnunets_loss_has_pytorchs_gradient_where_a_voxel_is_surely_missed() -> None:
    """It had none where p of the true class was below 1e-7."""
    logits, labels = random_case(MASK_LOSSES[0])
    logits = (10 * logits).requires_grad_()
    p = logits.softmax(1)
    assert p.gather(1, labels[:, None]).min() < 1e-9
    ours = losses.DiceCrossEntropyLoss()(p, labels) - losses.DiceLoss()(p, labels)
    expected = torch.autograd.grad(F.cross_entropy(logits, labels), logits)
    torch.testing.assert_close(torch.autograd.grad(ours, logits), expected)


def test_the_family_of_dice() -> None:
    """Tversky at 0.5 is Dice, Focal Tversky at gamma 1 is Tversky, MapDice of a map that is 1 throughout is Dice."""
    logits, labels = random_case(MASK_LOSSES[0])
    p = logits.softmax(1)
    masks = F.one_hot(labels, 3).movedim(-1, 1)[:, 1:].double()
    dice, tversky = losses.DiceLoss()(p, labels), losses.TverskyLoss
    torch.testing.assert_close(tversky(0.5, 0.5)(p, labels), dice, atol=1e-6, rtol=0)
    torch.testing.assert_close(losses.FocalTverskyLoss(gamma=1)(p, labels), tversky()(p, labels))
    assert tversky(1, 0)(p, labels) != tversky(0, 1)(p, labels)
    for loss in OVERLAP_MAP_LOSSES:
        torch.testing.assert_close(loss(p, masks), dice)


@every_loss
def test_gradcheck(loss: nn.Module) -> None:
    logits, target = random_case(loss)
    assert torch.autograd.gradcheck(
        lambda x: loss(x.softmax(1), target[..., :2, :2]), logits[..., :2, :2].clone().requires_grad_()
    )


@every_loss
@pytest.mark.parametrize("objects", [0, 2, 4])
@pytest.mark.parametrize("certainty", ["nothing", "everything", "right", "wrong"])
def test_finite_at_the_extremes(loss: nn.Module, objects: int, certainty: str) -> None:
    labels = torch.zeros(1, 4, 4, 4, dtype=torch.long)
    labels[:, :objects] = 1
    found = {"nothing": 0 * labels, "everything": 0 * labels + 1, "right": labels, "wrong": 1 - labels}[certainty]
    p = pair(found.float()).requires_grad_()
    value = loss(p, target_of(loss, labels))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(grad(p)).all()


@every_loss
def test_reduced_precision_is_computed_in_float32(loss: nn.Module) -> None:
    logits, target = random_case(loss)
    loss = copy.deepcopy(loss).float()
    p = logits.softmax(1).to(torch.bfloat16)
    value = loss(p, target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(p.float(), target))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(loss(p.float(), target), value, rtol=0.02, atol=0.01)


@every_loss
def test_a_gpu_never_has_to_wait_and_one_graph_is_compiled(loss: nn.Module) -> None:
    """Off the CPU no value is read back: on the device without values that would raise."""
    logits, target = random_case(loss)
    p = logits.softmax(1)
    assert copy.deepcopy(loss).to("meta")(p.to("meta"), target.to("meta")).shape == ()
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(p, target), loss(p, target))


@every_loss
def test_mistakes(loss: nn.Module) -> None:
    logits, target = random_case(loss)
    p = logits.softmax(1)
    for given, to, match in (
        (logits, target, "softmax"), (logits.long(), target, "give floats"), (p[0, 0], target, "classes, D, H, W"),
        (p[:, :1], target, "at least one class more"), (p.numpy(), target, "are of type ndarray"),
        (p, target[..., :-1], "give"), (p, target[:1], "give"), (p, target.numpy(), "type ndarray; give"),
        (p[0], target[0], r"with a batch axis, tensor\[None\]"), (p, target.to("meta"), "move one of them"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=match):
            loss(given, to)


@every_loss
def test_keywords_of_other_libraries(loss: nn.Module) -> None:
    for keyword, instead in (
        ("softmax", "TandemLoss"), ("to_onehot_y", "labels as they are"), ("sigmoid", "two classes"),
        ("include_background", "leave the"), ("reduction", "one number"), ("ignore_index", "ignore_label"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=f"{name(loss)} has no {keyword}: .*{instead}"):
            type(loss)(**{keyword: True})
    assert type("Own", (type(loss),), {"__init__": lambda self, reduction: None})(reduction="sum")


@pytest.mark.parametrize("loss", MASK_LOSSES, ids=name)
def test_labels_of_either_shape_and_any_integer_type(loss: nn.Module) -> None:
    logits, labels = random_case(loss, classes=2)
    p = logits.softmax(1)
    for other in (labels[:, None], labels.to(torch.uint8), labels.to(torch.int16), labels.bool()):
        assert torch.equal(loss(p, other), loss(p, labels))
    for wrong, match in (
        (labels.float(), "whole numbers"), (F.one_hot(labels, 2).movedim(-1, 1), r"one-hot.* labels\.argmax\(1\)"),
        (torch.where(labels == 1, 2, 0), "from 0 to 2 and the network knows 2"), (labels - 1, "from -1"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=match):
            loss(p, wrong)


@pytest.mark.parametrize(("attempt", "match"), [
    (lambda: losses.FocalTverskyLoss(gamma=0), "gamma is 0"),
    (lambda: losses.WeightedCrossEntropyLoss(0), "max_weight is 0"),
    (lambda: losses.TverskyLoss(false_positive_weight=-1), "false_positive_weight is -1"),
    (lambda: losses.ExpLogLoss(exponent=math.nan), "exponent is nan"),
    (lambda: DistanceRegressionLoss(load_pretrained_lrnet(), "1"), "alpha is '1'"),
    (lambda: DistanceRegressionLoss(load_pretrained_lrnet(), math.inf), "alpha is inf; give a finite number"),
    (lambda: DistanceRegressionLoss(nn.Identity()), "give it a number"),
    (lambda: DistanceRegressionLoss("NI-DM"), "load_pretrained_lrnet"),
    (lambda: DistanceRegressionLoss(LRNet()), "does not know the NI-DM of a ball"),
    (lambda: DistanceRegressionLoss(LRNet(spatial_dims=2)), "does not know the NI-DM of a ball"),
    (lambda: REGRESSION(pair(torch.rand(1, 4, 4)), torch.zeros(1, 1, 4, 4)), r"LRNet takes \(B, 2, D, H, W\)"),
    (lambda: map_regression_loss(torch.zeros(1, 4, 4), torch.zeros(4, 4)), "maps' shape"),
])  # fmt: skip
def test_what_cannot_be(attempt: Callable[[], Any], match: str) -> None:
    for seed in range(3):  # of LR-Nets that have learned nothing
        torch.manual_seed(seed)
        with pytest.raises(InputError, match=match):
            attempt()
    assert DistanceRegressionLoss(load_pretrained_lrnet(), np.float32(7)).alpha == 7


# ---- targets that would train quietly ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_or_another_kind_of_map_is_refused_and_its_own_is_not(kind: str) -> None:
    lesion, p = ball(4, 12), torch.full((1, 2, 12, 12, 12), 0.5)
    thin = lesion.clone()
    thin[:, 7:] = thin[:, :5] = False  # two voxels thick: a map and its mask are alike
    wrong = [scale * lesion[:, None].float() for scale in (1, 0.5, 3, math.nan, math.inf)]
    wrong += [maps_of(lesion, kind=other) for other in KINDS if other != kind]
    of_kind = DistanceRegressionLoss(load_pretrained_lrnet(kind))
    for loss in [of_kind, *(OVERLAP_MAP_LOSSES if kind == "NI-DM" else [])]:
        for genuine in (lesion, thin, 0 * lesion):
            loss(p, maps_of(genuine, kind=kind))
        for target in wrong:
            with pytest.raises(InputError, match=f"takes {kind}.*compute them with distance_map"):
                loss(p, target)


# ---- what is claimed of a batch without lesion, one by one ------------------------------------------------------


@every_loss
def test_an_empty_target(loss: nn.Module) -> None:
    """Ratios of overlap say one and teach nothing; the others charge for what is found."""
    p, labels = pair(torch.full((1, 4, 4, 4), 0.25).double()).requires_grad_(), torch.zeros(1, 4, 4, 4).long()
    value = loss(p, target_of(loss, labels))
    value.backward()
    if loss in [*MASK_LOSSES[:3], *OVERLAP_MAP_LOSSES]:
        assert value.item() == pytest.approx(1, abs=1e-5)
        assert grad(p).abs().max() < 1e-6
    else:
        assert loss(pair(p[:, 1].detach() + 0.1), target_of(loss, labels)) > value + 0.01
    if loss in MASK_LOSSES[3:5]:  # cross-entropy is the background's, generalised Dice the mean foreground
        assert value.item() == pytest.approx({3: -math.log(0.75), 4: 0.25}[MASK_LOSSES.index(loss)])


# ---- the minimiser of MapDice -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("radius", "cost"), [(5, 0.070), (12, 0.106), (20, 0.119)])
def test_the_mask_costs_and_a_hollow_lesion_costs_less(radius: int, cost: float) -> None:
    """And with the map as a weight, nothing but the mask costs nothing."""
    mask = ball(radius, 2 * radius + 5)
    maps = maps_of(mask).double()
    phi = maps[:, 0]  # (1, D, H, W)
    at_mask = MapDiceLoss()(pair(mask.double()), maps).item()
    assert at_mask == pytest.approx(cost, abs=1e-3)
    # the loss is a ratio of two sums that are linear in p: its best p holds the k largest phi, for some k
    values = phi[mask].sort(descending=True).values
    by_number = 1 - 2 * values.cumsum(0) / (torch.arange(1, len(values) + 1) + values.sum())
    lowest = values[by_number.argmin()]
    best = MapDiceLoss()(pair((phi >= lowest).double()), maps).item()
    hollow = mask & (phi < lowest)
    assert best == pytest.approx(by_number.min().item(), abs=1e-6)
    assert best < at_mask
    assert 0.03 < hollow.sum() / mask.sum() < 0.07
    assert phi[hollow].max() < (1 - best) / 2  # what is dropped: phi below half the best ratio ...
    assert hollow[(0, *[size // 2 for size in mask.shape[1:]])]  # ... and that is the core
    mended = [MapWeightedDiceLoss()(pair(found.double()), maps).item() for found in (mask, mask & ~hollow)]
    assert abs(mended[0]) < 1e-9
    assert mended[1] > 1e-3
