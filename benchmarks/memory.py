"""How much memory the work on a whole scan needs at its peak, beyond its inputs and its output."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.metrics import labels
from benchmarks.scans import SCAN, SPACING, lesions, liver, predicted
from benchmarks.timing import Row, Size, peak_memory
from lrnet_edu import case_scores, challenge_scores, distance_map

KINDS = ("NI-DM", "I-DM", "SNI-DM")


def rows(size: Size) -> Iterator[Row]:
    """Maps, criteria and the challenge; nothing where the system does not tell a process its peak."""
    shape = (32, 96, 96) if size.quick else SCAN
    name = " x ".join(map(str, shape[::-1]))
    for content, mask in (("30 lesions", lesions(shape, 30)), ("a whole liver", liver(shape))):
        for kind in KINDS:
            yield from row(f"{kind}, {name}, {content}", lambda mask=mask, kind=kind: distance_map(mask, kind),
                           mask.size, "bytes/voxel of the scan", 3)  # fmt: skip
        p = predicted(mask)
        box = math.prod(int(np.ptp(axis)) + 1 for axis in np.nonzero(p | mask))
        yield from row(f"seven criteria, {name}, {content}", lambda p=p, r=mask: case_scores(p, r, SPACING),
                       box, "bytes/voxel of the objects' box")  # fmt: skip
    p, r = labels(shape, 30)
    box = math.prod(int(np.ptp(axis)) + 1 for axis in np.nonzero(p | r))
    yield from row(f"challenge, {name}, 30 lesions", lambda: challenge_scores([(p, r, SPACING)]),
                   box, "bytes/voxel of the livers' box")  # fmt: skip


def row(work: str, call: Callable[[], Any], voxels: int, unit: str, most: float | None = None) -> Iterator[Row]:
    peak = peak_memory(call)
    if peak is None:
        return
    found = Row(work, peak / voxels, unit=unit)
    yield found if most is None else found.limit(most)
