"""The two regression rivals, held against their definitions."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lrnet_edu.losses import DiceLoss
from lrnet_edu.networks import MNet
from lrnet_edu.rivals import CLIP, MAP_WEIGHT, SIGMA_RATE, CascadedMNet, MultiBranch, signed_distances

SIZES: dict[str, Any] = {"features": (4, 8), "blocks": (1,)}


def multi_branch(classes: int = 2) -> MultiBranch:
    torch.manual_seed(0)
    return MultiBranch(MNet(1, classes, **SIZES))


def cascaded(classes: int = 2) -> CascadedMNet:
    torch.manual_seed(0)
    return CascadedMNet(1, classes, **SIZES)


def batch(classes: int = 2, shape: tuple[int, int, int] = (6, 7, 9)) -> tuple[torch.Tensor, ...]:
    """An image, labels in a few blocks, and the labels' map."""
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(0, classes, (2, shape[0], 1, shape[2])), shape[1], axis=2)
    maps = signed_distances(labels, classes - 1)
    image = torch.from_numpy(rng.normal(size=(2, 1, *shape)).astype(np.float32))
    return image, torch.from_numpy(labels), torch.from_numpy(maps)


def brute_force(labels: np.ndarray, c: int) -> np.ndarray:
    """Signed distance to the nearest voxel of the other side, by looking at all of them."""
    here, there = np.argwhere(labels == c), np.argwhere(labels != c)
    out = np.empty(labels.shape)
    for voxels, others, sign in ((here, there, 1), (there, here, -1)):
        distances = np.sqrt(((voxels[:, None] - others[None]) ** 2).sum(-1)).min(1)
        out[tuple(voxels.T)] = sign * distances
    return np.clip(out, -CLIP, CLIP) / CLIP


def test_signed_distances_against_brute_force() -> None:
    labels = np.zeros((3, 5, 14, 16), int)
    labels[0, 1:4, 2:6, 1:5], labels[0, 2:, 3:8, 5:9] = 1, 2
    labels[1] = np.random.default_rng(1).integers(0, 3, labels.shape[1:])
    maps = signed_distances(labels, 2)
    assert (maps.shape, maps.dtype) == ((3, 3, 5, 14, 16), np.float32)
    for one, found in zip(labels[:2], maps, strict=False):
        for c in range(3):
            np.testing.assert_allclose(found[c], brute_force(one, c), atol=1e-6)
    assert maps[0, 1].min() == -1  # clipped: the far corner lies more than CLIP voxels away
    assert (maps[2] == np.array([1, -1, -1])[:, None, None, None]).all()  # absent classes are far away
    background, foreground = signed_distances(labels[:1] == 1, 1)[0]
    np.testing.assert_array_equal(background, -foreground)


def test_the_branch_leaves_the_mnet_as_it_is_and_starts_from_its_bottleneck_alone() -> None:
    """With the bottleneck cut off, the map hears nothing of the image and the segmentation still does."""
    model, image = multi_branch(classes=3).eval(), torch.randn(2, 1, 5, 7, 9)
    logits, maps = model(image)
    assert (maps < 0).any()  # no ReLU at the end: signed maps can be reached
    torch.manual_seed(0)
    assert torch.equal(logits, MNet(1, 3, **SIZES)(image))  # the same seed, without a branch
    encode = model.mnet.encode

    def cut(x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        bottleneck, skips = encode(x)
        return torch.zeros_like(bottleneck), skips

    model.mnet.encode = cut  # type: ignore[method-assign]
    first, other = model(image), model(image + torch.randn_like(image))
    assert torch.equal(first[1], other[1])
    assert not torch.equal(first[0], other[0])


def by_hand(outputs: tuple[torch.Tensor, ...], labels: torch.Tensor, maps: torch.Tensor) -> tuple[float, float]:
    """Dice loss + cross-entropy, and mean absolute error, of (logits, maps)."""
    logits, regressed = (tensor.detach().double().numpy() for tensor in outputs)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)  # (B, C, D, H, W)
    entropy = -np.log(np.take_along_axis(p, labels.numpy()[:, None], 1)).mean()
    dice = DiceLoss()(torch.from_numpy(p), labels).item()
    return dice + entropy, np.abs(regressed - maps.numpy()).mean()


def test_the_losses_by_hand() -> None:
    image, labels, maps = batch(classes=3)
    model, sigmas = multi_branch(classes=3), (0.5, 2.0)
    assert torch.equal(model.log_sigmas, torch.zeros(2))  # both tasks weigh alike at first
    with torch.no_grad():
        model.log_sigmas.copy_(torch.tensor(sigmas).log() / SIGMA_RATE)
    values = by_hand(model(image), labels, maps)
    expected = sum(value / s**2 + math.log(s) for value, s in zip(values, sigmas, strict=True))
    assert model.loss(image, labels, maps).item() == pytest.approx(expected, rel=1e-5)
    cascade = cascaded(classes=3)
    segmentation, error = by_hand(cascade.logits_and_maps(image), labels, maps)
    assert cascade.loss(image, labels, maps).item() == pytest.approx(segmentation + MAP_WEIGHT * error, rel=1e-5)


def test_the_map_is_clipped_and_one_convolution_of_map_and_features_gives_the_classes() -> None:
    model, image = cascaded(classes=3), torch.randn(2, 1, 8, 6, 10)
    with torch.no_grad():
        model.head[-1].weight.mul_(20)
    logits, maps = model.logits_and_maps(image)
    assert (maps.min(), maps.max()) == (-1, 1)
    assert torch.equal(model(image), logits)
    features = model.decode(*model.encode(image))  # (B, 4, D, H, W); these sizes need no padding
    both = torch.cat((features, maps), dim=1)
    torch.testing.assert_close(F.conv3d(both, model.classifier.weight, model.classifier.bias, padding=1), logits)


@pytest.mark.parametrize("stride", [1, 2])
def test_logits_and_maps_have_the_size_of_the_image(stride: int) -> None:
    image, mnet = torch.randn(2, 1, 5, 7, 9), MNet(1, 3, **SIZES, stride=stride)
    for outputs in (MultiBranch(mnet)(image), CascadedMNet(1, 3, **SIZES, stride=stride).logits_and_maps(image)):
        assert [output.shape for output in outputs] == [(2, 3, 5, 7, 9)] * 2
