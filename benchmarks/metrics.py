"""The seven criteria of a whole scan, and the challenge's scoring, beside the libraries that compute such things.

The peers define surfaces otherwise, so what is held against ours differs: medpy can be told to erode with the
18-neighbourhood and must then agree in everything; DeepMind and MONAI have other surfaces, so their Dice must be equal
and their Hausdorff distance lie within two voxels' diagonals.
"""

import math
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.scans import SPACING, lesions, liver, predicted
from benchmarks.timing import Row, compared, installed
from lrnet_edu import CaseScores, case_scores, challenge_scores

PLAIN = Path(__file__).parents[1] / "tests" / "plain_challenge.py"
TWO_VOXELS = 2 * math.hypot(*SPACING)
Pair = tuple[np.ndarray, np.ndarray]
Scores = dict[str, float]


def with_medpy(p: np.ndarray, r: np.ndarray) -> Scores:
    from medpy.metric import binary

    return {
        "dice": binary.dc(p, r),
        "jaccard": binary.jc(p, r),
        "rvd": binary.ravd(p, r),
        "assd": binary.assd(p, r, SPACING, 2),
        "msd": binary.hd(p, r, SPACING, 2),
    }


def with_deepmind(p: np.ndarray, r: np.ndarray) -> Scores:
    import surface_distance

    distances = surface_distance.compute_surface_distances(r, p, SPACING)
    surface_distance.compute_average_surface_distance(distances)
    return {
        "dice": surface_distance.compute_dice_coefficient(r, p),
        "about msd": surface_distance.compute_robust_hausdorff(distances, 100),
    }


def with_monai(p: np.ndarray, r: np.ndarray) -> Scores:
    from monai.metrics import compute_average_surface_distance, compute_dice, compute_hausdorff_distance

    a, b = (torch.from_numpy(mask)[None, None] for mask in (p, r))  # (1, 1, D, H, W)
    options: dict[str, Any] = {"include_background": True, "spacing": list(SPACING)}
    compute_average_surface_distance(a, b, symmetric=True, **options)
    return {
        "dice": float(compute_dice(a, b)),
        "about msd": float(compute_hausdorff_distance(a, b, **options)),
    }


PEERS = {"surface-distance": ("surface_distance", with_deepmind), "MONAI": ("monai", with_monai),
         "medpy": ("medpy.metric", with_medpy)}  # fmt: skip


def apart(ours: CaseScores, theirs: Scores) -> float:
    """The largest difference of what both define alike; "about" the Hausdorff distance two voxels are granted."""
    known = {**vars(ours), "jaccard": 1 - ours.voe}
    differences = [abs(known[name] - value) for name, value in theirs.items() if name in known]
    if "about msd" in theirs:
        differences.append(max(0.0, abs(ours.msd - theirs["about msd"]) - TWO_VOXELS))
    return max(differences)


def rows(quick: bool) -> Iterator[Row]:
    """The criteria, then the challenge."""
    shape = (24, 64, 64) if quick else (128, 512, 512)
    name = " x ".join(map(str, shape[::-1]))
    masks = {"1 lesion": lesions(shape, 1), "30 lesions": lesions(shape, 30), "a whole liver": liver(shape)}
    for content, r in masks.items():
        p = predicted(r)
        peers = {peer: (lambda p=p, r=r, work=work: work(p, r)) if installed(module) else None
                 for peer, (module, work) in PEERS.items()}  # fmt: skip
        row = compared(f"seven criteria, {name}, {content}", lambda p=p, r=r: case_scores(p, r, SPACING),
                       peers, difference=apart, tolerance=1e-4)  # fmt: skip
        row.note = (
            "One scan through each library's own functions for Dice, average surface distance and Hausdorff distance "
            "(ours adds the other four criteria); medpy's with the 18-neighbourhood, the others' surfaces differ from "
            "ours and their Hausdorff distances are granted two voxels' diagonals."
        )
        yield row.aim({"surface-distance": 1, "MONAI": 1, "medpy": 20})
    yield from challenge_rows(quick)


def labels(shape: tuple[int, int, int], number: int) -> Pair:
    """A predicted and a reference label volume: liver 1, lesions 2."""
    whole, spots = liver(shape), lesions(shape, number)
    reference = (whole | spots).astype(np.uint8) + spots
    moved = predicted(spots)
    return (np.roll(whole, 1, axis=1) | moved).astype(np.uint8) + moved, reference


def challenge_rows(quick: bool) -> Iterator[Row]:
    """The board, beside its five steps written plainly: whole volumes, pair by pair."""
    plain = runpy.run_path(str(PLAIN))["plain_challenge_scores"]

    def difference(scores: Any, expected: dict[str, Any]) -> float:
        found = scores.detection
        counts = [abs(vars(found[t])[name] - n) for t, c in expected["detection"].items() for name, n in c.items()]
        parts = [(getattr(scores, part), expected[part]) for part in ("lesion", "liver", "tumour_burden")]
        means = [abs(one[name] - value) / max(1, abs(value)) for one, plain in parts for name, value in plain.items()]
        return float(max(counts + means))

    shape = (16, 48, 48) if quick else (64, 192, 192)
    case = (*labels(shape, 20), SPACING)
    yield compared(f"challenge, {' x '.join(map(str, shape[::-1]))}, 20 lesions", lambda: challenge_scores([case]),
                   {"written plainly": lambda: plain([case])}, difference=difference, tolerance=1e-4).aim(
                       {"written plainly": 10})  # fmt: skip
