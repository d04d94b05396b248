"""Names from files stay text in a real browser, and an exported page fetches nothing."""

from __future__ import annotations

import runpy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from pages import page_of

from lrnet_edu.viewers.explorer import CaseExplorer

OUTSIDE = "http://127.0.0.1:1"  # refused at once, were anything to ask for it
RUN = "document.title='run'"
EVIL = (
    f'</script></style></title><script>{RUN}</script><img src={OUTSIDE}/a onerror="{RUN}"><svg onload="{RUN}">'
    f'\' onmouseover="{RUN}" " autofocus onfocus="{RUN}"'
)


def assert_only_text(opened: Any, title: str, times: int) -> None:
    """The evil name stands on the page as it is, and none of it took effect."""
    page = opened.page
    assert page.locator("body").inner_text().count("<svg onload=") >= times
    assert page.locator(f"svg, [onerror], [onmouseover], [onfocus], [src^='{OUTSIDE}']").count() == 0
    assert page.title() == title
    assert (opened.refused, opened.errors) == ([], [])


def test_the_case_explorer(open_offline, tmp_path):
    image = np.random.default_rng(0).uniform(0, 100, (4, 8, 8))
    mask = np.zeros(image.shape, np.uint8)
    mask[1:3, 2:6, 2:6] = 7
    case = SimpleNamespace(image=image, mask=mask, spacing=(1.0, 1.0, 1.0))
    viewer = CaseExplorer({EVIL: case}, {EVIL: {EVIL: mask > 0}}, unit=EVIL, title=EVIL).viewer()
    viewer.notes.append(EVIL)
    viewer.facts[EVIL] = EVIL
    assert_only_text(open_offline(page_of(tmp_path / "explorer.html", viewer)), "", 8)


def test_an_exported_course_fetches_nothing_whatever_its_notebooks_hold(open_offline, tmp_path):
    pytest.importorskip("nbconvert", reason="nbconvert is not installed")
    pytest.importorskip("latex2mathml", reason="latex2mathml is not installed")
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
    runpy.run_path(str(ROOT / "notebooks" / "export.py"))["export_course"](tmp_path / "out", tmp_path)
    opened = open_offline(tmp_path / "out" / "00_asks.html")
    assert opened.page.locator("nav").first.inner_text().count("<svg onload=") == 1
    assert opened.page.title() == "ours"  # the outputs' scripts run, their requests do not
    assert opened.refused == []
    assert_only_text(open_offline(tmp_path / "out" / "index.html"), "lrnet_edu: the course", 1)
