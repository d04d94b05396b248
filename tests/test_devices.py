"""GPU paths without a GPU: tensors with a shape and a device but no values, which refuse to meet another device's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from lrnet_edu import MNet
from lrnet_edu.config import METHODS, Config
from lrnet_edu.data.patches import Batch
from lrnet_edu.distance_maps import KINDS
from lrnet_edu.gpu_maps import map_by_torch
from lrnet_edu.inference import predict_probabilities
from lrnet_edu.layers import lay_out
from lrnet_edu.losses import map_regression_loss
from lrnet_edu.rivals import SIGNED_DISTANCES
from lrnet_edu.segmentation import build_model, total_loss

ELSEWHERE = torch.device("lazy")  # a device that needs no library of its own as long as nothing is computed
SHAPE = (8, 16, 16)
OLD = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13)
pytestmark = pytest.mark.skipif(OLD, reason="tensors without values cannot pose as another device's before torch 2.13")


@pytest.fixture(autouse=True)
def without_values(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Networks can be moved there, and what the code asks of values gets an answer."""
    monkeypatch.setattr(torch.Tensor, "__float__", lambda tensor: 3.0)
    monkeypatch.setattr(torch.Tensor, "numpy", lambda tensor: np.zeros(tensor.shape, np.float32))
    monkeypatch.setattr(torch, "equal", lambda one, other: True)
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    yield
    torch.__future__.set_overwrite_module_params_on_conversion(before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_maps_stay_where_the_masks_are(kind: str, connectivity: int) -> None:
    with FakeTensorMode():
        masks = torch.zeros(2, 1, *SHAPE, dtype=torch.bool, device=ELSEWHERE)
        for outside in ("distance", "inverse"):
            assert map_by_torch(masks, kind, (2.0, 1.0, 1.0), connectivity, outside).device == ELSEWHERE


@pytest.mark.parametrize("method", METHODS)
def test_a_step_of_every_method_stays_where_the_network_is(method: str) -> None:
    config = Config(method=method, features=(4, 8), blocks=(1,), steps=8)
    model = build_model(config, 1)
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = lay_out(model.to(ELSEWHERE))
        loss_of = total_loss(config, model)
        maps = {kind: torch.zeros(2, 1, *SHAPE) for kind in KINDS} | {SIGNED_DISTANCES: torch.zeros(2, 2, *SHAPE)}
        batch = Batch(torch.zeros(2, 1, *SHAPE), torch.zeros(2, *SHAPE, dtype=torch.int64), maps, ["a", "b"])
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        optimizer = torch.optim.Adam(weights)
        for step in (0, config.steps - 1):  # of the warm-up, and after it
            loss_of(batch.to(ELSEWHERE), step).backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
        assert all(weight.grad is None or weight.grad.device == ELSEWHERE for weight in weights)


def test_a_prediction_comes_back_to_the_cpu() -> None:
    mnet = MNet(features=(4, 8), blocks=(1,))
    with FakeTensorMode(allow_non_fake_inputs=True):
        mnet = lay_out(mnet.to(ELSEWHERE))  # the mode cannot copy networks
        found = predict_probabilities(mnet, np.zeros((12, 24, 24), np.float32), window=SHAPE)
    assert found.shape == (2, 12, 24, 24)


def test_a_map_left_behind_would_be_noticed() -> None:
    with FakeTensorMode(), pytest.raises(RuntimeError, match="device"):
        map_regression_loss(torch.zeros(2, 1, *SHAPE, device=ELSEWHERE), torch.zeros(2, 1, *SHAPE))
