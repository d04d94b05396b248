"""Memory that tensors give back is kept for the next step."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt(3)
LARGEST = 64 * 2**20  # bytes; what is larger still goes back at once
LARGEST_ALLOWED = 32 * 2**20  # bytes, before glibc 2.35


def keep_freed_memory() -> None:
    """Let this process keep freed memory instead of asking the system for it again in every step.

    glibc, the C library of most Linux systems, hands large blocks back as soon as they are free, and memory that is
    asked for again comes page by page: up to a tenth of a training step or of a prediction. The process then holds
    what it once needed until it ends. Other systems are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt and (mallopt(MMAP_THRESHOLD, LARGEST) or mallopt(MMAP_THRESHOLD, LARGEST_ALLOWED)):
        mallopt(TRIM_THRESHOLD, 2**31 - 1)
