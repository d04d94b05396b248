"""Settings that cannot be, told in a sentence when they are set."""

from __future__ import annotations

import math
from typing import Any

from lrnet_edu.support.errors import InputError


def check_whole(name: str, value: Any, *, least: int) -> None:
    """InputError unless a setting is a whole number of at least this."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} is {value!r}; give a whole number (an int) of at least {least}.")


def check_number(name: str, value: Any, *, below: float = math.inf) -> None:
    """InputError unless a setting is a number above 0 and below this."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < below:
        raise InputError(f"{name} is {value!r}; give a number (a float) above 0 and below {below:g}.")


def checked_range(name: str, given: Any) -> tuple[float, float]:
    """A range (low, high) as two floats; InputError unless low < high."""
    try:
        low, high = (float(number) for number in given)
    except (TypeError, ValueError):  # not two, or no numbers
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise InputError(f"{name} is {given!r}: give (low, high), two finite numbers with low < high.")
    return low, high
