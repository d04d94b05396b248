"""Checks of notebook 06, results and viewers."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrnet_edu.exercises.verdict import check, close


@check("Specks are gone, and so is every true lesion of that size: a filter is a decision about patients.")
def check_6_1(answer: Any) -> str | None:
    """A function that drops the 26-connected components of fewer than ``smallest`` voxels."""
    mask = np.zeros((8, 9, 10), dtype=bool)  # (D, H, W)
    mask[1:4, 1:4, 1:4] = True  # 27 voxels
    mask[6, 6, 6] = mask[7, 7, 7] = True  # 2 voxels that touch at a corner
    mask[0, 8, 9] = True  # 1 voxel
    given = mask.copy()
    for smallest, kept in ((1, 30), (2, 29), (3, 27), (27, 27), (28, 0)):
        yours = np.asarray(answer(given, smallest))
        if not np.array_equal(given, mask):
            return "The mask that came in has been changed. Work on a copy."
        if yours.shape != mask.shape:
            return f"The result should have the mask's shape {mask.shape}; yours has {yours.shape}."
        if (yours.astype(bool) & ~mask).any():
            return "There is something where the mask was empty. Is the background a component, too?"
        voxels = int(np.count_nonzero(yours))
        if smallest == 2 and voxels == 27:
            return "Two voxels that touch at a corner are one component of 2 (26 neighbours); yours took them apart."
        if voxels != kept:
            return f"Of parts of 27, 2 and 1 voxels {kept} should stay at smallest = {smallest}, you keep {voxels}."
    return None


@check("Three of four patients have been failed, and DG says 0.99. Ask for both.")
def check_6_2(answer: Any) -> str | None:
    """(DC, DG) of four cases: 1/4, and 6000 / 6060."""
    if np.shape(answer) != (2,):
        return "Give two numbers, (DC, DG)."
    dc, dg = (float(value) for value in answer)
    right = 6000 / 6060
    if close(dc, right, 0.001) and close(dg, 0.25, 0.001):
        return "Both values are right, their order is not: DC first."
    if not close(dc, 0.25, 0.001):
        return "DC: each patient's own Dice, then the mean over the four patients."
    hint = "DG: all intersections together, and all sizes together; nothing found has size 0."
    return None if close(dg, right, 0.001) else hint


@check("The table prints 0.292. Its DC and VOE cannot be means over the same cases: read tables with a pencil.")
def check_6_3(answer: Any) -> str | None:
    """The lower bound of the mean VOE at DC = 0.647: 1 - DC."""
    if close(answer, 1 - 0.647 / (2 - 0.647), 0.001):
        return "That is the VOE if all cases were alike. Cases that differ can have a lower mean: how low?"
    if close(answer, 0.292, 0.0005):
        return "That is what the paper prints. What is the smallest that is possible?"
    hint = "VOE = 1 - J, and J is never above D. What does that say about the means?"
    return None if close(answer, 0.353, 0.001) else hint
