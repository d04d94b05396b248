"""The two regression rivals, held against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lrnet_edu.distance_maps import CLIP, signed_distances
from lrnet_edu.networks import MNet, kaiming_uniform
from lrnet_edu.rivals import MAP_WEIGHT, CascadedMNet, MultiBranch

SIZES = {"features": (4, 8), "blocks": (1,)}


def multi_branch(classes: int = 2, seed: int = 0) -> MultiBranch:
    torch.manual_seed(seed)
    return MultiBranch(MNet(1, classes, **SIZES))


def cascaded(classes: int = 2, seed: int = 0) -> CascadedMNet:
    torch.manual_seed(seed)
    return CascadedMNet(1, classes, **SIZES)


def batch(classes: int = 2, shape: tuple[int, int, int] = (6, 7, 9)) -> tuple[torch.Tensor, ...]:
    """An image, labels in a few blocks, and the labels' map."""
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(0, classes, (2, shape[0], 1, shape[2])), shape[1], axis=2)
    maps = signed_distances(labels, classes - 1)
    image = torch.from_numpy(rng.normal(size=(2, 1, *shape)).astype(np.float32))
    return image, torch.from_numpy(labels), torch.from_numpy(maps)


def learns(modules: nn.Module) -> bool:
    return all(p.grad is not None and bool(p.grad.any()) for p in modules.parameters() if p.ndim > 1)


# ---- the map ----------------------------------------------------------------------------------------------------


def brute_force(labels: np.ndarray, c: int) -> np.ndarray:
    """Signed distance to the nearest voxel of the other side, by looking at all of them."""
    here, there = np.argwhere(labels == c), np.argwhere(labels != c)
    out = np.empty(labels.shape)
    for voxels, others, sign in ((here, there, 1), (there, here, -1)):
        distances = np.sqrt(((voxels[:, None] - others[None]) ** 2).sum(-1)).min(1)
        out[tuple(voxels.T)] = sign * distances
    return np.clip(out, -CLIP, CLIP) / CLIP


def test_signed_distances_against_brute_force() -> None:
    rng = np.random.default_rng(1)
    labels = np.zeros((2, 5, 14, 16), int)
    labels[0, 1:4, 2:6, 1:5], labels[0, 2:, 3:8, 5:9] = 1, 2
    labels[1] = rng.integers(0, 3, labels.shape[1:])
    maps = signed_distances(labels, 2)
    assert (maps.shape, maps.dtype) == ((2, 3, 5, 14, 16), np.float32)
    for one, found in zip(labels, maps, strict=True):
        for c in range(3):
            np.testing.assert_allclose(found[c], brute_force(one, c), atol=1e-6)
    assert maps[0, 1].min() == -1  # clipped: the far corner lies more than CLIP voxels away


def test_two_classes_are_each_other_s_negative_and_an_absent_one_is_far_away() -> None:
    labels = np.zeros((2, 6, 6, 6), int)
    labels[0, 2:4, 2:4, 2:4] = 1
    background, foreground = signed_distances(labels, 1)[0]
    np.testing.assert_array_equal(background, -foreground)
    assert foreground[2, 2, 2] == pytest.approx(1 / CLIP)  # the border layer is one voxel deep
    assert (signed_distances(labels, 1)[1] == np.array([1, -1])[:, None, None, None]).all()


# ---- multi-branch -------------------------------------------------------------------------------------------------


def test_the_branch_has_a_decoder_s_shape_and_the_image_s_size() -> None:
    model = multi_branch(classes=3)
    logits, maps = model(torch.randn(2, 1, 5, 7, 9))
    assert logits.shape == maps.shape == (2, 3, 5, 7, 9)
    assert (maps < 0).any()  # no ReLU at the end: signed maps can be reached
    kinds = [type(module) for module in model.branch.modules()]
    assert kinds.count(nn.ConvTranspose3d) == len(model.mnet.upsample)


def test_the_branch_starts_from_the_bottleneck_alone() -> None:
    """With the bottleneck cut off, the map hears nothing of the image and the segmentation still does."""
    model = multi_branch().eval()
    image = torch.randn(2, 1, 8, 8, 8)
    encode = model.mnet.encode

    def cut(x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        bottleneck, skips = encode(x)
        return torch.zeros_like(bottleneck), skips

    model.mnet.encode = cut  # type: ignore[method-assign]
    first, other = model(image), model(image + torch.randn_like(image))
    assert torch.equal(first[1], other[1])
    assert not torch.equal(first[0], other[0])


def test_the_branch_does_not_change_what_the_mnet_says() -> None:
    model, image = multi_branch(), torch.randn(2, 1, 8, 8, 8)
    torch.manual_seed(0)
    alone = MNet(1, 2, **SIZES)  # the same seed, without a branch
    assert torch.equal(model(image)[0], folder_lock(image))
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"mnet", "branch", "log_sigmas"}


def test_both_tasks_teach_the_encoder_and_each_its_own_decoder() -> None:
    for task, taught, untaught in ((0, "mnet.decoder", "branch"), (1, "branch", "mnet.decoder")):
        model = multi_branch()
        image, _, maps = batch()
        F.l1_loss(model(image)[task], maps).backward()
        assert learns(model.mnet.encoder)
        assert learns(model.get_submodule(taught))
        assert all(p.grad is None for p in model.get_submodule(untaught).parameters())


def test_the_loss_of_both_tasks_by_hand() -> None:
    model = multi_branch(classes=3)
    image, labels, maps = batch(classes=3)
    logits, regressed = (tensor.detach().double().numpy() for tensor in model(image))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)  # (B, 3, D, H, W)
    entropy = -np.log(np.take_along_axis(p, labels.numpy()[:, None], 1)).mean()
    error = np.abs(regressed - maps.numpy()).mean()
    sigmas = (0.5, 2.0)
    with torch.no_grad():
        model.log_sigmas.copy_(torch.tensor(sigmas).log())
    expected = sum(value / s**2 + math.log(s) for value, s in zip((entropy, error), sigmas, strict=True))
    assert model.loss(image, labels, maps).item() == pytest.approx(expected, rel=1e-5)


def test_the_uncertainties_are_learned_and_settle_where_they_should() -> None:
    """With the networks held still, L / sigma^2 + log sigma is smallest at sigma^2 = 2 L."""
    model = multi_branch()
    target = batch()
    assert torch.equal(model.log_sigmas, torch.zeros(2))  # both tasks weigh alike at first
    with torch.no_grad():
        logits, regressed = model(target[0])
        values = [F.cross_entropy(logits, target[1]).item(), F.l1_loss(regressed, target[2]).item()]
    optimizer = torch.optim.Adam([model.log_sigmas], lr=0.1)
    for _ in range(120):
        optimizer.zero_grad()
        model.loss(*target).backward()
        optimizer.step()
    squares = torch.exp(2 * model.log_sigmas).tolist()
    assert squares == pytest.approx([2 * value for value in values], rel=1e-2)


# ---- cascaded -----------------------------------------------------------------------------------------------------


def test_the_map_is_clipped_and_the_classes_come_from_map_and_features() -> None:
    model = cascaded(classes=3)
    image = torch.randn(2, 1, 5, 7, 9)
    with torch.no_grad():
        model.head[-1].weight.mul_(20)
    logits, maps = model.logits_and_maps(image)
    assert logits.shape == maps.shape == (2, 3, 5, 7, 9)
    assert (maps.min(), maps.max()) == (-1, 1)
    assert torch.equal(model(image), logits)

    weight = model.classifier.weight  # (classes, features + classes, 3, 3, 3)
    assert weight.shape == (3, SIZES["features"][0] + 3, 3, 3, 3)
    with torch.no_grad():
        weight[:, SIZES["features"][0] :] = 0  # deaf to the map
    changed = model(image)
    assert not torch.equal(changed, logits)
    with torch.no_grad():
        model.head[-1].bias.add_(5)
    assert torch.equal(model(image), changed)
    with torch.no_grad():
        kaiming_uniform(model.classifier)
        weight[:, : SIZES["features"][0]] = 0  # deaf to the features
        padded = F.pad(model.logits_and_maps(image)[1], (1, 1, 1, 1, 1, 1))
    first = F.conv3d(padded, weight[:, SIZES["features"][0] :], model.classifier.bias)
    inner = (..., slice(1, -1), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(model(image)[inner], first[inner])


def test_the_cascade_s_loss_by_hand() -> None:
    model = cascaded()
    image, labels, maps = batch()
    logits, regressed = (tensor.detach().double().numpy() for tensor in model.logits_and_maps(image))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    surprise = -np.log(np.take_along_axis(p, labels.numpy()[:, None], 1)).mean()
    expected = surprise + MAP_WEIGHT * np.abs(regressed - maps.numpy()).mean()
    assert model.loss(image, labels, maps).item() == pytest.approx(expected, rel=1e-5)


def test_the_classes_teach_through_the_map() -> None:
    """Without the L1 term, the head that regresses the map still learns: the cascade is one network."""
    model = cascaded()
    image, labels, _ = batch()
    F.cross_entropy(model(image), labels).backward()
    assert learns(model)


@pytest.mark.parametrize("make", [multi_branch, cascaded])
def test_a_few_steps_lower_the_loss(make: type[nn.Module]) -> None:
    model, target = make(), batch()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    first = model.loss(*target).item()
    for _ in range(15):
        optimizer.zero_grad()
        model.loss(*target).backward()
        optimizer.step()
    assert model.loss(*target).item() < 0.8 * first
