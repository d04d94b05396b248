"""A shipped LR-Net in plain PyTorch, without lrnet_edu: python examples/lrnet_alone.py lrnet_ni-dm_relu.safetensors"""

import sys

import torch
from safetensors.torch import load_file
from torch.nn.functional import conv3d, conv_transpose3d, pad, relu


def lrnet(w, p, output=relu):
    """Weights by name and probabilities (B, 2, D, H, W), background and object -> map (B, 1, D, H, W); even D, H, W."""
    c = lambda x, n, **more: conv3d(x, w[f"lrnet.{n}.weight"], w[f"lrnet.{n}.bias"], **more)  # noqa: E731

    def blocks(x, name):
        for i in (0, 1):
            y = c(relu(c(x, f"{name}.{i}.body.0", padding=1)), f"{name}.{i}.body.3", padding=1)
            x = relu(x + y)
        return x

    x = relu(c(relu(c(p, "stem.0.0", padding=1)), "stem.1.0", padding=1))  # (B, 4, D, H, W)
    y = blocks(relu(c(x, "down.0.0", padding=1, stride=2)), "down.1")  # (B, 8, D/2, H/2, W/2)
    y = conv_transpose3d(y, w["lrnet.up.weight"], w["lrnet.up.bias"], stride=2)
    return output(c(relu(c(blocks(torch.cat((x, y), 1), "merge"), "head.0.0")), "head.1"))


if __name__ == "__main__":
    ball = pad(torch.ones(1, 1, 6, 6, 6), [5] * 6)
    phi = lrnet(load_file(sys.argv[1]), torch.cat((1 - ball, ball), 1))
    print("the map along a line through a cube of 6:", phi[0, 0, 7, 7].detach().numpy().round(2))
