"""Networks from disk: the LR-Nets that ship (section 3.1), your own, and the M-Net of a finished training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lrnet_edu.data.preprocessing import Preprocessing
from lrnet_edu.networks import LRNet, MNet, output_activation
from lrnet_edu.rivals import CascadedMNet
from lrnet_edu.support.checkpoints import load_checkpoint, malformed_metadata
from lrnet_edu.support.devices import channels_last
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.labels import Labels, parse_labels

LRNET_SETTINGS = ("kind", "activation", "norm", "spatial_dims")


def load_pretrained_lrnet(kind: str = "NI-DM", *, activation: str | None = None, spatial_dims: int = 3) -> LRNet:
    """The LR-Net that ships with the package, trained on random synthetic shapes, ready to be frozen.

    One for each kind of map with section 3.1's output layer, and NI-DM with a sigmoid.

    Args:
        kind: the map it regresses, in unit voxels: "O-DM", "I-DM", "NI-DM" or "SNI-DM".
        activation: "relu", "sigmoid" or "tanh"; None takes section 3.1's for the kind.
        spatial_dims: 3 for volumes, 2 for slices.

    InputError if no weights ship for this kind, activation and number of axes.
    """
    activation = output_activation(kind, activation)
    path = Path(__file__).parent / "weights" / lrnet_file_name(kind, activation, spatial_dims)
    if not path.is_file():
        raise InputError(
            f"No {spatial_dims}-D LR-Net ships for {kind} with a {activation} output; leave activation out, or train "
            f"one (3-D) with `lrnet-edu pretrain --synthetic --kind {kind} --activation {activation}`, for --lrnet."
        )
    return load_lrnet(path)


def lrnet_file_name(kind: str, activation: str, spatial_dims: int = 3) -> str:
    """Name of the shipped weight file, ``lrnet_ni-dm_relu.safetensors`` for the paper's preferred one."""
    dims = "" if spatial_dims == 3 else f"{spatial_dims}d_"
    return f"lrnet_{dims}{kind.lower()}_{activation}.safetensors"


def load_lrnet(path: Any, *, kind: str | None = None, activation: str | None = None) -> LRNet:
    """Read an LR-Net of your own; InputError if there is none, or another than asked for.

    Args:
        path: run folder of `lrnet-edu pretrain`, or a checkpoint.
        kind: the map it has to regress, as "NI-DM"; None takes any.
        activation: the output layer it has to have; None takes any.
    """
    tensors, metadata = load_checkpoint(path)
    if metadata.get("network") != "LRNet":
        raise InputError(f"{path} holds no LR-Net but {metadata.get('network')!s:.60}; name an LR-Net's checkpoint.")
    with malformed_metadata(path), torch.device("meta"):  # draws no random numbers
        lrnet = LRNet(**{name: metadata[name] for name in LRNET_SETTINGS})
    for wanted, found in ((kind, lrnet.kind), (activation, lrnet.activation)):
        if wanted not in (None, found):
            raise InputError(f"{path} is an LR-Net with {found}, not {wanted}; pretrain or choose another.")
    load_weights(lrnet, "lrnet", tensors, path)
    return lrnet


def lrnet_metadata(lrnet: LRNet) -> dict[str, Any]:
    """What is needed to rebuild this LR-Net, for its checkpoint."""
    return {"network": "LRNet", **{name: getattr(lrnet, name) for name in LRNET_SETTINGS}}


def load_weights(network: nn.Module, name: str, tensors: dict[str, Tensor], source: Any) -> None:
    """Load the weights of one network ("mnet" or "lrnet") of a checkpoint; InputError if its architecture differs."""
    weights = {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
    try:
        network.load_state_dict(weights, assign=True)
    except RuntimeError:
        raise InputError(
            f"The weights in {source} belong to another architecture than this {type(network).__name__}; use the "
            "features, blocks and classes it was trained with."
        ) from None
    network.float()


MNETS: dict[str, type[MNet]] = {"MNet": MNet, "CascadedMNet": CascadedMNet}  # by the name in a checkpoint


@dataclass(frozen=True)
class TrainedMNet:
    """An M-Net without its LR-Net, and what is needed to apply it to a scan."""

    mnet: MNet
    labels: Labels
    patch_size: tuple[int, int, int]
    preprocessing: Preprocessing


def load_mnet(run: str | Path, device: torch.device | str = "cpu") -> TrainedMNet:
    """Read the M-Net of a run folder or checkpoint; the LR-Net is discarded (section 2.2). InputError without one."""
    tensors, metadata = load_checkpoint(run)
    if (network := str(metadata.get("network"))) not in MNETS:
        raise InputError(f"{run} holds no M-Net but {network!s:.60}; name a run of `lrnet-edu train`.")
    with malformed_metadata(run), torch.device("meta"):  # takes no memory, whatever sizes the file claims
        preprocessing = Preprocessing(**metadata["preprocessing"])
        mnet, labels = MNETS[network](**metadata["mnet"]), parse_labels(metadata["label"])
        if [mnet.settings[name] for name in ("in_channels", "classes", "spatial_dims")] != [1, len(labels) + 1, 3]:
            raise ValueError("not one class for each label, or not for volumes")
        depth, height, width = (int(size) for size in metadata["patch_size"])
    load_weights(mnet, "mnet", tensors, run)
    channels_last(mnet.eval().to(device))
    return TrainedMNet(mnet, labels, (depth, height, width), preprocessing)
