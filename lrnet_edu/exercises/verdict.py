"""What a check answers, and the frame that every check shares."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from lrnet_edu.figures.palette import BLUE, GREEN, ORANGE
from lrnet_edu.support.arrays import plain_array
from lrnet_edu.support.errors import InputError

LOOKS = {None: (BLUE, "Your turn."), True: (GREEN, "✓ Right."), False: (ORANGE, "Not yet.")}


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
        return f"{LOOKS[self.right][1]} {self.text}"

    def _repr_html_(self) -> str:
        colour, head = LOOKS[self.right]
        bar = f"border-left: 5px solid {colour}; padding: 0.3em 0.8em"
        return f'<div style="{bar}"><b>{head}</b> {html.escape(self.text)}</div>'


def check(praise: str) -> Callable[[Callable[[Any], str | None]], Callable[[Any], Verdict]]:
    """A decorator that makes a check of a function from an answer to a hint, or to None where it is right.

    An answer that the function cannot work with, a text for a number or a function that raises, is wrong, not an
    error: the notebook runs on. The sentence of an InputError is the hint.

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
            except InputError as problem:
                hint = str(problem)
            except Exception as problem:  # whatever a learner's own function raises
                hint = f"Your answer cannot be checked, it ends in {type(problem).__name__}: {problem}"
            return Verdict(True, praise) if hint is None else Verdict(False, hint)

        return checked

    return decorate


def number(
    right: float, wrong: Mapping[Any, str], *, hint: str, praise: str, within: float = 0.03
) -> Callable[[Any], Verdict]:
    """A check of a number; the arguments are those of ``compared`` and ``check``."""
    return check(praise)(lambda answer: compared(answer, right, wrong, hint, within))


def compared(answer: Any, right: float, wrong: Mapping[Any, str], hint: str, within: float = 0.03) -> str | None:
    """None for the right number, else the hint for it.

    Args:
        wrong: number that learners take for the right one, or several in a tuple -> their hint.
        hint: for any other number.
        within: relative error that is rounding.
    """
    for numbers, its_hint in {right: None, **wrong}.items():
        if any(close(answer, value, within * abs(value)) for value in np.atleast_1d(numbers)):
            return its_hint
    return hint


def close(answer: Any, value: float, tolerance: float) -> bool:
    """Whether a number, an array of one or a text such as "3/4" is right but for rounding."""
    number = Fraction(answer) if isinstance(answer, str) else answer.item() if hasattr(answer, "item") else answer
    return abs(float(number) - value) <= tolerance


def shaped(given: Any, shape: tuple[int, ...]) -> np.ndarray:
    """What a learner's function gave, a tensor or nested lists too, as an array of this shape."""
    array = plain_array(given, "result").astype(float)
    if array.shape != tuple(shape):
        raise InputError(f"The result should have the shape {tuple(shape)}; yours has {array.shape}.")
    return array
