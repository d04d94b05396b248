"""What follows sliders, without a browser."""

import re
from typing import Any

import pytest

from lrnet_edu.figures import Picture
from lrnet_edu.viewers.controls import interact


def test_what_is_drawn_follows_its_controls_and_hides_the_first_picture(monkeypatch):
    widgets = pytest.importorskip("ipywidgets")
    displayed: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda what, raw=False: displayed.append(what))
    monkeypatch.setattr("IPython.display.clear_output", lambda wait: None)
    slider = widgets.IntSlider(3, min=1, max=9)
    interact(lambda n: Picture(1.0).finish(f"drawn with {n}"), n=slider)
    slider.value = 7
    controls, first, later = displayed
    assert repr(controls) == "Sliders and menus: they need a running kernel."
    [name] = re.findall(r'^<div class="([\w-]+)"><img .*alt="drawn with 3"', first["text/html"])
    assert later["text/html"].startswith(f"<style>.{name} {{ display: none; }}</style>")
    assert "drawn with 7" in later["text/plain"]
