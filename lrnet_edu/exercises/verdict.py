"""What a check answers, and the frame that every check shares."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from lrnet_edu.figures.palette import BLUE, GREEN, ORANGE

COLORS = {None: BLUE, True: GREEN, False: ORANGE}
HEADS = {None: "Your turn.", True: "✓ Right.", False: "Not yet."}


@dataclass(frozen=True)
class Verdict:
    """Shows itself as the last line of a cell.

    Attributes:
        right: None where there is no answer yet.
        text: praise, a hint, or what to do.
    """

    right: bool | None
    text: str

    def __repr__(self) -> str:
        return f"{HEADS[self.right]} {self.text}"

    def _repr_html_(self) -> str:
        bar = f"border-left: 5px solid {COLORS[self.right]}; padding: 0.3em 0.8em"
        return f'<div style="{bar}"><b>{HEADS[self.right]}</b> {html.escape(self.text)}</div>'


def check(praise: str) -> Callable[[Callable[[Any], str | None]], Callable[[Any], Verdict]]:
    """A decorator that makes a check of a function from an answer to a hint, or to None where it is right.

    An answer that the function cannot work with, a text for a number or a function that raises, is wrong, not an
    error: the notebook runs on.

    Args:
        praise: what a right answer gets to read; it says why the answer matters.
    """

    def decorate(hint_for: Callable[[Any], str | None]) -> Callable[[Any], Verdict]:
        @functools.wraps(hint_for)
        def checked(answer: Any) -> Verdict:
            if answer is None:
                return Verdict(None, "Replace None above by your answer, then run both cells again.")
            try:
                hint = hint_for(answer)
            except Exception as problem:  # whatever a learner's own function raises
                hint = f"Your answer cannot be checked, it ends in {type(problem).__name__}: {problem}"
            return Verdict(True, praise) if hint is None else Verdict(False, hint)

        return checked

    return decorate


def close(answer: Any, value: float, tolerance: float) -> bool:
    """Whether a number, an array of one or a text such as "3/4" is right but for rounding."""
    number = Fraction(answer) if isinstance(answer, str) else answer.item() if hasattr(answer, "item") else answer
    return abs(float(number) - value) <= tolerance
