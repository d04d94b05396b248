"""What could put the LR-Net ahead of its control? Tried on seeds and phantoms that the study's test never sees.

    python -m benchmarks.exploration DIR
    python -m benchmarks.exploration DIR --fresh 0 1 2 3 4

DIR is the folder of ``lrnet-edu reproduce study``, whose phantoms and whose two M-Nets for choosing alpha it takes.
From these every variant goes on as an arm of the study does; the validation phantoms, cut to the liver's box, give the
primary endpoint. The table goes to ``results/exploration.md``. ``--fresh`` tests the best of them with other seeds.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrnet_edu.config import Config
from lrnet_edu.data.patches import PatchBatches
from lrnet_edu.data.study import Study
from lrnet_edu.distance_maps import distance_map
from lrnet_edu.losses import DiceLoss
from lrnet_edu.lrnet_training import background_and_object, depth_weights
from lrnet_edu.methods import METHODS, BatchLoss, TandemMethod
from lrnet_edu.study.branches import VALIDATION, Branch, Scans, do_branch, prepare_scans
from lrnet_edu.study.evidence import endpoint, gains
from lrnet_edu.study.evidence_text import cell_in_words
from lrnet_edu.study.page import interval, signed, table
from lrnet_edu.study.protocol import ARMS, CELLS, Arm, Plan, study_plan
from lrnet_edu.study.reproduce_study import checkpoint
from lrnet_edu.study.trainings import read_record
from lrnet_edu.support.checkpoints import save_checkpoint
from lrnet_edu.support.files import write_atomically
from lrnet_edu.trained import load_mnet, load_pretrained_lrnet, lrnet_metadata

RESULTS = Path(__file__).parents[1] / "results"
OWN_OUTPUTS = "lrnet_own_outputs_seed-{}.safetensors"  # in DIR
PRETRAINING_STEPS = 1500


class LeakingGradient(nn.Module):
    """A ReLU whose gradient is 0.1, not 0, where it is off; its values are a ReLU's."""

    def forward(self, x: Tensor) -> Tensor:
        leak = 0.1 * x.clamp_max(0)
        return torch.relu(x) + leak - leak.detach()


class NeverOff(TandemMethod):
    """The output layer of the LR-Net passes a gradient for a lesion that it reads as nothing."""

    def model(self, config: Config, classes: int) -> nn.Module:
        tandem: Any = super().model(config, classes)
        tandem.lrnet.output = LeakingGradient()
        return tandem


class Inside(TandemMethod):
    """The map's error inside the lesions counts as much as that outside, however few voxels they have."""

    def loss(self, config: Config, model: nn.Module) -> BatchLoss:
        def total(batch: Any) -> Tensor:
            phi = batch.maps[config.kind]
            errors = F.smooth_l1_loss(model(batch.image)[1], phi, reduction="none")
            inside = (errors * (phi > 0)).sum() / (phi > 0).sum().clamp_min(1)
            return self.alpha(config) * (inside + (errors * (phi == 0)).mean())

        return total


class Growing(TandemMethod):
    """Alpha grows from 0 to twice its value along the branch."""

    def loss(self, config: Config, model: nn.Module) -> BatchLoss:
        assert config.alpha is not None
        terms = [super(Growing, self).loss(replace(config, alpha=alpha), model) for alpha in (0.0, config.alpha)]
        step = 0

        def total(batch: Any) -> Tensor:
            nonlocal step
            share, step = 2 * step / config.steps, step + 1
            without, full = (term(batch) for term in terms)
            return without + share * (full - without)

        return total


Variant = tuple[str, str, float | None, Callable[[int], str] | None]  # title, method, alpha, LR-Net's file
VARIANTS: dict[str, Variant] = {
    "C": ("LR-Net alone, as in the study", "lrnet", None, None),
    "E": ("SmoothL1(p, mask) alone, the control of C", "voxelwise", None, None),
    "own-outputs": ("LR-Net alone, one that has also seen this M-Net's outputs", "lrnet", None, OWN_OUTPUTS.format),
    "never-off": ("LR-Net alone, whose output passes a gradient where it is off", "never-off", None, None),
    "inside": ("LR-Net alone, the error inside lesions counts as much as outside", "inside", None, None),
    "growing": ("Dice + alpha LR-Net, alpha growing from 0 to 2000", "growing", 1000.0, None),
}
LOSSES = {
    "never-off": NeverOff("M-Net + LR-Net that leaks"),
    "inside": Inside("M-Net + LR-Net, inside"),
    "growing": Growing("M-Net + Dice + growing LR-Net", DiceLoss),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exploration", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="of lrnet-edu reproduce study")
    parser.add_argument("--fresh", type=int, nargs="+", default=[], help="seeds to test own-outputs with, then stop")
    given, plan = parser.parse_args(), study_plan()
    METHODS.update(LOSSES)
    out, scans = given.folder, prepare_scans(given.folder, plan, workers=1, say=print)
    for seed in given.fresh:
        learn_own_outputs(scans.study, plan.base(seed), checkpoint(out, seed), out / OWN_OUTPUTS.format(seed))
        finish(scans, out, replace(branch_of(plan, out, "own-outputs", seed), cells=CELLS))
    if given.fresh:
        return
    found: dict[str, list[float]] = {}
    for seed in plan.selection_seeds:
        learn_own_outputs(scans.study, plan.base(seed), checkpoint(out, seed), out / OWN_OUTPUTS.format(seed))
        for name in VARIANTS:
            branch = branch_of(plan, out, name, seed)
            finish(scans, out, branch)
            found.setdefault(name, []).append(score(out, branch))
            print(f"{branch.name}: {found[name][-1]:.3f}", flush=True)
    for arm, alpha in (("B", 1000.0), ("D", 3000.0)):  # from the choice of alpha
        key = f"{arm}-alpha-{alpha:g}"
        branches = [Branch(key, seed, plan.branch(arm, seed, checkpoint(out, seed), alpha=alpha), cells=(VALIDATION,))
                    for seed in plan.selection_seeds]  # fmt: skip
        found[key] = [score(out, branch) for branch in branches]
    write(found, plan, on_fresh_seeds(out, plan))


def branch_of(plan: Plan, out: Path, name: str, seed: int) -> Branch:
    """A variant with a seed, as a branch of the study."""
    title, method, alpha, lrnet = VARIANTS[name]
    ARMS[f"explore-{name}"] = Arm(title, method)
    file = str(out / lrnet(seed)) if lrnet else None
    config = plan.branch(f"explore-{name}", seed, checkpoint(out, seed), alpha=alpha, lrnet=file)
    return Branch(f"explore-{name}", seed, config, cells=(VALIDATION,))


def finish(scans: Scans, out: Path, branch: Branch) -> None:
    """Train, test and record a branch, unless its record is there."""
    if read_record(out, branch) is None and (error := do_branch(scans, out, None, branch)):
        raise SystemExit(error)


def on_fresh_seeds(out: Path, plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """In each cell what own-outputs gains over its control, the LR-Net that ships, and Dice, on seeds of the study."""
    records: dict[tuple[str, int], Mapping[str, Any]] = {}
    for seed in range(plan.selection_seeds[0]):
        if (out / OWN_OUTPUTS.format(seed)).exists():
            arms = [Branch(arm, seed, plan.branch(arm, seed, checkpoint(out, seed))) for arm in "ACE"]
            for branch in (branch_of(plan, out, "own-outputs", seed), *arms):
                if record := read_record(out, branch):
                    records[branch.arm, seed] = record
    pairs = [("explore-own-outputs", arm) for arm in "ECA"]
    return {"/".join(cell): gains(records, pairs, "/".join(cell), family=False) for cell in CELLS}


def score(out: Path, branch: Branch) -> float:
    """The primary endpoint on the validation phantoms."""
    record = read_record(out, branch)
    assert record is not None
    return endpoint(record["cells"]["/".join(VALIDATION)])


def learn_own_outputs(study: Study, config: Config, start: str, path: Path) -> None:
    """Train the LR-Net that ships further, on what this M-Net makes of training patches: the map of p > 0.5 from p.

    Nothing is done if it is there.
    """
    if path.exists():
        return
    torch.manual_seed(config.seed)
    mnet, lrnet = load_mnet(start).mnet.eval(), load_pretrained_lrnet("NI-DM").train()
    patches = PatchBatches(
        study.cached["train"], kinds=[], classes=1, patch_size=config.patch_size, batch_size=config.batch_size,
        object_share=config.object_share, augment=True, seed=[config.seed, 7], length=PRETRAINING_STEPS,
    )  # fmt: skip
    optimizer = torch.optim.Adam(lrnet.parameters(), lr=1e-3)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, PRETRAINING_STEPS)
    for step in range(PRETRAINING_STEPS):
        with torch.no_grad():
            p = torch.softmax(mnet(patches[step].image), dim=1)[:, 1]  # (B, D, H, W)
        masks = (p > 0.5).numpy()
        weights = torch.from_numpy(np.stack([depth_weights(mask, "NI-DM") for mask in masks]))
        phi = torch.from_numpy(np.stack([distance_map(mask) for mask in masks]))
        loss = (weights * (lrnet(background_and_object(p))[:, 0] - phi).abs()).sum() / len(masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
    tensors = {f"lrnet.{name}": weight for name, weight in lrnet.state_dict().items()}
    save_checkpoint(path, tensors, lrnet_metadata(lrnet))


def write(found: dict[str, list[float]], plan: Plan, fresh: dict[str, list[dict[str, Any]]]) -> None:
    """``results/exploration.md`` and ``.json``."""
    titles = {name: row[0] for name, row in VARIANTS.items()} | {
        "B-alpha-1000": "Dice + 1000 LR-Net, as in the study",
        "D-alpha-3000": "Dice + 3000 SmoothL1(p, mask), the control of B",
    }
    lines = [[titles[name], *(f"{value:.3f}" for value in values), f"{np.mean(values):.3f}"]
             for name, values in found.items()]  # fmt: skip
    tested = [
        [cell_in_words(cell), f"own outputs − {row['theirs']}", signed(row["mean"]), interval(row),
         interval(row, "boot_"), row["verdict"], str(len(row["seeds"]))]
        for cell, rows in fresh.items() for row in rows
    ]  # fmt: skip
    page = (
        "# Could the LR-Net be ahead of its control?\n\n"
        "Written by `python -m benchmarks.exploration`. Exploration, not a test: the two seeds that chose alpha,\n"
        "on the 15 validation phantoms, cut to the liver's box. From the same M-Net every row takes 600 further\n"
        "steps. The figure is the study's primary endpoint, mean lesion Dice of 0.25 to 5 ml at LUNA16's rates.\n\n"
        + table(["Loss", *(f"seed {seed}" for seed in plan.selection_seeds), "mean"], lines) + "\n\n"
        "## On fresh seeds and the test cases\n\n"
        "The LR-Net that has also seen this M-Net's outputs, against E, C and A of the study; each p alone (protocol,\n"
        "'Changes').\n\n"
        + table(["Set", "Difference", "Mean", "t over seeds", "Bootstrap over seeds and cases", "Verdict", "Seeds"],
                tested) + "\n"
    )  # fmt: skip
    write_atomically(RESULTS / "exploration.md", page.encode())
    numbers = json.dumps({"validation": found, "fresh": fresh}, indent=1) + "\n"
    write_atomically(RESULTS / "exploration.json", numbers.encode())


if __name__ == "__main__":
    main()
