"""The still picture of a viewer: slices as pixels, contours, colour scales, PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np

from lrnet_edu.viewers.overlays import ImageLayer, MapLayer


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of "#RRGGBB"."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def grey_panel(codes: np.ndarray, layer: ImageLayer) -> np.ndarray:
    """(H, W, 3) uint8 of image codes (H, W) through the window; black where there is no value."""
    value = layer.values.low + (codes.astype(np.float64) - layer.values.first) * layer.values.step
    shade = np.clip((value - layer.level) / layer.width + 0.5, 0, 1) * (codes >= layer.values.first)
    return np.repeat(np.rint(shade * 255).astype(np.uint8)[..., None], 3, axis=-1)


def draw_map(panel: np.ndarray, codes: np.ndarray, layer: MapLayer) -> None:
    """Colour the pixels whose code is drawn at all."""
    seen = codes >= layer.visible
    at = (codes[seen].astype(np.float64) - layer.values.first) * 255 / (layer.values.levels - 1)
    panel[seen] = layer.colours[np.rint(at).astype(int)]


def draw_contour(panel: np.ndarray, codes: np.ndarray, by_label: Mapping[int, str]) -> None:
    """Colour a label's pixels at most two from another label or the edge, along rows and columns."""
    padded = np.pad(codes, 2)
    height, width = codes.shape
    near = [padded[2 + i : 2 + i + height, 2 : 2 + width] for i in (-2, -1, 1, 2)]
    near += [padded[2 : 2 + height, 2 + i : 2 + i + width] for i in (-2, -1, 1, 2)]
    edge = np.any([neighbour != codes for neighbour in near], axis=0)
    for label, colour in by_label.items():
        panel[edge & (codes == label)] = rgb(colour)


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
