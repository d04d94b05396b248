"""How something interactive gets onto a page: one piece of HTML that needs no network and no kernel.

Beside this file lie the scripts and the style that travel inside every such piece.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from lrnet_edu.figures.picture import data_uri


def fragment(script: str, meta: dict[str, Any], *, title: str, alt: str, png: bytes, caption: str) -> str:
    """The HTML of one viewer; its picture is what is left where scripts do not run.

    It carries no identifier, so any number of them can stand on a page, and the same viewer is the same text.

    Args:
        script: "slices" or "painter", the file that draws it.
        meta: what the script reads; anything JSON can hold.
        title: text above it, also its name for screen readers.
        alt: what the picture shows.
        png: the picture.
        caption: HTML below it.
    """
    # Inside a script element only "<" could end it early.
    data = json.dumps(meta, separators=(",", ":")).replace("<", "\\u003c")
    heading = f'<div class="lrnet-title">{html.escape(title)}</div>' if title else ""
    return (
        f'<div class="lrnet-page lrnet-{script}" role="group" aria-label="{html.escape(title or alt)}">'
        f"<style>{_text('page.css')}</style>{heading}"
        f'<figure><img src="{data_uri(png)}" alt="{html.escape(alt)}">'
        f"<figcaption>{caption}</figcaption></figure>"
        f'<script type="application/json">{data}</script>'
        f'<script>(() => {{\n"use strict";\n{_text("common.js")}{_text(script + ".js")}}})();</script></div>'
    )


@cache
def _text(name: str) -> str:
    return resources.files(__package__).joinpath("js", name).read_text(encoding="utf-8")


def caption(sentences: Sequence[str], notes: Sequence[str]) -> str:
    """HTML of a caption: what is shown, then what was left out or reduced."""
    listed = "".join(f"<li><strong>Note.</strong> {html.escape(note)}</li>" for note in notes)
    return html.escape(" ".join(sentences)) + (f"<ul>{listed}</ul>" if listed else "")


def base64_of(array: np.ndarray | bytes) -> str:
    return base64.b64encode(array if isinstance(array, bytes) else array.tobytes()).decode("ascii")
