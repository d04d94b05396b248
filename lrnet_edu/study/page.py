"""A page of results in Markdown, beside it its numbers as JSON and its pictures."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrnet_edu.figures import Picture
from lrnet_edu.support.files import write_atomically


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; nothing without a line."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *lines)) if lines else ""


def bullets(facts: Mapping[str, Any]) -> str:
    """Facts as a list; a dictionary or a list among them stands in one line."""

    def words(value: Any) -> str:
        parts = [f"{name} {one}" for name, one in value.items()] if isinstance(value, Mapping) else value
        return ", ".join(map(str, parts)) if isinstance(parts, list) else str(parts)

    return "\n".join(f"- {name}: {words(value)}" for name, value in facts.items() if value is not None)


def joined(parts: Iterable[str]) -> str:
    """A page of these parts, without the empty ones."""
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def signed(difference: float) -> str:
    """A difference as it is printed: "+0.012"."""
    return f"{difference:+z.3f}"


def interval(row: Mapping[str, Any], kind: str = "") -> str:
    """An interval of a difference, "+0.012 to +0.034", between the row's ``KINDlow`` and ``KINDhigh``."""
    low, high = (row[f"{kind}{end}"] for end in ("low", "high"))
    return f"{signed(low)} to {signed(high)}" if low < high else "no interval"


def mean_and_deviation(given: Sequence[float | None], form: str) -> str:
    """ "0.431 \u00b1 0.012" of the values that are defined; empty without one."""
    values = [value for value in given if value is not None]
    if not values:
        return ""
    spread = f" \u00b1 {np.std(values, ddof=1):{form.lstrip('+')}}" if len(values) > 1 else ""
    return f"{np.mean(values):{form}}{spread}"


def write_page(
    out: Path, name: str, result: Mapping[str, Any], pictures: Mapping[str, Picture],
    as_markdown: Callable[[Mapping[str, Any], Mapping[str, str]], str],
) -> None:  # fmt: skip
    """Write ``NAME.json``, ``NAME_PICTURE.png`` for each picture, and ``NAME.md``.

    The page is what ``as_markdown`` makes of the result and of the pictures, each as Markdown shows it.
    """
    write_atomically(out / f"{name}.json", (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    for key, picture in pictures.items():
        write_atomically(out / f"{name}_{key}.png", picture.png())
    shown = {key: f"![{picture.alt}]({name}_{key}.png)" for key, picture in pictures.items()}
    write_atomically(out / f"{name}.md", as_markdown(result, shown).encode())
