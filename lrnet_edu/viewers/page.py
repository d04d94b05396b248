"""How something interactive gets onto a page: one piece of HTML that needs no network and no kernel.

In ``js/`` lie the scripts and the style that travel inside every such piece.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from importlib import resources
from typing import Any

from lrnet_edu.figures.picture import Picture, image_element


def bundle(script: str, meta: dict[str, Any], title: str, picture: Picture, caption: str, text: str) -> dict[str, Any]:
    """A viewer as a notebook saves it: HTML, a picture for where no script runs, and a text.

    The HTML carries no identifier, so any number of them can stand on a page, and the same viewer is the same text.

    Args:
        script: "slices" or "painting", the file that draws it, reading ``meta``, which JSON can hold.
        title: text above it, also its name for screen readers.
        caption: HTML below it.
    """
    png = picture.png(80)
    # Inside a script element only "<" could end it early.
    data = json.dumps(meta, separators=(",", ":")).replace("<", "\\u003c")
    heading = f'<div class="lrnet-title">{escape(title)}</div>' if title else ""
    page = (
        f'<div class="lrnet-page lrnet-{script}" role="group" aria-label="{escape(title or picture.alt)}">'
        f"<style>{_text('page.css')}</style>{heading}"
        f"<figure>{image_element(png, picture.alt)}<figcaption>{caption}</figcaption></figure>"
        f'<script type="application/json">{data}</script>'
        f'<script>(() => {{\n"use strict";\n{_text("common.js")}{_text(script + ".js")}}})();</script></div>'
    )
    return {"text/html": page, "image/png": png, "text/plain": text}


@cache
def _text(name: str) -> str:
    return resources.files(__package__).joinpath("js", name).read_text(encoding="utf-8")


def caption(sentences: Sequence[str], notes: Sequence[str] = (), facts: Mapping[str, str] = {}) -> str:
    """HTML of a caption: a table of facts, what is shown, then what was left out or reduced."""
    heads = "".join(f"<th>{escape(name)}</th>" for name in facts)
    values = "".join(f"<td>{escape(value)}</td>" for value in facts.values())
    table = f"<table><tr>{heads}</tr><tr>{values}</tr></table>" if facts else ""
    listed = "".join(f"<li><strong>Note.</strong> {escape(note)}</li>" for note in notes)
    return table + escape(" ".join(sentences)) + (f"<ul>{listed}</ul>" if listed else "")


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
