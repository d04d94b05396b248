"""The LR-Net's pretraining (section 2.2), and how well it computes the map: Dice and the error of phi.

Dice alone proves little: the mask that it compares with was the network's INPUT, so copying it is enough. The error of
phi (the mean over a lesion's voxels, of O-DM and I-DM over its maximum M_C, then the mean over lesions) proves more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.utils.data import Dataset

from lrnet_edu.config import PretrainConfig
from lrnet_edu.data.cache import CachedCase
from lrnet_edu.data.shapes import random_shapes
from lrnet_edu.data.study import DataSettings, open_study
from lrnet_edu.distance_maps import distance_map
from lrnet_edu.kinds import kind_of_map
from lrnet_edu.metrics import dice_of_counts
from lrnet_edu.networks import LRNet
from lrnet_edu.support.devices import choose_device
from lrnet_edu.support.jobs import progress
from lrnet_edu.support.run_folder import open_run
from lrnet_edu.support.voxels import connected_components, cut
from lrnet_edu.trained import load_lrnet, lrnet_metadata
from lrnet_edu.training import Phase, Task, fit

DEPTH_POWER = 0.8  # 0: every voxel counts alike; 1: every depth
BACKGROUND_WEIGHT = 1.0  # total weight outside the lesions, against 1 inside

Draw = Callable[[np.random.Generator, int], np.ndarray]  # (generator, edge) -> bool (edge, edge, edge), with a lesion


class MaskBatch(NamedTuple):
    """Input pairs and target maps of one pretraining step."""

    probabilities: Tensor  # (B, 2, D, H, W)
    maps: Tensor  # (B, 1, D, H, W)
    weights: Tensor  # (B, 1, D, H, W), of the voxels' errors
    cases: Sequence[str] = ("masks",)

    def to(self, device: torch.device) -> MaskBatch:
        return MaskBatch(self.probabilities.to(device), self.maps.to(device), self.weights.to(device))


def lesion_crop(cases: list[CachedCase], rng: np.random.Generator, edge: int) -> np.ndarray:
    """A cube around a lesion of one of the cases, which all hold some, randomly flipped: bool (edge, edge, edge)."""
    case = cases[rng.integers(len(cases))]
    objects = [(c, voxels) for c, voxels in enumerate(case.foreground, start=1) if len(voxels)]
    c, voxels = objects[rng.integers(len(objects))]
    corner = voxels[rng.integers(len(voxels))] - edge // 2
    cube = cut(case.classes, corner, (edge, edge, edge), mode="constant") == c
    return np.flip(cube, tuple(axis for axis in range(3) if rng.random() < 0.5))


@dataclass(eq=False)
class MaskBatches(Dataset[MaskBatch]):
    """Batch i of masks and their maps, a pure function of (seed, i).

    Small and large cubes alternate (``config.cubes``): small ones are cheap, large ones show large lesions whole. A
    lesion cut off has another maximum M_C and hence another map.
    """

    draw: Draw
    config: PretrainConfig

    def __getitem__(self, index: int) -> MaskBatch:
        config = self.config
        rng = np.random.default_rng([config.seed, index])
        edge, number = config.cubes[index % len(config.cubes)]
        masks = [self.draw(rng, edge) for _ in range(number)]
        pairs = [(mask.astype(np.float32), distance_map(mask, config.kind)) for mask in masks]
        pairs = [soften(*both, rng) if rng.random() < config.soft else both for both in pairs]
        inputs, maps = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*pairs, strict=True))
        weights = torch.from_numpy(np.stack([depth_weights(mask, config.kind) for mask in masks]))
        return MaskBatch(background_and_object(inputs), maps[:, None], weights[:, None])


def background_and_object(p: Tensor) -> Tensor:
    """Probabilities of the object (B, D, H, W) or (B, H, W) -> (B, 2, ...), the background's before them."""
    return torch.stack((1 - p, p), dim=1)


def soften(mask: np.ndarray, phi: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Blur a mask by up to a voxel and scale it by 0.05 to 1; inside, its map is scaled as well. (D, H, W) each."""
    blurred = ndimage.gaussian_filter(mask, rng.uniform(0, 1))
    scale = np.float32(rng.uniform(0.05, 1))
    return blurred * scale, np.where(phi > 0, phi * scale, phi)


def depth_weights(mask: np.ndarray, kind: str) -> np.ndarray:
    """What the error of each voxel of a mask (D, H, W) or (H, W) counts: nearly as much in all for every depth.

    Most voxels of a lesion lie near its border, where NI-DM is 1 whatever its size; with equal weights the core hardly
    counts and is never learned. In I-DM the border depends on the size, and it is every lesion that counts nearly as
    much. Those of a cube count 1 in all, what is outside `BACKGROUND_WEIGHT`. Errors in voxels are divided by M_C.
    """
    depths = distance_map(mask, "O-DM")  # 0 outside
    row = kind_of_map(kind)
    border_is_known = row.inside(1, 1, 2) == row.inside(1, 1, 3)  # whatever M is
    lesions = connected_components(mask, connectivity=26 if mask.ndim == 3 else 8)[0]
    groups = np.round(depths).astype(int) if border_is_known else lesions
    weights = np.bincount(groups.ravel())[groups] ** -DEPTH_POWER
    weights = np.where(mask, weights / (weights * mask).sum().clip(1e-9), BACKGROUND_WEIGHT / max(1, (~mask).sum()))
    if not row.normalised:
        heights = depths + distance_map(mask, "I-DM") - 1  # D + (M_C + 1 - D) - 1
        weights = weights / np.where(mask, heights, max(1.0, heights.max()))
    return weights.astype(np.float32)


def pretraining_task(config: PretrainConfig, draw: Draw, held_out: Sequence[np.ndarray]) -> Task:
    """What :func:`lrnet_edu.training.fit` needs to teach an LR-Net its map; validated on whole held-out masks.

    A ReLU output can die: once it is 0 everywhere no gradient passes. The last layer is then drawn anew.

    Deviation: the error is absolute and weighted (`depth_weights`). The smooth L1 of section 2.3 squares errors below
    1, and its mean over all voxels lets the background drown a small lesion: the output then falls to 0 everywhere.
    """
    torch.manual_seed(config.seed)
    lrnet = LRNet(config.kind, activation=config.activation, spatial_dims=config.spatial_dims)

    def loss(batch: MaskBatch) -> Tensor:
        errors = (lrnet(batch.probabilities) - batch.maps).abs()  # (B, 1, D, H, W)
        return (batch.weights * errors).sum() / len(errors)

    def reset_if_dead(step: int) -> None:
        if lrnet.activation == "relu" and not any(bool(w.grad.any()) for w in lrnet.parameters() if w.grad is not None):
            torch.manual_seed(config.seed + step)  # the same after a resume
            lrnet.reset_output()

    def validate(step: int) -> dict[str, float]:
        quality = lrnet_quality(lrnet, held_out)
        loss = quality.error + 1 - quality.dice  # the error covers lesions only, Dice the background as well
        return {"val_loss": loss, "score": -loss, "val_error": quality.error, "val_dice": quality.dice}

    return Task(
        nn.ModuleDict({"lrnet": lrnet}), MaskBatches(draw, config), [Phase("pretraining", config.steps, loss)],
        validate, lrnet_metadata(lrnet), best_prefix="lrnet.", after_backward=reset_if_dead,
    )  # fmt: skip


def held_out_shapes(number: int = 16, size: int = 48, dims: int = 3) -> list[np.ndarray]:
    """Random shapes in cubes or squares of ``size`` voxels that no training sees: their seeds are reserved."""
    return [random_shapes(np.random.default_rng([2**31, i]), size, dims) for i in range(number)]


def pretrain_run(
    out: str | Path, *, scans: tuple[Path, DataSettings] | None = None, config: PretrainConfig | None = None,
    device: str | None = None, resume: bool = False,
) -> LRNetQuality:  # fmt: skip
    """Pretrain an LR-Net into a run folder, on the masks of ``scans`` or (without) on random shapes.

    Scans are a folder, and the settings of the training that will use the LR-Net: its objects and its grid.

    Returns the quality of the best weights on masks that were held out: the validation cases', or `held_out_shapes`.
    """
    out, config = Path(out), config or PretrainConfig()
    draw: Draw = partial(random_shapes, dims=config.spatial_dims)
    split, settings = None, asdict(config) | dict.fromkeys(("data", "label", "max_voxels"))
    if scans is not None:
        study = open_study(*scans)
        settings |= {"data": str(study.data.resolve()), "label": scans[1].label, "max_voxels": scans[1].max_voxels}
        with_lesion = [case for case in study.cached["train"] if any(len(voxels) for voxels in case.foreground)]
        draw, split = partial(lesion_crop, with_lesion), study.split
        held_out = [case.classes == c for case in study.cached["validation"] for c in range(1, len(study.labels) + 1)]
    else:
        held_out = held_out_shapes(dims=config.spatial_dims)
    task = pretraining_task(config, draw, held_out)
    place = choose_device(device)
    with open_run(out, settings, resume=resume, split=split):
        fit(task, config, out, place, resume=resume, title=f"LR-Net {config.kind} on {place}")
    return lrnet_quality(load_lrnet(out / "best.safetensors"), held_out)


class LesionError(NamedTuple):
    """How well the LR-Net computed the map of one lesion."""

    radius: float  # voxels, of the ball of equal volume
    error: float  # mean |output - map| over the lesion's voxels


@dataclass(frozen=True)
class LRNetQuality:
    """Dice of ``output > threshold`` with the input mask, and the error of phi lesion by lesion."""

    dice: float
    lesions: list[LesionError]

    @property
    def error(self) -> float:
        """Error of phi: the mean over lesions (NaN without any)."""
        return float(np.mean([lesion.error for lesion in self.lesions])) if self.lesions else float("nan")


@torch.inference_mode()
def lrnet_quality(lrnet: LRNet, masks: Sequence[np.ndarray]) -> LRNetQuality:
    """Evaluate an LR-Net on whole masks (D, H, W), or (H, W) in 2-D, not cropped around the lesions."""
    kind, intersection, size = kind_of_map(lrnet.kind), 0, 0
    lesions: list[LesionError] = []
    for mask in progress(masks, "Evaluating", unit="mask"):
        mask = np.asarray(mask) != 0
        truth, output = distance_map(mask, lrnet.kind), map_of_mask(lrnet, mask)
        hard = output > kind.threshold
        intersection += int((hard & mask).sum())
        size += int(hard.sum()) + int(mask.sum())
        components, number = connected_components(mask, connectivity=26 if mask.ndim == 3 else 8)
        index = np.arange(1, number + 1)
        errors = ndimage.mean(np.abs(output - truth), components, index)  # (lesions,)
        scale = 1.0 if kind.normalised else ndimage.maximum(truth, components, index)
        volumes = np.bincount(components.ravel(), minlength=1)[1:]
        radii = (volumes * 3 / 4 / np.pi) ** (1 / 3) if mask.ndim == 3 else (volumes / np.pi) ** 0.5
        lesions += map(LesionError, radii.tolist(), (errors / scale).tolist())
    return LRNetQuality(dice=dice_of_counts(intersection, size), lesions=lesions)


def map_of_mask(lrnet: LRNet, mask: np.ndarray) -> np.ndarray:
    """The LR-Net's map of one mask, of its shape."""
    p = torch.from_numpy(mask.astype(np.float32))[None].to(next(lrnet.parameters()).device)
    twice = background_and_object(torch.cat((p, p)))  # PyTorch is slow with a batch of one
    return lrnet(twice)[0, 0].float().cpu().numpy()
