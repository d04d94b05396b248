"""On a GPU: maps of a batch where it lies, training steps with and without what makes them fast, pretraining.

Nothing is measured without a GPU; ``--quick`` runs the same code at a small size wherever it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from benchmarks.scans import batch_of_masks
from benchmarks.timing import Row, Size, compared, finished, largest_difference, operations_per_second, timed
from benchmarks.training import SameBatch, counted, pretraining_row, step_loss
from lrnet_edu import distance_map
from lrnet_edu.config import preset
from lrnet_edu.data.patches import Batch
from lrnet_edu.gpu_maps import map_by_torch
from lrnet_edu.lrnet_training import held_out_shapes
from lrnet_edu.mnet_training import build_model

BFLOAT16 = "bfloat16 where autocast sees fit"  # the trainer's way, with GPUs that compute in it
CHANNELS_LAST = "channels last"
TRIED_OUT = "convolutions tried out by cuDNN"
COMPILED = "compiled"
OURS = (BFLOAT16,)
WAYS = [
    (),
    OURS,
    (*OURS, CHANNELS_LAST),
    (*OURS, TRIED_OUT),
    (*OURS, CHANNELS_LAST, TRIED_OUT),
    (*OURS, TRIED_OUT, COMPILED),
]


def rows(size: Size) -> Iterator[Row]:
    """Maps, then steps of the preset paper in tandem, then the LR-Net's pretraining."""
    here = "cuda" if torch.cuda.is_available() else "cpu"
    if here == "cpu" and not size.quick:
        return
    for number, *shape in [(2, 16, 32, 32)] if size.quick else [(2, 48, 256, 256), (8, 64, 64, 64)]:
        yield map_row(number, (shape[0], shape[1], shape[2]), here)
    yield from step_rows((16, 32, 32) if size.quick else (48, 256, 256), here)
    masks = held_out_shapes()
    yield pretraining_row(size, torch.device(here), f"{len(masks)} random shapes that it never saw", masks)


def map_row(number: int, shape: tuple[int, int, int], here: str) -> Row:
    """There, against the CPU's way with the transfer to it and back."""
    masks = batch_of_masks(number, shape).to(here)
    row = compared(
        f"NI-DM of a batch, {' x '.join(map(str, masks.shape))}, on {here}",
        lambda: finished(map_by_torch(masks, "NI-DM", (1.0, 1.0, 1.0), 26, "distance")).cpu(),
        {"by the CPU": lambda: finished(distance_map(masks.cpu()).to(here)).cpu()},
        difference=largest_difference,
        tolerance=1e-5,
    )
    row.note = "Labelling included; both results are fetched, to be compared."
    return row


def step_rows(shape: tuple[int, int, int], here: str) -> Iterator[Row]:
    """Voxels a second, share of the peak and memory of each way; what the map takes of the fastest step."""
    alone, tandem = (preset("paper" if here == "cuda" else "cpu", method=method) for method in ("dice", "dice+lrnet"))
    patches = f"2 x {' x '.join(map(str, shape))}"
    batch = SameBatch(shape, 1).batch.to(torch.device(here))
    voxels, seconds = batch.image.numel(), []
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32  # the peak by the convolutions' rounding
    model = build_model(tandem, 1).to(here)
    operations, _ = counted(model, lambda: step_loss(model, batch).backward())
    for way in WAYS if here == "cuda" else WAYS[:-1]:  # compiling needs a C++ compiler
        seconds.append(seconds_of_step(build_model(tandem, 1).to(here), batch, way))
        title = f"a step in tandem, {patches}, {', '.join(way) or 'float32'}"
        yield Row(f"{title}: voxels", voxels / seconds[-1], {"float32": voxels / seconds[0]}, unit="1/s")
        peak = operations_per_second(here, torch.bfloat16 if BFLOAT16 in way else torch.float32)
        yield Row(f"{title}: share of the peak", 100 * operations / seconds[-1] / peak, unit="%")
        if here == "cuda":
            yield Row(f"{title}: memory", torch.cuda.max_memory_allocated() / 2**30, unit="GB")
    both, mnet = seconds[WAYS.index(OURS)], seconds_of_step(build_model(alone, 1).to(here), batch, OURS)
    yield Row(f"a step in tandem, {patches}, {', '.join(OURS)}", both, {"M-Net alone": mnet})
    masks = batch_of_masks(2, shape).to(here)
    map_seconds = timed(lambda: finished(map_by_torch(masks, "NI-DM", (1.0, 1.0, 1.0), 26, "distance")), 10)[1]
    row = Row(f"NI-DM of {patches}, share of the fastest of these steps", 100 * map_seconds / min(seconds), unit="%")
    yield row.limit(5)


def seconds_of_step(model: nn.Module, batch: Batch, way: Sequence[str]) -> float:
    """Median seconds of a step that goes this way."""
    here = batch.image.device.type
    if CHANNELS_LAST in way:
        model.to(memory_format=torch.channels_last_3d)
    torch.backends.cudnn.benchmark = TRIED_OUT in way
    if COMPILED in way:
        for network in model.children():
            network.compile()
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], lr=1e-3)

    def step() -> None:
        with torch.autocast(here, dtype=torch.bfloat16, enabled=BFLOAT16 in way):
            loss = step_loss(model, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        finished(loss)

    if here == "cuda":
        torch.cuda.reset_peak_memory_stats()
    return timed(step, 10)[1]
