"""The viewers in a real browser: a page opened from disk without a network, and JupyterLab."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import SLIDER, painted_values, pixels, press

from lrnet_edu.distance_maps import distance_map
from lrnet_edu.figures.palette import PREDICTION_COLOR, REFERENCE_COLOR
from lrnet_edu.viewers.painter import MaskPainter
from lrnet_edu.viewers.slices import AXES, SliceViewer

SHAPE = (12, 16, 20)

# The colours of a canvas at the middle of every voxel: [[r, g, b], ...] row by row.
COLOURS = """(canvas, [rows, cols]) => {
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data, out = [];
    for (let row = 0; row < rows; row++) for (let col = 0; col < cols; col++) {
        const y = Math.floor((row + 0.5) * canvas.height / rows),
            x = Math.floor((col + 0.5) * canvas.width / cols);
        out.push([...data.slice(4 * (y * canvas.width + x), 4 * (y * canvas.width + x) + 3)]);
    }
    return out;
}"""
HAS_COLOUR = """(canvas, wanted) => {
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const near = (i) => wanted.every((value, k) => Math.abs(data[i + k] - value) <= 8);
    for (let i = 0; i < data.length; i += 4) if (near(i)) return true;
    return false;
}"""


def volume() -> np.ndarray:
    return np.random.default_rng(1).uniform(-140, 260, SHAPE).astype(np.float32)


def box() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:9, 4:10, 6:14] = 1
    return mask


def page_of(file: Path, *fragments: str, dark: bool = False) -> Path:
    style = "background: #111; color: #ddd" if dark else "background: #fff; color: #222"
    file.write_text(f'<!doctype html><meta charset="utf-8"><body style="{style}">{"".join(fragments)}', "utf-8")
    return file


def html_of(shown: Any) -> str:
    return shown._repr_mimebundle_()["text/html"]


def colours(page: Any, number: int, rows: int, cols: int) -> np.ndarray:
    pixels(page, number)
    found = page.locator("canvas").nth(number).evaluate(COLOURS, [rows, cols])
    return np.array(found).reshape(rows, cols, 3)


# ---- the slice viewer on a page from disk


def test_the_page_draws_what_render_draws(open_offline, tmp_path):
    """Axis by axis, slice by slice, the browser draws what Python draws, which test_viewers checks."""
    image, mask = volume(), box()
    shown = SliceViewer(
        image,
        spacing=(2.0, 1.0, 1.0),
        heat={"SNI-DM": distance_map(mask, "SNI-DM"), "NI-DM": distance_map(mask)},
    )
    opened = open_offline(page_of(tmp_path / "v.html", html_of(shown)))
    page = opened.page
    page.locator(SLIDER).focus()
    for axis in AXES:
        page.get_by_role("button", name=axis).click()
        page.locator(SLIDER).focus()
        rows, cols = (n for n, name in zip(SHAPE, AXES, strict=True) if name != axis)
        for key, index in (("Home", 0), ("ArrowRight", 1), ("End", SHAPE[AXES.index(axis)] - 1)):
            press(page, key)
            expected = shown.render(axis, index, width=8 * cols)
            height = expected.shape[0]
            at = np.ix_((np.arange(rows) * 2 + 1) * height // (2 * rows), np.arange(cols) * 8 + 4)
            for number, panel in enumerate(np.split(expected, 3, axis=1)):
                found = colours(page, number, rows, cols)
                same = np.abs(found - panel[at].astype(int)).max(axis=-1) <= 2
                assert same.mean() > 0.95, (
                    axis,
                    index,
                    number,
                )  # the letters at the sides cover a few voxels
    assert opened.refused == []
    assert opened.errors == []


def test_contours_have_the_palettes_colours_and_can_be_switched_off(open_offline, tmp_path):
    shown = SliceViewer(np.zeros(SHAPE), overlays={"ground truth": box(), "prediction": np.roll(box(), 2, 2)})
    page = open_offline(page_of(tmp_path / "v.html", html_of(shown))).page

    def has(number: int, colour: str) -> bool:
        pixels(page, number)
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        return page.locator("canvas").nth(number).evaluate(HAS_COLOUR, wanted)

    assert [has(i, REFERENCE_COLOR) for i in range(3)] == [False, True, True]
    assert [has(i, PREDICTION_COLOR) for i in range(3)] == [False, False, True]
    page.locator(SLIDER).focus()
    press(page, "o")
    assert page.get_by_role("button", name="overlay").get_attribute("aria-pressed") == "false"
    assert not has(2, REFERENCE_COLOR)
    page.get_by_role("button", name="overlay").click()
    assert has(2, REFERENCE_COLOR)


def test_keys_wheel_touch_and_slider_move_through_the_slices(open_offline, tmp_path):
    page = open_offline(page_of(tmp_path / "v.html", html_of(SliceViewer(volume())))).page
    slider, canvas = page.locator(SLIDER), page.locator("canvas").first
    assert slider.get_attribute("data-lm-suppress-shortcuts") == "true"

    def at() -> int:
        return int(slider.input_value())

    slider.focus()
    press(page, "Home", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft")
    assert at() == 2
    assert slider.get_attribute("aria-valuetext") == "z = 2, slice 3 of 12"
    assert slider.get_attribute("aria-label") == "axial slice"
    before = pixels(page)
    press(page, "End")
    assert at() == 11
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
    assert at() == 6


def test_window_and_level_change_the_picture_and_can_be_reset(open_offline, tmp_path):
    page = open_offline(page_of(tmp_path / "v.html", html_of(SliceViewer(volume(), window=(60, 400))))).page
    reset = page.get_by_role("button", name="reset window")
    assert reset.is_disabled()
    page.mouse.move(0, 0)
    start = pixels(page)
    page.locator(".lrnet-level").focus()
    press(page, "ArrowLeft", "ArrowLeft")
    by_slider = pixels(page)
    reset.click()
    assert pixels(page) == start

    area = page.locator("canvas").first.bounding_box()
    page.mouse.move(area["x"] + 100, area["y"] + 100)
    page.mouse.down()
    page.mouse.move(area["x"] + 20, area["y"] + 130)
    page.mouse.up()
    page.mouse.move(0, 0)
    dragged = pixels(page)
    assert len({start, by_slider, dragged}) == 3
    assert float(page.locator(".lrnet-width").input_value()) < 400
    assert float(page.locator(".lrnet-level").input_value()) < 60


def test_a_window_beside_the_values_stays_until_it_is_moved(open_offline, tmp_path):
    narrow = np.random.default_rng(1).uniform(90, 130, SHAPE).astype(np.float32)
    page = open_offline(page_of(tmp_path / "v.html", html_of(SliceViewer(narrow, window=(60, 400))))).page
    area = page.locator("canvas").first.bounding_box()
    page.mouse.move(area["x"] + 100, area["y"] + 100)
    page.mouse.down()
    page.mouse.move(area["x"] + 101, area["y"] + 100)
    page.mouse.up()
    page.locator(".lrnet-level").focus()
    press(page, "ArrowLeft")
    assert float(page.locator(".lrnet-width").input_value()) == pytest.approx(400, abs=1)
    assert float(page.locator(".lrnet-level").input_value()) == pytest.approx(60, abs=1)


def test_viewers_of_two_kernels_keep_their_own_windows(open_offline, tmp_path):
    """Their names count from one in each kernel."""
    viewers = [SliceViewer(volume(), window=window) for window in ((60, 400), (100, 50))]
    for viewer in viewers:
        viewer.keep = "explorer-1 volume-0"
    page = open_offline(page_of(tmp_path / "v.html", *map(html_of, viewers))).page
    widths = [float(page.locator(".lrnet-width").nth(k).input_value()) for k in range(2)]
    assert widths == pytest.approx([400, 50], abs=2)


@pytest.mark.parametrize("axis", AXES)
def test_the_voxel_under_the_pointer_is_read_with_its_values(axis, open_offline, tmp_path):
    image, mask = volume(), box()
    phi = distance_map(mask)
    shown = SliceViewer(image, overlays={"lesion": mask}, heat={"phi": phi})
    page = open_offline(page_of(tmp_path / "v.html", html_of(shown))).page
    page.get_by_role("button", name=axis).click()
    across = AXES.index(axis)
    rows, cols = (n for i, n in enumerate(SHAPE) if i != across)
    canvas = page.locator("canvas").nth(1)
    for row, col in ((0, 0), (rows - 1, 2), (rows // 2, cols // 2)):
        area = canvas.bounding_box()
        page.mouse.move(area["x"] + (col + 0.5) * area["width"] / cols, area["y"] + (row + 0.5) * area["height"] / rows)
        place = [rows - 1 - row, cols - 1 - col]
        place.insert(across, shown.first_slices[axis])
        pixels(page)
        text = page.locator(".lrnet-readout").inner_text().replace("\u2212", "-")
        found = re.fullmatch(
            r"z (\d+) · y (\d+) · x (\d+) · (\S+) HU · lesion: (\w+) · phi: (\S+)", re.sub(r"\s+", " ", text)
        )
        assert found, text
        assert [int(n) for n in found.groups()[:3]] == place
        assert float(found[4]) == pytest.approx(image[tuple(place)], abs=0.51 * shown._image.values.step + 0.05)
        assert found[5] == ("inside" if mask[tuple(place)] else "outside")
        assert float(found[6]) == pytest.approx(phi[tuple(place)], abs=0.003)


def test_values_beyond_the_range_and_missing_ones_are_read_as_such(open_offline, tmp_path):
    image = np.full((1, 1, 4), 60.0)
    image[0, 0] = -1000, 60, 3000, np.nan
    shown = SliceViewer(image, window=(60, 400), radiological=False, unit="HU")
    page = open_offline(page_of(tmp_path / "v.html", html_of(shown))).page
    area, said = page.locator("canvas").bounding_box(), []
    for col in range(4):
        page.mouse.move(area["x"] + (col + 0.5) * area["width"] / 4, area["y"] + area["height"] / 2)
        pixels(page)
        said.append(page.locator(".lrnet-readout").inner_text().split("·")[3].strip())
    assert said[0] == "≤ −340 HU"
    assert said[2] == "≥ 460 HU"
    assert said[3] == "no value"


def test_two_viewers_on_a_page_do_not_touch_each_other(open_offline, tmp_path):
    shown = html_of(SliceViewer(volume(), overlays={"m": box()}))
    page = open_offline(page_of(tmp_path / "v.html", shown, html_of(MaskPainter()), shown)).page
    assert page.locator(SLIDER).count() == 2
    before = pixels(page, 0), pixels(page, 7)
    page.locator(SLIDER).nth(1).focus()
    press(page, "Home")
    page.get_by_role("button", name="sagittal").nth(1).click()
    assert pixels(page, 0) == before[0]
    assert pixels(page, 7) != before[1]


def test_names_from_outside_stay_text(open_offline, tmp_path):
    evil = '</script></style><img src=x onerror="document.title = 1">'
    shown = SliceViewer(volume(), title=evil, overlays={evil: box()}, heat={evil: box()}, unit=evil)
    opened = open_offline(page_of(tmp_path / "v.html", html_of(shown)))
    assert opened.page.locator("img").count() == 0  # the still picture has given way, and no other came
    assert opened.page.get_by_text(evil, exact=True).count() >= 3
    assert opened.page.title() == ""
    assert opened.errors == []


def test_without_scripts_the_picture_stays(open_offline, tmp_path):
    file = page_of(tmp_path / "v.html", html_of(SliceViewer(volume())), html_of(MaskPainter()))
    page = open_offline(file, java_script_enabled=False).page
    assert page.locator("img").count() == 2
    for picture in page.locator("img").all():
        assert picture.bounding_box()["width"] > 100
        assert len(picture.get_attribute("alt")) > 20
    assert page.locator("canvas").count() == 0


@pytest.mark.parametrize("dark", [False, True])
def test_text_takes_the_pages_colour_and_panels_fit_a_narrow_page(dark, open_offline, tmp_path):
    shown = SliceViewer(volume(), overlays={"a": box(), "b": box()}, heat={"phi": box()})
    page = open_offline(page_of(tmp_path / "v.html", html_of(shown), html_of(MaskPainter()), dark=dark)).page
    body = page.evaluate("() => getComputedStyle(document.body).color")
    for part in (".lrnet-name", ".lrnet-value", ".lrnet-readout", ".lrnet-ticks", "figcaption", "summary"):
        assert page.locator(part).first.evaluate("e => getComputedStyle(e).color") == body, part
    for width in (360, 1400):
        page.set_viewport_size({"width": width, "height": 800})
        pixels(page)
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        tops = {round(canvas.bounding_box()["y"]) for canvas in page.locator(".lrnet-slices canvas").all()}
        assert (len(tops) == 1) == (width == 1400)


# ---- the mask painter on a page from disk


def test_the_painters_maps_are_distance_map(open_offline, tmp_path):
    """Section 2.1 by the page's script and by the package, on every preset and on a speckled mask."""
    speckled = np.random.default_rng(3).random((18, 22)) < 0.3
    page = open_offline(page_of(tmp_path / "p.html", html_of(MaskPainter(speckled)))).page
    presets = page.get_by_role("group", name="start from a shape").get_by_role("button").all_inner_texts()
    assert {"disc", "touching", "full", "empty", "single voxel"} <= set(presets)
    seen = set()
    for name in [None, *presets]:
        if name:
            page.get_by_role("button", name=name, exact=True).click()
        mask, maps = painted_values(page, speckled.shape)
        seen.add(mask.tobytes())
        if name is None:
            assert np.array_equal(mask, speckled)
        for kind, values in maps.items():
            assert np.abs(values - distance_map(mask, kind)).max() <= 0.00051, (name, kind)
    assert len(seen) == len(presets) + 1


def test_painting_with_the_mouse_and_erasing_change_mask_and_maps(open_offline, tmp_path):
    page = open_offline(page_of(tmp_path / "p.html", html_of(MaskPainter("empty", size=16)))).page
    page.mouse.move(0, 0)
    before = [pixels(page, i) for i in range(5)]
    area = page.locator(".lrnet-grid").bounding_box()
    cell = area["width"] / 16

    def stroke(row: int, first: int, last: int) -> None:
        page.mouse.move(area["x"] + (first + 0.5) * cell, area["y"] + (row + 0.5) * cell)
        page.mouse.down()
        page.mouse.move(area["x"] + (last + 0.5) * cell, area["y"] + (row + 0.5) * cell)  # one event: no gap may stay
        page.mouse.up()

    stroke(5, 3, 12)
    expected = np.zeros((16, 16), bool)
    expected[5, 3:13] = True
    mask, maps = painted_values(page, (16, 16))
    assert np.array_equal(mask, expected)
    assert np.abs(maps["SNI-DM"] - distance_map(mask, "SNI-DM")).max() <= 0.00051
    assert all(pixels(page, i) != before[i] for i in range(5))

    page.get_by_role("button", name="erase").click()
    page.get_by_role("button", name="wide brush").click()
    stroke(6, 5, 5)
    expected[5, 4:7] = False
    assert np.array_equal(painted_values(page, (16, 16))[0], expected)

    page.locator("summary").click()
    names: dict[str, Any] = {"np": np}
    exec(page.locator(".lrnet-painter pre").inner_text(), names)
    assert np.array_equal(names["mask"], expected)


def test_the_keyboard_paints(open_offline, tmp_path):
    page = open_offline(page_of(tmp_path / "p.html", html_of(MaskPainter("empty", size=12)))).page
    grid = page.locator(".lrnet-grid")
    assert grid.get_attribute("data-lm-suppress-shortcuts") == "true"
    grid.focus()
    press(page, "ArrowUp", "Space", "Shift+ArrowRight", "Shift+ArrowRight", "ArrowDown", "Enter", "Enter")
    assert "row 6, column 8: background" in page.locator(".lrnet-painter output").inner_text()
    expected = np.zeros((12, 12), bool)
    expected[5, 6:9] = True
    assert np.array_equal(painted_values(page, (12, 12))[0], expected)


# ---- JupyterLab, and the page exported from it

CELLS = {
    "data": """
        import numpy as np
        from types import SimpleNamespace
        from lrnet_edu.distance_maps import distance_map
        from lrnet_edu.explorer import CaseExplorer
        from lrnet_edu.painter import MaskPainter
        from lrnet_edu.viewers import SliceViewer

        def case(seed):
            rng = np.random.default_rng(seed)
            mask = np.zeros((12, 16, 20), np.uint8)
            mask[3:9, 4:10, 6 + seed:14 + seed] = 2
            image = rng.normal(60, 30, mask.shape) - 40 * mask
            return SimpleNamespace(image=image, mask=mask, spacing=(2, 1, 1))

        cases = {"first": case(0), "second": case(3)}
        sharp = {name: (c.mask == 2) * 0.9 for name, c in cases.items()}
        shifted = {name: np.roll(p, 2, 1) for name, p in sharp.items()}
    """,
    "viewer": 'SliceViewer(cases["first"].image, overlays={"ground truth": cases["first"].mask})',
    "explorer": 'CaseExplorer(cases, {"sharp": sharp, "shifted": shifted}, label=2)',
    "painter": "MaskPainter()",
}


def write_notebook(file: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    cells = [nbformat.v4.new_code_cell(textwrap.dedent(text).strip()) for text in CELLS.values()]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), file)


def test_the_viewers_work_in_jupyterlab(lab):
    write_notebook(lab.folder / "viewers.ipynb")
    page = lab.open("viewers.ipynb")
    try:
        lab.run_all(page)
        page.wait_for_selector(".lrnet-grid")

        slider = page.locator(SLIDER).first
        before, here = pixels(page, 0), int(slider.input_value())
        slider.focus()
        press(page, "ArrowRight", "ArrowRight")
        assert int(slider.input_value()) == here + 2
        assert pixels(page, 0) != before

        explorer = page.locator(".lrnet-beside")
        assert re.search(r"DC \(this case\)\s+1\.000", explorer.inner_text())
        assert explorer.locator(".lrnet-title").inner_text() == "first, sharp"
        explorer.locator(SLIDER).focus()
        press(page, "Home", "ArrowRight", "ArrowRight", "ArrowRight")
        page.locator(".widget-dropdown select").nth(1).select_option("shifted")
        page.wait_for_function(
            "() => document.querySelector('.lrnet-beside .lrnet-title').textContent.includes('shifted')"
        )
        assert not re.search(r"DC \(this case\)\s+1\.000", explorer.inner_text())
        page.wait_for_selector(".lrnet-beside canvas")
        assert explorer.locator(SLIDER).input_value() == "3"  # a new method does not lose the slice
        page.locator(".widget-dropdown select").nth(0).select_option("second")
        page.wait_for_function(
            "() => document.querySelector('.lrnet-beside .lrnet-title').textContent.includes('second')"
        )
        page.locator(".widget-dropdown select").nth(2).select_option("SNI-DM")
        page.wait_for_selector(".lrnet-beside >> text=SNI-DM, ground truth")

        grid = page.locator(".lrnet-grid")
        grid.focus()
        maps = page.locator(".lrnet-painter canvas").nth(4)
        drawn = maps.evaluate("canvas => canvas.toDataURL()")
        press(page, "Space")
        assert maps.evaluate("canvas => canvas.toDataURL()") != drawn
    finally:
        lab.close(page)


def test_an_exported_page_scrolls_without_kernel_and_network(open_offline, tmp_path):
    """Run by nbconvert, opened from disk: viewer, the explorer's first choice and painter all answer."""
    pytest.importorskip("nbconvert")
    source = tmp_path / "viewers.ipynb"
    write_notebook(source)
    root = str(Path(__file__).resolve().parents[2])
    command = [
        *(sys.executable, "-m", "nbconvert", "--to", "html", "--execute", source.name),
        "--ExecutePreprocessor.store_widget_state=False",  # else the page asks for a widget manager
        *("--HTMLExporter.mathjax_url=", "--HTMLExporter.require_js_url=", "--HTMLExporter.mermaid_js_url="),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    opened = open_offline(tmp_path / "viewers.html")
    page = opened.page
    assert page.locator(SLIDER).count() == 2
    for number, slider in enumerate(page.locator(SLIDER).all()):
        before = pixels(page, 2 * number)
        slider.focus()
        press(page, "ArrowRight")
        assert pixels(page, 2 * number) != before
    assert "DC (this case)" in page.locator(".lrnet-beside").inner_text()
    assert page.get_by_text("they need a running kernel").count() == 1
    grid = page.locator(".lrnet-grid")
    drawn = grid.evaluate("canvas => canvas.toDataURL()")
    grid.focus()
    press(page, "Space")
    assert grid.evaluate("canvas => canvas.toDataURL()") != drawn
    assert opened.refused == []
