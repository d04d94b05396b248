"""What a training step of the full-size networks costs: operations, bytes kept for the way back, weights.

    python -m benchmarks.full_scale

Counted on PyTorch's meta device, which runs every operation on shapes alone: no memory, no time, no GPU. The numbers
go into ``results/full_scale.md``, and ``docs/full_scale.md`` reckons with them.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lrnet_edu.config import PRESETS, Config
from lrnet_edu.methods import METHODS
from lrnet_edu.networks import LRNet, regress_maps

PAGE = Path(__file__).resolve().parents[1] / "results" / "full_scale.md"


def step(mnet: nn.Module, lrnet: nn.Module | None, shape: tuple[int, ...]) -> tuple[int, int]:
    """Operations of one forward and backward pass, and bytes of the tensors kept between them (float32)."""
    kept: dict[int, Tensor] = {}  # by storage; the tensors stay alive, or an address could be used twice

    def note(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with FlopCounterMode(display=False) as counter, hooks:
        output = torch.softmax(mnet(torch.empty(shape, device="meta")), dim=1)
        if lrnet is not None:
            output = regress_maps(lrnet, output)
        output.sum().backward()
    return counter.get_total_flops(), sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def main() -> None:
    """Write the page: one line for each preset, without and with the LR-Net."""
    lines = [
        "# One training step, counted",
        "",
        f"By `python -m benchmarks.full_scale`, torch {torch.__version__}, on shapes alone. A multiplication and an "
        "addition are two operations; kept is what the forward pass leaves for the way back, in float32.",
        "",
        "| preset | network | patches (voxels) | M-Net's weights | operations | kept |",
        "|---|---|---|---|---|---|",
    ]
    for name, settings in PRESETS.items():
        config = Config(**settings)
        with torch.device("meta"):
            mnet, lrnet = METHODS["dice"].mnet(config, 2), LRNet().requires_grad_(False)
        weights = sum(weight.numel() for weight in mnet.parameters())
        size = " x ".join(str(number) for number in (config.batch_size, *config.patch_size))
        for title, network in (("M-Net", None), ("tandem", lrnet)):
            operations, kept = step(mnet, network, (config.batch_size, 1, *config.patch_size))
            lines.append(
                f"| {name} | {title} | {size} | {weights:,} | {operations / 1e9:.0f} G | {kept / 1e9:.2f} GB |"
            )
    PAGE.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
