"""One training step: what our loop adds to a plain one, and what the frozen LR-Net adds to the M-Net."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import timing
from benchmarks.timing import DisagreementError, Row, Size, installed, timed, timed_in_turns
from lrnet_edu import DiceLoss
from lrnet_edu.config import Config, Schedule, pretrain_config
from lrnet_edu.data.patches import Batch
from lrnet_edu.data.shapes import random_shapes
from lrnet_edu.losses import map_regression_loss
from lrnet_edu.networks import regress_maps
from lrnet_edu.pretraining import held_out_shapes, pretraining_task
from lrnet_edu.segmentation import build_model
from lrnet_edu.training import Task, fit

CPU = torch.device("cpu")


class SameBatch(Dataset[Batch]):
    """One batch over and over: the loop is measured, not the data."""

    def __init__(self, patch: tuple[int, int, int], length: int) -> None:
        image = torch.randn(2, 1, *patch, generator=torch.Generator().manual_seed(0))  # (B, 1, D, H, W)
        classes = (image[:, 0] > 1).long()  # (B, D, H, W)
        self.batch = Batch(image, classes, {"NI-DM": classes[:, None].float()}, ["noise"])
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Batch:
        return self.batch


def step_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Dice, and behind it the frozen LR-Net's regression loss where the model has one."""
    probabilities = torch.softmax(model.get_submodule("mnet")(batch.image), dim=1)
    loss = DiceLoss()(probabilities, batch.classes)
    if not hasattr(model, "lrnet"):
        return loss
    maps = regress_maps(model.get_submodule("lrnet"), probabilities)
    return loss + 10 * map_regression_loss(maps, batch.maps["NI-DM"])


def plain_loop(model: nn.Module, batches: SameBatch, loss: Callable[[nn.Module, Batch], Tensor]) -> list[Tensor]:
    """The loop of every tutorial; the weights afterwards."""
    model = model.to(memory_format=torch.channels_last_3d).train()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=1e-3)
    for i in range(len(batches)):
        value = loss(model, batches[i])
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
    return [weight.detach() for weight in weights]


def our_loop(model: nn.Module, batches: SameBatch) -> list[Tensor]:
    """The same by :func:`lrnet_edu.training.fit`, its checkpoint at the end included."""
    task = Task(model, batches, lambda batch, step: step_loss(model, batch),
                lambda: {"val_loss": 0.0, "score": 0.0}, {}, "mnet.")  # fmt: skip
    steps = len(batches)
    schedule = Schedule(steps=steps, validate_every=steps)
    with (
        TemporaryDirectory() as folder,
        open(os.devnull, "w", encoding="utf-8") as quiet,
        contextlib.redirect_stderr(quiet),
    ):
        fit(task, schedule, Path(folder), CPU)
    return [weight.detach() for weight in model.parameters() if weight.requires_grad]


def rows(size: Size) -> Iterator[Row]:
    """Our loop, the tandem, the LR-Net's cost, pretraining."""
    steps = 2 if size.quick else 6
    patch = (16, 32, 32) if size.quick else (32, 64, 64)
    batches, name = SameBatch(patch, steps), f"2 x {' x '.join(map(str, patch))}"
    alone, tandem = (Config(method=method) for method in ("dice", "dice+lrnet"))

    loops = (
        lambda: our_loop(build_model(alone, 1), batches),
        lambda: plain_loop(build_model(alone, 1), batches, step_loss),
        lambda: plain_loop(build_model(tandem, 1), batches, step_loss),
    )
    (ours, plain, _), (seconds, plain_seconds, both) = timed_in_turns(loops)
    apart = max(float((a - b).abs().max()) for a, b in zip(ours, plain, strict=True))
    if apart > 1e-6:
        raise DisagreementError(f"After {steps} steps our loop's weights differ from the plain loop's by {apart:g}.")
    row = Row(
        f"one step of the M-Net alone, {name}, preset cpu",
        seconds / steps,
        {"plain loop": plain_seconds / steps},
        agreement=f"{apart:.1e} (limit 1e-06), the weights",
        target="within 3 % of the plain loop",
        reached=seconds <= 1.03 * plain_seconds,
    )
    if installed("monai"):
        row.peers["MONAI UNet"] = monai_step(batches) / steps
        row.note = (
            "MONAI's UNet of the same widths with two residual units a level, in the plain loop; another network."
        )
    yield row

    yield Row(f"one step in tandem, {name}", both / steps, {"M-Net alone": plain_seconds / steps})
    yield from lrnet_rows(build_model(tandem, 1).get_submodule("lrnet"), patch, (both - plain_seconds) / steps)
    yield from pretraining_rows(size)


def monai_step(batches: SameBatch) -> float:
    from monai.networks.nets import UNet

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return DiceLoss()(torch.softmax(model(batch.image), dim=1), batch.classes)

    def network() -> nn.Module:
        return UNet(spatial_dims=3, in_channels=1, out_channels=2, channels=(8, 16, 32, 64), strides=(2, 2, 2),
                    num_res_units=2)  # fmt: skip

    return timed(lambda: plain_loop(network(), batches, loss), 2)[1]


def lrnet_rows(lrnet: nn.Module, patch: tuple[int, int, int], added: float) -> Iterator[Row]:
    """What the LR-Net's operations and bytes ask of this machine, and what it takes."""
    pair = torch.rand(2, 2, *patch, requires_grad=True)  # (B, 2, D, H, W)
    moved = 0

    def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal moved
        moved += 4 * (sum(tensor.numel() for tensor in inputs) + output.numel())

    hooks = [part.register_forward_hook(count) for part in lrnet.modules() if not list(part.children())]
    with FlopCounterMode(display=False) as counter:
        lrnet(pair).sum().backward()
    for hook in hooks:
        hook.remove()
    operations, moved = counter.get_total_flops(), 2 * moved  # the way back reads and writes as much again

    matrix, block = torch.rand(1024, 1024), torch.rand(2**25)
    peak = 2 * 1024**3 / timed(lambda: matrix @ matrix)[1]
    bandwidth = 2 * block.nbytes / timed(lambda: block.clone())[1]
    least = operations / peak + moved / bandwidth
    row = Row(
        f"the frozen LR-Net in that step: {operations / 1e9:.1f} G operations, {moved / 1e6:.0f} MB moved",
        added,
        {"its operations and bytes": least},
        target="at most 1.3 x what they take",
        reached=added <= 1.3 * least,
    )
    row.note = (
        f"Measured here: {peak / 1e9:.0f} G operations a second in a matrix product, {bandwidth / 1e9:.1f} GB/s in a "
        "copy. What operations and bytes take is added up, as if neither could hide behind the other."
    )
    yield row


def pretraining_rows(size: Size) -> Iterator[Row]:
    """Seconds until the LR-Net's validation says Dice 0.99 and an error of phi of 0.06."""
    steps = 12 if size.quick else 1000
    config = pretrain_config("NI-DM", steps=steps, validate_every=steps // 12)
    started = timing.clock()
    with (
        TemporaryDirectory() as folder,
        open(os.devnull, "w", encoding="utf-8") as quiet,
        contextlib.redirect_stderr(quiet),
    ):
        state = fit(pretraining_task(config, random_shapes, held_out_shapes(4 if size.quick else 16)), config,
                    Path(folder), CPU)  # fmt: skip
    share = (timing.clock() - started) / state.seconds  # the run's own clock is the wall's
    good = [row for row in state.rows if row["val_dice"] >= 0.99 and row["val_error"] <= 0.06]
    last = (good or state.rows)[0 if good else -1]
    yield Row(f"LR-Net pretraining: Dice {last['val_dice']:.4f}, error of phi {last['val_error']:.3f} after "
              f"{last['step']} steps, validations included", last["seconds"] * share,
              target="Dice 0.99 and error 0.06", reached=bool(good))  # fmt: skip
