"""The maps in PyTorch's operations alone, against those of ``distance_maps`` and SciPy; here on the CPU as well."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch.utils._python_dispatch import TorchDispatchMode

from lrnet_edu import distance_map, gpu_maps
from lrnet_edu.distance_maps import KINDS
from lrnet_edu.gpu_maps import components, distances_to, map_by_torch

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))]
SPACINGS = [(1.0, 1.0, 1.0), (2.5, 0.8, 0.7), (0.9, 3.27, 9.0)]


def random_masks(seed: int, shape: tuple[int, ...] = (9, 14, 12)) -> torch.Tensor:
    """Bool (5, D, H, W): noise, blobs, nothing, everything, all but one voxel."""
    rng = np.random.default_rng(seed)
    noise = rng.random(shape) < rng.uniform(0.05, 0.9)
    blobs = ndimage.gaussian_filter(rng.normal(size=shape), 1.5) > rng.uniform(-0.05, 0.1)
    hole = np.ones(shape, bool)
    hole[tuple(rng.integers(shape))] = False
    return torch.from_numpy(np.stack([noise, blobs, np.zeros(shape, bool), np.ones(shape, bool), hole]))


def numbered(masks: torch.Tensor, connectivity: int) -> torch.Tensor:
    """The components' numbers where their voxels lie, -1 outside."""
    labels = torch.full(masks.shape, -1)
    labels[masks] = components(masks, connectivity)
    return labels


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("kind", "outside"), [*((kind, "distance") for kind in KINDS), ("SNI-DM", "inverse")])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_same_maps_as_on_the_cpu(kind: str, outside: str, spacing: tuple[float, ...], device: str) -> None:
    for seed, connectivity in itertools.product(range(3), (6, 18, 26)):
        masks = random_masks(seed)
        maps = map_by_torch(masks[:, None].to(device), kind, spacing, connectivity, outside)[:, 0].cpu()
        assert maps.dtype == torch.float32
        for mask, one in zip(masks, maps, strict=True):
            expected = distance_map(mask, kind, spacing=spacing, connectivity=connectivity, outside=outside)
            allowed = max(1e-5, 1e-6 * float(expected.max()))  # of I-DM's M + m - D the parts are large
            torch.testing.assert_close(one, expected, rtol=0, atol=allowed)


def test_what_is_done_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = random_masks(0)
    whole = [map_by_torch(masks[:, None], kind, (1.0, 1.0, 1.0), 26, "distance") for kind in KINDS]
    monkeypatch.setattr(gpu_maps, "AT_ONCE", 100)
    for kind, expected in zip(KINDS, whole, strict=True):
        assert torch.equal(map_by_torch(masks[:, None], kind, (1.0, 1.0, 1.0), 26, "distance"), expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("step", [0.3, 0.7, 0.9, 1.4, 2.3, 3.27])
def test_a_slab_is_as_thick_as_its_steps(step: float, device: str) -> None:
    """Its deepest voxels are a whole number of steps from the outside, and rounded that is less or more."""
    for thickness in range(1, 14):
        mask = torch.zeros(thickness + 4, 4, 4, dtype=torch.bool)
        mask[2 : thickness + 2] = True
        found = map_by_torch(mask.to(device), "O-DM", (step, 9.0, 9.0), 26, "distance").cpu()
        torch.testing.assert_close(found, distance_map(mask, "O-DM", spacing=(step, 9.0, 9.0)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("connectivity", [4, 8])
def test_images(connectivity: int, device: str) -> None:
    for seed, spacing, kind in itertools.product(range(2), [(1.0, 1.0), (0.7, 1.9)], KINDS):
        for mask in random_masks(seed, (17, 23)):
            found = map_by_torch(mask.to(device), kind, spacing, connectivity, "distance").cpu()
            expected = distance_map(mask, kind, spacing=spacing, connectivity=connectivity)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_one_volume_alone_and_in_a_batch(dtype: torch.dtype, device: str) -> None:
    masks = random_masks(0).to(device, dtype) * 3
    together = map_by_torch(masks[:, None], "NI-DM", (1.0, 1.0, 1.0), 26, "distance")
    assert together.shape == masks[:, None].shape
    assert together.device.type == device
    for mask, one in zip(masks, together, strict=True):
        assert torch.equal(map_by_torch(mask, "NI-DM", (1.0, 1.0, 1.0), 26, "distance"), one[0])


@pytest.mark.parametrize("kind", KINDS)
def test_maps_are_single_precision_whatever_the_default_is(kind: str) -> None:
    masks = random_masks(0)[:, None]
    expected = map_by_torch(masks, kind, (2.5, 0.8, 0.7), 26, "distance")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        found = map_by_torch(masks, kind, (2.5, 0.8, 0.7), 26, "distance")
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(found, expected)
    assert found.dtype == torch.float32


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("share", [0.0003, 0.01, 0.3, 0.999])
def test_distances_are_scipys(share: float, spacing: tuple[float, ...], device: str) -> None:
    target = np.random.default_rng(0).random((2, 20, 30, 25)) < share
    target[:, 3, 4, 5] = True
    found = distances_to(torch.from_numpy(target).to(device), spacing).cpu()
    for one, mask in zip(found, target, strict=True):
        np.testing.assert_allclose(one, ndimage.distance_transform_edt(~mask, sampling=spacing), atol=1e-5)


def test_no_target_is_infinitely_far() -> None:
    assert (distances_to(torch.zeros(1, 3, 4, 5, dtype=torch.bool), (1.0, 1.0, 1.0)) == torch.inf).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([6, 18, 26]))
def test_components_are_scipys(seed: int, connectivity: int) -> None:
    masks = random_masks(seed)
    found = numbered(masks, connectivity)
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    for mask, labels in zip(masks, found, strict=True):
        expected, count = ndimage.label(mask, structure)
        pairs = np.unique(np.stack([expected[mask], labels[mask]]), axis=1)  # of numbers that meet
        assert pairs.shape[1] == count == len(np.unique(pairs[1]))


def test_a_winding_component_is_one() -> None:
    """One line through every other row of a square: numbers have 500 voxels to travel, in leaps."""
    snake = torch.zeros(1, 1, 31, 31, dtype=torch.bool)
    snake[..., ::2, :] = True
    for row in range(1, 31, 2):
        snake[..., row, 30 if row % 4 == 1 else 0] = True
    assert len(components(snake, 6).unique()) == 1


def test_samples_of_a_batch_do_not_meet() -> None:
    ends = torch.zeros(2, 3, 3, 3, dtype=torch.bool)
    ends[0, 2], ends[1, 0] = True, True
    labels = numbered(ends, 26)
    assert labels[0, 2].unique().numel() == labels[1, 0].unique().numel() == 1
    assert labels[0, 2, 0, 0] != labels[1, 0, 0, 0]


class Scattered(TorchDispatchMode):
    """How many voxels are reduced to their component's number, one after the other wherever they share it."""

    def __init__(self) -> None:
        super().__init__()
        self.voxels: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if "scatter_reduce" in func.__name__:
            self.voxels.append(args[2].numel())
        return func(*args, **(kwargs or {}))


def test_voxels_outside_do_not_queue_for_one_number() -> None:
    """Millions of them once met at number 0, for which a GPU's threads wait in turn."""
    masks = torch.zeros(2, 1, 24, 24, 24, dtype=torch.bool)
    masks[:, :, 5:9, 5:9, 5:9] = True
    with Scattered() as scattered:
        map_by_torch(masks, "NI-DM", (1.0, 1.0, 1.0), 26, "distance")
    assert scattered.voxels
    assert max(scattered.voxels) <= masks.sum()
