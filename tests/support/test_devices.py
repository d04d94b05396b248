"""Devices: which is taken, what is said of one that cannot be, and GPU paths without a GPU."""

import weakref
from functools import partial

import pytest
import torch
from torch import nn
from toys import CPU, PointBatches

from lrnet_edu.config import Config
from lrnet_edu.data.patches import Batch
from lrnet_edu.losses import map_regression_loss
from lrnet_edu.methods import METHODS
from lrnet_edu.rivals import SIGNED_DISTANCES
from lrnet_edu.support.devices import choose_device, explain_out_of_memory, ordered_batches, reduced_precision
from lrnet_edu.support.errors import InputError


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("cpu") == CPU
    for name in ("nonsense", "cuda:77"):
        with pytest.raises(InputError, match=rf"'{name}' cannot be used \(.*\); .* cpu\."):
            choose_device(name)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert choose_device() == CPU  # a Mac's GPU has to be named


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16)])
def test_bfloat16_is_for_gpus_that_compute_in_it(
    capability: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A T4 says that it supports bfloat16, imitates it, and has no convolutions of it; nor has PyTorch 2.9."""
    autocast = torch.autocast
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability)
    monkeypatch.setattr("torch.autocast", lambda device, **options: autocast("cpu", **options))
    convolve = partial(nn.functional.conv3d, torch.rand(1, 1, 4, 4, 4), torch.rand(1, 1, 3, 3, 3))
    for version, expected in (("2.13.0", dtype), ("2.9.1+cu128", torch.float32)):
        monkeypatch.setattr("torch.__version__", version)
        with reduced_precision(torch.device("cuda")):
            assert convolve().dtype == expected


FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1 GiB left.\nSee more."),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 99 bytes"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried 99 bytes"),
]


@pytest.mark.parametrize("error", FULL)
def test_a_full_memory_says_what_to_do_and_is_let_go(error: RuntimeError) -> None:
    """A notebook keeps the last error; with a smaller patch the next attempt then finds the memory free."""
    seen = []

    def step() -> None:
        activations = torch.zeros(10)
        seen.append(weakref.ref(activations))
        raise error

    sentence = r"^The memory of cpu is full \(.*\); lower .*\.$"
    with pytest.raises(InputError, match=sentence) as kept, explain_out_of_memory(CPU):
        step()
    assert kept.value.__context__ is not None
    assert seen[0]() is None
    with pytest.raises(RuntimeError, match="mat1 and mat2"), explain_out_of_memory(CPU):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


@pytest.mark.filterwarnings("ignore:.*pin_memory")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_batches_come_in_order_with_and_without_workers(device: str) -> None:
    assert [batch.number for batch in ordered_batches(PointBatches(), 1, 4, torch.device(device))] == [1, 2, 3]


@pytest.mark.parametrize("method", METHODS)
def test_a_step_of_every_method_stays_where_the_network_is(method: str) -> None:
    """Tensors of the device "meta" have a shape and no values, and refuse to meet those of the CPU."""
    meta, shape, config, row = torch.device("meta"), (8, 16, 16), Config(method=method, steps=8), METHODS[method]
    model = row.model(config, 2).to(meta)
    maps = {kind: torch.zeros(2, 2 if kind == SIGNED_DISTANCES else 1, *shape) for kind in row.maps(config)}
    batch = Batch(torch.zeros(2, 1, *shape), torch.zeros(2, *shape, dtype=torch.int64), maps, ["a", "b"])
    for phase in row.phases(config, model):
        phase.loss(batch.to(meta)).backward()
    assert all(weight.grad is not None for weight in model.parameters() if weight.requires_grad)
    with pytest.raises(RuntimeError, match="device"):  # a tensor left behind would be noticed
        map_regression_loss(torch.zeros(2, 1, *shape, device=meta), torch.zeros(2, 1, *shape))
