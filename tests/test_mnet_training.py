"""Every row of Table 2 from a folder of scans to a checkpoint, resumed, extended, repeated."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scans import lits, lrnet_checkpoint, mask, scan, store
from torch import Tensor, nn
from toys import assert_same_run

from lrnet_edu.config import Config, PretrainConfig
from lrnet_edu.data.cache import CachedCase
from lrnet_edu.data.patches import Batch, PatchBatches
from lrnet_edu.data.study import Study, check_same_study, open_study
from lrnet_edu.lrnet_training import pretrain_run
from lrnet_edu.methods import METHODS
from lrnet_edu.mnet_training import case_dice, train_run
from lrnet_edu.networks import MNet
from lrnet_edu.rivals import CascadedMNet
from lrnet_edu.support.checkpoints import load_checkpoint
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.run_folder import State
from lrnet_edu.trained import load_mnet

TINY = Config(features=(4, 8), blocks=(1,), patch_size=(8, 12, 12), steps=3, validate_every=2, max_voxels=40_000)
Run = Callable[..., State]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Five cases with a bright ball each, larger than a patch: or nothing here would slide a window."""
    study = open_study(lits(tmp_path_factory.mktemp("scans"), range(5)), TINY)
    assert all(np.greater(study.cached["train"][0].image.shape, TINY.patch_size))
    return study


@pytest.fixture
def run(study: Study, tmp_path: Path) -> Run:
    """Train a method into tmp_path / name."""

    def train(method: str, name: str = "run", *, options: Any = None, **changes: Any) -> State:
        warm_up = {"warmup_steps": 1} if METHODS[method].uses_lrnet else {}
        config = replace(TINY, method=method, **{**warm_up, **changes})
        return train_run(study, config, tmp_path / name, device="cpu", **options or {})

    return train


@pytest.mark.parametrize("method", METHODS)
def test_every_row_trains_and_can_be_used(run: Run, study: Study, tmp_path: Path, method: str) -> None:
    state, folder = run(method, stride=2), tmp_path / "run"
    assert state.step == 3
    names = {"config.json", "split.json", "log.csv", "best.safetensors", "last.safetensors"}
    assert {file.name for file in folder.iterdir()} == names
    assert json.loads((folder / "split.json").read_text()) == study.split
    written = json.loads((folder / "config.json").read_text())
    alphas = {"lrnet": 1000.0, "dice+lrnet": 1000.0, "unfrozen-lrnet": 1000.0, "voxelwise": 1000.0, "dice": None}
    assert (written["method"], written["alpha"]) == (method, alphas.get(method, written["alpha"]))

    trained = load_mnet(folder)
    expected = ((1,),), TINY.patch_size, study.preprocessing
    assert (trained.labels, trained.patch_size, trained.preprocessing) == expected
    assert type(trained.mnet) is (CascadedMNet if method == "cascaded" else MNet)
    torch.manual_seed(TINY.seed)
    weights, start = trained.mnet.state_dict(), METHODS["dice"].mnet(replace(TINY, stride=2), 2).state_dict()
    assert not all(torch.equal(weights[name], start[name]) for name in start)  # it moved
    best, metadata = load_checkpoint(folder / "best.safetensors")
    assert all(name.startswith("mnet.") for name in best)  # the LR-Net, or the second decoder, is thrown away
    assert metadata["method"] == method
    reached = np.mean([case_dice(trained.mnet, case, TINY.patch_size, 1) for case in study.cached["validation"]])
    assert reached == pytest.approx(max(row["score"] for row in state.rows))


def test_two_classes(tmp_path: Path) -> None:
    classes = mask()
    classes[9:12, 12:16, 11:15] = 3
    for number in range(4):
        store(tmp_path / f"volume-{number}.nii.gz", scan(seed=number) - 100 * (classes == 3).astype(np.int16))
        store(tmp_path / f"segmentation-{number}.nii.gz", classes)
    config = replace(TINY, method="mapdice+lrnet", label="1,3", warmup_steps=1)
    row = train_run(open_study(tmp_path, config), config, tmp_path / "run", device="cpu").rows[-1]
    assert row["score"] == pytest.approx((row["val_DC_1"] + row["val_DC_2"]) / 2)
    trained = load_mnet(tmp_path / "run")
    assert trained.labels == ((1,), (3,))
    assert trained.mnet(torch.zeros(2, 1, 8, 8, 8)).shape == (2, 3, 8, 8, 8)


def test_a_healthy_case_has_no_say_in_the_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a test: there an empty answer would be worth 1, and one false voxel 0."""
    for number in range(7):
        store(tmp_path / f"volume-{number}.nii.gz", scan(seed=number))
        store(tmp_path / f"segmentation-{number}.nii.gz", mask() * (number != 1))
    (tmp_path / "split.json").write_text(json.dumps({part: [f"volume-{i}" for i in numbers] for part, numbers in (
        ("train", (2, 3, 4)), ("validation", (0, 1)), ("test", (5, 6)))}))  # fmt: skip
    study = open_study(tmp_path, TINY, split=tmp_path / "split.json")
    monkeypatch.setattr("lrnet_edu.mnet_training.case_dice", lambda mnet, case, *_: [0.25 + (case.name == "volume-1")])
    assert train_run(study, TINY, tmp_path / "run", device="cpu").rows[-1]["score"] == 0.25


def test_it_learns(run: Run) -> None:
    """A bright ball in a noisy body: dozens of steps of a tiny network are enough to find most of it."""
    state = run("dice", steps=200, validate_every=25, learning_rate=2e-2, patch_size=(12, 16, 16))
    assert state.best_score > 0.7


def test_a_rate_a_log_and_batches_of_one_s_own(run: Run) -> None:
    rows, drawn = [], []

    class Noted(PatchBatches):
        def __getitem__(self, index: int) -> Batch:
            drawn.append(index)
            return super().__getitem__(index)

    options = {"rate": lambda share: 1 - share, "log": rows.append, "batches": Noted}
    state = run("dice", steps=4, validate_every=1, learning_rate=0.1, options=options)
    assert [row["lr"] for row in rows] == pytest.approx([0.1, 0.075, 0.05, 0.025])
    assert (rows, drawn) == (state.rows, [0, 1, 2, 3])


@pytest.mark.parametrize(("method", "killed_at"), [("mapdice+lrnet", 1), ("mapdice+lrnet", 5), ("unfrozen-lrnet", 3)])
def test_a_killed_run_that_is_resumed_ends_alike(run: Run, tmp_path: Path, method: str, killed_at: int) -> None:
    """Killed in the warm-up, after it, and in the first step after it."""

    class Dying(PatchBatches):
        def __getitem__(self, index: int) -> Batch:
            if index == killed_at:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    schedule = {"steps": 6, "validate_every": 2, "warmup_steps": 3}
    run(method, "whole", **schedule)
    with pytest.raises(KeyboardInterrupt):
        run(method, "killed", options={"batches": Dying}, **schedule)
    run(method, "killed", options={"resume": True}, **schedule)
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


def test_a_finished_run_gets_more_steps_and_keeps_its_warm_up(run: Run, tmp_path: Path) -> None:
    """A quarter of 4 steps, and not of 6."""
    run("mapdice+lrnet", "whole", steps=6, warmup_steps=1)
    run("mapdice+lrnet", "longer", steps=4, warmup_steps=None)
    for _ in range(2):  # and once more, which changes nothing
        run("mapdice+lrnet", "longer", steps=6, warmup_steps=None, options={"resume": True})
        assert_same_run(tmp_path / "longer", tmp_path / "whole")
    with pytest.raises(InputError, match="warmup_steps 1, now 3"):
        run("mapdice+lrnet", "longer", steps=8, warmup_steps=3, options={"resume": True})


def test_a_run_is_resumed_whatever_path_its_start_is_given_by(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("dice", "base")
    monkeypatch.chdir(tmp_path)
    run("mapdice", start="base/last.safetensors")
    run("mapdice", start=str(tmp_path / "base" / "last.safetensors"), options={"resume": True})


def test_what_cannot_be_trained_leaves_nothing_behind(study: Study, tmp_path: Path) -> None:
    lrnet = lrnet_checkpoint(tmp_path / "lrnet.safetensors", "NI-DM")
    for changes, device, match in (
        ({"kind": "O-DM", "lrnet": str(lrnet)}, "cpu", "NI-DM, not O-DM"),
        ({"label": "2"}, "cpu", "opened with another"),
        ({"window": (-30.0, 180.0)}, "cpu", "opened with another"),
        ({}, "nonsense", "nonsense"),
    ):
        with pytest.raises(InputError, match=match):
            train_run(study, replace(TINY, **changes), tmp_path / "run", device=device)
    assert not (tmp_path / "run").exists()
    of_ct = replace(study, preprocessing=replace(study.preprocessing, window=(-200.0, 250.0)))
    check_same_study(of_ct, replace(TINY, window=(-200.0, 250.0)))  # what None has become


class ByIntensity(nn.Module):
    """Class 1 where the image is near 1, class 2 near 2, else background."""

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(100.0))

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([-self.sharpness * (image - level).abs() for level in range(3)], dim=1)


def test_dice_of_a_whole_case_class_by_class(tmp_path: Path) -> None:
    """Class 1: 8 of 8 and 12 voxels agree; class 2: neither image nor mask holds it, then the mask alone."""
    image, classes = np.zeros((2, 9, 10, 11), np.float32)
    image[:2, :2, :3] = 1
    classes[:2, :2, :2] = 1
    np.save(tmp_path / "image.npy", image.astype(np.float16))
    for voxel, expected in ((0, 1.0), (2, 0.0)):
        classes[5, 5, 5] = voxel
        np.save(tmp_path / "classes.npy", classes.astype(np.uint8))
        case = CachedCase("case", tmp_path)
        assert case_dice(ByIntensity(), case, (8, 8, 8), 2) == pytest.approx([2 * 8 / (8 + 12), expected])


def test_background_alone_is_told_after_the_warm_up(
    run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    forward = MNet.forward

    def background(mnet: MNet, image: Tensor) -> Tensor:
        return forward(mnet, image) + torch.tensor([1000.0, 0]).reshape(1, 2, 1, 1, 1)

    monkeypatch.setattr(MNet, "forward", background)
    run("mapdice+lrnet", steps=4, validate_every=1)
    told = re.findall(r"step (\d) the network finds no voxel .*--warmup-steps", capfd.readouterr().err)
    assert told == ["2", "3", "4"]


@pytest.mark.parametrize("method", ["unfrozen-lrnet", "cascaded", "multi-branch", "pretraining"])
def test_two_trainings_give_the_same_weights_and_another_seed_others(run: Run, tmp_path: Path, method: str) -> None:
    for number, seed in enumerate((0, 0, 1)):
        torch.manual_seed(number + 5)  # what other work of the same process would leave behind
        np.random.seed(number + 5)
        if method == "pretraining":
            config = PretrainConfig(steps=3, validate_every=3, soft=0.5, seed=seed)
            pretrain_run(tmp_path / str(number), config=config, device="cpu")
        else:
            run(method, str(number), seed=seed)
    once, again, other = ((tmp_path / str(number) / "best.safetensors").read_bytes() for number in range(3))
    assert once == again != other
