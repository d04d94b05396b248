"""What the tests of this folder read from a page, and how they press its keys."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from lrnet_edu.distance_maps import KINDS

SLIDER = ".lrnet-slice"
# Every read-out of the mask painter, cell by cell.
PAINTER_VALUES = """(root, [rows, cols]) => {
    const canvas = root.querySelectorAll("canvas")[1], box = canvas.getBoundingClientRect(), out = [];
    for (let row = 0; row < rows; row++) for (let col = 0; col < cols; col++) {
        canvas.dispatchEvent(new PointerEvent("pointermove", {
            clientX: box.left + (col + 0.5) * box.width / cols,
            clientY: box.top + (row + 0.5) * box.height / rows }));
        out.push(root.querySelector("output").textContent);
    }
    return out;
}"""


def pixels(page: Any, number: int = 0) -> bytes:
    """What is drawn on a canvas; two frames later, so that the latest change is on it."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.locator("canvas").nth(number).evaluate("canvas => canvas.toDataURL()").encode()


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def painted_values(page: Any, shape: tuple[int, int]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The mask and the four maps that the painter has, read cell by cell."""
    texts = page.locator(".lrnet-painter").first.evaluate(PAINTER_VALUES, list(shape))
    texts = [text.replace("\u2212", "-") for text in texts]
    mask = np.array(["object" in text for text in texts]).reshape(shape)
    maps = {
        kind: np.array([float(re.search(rf"(?<![A-Z-]){kind} (\S+)", text)[1]) for text in texts]).reshape(shape)
        for kind in KINDS
    }
    return mask, maps
