"""The files of examples/ run, and do what they say."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lrnet_edu import distance_map, load_pretrained_lrnet
from lrnet_edu.kinds import KINDS
from lrnet_edu.networks import ACTIVATIONS
from lrnet_edu.trained import lrnet_file_name

ROOT = Path(__file__).parents[1]


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("kind", "activation"), [*((kind, row.activation) for kind, row in KINDS.items()), ("NI-DM", "sigmoid")]
)
def test_an_lrnet_in_plain_pytorch_is_ours(kind: str, activation: str) -> None:
    p = torch.rand(2, 1, 8, 10, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pairs = torch.cat((1 - p, p), dim=1)
    weights = load_file(ROOT / "lrnet_edu" / "weights" / lrnet_file_name(kind, activation))
    weights = {name: weight.double() for name, weight in weights.items()}
    found = example("lrnet_alone").lrnet(weights, pairs, ACTIVATIONS[activation]())
    torch.testing.assert_close(found, load_pretrained_lrnet(kind, activation=activation).double()(pairs))


@pytest.mark.filterwarnings("ignore")  # of the exporter
@pytest.mark.parametrize(("kind", "dims"), [("NI-DM", 3), ("SNI-DM", 3), ("O-DM", 2)])
def test_an_onnx_runtime_computes_our_maps(kind: str, dims: int, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX is not installed; it is one of the examples' extras")
    assert example("lrnet_onnx").export(kind, tmp_path / "lrnet.onnx", dims) < 1e-4


def test_distance_maps_in_monais_loader() -> None:
    pytest.importorskip("monai", reason="MONAI is not installed; it is one of the examples' extras")
    phi = example("monai_transform").main()
    z, y, x = np.indices((16, 16, 16))
    flipped = (15 - z - 6) ** 2 + (y - 8) ** 2 + (x - 8) ** 2 < 25
    np.testing.assert_array_equal(phi[0].numpy(), distance_map(flipped))


@pytest.mark.filterwarnings("ignore")  # MONAI's and Lightning's advice
@pytest.mark.parametrize(("library", "least"), [("monai", 0.4), ("lightning", 0.6)])  # all of it found: 0.13, 0.12
def test_other_trainers_learn_with_the_papers_loss(library: str, least: float) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed; it is one of the examples' extras")
    assert example(f"{library}_training").main() > least
