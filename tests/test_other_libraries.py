"""The LR-Net's loss behind a network and a trainer of other libraries: ``pip install "lrnet_edu[examples]"``.

What a user writes is `train_monai` and `lightning_module`; the rest asks whether it worked.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lrnet_edu import DiceLoss, DistanceRegressionLoss, distance_map, load_pretrained_lrnet

STEPS = 25
LINES = 15  # of user code, at most


def scans_and_masks() -> tuple[Tensor, Tensor]:
    """Two noisy patches with a dark ball each, and the ball: (2, 1, 16, 24, 24) both."""
    z, y, x = torch.meshgrid(*(torch.arange(n) for n in (16, 24, 24)), indexing="ij")  # (D, H, W)
    balls = [(z - 8) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < 36 for cy, cx in ((10, 12), (14, 9))]
    masks = torch.stack(balls)[:, None].long()  # (B, 1, D, H, W)
    noise = torch.randn(masks.shape, generator=torch.Generator().manual_seed(0))
    return 0.6 - 0.2 * masks + 0.05 * noise, masks


def lines_of(code: Callable[..., Any]) -> int:
    """Lines that are neither empty nor the docstring, which has one."""
    lines = [line for line in inspect.getsource(code).splitlines() if line.strip()]
    return len([line for line in lines if not line.strip().startswith('"""')])


def copy_of(network: nn.Module) -> list[Tensor]:
    return [weight.clone() for weight in network.state_dict().values()]


def same(network: nn.Module, before: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(network.state_dict().values(), before, strict=True))


def dice(network: nn.Module, images: Tensor, masks: Tensor) -> float:
    with torch.no_grad():
        found = network.eval()(images).argmax(1, keepdim=True)  # (B, 1, D, H, W)
    return float(2 * (found * masks).sum() / (found.sum() + masks.sum()))


# ---- MONAI's network in a loop of one's own


def train_monai(images: Tensor, masks: Tensor, shape: DistanceRegressionLoss) -> tuple[nn.Module, list[float]]:
    from monai.losses import DiceCELoss
    from monai.networks.nets import UNet

    network = UNet(spatial_dims=3, in_channels=1, out_channels=2, channels=(8, 16, 32), strides=(2, 2))
    overlap, maps = DiceCELoss(to_onehot_y=True, softmax=True), distance_map(masks)  # (B, 1, D, H, W)
    optimizer, losses = torch.optim.Adam(network.parameters(), lr=1e-2), []
    for _ in range(STEPS):
        logits = network(images)  # (B, 2, D, H, W)
        loss = overlap(logits, masks) + shape(torch.softmax(logits, dim=1), maps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return network, losses


def test_monai_unet_learns_with_the_lrnet_behind_it() -> None:
    pytest.importorskip("monai", reason="MONAI is not installed; it is one of the examples' extras")
    torch.manual_seed(0)
    images, masks = scans_and_masks()
    shape = DistanceRegressionLoss(load_pretrained_lrnet("NI-DM"))
    before = copy_of(shape.lrnet)

    network, losses = train_monai(images, masks, shape)

    assert losses[-1] < 0.5 * losses[0]
    assert dice(network, images, masks) > 0.8
    assert same(shape.lrnet, before)
    assert lines_of(train_monai) <= LINES


def test_gradient_of_the_map_alone_reaches_every_weight_of_monais_unet() -> None:
    nets = pytest.importorskip(
        "monai.networks.nets", reason="MONAI is not installed; it is one of the examples' extras"
    )
    torch.manual_seed(0)
    images, masks = scans_and_masks()
    network = nets.UNet(spatial_dims=3, in_channels=1, out_channels=2, channels=(8, 16, 32), strides=(2, 2))
    shape = DistanceRegressionLoss(load_pretrained_lrnet("NI-DM"))

    shape(torch.softmax(network(images), dim=1), distance_map(masks)).backward()

    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name
        # A bias in front of a normalisation is subtracted again: its gradient is 0 whatever the loss.
        assert weight.grad.abs().max() > 0 or name.endswith("bias"), name
    assert all(weight.grad is None for weight in shape.lrnet.parameters())


# ---- Lightning's trainer


def lightning_module(network: nn.Module) -> Any:
    from lightning import LightningModule

    class WithShape(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.overlap, self.shape = DiceLoss(), DistanceRegressionLoss(load_pretrained_lrnet("NI-DM"))

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            images, masks = batch
            probabilities = torch.softmax(self.network(images), dim=1)  # (B, 2, D, H, W)
            return self.overlap(probabilities, masks) + self.shape(probabilities, distance_map(masks))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.network.parameters(), lr=1e-2)

    return WithShape()


@pytest.mark.filterwarnings("ignore")  # Lightning's advice on workers and loggers
def test_lightning_trains_with_the_lrnet_behind_a_network() -> None:
    lightning = pytest.importorskip("lightning", reason="Lightning is not installed; it is one of the examples' extras")
    torch.manual_seed(0)
    images, masks = scans_and_masks()
    network = nn.Sequential(
        nn.InstanceNorm3d(1), nn.Conv3d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv3d(8, 8, 3, padding=1), nn.ReLU(),
        nn.Conv3d(8, 2, 1),
    )  # fmt: skip
    module, started = lightning_module(network), dice(network, images, masks)
    before = copy_of(module.shape.lrnet)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, masks), batch_size=2)

    trainer = lightning.Trainer(
        max_epochs=STEPS, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, loader)

    assert trainer.global_step == STEPS
    assert dice(network, images, masks) > max(0.6, started)
    assert same(module.shape.lrnet, before)
    assert not module.shape.lrnet.training  # though the trainer called module.train()
    assert lines_of(lightning_module) <= LINES
