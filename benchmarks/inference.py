"""Sliding-window prediction of a whole volume: the same network, the same windows, by three libraries."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn

from benchmarks.timing import (
    Row,
    Size,
    compared,
    exponent,
    installed,
    largest_difference,
    peak_memory,
    timed,
    timed_in_turns,
)
from lrnet_edu import MNet
from lrnet_edu.inference import BATCH, _bell, predict_probabilities
from lrnet_edu.layers import lay_out

OVERLAP = 0.5


def with_monai(network: nn.Module, image: np.ndarray, window: tuple[int, int, int]) -> np.ndarray:
    """MONAI, given our weights of a window's voxels."""
    from monai.inferers import sliding_window_inference

    with torch.inference_mode():
        volume = torch.from_numpy(image)[None, None]
        return sliding_window_inference(
            volume, window, BATCH, lambda patches: torch.softmax(network(patches), dim=1), overlap=OVERLAP,
            roi_weight_map=_bell(window)[None, None],
        )[0].numpy()  # fmt: skip


def with_torchio(network: nn.Module, image: np.ndarray, window: tuple[int, int, int]) -> np.ndarray:
    """TorchIO, with its own bell."""
    import torchio as tio

    subject = tio.Subject(image=tio.ScalarImage(tensor=torch.from_numpy(image)[None]))
    sampler = tio.GridSampler(subject, window, tuple(int(size * OVERLAP) for size in window))
    aggregator = tio.GridAggregator(sampler, overlap_mode="hann")
    with torch.inference_mode():
        for batch in tio.SubjectsLoader(sampler, batch_size=BATCH):
            patches = batch["image"][tio.DATA]
            aggregator.add_batch(torch.softmax(network(patches), dim=1), batch[tio.LOCATION])
    return aggregator.get_output_tensor().numpy()


def network_and_volume(size: Size) -> tuple[nn.Module, tuple[int, int, int], np.ndarray]:
    """An M-Net, laid out, which helps all libraries alike; its window, and a volume of two windows along each axis."""
    torch.manual_seed(0)
    window = (16, 32, 32) if size.quick else (32, 64, 64)
    image = np.random.default_rng(0).normal(size=[2 * n for n in window]).astype(np.float32)
    return lay_out(MNet(features=(8, 16, 32, 64), blocks=(1, 1, 1))).eval(), window, image


def rows(size: Size) -> Iterator[Row]:
    """Time beside the peers, memory, growth."""
    network, window, image = network_and_volume(size)
    voxels = " x ".join(map(str, image.shape[::-1]))

    def ours() -> np.ndarray:
        return run(network, image, window)

    peers: dict[str, Callable[[], Any] | None] = {
        "MONAI": (lambda: with_monai(network, image, window)) if installed("monai") else None
    }
    row = compared(f"prediction, {voxels}, 27 windows", ours, peers,
                   difference=largest_difference, tolerance=1e-5, repeats=1)  # fmt: skip
    yield timed_in_turns(row, ours, peers).aim({"MONAI": 0.97})
    peers = {"TorchIO": lambda: with_torchio(network, image, window)}
    row = compared(f"prediction, {voxels}, 27 windows, TorchIO's weights", ours, peers,
                   difference=largest_difference, tolerance=0.05, repeats=1)  # fmt: skip
    row = timed_in_turns(row, ours, peers).aim({"TorchIO": 0.97})
    row.note = "TorchIO's weights sink further towards a window's edge than ours, so the results differ a little."
    yield row

    yield from memory_row(size)
    yield growth_row(network, (2, 3, 4, 5) if size.quick else (8, 16, 24, 32))


def memory_row(size: Size) -> Iterator[Row]:
    """Memory in use, and what the C library holds for it; nothing where the system does not tell."""
    in_use = memory_by_windows(size, MALLOC_MMAP_THRESHOLD_=str(2**17))  # a block goes back once it is free
    held = memory_by_windows(size)
    if not in_use:
        return
    one_pass = in_use.pop(0)
    row = Row("prediction, peak memory in use with 125 windows over that with 8", in_use[125] / in_use[8], unit="times")
    row.note = (
        f"Beyond the volume and its probabilities: {megabytes(in_use)} with {', '.join(map(str, in_use))} windows, "
        f"{one_pass / 2**20:.0f} MB for one pass of the network alone, measured with MALLOC_MMAP_THRESHOLD_, so that "
        f"every larger block goes back to the system once it is free. As predictions run, allocator.py keeps blocks "
        f"for the next pass, with holes between them, and the process holds {megabytes(held, *in_use)}."
    )
    yield row.limit(1.1)


def megabytes(memory: dict[int, float], *windows: int) -> str:
    return ", ".join(f"{memory[number] / 2**20:.0f} MB" for number in windows or memory)


def memory_by_windows(size: Size, **environment: str) -> dict[int, float]:
    """Windows -> bytes at the peak; 0 is one pass alone. By a process of its own, in whose memory nothing else was."""
    with (
        mock.patch.dict(os.environ, environment),
        multiprocessing.get_context("spawn").Pool(1) as process,
    ):
        return process.apply(_memory_by_windows, (size, torch.get_num_threads()))


def _memory_by_windows(size: Size, threads: int) -> dict[int, float]:
    torch.set_num_threads(threads)
    network, window, image = network_and_volume(size)

    def one_pass() -> None:
        with torch.inference_mode():
            network(torch.zeros(BATCH, 1, *window))

    overlaps = {8: 0.0, 27: 0.5, 125: 0.75}
    calls = {windows: partial(run, network, image, window, overlap) for windows, overlap in overlaps.items()}
    peaks = {windows: peak_memory(call) for windows, call in calls.items()} | {0: peak_memory(one_pass)}
    return {windows: peak for windows, peak in peaks.items() if peak is not None}


def growth_row(network: nn.Module, heights: Sequence[int]) -> Row:
    """Volumes of 2 x 2 small windows and so many on top of each other; half of each is covered again."""
    window = (16, 32, 32)
    rng = np.random.default_rng(0)
    columns = [rng.normal(size=(n * window[0], 2 * window[1], 2 * window[2])).astype(np.float32) for n in heights]
    seconds = [timed(lambda image=image: run(network, image, window), 1)[1] for image in columns]
    row = Row(f"prediction, growth with the voxels ({', '.join(map(str, heights))} windows high)",
              exponent([image.size for image in columns], seconds), unit="exponent")  # fmt: skip
    row.note = f"{heights[0]} windows, half overlapping, are {2 * heights[0] - 1} passes: a little less than twice."
    return row.limit(1.1)


def run(network: nn.Module, image: np.ndarray, window: tuple[int, int, int], overlap: float = OVERLAP) -> np.ndarray:
    return predict_probabilities(network, image, window=window, overlap=overlap)
