"""The bricks with a way of their own on a CPU: as PyTorch's, whatever the layout, and never out of theirs."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lrnet_edu import layers
from lrnet_edu.inference import predict_probabilities
from lrnet_edu.layers import Conv3d, InstanceNorm, PointwiseConv3d, lay_out
from lrnet_edu.networks import MNet, load_pretrained_lrnet

SIDE_BY_SIDE = torch.channels_last_3d
ONEDNN = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch's convolutions are not oneDNN's")
PAIRS = [(PointwiseConv3d(6, 3), nn.Conv3d(6, 3, 1)), (InstanceNorm(6), nn.InstanceNorm3d(6))]


@pytest.mark.parametrize("layout", [torch.contiguous_format, SIDE_BY_SIDE])
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_values_and_gradients_are_pytorchs_and_the_layout_stays(
    ours: nn.Module, theirs: nn.Module, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    ours.double()
    theirs.double().load_state_dict(ours.state_dict())
    image = torch.randn(2, 6, 3, 4, 5, dtype=torch.float64) + 7
    mine, other = (image.to(memory_format=layout).requires_grad_() for _ in range(2))
    found, expected = ours(mine), theirs(other)
    torch.testing.assert_close(found, expected)
    wanted = torch.randn_like(expected)
    gradients = torch.autograd.grad(found, [mine, *ours.parameters()], wanted)
    for one, another in zip(
        gradients, torch.autograd.grad(expected, [other, *theirs.parameters()], wanted), strict=True
    ):
        torch.testing.assert_close(one, another)
    assert found.is_contiguous(memory_format=layout)
    assert gradients[0].is_contiguous(memory_format=layout)


@ONEDNN
@pytest.mark.parametrize("register", [1, 8, 16])  # processors without, with AVX2, with AVX-512
@pytest.mark.parametrize("shape", [(2, 4, 6, 8), (2, 3, 5, 6), (1, 4, 4, 7)])  # 4, 2 and 1 neighbours at a time
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 8), (2, 4), (4, 2), (8, 8), (16, 8), (3, 20)])
def test_narrow_convolution_is_pytorchs_in_single_precision(
    monkeypatch: pytest.MonkeyPatch, register: int, shape: tuple[int, ...], inputs: int, outputs: int
) -> None:
    monkeypatch.setattr(layers, "REGISTER", register)
    monkeypatch.setattr(layers, "ENOUGH", 0)
    torch.manual_seed(0)
    ours, theirs = lay_out(Conv3d(inputs, outputs)), nn.Conv3d(inputs, outputs, 3, padding=1)
    theirs.load_state_dict(ours.state_dict())
    image = torch.randn(shape[0], inputs, *shape[1:])
    mine, other = image.clone().requires_grad_(), image.double().requires_grad_()
    found, expected = ours(mine), theirs.double()(other)
    wanted = torch.randn_like(expected)
    close: dict[str, Any] = {"atol": 1e-5, "rtol": 1e-4, "check_dtype": False}
    torch.testing.assert_close(found, expected, **close)
    assert found.is_contiguous(memory_format=SIDE_BY_SIDE)
    gradients = torch.autograd.grad(found, [mine, *ours.parameters()], wanted.float())
    for one, another in zip(
        gradients, torch.autograd.grad(expected, [other, *theirs.parameters()], wanted), strict=True
    ):
        torch.testing.assert_close(one, another, **close)


@pytest.mark.parametrize("layer", [Conv3d(8, 8), PointwiseConv3d(8, 8)])
@pytest.mark.parametrize("trained", [[], ["bias"], ["weight"], ["weight", "bias"]])
def test_gradients_reach_what_is_trained_and_a_relu_in_place_does_no_harm(layer: nn.Module, trained: list[str]) -> None:
    for name, parameter in lay_out(layer).named_parameters():
        parameter.requires_grad_(name in trained)
        parameter.grad = None
    image = torch.randn(1, 8, 4, 4, 4).to(memory_format=SIDE_BY_SIDE).requires_grad_()
    torch.relu_(layer(image)).sum().backward()
    again, weight, bias = (one.detach().requires_grad_() for one in (image, layer.weight, layer.bias))
    torch.relu(nn.functional.conv3d(again, weight, bias, padding=weight.shape[-1] // 2)).sum().backward()
    torch.testing.assert_close(image.grad, again.grad)
    for name, expected in (("weight", weight.grad), ("bias", bias.grad)):
        found = layer.get_parameter(name).grad
        torch.testing.assert_close(found, expected if name in trained else None)


@ONEDNN
def test_the_rest_is_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "REGISTER", 16)
    image = torch.randn(2, 8, 4, 50, 50).to(memory_format=SIDE_BY_SIDE)

    def own(layer: nn.Module, x: torch.Tensor) -> bool:
        return type(layer(x.requires_grad_()).grad_fn).__name__ in (
            "_ConvolvedBackward",
            "_MixedBackward",
            "_NormalisedBackward",
        )

    narrow = lay_out(Conv3d(8, 8))
    others = [PointwiseConv3d(8, 8), InstanceNorm(8)]
    assert all(own(layer, image) for layer in [narrow, *others])
    assert not own(Conv3d(8, 8), image)  # nobody laid its weights out
    assert not own(lay_out(Conv3d(8, 8, stride=2)), image)
    assert not own(lay_out(Conv3d(8, 8)).double(), image.double())
    assert not own(lay_out(Conv3d(32, 32)), torch.randn(2, 32, 4, 50, 50))
    assert not own(narrow, image[..., :48].detach())
    assert own(narrow, image[:1].detach())  # whatever its size, PyTorch's kernel for one is slow
    with torch.autocast("cpu", torch.bfloat16):
        assert not any(own(layer, image) for layer in [narrow, *others])
    with torch.backends.mkldnn.flags(enabled=False):
        assert not own(narrow, image)


def pairs_of_probabilities() -> torch.Tensor:
    p = torch.rand(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.cat((1 - p, p), dim=1)  # (B, 2, D, H, W)


def test_elsewhere_than_on_a_cpu_the_layout_is_the_usual_one() -> None:
    mnet = lay_out(MNet(features=(4, 8), blocks=(1,)))
    assert not all(weight.is_contiguous() for weight in mnet.parameters())
    assert all(weight.is_contiguous() for weight in lay_out(mnet.to("meta")).parameters())


def test_a_laid_out_network_can_be_compiled_and_traced() -> None:
    lrnet, x = lay_out(load_pretrained_lrnet()), pairs_of_probabilities()
    expected = lrnet(x)
    torch.testing.assert_close(torch.compile(lrnet, backend="aot_eager", fullgraph=True)(x), expected)
    torch.testing.assert_close(torch.jit.trace(lrnet, x, check_trace=False)(x), expected)


def test_pytorchs_defaults_do_not_matter() -> None:
    lrnet, x = lay_out(load_pretrained_lrnet()), pairs_of_probabilities()
    expected = lrnet(x)
    torch.set_default_dtype(torch.float64)
    try:
        torch.testing.assert_close(lrnet(x), expected)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        torch.testing.assert_close(lrnet(x), expected)


def test_hooks_and_functional_gradients_work_as_in_any_network() -> None:
    lrnet, x = lay_out(load_pretrained_lrnet()), pairs_of_probabilities()
    again = x.clone().requires_grad_()
    lrnet(again).sum().backward()
    torch.testing.assert_close(torch.func.grad(lambda p: lrnet(p).sum())(x), again.grad)
    kept = []
    body = lrnet.merge[0].body
    body.register_forward_hook(lambda module, inputs, output: kept.append((inputs[0].detach().clone(), output)))
    body.register_full_backward_hook(lambda module, inputs, outputs: None)
    lrnet(x.clone().requires_grad_()).sum().backward()
    into, came_out = kept[0]
    lrnet.merge[0].body._forward_hooks.clear()
    torch.testing.assert_close(came_out, body(into))


@pytest.mark.parametrize("number", [1, 2])
def test_a_laid_out_mnet_has_the_derivatives_of_one_that_is_not(number: int) -> None:
    """In double precision PyTorch's layers tell what is right; in single it may round a ReLU to its other side."""
    for seed in range(3):
        torch.manual_seed(seed)
        mnet, image = MNet(features=(4, 8, 16), blocks=(1, 1)), torch.randn(number, 1, 16, 24, 24)
        gradients = []
        for network in (copy.deepcopy(mnet).double(), lay_out(mnet)):
            given = image.to(next(network.parameters()).dtype)
            (network(given).softmax(1)[:, 1] ** 2).mean().backward()
            gradients.append(torch.cat([weight.grad.flatten().double() for weight in network.parameters()]))
        right, laid_out = gradients
        assert (laid_out - right).norm() < 1e-4 * right.norm()


def test_a_laid_out_mnet_has_functional_gradients() -> None:
    torch.manual_seed(0)
    mnet, image = lay_out(MNet(features=(4, 8), blocks=(1,))), torch.randn(2, 1, 8, 8, 8)
    again = image.clone().requires_grad_()
    (mnet(again) ** 2).mean().backward()
    found = torch.func.grad(lambda x: (mnet(x) ** 2).mean())(image)
    torch.testing.assert_close(found, again.grad)


def test_a_second_derivative_of_the_norm_is_refused_and_not_wrong() -> None:
    image = torch.randn(2, 3, 4, 4, 4).to(memory_format=SIDE_BY_SIDE).requires_grad_()
    [first] = torch.autograd.grad((InstanceNorm(3)(image) ** 3).sum(), image, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("channels", [(1, 2), (1, 4), (2, 1), (4, 4)])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 6, 8])
def test_narrow_images_have_the_convolution_of_wide_ones(channels: tuple[int, int], width: int) -> None:
    torch.manual_seed(0)
    layer, image = Conv3d(*channels), torch.randn(2, channels[0], 40, 80, width)  # enough voxels for our way
    expected = nn.functional.conv3d(image, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(lay_out(layer)(image), expected)
    torch.testing.assert_close(layer(image[:1]), expected[:1])


def test_norm_has_the_derivative_of_its_values() -> None:
    image = torch.randn(2, 3, 2, 3, 2, dtype=torch.float64).to(memory_format=SIDE_BY_SIDE).requires_grad_()
    assert torch.autograd.gradcheck(InstanceNorm(3), image)


def test_norm_of_many_voxels_far_from_zero_is_as_exact_as_pytorchs() -> None:
    image = torch.randn(1, 8, 24, 48, 48, generator=torch.Generator().manual_seed(0)) * 3 + 20
    exact = nn.InstanceNorm3d(8)(image.double())
    apart = InstanceNorm(8)(image.to(memory_format=SIDE_BY_SIDE)).double() - exact
    assert apart.abs().max() < 3e-6  # batch normalisation in this layout: 5e-5


def test_a_network_computes_the_same_in_both_layouts() -> None:
    torch.manual_seed(0)
    mnet, image = MNet(features=(4, 8), blocks=(1,)).double(), torch.randn(2, 1, 8, 9, 10, dtype=torch.float64)
    usual = mnet(image)
    torch.testing.assert_close(lay_out(mnet)(image), usual)
    assert mnet.stem[0][0].weight.stride(1) == 1  # even of one channel, or the convolution's output lies otherwise


def test_a_network_can_be_trained_after_a_prediction() -> None:
    mnet = MNet(features=(4, 8), blocks=(1,))
    predict_probabilities(mnet, np.zeros((8, 8, 8), np.float32), window=(8, 8, 8))
    mnet(torch.randn(2, 1, 8, 8, 8)).sum().backward()
    assert all(weight.grad is not None for weight in mnet.parameters())
