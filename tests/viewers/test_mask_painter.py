"""The mask painter without a browser; ``tests/browser`` holds its maps against ``distance_map``."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from test_slices import meta_of

from lrnet_edu.support.errors import InputError
from lrnet_edu.viewers.mask_painter import MaskPainter, preset_shapes


def test_the_page_carries_the_mask_and_every_preset():
    shapes = preset_shapes(24, 30)
    meta = meta_of(MaskPainter(shapes["ring"]))
    assert {name: np.array(rows, bool).tobytes() for name, rows in meta["presets"].items()} == {
        name: mask.tobytes() for name, mask in shapes.items()
    }
    assert meta["rows"] == meta["presets"]["ring"]
    assert [m["title"] for m in meta["maps"]] == ["O-DM (voxels)", "I-DM (voxels)", "NI-DM", "SNI-DM"]


@pytest.mark.parametrize("name", ["ring", "full", "empty"])
def test_where_no_script_runs_there_is_a_picture(name):
    bundle = MaskPainter(name, size=12)._repr_mimebundle_()
    assert Image.open(io.BytesIO(bundle["image/png"])).width == 800
    assert bundle["text/plain"].startswith("MaskPainter(12 x 12, ")


@pytest.mark.parametrize("given", [
    *({"mask": mask} for mask in (np.zeros((2, 3, 4)), np.zeros(5), np.zeros((0, 3)), torch.ones(130, 60), "blob")),
    *({"size": size} for size in (3, 65, "wide")),
])  # fmt: skip
def test_a_mask_that_cannot_be_painted_on_is_an_input_error(given):
    with pytest.raises(InputError):
        MaskPainter(**given)
