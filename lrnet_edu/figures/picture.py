"""What all figures share: their size, their letters, and the alt text that goes with them."""

from __future__ import annotations

import base64
import html
import io
from textwrap import fill
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.figure import Figure

from lrnet_edu.figures.palette import ARM_COLORS, BLACK, GREY, METHOD_COLORS
from lrnet_edu.methods import METHODS

WIDTH = 10.0  # inches; with letters of 11 points and more, legible from the last row
LETTERS = 11  # points
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "axes.titlesize": LETTERS + 1,
    "axes.facecolor": "white",
    **dict.fromkeys(("font.size", "axes.labelsize", "legend.fontsize"), LETTERS),
    **dict.fromkeys(("legend.frameon", "axes.spines.top", "axes.spines.right"), False),
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), BLACK),
}
styled = rc_context(STYLE)  # a decorator: the same look whatever style a notebook has chosen


class Picture(Figure):
    """A matplotlib figure with its alt text, made without pyplot: no display is needed, no state left behind.

    In a notebook, as the last line of a cell, it shows itself as an image that carries the alt text. Its height is in
    inches, its width ``WIDTH``; ``layout`` is matplotlib's layout engine.
    """

    def __init__(self, height: float, layout: Literal["constrained"] | None = "constrained") -> None:
        super().__init__(figsize=(WIDTH, height), layout=layout, facecolor="white")
        self.alt = ""

    def finish(self, alt: str) -> Picture:
        """Set the alt text, and the tick labels, which matplotlib makes only when it draws."""
        self.alt = alt
        for axes in self.axes:
            axes.tick_params(labelsize=LETTERS, color=BLACK, labelcolor=BLACK)
        return self

    def png(self, dots_per_inch: int = 130) -> bytes:
        out = io.BytesIO()
        with rc_context({"savefig.facecolor": "white", "savefig.transparent": False, "savefig.bbox": "standard"}):
            self.savefig(out, format="png", dpi=dots_per_inch)
        return out.getvalue()

    def to_html(self) -> str:
        """An ``img`` element that holds the picture itself and its alt text."""
        return image_element(self.png(), self.alt)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.to_html(), "text/plain": self.alt}

    def _ipython_display_(self) -> None:  # as it is: IPython would add a second picture, without alt text
        from IPython.display import display

        display(self._repr_mimebundle_(), raw=True)


def colour_of(title: str, other: str = GREY) -> str:
    """The colour of a method, by its title in ``METHODS`` or its key, or of an arm of the study; else ``other``.

    "A", "A: Dice" and "A-scratch: Dice" are the same arm; a row's map and an α change nothing.
    """
    key_of = {method.title: key for key, method in METHODS.items()}
    arm = title.split(":")[0].removesuffix("-scratch")
    return {**METHOD_COLORS, **ARM_COLORS}.get(key_of.get(title.split(",")[0].replace("α ", ""), arm), other)


def in_lines(title: str) -> str:
    """A title broken between words, to stand above a narrow panel."""
    return fill(title, 15, break_on_hyphens=False)


def image_element(png: bytes, alt: str) -> str:
    """An ``img`` element that holds the picture itself."""
    return f'<img src="data:image/png;base64,{base64.b64encode(png).decode("ascii")}" alt="{html.escape(alt)}">'


def figure_1() -> str:
    """Fig. 1, both networks in tandem, as an ``img`` element; ``docs/make_pictures.py`` draws it."""
    from lrnet_edu.data.samples import shipped_folder

    alt = (
        "Fig. 1: the M-Net turns the image into probabilities p, where the segmentation loss attaches. The frozen "
        "LR-Net turns p into a distance map, where the regression loss attaches; its gradient passes back."
    )
    return image_element((shipped_folder("docs") / "architecture.png").read_bytes(), alt)
