"""What the course's notebooks share: their set-up, and the checks of their exercises.

A check returns a :class:`Verdict`, which shows itself: a note where there is no answer yet, praise, or a hint that
does not give the solution away. The solutions stand folded below the exercises, in the notebooks.
"""

from __future__ import annotations

from lrnet_edu.exercises import checks
from lrnet_edu.exercises.checks import *  # noqa: F403
from lrnet_edu.exercises.session import set_up as set_up
from lrnet_edu.exercises.verdict import Verdict as Verdict

__all__ = ["Verdict", "set_up", *(name for name in vars(checks) if name.startswith("check_"))]
