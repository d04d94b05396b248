"""The still picture of a viewer: slices as pixels, contours, colour scales, PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import maximum_filter

from lrnet_edu.viewers.encoding import ImageLayer, MapLayer

Scale = tuple[np.ndarray, float, float]  # colours (256, 3), and the values at both ends
THICK = 2  # pixels of a contour


def rgb(colour: str) -> np.ndarray:
    """Red, green and blue of "#RRGGBB", (3,) uint8."""
    return np.rint(255 * np.array(to_rgb(colour))).astype(np.uint8)


def grey_panel(codes: np.ndarray, layer: ImageLayer) -> np.ndarray:
    """(H, W, 3) uint8 of image codes (H, W) through the window; black where there is no value."""
    value = layer.values.low + (codes.astype(float) - layer.values.first) * layer.values.step
    shade = np.clip((value - layer.low) / (layer.high - layer.low), 0, 1) * (codes >= layer.values.first)
    return np.repeat(np.rint(shade * 255).astype(np.uint8)[..., None], 3, axis=-1)


def draw_map(panel: np.ndarray, codes: np.ndarray, layer: MapLayer) -> None:
    """Colour the pixels whose code is drawn at all."""
    seen = codes >= layer.visible
    at = (codes[seen].astype(float) - layer.values.first) * 255 / (layer.values.levels - 1)
    panel[seen] = layer.colours[np.rint(at).astype(int)]


def draw_contour(panel: np.ndarray, codes: np.ndarray, by_label: Mapping[int, str]) -> None:
    """Colour the pixels around a label's, so that its rim stays in sight; a higher label's line lies on a lower one."""
    grown = maximum_filter(codes, size=2 * THICK + 1)
    for label, colour in by_label.items():
        panel[(grown > codes) & (grown == label)] = rgb(colour)


def png_of(panels: Sequence[tuple[str, np.ndarray, Scale | None]]) -> bytes:
    """PNG of panels side by side, each with its name above and, where it has one, its colour scale below.

    Args:
        panels: name, picture (height, width, 3) uint8, all of one size, and scale.
    """
    height, width = panels[0][1].shape[:2]
    font = ImageFont.load_default(13)
    top, bottom = 22, 30 if any(scale for *_, scale in panels) else 0
    sheet = Image.new("RGB", (len(panels) * width, top + height + bottom), "#111111")
    draw = ImageDraw.Draw(sheet)
    for left, (name, picture, scale) in zip(range(0, sheet.width, width), panels, strict=True):
        while len(name) > 1 and draw.textlength(name, font) > width - 8:
            name = name[:-2] + "…"
        draw.text((left + 4, 3), name, fill="white", font=font)
        sheet.paste(Image.fromarray(picture), (left, top))
        if scale:
            colours, low, high = scale
            bar = colours[None, np.arange(width - 8) * 256 // (width - 8)]  # (1, width - 8, 3)
            sheet.paste(Image.fromarray(bar.repeat(8, axis=0)), (left + 4, top + height + 4))
            for value, at, anchor in ((low, left + 4, "la"), (high, left + width - 4, "ra")):
                draw.text((at, top + height + 13), f"{value:.3g}", fill="white", font=font, anchor=anchor)
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()
