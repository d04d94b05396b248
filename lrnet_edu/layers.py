"""Two bricks that PyTorch computes slowly on a CPU, computed otherwise there: the same values in less time.

In training the features of a voxel lie side by side in memory (``channels_last_3d``), as convolutions like it best.
PyTorch's instance normalisation and its convolutions of size 1 leave that layout, and half a dozen copies at full
resolution follow each of them. The ones below stay in it, which saves about a sixth of a step (the row "PyTorch's own
layers" of ``results/benchmarks.md``). In any other layout, and on a GPU, they are PyTorch's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@torch.inference_mode(False)  # else the weights could not be trained afterwards
def lay_out(network: nn.Module) -> nn.Module:
    """Put a network's weights into the layout that is fastest on its device; their values stay as they are."""
    for weight in network.parameters():
        if weight.ndim == 5 and weight.device.type != "mps":  # which knows only the usual layout
            weight.data = weight.data.to(memory_format=torch.channels_last_3d)
    return network


def features_side_by_side(x: Tensor) -> bool:
    """True for a batch (B, C, D, H, W) on a CPU whose features, more than one, are its fastest axis in memory."""
    on_cpu = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    return on_cpu and x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous()


class PointwiseConv3d(nn.Conv3d):
    """A convolution of size 1: one matrix for the features of every voxel."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        if not features_side_by_side(x):
            return super().forward(x)
        return F.linear(x.movedim(1, -1), self.weight.flatten(1), self.bias).movedim(-1, 1)  # (B, outputs, D, H, W)


class InstanceNorm(nn.InstanceNorm3d):
    """Mean 0 and deviation 1 of every feature of every sample."""

    def forward(self, x: Tensor) -> Tensor:
        return _Normalised.apply(x, self.eps) if features_side_by_side(x) else super().forward(x)


class _Normalised(torch.autograd.Function):
    """y = (x - mean) r with r = 1 / sqrt(var + eps), and its derivative, in as few passes as there can be.

    With g the gradient of y and means over the voxels of one feature of one sample, that of x is
    r (g - mean(g)) - r^3 (x - mean(x)) mean(g (x - mean(x))).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        rows = _rows(x)
        centred = rows - _spread(_mean(rows, x), x)
        r = torch.rsqrt(_mean(centred * centred, x) + eps)  # (B, C)
        ctx.save_for_backward(centred, r)
        result = torch.empty_like(x)
        torch.mul(centred, _spread(r, x), out=_rows(result))
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        centred, r = ctx.saved_tensors
        g, like = _rows(gradient), gradient
        slope = _mean(g * centred, like)  # (B, C)
        result = torch.addcmul(_spread(-r * _mean(g, like), like), g, _spread(r, like))
        result.addcmul_(centred, _spread(-(r**3) * slope, like))
        b, c, d, h, w = like.shape
        return result.view(b, d, h, w, c).movedim(-1, 1), None  # (B, C, D, H, W)


def _rows(x: Tensor) -> Tensor:
    """(B, C, D, H, W) -> (B, D * H, W * C), without a copy where features lie side by side: long rows are fast."""
    b, c, d, h, w = x.shape
    return x.movedim(1, -1).reshape(b, d * h, w * c)


def _mean(rows: Tensor, like: Tensor) -> Tensor:
    b, c, _, _, w = like.shape
    return rows.mean(1).view(b, w, c).mean(1)  # (B, C)


def _spread(values: Tensor, like: Tensor) -> Tensor:
    b, c, _, _, w = like.shape
    return values[:, None].expand(b, w, c).reshape(b, 1, w * c)
