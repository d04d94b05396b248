"""The shapes that the readings are compared on."""

import numpy as np


def ball(radius: float = 8, edge: int | None = None, centre: tuple[float, float, float] | None = None) -> np.ndarray:
    """Bool (edge, edge, edge): the voxels at most ``radius`` from the centre; at least two voxels of background."""
    edge = edge or 2 * int(radius) + 5
    at = centre or ((edge - 1) / 2,) * 3 if edge % 2 else centre or (edge // 2,) * 3
    squares = sum((axis - c) ** 2 for axis, c in zip(np.ogrid[:edge, :edge, :edge], at, strict=True))
    return np.asarray(squares <= radius**2)


def small_lesion() -> np.ndarray:
    """A ball of radius 6 in 48^3 voxels, 0.8 % of them: the imbalance that the paper is about."""
    return ball(6, 48)
