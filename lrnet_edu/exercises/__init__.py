"""What the course's notebooks share: their set-up, and the checks of their exercises, one module a notebook.

``check_1_2(answer)`` judges exercise 1.2, the second of notebook 01. It returns a :class:`Verdict`, which shows
itself: a note where there is no answer yet, praise, or a hint that does not give the solution away. The solutions
stand folded below the exercises, in the notebooks.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from lrnet_edu.exercises.session import set_up as set_up
from lrnet_edu.exercises.verdict import Verdict as Verdict

EXERCISES = (3, 4, 3, 4, 3, 3, 3, 4, 4)  # of the notebooks 00 to 08
_CHECKS = [f"check_{notebook}_{k}" for notebook, number in enumerate(EXERCISES) for k in range(1, number + 1)]

__all__ = ["Verdict", "set_up", *_CHECKS]


def __getattr__(name: str) -> Any:
    if name in _CHECKS:
        return getattr(import_module(f"{__name__}.notebook_{int(name.split('_')[1]):02}"), name)
    raise AttributeError(f"There is no check {name!r}; look at the exercise's cell.")
