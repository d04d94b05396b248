"""The variants of benchmarks/exploration.py, each against what it says."""

import pytest
import torch
from torch.nn import functional as F

from benchmarks.exploration import LOSSES, LeakingGradient
from lrnet_edu import distance_map
from lrnet_edu.config import Config
from lrnet_edu.data.patches import Batch
from lrnet_edu.methods import METHODS
from lrnet_edu.networks import Tandem

SMALL = Config(features=(4, 8), blocks=(1,), patch_size=(8, 16, 16), steps=4, alpha=1000.0)


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(0)
    classes = torch.zeros(2, 8, 16, 16, dtype=torch.int64)
    classes[0, 2:6, 4:9, 4:9] = 1
    return Batch(torch.rand(2, 1, 8, 16, 16), classes, {"NI-DM": distance_map(classes[:, None] == 1)}, ["a", "b"])


def test_a_leaking_output_passes_a_gradient_for_a_lesion_that_is_read_as_nothing(batch: Batch) -> None:
    x = torch.linspace(-2, 2, 9)
    assert torch.equal(LeakingGradient()(x), torch.relu(x))
    for method, passes in ((METHODS["lrnet"], False), (LOSSES["never-off"], True)):
        lrnet = method.model(SMALL, 2).get_submodule("lrnet")
        p = (0.01 * (batch.classes == 1)).requires_grad_()
        lrnet(torch.stack((1 - p, p), dim=1)).sum().backward()
        assert p.grad is not None
        assert bool(p.grad[batch.classes == 1].any()) == passes


def test_the_error_inside_counts_as_much_as_that_outside(batch: Batch) -> None:
    model = LOSSES["inside"].model(SMALL, 2)
    assert isinstance(model, Tandem)
    maps, phi = model(batch.image)[1], batch.maps["NI-DM"]
    inside = F.smooth_l1_loss(maps[phi > 0], phi[phi > 0])
    outside = F.smooth_l1_loss(maps[phi == 0], phi[phi == 0], reduction="sum") / phi.numel()
    torch.testing.assert_close(LOSSES["inside"].loss(SMALL, model)(batch), 1000 * (inside + outside))


def test_alpha_grows_along_the_branch(batch: Batch) -> None:
    model = LOSSES["growing"].model(SMALL, 2)
    loss = LOSSES["growing"].loss(SMALL, model)
    dice, one, two = (float(loss(batch).detach()) for _ in range(3))
    assert two - dice == pytest.approx(2 * (one - dice), rel=1e-4)
    assert dice < 1 < one
