"""The one exception a learner meets: what is wrong, and what to do."""

from __future__ import annotations


class InputError(ValueError):
    """Something that was given (a file, an array, an option) cannot be used.

    The message is one sentence that says what is wrong and what to do about it. The command line prints it
    and exits with code 2; in Python it is an ordinary ``ValueError``.
    """
