"""A disk that is full from its n-th write on: every open, mkdir, write, fsync and rename below a folder counts.

Writes go through Python's own buffers, as they do on a real disk: what is refused may show only at the flush. A write
that is refused has first taken half of what it was given.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class FullDisk:
    """The disk that holds a folder; it refuses everything after ``room`` writes."""

    def __init__(self, folder: Path, room: int) -> None:
        self.folder, self.room, self.refused = str(folder), room, 0

    def holds(self, path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and os.path.abspath(os.fspath(path)).startswith(self.folder)

    def write(self) -> None:
        """Take note of a write, and refuse it if the disk is full."""
        if self.room <= 0:
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= 1


class FullFile(io.FileIO):
    """A file on such a disk."""

    disk: FullDisk

    def write(self, content: Any) -> int:
        try:
            self.disk.write()
        except OSError:
            super().write(bytes(content)[: len(bytes(content)) // 2])
            raise
        return super().write(content)


@contextmanager
def full_after(room: int, folder: Path) -> Iterator[FullDisk]:
    """Let the disk of a folder take ``room`` more writes in this process."""
    disk, plain_open = FullDisk(folder, room), io.open

    def opened(file: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
        writes = disk.holds(file) and set(mode) & set("wax+")
        if writes:
            disk.write()
        if not writes or more.get("opener"):  # tempfile has one
            return plain_open(file, mode, *rest, **more)
        raw = FullFile(file, mode.replace("b", "").replace("t", ""))
        raw.disk = disk
        return io.BufferedWriter(raw) if "b" in mode else io.TextIOWrapper(io.BufferedWriter(raw), "utf-8")

    def counted(function: Callable[..., Any], meant: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if meant(*arguments):
                disk.write()
            return function(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((io, "open"), (builtins, "open"), (tarfile, "bltn_open")):
            patch.setattr(module, name, opened)
        for name in ("mkdir", "rename", "replace"):
            patch.setattr(os, name, counted(getattr(os, name), lambda path, *_: disk.holds(path)))
        patch.setattr(os, "fsync", counted(os.fsync, lambda _: True))
        patch.setattr(os, "open", counted(os.open, lambda path, flags, *_: flags & os.O_CREAT and disk.holds(path)))
        yield disk
