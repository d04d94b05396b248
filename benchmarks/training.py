"""One training step: what our loop adds to a plain one, what our layers save, what the frozen LR-Net adds."""

from __future__ import annotations

import contextlib
import io
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import timing
from benchmarks.timing import (
    DisagreementError,
    Row,
    Size,
    bytes_per_second,
    installed,
    operations_per_second,
)
from lrnet_edu import DiceLoss, find_cases, layers, training
from lrnet_edu.config import preset, pretrain_config
from lrnet_edu.data.cache import cache_cases
from lrnet_edu.data.patches import Batch
from lrnet_edu.data.preprocessing import Preprocessing
from lrnet_edu.data.samples import sample_folder
from lrnet_edu.data.shapes import random_shapes
from lrnet_edu.layers import Conv3d, InstanceNorm, PointwiseConv3d
from lrnet_edu.losses import map_regression_loss
from lrnet_edu.lrnet_training import held_out_shapes, lrnet_quality, pretraining_task
from lrnet_edu.mnet_training import build_model
from lrnet_edu.networks import ResidualBlock, regress_maps
from lrnet_edu.support.run_folder import Task
from lrnet_edu.trained import load_lrnet
from lrnet_edu.training import Schedule, fit

CPU = torch.device("cpu")
Loss = Callable[[nn.Module, Batch], Tensor]
PATCHES = {"cpu": (32, 48, 48), "paper": (48, 96, 96)}  # voxels (z, y, x)


class SameBatch(Dataset[Batch]):
    """One batch over and over: the loop is measured, not the data."""

    def __init__(self, shape: tuple[int, int, int], length: int) -> None:
        image = torch.randn(2, 1, *shape, generator=torch.Generator().manual_seed(0))  # (B, 1, D, H, W)
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


def plain_loop(model: nn.Module, batches: SameBatch, loss: Loss) -> list[Tensor]:
    """The loop of every tutorial; the weights afterwards."""
    model = model.to(memory_format=torch.channels_last_3d).train()  # as ours: the loops are compared, not the layouts
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=1e-3)
    for i in range(len(batches)):
        value = loss(model, batches[i])
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
    return [weight.detach() for weight in weights]


def our_loop(model: nn.Module, batches: SameBatch, loss: Loss, checkpoints: list[float]) -> list[Tensor]:
    """The same by :func:`lrnet_edu.training.fit`; the seconds of its checkpoint at the end go to the list."""

    def timed_save(save: Callable[..., None], *given: Any) -> None:
        started = timing.clock()
        save(*given)
        checkpoints[-1] += timing.clock() - started

    checkpoints.append(0.0)
    saves = {name: partial(timed_save, getattr(training, name)) for name in ("save_best", "save_state")}
    task = Task(model, batches, lambda batch, step: loss(model, batch),
                lambda: {"val_loss": 0.0, "score": 0.0}, {}, "mnet.")  # fmt: skip
    steps = len(batches)
    schedule = Schedule(steps=steps, validate_every=steps)
    quiet = contextlib.redirect_stderr(io.StringIO())
    with TemporaryDirectory() as folder, quiet, patch.multiple(training, **saves):
        fit(task, schedule, Path(folder), CPU)
    return [weight.detach() for weight in model.parameters() if weight.requires_grad]


def with_pytorchs_layers(model: nn.Module) -> nn.Module:
    """The same network and weights, its layers of ``lrnet_edu.layers`` replaced by PyTorch's own."""
    for part in model.modules():
        for name, layer in list(part.named_children()):
            if isinstance(layer, InstanceNorm):
                setattr(part, name, nn.InstanceNorm3d(layer.num_features))
            elif isinstance(layer, Conv3d | PointwiseConv3d):
                size, stride, padding = layer.kernel_size, layer.stride, layer.padding
                own = nn.Conv3d(layer.in_channels, layer.out_channels, size, stride, padding)  # type: ignore[arg-type]
                own.load_state_dict(layer.state_dict())
                setattr(part, name, own.requires_grad_(layer.weight.requires_grad))
    return model


def rows(size: Size) -> Iterator[Row]:
    """Our loop and layers, the tandem, the LR-Net's cost, pretraining."""
    for name in ("cpu", "paper"):
        yield from step_rows(size, name)
    yield from pretraining_rows(size)


def step_rows(size: Size, name: str) -> Iterator[Row]:
    """One step of a preset's networks; of the preset paper on a patch that a CPU finishes in a minute."""
    steps, turns = (2, 1) if size.quick else (9, 5) if name == "cpu" else (4, 4)
    shape = (32, 32, 32) if size.quick else PATCHES[name]
    batches, title = SameBatch(shape, steps), f"preset {name}, 2 x {' x '.join(map(str, shape))}"
    checkpoints: list[float] = []
    alone, tandem = (preset(name, method=method) for method in ("dice", "dice+lrnet"))
    loops = [
        lambda watch: our_loop(build_model(alone, 1), batches, watch(step_loss), checkpoints),
        lambda watch: plain_loop(build_model(alone, 1), batches, watch(step_loss)),
        lambda watch: plain_loop(with_pytorchs_layers(build_model(alone, 1)), batches, watch(step_loss)),
        lambda watch: our_loop(build_model(tandem, 1), batches, watch(step_loss), []),
    ]
    if installed("monai"):
        loops.append(lambda watch: monai_loop(alone.features, batches, watch))
    results, (ours, plain, own, both, *monai) = steps_in_turns(loops, turns)
    apart = max(float((a - b).abs().max()) for a, b in zip(results[0], results[1], strict=True))
    if apart > 1e-6:
        raise DisagreementError(f"After {steps} steps our loop's weights differ from the plain loop's by {apart:g}.")
    trained = ours + statistics.median(checkpoints) / alone.validate_every  # as often as in a run
    row = Row(
        f"one step of the M-Net alone, {title}",
        trained,
        {"plain loop": plain, "PyTorch's own layers": own, "MONAI UNet": monai[0] if monai else None},
        agreement=f"{apart:.1e} (limit 1e-06), the weights",
        target="within 3 % of the plain loop",
        reached=trained <= 1.03 * plain,
    )
    row.note = (
        "The loops take turns; the median of all steps but each loop's first. Plain loop: the same network without our "
        "trainer, of which its share of a checkpoint counts as well; PyTorch's own layers: the plain loop with them. "
        "MONAI's UNet of the same widths with two residual units a level is another network."
    )
    yield row
    yield Row(f"one step in tandem, {title}", both, {"M-Net alone": ours})
    yield from lrnet_rows(build_model(tandem, 1).get_submodule("lrnet"), shape, both - ours)


def steps_in_turns(
    loops: Sequence[Callable[[Callable[[Loss], Loss]], list[Tensor]]], turns: int
) -> tuple[list[list[Tensor]], list[float]]:
    """What each loop returns, and the median seconds from one call of its loss to the next; the loops take turns."""
    results: list[list[Tensor]] = []
    seconds: list[list[float]] = [[] for _ in loops]
    for turn in range(turns):
        for loop, times in zip(loops, seconds, strict=True):
            calls: list[float] = []
            result = loop(partial(watched, calls))
            results += [result] if turn == 0 else []
            times += [later - earlier for earlier, later in pairwise(calls)]
    return results, [statistics.median(times) for times in seconds]


def watched(calls: list[float], loss: Loss) -> Loss:
    """The loss, which notes when it is called."""

    def noting(model: nn.Module, batch: Batch) -> Tensor:
        calls.append(timing.clock())
        return loss(model, batch)

    return noting


def monai_loop(features: Sequence[int], batches: SameBatch, watch: Callable[[Loss], Loss]) -> list[Tensor]:
    from monai.networks.nets import UNet

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return DiceLoss()(torch.softmax(model(batch.image), dim=1), batch.classes)

    network = UNet(spatial_dims=3, in_channels=1, out_channels=2, channels=features, strides=[2] * (len(features) - 1),
                   num_res_units=2)  # fmt: skip
    return plain_loop(network, batches, watch(loss))


def lrnet_rows(lrnet: nn.Module, shape: tuple[int, int, int], added: float) -> Iterator[Row]:
    """What the LR-Net's operations and bytes ask of this machine, and what it takes."""
    pair = torch.rand(2, 2, *shape, requires_grad=True)  # (B, 2, D, H, W)
    operations, moved = counted(lrnet, lambda: lrnet(pair).sum().backward())
    peak, speed = operations_per_second(), bytes_per_second()
    least = operations / peak + moved / speed
    row = Row(
        f"the frozen LR-Net in that step: {operations / 1e9:.1f} G operations, {moved / 1e6:.0f} MB moved",
        added,
        {"its operations and bytes": least},
        target="at most 1.3 x what they take",
        reached=added <= 1.3 * least,
    )
    row.note = (
        f"Measured here: {peak / 1e9:.0f} G operations a second in a matrix product, {speed / 1e9:.1f} GB/s in a "
        "copy. What operations and bytes take is added up, as if neither could hide behind the other."
    )
    yield row


def counted(network: nn.Module, step: Callable[[], Any]) -> tuple[int, int]:
    """Operations of a call forward and backward, and bytes that the network's layers read and write in it.

    A layer reads what goes in and writes what comes out, and as much again on the way back. There a ReLU reads two,
    the gradient and its own result. A residual block sums two and has a ReLU behind it; back, two gradients meet.
    """
    moved = 0  # numbers of four bytes

    def count(module: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal moved
        if isinstance(module, ResidualBlock):
            moved += (3 + 2 + 3 + 3) * output.numel()
        elif isinstance(module, nn.ReLU):
            moved += (2 + 3) * output.numel()
        elif not isinstance(module, nn.Identity) and not list(module.children()):
            moved += 2 * (sum(tensor.numel() for tensor in inputs) + output.numel())

    def concatenated(tensors: Sequence[Tensor], dim: int = 0, cat: Callable[..., Tensor] = torch.cat) -> Tensor:
        nonlocal moved
        result = cat(tensors, dim)
        moved += 2 * 2 * result.numel()
        return result

    hooks = [part.register_forward_hook(count) for part in network.modules()]
    pytorchs = patch.object(layers, "own_way", lambda x: False)  # whose operations are known
    with FlopCounterMode(display=False) as counter, patch.object(torch, "cat", concatenated), pytorchs:
        step()
    for hook in hooks:
        hook.remove()
    return counter.get_total_flops(), 4 * moved


def pretraining_rows(size: Size) -> Iterator[Row]:
    """Seconds of the pretraining that ships, and how good the LR-Net is on lesions of phantoms it never saw."""
    cases = cache_cases(find_cases(sample_folder()), Preprocessing(3.32, (-200.0, 250.0)), ((2,),), progress=False)
    masks = [case.classes == 1 for case in cases if np.any(case.classes)]
    yield pretraining_row(size, CPU, f"the lesions of {len(masks)} phantoms", masks)


def pretraining_row(size: Size, device: torch.device, title: str, masks: Sequence[np.ndarray]) -> Row:
    """Of one pretraining on a device; masks (D, H, W) to judge it on."""
    config = pretrain_config("NI-DM", **({"steps": 12, "validate_every": 6} if size.quick else {}))
    with TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        started = timing.clock()
        fit(pretraining_task(config, random_shapes, held_out_shapes()), config, Path(folder), device)
        seconds = timing.clock() - started
        quality = lrnet_quality(load_lrnet(Path(folder) / "best.safetensors"), masks)
    good = quality.dice >= 0.99 and quality.error <= 0.06
    found = f"Dice {quality.dice:.4f}, error of phi {quality.error:.3f} on {title}"
    return Row(f"LR-Net pretraining, {config.steps} steps: {found}", seconds,
               target="Dice 0.99, error 0.06, within 60 s", reached=good and seconds <= 60)  # fmt: skip
