"""A shipped LR-Net as an ONNX file, checked with its runtime: python examples/lrnet_onnx.py NI-DM lrnet.onnx [2]"""

import sys
from pathlib import Path

import onnxruntime
import torch
from torch.export import Dim

from lrnet_edu import load_pretrained_lrnet


def export(kind: str, path: Path, spatial_dims: int = 3) -> float:
    """Write the file; return how far the runtime's maps are from PyTorch's, on a batch of another size.

    The file's input "probabilities" is (B, 2, D, H, W), background and object, float32, D, H and W even; its output
    "map" is (B, 1, D, H, W). For slices leave out D.
    """
    lrnet = load_pretrained_lrnet(kind, spatial_dims=spatial_dims).eval()
    sizes = {2 + axis: 2 * Dim(f"half_{name}", min=2) for axis, name in enumerate("dhw"[-spatial_dims:])}
    program = torch.onnx.export(
        lrnet, (pairs(2, *[16] * spatial_dims),), dynamo=True, verbose=False,
        input_names=["probabilities"], output_names=["map"], dynamic_shapes=({0: Dim("batch"), **sizes},),
    )  # fmt: skip
    program.save(path)
    other = pairs(3, *(12, 20, 8)[:spatial_dims])
    (found,) = onnxruntime.InferenceSession(path).run(None, {"probabilities": other.numpy()})
    return float((torch.from_numpy(found) - lrnet(other)).detach().abs().max())


def pairs(batch: int, *size: int) -> torch.Tensor:
    """Random probabilities of background and object: (B, 2, ...)."""
    p = torch.rand(batch, 1, *size, generator=torch.Generator().manual_seed(0))
    return torch.cat((1 - p, p), dim=1)


if __name__ == "__main__":
    error = export(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
    print(f"{sys.argv[2]}: {Path(sys.argv[2]).stat().st_size / 1000:.0f} kB, at most {error:.1e} from PyTorch's maps.")
