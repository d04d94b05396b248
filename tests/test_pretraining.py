"""The LR-Net's lessons: its batches, a dead output layer, how it is judged, and a run from end to end."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scans import lits
from scipy import ndimage
from torch import Tensor, nn

from lrnet_edu import lrnet_training as pretraining
from lrnet_edu.config import PretrainConfig
from lrnet_edu.data.cache import CachedCase
from lrnet_edu.data.shapes import random_shapes
from lrnet_edu.distance_maps import HARD_THRESHOLD, KINDS, distance_map
from lrnet_edu.lrnet_training import (
    LesionCrops,
    LesionError,
    LRNetQuality,
    MaskBatches,
    cubes_alike_error,
    held_out_shapes,
    lrnet_quality,
    map_heights,
    pretrain_on,
    pretrain_run,
    pretraining_task,
    soften,
    weighted_error,
)
from lrnet_edu.networks import LRNet
from lrnet_edu.support.checkpoints import load_checkpoint
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.run_folder import Task, open_run
from lrnet_edu.trained import load_lrnet
from lrnet_edu.training import fit

CPU = torch.device("cpu")
CUBES = ((12, 3), (16, 2))
TINY = PretrainConfig(steps=6, validate_every=3, cubes=CUBES)


def two_lesions() -> np.ndarray:
    """A single voxel and a cube of 5 voxels edge, whose distances are 1 (98 voxels), 2 (26) and 3 (1)."""
    mask = np.zeros((12, 14, 16), bool)
    mask[2, 2, 2] = True
    mask[5:10, 6:11, 7:12] = True
    return mask


# ---- batches ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_holds_masks_as_pairs_and_their_maps(kind: str) -> None:
    batches = MaskBatches(random_shapes, PretrainConfig(steps=6, kind=kind, cubes=CUBES))
    assert len(batches) == 6
    for i in range(4):
        batch = batches[i]
        edge, number = CUBES[i % 2]
        assert batch.probabilities.shape == (number, 2, edge, edge, edge)
        assert batch.probabilities.dtype == batch.maps.dtype == torch.float32
        mask = batch.probabilities[:, 1]
        assert set(mask.unique().tolist()) == {0, 1}
        assert torch.equal(batch.probabilities.sum(1), torch.ones_like(mask))
        assert torch.equal(batch.maps[:, 0], torch.cat([distance_map(one, kind)[None] for one in mask]))


def test_a_batch_depends_on_seed_and_number_alone() -> None:
    batches, again = (MaskBatches(random_shapes, TINY) for _ in range(2))
    order = [3, 0, 5, 1]
    later = {i: again[i] for i in order}
    for i in sorted(order):
        assert torch.equal(batches[i].probabilities, later[i].probabilities)
        assert torch.equal(batches[i].maps, later[i].maps)
    other_seed = MaskBatches(random_shapes, PretrainConfig(steps=6, cubes=CUBES, seed=1))
    assert not torch.equal(batches[0].probabilities, other_seed[0].probabilities)
    assert not torch.equal(batches[0].probabilities, batches[2].probabilities)


def test_soft_masks_are_probabilities_with_their_map_scaled_alike() -> None:
    mask = two_lesions().astype(np.float32)
    phi = distance_map(mask, "NI-DM")
    scales = []
    for seed in range(20):
        blurred, scaled = soften(mask, phi, np.random.default_rng(seed))
        scale = scaled.max() / phi.max()
        assert np.allclose(scaled, scale * phi, atol=1e-6)
        assert blurred.min() >= 0
        assert blurred.max() <= scale + 1e-6
        assert blurred.sum() == pytest.approx(scale * mask.sum(), rel=0.02)  # a blur loses nothing
        assert blurred.dtype == scaled.dtype == np.float32
        scales.append(scale)
    assert min(scales) < 0.3
    assert 0.7 < max(scales) <= 1


def test_a_soft_mask_keeps_the_outside_of_a_signed_map() -> None:
    mask = two_lesions().astype(np.float32)
    phi = distance_map(mask, "SNI-DM")
    for seed in range(5):
        _, scaled = soften(mask, phi, np.random.default_rng(seed))
        assert np.array_equal(scaled[mask == 0], phi[mask == 0])
        assert (scaled[mask == 1] < phi[mask == 1]).all()


def test_errors_of_maps_in_voxels_are_divided_by_each_lesions_own_depth() -> None:
    mask = two_lesions()
    components, number = ndimage.label(mask, np.ones((3, 3, 3)))
    assert number == 2
    depths = [distance_map(components == c, "O-DM").max() for c in (1, 2)]
    assert depths[0] != depths[1]
    for kind in ("O-DM", "I-DM"):
        heights = map_heights(mask, kind)
        for c, depth in enumerate(depths, start=1):
            assert np.allclose(heights[components == c], depth)
        assert np.allclose(heights[~mask], max(depths))
        assert np.array_equal(map_heights(np.zeros_like(mask), kind), np.ones(mask.shape))
    assert np.array_equal(map_heights(mask, "NI-DM"), np.ones(mask.shape))


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.5, 0.5), (1.0, 1)])
def test_the_share_of_soft_masks(share: float, expected: float) -> None:
    batches = MaskBatches(random_shapes, PretrainConfig(steps=40, cubes=((8, 4),), soft=share))
    inputs = torch.cat([batches[i].probabilities[:, 1] for i in range(40)])
    soft = ((inputs > 0) & (inputs < 1)).flatten(1).any(1)
    assert abs(float(soft.float().mean()) - expected) < 0.15
    if share in (0, 1):
        assert soft.all() == soft.any() == bool(share)


@pytest.fixture
def cached(tmp_path: Path) -> list[CachedCase]:
    """A case with a lesion of each of two classes, and one without any."""
    classes = two_lesions().astype(np.uint8)
    classes[2, 2, 2] = 2
    cases = []
    for name, array in (("lesions", classes), ("empty", np.zeros_like(classes))):
        folder = tmp_path / name
        folder.mkdir()
        np.save(folder / "classes.npy", array)
        for c in (1, 2):
            np.save(folder / f"foreground-{c:03d}.npy", np.argwhere(array == c).astype(np.int32))
        cases.append(CachedCase(name, folder))
    return cases


def test_crops_lie_around_the_lesions_of_every_class(cached: list[CachedCase]) -> None:
    draw, single = LesionCrops(cached), 0
    for seed in range(30):
        cube = draw(np.random.default_rng(seed), 20)
        assert cube.shape == (20, 20, 20)
        assert cube.dtype == bool
        assert 1 <= cube.sum() <= 125
        single += cube.sum() == 1  # class 2, never together with class 1
        corners = np.argwhere(cube)
        assert cube.sum() == np.prod(np.ptp(corners, axis=0) + 1)  # boxes stay boxes when flipped and cut
    assert 5 < single < 25


def test_crops_of_a_large_object_show_parts_of_it(cached: list[CachedCase]) -> None:
    sizes = {int(LesionCrops(cached)(np.random.default_rng(seed), 4).sum()) for seed in range(30)}
    assert 64 in sizes  # cubes that lie wholly inside
    assert min(sizes) >= 1


# ---- the loss and a dead output layer -----------------------------------------------------------------------------


def test_the_loss_first_weighs_lesion_and_background_alike() -> None:
    """Errors of 0.5 on 2 lesion voxels and 0.1 on 6 of the background."""
    target = torch.tensor([1.0, 0.5, 0, 0, 0, 0, 0, 0]).reshape(1, 1, 2, 2, 2)
    maps = target + torch.where(target > 0, -0.5, 0.1)
    early, late = (0.5 + 0.1) / 2, (2 * 0.5 * pretraining.LESION_WEIGHT + 6 * 0.1) / 8
    assert float(weighted_error(maps, target, 0.0)) == pytest.approx(early)
    assert float(weighted_error(maps, target, 1.0)) == pytest.approx(late)
    between = float(weighted_error(maps, target, 0.45))
    assert min(early, late) < between < max(early, late)
    assert float(weighted_error(target, target, 0.5)) == 0


def test_a_small_lesion_s_cube_can_weigh_as_much_as_a_large_one_s() -> None:
    target = torch.zeros(2, 1, 2, 2, 2)
    target[0, 0, 0, 0, 0] = 1.0  # one voxel in the first cube
    target[1, 0, 0] = 0.5  # four in the second
    maps = target.clone()
    maps[0, 0, 0, 0, 0] = 0.6
    maps[1, 0, 0] = 0.7
    assert float(cubes_alike_error(maps, target, 0.0)) == pytest.approx(0.5 * (0.4 + 0.2) / 2)
    maps[1, 0, 1, 1, 1] = -0.8  # one of the 16 voxels, outside
    expected = 0.5 * (0.4 + 0.2) / 2 + pretraining.LESION_WEIGHT * 0.8 / 16
    assert float(cubes_alike_error(maps, target, 1.0)) == pytest.approx(expected)


@pytest.mark.parametrize("alike", [False, True])
def test_a_training_takes_the_loss_that_its_settings_name(alike: bool) -> None:
    task = pretraining_task(replace(TINY, cubes_alike=alike), random_shapes, [two_lesions()])
    batch = task.batches[0]
    error = cubes_alike_error if alike else weighted_error
    with torch.no_grad():
        assert torch.equal(task.loss(batch, 2), error(lrnet_of(task)(batch.probabilities), batch.maps, 2 / TINY.steps))


@pytest.mark.parametrize("error", [weighted_error, cubes_alike_error])
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_batch_without_lesion_or_without_background_has_a_loss(
    error: Callable[..., torch.Tensor], value: float, share: float
) -> None:
    """Cubes inside a large organ hold nothing else."""
    target = torch.full((2, 1, 4, 4, 4), value)
    loss = error(torch.full_like(target, 0.5), target, share)
    assert torch.isfinite(loss)
    assert loss > 0


def lrnet_of(task: Task) -> Any:
    layers: Any = task.model
    return layers["lrnet"]


def dead(task: Task) -> Any:
    """Its LR-Net, with the output layer far below zero everywhere."""
    lrnet = lrnet_of(task)
    lrnet.head[-1].bias.data.fill_(-1e3)
    return lrnet


def test_a_dead_output_layer_is_found_and_woken() -> None:
    task = pretraining_task(TINY, random_shapes, [two_lesions()])
    lrnet, batch = dead(task), task.batches[0]
    with torch.no_grad():
        assert not lrnet(batch.probabilities).any()
    task.loss(batch, 0).backward()
    assert lrnet(batch.probabilities).max() > 0
    assert all(parameter.grad.any() for parameter in lrnet.head[-1].parameters())


def test_a_training_can_start_from_another_lrnet() -> None:
    taught = lrnet_of(pretraining_task(replace(TINY, seed=5), random_shapes, [two_lesions()]))
    lrnet = lrnet_of(pretraining_task(TINY, random_shapes, [two_lesions()], start=taught))
    assert all(torch.equal(mine, its) for mine, its in zip(lrnet.parameters(), taught.parameters(), strict=True))
    with torch.no_grad():
        lrnet.head[-1].bias += 1
    assert not torch.equal(lrnet.head[-1].bias, taught.head[-1].bias)  # a copy
    with pytest.raises(InputError, match="cannot go on"):
        pretraining_task(replace(TINY, kind="O-DM"), random_shapes, [two_lesions()], start=taught)


def test_a_training_goes_on_after_the_output_layer_died_in_its_middle(tmp_path: Path) -> None:
    task = pretraining_task(TINY, random_shapes, [two_lesions()])
    original = task.loss

    def dying(batch: Any, step: int) -> Tensor:
        if step == 2:
            dead(task)
        return original(batch, step)

    task.loss = dying
    fit(task, TINY, tmp_path, CPU)
    assert lrnet_of(task)(task.batches[0].probabilities).max() > 0


@pytest.mark.parametrize("waking_helps", [True, False])
def test_it_gives_up_when_the_output_layer_keeps_dying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waking_helps: bool
) -> None:
    config = PretrainConfig(steps=20, validate_every=20, cubes=CUBES)
    task = pretraining_task(config, random_shapes, [two_lesions()])
    if not waking_helps:
        monkeypatch.setattr(LRNet, "wake_output", lambda self: None)
    original, calls = task.loss, []

    def dying(batch: Any, step: int) -> Tensor:
        dead(task)
        calls.append(step)
        return original(batch, step)

    task.loss = dying
    with pytest.raises(InputError, match=r"output layer died.*learning rate") as error:
        fit(task, config, tmp_path, CPU)
    assert re.fullmatch(r"[^.]*\.", str(error.value))  # one sentence
    assert 2 <= len(calls) < 20  # it tried, and did not go on for ever


@pytest.mark.parametrize(("kind", "activation"), [("SNI-DM", None), ("NI-DM", "sigmoid")])
def test_other_output_layers_are_left_alone(kind: str, activation: str | None) -> None:
    config = PretrainConfig(kind=kind, activation=activation, cubes=CUBES)
    task = pretraining_task(config, random_shapes, [two_lesions()])
    lrnet = dead(task)
    task.loss(task.batches[0], 0)
    assert lrnet.head[-1].bias.item() == -1e3


# ---- quality ----------------------------------------------------------------------------------------------------


class Computed(nn.Module):
    """An LR-Net that computes the map itself, and then changes it: (map, mask) -> map."""

    def __init__(self, kind: str, change: Callable[[Tensor, Tensor], Tensor] = lambda maps, mask: maps) -> None:
        super().__init__()
        self.kind, self.change = kind, change
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, probabilities: Tensor) -> Tensor:
        mask = probabilities[:, 1:]
        return self.change(distance_map(mask, self.kind), mask)


@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_network_scores_one_and_no_error(kind: str) -> None:
    masks = [two_lesions(), *(random_shapes(np.random.default_rng(seed), 16) for seed in range(3))]
    quality = lrnet_quality(Computed(kind), masks)  # type: ignore[arg-type]
    assert quality.dice == 1
    assert quality.error == 0


def test_one_entry_per_lesion_with_the_radius_of_its_ball() -> None:
    quality = lrnet_quality(Computed("NI-DM"), [two_lesions(), two_lesions()])  # type: ignore[arg-type]
    radii = [(n / (4 / 3 * np.pi)) ** (1 / 3) for n in (1, 125)]
    assert sorted(lesion.radius for lesion in quality.lesions) == pytest.approx(sorted(radii * 2))


def large_lesion_off(maps: Tensor, mask: Tensor) -> Tensor:
    changed = maps.clone()
    changed[..., 5:10, 6:11, 7:12] += 0.2
    changed[mask == 0] = 0.03  # wrong outside, below the threshold: neither figure looks there
    return changed


def test_the_error_is_the_mean_over_lesions_not_over_voxels() -> None:
    quality = lrnet_quality(Computed("NI-DM", large_lesion_off), [two_lesions()])  # type: ignore[arg-type]
    assert quality.error == pytest.approx((0 + 0.2) / 2, abs=1e-6)
    assert quality.dice == 1


@pytest.mark.parametrize(
    ("kind", "cube"), [("O-DM", (98 * 1 + 26 * 2 + 3) / 125 / 3), ("I-DM", (98 * 3 + 26 * 2 + 1) / 125 / 3)]
)
def test_maps_in_voxels_are_divided_by_the_lesion_s_maximum(kind: str, cube: float) -> None:
    """Twice the map is wrong by the map itself: 1 of 1 in the single voxel, the mean over M_C = 3 in the cube."""
    doubled = Computed(kind, lambda maps, mask: 2 * maps)
    quality = lrnet_quality(doubled, [two_lesions()])  # type: ignore[arg-type]
    assert quality.error == pytest.approx((1 + cube) / 2, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_dice_counts_voxels_beyond_the_threshold(kind: str) -> None:
    """The single voxel is lost and four are invented: 125 of 126 and 129 agree."""

    def change(maps: Tensor, mask: Tensor) -> Tensor:
        maps = maps.clone()
        maps[..., 2, 2, 2] = HARD_THRESHOLD[kind]
        maps[..., 0, 0, :4] = HARD_THRESHOLD[kind] + 1e-3
        return maps

    quality = lrnet_quality(Computed(kind, change), [two_lesions()])  # type: ignore[arg-type]
    assert quality.dice == pytest.approx(2 * 125 / (126 + 129))


def test_masks_without_lesion() -> None:
    empty = np.zeros((8, 8, 8), bool)
    quality = lrnet_quality(Computed("NI-DM"), [empty])  # type: ignore[arg-type]
    assert quality.dice == 1
    assert np.isnan(quality.error)
    both = lrnet_quality(Computed("NI-DM", large_lesion_off), [two_lesions(), two_lesions() & False])  # type: ignore[arg-type]
    assert both.error == pytest.approx(0.1, abs=1e-6)


def test_errors_by_size() -> None:
    quality = LRNetQuality(1.0, [LesionError(r, e) for r, e in ((1, 0.1), (2, 0.3), (5, 0.8))])
    assert quality.error == pytest.approx(0.4)
    assert quality.error_between(1, 5) == pytest.approx((0.3 + 0.8) / 2)  # more than 1, at most 5
    assert quality.error_between(0, 1) == pytest.approx(0.1)
    assert np.isnan(quality.error_between(5, 9))


def test_held_out_shapes_are_always_the_same_and_never_trained_on() -> None:
    held_out, again = held_out_shapes(4, 12), held_out_shapes(4, 12)
    assert all(np.array_equal(a, b) for a, b in zip(held_out, again, strict=True))
    batches = MaskBatches(random_shapes, PretrainConfig(steps=20, cubes=((12, 2),)))
    seen = torch.cat([batches[i].probabilities[:, 1] for i in range(20)]).numpy() > 0
    assert not any(np.array_equal(a, b) for a in held_out for b in seen)


# ---- runs -------------------------------------------------------------------------------------------------------


def test_a_short_pretraining_lowers_the_error(tmp_path: Path) -> None:
    held_out = [random_shapes(np.random.default_rng([5, i]), 16) for i in range(4)]
    config = PretrainConfig(steps=50, validate_every=25, cubes=((12, 4),), seed=1)
    start = lrnet_quality(lrnet_of(pretraining_task(config, random_shapes, held_out)), held_out)
    quality = pretrain_on(random_shapes, held_out, tmp_path, config, device="cpu")
    assert quality.error < 0.6 * start.error
    assert quality.dice > 0.7 > start.dice
    best, facts = load_checkpoint(tmp_path / "best.safetensors")
    assert facts == {"network": "LRNet", "kind": "NI-DM", "activation": "relu", "norm": None}
    lrnet = load_lrnet(tmp_path / "best.safetensors", kind="NI-DM")
    assert lrnet_quality(lrnet, held_out) == quality
    assert set(best) == {f"lrnet.{name}" for name in lrnet.state_dict()}


@pytest.fixture
def small_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LRNET_EDU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LRNET_EDU_FAST", "1")
    monkeypatch.setattr(pretraining, "held_out_shapes", lambda: [two_lesions()])


@pytest.mark.usefixtures("small_world")
def test_a_run_without_data(tmp_path: Path) -> None:
    quality = pretrain_run(tmp_path / "run", config=TINY, device="cpu")
    assert {file.name for file in (tmp_path / "run").iterdir()} == {
        "config.json",
        "log.csv",
        "best.safetensors",
        "last.safetensors",
    }
    assert len(quality.lesions) == 2
    with pytest.raises(InputError, match="holds a run already"):
        pretrain_run(tmp_path / "run", config=TINY, device="cpu")
    assert pretrain_run(tmp_path / "run", config=TINY, device="cpu", resume=True) == quality


@pytest.mark.usefixtures("small_world")
def test_a_run_on_the_masks_of_a_folder(tmp_path: Path) -> None:
    data = lits(tmp_path / "data", range(4), label=2)
    quality = pretrain_run(tmp_path / "run", data=data, label="2", config=TINY, device="cpu")
    assert len(quality.lesions) == 1  # one validation case, one ball
    assert load_lrnet(tmp_path / "run" / "best.safetensors").kind == "NI-DM"
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    assert [len(split[part]) for part in ("train", "validation", "test")] == [2, 1, 1]
    with pytest.raises(InputError, match=r"other settings \(data .*, now None; label 2, now None\)"):
        pretrain_run(tmp_path / "run", config=TINY, device="cpu", resume=True)


def test_a_resumed_pretraining_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    held_out = [two_lesions()]
    pretrain_on(random_shapes, held_out, tmp_path / "whole", TINY, device="cpu")
    task = pretraining_task(TINY, random_shapes, held_out)
    original = task.loss

    def dying(batch: Any, step: int) -> Tensor:
        if step == 4:
            raise KeyboardInterrupt
        return original(batch, step)

    task.loss = dying
    open_run(tmp_path / "killed", TINY, resume=False)
    with pytest.raises(KeyboardInterrupt):
        fit(task, TINY, tmp_path / "killed", CPU)
    pretrain_on(random_shapes, held_out, tmp_path / "killed", TINY, device="cpu", resume=True)
    for name in ("best.safetensors", "last.safetensors"):
        whole, killed = (load_checkpoint(tmp_path / run / name)[0] for run in ("whole", "killed"))
        assert whole.keys() == killed.keys()
        assert all(torch.equal(whole[key], killed[key]) for key in whole)
