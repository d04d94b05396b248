"""The slice viewer without a browser: what it carries, what its still picture shows, what it says about unfit input."""

import base64
import io
import json
import re
import zlib
from typing import Any

import numpy as np
import pytest
import torch
import torchio
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lrnet_edu.distance_maps import distance_map
from lrnet_edu.support.errors import InputError
from lrnet_edu.viewers.encoding import MAX_VOXELS, encode_values, stride_for
from lrnet_edu.viewers.slices import SliceViewer

SHAPE = (6, 8, 10)


def volume(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).uniform(-140, 260, shape).astype(np.float32)


def box(shape: tuple[int, ...] = SHAPE, label: int = 1) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[2:4, 2:6, 3:8] = label
    return mask


def meta_of(shown: Any) -> dict[str, Any]:
    text = shown._repr_mimebundle_()["text/html"]
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', text, re.S)[1])


def payload_of(meta: dict[str, Any]) -> np.ndarray:
    """(layers, D, H, W) uint8."""
    return np.frombuffer(zlib.decompress(base64.b64decode(meta["data"])), np.uint8).reshape(-1, *meta["shape"])


def panels_of(shown: SliceViewer) -> list[Any]:
    return [axes for axes in shown._picture().axes if axes.get_title()]


# ---- what the page carries


@given(
    st.floats(-2000, 2000), st.floats(0.5, 4000), st.sampled_from([2, 17, 64, 256]), st.sampled_from([1, 1e-310, 1e30])
)
def test_a_code_gives_its_value_back_to_half_a_step(low, reach, levels, unit):
    low, high = low * unit, (low + reach) * unit
    values = np.linspace(low, high, 301)[None]
    coded = encode_values("x", values, low, high, levels, [])
    assert np.abs(coded.plane(0) - values).max() <= coded.step * 0.501


@pytest.mark.filterwarnings("error")
def test_no_difference_of_large_numbers_overflows():
    image = np.where(volume() > 0, np.float32(3.4e38), np.float32(-3.4e38))
    np.testing.assert_allclose(SliceViewer(image)._image.values.plane(2), image[2], rtol=1e-6)


def test_the_payload_is_the_image_the_masks_and_the_maps():
    image, mask = volume(), box()
    meta = meta_of(SliceViewer(image, mask, distance_map(mask), window=(-140, 260)))  # by position
    data, step = payload_of(meta), (meta["image"]["high"] - meta["image"]["low"]) / 255
    assert np.abs(meta["image"]["low"] + data[0] * step - image).max() <= 0.51 * step
    assert np.array_equal(data[1], mask)
    assert np.abs(data[2] / 255 - distance_map(mask)).max() <= 0.51 / 255


def test_more_labels_than_codes_are_told():
    numbered = np.arange(volume().size, dtype=np.int32).reshape(volume().shape)
    (note,) = SliceViewer(volume(), {"pieces": numbered}).notes
    assert f"hold {volume().size - 1} labels: only the first 255" in note


@pytest.mark.parametrize(("dtype", "labels"), [("u1", (1, 2)), ("i2", (-4, 300)), ("f4", (7, 9)), ("u8", (1, 2**63))])
def test_labels_of_any_number_have_codes_and_colours_of_their_own(dtype, labels):
    mask = np.zeros(SHAPE, dtype)
    mask[2:4, 2:4], mask[3:, 5:] = labels
    both, one = SliceViewer(volume(), {"both": mask, "one": mask * (mask == labels[1])})._masks
    for layer, values in ((both, mask), (one, mask * (mask == labels[1]))):
        np.testing.assert_allclose(np.array(layer.meta["labels"], float)[layer.codes], values, rtol=1e-5)
    assert len(set(both.meta["colours"].values())) == 2
    assert one.meta["colours"].items() < both.meta["colours"].items()


@pytest.mark.parametrize(("values", "options", "unit", "window"), [
    ((-1000, 400), {}, "HU", (-200, 250)),
    ((0, 800), {}, "", (0, 800)),
    ((-3, 3), {}, "", (-3, 3)),
    ((0, 1), {"window": (0, 0.5)}, "", (0, 0.5)),
    ((0, 1), {"window": (-140, 260)}, "", (0, 1)),  # which would show nothing
    ((-1000, 400), {"unit": "counts"}, "counts", (-200, 250)),
])  # fmt: skip
def test_only_what_is_a_ct_is_called_hu(values, options, unit, window):
    shown = meta_of(SliceViewer(np.linspace(*values, 480).reshape(SHAPE), **options))
    assert (shown["unit"], (shown["low"], shown["high"])) == (unit, window)


def test_the_page_starts_where_most_of_the_reference_is_and_around_all_of_it():
    mask = np.zeros((20, 60, 80), bool)
    mask[4, 26, 31] = mask[4, 25, 31] = mask[4, 26, 32] = mask[9, 20, 40] = True
    meta = meta_of(SliceViewer(volume(mask.shape), mask, spacing=(3, 1, 1)))
    assert meta["index"] == {"axial": 4, "coronal": 26, "sagittal": 31}
    for axis, (low, high) in enumerate(meta["box"]):
        assert low <= np.nonzero(mask)[axis].min()
        assert np.nonzero(mask)[axis].max() < high
    assert [high - low for low, high in meta["box"]] == [13, 40, 40]  # a cube of 40 mm
    meta = meta_of(SliceViewer(volume(), np.zeros(SHAPE)))
    assert meta["index"] == {"axial": 3, "coronal": 4, "sagittal": 5}
    assert meta["box"] == [[0, n] for n in SHAPE]


def test_grey_levels_span_twice_the_window_and_maps_have_a_scale_of_their_own_or_the_given_one():
    image = np.linspace(-1000, 3000, 480).reshape(SHAPE)
    for values, ends in ((image, (-340, 460)), (image.clip(0, 200), (0, 200))):
        described = meta_of(SliceViewer(values, window=(-140, 260)))["image"]
        assert (described["low"], described["high"]) == ends
    ball = np.pad(np.ones((5, 5, 5), bool), 2)
    maps = [distance_map(ball, kind) for kind in ("O-DM", "SNI-DM", "NI-DM")]
    for scale, ends in ((None, [(0, 3), (-1, 1), (0, 1)]), ((0, 2), [(0, 2)] * 3)):
        described = meta_of(SliceViewer(volume(ball.shape), heat=maps, heat_range=scale))["maps"]
        assert [(m["low"], m["high"]) for m in described] == ends


@given(st.tuples(*[st.integers(1, 700)] * 3), st.tuples(*[st.floats(0.3, 6)] * 3))
def test_any_shape_is_thinned_until_it_fits_and_no_further_than_needed(shape, spacing):
    stride = stride_for(shape, spacing)
    kept = [-(-n // s) for n, s in zip(shape, stride, strict=True)]
    assert np.prod(kept, dtype=float) <= MAX_VOXELS
    assert all(1 <= s <= n for s, n in zip(stride, shape, strict=True))
    assert stride == (1, 1, 1) or np.prod(kept, dtype=float) > MAX_VOXELS / 4


def test_a_volume_too_big_for_a_page_is_thinned_and_says_how():
    image = np.broadcast_to(np.arange(512, dtype=np.int16), (40, 256, 512))
    shown = SliceViewer(image, image > 100, spacing=(5.0, 0.7, 0.7))
    assert "40 x 256 x 512" in shown.notes[0]
    meta, stride = meta_of(shown), shown.stride
    assert meta["shape"][0] == 40  # no slice is dropped while the plane is the finer one
    assert meta["spacing"] == [s * t for s, t in zip((5.0, 0.7, 0.7), stride, strict=True)]
    assert np.array_equal(payload_of(meta)[1], image[:: stride[0], :: stride[1], :: stride[2]] > 100)


# ---- the output


def test_the_still_picture_is_the_windowed_slice_of_a_ras_volume_as_a_radiologist_sees_it():
    image, window = volume(), (-140, 260)
    for shown, expected in (
        (SliceViewer(image, window=window), image[3, ::-1, ::-1]),
        (SliceViewer(image[3], window=window), image[3]),
        (SliceViewer(image[3:4], window=window, radiological=False), image[3]),
    ):
        [panel] = panels_of(shown)
        assert np.abs(panel.images[0].get_array() - expected).max() <= 0.51 * 400 / 255
        assert panel.images[0].get_clim() == window
    [panel] = panels_of(SliceViewer(image, spacing=(5, 1, 0.5)))
    assert panel.images[0].get_extent() == [0, 5, 8, 0]  # mm


def test_an_output_has_a_page_a_picture_and_a_text_without_addresses():
    bundles = [SliceViewer(volume(), box(), {"a $": box()}, title="<b>")._repr_mimebundle_() for _ in range(2)]
    assert bundles[0] == bundles[1]
    page, picture, text = (bundles[0][kind] for kind in ("text/html", "image/png", "text/plain"))
    assert " at 0x" not in text
    assert Image.open(io.BytesIO(picture)).width == 800
    inside = re.search(r'<img src="data:image/png;base64,([^"]+)" alt="[^"]{20,}"', page)
    assert base64.b64decode(inside[1]) == picture
    assert not {"http", "<b>"} & set(re.findall(r"http|<b>", page.replace(inside[1], "")))


# ---- input that does not fit


def nan_at(array: np.ndarray, place: tuple[int, ...]) -> np.ndarray:
    array = array.astype(float)
    array[place] = np.nan
    return array


@pytest.mark.parametrize(("arguments", "said", "panels"), [
    ({"overlays": {"good": box(), "bad": box((6, 8, 12))}}, "'bad' is left out: its shape is 6 x 8 x 12", 2),
    ({"heat": {"number": 3.0}}, "its shape is that of a number", 1),
    ({"overlays": {"nothing": np.zeros(SHAPE, bool)}}, "'nothing' is empty", 2),
    ({"volume": nan_at(volume(), (2, 0))}, "10 voxels of 'image' are NaN", 1),
    ({"heat": {"phi": nan_at(box(), (2, 7))}}, "10 voxels of 'phi' are NaN", 2),
    ({"overlays": {"m": nan_at(box(), (0,))}}, "holds fractions or NaN: its contour runs where it reaches 0.5", 2),
    ({"volume": np.full(SHAPE, 7, np.int16)}, "Every voxel of the volume is 7.", 1),
    ({"volume": np.full(SHAPE, np.nan)}, "480 voxels of 'image' are NaN", 1),
    ({"volume": volume() / 1000, "window": (-140, 260)}, "the whole range is shown", 1),
    ({"volume": torch.from_numpy(np.stack([volume(), -volume()]))[:, None]}, "5 dimensions", 1),
])  # fmt: skip
def test_what_cannot_be_shown_as_it_is_is_said_and_the_rest_is_shown(arguments, said, panels):
    shown = SliceViewer(**{"volume": volume(), **arguments})
    assert any(said in note for note in shown.notes), shown.notes
    assert said in shown._caption().replace("&#x27;", "'")
    meta = meta_of(shown)
    assert len(payload_of(meta)) == panels
    assert np.isfinite([meta["low"], meta["high"], meta["image"]["low"], meta["image"]["high"]]).all()


def test_masks_and_maps_come_in_any_type_alone_or_in_a_list():
    tensor = torch.from_numpy(box()).bfloat16().requires_grad_()
    shown = SliceViewer(volume(), [nan_at(box(), (0, 0, 0)), tensor], (box().astype(">i4"),))
    assert shown.panel_names == ["image", "mask 1", "mask 2", "map 1"]
    for mask in (*shown._masks, SliceViewer(volume(), box().tolist())._masks[0]):
        assert np.array_equal(mask.codes, box())


@pytest.mark.parametrize(("arguments", "said"), [
    ({"volume": np.zeros(5)}, "shape (5,) cannot be shown"),
    ({"volume": np.zeros((0, 4, 4))}, "cannot be shown"),
    ({"volume": "scan.nii.gz"}, "The volume is a str"),
    ({"overlays": torchio.LabelMap(tensor=torch.ones(1, *SHAPE))}, "TorchIO image"),
    ({"overlays": {"m": torchio.LabelMap(tensor=torch.ones(1, *SHAPE))}}, "TorchIO image"),
    ({"spacing": (1, 1)}, "spacing"),
    ({"window": (260, -140)}, "window"),
    ({"levels": 300}, "levels"),
    ({"heat_range": (1, 1)}, "heat_range"),
])  # fmt: skip
def test_what_cannot_be_shown_at_all_is_an_input_error(arguments, said):
    with pytest.raises(InputError, match=re.escape(said)):
        SliceViewer(**{"volume": volume(), **arguments})
