"""Progress bars, and sentences above them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm


def progress(items: Sequence[Any], title: str, unit: str = "file") -> tqdm[Any]:
    """A progress bar that shows itself only when the work takes longer than a moment."""
    return tqdm(items, title, unit=unit, dynamic_ncols=True, leave=False, delay=1.0)


def print_above_bar(sentence: str) -> None:
    """Print a sentence above the progress bar."""
    tqdm.write(sentence, file=sys.stderr)
