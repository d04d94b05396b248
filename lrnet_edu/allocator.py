"""While a network is trained or predicts, the memory that its tensors give back is kept for the next step."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt(3)
LARGEST = 32 * 2**20  # bytes, the most that every glibc allows; larger blocks still go back at once

_keepers = 0  # a validation predicts while its training keeps memory already


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep freed memory in the process for a while, instead of asking the system for it again in every step.

    glibc, the C library of most Linux systems, hands large blocks back as soon as they are free, and memory that is
    asked for again comes page by page, in every training step. Here blocks of up to 32 MB stay until the end, of the
    outermost where one use lies within another.
    Other systems are left alone, and so is one whose user has set glibc up (``MALLOC_...``, ``GLIBC_TUNABLES``).
    """
    by_the_user = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if sys.platform != "linux" or by_the_user or not hasattr(libc := ctypes.CDLL(None), "mallopt"):
        yield
        return
    global _keepers
    _keepers += 1
    libc.mallopt(MMAP_THRESHOLD, LARGEST)
    libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        _keepers -= 1
        if not _keepers:
            libc.mallopt(TRIM_THRESHOLD, 2 * LARGEST)  # both as glibc itself sets them once it has seen large blocks
            libc.malloc_trim(0)
