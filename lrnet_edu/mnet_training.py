"""Section 2.3: training of the M-Net, alone or in tandem; batches, validation and run folder of a row of `methods`."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lrnet_edu.config import Config
from lrnet_edu.data.cache import CachedCase
from lrnet_edu.data.patches import PatchBatches
from lrnet_edu.data.study import Study, check_same_study, fitted_patch
from lrnet_edu.inference import predict_probabilities
from lrnet_edu.methods import METHODS
from lrnet_edu.metrics import dice
from lrnet_edu.support.devices import choose_device
from lrnet_edu.support.jobs import print_above_bar, progress
from lrnet_edu.support.run_folder import State, open_run, settings_of_run
from lrnet_edu.training import Row, Task, fit

VALIDATION_BATCHES = 8  # fixed batches of the validation cases, for the validation loss


def mnet_task(study: Study, config: Config, batches: type[PatchBatches] = PatchBatches) -> Task:
    """What `lrnet_edu.training.fit` needs to train one row on a study; ``batches`` draws the patches."""
    method, classes, validation = METHODS[config.method], len(study.labels), study.cached["validation"]
    torch.manual_seed(config.seed)  # the first weights depend on the seed alone: every row starts from the same M-Net
    model = method.model(config, classes + 1)
    mnet, phases = model.get_submodule("mnet"), method.phases(config, model)
    patches: dict[str, Any] = {
        "kinds": method.maps(config), "classes": classes, "patch_size": config.patch_size,
        "batch_size": config.batch_size, "object_share": config.object_share,
    }  # fmt: skip
    drawn = batches(study.cached["train"], augment=True, seed=[config.seed, 0], length=config.steps, **patches)
    fixed = PatchBatches(validation, augment=False, seed=[config.seed, 1], length=VALIDATION_BATCHES, **patches)
    present = np.array([[len(voxels) > 0 for voxels in case.foreground] for case in validation])  # (cases, classes)

    def validate(step: int) -> Row:
        device = next(model.parameters()).device
        with torch.no_grad():
            losses = [phases[-1].loss(fixed[i].to(device)).item() for i in range(len(fixed))]
        cases = progress(validation, "Validating", unit="case")
        by_case = np.array([case_dice(mnet, case, config.patch_size, classes) for case in cases])
        if step > config.warmup and present.any() and not by_case[present].any():
            print_above_bar(
                f"At step {step} the network finds no voxel of the object in any validation case; if it stays so, give "
                "it more steps (and an LR-Net's more --warmup-steps), or check that label and window show the object."
            )
        means = np.ma.array(by_case, mask=~present).mean(axis=0).filled(0.0)  # of cases that hold it
        per_class = {f"val_DC_{c}": float(mean) for c, mean in enumerate(means, start=1)} if classes > 1 else {}
        return {"val_loss": float(np.mean(losses)), "score": float(means.mean()), **per_class}

    metadata = {
        "network": method.network.__name__, "mnet": getattr(mnet, "settings", None), "label": config.label,
        "method": config.method, "patch_size": config.patch_size, "preprocessing": asdict(study.preprocessing),
    }  # fmt: skip
    return Task(model, drawn, phases, validate, metadata, best_prefix="mnet.")


def case_dice(mnet: nn.Module, case: CachedCase, patch_size: Sequence[int], classes: int) -> list[float]:
    """Dice of each foreground class of one whole cached case; 1 where mask and prediction are both empty."""
    predicted = predict_probabilities(mnet, case.image, patch_size=patch_size, overlap=0.25).argmax(0)  # (D, H, W)
    return [dice(predicted == c, case.classes == c) for c in range(1, classes + 1)]


def train_run(
    study: Study, config: Config, folder: Path, *, device: str | None = None, resume: bool = False,
    log: Callable[[Row], None] | None = None, rate: Callable[[float], float] | None = None,
    batches: type[PatchBatches] = PatchBatches,
) -> State:  # fmt: skip
    """Train one configuration on a study into a run folder that ``lrnet-edu predict`` accepts.

    Args:
        study: the scans, from `open_study`.
        config: the row and how it is trained.
        folder: the run folder: a new one, or with ``resume`` the one to continue.
        device: "cpu", "cuda", "cuda:1", "mps"; None takes a CUDA GPU if there is one.
        resume: continue from the last validation.
        log: called with the row of each validation, as in ``log.csv``.
        rate: function from the share of steps done to the factor on the learning rate; None uses the configuration.
        batches: what draws the patches.

    InputError as `fit`, or if study, settings and folder do not belong together.
    """
    check_same_study(study, config)
    folder, place = Path(folder), choose_device(device)
    config = replace(config, patch_size=fitted_patch(config.patch_size, study.cached["train"]))
    if resume and config.warmup_steps is None and (folder / "config.json").exists():  # it stays, with more steps too
        config = replace(config, warmup_steps=settings_of_run(folder).get("warmup_steps"))
    task = mnet_task(study, config, batches)
    method = METHODS[config.method]
    files = {name: str(Path(path).resolve()) for name in ("start", "lrnet") if (path := getattr(config, name))}
    settings = {**asdict(config), **files, "alpha": method.alpha(config), "warmup_steps": config.warmup,
                "data": str(study.data.resolve()), "preprocessing": asdict(study.preprocessing)}  # fmt: skip
    title = f"{method.title} on {place}"
    with open_run(folder, settings, resume=resume, split=study.split):
        return fit(task, config, folder, place, resume=resume, rate=rate, log=log, title=title)
