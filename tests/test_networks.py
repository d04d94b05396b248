"""The two networks and the tandem: what they see, what flows through them and what must not move."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from scans import checkpoint, lrnet_checkpoint
from torch import Tensor, nn
from torch.nn import functional as F

from lrnet_edu import networks
from lrnet_edu.config import PRESETS
from lrnet_edu.distance_maps import KINDS, distance_map
from lrnet_edu.losses import DiceLoss, map_regression_loss
from lrnet_edu.lrnet_training import held_out_shapes, lrnet_quality
from lrnet_edu.networks import LRNet, MNet, ResidualBlock, Tandem, regress_maps
from lrnet_edu.support.checkpoints import save_checkpoint
from lrnet_edu.support.errors import InputError
from lrnet_edu.trained import load_lrnet, load_pretrained_lrnet, lrnet_facts

SHIPPED = [(kind, None) for kind in KINDS] + [("NI-DM", "sigmoid")]


def small_mnet(classes: int = 2, seed: int = 0) -> MNet:
    torch.manual_seed(seed)
    return MNet(1, classes, features=(4, 8), blocks=(1,))


def probabilities(*shape: int, seed: int = 0) -> Tensor:
    """A random softmax (B, C, D, H, W)."""
    return torch.softmax(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=1)


def one_sentence(error: pytest.ExceptionInfo[InputError]) -> bool:
    text = str(error.value)
    return text.endswith(".") and not re.search(r"[.!?] [A-Z]", text)


# ---- LR-Net -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [None, "instance"])
def test_the_light_network_has_15717_weights(norm: str | None) -> None:
    assert sum(parameter.numel() for parameter in LRNet(norm=norm).parameters()) == 15_717


@pytest.mark.parametrize("place", [(18, 18, 18), (19, 18, 19)])
def test_an_output_voxel_sees_31_voxels_along_each_axis(place: tuple[int, int, int]) -> None:
    """With positive weights every ReLU is open, so the gradient is that of everything within sight."""
    lrnet = LRNet()
    for parameter in lrnet.parameters():
        parameter.data = parameter.data.abs() + 1e-3
    p = probabilities(2, 2, 38, 38, 38).requires_grad_()
    lrnet(p)[(0, 0, *place)].backward()
    assert p.grad is not None
    assert not p.grad[1].any()
    seen = p.grad[0].abs().sum(0) > 0  # (D, H, W)
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        line = seen.sum(dim=others).nonzero().flatten()  # the indices along this axis that are seen
        assert len(line) == 31
        assert line[-1] - line[0] == 30
        assert abs(float(line.float().mean()) - place[axis]) <= 1  # the voxel is in the middle of its view
    assert seen.sum() == 31**3


def test_every_kind_of_map_has_its_output_layer() -> None:
    assert tuple(networks.ACTIVATION_OF_KIND) == KINDS


@pytest.mark.parametrize(("kind", "activation"), [*SHIPPED, ("NI-DM", "tanh")])
def test_output_layer_by_kind_of_map(kind: str, activation: str | None) -> None:
    torch.manual_seed(0)
    lrnet = LRNet(kind, activation=activation)
    last: Any = lrnet.head[-1]
    nn.init.normal_(last.weight, std=5)  # far to both sides, so that the layer's limits show
    maps = lrnet(probabilities(2, 2, 8, 8, 8))
    low, high = maps.min().item(), maps.max().item()
    expected = activation or {"SNI-DM": "tanh"}.get(kind, "relu")
    assert lrnet.activation == expected
    limits = {"relu": (0, float("inf")), "sigmoid": (0, 1), "tanh": (-1, 1)}[expected]
    assert limits[0] <= low < high <= limits[1]
    assert (low < 0) == (expected == "tanh")


@pytest.mark.parametrize("size", [(1, 1, 1), (3, 1, 8), (7, 9, 5), (8, 8, 8)])
@pytest.mark.parametrize("norm", [None, "instance"])
def test_maps_have_the_size_of_the_probabilities(size: tuple[int, int, int], norm: str | None) -> None:
    assert LRNet(norm=norm)(probabilities(2, 2, *size)).shape == (2, 1, *size)


def test_a_fresh_relu_output_is_awake() -> None:
    """Where it is above 0, gradients pass; a single seed may be unlucky, and pretraining looks for that."""
    awake = 0
    for seed in range(20):
        torch.manual_seed(seed)
        awake += bool((LRNet()(probabilities(2, 2, 4, 4, 4, seed=seed)) > 0).any())
    assert awake >= 16


def test_waking_brings_a_dead_output_layer_back() -> None:
    torch.manual_seed(0)
    lrnet, p = LRNet(), probabilities(2, 2, 8, 8, 8)
    others = {name: tensor.clone() for name, tensor in lrnet.state_dict().items() if "head.1" not in name}
    last: Any = lrnet.head[-1]
    last.bias.data.fill_(-1e3)
    assert (lrnet(p) == 0).all()
    lrnet.wake_output()
    maps = lrnet(p)
    assert (maps > 0).any()
    maps.sum().backward()
    assert all(tensor.grad.any() for tensor in (last.weight, last.bias))
    assert all(torch.equal(lrnet.state_dict()[name], tensor) for name, tensor in others.items())


def test_waking_is_seen_by_an_autocast_that_is_on() -> None:
    """It keeps the weights that it has cast, and would go on with the dead ones."""
    lrnet, p = LRNet(), probabilities(2, 2, 8, 8, 8)
    last: Any = lrnet.head[-1]
    last.bias.data.fill_(-1e3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (lrnet(p) == 0).all()
        lrnet.wake_output()
        assert (lrnet(p) > 0).any()


@pytest.mark.parametrize(
    "settings", [{"kind": "X-DM"}, {"kind": "NI-DM", "activation": "elu"}, {"kind": "NI-DM", "norm": "batch"}]
)
def test_unknown_settings_of_the_light_network(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="choose") as error:
        LRNet(**settings)
    assert one_sentence(error)


@pytest.mark.parametrize("shape", [(1, 1, 8, 8, 8), (1, 3, 8, 8, 8), (2, 8, 8, 8)])
def test_the_light_network_takes_pairs_only(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"torch\.stack") as error:
        LRNet()(torch.zeros(shape))
    assert one_sentence(error)


# ---- M-Net ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 9, 2), (5, 7, 17), (16, 16, 16)])
def test_logits_have_the_size_of_the_image(size: tuple[int, int, int]) -> None:
    mnet = MNet(2, 4, features=(2, 3, 4), blocks=(1, 1)).train()
    logits = mnet(torch.randn(2, 2, *size))
    assert logits.shape == (2, 4, *size)
    assert torch.isfinite(logits).all()


def test_the_paper_s_depth_takes_a_single_voxel() -> None:
    assert MNet()(torch.randn(1, 1, 1, 1, 1)).shape == (1, 2, 1, 1, 1)


def test_padding_repeats_the_border_at_the_far_end_and_is_cut_back() -> None:
    mnet, image = small_mnet(), torch.randn(2, 1, 6, 7, 5)
    padded = F.pad(image, (0, 1, 0, 1, 0, 0), mode="replicate")
    torch.testing.assert_close(mnet(image), mnet(padded)[..., :6, :7, :5])


def test_paper_widths_and_blocks_level_by_level() -> None:
    """Features 8 to 128 on five levels, 2, 2, 3, 3 residual blocks down and 3, 3, 2, 2 up."""
    widths = {key: PRESETS["paper"][key] for key in ("features", "blocks")}
    mnet = MNet(**widths).eval()
    assert mnet.settings == MNet().settings  # the paper's widths are the default ones
    seen: list[tuple[int, ...]] = []
    for level in (mnet.stem, *mnet.encoder, *reversed(mnet.decoder)):
        level.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape[1:3])))
    with torch.no_grad():
        mnet(torch.zeros(2, 1, 32, 32, 32))
    down = [(8, 32), (16, 16), (32, 8), (64, 4), (128, 2)]  # (features, depth)
    assert seen == [*down, *reversed(down[:-1])]
    numbers = [
        sum(isinstance(module, ResidualBlock) for module in level.modules())
        for level in (*mnet.encoder, *reversed(mnet.decoder))
    ]
    assert numbers == [2, 2, 3, 3, 3, 3, 2, 2]


def test_a_residual_block_adds_its_shortcut() -> None:
    block, x = ResidualBlock(3, 3, None), torch.rand(1, 3, 4, 4, 4)
    for parameter in block.body.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(block(x), x)


def test_convolutions_start_from_he_s_uniform_distribution() -> None:
    torch.manual_seed(0)
    checked = 0
    for module in MNet().modules():
        if isinstance(module, nn.Conv3d):
            bound = (6 / (module.in_channels * module.weight[0, 0].numel())) ** 0.5
            largest = module.weight.abs().max().item()
            assert largest <= bound
            if module.weight.numel() > 1000:
                assert largest > 0.99 * bound
                assert module.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
                checked += 1
            assert module.bias is not None
            assert not module.bias.any()
    assert checked > 20


def test_mnet_names_the_levels_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="blocks needs 2 numbers") as error:
        MNet(features=(4, 8, 16), blocks=(1,))
    assert one_sentence(error)


@pytest.mark.parametrize("shape", [(8, 8, 8), (1, 2, 8, 8, 8), (1, 8, 8, 8)])
def test_mnet_names_the_axes_it_wants(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"\(B, 1, D, H, W\)") as error:
        small_mnet()(torch.zeros(shape))
    assert one_sentence(error)


# ---- both in tandem -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [MNet(features=(2, 4), blocks=(1,)), LRNet()])
def test_numbers_of_another_type_than_the_weights(network: nn.Module) -> None:
    given = torch.rand(1, 2 if isinstance(network, LRNet) else 1, 8, 8, 8)
    with pytest.raises(InputError, match=r"weights of torch\.float32 and got torch\.float64") as error:
        network(given.double())
    assert one_sentence(error)
    with pytest.raises(InputError, match="torch\\.from_numpy"):
        network(given.numpy())
    assert network.double()(given.double()).dtype == torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert network.float()(given.bfloat16()).isfinite().all()


def test_folding_the_classes_equals_one_call_per_class() -> None:
    lrnet, p = LRNet(), probabilities(2, 4, 6, 7, 5)
    folded = regress_maps(lrnet, p)
    assert folded.shape == (2, 3, 6, 7, 5)
    for c in range(1, 4):
        alone = lrnet(torch.stack((1 - p[:, c], p[:, c]), dim=1))  # (2, 1, 6, 7, 5)
        torch.testing.assert_close(folded[:, c - 1 : c], alone)


def test_two_classes_give_the_light_network_the_softmax_pair() -> None:
    lrnet, p = LRNet(), probabilities(2, 2, 6, 6, 6)
    torch.testing.assert_close(regress_maps(lrnet, p), lrnet(p))


def test_the_tandem_gives_probabilities_and_their_maps() -> None:
    mnet, lrnet = small_mnet(3), LRNet()
    image = torch.randn(2, 1, 9, 8, 7)
    p, maps = Tandem(mnet, lrnet)(image)
    torch.testing.assert_close(p, torch.softmax(mnet(image), dim=1))
    torch.testing.assert_close(maps, regress_maps(lrnet, p))


def train_steps(tandem: Tandem, steps: int) -> None:
    """Adam on everything that asks for a gradient, evaluation and back in between, as a training does it."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam([p for p in tandem.parameters() if p.requires_grad], lr=1e-2)
    for step in range(steps):
        tandem.train(step != 1)
        tandem.train()
        image = torch.randn(2, 1, 8, 8, 8, generator=generator)
        p, maps = tandem(image)
        labels = (image[:, 0] > 0.5).long()
        loss = DiceLoss()(p, labels) + map_regression_loss(maps, torch.rand(maps.shape, generator=generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class WithStatistics(LRNet):
    """An LR-Net that would also collect running statistics, if it were let to."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.BatchNorm3d(2), self.stem)


@pytest.mark.parametrize("make", [LRNet, lambda: LRNet(norm="instance"), WithStatistics])
def test_nothing_of_a_frozen_light_network_moves(make: Any) -> None:
    mnet, lrnet = small_mnet(), make()
    before = {name: tensor.clone() for name, tensor in lrnet.state_dict().items()}
    mnet_before = {name: tensor.clone() for name, tensor in mnet.state_dict().items()}
    train_steps(Tandem(mnet, lrnet), steps=4)
    for name, tensor in lrnet.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    moved = [not torch.equal(tensor, mnet_before[name]) for name, tensor in mnet.state_dict().items()]
    assert all(moved)


def test_an_unfrozen_light_network_moves() -> None:
    lrnet = WithStatistics()
    before = {name: tensor.clone() for name, tensor in lrnet.state_dict().items()}
    train_steps(Tandem(small_mnet(), lrnet, frozen=False), steps=4)
    moved = {name for name, tensor in lrnet.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == set(before)


@pytest.mark.parametrize("norm", [None, "instance"])
def test_gradients_reach_every_parameter_of_the_mnet_through_the_frozen_light_network(
    norm: str | None,
) -> None:
    """The regression loss alone. A bias in front of a norm has the gradient 0, for the norm subtracts it."""
    torch.manual_seed(0)
    mnet, lrnet = MNet(features=(4, 8, 8), blocks=(1, 2)).double(), LRNet(norm=norm).double()
    without_effect = set()
    for module in mnet.modules():
        if isinstance(module, nn.Sequential):
            pairs = zip(module, list(module)[1:], strict=False)
            without_effect |= {
                a.bias for a, b in pairs if isinstance(a, nn.Conv3d) and isinstance(b, nn.InstanceNorm3d)
            }
    _, maps = Tandem(mnet, lrnet).train()(torch.randn(2, 1, 12, 12, 12, dtype=torch.float64))
    map_regression_loss(maps, torch.rand_like(maps)).backward()
    for name, parameter in mnet.named_parameters():
        assert parameter.grad is not None, name
        if parameter not in without_effect:
            assert parameter.grad.abs().max() > 1e-9, name
            if parameter.ndim > 1:  # and every feature of a layer gets some
                assert (parameter.grad.flatten(1).abs().amax(1) > 0).all(), name
    assert all(parameter.grad is None for parameter in lrnet.parameters())


# ---- weights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "activation"), SHIPPED)
def test_five_light_networks_ship(kind: str, activation: str | None) -> None:
    lrnet = load_pretrained_lrnet(kind, activation=activation)
    assert (lrnet.kind, lrnet.activation) == (kind, activation or networks.ACTIVATION_OF_KIND[kind])


@pytest.mark.parametrize(("kind", "activation"), [pair for pair in SHIPPED if pair[0] != "I-DM"])
def test_the_shipped_networks_compute_their_map(kind: str, activation: str | None) -> None:
    lrnet = load_pretrained_lrnet(kind, activation=activation)
    place = torch.stack(torch.meshgrid(*[torch.arange(32.0)] * 3, indexing="ij"))
    ball = (((place - 15) ** 2).sum(0) <= 5**2).float()[None]  # (1, D, H, W)
    with torch.no_grad():
        output = lrnet(torch.stack((1 - ball, ball), dim=1))[0, 0]
    inside, truth = ball[0] > 0, distance_map(ball[0], kind)
    error, constant = ((guess - truth)[inside].abs().mean() for guess in (output, truth[inside].median()))
    assert error < 0.5 * constant  # what the best constant inside the object would be wrong by


class RightButForItsHeight(nn.Module):
    """An LR-Net that knows all of I-DM but M_C, for which it takes the same number in every lesion."""

    kind = "I-DM"

    def __init__(self, height: float) -> None:
        super().__init__()
        self.height = nn.Parameter(torch.tensor(height))

    def forward(self, pairs: Tensor) -> Tensor:
        maps = [distance_map(pair[None, 1:], "NI-DM") for pair in pairs]
        return self.height * torch.cat(maps)


def test_the_shipped_i_dm_network_knows_how_high_a_map_is() -> None:
    """All of I-DM moves with M_C, and a tenth to a quarter of NI-DM (results/lrnet.md): here it is what counts."""
    lrnet, masks = load_pretrained_lrnet("I-DM"), held_out_shapes(8, 32)
    quality = lrnet_quality(lrnet, masks)
    best_guess = min(lrnet_quality(RightButForItsHeight(float(height)), masks).error for height in range(1, 17))  # type: ignore[arg-type]
    assert quality.error < best_guess / 3
    assert quality.dice > 0.99


def test_the_shipped_weights_take_under_a_megabyte() -> None:
    folder = Path(networks.__file__).parent / "weights"
    files = list(folder.glob("*.safetensors"))
    assert len(files) == 5
    assert sum(file.stat().st_size for file in files) < 1_000_000


def test_no_light_network_ships_for_other_combinations() -> None:
    with pytest.raises(InputError, match="pretrain --synthetic --kind O-DM") as error:
        load_pretrained_lrnet("O-DM", activation="sigmoid")
    assert one_sentence(error)


@pytest.mark.parametrize("norm", [None, "instance"])
def test_a_light_network_comes_back_from_its_checkpoint(tmp_path: Path, norm: str | None) -> None:
    torch.manual_seed(3)
    lrnet, path = LRNet("SNI-DM", activation="sigmoid", norm=norm), tmp_path / "lrnet.safetensors"
    tensors = {f"lrnet.{name}": tensor for name, tensor in lrnet.state_dict().items()}
    save_checkpoint(path, tensors, lrnet_facts(lrnet))
    again = load_lrnet(path, kind="SNI-DM", activation="sigmoid")
    assert lrnet_facts(again) == lrnet_facts(lrnet)
    p = probabilities(1, 2, 6, 6, 6)
    assert torch.equal(again(p), lrnet(p))


@pytest.mark.parametrize(
    ("wanted", "match"),
    [
        ({"kind": "O-DM"}, "NI-DM, not O-DM"),
        ({"kind": "NI-DM", "activation": "sigmoid"}, "relu, not sigmoid"),
    ],
)
def test_a_light_network_of_another_map_or_output_is_refused(
    tmp_path: Path, wanted: dict[str, str], match: str
) -> None:
    path = lrnet_checkpoint(tmp_path / "lrnet.safetensors", "NI-DM")
    with pytest.raises(InputError, match=match) as error:
        load_lrnet(path, **wanted)
    assert one_sentence(error)


def test_an_mnet_is_no_light_network(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no LR-Net but MNet") as error:
        load_lrnet(checkpoint(tmp_path / "mnet.safetensors"))
    assert one_sentence(error)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    lrnet = LRNet()
    tensors = {f"lrnet.{name}": tensor for name, tensor in lrnet.state_dict().items()}
    tensors["lrnet.head.1.bias"] = torch.zeros(2)
    path = tmp_path / "lrnet.safetensors"
    save_checkpoint(path, tensors, lrnet_facts(lrnet))
    with pytest.raises(InputError, match="another architecture") as error:
        load_lrnet(path)
    assert one_sentence(error)
