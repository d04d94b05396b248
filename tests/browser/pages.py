"""What the tests of this folder read from a page, and how they press its keys."""

import re
from pathlib import Path
from typing import Any

import numpy as np

SLIDER = ".lrnet-slice"
SHOWN = "canvas:visible"
KINDS = ("O-DM", "I-DM", "NI-DM", "SNI-DM")  # that the painter computes
# Every read-out of the mask painter, cell by cell.
PAINTER_VALUES = """(root, [rows, cols]) => {
    const canvas = root.querySelector(".lrnet-grid"), box = canvas.getBoundingClientRect(), out = [];
    for (let row = 0; row < rows; row++) for (let col = 0; col < cols; col++) {
        canvas.dispatchEvent(new PointerEvent("pointermove", {
            clientX: box.left + (col + 0.5) * box.width / cols,
            clientY: box.top + (row + 0.5) * box.height / rows }));
        out.push(root.querySelector("output").textContent);
    }
    return out;
}"""
# The colours of a canvas, at `fine` places across every voxel: [[r, g, b], ...] row by row.
COLOURS = """(canvas, [rows, cols, fine]) => {
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data, out = [];
    for (let row = 0; row < rows * fine; row++) for (let col = 0; col < cols * fine; col++) {
        const y = Math.floor((row + 0.5) * canvas.height / rows / fine);
        const x = Math.floor((col + 0.5) * canvas.width / cols / fine);
        out.push([...data.slice(4 * (y * canvas.width + x), 4 * (y * canvas.width + x) + 3)]);
    }
    return out;
}"""


def page_of(file: Path, *shown: Any) -> Path:
    """A page that holds the output of these viewers."""
    body = "".join(one._repr_mimebundle_()["text/html"] for one in shown)
    file.write_text(f'<!doctype html><meta charset="utf-8"><body>{body}', "utf-8")
    return file


def pixels(page: Any, number: int = 0) -> bytes:
    """What is drawn on a canvas in sight; two frames later, so that the latest change is on it."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.locator(SHOWN).nth(number).evaluate("canvas => canvas.toDataURL()").encode()


def colours(page: Any, number: int, rows: int, cols: int, fine: int = 1) -> np.ndarray:
    """(rows * fine, cols * fine, 3) of a canvas in sight."""
    pixels(page, number)
    found = page.locator(SHOWN).nth(number).evaluate(COLOURS, [rows, cols, fine])
    return np.array(found).reshape(rows * fine, cols * fine, 3)


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def drag(page: Any, *places: tuple[float, float]) -> None:
    """Press the mouse at the first place, move over the others, release it."""
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place)
    page.mouse.up()


def painted_values(page: Any, shape: tuple[int, int]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The mask and the four maps that the painter has, read cell by cell."""
    texts = page.locator(".lrnet-painting").first.evaluate(PAINTER_VALUES, list(shape))
    texts = [text.replace("\u2212", "-") for text in texts]
    mask = np.array(["object" in text for text in texts]).reshape(shape)
    maps = {
        kind: np.array([float(re.search(rf"(?<![A-Z-]){kind} (\S+)", text)[1]) for text in texts]).reshape(shape)
        for kind in KINDS
    }
    return mask, maps
