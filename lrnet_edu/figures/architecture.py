"""Fig. 1, drawn from the networks themselves: what stands in a box was measured on the module it means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import FancyBboxPatch, Rectangle
from torch import nn

from lrnet_edu.figures.palette import BLACK, BLUE, GREY, PURPLE, VERMILION
from lrnet_edu.figures.picture import WIDTH, Picture, styled
from lrnet_edu.networks import LRNet, MNet, ResidualBlock

WIDE, TALL = 1.12, 0.66  # inches, of a box
DOWN = 0.92  # inches from one level to the next
EDGE = TALL / 2 / DOWN  # levels, from the middle of a box to its upper edge
MNET, LRNET = (0.1, 3.22), (5.42, 8.04)  # inches, from the left edge to the right one
PROBABILITIES, MAP = 4.54, 9.36  # inches, where these boxes have their middle
DARK_PURPLE = "#8F4A72"  # palette's purple, dark enough for letters


@dataclass
class Sketch:
    """The drawing: axes measured in inches, and the middle of the uppermost row of boxes."""

    axes: Axes
    top: float

    def box(self, x: float, level: float, text: str, colour: str, *, wide: float = WIDE, tall: float = TALL) -> None:
        corner = (x - wide / 2, self.top - level * DOWN - tall / 2)
        self.axes.add_patch(
            FancyBboxPatch(
                corner,
                wide,
                tall,
                "round,pad=0,rounding_size=0.06",
                fc=to_rgba(colour, 0.15),
                ec=colour,
                lw=1.5,
            )
        )
        self.axes.text(x, self.top - level * DOWN, text, ha="center", va="center", linespacing=1.15)

    def arrow(self, start: tuple[float, float], end: tuple[float, float], text: str = "", colour: str = BLACK) -> None:
        """From (x, level) to (x, level); a text stands above its middle."""
        ends = [(x, self.top - level * DOWN) for x, level in (start, end)]
        style = {"arrowstyle": "-|>", "color": colour, "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
        self.axes.annotate("", ends[1], ends[0], arrowprops=style)
        middle = np.mean(ends, axis=0)
        self.axes.text(middle[0], middle[1] + 0.05, text, ha="center", va="bottom", color=colour)


class Part(NamedTuple):
    """One box: what a part of a network puts out, and what it consists of."""

    features: int
    size: tuple[int, int, int]  # (D, H, W)
    content: str

    @property
    def text(self) -> str:
        return f"{self.features} features\n{'×'.join(map(str, self.size))}\n{self.content}"


def parts_of(network: nn.Module, size: tuple[int, int, int]) -> dict[str, Part]:
    """What every part of a network puts out, by its name: "stem", "encoder.0", "decoder.1", ...

    Measured while zeros (1, channels, D, H, W) run through it; these are the part "image".
    """
    channels = next(module for module in network.modules() if isinstance(module, nn.Conv3d)).in_channels
    parts = {"image": Part(channels, size, "")}

    def note(name: str, module: nn.Module, output: torch.Tensor) -> None:
        blocks = sum(isinstance(child, ResidualBlock) for child in module.modules())
        convolutions = sum(isinstance(child, nn.Conv3d) for child in module.modules())
        content = f"{blocks} block{'s' * (blocks > 1)}" if blocks else f"{convolutions} conv."
        depth, height, width = output.shape[2:]
        parts[name] = Part(output.shape[1], (depth, height, width), content)

    hooks = [
        module.register_forward_hook(lambda module, _inputs, output, name=name: note(name, module, output))
        for name, module in network.named_modules()
        if name
    ]
    device = next(network.parameters()).device
    try:
        with torch.inference_mode():
            network(torch.zeros(1, channels, *size, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return parts


@styled
def architecture_figure(mnet: MNet, lrnet: LRNet, patch: tuple[int, int, int] = (32, 64, 64)) -> Picture:
    """Fig. 1: both networks in tandem, where the losses attach, and what is left at test time.

    Args:
        mnet: drawn with its actual levels, features and blocks.
        lrnet: drawn as the frozen network that it is in the tandem.
        patch: size (D, H, W) of the image that goes in, in voxels.
    """
    main = parts_of(mnet, patch)
    light = parts_of(lrnet, patch)
    height = max(len(mnet.encoder), 3) * DOWN + 2.05
    figure = Picture(height, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, height))
    axes.axis("off")
    sketch = Sketch(axes, top=height - 1.48)

    out = _draw_mnet(sketch, mnet, main)
    sketch.arrow((out + WIDE / 2, 0), (PROBABILITIES - WIDE / 2, 0))
    sketch.axes.text(3.64, sketch.top + 0.05, "softmax", ha="center")
    size = "×".join(map(str, patch))
    sketch.box(PROBABILITIES, 0, f"p\n{main['head'].features} classes\n{size}", GREY)
    _draw_lrnet(sketch, light)
    sketch.arrow((LRNET[1], 0), (MAP - WIDE / 2, 0), {"relu": "ReLU"}.get(lrnet.activation, lrnet.activation))
    sketch.box(MAP, 0, f"{lrnet.kind} of p\n{light['output'].features} channel\n{size}", GREY)
    _draw_losses(sketch, out)
    trained, frozen = (
        "M-Net, trained\nall that is left at test time",
        "❄ LR-Net, frozen\nthrown away at test time",
    )
    _draw_frame(sketch, mnet, MNET, len(mnet.encoder), BLUE, "-", trained)
    _draw_frame(sketch, lrnet, LRNET, 1, DARK_PURPLE, "--", frozen)

    names = ["stem", *(f"encoder.{i}" for i in range(len(mnet.encoder)))]
    widths = ", ".join(str(main[name].features) for name in names)
    return figure.finish(
        f"Fig. 1: the M-Net, a residual U-Net whose levels have {widths} features, turns the image into "
        "probabilities p, where the segmentation loss attaches; the frozen LR-Net, a U-Net that halves the "
        f"size once, turns p into the {lrnet.kind}, where the regression loss attaches. Its gradient passes "
        "through the LR-Net back to the M-Net. At test time the LR-Net is thrown away."
    )


def _draw_frame(
    sketch: Sketch,
    network: nn.Module,
    edges: tuple[float, float],
    levels: int,
    colour: str,
    style: str,
    text: str,
) -> None:
    """A frame around a network down to its lowest level; above it two lines of text and the weights."""
    left, right, upper = edges[0] - 0.08, edges[1] + 0.08, sketch.top + 0.86
    lower = sketch.top - levels * DOWN - TALL / 2 - 0.1
    frame = Rectangle((left, lower), right - left, upper - lower, fill=False, ec=colour, ls=style, lw=1.5)
    sketch.axes.add_patch(frame)
    name, fate = text.split("\n")
    weights = sum(weight.numel() for weight in network.parameters())
    sketch.axes.text(left, upper + 0.34, f"{name}: {weights:,} weights", color=colour, weight="bold", size=12)
    sketch.axes.text(left, upper + 0.1, fate, color=colour)


def _draw_mnet(sketch: Sketch, mnet: MNet, parts: dict[str, Part]) -> float:
    """The U: encoder on the left, decoder on the right, every level a little further in than the one above.

    Returns the middle of the box that puts out the logits.
    """
    last = len(mnet.encoder)  # the lowest level, in the middle
    left, right, middle = MNET[0] + WIDE / 2, MNET[1] - WIDE / 2, sum(MNET) / 2
    inward = [0.24 * (level + 1) / last for level in range(last)]
    names = ["stem", *(f"encoder.{i}" for i in range(last))]
    columns = [*((left + x, right - x) for x in inward), (middle, middle)]  # of encoder and decoder, by level
    for level, (name, (down, up)) in enumerate(zip(names[:-1], columns, strict=False)):
        sketch.box(down, level, parts[name].text, BLUE)
        sketch.box(up, level, parts[f"decoder.{level}"].text, BLUE)
        sketch.arrow((down + WIDE / 2, level), (up - WIDE / 2, level), "" if level else "skip")
        next_down, next_up = columns[level + 1]
        sketch.arrow(((down + next_down) / 2, level + EDGE), ((down + next_down) / 2, level + 1 - EDGE))
        sketch.arrow(((up + next_up) / 2, level + 1 - EDGE), ((up + next_up) / 2, level + EDGE))
    sketch.box(middle, last, parts[names[-1]].text, BLUE)
    channels = parts["image"].features
    first, out = columns[0]
    sketch.arrow((first - 0.3, -0.62), (first - 0.3, -EDGE))
    sketch.axes.text(first - 0.5, sketch.top + 0.6, f"image, {channels} channel{'s' * (channels > 1)}")
    return out


def _draw_lrnet(sketch: Sketch, parts: dict[str, Part]) -> None:
    left, right = LRNET[0] + WIDE / 2, LRNET[1] - WIDE / 2
    middle = (left + right) / 2
    sketch.arrow((PROBABILITIES + WIDE / 2, 0), (LRNET[0], 0))
    sketch.box(left, 0, parts["stem"].text, PURPLE)
    sketch.box(middle, 1, parts["down"].text, PURPLE)
    sketch.box(right, 0, parts["merge"].text, PURPLE)
    sketch.arrow((left + WIDE / 2, 0), (right - WIDE / 2, 0), "skip")
    sketch.arrow(((left + middle) / 2, EDGE), ((left + middle) / 2, 1 - EDGE))
    sketch.arrow(((right + middle) / 2, 1 - EDGE), ((right + middle) / 2, EDGE))


def _draw_losses(sketch: Sketch, out: float) -> None:
    """Both losses of section 2.3 under what they judge, and the way of the regression loss's gradient."""
    row, above = 2.25, -0.6  # levels
    for x, middle, text in (
        (
            PROBABILITIES,
            PROBABILITIES + 0.1,
            "segmentation loss:\nDice with the mask or\nMapDice with φ (Eq. 2)",
        ),
        (MAP, 8.82, "α · regression loss:\nsmooth L1 with\nφ of the mask (Eq. 1)"),
    ):
        sketch.box(middle, row, text, VERMILION, wide=2.1, tall=0.72)
        sketch.arrow((x, EDGE), (x, row - 0.36 / DOWN))
    heights = [sketch.top - level * DOWN for level in (-EDGE, above, above)]
    end = out + 0.3
    sketch.axes.plot([MAP, MAP, end], heights, color=VERMILION, ls="--", lw=1.6)
    sketch.arrow((end, above), (end, -EDGE), colour=VERMILION)
    x, y = sum(LRNET) / 2, sketch.top - above * DOWN + 0.05
    sketch.axes.text(x, y, "the gradient passes through", ha="center", color=VERMILION)
