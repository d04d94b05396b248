"""The two regression rivals of Table 2: networks that see the image, not a mask, and regress distances.

*Multi-branch* (Dangi et al. 2019): a second decoder regresses the map beside the segmentation and is dropped at test
time. *Cascaded* (Audebert et al. 2019): the network regresses the map first, and the classes come from it. Both are
built around this package's M-Net, with the same widths and initial weights as every other row.

Both regress one map, not one of section 2.1's: the signed Euclidean distance to the border of EVERY class, the
background too, positive inside, clipped at ``CLIP`` voxels and scaled to [-1, 1].
"""

from itertools import pairwise
from typing import Any

import edt
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrnet_edu.losses import DiceLoss
from lrnet_edu.networks import MNet, convolution, crop_to, kaiming_uniform, residual_blocks

SIGNED_DISTANCES = "signed distances"  # the rivals' map in a batch, beside the four kinds of section 2.1
CLIP = 10.0  # voxels; farther from a border the map is constant. The originals' values, in pixels, are no guide
MAP_WEIGHT = 1.0  # lambda of the cascaded rival
SIGMA_RATE = 10.0  # log sigma learns so many times as fast as the weights, or it would not arrive where it belongs


def signed_distances(classes: np.ndarray, number: int) -> np.ndarray:
    """The rivals' map of every class 0 .. ``number`` of a batch: (B, D, H, W) -> (B, number + 1, D, H, W) float32.

    D(x) inside the class, -D(x) outside, D being the distance in voxels to the other side, clipped at CLIP and divided
    by it. An absent class is -1 everywhere, one that fills the patch 1.
    """
    maps = np.empty((len(classes), number + 1, *classes.shape[1:]), np.float32)
    for one, out in zip(classes, maps, strict=True):
        for c in range(number + 1):
            inside = (one == c).astype(np.uint8)  # as bool it would take twice as long
            signed = edt.edt(inside, black_border=False) - edt.edt(1 - inside, black_border=False)
            out[c] = np.clip(signed / CLIP, -1, 1)  # infinite where one side is empty
    return maps


class MultiBranch(nn.Module):
    """Multi-branch regression (Dangi et al. 2019): image -> (logits, maps), (B, classes, D, H, W) both.

    The branch is a decoder of the M-Net's shape that starts from the bottleneck alone: without skip connections,
    everything it knows about distances must be in the features that both decoders share. It is used in training
    only; what is kept is ``mnet``, the M-Net that is trained with it.
    """

    def __init__(self, mnet: MNet) -> None:
        super().__init__()
        features, blocks = mnet.settings["features"], mnet.settings["blocks"]
        levels = reversed(list(zip(pairwise(features), blocks, strict=True)))
        self.mnet = mnet
        self.branch = nn.Sequential(
            *(nn.Sequential(nn.ConvTranspose3d(b, a, 2, stride=2), residual_blocks(a, a, n, "instance", dims=3))
              for (a, b), n in levels),
            convolution(features[0], features[0], "instance", dims=3, size=1),
            nn.Conv3d(features[0], mnet.settings["classes"], 1),
        )  # fmt: skip
        self.log_sigmas = nn.Parameter(torch.zeros(2))  # divided by SIGMA_RATE; segmentation and map, both start at 1
        kaiming_uniform(self.branch)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        bottleneck, skips = self.mnet.encode(image)
        logits, maps = self.mnet.head(self.mnet.decode(bottleneck, skips)), self.branch(bottleneck)
        return crop_to(self.mnet.enlarge(logits), image), crop_to(self.mnet.enlarge(maps), image)

    def loss(self, image: Tensor, classes: Tensor, maps: Tensor) -> Tensor:
        """Sum of L_i / sigma_i^2 + log sigma_i over both tasks, with learned uncertainties sigma.

        L is Dice + cross-entropy of the segmentation, and the mean absolute error of the map. The logarithm of sigma
        is learned, so that sigma stays positive; for a constant L_i the optimum is sigma = sqrt(2 L_i). Deviations:
        Dice, without which small lesions are not found; and log sigma = ``SIGMA_RATE`` times the parameter.

        ``image`` is (B, in_channels, D, H, W), ``classes`` (B, D, H, W) integers, ``maps`` their
        :func:`signed_distances`, (B, classes, D, H, W).
        """
        logits, regressed = self(image)
        losses, log_sigmas = task_losses(logits, regressed, classes, maps), SIGMA_RATE * self.log_sigmas
        return (losses * torch.exp(-2 * log_sigmas) + log_sigmas).sum()


class CascadedMNet(MNet):
    """Cascaded regression (Audebert et al. 2019): an M-Net that outputs the map, from which one convolution classifies.

    The M-Net's head regresses the map of each class, clipped to [-1, 1]; one 3^3 convolution turns the map and the
    features it came from into logits. Image (B, in_channels, D, H, W) -> logits (B, classes, D, H, W), as the M-Net.
    """

    def __init__(self, in_channels: int = 1, classes: int = 2, **settings: Any) -> None:
        super().__init__(in_channels, classes, **settings)
        self.classifier = nn.Conv3d(self.settings["features"][0] + classes, classes, 3, padding=1)
        kaiming_uniform(self.classifier)

    def forward(self, image: Tensor) -> Tensor:
        return self.logits_and_maps(image)[0]

    def logits_and_maps(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and the regressed map, (B, classes, D, H, W) both."""
        features = self.decode(*self.encode(image))  # (B, features[0], D / stride, H / stride, W / stride)
        maps = F.hardtanh(self.head(features))  # (B, classes, D / stride, H / stride, W / stride)
        logits = self.classifier(torch.cat((features, maps), dim=1))
        return crop_to(self.enlarge(logits), image), crop_to(self.enlarge(maps), image)

    def loss(self, image: Tensor, classes: Tensor, maps: Tensor) -> Tensor:
        """Dice + negative log likelihood + MAP_WEIGHT * L1 of the map; arguments as :meth:`MultiBranch.loss`."""
        segmentation, error = task_losses(*self.logits_and_maps(image), classes, maps)
        return segmentation + MAP_WEIGHT * error


def task_losses(logits: Tensor, regressed: Tensor, classes: Tensor, maps: Tensor) -> Tensor:
    """Dice + cross-entropy of the segmentation, and mean absolute error of the map: (2,)."""
    segmentation = DiceLoss()(logits.softmax(1), classes) + F.cross_entropy(logits, classes)
    return torch.stack((segmentation, F.l1_loss(regressed.float(), maps)))
