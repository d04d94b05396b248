"""Sections 3 and 4 of the page: MapDice, the total loss and the rivals of Table 2."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.readings.balls import ball, small_lesion
from lrnet_edu import (
    DiceLoss,
    ExpLogLoss,
    FocalTverskyLoss,
    GeneralizedDiceLoss,
    MapDiceLoss,
    MapWeightedDiceLoss,
    TverskyLoss,
    WeightedCrossEntropyLoss,
    distance_map,
)
from lrnet_edu.data.cache import cache_cases
from lrnet_edu.data.cases import find_cases
from lrnet_edu.data.patches import PatchBatches
from lrnet_edu.data.samples import study_folder, study_mnet
from lrnet_edu.kinds import KINDS
from lrnet_edu.losses import map_regression_loss
from lrnet_edu.losses.inputs import EPS
from lrnet_edu.methods import METHODS
from lrnet_edu.study.protocol import BASE
from lrnet_edu.trained import load_mnet


def readings() -> dict[str, str]:
    """Row of the page -> what another reading gives; the lesion is a ball of radius 6 in 48^3 voxels."""
    lesion = small_lesion()
    p, g = lesion.astype(float), lesion.astype(float)
    phi = distance_map(lesion).astype(float)
    by_voxel = np.mean(1 - (2 * p * phi + EPS) / (p + phi + EPS))
    costs = {}
    for kind, row in KINDS.items():
        target = torch.from_numpy(distance_map(lesion, kind))
        costs[kind] = float(map_regression_loss(torch.full_like(target, row.empty), target))
    listed = ", ".join(f"{kind} {cost:.3f}" for kind, cost in costs.items())
    found = map_dice(p, phi)
    hollow, dropped = minimiser(phi, lesion)
    soft = 0.6 * g
    return {
        "sum over voxels": f"Voxel by voxel, then the mean: the lesion's mask costs {by_voxel:.4f} in place of {found:.3f}",
        "sum over classes": f"As printed, perfect agreement costs {1 - 2:.0f} with two classes",
        "eps": f"1 voxel instead: ten false voxels in an empty patch cost {1 - 1 / 11:.2f} in place of {1 - EPS / 10:.2f}",
        "which map": ", ".join(
            f"{kind} {map_dice(p, distance_map(lesion, kind)):.2f}" for kind in KINDS if kind != "NI-DM"
        )
        + f" for the lesion's own mask, in place of {found:.2f}",
        "its minimiser": f"On the lesion {found:.3f}; without its innermost {dropped:.1%} {hollow:.3f}",
        "a cure": cured(lesion, phi),
        "a batch without lesion": f"The slope at 100 false voxels is {EPS / 100**2:.0e}; with eps of one voxel {1 / 101**2:.0e}",
        "L_Dice": f"p = 0.6 inside: {1 - 2 * np.sum(soft * g) / np.sum(soft + g):.2f}; "
        f"squared {1 - 2 * np.sum(soft * g) / np.sum(soft**2 + g**2):.2f}",
        "smooth L1": f"An empty output costs {costs['NI-DM']:.3f}; with L1 {np.mean(phi):.3f}",
        "alpha": f"At 1 an empty output costs: {listed}; at the scripts' 1000 for NI-DM {1000 * costs['NI-DM']:.1f}",
        "total loss": f"An empty output costs {DiceLoss()(two_classes(0 * p), torch.from_numpy(lesion).long()[None]):.2f} by Dice, and "
        f"{KINDS['NI-DM'].alpha * costs['NI-DM']:.2f} where L_seg is left out",
        "regression alone": halved_by_eps(),
        "rows without alpha": f"An empty output costs {costs['NI-DM']:.3f} in place of "
        f"{KINDS['NI-DM'].alpha * costs['NI-DM']:.3f} with NI-DM's default",
        **rivals(lesion),
    }


def map_dice(p: np.ndarray, phi: np.ndarray) -> float:
    """Eq. 2 as read, without the loss's check of the map's range."""
    return float(1 - (2 * np.sum(p * phi) + EPS) / (np.sum(p) + np.sum(phi) + EPS))


def minimiser(phi: np.ndarray, lesion: np.ndarray) -> tuple[float, float]:
    """The least MapDice of any mask, and the share of the lesion that it leaves out."""
    best = min((map_dice((phi >= level).astype(float), phi), level) for level in np.unique(phi[lesion]))
    return best[0], float(np.mean(phi[lesion] < best[1]))


def cured(lesion: np.ndarray, phi: np.ndarray) -> str:
    hollow = lesion & (phi >= np.quantile(phi[lesion], 0.04))
    loss, maps = MapWeightedDiceLoss(), torch.from_numpy(phi)[None, None].float()
    mended, printed = ([float(f(two_classes(mask), maps)) for mask in (lesion, hollow)] for f in (loss, MapDiceLoss()))
    return (
        f"The mask and one without its core: {mended[0]:.3f} and {mended[1]:.3f}; "
        f"MapDice {printed[0]:.3f} and {printed[1]:.3f}"
    )


def two_classes(p: np.ndarray) -> Tensor:
    """(1, 2, D, H, W): background and object."""
    return torch.from_numpy(np.stack((1 - p.astype(np.float32), p.astype(np.float32))))[None]


def rivals(lesion: np.ndarray) -> dict[str, str]:
    """Section 4. The prediction: half of the lesion at 0.8, the other half missed, and as much false alarm."""
    flat = np.where(lesion, 0.0, 0.02)
    flat[lesion & (np.arange(48)[:, None, None] < 24)] = 0.8
    p, target = two_classes(flat), torch.from_numpy(lesion.astype(np.int64))[None]
    one_hot = nn.functional.one_hot(target, 2).movedim(-1, 1)
    dice = DiceLoss()(p, target).item()
    background = 1 - 2 * (p[:, 0] * one_hot[:, 0]).sum() / (p[:, 0] + one_hot[:, 0]).sum()
    tversky = [TverskyLoss(a, 1 - a)(p, target).item() for a in (0.3, 0.7)]
    focal = [FocalTverskyLoss(gamma=gamma)(p, target).item() for gamma in (4 / 3, 3 / 4)]
    both = ExpLogLoss()(p, target).item()
    counts = one_hot.sum((0, 2, 3, 4)).double()
    weights = (counts.sum() / counts).sqrt()
    plain = (weights[target] * -p.gather(1, target[:, None])[:, 0].clamp_min(1e-7).log().double()).mean()
    dice_only = ExpLogLoss(cross_entropy_weight=0)(p, target).item() + 0.2 * plain.item()
    return {
        "WCE": gap_weight(lesion),
        "GDS": f"Summed before the division {GeneralizedDiceLoss()(p, target):.3f}; "
        f"the mean of the classes' own ratios {(dice + background.item()) / 2:.3f}",
        "Tversky": f"The two weights the other way round: {tversky[1]:.3f} in place of {tversky[0]:.3f}",
        "Focal Tversky": f"(1 - TI)^(4/3) {focal[1]:.3f} in place of {focal[0]:.3f}",
        "ExpLog": f"Without the exponent on the cross-entropy {dice_only:.2f} in place of {both:.2f}",
    }


def gap_weight(lesion: np.ndarray) -> str:
    """U-Net's weights in the middle of a gap three voxels wide, and the class weight."""
    weight = min(WeightedCrossEntropyLoss().max_weight, np.sum(~lesion) / np.sum(lesion))
    first, second = ball(5, 32, (16, 16, 8)), ball(5, 32, (16, 16, 22))
    d = distance_map(~first, "O-DM") + distance_map(~second, "O-DM")
    middle = 10 * np.exp(-(d[16, 16, 15] ** 2) / (2 * 5**2))
    return f"A lesion voxel weighs {weight:.0f} times a background voxel; U-Net's map adds {middle:.1f} in a gap of 3 voxels"


def halved_by_eps() -> str:
    """The share of a trained M-Net's weights whose steps Adam's eps, 1e-8, halves or worse, by loss and alpha."""
    trained = load_mnet(study_mnet())
    cached = cache_cases(find_cases(study_folder(2)), trained.preprocessing, trained.labels)
    batches = PatchBatches(cached, kinds=["NI-DM"], classes=1, patch_size=BASE.patch_size, batch_size=2,
                           object_share=1.0, augment=False, seed=[0], length=4)  # fmt: skip
    shares = []
    for method, alpha in (("voxelwise", 1.0), ("lrnet", 10.0), ("voxelwise", 1000.0), ("lrnet", 1000.0)):
        config = replace(BASE, method=method, alpha=alpha, start=str(study_mnet()))
        model = METHODS[method].model(config, 2)
        loss, weights = METHODS[method].loss(config, model), [*model.get_submodule("mnet").parameters()]
        gradients = [torch.autograd.grad(loss(batches[i]), weights) for i in range(len(batches))]
        flat = torch.stack([torch.cat([one.flatten() for one in gradient]) for gradient in gradients])
        shares.append((flat.square().mean(0).sqrt() < 1e-8).float().mean().item())
    return (
        f"Adam's eps halves the steps of {shares[0]:.0%} of a trained M-Net's weights with SmoothL1(p, mask) alone at "
        f"alpha 1, of {shares[1]:.0%} with the LR-Net at 10, of {max(shares[2:]):.0%} with either at 1000"
    )
