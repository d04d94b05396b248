"""Section 2.2 and Fig. 1: the main network (M-Net), the light network (LR-Net), and both in tandem.

The paper gives no widths. The ones here are those of the authors' later scripts: a residual 3-D U-Net of 8 to 128
features, and an LR-Net of 15,717 weights that sees 31 voxels along each axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrnet_edu.kinds import kind_of_map
from lrnet_edu.support.errors import InputError, check_whole
from lrnet_edu.support.tensor_checks import check_output

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
# GroupNorm with one group per feature is instance normalisation; on a CPU PyTorch computes it faster this way.
NORMS: dict[str | None, Callable[[int], nn.Module]] = {
    None: lambda features: nn.Identity(),
    "instance": lambda features: nn.GroupNorm(features, features, affine=False),
}
CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}  # by the number of spatial axes
TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def output_activation(kind: str, activation: str | None = None) -> str:
    """The LR-Net's output layer for a kind of map: as requested, or section 3.1's; InputError for an unknown one."""
    if activation not in (None, *ACTIVATIONS):
        raise InputError(f"The LR-Net has no activation {activation!r}; choose one of {', '.join(ACTIVATIONS)}.")
    of_kind = kind_of_map(kind).activation
    return activation or of_kind


def convolution(a: int, b: int, norm: str | None, dims: int, *, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution from a to b features, normalisation, ReLU: the building block of both networks."""
    return nn.Sequential(CONVOLUTION[dims](a, b, size, stride=stride, padding=size // 2), NORMS[norm](b), nn.ReLU())


def _check_input(network: nn.Module, x: Any, channels: int, dims: int, hint: str) -> None:
    name = type(network).__name__
    if not isinstance(x, Tensor):
        raise InputError(f"{name} takes a tensor and got a {type(x).__name__}; give torch.from_numpy(...).")
    if x.ndim != dims + 2 or x.shape[1] != channels:
        axes = {2: "H, W", 3: "D, H, W"}[dims]
        raise InputError(f"{name} takes (B, {channels}, {axes}) and got {tuple(x.shape)}; {hint}.")
    weight = next(network.parameters(), x)
    if x.device != weight.device or (x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type)):
        has, got = (f"{tensor.dtype} on {tensor.device}" for tensor in (weight, x))
        raise InputError(f"{name} has weights of {has} and got {got}; bring one of them there with .to(...).")


def _checked_dims(spatial_dims: int) -> int:
    if spatial_dims not in (2, 3):
        raise InputError(f"spatial_dims is {spatial_dims!r}; give 2 for slices or 3 for volumes.")
    return spatial_dims


class ResidualBlock(nn.Module):
    """Two 3^3 convolutions beside a shortcut, added, then ReLU (the backbone's block, section 2.2)."""

    def __init__(self, a: int, b: int, norm: str | None, dims: int) -> None:
        super().__init__()
        conv = CONVOLUTION[dims]
        self.body = nn.Sequential(*convolution(a, b, norm, dims), conv(b, b, 3, padding=1), NORMS[norm](b))
        self.shortcut = nn.Identity() if a == b else nn.Sequential(conv(a, b, 1), NORMS[norm](b))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def residual_blocks(inputs: int, outputs: int, number: int, norm: str | None, dims: int) -> nn.Sequential:
    """Blocks in a row, the first of which changes the number of features."""
    widths = [inputs] + [outputs] * number
    return nn.Sequential(*(ResidualBlock(a, b, norm, dims) for a, b in pairwise(widths)))


class MNet(nn.Module):
    """The main segmentation network: a residual 3-D U-Net (section 2.2, Fig. 1 left).

    Image (B, in_channels, D, H, W) -> logits (B, classes, D, H, W); class 0 is the background. Any D, H, W: the image
    is padded with its border values to a multiple of the pooling, and the logits are cropped back.

    Args:
        in_channels: channels of the image, 1 for CT.
        classes: background included: 2 for the paper's tumour.
        features: width of each level, top first; its length is the number of levels.
        blocks: residual blocks of each level below the first, on the way down and again on the way up.
        stride: of the first convolution; the paper's is 1. With 2 all levels work at half the size, in a third of the
            time, and the logits are interpolated back.
        spatial_dims: 3 for volumes, 2 for slices (B, in_channels, H, W).

    Raises InputError if features and blocks do not fit together; when called, if the image does not fit.
    """

    def __init__(
        self, in_channels: int = 1, classes: int = 2, *, features: Sequence[int] = (8, 16, 32, 64, 128),
        blocks: Sequence[int] = (2, 2, 3, 3), stride: int = 1, spatial_dims: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        dims = _checked_dims(spatial_dims)
        if len(blocks) != len(features) - 1:
            needed = f"{len(features)} levels of features, so blocks needs {len(features) - 1} numbers"
            raise InputError(f"MNet has {needed} and got {len(blocks)}; give one for each level below the first.")
        check_whole("stride", stride, least=1)
        check_whole("classes", classes, least=2)
        self.settings: dict[str, Any] = {"in_channels": in_channels, "classes": classes, "features": list(features),
                                         "blocks": list(blocks), "stride": stride, "spatial_dims": dims}  # fmt: skip
        norm, top = "instance", features[0]
        self.stem = nn.Sequential(
            convolution(in_channels, top, norm, dims, stride=stride), convolution(top, top, norm, dims)
        )
        self.pool = {2: nn.MaxPool2d, 3: nn.MaxPool3d}[dims](2)
        levels = list(zip(pairwise(features), blocks, strict=True))
        self.encoder = nn.ModuleList(residual_blocks(a, b, n, norm, dims) for (a, b), n in levels)
        self.upsample = nn.ModuleList(TRANSPOSED[dims](b, a, 2, stride=2) for (a, b), _ in levels)
        self.decoder = nn.ModuleList(residual_blocks(2 * a, a, n, norm, dims) for (a, _), n in levels)
        self.head = nn.Sequential(convolution(top, top, norm, dims, size=1), CONVOLUTION[dims](top, classes, 1))
        linear = "bilinear" if dims == 2 else "trilinear"
        self.enlarge = nn.Upsample(scale_factor=stride, mode=linear) if stride > 1 else nn.Identity()
        kaiming_uniform(self)

    def forward(self, image: Tensor) -> Tensor:
        logits = self.head(self.decode(*self.encode(image)))  # (B, classes, D / stride, H / stride, W / stride)
        return crop_to(self.enlarge(logits), image)  # (B, classes, D, H, W)

    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The way down: the bottleneck's features, and those of every level above it, top first."""
        hint = "add the batch and channel axes with image[None, None]"
        _check_input(self, image, self.settings["in_channels"], self.settings["spatial_dims"], hint)
        x = pad_to_multiple(image, self.settings["stride"] * 2 ** len(self.encoder))
        x = self.stem(x)  # (B, features[0], D / stride, H / stride, W / stride)
        skips = []
        for level in self.encoder:
            skips.append(x)
            x = level(self.pool(x))  # half the size, the next level's features
        return x, skips

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        """The way up: what the head turns into logits, of the first level's features and (padded) size."""
        x = bottleneck
        for level, upsample, skip in zip(reversed(self.decoder), reversed(self.upsample), reversed(skips), strict=True):
            x = level(torch.cat((skip, upsample(x)), dim=1))
        return x


class LRNet(nn.Module):
    """The lightweight regression network: probabilities -> distance map (section 2.2, Fig. 1 right).

    (B, 2, D, H, W), the softmax pair (background, object) -> (B, 1, D, H, W), the map of section 2.1, differentiably:
    so its error can train whatever produced the probabilities. It sees 15 voxels to either side: it cannot see the
    maximum M_C of a lesion much larger than that.

    Deviation: no normalisation by default. Instance normalisation (the authors' choice) depends on how much of the
    volume is background, which differs between patches and whole scans.

    Args:
        kind: the map it regresses, "O-DM", "I-DM", "NI-DM" or "SNI-DM".
        activation: output layer, "relu", "tanh" or "sigmoid"; None takes section 3.1's, tanh for SNI-DM and ReLU for
            the others. "sigmoid" with NI-DM is the paper's NI-DM_s.
        norm: None or "instance".
        spatial_dims: 3 for volumes, 2 for slices (B, 2, H, W).

    Raises InputError if there is no such kind or activation; when called, if the input has the wrong shape or type.
    """

    def __init__(
        self, kind: str = "NI-DM", *, activation: str | None = None, norm: str | None = None, spatial_dims: int = 3
    ) -> None:
        super().__init__()
        dims = self.spatial_dims = _checked_dims(spatial_dims)
        activation = output_activation(kind, activation)
        if norm not in NORMS:
            raise InputError(f"The LR-Net has no norm {norm!r}; choose None or 'instance'.")
        self.kind, self.activation, self.norm = kind, activation, norm
        self.stem = nn.Sequential(convolution(2, 4, norm, dims), convolution(4, 4, norm, dims))
        self.down = nn.Sequential(convolution(4, 8, norm, dims, stride=2), residual_blocks(8, 8, 2, norm, dims))
        self.up = TRANSPOSED[dims](8, 4, 2, stride=2)
        self.merge = residual_blocks(8, 8, 2, norm, dims)
        self.head = nn.Sequential(convolution(8, 4, norm, dims, size=1), CONVOLUTION[dims](4, 1, 1))
        self.output = ACTIVATIONS[activation]()
        kaiming_uniform(self)
        self.reset_output()

    def reset_output(self) -> None:
        """Draw the last layer anew, with a small positive bias: a ReLU that is below zero everywhere never learns."""
        last = self.head[-1]
        nn.init.kaiming_uniform_(last.weight, nonlinearity="relu")  # type: ignore[arg-type]
        nn.init.constant_(last.bias, 0.1)  # type: ignore[arg-type]

    def forward(self, probabilities: Tensor) -> Tensor:
        hint = "stack the background's and the object's, torch.stack((1 - p, p), dim=1)"
        _check_input(self, probabilities, 2, self.spatial_dims, hint)
        x = self.stem(pad_to_multiple(probabilities, 2))  # (B, 4, D, H, W)
        x = torch.cat((x, self.up(self.down(x))), dim=1)  # (B, 8, D, H, W)
        return crop_to(self.output(self.head(self.merge(x))), probabilities)  # (B, 1, D, H, W)


def regress_maps(lrnet: nn.Module, probabilities: Tensor) -> Tensor:
    """The map of each class c > 0 from its pair (1 - p_c, p_c): (B, classes, D, H, W) -> (B, classes - 1, D, H, W)."""
    foreground = probabilities[:, 1:]  # (B, K, D, H, W)
    pairs = torch.stack((1 - foreground, foreground), dim=2).flatten(0, 1)  # (B * K, 2, D, H, W)
    return lrnet(pairs).reshape(foreground.shape)


class Tandem(nn.Module):
    """M-Net and LR-Net in a row (section 2.2, Fig. 1): image -> (probabilities, maps).

    (B, in_channels, D, H, W) -> (B, classes, D, H, W) and (B, classes - 1, D, H, W); InputError if it does not fit.

    Args:
        mnet: any network, image -> logits.
        lrnet: a pretrained LR-Net.
        frozen: its weights never change, yet gradients flow through it to the M-Net (so it is not wrapped in
            ``no_grad``). False is the paper's uLR-Net.
    """

    def __init__(self, mnet: nn.Module, lrnet: nn.Module, frozen: bool = True) -> None:
        super().__init__()
        self.mnet, self.lrnet, self.frozen = mnet, lrnet, frozen
        self.lrnet.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> Tandem:
        super().train(mode)
        self.lrnet.train(mode and not self.frozen)
        return self

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        check_output(logits := self.mnet(image), "logits")
        probabilities = torch.softmax(logits, dim=1)  # (B, classes, D, H, W)
        return probabilities, regress_maps(self.lrnet, probabilities)  # and (B, classes - 1, D, H, W)


def kaiming_uniform(network: nn.Module) -> None:
    """Section 3, Implementation Details: every convolution starts from He's uniform distribution, biases at 0."""
    for module in network.modules():
        if isinstance(module, (*CONVOLUTION.values(), *TRANSPOSED.values())):
            nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")  # type: ignore[arg-type]
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]


def pad_to_multiple(x: Tensor, factor: int) -> Tensor:
    """Repeat the far border of D, H, W up to a multiple of ``factor``, at least twice it (a norm needs two voxels)."""
    missing = [max(2 * factor, -(-size // factor) * factor) - size for size in x.shape[2:]]
    if not any(missing):
        return x
    return F.pad(x, [amount for axis in reversed(missing) for amount in (0, axis)], mode="replicate")


def crop_to(x: Tensor, like: Tensor) -> Tensor:
    """Cut the far end of the spatial axes to the size of another batch."""
    sides = [slice(size) for size in like.shape[2:]]
    return x[(..., *sides)]  # type: ignore[index]
