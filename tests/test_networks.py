"""The two networks and the tandem: what they see, what flows through them and what must not move."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from lrnet_edu.config import PRESETS
from lrnet_edu.kinds import KINDS
from lrnet_edu.losses import DiceLoss, map_regression_loss
from lrnet_edu.networks import LRNet, MNet, ResidualBlock, Tandem
from lrnet_edu.rivals import CascadedMNet
from lrnet_edu.support.devices import channels_last
from lrnet_edu.support.errors import InputError

DIMS = pytest.mark.parametrize("dims", [2, 3])
TINY: dict[str, Any] = {"features": (2, 4), "blocks": (1,)}


def small_mnet(classes: int = 2, dims: int = 3, **settings: Any) -> MNet:
    torch.manual_seed(0)
    return MNet(1, classes, **{"features": (4, 8), "blocks": (1,), "spatial_dims": dims, **settings})


def probabilities(*shape: int, seed: int = 0) -> Tensor:
    """A random softmax (B, C, D, H, W)."""
    return torch.softmax(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=1)


# ---- LR-Net -----------------------------------------------------------------------------------------------------


def test_the_light_network_has_15717_weights() -> None:
    """And in 2-D 5365: 9 for 27 in each kernel."""
    for norm in (None, "instance"):
        sizes = [sum(p.numel() for p in LRNet(norm=norm, spatial_dims=dims).parameters()) for dims in (3, 2)]
        assert sizes == [15_717, 5_365]


@DIMS
@pytest.mark.parametrize("place", [(18, 18, 18), (19, 18, 19)])
def test_an_output_voxel_sees_31_voxels_along_each_axis(place: tuple[int, ...], dims: int) -> None:
    """With positive weights every ReLU is open, so the gradient is that of everything within sight."""
    lrnet, place = LRNet(spatial_dims=dims), place[:dims]
    for parameter in lrnet.parameters():
        parameter.data = parameter.data.abs() + 1e-3
    p = probabilities(2, 2, *[38] * dims).requires_grad_()
    lrnet(p)[(0, 0, *place)].backward()
    assert p.grad is not None
    assert not p.grad[1].any()
    seen = (p.grad[0].abs().sum(0) > 0).nonzero()  # the voxels, (n, dims)
    low, high = seen.amin(0), seen.amax(0)
    assert (high - low == 30).all()
    assert ((low + high) / 2 - torch.tensor(place)).abs().max() <= 1  # the voxel is in the middle of its view
    assert len(seen) == 31**dims


@pytest.mark.parametrize(("kind", "activation"), [*((kind, None) for kind in KINDS), ("NI-DM", "sigmoid")])
def test_output_layer_by_kind_of_map(kind: str, activation: str | None) -> None:
    torch.manual_seed(0)
    lrnet: Any = LRNet(kind, activation=activation)
    nn.init.normal_(lrnet.head[-1].weight, std=5)  # far to both sides, so that the layer's limits show
    maps = lrnet(probabilities(2, 2, 8, 8, 8))
    expected = activation or {"SNI-DM": "tanh"}.get(kind, "relu")  # section 3.1
    assert lrnet.activation == expected
    low, high = {"relu": (0, float("inf")), "sigmoid": (0, 1), "tanh": (-1, 1)}[expected]
    assert low <= maps.min() < maps.max() <= high
    assert bool(maps.min() < 0) == (expected == "tanh")


def test_a_dead_relu_output_is_brought_back() -> None:
    lrnet, p = LRNet(), probabilities(2, 2, 8, 8, 8)
    lrnet.head[-1].bias.data.fill_(-1e3)  # type: ignore[union-attr, operator]
    assert not lrnet(p).any()
    for seed in range(5):  # a single one may be unlucky
        torch.manual_seed(seed)
        lrnet.reset_output()
        if lrnet(p).any():
            break
    assert lrnet(p).any()


# ---- M-Net ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [MNet(2, **TINY), LRNet()])
def test_padding_repeats_the_border_at_the_far_end_and_is_cut_back(network: nn.Module) -> None:
    """Padded with zeros, neither background nor object, the shipped LR-Nets gave whole planes of false map."""
    p = torch.rand(1, 1, 7, 8, 7, generator=torch.Generator().manual_seed(0))
    pairs = torch.cat((1 - p, p), dim=1)
    padded = nn.functional.pad(pairs, (0, 1, 0, 0, 0, 1), mode="replicate")
    torch.testing.assert_close(network(pairs), network(padded)[:, :, :7, :, :7])


@DIMS
def test_paper_widths_and_blocks_level_by_level(dims: int) -> None:
    """Features 8 to 128 on five levels, 2, 2, 3, 3 residual blocks down and 3, 3, 2, 2 up."""
    mnet = MNet(**{key: PRESETS["paper"][key] for key in ("features", "blocks")}, spatial_dims=dims).eval()
    assert mnet.settings == MNet(spatial_dims=dims).settings  # the paper's widths are the default ones
    seen: list[tuple[int, ...]] = []
    for level in (mnet.stem, *mnet.encoder, *reversed(mnet.decoder)):
        level.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape[1:3])))
    with torch.no_grad():
        mnet(torch.zeros(2, 1, *[32] * dims))
    down = [(8, 32), (16, 16), (32, 8), (64, 4), (128, 2)]  # (features, size)
    assert seen == [*down, *reversed(down[:-1])]
    numbers = [
        sum(isinstance(module, ResidualBlock) for module in level.modules())
        for level in (*mnet.encoder, *reversed(mnet.decoder))
    ]
    assert numbers == [2, 2, 3, 3, 3, 3, 2, 2]


@DIMS
def test_convolutions_start_from_he_s_uniform_distribution(dims: int) -> None:
    torch.manual_seed(0)
    layers = [module for module in MNet(spatial_dims=dims).modules() if isinstance(module, nn.Conv2d | nn.Conv3d)]
    assert not any(layer.bias.any() for layer in layers if layer.bias is not None)
    large = [layer for layer in layers if layer.weight.numel() > 1000]
    assert len(large) > 20
    for layer in large:
        bound = (6 / (layer.in_channels * layer.weight[0, 0].numel())) ** 0.5
        assert 0.99 * bound < layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


# ---- both -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1, 1), (3, 1, 8), (7, 9, 5), (16, 16), (1, 1), (5, 17)], ids=str)
def test_any_size_comes_back_as_it_was(size: tuple[int, ...]) -> None:
    dims = len(size)
    for stride in (1, 2):
        mnet = MNet(2, 4, features=(2, 3, 4), blocks=(1, 1), stride=stride, spatial_dims=dims)
        logits = mnet(torch.randn(2, 2, *size))
        assert logits.shape == (2, 4, *size)
        assert torch.isfinite(logits).all()
    for norm in (None, "instance"):
        assert LRNet(norm=norm, spatial_dims=dims)(probabilities(2, 2, *size)).shape == (2, 1, *size)


@DIMS
def test_with_a_stride_of_2_the_logits_are_interpolated_from_half_the_size(dims: int) -> None:
    mnet, found = small_mnet(dims=dims, stride=2).double(), []
    mnet.head.register_forward_hook(lambda module, inputs, output: found.append(output.detach()))
    logits = mnet(torch.randn(1, 1, *(12, 16, 8)[:dims], dtype=torch.float64)).detach()[0]
    assert found[0].shape == (1, 2, *(6, 8, 4)[:dims])
    expected = [ndimage.zoom(half.numpy(), 2, order=1, mode="nearest", grid_mode=True) for half in found[0][0]]
    torch.testing.assert_close(logits, torch.from_numpy(np.stack(expected)))


@DIMS
@pytest.mark.parametrize(("channels", "make"), [
    (1, lambda dims: small_mnet(features=(2, 3), dims=dims)),
    (1, lambda dims: small_mnet(features=(2, 3), dims=dims, stride=2)),
    (2, lambda dims: LRNet("SNI-DM", spatial_dims=dims)),
    (2, lambda dims: LRNet("SNI-DM", norm="instance", spatial_dims=dims)),
])  # fmt: skip
def test_gradcheck(channels: int, make: Callable[[int], nn.Module], dims: int) -> None:
    """Of the input and of every weight, in the memory layout of the training."""
    torch.manual_seed(0)
    network = channels_last(make(dims).double())
    x = torch.rand(2, channels, *[5, 6, 4][:dims], dtype=torch.float64, requires_grad=True)
    names, weights = zip(*network.named_parameters(), strict=True)

    def output(x: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(network, dict(zip(names, weights, strict=True)), x)

    assert torch.autograd.gradcheck(output, (x, *weights), fast_mode=True)


@pytest.mark.parametrize("make", [lambda: small_mnet(features=(2, 4)), LRNet, lambda: LRNet(spatial_dims=2)])
def test_hooks_see_what_a_layer_gave_and_full_backward_hooks_work(make: Any) -> None:
    network = make()
    dims = 2 if getattr(network, "spatial_dims", 3) == 2 else 3
    x = torch.rand(2, 1 if isinstance(network, MNet) else 2, *[8] * dims, requires_grad=True)
    kept: dict[str, tuple[Tensor, Tensor]] = {}
    called: set[str] = set()
    network(x).sum().backward()
    expected, x.grad = x.grad, None
    for name, module in network.named_modules():
        module.register_forward_hook(lambda m, i, o, n=name: kept.__setitem__(n, (o, o.detach().clone())))
        module.register_full_backward_hook(lambda m, before, after, n=name: called.add(n))
    network(x).sum().backward()
    assert all(torch.equal(output, copied) for output, copied in kept.values())
    leaves = {name for name, module in network.named_modules() if not list(module.children())}
    assert leaves <= kept.keys() & called
    torch.testing.assert_close(x.grad, expected)


@pytest.mark.parametrize(("make", "match"), [
    (lambda: LRNet("X-DM"), "choose one of"),
    (lambda: LRNet("X-DM", activation="relu"), "no distance map"),
    (lambda: LRNet(activation="elu"), "choose one of"),
    (lambda: LRNet(norm="batch"), "'instance'"),
    (lambda: LRNet(spatial_dims=1), "spatial_dims is 1"),
    (lambda: MNet(stride=0), "stride is 0"),
    (lambda: MNet(classes=1), "classes is 1"),
    (lambda: Tandem(nn.Conv3d(1, 1, 1), LRNet())(torch.zeros(1, 1, 8, 8, 8)), "background as class 0"),
    (lambda: MNet(features=(4, 8, 16), blocks=(1,)), "blocks needs 2 numbers"),
    (lambda: MNet(**TINY)(torch.zeros(8, 8, 8)), r"takes \(B, 1, D, H, W\) .*image\[None, None\]"),
    (lambda: MNet(**TINY)(torch.zeros(1, 2, 8, 8, 8)), r"takes \(B, 1, D, H, W\)"),
    (lambda: MNet(**TINY, spatial_dims=2)(torch.zeros(1, 1, 8, 8, 8)), r"takes \(B, 1, H, W\)"),
    (lambda: LRNet()(torch.zeros(1, 1, 8, 8, 8)), r"takes \(B, 2, D, H, W\) .*torch\.stack"),
    (lambda: LRNet()(np.zeros((1, 2, 8, 8, 8))), r"torch\.from_numpy"),
    (lambda: LRNet()(torch.zeros(1, 2, 8, 8, 8).double()), r"weights of torch\.float32 on cpu and got torch\.float64"),
])  # fmt: skip
def test_mistakes(make: Callable[[], Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        make()
    with torch.autocast("cpu", dtype=torch.bfloat16):  # here another type than the weights' is no mistake
        assert LRNet()(torch.rand(1, 2, 8, 8, 8).bfloat16()).isfinite().all()


# Of the code that trained the files that exist: whoever changes a network sees that they would mean something else.
@pytest.mark.parametrize(("network", "names", "expected"), [
    (MNet(1, 3, features=(4, 8, 8), blocks=(1, 2)), "6d56480ce704ee3b", [0.61786, -0.75750, 1.13710]),
    (CascadedMNet(1, 3, features=(4, 8, 8), blocks=(1, 2)), "4b1121a411bc029c", [1.54279, 2.00965, 2.20618]),
    (LRNet("NI-DM"), "97361a4a6a9b1080", [4.89223]),
    (LRNet("SNI-DM", norm="instance"), "97361a4a6a9b1080", [0.27617]),
    (LRNet("NI-DM", activation="sigmoid"), "97361a4a6a9b1080", [0.99255]),
])  # fmt: skip
def test_weights_of_earlier_versions_mean_the_same(network: nn.Module, names: str, expected: list[float]) -> None:
    state = sorted(network.double().state_dict().items())
    written = "\n".join(f"{name} {tuple(tensor.shape)}" for name, tensor in state)
    assert hashlib.sha256(written.encode()).hexdigest().startswith(names)
    for i, (_, tensor) in enumerate(state):
        wave = torch.sin(torch.arange(tensor.numel()) * 0.7 + i).reshape(tensor.shape)
        tensor.copy_(wave * (2 / tensor[0].numel()) ** 0.5 if tensor.ndim > 1 else 0.1 * wave)
    z, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (6, 8, 10)), indexing="ij")
    image = torch.sin(z + 0.5 * y) + torch.cos(0.8 * x)  # (D, H, W)
    p = torch.sigmoid(3 * image)
    with torch.no_grad():
        output = network(image[None, None] if isinstance(network, MNet) else torch.stack((1 - p, p))[None])
    assert output[0, :, 3, 4, 5 if isinstance(network, MNet) else 4].tolist() == pytest.approx(expected, abs=2e-5)


# ---- in tandem --------------------------------------------------------------------------------------------------


@DIMS
def test_the_tandem_gives_probabilities_and_the_map_of_each_class(dims: int) -> None:
    mnet, lrnet = small_mnet(4, dims).double(), LRNet(spatial_dims=dims).double()
    image = torch.randn(2, 1, *[9, 8, 7][:dims], dtype=torch.float64)
    p, maps = Tandem(mnet, lrnet)(image)
    torch.testing.assert_close(p, torch.softmax(mnet(image), dim=1))
    for c in range(1, 4):
        alone = lrnet(torch.stack((1 - p[:, c], p[:, c]), dim=1))  # (2, 1, D, H, W)
        torch.testing.assert_close(maps[:, c - 1 : c], alone)


class WithStatistics(LRNet):
    """An LR-Net that would also collect running statistics, if it were let to."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.BatchNorm3d(2), self.stem)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("make", [lambda: LRNet(norm="instance"), WithStatistics])
def test_nothing_of_a_frozen_light_network_moves(make: Any, frozen: bool) -> None:
    """Adam on everything that asks for a gradient, evaluation and back in between, as a training does it."""
    tandem = Tandem(small_mnet(), make(), frozen=frozen)
    before = {name: tensor.clone() for name, tensor in tandem.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in tandem.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(3):
        tandem.eval()
        tandem.train()
        image = torch.randn(2, 1, 8, 8, 8)
        p, maps = tandem(image)
        loss = DiceLoss()(p, (image[:, 0] > 0.5).long()) + map_regression_loss(maps, torch.rand(maps.shape))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    moved = {name for name, tensor in tandem.state_dict().items() if not torch.equal(tensor, before[name])}
    kernels = {name for name, parameter in tandem.named_parameters() if parameter.ndim > 1}
    of_lrnet = {name for name in before if name.startswith("lrnet.")}
    assert moved >= kernels - of_lrnet
    assert moved.isdisjoint(of_lrnet) if frozen else moved >= kernels


@pytest.mark.parametrize("norm", [None, "instance"])
def test_gradients_reach_every_parameter_of_the_mnet_through_the_frozen_light_network(norm: str | None) -> None:
    """The regression loss alone reaches every feature of every layer."""
    mnet, lrnet = small_mnet(features=(4, 8, 8), blocks=(1, 2)).double(), LRNet(norm=norm).double()
    _, maps = Tandem(mnet, lrnet).train()(torch.randn(2, 1, 12, 12, 12, dtype=torch.float64))
    map_regression_loss(maps, torch.rand_like(maps)).backward()
    for name, parameter in mnet.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.ndim == 1 or (parameter.grad.flatten(1).abs().amax(1) > 1e-9).all(), name
    assert all(parameter.grad is None for parameter in lrnet.parameters())
