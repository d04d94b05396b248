"""Settings: presets, the small size, and what is refused."""

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from lrnet_edu.config import PRESETS, Config, PretrainConfig, fast, preset, pretrain_config, table_preset
from lrnet_edu.methods import METHODS
from lrnet_edu.support.errors import InputError


@pytest.fixture(autouse=True)
def full_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LRNET_EDU_FAST", raising=False)


def assert_grows(*configs: Config) -> None:
    """By steps, voxels of a patch and features of the widest level: what makes a run long."""
    sizes = [(config.steps, int(np.prod(config.patch_size)), max(config.features)) for config in configs]
    for size in zip(*sizes, strict=True):
        assert list(size) == sorted(size)


def test_presets_grow_from_laptop_to_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_grows(preset(), *map(preset, PRESETS))
    assert_grows(preset(), table_preset())
    paper = preset("paper")
    assert (paper.features, paper.blocks) == ((8, 16, 32, 64, 128), (2, 2, 3, 3))
    for config in (Config(), preset("colab"), paper):  # section 3, Implementation Details
        assert (config.learning_rate, config.plateau_factor, config.one_cycle) == (1e-3, 0.8, False)
    monkeypatch.setenv("LRNET_EDU_FAST", "1")
    assert_grows(preset("paper", method="mapdice"), replace(Config(), steps=20))
    assert pretrain_config().steps <= 20


def test_given_settings_win_over_the_preset_and_none_means_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, expected in (("1", True), ("yes", True), ("0", False), ("", False)):
        monkeypatch.setenv("LRNET_EDU_FAST", value)
        assert fast() is expected
        for make in (preset, table_preset):
            config = make("colab", steps=7, seed=0, label="1,2", alpha=None, window=None)
            assert (config.steps, config.label, config.patch_size) == (7, "1,2", preset("colab").patch_size)
            assert make(steps=7).steps == 7
    assert (pretrain_config("O-DM").kind, pretrain_config(seed=3, steps=None)) == ("O-DM", PretrainConfig(seed=3))


@pytest.mark.parametrize(("settings", "match"), [
    ({"method": "magic"}, "mapdice\\+lrnet"),
    *(({"steps": steps}, "steps is .*whole number .* at least 1") for steps in (0, 3.5)),
    *(({"patch_size": size}, r"\(z, y, x\), at least 8") for size in ((4, 64, 64), (16.0, 64, 64), (16, 64), 64)),
    ({"batch_size": 1.5}, "batch_size is 1.5"),
    *(({"learning_rate": rate}, "learning_rate is") for rate in (-1, float("nan"), "0.001")),
    ({"plateau_factor": 2.0}, "plateau_factor is 2.0"),
    *(({f"{name}_patience": -1}, f"{name}_patience is -1") for name in ("plateau", "convergence")),
    ({"max_voxels": 0}, "max_voxels is 0"),
    *(({"window": w}, "window is .*low < high") for w in ((1,), (5, 5), (float("nan"), 1), "-30 180")),
    ({"max_gradient_norm": -1.0}, "max_gradient_norm is -1.0"),
    *(({"seed": seed}, "seed is .* int.* at least 0") for seed in (True, np.int64(3), -1)),
    *(({"object_share": share}, "at most 1") for share in (67, "0.5")),
    ({"label": 2}, "labels: write one number"),
    ({"steps": 8, "warmup_steps": 8}, "8 of 8 steps"),
    *(({"warmup_steps": steps}, "warmup_steps is .*at least 0") for steps in (-1, 1.5, "1")),
    ({"kind": "NIDM"}, "choose one of O-DM"),
    ({"activation": "elu"}, "choose one of relu"),
    *(({"alpha": alpha}, "alpha is .*finite") for alpha in (-1.0, float("inf"), float("nan"), "3")),
])  # fmt: skip
def test_settings_that_cannot_be(settings: dict[str, Any], match: str) -> None:
    for make in (Config, preset):
        with pytest.raises(InputError, match=match):
            make(**settings)


def test_numbers_of_numpy_can_be_written_as_json() -> None:
    given = {"alpha": np.int64(10), "learning_rate": np.float32(0.5), "window": np.array([-30, 180])}
    written = json.loads(json.dumps(asdict(Config(**given))))
    assert all(np.array_equal(written[name], value) for name, value in given.items())


def test_mistakes_of_other_stages() -> None:
    with pytest.raises(InputError, match="seed is -1"):
        PretrainConfig(seed=-1)
    with pytest.raises(InputError, match="cpu, colab, paper"):
        preset("laptop")


@pytest.mark.parametrize("method", METHODS)
def test_only_rows_that_regress_warm_up_by_themselves(method: str) -> None:
    warms_up = "lrnet" in method or "voxelwise" in method or method in ("multi-branch", "cascaded")
    for given, steps in ((None, 25 if warms_up else 0), (7, 7), (0, 0)):
        assert Config(method=method, steps=100, warmup_steps=given).warmup == steps
