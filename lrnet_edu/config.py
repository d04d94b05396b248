"""Every setting of a run in one dataclass, and the presets that size it."""

import os
from dataclasses import dataclass
from typing import Any

from lrnet_edu.data.study import DataSettings
from lrnet_edu.methods import METHODS
from lrnet_edu.networks import output_activation
from lrnet_edu.support.errors import InputError, check_whole, checked_number
from lrnet_edu.training import Schedule


@dataclass(frozen=True)
class PretrainConfig(Schedule):
    """Everything that decides the pretraining of an LR-Net on masks."""

    steps: int = 900
    validate_every: int = 450
    learning_rate: float = 4e-3
    one_cycle: bool = True  # deviation: lowering the rate on plateaus is too slow for a training of a minute
    max_gradient_norm: float | None = 0.3  # without it, single batches kill some of the 4 to 8 features
    kind: str = "NI-DM"
    activation: str | None = None  # None: section 3.1's for this kind
    seed: int = 0
    cubes: tuple[tuple[int, int], ...] = ((16, 4), (20, 2), (28, 2))  # edge in voxels and number, batches in turn
    soft: float = 0.0  # share of the cubes that are blurred and scaled, like an M-Net's uncertain output
    spatial_dims: int = 3  # 2: squares, of random shapes alone

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("seed", self.seed, least=0)
        output_activation(self.kind, self.activation)  # raises InputError for an unknown kind or activation


@dataclass(frozen=True)
class Config(Schedule, DataSettings):
    """Everything that decides the training of an M-Net; a run's ``config.json`` holds it."""

    method: str = "mapdice+lrnet"  # a key of METHODS
    seed: int = 0

    # the distance map that the LR-Net regresses, and its term in the loss
    kind: str = "NI-DM"
    activation: str | None = None  # None: section 3.1's for this kind
    alpha: float | None = None  # None: that of the kind of map; 1000 for all where it stands alone
    lrnet: str | None = None  # an LR-Net's run folder or checkpoint; None: the one that ships
    warmup_steps: int | None = None  # steps of Dice alone, first; None: a quarter where map or mask is regressed

    # the M-Net
    start: str | None = None  # a trained M-Net's run folder or checkpoint to go on from; None: fresh weights
    features: tuple[int, ...] = (8, 16, 32, 64)
    blocks: tuple[int, ...] = (1, 1, 1)
    stride: int = 1  # of the first convolution: 2 halves the image at once

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"There is no method {self.method!r}; choose one of {', '.join(METHODS)}.")
        Schedule.__post_init__(self)
        DataSettings.__post_init__(self)
        output_activation(self.kind, self.activation)  # raises InputError for an unknown kind or activation
        if self.alpha is not None:
            object.__setattr__(self, "alpha", checked_number("alpha", self.alpha))
        if self.warmup_steps is not None:
            check_whole("warmup_steps", self.warmup_steps, least=0)
        if self.warmup >= self.steps:
            raise InputError(f"The warm-up takes {self.warmup} of {self.steps} steps; give it fewer (--warmup-steps).")
        check_whole("seed", self.seed, least=0)

    @property
    def warmup(self) -> int:
        """Steps of Dice alone before the row's own loss, part of ``steps``."""
        if self.warmup_steps is None:
            return self.steps // 4 if METHODS[self.method].warms_up else 0
        return self.warmup_steps


PAPER_WIDTHS: dict[str, Any] = {"features": (8, 16, 32, 64, 128), "blocks": (2, 2, 3, 3)}
PRESETS: dict[str, dict[str, Any]] = {
    # Minutes on two cores. Deviations: all levels work at half the image's size, and 700 steps are too few for the
    # paper's rate of 1e-3 and its plateaus.
    "cpu": {"features": (16, 24, 32, 64), "blocks": (1, 1, 1), "stride": 2, "learning_rate": 4e-3, "one_cycle": True,
            "max_voxels": 350_000, "patch_size": (32, 48, 48), "steps": 700},
    "colab": {**PAPER_WIDTHS, "max_voxels": 6_000_000, "patch_size": (48, 128, 128), "steps": 4000,
              "validate_every": 200},
    "paper": {**PAPER_WIDTHS, "max_voxels": 60_000_000, "patch_size": (48, 256, 256), "steps": 40_000,
              "validate_every": 1000},
}  # fmt: skip
FAST: dict[str, Any] = {"features": (4, 8), "blocks": (1,), "stride": 2, "max_voxels": 40_000,
                        "patch_size": (16, 24, 24), "steps": 8, "validate_every": 4}  # fmt: skip


def fast() -> bool:
    """True under ``LRNET_EDU_FAST=1``: everything runs at its small size, to check that it runs at all."""
    return os.environ.get("LRNET_EDU_FAST", "") not in ("", "0")


def given(changes: dict[str, Any]) -> dict[str, Any]:
    """Settings without those that are None: not given."""
    return {name: value for name, value in changes.items() if value is not None}


def pretrain_config(kind: str = "NI-DM", **changes: Any) -> PretrainConfig:
    """The LR-Net's settings for a kind of map, some of them changed; the small size under ``LRNET_EDU_FAST=1``."""
    small = {"steps": 12, "validate_every": 6} if fast() else {}
    return PretrainConfig(kind=kind, **{**small, **given(changes)})


def preset(name: str = "cpu", **changes: Any) -> Config:
    """The settings of a training: the named preset with some of them changed (section 3).

    Under ``LRNET_EDU_FAST=1`` every preset is the small size, which only shows that everything runs.

    Args:
        name: "cpu" (minutes on two cores), "colab" (a GPU) or "paper" (the paper's sizes).
        changes: fields of `Config`, such as ``label="2"`` or ``steps=400``; None keeps the preset's value.

    Raises:
        InputError: if there is no such preset, or a value is not allowed.
    """
    if name not in PRESETS:
        raise InputError(f"There is no preset {name!r}; choose one of {', '.join(PRESETS)}.")
    return Config(**{**(FAST if fast() else PRESETS[name]), **given(changes)})


def table_preset(name: str = "cpu", **changes: Any) -> Config:
    """The named preset for a table's rows, which take more steps on a CPU; the page says what twice as many gain."""
    long = {"steps": 2400, "validate_every": 300} if name == "cpu" and not fast() else {}
    return preset(name, **{**long, **given(changes)})
