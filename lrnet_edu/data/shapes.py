"""Random lesion-like shapes: all that the LR-Net needs to see, since it maps masks to distance maps.

A shape is an ellipsoid whose surface is pushed in and out by a smooth random field. Some are cut by the border of
their cube, as lesions are by the border of a patch.
"""

import numpy as np
from scipy import ndimage

RADII = (1 / 16, 0.57)  # shares of the cube's edge
ROUGHNESS = (0.0, 0.55)  # how far the surface is pushed, as a share of the radius
STRETCH = 0.35  # half axes differ from the radius by up to exp(+-0.35)


def random_shapes(rng: np.random.Generator, size: int, dims: int = 3) -> np.ndarray:
    """A cube (size, size, size), or a square with ``dims=2``, bool, with one to four lesions, neither empty nor full.

    The first lesion's radius is drawn log-uniformly from a sixteenth to 0.57 of the edge, so that small lesions, the
    paper's point, are as common as large ones. It lies near the middle; one too large for the cube is moved until
    the cube shows a part of its surface. The others are small and lie anywhere.
    """
    radii = np.array(RADII) * size
    while True:
        mask = np.zeros((size,) * dims, dtype=bool)
        for index in range(1 + min(rng.geometric(0.5) - 1, 3)):
            radius = np.exp(rng.uniform(*np.log(radii)))
            if index == 0:
                direction = rng.normal(size=dims)
                outside = max(0.0, radius - 0.4 * size) * rng.uniform(0.3, 1.3)
                shift = direction / np.linalg.norm(direction) * outside
                centre = (size - 1) / 2 + shift + rng.uniform(-0.15, 0.15, dims) * size
            else:
                radius = min(radius, size / 5)
                centre = rng.uniform(0, size - 1, dims)
            mask |= _lesion(rng, size, centre, radius)
        if mask.any() and not mask.all():
            return mask


def _lesion(rng: np.random.Generator, size: int, centre: np.ndarray, radius: float) -> np.ndarray:
    dims = len(centre)
    axes = radius * np.exp(rng.uniform(-STRETCH, STRETCH, dims))  # half axes (z, y, x) before the turn
    turn, _ = np.linalg.qr(rng.normal(size=(dims, dims)))
    offsets = np.indices((size,) * dims, dtype=np.float32).reshape(dims, -1) - centre[:, None].astype(np.float32)
    stretched = (turn / axes[:, None]).astype(np.float32) @ offsets
    level = np.sqrt(np.einsum("in,in->n", stretched, stretched)).reshape((size,) * dims)  # 1 on the surface
    bumps = int(rng.integers(2, 6))  # across the lesion
    return level + rng.uniform(*ROUGHNESS) * _smooth_field(rng, size, size * bumps / (2 * radius), dims) < 1


def _smooth_field(rng: np.random.Generator, size: int, knots: float, dims: int) -> np.ndarray:
    """Random values on a coarse grid, interpolated: a cube of this size, float32, within -1 to 1."""
    count = int(np.clip(round(knots), 2, size)) + 1
    coarse = rng.uniform(-1, 1, (count,) * dims).astype(np.float32)
    zoomed = ndimage.zoom(coarse, size / count, order=1, mode="nearest", grid_mode=True)
    return zoomed[(slice(size),) * dims]
