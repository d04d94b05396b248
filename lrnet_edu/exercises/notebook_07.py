"""Checks of notebook 07, tables of the paper."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrnet_edu.exercises.verdict import check, close
from lrnet_edu.study.statistics import holm


@check(
    "The last place, in bold. A quarter of every lesion's volume is missing on average: small is not good with a sign."
)
def check_7_1(answer: Any) -> str | None:
    """The place of WCE's RVD, -0.253, among the thirteen by size; the next largest are 0.126 and 0.118."""
    if close(answer, 1, 0):
        return "It is the smallest number. But how far from 0 is it, beside the others?"
    return None if close(answer, 13, 0) else "Drop the signs of the RVD column, sort it, and find 0.253."


@check("In one of seven, DC. With the LR-Net beside it MapDice is better in all seven: a table needs reading by pairs.")
def check_7_2(answer: Any) -> str | None:
    """Criteria in which M-Net + MapDice beats M-Net + Dice in Table 2: DC alone (0.661 against 0.647)."""
    if close(answer, 7, 0):
        return "That is the comparison with the LR-Net in both rows. Take the first two rows of Table 2."
    if close(answer, 6, 0):
        return "Count once more: DC and DG want to be large, the other five near 0."
    return None if close(answer, 1, 0) else "Compare the first two rows of Table 2, criterion by criterion."


@check(
    "Six, and then only if every single patient agrees. With Holm's correction for twelve comparisons it takes nine."
)
def check_7_3(answer: Any) -> str | None:
    """The smallest n with 2 / 2^n < 0.05."""
    if close(answer, 5, 0):
        return "Five patterns of signs in a row: is 2 / 2^5 below 0.05? And did you count both sides?"
    return None if close(answer, 6, 0) else "The best outcome is all + (or all -): p = 2 / 2^n. When does it pass 0.05?"


@check("That is Holm's correction: as safe as multiplying all of them by m (Bonferroni), and never weaker.")
def check_7_4(answer: Any) -> str | None:
    """Holm's corrected p-values, in the given order."""
    for p_values in ([0.01, 0.04, 0.03], [0.2, 0.001, 0.5, 0.02, 0.02], [0.3], [0.012, 0.9, 0.011, 0.8]):
        yours = np.asarray(answer(list(p_values)), dtype=float)
        if yours.shape != (len(p_values),):
            return f"{len(p_values)} p-values should come back; yours has the shape {yours.shape}."
        if yours.max() > 1:
            return f"A corrected p-value is {yours.max():.2f}: a probability does not exceed 1."
        right = holm(p_values)
        if np.allclose(yours, right):
            continue
        if np.allclose(np.sort(yours), np.sort(right)):
            return f"The values of {p_values} are right, their order is not: give them back as they came."
        if np.allclose(yours, np.minimum(np.multiply(p_values, len(p_values)), 1)):
            return "That multiplies every one by m, which is Bonferroni. The second smallest is multiplied by m - 1."
        found, wanted = (", ".join(f"{value:.3g}" for value in values) for values in (yours, right))
        return f"{p_values} should become {wanted}; yours gives {found}."
    return None
