"""Section 2.3: MapDice (Eq. 2), the distance map regression, and the alpha between them.

The total loss of the tandem is L_seg(p, target) + alpha * SmoothL1(LR-Net(p), phi), where L_seg is the Dice
or the MapDice loss or, in the row "M-Net + LR-Net", absent.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrnet_edu.distance_maps import distance_map
from lrnet_edu.kinds import kind_of_map
from lrnet_edu.losses.inputs import Loss, MapLoss, MaskLoss, class_sums, foreground_and_maps, ratio
from lrnet_edu.networks import LRNet, regress_maps
from lrnet_edu.support.errors import InputError, checked_number
from lrnet_edu.support.tensor_checks import at_least_float32


class DiceLoss(MaskLoss):
    """The Dice loss of Tables 1 and 2 (Milletari et al., V-Net, 2016).

    1 - (2 sum(p g) + eps) / (sum p + sum g + eps), the mean over the foreground classes.

    Deviation: V-Net squares p and g in the denominator; this is the form that Eq. 2 is built on, so that
    MapDice with the mask in the map's place is this loss.
    """

    def value(self, p: Tensor, g: Tensor) -> Tensor:
        overlap, predicted, reference = class_sums(p * g, p, g)  # (C,) each
        return (1 - ratio(2 * overlap, predicted + reference))[1:].mean()


class MapDiceLoss(MapLoss):
    """MapDice, Eq. 2: the Dice loss with the distance map in the mask's place.

    1 - (2 sum(p phi) + eps) / (sum p + sum phi + eps), the mean over the foreground classes.

    Deviation: the printed equation has no sum over voxels, and 1 minus a sum over classes falls below 0; this is the
    form of the authors' scripts. The map must lie in [0, 1] (NI-DM), or the loss leaves its range.

    Its minimiser is not the mask. Including a voxel pays off only if its phi exceeds half the best ratio: the perfect
    answer costs 0.07 on a ball of radius 5 and 0.12 on one of radius 20, and a hollow lesion costs less.
    `MapWeightedDiceLoss` fixes that.

    >>> phi = torch.tensor([0, 1, 0.5, 1, 0]).reshape(1, 1, 1, 1, 5)  # a lesion of three voxels
    >>> p = (phi > 0).float()  # found to the voxel
    >>> round(MapDiceLoss()(torch.cat((1 - p, p), dim=1), phi).item(), 3)
    0.091
    """

    def value(self, p: Tensor, phi: Tensor) -> Tensor:
        overlap, predicted, mapped = class_sums(p * phi, p, phi)  # (classes - 1,) each
        return (1 - ratio(2 * overlap, predicted + mapped)).mean()


class MapWeightedDiceLoss(MapLoss):
    """MapDice repaired: a Dice loss of the MASK in which the map only weights the voxels. Not in the paper.

    1 - (2 sum(w p g) + eps) / (sum(w (p + g)) + eps) with g = (phi > 0) and w = phi inside the object, 1 outside; the
    mean over the foreground classes. As with any strictly positive weight it is 0 at p = g and larger everywhere else,
    and it keeps Eq. 2's emphasis on the border.
    """

    def value(self, p: Tensor, phi: Tensor) -> Tensor:
        g = phi > 0  # (B, classes - 1, D, H, W)
        w = torch.where(g, phi, 1.0)
        overlap, predicted, reference = class_sums(w * p * g, w * p, w * g)  # (classes - 1,) each
        return (1 - ratio(2 * overlap, predicted + reference)).mean()


class DistanceRegressionLoss(Loss):
    """Distance map regression (section 2.3): alpha * SmoothL1(LR-Net(p), phi), for use behind any network.

    The loss runs the LR-Net itself, for every foreground class, frozen (`FrozenLRNet`), while gradients flow through it
    to the probabilities. The target is maps (B, classes - 1, D, H, W) of the LR-Net's kind, in unit voxels as the
    shipped LR-Nets know them.

    Where a lesion is missed altogether, p near 0, an LR-Net with a ReLU output may be inactive, and then no gradient
    comes back: let a fresh network begin with a segmentation loss alone, for a quarter of its steps.

    Args:
        lrnet: a PRETRAINED LR-Net. It is frozen in place, and follows the probabilities to their device.
        alpha: "balances the magnitude difference" to the segmentation loss; the paper gives no value. None takes the
            default of its kind of map (``kinds.KINDS``). Table 1's rows without alpha mean alpha = 1.

    Raises InputError if lrnet is no network, or an LRNet that has learned nothing, or if alpha is negative; when
    called, if shapes, devices or types do not fit.
    """

    def __init__(self, lrnet: nn.Module, alpha: float | None = None) -> None:
        super().__init__()
        if not isinstance(lrnet, nn.Module):
            raise InputError("lrnet is not a network; give one, such as load_pretrained_lrnet('NI-DM').")
        if alpha is None:
            if not isinstance(lrnet, LRNet):
                raise InputError("alpha is None, which only an LRNet has a default for; give it a number.")
            alpha = kind_of_map(lrnet.kind).alpha
        self.alpha, self.kind = checked_number("alpha", alpha), lrnet.kind if isinstance(lrnet, LRNet) else None
        self.lrnet = FrozenLRNet(lrnet)

    def forward(self, probabilities: Tensor, target: Tensor) -> Tensor:
        """(B, classes, D, H, W), maps (B, classes - 1, D, H, W) -> one number; InputError if they do not fit."""
        _, phi = foreground_and_maps(probabilities, target, self.kind, "This LR-Net's loss")
        return self.alpha * map_regression_loss(self.lrnet(at_least_float32(probabilities)), phi)


class FrozenLRNet:
    """An LR-Net that no ``train()``, ``apply()`` or ``double()`` of a loss around it reaches; it is no ``Module``."""

    def __init__(self, lrnet: nn.Module) -> None:
        check_pretrained(lrnet)
        self.lrnet = lrnet.requires_grad_(False).eval()

    def __call__(self, p: Tensor) -> Tensor:
        """Probabilities (B, classes, D, H, W) -> maps (B, classes - 1, D, H, W), of their type and on their device."""
        with torch.inference_mode(False):  # weights that are moved in that mode never pass on a gradient again
            lrnet = self.lrnet.to(p.device)
        return regress_maps(lrnet, p.to(next(lrnet.parameters(), p).dtype)).to(p.dtype)


@torch.no_grad()
def check_pretrained(lrnet: nn.Module) -> None:
    """Raise InputError for an LR-Net that has not learned the map of a ball of radius 5."""
    if not isinstance(lrnet, LRNet):
        return
    offsets = torch.from_numpy(np.indices((20,) * lrnet.spatial_dims)) - 9.5
    ball = ((offsets**2).sum(0) < 25).float()[None, None]  # (1, 1, D, H, W)
    found = lrnet(torch.cat((1 - ball, ball), dim=1).to(next(lrnet.parameters()))).cpu().float()
    right, inside = distance_map(ball, lrnet.kind), ball > 0
    errors, spread = (found - right).abs(), (right - right.mean()).abs()  # of the map, and of one value for all
    if errors.mean() > 0.5 * spread.mean() or errors[inside].mean() > 0.4 * right[inside].mean():
        advice = f"take load_pretrained_lrnet({lrnet.kind!r}) or pretrain it"
        raise InputError(f"This LR-Net does not know the {lrnet.kind} of a ball and has nothing to teach; {advice}.")


def map_regression_loss(maps: Tensor, target: Tensor) -> Tensor:
    """Section 2.3's loss without alpha: smooth L1 (beta = 1) of maps and target (B, classes - 1, D, H, W), the mean."""
    if maps.shape != target.shape:
        raise InputError(f"Maps are {tuple(maps.shape)}, the target {tuple(target.shape)}; give it the maps' shape.")
    maps = at_least_float32(maps)
    return F.smooth_l1_loss(maps, target.to(maps.dtype), reduction="sum") / maps.numel()
