"""On a GPU: training steps with and without what makes them fast, and the LR-Net's pretraining.

Nothing is measured without a GPU; ``--quick`` runs the same code at a small size wherever it is.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from benchmarks.timing import Row, timed
from benchmarks.training import SameBatch, pretraining_row
from lrnet_edu.config import Config, preset
from lrnet_edu.methods import METHODS

BFLOAT16 = "bfloat16 where autocast sees fit"  # the trainer's way, with GPUs that compute in it
CHANNELS_LAST = "channels last"  # the trainer's way everywhere
TRIED_OUT = "convolutions tried out by cuDNN"
COMPILED = "compiled"
OURS = (BFLOAT16, CHANNELS_LAST)
WAYS: tuple[tuple[str, ...], ...] = ((), (BFLOAT16,), OURS, (*OURS, TRIED_OUT), (*OURS, TRIED_OUT, COMPILED))


def rows(quick: bool) -> Iterator[Row]:
    """Steps of the preset paper in tandem, then the LR-Net's pretraining."""
    here = "cuda" if torch.cuda.is_available() else "cpu"
    if here == "cpu" and not quick:
        return
    shape = (16, 32, 32) if quick else (48, 256, 256)
    tandem = preset("cpu" if quick else "paper", method="dice+lrnet")
    batch, title = SameBatch(shape, 1), f"2 x {' x '.join(map(str, shape))}"
    voxels, plain = batch.batch.image.numel(), 0.0
    for way in WAYS if here == "cuda" else WAYS[:-1]:  # compiling needs a C++ compiler
        seconds = seconds_of_step(tandem, batch, here, way)
        plain = plain or seconds
        words = f"a step in tandem, {title}, {', '.join(way) or 'float32'}"
        yield Row(f"{words}: voxels", voxels / seconds, {"float32": voxels / plain}, unit="1/s")
        if here == "cuda":
            yield Row(f"{words}: memory", torch.cuda.max_memory_allocated() / 2**30, unit="GiB")
    yield pretraining_row(quick, here)


def seconds_of_step(config: Config, batches: SameBatch, here: str, way: Sequence[str]) -> float:
    """Median seconds of a step that goes this way."""
    model: nn.Module = METHODS[config.method].model(config, 2).to(here)
    if CHANNELS_LAST in way:
        model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    torch.backends.cudnn.benchmark = TRIED_OUT in way
    if COMPILED in way:
        for network in model.children():
            network.compile()
    loss, batch = METHODS[config.method].loss(config, model), batches[0].to(torch.device(here))
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], lr=1e-3)

    def step() -> None:
        with torch.autocast(here, dtype=torch.bfloat16, enabled=BFLOAT16 in way):
            value = loss(batch)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()

    if COMPILED in way:
        step()  # compiling takes a minute, and is no part of a step
    if here == "cuda":
        torch.cuda.reset_peak_memory_stats()
    return timed(step, 10)[1]
