"""kill -9 at random moments: the same command then finishes, with the result of an uninterrupted run, bit for bit."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scans import checkpoint, lits

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
KILLS = {"train": 5, "pretrain": 2, "predict": 3}


def words(command: str, work: Path, out: Path) -> list[object]:
    scans = work / "scans"
    return {
        "train": ["train", "--data", scans, "--label", 1, "--method", "unfrozen-lrnet", "--out", out, "--resume"],
        "pretrain": ["pretrain", "--synthetic", "--out", out, "--steps", 4, "--resume"],
        "predict": ["predict", work / "best.safetensors", scans, out, "--probabilities"],
    }[command]


def run(command: str, work: Path, out: Path, cache: Path, deadly: int = 0) -> tuple[int, int]:
    """Exit code, and how many changes there were."""
    environment = {**os.environ, "LRNET_EDU_FAST": "1", "LRNET_EDU_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-c", RUN, f"{deadly}:{out}:{cache}", *map(str, words(command, work, out))]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode, int(done.stdout.split()[-1]) if done.returncode == 0 else 0


def content(folder: Path) -> dict[str, Any]:
    """What a run leaves, without the seconds that it took."""
    found: dict[str, Any] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".safetensors":
            tensors, facts = load_checkpoint(path)
            facts = json.loads(json.dumps(facts), object_hook=lambda d: {k: v for k, v in d.items() if k != "seconds"})
            found[path.name] = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}, facts
        elif path.name == "log.csv":
            found[path.name] = [row.split(",")[0:1] + row.split(",")[2:] for row in path.read_text().splitlines()]
        else:
            found[path.name] = path.read_bytes()
    return found


@pytest.mark.parametrize("command", KILLS)
def test_killed_work_ends_alike(command: str, tmp_path: Path) -> None:
    rng, out, cache = random.Random(command), tmp_path / "out", tmp_path / "cache"
    lits(tmp_path / "scans", range(4))
    checkpoint(tmp_path / "best.safetensors")
    _, changes = run(command, tmp_path, out, cache)
    whole = content(out)
    for _ in range(KILLS[command]):
        shutil.rmtree(out)
        shutil.rmtree(cache, ignore_errors=True)
        deadly = rng.randint(1, changes)
        code, _ = run(command, tmp_path, out, cache, deadly)
        assert code == -9, deadly
        assert run(command, tmp_path, out, cache)[0] == 0
        assert content(out) == whole, deadly
        assert not list(cache.rglob("*.part")), deadly
