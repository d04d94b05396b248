"""Masks of the size and kind of real scans, for the benchmarks: lesions from a few voxels up, and a liver."""

import numpy as np
import torch

SPACING = (1.5, 0.8, 0.8)  # mm (z, y, x)
SCAN = (256, 512, 512)


def add_ellipsoid(mask: np.ndarray, centre: np.ndarray, radii: np.ndarray) -> None:
    """Set the voxels of an ellipsoid, in voxels (z, y, x), in place; what lies outside the volume is cut off."""
    low = np.maximum(np.floor(centre - radii).astype(int), 0)
    high = np.minimum(np.ceil(centre + radii).astype(int) + 1, mask.shape)
    if (low >= high).any():
        return
    axes = [np.arange(a, b) for a, b in zip(low, high, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    inside = sum(((a - c) / r) ** 2 for a, c, r in zip((z, y, x), centre, radii, strict=True)) <= 1
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] |= inside


def lesions(shape: tuple[int, int, int], number: int, share: float = 0.006, seed: int = 0) -> np.ndarray:
    """Bool (D, H, W): bumpy lesions of many sizes in the middle of a scan, about ``share`` of its voxels together.

    Their radii differ by a factor of eight, so their volumes by five hundred, as in the LiTS data.
    """
    rng = np.random.default_rng([seed, number])
    volumes = np.exp(rng.uniform(0, np.log(512), number))
    radii = (share * np.prod(shape) * volumes / volumes.sum() * 3 / 4 / np.pi) ** (1 / 3)
    mask = np.zeros(shape, bool)
    for radius in np.minimum(radii, min(shape) / 5):
        centre = np.array(shape) * rng.uniform(0.25, 0.75, 3)
        add_ellipsoid(mask, centre, radius * rng.uniform(0.8, 1.2, 3))
        for _ in range(3):  # bumps
            aside = centre + radius * rng.normal(0, 0.5, 3)
            add_ellipsoid(mask, aside, radius * rng.uniform(0.4, 0.7, 3))
    return mask


def batch_of_masks(number: int, shape: tuple[int, int, int]) -> torch.Tensor:
    """Bool (B, 1, D, H, W), four lesions each."""
    masks = [lesions(shape, 4, share=0.02, seed=seed) for seed in range(number)]
    return torch.from_numpy(np.stack(masks))[:, None]


def liver(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Bool (D, H, W): one organ of about 7 % of the scan."""
    rng = np.random.default_rng([seed, 7])
    mask = np.zeros(shape, bool)
    size = np.array(shape)
    add_ellipsoid(mask, size * (0.5, 0.45, 0.4), size * (0.28, 0.25, 0.22))
    for _ in range(12):
        add_ellipsoid(mask, size * rng.uniform(0.35, 0.6, 3), size * rng.uniform(0.08, 0.14, 3))
    return mask


def predicted(mask: np.ndarray, seed: int = 0) -> np.ndarray:
    """What a network might make of the mask: moved by a voxel or two, a tenth cut away, and two false lesions."""
    rng = np.random.default_rng([seed, 11])
    moved = np.roll(mask, (1, 2, -1), axis=(0, 1, 2))
    moved[:, :, : int(0.3 * mask.shape[2])] = False
    for _ in range(2):
        add_ellipsoid(moved, np.array(mask.shape) * rng.uniform(0.3, 0.7, 3), np.full(3, max(3, min(mask.shape) / 40)))
    return moved
