"""The viewers in a real browser, on a page opened from disk without a network."""

import re
from typing import Any

import matplotlib
import numpy as np
import pytest
from pages import SHOWN, SLIDER, colours, drag, page_of, painted_values, pixels, press
from scipy import ndimage

from lrnet_edu.distance_maps import distance_map
from lrnet_edu.figures.palette import PREDICTION_COLOR, REFERENCE_COLOR
from lrnet_edu.viewers.mask_painter import MaskPainter, preset_shapes
from lrnet_edu.viewers.slices import AXES, SliceViewer

SHAPE = (12, 16, 20)


def volume() -> np.ndarray:
    return np.random.default_rng(1).uniform(-140, 260, SHAPE).astype(np.float32)


def box() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:9, 4:10, 6:14] = 1
    return mask


def is_colour(picture: np.ndarray, colour: str) -> np.ndarray:
    return np.abs(picture - [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).max(axis=-1) <= 8


@pytest.fixture
def opened(open_offline: Any, tmp_path: Any) -> Any:
    """``opened(*viewers)`` -> the page that holds them."""
    return lambda *shown, **context: open_offline(page_of(tmp_path / "page.html", *shown), **context)


# ---- the slice viewer


def test_every_slice_is_drawn_as_the_arrays_say(opened):
    image, mask = volume(), box()
    signed, unsigned = distance_map(mask, "SNI-DM"), distance_map(mask)
    page = opened(SliceViewer(image, heat={"SNI-DM": signed, "NI-DM": unsigned}, window=(-140, 260), spacing=(2, 1, 1)))
    grey = np.repeat(np.clip((image + 140) / 400 * 255, 0, 255)[..., None], 3, axis=-1)
    purple = matplotlib.colormaps["PuOr"]((signed + 1) / 2, bytes=True)[..., :3]
    viridis = np.where(unsigned[..., None] > 0, matplotlib.colormaps["viridis"](unsigned, bytes=True)[..., :3], grey)
    for across, axis in enumerate(AXES):
        page.get_by_role("button", name=axis).click()
        page.locator(SLIDER).focus()
        rows, cols = (n for i, n in enumerate(SHAPE) if i != across)
        for key, index in (("Home", 0), ("ArrowRight", 1), ("End", SHAPE[across] - 1)):
            press(page, key)
            for number, expected in enumerate((grey, purple, viridis)):
                plane = expected.take(index, axis=across)[::-1, ::-1].astype(int)
                near = np.abs(colours(page, number, rows, cols) - plane).max(axis=-1) <= 5
                assert near.mean() > 0.9, (axis, index, number)  # the letters at the sides cover a few voxels


def test_contours_run_beside_their_masks_and_can_be_switched_off(opened):
    prediction = np.roll(box(), 2, 2)
    page = opened(SliceViewer(np.zeros(SHAPE), {"ground truth": box(), "prediction": prediction}))
    rows, cols = SHAPE[1:]
    index, fine = int(page.locator(SLIDER).input_value()), 6
    truth, found = (np.kron(mask[index, ::-1, ::-1], np.ones((fine, fine))) > 0 for mask in (box(), prediction))
    image, first, second = (colours(page, number, rows, cols, fine) for number in range(3))
    assert not is_colour(image, REFERENCE_COLOR).any()
    assert np.array_equal(first[truth], image[truth])  # the rim is in sight
    beside = ndimage.binary_dilation(truth, np.ones((3, 3))) & ~truth
    assert is_colour(first, REFERENCE_COLOR)[beside].mean() > 0.5  # beside a dark edge
    assert not is_colour(first, REFERENCE_COLOR)[~ndimage.binary_dilation(beside)].any()
    assert is_colour(second, REFERENCE_COLOR).any()
    assert is_colour(second, PREDICTION_COLOR)[ndimage.binary_dilation(found) & ~found].any()
    page.locator(SLIDER).focus()
    press(page, "o")
    assert not is_colour(colours(page, 2, rows, cols, fine), REFERENCE_COLOR).any()


def test_panels_are_large_at_most_three_and_chosen_by_buttons(opened):
    page = opened(SliceViewer(volume(), {"a": box(), "b": box()}, {"phi": box(), "psi": box()}))
    for width, least in ((1920, 480), (1280, 320), (420, 320)):
        page.set_viewport_size({"width": width, "height": 800})
        pixels(page)
        wide = [canvas.bounding_box()["width"] >= least for canvas in page.locator(SHOWN).all()]
        assert wide == [True] * 3
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    for button, names in (("", ["a", "b", "phi"]), ("image", ["image", "b", "phi"]),  # the oldest gives way
                          ("b", ["image", "phi"]), ("phi", ["image"]), ("image", ["image"])):  # fmt: skip  # one stays
        if button:
            page.get_by_role("button", name=button, exact=True).click()
        assert page.locator(".lrnet-name:visible").all_inner_texts() == names


def test_the_page_starts_at_the_lesion_and_shows_the_whole_slice_at_a_key(opened):
    mask = np.zeros((8, 60, 90), bool)
    mask[3, 8:12, 10:15] = True
    far = mask.copy()
    far[3, 50, 80:83] = True
    page = opened(SliceViewer(np.zeros(mask.shape), {"truth": mask, "found": far}))
    assert is_colour(colours(page, 1, 40, 40, 2), REFERENCE_COLOR).any()  # 40 mm
    beyond = page.get_by_text("3 voxels outside this view")
    assert beyond.count() == 1
    page.locator(SLIDER).focus()
    press(page, "w")
    assert beyond.count() == 0
    canvas = page.locator(SHOWN).first.bounding_box()
    assert canvas["width"] / canvas["height"] == pytest.approx(90 / 60, rel=0.02)


def test_keys_wheel_touch_and_slider_move_through_the_slices(opened):
    page = opened(SliceViewer(volume()))
    slider, canvas = page.locator(SLIDER), page.locator("canvas").first
    slider.focus()
    press(page, "Home", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == "z = 2, slice 3 of 12"
    before = pixels(page)
    press(page, "End")
    assert slider.input_value() == "11"
    assert pixels(page) != before
    canvas.hover()
    page.mouse.wheel(0, -120)
    page.wait_for_function("() => document.querySelector('.lrnet-slice').value === '10'")
    canvas.evaluate("""canvas => {
        canvas.setPointerCapture = () => {};
        const fire = (type, x) => canvas.dispatchEvent(
            new PointerEvent(type, { pointerType: "touch", clientX: x, clientY: 50, pointerId: 9 }));
        fire("pointerdown", 100); fire("pointermove", 76); fire("pointerup", 76);
    }""")
    assert slider.input_value() == "6"


def test_the_window_changes_the_picture_and_can_be_reset(opened):
    page = opened(SliceViewer(volume(), window=(-140, 260)))
    page.mouse.move(0, 0)
    start = pixels(page)
    page.locator(".lrnet-low").focus()
    press(page, "ArrowRight", "ArrowRight")
    assert pixels(page) != start
    page.get_by_role("button", name="reset window").click()
    assert pixels(page) == start
    area = page.locator("canvas").first.bounding_box()
    drag(page, (area["x"] + 100, area["y"] + 100), (area["x"] + 20, area["y"] + 130))
    low, high = (float(page.locator(f".lrnet-{end}").input_value()) for end in ("low", "high"))
    assert high - low < 400
    assert high < 260


@pytest.mark.parametrize("axis", AXES)
def test_the_voxel_under_the_pointer_is_read_with_its_values(axis, opened):
    image, mask = volume(), box()
    phi = distance_map(mask)
    shown = SliceViewer(image, {"lesion": mask}, {"phi": phi}, spacing=(9, 9, 9))
    page = opened(shown)
    page.get_by_role("button", name=axis).click()
    across = AXES.index(axis)
    view = [side for i, side in enumerate(shown.box) if i != across]
    rows, cols = (side.stop - side.start for side in view)
    assert cols < SHAPE[2]  # zoomed in
    canvas = page.locator(SHOWN).nth(1)
    for row, col in ((0, 0), (rows - 1, 2), (rows // 2, cols // 2)):
        area = canvas.bounding_box()
        page.mouse.move(area["x"] + (col + 0.5) * area["width"] / cols, area["y"] + (row + 0.5) * area["height"] / rows)
        place = [view[0].stop - 1 - row, view[1].stop - 1 - col]
        place.insert(across, shown.first_slices[axis])
        pixels(page)
        text = re.sub(r"\s+", " ", page.locator(".lrnet-readout").inner_text().replace("\u2212", "-"))
        found = re.fullmatch(r"z (\d+) · y (\d+) · x (\d+) · (\S+) HU · lesion: (\w+) · phi: (\S+)", text)
        assert [int(n) for n in found.groups()[:3]] == place
        assert float(found[4]) == pytest.approx(image[tuple(place)], abs=0.51 * shown._image.values.step + 0.05)
        assert found[5] == ("inside" if mask[tuple(place)] else "outside")
        assert float(found[6]) == pytest.approx(phi[tuple(place)], abs=0.003)


def test_values_beyond_the_grey_levels_and_missing_ones_are_read_as_such(opened):
    page, read = opened(SliceViewer(np.array([[[-1000.0, 60, 3000, np.nan]]]), window=(-140, 260))), []
    area = page.locator("canvas").bounding_box()
    for col in range(4):
        page.mouse.move(area["x"] + (3.5 - col) * area["width"] / 4, area["y"] + area["height"] / 2)
        pixels(page)
        read.append(page.locator(".lrnet-readout").inner_text().split("·")[3].strip())
    assert read == ["≤ −340 HU", "60 HU", "≥ 460 HU", "no value"]


def test_without_scripts_the_picture_stays(opened):
    pictures = opened(SliceViewer(volume()), MaskPainter(), java_script_enabled=False).locator("img").all()
    assert [picture.bounding_box()["width"] > 100 for picture in pictures] == [True, True]


# ---- the mask painter


def test_the_painters_maps_are_distance_map(opened):
    """Section 2.1 by the page's script and by the package, on every preset and on a speckled mask."""
    speckled = np.random.default_rng(3).random((18, 22)) < 0.3
    page = opened(MaskPainter(speckled))
    for name, expected in {None: speckled, **preset_shapes(*speckled.shape)}.items():
        if name:
            page.get_by_role("button", name=name, exact=True).click()
        mask, maps = painted_values(page, speckled.shape)
        assert np.array_equal(mask, expected)
        for kind, values in maps.items():
            assert np.abs(values - distance_map(mask, kind)).max() <= 0.00051, (name, kind)


def test_painting_and_erasing_change_mask_and_maps_of_one_size(opened):
    page = opened(MaskPainter("empty", size=16))
    before = [pixels(page, i) for i in range(3)]
    sizes = [canvas.bounding_box() for canvas in page.locator(SHOWN).all()]
    assert len({(size["width"], size["height"], size["y"]) for size in sizes}) == 1
    assert sizes[0]["width"] >= 320
    area, cell, expected = sizes[0], sizes[0]["width"] / 16, np.zeros((16, 16), bool)

    def stroke(row: int, first: int, last: int) -> None:  # one event: no gap may stay
        drag(page, *((area["x"] + (col + 0.5) * cell, area["y"] + (row + 0.5) * cell) for col in (first, last)))

    stroke(5, 3, 12)
    expected[5, 3:13] = True
    assert np.array_equal(painted_values(page, (16, 16))[0], expected)
    assert all(pixels(page, i) != before[i] for i in range(3))
    page.get_by_role("button", name="erase").click()
    page.get_by_role("button", name="wide brush").click()
    stroke(6, 5, 5)
    expected[5, 4:7] = False
    page.locator("summary").click()
    names: dict[str, Any] = {"np": np}
    exec(page.locator(".lrnet-painting pre").inner_text(), names)
    assert np.array_equal(names["mask"], expected)


def test_the_keyboard_paints(opened):
    page = opened(MaskPainter("empty", size=12))
    page.locator(".lrnet-grid").focus()
    press(page, "ArrowUp", "Space", "Shift+ArrowRight", "Shift+ArrowRight", "ArrowDown", "Enter", "Enter")
    assert "row 6, column 8: background" in page.locator(".lrnet-painting output").inner_text()
    expected = np.zeros((12, 12), bool)
    expected[5, 6:9] = True
    assert np.array_equal(painted_values(page, (12, 12))[0], expected)
