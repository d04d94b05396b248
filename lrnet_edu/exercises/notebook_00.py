"""Checks of notebook 00, start here."""

from __future__ import annotations

from typing import Any

from lrnet_edu.exercises.verdict import check, close


@check("The LR-Net is a teacher: it is gone when the pupil, the M-Net, segments a patient.")
def check_0_1(answer: Any) -> str | None:
    """Which network is left at test time."""
    name = "".join(letter for letter in str(answer).lower() if letter.isalpha())
    if name == "lrnet":
        return "The LR-Net turns probabilities into a map. Do we need that map of a new patient? Look at the figure."
    return None if name == "mnet" else 'Answer with the name of a network, "M-Net" or "LR-Net".'


@check("Ten points of Dice from a training trick that costs nothing at test time: a claim worth checking.")
def check_0_2(answer: Any) -> str | None:
    """The gain in DC between two rows of Table 2: 0.751 - 0.647 = 0.104."""
    if close(answer, 10.4, 0.06) or close(answer, -0.104, 0.0006):
        return "Close: give the difference as it stands in the table, between 0 and 1, ours minus baseline."
    if close(answer, 0.288, 0.0006) or close(answer, 0.047, 0.0006):
        return "That is another column of Table 2. DC is the Dice per case."
    return None if close(answer, 0.104, 0.0006) else "Subtract the baseline's DC from the DC of the full method."


@check("Light in weights. Whether it is light in computing time, too, is measured in section 4.")
def check_0_3(answer: Any) -> str | None:
    """How many times as many weights the M-Net has."""
    from lrnet_edu.networks import LRNet, MNet

    main, light = (sum(weight.numel() for weight in net.parameters()) for net in (MNet(), LRNet()))
    if close(answer, light / main, 0.1 * light / main):
        return "That is the share of the LR-Net. Turn it around."
    return None if close(answer, main / light, 0.01 * main / light) else "Divide one number of weights by the other."
