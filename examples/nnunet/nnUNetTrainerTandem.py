"""nnU-Net with the paper's map term beside its own loss: see docs/your_network.md for the commands.

nnUNet_extTrainer=examples/nnunet nnUNetv2_train 4 3d_fullres 0 -tr nnUNetTrainerTandem
nnUNet_extTrainer=examples/nnunet nnUNetv2_predict -d 4 -c 3d_fullres -f 0 -tr nnUNetTrainerTandem -i IN -o OUT
"""

from typing import Any

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor, nn

from lrnet_edu import TandemLoss


class nnUNetTrainerTandem(nnUNetTrainer):  # noqa: N801, nnU-Net's way to write it
    """nnU-Net's Dice + cross-entropy at every resolution + alpha * the map's error at the full one (2-D and 3-D).

    The first quarter of the epochs has no map's term: a fresh network might learn to find nothing.
    """

    alpha: float | None = None  # None: the default of the kind of map

    def _build_loss(self) -> nn.Module:
        if self.label_manager.has_regions:
            raise RuntimeError("The map's term needs labels that exclude each other; this data set has regions.")
        ignored = self.label_manager.ignore_label
        return WithMapTerm(super()._build_loss(), TandemLoss(segmentation=None, alpha=self.alpha, ignore_label=ignored))

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.loss.begun = self.current_epoch >= self.num_epochs // 4


class WithMapTerm(nn.Module):
    """A loss of nnU-Net's + the map's term; with deep supervision the first output is the one at full resolution."""

    def __init__(self, own: nn.Module, map_term: TandemLoss) -> None:
        super().__init__()
        self.own, self.map_term, self.begun = own, map_term, True

    def forward(self, output: Any, target: Any) -> Tensor:
        if not self.begun:
            return self.own(output, target)
        full = [x[0] if isinstance(x, list | tuple) else x for x in (output, target)]
        return self.own(output, target) + self.map_term(*full)
