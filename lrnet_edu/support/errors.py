"""The one exception a learner meets, which says what is wrong and what to do, and the checks that raise it."""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Any


class InputError(ValueError):
    """A file, an array or an option cannot be used: one sentence that says what is wrong and what to do about it.

    The command line prints it and exits with code 2; in Python it is an ordinary ``ValueError``.
    """


def check_each(check: Callable[[Any], object], files: Iterable[Any]) -> None:
    """Check files one by one, and raise a single InputError for all that cannot be used."""
    faults = []
    for file in files:
        try:
            check(file)
        except InputError as error:
            faults.append(str(error))
    raise_together(faults)


def raise_together(faults: Sequence[str]) -> None:
    """One InputError for the sentences of several, if there are any."""
    if faults:
        number = f"{len(faults)} cannot be used: " if len(faults) > 1 else ""
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise InputError(f"{number}{'; '.join(fault.rstrip('.') for fault in faults[:5])}{more}.")


def check_whole(name: str, value: Any, *, least: int) -> None:
    """InputError unless a setting is a whole number of at least this."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} is {value!r}; give a whole number (an int) of at least {least}.")


def checked_number(name: str, value: Any, *, least: float = 0.0, most: float = sys.float_info.max) -> float:
    """A setting as a float; InputError unless it is a number, Python's or NumPy's, between these two."""
    if not isinstance(value, Real) or isinstance(value, bool) or not least <= float(value) <= most:
        highest = f" and at most {most:g}" if most <= 1 else ""
        raise InputError(f"{name} is {value!r}; give a finite number of at least {least:g}{highest}.")
    return float(value)


def check_finite(value: float, what: str, where: str) -> float:
    """The value of a loss; InputError if it is NaN or infinite."""
    if not math.isfinite(value):
        raise InputError(
            f"The {what} became {value} at {where}; look at these cases, or lower the learning rate or alpha."
        )
    return value


def checked_range(name: str, given: Any) -> tuple[float, float]:
    """A range (low, high) as two floats; InputError unless low < high."""
    try:
        low, high = (float(number) for number in given)
    except (TypeError, ValueError):  # not two, or no numbers
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise InputError(f"{name} is {given!r}: give (low, high), two finite numbers with low < high.")
    return low, high
