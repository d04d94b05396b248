"""The paper's loss for any network: logits and labels in, one number out (sections 2.2 and 2.3)."""

import warnings
from collections.abc import Callable
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrnet_edu.distance_maps import maps_of_classes
from lrnet_edu.kinds import KINDS, kind_of_map
from lrnet_edu.losses import DiceLoss, MapDiceLoss
from lrnet_edu.losses.inputs import Loss, MapLoss
from lrnet_edu.losses.paper import FrozenLRNet
from lrnet_edu.networks import LRNet
from lrnet_edu.support.errors import InputError, checked_number
from lrnet_edu.support.tensor_checks import check_output, class_numbers, values_are_readable
from lrnet_edu.trained import load_pretrained_lrnet

SEGMENTATION = {"dice": DiceLoss(), "mapdice": MapDiceLoss(), None: None}
ENOUGH = 100  # voxels of a batch's objects, to see whether the LR-Net knows its kind
KNOWN = 0.3  # the error of phi on objects that it knows, as a share of phi: 0.01 to 0.13 up to a radius of 20 voxels


class TandemLoss(Loss):
    """L_seg(p, labels) + alpha * SmoothL1(LR-Net(p), phi), p = softmax(logits), phi the distance map of the labels.

    Everything is inside: the softmax, the maps (computed from the labels on the CPU, without gradient), the frozen
    LR-Net. ``terms`` holds the last values of the parts, "segmentation" and "map" (with alpha), without gradient.

    **Let a fresh network begin without the map's term**: with ``loss.alpha = 0`` for the first quarter of its steps,
    and a new optimiser after it, as `lrnet-edu train` does. Otherwise it may learn to find nothing (results/alphas.md).
    By the study small lesions gain most where the term stands alone after that; with SmoothL1(p, mask) in its place,
    without an LR-Net, as much or more (results/study/study.md). Objects that the LR-Net does not know cause a warning.
    Maps are in unit voxels. Which alpha, which spacing: docs/your_network.md.

    Args:
        lrnet: a kind of map, whose shipped LR-Net is used, 2-D or 3-D to suit the logits; or a pretrained `LRNet`. It
            is frozen, and follows the logits to their device.
        segmentation: "dice", "mapdice", None for the map's term alone, or any callable (p, labels) -> number, with p
            (B, C, D, H, W) after the softmax and labels (B, 1, D, H, W), or NI-DM if it is a `MapLoss` of ours. A
            loss of logits is added outside.
        alpha: weight of the map's term; None takes the default of the kind of map (``kinds.KINDS``), 1000 for NI-DM.
            With no other loss beside it give 1000 for any kind: at less Adam's eps may slow the training down.
        ignore_label: voxels with this label belong to no lesion's map and are left out of its term. For the
            segmentation loss they are certain background, which "dice" and "mapdice" do not count.

    Raises InputError if an argument is invalid; when called, if logits and labels do not fit together.

    >>> logits, labels = torch.zeros(1, 2, 8, 8, 8), torch.zeros(1, 8, 8, 8, dtype=torch.long)
    >>> labels[0, 2:5, 2:5, 2:5] = 1
    >>> loss = TandemLoss("NI-DM")
    >>> loss(logits, labels).shape, sorted(loss.terms)
    (torch.Size([]), ['map', 'segmentation'])
    """

    def __init__(
        self, lrnet: str | LRNet = "NI-DM", *, segmentation: str | Callable[[Tensor, Tensor], Tensor] | None = "dice",
        alpha: float | None = None, ignore_label: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if isinstance(lrnet, LRNet):
            self.kind, lrnets = lrnet.kind, {lrnet.spatial_dims: lrnet}
        elif lrnet not in tuple(KINDS):
            raise InputError(f"lrnet is {lrnet!r:.60}; give a kind of map ({', '.join(KINDS)}) or load_lrnet(path).")
        else:
            self.kind, lrnets = lrnet, {dims: load_pretrained_lrnet(lrnet, spatial_dims=dims) for dims in (2, 3)}
        self.lrnets = {dims: FrozenLRNet(net) for dims, net in lrnets.items()}
        self.segmentation: Any = segmentation
        if segmentation in tuple(SEGMENTATION):
            self.segmentation = SEGMENTATION[segmentation]
        elif not callable(segmentation) or isinstance(segmentation, type | nn.CrossEntropyLoss):  # it takes logits
            raise InputError(f"segmentation is {segmentation!r}; give 'dice', 'mapdice', None or a loss (p, labels).")
        if not isinstance(ignore_label, Integral | None) or isinstance(ignore_label, bool):
            raise InputError(f"ignore_label is {ignore_label!r}; give a whole number, such as 255.")
        self.ignore_label = ignore_label
        self.alpha = checked_number("alpha", kind_of_map(self.kind).alpha if alpha is None else alpha)
        self.terms: dict[str, Tensor] = {}
        self.looked = False  # whether the LR-Net knows the objects

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """One number.

        Args:
            logits: (B, C, D, H, W) or (B, C, H, W), class 0 the background, before the softmax, any float type.
            labels: whole numbers (B, D, H, W) or (B, 1, D, H, W), or one-hot (B, C, D, H, W); without D in 2-D.
        """
        check_output(logits, "logits")
        dims = logits.ndim - 2
        if dims not in self.lrnets:
            raise InputError(f"The logits are {dims}-D; give an LR-Net with spatial_dims={dims}, or a kind of map.")
        labels = _whole_numbers(labels, logits)
        counts = torch.ones_like(labels, dtype=torch.bool) if self.ignore_label is None else labels != self.ignore_label
        classes = class_numbers(torch.where(counts, labels, 0), logits)  # (B, D, H, W)
        counts = counts.reshape(len(classes), 1, *classes.shape[1:])  # (B, 1, D, H, W)
        p = torch.softmax(logits.float(), dim=1)  # (B, C, D, H, W)
        # Ignored voxels are certain background, like their labels now.
        p = torch.cat((torch.where(counts, p[:, :1], 1.0), torch.where(counts, p[:, 1:], 0.0)), dim=1)

        terms: dict[str, Tensor] = {}
        if self.segmentation is not None:
            of_maps = isinstance(self.segmentation, MapLoss)
            target = maps_of_classes(classes, p.shape[1] - 1, "NI-DM") if of_maps else classes[:, None]
            terms["segmentation"] = self.segmentation(p, target)
        terms["map"] = 0 * p.sum()
        if self.alpha:
            phi, lrnet = maps_of_classes(classes, p.shape[1] - 1, self.kind), self.lrnets[dims]
            if not self.looked:
                self._look_at(classes, phi, lrnet)
            maps = lrnet(p)  # (B, C - 1, D, H, W), as phi
            errors = F.smooth_l1_loss(maps, phi, reduction="none") * counts
            terms["map"] = self.alpha * (errors.sum() / (counts.sum() * phi.shape[1]).clamp_min(1))
        self.terms = {name: term.detach() for name, term in terms.items()}
        return torch.stack(list(terms.values())).sum()

    @torch.compiler.disable
    @torch.no_grad()
    def _look_at(self, classes: Tensor, phi: Tensor, lrnet: FrozenLRNet) -> None:
        """Warn if the LR-Net does not know the maps of the first objects."""
        certain = F.one_hot(classes, phi.shape[1] + 1).movedim(-1, 1).float()  # (B, C, D, H, W)
        inside = certain[:, 1:] > 0
        if inside.sum() < ENOUGH:
            return
        self.looked = True
        off = (lrnet(certain) - phi).abs()[inside].sum() / phi.abs()[inside].sum()
        if off >= KNOWN:
            warnings.warn(
                f"The LR-Net's {self.kind} of these labels is {off:.0%} off: their objects are unlike those it knows, "
                "larger or on voxels far longer along one axis; resample them, or pretrain an LR-Net on your masks.",
                stacklevel=1,
            )


def _whole_numbers(labels: Tensor, logits: Tensor) -> Tensor:
    """Labels in any form that is accepted, as integers."""
    labels = torch.as_tensor(labels).as_subclass(Tensor)
    if labels.shape == logits.shape:
        if values_are_readable(labels) and not (((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all()):
            raise InputError("The labels have the logits' shape and are not one-hot; give each voxel one class.")
        return labels.byte().argmax(1)  # of booleans PyTorch has none
    if labels.is_floating_point() and values_are_readable(labels) and not (labels == labels.round()).all():
        raise InputError("The labels hold fractions; give whole numbers, one class for each voxel.")
    return labels.long()
