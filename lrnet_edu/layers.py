"""Three bricks that PyTorch computes slowly on a CPU, computed otherwise there: the same values in less time.

There the features of a voxel lie side by side in memory (``channels_last_3d``), as convolutions like it best.
PyTorch's instance normalisation and its convolutions of size 1 leave that layout, and half a dozen copies at full
resolution follow each of them; its convolutions of few features use half of the processor. The ones below do neither
(the row "PyTorch's own layers" of ``results/benchmarks.md``). In a network that nobody has laid out (:func:`lay_out`),
on a GPU, under autocast and where PyTorch compiles or traces, they are PyTorch's.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Network = TypeVar("Network", bound=nn.Module)


@torch.inference_mode(False)  # else the weights could not be trained afterwards
def lay_out(network: Network) -> Network:
    """Put a network's weights into the layout that is fastest on its device; their values stay as they are."""
    for weight in network.parameters():
        if weight.ndim == 5:
            weight.data = weight.data.to(memory_format=_fastest_layout(weight))
    return network


def _fastest_layout(weight: Tensor) -> torch.memory_format:
    """Side by side on a CPU. On a GPU instance normalisation would copy it back and forth (PyTorch's issue 59168)."""
    return SIDE_BY_SIDE if weight.device.type == "cpu" else torch.contiguous_format


def laid_out_copy(network: Network) -> Network:
    """A copy with its weights laid out; the network itself if that gains nothing, or if a copy would not do as it does.

    Nothing is gained without a :class:`Conv3d` and where weights are laid out already. Hooks would see the copy's
    parts, and what PyTorch has compiled is not copied.
    """
    parts, weights = list(network.modules()), [weight for weight in network.parameters() if weight.ndim == 5]
    own = any(isinstance(part, Conv3d) for part in parts)
    special = any(part._forward_hooks or part._forward_pre_hooks or part._compiled_call_impl for part in parts)
    if special or not own or all(weight.is_contiguous(memory_format=_fastest_layout(weight)) for weight in weights):
        return network
    try:
        with torch.inference_mode(False):
            return lay_out(copy.deepcopy(network))
    except (RuntimeError, TypeError):  # it holds something that cannot be copied
        return network


def own_way(x: Tensor) -> bool:
    """True for a batch (B, C, D, H, W) on a CPU, unless PyTorch wants its own layers: under autocast, or to trace."""
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return x.device.type == "cpu" and x.ndim == 5 and not traced and not torch.is_autocast_enabled("cpu")


def features_side_by_side(x: Tensor) -> bool:
    """True for a batch whose features, more than one, are its fastest axis in memory, where we go our own way."""
    single_or_double = x.dtype in (torch.float32, torch.float64)
    return own_way(x) and single_or_double and x.is_contiguous(memory_format=SIDE_BY_SIDE) and not x.is_contiguous()


# Numbers in a vector register of this processor.
REGISTER = {"AVX2": 8, "AVX512": 16}.get(torch.backends.cpu.get_cpu_capability(), 1)
SIDE_BY_SIDE = torch.channels_last_3d
ENOUGH = 20_000  # voxels of a batch; with fewer, the calls around a kernel take longer than it saves


class Conv3d(nn.Conv3d):
    """A convolution of size 3 whose result is as large as what went in, or half of it with a stride of 2.

    PyTorch's kernels (oneDNN's) take the output features of one voxel into a vector register. Eight of them leave half
    of a register of sixteen empty. So two neighbours along x are computed as one voxel of twice the features: windows
    of 3 x 3 x 4 move by two. A quarter of the products is then with zeros, and it takes less time all the same (family
    ``limits`` of the benchmarks). And for a batch of one and few features PyTorch takes other, far slower kernels.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel_size=3, stride=stride, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if not own_way(x) or self.stride != (1, 1, 1) or self.weight.stride(1) != 1:  # nobody has laid it out
            return super().forward(x)
        if x.dtype != torch.float32 or not torch.backends.mkldnn.is_available() or not torch.backends.mkldnn.enabled:
            return super().forward(x)
        together = max(_neighbours(channels, x) for channels in self.weight.shape[:2])
        if len(x) > 1 and (together == 1 or x[:, 0].numel() < ENOUGH):
            return super().forward(x)
        return _Convolved.apply(x.contiguous(memory_format=SIDE_BY_SIDE), self.weight, self.bias)


class _Convolved(torch.autograd.Function):
    """The convolution, and its derivative: with respect to x that is one with the weights the other way round."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return _convolved(x, weight, bias).data  # no view, so that a ReLU can change it in place

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _convolved(gradient, weight.flip(2, 3, 4).transpose(0, 1))
        if any(ctx.needs_input_grad[1:]):
            if len(x) == 1:  # which PyTorch's slow kernel would get
                x, gradient = x.expand(2, -1, -1, -1, -1), torch.cat((gradient, torch.zeros_like(gradient)))
            n = _neighbours(len(weight), x)
            windows = _windows(weight, n)
            _, of_windows, of_bias = torch.ops.aten.convolution_backward(
                _regrouped(gradient, n), x, windows, [len(windows)], [1, 1, n], [1] * 3, [1] * 3, False, [0] * 3, 1,
                [False, True, True],
            )  # fmt: skip
            of_weight, of_bias = _places(of_windows, n).sum(0), of_bias.view(n, -1).sum(0)
        return of_x, of_weight, of_bias


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    n = _neighbours(len(weight), x)
    biases = None if bias is None else torch.cat([bias] * n)
    y = torch.mkldnn_convolution(x, _windows(weight, n), biases, [1] * 3, [1, 1, n], [1] * 3, 1)
    return _regrouped(y, 1 / n)  # (B, outputs, D, H, W)


def _neighbours(outputs: int, x: Tensor) -> int:
    """How many neighbours along x are computed together; of a row they leave more than one group."""
    wide = x.shape[-1]  # for one feature, a single group might lie either way in memory, and oneDNN takes the wrong one
    return next((n for n in (4, 2) if n * outputs <= REGISTER and wide % n == 0 and wide > n), 1)


def _windows(weight: Tensor, n: int) -> Tensor:
    """(outputs, C, 3, 3, 3) -> (n * outputs, C, 3, 3, 2 + n): the weights at n places, next to each other."""
    if n == 1:
        return weight
    shape = (n * len(weight), *weight.shape[1:4], 2 + n)
    windows = torch.empty(shape, dtype=weight.dtype, device=weight.device, memory_format=SIDE_BY_SIDE).zero_()
    _places(windows, n).copy_(weight)
    return windows


def _places(windows: Tensor, n: int) -> Tensor:
    """The weights in the windows, (n, outputs, C, 3, 3, 3), the same memory: at the next place one voxel later."""
    outputs = len(windows) // n
    first, *strides = windows.stride()
    shape = (n, outputs, *windows.shape[1:4], 3)
    return windows.as_strided(shape, (outputs * first + strides[-1], first, *strides))


def _regrouped(x: Tensor, n: float) -> Tensor:
    """(B, C, D, H, W) -> (B, n * C, D, H, W / n), n neighbours as one voxel: the same memory, features side by side."""
    b, c, d, h, w = x.shape
    return x.movedim(1, -1).reshape(b, d, h, round(w / n), round(n * c)).movedim(-1, 1)


class PointwiseConv3d(nn.Conv3d):
    """A convolution of size 1: one matrix for the features of every voxel."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        return _Mixed.apply(x, self.weight, self.bias) if features_side_by_side(x) else super().forward(x)


class _Mixed(torch.autograd.Function):
    """The product with that matrix, and its derivative."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        mixed = _batch(_voxels(x) @ weight.flatten(1).T, x)
        _rows(mixed).add_(bias.repeat(x.shape[-1]))  # within the product, or in short rows, it would be slower
        return mixed.data  # no view, so that a ReLU can change it in place

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        g = _voxels(gradient)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _batch(g @ weight.flatten(1), x)
        if any(ctx.needs_input_grad[1:]):
            of_weight, of_bias = (g.T @ _voxels(x)).view_as(weight), g.sum(0)
        return of_x, of_weight, of_bias


def _voxels(x: Tensor) -> Tensor:
    """(B, C, D, H, W) -> (B * D * H * W, C), without a copy where features lie side by side."""
    return x.movedim(1, -1).flatten(0, -2)


def _batch(voxels: Tensor, like: Tensor) -> Tensor:
    b, _, d, h, w = like.shape
    return voxels.view(b, d, h, w, -1).movedim(-1, 1)  # (B, C, D, H, W)


class InstanceNorm(nn.InstanceNorm3d):
    """Mean 0 and deviation 1 of every feature of every sample, without weights."""

    def __init__(self, features: int) -> None:
        super().__init__(features)

    def forward(self, x: Tensor) -> Tensor:
        if features_side_by_side(x):
            return _Normalised.apply(x, self.eps)[0]
        y = super().forward(x)
        if len(x) == 1 and own_way(x) and y.requires_grad:
            # PyTorch's derivative for a batch of one is wrong where features of the gradient lie side by side.
            y.register_hook(lambda gradient: gradient.contiguous())
        return y


class _Normalised(torch.autograd.Function):
    """y = (x - mean) r with r = 1 / sqrt(var + eps), and its derivative, in as few passes as there can be.

    With g the gradient of y and means over the voxels of one feature of one sample, that of x is
    r (g - mean(g)) - r^3 (x - mean(x)) mean(g (x - mean(x))). Beside y it returns x - mean and r, which the
    derivative needs; a second derivative is refused.
    """

    @staticmethod
    def forward(x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        rows = _rows(x)
        centred = rows - _spread(_mean(rows, x), x)
        r = torch.rsqrt(_mean(centred * centred, x) + eps)  # (B, C)
        result = torch.empty_like(x)
        torch.mul(centred, _spread(r, x), out=_rows(result))
        return result, centred, r

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*output[1:])
        ctx.set_materialize_grads(False)  # or zeros are made for x - mean and r

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor | None, *_: None) -> tuple[Tensor | None, None]:
        if gradient is None:
            return None, None
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
