"""Test cases scored: what tables, study and demo keep of each, as JSON holds it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lrnet_edu.data.cache import CachedCase
from lrnet_edu.data.cases import Case
from lrnet_edu.data.nifti import Volume, read_grid, read_mask
from lrnet_edu.data.preprocessing import back_to_original
from lrnet_edu.data.study import Study
from lrnet_edu.inference import predict_probabilities
from lrnet_edu.metrics import COUNTS, CaseScores, ScoreTable, case_scores, dice, score_table
from lrnet_edu.study.froc import THRESHOLDS, lesions_by_threshold
from lrnet_edu.support.labels import encode
from lrnet_edu.support.voxels import connected_components
from lrnet_edu.trained import TrainedMNet


class Prediction(NamedTuple):
    """A case on the grid of its file: the object's probability and where it is, (D, H, W), and the mask as read."""

    name: str
    p: np.ndarray  # float64, in which 1 - 1e-9 is a number of its own
    wanted: np.ndarray  # bool
    mask: Volume

    def record(self) -> dict[str, Any]:
        """The criteria at p > 0.5, undefined ones as None, the counts, and the lesions at all thresholds.

        "dice_without_false" is the Dice without the predicted components that touch no lesion.
        """
        predicted = self.p > 0.5
        scores = case_scores(predicted, self.wanted, self.mask.spacing)
        lesions = lesions_by_threshold(self.p, self.wanted, self.mask.spacing, THRESHOLDS)
        components, _ = connected_components(predicted, 26)
        kept = np.isin(components, np.setdiff1d(components[self.wanted], [0]))
        counts = {name: getattr(scores, name) for name in COUNTS}
        return {"case": self.name, **scores.row(), "dice_without_false": dice(kept, self.wanted), **counts,
                "lesions": lesions.record()}  # fmt: skip


def predictions(
    trained: TrainedMNet, cases: Iterable[tuple[Case, CachedCase]], *, overlap: float = 0.5
) -> Iterator[Prediction]:
    """The cases, one after the other, as an M-Net of one object predicts them."""
    for case, cached in cases:
        assert case.mask is not None
        mask = read_mask(case.mask)
        output = predict_probabilities(trained.mnet, cached.image, patch_size=trained.patch_size, overlap=overlap)
        grid = read_grid(case.image)  # it was prepared by the image's affine, and a mask's may be another
        kept = back_to_original(output, cached.affine, grid, keep_probabilities=True)[1]  # (2, D, H, W)
        yield Prediction(case.name, 1.0 - kept[0].astype(np.float64), encode(mask.data, trained.labels) > 0, mask)


def cases_of_part(study: Study, part: str) -> list[tuple[Case, CachedCase]]:
    """The cases of a part of the study, as files and as cached arrays."""
    return [(study.cases[cached.name], cached) for cached in study.cached[part]]


def with_object(cases: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The records of cases whose reference is not empty: Dice says nothing about the others."""
    return [case for case in cases if case["reference_voxels"]]


def set_scores(cases: Sequence[Mapping[str, Any]]) -> ScoreTable:
    """The criteria of the cases with an object, from their records."""
    return score_table(CaseScores.of(case) for case in with_object(cases))
