"""What the course's notebooks share: their set-up, and the checks of their exercises, one module a notebook.

``check_1_2(answer)`` judges exercise 1.2, the second of notebook 01. It returns a :class:`Verdict`, which shows
itself: a note where there is no answer yet, praise, or a hint that does not give the solution away. The solutions
stand folded below the exercises, in the notebooks.
"""

from __future__ import annotations

from lrnet_edu.exercises.notebook_00 import check_0_1, check_0_2, check_0_3
from lrnet_edu.exercises.notebook_01 import check_1_1, check_1_2, check_1_3, check_1_4
from lrnet_edu.exercises.notebook_02 import check_2_1, check_2_2, check_2_3
from lrnet_edu.exercises.notebook_03 import check_3_1, check_3_2, check_3_3, check_3_4
from lrnet_edu.exercises.notebook_04 import check_4_1, check_4_2, check_4_3
from lrnet_edu.exercises.notebook_05 import check_5_1, check_5_2, check_5_3
from lrnet_edu.exercises.notebook_06 import check_6_1, check_6_2, check_6_3
from lrnet_edu.exercises.notebook_07 import check_7_1, check_7_2, check_7_3, check_7_4
from lrnet_edu.exercises.notebook_08 import check_8_1, check_8_2, check_8_3, check_8_4
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
    "check_3_1",
    "check_3_2",
    "check_3_3",
    "check_3_4",
    "check_4_1",
    "check_4_2",
    "check_4_3",
    "check_5_1",
    "check_5_2",
    "check_5_3",
    "check_6_1",
    "check_6_2",
    "check_6_3",
    "check_7_1",
    "check_7_2",
    "check_7_3",
    "check_7_4",
    "check_8_1",
    "check_8_2",
    "check_8_3",
    "check_8_4",
    "set_up",
]
