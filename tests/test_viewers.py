"""The viewers without a browser: what they draw, what they carry, what they say about unfit input."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrnet_edu.distance_maps import distance_map
from lrnet_edu.figures.palette import LABEL_COLORS, PREDICTION_COLOR, REFERENCE_COLOR
from lrnet_edu.metrics import case_scores, score_table
from lrnet_edu.support.errors import InputError
from lrnet_edu.viewers.encoding import MAX_VOXELS, encode_values, stride_for
from lrnet_edu.viewers.explorer import CaseExplorer
from lrnet_edu.viewers.painter import MaskPainter, preset_shapes
from lrnet_edu.viewers.slices import AXES, SliceViewer

SHAPE = (6, 8, 10)


def volume(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).uniform(-140, 260, shape).astype(np.float32)


def box(shape: tuple[int, ...] = SHAPE, label: int = 1) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[2:4, 2:6, 3:8] = label
    return mask


def meta_of(shown: SliceViewer | MaskPainter) -> dict:
    text = shown._repr_mimebundle_()["text/html"]
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', text, re.S)[1])


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def has_colour(picture: np.ndarray, colour: str) -> bool:
    return bool((picture == rgb(colour)).all(axis=-1).any())


# ---- pictures


@pytest.mark.parametrize("axis", AXES)
def test_the_image_panel_is_the_windowed_slice_of_a_ras_volume_as_a_radiologist_sees_it(axis):
    image = volume()
    shown = SliceViewer(image, window=(60, 400))
    across = AXES.index(axis)
    for index in (0, SHAPE[across] - 1):
        plane = np.take(image, index, axis=across)[::-1, ::-1]
        expected = np.clip((plane - (60 - 200)) / 400, 0, 1) * 255
        scale = 3
        picture = shown.render(axis, index, width=scale * plane.shape[1])
        assert picture.shape == (scale * plane.shape[0], scale * plane.shape[1], 3)
        found = picture[scale // 2 :: scale, scale // 2 :: scale].astype(float)
        # One level of the display range, twice the window in 256 levels, is two greys wide.
        assert np.abs(found - expected[..., None]).max() <= 1.6


def test_without_the_radiologists_turn_and_in_2d_a_slice_is_shown_as_it_lies():
    plane = np.arange(80, dtype=float).reshape(8, 10)
    for shown in (
        SliceViewer(plane, window=None),
        SliceViewer(plane[None], window=None, radiological=False),
    ):
        found = shown.render(width=10)[..., 0].astype(float)
        assert np.abs(found - plane / 79 * 255).max() <= 1
    turned = SliceViewer(plane[None], window=None).render(width=10)[..., 0].astype(float)
    assert np.abs(turned - plane[::-1, ::-1] / 79 * 255).max() <= 1


def test_panels_have_the_true_aspect():
    shown = SliceViewer(volume((10, 20, 40)), spacing=(5.0, 1.0, 0.5))
    for axis, (high, wide) in {"axial": (20, 20), "coronal": (50, 20), "sagittal": (50, 20)}.items():
        height, width, _ = shown.render(axis, width=100).shape
        assert height / width == pytest.approx(high / wide, rel=0.02)


def test_a_contour_follows_the_border_of_its_mask_and_nothing_else_is_coloured():
    mask = box()
    shown = SliceViewer(np.zeros(SHAPE), overlays={"ground truth": mask}, radiological=False)
    panels = shown.render("axial", 2, width=100)  # 10 pixels a voxel
    assert panels.shape == (80, 200, 3)
    assert not has_colour(panels[:, :100], REFERENCE_COLOR)
    coloured = (panels[:, 100:] == rgb(REFERENCE_COLOR)).all(axis=-1)
    inside = np.zeros((80, 100), bool)
    inside[20:60, 30:80] = True
    core = np.zeros_like(inside)
    core[22:58, 32:78] = True
    assert np.array_equal(coloured, inside & ~core)
    assert not has_colour(shown.render("axial", 0), REFERENCE_COLOR)
    assert not has_colour(shown.render("axial", 2, overlay=False), REFERENCE_COLOR)


def test_the_reference_stands_in_every_panel_but_the_first_and_predictions_in_their_own():
    first, second, third = box(), np.roll(box(), 1, 2), np.roll(box(), -2, 1)
    shown = SliceViewer(volume(), overlays={"ground truth": first, "a": second, "b": third}, heat={"phi": first})
    assert shown.panel_names == ["image", "ground truth", "a", "b", "phi"]
    panels = np.split(shown.render("axial", 2, width=80), 5, axis=1)
    assert [has_colour(p, REFERENCE_COLOR) for p in panels] == [False, True, True, True, True]
    assert [has_colour(p, PREDICTION_COLOR) for p in panels] == [False, False, True, True, False]


def test_labels_have_the_palettes_colours():
    mask = box()
    mask[2:4, 3:5, 4:6] = 2
    picture = SliceViewer(volume(), overlays={"ground truth": mask}).render("axial", 2)
    assert has_colour(picture, LABEL_COLORS[1])
    assert has_colour(picture, LABEL_COLORS[2])


def test_a_map_has_matplotlibs_colours_and_leaves_zero_clear():
    import matplotlib

    phi = np.zeros(SHAPE, np.float32)
    phi[2, 2:6, 3:8] = np.linspace(0.05, 1, 20).reshape(4, 5)
    shown = SliceViewer(volume(), heat={"NI-DM": phi}, radiological=False)
    image, heat = np.split(shown.render("axial", 2, width=10).astype(int), 2, axis=1)
    inside = phi[2] > 0
    expected = matplotlib.colormaps["viridis"](phi[2], bytes=True)[..., :3].astype(int)
    assert np.abs(heat - expected)[inside].max() <= 4  # 256 levels of the map on 256 colours
    assert np.array_equal(heat[~inside], image[~inside])


def test_signed_maps_are_drawn_everywhere_on_a_symmetric_scale():
    mask = box()
    shown = SliceViewer(volume(), heat={"SNI-DM": distance_map(mask, "SNI-DM")})
    described = meta_of(shown)["maps"][0]
    assert (described["low"], described["high"]) == (-1, 1)
    image, heat = np.split(shown.render("axial", 2, width=40), 2, axis=1)
    assert (image != heat).any(axis=-1).all()


def test_a_map_beyond_one_and_a_given_range_set_the_scale():
    distances = distance_map(np.pad(np.ones((5, 5, 5), bool), 2), "O-DM")
    image = volume(distances.shape)
    assert meta_of(SliceViewer(image, heat=distances))["maps"][0]["high"] == 3
    shown = meta_of(SliceViewer(image, heat=distances, heat_range=(0, 2)))["maps"][0]
    assert shown["high"] == 2
    assert shown["above"]


def test_the_first_slices_are_those_with_most_of_the_reference():
    mask = np.zeros(SHAPE, bool)
    mask[4, 6, 1] = mask[4, 5, 1] = mask[4, 6, 2] = True
    shown = SliceViewer(volume(), overlays=mask)
    assert shown.first_slices == {"axial": 4, "coronal": 6, "sagittal": 1}
    assert SliceViewer(volume()).first_slices == {"axial": 3, "coronal": 4, "sagittal": 5}


# ---- what the page carries


@given(st.floats(-2000, 2000), st.floats(0.5, 4000), st.sampled_from([2, 17, 64, 256]))
@settings(max_examples=40, deadline=None)
def test_a_code_gives_its_value_back_to_half_a_step(low, reach, levels):
    values = np.linspace(low, low + reach, 301)
    coded = encode_values("x", values, low, low + reach, levels, [])
    back = coded.low + (coded.codes.astype(float) - coded.first) * coded.step
    float32 = 2.0**-22 * np.abs(values).max()  # the codes are computed in single precision
    assert np.abs(back - values).max() <= coded.step * 0.501 + float32


def test_the_payload_is_the_image_the_masks_and_the_maps():
    image, mask = volume(), box()
    phi = distance_map(mask)
    shown = SliceViewer(image, overlays={"m": mask}, heat={"phi": phi}, window=(60, 400))
    meta = meta_of(shown)
    data = np.frombuffer(zlib.decompress(base64.b64decode(meta["data"])), np.uint8).reshape(3, *SHAPE)
    step = (meta["image"]["high"] - meta["image"]["low"]) / 255
    assert np.abs(meta["image"]["low"] + data[0] * step - image).max() <= 0.51 * step
    assert np.array_equal(data[1], mask)
    assert np.abs(data[2] / 255 - phi).max() <= 0.51 / 255


def test_the_grey_levels_span_twice_the_window_as_far_as_the_volume_reaches():
    image = np.linspace(-1000, 3000, 480).reshape(SHAPE)
    described = meta_of(SliceViewer(image, window=(60, 400)))["image"]
    assert (described["low"], described["high"]) == (-340, 460)
    assert described["below"]
    assert described["above"]
    described = meta_of(SliceViewer(image.clip(0, 200), window=(60, 400)))["image"]
    assert (described["low"], described["high"]) == (0, 200)
    assert not described["below"]


def test_fewer_levels_make_a_noisy_volume_smaller():
    noise = np.random.default_rng(0).normal(60, 60, (32, 64, 64))
    sizes = [len(SliceViewer(noise, levels=levels)._html) for levels in (256, 64)]
    assert sizes[1] < 0.85 * sizes[0]


@pytest.mark.parametrize("shown", [SliceViewer(volume(), overlays={"m": box()}), MaskPainter("disc", size=12)])
def test_an_output_has_a_page_a_picture_and_a_text_without_addresses(shown):
    from PIL import Image

    bundle = shown._repr_mimebundle_()
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
    assert " at 0x" not in bundle["text/plain"]
    picture = Image.open(io.BytesIO(bundle["image/png"]))
    assert picture.size[0] > picture.size[1] > 20
    page = bundle["text/html"]
    inside = re.search(r'<img src="data:image/png;base64,([^"]+)" alt="[^"]{20,}"', page)
    assert base64.b64decode(inside[1]) == bundle["image/png"]
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert "http" not in page.replace(inside[1], "")


def test_the_same_viewer_is_the_same_text():
    pages = [SliceViewer(volume(), overlays={"m": box()})._html for _ in range(2)]
    assert pages[0] == pages[1]


def test_names_from_outside_are_escaped():
    evil = '</script><img src=x onerror="alert(1)">'
    page = SliceViewer(volume(), title=evil, overlays={evil: box()}, heat={evil: box()}, unit=evil)._html
    assert "<img src=x" not in page
    assert page.count("<script") == page.count("</script>") == 2
    assert meta_of(SliceViewer(volume(), overlays={evil: box()}))["masks"][0]["name"] == evil


def test_importing_the_viewers_loads_no_plotting_library():
    code = (
        "import sys, lrnet_edu.viewers.slices, lrnet_edu.viewers.painter, lrnet_edu.viewers.explorer; "
        "heavy = {'matplotlib', 'PIL', 'ipywidgets', 'IPython', 'torchio', 'nibabel'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- input that does not fit


def test_a_mask_or_map_of_another_shape_is_left_out_and_named():
    shown = SliceViewer(
        volume(), overlays={"good": box(), "bad": box((6, 8, 12))}, heat={"flat": np.zeros(4), "number": 3.0}
    )
    assert shown.panel_names == ["image", "good"]
    assert len(shown.notes) == 3
    assert "'bad'" in shown.notes[0]
    assert "6 x 8 x 12" in shown.notes[0]
    assert all(note in shown._caption().replace("&#x27;", "'") for note in shown.notes)


def test_an_empty_mask_is_said_to_be_empty():
    shown = SliceViewer(volume(), overlays={"nothing": np.zeros(SHAPE, bool)})
    assert shown.notes == ["The mask 'nothing' is empty: it has no contour."]
    assert shown.panel_names == ["image", "nothing"]


def test_nan_has_no_value_and_is_counted():
    image = volume()
    image[2, 0, 0] = np.nan
    image[2, 0, 1] = np.inf
    phi = np.full(SHAPE, 0.5, np.float32)
    phi[2, 7] = np.nan
    shown = SliceViewer(image, heat={"phi": phi}, radiological=False)
    assert "2 voxels of 'image'" in shown.notes[0]
    assert "10 voxels of 'phi'" in shown.notes[1]
    picture, heat = np.split(shown.render("axial", 2, width=10), 2, axis=1)
    assert not picture[0, :2].any()
    assert np.array_equal(heat[7], picture[7])
    assert (heat[1] != picture[1]).any()
    mask = box().astype(float)
    mask[0] = np.nan
    noted = SliceViewer(volume(), overlays={"m": mask})
    assert "NaN" in noted.notes[0]
    assert np.array_equal(noted._masks[0].codes, box())


@pytest.mark.parametrize("values", [np.full(SHAPE, np.nan), np.zeros(SHAPE), np.full(SHAPE, 7, np.int16)])
def test_a_volume_without_contrast_is_shown_and_said_to_be_so(values):
    shown = SliceViewer(values)
    assert shown.notes
    assert shown.render(width=10).shape == (8, 10, 3)
    assert np.isfinite([meta_of(shown)["image"]["low"], meta_of(shown)["image"]["high"], meta_of(shown)["width"]]).all()


def test_a_window_that_shows_nothing_gives_way_to_the_volumes_range():
    image = volume() / 1000
    shown = SliceViewer(image, window=(60, 400))
    assert "whole range" in shown.notes[0]
    assert shown.render(width=20).std() > 30


def test_of_a_batch_the_first_volume_is_shown():
    batch = torch.from_numpy(np.stack([volume(), -volume()]))[:, None]
    shown = SliceViewer(batch, overlays={"m": box()[None]})
    assert np.array_equal(shown.render(), SliceViewer(volume(), overlays={"m": box()}).render())
    assert "5 dimensions" in shown.notes[0]
    assert "4 dimensions" in shown.notes[1]


def test_labels_without_a_colour_are_drawn_and_named():
    mask = box(label=9).astype(np.int32)
    mask[2, 2, 3] = -4
    mask[3, 2, 3] = 1
    shown = SliceViewer(np.zeros(SHAPE), window=None, overlays={"organs": mask})
    assert "(-4, 9)" in shown.notes[-1]
    assert has_colour(shown.render("axial", 2), "#FFFFFF")
    assert "organs, other labels" in [entry["text"] for entry in meta_of(shown)["masks"][0]["legend"]]


def test_a_mask_of_fractions_is_cut_at_one_half():
    shown = SliceViewer(volume(), overlays={"p": box() * 0.7})
    assert "0.5" in shown.notes[0]
    assert np.array_equal(shown._masks[0].codes, box())


def test_a_volume_too_big_for_a_page_is_thinned_and_says_how():
    image = np.broadcast_to(np.arange(512, dtype=np.int16), (40, 256, 512))
    shown = SliceViewer(image, spacing=(5.0, 0.7, 0.7), overlays={"m": image > 100}, window=None)
    assert np.prod(shown.shape) <= MAX_VOXELS
    assert shown.shape[0] == 40  # no slice is dropped while the plane is the finer one
    assert "40 x 256 x 512" in shown.notes[0]
    described = meta_of(shown)
    assert described["spacing"] == [s * t for s, t in zip((5.0, 0.7, 0.7), shown.stride, strict=True)]
    back = described["image"]["low"] + shown._image.values.codes * shown._image.values.step
    assert (
        np.abs(back - image[:: shown.stride[0], :: shown.stride[1], :: shown.stride[2]]).max()
        <= shown._image.values.step
    )


@given(
    st.tuples(st.integers(1, 700), st.integers(1, 700), st.integers(1, 700)),
    st.tuples(*[st.floats(0.3, 6)] * 3),
)
@settings(max_examples=60, deadline=None)
def test_any_shape_is_thinned_until_it_fits_and_no_further_than_needed(shape, spacing):
    stride = stride_for(shape, spacing)
    kept = [-(-n // s) for n, s in zip(shape, stride, strict=True)]
    assert np.prod(kept, dtype=float) <= MAX_VOXELS
    assert all(1 <= s <= n for s, n in zip(stride, shape, strict=True))
    if stride != (1, 1, 1):
        assert np.prod(kept, dtype=float) > MAX_VOXELS / 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"volume": np.zeros(5)}, "shape (5,)"),
        ({"volume": np.zeros((0, 4, 4))}, "cannot be shown"),
        ({"volume": np.array([["a"]])}, "no array of numbers"),
        ({"volume": None}, "no array of numbers"),
        ({"spacing": (1, 1)}, "spacing"),
        ({"spacing": (1, 0, 1)}, "spacing"),
        ({"spacing": (1, np.nan, 1)}, "spacing"),
        ({"window": (60, 0)}, "window"),
        ({"window": (np.nan, 400)}, "window"),
        ({"levels": 1}, "levels"),
        ({"levels": 300}, "levels"),
        ({"heat_range": (1, 1)}, "heat_range"),
    ],
)
def test_what_cannot_be_shown_at_all_is_an_input_error(arguments, said):
    with pytest.raises(InputError, match=re.escape(said)):
        SliceViewer(**{"volume": volume(), **arguments})


@pytest.mark.parametrize(("axis", "index"), [("oblique", 0), ("axial", 6), ("axial", -1), ("sagittal", 10)])
def test_a_slice_that_does_not_exist_is_an_input_error(axis, index):
    with pytest.raises(InputError):
        SliceViewer(volume()).render(axis, index)


# ---- the mask painter


def test_the_painters_picture_is_the_mask_and_distance_maps_colours():
    import matplotlib

    painter = MaskPainter("large and small", size=20)
    panels = np.split(painter.render(cell=3), 5, axis=1)
    assert np.array_equal((panels[0][1::3, 1::3] == rgb(REFERENCE_COLOR)).all(axis=-1), painter.mask)
    phi = distance_map(painter.mask, "NI-DM")
    viridis = matplotlib.colormaps["viridis"](np.rint(phi * 255).astype(int), bytes=True)[..., :3]
    assert np.array_equal(panels[3][1::3, 1::3][painter.mask], viridis[painter.mask])
    signed = distance_map(painter.mask, "SNI-DM")
    assert np.array_equal(painter.maps()["SNI-DM"], signed)


def test_every_preset_is_a_shape_of_its_own_and_can_be_drawn():
    shapes = preset_shapes(24, 30)
    assert len({mask.tobytes() for mask in shapes.values()}) == len(shapes)
    for name in shapes:
        assert MaskPainter(name).render(cell=2).shape == (48, 5 * 48, 3)
    assert meta_of(MaskPainter(shapes["ring"]))["presets"].keys() == shapes.keys()


def test_a_mask_too_big_to_paint_on_is_thinned_and_nan_is_background():
    mask = np.ones((130, 60))
    mask[0, 0] = np.nan
    painter = MaskPainter(mask)
    assert max(painter.mask.shape) <= 64
    assert not painter.mask[0, 0]
    assert len(painter.notes) == 2


@pytest.mark.parametrize("mask", [np.zeros((2, 3, 4)), np.zeros(5), np.zeros((0, 3)), "blob"])
def test_a_mask_that_cannot_be_painted_on_is_an_input_error(mask):
    with pytest.raises(InputError):
        MaskPainter(mask)


@pytest.mark.parametrize("size", [3, 65])
def test_a_grid_has_a_size_that_can_be_painted(size):
    with pytest.raises(InputError):
        MaskPainter(size=size)


# ---- the explorer


def explorer() -> CaseExplorer:
    cases = {
        name: SimpleNamespace(image=volume() + shift, mask=np.roll(box(label=2), shift, 2), spacing=(3.0, 1.0, 1.0))
        for shift, name in enumerate(("first", "second"))
    }
    sharp = {name: (case.mask == 2) * 0.9 for name, case in cases.items()}
    soft = {"first": np.roll(sharp["first"], 1, 1) * 0.5 + sharp["first"] * 0.3}
    return CaseExplorer(cases, {"sharp": sharp, "soft": soft}, label=2)


def test_the_explorer_draws_what_a_slice_viewer_draws_of_the_choice():
    shown = explorer()
    case = shown.cases["first"]
    reference, predicted = case.mask == 2, shown.predictions["soft"]["first"] > 0.4
    expected = SliceViewer(
        case.image,
        spacing=case.spacing,
        overlays={"ground truth": reference, "soft": predicted},
        heat={"a": distance_map(reference, "SNI-DM"), "b": distance_map(predicted, "SNI-DM")},
    )
    assert np.array_equal(shown.render("first", "soft", "SNI-DM", 0.4), expected.render())
    assert not np.array_equal(shown.render("first", "soft", "SNI-DM", 0.6), expected.render())


def test_the_explorers_criteria_are_the_metrics_of_the_thresholded_prediction():
    shown = explorer()
    per_case = {
        name: case_scores(shown.predictions["sharp"][name] > 0.5, case.mask == 2, case.spacing)
        for name, case in shown.cases.items()
    }
    scores = shown.scores("second", "sharp")
    assert list(scores) == ["DC", "DG", "VOE", "RVD", "ASSD", "MSD", "RMSD"]
    assert scores["DG"] == score_table(list(per_case.values())).mean["DG"]
    for name, value in (("DC", "dice"), ("VOE", "voe"), ("MSD", "msd")):
        assert scores[name] == getattr(per_case["second"], value)
    low, high = (shown.scores("first", "soft", threshold)["RVD"] for threshold in (0.2, 0.6))
    assert low > high


@pytest.mark.parametrize("kind", ["none", "O-DM", "I-DM", "NI-DM", "SNI-DM", "probability"])
def test_every_kind_of_map_can_be_chosen(kind):
    names = explorer().viewer("first", "sharp", kind).panel_names
    assert len(names) == {"none": 3, "probability": 4}.get(kind, 5)


def test_both_distance_maps_share_one_scale():
    shown = meta_of(explorer().viewer("first", "soft", "O-DM", 0.4))["maps"]
    assert shown[0]["high"] == shown[1]["high"]


def test_a_missing_or_misshapen_prediction_is_said_and_the_case_still_shown():
    shown = explorer()
    viewer = shown.viewer("second", "soft")
    assert viewer.panel_names == ["image", "ground truth", "NI-DM, ground truth"]
    assert any("no prediction" in note for note in viewer.notes)
    assert shown.scores("second", "soft") == {}
    shown.predictions["soft"]["second"] = np.zeros((2, 2, 2))
    from lrnet_edu.viewers.explorer import _Choice

    bundle = _Choice(shown, {"case": "second", "method": "soft"})._repr_mimebundle_()
    assert "is left out" in bundle["text/html"]
    assert "No criteria" in bundle["text/html"]


def test_an_empty_prediction_leaves_distances_undefined():
    from lrnet_edu.viewers.explorer import _Choice

    text = _Choice(explorer(), {"case": "first", "method": "sharp", "threshold": 0.95})._repr_mimebundle_()[
        "text/plain"
    ]
    assert "ASSD undefined" in text
    assert "DC (this case) 0.000" in text


def test_a_case_without_predictions_can_be_explored():
    case = explorer().cases["first"]
    assert CaseExplorer({"only": case}, label=2).render().shape[2] == 3
    with pytest.raises(InputError):
        CaseExplorer({})


@pytest.mark.parametrize("choice", [{"case": "third"}, {"method": "other"}, {"kind": "P-DM"}])
def test_a_choice_that_does_not_exist_is_an_input_error(choice):
    with pytest.raises(InputError):
        explorer().viewer(**choice)


def test_the_explorers_menus_redraw_the_output(monkeypatch):
    widgets = pytest.importorskip("ipywidgets")
    import IPython.display

    made, outputs = [], []

    class Handle:
        def update(self, shown):
            outputs.append(shown._repr_mimebundle_())

    def display(shown, raw=False, display_id=None):
        if not raw:
            outputs.append(shown._repr_mimebundle_())
        return Handle()

    for name in ("Dropdown", "FloatSlider"):
        kind = getattr(widgets, name)
        monkeypatch.setattr(widgets, name, lambda *a, kind=kind, **k: made.append(kind(*a, **k)) or made[-1])
    monkeypatch.setattr(IPython.display, "display", display)
    explorer()._ipython_display_()
    assert [w.description for w in made] == ["Case", "Method", "Map", "Threshold"]
    for widget, value in zip(made, ("second", "sharp", "O-DM", 0.95), strict=True):
        widget.value = value
    assert len(outputs) == 4  # "sharp" was chosen already
    assert "second, sharp" in outputs[-1]["text/html"]
    assert "O-DM (voxels)" in outputs[-1]["text/plain"]
    assert "DC (this case) 0.000" in outputs[-1]["text/plain"]
    assert len({output["text/html"] for output in outputs}) == 4


@pytest.mark.parametrize("window", ["liver", (60.0,), (60.0, 400.0, 1.0), 60.0])
def test_a_window_that_is_none(window):
    with pytest.raises(InputError, match="give two numbers"):
        SliceViewer(np.zeros((4, 5, 6)), window=window)
