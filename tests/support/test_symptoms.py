"""Trainings that go wrong, on purpose: each says what is wrong and what to do, and sound ones say nothing."""

from __future__ import annotations

import re
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scans import lits, lrnet_checkpoint
from torch import Tensor
from toys import CPU, SCHEDULE, toy_task

from lrnet_edu.commands.predict import predict_files
from lrnet_edu.config import Config
from lrnet_edu.data.study import Study, open_study
from lrnet_edu.mnet_training import mnet_task, train_run
from lrnet_edu.networks import LRNet, MNet
from lrnet_edu.support.devices import explain_out_of_memory
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.symptoms import MissedObjects, dead_output, stuck_training
from lrnet_edu.trained import load_pretrained_lrnet
from lrnet_edu.training import Phase, fit

FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1 GiB left.\nSee more.")
TINY = Config(method="mapdice+lrnet", features=(4, 8), blocks=(1,), patch_size=(8, 12, 12), steps=4, validate_every=1,
              warmup_steps=1, max_voxels=40_000)  # fmt: skip


def one_sentence(text: str) -> bool:
    return text.endswith(".") and not re.search(r"[.!?] [A-Z]", text)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRNET_EDU_CACHE", str(tmp_path_factory.mktemp("cache")))
        return open_study(lits(tmp_path_factory.mktemp("scans"), range(5)), TINY)


# ---- a loss that does not move ----------------------------------------------------------------------------------


def test_a_loss_that_never_moved_is_told_once_and_early(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stuck: Any = toy_task()
    weight = stuck.model["line"].weight
    stuck.phases = [Phase("stuck", SCHEDULE.steps, lambda batch: 0 * weight.sum() + 0.7)]  # no gradient but 0
    fit(stuck, SCHEDULE, tmp_path / "stuck", CPU)
    told = [text for text in re.split(r"[\r\n]", capfd.readouterr().err) if "has not moved" in text]
    assert len(told) == 1
    assert "since step 2" in told[0]
    assert "raise the rate" in told[0]
    assert one_sentence(told[0])
    fit(toy_task(), SCHEDULE, tmp_path / "sound", CPU)
    assert "has not moved" not in capfd.readouterr().err


def test_a_loss_that_moves_later_or_only_stagnates_is_not_told() -> None:
    rows = [{"step": 50.0 * n, "val_loss": value} for n, value in enumerate((0.5, 0.4999, 0.4999), start=1)]
    assert [stuck_training(rows[:n]) for n in (1, 2, 3)] == [None] * 3
    assert stuck_training([rows[1], {**rows[1], "step": 100.0}]) is not None


# ---- only background --------------------------------------------------------------------------------------------


def test_background_alone_is_told_after_a_whole_interval() -> None:
    """Case 0 lacks class 1; an empty prediction scores 1 there, and must not hide that nothing is found."""
    present = np.array([[False, True], [True, True]])
    nothing, something = np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[1.0, 0.0], [0.1, 0.0]])
    watch = MissedObjects("do this")
    answers = [watch.warning(dice, present, 10 * n) for n, dice in enumerate((nothing, something, nothing, nothing), 1)]
    assert answers[:3] == [None] * 3
    assert answers[3] is not None
    assert "From step 30 to step 40" in answers[3]
    assert answers[3].endswith("; do this.")
    assert watch.warning(nothing, np.zeros_like(present), 50) is None


@pytest.mark.parametrize(("method", "cure"), [
    ("mapdice+lrnet", "warm-up more steps (--warmup-steps)"), ("dice", "label and window"),
])  # fmt: skip
def test_a_training_that_predicts_background_alone(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], method: str,
    cure: str,
) -> None:  # fmt: skip
    forward = MNet.forward

    def background(mnet: MNet, image: Tensor) -> Tensor:
        logits = forward(mnet, image)
        return torch.cat((logits[:, :1] + 1000, logits[:, 1:]), dim=1)

    monkeypatch.setattr(MNet, "forward", background)
    config = replace(TINY, method=method)
    train_run(study, config, tmp_path / "run", device="cpu")
    told = [text for text in re.split(r"[\r\n]", capfd.readouterr().err) if "background only" in text]
    first = config.warmup + 1  # validations in the warm-up do not count
    assert [re.findall(r"step (\d+)", text) for text in told] == [[str(n), str(n + 1)] for n in range(first, 4)]
    assert all(cure in text and one_sentence(text) for text in told)


# ---- a dead LR-Net ----------------------------------------------------------------------------------------------


def kill(lrnet: Any) -> LRNet:
    torch.nn.init.constant_(lrnet.head[-1].bias, -1000.0)
    return lrnet


@pytest.mark.parametrize(("kind", "activation"), [("O-DM", None), ("NI-DM", None), ("NI-DM", "sigmoid"),
                                                  ("SNI-DM", None), ("I-DM", None)])  # fmt: skip
def test_the_shipped_lrnets_are_alive(kind: str, activation: str | None) -> None:
    assert not dead_output(load_pretrained_lrnet(kind, activation=activation))


def test_a_dead_lrnet_is_refused_before_anything_is_trained(study: Study, tmp_path: Path) -> None:
    path = lrnet_checkpoint(tmp_path / "lrnet.safetensors", "NI-DM", kill(LRNet("NI-DM")))
    with pytest.raises(InputError, match=r"lrnet\.safetensors gives 0 everywhere.*pretrain it again") as error:
        train_run(study, replace(TINY, lrnet=str(path)), tmp_path / "run", device="cpu")
    assert one_sentence(str(error.value))
    assert not (tmp_path / "run").exists()


def test_an_unfrozen_lrnet_that_dies_is_told_and_the_run_goes_on(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    """That it dies is a finding about unfreezing; a table needs the run's score."""
    config = replace(TINY, method="unfrozen-lrnet")
    task = mnet_task(study, config)
    task.validate(0)
    assert "died" not in capsys.readouterr().err
    kill(task.model.get_submodule("lrnet"))
    assert task.validate(1)["val_loss"] > 0
    assert "LR-Net gives 0 everywhere" in capsys.readouterr().err


# ---- memory -----------------------------------------------------------------------------------------------------


SAID_BY = {
    "cuda": FULL,
    "cuDNN": RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "mps": RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    "cpu": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 99 bytes"),
    "windows": RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried 99 bytes"),
}


@pytest.mark.parametrize("error", SAID_BY.values(), ids=SAID_BY)
def test_a_full_memory_says_what_to_do(error: RuntimeError) -> None:
    full = pytest.raises(InputError, match=r"The memory of cpu is full .*; lower it\.$")
    with full as raised, explain_out_of_memory(CPU, "lower it"):
        raise error
    assert one_sentence(str(raised.value))


def test_other_errors_are_left_alone() -> None:
    with pytest.raises(RuntimeError, match="mat1") as error, explain_out_of_memory(CPU, "lower it"):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert not isinstance(error.value, InputError)


def test_a_full_memory_is_let_go_though_the_error_is_kept() -> None:
    """A notebook keeps the last error; with a smaller patch the next attempt then finds the memory free."""
    seen = []

    def step() -> None:
        activations = torch.zeros(10)
        seen.append(weakref.ref(activations))
        raise FULL

    with pytest.raises(InputError) as kept, explain_out_of_memory(CPU, "lower it"):
        step()
    assert kept.value.__context__ is not None
    assert seen[0]() is None


def test_full_shared_memory_says_where_to_get_more() -> None:
    """What PyTorch says of it in a container."""
    with pytest.raises(InputError, match="--shm-size") as error, explain_out_of_memory(CPU, "lower it"):
        raise RuntimeError(
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are "
            "out of shared memory. Please try to raise your shared memory limit."
        )
    assert one_sentence(str(error.value))


def test_a_full_memory_is_told_before_the_first_step_and_while_predicting(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **options: Any) -> Any:
        raise FULL

    one_step = replace(TINY, method="dice", steps=1)
    train_run(study, one_step, tmp_path / "run", device="cpu")
    monkeypatch.setattr(MNet, "forward", full)
    with pytest.raises(InputError, match=r"memory of cpu is full.*lower patch_size or batch_size"):
        train_run(study, TINY, tmp_path / "other", device="cpu", say=lambda text: None)
    assert not any((tmp_path / "other").glob("*"))  # with a smaller patch size it may be used
    with pytest.raises(InputError, match=r"memory of cpu is full"):
        train_run(study, one_step, tmp_path / "run", device="cpu", resume=True, say=lambda text: None)
    assert {"config.json", "best.safetensors"} <= {path.name for path in (tmp_path / "run").iterdir()}
    with pytest.raises(InputError, match=r"memory of cpu is full.*--device cpu"):
        predict_files(tmp_path / "run", study.data, tmp_path / "predictions", device="cpu")


# ---- silence ----------------------------------------------------------------------------------------------------


def test_a_validation_has_its_bar(study: Study, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """It shows itself where a validation takes longer than a moment."""
    from lrnet_edu.support import progress

    bars = []
    monkeypatch.setattr(progress, "tqdm", lambda items, title, **options: bars.append((title, len(items))) or items)
    task = mnet_task(study, TINY)
    task.validate(0)
    assert bars == [("Validating", len(study.cached["validation"]))]
