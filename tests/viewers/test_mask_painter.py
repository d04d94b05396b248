"""The mask painter without a browser; ``tests/browser`` holds its maps against ``distance_map``."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import torch
from PIL import Image
from test_slices import meta_of

from lrnet_edu.support.errors import InputError
from lrnet_edu.viewers.mask_painter import MaskPainter, preset_shapes


def test_every_preset_is_a_shape_of_its_own_and_the_page_carries_them_all():
    shapes = preset_shapes(24, 30)
    assert len({mask.tobytes() for mask in shapes.values()}) == len(shapes)
    meta = meta_of(MaskPainter(shapes["ring"]))
    assert meta["rows"] == meta["presets"]["ring"] == shapes["ring"].astype(int).tolist()
    assert meta["presets"].keys() == shapes.keys()
    assert [m["title"] for m in meta["maps"]] == ["O-DM (voxels)", "I-DM (voxels)", "NI-DM", "SNI-DM"]


@pytest.mark.parametrize("name", preset_shapes(8, 8))
def test_where_no_script_runs_there_is_a_picture(name):
    bundle = MaskPainter(name, size=12)._repr_mimebundle_()
    assert Image.open(io.BytesIO(bundle["image/png"])).width == 800
    assert re.fullmatch(r"MaskPainter\(12 x 12, \d+ voxels painted\)", bundle["text/plain"])


@pytest.mark.parametrize(
    "mask", [np.zeros((2, 3, 4)), np.zeros(5), np.zeros((0, 3)), torch.ones(130, 60), "blob", None]
)
def test_a_mask_that_cannot_be_painted_on_is_an_input_error(mask):
    with pytest.raises(InputError):
        MaskPainter(mask)


@pytest.mark.parametrize("size", [3, 65, "wide"])
def test_a_grid_has_a_size_that_can_be_painted(size):
    with pytest.raises(InputError, match="size is"):
        MaskPainter(size=size)
