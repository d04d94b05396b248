"""kill -9 at random moments: the same command then finishes, with the result of an uninterrupted run, bit for bit."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from interruptions import COMMANDS, Commands, Outcome, content, fresh, left_behind
from scans import checkpoint, lits

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and fork")

KILLS = {
    "preprocessing": 8,
    "preprocessing by two processes": 3,
    "pretraining": 9,
    "training": 12,
    "reproduce": 8,
    "reproduce by two processes": 2,
    "predict": 8,
}  # 50 in all
SAMPLE = {name: 1 for name in KILLS if "two" not in name}


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    work = tmp_path_factory.mktemp("interruption")
    run = work / "run"
    checkpoint(run / "best.safetensors")
    found = Commands(work, lits(work / "scans", range(5)), run)
    yield found
    found.close()


@pytest.fixture(scope="module")
def uninterrupted(commands: Commands) -> Callable[[str], tuple[Outcome, dict[str, Any]]]:
    """How a command ends when it is left alone, and what it leaves; each is run once."""
    known: dict[str, tuple[Outcome, dict[str, Any]]] = {}

    def find(name: str) -> tuple[Outcome, dict[str, Any]]:
        if name not in known:
            out = fresh(commands.work / "out")
            outcome = commands.do(name, out)
            assert outcome.code == 0, outcome.text
            known[name] = outcome, content(out)
            assert known[name][1]
            assert not left_behind(out)
        return known[name]

    return find


def interrupt(
    commands: Commands, name: str, whole: tuple[Outcome, dict[str, Any]], rng: random.Random
) -> tuple[str, str]:
    """Kill a command once at random, repeat it, compare; returns the moment and what lay there then."""
    alone, expected = whole
    while True:  # the command may be faster this time and end before its moment comes
        out = fresh(commands.work / "out")
        if rng.random() < 0.5:
            moment = rng.uniform(0, alone.seconds)
            killed, words = commands.do(name, out, seconds=moment), f"{moment:.2f} of {alone.seconds:.2f} s"
        else:
            change = rng.randint(1, alone.changes)
            killed, words = commands.do(name, out, changes=change), f"change {change} of {alone.changes}"
        if killed.code == -9:
            break
    left = ", ".join(sorted(left_behind(out))) if out.exists() else ""
    again = commands.do(name, out)
    assert again.code == 0, (words, left, again.text)
    found = content(out)
    assert found.keys() == expected.keys(), (words, left)
    assert [path for path in expected if found[path] != expected[path]] == [], (words, left)
    assert not left_behind(out), (words, left)
    assert not left_behind(commands.work / "cache"), (words, left)
    return words, left


@pytest.mark.parametrize("name", SAMPLE)
def test_one_kill(commands: Commands, uninterrupted: Callable[[str], Any], name: str) -> None:
    interrupt(commands, name, uninterrupted(name), random.Random(f"sample of {name}"))


@pytest.mark.slow
@pytest.mark.parametrize("name", KILLS)
def test_many_kills(
    commands: Commands, uninterrupted: Callable[[str], Any], name: str, record_property: Callable[[str, object], None]
) -> None:
    rng, leftovers = random.Random(name), 0
    for _ in range(KILLS[name]):
        leftovers += bool(interrupt(commands, name, uninterrupted(name), rng)[1])
    record_property(
        f"{name}, killed {KILLS[name]} times", f"always the same result in the end ({leftovers} left unfinished files)"
    )


def test_the_kills_are_fifty() -> None:
    assert sum(KILLS.values()) == 50
    assert KILLS.keys() == COMMANDS.keys()
