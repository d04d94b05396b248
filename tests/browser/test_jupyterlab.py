"""The viewers in a real JupyterLab."""

import re
import textwrap
from typing import Any

import pytest
from conftest import ROOT
from pages import SHOWN, SLIDER, pixels, press

ACTIVE_CELL = "() => window.jupyterapp.shell.currentWidget.content.activeCellIndex"
CELLS = [
    """
    import ipywidgets as widgets
    import numpy as np
    from lrnet_edu import MaskPainter, SliceViewer
    from lrnet_edu.viewers.controls import interact

    image, lesion = np.random.default_rng(0).normal(60, 30, (12, 16, 20)), np.zeros((12, 16, 20), bool)
    lesion[3:9, 4:10, 6:14] = True
    shifted = np.roll(lesion, 2, 1)

    def explore(case, mask):
        viewer = SliceViewer(image, {"ground truth": lesion, mask: globals()[mask]}, title=f"{case}, {mask}")
        viewer.keep = case
        return viewer
    """,
    'SliceViewer(image, {"ground truth": lesion}, title="slices")',
    """
    menus = {"case": ["first", "second"], "mask": ["lesion", "shifted"]}
    interact(explore, **{name: widgets.Dropdown(options=menu, description=name) for name, menu in menus.items()})
    """,
    "MaskPainter('empty', size=16)",
]


@pytest.fixture(scope="module")
def page(lab: Any) -> Any:
    """The notebook, run; nothing may be asked for outside this JupyterLab."""
    nbformat = pytest.importorskip("nbformat")
    cells = [nbformat.v4.new_code_cell(textwrap.dedent(text).strip()) for text in CELLS]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, lab.folder / "viewers.ipynb")
    opened = lab.open("viewers.ipynb")
    assert opened.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')"), "a cell raised"
    opened.page.wait_for_selector(".lrnet-grid")
    yield opened.page
    lab.close(opened.page)
    assert opened.refused == []


def test_one_scrolls_and_paints_and_jupyterlab_does_not_take_the_keys(page):
    slider, grid = page.locator(SLIDER).first, page.locator(".lrnet-grid")
    before, at = pixels(page, 0), int(slider.input_value())
    for control, keys in (
        (slider, ("ArrowRight", "ArrowRight", "w", "o")),
        (grid, ("ArrowDown", "Space", "Shift+ArrowRight", "Enter", "Enter")),
    ):
        control.scroll_into_view_if_needed()
        control.focus()
        active = page.evaluate(ACTIVE_CELL)
        press(page, *keys)
        assert page.evaluate(ACTIVE_CELL) == active
    assert int(slider.input_value()) == at + 2
    assert pixels(page, 0) != before
    assert "component" in page.locator(".lrnet-painting output").inner_text()


def test_one_chooses_case_and_mask(page):
    """A new choice takes the first one's place; another mask does not lose the slice."""
    titles = page.locator(".lrnet-title:visible")
    shown = page.locator(".lrnet-page:visible", has=page.locator(".lrnet-title", has_text=re.compile("first,|second,")))

    def choose(menu: str, option: str, title: str) -> None:
        page.get_by_label(menu, exact=True).select_option(label=option)
        titles.get_by_text(title).wait_for()
        shown.locator(SHOWN).first.wait_for()

    choose("mask", "shifted", "first, shifted")
    assert titles.all_inner_texts() == ["slices", "first, shifted"]
    shown.locator(SLIDER).focus()
    press(page, "Home", "ArrowRight", "ArrowRight", "ArrowRight")
    choose("mask", "lesion", "first, lesion")
    assert shown.locator(SLIDER).input_value() == "3"
    choose("case", "second", "second, lesion")


def test_an_untrusted_notebook_that_has_not_run_shows_its_pictures(lab):
    name = "01_distance_maps.ipynb"
    (lab.folder / name).write_bytes((ROOT / "notebooks" / name).read_bytes())
    opened = lab.open(name)
    still = opened.page.locator(".lrnet-page img").first
    still.scroll_into_view_if_needed()
    assert still.evaluate("(img) => img.complete && img.naturalWidth > 300 && img.width > 300")
    lab.close(opened.page)
