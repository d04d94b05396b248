"""Files that others may have damaged, files written whole or not at all, and folders with one writer at a time."""

import csv
import gzip
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lrnet_edu.support.errors import InputError


def read_json(path: Path) -> Any:
    """What a JSON file holds, in UTF-8 or, as PowerShell writes it, UTF-16; ValueError if it is none."""
    return json.loads(path.read_bytes())


def abbreviated(names: Sequence[Any]) -> str:
    """The first five names in one line, none too long, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    texts = [str(name)[:60] for name in names[:5]]
    return ", ".join(text if text.isprintable() else repr(text) for text in texts) + more


def first_line(error: Exception) -> str:
    """What the system or a library says of an error, short enough to stand within a sentence."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0].rstrip(".").replace(". ", ", ")


def changed_settings(names: Sequence[str], before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Settings that differ, with both values: "seed 0, now 1; steps 5, now 8"."""
    values = [(name, *(abbreviated([given.get(name, "not recorded")]) for given in (before, now))) for name in names]
    return "; ".join(f"{name} {old}, now {new}" for name, old, new in values)


def is_hidden(name: str) -> bool:
    """True for what a system leaves in folders and does not show: ``.DS_Store``, ``._copy``, ``desktop.ini``."""
    return name.startswith(".") or name.lower() in ("desktop.ini", "thumbs.db")


def check_writable(folder: Path) -> None:
    """InputError unless files can be written to a folder, which need not exist yet; creates nothing."""
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not place.is_dir():
        raise InputError(f"{place} is a file: give a folder to write to.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"Nothing can be written to {place}: choose another folder.")


def check_empty(folder: Path) -> None:
    """InputError if a folder holds files; what systems leave there does not count."""
    if others := sorted(path.name for path in folder.glob("*") if not is_hidden(path.name)):
        raise InputError(f"{folder} holds other files ({abbreviated(others)}); name a new or an empty folder.")


@contextmanager
def folder_lock(folder: Path, name: str = "", *, wait: bool = False) -> Iterator[None]:
    """Work in a folder, made if it is missing, or on the file ``name`` in it, while no other process of ours does.

    InputError if one does (``wait`` waits for its end), or if the folder cannot be made.
    """
    path = folder / (f".{name}.lock" if name else ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path).acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise InputError(
            f"Another process is writing to {folder / name}; wait until it has ended, or name another output."
        ) from None
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({first_line(error)}); choose another output folder.") from error
    with lock:
        try:
            yield
        finally:
            with suppress(OSError):  # before another process can take it; Windows keeps a file that is open
                path.unlink()


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``path``, in a folder that is made, so that a reader finds the old file or the new one, never a part of it.

    InputError if it cannot be written; an older file is still there then.
    """
    partial = path.with_name(f".{path.name}.part")  # what a killed process leaves is overwritten by the next one
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        held = "close it where it is open, or " if isinstance(error, PermissionError) else ""
        raise InputError(
            f"{path} cannot be written ({first_line(error)}); {held}choose another output folder."
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def write_csv(path: Path, heads: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a table, gzipped where the name ends in .gz: the same bytes for the same rows."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([heads, *rows])
    content = text.getvalue().encode()
    write_atomically(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
