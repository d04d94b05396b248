"""What the course's notebooks share: their set-up, and the checks of their exercises.

A check returns a :class:`Verdict`, which shows itself: a note where there is no answer yet, praise, or a hint that
does not give the solution away. The solutions stand folded below the exercises, in the notebooks.
"""

import platform
import random

import matplotlib
import numpy as np
import torch

from lrnet_edu import __version__
from lrnet_edu.config import fast
from lrnet_edu.exercises import checks
from lrnet_edu.exercises.checks import *  # noqa: F403
from lrnet_edu.exercises.verdict import Verdict as Verdict
from lrnet_edu.figures.picture import STYLE
from lrnet_edu.support.devices import choose_device

__all__ = ["Verdict", "set_up", *(name for name in vars(checks) if name.startswith("check_"))]


def set_up(seed: int = 0) -> torch.device:
    """Set every seed, give matplotlib the course's letters and colours, and print versions, device and size.

    Returns CUDA where there is a GPU for it, else the CPU.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    matplotlib.rcParams.update(STYLE)
    device = choose_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(  # noqa: T201
        f"lrnet_edu {__version__}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"numpy {np.__version__}, matplotlib {matplotlib.__version__}\n"
        f"device: {device.type} ({name}); size: {'small (LRNET_EDU_FAST)' if fast() else 'normal'}; seed: {seed}"
    )
    return device
