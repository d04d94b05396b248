"""Networks from disk: the LR-Nets that ship and know their maps, M-Nets of runs, and files that are something else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scans import checkpoint, lrnet_checkpoint
from scipy import ndimage

from lrnet_edu.distance_maps import distance_map
from lrnet_edu.kinds import KINDS
from lrnet_edu.losses.paper import check_pretrained
from lrnet_edu.lrnet_training import held_out_shapes, lrnet_quality
from lrnet_edu.networks import LRNet
from lrnet_edu.support.checkpoints import load_checkpoint, save_checkpoint
from lrnet_edu.support.errors import InputError
from lrnet_edu.trained import load_lrnet, load_mnet, load_pretrained_lrnet, lrnet_metadata

SHIPPED = [(kind, None) for kind in KINDS] + [("NI-DM", "sigmoid")]


@pytest.mark.parametrize("dims", [3, 2])
@pytest.mark.parametrize(("kind", "activation"), SHIPPED)
def test_the_shipped_networks_know_their_map(kind: str, activation: str | None, dims: int) -> None:
    lrnet = load_pretrained_lrnet(kind, activation=activation, spatial_dims=dims)
    assert (lrnet.kind, lrnet.activation, lrnet.spatial_dims) == (kind, activation or KINDS[kind].activation, dims)
    check_pretrained(lrnet)
    for radius in (4, 6) if kind != "I-DM" else ():  # which is harder: see below
        ball = ((torch.from_numpy(np.indices((32,) * dims)) - 15) ** 2).sum(0) <= radius**2  # (D, H, W)
        with torch.no_grad():
            output = lrnet(torch.stack((~ball, ball)).float()[None])[0, 0]
        truth = distance_map(ball, kind)[ball]
        error, constant = ((guess - truth).abs().mean() for guess in (output[ball], truth.median()))
        assert error < 0.5 * constant  # what the best constant inside the object would be wrong by


def test_the_shipped_i_dm_network_knows_how_high_a_map_is() -> None:
    """All of I-DM moves with M_C, and a tenth to a quarter of NI-DM (results/lrnet.md): here it is what counts.

    Beside it, networks that know all of I-DM but M_C, for which they take the same number in every lesion.
    """
    masks, lesions = held_out_shapes(8, 32), []
    for mask in masks:
        numbers, count = ndimage.label(mask, np.ones((3, 3, 3)))
        maps = [distance_map(mask, kind) for kind in ("NI-DM", "I-DM")]
        lesions += [[phi[numbers == number] for phi in maps] for number in range(1, count + 1)]
    guesses = [np.mean([np.abs(height * share - truth).mean() / truth.max() for share, truth in lesions])
               for height in range(1, 17)]  # fmt: skip
    quality = lrnet_quality(load_pretrained_lrnet("I-DM"), masks)
    assert quality.error < min(guesses) / 3
    assert quality.dice > 0.99


def test_the_shipped_weights_are_small_and_no_others_ship() -> None:
    import lrnet_edu

    files = list((Path(lrnet_edu.__file__).parent / "weights").glob("*.safetensors"))
    assert len(files) == 10
    assert sum(file.stat().st_size for file in files) < 1_000_000
    with pytest.raises(InputError, match="pretrain --synthetic --kind O-DM --activation sigmoid"):
        load_pretrained_lrnet("O-DM", activation="sigmoid")
    with pytest.raises(InputError, match="No 4-D LR-Net ships"):
        load_pretrained_lrnet(spatial_dims=4)


@pytest.mark.parametrize(("dims", "norm"), [(3, None), (2, "instance")])
def test_an_lrnet_comes_back_from_its_checkpoint(tmp_path: Path, norm: str | None, dims: int) -> None:
    lrnet = LRNet("SNI-DM", activation="sigmoid", norm=norm, spatial_dims=dims)
    path = lrnet_checkpoint(tmp_path / "l.safetensors", "SNI-DM", lrnet)
    again, p = load_lrnet(path, kind="SNI-DM", activation="sigmoid"), torch.rand(1, 2, *[6] * dims)
    assert lrnet_metadata(again) == lrnet_metadata(lrnet)
    assert torch.equal(again(p), lrnet(p))


def mnet(**changes: Any) -> dict[str, Any]:
    return {"mnet": {"in_channels": 1, "classes": 2, "features": [4, 8], "blocks": [1], **changes}}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        *(({"network": name}, "holds no M-Net") for name in (["MNet"], "LRNet")),
        *((mnet(features=widths), "another architecture") for widths in ([10**7, 10**7], [4, 9])),
        *((changes, "metadata of .* cannot be used")
          for changes in (mnet(features=[10**30, 8]), mnet(spatial_dims=2), mnet(classes=3), {"label": "1,2"},
                          {"patch_size": [8, 16]})),
        ({"preprocessing": {"spacing": 0.0, "window": None}}, "0.0 mm"),
        ({"preprocessing": {"spacing": 1.5, "window": [3, 3]}}, "window"),
    ],
)  # fmt: skip
def test_metadata_of_a_checkpoint_that_cannot_be(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    path = checkpoint(tmp_path / "m.safetensors")
    tensors, metadata = load_checkpoint(path)
    save_checkpoint(path, tensors, {**metadata, **changes})
    with pytest.raises(InputError, match=match) as error:
        load_mnet(path)
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 500 + len(str(path))


def test_files_that_hold_something_else(tmp_path: Path) -> None:
    path = lrnet_checkpoint(tmp_path / "lrnet.safetensors", "NI-DM")
    tensors, metadata = load_checkpoint(path)
    save_checkpoint(tmp_path / "odd.safetensors", {**tensors, "lrnet.head.1.bias": torch.zeros(2)}, metadata)
    for file, wanted, match in (
        (checkpoint(tmp_path / "mnet.safetensors"), {}, "holds no LR-Net but MNet"),
        (path, {"kind": "O-DM"}, "NI-DM, not O-DM"),
        (path, {"activation": "sigmoid"}, "relu, not sigmoid"),
        (tmp_path / "odd.safetensors", {}, "another architecture"),
    ):
        with pytest.raises(InputError, match=match):
            load_lrnet(file, **wanted)
