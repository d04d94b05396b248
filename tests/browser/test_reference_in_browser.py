"""The API reference: one command writes it, every public name is in it, and it asks for nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ROOT

import lrnet_edu


def test_the_reference_needs_no_network(open_offline, tmp_path):
    pytest.importorskip("pdoc", reason="pdoc is not installed")
    line = [sys.executable, ROOT / "docs" / "make_reference.py", tmp_path / "reference"]
    subprocess.run(line, check=True, capture_output=True)
    opened = open_offline(tmp_path / "reference" / "lrnet_edu.html")
    page = opened.page
    for name in lrnet_edu.__all__:
        assert page.locator(f"[id='{name}']").count() == 1, name
    page.get_by_role("searchbox").fill("surface distance")
    page.get_by_text("lrnet_edu.metrics.surface_distances", exact=True).first.wait_for()
    assert (opened.refused, opened.errors) == ([], [])
