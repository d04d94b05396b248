"""The course's notebooks in a real JupyterLab: run all cells, then do what a learner does."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import SLIDER, painted_values, pixels, press

from lrnet_edu.distance_maps import distance_map

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"  # a picture in every notebook's first line
ACTIVE_CELL = "() => window.jupyterapp.shell.currentWidget.content.activeCellIndex"


@pytest.fixture
def opened(lab: Any):
    """``opened(name)``: the page of a committed notebook of the course; its kernel ends with the test.

    Whatever the test does there, nothing may be asked for outside this JupyterLab but the badge.
    """
    pages = []

    def open_it(name: str) -> Any:
        shutil.copy(NOTEBOOKS / name, lab.folder)
        pages.append(lab.open(name))
        return pages[-1]

    yield open_it
    for page in pages:
        lab.close(page)
    assert set(lab.refused) <= {BADGE}


def test_a_notebook_that_has_not_run_yet_shows_its_pictures(opened):
    page = opened("01_distance_maps.ipynb")
    still = page.locator(".lrnet-painter img")
    still.scroll_into_view_if_needed()
    assert still.bounding_box()["width"] > 300
    assert still.evaluate("(img) => img.complete && img.naturalWidth > 300")


def test_one_paints_in_notebook_01_by_mouse_and_keyboard(lab, opened):
    page = opened("01_distance_maps.ipynb")
    lab.run_all(page)
    page.wait_for_selector(".lrnet-grid")
    page.get_by_role("button", name="empty", exact=True).click()
    grid, size = page.locator(".lrnet-grid"), 24
    painter = page.locator("canvas")
    grid.scroll_into_view_if_needed()
    assert painter.count() == 5
    before = [pixels(page, number) for number in range(5)]
    expected = np.zeros((size, size), bool)

    def assert_painted() -> None:
        mask, maps = painted_values(page, expected.shape)
        assert np.array_equal(mask, expected)
        for kind, values in maps.items():
            assert np.abs(values - distance_map(mask, kind)).max() <= 0.00051, kind

    area = grid.bounding_box()
    cell = area["width"] / size
    page.mouse.move(area["x"] + 4.5 * cell, area["y"] + 8.5 * cell)
    page.mouse.down()
    page.mouse.move(area["x"] + 12.5 * cell, area["y"] + 8.5 * cell)
    page.mouse.up()
    expected[8, 4:13] = True
    assert_painted()
    assert all(pixels(page, number) != before[number] for number in range(5))

    page.mouse.move(area["x"] + 2.5 * cell, area["y"] + 2.5 * cell)  # the cursor follows the pointer
    grid.focus()
    active = page.evaluate(ACTIVE_CELL)
    press(page, "Space", "ArrowDown", "Space", "Shift+ArrowRight", "ArrowUp", "Enter", "Enter")
    expected[2, 2] = expected[3, 2] = expected[3, 3] = True
    assert_painted()
    assert page.evaluate(ACTIVE_CELL) == active

    page.get_by_role("button", name="erase").click()
    page.mouse.click(area["x"] + 8.5 * cell, area["y"] + 8.5 * cell)
    expected[8, 8] = False
    assert_painted()


def test_one_scrolls_and_chooses_case_and_method_in_notebook_06(lab, opened):
    page = opened("06_results_and_viewers.ipynb")
    lab.run_all(page)
    explorer = page.locator(".lrnet-beside")
    explorer.locator("canvas").first.wait_for()

    # The slice viewer, by keyboard.
    slider = page.locator(SLIDER).first
    slider.scroll_into_view_if_needed()
    at, seen = int(slider.input_value()), {pixels(page)}
    slider.focus()
    active = page.evaluate(ACTIVE_CELL)
    for step in (1, 2):
        press(page, "ArrowRight")
        assert int(slider.input_value()) == at + step
        seen.add(pixels(page))
    press(page, "Home")
    assert int(slider.input_value()) == 0
    assert len(seen) == 3
    assert page.evaluate(ACTIVE_CELL) == active  # JupyterLab did not take the keys for its own

    # The explorer: another case is another picture and other criteria, another method keeps picture and slice.
    def shown() -> tuple[str, list[str], list[str]]:
        explorer.locator("canvas").first.wait_for()
        panels = [canvas.evaluate("(canvas) => canvas.toDataURL()") for canvas in explorer.locator("canvas").all()]
        return explorer.locator(".lrnet-title").inner_text(), panels, explorer.locator("td").all_inner_texts()

    def choose(menu: str, other: int) -> str:
        choice = page.get_by_label(menu, exact=True)
        choice.select_option(index=other)
        text = choice.locator("option").nth(other).inner_text()
        name = text.replace("\xa0", " ")  # ipywidgets' menus show no spaces that may break
        page.wait_for_function(
            "name => document.querySelector('.lrnet-beside .lrnet-title').textContent.split(', ').includes(name)",
            arg=name,
        )
        return name

    start = shown()
    assert len(start[2]) == 7
    case = choose("Case", 1)
    other_case = shown()
    assert other_case[0].startswith(case)
    assert other_case[1][0] != start[1][0]
    assert other_case[2] != start[2]

    explorer.locator(SLIDER).focus()
    press(page, "ArrowRight")
    slice_before = explorer.locator(SLIDER).input_value()
    before = shown()
    method = choose("Method", 1)
    other_method = shown()
    assert other_method[0] == f"{case}, {method}"
    assert explorer.locator(SLIDER).input_value() == slice_before
    assert other_method[1][0] == before[1][0]
    assert other_method[1] != before[1]
    assert other_method[2] != before[2]


def test_the_viewers_take_jupyterlabs_colours(lab, opened):
    page = opened("02_ct_data_and_imbalance.ipynb")
    lab.run_all(page)
    page.wait_for_selector(SLIDER)
    for theme in ("Light", "Dark"):
        lab.use_theme(page, theme)
        page.wait_for_function(
            "light => document.body.dataset.jpThemeLight === light", arg=str(theme == "Light").lower()
        )
        for part in (".lrnet-title", ".lrnet-name", ".lrnet-value", ".lrnet-readout"):
            colour = page.locator(part).first.evaluate("(element) => getComputedStyle(element).color")
            red = int(re.search(r"\d+", colour)[0])
            assert (red > 128) == (theme == "Dark"), (part, colour)
