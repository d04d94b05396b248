"""The viewers in a real JupyterLab, and on the page exported from it."""

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
from conftest import ROOT
from pages import SHOWN, SLIDER, drag, painted_values, pixels, press

ACTIVE_CELL = "() => window.jupyterapp.shell.currentWidget.content.activeCellIndex"
CELLS = [
    """
    import ipywidgets as widgets
    import numpy as np
    from types import SimpleNamespace
    from lrnet_edu import CaseExplorer, MaskPainter, SliceViewer
    from lrnet_edu.figures import Picture
    from lrnet_edu.viewers.controls import interact

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
    'SliceViewer(cases["first"].image, {"ground truth": cases["first"].mask}, title="slices")',
    'CaseExplorer(cases, {"sharp": sharp, "shifted": shifted}, label=2)',
    "MaskPainter('empty', size=16)",
    'interact(lambda n: Picture(1.0).finish(f"drawn with {n}"), n=widgets.IntSlider(3, min=1, max=9, description="n"))',
]


def write_notebook(file: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    cells = [nbformat.v4.new_code_cell(textwrap.dedent(text).strip()) for text in CELLS]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), file)


@pytest.fixture(scope="module")
def page(lab: Any) -> Any:
    """The notebook, run; nothing may be asked for outside this JupyterLab."""
    write_notebook(lab.folder / "viewers.ipynb")
    page = lab.open("viewers.ipynb")
    lab.run_all(page)
    page.wait_for_selector(".lrnet-grid")
    yield page
    lab.close(page)
    assert lab.refused == []


def test_one_scrolls_and_jupyterlab_does_not_take_the_keys(page):
    slider = page.locator(SLIDER).first
    slider.scroll_into_view_if_needed()
    before, at = pixels(page, 0), int(slider.input_value())
    slider.focus()
    active = page.evaluate(ACTIVE_CELL)
    press(page, "ArrowRight", "ArrowRight", "w", "o")
    assert int(slider.input_value()) == at + 2
    assert pixels(page, 0) != before
    assert page.evaluate(ACTIVE_CELL) == active


def test_one_chooses_case_method_and_map(page):
    """A new choice takes the first one's place; another method does not lose the slice."""
    titles = page.locator(".lrnet-title:visible")

    def choose(menu: str, option: str) -> Any:
        page.get_by_label(menu, exact=True).select_option(label=option)
        where = page.locator(
            ".lrnet-page:visible", has=page.locator(".lrnet-title", has_text=re.compile("sharp|shifted"))
        )
        where.locator(SHOWN).first.wait_for()
        return where

    shown = choose("Method", "shifted")
    titles.get_by_text("first, shifted").wait_for()
    assert titles.all_inner_texts() == ["slices", "first, shifted"]
    score = re.search(r"DC \(this case\)[\s\S]*?(0\.\d{3})", shown.inner_text())
    assert 0 < float(score[1]) < 1
    shown.locator(SLIDER).focus()
    press(page, "Home", "ArrowRight", "ArrowRight", "ArrowRight")
    shown = choose("Method", "sharp")
    titles.get_by_text("first, sharp").wait_for()
    assert shown.locator(SLIDER).input_value() == "3"
    choose("Case", "second")
    titles.get_by_text("second, sharp").wait_for()
    shown = choose("Map", "SNI-DM")
    shown.get_by_text("SNI-DM, ground truth").first.wait_for()


def test_what_is_drawn_follows_its_slider_and_takes_the_first_pictures_place(page):
    pictures = page.locator("img[alt^='drawn with']:visible")
    assert [picture.get_attribute("alt") for picture in pictures.all()] == ["drawn with 3"]
    page.locator(".widget-slider [role=slider]").last.focus()
    press(page, "ArrowRight")
    page.locator("img[alt='drawn with 4']").wait_for()
    assert [picture.get_attribute("alt") for picture in pictures.all()] == ["drawn with 4"]


def test_one_paints_by_mouse_and_keyboard(page):
    grid = page.locator(".lrnet-grid")
    grid.scroll_into_view_if_needed()
    area, expected = grid.bounding_box(), np.zeros((16, 16), bool)
    cell = area["width"] / 16
    drag(page, *((area["x"] + (col + 0.5) * cell, area["y"] + 8.5 * cell) for col in (4, 12)))
    expected[8, 4:13] = True
    assert np.array_equal(painted_values(page, expected.shape)[0], expected)
    page.mouse.move(area["x"] + 2.5 * cell, area["y"] + 2.5 * cell)  # the cursor follows the pointer
    active = page.evaluate(ACTIVE_CELL)
    press(page, "Space", "ArrowDown", "Space", "Shift+ArrowRight", "ArrowUp", "Enter", "Enter")
    expected[2, 2] = expected[3, 2] = expected[3, 3] = True
    assert np.array_equal(painted_values(page, expected.shape)[0], expected)
    assert page.evaluate(ACTIVE_CELL) == active


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_the_viewers_take_jupyterlabs_colours(theme, page, lab):
    lab.use_theme(page, theme)
    page.wait_for_function("light => document.body.dataset.jpThemeLight === light", arg=str(theme == "Light").lower())
    for part in (".lrnet-title", ".lrnet-name", ".lrnet-value", ".lrnet-readout"):
        colour = page.locator(part).first.evaluate("(element) => getComputedStyle(element).color")
        assert (int(re.search(r"\d+", colour)[0]) > 128) == (theme == "Dark"), (part, colour)


def test_an_exported_page_scrolls_without_kernel_and_network(open_offline, tmp_path):
    """Run by nbconvert, opened from disk: viewer, the explorer's first choice and painter all answer."""
    pytest.importorskip("nbconvert")
    write_notebook(tmp_path / "viewers.ipynb")
    command = [
        *(sys.executable, "-m", "nbconvert", "--to", "html", "--execute", "viewers.ipynb"),
        "--ExecutePreprocessor.store_widget_state=False",  # else the page asks for a widget manager
        *("--HTMLExporter.mathjax_url=", "--HTMLExporter.require_js_url=", "--HTMLExporter.mermaid_js_url="),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
    opened = open_offline(tmp_path / "viewers.html")
    page = opened.page
    assert page.locator(SLIDER).count() == 2
    for number, slider in enumerate(page.locator(SLIDER).all()):
        before = pixels(page, 2 * number)
        slider.focus()
        press(page, "ArrowRight")
        assert pixels(page, 2 * number) != before
    assert page.get_by_text("DC (this case)").count() == 1
    assert page.get_by_text("they need a running kernel").count() == 2
    assert page.locator("img[alt='drawn with 3']").is_visible()
    assert opened.refused == []


def test_an_untrusted_notebook_that_has_not_run_shows_its_pictures(lab):
    name = "01_distance_maps.ipynb"
    (lab.folder / name).write_bytes((ROOT / "notebooks" / name).read_bytes())
    page = lab.open(name)
    still = page.locator(".lrnet-page img").first
    still.scroll_into_view_if_needed()
    assert still.evaluate("(img) => img.complete && img.naturalWidth > 300 && img.width > 300")
    lab.close(page)
    lab.refused.clear()  # the badge
