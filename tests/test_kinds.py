"""The one table of the kinds of map: what its rows claim is so, and a further row works everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lrnet_edu import DistanceRegressionLoss, InputError, LRNet, TandemLoss, distance_map, load_pretrained_lrnet
from lrnet_edu.kinds import KINDS, Kind, kind_of_map
from lrnet_edu.losses import cost_of_empty_output


def balls(shape: tuple[int, ...], *balls: tuple[tuple[int, ...], float]) -> np.ndarray:
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    return np.any([sum((x - c) ** 2 for x, c in zip(axes, centre, strict=True)) <= r**2 for centre, r in balls], axis=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_threshold_gives_the_mask_back(kind: str) -> None:
    for mask in (balls((30, 60, 60), ((15, 25, 25), 12), ((10, 50, 50), 3)), balls((60, 60), ((25, 25), 12))):
        np.testing.assert_array_equal(distance_map(mask, kind) > KINDS[kind].threshold, mask)


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_alpha_makes_an_empty_output_cost_alike(kind: str) -> None:
    phi = torch.from_numpy(distance_map(balls((48, 48, 48), ((24, 24, 24), 6)), kind))
    term = KINDS[kind].alpha * cost_of_empty_output(phi, kind)
    assert term == pytest.approx(0.03, rel=0.2)  # alpha is rounded to one digit
    nothing = torch.zeros(2, 2) + KINDS[kind].empty
    assert cost_of_empty_output(nothing, kind) == 0
    assert cost_of_empty_output(nothing + 3, kind) == pytest.approx(2.5)  # beyond beta = 1: linear


def test_a_further_kind_is_a_further_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of NI-DM, whose LR-Net is NI-DM's with its last layer halved. A training: docs/extending.md."""
    row = Kind(lambda d, low, high: 0.5 * (1 - (d - low) / high), "relu", alpha=7.0, threshold=0.02)
    monkeypatch.setitem(KINDS, "HALF-DM", row)
    g = torch.from_numpy(balls((20, 20, 20), ((10, 9, 8), 5)))[None, None]  # (1, 1, D, H, W)
    phi = distance_map(g, "HALF-DM")
    torch.testing.assert_close(phi, distance_map(g) / 2)
    lrnet: Any = LRNet("HALF-DM")
    lrnet.load_state_dict(load_pretrained_lrnet("NI-DM").state_dict())
    for parameter in lrnet.head[-1].parameters():
        parameter.data /= 2
    p = torch.cat((~g, g), dim=1).float()
    loss = DistanceRegressionLoss(lrnet)
    torch.testing.assert_close(loss(p, phi), 7 * F.smooth_l1_loss(lrnet(p), phi))
    torch.testing.assert_close(TandemLoss(lrnet, segmentation=None)(p.clamp_min(1e-30).log(), g), loss(p, phi))
    with pytest.raises(InputError, match="takes HALF-DM"):
        loss(p, distance_map(g, "O-DM"))


@pytest.mark.parametrize("name", ["NIDM", None, ["NI-DM"]])
def test_an_unknown_kind_lists_the_known_ones(name: Any) -> None:
    with pytest.raises(InputError, match="choose one of O-DM, I-DM, NI-DM, SNI-DM"):
        kind_of_map(name)
