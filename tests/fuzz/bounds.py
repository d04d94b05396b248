"""What a bad file may do: end in one sentence, in good time, with little memory, and without a trace."""

from __future__ import annotations

import re
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from lrnet_edu.support.errors import InputError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

SECONDS = 15  # of the processor: the machine may be busy
MEMORY = 600 * 2**20  # bytes beyond what the process holds; the files here are smaller than a megabyte


def outcome(work: Callable[[], Any], *names: Path | str) -> tuple[Any, str]:
    """What ``work`` returned and "", or None and its InputError's message, which must be a sentence that names a file.

    Any other exception is a failure, and so are a warning about numbers, too much time and too much memory.
    """
    with warnings.catch_warnings(), limits():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return work(), ""
        except InputError as error:
            message = str(error)
    assert_sentence(message, *names)
    return None, message


def assert_sentence(message: str, *names: Path | str) -> None:
    assert message.endswith("."), message
    assert "\n" not in message, message
    assert not re.search(r"[.!?] [A-Z]", message), message
    assert len(message) < 1000, message
    assert any(str(name) in message for name in names), message


@contextmanager
def limits() -> Iterator[None]:
    """TimeoutError after a while; memory beyond the limit cannot be had (on Linux)."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"this took more than {SECONDS} seconds")

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for work use the processor as well
    before = signal.signal(signal.SIGPROF, stop) if hasattr(signal, "SIGPROF") else None
    held = Path("/proc/self/statm")
    lowered = resource is not None and held.exists()
    if lowered:
        old = resource.getrlimit(resource.RLIMIT_AS)
        size = int(held.read_text("ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, old[1]))
    if before is not None:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if before is not None:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)
        if lowered:
            resource.setrlimit(resource.RLIMIT_AS, old)


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
