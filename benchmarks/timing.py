"""What every benchmark shares: a row of the table, a fair clock, a look at the memory, an exponent of growth."""

from __future__ import annotations

import ctypes
import importlib
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

clock: Callable[[], float] = time.perf_counter  # time.process_time under --cpu-seconds
SLOW = 5.0  # seconds: a call this long is not repeated, its first run counts


class DisagreementError(Exception):
    """A peer found something else than we did: then no time means anything."""


@dataclass(frozen=True)
class Size:
    """How much is measured: ``quick`` in seconds, to see that it runs; ``tall`` adds 512 x 512 x 512 scans."""

    quick: bool = False
    tall: bool = False


@dataclass
class Row:
    """One line of the table.

    Attributes:
        work: what was measured.
        ours: our figure, in ``unit``.
        peers: name -> the same figure of a peer; None where it is not installed.
        unit: "s" (less is better), "1/s" (more is better), or what a figure without peers is in.
        agreement: how far the results lie apart, in words.
        target: what was to be reached, in words, and whether it was; None where nothing can be said.
        reached: see ``target``.
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


def timed(work: Callable[[], Any], repeats: int = 5) -> tuple[Any, float]:
    """What a call returns, and the median of its seconds after one call to warm up; see ``SLOW``."""
    seconds, result = [], None
    for _ in range(repeats + 1):
        result = None  # the memory of the last result is free again
        started = clock()
        result = work()
        seconds.append(clock() - started)
        if seconds[0] > SLOW:
            break
    return result, statistics.median(seconds[1:] or seconds)


def compared(
    work: str,
    ours: Callable[[], Any],
    peers: Mapping[str, Callable[[], Any] | None],
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
        if peer is None:
            row.peers[name] = None
            continue
        theirs, row.peers[name] = timed(peer, repeats)
        apart = difference(result, theirs)
        del theirs
        if not apart <= tolerance:
            raise DisagreementError(f"{work}: {name} differs by {apart:g}, more than {tolerance:g}.")
        worst = max(worst, apart)
    row.agreement = f"{worst:.1e} (limit {tolerance:g})" if any(row.peers.values()) else ""
    return row


def timed_in_turns(row: Row, ours: Callable[[], Any], peers: Mapping[str, Callable[[], Any] | None]) -> Row:
    """The row with times taken anew: for calls whose times lie close together, which take turns, five each."""
    calls = {"": ours} | {name: peer for name, peer in peers.items() if peer is not None}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(5):
        for name, call in calls.items():
            started = clock()
            call()
            seconds[name].append(clock() - started)
    row.ours, *theirs = (statistics.median(times) for times in seconds.values())
    row.peers |= dict(zip(list(calls)[1:], theirs, strict=True))
    return row


def largest_difference(a: Any, b: Any) -> float:
    """Of two arrays, plane by plane."""
    return max(float(np.abs(np.asarray(x) - np.asarray(y)).max()) for x, y in zip(a, b, strict=True))


def peak_memory(work: Callable[[], Any]) -> float | None:
    """Bytes that a call needs at its peak beyond its inputs and its result; None where the system does not tell.

    The result counts with the pages that were written to: zeros that nobody wrote take no memory.
    """
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    try:
        work()  # what a first call loads is no part of it
        give_back()
        clear.write_text("5", encoding="utf-8")  # the high-water mark starts anew
        result = work()
        peak = _kilobytes(status, "VmHWM")
        give_back()
        with_result = _kilobytes(status, "VmRSS")
        del result
        return 1024.0 * (peak - with_result)
    except OSError:
        return None


def operations_per_second(device: str = "cpu", dtype: torch.dtype = torch.float32) -> float:
    """What a device reaches in a product of two matrices, on the CPU with the threads that torch has."""
    edge = 8192 if device == "cuda" else 1024
    matrix = torch.rand(edge, edge, dtype=dtype, device=device)
    return float(2 * edge**3 / timed(lambda: finished(matrix @ matrix))[1])


def finished(result: Any) -> Any:
    """The result, once a GPU has computed it."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result


def bytes_per_second() -> float:
    """Its memory's speed, read and written bytes together, in a copy between two blocks that are there already."""
    block, other = torch.rand(2**25), torch.empty(2**25)
    return float(2 * block.nbytes / timed(lambda: other.copy_(block))[1])


def give_back() -> None:
    """Return what was freed to the system, or the next call would use it unseen."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _kilobytes(status: Path, key: str) -> int:
    line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith(key))
    return int(line.split()[1])


def exponent(amounts: Sequence[float], seconds: Sequence[float]) -> float:
    """b of seconds = a * amount ^ b, fitted to the logarithms."""
    return float(np.polyfit(np.log(amounts), np.log(seconds), 1)[0])
