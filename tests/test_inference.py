"""Sliding window: the whole volume, every voxel, the same as one pass where the network is local."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lrnet_edu.inference import predict_probabilities
from lrnet_edu.networks import LRNet, MNet, Tandem
from lrnet_edu.support.errors import InputError

FLOAT32 = 1e-5  # what sums of up to 512 windows are right to


class Local(nn.Module):
    """Every voxel's logits from that voxel alone, so that windows cannot matter; remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix = nn.Sequential(nn.Conv3d(1, 6, 1), nn.Tanh(), nn.Conv3d(6, 3, 1)).double()
        self.sizes: set[tuple[int, ...]] = set()

    def forward(self, image: Tensor) -> Tensor:
        self.sizes.add(tuple(image.shape[2:]))
        return 5 * self.mix(image)


def small_mnet(classes: int = 2) -> MNet:
    torch.manual_seed(0)
    return MNet(1, classes, features=(2, 4), blocks=(1,))


def random_image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def in_one_pass(network: nn.Module, image: np.ndarray) -> np.ndarray:
    """Of a network in double precision."""
    with torch.no_grad():
        return torch.softmax(network(torch.from_numpy(image).double()[None, None]), dim=1)[0].numpy()


@pytest.mark.parametrize("shape", [(9, 11, 13), (8, 8, 8), (3, 20, 5), (1, 1, 1), (17, 8, 9)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
def test_windows_change_nothing_for_a_local_network(shape: tuple[int, int, int], overlap: float) -> None:
    image, network = random_image(*shape), Local()
    direct = in_one_pass(network, image)
    network.sizes.clear()
    windows = predict_probabilities(network, image, patch_size=(8, 8, 8), overlap=overlap)
    assert windows.dtype == np.float32
    np.testing.assert_allclose(windows, direct, rtol=0, atol=FLOAT32)
    assert network.sizes == {tuple(min(8, n) for n in shape)}


@pytest.mark.parametrize("shape", [(5, 9, 12), (20, 13, 7), (7, 8, 9)])
def test_probabilities_sum_to_one_and_one_window_is_one_pass(shape: tuple[int, int, int]) -> None:
    mnet, image = small_mnet(3).double(), random_image(*shape)
    p = predict_probabilities(mnet, image, patch_size=(8, 8, 8))
    assert p.shape == (3, *shape)
    assert p.min() >= 0
    np.testing.assert_allclose(p.sum(0), 1, rtol=0, atol=FLOAT32)
    whole = predict_probabilities(mnet, image, patch_size=(20, 16, 16))
    np.testing.assert_allclose(whole, in_one_pass(mnet, image), rtol=0, atol=FLOAT32)


class BlindAtTheEdge(nn.Module):
    """Right only in the middle of its window."""

    def forward(self, image: Tensor) -> Tensor:
        logit = torch.full_like(image, -3.0)
        logit[..., 2:-2, 2:-2, 2:-2] = 3.0
        return torch.cat((torch.zeros_like(image), logit), dim=1)


def test_what_a_network_sees_worst_at_its_edges_is_averaged_away() -> None:
    image, inner = np.zeros((24, 24, 24)), (slice(4, -4),) * 3
    apart, overlapping = (
        predict_probabilities(BlindAtTheEdge(), image, patch_size=(8, 8, 8), overlap=overlap)[1][inner]
        for overlap in (0.0, 0.5)
    )
    assert apart.mean() < 0.2  # an eighth of every window is right
    assert overlapping.mean() > 0.3  # a plain average of the windows would leave it at an eighth
    assert overlapping.min() > 0.2


@pytest.mark.parametrize("training", [True, False])
def test_the_network_stays_as_it_is(training: bool) -> None:
    network, image = small_mnet().train(training), np.zeros((8, 9, 8))
    before = {name: (weight.clone(), weight.stride()) for name, weight in network.state_dict().items()}
    predict_probabilities(network, image, patch_size=(8, 8, 8))
    for name, weight in network.state_dict().items():
        assert weight.equal(before[name][0])
        assert weight.stride() == before[name][1]
        assert not weight.is_inference()
    assert all(weight.requires_grad and weight.grad is None for weight in network.parameters())
    assert network.training == training
    assert not image.any()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)])
def test_networks_and_images_of_other_types(dtype: torch.dtype, tolerance: float) -> None:
    image, network = random_image(8, 9, 10), small_mnet()
    found = predict_probabilities(network.to(dtype), torch.from_numpy(image).to(dtype), patch_size=(8, 9, 10))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, in_one_pass(small_mnet().double(), image), rtol=0, atol=tolerance)


@pytest.mark.parametrize(("settings", "match"), [
    ({"patch_size": (0, 8, 8)}, r"patch_size is \(0, 8, 8\)"), ({"patch_size": 8}, "patch_size is 8"),
    ({"patch_size": (8, 8)}, r"patch_size is \(8, 8\)"), ({"overlap": -0.5}, "overlap is -0.5"),
    ({"overlap": 1.0}, "overlap is 1.0"), ({"overlap": float("nan")}, "overlap is nan"),
    ({"overlap": "0.5"}, "overlap is '0.5'"), ({"image": [[1.0]]}, r"shape \(1, 1\)"),
    ({"image": np.zeros((1, 8, 8, 8))}, r"shape \(1, 8, 8, 8\)"), ({"image": np.full((5, 6, 7), np.nan)}, "holds NaN"),
    ({"image": "volume-0.nii.gz"}, "give a NumPy array or a torch tensor"),
    ({"mnet": nn.Conv3d(1, 1, 3, padding=1)}, "does not return logits"),
    ({"mnet": Tandem(MNet(features=(2, 4), blocks=(1,)), LRNet())}, r"tandem\.mnet"),
])  # fmt: skip
def test_what_cannot_be_predicted(settings: dict[str, Any], match: str) -> None:
    given: dict[str, Any] = {"mnet": Local(), "image": np.zeros((8, 8, 8)), "patch_size": (8, 8, 8)}
    with pytest.raises(InputError, match=match):
        predict_probabilities(**{**given, **settings})
