"""Progress bars, and sentences above them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(items: Sequence[Item], title: str, unit: str = "file") -> Iterable[Item]:
    """A progress bar that shows itself only when the work takes longer than a moment."""
    return tqdm(items, title, unit=unit, dynamic_ncols=True, leave=False, delay=1.0)


def print_above_bar(sentence: str) -> None:
    """Print a sentence above the progress bar."""
    tqdm.write(sentence, file=sys.stderr)
