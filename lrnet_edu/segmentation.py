"""Training of the M-Net, alone or in tandem with the LR-Net: every row of Table 2 is one :class:`Config`.

The total loss is L = L_seg(p, target) + alpha * SmoothL1(LR-Net(p), phi), p the M-Net's probabilities. Rows with an
LR-Net start with Dice alone (the warm-up, counted in their steps): from a fresh M-Net the regression loss drifts to
"all background", since an empty output costs it next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lrnet_edu import losses
from lrnet_edu.baselines import location_baseline
from lrnet_edu.checkpoints import load_checkpoint, malformed_facts
from lrnet_edu.config import METHODS, Config
from lrnet_edu.data.cache import CachedCase, cache_cases
from lrnet_edu.data.cases import a_few, find_cases, misnamed
from lrnet_edu.data.labels import Labels, parse_labels
from lrnet_edu.data.patches import Batch, PatchBatches
from lrnet_edu.data.preprocessing import Preprocessing, choose_preprocessing
from lrnet_edu.errors import InputError
from lrnet_edu.inference import predict_probabilities
from lrnet_edu.networks import LRNet, MNet, Tandem, load_lrnet, load_pretrained_lrnet, load_weights, tensors_of
from lrnet_edu.parallel import processes, rank
from lrnet_edu.reading import read_json, shortened
from lrnet_edu.rivals import SIGNED_DISTANCES, CascadedMNet, MultiBranch
from lrnet_edu.symptoms import Unfound, check_alive, died, enough_memory, tell
from lrnet_edu.training import (
    State,
    Task,
    choose_device,
    estimate,
    fit,
    opened_run,
    summary_writer,
    what_fills_memory,
)

VALIDATION_BATCHES = 8  # fixed patches of the validation cases, for the validation loss
PENALTY_KIND = "NI-DM"  # MapDice's map in every row; the other kinds leave [0, 1]
MNETS: dict[str, type[MNet]] = {"MNet": MNet, "CascadedMNet": CascadedMNet}  # by the name in a checkpoint
PARTS = ("train", "validation", "test")


# ---- cases ----------------------------------------------------------------------------------------------------


def split_cases(names: Sequence[str], *, seed: int = 0) -> dict[str, list[str]]:
    """Divide cases at random into train, validation and test, about 60, 15 and 25 %, at least one each.

    The same whatever the run's seed, so that runs are compared on the same cases.

    Raises:
        InputError: if there are fewer than three cases.
    """
    if len(names) < 3:
        raise InputError(
            f"A training needs three cases with a mask (train, validation, test), and here "
            f"{'is 1' if len(names) == 1 else f'are {len(names)}'}; a mask goes beside its scan, segmentation-0 to "
            "volume-0."
        )
    shuffled = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    validation = max(1, round(0.15 * len(names)))
    test = max(1, round(0.25 * len(names)))
    parts = (shuffled[validation + test :], shuffled[:validation], shuffled[validation : validation + test])
    return {part: [name for name in names if name in chosen] for part, chosen in zip(PARTS, parts, strict=True)}


def read_split(path: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Read a ``split.json``: lists of case names under train, validation and test.

    Raises:
        InputError: if it is no such file, names an unknown case, or one case twice.
    """
    try:
        content = read_json(Path(path))
        split = {part: case_names(content[part]) for part in PARTS}
    except (OSError, ValueError, KeyError, TypeError):
        if not Path(path).exists():
            raise InputError(f"{path} does not exist; name a split.json, or leave --split out.") from None
        raise InputError(
            f"{path} is not a split; give a JSON file with lists of case names under train, validation and test."
        ) from None
    listed = [name for part in PARTS for name in split[part]]
    if unknown := sorted(set(listed) - set(names)):
        raise InputError(f"{path} names cases that the data does not hold ({shortened(unknown)}); remove them.")
    if len(listed) != len(set(listed)):
        raise InputError(f"{path} names a case in more than one part; each belongs to train, validation or test.")
    if not all(split[part] for part in ("train", "validation")):
        raise InputError(f"{path} leaves train or validation empty; each needs a case.")
    return split


def case_names(listed: Any) -> list[str]:
    """A list of names out of a JSON file; TypeError if it is something else."""
    if not isinstance(listed, list):
        raise TypeError(f"{type(listed).__name__} instead of a list")
    return [str(name) for name in listed]


# ---- the network and its loss -----------------------------------------------------------------------------------


def build_model(config: Config, classes: int) -> nn.Module:
    """The M-Net of this configuration, in tandem with the LR-Net or inside a rival where its method says so.

    Its weights depend on ``config.seed`` alone, so every method starts from the same M-Net.
    """
    torch.manual_seed(config.seed)
    method = METHODS[config.method]
    mnet = MNETS[mnet_name(config)](1, classes + 1, features=config.features, blocks=config.blocks)
    if method.rival == "multi-branch":
        return MultiBranch(mnet)
    lrnet = lrnet_of(config)
    if lrnet is None:
        return nn.ModuleDict({"mnet": mnet})
    return Tandem(mnet, lrnet, frozen=method.lrnet == "frozen")


def lrnet_of(config: Config) -> LRNet | None:
    """The pretrained LR-Net that this configuration hangs behind its M-Net, None if it needs none."""
    if METHODS[config.method].lrnet is None:
        return None
    if config.lrnet is None:
        return load_pretrained_lrnet(config.kind, activation=config.activation)
    lrnet = load_lrnet(checkpoint_of(config.lrnet), kind=config.kind, activation=config.activation)
    check_alive(lrnet, f"The LR-Net of {config.lrnet}")
    return lrnet


def mnet_name(config: Config) -> str:
    """The kind of M-Net that this configuration trains and keeps, a key of ``MNETS``."""
    return "CascadedMNet" if METHODS[config.method].rival == "cascaded" else "MNet"


def total_loss(config: Config, model: nn.Module) -> Callable[[Batch, int], Tensor]:
    """The loss of a batch at a step: Dice while warming up, then the method's own (section 2.3)."""
    method, mnet = METHODS[config.method], model.get_submodule("mnet")
    main = getattr(losses, method.segmentation_loss)() if method.segmentation_loss else None
    warm_up = losses.DiceLoss()
    rival = next((part for part in (model, mnet) if isinstance(part, MultiBranch | CascadedMNet)), None)
    alpha = losses.DEFAULT_ALPHA[config.kind] if config.alpha is None else config.alpha

    def segmentation(probabilities: Tensor, batch: Batch) -> Tensor:
        assert main is not None
        is_map_loss = isinstance(main, losses.MapDiceLoss)
        return main(probabilities, batch.maps[PENALTY_KIND] if is_map_loss else batch.classes)

    def loss(batch: Batch, step: int) -> Tensor:
        if rival is not None:
            return rival.loss(batch.image, batch.classes, batch.maps[SIGNED_DISTANCES])
        if method.lrnet is None:
            return segmentation(torch.softmax(mnet(batch.image), dim=1), batch)
        if step < config.warmup:
            return warm_up(torch.softmax(mnet(batch.image), dim=1), batch.classes)
        probabilities, maps = model(batch.image)  # (B, K + 1, D, H, W), (B, K, D, H, W)
        regression = alpha * losses.map_regression_loss(maps, batch.maps[config.kind])
        return regression if main is None else segmentation(probabilities, batch) + regression

    return loss


def segmentation_task(
    config: Config,
    train: Sequence[CachedCase],
    validation: Sequence[CachedCase],
    facts: dict[str, Any],
    classes: int,
) -> Task:
    """What :func:`lrnet_edu.training.fit` needs to train one row."""
    model = build_model(config, classes)
    loss, mnet = total_loss(config, model), model.get_submodule("mnet")
    method = METHODS[config.method]
    kinds = [PENALTY_KIND] if method.segmentation_loss == "MapDiceLoss" else []
    kinds += [config.kind] if method.lrnet else []
    kinds += [SIGNED_DISTANCES] if method.rival else []

    def batches(cases: Sequence[CachedCase], *, augment: bool, seed: int, length: int, **share: Any) -> PatchBatches:
        return PatchBatches(
            cases, kinds=kinds, classes=classes, patch_size=config.patch_size, batch_size=config.batch_size,
            object_share=config.object_share, augment=augment, seed=[config.seed, seed], length=length, **share,
        )  # fmt: skip

    fixed = batches(validation, augment=False, seed=1, length=VALIDATION_BATCHES)
    present = np.array([[len(voxels) > 0 for voxels in case.foreground] for case in validation])  # (cases, classes)
    unfound, steps = Unfound(cure_for_background(config)), 0

    def training_loss(batch: Batch, step: int) -> Tensor:
        nonlocal steps
        steps = step + 1
        return loss(batch, step)

    def validate() -> dict[str, float]:
        if method.lrnet == "unfrozen" and (words := died(model.get_submodule("lrnet"))):  # type: ignore[arg-type]
            tell(
                f"The LR-Net that is trained too {words}; what the M-Net knew before is kept (method lrnet freezes it)."
            )
        device = next(model.parameters()).device
        with torch.no_grad():
            mean = np.mean([loss(fixed[i].to(device), config.steps).item() for i in range(len(fixed))])
        by_case = np.array([case_dice(mnet, case, config.patch_size, classes) for case in validation])
        if rank() == 0 and steps > config.warmup and (sentence := unfound.look(by_case, present, steps)):
            tell(sentence)
        dice = by_case.mean(axis=0)
        per_class = {f"val_DC_{c}": float(d) for c, d in enumerate(dice, start=1)} if classes > 1 else {}
        return {"val_loss": float(mean), "score": float(dice.mean()), **per_class}

    train_batches = batches(train, augment=True, seed=0, length=config.steps, share=(rank(), processes()))
    restart = bool(method.lrnet) and not method.segmentation_loss  # the map's gradients are far smaller than Dice's
    return Task(model, train_batches, training_loss, validate, facts, kept="mnet.", warmup=config.warmup,
                restart=restart)  # fmt: skip


def cure_for_background(config: Config) -> str:
    """What helps a method whose network has drifted to "all background"."""
    if METHODS[config.method].lrnet is None:
        return "give it more steps, centre more patches on objects, or look whether label and window show the object"
    if METHODS[config.method].segmentation_loss is None:
        return "add a segmentation loss (method mapdice+lrnet), or give the warm-up more steps (--warmup-steps)"
    return "give the warm-up more steps (--warmup-steps), or lower alpha"


def case_dice(mnet: nn.Module, case: CachedCase, window: Sequence[int], classes: int) -> list[float]:
    """Dice of each foreground class of one whole cached case; 1 where mask and prediction are both empty."""
    probabilities = predict_probabilities(mnet, case.image, window=window, overlap=0.25)
    predicted, truth = probabilities.argmax(0), case.classes
    sizes = [(np.sum((predicted == c) & (truth == c)), np.sum(predicted == c) + np.sum(truth == c))
             for c in range(1, classes + 1)]  # fmt: skip
    return [float(2 * both / size) if size else 1.0 for both, size in sizes]


# ---- a run from a folder of scans ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Study:
    """Cases of a folder, divided and preprocessed: what several runs share."""

    data: Path
    labels: Labels
    split: dict[str, list[str]]
    preprocessing: Preprocessing
    cached: dict[str, list[CachedCase]]  # by part; the test cases serve the location baseline alone
    without_mask: tuple[str, ...] = ()  # cases of the folder that take no part
    misnamed: tuple[str, ...] = ()  # files that take no part

    def describe(self) -> str:
        """What was found and chosen, and what a guess by location alone scores."""
        numbers = ", ".join(f"{len(self.split[part])} {part}" for part in PARTS)
        window = self.preprocessing.window
        scale = f"window {window[0]:g} to {window[1]:g} HU" if window else "intensities standardised"
        lines = [f"Cases: {numbers}. Grid {self.preprocessing.spacing:g} mm, {scale}."]
        if self.without_mask:
            lines.append(f"Left out, as they have no mask: {a_few(self.without_mask)}.")
        if self.misnamed:
            lines.append(f"Left out, as their names are no volume-N, segmentation-N: {a_few(self.misnamed)}.")
        remarks = [remark for part in PARTS for case in self.cached[part] for remark in case.remarks]
        lines += remarks[:5] + ([f"The same of {len(remarks) - 5} more."] if len(remarks) > 5 else [])
        for part in ("validation", "test"):
            scores = location_baseline(self.cached["train"], self.cached[part], len(self.labels))
            listed = ", ".join(
                f"{'no case holds it' if np.isnan(score) else f'{score:.3f}'} (label {'+'.join(map(str, numbers))})"
                for score, numbers in zip(scores, self.labels, strict=True)
            )
            lines.append(f"Location alone (the average training shape, image unseen), {part} DC: {listed}")
        return "\n".join(lines)


def open_study(data: Path, config: Config, *, split: Path | None = None) -> Study:
    """Find the cases, divide them, choose the grid from the training part, preprocess, cache."""
    data, labels = Path(data), parse_labels(config.label)
    found = find_cases(data)
    cases = {case.name: case for case in found if case.mask is not None}
    parts = read_split(split, list(cases)) if split else split_cases(list(cases))
    chosen = choose_preprocessing(
        [cases[name] for name in parts["train"]], max_voxels=config.max_voxels, window=config.window
    )
    chosen = replace(chosen, random_boxes=config.random_boxes)
    cached = cache_cases([cases[name] for part in PARTS for name in parts[part]], chosen, labels)
    by_name = {case.name: case for case in cached}
    by_part = {part: [by_name[name] for name in parts[part]] for part in PARTS}
    check_learnable(by_part, labels)
    if chosen.window and all(np.ptp(case.image) == 0 for case in by_part["train"][:3]):
        low, high = chosen.window
        raise InputError(
            f"Between {low:g} and {high:g} HU the scans are of one grey; choose a window in which the object differs "
            "from what surrounds it (--window), such as -200 250 for the liver."
        )
    without_mask = tuple(case.name for case in found if case.mask is None)
    return Study(data, labels, parts, chosen, by_part, without_mask, tuple(misnamed(data)))


def check_learnable(cached: Mapping[str, Sequence[CachedCase]], labels: Labels) -> None:
    """InputError unless a training case holds each of the labels."""
    for k, group in enumerate(labels):
        holders = {part: [case.name for case in cases if len(case.foreground[k])] for part, cases in cached.items()}
        if not holders["train"]:
            others = [name for names in holders.values() for name in names]
            elsewhere = f"it is in {a_few(others)}" if others else "nor does another, within the body"
            raise InputError(
                f"No training case holds label {'+'.join(map(str, group))} ({elsewhere}): choose the training cases "
                "with --split, or look at the masks."
            )


def fitted_patch(size: Sequence[int], cases: Sequence[CachedCase]) -> tuple[int, int, int]:
    """A patch (z, y, x) that is no larger than the largest case needs, in steps of 8: padding teaches nothing."""
    largest = np.max([case.image.shape for case in cases], axis=0)
    depth, height, width = (min(given, -(-int(need) // 8) * 8) for given, need in zip(size, largest, strict=True))
    return depth, height, width


def check_same_study(study: Study, config: Config) -> None:
    """InputError unless the study was opened for the labels, window and boxes of this configuration."""
    chosen = study.preprocessing
    differ = {
        "label": study.labels != parse_labels(config.label),
        "window": config.window is not None and chosen.window != tuple(config.window),
        "random_boxes": config.random_boxes != chosen.random_boxes,
    }
    if any(differ.values()):
        names = " and ".join(name for name, different in differ.items() if different)
        raise InputError(f"The study was opened with another {names}; call open_study with the settings of this run.")


def train_run(
    study: Study, config: Config, folder: Path, *, device: str | None = None, resume: bool = False,
    tensorboard: bool = False, say: Callable[[str], None] | None = None,
) -> State:  # fmt: skip
    """Train one configuration on a study into a run folder that ``lrnet-edu predict`` accepts."""
    check_same_study(study, config)
    folder = Path(folder)
    classes, place = len(study.labels), choose_device(device)
    if processes() > config.batch_size:
        raise InputError(
            f"{processes()} processes cannot share batches of {config.batch_size} patches; start at most "
            f"{config.batch_size}."
        )
    config = replace(config, patch_size=fitted_patch(config.patch_size, study.cached["train"]))
    facts = {
        "network": mnet_name(config),
        "mnet": {
            "in_channels": 1,
            "classes": classes + 1,
            "features": config.features,
            "blocks": config.blocks,
        },
        "label": config.label,
        "method": config.method,
        "patch_size": config.patch_size,
        "preprocessing": asdict(study.preprocessing),
    }
    about = {"data": str(study.data.resolve()), "preprocessing": asdict(study.preprocessing), "split": study.split}
    task = segmentation_task(config, study.cached["train"], study.cached["validation"], facts, classes)
    if tensorboard:
        summary_writer()
    with opened_run(folder, config, resume=resume, more=about, split=study.split):
        if say:
            with enough_memory(place, f"lower {what_fills_memory(config)}"):
                seconds, memory = estimate(task, place)
            minutes, gigabytes = seconds * config.steps / 60, memory / 1e9
            say(f"On {place}: {f'about {minutes:.0f} min' if minutes >= 1 else 'less than a minute'} and "
                f"{max(gigabytes, 0.1):.1f} GB for {config.steps} steps at most.")  # fmt: skip
        return fit(task, config, folder, place, resume=resume, tensorboard=tensorboard,
                   title=METHODS[config.method].title)  # fmt: skip


# ---- checkpoints ------------------------------------------------------------------------------------------------


def checkpoint_of(run: str | Path) -> Path:
    """``best.safetensors`` of a run folder, or the checkpoint itself."""
    path = Path(run)
    return path / "best.safetensors" if path.is_dir() else path


@dataclass(frozen=True)
class TrainedMNet:
    """An M-Net without its LR-Net, and what it takes to use it on a scan."""

    mnet: MNet
    labels: Labels
    patch_size: tuple[int, int, int]
    preprocessing: Preprocessing


def load_mnet(run: str | Path) -> TrainedMNet:
    """Read the M-Net of a run folder or checkpoint; the LR-Net is thrown away (section 2.2).

    Raises:
        InputError: if there is none, or it is another network's checkpoint.
    """
    path = checkpoint_of(run)
    tensors, facts = load_checkpoint(path)
    if (network := str(facts.get("network"))) not in MNETS:
        raise InputError(
            f"{path} holds no M-Net but a network of kind {shortened([network])}; name a run of `lrnet-edu train`."
        )
    with malformed_facts(path), torch.device("meta"):  # which takes no memory, whatever sizes the facts claim
        settings = dict(facts["preprocessing"])
        settings["window"] = tuple(settings["window"]) if settings["window"] else None
        preprocessing, patch_size = Preprocessing(**settings), tuple(facts["patch_size"])
        if sum(facts["mnet"]["blocks"]) > len(tensors):
            raise ValueError("more blocks than tensors")
        mnet, labels = MNETS[network](**facts["mnet"]), parse_labels(facts["label"])
        if (mnet.settings["in_channels"], mnet.settings["classes"]) != (1, len(labels) + 1):
            raise ValueError("not one class for each label")
        if len(patch_size) != 3 or not all(isinstance(size, int) and size > 0 for size in patch_size):
            raise ValueError("no patch size")
    load_weights(mnet, tensors_of("mnet", tensors), path)
    return TrainedMNet(mnet.eval(), labels, patch_size, preprocessing)
