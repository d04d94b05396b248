"""How long a user waits for an import and for the first help text; each in a process of its own."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks import timing
from benchmarks.timing import Row, Size

COMMANDS = {
    "python": ["-c", "pass"],
    "import torch": ["-c", "import torch"],
    "import lrnet_edu": ["-c", "import lrnet_edu"],
    "from lrnet_edu import MNet": ["-c", "from lrnet_edu import MNet"],
    "lrnet-edu --help": ["-m", "lrnet_edu", "--help"],
}


def children_clock() -> float:
    """``timing.clock`` for the work of other processes."""
    if timing.clock is time.perf_counter:
        return time.perf_counter()
    spent = os.times()
    return spent.children_user + spent.children_system


def rows(size: Size) -> Iterator[Row]:
    """Medians over processes that take turns, after one of each that fills the disk's cache."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(3 if size.quick else 8):
        for name, command in COMMANDS.items():
            started = children_clock()
            subprocess.run([sys.executable, *command], check=True, capture_output=True)
            if turn:
                seconds[name].append(children_clock() - started)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    torch = median["import torch"]
    yield Row("a Python that does nothing", median["python"])
    for name in ("import lrnet_edu", "from lrnet_edu import MNet"):
        row = Row(name, median[name], {"import torch": torch})
        row.target, row.reached = "torch + 0.3 s", median[name] <= torch + 0.3
        yield row
    yield Row("lrnet-edu --help", median["lrnet-edu --help"]).limit(0.5)
    code = "import sys; from lrnet_edu.cli import app; print('torch' in sys.modules)"
    loads = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    yield Row("torch loaded by lrnet-edu --help", float(loads == "True"), unit="times").limit(0)
