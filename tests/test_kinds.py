"""The one table of the kinds of map: what its rows claim is so. A further row: docs/extending.md."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lrnet_edu import InputError, distance_map
from lrnet_edu.kinds import KINDS, kind_of_map


def ball(shape: tuple[int, ...], centre: int, radius: int) -> torch.Tensor:
    return torch.from_numpy(((np.indices(shape) - centre) ** 2).sum(0) <= radius**2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_threshold_gives_the_mask_back(kind: str) -> None:
    for shape in ((30, 60, 60), (60, 60)):
        mask = ball(shape, 15, 12) | ball(shape, 26, 3)
        assert torch.equal(distance_map(mask, kind) > KINDS[kind].threshold, mask)


def test_the_default_alphas_are_what_the_study_found() -> None:
    """For NI-DM the one that its validation cases chose; for the others the map's gradient is as long, to one digit."""
    study = json.loads((Path(__file__).parents[1] / "results" / "study" / "study.json").read_text("utf-8"))
    assert KINDS["NI-DM"].alpha == study["chosen"]["B"]["chosen"]
    by_rule = {kind: row for kind, row in KINDS.items() if kind != "SNI-DM"}  # for which it is too much
    lengths = {kind: row.alpha * study["gradients"][f"LR-Net {kind}"] for kind, row in by_rule.items()}
    assert all(length == pytest.approx(lengths["NI-DM"], rel=0.35) for length in lengths.values())


@pytest.mark.parametrize("name", ["NIDM", None, ["NI-DM"]])
def test_an_unknown_kind_lists_the_known_ones(name: Any) -> None:
    with pytest.raises(InputError, match="choose one of O-DM, I-DM, NI-DM, SNI-DM"):
        kind_of_map(name)
