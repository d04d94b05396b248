"""The explorer and what follows sliders, without a browser."""

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_slices import box, meta_of, volume

from lrnet_edu.figures import Picture
from lrnet_edu.kinds import KINDS
from lrnet_edu.metrics import CRITERIA, Criterion, case_scores, score_table
from lrnet_edu.support.errors import InputError
from lrnet_edu.viewers.controls import interact
from lrnet_edu.viewers.explorer import CaseExplorer


def explorer() -> CaseExplorer:
    cases = {
        name: SimpleNamespace(image=volume() + shift, mask=np.roll(box(label=2), shift, 2), spacing=(3.0, 1.0, 1.0))
        for shift, name in enumerate(("first", "second"))
    }
    sharp = {name: (case.mask == 2) * 0.9 for name, case in cases.items()}
    soft = {"first": np.roll(sharp["first"], 1, 1) * 0.5 + sharp["first"] * 0.3}
    return CaseExplorer(cases, {"sharp": sharp, "soft": soft}, label=2)


def test_a_choice_is_the_case_the_thresholded_prediction_and_the_maps_of_both():
    shown = explorer()
    viewer = shown.viewer("first", "soft", "O-DM", 0.4)
    masks = shown.cases["first"].mask == 2, shown.predictions["soft"]["first"] > 0.4
    assert all(np.array_equal(layer.codes, mask) for layer, mask in zip(viewer._masks, masks, strict=True))
    names = ["image", "ground truth", "soft", "O-DM (voxels), ground truth", "O-DM (voxels), soft"]
    assert viewer.panel_names == names
    first, second = meta_of(viewer)["maps"]
    assert first["high"] == second["high"]


@pytest.mark.parametrize("kind", [*KINDS, "none", "probability", "mine"])
def test_every_kind_of_map_can_be_chosen_an_added_one_too(kind, monkeypatch):
    monkeypatch.setitem(KINDS, "mine", KINDS["NI-DM"])
    assert len(explorer().viewer("first", "sharp", kind).panel_names) == {"none": 3, "probability": 4}.get(kind, 5)


def test_the_criteria_are_the_metrics_of_the_thresholded_prediction(monkeypatch):
    monkeypatch.setitem(CRITERIA, "FN", Criterion("missed", "", "lower", ".0f", "fn", of_counts=lambda b, p, r: r - b))
    shown = explorer()
    cases = [case_scores(shown.predictions["sharp"][name] > 0.5, case.mask == 2, case.spacing)
             for name, case in shown.cases.items()]  # fmt: skip
    scores = shown.scores("second", "sharp")
    assert list(scores) == ["DC", "DG", "VOE", "RVD", "ASSD", "MSD", "RMSD", "FN"]
    assert scores["DG"] == score_table(cases).mean["DG"]
    assert [scores[name] for name in ("DC", "VOE", "MSD")] == [cases[1].dice, cases[1].voe, cases[1].msd]
    assert shown.scores("first", "soft", 0.2)["RVD"] > shown.scores("first", "soft", 0.6)["RVD"]
    nothing = repr(shown.viewer("first", "sharp", threshold=0.95))
    assert "DC (this case) 0.000; DG (all cases) 0.000; VOE 1.000; RVD -1.000; ASSD – mm" in nothing


def test_a_missing_prediction_is_said_and_a_choice_that_does_not_exist_is_refused():
    shown = explorer()
    viewer = shown.viewer("second", "soft")
    assert viewer.panel_names == ["image", "ground truth", "NI-DM, ground truth"]
    assert any("no prediction" in note for note in viewer.notes)
    case = shown.cases["first"]
    assert CaseExplorer({"only": case}, label=2).viewer().panel_names[1] == "ground truth"
    with pytest.raises(InputError, match="no case"):
        CaseExplorer({})
    with pytest.raises(InputError, match="shape"):
        CaseExplorer({"only": case}, {"soft": {"only": np.zeros((2, 2, 2))}}).viewer()
    for choice in ({"case": "third"}, {"method": "other"}, {"kind": "P-DM"}):
        with pytest.raises(InputError, match="There is no"):
            shown.viewer(**choice)


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
