"""One dataclass holds every setting of a run, three presets size it, one table names the methods."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lrnet_edu.data.labels import parse_labels
from lrnet_edu.errors import InputError
from lrnet_edu.networks import output_activation


@dataclass(frozen=True)
class Method:
    """One row of Table 2: the segmentation loss, what the LR-Net does behind the M-Net, or the rival it is."""

    title: str
    segmentation_loss: str | None  # a class of lrnet_edu.losses; None: the regression loss alone, or a rival's own
    lrnet: Literal["frozen", "unfrozen"] | None = None
    rival: Literal["multi-branch", "cascaded"] | None = None  # of lrnet_edu.rivals, with a loss of its own


METHODS = {
    "dice": Method("M-Net + Dice", "DiceLoss"),
    "mapdice": Method("M-Net + MapDice", "MapDiceLoss"),
    "lrnet": Method("M-Net + LR-Net", None, "frozen"),
    "dice+lrnet": Method("M-Net + Dice + LR-Net", "DiceLoss", "frozen"),
    "mapdice+lrnet": Method("M-Net + MapDice + LR-Net", "MapDiceLoss", "frozen"),
    "unfrozen-lrnet": Method("M-Net + unfrozen LR-Net", None, "unfrozen"),
    "wce": Method("Weighted cross-entropy", "WeightedCrossEntropyLoss"),
    "gds": Method("Generalised Dice", "GeneralizedDiceLoss"),
    "tversky": Method("Tversky", "TverskyLoss"),
    "focal-tversky": Method("Focal Tversky", "FocalTverskyLoss"),
    "explog": Method("Exponential logarithmic", "ExpLogLoss"),
    "multi-branch": Method("Multi-branch regression", None, rival="multi-branch"),
    "cascaded": Method("Cascaded regression", None, rival="cascaded"),
}


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: Adam, its rate lowered once learning stagnates, until convergence (section 3)."""

    steps: int = 600
    validate_every: int = 50  # steps
    learning_rate: float = 1e-3
    plateau_factor: float = 0.8
    plateau_patience: int = 3  # validations without a better validation loss before the rate falls
    convergence_patience: int = 12  # validations without a better validation loss before the run ends
    one_cycle: bool = False  # instead of both: up for a tenth of the steps, then down to 0 along a cosine
    max_gradient_norm: float | None = None  # longer gradients are shortened to this; None: as they are

    def __post_init__(self) -> None:
        for name in ("steps", "validate_every"):
            _check_whole(name, getattr(self, name), least=1)
        _check_number("learning_rate", self.learning_rate)
        _check_number("plateau_factor", self.plateau_factor, below=1)
        if self.max_gradient_norm is not None:
            _check_number("max_gradient_norm", self.max_gradient_norm)


@dataclass(frozen=True)
class PretrainConfig(Schedule):
    """Everything that decides the pretraining of an LR-Net on masks."""

    steps: int = 900
    validate_every: int = 450
    learning_rate: float = 1e-2
    one_cycle: bool = True  # deviation: a plateau's small steps waste most of a minute's training
    max_gradient_norm: float | None = 0.3  # or single batches kill features of a network with 4 to 8 of them
    kind: str = "NI-DM"
    activation: str | None = None  # None: section 3.1's for this kind
    seed: int = 0
    cubes: tuple[tuple[int, int], ...] = (
        (16, 4),
        (20, 2),
        (28, 2),
    )  # edge in voxels and number, batches in turn
    soft: float = 0.0  # share of the cubes blurred and scaled, as an M-Net's uncertain output is
    cubes_alike: bool = False  # a small lesion's cube weighs as much as a large one's, to the last step

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_whole("seed", self.seed, least=0)
        output_activation(self.kind, self.activation)  # refuses what does not exist


@dataclass(frozen=True)
class Config(Schedule):
    """Everything that decides the training of an M-Net; ``config.json`` of a run holds it word for word."""

    method: str = "mapdice+lrnet"  # a key of METHODS
    label: str = "1"  # "2", "1+2" (a union), "1,2" (two classes)
    seed: int = 0

    # the distance map that the LR-Net regresses, and its term in the loss
    kind: str = "NI-DM"
    activation: str | None = None  # None: section 3.1's for this kind
    alpha: float | None = None  # None: by the map's magnitude, losses.DEFAULT_ALPHA
    lrnet: str | None = None  # an LR-Net's run folder or checkpoint; None: the one that ships

    # the M-Net
    features: tuple[int, ...] = (8, 16, 32, 64)
    blocks: tuple[int, ...] = (1, 1, 1)

    # data
    max_voxels: int = 700_000  # the isotropic grid is coarsened until the median case holds no more
    window: tuple[float, float] | None = None  # HU; None: (-200, 250) for CT, standardised for MR
    patch_size: tuple[int, int, int] = (32, 64, 64)  # voxels (z, y, x)
    batch_size: int = 2
    object_share: float = 0.67  # of the patches are centred on a voxel of an object, the others lie anywhere
    random_boxes: bool = False  # crop or pad every case at random first, so that position tells nothing

    warmup_steps: int | None = None  # Dice alone before the LR-Net's term; None: a quarter of the steps

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"There is no method {self.method!r}; choose one of {', '.join(METHODS)}.")
        super().__post_init__()
        output_activation(self.kind, self.activation)  # refuses what does not exist
        if self.alpha is not None and not 0 <= self.alpha < math.inf:
            raise InputError(f"alpha is {self.alpha}; give a finite number of at least 0.")
        if METHODS[self.method].lrnet and not 0 <= self.warmup < self.steps:
            raise InputError(f"The warm-up takes {self.warmup} of {self.steps} steps; give it fewer (--warmup-steps).")
        _check_whole("seed", self.seed, least=0)
        if self.window is not None and not _is_range(self.window):
            raise InputError(f"window is {self.window!r}; give a pair of HU, the lower first, such as (-200, 250).")
        if np.shape(self.patch_size) != (3,) or min(self.patch_size) < 8:
            raise InputError(f"patch_size is {self.patch_size}; give voxels (z, y, x), at least 8 on every axis.")
        _check_whole("batch_size", self.batch_size, least=1)
        _check_whole("max_voxels", self.max_voxels, least=1000)
        if not 0 <= self.object_share <= 1:
            raise InputError(f"object_share is {self.object_share}; give a share of the patches, 0 to 1.")
        parse_labels(self.label)

    @property
    def warmup(self) -> int:
        """Steps of Dice alone before the LR-Net takes part; part of ``steps``, 0 for rows without an LR-Net."""
        if METHODS[self.method].lrnet is None:
            return 0
        return self.steps // 4 if self.warmup_steps is None else self.warmup_steps


def _check_whole(name: str, value: Any, *, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} is {value!r}; give a whole number (an int) of at least {least}.")


def _check_number(name: str, value: Any, *, below: float = math.inf) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < below:
        raise InputError(f"{name} is {value!r}; give a number (a float) above 0 and below {below:g}.")


def _is_range(pair: Any) -> bool:
    numbers = isinstance(pair, tuple | list) and all(isinstance(bound, int | float) for bound in pair)
    return numbers and len(pair) == 2 and -math.inf < pair[0] < pair[1] < math.inf


PAPER_WIDTHS: dict[str, Any] = {"features": (8, 16, 32, 64, 128), "blocks": (2, 2, 3, 3)}
PRESETS: dict[str, dict[str, Any]] = {
    # Minutes on two cores. Deviation: 700 steps are too few for the paper's 1e-3 and its plateaus.
    "cpu": {"learning_rate": 4e-3, "one_cycle": True, "max_voxels": 350_000, "patch_size": (32, 48, 48), "steps": 700},
    "colab": {**PAPER_WIDTHS, "max_voxels": 6_000_000, "patch_size": (48, 128, 128), "steps": 4000,
              "validate_every": 200},
    "paper": {**PAPER_WIDTHS, "max_voxels": 60_000_000, "patch_size": (48, 256, 256), "steps": 40_000,
              "validate_every": 1000},
}  # fmt: skip
# A training of about a minute on two cores: each of the demo's, and each run of a table with preset cpu.
SHORT: dict[str, Any] = {"steps": 240, "validate_every": 60, "learning_rate": 6e-3, "max_voxels": 250_000,
                         "patch_size": (24, 40, 40), "object_share": 0.5}  # fmt: skip
FAST: dict[str, Any] = {
    "features": (4, 8),
    "blocks": (1,),
    "max_voxels": 40_000,
    "patch_size": (16, 24, 24),
    "steps": 8,
    "validate_every": 4,
}


def fast() -> bool:
    """True under ``LRNET_EDU_FAST=1``: everything runs at its small size, to see that it runs at all."""
    return os.environ.get("LRNET_EDU_FAST", "") not in ("", "0")


def pretrain_config(kind: str = "NI-DM", **changes: Any) -> PretrainConfig:
    """The LR-Net's settings for a kind of map, some of them changed; the small size under ``LRNET_EDU_FAST=1``.

    O-DM and I-DM reach 10 voxels and more: at the learning rate of the normalised maps their ReLU output dies.
    """
    rate = {"learning_rate": 5e-3} if kind in ("O-DM", "I-DM") else {}
    small = {"steps": 12, "validate_every": 6} if fast() else {}
    given = {key: value for key, value in changes.items() if value is not None}
    return PretrainConfig(kind=kind, **{**rate, **small, **given})


def preset(name: str = "cpu", **changes: Any) -> Config:
    """The named preset with some settings changed; the small size under ``LRNET_EDU_FAST=1``."""
    if name not in PRESETS:
        raise InputError(f"There is no preset {name!r}; choose one of {', '.join(PRESETS)}.")
    given = {key: value for key, value in changes.items() if value is not None}
    return replace(Config(**(FAST if fast() else PRESETS[name])), **given)


def short_preset(name: str = "cpu", **changes: Any) -> Config:
    """The named preset, on a CPU with ``SHORT``'s sizes: for many trainings one after the other."""
    given = {key: value for key, value in changes.items() if value is not None}
    return preset(name, **({**SHORT, **given} if name == "cpu" and not fast() else given))
