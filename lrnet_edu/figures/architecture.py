"""Fig. 1, drawn from the networks themselves: what stands in a box is read off the module it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import FancyBboxPatch, Rectangle
from torch import nn

from lrnet_edu.figures.palette import BLACK, BLUE, GREY, PURPLE, VERMILION
from lrnet_edu.figures.picture import WIDTH, Picture, styled
from lrnet_edu.networks import CONVOLUTION, LRNet, MNet, ResidualBlock

WIDE, TALL = 1.12, 0.66  # inches, of a box
DOWN = 0.92  # inches from one level to the next
EDGE = TALL / 2 / DOWN  # levels, from the middle of a box to its upper edge
MNET, LRNET = (0.1, 3.22), (5.42, 8.04)  # inches, from the left edge to the right one
PROBABILITIES, MAP = 4.54, 9.36  # inches, where these boxes have their middle
DARK_PURPLE = "#8F4A72"  # palette's purple, dark enough for letters


@dataclass
class Sketch:
    """The drawing: axes measured in inches across and in levels down from the uppermost row of boxes."""

    axes: Axes
    top: float  # inches, of that row's middle
    patch: Sequence[int]  # voxels, at level 0 of the network that is being drawn

    def box(self, x: float, level: float, text: str, colour: str, wide: float = WIDE, tall: float = TALL) -> None:
        y, shape = self.top - level * DOWN, "round,pad=0,rounding_size=0.06"
        corner, face = (x - wide / 2, y - tall / 2), to_rgba(colour, 0.15)
        self.axes.add_patch(FancyBboxPatch(corner, wide, tall, shape, fc=face, ec=colour, lw=1.5))
        self.axes.text(x, y, text, ha="center", va="center", linespacing=1.15)

    def part(self, x: float, level: int, part: nn.Module, colour: str) -> None:
        """A box with the features that a part of a network puts out, their size, and what it consists of."""
        convolutions = [module for module in part.modules() if isinstance(module, tuple(CONVOLUTION.values()))]
        blocks = sum(isinstance(module, ResidualBlock) for module in part.modules())
        content = f"{blocks} block{'s' * (blocks > 1)}" if blocks else f"{len(convolutions)} conv."
        size = times([n // 2**level for n in self.patch])
        self.box(x, level, f"{convolutions[-1].out_channels} features\n{size}\n{content}", colour)

    def arrow(self, start: tuple[float, float], end: tuple[float, float], text: str = "", colour: str = BLACK) -> None:
        """From (x, level) to (x, level); a text stands above its middle."""
        ends = [(x, self.top - level * DOWN) for x, level in (start, end)]
        style = {"arrowstyle": "-|>", "color": colour, "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
        self.axes.annotate("", ends[1], ends[0], arrowprops=style)
        x, y = np.mean(ends, axis=0)
        self.axes.text(x, y + 0.05, text, ha="center", va="bottom", color=colour)

    def slopes(self, down: tuple[float, float], up: tuple[float, float], level: int) -> None:
        """From a level's left box down to the one below it, and back up to its right box: x here, x below."""
        down_x, up_x = sum(down) / 2, sum(up) / 2
        self.arrow((down_x, level + EDGE), (down_x, level + 1 - EDGE))
        self.arrow((up_x, level + 1 - EDGE), (up_x, level + EDGE))

    def frame(
        self, network: nn.Module, edges: tuple[float, float], levels: int, name: str, fate: str, colour: str, line: str
    ) -> None:
        """A frame around a network down to its lowest level; above it its name with the weights, and its fate."""
        left, upper, lower = edges[0] - 0.08, self.top + 0.86, self.top - levels * DOWN - TALL / 2 - 0.1
        size = (edges[1] + 0.08 - left, upper - lower)
        self.axes.add_patch(Rectangle((left, lower), *size, fill=False, lw=1.5, ec=colour, ls=line))
        weights = sum(weight.numel() for weight in network.parameters())
        self.axes.text(left, upper + 0.34, f"{name}: {weights:,} weights", color=colour, weight="bold", size=12)
        self.axes.text(left, upper + 0.1, fate, color=colour)


def times(size: Sequence[int]) -> str:
    return "×".join(map(str, size))


@styled
def architecture_figure(mnet: MNet, lrnet: LRNet, patch: Sequence[int] = (32, 64, 64)) -> Picture:
    """Fig. 1: both networks in tandem, where the losses attach, and what is left at test time.

    Args:
        mnet: drawn with its actual levels, features and blocks.
        lrnet: drawn as the frozen network that it is in the tandem.
        patch: size (D, H, W), or (H, W), of the image that goes in, in voxels.
    """
    height = max(len(mnet.encoder), 3) * DOWN + 2.05
    figure = Picture(height, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, height))
    axes.axis("off")
    top = height - 1.48

    out = _draw_mnet(Sketch(axes, top, [n // mnet.settings["stride"] for n in patch]), mnet)
    sketch = Sketch(axes, top, patch)
    sketch.arrow((out + WIDE / 2, 0), (PROBABILITIES - WIDE / 2, 0))
    axes.text(3.64, top + 0.05, "softmax", ha="center")
    sketch.box(PROBABILITIES, 0, f"p\n{mnet.settings['classes']} classes\n{times(patch)}", GREY)
    sketch.arrow((PROBABILITIES + WIDE / 2, 0), (LRNET[0], 0))
    left, right, middle = LRNET[0] + WIDE / 2, LRNET[1] - WIDE / 2, sum(LRNET) / 2
    for x, level, part in ((left, 0, lrnet.stem), (middle, 1, lrnet.down), (right, 0, lrnet.merge)):
        sketch.part(x, level, part, PURPLE)
    sketch.arrow((left + WIDE / 2, 0), (right - WIDE / 2, 0), "skip")
    sketch.slopes((left, middle), (right, middle), 0)
    sketch.frame(lrnet, LRNET, 1, "❄ LR-Net, frozen", "thrown away at test time", DARK_PURPLE, "--")
    sketch.arrow((LRNET[1], 0), (MAP - WIDE / 2, 0), {"relu": "ReLU"}.get(lrnet.activation, lrnet.activation))
    sketch.box(MAP, 0, f"{lrnet.kind} of p\n1 channel\n{times(patch)}", GREY)
    _draw_losses(sketch, out)

    widths = ", ".join(map(str, mnet.settings["features"]))
    return figure.finish(
        f"Fig. 1: the M-Net, a residual U-Net whose levels have {widths} features, turns the image into "
        "probabilities p, where the segmentation loss attaches; the frozen LR-Net, a U-Net that halves the "
        f"size once, turns p into the {lrnet.kind}, where the regression loss attaches. Its gradient passes "
        "through the LR-Net back to the M-Net. At test time the LR-Net is thrown away."
    )


def _draw_mnet(sketch: Sketch, mnet: MNet) -> float:
    """The U: encoder on the left, decoder on the right, every level a little further in than the one above.

    Returns the middle of the box that puts out the logits.
    """
    last = len(mnet.encoder)  # the lowest level, in the middle
    left, right, middle = MNET[0] + WIDE / 2, MNET[1] - WIDE / 2, sum(MNET) / 2
    inward = [0.24 * (level + 1) / last for level in range(last)]
    columns = [*((left + x, right - x) for x in inward), (middle, middle)]  # of encoder and decoder, by level
    encoder = [mnet.stem, *mnet.encoder]
    for level in range(last):
        (down, up), (next_down, next_up) = columns[level : level + 2]
        sketch.part(down, level, encoder[level], BLUE)
        sketch.part(up, level, mnet.decoder[level], BLUE)
        sketch.arrow((down + WIDE / 2, level), (up - WIDE / 2, level), "" if level else "skip")
        sketch.slopes((down, next_down), (up, next_up), level)
    sketch.part(middle, last, encoder[last], BLUE)
    (first, out), channels = columns[0], mnet.settings["in_channels"]
    sketch.arrow((first - 0.3, -0.62), (first - 0.3, -EDGE))
    sketch.axes.text(first - 0.5, sketch.top + 0.6, f"image, {channels} channel{'s' * (channels > 1)}")
    sketch.frame(mnet, MNET, last, "M-Net, trained", "all that is left at test time", BLUE, "-")
    return out


def _draw_losses(sketch: Sketch, out: float) -> None:
    """Both losses of section 2.3 under what they judge, and the way of the regression loss's gradient."""
    row, above = 2.25, -0.6  # levels
    for x, middle, text in (
        (PROBABILITIES, PROBABILITIES + 0.1, "segmentation loss:\nDice with the mask or\nMapDice with φ (Eq. 2)"),
        (MAP, 8.82, "α · regression loss:\nsmooth L1 with\nφ of the mask (Eq. 1)"),
    ):
        sketch.box(middle, row, text, VERMILION, wide=2.1, tall=0.72)
        sketch.arrow((x, EDGE), (x, row - 0.36 / DOWN))
    heights, end = [sketch.top - level * DOWN for level in (-EDGE, above, above)], out + 0.3
    sketch.axes.plot([MAP, MAP, end], heights, color=VERMILION, ls="--", lw=1.6)
    sketch.arrow((end, above), (end, -EDGE), colour=VERMILION)
    sketch.axes.text(sum(LRNET) / 2, heights[1] + 0.05, "the gradient passes through", ha="center", color=VERMILION)
