"""The exported course in a real browser, opened from disk while every request is refused."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

import pytest
from conftest import ROOT
from pages import SLIDER, pixels, press

pytest.importorskip("nbconvert", reason="nbconvert is not installed")
pytest.importorskip("latex2mathml", reason="latex2mathml is not installed")


PAINTER, VIEWER = "01_distance_maps", "06_results_and_viewers"

# Contrast (WCAG 2) of every text to what lies behind it, the lowest first: [ratio, text].
CONTRASTS = """() => {
    const numbers = (colour) => colour.match(/[0-9.]+/g).map(Number);
    const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255)
        .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (element) => {
        for (; element; element = element.parentElement) {
            const colour = numbers(getComputedStyle(element).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
    };
    const found = [];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement, text = texts.currentNode.data.trim();
        if (!text || element.closest("script, style, button:disabled, .anchor-link") || !element.offsetParent) continue;
        const [a, b] = [luminance(numbers(getComputedStyle(element).color)), luminance(behind(element))];
        found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), text]);
    }
    return found.sort((a, b) => a[0] - b[0]);
}"""


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two notebooks of the course, exported."""
    chosen, out = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("course")
    for name in (PAINTER, VIEWER):
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", chosen)
    runpy.run_path(str(ROOT / "notebooks" / "export.py"))["export_course"](out, chosen)
    return out


def test_viewer_explorer_and_painter_answer_and_nothing_is_asked_for(open_offline, course):
    viewer, painter = (open_offline(course / f"{name}.html") for name in (VIEWER, PAINTER))
    for opened, controls, key in ((viewer, SLIDER, "ArrowRight"), (painter, ".lrnet-grid", "Space")):
        for number, control in enumerate(opened.page.locator(controls).all()):
            before = pixels(opened.page, 3 * number)
            control.focus()
            press(opened.page, key)
            assert pixels(opened.page, 3 * number) != before
        assert (opened.refused, opened.errors) == ([], [])
    assert viewer.page.get_by_text("DC (this case)").count() == 1
    assert viewer.page.get_by_text("they need a running kernel").count() >= 1


@pytest.mark.parametrize(("theme", "width"), [("light", 360), ("dark", 1600)])
@pytest.mark.parametrize("name", [PAINTER, VIEWER, "index"])
def test_every_text_is_readable_in_both_themes_and_pages_fit_their_screen(theme, width, name, open_offline, course):
    size = {"width": width, "height": 800}
    page = open_offline(course / f"{name}.html", color_scheme=theme, viewport=size).page
    page.evaluate("() => document.querySelectorAll('details').forEach((folded) => { folded.open = true; })")
    background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", background)[0]) < 128) == (theme == "dark")
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 10
    assert contrasts[0][0] >= 4.5, contrasts[:5]
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
