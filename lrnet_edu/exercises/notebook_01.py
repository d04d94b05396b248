"""Checks of notebook 01, distance maps."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrnet_edu.distance_maps import distance_map
from lrnet_edu.exercises.verdict import check, close


@check("With one maximum for the whole image a small lesion looks shallow: 0.75 at its deepest voxel instead of 0.5.")
def check_1_1(answer: Any) -> str | None:
    """phi of the 3 x 3 lesion's deepest voxel with the image's M = 4 in place of its own: (4 + 1 - 2) / 4."""
    if close(answer, 0.5, 0.01):
        return "That is phi with the lesion's own maximum. What changes when M is that of the large lesion?"
    hint = "Read D of the small lesion's middle in the table, and put the large lesion's M into the formula."
    return None if close(answer, 0.75, 0.01) else hint


@check("A map that is cropped tells the network of a depth that it cannot see. Crop the mask, then compute the map.")
def check_1_2(answer: Any) -> str | None:
    """Crop of a map minus map of a crop, for D = 3, M = 10 before and 6 after: 0.8 - 0.667 = 0.133."""
    difference = (10 + 1 - 3) / 10 - (6 + 1 - 3) / 6
    if close(answer, -difference, 0.005):
        return "The size is right, the sign is not: take the cropped map minus the map of the crop."
    hint = "D of the voxel is 3 both times, only M differs. Compute phi twice and subtract."
    return None if close(answer, difference, 0.005) else hint


@check("So the formula holds in voxels and in mm, and phi never exceeds 1.")
def check_1_3(answer: Any) -> str | None:
    """NI-DM of one component from its O-DM in mm: (M + m - D) / M inside, 0 outside."""
    ball = np.hypot(np.hypot(*np.ogrid[-9:10, -9:10])[None], np.arange(-9, 10)[:, None, None]) < 7.5  # (D, H, W)
    for spacing in ((1.0, 1.0, 1.0), (0.7, 0.7, 0.7), (3.0, 1.0, 1.0)):
        distances = distance_map(ball, "O-DM", spacing=spacing)  # (D, H, W)
        yours = np.asarray(answer(distances.copy()), dtype=float)
        if yours.shape != distances.shape:
            return f"The map should keep the shape {distances.shape} of D; yours has {yours.shape}."
        if not np.abs(yours[~ball]).max() <= 1e-6:  # nor if it is no number
            return "Outside the object, where D is 0, phi has to be 0."
        if not np.abs(yours - distance_map(ball, "NI-DM", spacing=spacing)).max() <= 1e-4:
            return f"At {spacing} mm it goes wrong: phi reaches {yours.max():.3f}. What should stand in for the 1?"
    return None


@check("Beyond 20 voxels of depth the threshold drills a hole into the lesion: a threshold is not an inverse.")
def check_1_4(answer: Any) -> str | None:
    """The M_C at which 1 / M_C falls to the threshold 0.05."""
    if close(answer, 0.05, 1e-6):
        return "That is the threshold. Which M_C brings the deepest voxel down to it?"
    return None if close(answer, 20, 0.01) else "What is phi where D = M_C? Set it equal to the threshold."
