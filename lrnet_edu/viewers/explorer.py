"""Choose case, method, kind of map and threshold; the slices and section 3's criteria follow."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lrnet_edu.distance_maps import distance_map
from lrnet_edu.kinds import KINDS
from lrnet_edu.metrics import CRITERIA, case_scores, columns, dice_of_counts
from lrnet_edu.support.arrays import plain_array
from lrnet_edu.support.errors import InputError
from lrnet_edu.viewers.controls import interact
from lrnet_edu.viewers.slices import SliceViewer

_numbers = itertools.count(1)


class CaseExplorer:
    """A slice viewer with menus for case, method and kind of map, a threshold, and the shown case's criteria.

    Show it by making it the last line of a cell. Without ipywidgets or a kernel its first choice is still a picture
    that scrolls.

    Args:
        cases: name -> case: any object with ``image`` and ``mask`` (D, H, W), and ``spacing`` in mm (z, y, x).
        predictions: method -> case's name -> probabilities of the object (D, H, W), or a mask; not of every case.
        label: the object's number in the masks; None: everything but 0.
        **viewer: further arguments of ``SliceViewer``, such as ``window`` and ``levels``.

    Raises:
        InputError: there is no case.
    """

    def __init__(
        self, cases: Mapping[str, Any], predictions: Mapping[str, Any] = {}, *, label: int | None = None, **viewer: Any
    ) -> None:
        if not cases:
            raise InputError("There is no case to explore: give at least one, name -> case.")
        self.cases, self.predictions, self.label, self._options = dict(cases), dict(predictions), label, viewer
        self._name = f"explorer-{next(_numbers)}"

    def viewer(
        self, case: str | None = None, method: str | None = None, kind: str = "NI-DM", threshold: float = 0.5
    ) -> SliceViewer:
        """One choice: image, ground truth, the thresholded prediction, both masks' maps, and the criteria below.

        Args:
            case, method: their names; None: the first.
            kind: a kind of map, "probability" or "none".
            threshold: the prediction is where the probability is above it.

        Raises:
            InputError: no such case, method or kind.
        """
        case, method = self._chosen(case, method)
        _check("map", kind, self._kinds())
        masks, heat = {"ground truth": self._reference(case)}, {}
        probabilities = self._probabilities(case, method)
        if probabilities is not None:
            masks[str(method)] = probabilities > threshold
            if kind == "probability":
                heat[f"probability, {method}"] = probabilities
        scale = None
        if kind in KINDS:
            unit = f" ({KINDS[kind].unit})" if KINDS[kind].unit else ""
            heat = {f"{kind}{unit}, {name}": distance_map(mask, kind) for name, mask in masks.items()}
            if unit and (top := max(float(values.max()) for values in heat.values())) > 0:
                scale = (0.0, top)  # one for both maps
        shown, title = self.cases[case], f"{case}, {method}" if method else case
        options = {"spacing": shown.spacing, "heat_range": scale, "title": title, **self._options}
        result = SliceViewer(shown.image, masks, heat, **options)
        result.keep = f"{self._name} {case}"
        if method is not None and probabilities is None:
            result.notes.append(f"There is no prediction of '{method}' for '{case}'.")
        try:
            for name, value in self.scores(case, method, threshold).items():
                whose = {"DC": " (this case)", "DG": " (all cases)"}.get(name, "")
                result.facts[name + whose] = f"{CRITERIA[name].text(value)} {CRITERIA[name].unit}".strip()
        except InputError as problem:  # the viewer says what it left out; the picture stays
            result.notes.append(f"No criteria: {problem}")
        return result

    def scores(self, case: str | None = None, method: str | None = None, threshold: float = 0.5) -> dict[str, float]:
        """Criteria of this case, by their names in ``CRITERIA``; DG alone is over every case the method has predicted.

        DC is the case's own Dice. NaN where undefined; empty where the method has no prediction of this case.

        Raises:
            InputError: no such case or method, or the prediction has another shape than the case.
        """
        case, method = self._chosen(case, method)
        probabilities = self._probabilities(case, method)
        if probabilities is None:
            return {}
        one = case_scores(probabilities > threshold, self._reference(case), self.cases[case].spacing)
        values = {name: one.value(CRITERIA[name].attribute) for name in columns()}
        both = sizes = 0  # of DG: over all predictions of the right shape, without the surfaces of a whole score
        for other in self.cases:
            probabilities, reference = self._probabilities(other, method), self._reference(other)
            if probabilities is not None and probabilities.shape == reference.shape:
                predicted = probabilities > threshold
                both += int(np.count_nonzero(predicted & reference))
                sizes += int(np.count_nonzero(predicted)) + int(np.count_nonzero(reference))
        return {**values, "DG": dice_of_counts(both, sizes)}

    def _chosen(self, case: str | None, method: str | None) -> tuple[str, str | None]:
        case = next(iter(self.cases)) if case is None else case
        method = next(iter(self.predictions), None) if method is None else method
        _check("case", case, self.cases)
        if method is not None:
            _check("method", method, self.predictions)
        return case, method

    def _reference(self, case: str) -> np.ndarray:
        mask = plain_array(self.cases[case].mask, "mask")
        return mask != 0 if self.label is None else mask == self.label

    def _probabilities(self, case: str, method: str | None) -> np.ndarray | None:
        given = None if method is None else self.predictions[method].get(case)
        return None if given is None else plain_array(given, "prediction")

    def _kinds(self) -> list[str]:
        return ["none", *KINDS, "probability"]

    def _ipython_display_(self) -> None:
        try:
            import ipywidgets as widgets
        except ImportError:
            from IPython.display import display

            display(self.viewer())
            return
        case = widgets.Dropdown(options=list(self.cases), description="Case")
        method = widgets.Dropdown(options=list(self.predictions), description="Method")
        kind = widgets.Dropdown(options=self._kinds(), value="NI-DM", description="Map")
        threshold = widgets.FloatSlider(0.5, min=0.05, max=0.95, step=0.05, description="Threshold")
        threshold.continuous_update = False
        interact(self.viewer, case=case, method=method, kind=kind, threshold=threshold)


def _check(what: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise InputError(f"There is no {what} {name!r}: choose one of {', '.join(known)}.")
