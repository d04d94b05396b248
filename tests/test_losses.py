"""Losses against hand-computed cases, PyTorch's own, gradcheck, and the properties they claim."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from lrnet_edu.losses import (
    DEFAULT_ALPHA,
    DiceLoss,
    DistanceRegressionLoss,
    ExpLogLoss,
    FocalTverskyLoss,
    GeneralizedDiceLoss,
    MapDiceLoss,
    MapWeightedDiceLoss,
    TverskyLoss,
    WeightedCrossEntropyLoss,
    cost_of_empty_output,
    map_regression_loss,
)
from lrnet_edu.networks import LRNet
from lrnet_edu.support.errors import InputError


class PointwiseLRNet(nn.Module):
    """A stand-in of known output, scale * p_object ** 2, with a statistic that training would move."""

    kind = "NI-DM"

    def __init__(self, scale: float = 2.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale, dtype=torch.float64))
        self.norm = nn.BatchNorm3d(1, affine=False)

    def forward(self, pairs: Tensor) -> Tensor:
        self.norm(pairs[:, 1:].detach().float())
        return self.scale.to(pairs.dtype) * pairs[:, 1:] ** 2


MASK_LOSSES = [
    DiceLoss(),
    WeightedCrossEntropyLoss(),
    GeneralizedDiceLoss(),
    TverskyLoss(),
    FocalTverskyLoss(),
    ExpLogLoss(),
]
OVERLAP_MAP_LOSSES = [MapDiceLoss(), MapWeightedDiceLoss()]
MAP_LOSSES = [*OVERLAP_MAP_LOSSES, DistanceRegressionLoss(PointwiseLRNet())]
LOSSES = [*MASK_LOSSES, *MAP_LOSSES]


def name(value: object) -> str | None:
    return type(value).__name__ if isinstance(value, nn.Module) else None


def random_case(loss: nn.Module, classes: int = 3, batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (float64) and the target that this loss takes, all classes present."""
    generator = torch.Generator().manual_seed(seed)
    size = (3, 4, 5)
    logits = torch.randn(batch, classes, *size, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (batch, *size), generator=generator)
    return logits, labels if loss in MASK_LOSSES else maps_of(labels, classes, generator)


def maps_of(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """Random values in [0.2, 1] inside every foreground class, 0 outside."""
    values = 0.2 + 0.8 * torch.rand(labels.shape, generator=generator, dtype=torch.float64)
    return torch.stack([values * (labels == c) for c in range(1, classes)], dim=1)


def ball_maps(radius: int, size: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Mask (1, 1, D, H, W) of a ball and its four maps, straight from the definitions by scipy."""
    z, y, x = np.ogrid[:size, :size, :size]
    centre = size // 2
    mask = (z - centre) ** 2 + (y - centre) ** 2 + (x - centre) ** 2 <= radius**2
    depth, outside = distance_transform_edt(mask), distance_transform_edt(~mask)
    maximum = depth.max()
    inverted = np.where(mask, maximum + 1 - depth, 0)
    maps = {
        "O-DM": depth,
        "I-DM": inverted,
        "NI-DM": inverted / maximum,
        "SNI-DM": np.where(mask, inverted / maximum, -outside / outside.max()),
    }
    return torch.tensor(mask)[None, None], {kind: torch.tensor(m)[None, None] for kind, m in maps.items()}


def pair(foreground: Tensor) -> Tensor:
    """(B, 1, D, H, W) foreground probability -> (B, 2, D, H, W)."""
    return torch.cat((1 - foreground, foreground), dim=1)


def grad(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


# Two voxels, in this order: p_foreground = (0.8, 0.4), mask = (1, 0)
P = pair(torch.tensor([0.8, 0.4], dtype=torch.float64).reshape(1, 1, 1, 1, 2))
G = torch.tensor([1, 0]).reshape(1, 1, 1, 2)


class TestHandComputed:
    def check(self, loss: nn.Module, expected: float, target: Tensor = G, tolerance: float = 1e-4) -> None:
        assert loss(P, target).item() == pytest.approx(expected, abs=tolerance)

    def test_dice(self) -> None:
        self.check(DiceLoss(), 1 - 2 * 0.8 / (1.2 + 1))

    def test_weighted_cross_entropy(self) -> None:
        self.check(WeightedCrossEntropyLoss(), -(math.log(0.8) + math.log(0.6)) / 2)  # one voxel each: weights 1
        p = pair(torch.tensor([0.8, 0.4, 0.1, 0.5]).reshape(1, 1, 1, 1, 4))
        surprise = -(3 * math.log(0.8) + math.log(0.6) + math.log(0.9) + math.log(0.5)) / 6  # 3 background voxels
        loss = WeightedCrossEntropyLoss()(p, torch.tensor([1, 0, 0, 0]).reshape(1, 1, 1, 4))
        assert loss.item() == pytest.approx(surprise, rel=1e-6)

    def test_generalized_dice(self) -> None:
        self.check(GeneralizedDiceLoss(), 1 - 2 * (0.8 + 0.6) / 4)

    def test_tversky(self) -> None:
        index = 0.8 / (0.8 + 0.3 * 0.4 + 0.7 * 0.2)
        self.check(TverskyLoss(), 1 - index)
        self.check(FocalTverskyLoss(), (1 - index) ** 0.75)
        self.check(TverskyLoss(false_positive_weight=1, false_negative_weight=0), 1 - 0.8 / 1.2)

    def test_explog(self) -> None:
        dice = [(2 * 0.6 + 1) / (0.8 + 1 + 1), (2 * 0.8 + 1) / (1.2 + 1 + 1)]
        dice_term = sum((-math.log(d)) ** 0.3 for d in dice) / 2
        weight = math.sqrt(2)  # two voxels, one of each class
        cross_entropy = weight * ((-math.log(0.8)) ** 0.3 + (-math.log(0.6)) ** 0.3) / 2
        self.check(ExpLogLoss(), 0.8 * dice_term + 0.2 * cross_entropy)

    def test_map_losses(self) -> None:
        phi = torch.tensor([0.5, 0.0]).reshape(1, 1, 1, 1, 2)
        self.check(MapDiceLoss(), 1 - 2 * 0.8 * 0.5 / (1.2 + 0.5), phi)
        self.check(MapWeightedDiceLoss(), 1 - 2 * 0.4 / (0.4 + 0.4 + 0.5), phi)
        # the stand-in's maps are 2 * 0.64 = 1.28 and 2 * 0.16 = 0.32
        self.check(DistanceRegressionLoss(PointwiseLRNet(), alpha=3), 3 * (0.78**2 / 2 + 0.32**2 / 2) / 2, phi)
        # 9 apart is beyond beta: linear
        far = torch.tensor([10.28, 0.32]).reshape(1, 1, 1, 1, 2)
        self.check(DistanceRegressionLoss(PointwiseLRNet(), alpha=1), (9 - 0.5) / 2, far)


class TestAgainstLibraries:
    def test_weighted_cross_entropy_is_pytorchs(self) -> None:
        logits, labels = random_case(MASK_LOSSES[0])
        counts = torch.bincount(labels.flatten(), minlength=3).double()
        expected = F.cross_entropy(logits, labels, weight=counts[0] / counts)
        actual = WeightedCrossEntropyLoss()(logits.softmax(1), labels)
        assert actual.item() == pytest.approx(expected.item(), rel=1e-9)

    def test_weights_are_clamped(self) -> None:
        labels = torch.zeros(1, 1, 1, 100, dtype=torch.long)
        labels[..., 0] = 1
        logits = torch.randn(1, 2, 1, 1, 100, generator=torch.Generator().manual_seed(0))
        expected = F.cross_entropy(logits, labels, weight=torch.tensor([1.0, 7.0]))
        actual = WeightedCrossEntropyLoss(max_weight=7)(logits.softmax(1), labels)
        assert actual.item() == pytest.approx(expected.item(), rel=1e-5)

    def test_regression_is_pytorchs_smooth_l1(self) -> None:
        maps, target = 3 * torch.randn(2, 2, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
        assert torch.allclose(map_regression_loss(maps, target), F.smooth_l1_loss(maps, target))
        lrnet = LRNet()
        p = torch.rand(2, 2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
        expected = 7 * F.smooth_l1_loss(lrnet(pair(p[:, 1:])), target[:, :1])
        assert torch.allclose(DistanceRegressionLoss(lrnet, alpha=7)(p, target[:, :1]), expected)

    def test_generalized_dice_by_numpy(self) -> None:
        logits, labels = random_case(MASK_LOSSES[0])
        p, g = logits.softmax(1).numpy(), F.one_hot(labels, 3).movedim(-1, 1).numpy()
        numerator = denominator = 0.0
        for c in range(3):
            weight = 1 / g[:, c].sum() ** 2
            numerator += weight * (p[:, c] * g[:, c]).sum()
            denominator += weight * (p[:, c] + g[:, c]).sum()
        actual = GeneralizedDiceLoss()(torch.tensor(p), labels)
        assert actual.item() == pytest.approx(1 - 2 * numerator / denominator, rel=1e-9)

    def test_the_family_of_dice(self) -> None:
        """Tversky at 0.5 is Dice, Focal Tversky at gamma 1 is Tversky, MapDice of the mask is Dice."""
        logits, labels = random_case(MASK_LOSSES[0])
        p = logits.softmax(1)
        masks = F.one_hot(labels, 3).movedim(-1, 1)[:, 1:].double()
        dice = DiceLoss()(p, labels)
        assert torch.allclose(TverskyLoss(0.5, 0.5)(p, labels), dice, atol=1e-6)
        assert torch.allclose(FocalTverskyLoss(gamma=1)(p, labels), TverskyLoss()(p, labels))
        assert torch.allclose(MapDiceLoss()(p, masks), dice)
        assert torch.allclose(MapWeightedDiceLoss()(p, masks), dice)


@pytest.mark.parametrize("loss", LOSSES, ids=name)
class TestEveryLoss:
    def test_gradcheck(self, loss: nn.Module) -> None:
        logits, target = random_case(loss)
        logits = logits[..., :2, :2].clone().requires_grad_()
        target = target[..., :2, :2]
        assert torch.autograd.gradcheck(lambda x: loss(x.softmax(1), target), logits)

    @pytest.mark.parametrize("seed", range(3))
    def test_flips_and_order_of_the_batch_change_nothing(self, loss: nn.Module, seed: int) -> None:
        logits, target = random_case(loss, seed=seed)
        p = logits.softmax(1)
        value = loss(p, target)
        for axes in ([-1], [-2, -3], [0]):
            assert torch.allclose(loss(p.flip(axes), target.flip(axes)), value)
        assert not torch.allclose(loss(p.flip(-1), target), value)  # the target's place does matter

    def test_two_dimensions_and_batch_of_one(self, loss: nn.Module) -> None:
        logits, target = random_case(loss, batch=1)
        p, slice_of_target = logits.softmax(1)[:, :, :1], target.narrow(-3, 0, 1)
        value = loss(p, slice_of_target)
        assert value.shape == ()
        if not isinstance(loss, DistanceRegressionLoss):  # the LR-Net is a 3-D network
            assert torch.allclose(loss(p.squeeze(2), slice_of_target.squeeze(-3)), value)

    def test_better_probabilities_cost_less(self, loss: nn.Module) -> None:
        """From indifference to 95 % sure of the right class, every step pays off."""
        _, labels = random_case(MASK_LOSSES[0])
        right = F.one_hot(labels, 3).movedim(-1, 1).double()
        # maps within reach of each loss: MapDice's minimiser is the mask where phi is 1 throughout
        target = labels if loss in MASK_LOSSES else right[:, 1:] * (2.0 if loss is MAP_LOSSES[-1] else 1.0)
        values = [loss(right * t + (1 - right) * (1 - t) / 2, target).item() for t in np.linspace(1 / 3, 0.95, 9)]
        assert np.all(np.diff(values) < 0)

    @pytest.mark.parametrize("objects", ["none", "some", "all"])
    @pytest.mark.parametrize("certainty", ["nothing", "everything", "right", "wrong"])
    def test_finite_at_the_extremes(self, loss: nn.Module, objects: str, certainty: str) -> None:
        labels = torch.zeros(1, 4, 4, 4, dtype=torch.long)
        labels[:, : {"none": 0, "some": 2, "all": 4}[objects]] = 1
        target = labels if loss in MASK_LOSSES else labels[:, None].float()
        found = {"nothing": 0 * labels, "everything": 0 * labels + 1, "right": labels, "wrong": 1 - labels}[certainty]
        p = pair(found[:, None].float()).requires_grad_()
        value = loss(p, target)
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(grad(p)).all()
        if certainty == "right" and not isinstance(loss, DistanceRegressionLoss):
            assert value.item() == pytest.approx(0, abs=0.02)

    @pytest.mark.parametrize("certainty", [20.0, 60.0, 200.0])
    def test_surely_wrong_logits(self, loss: nn.Module, certainty: float) -> None:
        """Gradients stay finite, and a cross-entropy's alive while float32 holds the probability."""
        labels = torch.zeros(1, 2, 2, 2, dtype=torch.long)
        labels[:, 0] = 1
        target = labels if loss in MASK_LOSSES else labels[:, None].float()
        wrong = torch.where(labels == 0, certainty / 2, -certainty / 2)
        logits = torch.stack((-wrong, wrong), dim=1).requires_grad_()
        loss(logits.softmax(1), target).backward()
        assert torch.isfinite(grad(logits)).all()
        if certainty < 100 and isinstance(loss, WeightedCrossEntropyLoss | ExpLogLoss):
            assert grad(logits).abs().min() > 1e-4

    def test_half_precision_is_computed_in_float32(self, loss: nn.Module) -> None:
        logits, target = random_case(loss)
        p = logits.softmax(1).to(torch.bfloat16)
        value = loss(p, target)
        assert value.dtype == torch.float32
        assert torch.allclose(value, loss(p.float(), target))

    def test_autocast_changes_nothing(self, loss: nn.Module) -> None:
        logits, target = random_case(loss)
        p = logits.softmax(1).float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = loss(p, target)
        assert value.dtype == torch.float32
        assert torch.allclose(value, loss(p, target), rtol=1e-6)

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

    def test_wrong_probabilities(self, loss: nn.Module) -> None:
        logits, target = random_case(loss)
        with pytest.raises(InputError, match="softmax"):
            loss(logits, target)
        with pytest.raises(InputError, match="softmax"):
            loss(logits.long(), target)
        with pytest.raises(InputError, match="at least one class more"):
            loss(logits.softmax(1)[:, :1], target)
        with pytest.raises(InputError, match=r"\(B, classes, D, H, W\)"):
            loss(logits.softmax(1)[0, 0], target)
        with pytest.raises(InputError, match="probabilities are of type ndarray"):
            loss(logits.softmax(1).detach().numpy(), target)

    def test_wrong_target(self, loss: nn.Module) -> None:
        logits, target = random_case(loss)
        with pytest.raises(InputError, match="give"):
            loss(logits.softmax(1), target[..., :-1])
        with pytest.raises(InputError, match="give"):
            loss(logits.softmax(1), target[:1])
        with pytest.raises(InputError, match="of type ndarray; give a tensor"):
            loss(logits.softmax(1), target.numpy())


@pytest.mark.parametrize("loss", [*MASK_LOSSES, DistanceRegressionLoss(LRNet("NI-DM"))], ids=name)
def test_a_forgotten_batch_axis(loss: nn.Module) -> None:
    logits = torch.randn(1, 3, 8, 8, 8)
    target = torch.rand(1, 2, 8, 8, 8) if isinstance(loss, DistanceRegressionLoss) else torch.ones(1, 8, 8, 8).long()
    with pytest.raises(InputError, match=r"with a batch axis, tensor\[None\]"):
        loss(logits.softmax(1)[0], target[0])


@pytest.mark.parametrize("loss", MASK_LOSSES, ids=name)
class TestLabels:
    def test_either_shape_and_any_integer_type(self, loss: nn.Module) -> None:
        logits, labels = random_case(loss, classes=2)
        p = logits.softmax(1)
        value = loss(p, labels)
        for other in (labels[:, None], labels.to(torch.uint8), labels.to(torch.int16), labels.bool()):
            assert torch.equal(loss(p, other), value)

    def test_mistakes(self, loss: nn.Module) -> None:
        logits, labels = random_case(loss, classes=2)
        p = logits.softmax(1)
        with pytest.raises(InputError, match="whole numbers"):
            loss(p, labels.float())
        for one_hot in (p, F.one_hot(labels, 2).movedim(-1, 1)):
            with pytest.raises(InputError, match=r"one-hot.* labels\.argmax\(1\)"):
                loss(p, one_hot.detach())
        with pytest.raises(InputError, match="from 0 to 2 and the network knows 2"):
            loss(p, torch.where(labels == 1, 2, 0))
        with pytest.raises(InputError, match="from -1"):
            loss(p, labels - 1)


class TestEmptyTarget:
    """The notes of the package's docstring, one by one."""

    def setup_method(self) -> None:
        self.p = pair(torch.full((1, 1, 4, 4, 4), 0.25, dtype=torch.float64)).requires_grad_()
        self.labels = torch.zeros(1, 4, 4, 4, dtype=torch.long)
        self.map = torch.zeros(1, 1, 4, 4, 4)

    @pytest.mark.parametrize("loss", [DiceLoss(), TverskyLoss(), *OVERLAP_MAP_LOSSES], ids=name)
    def test_ratios_say_one_and_teach_nothing(self, loss: nn.Module) -> None:
        target = self.labels if loss in MASK_LOSSES or isinstance(loss, DiceLoss | TverskyLoss) else self.map
        value = loss(self.p, target)
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

    @pytest.mark.parametrize(
        "loss", [WeightedCrossEntropyLoss(), GeneralizedDiceLoss(), ExpLogLoss(), MAP_LOSSES[-1]], ids=name
    )
    def test_the_others_charge_for_what_is_found(self, loss: nn.Module) -> None:
        target = self.map if loss is MAP_LOSSES[-1] else self.labels
        more = pair(self.p[:, 1:].detach() + 0.1)
        assert loss(more, target) > loss(self.p, target) + 0.01


class TestTheMinimiserOfMapDice:
    """Eq. 2's minimiser is hollow; the weighted variant's is the mask."""

    @pytest.mark.parametrize(("radius", "cost"), [(5, 0.070), (12, 0.106), (20, 0.119)])
    def test_the_mask_costs_and_a_hollow_lesion_costs_less(self, radius: int, cost: float) -> None:
        mask, maps = ball_maps(radius, 2 * radius + 5)
        phi = maps["NI-DM"]
        at_mask = MapDiceLoss()(pair(mask.double()), phi).item()
        assert at_mask == pytest.approx(cost, abs=1e-3)

        # the loss is a ratio of two sums that are linear in p: its best p holds the k largest phi, for some k
        values = phi[mask].sort(descending=True).values
        losses = 1 - 2 * values.cumsum(0) / (torch.arange(1, len(values) + 1) + values.sum())
        lowest = values[losses.argmin()]
        best = MapDiceLoss()(pair((phi >= lowest).double()), phi).item()
        hollow = mask & (phi < lowest)
        assert best == pytest.approx(losses.min().item(), abs=1e-6)
        assert best < at_mask
        assert 0.03 < hollow.sum() / mask.sum() < 0.07
        assert phi[hollow].max() < (1 - best) / 2  # what is dropped: phi below half the best ratio ...
        centre = tuple(s // 2 for s in mask.shape)
        assert hollow[(0, 0, *centre[2:])]  # ... and that is the core

    def test_gradient_descent_finds_the_hole_and_the_variant_closes_it(self) -> None:
        mask, maps = ball_maps(5, 15)
        found = {}
        for loss in OVERLAP_MAP_LOSSES:
            logits = torch.zeros_like(maps["NI-DM"], requires_grad=True)
            optimizer = torch.optim.Adam([logits], lr=0.5)
            for _ in range(150):
                optimizer.zero_grad()
                loss(pair(logits.sigmoid()), maps["NI-DM"]).backward()
                optimizer.step()
            found[type(loss)] = logits.sigmoid() > 0.5
        assert not found[MapDiceLoss][0, 0, 7, 7, 7]
        assert (found[MapDiceLoss] <= mask).all()
        assert torch.equal(found[MapWeightedDiceLoss], mask)

    @pytest.mark.parametrize("seed", range(5))
    def test_nothing_costs_less_than_the_mask_in_the_variant(self, seed: int) -> None:
        mask, maps = ball_maps(3, 9)
        generator = torch.Generator().manual_seed(seed)
        loss = MapWeightedDiceLoss()
        assert loss(pair(mask.double()), maps["NI-DM"]).item() == pytest.approx(0, abs=1e-9)
        assert loss(pair(torch.rand(mask.shape, generator=generator)), maps["NI-DM"]) > 0.01
        flipped = mask.double().flatten()
        flipped[torch.randint(flipped.numel(), (1,), generator=generator)] += 1  # one voxel wrong
        assert loss(pair((flipped % 2).reshape(mask.shape)), maps["NI-DM"]) > 1e-4

    def test_maps_of_another_kind_are_refused(self) -> None:
        mask, maps = ball_maps(3, 9)
        for kind in ("O-DM", "I-DM", "SNI-DM"):
            with pytest.raises(InputError, match="NI-DM"):
                MapDiceLoss()(pair(mask.float()), maps[kind])

    def test_the_variant_takes_a_signed_map(self) -> None:
        _, maps = ball_maps(3, 9)
        p = pair(torch.rand(maps["NI-DM"].shape, generator=torch.Generator().manual_seed(0)))
        assert torch.equal(MapWeightedDiceLoss()(p, maps["SNI-DM"]), MapWeightedDiceLoss()(p, maps["NI-DM"]))


class TestDistanceRegression:
    def test_the_lrnet_is_laid_out_and_says_the_same(self) -> None:
        torch.manual_seed(0)
        lrnet = LRNet("NI-DM")
        p, phi = torch.softmax(torch.randn(1, 2, 8, 8, 8), dim=1), torch.rand(1, 1, 8, 8, 8)
        expected = F.smooth_l1_loss(lrnet(p), phi)
        loss = DistanceRegressionLoss(lrnet, alpha=np.float32(1))
        assert next(lrnet.parameters()).stride(1) == 1
        torch.testing.assert_close(loss(p, phi), expected)

    def test_the_lrnet_is_laid_out_anew_where_it_is_moved(self) -> None:
        """Other devices than the CPU are slow with the CPU's layout; that of a surrounding module moves it too."""
        for move in (DistanceRegressionLoss.to, lambda loss, device: nn.ModuleDict({"loss": loss}).to(device)["loss"]):
            moved = move(DistanceRegressionLoss(LRNet("NI-DM")), "meta")
            assert all(weight.is_contiguous() for weight in moved.parameters())
            assert not moved.lrnet.training

    def test_the_lrnet_is_frozen_and_the_gradient_flows_through_it(self) -> None:
        lrnet = PointwiseLRNet()
        loss = DistanceRegressionLoss(lrnet, alpha=1)
        network = nn.Conv3d(1, 3, 3, padding=1)
        system = nn.ModuleDict({"network": network, "loss": loss}).train()
        optimizer = torch.optim.SGD(system.parameters(), lr=0.1, weight_decay=0.5)
        before = {key: value.clone() for key, value in lrnet.state_dict().items()}
        generator = torch.Generator().manual_seed(0)
        image, maps = torch.randn(1, 1, 4, 4, 4, generator=generator), torch.ones(1, 2, 4, 4, 4)
        for _ in range(3):
            loss(network(image).softmax(1), maps).backward()
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

    def test_a_better_mask_costs_less(self) -> None:
        """With the stand-in's map of the mask as target, descending on the loss alone leads to the mask."""
        mask, _ = ball_maps(2, 7)
        loss = DistanceRegressionLoss(PointwiseLRNet())
        logits = torch.zeros(mask.shape, requires_grad=True)
        optimizer = torch.optim.Adam([logits], lr=0.3)
        for _ in range(60):
            optimizer.zero_grad()
            loss(pair(logits.sigmoid()), 2 * mask.float()).backward()
            optimizer.step()
        assert torch.equal(logits > 0, mask)

    def test_default_alpha_makes_an_empty_output_cost_alike_for_every_kind(self) -> None:
        _, maps = ball_maps(6, 48)
        for kind, alpha in DEFAULT_ALPHA.items():
            term = alpha * cost_of_empty_output(maps[kind], kind)
            assert term == pytest.approx(0.03, rel=0.2)  # alpha is rounded to one digit
            assert DistanceRegressionLoss(LRNet(kind)).alpha == alpha
        assert DistanceRegressionLoss(LRNet(activation="sigmoid")).alpha == DEFAULT_ALPHA["NI-DM"]

    def test_empty_output_is_the_map_of_an_empty_mask(self) -> None:
        nothing = torch.zeros(1, 1, 2, 2, 2)
        assert cost_of_empty_output(nothing, "NI-DM") == 0
        assert cost_of_empty_output(nothing - 1, "SNI-DM") == 0
        assert cost_of_empty_output(nothing + 3, "O-DM") == pytest.approx(2.5)

    def test_mistakes(self) -> None:
        with pytest.raises(InputError, match="give it a number"):
            DistanceRegressionLoss(nn.Identity())
        for alpha in (-1.0, float("nan"), float("inf")):
            with pytest.raises(InputError, match="finite number"):
                DistanceRegressionLoss(LRNet(), alpha=alpha)
        with pytest.raises(InputError, match=r"move the loss there with loss\.to"):
            DistanceRegressionLoss(LRNet().to("meta"))(P, torch.zeros(1, 1, 1, 1, 2))
        with pytest.raises(InputError, match="shape"):
            map_regression_loss(torch.zeros(1, 1, 2, 2, 2), torch.zeros(1, 2, 2, 2))


# --- Two processes: run by spawned children, hence at the module's top level ---


def value_and_gradient(loss: nn.Module, share: slice, network: nn.Module) -> tuple[Tensor, Tensor]:
    """Loss of a batch's share through the network, and the gradient of the network's weights."""
    logits, target = random_case(loss, batch=3, seed=1)
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


def test_the_regression_loss_takes_numbers_of_other_types() -> None:
    torch.manual_seed(0)
    loss, phi = DistanceRegressionLoss(LRNet()), torch.rand(1, 1, 8, 8, 8)
    p = torch.softmax(torch.randn(1, 2, 8, 8, 8), dim=1)
    expected = loss(p, phi)
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        assert loss(p.to(dtype), phi).item() == pytest.approx(expected.item(), rel=0.02)
    with pytest.raises(InputError, match=r"loss\.float"):
        copy.deepcopy(loss).bfloat16()(p, phi)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert copy.deepcopy(loss).bfloat16()(p, phi).item() == pytest.approx(expected.item(), rel=0.02)
    with pytest.raises(InputError, match="made for volumes"):
        loss(p[:, :, 0], phi[:, :, 0])


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: FocalTverskyLoss(gamma=0), "gamma is 0"),
        (lambda: FocalTverskyLoss(gamma=math.nan), "gamma is nan"),
        (lambda: WeightedCrossEntropyLoss(0), "max_weight is 0"),
        (lambda: WeightedCrossEntropyLoss(math.nan), "max_weight is nan"),
        (lambda: TverskyLoss(false_positive_weight=-1), "false_positive_weight is -1"),
        (lambda: ExpLogLoss(exponent=0), "exponent is 0"),
        (lambda: DistanceRegressionLoss(LRNet(), "1"), "alpha is '1'"),  # type: ignore[arg-type]
    ],
)
def test_settings_that_cannot_be(build: Callable[[], nn.Module], match: str) -> None:
    with pytest.raises(InputError, match=match):
        build()


def test_a_weight_without_limit() -> None:
    logits, labels = random_case(MASK_LOSSES[1])
    p = logits.softmax(1)
    assert WeightedCrossEntropyLoss(math.inf)(p, labels) == WeightedCrossEntropyLoss(1e6)(p, labels)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("loss", MAP_LOSSES, ids=name)
def test_maps_with_nan(loss: nn.Module, bad: float) -> None:
    logits, target = random_case(loss)
    target.view(-1)[5] = bad
    with pytest.raises(InputError, match="NaN"):
        loss(logits.softmax(1), target)


def test_the_regression_loss_within_a_functional_gradient() -> None:
    torch.manual_seed(0)
    loss, phi = DistanceRegressionLoss(LRNet()), torch.rand(1, 1, 8, 8, 8)
    p = torch.softmax(torch.randn(1, 2, 8, 8, 8), dim=1).requires_grad_()
    functional = torch.func.grad(lambda q: loss(q, phi))(p.detach())  # the very first call
    (expected,) = torch.autograd.grad(loss(p, phi), p)
    torch.testing.assert_close(functional, expected)


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
