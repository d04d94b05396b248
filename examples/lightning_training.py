"""The paper's loss in Lightning's trainer, behind any network: python examples/lightning_training.py"""

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lrnet_edu import MNet, TandemLoss


class WithShape(lightning.LightningModule):
    """A segmentation network and the loss that teaches it shape; both travel to the trainer's device.

    Args:
        network: images (B, channels, D, H, W) -> logits (B, C, D, H, W).
        loss: of logits and labels (B, D, H, W).
    """

    def __init__(self, network: nn.Module, loss: TandemLoss) -> None:
        super().__init__()
        self.network, self.loss, self.alpha = network, loss, loss.alpha

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        images, labels = batch
        begun = self.global_step >= self.trainer.estimated_stepping_batches / 4
        alpha = self.alpha if begun else 0  # first Dice alone, or it may learn to find nothing
        if alpha != self.loss.alpha:
            self.loss.alpha = alpha
            self.optimizers().optimizer.state.clear()  # Adam's, which knows the size of other gradients
        total = self.loss(self.network(images), labels)
        self.log("loss", total, prog_bar=True)
        self.log_dict(self.loss.terms)  # "segmentation" and "map", each by itself
        return total

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters(), lr=1e-2)


def main(steps: int = 20) -> float:
    """Train on noisy balls; returns the Dice of what is found in them afterwards."""
    torch.manual_seed(0)
    z, y, x = torch.meshgrid(*(torch.arange(24),) * 3, indexing="ij")
    labels = torch.stack([((z - 12) ** 2 + (y - c) ** 2 + (x - c) ** 2 < 36).long() for c in (9, 11, 13, 15)])
    images = 0.6 - 0.2 * labels[:, None] + 0.05 * torch.randn(4, 1, 24, 24, 24)
    module = WithShape(MNet(features=(8, 16), blocks=(1,)), TandemLoss("NI-DM"))
    trainer = lightning.Trainer(
        max_steps=steps, accelerator="auto", logger=False, enable_checkpointing=False, enable_model_summary=False
    )
    trainer.fit(module, DataLoader(TensorDataset(images, labels), batch_size=2, shuffle=True))
    with torch.no_grad():
        found = module.network.cpu().eval()(images).argmax(1)
    return float(2 * (found * labels).sum() / (found.sum() + labels.sum()))


if __name__ == "__main__":
    print(f"Dice of the balls: {main():.2f}")
