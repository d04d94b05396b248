"""Fig. 1, drawn from the networks themselves: what stands in a box is read off the module it means."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle
from torch import nn

from lrnet_edu.figures.palette import BLACK, BLUE, GREY, PURPLE, VERMILION
from lrnet_edu.figures.picture import WIDTH, Picture, styled
from lrnet_edu.networks import CONVOLUTION, LRNet, MNet, ResidualBlock

DOWN = 0.92  # inches from one level to the next
BOX = {"boxstyle": "round,pad=0.3", "lw": 1.5}
Place = tuple[float, float]  # inches from the left, levels below the first boxes


@styled
def architecture_figure(mnet: MNet, lrnet: LRNet, patch: Sequence[int] = (32, 64, 64)) -> Picture:
    """Fig. 1: both networks in tandem, where the losses attach, and what is left at test time.

    Args:
        mnet: drawn with its actual levels, features and blocks.
        lrnet: drawn as the frozen network that it is in the tandem.
        patch: size (D, H, W), or (H, W), of the image that goes in, in voxels.
    """
    lowest = max(len(mnet.encoder), 2.4)
    figure = Picture((lowest + 2.35) * DOWN, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(lowest + 0.55, -1.8))
    axes.axis("off")

    inner = [n // mnet.settings["stride"] for n in patch]  # voxels, at the M-Net's first level
    encoder = [part_text(module, inner, level) for level, module in enumerate([mnet.stem, *mnet.encoder])]
    decoder = [part_text(module, inner, level) for level, module in enumerate(mnet.decoder)]
    out = draw_u(axes, 0.8, 2.6, encoder, decoder, BLUE)
    encoder = [part_text(module, patch, level) for level, module in enumerate([lrnet.stem, lrnet.down])]
    read = draw_u(axes, 6.05, 7.55, encoder, [part_text(lrnet.merge, patch, 0)], PURPLE)
    draw_frame(axes, mnet, (0.1, 3.22), len(mnet.encoder), "M-Net, trained", "all that is left at test time", "-")
    draw_frame(axes, lrnet, (5.42, 8.15), 1, "❄ LR-Net, frozen", "thrown away at test time", "--")

    size, channels = "×".join(map(str, patch)), mnet.settings["in_channels"]
    p, phi = (4.45, 0.0), (9.2, 0.0)
    draw_box(axes, p, f"p\n{mnet.settings['classes']} classes\n{size}", GREY)
    draw_box(axes, phi, f"{lrnet.kind} of p\n1 channel\n{size}", GREY)
    draw_arrow(axes, (0.8, -0.7), (0.8, -0.35), shrinkA=0, shrinkB=0)
    axes.text(0.2, -0.75, f"image, {channels} channel{'s' * (channels > 1)}")
    draw_arrow(axes, out, p, "softmax")
    draw_arrow(axes, p, (6.05, 0))
    draw_arrow(axes, read, phi, {"relu": "ReLU"}.get(lrnet.activation, lrnet.activation))
    for place, text in (
        (p, "segmentation loss:\nDice with the mask or\nMapDice with φ (Eq. 2)"),
        (phi, "α · regression loss:\nsmooth L1 with\nφ of the mask (Eq. 1)"),
    ):
        loss = (min(place[0], 9.0), 2.4)
        draw_arrow(axes, place, (place[0], loss[1]))
        draw_box(axes, loss, text, VERMILION)
    back = {"connectionstyle": "arc3,rad=0.1", "shrinkA": 0, "shrinkB": 0, "ls": "--", "color": VERMILION}
    draw_arrow(axes, (phi[0], -0.35), (out[0], -0.35), "the gradient passes through", above=0.4, **back)

    widths = ", ".join(map(str, mnet.settings["features"]))
    return figure.finish(
        f"Fig. 1: the M-Net, a residual U-Net whose levels have {widths} features, turns the image into "
        "probabilities p, where the segmentation loss attaches; the frozen LR-Net, a U-Net that halves the "
        f"size once, turns p into the {lrnet.kind}, where the regression loss attaches. Its gradient passes "
        "through the LR-Net back to the M-Net. At test time the LR-Net is thrown away."
    )


def part_text(part: nn.Module, patch: Sequence[int], level: int) -> str:
    """The features that a part of a network puts out, their size, and what it consists of."""
    convolutions = [module for module in part.modules() if isinstance(module, tuple(CONVOLUTION.values()))]
    blocks = sum(isinstance(module, ResidualBlock) for module in part.modules())
    content = f"{blocks} block{'s' * (blocks > 1)}" if blocks else f"{len(convolutions)} conv."
    size = "×".join(str(n // 2**level) for n in patch)
    return f"{convolutions[-1].out_channels} features\n{size}\n{content}"


def draw_u(axes: Axes, left: float, right: float, encoder: list[str], decoder: list[str], colour: str) -> Place:
    """A U-Net, one encoder level more than of the decoder; returns where its last box is."""
    last = len(decoder)
    down = [*((left, level) for level in range(last)), ((left + right) / 2, last)]
    up = [*((right, level) for level in range(last)), down[-1]]
    for level in range(last):
        draw_arrow(axes, down[level], up[level], "" if level else "skip")
        draw_arrow(axes, down[level], down[level + 1])
        draw_arrow(axes, up[level + 1], up[level])
    for place, text in zip([*down, *up], [*encoder, *decoder], strict=False):
        draw_box(axes, place, text, colour)
    return up[0]


def draw_box(axes: Axes, place: Place, text: str, colour: str) -> None:
    box = {**BOX, "fc": 0.15 * np.array(to_rgba(colour)) + 0.85, "ec": colour}
    axes.text(*place, text, ha="center", va="center", linespacing=1.15, bbox=box, zorder=3)


def draw_arrow(axes: Axes, start: Place, end: Place, text: str = "", above: float = 0.05, **style: object) -> None:
    """From one box to the other, with a text above its middle."""
    shrink = 46 if start[1] == end[1] else 26  # points, from a box's middle to its edge
    style = {"arrowstyle": "-|>", "color": BLACK, "lw": 1.6, "shrinkA": shrink, "shrinkB": shrink, **style}
    axes.annotate("", end, start, arrowprops=style)
    x, y = np.mean([start, end], axis=0)
    axes.text(x, y - above, text, ha="center", va="bottom", color=style["color"])


def draw_frame(axes: Axes, network: nn.Module, edges: Place, levels: int, name: str, fate: str, line: str) -> None:
    """A frame around a network down to its lowest level, and above it its name, weights and fate."""
    colour = BLUE if line == "-" else "#8F4A72"  # the palette's purple, dark enough for letters
    box = Rectangle((edges[0], -1.15), edges[1] - edges[0], levels + 1.65, fill=False, lw=1.5, ec=colour, ls=line)
    axes.add_patch(box)
    weights = sum(weight.numel() for weight in network.parameters())
    axes.text(edges[0], -1.5, f"{name}: {weights:,} weights", color=colour, weight="bold", size=12)
    axes.text(edges[0], -1.22, fate, color=colour)
