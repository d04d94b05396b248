"""Train the LR-Nets that ship with the package, on random shapes alone, and report how good they are.

    python -m benchmarks.lrnet_weights [NAME ...]
    python -m benchmarks.lrnet_weights --judge

NAME is one of ``lrnet_ni-dm_relu``, ``lrnet_2d_ni-dm_relu`` and so on; without one, all ten, five for volumes and five
for slices. ``--judge`` trains nothing and measures them. The weights go to ``lrnet_edu/weights``, the figures to
``results/lrnet/NAME.json`` and all together to ``results/lrnet.md``. Lesions of real scans (the masks of ``sarcoma_ct``
on a 2 mm grid, and for slices their axial slices) are measured if ``LRNET_EDU_REAL_DATA`` names their folder; no
training sees them.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import ndimage

from lrnet_edu.config import pretrain_config
from lrnet_edu.data.cache import cache_cases
from lrnet_edu.data.cases import find_cases
from lrnet_edu.data.preprocessing import Preprocessing
from lrnet_edu.data.samples import sample_folder
from lrnet_edu.data.shapes import random_shapes
from lrnet_edu.distance_maps import distance_map
from lrnet_edu.kinds import KINDS
from lrnet_edu.losses import map_regression_loss
from lrnet_edu.lrnet_training import (
    LRNetQuality,
    background_and_object,
    held_out_shapes,
    lrnet_quality,
    map_of_mask,
    pretrain_run,
    pretraining_task,
)
from lrnet_edu.networks import LRNet
from lrnet_edu.study.page import table
from lrnet_edu.support.checkpoints import load_checkpoint, save_checkpoint
from lrnet_edu.support.labels import parse_labels
from lrnet_edu.support.voxels import connected_components
from lrnet_edu.trained import load_lrnet, lrnet_file_name
from lrnet_edu.training import fit

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "lrnet_edu" / "weights"
PAIRS = (("NI-DM", "relu"), ("NI-DM", "sigmoid"), ("O-DM", "relu"), ("I-DM", "relu"), ("SNI-DM", "tanh"))
NAMES = {Path(lrnet_file_name(*pair, dims)).stem: (*pair, dims) for dims in (3, 2) for pair in PAIRS}
RECIPE = {"steps": 24_000, "validate_every": 4000, "learning_rate": 2.5e-3, "soft": 0.2}
SEEDS = {"lrnet_o-dm_relu": 1}  # 0 for the others; with 0 this one stopped at 8.5 voxels
# Rough shapes have a smaller M than a ball as large, and these took a ball's for that: up to 18 % too small.
# So they went on: steps, learning rate, share of smooth shapes, share of these with a whole radius, seed.
FURTHER = {
    "lrnet_o-dm_relu": [(5000, 1.5e-3, 0.3, 0.0, 7)],
    "lrnet_i-dm_relu": [(12_000, 2e-3, 0.4, 0.0, 7), (5000, 1.2e-3, 0.7, 0.5, 8), (3000, 6e-4, 0.7, 0.5, 9)],
    "lrnet_2d_i-dm_relu": [(12_000, 2e-3, 0.4, 0.0, 7)],
}
CUBES = {  # edge in voxels and number, by the number of axes
    3: ((16, 4), (24, 2), (20, 4), (28, 2), (24, 3), (40, 2)),
    2: ((16, 24), (24, 16), (20, 24), (28, 12), (64, 4), (40, 8)),
}
THINNED = (1, 2, 3, 5)  # one slice of so many is kept: voxels as many times longer along z
RADII = (2, 3, 4, 5, 6, 7, 8, 10, 12, 14)  # voxels, of the balls whose depths are looked at


def train(name: str) -> dict[str, Any]:
    """Train one LR-Net, put it among the package's weights, return how it was made."""
    kind, activation, dims = NAMES[name]
    recipe = {**RECIPE, "seed": SEEDS.get(name, 0)}
    config = pretrain_config(kind, activation=activation, spatial_dims=dims, cubes=CUBES[dims], **recipe)
    started = time.process_time()
    with TemporaryDirectory() as folder:
        pretrain_run(folder, config=config, device="cpu")
        ship(Path(folder), name)
    for steps, rate, smooth, whole, seed in FURTHER.get(name, ()):
        config = replace(config, seed=seed, steps=steps, validate_every=steps // 3, learning_rate=rate)
        draw = partial(some_smooth, share=smooth, whole=whole, dims=dims)
        task = pretraining_task(config, draw, held_out_shapes(dims=dims))
        task.model.get_submodule("lrnet").load_state_dict(load_lrnet(WEIGHTS / f"{name}.safetensors").state_dict())
        with TemporaryDirectory() as folder:
            fit(task, config, Path(folder), torch.device("cpu"), title=f"{name}, further")
            ship(Path(folder), name)
    return {
        "name": name,
        "recipe": {**recipe, "cubes": CUBES[dims], "further": FURTHER.get(name, [])},
        "seconds": round(time.process_time() - started),
        "device": f"{platform.machine()} CPU, {torch.get_num_threads()} of {os.cpu_count()} cores",
        "versions": {package: metadata.version(package) for package in ("torch", "numpy", "lrnet_edu")},
    }


def ship(folder: Path, name: str) -> None:
    """Put a run's last weights among the package's: one cycle ends at a rate of 0."""
    tensors, facts = load_checkpoint(folder / "last.safetensors")
    weights = {key: tensor for key, tensor in tensors.items() if key.startswith("lrnet.")}
    described = {key: facts[key] for key in facts if key not in ("state", "plateau", "lr")}
    save_checkpoint(WEIGHTS / f"{name}.safetensors", weights, described)


def some_smooth(rng: np.random.Generator, size: int, share: float, whole: float, dims: int) -> np.ndarray:
    """As `random_shapes`; a share of them is one ball, or an ellipsoid that is nearly one, centred on the grid."""
    if rng.random() >= share:
        return random_shapes(rng, size, dims)
    radius = np.exp(rng.uniform(np.log(1.5), np.log(0.45 * size)))
    if whole and rng.random() < whole:
        radius = np.round(radius)
    centre = size // 2 + rng.integers(-2, 3, dims)
    if rng.random() < 0.3:  # between two voxels along some axes
        centre = centre + 0.5 * rng.integers(0, 2, dims)
    offsets = np.indices((size,) * dims) - centre.reshape(-1, *[1] * dims)
    axes = np.exp(rng.uniform(-0.1, 0.1, dims)) if rng.random() < 0.5 else np.ones(dims)
    return ((offsets / axes.reshape(-1, *[1] * dims)) ** 2).sum(axis=0) <= radius**2


def judge(name: str) -> dict[str, Any]:
    """Measure the weights of one LR-Net: on sets of masks, layer by layer of balls, and on soft masks."""
    lrnet = load_lrnet(WEIGHTS / f"{name}.safetensors")
    sets = mask_sets(lrnet.spatial_dims)
    quality = {}
    for title, masks in sets.items():
        found = lrnet_quality(lrnet, masks)
        parts = {"error": found.lesions, "up_to_12": [one for one in found.lesions if one.radius <= 12],
                 "beyond": [one for one in found.lesions if one.radius > 12]}  # fmt: skip
        rounded = {part: round(LRNetQuality(0, those).error, 6) if those else None for part, those in parts.items()}
        quality[title] = {"lesions": len(found.lesions), "dice": round(found.dice, 4), **rounded}
    thinned: dict[Any, Any] = {}
    if lrnet.spatial_dims == 3:
        title, masks = list(sets.items())[-1]  # real lesions, where there are any
        errors = [lrnet_quality(lrnet, [m[::k] for m in masks if m[::k].any()]).error for k in THINNED]
        thinned = {"masks": title, **{k: round(error, 3) for k, error in zip(THINNED, errors, strict=True)}}
    depth = {radius: [round(error, 3) for error in error_by_depth(lrnet, radius)] for radius in RADII}
    soft = [response._asdict() for response in soft_response(lrnet, sets["phantoms"][:4])]
    return {
        "quality": quality,
        "thinned": thinned,
        "depth": depth,
        "middle": {radius: middle(lrnet, radius) for radius in RADII},
        "soft": [{key: round(value, 4) for key, value in one.items()} for one in soft],
    }


def middle(lrnet: LRNet, radius: int) -> tuple[float, float]:
    """What the LR-Net says in the middle of a ball, and what is right."""
    reach = radius + 8
    ball = np.sum((np.indices((2 * reach + 1,) * lrnet.spatial_dims) - reach) ** 2, axis=0) <= radius**2
    inputs = torch.from_numpy(np.stack([1 - ball, ball]).astype(np.float32))[None]
    with torch.no_grad():
        output = lrnet(inputs)[0, 0].numpy()
    place = (reach,) * lrnet.spatial_dims
    return round(float(output[place]), 3), round(float(distance_map(ball, lrnet.kind)[place]), 3)


def lesion_masks(folder: Path, label: str, spacing: float) -> list[np.ndarray]:
    """The masks of all cases of a folder, (D, H, W) bool on an isotropic grid."""
    cases = [case for case in find_cases(folder) if case.mask]
    cached = cache_cases(cases, Preprocessing(spacing, (-200.0, 250.0)), parse_labels(label))
    return [case.classes == 1 for case in cached if np.any(case.classes)]


@torch.inference_mode()
def error_by_depth(lrnet: LRNet, radius: float) -> list[float]:
    """Mean error of the map in each layer of a ball, from the border to the middle; by share of M for O-DM and I-DM.

    The mean error over a lesion says little about its core, which is a small part of it: a network that knows the
    border alone looks good. Layer i of the ball (a disc in 2-D) holds the voxels with D between i - 1/2 and i + 1/2.
    """
    reach = int(radius) + 8
    offsets = np.indices((2 * reach + 1,) * lrnet.spatial_dims) - reach
    ball = np.sum(offsets**2, axis=0) <= radius**2
    depths = distance_map(ball, "O-DM")
    errors = np.abs(map_of_mask(lrnet, ball) - distance_map(ball, lrnet.kind))
    scale = 1.0 if KINDS[lrnet.kind].normalised else depths.max()
    layers = np.round(depths).astype(int)
    return [float(errors[layers == layer].mean() / scale) for layer in range(1, layers.max() + 1)]


class SoftResponse(NamedTuple):
    """What the LR-Net makes of a lesion whose probability is not 1; all means over lesion voxels."""

    probability: float  # of every lesion voxel
    output: float  # of the LR-Net
    truth: float  # the map of the mask, which knows nothing of the probability
    with_gradient: float  # share of the voxels that a regression loss would reach through the LR-Net


def soft_response(
    lrnet: LRNet, masks: Sequence[np.ndarray], scales: Sequence[float] = (1.0, 0.8, 0.6, 0.4, 0.2, 0.1, 0.05)
) -> list[SoftResponse]:
    """Scale whole masks (D, H, W) as an unsure M-Net would; how much of the map, and of the gradient, is left?

    Where the output layer is inactive for every voxel that sees a missed lesion, the frozen LR-Net passes on no
    gradient, and the regression loss alone cannot recover the lesion.
    """
    responses = []
    for scale in scales:
        voxels = []  # (3, lesion voxels) of each mask
        for lesion in (np.asarray(mask) != 0 for mask in masks):
            p = torch.from_numpy(np.where(lesion, np.float32(scale), np.float32(0)))[None].requires_grad_()
            output = lrnet(background_and_object(torch.cat((p, p))))[0, 0]  # (D, H, W)
            truth = torch.from_numpy(distance_map(lesion, lrnet.kind))
            (gradient,) = torch.autograd.grad(map_regression_loss(output, truth), p)
            found = torch.stack((output.detach(), truth, (gradient[0] != 0).float()))  # (3, D, H, W)
            voxels.append(found.numpy()[:, lesion])
        responses.append(SoftResponse(scale, *np.concatenate(voxels, axis=1).mean(axis=1).tolist()))
    return responses


def mask_sets(dims: int) -> dict[str, list[np.ndarray]]:
    """What the LR-Nets are judged on; no training saw any of it. In 2-D every fifth axial slice with a lesion."""
    sets = {"phantoms": lesion_masks(sample_folder(), "2", 3.32)}
    if real := os.environ.get("LRNET_EDU_REAL_DATA"):
        sets["sarcoma_ct, 2 mm"] = lesion_masks(Path(real) / "sarcoma_ct", "1", 2.0)
    if dims == 2:
        sets = {name: [plane for m in masks for plane in m[::5] if plane.any()] for name, masks in sets.items()}
    return {"random shapes": held_out_shapes(dims=dims), **sets}


def copying(masks: list[np.ndarray]) -> float:
    """The error of phi of an LR-Net that copies the mask, the mean over lesions of (D - 1) / M_C."""
    shares: list[float] = []
    for mask in masks:
        lesions, number = connected_components(mask, 26 if mask.ndim == 3 else 8)
        shares += list(1 - ndimage.mean(distance_map(mask), lesions, np.arange(1, number + 1)))
    return float(np.mean(shares))


def write_table(records: list[dict[str, Any]]) -> None:
    """``results/lrnet.md`` out of the records."""
    parts = (about, errors_of_phi, depths, anisotropic_grids, probabilities)
    (ROOT / "results" / "lrnet.md").write_text("\n\n".join(part(records) for part in parts) + "\n", "utf-8")


def about(records: list[dict[str, Any]]) -> str:
    """How they were trained."""
    recipe = ", ".join(f"{many} x {edge}" for edge, many in CUBES[3])
    text = (
        "# The LR-Nets that ship with the package\n\n"
        "Trained on random shapes alone by `python -m benchmarks.lrnet_weights`, never on a scan. "
        f"{RECIPE['steps']} steps, learning rate up to {RECIPE['learning_rate']:g} (one cycle), batches of cubes in "
        f"turn (number x edge in voxels: {recipe}; in 2-D more squares), {RECIPE['soft']:.0%} of them blurred and "
        f"scaled as an M-Net's uncertain output is. Device: {records[0]['device']}; versions: "
        f"{', '.join(f'{k} {v}' for k, v in records[0]['versions'].items())}."
    )
    fewer = [f"{r['name']} ({steps})" for r in records if (steps := r["recipe"]["steps"]) != RECIPE["steps"]]
    longer = [f"{r['name']} ({', '.join(f'{steps} steps, {share:.0%}' for steps, _, share, *_ in further)})"
              for r in records if (further := r["recipe"].get("further"))]  # fmt: skip
    return (
        f"{text}\n\nWith fewer steps: {', '.join(fewer) or 'none'}.\n\nRough shapes have a smaller M than a ball as "
        "large, and three LR-Nets took a ball's for that. So they went on with smooth balls as a share of the "
        f"shapes: {'; '.join(longer)}."
    )


def errors_of_phi(records: list[dict[str, Any]]) -> str:
    """Dice and the error of phi on three sets of masks."""
    copied = ", ".join(f"{copying(masks):.2f} on {title}" for title, masks in mask_sets(3).items())
    rows = [
        [record["name"], str(record["seconds"]), title, str(q["lesions"]), f"{q['dice']:.4f}",
         *("-" if q[part] is None else f"{q[part]:.3f}" for part in ("error", "up_to_12", "beyond"))]
        for record in records for title, q in record["quality"].items()
    ]  # fmt: skip
    heads = "LR-Net", "CPU seconds", "masks", "lesions", "Dice", "error of phi", "up to 12 voxels radius", "beyond"
    return (
        "Dice is that of `output > threshold` with the mask that went in. The error of phi is the mean absolute error "
        "over a lesion's voxels, then the mean over lesions (O-DM, I-DM: divided by the lesion's maximum). NI-DM's "
        f"error if the mask is merely copied, as it is the mean of (D - 1) / M_C: {copied}.\n\n{table(heads, rows)}"
    )


def depths(records: list[dict[str, Any]]) -> str:
    """The worst layer and the middle of balls."""
    rows, reached = [], {}
    for record in records:
        worst = {radius: max(record["depth"][str(radius)]) for radius in RADII}
        reached[record["name"]] = max(error for radius, error in worst.items() if radius <= 8)
        rows.append([f"{record['name']}, worst layer", *(f"{error:.3f}" for error in worst.values())])
        rows.append(["middle", *("{:.2f} ({:.2f})".format(*record["middle"][str(radius)]) for radius in RADII)])
    over = ", ".join(f"{name} ({error:.3f})" for name, error in reached.items() if error > 0.1)
    return (
        "## By depth\n\n"
        "Balls (discs in 2-D) of a radius in voxels. Above, the largest mean error of any layer of depth, by share of "
        "M for O-DM and I-DM; below, what the LR-Net says in the middle and, behind it, what is right. It sees 15 "
        "voxels to either side: from radius 8 on a voxel on the border does not see the whole ball.\n\n"
        f"{table(['LR-Net', *(f'r = {radius}' for radius in RADII)], rows)}\n\n"
        f"Above 0.1 in a layer of a ball of radius 2 to 8: {over or 'none'}. I-DM is M on the whole border, so every "
        "voxel there has to know how deep the lesion is."
    )


def anisotropic_grids(records: list[dict[str, Any]]) -> str:
    """The error of phi where slices are left out."""
    volumes = [record for record in records if record["thinned"]]
    rows = [[record["name"], *(f"{record['thinned'][str(k)]:.3f}" for k in THINNED)] for record in volumes]
    return (
        "## On anisotropic grids\n\n"
        f"The error of phi on {volumes[0]['thinned']['masks']}, all slices and one slice of so many: voxels that are "
        "as many times longer along z. Maps are in voxels, so a ball becomes a lens.\n\n"
        f"{table(['LR-Net', *(f'1 : {k}' for k in THINNED)], rows)}"
    )


def probabilities(records: list[dict[str, Any]]) -> str:
    """The output, and how much of the gradient is left, for an M-Net that is unsure."""
    rows = [
        [record["name"], f"{record['soft'][0]['truth']:.2f}",
         *(f"{r['output']:.2f} ({r['with_gradient']:.0%})" for r in record["soft"])]
        for record in records
    ]  # fmt: skip
    heads = ["LR-Net", "true mean", *(f"p = {response['probability']:g}" for response in records[0]["soft"])]
    return (
        "## On probabilities instead of masks\n\n"
        "Every lesion voxel of four phantoms gets the same probability, as an unsure M-Net would give. The second "
        "number is the share of lesion voxels that the regression loss reaches with a gradient through the LR-Net."
        f"\n\n{table(heads, rows)}"
    )


def main() -> None:
    """Train what the command line names, then write the table of all records there are."""
    parser = argparse.ArgumentParser(description="Train the LR-Nets that ship, and put them among the weights.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(NAMES)}; none: all")
    parser.add_argument("--judge", action="store_true", help="judge those that are there, and train none")
    arguments, folder = parser.parse_args(), ROOT / "results" / "lrnet"
    if unknown := sorted(set(arguments.names) - set(NAMES)):
        parser.error(f"there is no {', '.join(unknown)}")
    for name in arguments.names or NAMES:
        path = folder / f"{name}.json"
        record = json.loads(path.read_text("utf-8")) if arguments.judge else train(name)
        path.write_text(json.dumps({**record, **judge(name)}, indent=1) + "\n", "utf-8")
    write_table([json.loads(path.read_text("utf-8")) for name in NAMES if (path := folder / f"{name}.json").exists()])


if __name__ == "__main__":
    main()
