"""How far the work stands from what the machine allows: its bytes at the memory's speed, its operations at the peak.

No algorithm can read fewer bytes than its input has and write fewer than its result holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.data import WINDOW, scan
from benchmarks.inference import network_and_volume
from benchmarks.scans import SCAN, SPACING, lesions, liver, predicted
from benchmarks.timing import Row, Size, bytes_per_second, operations_per_second, timed
from benchmarks.training import PATCHES, SameBatch, counted, plain_loop, step_loss
from lrnet_edu import case_scores, distance_map
from lrnet_edu import layers as bricks
from lrnet_edu.config import preset
from lrnet_edu.data.preprocessing import Preprocessing, prepare
from lrnet_edu.inference import predict_probabilities
from lrnet_edu.layers import Conv3d, lay_out
from lrnet_edu.mnet_training import build_model


def rows(size: Size) -> Iterator[Row]:
    """Maps, criteria, preprocessing, prediction, a training step."""
    speed, peak = bytes_per_second(), operations_per_second()
    note = (
        f"Measured here: {speed / 1e9:.1f} GB/s in a copy, {peak / 1e9:.0f} G operations a second in a matrix product."
    )

    def row(work: str, call: Callable[[], Any], moved: float, operations: float = 0) -> Row:
        needs = [f"{moved / 1e6:.0f} MB"] + [f"{operations / 1e9:.1f} G operations"] * (operations > 0)
        least = moved / speed + operations / peak
        return Row(f"{work}: {', '.join(needs)}", timed(call, 3)[1], {"the machine's limit": least}, note=note)

    shape = (32, 96, 96) if size.quick else SCAN
    name = " x ".join(map(str, shape[::-1]))
    masks = {"30 lesions": lesions(shape, 30), "a whole liver": liver(shape)}
    for content, mask in masks.items():
        written = 4 * np.count_nonzero(mask)  # zeros that nobody writes cost nothing
        yield row(f"NI-DM, {name}, {content}", lambda mask=mask: distance_map(mask), mask.nbytes + written)
    mask = masks["30 lesions"]
    yield row(f"SNI-DM, {name}, 30 lesions", lambda: distance_map(mask, "SNI-DM"), mask.nbytes + 4 * mask.size)
    for content, mask in masks.items():
        p = predicted(mask)
        yield row(f"seven criteria, {name}, {content}", lambda p=p, r=mask: case_scores(p, r, SPACING), 2 * mask.nbytes)

    image, labels = scan((16, 64, 64) if size.quick else (128, 512, 512))
    settings = Preprocessing(3.0 if size.quick else 1.5, WINDOW)
    moved = image.data.nbytes + labels.data.nbytes + 5 * prepare(image, settings).image.size  # float32 and uint8
    yield row("preprocessing of a scan", lambda: prepare(image, settings, labels, ((1,),)), moved)

    network, window, volume = network_and_volume(size)
    pytorchs = patch.object(bricks, "own_way", lambda x: False)  # whose operations are known
    with FlopCounterMode(display=False) as counter, pytorchs:
        network(torch.zeros(2, 1, *window))  # two of the 27 windows
    operations = 27 / 2 * counter.get_total_flops()
    yield row("prediction, 27 windows", lambda: predict_probabilities(network, volume, window=window),
              3 * volume.nbytes, operations)  # fmt: skip

    patches = (16, 16, 16) if size.quick else PATCHES["cpu"]
    layers = {"8 features, PyTorch's": nn.Conv3d(8, 8, 3, padding=1), "8 features, ours": Conv3d(8, 8),
              "32 features, PyTorch's and ours": nn.Conv3d(32, 32, 3, padding=1)}  # fmt: skip
    for name, layer in layers.items():
        lay_out(layer).requires_grad_(False)
        features = layer.in_channels
        x = torch.rand(2, features, *patches).contiguous(memory_format=torch.channels_last_3d)  # (B, C, D, H, W)
        operations = 2 * 27 * features * x.numel()
        yield row(f"a convolution of size 3, 2 x {' x '.join(map(str, patches))}, {name}",
                  lambda layer=layer, x=x: layer(x), 2 * x.nbytes, operations)  # fmt: skip
    batches = SameBatch(patches, 1)
    for method in ("dice", "dice+lrnet"):
        model = build_model(preset("cpu", method=method), 1)
        operations, moved = counted(model, lambda model=model: step_loss(model, batches.batch).backward())
        yield row(f"a training step, preset cpu, {method}",
                  lambda model=model: plain_loop(model, batches, step_loss), moved, operations)  # fmt: skip
