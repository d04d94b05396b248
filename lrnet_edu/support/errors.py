"""The one exception a learner meets: what is wrong, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any


class InputError(ValueError):
    """Something that was given (a file, an array, an option) cannot be used.

    The message is one sentence that says what is wrong and what to do about it. The command line prints it
    and exits with code 2; in Python it is an ordinary ``ValueError``.
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
