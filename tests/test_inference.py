"""Sliding window: the whole volume, every voxel, the same as one pass where the network is local."""

from __future__ import annotations

import copy
import os
import sys
import threading
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lrnet_edu import allocator
from lrnet_edu.inference import _bell, _starts, predict_probabilities
from lrnet_edu.networks import LRNet, MNet, Tandem
from lrnet_edu.support.errors import InputError


class Local(nn.Module):
    """Every voxel's logits from that voxel alone, so that windows cannot matter; remembers what it was given."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix = nn.Sequential(nn.Conv3d(1, 6, 1), nn.Tanh(), nn.Conv3d(6, classes, 1))
        self.sizes: set[tuple[int, ...]] = set()

    def forward(self, image: Tensor) -> Tensor:
        self.sizes.add(tuple(image.shape[2:]))
        return 5 * self.mix(image)


@pytest.mark.parametrize("shape", [(9, 11, 13), (8, 8, 8), (3, 20, 5), (1, 1, 1), (17, 8, 9)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
def test_windows_change_nothing_for_a_local_network(shape: tuple[int, int, int], overlap: float) -> None:
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    network = Local()
    with torch.no_grad():
        direct = torch.softmax(network(torch.from_numpy(image)[None, None]), dim=1)[0].numpy()
    network.sizes.clear()
    windows = predict_probabilities(network, image, window=(8, 8, 8), overlap=overlap)
    assert windows.dtype == np.float32
    assert windows.shape == (3, *shape)
    assert np.abs(windows - direct).max() < 1e-6
    assert network.sizes == {tuple(min(8, n) for n in shape)}


@pytest.mark.parametrize("shape", [(5, 9, 12), (20, 13, 7)])
def test_probabilities_sum_to_one(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    mnet = MNet(1, 3, features=(2, 4), blocks=(1,)).eval()
    image = np.random.default_rng(0).normal(size=shape)
    p = predict_probabilities(mnet, image, window=(8, 8, 8))
    assert p.shape == (3, *shape)
    assert p.min() >= 0
    assert np.abs(p.sum(0) - 1).max() < 1e-5


def test_one_window_is_one_pass() -> None:
    torch.manual_seed(0)
    mnet = MNet(1, 2, features=(2, 4), blocks=(1,)).eval()
    image = np.random.default_rng(0).normal(size=(7, 8, 9)).astype(np.float32)
    with torch.no_grad():
        direct = torch.softmax(mnet(torch.from_numpy(image)[None, None]), dim=1)[0].numpy()
    windowed = predict_probabilities(mnet, image, window=(8, 16, 16))
    assert np.allclose(windowed, direct, atol=1e-6)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.75, 0.99])
def test_windows_reach_from_the_first_voxel_to_the_last_without_gaps(overlap: float) -> None:
    for size, window in product(range(1, 40), (1, 2, 5, 8)):
        if window > size:
            continue
        starts = _starts(size, window, overlap)
        assert starts[0] == 0
        assert starts[-1] == size - window
        steps = np.diff(starts)
        assert (steps > 0).all()
        assert (steps <= max(1, window * (1 - overlap))).all()  # at least the overlap asked for


def test_the_middle_of_a_window_counts_most_and_its_edge_still_something() -> None:
    for size in ((1, 1, 1), (5, 8, 3), (2, 64, 9)):
        bell = _bell(size)
        assert bell.shape == size
        assert (bell > 0).all()
        assert bell[tuple((n - 1) // 2 for n in size)] >= (1 - 1e-5) * bell.max()
        assert torch.allclose(bell, bell.flip((0, 1, 2)), rtol=1e-4)


def test_what_a_network_sees_worst_at_its_edges_is_averaged_away() -> None:
    """A network that is only right in the middle of its window: overlap helps, as it is meant to."""

    class BlindAtTheEdge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, image: Tensor) -> Tensor:
            logit = torch.full_like(image, -3.0)
            logit[..., 2:-2, 2:-2, 2:-2] = 3.0
            return torch.cat((torch.zeros_like(image), self.weight * logit), dim=1)

    image, inner = np.zeros((24, 24, 24), np.float32), (slice(4, -4),) * 3
    apart, overlapping = (
        predict_probabilities(BlindAtTheEdge(), image, window=(8, 8, 8), overlap=overlap)[1][inner]
        for overlap in (0.0, 0.5)
    )
    assert apart.mean() < 0.2  # an eighth of every window is right
    assert overlapping.mean() > 0.3  # a plain average of the windows would leave it at an eighth
    assert overlapping.min() > 0.2


def test_the_network_is_used_as_it_is() -> None:
    network, image = Local().train(), np.zeros((4, 4, 4))
    predict_probabilities(network, image, window=(8, 8, 8))
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not image.any()


@pytest.mark.parametrize("network", [MNet(features=(2, 4), blocks=(1,)), nn.Conv3d(1, 2, 3, padding=1)])
def test_the_network_stays_as_it_is(network: nn.Module) -> None:
    before = {name: (weight.clone(), weight.stride()) for name, weight in network.state_dict().items()}
    predict_probabilities(network, np.zeros((8, 8, 8)), window=(8, 8, 8))
    for name, weight in network.state_dict().items():
        assert weight.equal(before[name][0])
        assert weight.stride() == before[name][1]
        assert not weight.is_inference()
    assert all(weight.requires_grad for weight in network.parameters())


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"window": (0, 8, 8)}, r"window is \(0, 8, 8\)"),
        ({"window": 8}, "window is 8"),
        ({"window": (8, 8)}, r"window is \(8, 8\)"),
        ({"overlap": -0.5}, "overlap is -0.5"),
        ({"overlap": 1.0}, "overlap is 1.0"),
        ({"overlap": float("nan")}, "overlap is nan"),
        ({"overlap": "0.5"}, "overlap is '0.5'"),
        ({"image": [[1.0]]}, r"shape \(1, 1\)"),
        ({"mnet": MNet(1, 1, features=(2, 4), blocks=(1,))}, r"gives \(1, 1, 8, 8, 8\) for"),
        ({"image": np.zeros((1, 8, 8, 8))}, r"shape \(1, 8, 8, 8\)"),
        ({"mnet": Tandem(MNet(features=(2, 4), blocks=(1,)), LRNet())}, r"tandem\.mnet"),
    ],
)
def test_what_cannot_be_predicted(settings: dict[str, Any], match: str) -> None:
    given = {"mnet": Local(), "image": np.zeros((8, 8, 8)), "window": (8, 8, 8)}
    with pytest.raises(InputError, match=match):
        predict_probabilities(**{**given, **settings})


def test_nan_is_no_probability() -> None:
    network, image = Local(), np.zeros((5, 6, 7), np.float32)
    image[2, 3, 4] = np.nan
    with pytest.raises(InputError, match="holds NaN"):
        predict_probabilities(network, image, window=(4, 4, 4))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_networks_of_other_types(dtype: torch.dtype) -> None:
    image = np.random.default_rng(0).normal(size=(8, 9, 10)).astype(np.float32)
    network = MNet(features=(2, 4), blocks=(1,)).eval()
    expected = predict_probabilities(network, image, window=(8, 8, 8))
    found = predict_probabilities(network.to(dtype), image, window=(8, 8, 8))
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < (1e-5 if dtype == torch.float64 else 0.1)


def test_a_network_without_weights_and_another_default_type() -> None:
    class Same(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return torch.cat((image, -image), dim=1)

    torch.set_default_dtype(torch.float64)
    try:
        found = predict_probabilities(Same(), np.full((4, 4, 4), 0.5), window=(4, 4, 4))
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == np.float32
    assert np.allclose(found[0], 1 / (1 + np.exp(-1.0)))


def watched(found: list[tuple[int, bool, int]]) -> MNet:
    """An M-Net that notes, at each pass: its weights' layout, its mode, and who keeps freed memory."""

    class Watched(MNet):
        def forward(self, image: Tensor) -> Tensor:
            found.append((next(self.parameters()).stride(1), self.training, allocator._keepers))
            return super().forward(image)

    return Watched(features=(2, 4), blocks=(1,))


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_laid_out_and_freed_memory_kept(training: bool) -> None:
    found: list[tuple[int, bool, int]] = []
    network = watched(found).train(training)
    predict_probabilities(network, np.zeros((8, 8, 8)), window=(8, 8, 8))
    kept = sys.platform == "linux" and not any(name.startswith(("MALLOC_", "GLIBC_TUN")) for name in os.environ)
    assert found == [(1, training, int(kept))]
    assert allocator._keepers == 0


def test_another_default_device_changes_nothing() -> None:
    mnet, image = MNet(features=(2, 4), blocks=(1,)).eval(), np.zeros((8, 8, 12), np.float32)
    expected = predict_probabilities(mnet, image, window=(8, 8, 8))
    with torch.device("meta"):
        assert np.array_equal(predict_probabilities(mnet, image, window=(8, 8, 8)), expected)


def test_networks_that_cannot_be_copied_are_used_themselves() -> None:
    image, window = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32), (8, 8, 8)
    mnet = MNet(features=(2, 4), blocks=(1,)).eval()
    expected = predict_probabilities(mnet, image, window=window)

    calls: list[int] = []
    hooked = copy.deepcopy(mnet)
    hooked.register_forward_hook(lambda *_: calls.append(1))
    with_lock = copy.deepcopy(mnet)
    with_lock.lock = threading.Lock()
    keeping = copy.deepcopy(mnet)
    keeping.seen = keeping(torch.zeros(1, 1, 8, 8, 8))  # a tensor within a graph
    for network in (hooked, with_lock, keeping):
        assert np.abs(predict_probabilities(network, image, window=window) - expected).max() < 1e-5
    assert calls == [1]


def test_the_type_of_several_types_is_float32() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.order = nn.Parameter(torch.arange(3), requires_grad=False)
            self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))
            self.mix = nn.Conv3d(1, 2, 1)

        def forward(self, image: Tensor) -> Tensor:
            assert image.dtype == torch.float32
            return self.mix(image)

    predict_probabilities(Mixed(), np.full((4, 4, 4), 0.7), window=(4, 4, 4))
