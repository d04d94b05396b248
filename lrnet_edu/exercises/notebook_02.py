"""Checks of notebook 02, CT data and imbalance."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrnet_edu.data.nifti import read_mask
from lrnet_edu.data.samples import sample_folder
from lrnet_edu.exercises.verdict import check, close


@check("That is the window transform: everything that is not soft tissue is pressed against 0 or 1.")
def check_2_1(answer: Any) -> str | None:
    """The window from -200 to 250 HU as a function of an array."""
    hu = np.array([[-1000.0, -200.0, 25.0], [100.0, 250.0, 1500.0]])
    yours = np.asarray(answer(hu.copy()), dtype=float)
    if yours.shape != hu.shape:
        return f"The function should keep the shape {hu.shape} of the image; yours gives {yours.shape}."
    if not (close(yours[0, 1], 0, 1e-3) and close(yours[1, 1], 1, 1e-3)):
        return f"-200 HU should become 0 and 250 HU 1; yours gives {yours[0, 1]:.3f} and {yours[1, 1]:.3f}."
    if not (close(yours[0, 0], 0, 1e-3) and close(yours[1, 2], 1, 1e-3)):
        return f"The ends are right, but air becomes {yours[0, 0]:.2f} and bone {yours[1, 2]:.2f}, not 0 and 1."
    between = close(yours[0, 2], 0.5, 1e-3) and close(yours[1, 0], 2 / 3, 1e-3)
    return None if between else "The ends are right; between them it should be a straight line."


@check("A loss that counts voxels hears the background that many times before it hears the lesion once.")
def check_2_2(answer: Any) -> str | None:
    """Voxels that are not lesion per voxel that is, in volume-1."""
    mask = read_mask(sample_folder() / "segmentation-1.nii.gz").data  # (D, H, W)
    lesion = int((mask == 2).sum())
    ratio = (mask.size - lesion) / lesion
    if close(answer, int((mask == 1).sum()) / lesion, 0.01 * ratio):
        return "That counts the liver alone. What is background when the lesion is the object?"
    if close(answer, 1 / ratio, 0.01 / ratio) or close(answer, 1 / (ratio + 1), 0.01 / ratio):
        return "That is the lesion's share; asked is how many other voxels come with each of its voxels."
    return None if close(answer, ratio, 0.01 * ratio) else "Count mask == 2 and mask != 2 in 'volume-1', and divide."


@check("A lesion keeps its millilitres, not its voxels. Whoever filters by voxel counts should know the grid.")
def check_2_3(answer: Any) -> str | None:
    """Voxels of a 10 ml lesion at 3 mm: 10,000 / 27."""
    if close(answer, 10_000 / (5 * 2.7 * 2.7), 3):
        return "That is its number of voxels before resampling. How large is a voxel afterwards?"
    if close(answer, 10 / 27, 0.01) or close(answer, 1000 / 27, 1):
        return "Mind the units: one millilitre is 1 cm x 1 cm x 1 cm."
    return None if close(answer, 10_000 / 27, 3) else "Divide the lesion's volume by that of one new voxel, in mm³."
