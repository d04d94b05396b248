"""Choose case, method, kind of map and threshold; the slices and section 3's seven criteria follow.

The controls are ipywidgets, for a new choice needs the kernel. The picture and the table are an ordinary
output of the cell, replaced at every choice: they are saved with the notebook and scroll without a kernel.
"""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from lrnet_edu.support.errors import InputError
from lrnet_edu.viewers.encoding import as_array
from lrnet_edu.viewers.slices import SliceViewer

KINDS_TO_SHOW = ("none", "O-DM", "I-DM", "NI-DM", "SNI-DM", "probability")
UNITS = {"DC": "", "DG": "", "VOE": "", "RVD": "", "ASSD": "mm", "MSD": "mm", "RMSD": "mm"}
_numbers = itertools.count(1)


class ShownCase(Protocol):
    """What a case has to offer: a volume and its label mask (D, H, W), and mm per voxel (z, y, x)."""

    @property
    def image(self) -> Any: ...
    @property
    def mask(self) -> Any: ...
    @property
    def spacing(self) -> Any: ...


class CaseExplorer:
    """A slice viewer with menus for case, method and kind of map, a threshold, and the shown case's criteria.

    Show it by making it the last line of a cell. Without ipywidgets or a kernel its first choice is still a
    picture that scrolls.

    Args:
        cases: name -> case: any object with ``image`` and ``mask`` (D, H, W), and ``spacing`` in mm (z, y, x).
        predictions: method -> case's name -> probabilities of the object (D, H, W), or a mask. A method may
            lack cases.
        label: the object's number in the masks; None: everything but 0.
        **viewer: further arguments of ``SliceViewer``, such as ``window`` and ``levels``.

    Raises:
        InputError: there is no case.
    """

    def __init__(
        self,
        cases: Mapping[str, ShownCase],
        predictions: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        label: int | None = None,
        **viewer: Any,
    ) -> None:
        if not cases:
            raise InputError("There is no case to explore: give at least one, name -> case.")
        self.cases, self.predictions = dict(cases), dict(predictions or {})
        self.label = label
        self._viewer_options = viewer
        self._name = f"explorer-{next(_numbers)}"

    # ---- without widgets

    def viewer(
        self, case: str | None = None, method: str | None = None, kind: str = "NI-DM", threshold: float = 0.5
    ) -> SliceViewer:
        """The slices of one choice: image, ground truth, the thresholded prediction, and both masks' maps.

        Args:
            case: its name; None: the first.
            method: its name; None: the first.
            kind: one of ``KINDS_TO_SHOW``.
            threshold: the prediction is where the probability is above it.

        Raises:
            InputError: no such case, method or kind.
        """
        case, method = self._chosen(case, method)
        if kind not in KINDS_TO_SHOW:
            raise InputError(f"kind is {kind!r}: choose one of {', '.join(KINDS_TO_SHOW)}.")
        reference = self._reference(case)
        masks = {"ground truth": reference}
        heat = {}
        probabilities = self._probabilities(case, method)
        if probabilities is not None:
            masks[str(method)] = probabilities > threshold
        if kind == "probability" and probabilities is not None:
            heat[f"probability, {method}"] = probabilities
        elif kind not in ("none", "probability"):
            heat = _maps(masks, kind)
        shared = (0.0, max(float(m.max()) for m in heat.values())) if kind in ("O-DM", "I-DM") else None
        if shared and not shared[1] > 0:
            shared = None
        shown = self.cases[case]
        options = {"title": f"{case}, {method}" if method else case, **self._viewer_options}
        result = SliceViewer(
            shown.image, spacing=shown.spacing, overlays=masks, heat=heat, heat_range=shared, **options
        )
        result.keep = f"{self._name} {case}"
        if method is not None and probabilities is None:
            result.notes.append(f"There is no prediction of '{method}' for '{case}'.")
        return result

    def render(
        self,
        case: str | None = None,
        method: str | None = None,
        kind: str = "NI-DM",
        threshold: float = 0.5,
        **view: Any,
    ) -> np.ndarray:
        """One choice as (height, panels * width, 3) uint8; ``view``: arguments of ``SliceViewer.render``."""
        return self.viewer(case, method, kind, threshold).render(**view)

    def scores(self, case: str | None = None, method: str | None = None, threshold: float = 0.5) -> dict[str, float]:
        """The seven criteria: six of this case, and DG over every case that the method has predicted.

        Returns:
            DC (here the case's own Dice), DG, VOE, RVD, ASSD, MSD and RMSD; NaN where undefined; empty where
            the method has no prediction of this case.

        Raises:
            InputError: no such case or method, or the prediction has another shape than the case.
        """
        from lrnet_edu.metrics import case_scores

        case, method = self._chosen(case, method)
        probabilities = self._probabilities(case, method)
        if probabilities is None:
            return {}
        spacing = [float(mm) for mm in self.cases[case].spacing]
        one = case_scores(probabilities > threshold, self._reference(case), spacing)
        return {
            "DC": one.dice,
            "DG": self._global_dice(str(method), threshold),
            "VOE": one.voe,
            "RVD": one.rvd,
            "ASSD": one.assd,
            "MSD": one.msd,
            "RMSD": one.rmsd,
        }

    def _global_dice(self, method: str, threshold: float) -> float:
        """2 sum of intersections / sum of sizes, over the cases with a prediction of the right shape."""
        both = sizes = 0
        for case in self.cases:
            probabilities, reference = self._probabilities(case, method), self._reference(case)
            if probabilities is not None and probabilities.shape == reference.shape:
                predicted = probabilities > threshold
                both += int(np.count_nonzero(predicted & reference))
                sizes += int(np.count_nonzero(predicted)) + int(np.count_nonzero(reference))
        return 2 * both / sizes if sizes else 1.0

    def _chosen(self, case: str | None, method: str | None) -> tuple[str, str | None]:
        case = next(iter(self.cases)) if case is None else case
        method = next(iter(self.predictions), None) if method is None else method
        if case not in self.cases:
            raise InputError(f"There is no case {case!r}: choose one of {', '.join(self.cases)}.")
        if method is not None and method not in self.predictions:
            raise InputError(f"There is no method {method!r}: choose one of {', '.join(self.predictions)}.")
        return case, method

    def _reference(self, case: str) -> np.ndarray:
        mask = as_array(self.cases[case].mask, f"mask of {case}")
        return mask != 0 if self.label is None else mask == self.label

    def _probabilities(self, case: str, method: str | None) -> np.ndarray | None:
        given = None if method is None else self.predictions[method].get(case)
        return None if given is None else as_array(given, f"{method} of {case}")

    # ---- with widgets

    def _ipython_display_(self) -> None:
        from IPython.display import display

        try:
            import ipywidgets as widgets
        except ImportError:
            display(_Choice(self, {}, "For menus install ipywidgets: pip install lrnet_edu[course]."))
            return
        controls = {
            "case": widgets.Dropdown(options=list(self.cases), description="Case"),
            "method": widgets.Dropdown(options=list(self.predictions), description="Method"),
            "kind": widgets.Dropdown(options=KINDS_TO_SHOW, value="NI-DM", description="Map"),
            "threshold": widgets.FloatSlider(
                value=0.5, min=0.05, max=0.95, step=0.05, description="Threshold", continuous_update=False
            ),
        }
        box = widgets.HBox(list(controls.values()), layout=widgets.Layout(flex_flow="row wrap"))
        # Not the box's own text, which is meaningless where no widget can be shown.
        view = {"version_major": 2, "version_minor": 0, "model_id": box.model_id}
        text = "Menus for case, method, map and threshold: they need a running kernel."
        display({"application/vnd.jupyter.widget-view+json": view, "text/plain": text}, raw=True)

        handle = display(_Choice(self, {name: w.value for name, w in controls.items()}), display_id=True)

        def follow(change: Any) -> None:
            handle.update(_Choice(self, {name: w.value for name, w in controls.items()}))

        for control in controls.values():
            control.observe(follow, names="value")


class _Choice:
    """What the cell shows of one choice: the viewer, and the criteria beside it."""

    def __init__(self, explorer: CaseExplorer, choice: Mapping[str, Any], note: str = "") -> None:
        self._viewer = explorer.viewer(**choice)
        if note:
            self._viewer.notes.append(note)
        try:
            self._scores = explorer.scores(**{k: v for k, v in choice.items() if k != "kind"})
        except InputError as problem:  # the viewer says what it left out; the picture stays
            self._scores = {}
            self._viewer.notes.append(f"No criteria: {problem}")

    def _rows(self) -> list[tuple[str, str]]:
        names = {"DC": "DC (this case)", "DG": "DG (all cases)"}
        rows = []
        for name, value in self._scores.items():
            unit = f" {UNITS[name]}" if UNITS[name] else ""
            rows.append((names.get(name, name), "undefined" if math.isnan(value) else f"{value:.3f}{unit}"))
        return rows

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        bundle = self._viewer._repr_mimebundle_()
        cells = "".join(
            f'<tr><th scope="row">{html.escape(name)}</th><td>{value}</td></tr>' for name, value in self._rows()
        )
        table = f"<table><caption>criteria</caption><tbody>{cells}</tbody></table>" if cells else ""
        page = f'<div class="lrnet-beside">{bundle["text/html"]}{table}</div>'
        text = "; ".join([bundle["text/plain"], *(f"{name} {value}" for name, value in self._rows())])
        return {**bundle, "text/html": page, "text/plain": text}


def _maps(masks: Mapping[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    from lrnet_edu.distance_maps import distance_map

    unit = " (voxels)" if kind in ("O-DM", "I-DM") else ""
    return {f"{kind}{unit}, {name}": distance_map(mask, kind) for name, mask in masks.items()}
