"""Test cases scored: what tables and the demo keep of each, as JSON holds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from lrnet_edu.data.nifti import Volume, read_mask
from lrnet_edu.data.preprocessing import back_to_original
from lrnet_edu.data.study import Study
from lrnet_edu.inference import predict_probabilities
from lrnet_edu.metrics import COUNTS, CaseScores, ScoreTable, case_scores, score_table
from lrnet_edu.study.lesions import lesion_scores
from lrnet_edu.support.labels import encode
from lrnet_edu.trained import TrainedMNet


class PredictedCase(NamedTuple):
    """A test case on the grid of its file: predicted and true classes (D, H, W), and the mask as it was read."""

    name: str
    predicted: np.ndarray
    wanted: np.ndarray
    mask: Volume

    def record(self) -> dict[str, Any]:
        """The criteria, undefined ones as None, the counts and what became of every lesion."""
        masks = self.predicted, self.wanted, self.mask.spacing
        scores = case_scores(*masks)
        counts = {name: getattr(scores, name) for name in COUNTS}
        return {"case": self.name, **scores.row(), **counts, **lesion_scores(*masks)}


def predicted_cases(study: Study, trained: TrainedMNet, device: torch.device) -> Iterator[PredictedCase]:
    """The study's test cases, one after the other, as this M-Net segments them."""
    mnet = trained.mnet.to(device)
    for case in study.cached["test"]:
        path = study.cases[case.name].mask
        assert path is not None
        mask = read_mask(path)
        output = predict_probabilities(mnet, case.image, patch_size=trained.patch_size)  # (K + 1, d, h, w)
        predicted = back_to_original(output, case.affine, mask)[0]  # (D, H, W)
        yield PredictedCase(case.name, predicted, encode(mask.data, study.labels), mask)


def with_object(cases: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The records of cases whose reference is not empty: Dice says nothing about the others."""
    return [case for case in cases if case["reference_voxels"]]


def set_scores(cases: Sequence[Mapping[str, Any]]) -> ScoreTable:
    """The criteria of the cases with an object, from their records."""
    return score_table(CaseScores.of(case) for case in with_object(cases))
