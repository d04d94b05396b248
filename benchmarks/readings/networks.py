"""Section 2 of the page: networks and pretraining, as far as it shows without a training."""

import numpy as np
import torch
from torch import nn

from benchmarks.readings.balls import ball, small_lesion
from lrnet_edu import DiceLoss, DistanceRegressionLoss, LRNet, MNet, distance_map, load_pretrained_lrnet
from lrnet_edu.config import PRESETS, Config
from lrnet_edu.lrnet_training import BACKGROUND_WEIGHT, background_and_object
from lrnet_edu.methods import METHODS

SEEDS = 20
LRNETS = "[results/lrnet.md](../results/lrnet.md)"


def readings() -> dict[str, str]:
    """Row of the page -> what another reading gives."""
    lesion = small_lesion()
    negative = np.mean(distance_map(lesion, "SNI-DM") < 0)
    phi = distance_map(ball())[ball()]
    nets = (METHODS["dice"].mnet(Config(**PRESETS[name]), 2) for name in ("paper", "cpu"))
    weights = [number_of_weights(net) for net in (*nets, LRNet())]
    return {
        "M-Net": f"{weights[0]:,} weights; preset `cpu` {weights[1]:,}",
        "LR-Net": f"The M-Net has {weights[0] / weights[2]:.0f} times as many weights",
        "LR-Net's normalisation": dependence_on_background(),
        "output layer": f"A ReLU would hold {negative:.1%} of SNI-DM at 0, on a lesion of 0.8 % of the voxels",
        "a ReLU output can die": dead_outputs(),
        "several classes": liver_around_a_lesion(),
        "initialisation": spread_of_logits(),
        "pretraining's loss": (
            f"An error of 0.1 would cost 0.005 in place of 0.1, and the lesion's voxels would have {lesion.mean():.1%} "
            f"of the weight in place of {1 / (1 + BACKGROUND_WEIGHT):.0%}"
        ),
        '"Dice score around 0.99"': f"Copying a ball of radius 8: Dice 1.00, error of phi {np.mean(1 - phi):.2f}",
        '"froze the parameters"': without_gradients(),
        "which weights are frozen": random_weights(),
        "NI-DM_s": errors_of_phi(
            {"ReLU": load_pretrained_lrnet(), "sigmoid": load_pretrained_lrnet(activation="sigmoid")}
        ),
        "masks only, or probabilities too": at_low_probability(),
        '"rigorous mapping"': out_of_sight(),
        "start of the tandem": slopes_of_a_missed_lesion(),
        "batch size": two_patches(),
        "masks for pretraining": f"Scans beside random shapes: {LRNETS}",
        "uLR-Net (Table 2)": "In the study: [results/study/study.md](../results/study/study.md)",
    }


def number_of_weights(net: nn.Module) -> int:
    return sum(weight.numel() for weight in net.parameters())


def maps_of(net: nn.Module, probability: np.ndarray) -> np.ndarray:
    """The LR-Net's map (D, H, W) of the object's probability (D, H, W)."""
    with torch.inference_mode():
        return net(background_and_object(torch.from_numpy(probability.astype(np.float32))[None]))[0, 0].numpy()


def dependence_on_background() -> str:
    """How much a fresh LR-Net's map of a ball changes when the patch around it grows."""
    small, change = ball(5, 24), []
    large = np.pad(small, 12)
    for norm in (None, "instance"):
        torch.manual_seed(0)
        net = LRNet(norm=norm).eval()
        inner, outer = maps_of(net, small)[6:18, 6:18, 6:18], maps_of(net, large)[18:30, 18:30, 18:30]
        change.append(np.abs(inner - outer).mean() / np.abs(inner).mean())
    return (
        f"A patch of 48^3 in place of 24^3 around a ball of 5 changes a fresh LR-Net's map of it by {change[1]:.0%} with "
        f"instance norm, by {change[0]:.0%} without"
    )


def dead_outputs() -> str:
    """Fresh LR-Nets whose map of a ball is 0 everywhere."""
    mask, dead = ball(5, 24), [0, 0]
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        net = LRNet()
        dead[1] += not maps_of(net, mask).any()
        nn.init.zeros_(net.head[-1].bias)
        dead[0] += not maps_of(net, mask).any()
    return f"Of {SEEDS} fresh LR-Nets find nothing at all on a ball: {dead[0]} with a bias of 0, {dead[1]} with 0.1"


def liver_around_a_lesion() -> str:
    """The pair (p_0, p_c) instead of (1 - p_c, p_c), on a lesion inside a liver."""
    lesion, liver = ball(5, 40), ball(16, 40)
    net = load_pretrained_lrnet()
    ours = maps_of(net, lesion)
    with torch.inference_mode():
        channels = torch.from_numpy(np.stack((~liver, lesion)).astype(np.float32))[None]  # (1, 2, D, H, W)
        other = net(channels)[0, 0].numpy()
    around = liver & ~lesion
    return (
        f"The pair (p_background, p_c) on a lesion inside a liver: the map in the liver around it is "
        f"{other[around].mean():.2f} in place of {ours[around].mean():.2f}"
    )


def spread_of_logits() -> str:
    """Standard deviation of a fresh M-Net's logits on noise, by initialisation."""
    torch.manual_seed(0)
    net, image = MNet().eval(), torch.randn(1, 1, 16, 32, 32)
    with torch.inference_mode():
        kaiming = net(image).std()
        for module in net.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                module.reset_parameters()
        default = net(image).std()
    return f"A fresh M-Net's logits on noise deviate by {kaiming:.2f}; with PyTorch's default by {default:.2f}"


def without_gradients() -> str:
    """Share of a lesion's voxels that the regression loss reaches, at p = 0.6."""
    mask = torch.from_numpy(ball(5, 32))
    p = (0.6 * mask)[None].float().requires_grad_()
    phi = torch.from_numpy(distance_map(mask.numpy()))[None, None]
    nn.functional.smooth_l1_loss(load_pretrained_lrnet()(background_and_object(p)), phi).backward()
    return f"Under `no_grad` 0 % of a lesion's voxels would get a gradient; at p = 0.6 it is {(p.grad[0][mask] != 0).float().mean():.0%}"


def error_of_phi(net: nn.Module, mask: np.ndarray) -> float:
    return float(np.abs(maps_of(net, mask) - distance_map(mask))[mask].mean())


def errors_of_phi(nets: dict[str, nn.Module]) -> str:
    listed = ", ".join(f"{name} {error_of_phi(net, ball()):.3f}" for name, net in nets.items())
    return f"Error of phi of the shipped weights on a ball of radius 8: {listed}"


def at_low_probability() -> str:
    """What the shipped LR-Net, which has seen soft masks, makes of a lesion with p = 0.2."""
    mask = ball(5)
    soft, hard = (maps_of(load_pretrained_lrnet(), p * mask)[mask].mean() for p in (0.2, 1.0))
    return f"As shipped (soft masks), a ball of 5 with p = 0.2 has a mean map of {soft:.2f}; 0.2 of its map is {0.2 * hard:.2f}"


def out_of_sight() -> str:
    errors = [error_of_phi(load_pretrained_lrnet(), ball(radius)) for radius in (8, 20)]
    return f"Error of phi on a ball of radius 8: {errors[0]:.2f}, of 20: {errors[1]:.2f}"


def slopes_of_a_missed_lesion() -> str:
    """Mean slope towards the lesion's voxels at p = 0.01, of Dice and of the regression loss."""
    lesion = torch.from_numpy(small_lesion())
    phi = torch.from_numpy(distance_map(lesion.numpy()))[None, None]
    slopes = []
    for loss, target in ((DiceLoss(), lesion[None].long()), (DistanceRegressionLoss(load_pretrained_lrnet()), phi)):
        p = torch.full((1, *lesion.shape), 0.01, requires_grad=True)
        loss(background_and_object(p), target).backward()
        slopes.append(p.grad[0][lesion].mean().abs().item())
    return f"A missed lesion (p = 0.01): the regression loss pulls {slopes[1] / slopes[0]:.0%} as strongly as Dice"


def two_patches() -> str:
    """A large lesion found and a small one missed: one sum over the batch, or a mean over patches."""
    target = torch.from_numpy(np.stack((ball(8, 24), ball(2, 24)))).long()
    found = target.float()
    found[1] = 0
    both, each = (
        DiceLoss()(background_and_object(found), target),
        [DiceLoss()(background_and_object(p[None]), t[None]) for p, t in zip(found, target, strict=True)],
    )
    return (
        f"A large lesion found and a small one missed cost {both:.2f} as one batch, patch by patch {sum(each) / 2:.2f}"
    )


def random_weights() -> str:
    """Error of phi on a ball, shipped weights and random ones."""
    errors = []
    for seed in range(10):
        torch.manual_seed(seed)
        errors.append(error_of_phi(LRNet(), ball()))
    shipped = error_of_phi(load_pretrained_lrnet(), ball())
    return f"Error of phi on a ball of radius 8: random weights {np.mean(errors):.2f}, the shipped ones {shipped:.2f}"
