"""JSON from files that others may have written or damaged, and others' words in a message."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


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


def told_apart(names: Sequence[str], before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Settings that differ, with both values where these can be told apart: "seed 0, now 1; steps 5, now 8"."""
    told = []
    for name in names:
        old, new = (shortened([values[name]]) if name in values else "not recorded" for values in (before, now))
        told.append(name if old == new else f"{name} {old}, now {new}")
    return "; ".join(told)
