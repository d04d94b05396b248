"""The paper's loss for any network: logits and labels in, one number out (sections 2.2 and 2.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrnet_edu.distance_maps import distance_map
from lrnet_edu.kinds import kind_of_map
from lrnet_edu.losses import DiceLoss, MapDiceLoss
from lrnet_edu.losses.inputs import Loss
from lrnet_edu.losses.paper import check_pretrained
from lrnet_edu.networks import LRNet, regress_maps
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.loss_inputs import checked_setting, values_are_readable
from lrnet_edu.support.parallel import mean_over_processes
from lrnet_edu.trained import load_pretrained_lrnet

PENALTY_MAP = "NI-DM"  # MapDice's: the other kinds leave [0, 1]


class TandemLoss(Loss):
    """L_seg(p, labels) + alpha * SmoothL1(LR-Net(p), phi), p = softmax(logits), phi the distance map of the labels.

    Everything is inside: the softmax, the maps (computed from the labels on the CPU, without gradient), the frozen
    LR-Net. No map has to be computed, stored or augmented beforehand. ``terms`` holds the last values of the parts,
    "segmentation" and "map" (with alpha), as tensors without gradient.

    Maps are in unit voxels, as the shipped LR-Nets expect. Where a lesion is missed altogether the map's term alone
    passes hardly any gradient: keep a segmentation loss beside it, or start with one.

    Args:
        lrnet: a kind of map, whose shipped LR-Net is used, 2-D or 3-D to suit the logits; or a pretrained `LRNet`. It
            is frozen, and follows the logits to their device.
        segmentation: "dice", "mapdice", None for the map's term alone, or any callable (p, labels) -> number, with p
            (B, C, D, H, W) after the softmax and labels (B, 1, D, H, W). A loss that starts from logits can be given
            ``p.log()``, or be added outside: ``other(logits, labels) + TandemLoss(segmentation=None)(logits, labels)``.
        alpha: weight of the map's term; None takes the default of the kind of map (``kinds.KINDS``).
        ignore_label: voxels with this label are left out of every term and belong to no lesion's map.

    Raises:
        InputError: if an argument is invalid; when called, if logits and labels do not fit together.

    >>> logits, labels = torch.zeros(1, 2, 8, 8, 8), torch.zeros(1, 8, 8, 8, dtype=torch.long)
    >>> labels[0, 2:5, 2:5, 2:5] = 1
    >>> loss = TandemLoss("NI-DM")
    >>> loss(logits, labels).shape, sorted(loss.terms)
    (torch.Size([]), ['map', 'segmentation'])
    """

    def __init__(
        self,
        lrnet: str | LRNet = "NI-DM",
        *,
        segmentation: str | Callable[[Tensor, Tensor], Tensor] | None = "dice",
        alpha: float | None = None,
        ignore_label: int | None = None,
    ) -> None:
        super().__init__()
        if isinstance(lrnet, LRNet):
            check_pretrained(lrnet)
            self.kind, lrnets = lrnet.kind, {lrnet.spatial_dims: lrnet}
        elif isinstance(lrnet, str):
            self.kind = lrnet
            lrnets = {dims: load_pretrained_lrnet(lrnet, spatial_dims=dims) for dims in (2, 3)}
        else:
            raise InputError(f"lrnet is a {type(lrnet).__name__}; give a kind of map such as 'NI-DM', or an LRNet.")
        self.lrnets = nn.ModuleDict({f"{dims}d": net.requires_grad_(False).eval() for dims, net in lrnets.items()})
        if not (segmentation in ("dice", "mapdice", None) or callable(segmentation)):
            raise InputError(f"segmentation is {segmentation!r}; give 'dice', 'mapdice', None or a loss (p, labels).")
        if ignore_label is not None and not isinstance(ignore_label, int):
            raise InputError(f"ignore_label is {ignore_label!r}; give a whole number, such as 255.")
        self.segmentation, self.ignore_label = segmentation, ignore_label
        self.alpha = checked_setting("alpha", kind_of_map(self.kind).alpha if alpha is None else alpha)
        self.terms: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.lrnets.eval()
        return self

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """One number.

        Args:
            logits: (B, C, D, H, W) or (B, C, H, W), class 0 the background, before the softmax, any float type.
            labels: whole numbers (B, D, H, W) or (B, 1, D, H, W), or one-hot (B, C, D, H, W); without D in 2-D.
        """
        classes = self._class_numbers(logits, labels)  # (B, D, H, W)
        lrnet: Any = self._lrnet_for(logits)
        p = torch.softmax(logits.float(), dim=1)  # (B, C, D, H, W)
        counts = torch.ones_like(classes, dtype=torch.bool)
        if self.ignore_label is not None:
            counts = classes != self.ignore_label
            classes = torch.where(counts, classes, 0)
            background = F.one_hot(torch.zeros_like(classes), p.shape[1]).movedim(-1, 1)
            p = torch.where(counts[:, None], p, background.to(p.dtype))  # certain background, like the labels now
        if values_are_readable(classes) and (int(classes.min()) < 0 or int(classes.max()) >= p.shape[1]):
            raise InputError(
                f"The labels run from {int(classes.min())} to {int(classes.max())} and the logits have {p.shape[1]} "
                "classes; renumber them, or name the label to leave out as ignore_label."
            )

        terms: dict[str, Tensor] = {}
        if self.segmentation == "mapdice":
            terms["segmentation"] = MapDiceLoss()(p, _maps(classes, p.shape[1], PENALTY_MAP))
        elif self.segmentation is not None:
            loss = DiceLoss() if isinstance(self.segmentation, str) else self.segmentation
            terms["segmentation"] = loss(p, classes[:, None])
        phi = _maps(classes, p.shape[1], self.kind)  # (B, C - 1, D, H, W)
        errors = F.smooth_l1_loss(regress_maps(lrnet, p).float(), phi, reduction="none") * counts[:, None]
        terms["map"] = self.alpha * mean_over_processes(errors.sum(), counts.sum() * phi.shape[1])
        self.terms = {name: term.detach() for name, term in terms.items()}
        return torch.stack(list(terms.values())).sum()

    def _class_numbers(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Each voxel's class, (B, D, H, W) int64, from any accepted form of labels."""
        for x, name in ((logits, "logits"), (labels, "labels")):
            if not isinstance(x, Tensor):
                raise InputError(f"The {name} are a {type(x).__name__}; give a tensor, torch.as_tensor(...).")
        shape = tuple(logits.shape)
        if len(shape) not in (4, 5) or shape[1] < 2 or 0 in shape or not logits.is_floating_point():
            raise InputError(
                f"The logits are {shape} of {logits.dtype}; give floats (B, C, D, H, W) or (B, C, H, W) with the "
                "background as class 0 (of one channel x, torch.cat((torch.zeros_like(x), x), dim=1))."
            )
        if labels.device != logits.device:
            raise InputError(f"The labels are on {labels.device}, the logits on {logits.device}; move one of them.")
        if labels.shape == logits.shape:
            if values_are_readable(labels) and not bool(
                ((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all()
            ):
                raise InputError("The labels have the logits' shape and are not one-hot; give each voxel one class.")
            return labels.argmax(1)
        if tuple(labels.shape) not in ((shape[0], *shape[2:]), (shape[0], 1, *shape[2:])):
            raise InputError(
                f"The logits are {shape} and the labels {tuple(labels.shape)}; give whole numbers "
                f"{(shape[0], *shape[2:])} or {(shape[0], 1, *shape[2:])}, or one-hot {shape}."
            )
        if labels.is_floating_point() and values_are_readable(labels) and not bool((labels == labels.round()).all()):
            raise InputError("The labels hold fractions; give whole numbers, one class for each voxel.")
        return labels.reshape(shape[0], *shape[2:]).as_subclass(Tensor).long()

    def _lrnet_for(self, logits: Tensor) -> nn.Module:
        dims = logits.ndim - 2
        if f"{dims}d" not in self.lrnets:
            raise InputError(
                f"The logits are {dims}-D and this LR-Net is not; give TandemLoss(load_pretrained_lrnet("
                f"{self.kind!r}, spatial_dims={dims}))."
            )
        return self.lrnets[f"{dims}d"].to(logits.device)


@torch.compiler.disable
def _maps(classes: Tensor, number: int, kind: str) -> Tensor:
    """The map of each foreground class: (B, D, H, W) -> (B, number - 1, D, H, W)."""
    masks = torch.stack([classes == c for c in range(1, number)], dim=1)
    return distance_map(masks, kind)
