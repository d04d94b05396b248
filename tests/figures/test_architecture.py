"""Fig. 1, as ``docs/make_pictures.py`` draws it."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.text import Text

from lrnet_edu.networks import LRNet, MNet

DRAWING = Path(__file__).parents[2] / "docs" / "architecture.py"
architecture_figure = runpy.run_path(str(DRAWING))["architecture_figure"]


@pytest.mark.parametrize(
    ("features", "blocks", "dims", "stride"),
    [((3, 5), (2,), 3, 2), ((2, 4, 6, 8), (1, 2, 3), 3, 1), ((4,), (), 3, 1), ((3, 6, 9), (2, 1), 2, 2)],
)
def test_the_boxes_hold_what_the_modules_put_out(features: Any, blocks: Any, dims: int, stride: int) -> None:
    mnet = MNet(classes=3, features=features, blocks=blocks, spatial_dims=dims, stride=stride)
    lrnet, patch = LRNet("SNI-DM", spatial_dims=dims), (16, 32, 16)[-dims:]
    sizes: list[str] = []

    def keep(module: Any, inputs: Any, output: torch.Tensor) -> None:
        sizes.append(f"{output.shape[1]} features\n{'×'.join(map(str, output.shape[2:]))}")

    for part in (mnet.stem, *mnet.encoder, *mnet.decoder, lrnet.stem, lrnet.down, lrnet.merge):
        part.register_forward_hook(keep)
    with torch.no_grad():
        mnet(torch.zeros(1, 1, *patch))
        lrnet(torch.zeros(1, 2, *patch))
    figure = architecture_figure(mnet, lrnet, patch)
    shown = [text.get_text() for text in figure.findobj(Text)]
    assert sorted(text.rpartition("\n")[0] for text in shown if "features" in text) == sorted(sizes)
    contents = ["p\n3 classes", "SNI-DM of p", "tanh", *(f"{n} block{'s' * (n > 1)}" for n in blocks)]
    contents += [f"{sum(w.numel() for w in network.parameters()):,} weights" for network in (mnet, lrnet)]
    assert [content for content in contents if content not in "\n".join(shown)] == []
