"""The LR-Net's lessons: its batches, a dead output layer, how it is judged, and a run from end to end."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scans import lits, mask, store
from scipy import ndimage
from torch import Tensor, nn
from toys import CPU, assert_same_run

from lrnet_edu import lrnet_training as training
from lrnet_edu.config import PretrainConfig
from lrnet_edu.data.cache import CachedCase
from lrnet_edu.data.shapes import random_shapes
from lrnet_edu.data.study import DataSettings
from lrnet_edu.distance_maps import distance_map
from lrnet_edu.kinds import KINDS
from lrnet_edu.support.checkpoints import load_checkpoint
from lrnet_edu.support.errors import InputError
from lrnet_edu.trained import load_lrnet
from lrnet_edu.training import Task, fit

CUBES = ((12, 3), (16, 2))
TINY = PretrainConfig(steps=6, validate_every=3, cubes=CUBES)


def two_lesions() -> np.ndarray:
    """A single voxel and a cube of 5 voxels edge, whose distances are 1 (98 voxels), 2 (26) and 3 (1)."""
    mask = np.zeros((12, 14, 16), bool)
    mask[2, 2, 2] = True
    mask[5:10, 6:11, 7:12] = True
    return mask


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_holds_masks_as_pairs_and_their_maps(kind: str, dims: int) -> None:
    config = PretrainConfig(steps=6, kind=kind, cubes=CUBES, spatial_dims=dims)
    batches = training.MaskBatches(partial(random_shapes, dims=dims), config)
    for batch, (edge, number) in zip((batches[i] for i in range(2)), CUBES, strict=True):
        assert batch.probabilities.shape == (number, 2, *[edge] * dims)
        assert batch.probabilities.dtype == batch.maps.dtype == torch.float32
        masks = batch.probabilities[:, 1]
        assert set(masks.unique().tolist()) == {0, 1}
        assert torch.equal(batch.probabilities.sum(1), torch.ones_like(masks))
        assert torch.equal(batch.maps, distance_map(masks[:, None], kind))
        assert batch.weights.shape == batch.maps.shape


def test_a_batch_depends_on_seed_and_number_alone() -> None:
    batches, again = (training.MaskBatches(random_shapes, TINY) for _ in range(2))
    for i in (3, 0, 5):
        assert all(torch.equal(one, other) for one, other in zip(batches[i][:3], again[i][:3], strict=True))
    other_seed = training.MaskBatches(random_shapes, replace(TINY, seed=1))
    for other in (other_seed[0], batches[2]):
        assert not torch.equal(batches[0].probabilities, other.probabilities)
    seen = torch.cat([batches[i].probabilities[:, 1] for i in (0, 2, 4)]).numpy() > 0
    assert not any(np.array_equal(a, b) for a in training.held_out_shapes(4, 12) for b in seen)


@pytest.mark.parametrize("kind", ["NI-DM", "SNI-DM"])
def test_soft_masks_are_probabilities_with_their_map_scaled_alike(kind: str) -> None:
    lesions = two_lesions().astype(np.float32)
    phi, scales = distance_map(lesions, kind), []
    for seed in range(20):
        blurred, scaled = training.soften(lesions, phi, np.random.default_rng(seed))
        scale = scaled.max() / phi.max()
        assert np.allclose(scaled, np.where(lesions > 0, scale * phi, phi), atol=1e-6)  # a signed map's outside stays
        assert 0 <= blurred.min() <= blurred.max() <= scale + 1e-5
        assert blurred.sum() == pytest.approx(scale * lesions.sum(), rel=0.02)  # a blur loses nothing
        assert blurred.dtype == scaled.dtype == np.float32
        scales.append(scale)
    assert min(scales) < 0.3
    assert 0.7 < max(scales) <= 1


def test_every_depth_of_the_lesions_counts_nearly_alike() -> None:
    lesions = two_lesions()
    weights, depths = training.depth_weights(lesions, "NI-DM"), distance_map(lesions, "O-DM")
    assert weights[lesions].sum() == pytest.approx(1, rel=1e-5)
    assert weights[~lesions].sum() == pytest.approx(training.BACKGROUND_WEIGHT, rel=1e-5)
    assert np.ptp(weights[~lesions]) == 0
    layers = {layer: weights[depths == layer].sum() for layer in (1, 2, 3)}  # of 99, 26 and 1 voxels
    for layer, voxels in ((1, 99), (2, 26)):
        assert layers[layer] / layers[3] == pytest.approx(voxels ** (1 - training.DEPTH_POWER), rel=1e-4)


@pytest.mark.parametrize("kind", ["O-DM", "I-DM"])
def test_errors_of_maps_in_voxels_count_by_share_of_each_lesions_own_depth(kind: str) -> None:
    lesions = two_lesions()
    own_depths = np.full(lesions.shape, 3)
    own_depths[2, 2, 2] = 1
    sizes = np.where(own_depths == 1, 1.0, lesions.sum() - 1)
    by_lesion = sizes**-training.DEPTH_POWER
    alike = {
        "O-DM": training.depth_weights(lesions, "NI-DM"),
        "I-DM": np.where(lesions, by_lesion / by_lesion[lesions].sum(), 1 / (~lesions).sum()),  # whatever its depth
    }
    assert np.allclose(training.depth_weights(lesions, kind) * own_depths, alike[kind], rtol=1e-5)
    for cube in (np.zeros((4, 4, 4), bool), np.ones((4, 4, 4), bool)):  # cubes inside an organ, or beside it
        assert np.isfinite(training.depth_weights(cube, kind)).all()


def test_crops_lie_around_the_lesions_of_every_class(tmp_path: Path) -> None:
    """Of a case with a box of one class and a single voxel of the other."""
    classes = two_lesions().astype(np.uint8)
    classes[2, 2, 2] = 2
    np.save(tmp_path / "classes.npy", classes)
    for c in (1, 2):
        np.save(tmp_path / f"foreground-{c:03d}.npy", np.argwhere(classes == c).astype(np.int32))
    draw = partial(training.lesion_crop, [CachedCase("lesions", tmp_path)])
    cubes = [draw(np.random.default_rng(seed), 20) for seed in range(30)]
    for cube in cubes:
        assert (cube.shape, cube.dtype) == ((20, 20, 20), bool)
        assert 1 <= cube.sum() <= 125
        assert cube.sum() == np.prod(np.ptp(np.argwhere(cube), axis=0) + 1)  # boxes stay boxes when flipped and cut
    assert 5 < sum(cube.sum() == 1 for cube in cubes) < 25  # class 2, never together with class 1
    assert 64 in {int(draw(np.random.default_rng(seed), 4).sum()) for seed in range(30)}  # wholly inside


def task_with(events: dict[int, Callable[[Any], None]], config: PretrainConfig = TINY) -> tuple[Task, Any]:
    """A task and its LR-Net, to which something happens in its n-th step."""
    task, steps = training.pretraining_task(config, random_shapes, [two_lesions()]), iter(range(10**6))
    phase, lrnet = task.phases[0], task.model.get_submodule("lrnet")

    def eventful(batch: Any) -> Tensor:
        if event := events.get(next(steps)):
            event(lrnet)
        return phase.loss(batch)

    task.phases = [replace(phase, loss=eventful)]
    return task, lrnet


def kill(lrnet: Any) -> None:
    """Put the output layer far below zero everywhere."""
    lrnet.head[-1].bias.data.fill_(-1e3)


def test_a_dead_output_layer_is_found_and_reset_and_the_training_goes_on(tmp_path: Path) -> None:
    task, lrnet = task_with({2: kill})
    fit(task, TINY, tmp_path, CPU)
    assert lrnet(task.batches[0].probabilities).max() > 0


@pytest.mark.parametrize(("kind", "activation"), [("SNI-DM", None), ("NI-DM", "sigmoid")])
def test_other_output_layers_are_left_alone(kind: str, activation: str | None) -> None:
    task, lrnet = task_with({0: kill}, replace(TINY, kind=kind, activation=activation))
    task.phases[0].loss(task.batches[0]).backward()
    task.after_backward(0)
    assert lrnet.head[-1].bias.item() == -1e3


def test_a_resumed_pretraining_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    """Its output layer dies in step 4 and is reset with new numbers; the process ends in step 5, and goes on from 3."""

    def interrupt(lrnet: Any) -> None:
        raise KeyboardInterrupt

    fit(task_with({4: kill})[0], TINY, tmp_path / "whole", CPU)
    with pytest.raises(KeyboardInterrupt):
        fit(task_with({4: kill, 5: interrupt})[0], TINY, tmp_path / "killed", CPU)
    fit(task_with({4 - 3: kill})[0], TINY, tmp_path / "killed", CPU, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


class Computed(nn.Module):
    """An LR-Net that computes the map itself, and adds something to it."""

    def __init__(self, kind: str, wrong: Callable[[Any], Any]) -> None:
        super().__init__()
        self.kind, self.wrong = kind, wrong
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, probabilities: Tensor) -> Tensor:
        maps = distance_map(probabilities[:, 1:], self.kind)
        return maps + torch.from_numpy(self.wrong(maps[0].numel())).reshape(maps[0].shape)


@pytest.mark.parametrize("dims", [3, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_quality_by_brute_force(kind: str, dims: int) -> None:
    """Dice counts the voxels of all masks together; phi's error is the mean over lesions, of O-DM and I-DM over M_C."""
    shapes = [random_shapes(np.random.default_rng(seed), 16, dims) for seed in range(3)]
    masks = [two_lesions() if dims == 3 else two_lesions()[7], *shapes, 0 * shapes[0]]

    def wrong(voxels: int) -> np.ndarray:
        return 0.3 * np.sin(np.arange(voxels))

    found, perfect = (training.lrnet_quality(Computed(kind, error), masks) for error in (wrong, np.zeros))
    lesions, overlap, size = [], 0, 0
    for one in masks:
        truth, error = distance_map(one, kind), wrong(one.size).reshape(one.shape)
        hard = truth + error > KINDS[kind].threshold
        overlap, size = overlap + (hard & (one > 0)).sum(), size + hard.sum() + one.sum()
        components, number = ndimage.label(one, np.ones((3,) * dims))
        for lesion in (components == c for c in range(1, number + 1)):
            height = truth[lesion].max() if kind in ("O-DM", "I-DM") else 1
            radius = {3: (lesion.sum() / (4 / 3 * np.pi)) ** (1 / 3), 2: (lesion.sum() / np.pi) ** 0.5}[dims]
            lesions.append((radius, np.abs(error[lesion]).mean() / height))
    assert found.dice == pytest.approx(2 * overlap / size)
    np.testing.assert_allclose(found.lesions, lesions, rtol=1e-4, atol=1e-6)
    assert found.error == pytest.approx(np.mean([error for _, error in lesions]), rel=1e-5)
    assert (perfect.dice, perfect.error) == (1, 0)
    assert np.isnan(training.lrnet_quality(Computed(kind, np.zeros), masks[-1:]).error)


@pytest.mark.parametrize("dims", [3, 2])
def test_a_short_pretraining_lowers_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dims: int) -> None:
    draw = partial(random_shapes, dims=dims)
    held_out = [draw(np.random.default_rng([5, i]), 16) for i in range(4)]
    cubes = ((12, 4),) if dims == 3 else ((16, 16),)
    config = PretrainConfig(steps=60, validate_every=30, cubes=cubes, seed=1, spatial_dims=dims)
    start = training.lrnet_quality(task_with({}, config)[1], held_out)
    monkeypatch.setattr(training, "held_out_shapes", lambda dims: held_out)
    run = partial(training.pretrain_run, str(tmp_path), config=config, device="cpu")
    quality = run()
    assert quality.error < 0.6 * start.error
    assert quality.dice > 0.7 > start.dice
    lrnet = load_lrnet(tmp_path / "best.safetensors", kind="NI-DM")
    assert training.lrnet_quality(lrnet, held_out) == run(resume=True) == quality
    assert set(load_checkpoint(tmp_path / "best.safetensors")[0]) == {f"lrnet.{name}" for name in lrnet.state_dict()}


def test_a_run_on_the_masks_of_a_folder(tmp_path: Path) -> None:
    data = lits(tmp_path / "data", range(4), label=2)
    run = partial(training.pretrain_run, config=TINY, device="cpu")
    scans = data, DataSettings(label="2", max_voxels=5000)
    quality = run(tmp_path / "run", scans=scans)
    assert len(quality.lesions) == 1  # one validation case, one ball
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    assert [len(split[part]) for part in ("train", "validation", "test")] == [2, 1, 1]
    with pytest.raises(InputError, match=r"other settings \(data .*; label 2, now None; max_voxels 5000, now None\)"):
        run(tmp_path / "run", resume=True)
    for name in split["validation"]:
        store(data / f"segmentation-{name.split('-')[1]}.nii.gz", 0 * mask())
    with pytest.raises(InputError, match=r"Label 2 does not occur in the validation cases, which choose the weights"):
        run(tmp_path / "other", scans=scans)
    assert not (tmp_path / "other").exists()
