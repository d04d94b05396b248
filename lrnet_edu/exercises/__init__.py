"""What the course's notebooks share: their set-up, and the checks of their exercises, one module a notebook.

``check_1_2(answer)`` judges exercise 1.2, the second of notebook 01. It returns a :class:`Verdict`, which shows
itself: a note where there is no answer yet, praise, or a hint that does not give the solution away. The solutions
stand folded below the exercises, in the notebooks.
"""

from __future__ import annotations

from lrnet_edu.exercises.notebook_00 import check_0_1, check_0_2, check_0_3
from lrnet_edu.exercises.notebook_01 import check_1_1, check_1_2, check_1_3, check_1_4
from lrnet_edu.exercises.notebook_02 import check_2_1, check_2_2, check_2_3
from lrnet_edu.exercises.session import set_up
from lrnet_edu.exercises.verdict import Verdict

__all__ = [
    "Verdict",
    "check_0_1",
    "check_0_2",
    "check_0_3",
    "check_1_1",
    "check_1_2",
    "check_1_3",
    "check_1_4",
    "check_2_1",
    "check_2_2",
    "check_2_3",
    "set_up",
]
