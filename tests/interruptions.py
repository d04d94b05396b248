"""Commands that are killed on purpose: a process that has everything imported and is forked for each of them.

``kill -9`` comes either after a given CPU time (of the command and the processes it started) or just before the n-th
change of the file system below the command's folders; both are the same on a busy machine.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, safe_open

COMMANDS = {
    "preprocessing": "",  # the part of train that comes first, with a cache of its own
    "preprocessing by two processes": "",
    "pretraining": "pretrain --synthetic --out {out} --device cpu --resume",
    "training": "train --data {scans} --label 1 --method mapdice+lrnet --out {out} --device cpu --resume",
    "reproduce": "reproduce table2 --data {scans} --label 1 --out {out} --seeds 1 --device cpu",
    "reproduce by two processes": "reproduce table2 --data {scans} --label 1 --out {out} --seeds 1 --device cpu"
    " --workers 2",
    "predict": "predict {run} {scans} {out} --device cpu --probabilities",
}
ROWS = 2  # of Table 2 that reproduce runs
CHANGES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}  # audit events before the file system changes


@dataclass(frozen=True)
class Outcome:
    """How a command ended: exit code (-9: killed), CPU seconds, changes of the file system, what it printed."""

    code: int
    seconds: float
    changes: int
    text: str


class Commands:
    """Runs the commands, each in a fork of one process that holds the imported package."""

    def __init__(self, work: Path, scans: Path, run: Path) -> None:
        self.work, self.scans, self.run = work, scans, run
        environment = {**os.environ, "LRNET_EDU_FAST": "1", "LRNET_EDU_CACHE": str(work / "cache"),
                       "OMP_NUM_THREADS": "1"}  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def do(self, command: str, out: Path, *, seconds: float | None = None, changes: int | None = None) -> Outcome:
        """Run a command to its end, or kill it after so many CPU seconds or before so many changes."""
        words = COMMANDS[command].format(out=out, scans=self.scans, run=self.run).split()
        order = {"command": command, "words": words, "out": str(out), "scans": str(self.scans),
                 "log": str(self.work / "log.txt"), "seconds": seconds, "changes": changes}  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return Outcome(**json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


# ---- what is left -----------------------------------------------------------------------------------------------


def left_behind(folder: Path) -> list[str]:
    """Unfinished files, locks, everything hidden below a folder."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*")
            if path.name.startswith(".") or path.suffix in (".part", ".tmp", ".lock")]  # fmt: skip


def content(folder: Path) -> dict[str, Any]:
    """All files below a folder, bit for bit, except for seconds and for where the folder is."""
    return {str(path.relative_to(folder)): _content(path, str(folder)) for path in folder.rglob("*") if path.is_file()}


def _content(path: Path, folder: str) -> Any:
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["lrnet_edu"])
        return _timeless(facts), {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_text("utf-8").replace(folder, "OUT")))
    if path.name == "log.csv":
        with path.open(encoding="utf-8") as file:
            return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]
    if path.suffix == ".md":
        lines = path.read_text("utf-8").replace(folder, "OUT").splitlines()
        return [line for line in lines if not line.startswith("- Seconds")]
    return path.read_bytes()


def _timeless(facts: Any) -> Any:
    if isinstance(facts, dict):
        return {key: _timeless(value) for key, value in facts.items() if key != "seconds"}
    return [_timeless(value) for value in facts] if isinstance(facts, list) else facts


# ---- the process that is forked ---------------------------------------------------------------------------------


def serve() -> None:
    """Read orders line by line, fork for each, and say how it ended."""
    import matplotlib.pyplot  # noqa: F401
    import SimpleITK  # noqa: F401
    import torchio  # noqa: F401

    import lrnet_edu.study.runs  # noqa: F401

    for line in sys.stdin:
        order = json.loads(line)
        note = Path(order["log"] + ".changes")
        note.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            obey(order, note)
        code, seconds = watch(child, order["seconds"])
        counted = int(note.read_text("utf-8")) if note.exists() else 0
        text = Path(order["log"]).read_text("utf-8", "replace")
        answer = json.dumps({"code": code, "seconds": seconds, "changes": counted, "text": text})
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def obey(order: dict[str, Any], note: Path) -> None:
    """In the fork: the command, and the count of its changes; never returns."""
    os.setsid()
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(log, number)
    count, places = 0, (order["out"], os.environ["LRNET_EDU_CACHE"])

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in CHANGES or not str(arguments[0]).startswith(places):
            return
        if event != "open" or arguments[2] & (os.O_WRONLY | os.O_RDWR):
            count += 1
            if count == order["changes"]:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    code = 1
    try:
        perform(order)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    note.write_text(str(count), "utf-8")
    os._exit(code)


def perform(order: dict[str, Any]) -> None:
    """What the user would have typed."""
    from dataclasses import replace

    from lrnet_edu import lrnet_training as pretraining
    from lrnet_edu.cli import main
    from lrnet_edu.config import preset
    from lrnet_edu.data import cache
    from lrnet_edu.data.study import open_study
    from lrnet_edu.study.rows import TABLES

    if order["command"].startswith("preprocessing"):
        os.environ["LRNET_EDU_CACHE"] = order["out"]
        if "two" in order["command"]:
            cache._default_workers = lambda cases: 2  # what larger scans would get
        open_study(Path(order["scans"]), preset(label="1"))
        return
    few = pretraining.held_out_shapes(2, 24)
    pretraining.held_out_shapes = lambda: few
    TABLES["table2"] = replace(TABLES["table2"], rows=TABLES["table2"].rows[:ROWS])
    sys.argv = ["lrnet-edu", *order["words"]]
    main()


def watch(child: int, deadline: float | None) -> tuple[int, float]:
    """Wait for a process and all that it started; kill it once they have used up their CPU seconds."""
    seconds, code = 0.0, None
    while code is None:
        seconds = max(seconds, sum(map(cpu_seconds, family(child))))
        if deadline is not None and seconds >= deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            deadline = None
        ended, status = os.waitpid(child, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if ended else None
        time.sleep(0.001)
    while any(session == child for session in sessions()):  # its worker processes notice and end
        time.sleep(0.01)
    return code, seconds


def family(parent: int) -> Iterator[int]:
    yield parent
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{parent}/task/{parent}/children").read_text("utf-8").split():
            yield from family(int(child))


def cpu_seconds(process: int) -> float:
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text("utf-8").split()[0]) / 1e9
    except (OSError, IndexError):
        return 0.0


def sessions() -> Iterator[int]:
    """The session of every living process."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, session = entry.read_text("utf-8").rpartition(")")[2].split()[:4]
            if state != "Z":
                yield int(session)


def fresh(folder: Path) -> Path:
    """The path of an output folder that is not there yet."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


if __name__ == "__main__":
    serve()
