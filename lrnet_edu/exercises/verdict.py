"""What a check answers, and the frame that every check shares."""

import functools
import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from lrnet_edu.figures.palette import BLUE, GREEN, ORANGE
from lrnet_edu.support.arrays import plain_array
from lrnet_edu.support.errors import InputError

LOOKS = {None: (BLUE, "Your turn."), True: (GREEN, "✓ Right."), False: (ORANGE, "Not yet.")}
ROUNDING = 0.04  # relative error of a number that is right
Check = Callable[[Any], "Verdict"]


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


def check(praise: str) -> Callable[[Callable[[Any], str | None]], Check]:
    """A decorator that makes a check of a function from an answer to a hint, or to None where it is right.

    An answer that the function cannot work with, a text for a number or a function that raises, is wrong, not an
    error: the notebook runs on. The sentence of an InputError is the hint.

    Args:
        praise: what a right answer gets to read; it says why the answer matters.
    """

    def decorate(hint_for: Callable[[Any], str | None]) -> Check:
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


def short_answer(right: tuple[float | str, str], *wrong: tuple[Any, str], hint: str) -> Check:
    """The check of a number or a word: the right one with its praise, wrong ones with their hints, any other's hint."""
    if not isinstance(right[0], str) and 0 < right[0] < 1:
        wrong = (*wrong, (100 * right[0], "Give it as a share, not in per cent."))
    return check(right[1])(lambda answer: compared(answer, right[0], *wrong, hint=hint))


def compared(answer: Any, right: Any, *wrong: tuple[Any, str], hint: str) -> str | None:
    """None for the right number, word or array; for a wrong one, or one of a list of such, its hint; else ``hint``."""
    for rounding in (ROUNDING / 100, ROUNDING):  # first whether it is one of them with all its digits
        for known, its_hint in [(right, None), *wrong]:
            if any(same(answer, one, rounding) for one in (known if isinstance(known, list) else [known])):
                return its_hint
    return hint


def same(answer: Any, known: Any, rounding: float = ROUNDING) -> bool:
    """Whether two words or arrays are alike, or two numbers but for rounding."""
    if isinstance(known, str):
        return re.findall(r"[a-z]", str(answer).lower()) == re.findall(r"[a-z]", known.lower())
    if isinstance(known, float | int):
        return abs(number(answer) - known) <= rounding * abs(known)
    return bool(np.abs(answer - known).max() <= 1e-3 * np.abs(known).max())


def number(answer: Any) -> float:
    """A number, an array of one, or a text such as "3/4"."""
    try:
        value = answer.item() if hasattr(answer, "item") else answer
        return float(Fraction(value) if isinstance(value, str) else value)
    except (TypeError, ValueError):
        raise InputError(f"{answer!r:.40} is no number; give one without a unit, such as 0.25.") from None


def shaped(given: Any, shape: tuple[int, ...]) -> np.ndarray:
    """What a learner's function gave, a tensor or nested lists too, as an array of this shape."""
    if given is None:
        raise InputError("Your function gives nothing back; end it with return.")
    array = plain_array(given, "result").astype(float)
    if array.shape != tuple(shape):
        raise InputError(f"The result should have the shape {tuple(shape)}; yours has {array.shape}.")
    return array
