"""kill -9 at random moments: the same command then finishes, with the result of an uninterrupted run, bit for bit."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scans import checkpoint, lits
from toys import rows_of, timeless

from lrnet_edu.support.checkpoints import load_checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kills itself by a signal of Linux"),
]
# Counts what changes a file below two places, and dies of its own hand at a certain change.
RUN = """
import os, sys
deadly, *places = sys.argv[1].split(":")
count = 0
def hook(event, arguments):
    global count
    changes = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir")
    if event in changes and str(arguments[0]).startswith(tuple(places)):
        if event != "open" or arguments[2] & (os.O_WRONLY | os.O_RDWR):
            count += 1
            if count == int(deadly):
                os.kill(os.getpid(), 9)
sys.addaudithook(hook)
sys.argv = ["lrnet-edu", *sys.argv[2:]]
from lrnet_edu.cli import main
try:
    main()
finally:
    print("changes", count)
"""
COMMANDS = {  # and how often each is killed
    "train --data SCANS --label 1 --method unfrozen-lrnet --out OUT --resume": 5,
    "pretrain --synthetic --out OUT --steps 4 --resume": 2,
    "predict MNET SCANS OUT --probabilities": 3,
}


def run(command: str, work: Path, deadly: int = 0) -> tuple[int, int]:
    """Exit code, and how many changes there were."""
    out, cache = work / "out", work / "cache"
    environment = {**os.environ, "LRNET_EDU_FAST": "1", "LRNET_EDU_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    places = {"SCANS": work / "scans", "OUT": out, "MNET": work / "best.safetensors"}
    words = [str(places.get(word, word)) for word in command.split()]
    line = [sys.executable, "-c", RUN, f"{deadly}:{out}:{cache}", *words]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode, int(done.stdout.split()[-1]) if done.returncode == 0 else 0


def content(folder: Path) -> dict[str, Any]:
    """What a run leaves, without the seconds that it took."""
    found: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".safetensors":
            tensors, facts = load_checkpoint(path)
            found[path.name] = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}, timeless(facts)
        else:
            found[path.name] = timeless(rows_of(folder)) if path.name == "log.csv" else path.read_bytes()
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_killed_work_ends_alike(command: str, tmp_path: Path) -> None:
    rng, out, cache = random.Random(command), tmp_path / "out", tmp_path / "cache"
    lits(tmp_path / "scans", range(4))
    checkpoint(tmp_path / "best.safetensors")
    _, changes = run(command, tmp_path)
    whole = content(out)
    for _ in range(COMMANDS[command]):
        shutil.rmtree(out)
        shutil.rmtree(cache, ignore_errors=True)
        deadly = rng.randint(1, changes)
        assert run(command, tmp_path, deadly)[0] == -9, deadly
        assert run(command, tmp_path)[0] == 0
        assert content(out) == whole, deadly
        assert not list(cache.rglob("*.part")), deadly
