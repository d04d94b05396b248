"""The five imbalance losses of Table 2, with their papers' defaults, and nnU-Net's."""

import torch
from torch import Tensor

from lrnet_edu.losses.inputs import MaskLoss, class_sums, ratio
from lrnet_edu.losses.paper import DiceLoss
from lrnet_edu.support.errors import checked_number


class WeightedCrossEntropyLoss(MaskLoss):
    """WCE: the cross-entropy with one weight for each class (cited from Ronneberger et al., U-Net, 2015).

    sum_c w_c sum(-g_c ln p_c) / sum_c w_c sum(g_c), with w_0 = 1 and w_c = (background voxels / voxels of class c in
    the batch)^power, clamped to [1 / max_weight, max_weight]. A batch with background only costs the mean of -ln p_0.

    Deviation: U-Net's own map of weights (w0 = 10, sigma = 5) also stresses the gaps between touching cells.

    Args:
        max_weight: the largest weight of a class, and one over the smallest.
        power: 1 is the full inverse frequency; less floods the image less.
    """

    def __init__(self, max_weight: float = 1000.0, power: float = 1.0) -> None:
        super().__init__()
        self.power = checked_number("power", power)
        self.max_weight = checked_number("max_weight", max_weight, least=1, most=float("inf"))

    def value(self, p: Tensor, g: Tensor) -> Tensor:
        surprise, voxels = class_sums(g * _minus_log(p), g)  # (C,) each
        weights = ((voxels[0] / voxels.clamp_min(1)) ** self.power).clamp(1 / self.max_weight, self.max_weight)
        weights[0] = 1
        return (weights * surprise).sum() / (weights * voxels).sum()


class DiceCrossEntropyLoss(DiceLoss):
    """nnU-Net's loss: Dice + cross-entropy (Isensee et al., Nature Methods 18, 2021)."""

    def value(self, p: Tensor, g: Tensor) -> Tensor:
        return super().value(p, g) + (g * _minus_log(p)).sum(1).mean()


class GeneralizedDiceLoss(MaskLoss):
    """GDS: the generalised Dice loss (Sudre et al. 2017, after the overlap measure of Crum et al. 2006).

    1 - 2 sum_c w_c sum(p_c g_c) / sum_c w_c sum(p_c + g_c) with w_c = 1 / (sum g_c)^2, over ALL classes, the
    background too, summed before the division.

    An absent class, whose weight would be infinite, gets the largest weight of the classes present. In the binary case
    without a lesion the loss is then the mean probability of the foreground.
    """

    def value(self, p: Tensor, g: Tensor) -> Tensor:
        overlap, predicted, voxels = class_sums(p * g, p, g)  # (C,) each
        present = voxels > 0
        smallest = torch.where(present, voxels, torch.inf).min()
        weights = torch.where(present, smallest / voxels.clamp_min(1), 1.0) ** 2  # scaled: the largest is 1
        return 1 - 2 * (weights * overlap).sum() / (weights * (predicted + voxels)).sum()


class TverskyLoss(MaskLoss):
    """Tversky loss (Salehi et al. 2017): a Dice loss that penalises misses more than false alarms.

    1 - TI, TI = (TP + eps) / (TP + a FP + b FN + eps), with TP = sum(p g), FP = sum(p (1 - g)) and FN = sum((1 - p) g);
    the mean over the foreground classes. With both weights 0.5 it is the Dice loss.

    Args:
        false_positive_weight: a, which the original calls alpha.
        false_negative_weight: b, which the original calls beta.
    """

    def __init__(self, false_positive_weight: float = 0.3, false_negative_weight: float = 0.7) -> None:
        super().__init__()
        self.false_positive_weight = checked_number("false_positive_weight", false_positive_weight)
        self.false_negative_weight = checked_number("false_negative_weight", false_negative_weight)

    def value(self, p: Tensor, g: Tensor) -> Tensor:
        return (1 - self.index(p, g)).mean()

    def index(self, p: Tensor, g: Tensor) -> Tensor:
        """TI of every foreground class, (C - 1,)."""
        hits, false_alarms, misses = class_sums(p * g, p * (1 - g), (1 - p) * g)  # TP, FP, FN: (C,) each
        wrong = self.false_positive_weight * false_alarms + self.false_negative_weight * misses
        return ratio(hits, hits + wrong)[1:]


class FocalTverskyLoss(TverskyLoss):
    """Focal Tversky loss (Abraham and Khan 2019): (1 - TI)^(1 / gamma), the mean over the foreground classes.

    TI and its weights are `TverskyLoss`'s (the original calls b alpha). With gamma above 1 the slope grows towards
    perfect agreement, where it would become infinite: 1 - TI is clamped to at least 1e-7, and the slope is 0 there.

    Deviation: the original sums over the classes; the mean keeps the scale.

    Args:
        false_positive_weight: of false alarms in TI.
        false_negative_weight: of misses in TI.
        gamma: 1 leaves TI as it is; above 1, well segmented classes keep a larger share of the gradient.
    """

    def __init__(
        self, false_positive_weight: float = 0.3, false_negative_weight: float = 0.7, gamma: float = 4 / 3
    ) -> None:
        super().__init__(false_positive_weight, false_negative_weight)
        self.gamma = checked_number("gamma", gamma, least=1e-3)

    def value(self, p: Tensor, g: Tensor) -> Tensor:
        return _clamped_power(1 - self.index(p, g), 1 / self.gamma).mean()


class ExpLogLoss(MaskLoss):
    """Exp-Log, the exponential logarithmic loss (Wong et al. 2018).

    dice_weight * mean_c (-ln Dice_c)^e + cross_entropy_weight * mean_x w_l (-ln p_l(x))^e

    l is the true class of voxel x, w_l = sqrt(all voxels / voxels of class l), and
    Dice_c = (2 sum(p g) + 1) / (sum p + sum g + 1) over ALL classes, the background too. The original's eps of a voxel
    makes false alarms cost something where a class is absent. Both powers have an infinite slope at perfect agreement:
    the base is clamped to at least 1e-7, and the slope is 0 there (so perfect agreement costs about 0.01, not 0).

    Deviation: the class frequencies are the batch's, not the training set's.

    Args:
        dice_weight: of the Dice term.
        cross_entropy_weight: of the cross-entropy term.
        exponent: e, of both terms; below 1, well segmented classes keep learning.
    """

    def __init__(self, dice_weight: float = 0.8, cross_entropy_weight: float = 0.2, exponent: float = 0.3) -> None:
        super().__init__()
        self.dice_weight = checked_number("dice_weight", dice_weight)
        self.cross_entropy_weight = checked_number("cross_entropy_weight", cross_entropy_weight)
        self.exponent = checked_number("exponent", exponent, least=1e-3)

    def value(self, p: Tensor, g: Tensor) -> Tensor:
        surprise = g * _clamped_power(_minus_log(p), self.exponent)
        overlap, predicted, voxels, surprise = class_sums(p * g, p, g, surprise)  # (C,) each
        dice = ratio(2 * overlap, predicted + voxels, eps=1.0)
        weights = (voxels.sum() / voxels.clamp_min(1)).sqrt()
        dice_term = _clamped_power(_minus_log(dice), self.exponent).mean()
        cross_entropy_term = (weights * surprise).sum() / voxels.sum()
        return self.dice_weight * dice_term + self.cross_entropy_weight * cross_entropy_term


def _minus_log(p: Tensor) -> Tensor:
    """-ln p, finite at 0, with a slope that fits into float32."""
    return -p.clamp_min(1e-30).log()


def _clamped_power(x: Tensor, exponent: float) -> Tensor:
    """x to a power below 1, whose slope at 0 is infinite: flat below 1e-7."""
    return x.clamp_min(1e-7) ** exponent
