"""The canvas that phantoms are painted on: coordinates, smooth noise, a few shapes, a soft brush.

A shape is an array (D, H, W) of signed distances in mm, negative inside. Minimum and maximum of distances are
union and intersection; ``smooth_union`` and ``carved``, a difference, have their creases rounded off.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

Array = np.ndarray
Point = Sequence[float] | Array  # (x, y, z) in mm
FAR = 1e3  # mm; the distance given to voxels too far away to matter
WARP_MM = 3.5  # how far the warp moves a point, one standard deviation; never more than twice as far


class Canvas:
    """Standard-body coordinates of every voxel, and the image so far."""

    def __init__(self, shape: Sequence[int], spacing: Sequence[float], scale: Array, rng: np.random.Generator):
        """All (z, y, x): voxels, mm per voxel, and how many times as large as the standard body the case is."""
        self.rng = rng
        self.axes = [(np.arange(n) - (n - 1) / 2) * s / k for n, s, k in zip(shape, spacing, scale, strict=True)]
        straight = np.meshgrid(*self.axes, indexing="ij")
        # (D, H, W) mm to the head, to the front and to the right, after the case's own scale and warp.
        self.z, self.y, self.x = (a + WARP_MM * self.noise(65.0).clip(-2, 2) for a in straight)
        self.image = np.full(shape, -1000.0)  # (D, H, W) HU, air at first
        self.fine, self.soft = self.noise(6.0), self.noise(14.0)  # (D, H, W), the texture of every tissue
        self.box: tuple[slice, ...] = (slice(None),) * 3  # where a part lies in the whole

    def part(self, centre: Array, reach: float) -> Canvas:
        """The piece of the canvas within ``reach`` mm of ``centre``: there, small things are painted fast."""
        part = copy.copy(self)
        part.box = self._box(centre, reach)
        part.axes = [axis[slice_] for axis, slice_ in zip(self.axes, part.box, strict=True)]
        for name in ("x", "y", "z", "image", "fine", "soft"):
            setattr(part, name, getattr(self, name)[part.box])  # views: painting shows in the whole
        return part

    def noise(self, size: float) -> Array:
        """Smooth noise (D, H, W) of mean 0 and deviation 1: Gaussian bumps ``size`` mm wide, of random height."""
        nodes = [np.arange(a[0] - 2 * size, a[-1] + 2 * size, size) for a in self.axes]
        field = self.rng.standard_normal([len(n) for n in nodes])
        for axis, node in zip(self.axes, nodes, strict=True):
            bump = np.exp(-0.5 * ((axis[:, None] - node) / (0.7 * size)) ** 2)  # (voxels, nodes)
            bump /= np.sqrt((bump**2).sum(1, keepdims=True))
            field = np.moveaxis(np.tensordot(bump, field, (1, 0)), 0, 2)  # three turns bring back (D, H, W)
        return field

    def ellipsoid(self, centre: Point, radii: Point, turn: Point = (0, 0), exact: bool = False) -> Array:
        """An ellipsoid, turned by degrees about z, then about its own y; unless ``exact`` individuals differ."""
        centre, radii = np.asarray(centre), np.asarray(radii)
        if not exact:
            centre = centre + self.rng.normal(0, 2.0, 3)
            radii = radii * np.exp(self.rng.normal(0, 0.04, 3))
        box = self._box(centre, radii.max() + 25)
        rotation = Rotation.from_euler("ZY", turn, degrees=True).as_matrix()
        dx, dy, dz = (a[box] - c for a, c in zip((self.x, self.y, self.z), centre, strict=True))
        unit = [(r[0] * dx + r[1] * dy + r[2] * dz) / radius for r, radius in zip(rotation.T, radii, strict=True)]
        level = np.sqrt(unit[0] ** 2 + unit[1] ** 2 + unit[2] ** 2).clip(1e-9)  # 1 on the surface
        slope = np.sqrt(sum((u / radius) ** 2 for u, radius in zip(unit, radii, strict=True)))
        distance = np.full(self.x.shape, FAR)
        distance[box] = level * (level - 1) / slope.clip(1e-9 / radii.max())  # exact to first order
        return distance

    def tubes(self, segments: list[tuple[Array, Array, float, float]]) -> Array:
        """The union of tapering tubes (start, end, radius at the start, radius at the end)."""
        distance = np.full(self.x.shape, FAR)
        for start, end, first, last in segments:
            way = end - start
            box = self._box((start + end) / 2, float(np.linalg.norm(way)) / 2 + first + 6)
            dx, dy, dz = (a[box] - c for a, c in zip((self.x, self.y, self.z), start, strict=True))
            t = ((dx * way[0] + dy * way[1] + dz * way[2]) / (way @ way)).clip(0, 1)  # nearest point of the axis
            off = np.sqrt((dx - t * way[0]) ** 2 + (dy - t * way[1]) ** 2 + (dz - t * way[2]) ** 2)
            distance[box] = np.minimum(distance[box], off - first - t * (last - first))
        return distance

    def path(self, points: Sequence[Point], radius: float) -> Array:
        """A tube of constant radius through ``points``, each moved by a millimetre or two."""
        knots = [np.array(p, float) + self.rng.normal(0, 1.5, 3) for p in points]
        return self.tubes([(a, b, radius, radius) for a, b in itertools.pairwise(knots)])

    def paint(self, distance: Array, hu: float | Array, edge: float = 1.5) -> None:
        """Cover what lies inside with ``hu``, fading over ``edge`` mm on both sides of the border."""
        touched = distance < edge
        cover = (0.5 - distance[touched] / (2 * edge)).clip(0, 1)
        colour = hu[touched] if isinstance(hu, np.ndarray) else hu
        self.image[touched] += cover * (colour - self.image[touched])

    def paint_layers(self, distance: Array, layers: dict[float, float | Array]) -> None:
        """Paint a shape from the outside to the inside: the HU that begins at each depth in mm."""
        for depth, hu in layers.items():
            self.paint(distance + depth, hu)

    def _box(self, centre: Array, reach: float) -> tuple[slice, ...]:
        """Index box (z, y, x) of all within ``reach`` mm of ``centre`` (x, y, z), warp included."""
        reach = reach + 2 * WARP_MM
        ends = [np.searchsorted(a, (c - reach, c + reach)) for a, c in zip(self.axes, centre[::-1], strict=True)]
        return tuple(slice(*e) for e in ends)


def smooth_union(a: Array, b: Array, width: float) -> Array:
    """Union of two shapes, the crease filled over ``width`` mm (quadratic smooth minimum)."""
    return np.minimum(a, b) - (width - np.abs(a - b)).clip(0) ** 2 / (4 * width)


def carved(shape: Array, *neighbours: tuple[Array, float, float]) -> Array:
    """What of a shape is at least so many mm away from each neighbour, the crease rounded over so many mm."""
    for neighbour, gap, width in neighbours:
        shape = -smooth_union(-shape, neighbour - gap, width)
    return shape
