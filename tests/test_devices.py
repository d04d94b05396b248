"""GPU paths without a GPU: tensors that pose as another device's and refuse to meet those of the CPU.

Most have a shape and no values. Maps ask for values (how many voxels there are, how far they reach), so theirs have
some, which lie on the CPU and pretend not to.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from lrnet_edu import MNet, distance_map
from lrnet_edu.config import Config
from lrnet_edu.data.patches import Batch
from lrnet_edu.distance_maps import KINDS, SIGNED_DISTANCES
from lrnet_edu.gpu_maps import map_by_torch
from lrnet_edu.inference import predict_probabilities
from lrnet_edu.layers import lay_out
from lrnet_edu.losses import map_regression_loss
from lrnet_edu.methods import METHODS
from lrnet_edu.mnet_training import build_model, total_loss

ELSEWHERE = torch.device("lazy")  # a device that needs no library of its own as long as nothing is computed
SHAPE = (8, 16, 16)
OLD = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13)
pytestmark = pytest.mark.skipif(OLD, reason="tensors without values cannot pose as another device's before torch 2.13")


@pytest.fixture
def without_values(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Networks can be moved there, and what the code asks of values gets an answer."""
    monkeypatch.setattr(torch.Tensor, "__float__", lambda tensor: 3.0)
    monkeypatch.setattr(torch.Tensor, "numpy", lambda tensor: np.zeros(tensor.shape, np.float32))
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    yield
    torch.__future__.set_overwrite_module_params_on_conversion(before)


class Posing(torch.Tensor):
    """A tensor of the CPU that poses as one of another device."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> Posing:
        shape = {"strides": here.stride(), "storage_offset": here.storage_offset(), "dtype": here.dtype}
        posing = torch.Tensor._make_wrapper_subclass(cls, here.shape, **shape, device=ELSEWHERE)
        posing.here = here
        return posing

    @classmethod
    def __torch_dispatch__(cls, func: Any, *_: Any) -> Any:
        raise RuntimeError(f"{func} outside PosingMode")


class PosingMode(TorchDispatchMode):
    """Computes on the CPU what is asked of the other device, unless tensors of both meet."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given, kwargs = tree_leaves((args, kwargs)), dict(kwargs or {})
        posing = {id(tensor.here): tensor for tensor in given if isinstance(tensor, Posing)}
        strays = [tensor for tensor in given if type(tensor) is torch.Tensor and tensor.ndim]
        moves = func is torch.ops.aten._to_copy.default
        if posing and strays and not moves:
            raise RuntimeError(f"{func} got tensors of more than one device.")
        there = kwargs["device"] == ELSEWHERE if kwargs.get("device") else bool(posing)
        if kwargs.get("device"):
            kwargs["device"] = torch.device("cpu")
        args, kwargs = tree_map_only(Posing, lambda tensor: tensor.here, (args, kwargs))
        result = func(*args, **kwargs)
        if not there:
            return result
        return tree_map_only(torch.Tensor, lambda one: posing[id(one)] if id(one) in posing else Posing(one), result)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_maps_stay_where_the_masks_are(kind: str, connectivity: int) -> None:
    masks = torch.rand(4, 1, *SHAPE, generator=torch.Generator().manual_seed(0)) < 0.3
    masks[2], masks[3] = False, True
    options = {"kind": kind, "connectivity": connectivity}
    for outside in ("distance", "inverse"):
        with PosingMode():
            found = map_by_torch(masks.to(ELSEWHERE), spacing=(2.0, 1.0, 1.0), outside=outside, **options)
        assert found.device == ELSEWHERE
        expected = distance_map(masks, spacing=(2.0, 1.0, 1.0), outside=outside, **options)
        torch.testing.assert_close(found.here, expected, rtol=0, atol=1e-5)


def test_a_mask_left_behind_would_be_noticed() -> None:
    with PosingMode(), pytest.raises(RuntimeError, match="more than one device"):
        torch.zeros(3, device=ELSEWHERE) + torch.zeros(3)


@pytest.mark.usefixtures("without_values")
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


@pytest.mark.parametrize(("kind", "waits"), [("cuda", False), ("mps", True), ("cpu", True)])
def test_only_cuda_copies_a_batch_while_we_go_on(kind: str, waits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """MPS reads the CPU's memory later, when it may hold something else."""
    asked = []

    def to(tensor: torch.Tensor, device: torch.device, non_blocking: bool = False) -> torch.Tensor:
        asked.append((device.type, not non_blocking))
        return tensor

    batch = Batch(torch.zeros(2), torch.zeros(2), {"NI-DM": torch.zeros(2)}, ["a", "b"])
    monkeypatch.setattr(torch.Tensor, "to", to)
    assert batch.to(torch.device(kind)).cases == batch.cases
    assert asked == [(kind, waits)] * 3


@pytest.mark.usefixtures("without_values")
def test_a_prediction_comes_back_to_the_cpu() -> None:
    mnet = MNet(features=(4, 8), blocks=(1,))
    with FakeTensorMode(allow_non_fake_inputs=True):
        mnet = lay_out(mnet.to(ELSEWHERE))  # the mode cannot copy networks
        found = predict_probabilities(mnet, np.zeros((12, 24, 24), np.float32), window=SHAPE)
    assert found.shape == (2, 12, 24, 24)


def test_a_map_left_behind_would_be_noticed() -> None:
    with FakeTensorMode(), pytest.raises(RuntimeError, match="device"):
        map_regression_loss(torch.zeros(2, 1, *SHAPE, device=ELSEWHERE), torch.zeros(2, 1, *SHAPE))
