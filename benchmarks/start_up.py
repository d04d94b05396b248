"""How long a user waits for an import and for the first help text; each in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from benchmarks.timing import Row, in_turns

COMMANDS = {
    "python": ["-c", "pass"],
    "import torch": ["-c", "import torch"],
    "import lrnet_edu": ["-c", "import lrnet_edu"],
    "from lrnet_edu import MNet": ["-c", "from lrnet_edu import MNet"],
    "lrnet-edu --help": ["-m", "lrnet_edu", "--help"],
}


def rows(quick: bool) -> Iterator[Row]:
    """Medians over processes that take turns, after one of each that fills the disk's cache."""

    def run(command: list[str]) -> None:
        subprocess.run([sys.executable, *command], check=True, capture_output=True)

    calls = {name: partial(run, command) for name, command in COMMANDS.items()}
    in_turns(calls, 1)
    median = in_turns(calls, 2 if quick else 7)
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
