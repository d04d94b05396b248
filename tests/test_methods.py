"""The rows of Table 2: what is trained in each, from which weights, and what its loss is made of."""

from pathlib import Path
from typing import Any

import pytest
import torch
from scans import checkpoint, lrnet_checkpoint
from torch import nn

from lrnet_edu.config import Config
from lrnet_edu.data.patches import Batch
from lrnet_edu.distance_maps import maps_of_classes
from lrnet_edu.kinds import ALONE, KINDS
from lrnet_edu.losses import DiceLoss, MapDiceLoss, map_regression_loss
from lrnet_edu.methods import METHODS, RivalMethod, TandemMethod
from lrnet_edu.rivals import SIGNED_DISTANCES, signed_distances
from lrnet_edu.study.rows import TABLE_2_ROWS
from lrnet_edu.support.errors import InputError
from lrnet_edu.trained import load_lrnet, load_mnet

ROWS = {row.method: METHODS[row.method] for row in TABLE_2_ROWS}  # not those that the study adds
TANDEMS = [name for name, row in ROWS.items() if isinstance(row, TandemMethod)]


def tiny(method: str, **changes: Any) -> Config:
    return Config(method=method, **{"features": (4, 8), "blocks": (1,), "steps": 8, "warmup_steps": 3, **changes})


def model_of(config: Config, classes: int = 2) -> Any:
    """The model of a row as a run would start with it."""
    torch.manual_seed(config.seed)
    return METHODS[config.method].model(config, classes)


def a_batch(config: Config, classes: int = 2) -> Batch:
    """Two patches with a box of each class, and the maps that the row asks for."""
    labels = torch.zeros(2, 8, 12, 12, dtype=torch.int64)
    for c in range(1, classes):
        labels[:, 1:6, 1:6, 6 * c - 5 : 6 * c] = c
    maps = {}
    for kind in METHODS[config.method].maps(config):
        rivals = kind == SIGNED_DISTANCES
        maps[kind] = (
            torch.from_numpy(signed_distances(labels.numpy(), classes - 1))
            if rivals
            else (maps_of_classes(labels, classes - 1, kind))
        )
    image = torch.randn(2, 1, 8, 12, 12, generator=torch.Generator().manual_seed(0))
    return Batch(image, labels, maps, ["a", "b"])


def losses_of(config: Config, model: nn.Module, batch: Batch) -> list[float]:
    """Of each phase."""
    phases = METHODS[config.method].phases(config, model)
    assert sum(phase.steps for phase in phases) == config.steps
    return [phase.loss(batch).item() for phase in phases]


@pytest.mark.parametrize(("classes", "alpha", "kind"), [(2, None, "NI-DM"), (3, None, "SNI-DM"), (2, 50.0, "O-DM")])
@pytest.mark.parametrize("method", TANDEMS)
def test_a_tandem_starts_with_dice_and_goes_on_with_its_loss_and_alpha_times_the_regression(
    method: str, classes: int, alpha: float | None, kind: str
) -> None:
    """MapDice weighs by NI-DM, whatever the LR-Net regresses."""
    config = tiny(method, alpha=alpha, kind=kind)
    model, batch = model_of(config, classes), a_batch(config, classes)
    p, maps = model(batch.image)
    regression = map_regression_loss(maps, batch.maps[kind])
    own: Any = {"dice+lrnet": lambda: DiceLoss()(p, batch.classes),
                "mapdice+lrnet": lambda: MapDiceLoss()(p, batch.maps["NI-DM"])}.get(method, lambda: 0.0)()  # fmt: skip
    default = ALONE if method in ("lrnet", "unfrozen-lrnet") else KINDS[kind].alpha
    weight = default if alpha is None else alpha
    expected = [DiceLoss()(p, batch.classes).item(), (own + weight * regression).item()]
    assert losses_of(config, model, batch) == pytest.approx(expected, rel=1e-5)
    assert regression > 0
    warm_up, tandem = METHODS[method].phases(config, model)
    assert (warm_up.steps, tandem.steps) == (3, 5)
    warm_up.loss(batch).backward()
    assert all(parameter.grad is None for parameter in model.lrnet.parameters())


@pytest.mark.parametrize("method", [name for name in ROWS if name not in TANDEMS])
def test_other_rows_have_their_own_loss_which_follows_dice_alone_in_rivals_or_if_asked_for(method: str) -> None:
    config, row = tiny(method), METHODS[method]
    model, batch = model_of(config), a_batch(config)
    p = torch.softmax(model.mnet(batch.image), dim=1)
    if isinstance(row, RivalMethod):
        network = model if method == "multi-branch" else model.mnet
        own = network.loss(batch.image, batch.classes, batch.maps[SIGNED_DISTANCES])
    else:
        own = row.segmentation_loss()(p, batch.maps["NI-DM"] if method == "mapdice" else batch.classes)
    expected = pytest.approx([DiceLoss()(p, batch.classes).item(), own.item()], rel=1e-5)
    assert losses_of(config, model, batch) == expected
    alone = losses_of(tiny(method, warmup_steps=None), model, batch)
    assert alone == (expected if row.warms_up else pytest.approx([own.item()], rel=1e-5))


def test_all_methods_start_from_the_same_mnet() -> None:
    start, other_seed = (model_of(tiny("dice", seed=seed), 3).mnet.state_dict() for seed in (0, 1))
    assert not all(torch.equal(start[name], other_seed[name]) for name in start)
    for method in ROWS:
        weights = model_of(tiny(method), 3).mnet.state_dict()
        own = {name for name in weights if name.startswith("classifier.")}  # the cascaded rival's last layer
        assert (weights.keys() - own, bool(own)) == (start.keys(), method == "cascaded")
        assert all(torch.equal(weights[name], start[name]) for name in start), method


def test_a_training_can_go_on_from_another_s_mnet(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "best.safetensors")
    weights = load_mnet(path).mnet.state_dict()
    for start in (path, tmp_path):  # the checkpoint, or its run folder
        begun = model_of(tiny("dice+lrnet", start=str(start))).mnet.state_dict()
        assert all(torch.equal(begun[name], weights[name]) for name in weights)
    with pytest.raises(InputError, match="another architecture"):
        model_of(tiny("dice", start=str(path)), classes=3)


@pytest.mark.parametrize("method", TANDEMS)
def test_the_lrnet_is_the_pretrained_one(tmp_path: Path, method: str) -> None:
    """From a checkpoint or from the run folder that holds it."""
    path = lrnet_checkpoint(tmp_path / "best.safetensors", "NI-DM")
    learned = load_lrnet(path).state_dict()
    for given in (path, tmp_path):
        model = model_of(tiny(method, lrnet=str(given)))
        assert model.frozen == (method != "unfrozen-lrnet")
        assert all(torch.equal(tensor, learned[name]) for name, tensor in model.lrnet.state_dict().items())
    for changes in ({"kind": "O-DM"}, {"activation": "sigmoid"}, {"lrnet": str(tmp_path / "none")}):
        with pytest.raises(InputError):
            model_of(tiny(method, **{"lrnet": str(path), **changes}))
