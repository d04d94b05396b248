"""Sliding-window prediction of a whole volume: the same network, the same windows, by three libraries."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from benchmarks.timing import Call, Row, compared, in_turns, installed, largest_difference
from lrnet_edu import MNet
from lrnet_edu.inference import BATCH, _bell, predict_probabilities
from lrnet_edu.support.devices import channels_last

OVERLAP = 0.5
Shape = tuple[int, int, int]


def with_monai(network: nn.Module, image: np.ndarray, window: Shape) -> np.ndarray:
    """MONAI, given our weights of a window's voxels."""
    from monai.inferers import sliding_window_inference

    with torch.inference_mode():
        return sliding_window_inference(
            torch.from_numpy(image)[None, None], window, BATCH,
            lambda patches: torch.softmax(network(patches), dim=1), overlap=OVERLAP,
            roi_weight_map=_bell(window)[None, None],
        )[0].numpy()  # fmt: skip


def with_torchio(network: nn.Module, image: np.ndarray, window: Shape) -> np.ndarray:
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


def rows(quick: bool) -> Iterator[Row]:
    """A volume of two windows along each axis, beside the peers; the network's layout helps all of them alike."""
    torch.manual_seed(0)
    window = (16, 32, 32) if quick else (32, 64, 64)
    image = np.random.default_rng(0).normal(size=[2 * n for n in window]).astype(np.float32)
    network = channels_last(MNet(features=(8, 16, 32, 64), blocks=(1, 1, 1))).eval()
    work = f"prediction, {' x '.join(map(str, image.shape[::-1]))}, 27 windows"

    def ours() -> np.ndarray:
        return predict_probabilities(network, image, patch_size=window, overlap=OVERLAP)

    peers: dict[str, tuple[str, float, Call | None]] = {
        "MONAI": ("", 1e-4, (lambda: with_monai(network, image, window)) if installed("monai") else None),
        "TorchIO": (", TorchIO's weights", 0.05, lambda: with_torchio(network, image, window)),
    }
    for name, (words, tolerance, call) in peers.items():
        row = compared(work + words, ours, {name: call}, difference=largest_difference, tolerance=tolerance, repeats=1)
        if call:
            seconds = in_turns({"": ours, name: call})
            row.ours, row.peers[name] = seconds[""], seconds[name]
        if words:
            row.note = "Its weights sink further towards a window's edge than ours, so the results differ a little."
        yield row.aim({name: 0.97})
