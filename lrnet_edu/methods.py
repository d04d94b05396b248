"""The rows of Table 2 and, last, those that the study adds: what is trained in each, and by which loss.

To add a row, add an entry to `METHODS`: ``METHODS["mine"] = Method("My loss", MyLoss)`` can then be trained, used for
prediction and put into a table by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrnet_edu import losses
from lrnet_edu.kinds import ALONE, kind_of_map
from lrnet_edu.losses import DiceLoss, map_regression_loss
from lrnet_edu.networks import LRNet, MNet, Tandem
from lrnet_edu.rivals import SIGNED_DISTANCES, CascadedMNet, MultiBranch
from lrnet_edu.support.checkpoints import load_checkpoint
from lrnet_edu.trained import load_lrnet, load_pretrained_lrnet, load_weights
from lrnet_edu.training import Phase

if TYPE_CHECKING:
    from lrnet_edu.config import Config

BatchLoss = Callable[[Any], Tensor]  # of a data.patches.Batch


@dataclass(frozen=True)
class Method:
    """The M-Net alone, trained with a loss on its probabilities."""

    title: str  # as Table 2 writes it
    segmentation_loss: Callable[[], nn.Module] | None = None  # builds module(probabilities, target), if there is one
    target: str | None = None  # what it compares the probabilities with: a kind of distance map; None: the labels
    network: type[MNet] = MNet  # what is kept, and predicts; trained.MNETS knows it by name

    uses_lrnet: ClassVar[bool] = False
    warms_up: ClassVar[bool] = False  # begins with Dice alone if nothing else is asked for

    def model(self, config: Config, classes: int) -> nn.Module:
        """The module that is trained; its submodule ``mnet`` is kept. Every row starts from the same M-Net weights."""
        return nn.ModuleDict({"mnet": self.mnet(config, classes)})

    def mnet(self, config: Config, classes: int) -> MNet:
        """The M-Net for ``classes`` classes, background included: a fresh one, or ``config.start`` once more."""
        mnet = self.network(1, classes, features=config.features, blocks=config.blocks, stride=config.stride)
        if config.start is not None:
            load_weights(mnet, "mnet", load_checkpoint(config.start)[0], config.start)
        return mnet

    def maps(self, config: Config) -> list[str]:
        """The distance maps that a batch has to contain."""
        return [self.target] if self.target else []

    def alpha(self, config: Config) -> float | None:
        """The weight of the term beside the segmentation loss, in a method that has one."""
        return None

    def loss(self, config: Config, model: nn.Module) -> BatchLoss:
        """The loss of a batch: image (B, 1, D, H, W) and targets -> one number."""
        mnet, compare = model.get_submodule("mnet"), self.compare()
        return lambda batch: compare(torch.softmax(mnet(batch.image), dim=1), batch)

    def compare(self) -> Callable[[Tensor, Any], Any]:
        """The segmentation loss of probabilities (B, classes, D, H, W) and a batch; 0 for a method without one."""
        if self.segmentation_loss is None:
            return lambda p, batch: 0
        loss = self.segmentation_loss()
        return lambda p, batch: loss(p, batch.maps[self.target] if self.target else batch.classes)

    def phases(self, config: Config, model: nn.Module) -> list[Phase]:
        """The training's phases, which add up to ``config.steps``."""
        loss = self.loss(config, model)
        if not config.warmup:
            return [Phase(self.title, config.steps, loss)]
        warm_up = Phase("warm-up", config.warmup, Method("warm-up", DiceLoss).loss(config, model))
        return [warm_up, Phase(self.title, config.steps - config.warmup, loss)]


@dataclass(frozen=True)
class TandemMethod(Method):
    """M-Net and LR-Net in a row: L_seg(p, target) + alpha * SmoothL1(LR-Net(p), phi) (section 2.3).

    It starts with Dice alone, the warm-up: with the regression loss from the first step on, a fresh M-Net may learn to
    find nothing (results/alphas.md).
    """

    frozen: bool = True  # False is the paper's uLR-Net

    uses_lrnet: ClassVar[bool] = True
    warms_up: ClassVar[bool] = True

    def model(self, config: Config, classes: int) -> nn.Module:
        return Tandem(self.mnet(config, classes), lrnet_of(config), frozen=self.frozen)

    def maps(self, config: Config) -> list[str]:
        return [*super().maps(config), config.kind]

    def alpha(self, config: Config) -> float:
        default = kind_of_map(config.kind).alpha if self.segmentation_loss else ALONE
        return default if config.alpha is None else config.alpha

    def loss(self, config: Config, model: nn.Module) -> BatchLoss:
        alpha, compare = self.alpha(config), self.compare()

        def total(batch: Any) -> Tensor:
            p, maps = model(batch.image)  # (B, K + 1, D, H, W), (B, K, D, H, W)
            return compare(p, batch) + alpha * map_regression_loss(maps, batch.maps[config.kind])

        return total


@dataclass(frozen=True)
class VoxelwiseMethod(Method):
    """L_seg(p, labels) + alpha * SmoothL1(p, mask): the LR-Net's term without an LR-Net, its control."""

    warms_up: ClassVar[bool] = True

    def alpha(self, config: Config) -> float:
        return ALONE if config.alpha is None else config.alpha

    def loss(self, config: Config, model: nn.Module) -> BatchLoss:
        mnet, alpha, compare = model.get_submodule("mnet"), self.alpha(config), self.compare()

        def total(batch: Any) -> Tensor:
            p = torch.softmax(mnet(batch.image), dim=1)  # (B, K + 1, D, H, W)
            masks = F.one_hot(batch.classes, p.shape[1]).movedim(-1, 1)[:, 1:]  # (B, K, D, H, W)
            return compare(p, batch) + alpha * map_regression_loss(p[:, 1:], masks)

        return total


@dataclass(frozen=True)
class RivalMethod(Method):
    """A network of `rivals` that regresses signed distances beside the classes, with a loss of its own."""

    branch: type[MultiBranch] | None = None  # a second decoder, for the training alone, where the M-Net regresses none

    warms_up: ClassVar[bool] = True

    def model(self, config: Config, classes: int) -> nn.Module:
        return self.branch(self.mnet(config, classes)) if self.branch else super().model(config, classes)

    def maps(self, config: Config) -> list[str]:
        return [SIGNED_DISTANCES]

    def loss(self, config: Config, model: nn.Module) -> BatchLoss:
        network: Any = model if self.branch else model.get_submodule("mnet")
        return lambda batch: network.loss(batch.image, batch.classes, batch.maps[SIGNED_DISTANCES])


def lrnet_of(config: Config) -> LRNet:
    """The pretrained LR-Net that a configuration asks for: the user's own, or a shipped one."""
    if config.lrnet is not None:
        return load_lrnet(config.lrnet, kind=config.kind, activation=config.activation)
    return load_pretrained_lrnet(config.kind, activation=config.activation)


BASELINE = "dice"  # what every row of a table is compared with
POWERS = (1.0, 0.5, 0.25)  # of the inverse frequency in the weighted cross-entropy; 1 is U-Net's
WCE = {power: "wce" if power == 1 else f"wce-power-{power:g}" for power in POWERS}
METHODS: dict[str, Method] = {
    "dice": Method("M-Net + Dice", losses.DiceLoss),
    "mapdice": Method("M-Net + MapDice", losses.MapDiceLoss, target="NI-DM"),  # other kinds leave [0, 1]
    "lrnet": TandemMethod("M-Net + LR-Net"),
    "dice+lrnet": TandemMethod("M-Net + Dice + LR-Net", losses.DiceLoss),
    "mapdice+lrnet": TandemMethod("M-Net + MapDice + LR-Net", losses.MapDiceLoss, target="NI-DM"),
    "unfrozen-lrnet": TandemMethod("M-Net + unfrozen LR-Net", frozen=False),
    **{name: Method("Weighted cross-entropy", partial(losses.WeightedCrossEntropyLoss, power=power))
       for power, name in WCE.items()},
    "gds": Method("Generalised Dice", losses.GeneralizedDiceLoss),
    "tversky": Method("Tversky", losses.TverskyLoss),
    "focal-tversky": Method("Focal Tversky", losses.FocalTverskyLoss),
    "explog": Method("Exponential logarithmic", losses.ExpLogLoss),
    "multi-branch": RivalMethod("Multi-branch regression", branch=MultiBranch),
    "cascaded": RivalMethod("Cascaded regression", network=CascadedMNet),
    "voxelwise": VoxelwiseMethod("M-Net + SmoothL1(p, mask)"),
    "dice+voxelwise": VoxelwiseMethod("M-Net + Dice + SmoothL1(p, mask)", losses.DiceLoss),
    "dice+ce": Method("M-Net + Dice + cross-entropy", losses.DiceCrossEntropyLoss),
    "mended-mapdice": Method("M-Net + mended MapDice", losses.MapWeightedDiceLoss, target="NI-DM"),
}  # fmt: skip
