"""Choose case, method, kind of map and threshold; the slices and section 3's criteria follow."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

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

    Show it by making it the last line of a cell. Without a kernel its first choice is still a picture that scrolls.

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
        masks = {name: plain_array(case.mask, "mask") for name, case in cases.items()}
        self.cases, self._options, self._name = dict(cases), viewer, f"explorer-{next(_numbers)}"
        self.references = {name: mask != 0 if label is None else mask == label for name, mask in masks.items()}
        self.predictions = {
            method: {name: plain_array(found[name], "prediction") for name in found if name in cases}
            for method, found in predictions.items()
        }

    def viewer(
        self, case: str | None = None, method: str | None = None, kind: str = "NI-DM", threshold: float = 0.5
    ) -> SliceViewer:
        """One choice: image, ground truth, the thresholded prediction, both masks' maps, and the criteria below.

        Args:
            case, method: their names; None: the first.
            kind: a kind of map, "probability" or "none".
            threshold: the prediction is where the probability is above it.

        Raises:
            InputError: no such case, method or kind, or a prediction of another shape than its case.
        """
        case, method = _chosen("case", case, self.cases), _chosen("method", method, self.predictions or [""])
        kind = _chosen("map", kind, _kinds())
        masks, heat, scale = {"ground truth": self.references[case]}, {}, None
        probabilities = self.predictions.get(method, {}).get(case)
        if probabilities is not None:
            masks[method] = probabilities > threshold
            heat = {f"probability, {method}": probabilities} if kind == "probability" else {}
        if kind in KINDS:
            unit = f" ({KINDS[kind].unit})" if KINDS[kind].unit else ""
            heat = {f"{kind}{unit}, {name}": distance_map(mask, kind) for name, mask in masks.items()}
            if unit:
                scale = (0.0, max(1.0, *(float(values.max()) for values in heat.values())))  # one for both maps
        shown, title = self.cases[case], f"{case}, {method}" if method else case
        options = {"spacing": shown.spacing, "heat_range": scale, "title": title, **self._options}
        result = SliceViewer(shown.image, masks, heat, **options)
        result.keep = f"{self._name} {case}"
        if method and probabilities is None:
            result.notes.append(f"There is no prediction of '{method}' for '{case}'.")
        for name, value in self.scores(case, method, threshold).items():
            whose = {"DC": " (this case)", "DG": " (all cases)"}.get(name, "")
            result.facts[name + whose] = f"{CRITERIA[name].text(value)} {CRITERIA[name].unit}".strip()
        return result

    def scores(self, case: str | None = None, method: str | None = None, threshold: float = 0.5) -> dict[str, float]:
        """All criteria of one choice: of the case, and DG of all cases that the method has predicted.

        DC is the case's own Dice. NaN where undefined; empty where the method has no prediction of this case.
        """
        case, method = _chosen("case", case, self.cases), _chosen("method", method, self.predictions or [""])
        found = {name: values > threshold for name, values in self.predictions.get(method, {}).items()}
        if case not in found:
            return {}
        one = case_scores(found[case], self.references[case], self.cases[case].spacing)
        # Of DG: without the surfaces of all other cases.
        both = sum(int((mask & self.references[name]).sum()) for name, mask in found.items())
        sizes = sum(int(mask.sum()) + int(self.references[name].sum()) for name, mask in found.items())
        return {**{name: one.value(CRITERIA[name].attribute) for name in columns()}, "DG": dice_of_counts(both, sizes)}

    def _ipython_display_(self) -> None:
        import ipywidgets as widgets

        case = widgets.Dropdown(options=list(self.cases), description="Case")
        method = widgets.Dropdown(options=list(self.predictions), description="Method")
        kind = widgets.Dropdown(options=_kinds(), value="NI-DM", description="Map")
        threshold = widgets.FloatSlider(0.5, min=0.05, max=0.95, step=0.05, description="Threshold")
        threshold.continuous_update = False
        interact(self.viewer, case=case, method=method, kind=kind, threshold=threshold)


def _kinds() -> list[str]:
    return ["none", *KINDS, "probability"]


def _chosen(what: str, name: str | None, known: Iterable[str]) -> str:
    """The name, if it is known; None is the first."""
    if name is not None and name not in known:
        raise InputError(f"There is no {what} {name!r}: choose one of {', '.join(known)}.")
    return next(iter(known)) if name is None else name
