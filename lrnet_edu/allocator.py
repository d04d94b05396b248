"""Memory that tensors give back is kept for the next step."""

from __future__ import annotations

import ctypes
import os
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt(3)
LARGEST = 32 * 2**20  # bytes, the most that every glibc allows; larger blocks still go back at once


def keep_freed_memory() -> None:
    """Let this process keep freed memory instead of asking the system for it again in every step.

    glibc, the C library of most Linux systems, hands large blocks back as soon as they are free, and memory that is
    asked for again comes page by page: up to a tenth of a training step or of a prediction. The process then holds
    until it ends what it once needed in blocks of up to 32 MB. Other systems are left alone, and so is one whose user
    has set glibc up (``MALLOC_...``, ``GLIBC_TUNABLES``).
    """
    by_the_user = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt and not by_the_user:
        mallopt(MMAP_THRESHOLD, LARGEST)
        mallopt(TRIM_THRESHOLD, 2**31 - 1)
