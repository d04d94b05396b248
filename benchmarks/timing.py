"""What every benchmark shares: a row of the table, a fair clock."""

from __future__ import annotations

import importlib
import math
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

clock: Callable[[], float] = time.perf_counter  # `cpu_seconds` under --cpu-seconds
SLOW = 5.0  # seconds: a call this long is not repeated, its first run counts
Call = Callable[[], Any]


def cpu_seconds() -> float:
    """Of this process, and of those that it started and that have ended."""
    spent = os.times()
    return time.process_time() + spent.children_user + spent.children_system


class DisagreementError(Exception):
    """A peer found something else than we did: then no time means anything."""


@dataclass
class Row:
    """One line of the table.

    Attributes:
        work: what was measured.
        ours: our figure, in ``unit``.
        peers: name -> the same figure of a peer; None where it is not installed.
        unit: "s" (less is better), "1/s" (more is better), or what a figure without peers is in.
        agreement: how far the results lie apart, in words.
        target: what was to be reached, in words.
        reached: whether it was; None where nothing can be said.
        note: what a reader must know to read the row.
    """

    work: str
    ours: float
    peers: dict[str, float | None] = field(default_factory=dict)
    unit: str = "s"
    agreement: str = ""
    target: str = ""
    reached: bool | None = None
    note: str = ""

    def ratio(self, name: str) -> float:
        """How many times better than a peer we are; NaN where it is not installed."""
        theirs = self.peers.get(name)
        if theirs is None:
            return math.nan
        return self.ours / theirs if self.unit == "1/s" else theirs / self.ours

    def aim(self, least: Mapping[str, float]) -> Row:
        """Set the target "at least so many times better than these peers"; unknown while one was not measured."""
        self.target = ", ".join(f"{factor:g} x {name}" for name, factor in least.items())
        known = [self.ratio(name) >= factor for name, factor in least.items() if self.peers.get(name) is not None]
        self.reached = False if not all(known) else True if len(known) == len(least) else None
        return self

    def limit(self, most: float) -> Row:
        """Set the target "our figure is at most this"."""
        self.target, self.reached = f"at most {most:g} {self.unit}".strip(), self.ours <= most
        return self


def installed(name: str) -> Any:
    """The module of a peer, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def timed(work: Call, repeats: int = 5) -> tuple[Any, float]:
    """What a call returns, and the median of its seconds after one call to warm up; see ``SLOW``."""
    seconds, result = [], None
    for _ in range(repeats + 1):
        result = None  # the memory of the last result is free again
        started = clock()
        result = work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(clock() - started)
        if seconds[0] > SLOW:
            break
    return result, statistics.median(seconds[1:] or seconds)


def compared(
    work: str,
    ours: Call,
    peers: Mapping[str, Call | None],
    *,
    difference: Callable[[Any, Any], float],
    tolerance: float,
    repeats: int = 5,
) -> Row:
    """A row of ours and the peers (None: not installed), each result held against ours.

    Raises:
        DisagreementError: if a result differs from ours by more than the tolerance.
    """
    result, seconds = timed(ours, repeats)
    row, worst = Row(work, seconds), 0.0
    for name, peer in peers.items():
        row.peers[name] = None
        if peer is not None:
            theirs, row.peers[name] = timed(peer, repeats)
            worst = max(worst, difference(result, theirs))
            if not worst <= tolerance:
                raise DisagreementError(f"{work}: {name} differs by {worst:g}, more than {tolerance:g}.")
    row.agreement = f"{worst:.1e} (limit {tolerance:g})" if any(row.peers.values()) else ""
    return row


def in_turns(calls: Mapping[str, Call], turns: int = 5) -> dict[str, float]:
    """Median seconds of calls whose times lie close together: they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(turns):
        for name, call in calls.items():
            started = clock()
            call()
            seconds[name].append(clock() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}


def largest_difference(a: Any, b: Any) -> float:
    """Of two arrays, plane by plane."""
    return max(float(np.abs(np.asarray(x) - np.asarray(y)).max()) for x, y in zip(a, b, strict=True))
