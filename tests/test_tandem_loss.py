"""The paper's loss in one object, against its parts computed by hand."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from every_loss import maps_of
from torch import Tensor, nn

from lrnet_edu.kinds import KINDS
from lrnet_edu.losses import DiceLoss, DistanceRegressionLoss, MapDiceLoss
from lrnet_edu.networks import LRNet
from lrnet_edu.support.errors import InputError
from lrnet_edu.tandem_loss import TandemLoss
from lrnet_edu.trained import load_pretrained_lrnet

SHAPE = {3: (12, 14, 16), 2: (20, 22)}


def batch(dims: int = 3, classes: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (B, C, ...) and labels (B, ...), every class there in the first sample, nothing in the second."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, *SHAPE[dims], generator=generator)
    labels = torch.zeros(2, *SHAPE[dims], dtype=torch.long)
    for c in range(1, classes):
        box = tuple(slice(2 + 4 * (c - 1), 5 + 4 * (c - 1)) if axis == 0 else slice(3, 9) for axis in range(dims))
        labels[(0, *box)] = c
    return logits, labels


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", list(KINDS))
def test_it_is_the_sum_of_its_parts(kind: str, dims: int, classes: int) -> None:
    logits, labels = batch(dims, classes)
    p = torch.softmax(logits, dim=1)
    lrnet = load_pretrained_lrnet(kind, spatial_dims=dims)
    of_map = DistanceRegressionLoss(lrnet)(p, maps_of(labels, classes, kind))
    of_mask = {"dice": DiceLoss()(p, labels), "mapdice": MapDiceLoss()(p, maps_of(labels, classes)), None: 0.0}
    for segmentation, value in of_mask.items():
        loss = TandemLoss(kind, segmentation=segmentation)
        torch.testing.assert_close(loss(logits, labels), value + of_map, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(sum(loss.terms.values()), value + of_map, rtol=1e-4, atol=1e-6)
        assert not any(term.requires_grad for term in loss.terms.values())


@pytest.mark.parametrize("classes", [2, 3])
def test_every_way_to_write_labels_is_the_same(classes: int) -> None:
    logits, labels = batch(classes=classes)
    one_hot = nn.functional.one_hot(labels, classes).movedim(-1, 1)
    loss = TandemLoss("NI-DM", segmentation="mapdice")
    expected = loss(logits, labels)
    for same in (labels[:, None], one_hot, one_hot.float(), one_hot.bool(), labels.byte(), labels.float()[:, None]):
        assert loss(logits, same) == expected


def test_it_teaches_the_logits_and_never_the_lrnet() -> None:
    logits, labels = batch()
    loss = TandemLoss(lrnet := load_pretrained_lrnet("NI-DM"), segmentation=None)
    loss(logits.requires_grad_(), labels).backward()
    assert logits.grad is not None
    assert logits.grad[0].abs().sum() > 0
    assert not any(weight.requires_grad for weight in lrnet.parameters())


@pytest.mark.parametrize("whole", [TandemLoss, lambda: DistanceRegressionLoss(load_pretrained_lrnet())])
def test_what_is_done_to_a_network_around_the_loss_does_not_reach_the_lrnet(whole: Callable[[], nn.Module]) -> None:
    logits, labels = batch()
    target = labels if whole is TandemLoss else maps_of(labels)
    loss, network = whole(), nn.Conv3d(2, 2, 1)
    expected = loss(p := torch.softmax(logits, dim=1), target)
    system = nn.ModuleList([loss, network]).double().train().requires_grad_(True)
    system.apply(lambda part: [nn.init.zeros_(weight) for weight in part.parameters()])
    assert len(list(system.parameters())) == len(system.state_dict()) == 2
    torch.testing.assert_close(loss(p, target), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(loss(p.double(), target), expected, rtol=1e-4, atol=1e-4, check_dtype=False)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_validation_may_come_before_the_first_step() -> None:
    logits, labels = (tensor.cuda() for tensor in batch())
    loss = TandemLoss()
    with torch.inference_mode():
        loss(logits, labels)  # moves the LR-Net
    loss(logits.requires_grad_(), labels).backward()


def test_making_it_draws_no_random_numbers() -> None:
    state = torch.get_rng_state()
    TandemLoss()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("segmentation", ["dice", "mapdice", None])
def test_ignored_voxels_take_no_part(segmentation: str | None) -> None:
    logits, labels = batch(classes=3)
    ignored = torch.zeros_like(labels, dtype=torch.bool)
    ignored[:, :, :, 6:] = True  # it cuts the lesions
    loss = TandemLoss(segmentation=segmentation, ignore_label=255)
    loss(logits.requires_grad_(), torch.where(ignored, 255, labels)).backward()
    assert logits.grad is not None
    assert logits.grad[ignored[:, None].expand_as(logits)].abs().max() == 0
    seen = torch.where(ignored, 0, labels)  # the map of the rest, as if the ignored voxels were background
    sure = torch.where(ignored[:, None], torch.tensor([100.0, 0, 0]).view(1, 3, 1, 1, 1), logits)
    p = torch.softmax(sure, dim=1)
    found = torch.cat([load_pretrained_lrnet()(torch.stack((1 - p[:, c], p[:, c]), 1)) for c in (1, 2)], 1)
    errors = nn.functional.smooth_l1_loss(found, maps_of(seen, 3), reduction="none")
    of_map = KINDS["NI-DM"].alpha * errors[~ignored[:, None].expand_as(errors)].mean()
    torch.testing.assert_close(loss.terms["map"], of_map, rtol=1e-4, atol=1e-6)
    for nothing in (torch.full_like(labels, 255), torch.zeros_like(labels)):
        assert loss(logits, nothing).isfinite()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    logits, labels = batch()
    loss = TandemLoss("NI-DM")
    exact = loss(logits.to(dtype).float(), labels)
    torch.testing.assert_close(loss(logits.to(dtype), labels), exact, rtol=1e-3, atol=1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(loss(logits.to(dtype), labels).float(), exact, rtol=0.05, atol=0.02)


def test_compiled_it_gives_the_same() -> None:
    (logits, labels), loss = batch(), TandemLoss("NI-DM")
    compiled = torch.compile(loss, backend="aot_eager")
    torch.testing.assert_close(compiled(logits, labels), loss(logits, labels), rtol=1e-4, atol=1e-6)
    with pytest.raises(InputError, match="run from 0 to 255"):  # where no value can be looked at before
        compiled(logits, labels * 255)


@dataclass
class Weighted:
    """A loss as users write one: no nn.Module, and without a hash."""

    weight: float = 1.0

    def __call__(self, p: Tensor, target: Tensor) -> Tensor:
        return self.weight * nn.functional.nll_loss(p.log(), target[:, 0])


def test_any_segmentation_loss() -> None:
    """It gets probabilities (B, C, D, H, W) and labels (B, 1, D, H, W)."""
    logits, labels = batch(classes=3)
    loss = TandemLoss(segmentation=Weighted(), alpha=0)
    torch.testing.assert_close(loss(logits, labels), nn.functional.cross_entropy(logits, labels))


def test_without_alpha_nothing_is_spent_on_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    (logits, labels), loss = batch(), TandemLoss("NI-DM", alpha=0)
    monkeypatch.setattr("lrnet_edu.tandem_loss.maps_of_classes", None)
    torch.testing.assert_close(loss(logits, labels), loss.terms["segmentation"])
    assert loss.terms["map"] == 0


def test_a_whole_number_of_numpy_is_a_label() -> None:
    assert TandemLoss(ignore_label=np.int64(255)).ignore_label == 255  # type: ignore[arg-type]


@pytest.mark.parametrize(("arguments", "words"), [
    ({"lrnet": "runs/mine"}, r"give a kind of map \(O-DM, .* or load_lrnet\(path\)"),
    ({"lrnet": LRNet()}, "does not know"),
    ({"lrnet": ["NI-DM"]}, "give a kind of map"),
    ({"segmentation": "tversky"}, "segmentation"),
    ({"segmentation": DiceLoss}, "segmentation"),
    ({"segmentation": nn.CrossEntropyLoss()}, "segmentation"),  # it takes logits
    ({"alpha": -1}, "alpha"),
    ({"ignore_label": 1.5}, "ignore_label"),
    ({"ignore_label": True}, "ignore_label"),
    ({"to_onehot_y": True}, "labels as they are"),
    ({"softmax": True}, "TandemLoss takes logits"),
    ({"sigmoid": True}, r"for TandemLoss torch.cat\(\(0 \* x, x\), dim=1\) of logits"),
])  # fmt: skip
def test_arguments_that_cannot_be(arguments: dict[str, object], words: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(InputError, match=words):
        TandemLoss(**arguments)  # type: ignore[arg-type]


def test_batches_that_do_not_fit() -> None:
    logits, labels = batch()
    loss = TandemLoss("NI-DM")
    for bad_logits, bad_labels, words in (
        (logits[:, :1], labels, "background as class 0"),
        (logits, labels[:, :-1], "give labels"),
        (logits, labels + 7, "ignore_label"),
        (logits, labels * 0.5, "fractions"),
        (logits, torch.rand_like(logits), "one-hot"),
        (logits.long(), labels, "floats"),
        (logits.numpy(), labels, "tensor"),
    ):
        with pytest.raises(InputError, match=words):
            loss(bad_logits, bad_labels)
    flat_logits, flat_labels = batch(dims=2)
    with pytest.raises(InputError, match="spatial_dims=2"):
        TandemLoss(load_pretrained_lrnet("NI-DM"))(flat_logits, flat_labels)


def test_objects_that_the_lrnet_does_not_know_are_told_once() -> None:
    logits, nothing = torch.zeros(1, 2, 40, 80, 80), torch.zeros(1, 40, 80, 80, dtype=torch.long)
    known, unknown = nothing.clone(), nothing.clone()
    known[:, 4:10, 10:16, 10:16] = 1
    unknown[:, 1:39, 3:77, 3:77] = 1
    loss, other = TandemLoss(), TandemLoss("I-DM")
    with pytest.warns(UserWarning, match="pretrain an LR-Net on your masks"):
        other(logits, unknown)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for labels in (nothing, known):
            loss(logits, labels)
        other(logits, unknown)
