"""Section 2.2 and Fig. 1: the main network (M-Net), the light network (LR-Net), and both in tandem.

The paper gives no widths. The ones here are those the authors later used: a residual 3-D U-Net of 8 to 128
features, and an LR-Net of 15,717 weights that sees 31 voxels along each axis, 15 to either side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import as_file, files
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrnet_edu.checkpoints import load_checkpoint, malformed_facts
from lrnet_edu.errors import InputError
from lrnet_edu.layers import Conv3d, InstanceNorm, PointwiseConv3d
from lrnet_edu.reading import shortened

# Its keys are distance_maps.KINDS, whose module loads SciPy: that would slow the import down.
ACTIVATION_OF_KIND = {"O-DM": "relu", "I-DM": "relu", "NI-DM": "relu", "SNI-DM": "tanh"}  # section 3.1
ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
NORMS: dict[str | None, Callable[[int], nn.Module]] = {
    None: lambda features: nn.Identity(),
    "instance": InstanceNorm,
}


def output_activation(kind: str, activation: str | None = None) -> str:
    """The LR-Net's output layer for a kind of map: the one asked for, or section 3.1's.

    Raises:
        InputError: if there is no such kind or activation.
    """
    if kind not in ACTIVATION_OF_KIND:
        raise InputError(f"There is no distance map {kind!r}; choose one of {', '.join(ACTIVATION_OF_KIND)}.")
    if activation not in (None, *ACTIVATIONS):
        raise InputError(f"The LR-Net has no activation {activation!r}; choose one of {', '.join(ACTIVATIONS)}.")
    return activation or ACTIVATION_OF_KIND[kind]


def convolution(inputs: int, outputs: int, norm: str | None, *, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, normalisation, ReLU: the one brick of both networks."""
    return nn.Sequential(
        PointwiseConv3d(inputs, outputs) if size == 1 else Conv3d(inputs, outputs, stride),
        NORMS[norm](outputs),
        nn.ReLU(inplace=True),
    )


def _check_type(network: nn.Module, given: Tensor) -> None:
    weights = [*network.parameters(), given][0].dtype  # PyTorch 2.4 compiles no `next` with a default
    if given.dtype != weights and not cast_for(given):
        raise InputError(
            f"{type(network).__name__} has weights of {weights} and got {given.dtype}; give it tensor.to({weights})."
        )


def cast_for(given: Tensor) -> bool:
    """True where autocast brings a tensor to the type that a layer wants."""
    kind = given.device.type
    small = given.dtype in (torch.float32, torch.float16, torch.bfloat16)
    return small and kind in ("cpu", "cuda") and torch.is_autocast_enabled(kind)


class ResidualBlock(nn.Module):
    """Two 3^3 convolutions beside a shortcut, added, then ReLU (the backbone's block, section 2.2)."""

    def __init__(self, inputs: int, outputs: int, norm: str | None) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *convolution(inputs, outputs, norm),
            Conv3d(outputs, outputs),
            NORMS[norm](outputs),
        )
        self.shortcut = (
            nn.Identity()
            if inputs == outputs
            else nn.Sequential(PointwiseConv3d(inputs, outputs), NORMS[norm](outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x), inplace=True)


def residual_blocks(inputs: int, outputs: int, number: int, norm: str | None) -> nn.Sequential:
    widths = [inputs] + [outputs] * number
    return nn.Sequential(*(ResidualBlock(a, b, norm) for a, b in pairwise(widths)))


class MNet(nn.Module):
    """The main segmentation network: a residual 3-D U-Net (section 2.2, Fig. 1 left).

    Image (B, in_channels, D, H, W) -> logits (B, classes, D, H, W); class 0 is the background. Any D, H, W: the
    image is padded with its border values to a multiple of the pooling and the logits are cut back.

    Args:
        in_channels: channels of the image, 1 for CT.
        classes: background included, so 2 for the paper's tumour.
        features: width of each level, top first; its length is the number of levels.
        blocks: residual blocks of each level below the first, on the way down and again on the way up.

    Raises:
        InputError: if features and blocks do not fit together; when called, if the image's shape or type does not.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 2,
        *,
        features: Sequence[int] = (8, 16, 32, 64, 128),
        blocks: Sequence[int] = (2, 2, 3, 3),
    ) -> None:
        super().__init__()
        if len(blocks) != len(features) - 1:
            raise InputError(
                f"MNet has {len(features)} levels of features, so blocks needs {len(features) - 1} numbers and "
                f"got {len(blocks)}; give one for each level below the first."
            )
        self.settings: dict[str, Any] = {
            "in_channels": in_channels,
            "classes": classes,
            "features": list(features),
            "blocks": list(blocks),
        }
        norm = "instance"
        top = features[0]
        self.stem = nn.Sequential(convolution(in_channels, top, norm), convolution(top, top, norm))
        self.pool = nn.MaxPool3d(2)
        self.encoder = nn.ModuleList(
            residual_blocks(a, b, n, norm) for a, b, n in zip(features, features[1:], blocks, strict=False)
        )
        self.upsample = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, stride=2) for a, b in pairwise(features))
        self.decoder = nn.ModuleList(residual_blocks(2 * a, a, n, norm) for a, n in zip(features, blocks, strict=False))
        self.head = nn.Sequential(convolution(top, top, norm, size=1), PointwiseConv3d(top, classes))
        kaiming_uniform(self)

    def forward(self, image: Tensor) -> Tensor:
        return crop_to(self.head(self.decode(*self.encode(image))), image)  # (B, classes, D, H, W)

    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The way down: the bottleneck's features, and those of every level above it, top first."""
        if not isinstance(image, Tensor):
            raise InputError(f"MNet takes a tensor and got a {type(image).__name__}; give torch.from_numpy(image).")
        if image.ndim != 5 or image.shape[1] != self.settings["in_channels"]:
            raise InputError(
                f"MNet takes images (B, {self.settings['in_channels']}, D, H, W) and got {tuple(image.shape)}; "
                "add the batch and channel axes with image[None, None]."
            )
        _check_type(self, image)
        x = pad_to_multiple(image, 2 ** len(self.encoder), mode="replicate")
        x = self.stem(x)  # (B, features[0], D, H, W)
        skips = []
        for level in self.encoder:
            skips.append(x)
            x = level(self.pool(x))  # half the size, the next level's features
        return x, skips

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        """The way up: what the head turns into logits, (B, features[0], D, H, W) at the padded size."""
        x = bottleneck
        for level, upsample, skip in zip(reversed(self.decoder), reversed(self.upsample), reversed(skips), strict=True):
            x = level(torch.cat((skip, upsample(x)), dim=1))
        return x


class LRNet(nn.Module):
    """The light weight regression network: probabilities -> distance map (section 2.2, Fig. 1 right).

    (B, 2, D, H, W), the softmax pair (background, object) -> (B, 1, D, H, W), the map. It computes Section 2.1's
    map in a differentiable manner, so that the map's error can teach whatever produced the probabilities. It sees
    15 voxels to either side: the maximum M_C of a lesion much larger than that is out of its sight.

    Deviation: no normalisation by default. Instance normalisation (the authors' choice, ``norm="instance"``)
    depends on how much of the volume is background, and that differs between patches and whole scans.

    Args:
        kind: the map it regresses, "O-DM", "I-DM", "NI-DM" or "SNI-DM".
        activation: output layer; None takes section 3.1's, ReLU for O-DM, I-DM and NI-DM, tanh for SNI-DM.
            "sigmoid" with NI-DM is the paper's NI-DM_s.
        norm: None or "instance".

    Raises:
        InputError: if there is no such kind, activation or norm; when called, if shape or type do not fit.
    """

    def __init__(self, kind: str = "NI-DM", *, activation: str | None = None, norm: str | None = None) -> None:
        super().__init__()
        activation = output_activation(kind, activation)
        if norm not in NORMS:
            raise InputError(f"LRNet has no norm {norm!r}; choose None or 'instance'.")
        self.kind, self.activation, self.norm = kind, activation, norm
        self.stem = nn.Sequential(convolution(2, 4, norm), convolution(4, 4, norm))
        self.down = nn.Sequential(convolution(4, 8, norm, stride=2), residual_blocks(8, 8, 2, norm))
        self.up = nn.ConvTranspose3d(8, 4, 2, stride=2)
        self.merge = residual_blocks(8, 8, 2, norm)
        self.head = nn.Sequential(convolution(8, 4, norm, size=1), PointwiseConv3d(4, 1))
        self.output = ACTIVATIONS[activation]()
        kaiming_uniform(self)
        self.wake_output()

    def wake_output(self) -> None:
        """Draw the last layer anew, with a small positive bias: a ReLU below zero everywhere never learns."""
        last = self.head[-1]
        nn.init.kaiming_uniform_(last.weight, nonlinearity="relu")  # type: ignore[arg-type]
        nn.init.constant_(last.bias, 0.1)  # type: ignore[arg-type]
        torch.clear_autocast_cache()  # which may hold the weights that were there before

    def forward(self, probabilities: Tensor) -> Tensor:
        if not isinstance(probabilities, Tensor):
            raise InputError(f"LRNet takes a tensor and got a {type(probabilities).__name__}; use torch.from_numpy(p).")
        if probabilities.ndim != 5 or probabilities.shape[1] != 2:
            raise InputError(
                f"LRNet takes probabilities (B, 2, D, H, W) and got {tuple(probabilities.shape)}; stack the "
                "background's and the object's, torch.stack((1 - p, p), dim=1)."
            )
        _check_type(self, probabilities)
        x = self.stem(pad_to_multiple(probabilities, 2, mode="constant"))  # (B, 4, D, H, W)
        x = torch.cat((x, self.up(self.down(x))), dim=1)  # (B, 8, D, H, W)
        return crop_to(self.output(self.head(self.merge(x))), probabilities)  # (B, 1, D, H, W)


def regress_maps(lrnet: nn.Module, probabilities: Tensor) -> Tensor:
    """The map of every foreground class by the same LR-Net, classes folded into the batch axis.

    (B, classes, D, H, W) -> (B, classes - 1, D, H, W). The paper is binary; for each class c > 0 the LR-Net is
    given the pair (1 - p_c, p_c).
    """
    foreground = probabilities[:, 1:]  # (B, K, D, H, W)
    pairs = torch.stack((1 - foreground, foreground), dim=2).flatten(0, 1)  # (B * K, 2, D, H, W)
    return lrnet(pairs).reshape(foreground.shape)


class Tandem(nn.Module):
    """M-Net and LR-Net in a row (section 2.2, Fig. 1): image -> (probabilities, maps).

    (B, in_channels, D, H, W) -> (B, classes, D, H, W) and (B, classes - 1, D, H, W). Frozen, the LR-Net is a fixed
    function: none of its weights and statistics ever moves, yet gradients flow through it to the M-Net (so it is
    not wrapped in ``no_grad``). ``frozen=False`` is the paper's uLR-Net.

    Args:
        mnet: what segments, image -> logits.
        lrnet: a pretrained LR-Net.
        frozen: whether the LR-Net stays as it is.

    Raises:
        InputError: when called, if the M-Net or the LR-Net refuses the shape.
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
        probabilities = torch.softmax(self.mnet(image), dim=1)  # (B, classes, D, H, W)
        return probabilities, regress_maps(self.lrnet, probabilities)  # and (B, classes - 1, D, H, W)


def load_pretrained_lrnet(kind: str = "NI-DM", *, activation: str | None = None) -> LRNet:
    """The LR-Net that ships with the package, trained on random synthetic shapes, ready to be frozen.

    Five weight files exist: one for each kind of map with section 3.1's output layer, and NI-DM with a sigmoid.

    Args:
        kind: the map it regresses, in unit voxels: "O-DM", "I-DM", "NI-DM" or "SNI-DM".
        activation: "relu", "sigmoid" or "tanh"; None takes section 3.1's for the kind.

    Raises:
        InputError: if no weights ship for this kind and activation.
    """
    activation = output_activation(kind, activation)
    resource = files("lrnet_edu") / "weights" / lrnet_file_name(kind, activation)
    if not resource.is_file():
        raise InputError(
            f"No LR-Net ships for {kind} with a {activation} output; leave activation out, or train one with "
            f"`lrnet-edu pretrain --synthetic --kind {kind} --activation {activation} --out FOLDER` and name "
            "FOLDER as --lrnet."
        )
    with as_file(resource) as path:
        return load_lrnet(path, kind=kind, activation=activation)


def load_lrnet(path: Any, *, kind: str | None = None, activation: str | None = None) -> LRNet:
    """Read an LR-Net's checkpoint; with ``kind`` or ``activation`` given, insist on them.

    Raises:
        InputError: if the file is no LR-Net, or one of another kind of map or activation.
    """
    tensors, facts = load_checkpoint(path)
    if facts.get("network") != "LRNet":
        raise InputError(
            f"{path} holds no LR-Net but {shortened([facts.get('network')])}; name an LR-Net's checkpoint."
        )
    for wanted, what in ((kind, "kind"), (activation, "activation")):
        if wanted is not None and facts.get(what) != wanted:
            raise InputError(
                f"{path} is an LR-Net of {what} {shortened([facts.get(what)])}, not {wanted}; pretrain one of that "
                f"{what} or choose another."
            )
    with malformed_facts(path):
        lrnet = LRNet(facts["kind"], activation=facts["activation"], norm=facts["norm"])
    load_weights(lrnet, tensors_of("lrnet", tensors), path)
    return lrnet


def load_weights(network: nn.Module, tensors: dict[str, Tensor], source: Any) -> None:
    """Put a checkpoint's tensors into a network of the same architecture, or say in one sentence that it differs."""
    try:
        network.load_state_dict(tensors, assign=True)
    except RuntimeError:
        raise InputError(
            f"The weights in {source} belong to another architecture than this {type(network).__name__}; use the "
            "features, blocks and classes it was trained with."
        ) from None
    if not all(tensor.is_floating_point() and bool(tensor.float().isfinite().all()) for tensor in tensors.values()):
        raise InputError(f"The weights in {source} are no finite numbers; train or copy the checkpoint again.")
    network.float()


def tensors_of(network: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of one network ("mnet" or "lrnet") out of a run's checkpoint, under their own names."""
    prefix = f"{network}."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def lrnet_file_name(kind: str, activation: str) -> str:
    """Name of the shipped weight file, ``lrnet_ni-dm_relu.safetensors`` for the paper's favourite."""
    return f"lrnet_{kind.lower()}_{activation}.safetensors"


def lrnet_facts(lrnet: LRNet) -> dict[str, Any]:
    """What must be known to build this LR-Net again, for its checkpoint."""
    return {"network": "LRNet", "kind": lrnet.kind, "activation": lrnet.activation, "norm": lrnet.norm}


def kaiming_uniform(network: nn.Module) -> None:
    """Section 3, Implementation Details: every convolution starts from He's uniform distribution, biases at 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]


def pad_to_multiple(x: Tensor, factor: int, *, mode: str) -> Tensor:
    """Pad the far end of D, H and W to a multiple of ``factor``, at least twice it (a norm needs two voxels)."""
    missing = [max(2 * factor, -(-size // factor) * factor) - size for size in x.shape[2:]]
    if not any(missing):
        return x
    return F.pad(x, [amount for axis in reversed(missing) for amount in (0, axis)], mode=mode)


def crop_to(x: Tensor, like: Tensor) -> Tensor:
    depth, height, width = like.shape[2:]
    return x[..., :depth, :height, :width]
