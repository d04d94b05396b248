"""Losses against hand-computed cases, PyTorch's own, gradcheck, and what they claim of empty targets and minimisers.

By formula in NumPy, and what must hold for every output: tests/properties/test_loss_properties.py.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from lrnet_edu.distance_maps import distance_map
from lrnet_edu.kinds import KINDS
from lrnet_edu.losses import (
    DiceLoss,
    DistanceRegressionLoss,
    ExpLogLoss,
    FocalTverskyLoss,
    GeneralizedDiceLoss,
    MapDiceLoss,
    MapWeightedDiceLoss,
    TverskyLoss,
    WeightedCrossEntropyLoss,
    map_regression_loss,
)
from lrnet_edu.networks import LRNet
from lrnet_edu.support.errors import InputError
from lrnet_edu.trained import load_pretrained_lrnet


class PointwiseLRNet(nn.Module):
    """Any module may stand behind the regression loss: this one has a known output, scale * p_object ** 2."""

    kind = "NI-DM"

    def __init__(self, scale: float = 2.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale, dtype=torch.float64))

    def forward(self, pairs: Tensor) -> Tensor:
        return self.scale.to(pairs.dtype) * pairs[:, 1:] ** 2


MASK_LOSSES = [DiceLoss(), WeightedCrossEntropyLoss(), GeneralizedDiceLoss(), TverskyLoss(), FocalTverskyLoss(),
               ExpLogLoss()]  # fmt: skip
OVERLAP_MAP_LOSSES = [MapDiceLoss(), MapWeightedDiceLoss()]
REGRESSION = DistanceRegressionLoss(PointwiseLRNet())
LOSSES = [*MASK_LOSSES, *OVERLAP_MAP_LOSSES, REGRESSION]


def name(value: object) -> str | None:
    return type(value).__name__ if isinstance(value, nn.Module) else None


def maps_of(labels: Tensor, classes: int = 2, kind: str = "NI-DM") -> Tensor:
    """(B, D, H, W) -> (B, classes - 1, D, H, W)."""
    return distance_map(torch.stack([labels == c for c in range(1, classes)], dim=1), kind)


def target_of(loss: nn.Module, labels: Tensor, classes: int = 2) -> Tensor:
    """What this loss compares with."""
    return labels if loss in MASK_LOSSES else maps_of(labels, classes)


def random_case(loss: nn.Module, classes: int = 3, batch: int = 2) -> tuple[Tensor, Tensor]:
    """Logits (float64) and the target that this loss takes, all classes present."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, classes, 4, 3, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (batch, 4, 3, 5), generator=generator)
    return logits, target_of(loss, labels, classes)


def ball(radius: int, size: int) -> Tensor:
    """A mask (1, D, H, W)."""
    centre = torch.arange(size) - size // 2
    return sum(axis**2 for axis in torch.meshgrid(*[centre] * 3, indexing="ij"))[None] <= radius**2


def pair(foreground: Tensor) -> Tensor:
    """(B, 1, D, H, W) or (B, D, H, W) foreground probability -> (B, 2, D, H, W)."""
    foreground = foreground if foreground.ndim == 5 else foreground[:, None]
    return torch.cat((1 - foreground, foreground), dim=1)


def grad(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


# ---- by hand and by PyTorch -------------------------------------------------------------------------------------


TI = 0.8 / (0.8 + 0.3 * 0.4 + 0.7 * 0.2)  # Tversky's index of the two voxels below
DICE = ((2 * 0.6 + 1) / (0.8 + 1 + 1), (2 * 0.8 + 1) / (1.2 + 1 + 1))  # with Exp-Log's eps of a voxel


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (DiceLoss(), 1 - 2 * 0.8 / (1.2 + 1)),
        (WeightedCrossEntropyLoss(), -(math.log(0.8) + math.log(0.6)) / 2),  # one voxel of each class: weights 1
        (GeneralizedDiceLoss(), 1 - 2 * (0.8 + 0.6) / 4),
        (TverskyLoss(), 1 - TI),
        (TverskyLoss(false_positive_weight=1, false_negative_weight=0), 1 - 0.8 / 1.2),
        (FocalTverskyLoss(), (1 - TI) ** 0.75),
        (ExpLogLoss(), 0.8 * sum((-math.log(d)) ** 0.3 for d in DICE) / 2
         + 0.2 * math.sqrt(2) * ((-math.log(0.8)) ** 0.3 + (-math.log(0.6)) ** 0.3) / 2),
        (MapDiceLoss(), 1 - 2 * 0.8 * 0.5 / (1.2 + 0.5)),
        (MapWeightedDiceLoss(), 1 - 2 * 0.4 / (0.4 + 0.4 + 0.5)),
        # the stand-in's maps are 2 * 0.64 and 2 * 0.16; or 20 * 0.64, which is beyond beta: linear
        (DistanceRegressionLoss(PointwiseLRNet(), alpha=3), 3 * (0.78**2 / 2 + 0.32**2 / 2) / 2),
        (DistanceRegressionLoss(PointwiseLRNet(20), alpha=1), (12.8 - 0.5 - 0.5 + 3.2 - 0.5) / 2),
    ],
    ids=name,
)  # fmt: skip
def test_two_voxels_by_hand(loss: nn.Module, expected: float) -> None:
    """In this order: p_foreground = (0.8, 0.4), mask = (1, 0), map = (0.5, 0)."""
    p = pair(torch.tensor([0.8, 0.4], dtype=torch.float64).reshape(1, 1, 1, 2))
    on_masks = isinstance(loss, tuple(map(type, MASK_LOSSES)))
    target = torch.tensor([1, 0] if on_masks else [0.5, 0]).reshape(1, 1, 1, 1, 2)
    assert loss(p, target).item() == pytest.approx(expected, abs=1e-4)


def test_weighted_cross_entropy_is_pytorchs() -> None:
    logits, labels = random_case(MASK_LOSSES[0])
    counts = torch.bincount(labels.flatten(), minlength=3).double()
    expected = F.cross_entropy(logits, labels, weight=counts[0] / counts)
    p = logits.softmax(1)
    assert WeightedCrossEntropyLoss()(p, labels).item() == pytest.approx(expected.item(), rel=1e-9)
    rare = (labels == 1) & (torch.arange(5) == 0)
    expected = F.cross_entropy(logits[:, :2], rare.long(), weight=torch.tensor([1.0, 2.0]).double())
    clamped = WeightedCrossEntropyLoss(max_weight=2)(logits[:, :2].softmax(1), rare)
    assert clamped.item() == pytest.approx(expected.item(), rel=1e-9)
    assert WeightedCrossEntropyLoss(math.inf)(p, labels) == WeightedCrossEntropyLoss(1e6)(p, labels)


def test_the_family_of_dice() -> None:
    """Tversky at 0.5 is Dice, Focal Tversky at gamma 1 is Tversky, MapDice of a map that is 1 throughout is Dice."""
    logits, labels = random_case(MASK_LOSSES[0])
    p = logits.softmax(1)
    masks = F.one_hot(labels, 3).movedim(-1, 1)[:, 1:].double()
    dice = DiceLoss()(p, labels)
    assert torch.allclose(TverskyLoss(0.5, 0.5)(p, labels), dice, atol=1e-6)
    assert torch.allclose(FocalTverskyLoss(gamma=1)(p, labels), TverskyLoss()(p, labels))
    assert torch.allclose(MapDiceLoss()(p, masks), dice)
    assert torch.allclose(MapWeightedDiceLoss()(p, masks), dice)


# ---- every loss -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES, ids=name)
class TestEveryLoss:
    def test_gradcheck(self, loss: nn.Module) -> None:
        logits, target = random_case(loss)
        target = target[..., :2, :2]
        logits = logits[..., :2, :2].clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda x: loss(x.softmax(1), target), logits)

    @pytest.mark.parametrize("objects", [0, 2, 4])
    @pytest.mark.parametrize("certainty", ["nothing", "everything", "right", "wrong"])
    def test_finite_at_the_extremes(self, loss: nn.Module, objects: int, certainty: str) -> None:
        labels = torch.zeros(1, 4, 4, 4, dtype=torch.long)
        labels[:, :objects] = 1
        found = {"nothing": 0 * labels, "everything": 0 * labels + 1, "right": labels, "wrong": 1 - labels}[certainty]
        p = pair(found.float()).requires_grad_()
        value = loss(p, target_of(loss, labels))
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(grad(p)).all()
        if certainty == "right" and loss in [*MASK_LOSSES, OVERLAP_MAP_LOSSES[1]]:
            assert value.item() == pytest.approx(0, abs=0.02)

    @pytest.mark.parametrize("certainty", [20.0, 60.0, 200.0])
    def test_surely_wrong_logits(self, loss: nn.Module, certainty: float) -> None:
        """Gradients stay finite, and a cross-entropy's alive while float32 holds the probability."""
        labels = torch.zeros(1, 2, 2, 2, dtype=torch.long)
        labels[:, 0] = 1
        wrong = torch.where(labels == 0, certainty / 2, -certainty / 2)
        logits = torch.stack((-wrong, wrong), dim=1).requires_grad_()
        loss(logits.softmax(1), target_of(loss, labels)).backward()
        assert torch.isfinite(grad(logits)).all()
        if certainty < 100 and isinstance(loss, WeightedCrossEntropyLoss | ExpLogLoss):
            assert grad(logits).abs().min() > 1e-4

    def test_reduced_precision_is_computed_in_float32(self, loss: nn.Module) -> None:
        logits, target = random_case(loss)
        p = logits.softmax(1).to(torch.bfloat16)
        value = loss(p, target)
        assert value.dtype == (torch.float64 if loss is REGRESSION else torch.float32)  # the stand-in's own
        assert torch.allclose(value, loss(p.float(), target))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.allclose(loss(p.float(), target), value, rtol=1e-6)

    def test_a_gpu_never_has_to_wait(self, loss: nn.Module) -> None:
        """Off the CPU no value is read back: on the device without values that would raise."""
        logits, target = random_case(loss)
        loss = copy.deepcopy(loss).to("meta")
        assert loss(logits.softmax(1).to("meta"), target.to("meta")).shape == ()

    def test_compiled_as_one_graph(self, loss: nn.Module) -> None:
        logits, target = random_case(loss)
        p = logits.softmax(1)
        compiled = torch.compile(loss, fullgraph=True, backend="eager")
        assert torch.allclose(compiled(p, target), loss(p, target))

    def test_mistakes(self, loss: nn.Module) -> None:
        logits, target = random_case(loss)
        p = logits.softmax(1)
        for probabilities, match in (
            (logits, "softmax"),
            (logits.long(), "softmax"),
            (p[0, 0], "classes, D, H, W"),
            (p[:, :1], "at least one class more"),
            (p.numpy(), "are of type ndarray"),
        ):
            with pytest.raises(InputError, match=match):
                loss(probabilities, target)
        for wrong, match in ((target[..., :-1], "give"), (target[:1], "give"), (target.numpy(), "type ndarray; give")):
            with pytest.raises(InputError, match=match):
                loss(p, wrong)
        with pytest.raises(InputError, match=r"with a batch axis, tensor\[None\]"):
            loss(p[0], target[0])

    @pytest.mark.parametrize(("keyword", "instead"), [("softmax", "TandemLoss"), ("to_onehot_y", "labels as they are"),
        ("include_background", "leave the background"), ("reduction", "one number"), ("ignore_index", "ignore_label"),
        ("sigmoid", "two classes")])  # fmt: skip
    def test_keywords_of_other_libraries(self, loss: nn.Module, keyword: str, instead: str) -> None:
        with pytest.raises(InputError, match=f"{name(loss)} has no {keyword}: .*{instead}"):
            type(loss)(**{keyword: True})


@pytest.mark.parametrize("loss", MASK_LOSSES, ids=name)
def test_labels_of_either_shape_and_any_integer_type(loss: nn.Module) -> None:
    logits, labels = random_case(loss, classes=2)
    p = logits.softmax(1)
    value = loss(p, labels)
    for other in (labels[:, None], labels.to(torch.uint8), labels.to(torch.int16), labels.bool()):
        assert torch.equal(loss(p, other), value)
    for wrong, match in (
        (labels.float(), "whole numbers"),
        (F.one_hot(labels, 2).movedim(-1, 1), r"one-hot.* labels\.argmax\(1\)"),
        (torch.where(labels == 1, 2, 0), "from 0 to 2 and the network knows 2"),
        (labels - 1, "from -1"),
    ):
        with pytest.raises(InputError, match=match):
            loss(p, wrong)


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: FocalTverskyLoss(gamma=0), "gamma is 0"),
        (lambda: FocalTverskyLoss(gamma=math.nan), "gamma is nan"),
        (lambda: WeightedCrossEntropyLoss(0), "max_weight is 0"),
        (lambda: TverskyLoss(false_positive_weight=-1), "false_positive_weight is -1"),
        (lambda: ExpLogLoss(exponent=0), "exponent is 0"),
        (lambda: DistanceRegressionLoss(PointwiseLRNet(), "1"), "alpha is '1'"),
        (lambda: DistanceRegressionLoss(PointwiseLRNet(), math.inf), "alpha is inf; give a finite number"),
        (lambda: DistanceRegressionLoss(nn.Identity()), "give it a number"),
        (lambda: DistanceRegressionLoss("NI-DM"), r"give one, such as load_pretrained_lrnet"),
    ],
)
def test_settings_that_cannot_be(build: Callable[[], Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        build()


# ---- targets that would train quietly ---------------------------------------------------------------------------


def knowing(kind: str) -> DistanceRegressionLoss:
    return DistanceRegressionLoss(load_pretrained_lrnet(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_or_another_kind_of_map_is_refused_and_its_own_is_not(kind: str) -> None:
    lesion = ball(4, 12)
    p = torch.full((1, 2, 12, 12, 12), 0.5)
    losses = [knowing(kind), *(OVERLAP_MAP_LOSSES if kind == "NI-DM" else [])]
    for loss in losses:
        loss(p, maps_of(lesion, kind=kind))
        for scale in (1, 0.5, 3):
            with pytest.raises(InputError, match=f"takes {kind} .*compute it with distance_map"):
                loss(p, scale * lesion[:, None].float())
        for other in set(KINDS) - {kind}:
            with pytest.raises(InputError, match=f"takes {kind} .*compute it with distance_map"):
                loss(p, maps_of(lesion, kind=other))
    loss(p, maps_of(0 * lesion, kind=kind))
    thin = lesion.clone()
    thin[:, 7:] = thin[:, :5] = False  # two voxels thick: 1 everywhere in every kind but O-DM and SNI-DM's outside
    loss(p, maps_of(thin, kind=kind))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("loss", [*OVERLAP_MAP_LOSSES, REGRESSION], ids=name)
def test_maps_with_nan(loss: nn.Module, bad: float) -> None:
    logits, target = random_case(loss)
    target.view(-1)[5] = bad
    with pytest.raises(InputError, match="NaN"):
        loss(logits.softmax(1), target)


@pytest.mark.parametrize("dims", [2, 3])
def test_an_lrnet_that_has_learned_nothing_is_named(dims: int) -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        with pytest.raises(InputError, match="does not know the NI-DM of a ball"):
            DistanceRegressionLoss(LRNet(spatial_dims=dims))


# ---- what is claimed of a batch without lesion ------------------------------------------------------------------


class TestEmptyTarget:
    """The notes of the package's docstring, one by one."""

    def setup_method(self) -> None:
        self.p = pair(torch.full((1, 4, 4, 4), 0.25, dtype=torch.float64)).requires_grad_()
        self.labels = torch.zeros(1, 4, 4, 4, dtype=torch.long)

    @pytest.mark.parametrize("loss", [MASK_LOSSES[0], MASK_LOSSES[3], *OVERLAP_MAP_LOSSES], ids=name)
    def test_ratios_say_one_and_teach_nothing(self, loss: nn.Module) -> None:
        value = loss(self.p, target_of(loss, self.labels))
        value.backward()
        assert value.item() == pytest.approx(1, abs=1e-5)
        assert grad(self.p).abs().max() < 1e-6

    def test_generalized_dice_is_the_mean_foreground(self) -> None:
        assert GeneralizedDiceLoss()(self.p, self.labels).item() == pytest.approx(0.25)

    def test_an_absent_class_among_several_weighs_like_the_smallest_present(self) -> None:
        p = torch.full((1, 3, 1, 1, 4), 1 / 3, dtype=torch.float64)
        labels = torch.tensor([1, 0, 0, 0]).reshape(1, 1, 1, 4)  # weights 1/9, 1 and, absent, 1 again
        expected = 1 - 2 * (1 / 9 * 1 + 1 / 3) / (1 / 9 * (4 / 3 + 3) + (4 / 3 + 1) + 4 / 3)
        assert GeneralizedDiceLoss()(p, labels).item() == pytest.approx(expected)

    def test_cross_entropy_is_that_of_the_background(self) -> None:
        assert WeightedCrossEntropyLoss()(self.p, self.labels).item() == pytest.approx(-math.log(0.75))

    @pytest.mark.parametrize("loss", [MASK_LOSSES[1], MASK_LOSSES[2], MASK_LOSSES[5], REGRESSION], ids=name)
    def test_the_others_charge_for_what_is_found(self, loss: nn.Module) -> None:
        more, target = pair(self.p[:, 1:].detach() + 0.1), target_of(loss, self.labels)
        assert loss(more, target) > loss(self.p, target) + 0.01


# ---- the minimiser of MapDice -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("radius", "cost"), [(5, 0.070), (12, 0.106), (20, 0.119)])
def test_the_mask_costs_and_a_hollow_lesion_costs_less(radius: int, cost: float) -> None:
    mask = ball(radius, 2 * radius + 5)
    phi = maps_of(mask).double()
    at_mask = MapDiceLoss()(pair(mask.double()), phi).item()
    assert at_mask == pytest.approx(cost, abs=1e-3)
    # the loss is a ratio of two sums that are linear in p: its best p holds the k largest phi, for some k
    values = phi[:, 0][mask].sort(descending=True).values
    losses = 1 - 2 * values.cumsum(0) / (torch.arange(1, len(values) + 1) + values.sum())
    lowest = values[losses.argmin()]
    best = MapDiceLoss()(pair((phi >= lowest).double()), phi).item()
    hollow = mask & (phi[:, 0] < lowest)
    assert best == pytest.approx(losses.min().item(), abs=1e-6)
    assert best < at_mask
    assert 0.03 < hollow.sum() / mask.sum() < 0.07
    assert phi[:, 0][hollow].max() < (1 - best) / 2  # what is dropped: phi below half the best ratio ...
    assert hollow[(0, *[size // 2 for size in mask.shape[1:]])]  # ... and that is the core


def test_gradient_descent_finds_the_hole_and_the_variant_closes_it() -> None:
    mask = ball(5, 15)
    phi, found = maps_of(mask), {}
    for loss in OVERLAP_MAP_LOSSES:
        logits = torch.zeros_like(phi, requires_grad=True)
        optimizer = torch.optim.Adam([logits], lr=0.5)
        for _ in range(150):
            optimizer.zero_grad()
            loss(pair(logits.sigmoid()), phi).backward()
            optimizer.step()
        found[type(loss)] = logits[:, 0] > 0
    assert not found[MapDiceLoss][0, 7, 7, 7]
    assert (found[MapDiceLoss] <= mask).all()
    assert torch.equal(found[MapWeightedDiceLoss], mask)


# ---- distance regression ----------------------------------------------------------------------------------------


class TestDistanceRegression:
    def test_it_is_pytorchs_smooth_l1_of_the_lrnets_maps(self) -> None:
        maps, target = 3 * torch.randn(2, 2, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
        assert torch.allclose(map_regression_loss(maps, target), F.smooth_l1_loss(maps, target))
        lrnet, mask = load_pretrained_lrnet(), ball(2, 7)
        p = pair(torch.rand(mask.shape, generator=torch.Generator().manual_seed(1)))
        expected = 7 * F.smooth_l1_loss(lrnet(p), maps_of(mask))
        assert torch.allclose(DistanceRegressionLoss(lrnet, alpha=np.float32(7))(p, maps_of(mask)), expected)

    def test_the_lrnet_is_frozen_and_the_gradient_flows_through_it(self) -> None:
        lrnet = load_pretrained_lrnet()
        network = nn.Conv3d(1, 3, 3, padding=1)
        system = nn.ModuleDict({"network": network, "loss": DistanceRegressionLoss(lrnet, alpha=1)}).train()
        optimizer = torch.optim.SGD(system.parameters(), lr=0.1, weight_decay=0.5)
        before = {key: value.clone() for key, value in lrnet.state_dict().items()}
        image = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
        for _ in range(3):
            optimizer.zero_grad()
            system["loss"](network(image).softmax(1), torch.zeros(1, 2, 8, 8, 8)).backward()
            optimizer.step()
        assert all(torch.equal(before[key], value) for key, value in lrnet.state_dict().items())
        assert not lrnet.training
        assert all(grad(parameter).abs().sum() > 0 for parameter in network.parameters())

    def test_every_foreground_class_meets_its_own_map(self) -> None:
        loss = DistanceRegressionLoss(PointwiseLRNet(), alpha=1)
        p = torch.rand(2, 4, 2, 2, 2, generator=torch.Generator().manual_seed(0)).softmax(1)
        maps = 2 * p[:, 1:] ** 2
        assert loss(p, maps).item() == pytest.approx(0, abs=1e-12)
        assert loss(p, maps.flip(1)).item() > 1e-4

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_lesion_that_grows_to_its_mask_costs_less_and_less(self, kind: str) -> None:
        loss, target = knowing(kind), maps_of(ball(6, 17), kind=kind)
        costs = [loss(pair(ball(radius, 17).float()), target).item() for radius in (3, 4, 5, 6)]
        assert costs == sorted(costs, reverse=True)
        assert costs[-1] < 0.2 * costs[0]

    def test_numbers_of_other_types(self) -> None:
        loss, phi = knowing("NI-DM"), maps_of(ball(2, 8))
        p = torch.softmax(torch.randn(1, 2, 8, 8, 8, generator=torch.Generator().manual_seed(0)), dim=1)
        expected = loss(p, phi).item()
        for dtype in (torch.float64, torch.float16, torch.bfloat16):
            assert loss(p.to(dtype), phi).item() == pytest.approx(expected, rel=0.02)
        halved = copy.deepcopy(loss).bfloat16()
        assert halved(p, phi).item() == pytest.approx(expected, rel=0.02)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert halved(p, phi).item() == pytest.approx(expected, rel=0.02)

    def test_mistakes(self) -> None:
        p, phi = pair(torch.rand(1, 4, 4, 4)), torch.zeros(1, 1, 4, 4, 4)
        with pytest.raises(InputError, match=r"move the loss there with loss\.to"):
            knowing("NI-DM").to("meta")(p, phi)
        with pytest.raises(InputError, match="give it the maps' shape"):
            map_regression_loss(phi, phi[0])
        with pytest.raises(InputError, match=r"LRNet takes \(B, 2, D, H, W\)"):
            knowing("NI-DM")(p[:, :, 0], phi[:, :, 0])


# ---- two processes: run by spawned children, hence at the module's top level ------------------------------------


def value_and_gradient(loss: nn.Module, share: slice, network: nn.Module) -> tuple[Tensor, Tensor]:
    """Loss of a batch's share through the network, and the gradient of the network's weights."""
    logits, target = random_case(loss, batch=3)
    network.zero_grad()
    value = loss(network(logits[share, :1]).softmax(1), target[share])
    value.backward()
    return value.detach(), torch.cat([grad(parameter).flatten() for parameter in network.parameters()])


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv3d(1, 3, 3, padding=1).double()


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    network = nn.parallel.DistributedDataParallel(small_network())
    share = [slice(0, 1), slice(1, 3)][rank]  # unequal on purpose
    torch.save([value_and_gradient(loss, share, network) for loss in LOSSES], f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.skipif(not distributed.is_available(), reason="this PyTorch has no torch.distributed")
def test_two_processes_give_one_process_loss_and_gradient(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(one_of_two, args=(str(tmp_path),), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    network = small_network()
    for loss, *results in zip(LOSSES, *ranks, strict=True):
        expected_value, expected_gradient = value_and_gradient(loss, slice(0, 3), network)
        for value, gradient in results:
            torch.testing.assert_close(value, expected_value, rtol=1e-9, atol=1e-12, msg=name(loss))
            torch.testing.assert_close(gradient, expected_gradient, rtol=1e-7, atol=1e-12, msg=name(loss))
