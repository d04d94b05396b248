"""How something interactive gets onto a page: one piece of HTML that needs no network and no kernel.

Beside this file lie the scripts and the style that travel inside every such piece.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import numpy as np


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
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def caption(sentences: Sequence[str], notes: Sequence[str]) -> str:
    """HTML of a caption: what is shown, then what was left out or reduced."""
    listed = "".join(f"<li><strong>Note.</strong> {html.escape(note)}</li>" for note in notes)
    return html.escape(" ".join(sentences)) + (f"<ul>{listed}</ul>" if listed else "")


def data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def colours(colormap: str) -> np.ndarray:
    """(256, 3) uint8, one of matplotlib's colormaps."""
    import matplotlib

    return matplotlib.colormaps[colormap](np.arange(256), bytes=True)[:, :3]


def base64_of(array: np.ndarray | bytes) -> str:
    return base64.b64encode(array if isinstance(array, bytes) else array.tobytes()).decode("ascii")


def panel_picture(
    panels: Sequence[np.ndarray],
    names: Sequence[str],
    scales: Sequence[tuple[np.ndarray, float, float] | None],
) -> bytes:
    """PNG of panels side by side, each with its name above and, where it has one, its colour scale below.

    Args:
        panels: (height, width, 3) uint8 each, all alike.
        names: one per panel.
        scales: (colours (256, 3), low, high) or None, one per panel.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = panels[0].shape[:2]
    font = ImageFont.load_default(13)
    top, bottom = 22, 30 if any(scales) else 0
    sheet = Image.new("RGB", (len(panels) * width, top + height + bottom), "#111111")
    draw = ImageDraw.Draw(sheet)
    for i, (panel, name, scale) in enumerate(zip(panels, names, scales, strict=True)):
        left = i * width
        while len(name) > 1 and draw.textlength(name, font) > width - 8:
            name = name[:-2] + "…"
        draw.text((left + 4, 3), name, fill="white", font=font)
        sheet.paste(Image.fromarray(panel), (left, top))
        if scale:
            bar, low, high = scale
            across = bar[np.arange(width - 8) * 256 // (width - 8)]  # (width - 8, 3)
            sheet.paste(Image.fromarray(np.repeat(across[None], 8, axis=0)), (left + 4, top + height + 4))
            draw.text((left + 4, top + height + 13), f"{low:.3g}", fill="white", font=font)
            text = f"{high:.3g}"
            at = left + width - 4 - draw.textlength(text, font)
            draw.text((at, top + height + 13), text, fill="white", font=font)
    return png_of(np.asarray(sheet))


def png_of(picture: np.ndarray) -> bytes:
    """PNG of (H, W, 3) uint8."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", optimize=False)
    return out.getvalue()
