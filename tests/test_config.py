"""Settings: presets, the small size, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lrnet_edu import losses
from lrnet_edu.config import PRESETS, Config, PretrainConfig, fast, preset
from lrnet_edu.methods import METHODS
from lrnet_edu.support.errors import InputError
from lrnet_edu.training import Schedule


@pytest.fixture(autouse=True)
def full_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LRNET_EDU_FAST", raising=False)


def size(config: Config) -> tuple[int, int, int]:
    """Steps, voxels of a patch, features of the widest level: what makes a run long."""
    z, y, x = config.patch_size
    return config.steps, z * y * x, max(config.features)


def test_presets_grow_from_laptop_to_paper() -> None:
    cpu, colab, paper = (preset(name) for name in ("cpu", "colab", "paper"))
    assert set(PRESETS) == {"cpu", "colab", "paper"}
    assert all(
        a <= b for small, large in ((cpu, colab), (colab, paper)) for a, b in zip(size(small), size(large), strict=True)
    )
    assert preset() == cpu
    assert paper.patch_size == (48, 256, 256)
    assert (paper.features, paper.blocks) == ((8, 16, 32, 64, 128), (2, 2, 3, 3))
    assert all(len(config.blocks) == len(config.features) - 1 for config in (cpu, colab, paper))
    for config in (Config(), colab, paper):  # section 3, Implementation Details
        assert (config.learning_rate, config.plateau_factor, config.one_cycle) == (1e-3, 0.8, False)


def test_given_settings_win_over_the_preset_and_none_means_not_given() -> None:
    config = preset("colab", steps=7, seed=0, label="1,2", alpha=None, window=None)
    assert (config.steps, config.label, config.seed) == (7, "1,2", 0)
    assert config.patch_size == preset("colab").patch_size


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_the_small_size_of_everything(monkeypatch: pytest.MonkeyPatch, value: str, expected: bool) -> None:
    monkeypatch.setenv("LRNET_EDU_FAST", value)
    assert fast() is expected
    small = preset("paper", method="mapdice", seed=3)
    if expected:
        assert all(a < b for a, b in zip(size(small), size(Config()), strict=True))
        assert small.steps <= 20
    else:
        assert size(small) == size(Config(**PRESETS["paper"]))
    assert (small.method, small.seed) == ("mapdice", 3)
    assert preset(steps=5).steps == 5  # what is given still wins


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"method": "magic"}, "mapdice\\+lrnet"),
        ({"steps": 0}, "steps is 0; .* at least 1"),
        ({"steps": 3.5}, "whole number"),
        ({"patch_size": (4, 64, 64)}, "at least 8"),
        ({"patch_size": (16, 64)}, r"\(z, y, x\)"),
        ({"patch_size": 64}, r"\(z, y, x\)"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": -1}, "learning_rate is -1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"plateau_factor": 2.0}, "plateau_factor is 2.0"),
        ({"batch_size": 1.5}, "batch_size is 1.5"),
        ({"max_voxels": 0}, "max_voxels is 0"),
        *(({"window": w}, "window is .*pair") for w in ((1,), (250, -200), (5, 5), (float("nan"), 1), ((1, 2), 3))),
        ({"learning_rate": "0.001"}, "learning_rate is '0.001'"),
        ({"max_gradient_norm": -1.0}, "max_gradient_norm is -1.0"),
        ({"seed": True}, "seed is True"),
        ({"seed": np.int64(3)}, r"seed is np\.int64\(3\); .* int"),
        ({"seed": -1}, "seed is -1; .* at least 0"),
        ({"window": "-30 180"}, "window is '-30 180'; .* pair"),
        ({"object_share": 67}, "0 to 1"),
        ({"label": 2}, '2 of type int is no choice of labels: write one number \\("2"\\)'),
        ({"steps": 8, "warmup_steps": 8}, "8 of 8 steps"),
        ({"warmup_steps": -1}, "-1 of"),
        *(({"alpha": alpha}, "alpha is .*finite") for alpha in (-1.0, float("inf"), float("nan"))),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        Config(**settings)
    with pytest.raises(InputError, match=match):
        preset(**settings)


def test_schedules_of_every_stage_need_a_step() -> None:
    for make in (Schedule, PretrainConfig, Config):
        with pytest.raises(InputError, match="steps is -1"):
            make(steps=-1)
    with pytest.raises(InputError, match="seed is -1"):
        PretrainConfig(seed=-1)


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="cpu, colab, paper"):
        preset("laptop")


@pytest.mark.parametrize("method", METHODS)
def test_only_rows_with_a_light_network_warm_up(method: str) -> None:
    with_lrnet = METHODS[method].lrnet is not None
    assert with_lrnet == ("lrnet" in method)
    config = Config(method=method, steps=100)
    assert (0 < config.warmup < 50) if with_lrnet else config.warmup == 0
    chosen = Config(method=method, steps=100, warmup_steps=7)
    assert chosen.warmup == (7 if with_lrnet else 0)
    assert Config(method=method, steps=100, warmup_steps=0).warmup == 0


def test_every_row_names_a_loss_that_exists() -> None:
    for method in METHODS.values():
        assert method.segmentation_loss is None or hasattr(losses, method.segmentation_loss)
        assert method.segmentation_loss or method.lrnet or method.rival
