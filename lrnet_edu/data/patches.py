"""Sub-image generation (section 3): random patches, many of them centred on an object, augmented.

The order matters: crop and augment the MASK, then compute its distance map. A map that was cropped or warped is no
longer the map of what the network sees, because the component's maximum M_C changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lrnet_edu.data.cache import CachedCase
from lrnet_edu.distance_maps import maps_of_classes
from lrnet_edu.rivals import SIGNED_DISTANCES, signed_distances
from lrnet_edu.support.voxels import cut


class Batch(NamedTuple):
    """Tensors of one training step, and the cases they came from."""

    image: Tensor  # (B, 1, D, H, W) float32
    classes: Tensor  # (B, D, H, W) int64
    maps: dict[str, Tensor]  # kind -> (B, K, D, H, W) float32; the rivals' map (B, K + 1, D, H, W)
    cases: list[str]

    def to(self, device: torch.device) -> Batch:
        move = partial(Tensor.to, device=device, non_blocking=device.type == "cuda")  # MPS would not wait for the copy
        maps = {kind: move(tensor) for kind, tensor in self.maps.items()}
        return Batch(move(self.image), move(self.classes), maps, self.cases)


@dataclass(eq=False)
class PatchBatches(Dataset[Batch]):
    """Patch j of batch i as a pure function of (seed, i, j): the same whatever the workers, and after a resume.

    A sampler of your own is a subclass with another :meth:`corner`, for the ``batches`` of ``train_run``.
    """

    cases: Sequence[CachedCase]
    kinds: Sequence[str]  # distance maps to compute of every patch; ``rivals.SIGNED_DISTANCES`` is one as well
    classes: int  # foreground classes K
    patch_size: tuple[int, int, int]  # voxels (z, y, x); a smaller volume is padded
    batch_size: int
    object_share: float  # of the patches, centred on a voxel of a random object (in a random class of the case)
    augment: bool  # flips on every axis, a random gain and offset of the intensities
    seed: Sequence[int]
    length: int  # number of batches

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Batch:
        rngs = [np.random.default_rng([*self.seed, index, j]) for j in range(self.batch_size)]
        cases = [self.cases[int(rng.integers(len(self.cases)))] for rng in rngs]
        patches = [self.patch(case, rng) for case, rng in zip(cases, rngs, strict=True)]
        images, classes = (np.stack(arrays) for arrays in zip(*patches, strict=True))
        kinds = dict.fromkeys(self.kinds)  # each once
        labels = torch.from_numpy(classes.astype(np.int64))
        maps = {kind: torch.from_numpy(signed_distances(classes, self.classes)) if kind == SIGNED_DISTANCES
                else maps_of_classes(labels, self.classes, kind) for kind in kinds}  # fmt: skip
        return Batch(torch.from_numpy(images[:, None]), labels, maps, [case.name for case in cases])

    def patch(self, case: CachedCase, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Image float32 and classes uint8 of one patch, (d, h, w), cut out and augmented."""
        corner = self.corner(case, rng)
        image = cut(case.image, corner, self.patch_size, mode="edge").astype(np.float32)
        classes = cut(case.classes, corner, self.patch_size, mode="constant")
        if self.augment:
            flips = tuple(axis for axis in range(3) if rng.random() < 0.5)
            image, classes = np.flip(image, flips), np.flip(classes, flips)
            image = image * np.float32(rng.uniform(0.9, 1.1)) + np.float32(rng.uniform(-0.05, 0.05))
        return np.ascontiguousarray(image), np.ascontiguousarray(classes)

    def corner(self, case: CachedCase, rng: np.random.Generator) -> np.ndarray:
        """First voxel of the patch, (3,); negative where the volume is smaller than the patch."""
        shape, size = np.array(case.image.shape), np.array(self.patch_size)
        room = shape - size
        objects = [voxels for voxels in case.foreground if len(voxels)]
        if objects and rng.random() < self.object_share:
            voxels = objects[rng.integers(len(objects))]
            corner = voxels[rng.integers(len(voxels))] - size // 2
            corner = corner + rng.integers(-(size // 4), size // 4 + 1)  # the object is not always in the middle
        else:
            corner = np.floor(rng.random(3) * (np.maximum(room, 0) + 1)).astype(int)
        return np.where(room < 0, room // 2, np.clip(corner, 0, np.maximum(room, 0)))
