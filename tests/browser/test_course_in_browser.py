"""The exported course and the reference in a real browser, opened from disk while every request is refused.

Names and outputs that would run or fetch something stay text.
"""

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from pages import SLIDER, page_of, pixels, press

import lrnet_edu
from lrnet_edu import SliceViewer

pytest.importorskip("nbconvert", reason="nbconvert is not installed")
pytest.importorskip("latex2mathml", reason="latex2mathml is not installed")

export_course = runpy.run_path(str(ROOT / "notebooks" / "export.py"))["export_course"]
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
OUTSIDE = "http://127.0.0.1:1"  # refused at once, were anything to ask for it
RUN = "document.title='run'"
EVIL = (
    f'</script></style></title><script>{RUN}</script><img src={OUTSIDE}/a onerror="{RUN}"><svg onload="{RUN}">'
    f'\' onmouseover="{RUN}" " autofocus onfocus="{RUN}"'
)


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two notebooks of the course, exported."""
    chosen, out = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("course")
    for name in (PAINTER, VIEWER):
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", chosen)
    export_course(out, chosen)
    return out


def test_viewer_and_painter_answer(open_offline, course):
    viewer, painter = (open_offline(course / f"{name}.html") for name in (VIEWER, PAINTER))
    for page, controls, key in ((viewer, SLIDER, "ArrowRight"), (painter, ".lrnet-grid", "Space")):
        for number, control in enumerate(page.locator(controls).all()):
            before = pixels(page, 3 * number)
            control.focus()
            press(page, key)
            assert pixels(page, 3 * number) != before
    assert viewer.get_by_text("ASSD (mm)").count() >= 1
    assert viewer.get_by_text("they need a running kernel").count() >= 1


@pytest.mark.parametrize(("theme", "width"), [("light", 360), ("dark", 1600)])
@pytest.mark.parametrize("name", [PAINTER, VIEWER, "index"])
def test_every_text_is_readable_in_both_themes_and_pages_fit_their_screen(theme, width, name, open_offline, course):
    size = {"width": width, "height": 800}
    page = open_offline(course / f"{name}.html", color_scheme=theme, viewport=size)
    page.evaluate("() => document.querySelectorAll('details').forEach((folded) => { folded.open = true; })")
    background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", background)[0]) < 128) == (theme == "dark")
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 10
    assert contrasts[0][0] >= 4.5, contrasts[:5]
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1920, 1080)])
@pytest.mark.parametrize("name", [PAINTER, VIEWER])
def test_slides_ask_first_fit_the_window_and_count(name, width, height, open_offline, course):
    page = open_offline(course / "slides" / f"{name}.html", viewport={"width": width, "height": height})
    seen = []
    for _ in range(page.evaluate("() => steps.length")):
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        asked, fits, shown = page.evaluate("""() => {
            const here = document.querySelector("section.here"), result = here.querySelector(".result");
            const fits = [...here.querySelectorAll(".result > pre, img, canvas, p, li, td")]
                .filter((e) => e.offsetParent && !e.closest("aside")).map((e) => e.getBoundingClientRect())
                .every((e) => e.bottom <= innerHeight && e.right <= innerWidth);
            const shown = !result || getComputedStyle(result).visibility === "visible";
            return [here.classList.contains("asked"), fits, shown];
        }""")
        assert fits
        assert asked != shown
        seen.append(page.locator("#place").inner_text())
        press(page, "ArrowRight")
    slides = page.locator("section").count()
    assert list(dict.fromkeys(seen)) == [f"{number + 1} / {slides}" for number in range(slides)]


def test_the_reference_has_every_public_name_and_needs_no_network(open_offline, tmp_path):
    pytest.importorskip("pdoc", reason="pdoc is not installed")
    line = [sys.executable, ROOT / "docs" / "make_reference.py", tmp_path / "reference"]
    subprocess.run(line, check=True, capture_output=True)
    page = open_offline(tmp_path / "reference" / "lrnet_edu.html")
    assert [name for name in lrnet_edu.__all__ if page.locator(f"[id='{name}']").count() != 1] == []
    page.get_by_role("searchbox").fill("surface distance")
    page.get_by_text("lrnet_edu.metrics.surface_distances", exact=True).first.wait_for()


# ---- names and outputs from elsewhere


def assert_only_text(page: Any, title: str, times: int) -> None:
    """The evil name stands on the page as it is, and none of it took effect."""
    assert page.locator("body").inner_text().count("<svg onload=") >= times
    assert page.locator(f"svg, [onerror], [onmouseover], [onfocus], [src^='{OUTSIDE}']").count() == 0
    assert page.title() == title


def test_names_in_a_viewer_stay_text(open_offline, tmp_path):
    image = np.random.default_rng(0).uniform(0, 100, (4, 8, 8))
    mask = np.zeros(image.shape, np.uint8)
    mask[1:3, 2:6, 2:6] = 7
    viewer = SliceViewer(image, {EVIL: mask}, {EVIL: mask / 7}, unit=EVIL, title=EVIL)
    viewer.notes.append(EVIL)
    viewer.facts[EVIL] = EVIL
    assert_only_text(open_offline(page_of(tmp_path / "viewer.html", viewer)), "", 8)


def test_an_exported_course_fetches_nothing_whatever_its_notebooks_hold(open_offline, tmp_path):
    from nbformat import v4, write

    asking = (
        f"<img src='{OUTSIDE}/picture'><link rel=stylesheet href='{OUTSIDE}/style'><script src='{OUTSIDE}/s'></script>"
        f"<script>document.title = 'ours'; fetch('{OUTSIDE}/fetched').catch(() => 0)</script>"  # as our viewers'
    )
    cells = [
        v4.new_markdown_cell(f"# 00 · Outputs that ask\n\n![seen]({OUTSIDE}/markdown.png)"),
        v4.new_code_cell("1", outputs=[v4.new_output("display_data", {"text/html": asking})]),
    ]
    write(v4.new_notebook(cells=cells), tmp_path / "00_asks.ipynb")
    write(v4.new_notebook(cells=[v4.new_markdown_cell(f"# 01 {EVIL}")]), tmp_path / "01_evil.ipynb")
    export_course(tmp_path / "out", tmp_path)
    page = open_offline(tmp_path / "out" / "00_asks.html", kept=True)
    assert page.locator("nav").first.inner_text().count("<svg onload=") == 1
    assert page.title() == "ours"  # the outputs' scripts run, their requests do not
    assert_only_text(open_offline(tmp_path / "out" / "index.html"), "lrnet_edu: the course", 1)
