"""Sliding-window prediction of a whole volume: the same network, the same windows, by three libraries."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

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
    """An M-Net, its window, and a volume of two windows along each axis."""
    torch.manual_seed(0)
    window = (16, 32, 32) if size.quick else (32, 64, 64)
    image = np.random.default_rng(0).normal(size=[2 * n for n in window]).astype(np.float32)
    return MNet(features=(8, 16, 32, 64), blocks=(1, 1, 1)).eval(), window, image


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
    """By a process of its own, whose memory other work left no holes in; nothing where the system does not tell."""
    with multiprocessing.get_context("spawn").Pool(1) as process:
        memory = process.apply(memory_by_windows, (size, torch.get_num_threads()))
    if not memory:
        return
    ours, passes = memory["prediction"], memory["passes alone"]
    row = Row("prediction, peak memory with 125 windows over that with 8", ours[125] / ours[8], unit="times")
    row.note = (
        f"Beyond the volume and its probabilities, the least of ten calls: {megabytes(ours)} with "
        f"{', '.join(map(str, ours))} windows. The same passes of the network with nothing added up need "
        f"{megabytes(passes)}, {passes[125] / passes[8]:.2f} times: the C library's memory has holes."
    )
    yield row.limit(1.1)


def megabytes(memory: dict[int, float]) -> str:
    return ", ".join(f"{peak / 2**20:.0f} MB" for peak in memory.values())


def memory_by_windows(size: Size, threads: int) -> dict[str, dict[int, float]]:
    """Of a prediction, and of its forward passes alone: windows -> bytes at the peak."""
    torch.set_num_threads(threads)
    network, window, image = network_and_volume(size)

    def passes_alone(windows: int) -> None:
        with torch.inference_mode():
            for _ in range(-(-windows // BATCH)):
                network(torch.zeros(BATCH, 1, *window))

    found: dict[str, dict[int, float]] = {}
    for _ in range(10):
        for windows, overlap in {8: 0.0, 27: 0.5, 125: 0.75}.items():
            calls = {
                "prediction": partial(run, network, image, window, overlap),
                "passes alone": partial(passes_alone, windows),
            }
            for name, call in calls.items():
                if (peak := peak_memory(call)) is not None:
                    least = found.setdefault(name, {})
                    least[windows] = min(peak, least.get(windows, np.inf))
    return found


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
