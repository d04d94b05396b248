"""Where the time goes: the dearest calls of each piece of work, in shares of its processor time.

OMP_NUM_THREADS=1 python -m benchmarks.profiles
"""

from __future__ import annotations

import cProfile
import pstats
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.data import WINDOW, our_patches, preprocess, scan
from benchmarks.scans import SCAN, lesions
from benchmarks.training import PATCHES, SameBatch, plain_loop, step_loss
from lrnet_edu import MNet, distance_map, find_cases
from lrnet_edu.config import preset
from lrnet_edu.data.cache import cache_cases
from lrnet_edu.data.preprocessing import Preprocessing
from lrnet_edu.data.samples import sample_folder
from lrnet_edu.inference import predict_probabilities
from lrnet_edu.mnet_training import build_model

SHOWN = 8


def show(title: str, seconds: dict[str, float]) -> None:
    whole = sum(seconds.values())
    print(f"\n{title}: {whole:.2f} s of the processor")
    for name, part in sorted(seconds.items(), key=lambda item: -item[1])[:SHOWN]:
        print(f"  {part / whole:5.1%}  {name}")


def calls(title: str, work: Callable[[], Any]) -> None:
    """Python's and the libraries' functions by their own time."""
    work()
    profile = cProfile.Profile(time.process_time)
    profile.runcall(work)
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    show(title, {f"{Path(file).name} {name}": own for (file, _, name), (_, _, own, _, _) in stats.items()})


class Operations(TorchDispatchMode):
    """Seconds of every operation of PyTorch, forward and backward; convolutions by the size of their kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        started = time.thread_time()
        result = function(*args, **(kwargs or {}))
        name = str(function)
        kernels = [a for a in args if isinstance(a, Tensor) and a.ndim == 5][-1:] if "convolution" in name else []
        self.seconds[" ".join([name, *(f"of size {kernel.shape[-1]}" for kernel in kernels)])] += (
            time.thread_time() - started
        )
        return result


def main() -> None:
    """Maps, preprocessing, patches, prediction, training."""
    mask = lesions(SCAN, 30)
    for kind in ("NI-DM", "SNI-DM"):
        calls(f"{kind} of a scan", lambda kind=kind: distance_map(mask, kind))
    image, labels = scan((128, 512, 512))
    calls("preprocessing", lambda: preprocess(image, labels, 1.5))
    with TemporaryDirectory() as folder:
        cases = cache_cases(find_cases(sample_folder())[:6], Preprocessing(3.0, WINDOW), ((2,),), folder=Path(folder))
        calls("patches", lambda: our_patches(cases, (16, 32, 32), 128, ["NI-DM"]))
    network, volume = MNet(features=(8, 16, 32, 64), blocks=(1, 1, 1)).eval(), np.zeros((64, 128, 128), np.float32)
    calls("prediction", lambda: predict_probabilities(network, volume, window=(32, 64, 64)))
    for method in ("dice", "dice+lrnet"):
        model = build_model(preset("cpu", method=method), 1)
        with Operations() as operations:
            plain_loop(model, SameBatch(PATCHES["cpu"], 5), step_loss)
        show(f"five training steps, {method}", operations.seconds)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
