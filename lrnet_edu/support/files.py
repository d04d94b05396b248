"""JSON from files that others may have written or damaged, and others' words in a message."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BufferedWriter
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lrnet_edu.support.errors import InputError


def check_writable(folder: Path) -> None:
    """Raise InputError unless files can be written to a folder, which need not exist yet; creates nothing."""
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not place.is_dir():
        raise InputError(f"{place} is a file: give a folder to write to.")
    probe = place / f".probe.{os.getpid()}.part"  # no temporary file, whose names Windows would try one after the other
    try:
        probe.touch(exist_ok=False) if place == folder else probe.mkdir()
    except OSError as error:
        raise InputError(f"Nothing can be written to {place} ({error.strerror}): choose another folder.") from None
    finally:
        with suppress(OSError):
            probe.unlink() if place == folder else probe.rmdir()


def read_json(path: Path) -> Any:
    """What a JSON file in UTF-8 holds.

    Raises:
        ValueError: if it is something else.
        OSError: if it cannot be read.
    """
    return parse_json(path.read_text("utf-8-sig"))  # Windows' editors put a mark before the text


def parse_json(text: str) -> Any:
    """What a JSON text says; ValueError if it is none, or nested deeper than any real one."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def hidden(name: str) -> bool:
    """True for what a system leaves in folders and does not show: ``.DS_Store``, ``._copy``, ``desktop.ini``."""
    return name.startswith(".") or name.lower() in ("desktop.ini", "thumbs.db")


def shortened(names: Sequence[Any], most: int = 5) -> str:
    """Names from a file as they may stand in a sentence: in one line, not too long and not too many."""
    texts = [str(name)[:60] for name in names[:most]]
    return ", ".join(text if text.isprintable() else repr(text) for text in texts)


def first_line(error: Exception) -> str:
    """What a library's error says, short enough to stand within a sentence."""
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".").replace(". ", ", ")


def changed_settings(names: Sequence[str], before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Settings that differ, with both values where these can be told apart: "seed 0, now 1; steps 5, now 8"."""
    told = []
    for name in names:
        old, new = (shortened([values[name]]) if name in values else "not recorded" for values in (before, now))
        told.append(name if old == new else f"{name} {old}, now {new}")
    return "; ".join(told)


_PARTIAL = re.compile(r"\.(?P<name>.+)\.[0-9]+\.part")
# Seconds; on Windows a virus scanner or a synchronised folder has a new file open for a moment.
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0) if sys.platform == "win32" else ()
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}  # some network folders know none


@contextmanager
def atomic_writer(path: Path) -> Iterator[BufferedWriter]:
    """Write ``path`` so that a reader finds the old file or the new one, never a part of it; makes its folder.

    Raises:
        InputError: if it cannot be written; an older file is still there then.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    with _unless_empty(path.parent):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            rename(partial, path)
        except OSError as error:
            held = "close it where it is open, or " if _PAUSES and isinstance(error, PermissionError) else ""
            raise InputError(
                f"{path} cannot be written ({reason(error)}); {held}choose another output folder."
            ) from error
        finally:
            with suppress(OSError):  # there is none if all went well, or if the folder could not be made
                partial.unlink()


def rename(source: Path, target: Path) -> None:
    """``os.replace``, tried again for some seconds where another program may have one of the two open."""
    for pause in _PAUSES:
        try:
            os.replace(source, target)
            return
        except PermissionError:
            time.sleep(pause)
    os.replace(source, target)


def write_atomically(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` whole or not at all, as :func:`atomic_writer` does."""
    with atomic_writer(path) as file:
        file.write(content)


def reason(error: OSError) -> str:
    """Why something could not be written, in words."""
    return (error.strerror or str(error)).rstrip(".")


@contextmanager
def folder_lock(folder: Path, *names: str, wait: bool = False) -> Iterator[None]:
    """Work in a folder that no other process of ours works in meanwhile; what a killed one left there is removed.

    The operating system holds the lock and frees it when the process ends, however it ends.

    Args:
        folder: made if it is missing, and then removed if it is empty in the end; the folders in it are not meant.
        names: of the files in it that are meant, if not all of them.
        wait: for the other process to end, instead of refusing.

    Raises:
        InputError: if another process is at work there, or the folder cannot be written.
    """
    with _unless_empty(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = file_lock(folder / (f".{names[0]}.lock" if names else ".lock"), wait=wait)
        except Timeout:
            place = folder.joinpath(*names[:1])
            raise InputError(
                f"Another process is writing to {place}; wait until it has ended, or name another output."
            ) from None
        except OSError as error:
            raise InputError(f"{folder} cannot be written ({reason(error)}); choose another output folder.") from error
        try:
            if lock is not None:
                _remove_leftovers(folder, names)
            yield
        finally:
            release(lock)


@contextmanager
def _unless_empty(folder: Path) -> Iterator[None]:
    """A folder made meanwhile, and those above it, go again if nothing came to be in them."""
    new = [place for place in (folder, *folder.parents) if not os.path.exists(place)]
    try:
        yield
    finally:
        for place in new:
            with suppress(OSError):  # it is not empty, as it should be
                place.rmdir()


def file_lock(path: Path, *, wait: bool) -> FileLock | None:
    """Hold the lock that is a file at ``path``; None where the file system knows no locks.

    Raises:
        Timeout: if another process holds it and we do not wait.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except NotImplementedError:
        return None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return lock


def release(lock: FileLock | None) -> None:
    """Let go of what :func:`file_lock` gave; the lock's file goes too."""
    if lock is None:
        return
    path = Path(lock.lock_file)
    with suppress(OSError):  # before another process can take it; Windows keeps a file that is open
        path.unlink()
    lock.release()
    if sys.platform == "win32":
        with suppress(OSError):  # unless another process has it open now
            path.unlink()


def _remove_leftovers(folder: Path, names: Sequence[str]) -> None:
    """Remove the unfinished copies of some files, or of all in a folder."""
    for path in folder.iterdir():
        match = _PARTIAL.fullmatch(path.name)
        if match and (not names or match["name"] in names):
            with suppress(OSError):
                path.unlink()
