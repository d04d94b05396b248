"""A page of results in Markdown, beside it its numbers as JSON and its pictures; or one HTML file that holds it all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from lrnet_edu.figures import Picture
from lrnet_edu.support.files import write_atomically


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *lines))


def joined(parts: Iterable[str]) -> str:
    """A page of these parts, without the empty ones."""
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


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


# ---- HTML -------------------------------------------------------------------------------------------------------

HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,"><title>{title}</title>
<style>
:root { color-scheme: light dark; }
main { max-width: 66rem; margin: 0 auto; padding: 1rem; font: 1.06rem/1.6 system-ui, sans-serif; }
p { max-width: 46rem; }
figure, div { overflow-x: auto; margin: 1rem 0; }
figure { background: #fff; padding: 0.8rem; }
img { display: block; width: 100%; min-width: 44rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.35rem 0.9rem 0.35rem 0; border-bottom: 1px solid #8888; text-align: right; }
th:first-child, td:first-child { text-align: left; }
</style></head><body><main>"""


def as_html(text: str, pictures: Mapping[str, Picture]) -> str:
    """A page in Markdown as one HTML file that opens offline, in light and in dark, with its pictures inside.

    Args:
        text: parts with an empty line between them: headings, tables, lists, paragraphs with **bold** words, and
            ``![](NAME)`` for a picture. Everything else is escaped.
        pictures: by name.
    """
    parts = text.strip().split("\n\n")
    body = "\n".join(_part_as_html(part, pictures) for part in parts)
    return f"{HEAD.replace('{title}', escape(parts[0].lstrip('# ')))}\n{body}\n</main></body></html>\n"


def _part_as_html(part: str, pictures: Mapping[str, Picture]) -> str:
    if shown := re.fullmatch(r"!\[\]\((.+)\)", part):
        return f'<figure tabindex="0">{pictures[shown[1]].to_html()}</figure>'  # scrolls by keyboard, too
    words = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(part))
    if heading := re.fullmatch("(#+) (.*)", words):
        level = len(heading[1])
        return f"<h{level}>{heading[2]}</h{level}>"
    if words.startswith("- "):
        items = "".join(f"<li>{line.removeprefix('- ')}</li>" for line in words.splitlines())
        return f"<ul>{items}</ul>"
    if not words.startswith("| "):
        return f"<p>{words}</p>"
    head, _, *rows = (line.removeprefix("| ").removesuffix(" |").split(" | ") for line in words.splitlines())
    lines = _row_as_html("th", head) + "".join(_row_as_html("td", row) for row in rows)
    return f'<div tabindex="0"><table>{lines}</table></div>'


def _row_as_html(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in cells)}</tr>"
