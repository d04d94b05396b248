"""The loop: what it minimises, what it keeps, when it ends, and that a kill at any moment costs nothing."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lrnet_edu import training
from lrnet_edu.config import Config
from lrnet_edu.support.checkpoints import load_checkpoint, save_checkpoint
from lrnet_edu.support.devices import choose_device, reduced_precision
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import changed_settings
from lrnet_edu.support.run_folder import Task, check_run, open_run, opened_run
from lrnet_edu.training import Schedule, estimate, fit, loader

CPU = torch.device("cpu")
SCHEDULE = Schedule(steps=8, validate_every=2, learning_rate=0.05, plateau_patience=0)


class Points(NamedTuple):
    """A batch of points and of the values that a line takes there."""

    x: Tensor  # (B, 3)
    y: Tensor  # (B, 1)
    cases: list[str]

    def to(self, device: torch.device) -> Points:
        return Points(self.x.to(device), self.y.to(device), self.cases)


class PointBatches(Dataset[Points]):
    def __getitem__(self, index: int) -> Points:
        x = torch.randn(16, 3, generator=torch.Generator().manual_seed(index))
        return Points(x, x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 3, [f"case-{index}", "other"])

    def __len__(self) -> int:
        return 10**6


Validation = Callable[[int], dict[str, float]]


def toy_task(validation: Validation | None = None) -> Task:
    """A line to fit, and a frozen part beside it; ``validation`` gives the figures of the n-th validation."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"line": nn.Linear(3, 1), "fixed": nn.Linear(2, 2).requires_grad_(False)})
    held_out, number = PointBatches()[10**6], 0

    def loss(batch: Points, step: int) -> Tensor:
        return ((model["line"](batch.x) - batch.y) ** 2).mean()

    def validate() -> dict[str, float]:
        nonlocal number
        number += 1
        if validation:
            return validation(number)
        with torch.no_grad():
            value = float(loss(held_out, 0))
        return {"val_loss": value, "score": -value}

    return Task(model, PointBatches(), loss, validate, {"network": "line"}, kept="line.")


def line(task: Task) -> Any:
    """What a toy task trains."""
    layers: Any = task.model
    return layers["line"]


def noted(note: Callable[..., object], function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with its arguments noted down before."""

    def both(*arguments: Any) -> Any:
        note(*arguments)
        return function(*arguments)

    return both


def rows_of(folder: Path) -> list[dict[str, float]]:
    with (folder / "log.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def without_seconds(folder: Path) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows_of(folder)]


def one_sentence(error: pytest.ExceptionInfo[InputError]) -> bool:
    text = str(error.value)
    return text.endswith(".") and not re.search(r"[.!?] [A-Z]", text)


# ---- learning ---------------------------------------------------------------------------------------------------


def test_the_loss_goes_down_and_the_log_says_so(tmp_path: Path) -> None:
    task = toy_task()
    state = fit(task, Schedule(steps=60, validate_every=10, learning_rate=0.5), tmp_path, CPU)
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows] == list(range(10, 61, 10))
    assert rows[-1]["val_loss"] < 0.01 * rows[0]["val_loss"]
    assert rows[-1]["train_loss"] < 0.01 * rows[0]["train_loss"]
    assert (state.step, state.rows) == (60, rows)
    assert torch.allclose(line(task).weight, torch.tensor([[1.0, -2.0, 0.5]]), atol=0.2)
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)


def test_the_logged_training_loss_is_the_mean_since_the_last_row(tmp_path: Path) -> None:
    task, values = toy_task(), []
    original = task.loss

    def noted(batch: Points, step: int) -> Tensor:
        loss = original(batch, step)
        values.append(loss.item())
        return loss

    task.loss = noted
    fit(task, SCHEDULE, tmp_path, CPU)
    means = [sum(values[i : i + 2]) / 2 for i in range(0, 8, 2)]
    assert [row["train_loss"] for row in rows_of(tmp_path)] == pytest.approx(means, rel=1e-12)


def test_batches_come_in_order_once_each_with_their_step(tmp_path: Path) -> None:
    task, seen = toy_task(), []
    task.loss = noted(lambda batch, step: seen.append((batch.cases[0], step)), task.loss)
    fit(task, SCHEDULE, tmp_path, CPU)
    assert seen == [(f"case-{i}", i) for i in range(8)]


def test_a_last_interval_that_is_too_short_is_validated_as_well(tmp_path: Path) -> None:
    fit(toy_task(), replace(SCHEDULE, steps=5, validate_every=3), tmp_path, CPU)
    assert [row["step"] for row in rows_of(tmp_path)] == [3, 5]


def test_frozen_weights_stay_and_validation_runs_in_evaluation_mode(tmp_path: Path) -> None:
    task, modes = toy_task(), []
    before = task.model.state_dict()["fixed.weight"].clone()
    task.loss = noted(lambda batch, step: modes.append(task.model.training), task.loss)
    task.validate = noted(lambda: modes.append(task.model.training), task.validate)
    fit(task, SCHEDULE, tmp_path, CPU)
    assert modes == [True, True, False] * 4
    assert torch.equal(task.model.state_dict()["fixed.weight"], before)


# ---- what is kept, and when it ends -----------------------------------------------------------------------------


def test_the_best_is_chosen_by_the_validation_score(tmp_path: Path) -> None:
    """Training and validation loss fall to the end, yet the second validation's weights are kept."""
    scores, weights = [0.1, 0.9, 0.3, 0.9], []

    def validation(number: int) -> dict[str, float]:
        weights.append(line(task).weight.detach().clone())
        return {"val_loss": 1.0 / number, "score": scores[number - 1]}

    task = toy_task(validation)
    state = fit(task, replace(SCHEDULE, learning_rate=0.5), tmp_path, CPU)
    losses = [row["train_loss"] for row in rows_of(tmp_path)]
    assert losses == sorted(losses, reverse=True)
    best, facts = load_checkpoint(tmp_path / "best.safetensors")
    assert (state.best_step, state.best_score) == (4, 0.9)
    assert torch.equal(best["line.weight"], weights[1])
    assert set(best) == {"line.weight", "line.bias"}  # what the task keeps, nothing else
    assert facts == {"network": "line"}
    last, _ = load_checkpoint(tmp_path / "last.safetensors")
    assert torch.equal(last["line.weight"], weights[3])


def constant(number: int) -> dict[str, float]:
    return {"val_loss": 1.0, "score": 0.5}


def test_the_rate_falls_once_learning_stagnates(tmp_path: Path) -> None:
    schedule = Schedule(steps=9, validate_every=1, plateau_factor=0.8, plateau_patience=2, learning_rate=0.5)
    fit(toy_task(constant), schedule, tmp_path, CPU)
    rates = [row["lr"] for row in rows_of(tmp_path)]
    assert rates == pytest.approx([0.5] * 3 + [0.4] * 3 + [0.32] * 3)


def test_the_rate_stays_while_the_validation_loss_falls(tmp_path: Path) -> None:
    schedule = Schedule(steps=9, validate_every=1, plateau_patience=0)
    fit(toy_task(lambda number: {"val_loss": 1.0 / number, "score": -number}), schedule, tmp_path, CPU)
    assert {row["lr"] for row in rows_of(tmp_path)} == {schedule.learning_rate}


def test_one_cycle_rises_for_a_tenth_and_falls_to_zero_whatever_validation_says(tmp_path: Path) -> None:
    schedule = Schedule(steps=40, validate_every=1, learning_rate=0.5, convergence_patience=2, one_cycle=True)
    state = fit(toy_task(constant), schedule, tmp_path, CPU)
    rates = [row["lr"] for row in rows_of(tmp_path)]
    assert state.step == 40
    assert rates[:5] == sorted(rates[:5])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert max(rates) == rates[4] == 0.5
    assert rates[-1] < 0.01 * 0.5


def test_a_long_gradient_is_shortened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []

    class Watched(torch.optim.Adam):
        def step(self, closure: Any = None) -> Any:
            gradients = [weight.grad.flatten() for group in self.param_groups for weight in group["params"]]
            lengths.append(float(torch.cat(gradients).norm()))
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "Adam", Watched)
    fit(toy_task(), Schedule(steps=3, validate_every=3), tmp_path / "free", CPU)
    free, shortest = list(lengths), 0.5 * min(lengths)
    lengths.clear()
    fit(toy_task(), Schedule(steps=3, validate_every=3, max_gradient_norm=shortest), tmp_path / "short", CPU)
    assert min(free) > shortest
    assert lengths == pytest.approx([shortest] * 3, rel=1e-3)


def test_adam_begins_anew_where_the_loss_changes(tmp_path: Path) -> None:
    """Adam divides by the gradients it has seen, so a scale is felt only beside gradients of another one."""

    def weights_after(scale: float, restart: bool) -> Tensor:
        task = replace(toy_task(), warmup=4, restart=restart)
        before = task.loss
        task.loss = lambda batch, step: before(batch, step) * (scale if step >= 4 else 1.0)
        schedule = Schedule(steps=8, validate_every=8, learning_rate=0.05, one_cycle=True)
        fit(task, schedule, tmp_path / f"{scale}-{restart}", CPU)
        return line(task).weight.detach()

    torch.testing.assert_close(weights_after(1e-3, restart=True), weights_after(1.0, restart=True), rtol=0, atol=1e-5)
    assert (weights_after(1e-3, restart=False) - weights_after(1.0, restart=False)).abs().max() > 1e-3


def test_it_ends_once_the_validation_loss_has_converged(tmp_path: Path) -> None:
    schedule = Schedule(steps=40, validate_every=2, convergence_patience=3)

    def validation(number: int) -> dict[str, float]:  # the best is the third; scores go on rising
        return {"val_loss": abs(number - 3) + 1.0, "score": number}

    state = fit(toy_task(validation), schedule, tmp_path, CPU)
    assert (state.step, state.converged) == (12, True)
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    again = fit(toy_task(validation), schedule, tmp_path, CPU, resume=True)
    assert again == state
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == files


def test_the_warm_up_chooses_no_weights_and_ends_no_run(tmp_path: Path) -> None:
    """Another loss is trained in it, so that its validations say nothing of what comes after."""
    schedule = Schedule(steps=40, validate_every=2, plateau_patience=0, convergence_patience=3)

    def validation(number: int) -> dict[str, float]:  # 1 to 5 in the warm-up; the best after it is the seventh
        return {"val_loss": number if number <= 5 else 20.0 + abs(number - 7), "score": -number}

    state = fit(replace(toy_task(validation), warmup=10), schedule, tmp_path / "whole", CPU)
    assert (state.step, state.converged) == (20, True)
    assert (state.best_step, state.best_score) == (12, -6)
    rates = [row["lr"] for row in state.rows]
    assert len(set(rates[:7])) == 1
    assert rates[-1] < rates[6]
    fit(replace(toy_task(validation), warmup=10), replace(schedule, steps=8), tmp_path / "stopped", CPU)
    assert (tmp_path / "stopped" / "best.safetensors").exists()


def test_a_run_that_has_used_up_its_steps_is_not_trained_on(tmp_path: Path) -> None:
    state = fit(toy_task(), SCHEDULE, tmp_path, CPU)
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert fit(toy_task(), SCHEDULE, tmp_path, CPU, resume=True) == state
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == files


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_names_the_step_and_the_cases(tmp_path: Path, value: float) -> None:
    task = toy_task()
    original, before = task.loss, []

    def breaking(batch: Points, step: int) -> Tensor:
        if step == 5:
            before.append(line(task).weight.detach().clone())
        return original(batch, step) * (value if step == 5 else 1)

    task.loss = breaking
    with pytest.raises(InputError, match=r"step 5 \(cases case-5, other\)") as error:
        fit(task, SCHEDULE, tmp_path, CPU)
    assert one_sentence(error)
    assert torch.equal(line(task).weight, before[0])  # it was not stepped with
    assert [row["step"] for row in rows_of(tmp_path)] == [2, 4]


# ---- resuming ---------------------------------------------------------------------------------------------------


def stagnating_task() -> Task:
    """Its score rises and its validation loss does not fall: every validation writes a best and lowers the rate."""
    task = toy_task()
    validate = task.validate
    task.validate = lambda: {**validate(), "val_loss": 1.0}
    return task


@pytest.fixture
def uninterrupted(tmp_path: Path) -> Path:
    state = fit(stagnating_task(), SCHEDULE, tmp_path / "whole", CPU)
    assert len({row["lr"] for row in state.rows}) == 4
    return tmp_path / "whole"


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, optimiser and log bit for bit; only the seconds may differ."""
    for name in ("last.safetensors", "best.safetensors"):
        a, b = load_checkpoint(one / name), load_checkpoint(other / name)
        assert a[0].keys() == b[0].keys()
        assert all(torch.equal(a[0][key], b[0][key]) for key in a[0])
        assert timeless(a[1]) == timeless(b[1])
    assert without_seconds(one) == without_seconds(other)


def timeless(facts: Any) -> Any:
    if isinstance(facts, dict):
        return {key: timeless(value) for key, value in facts.items() if key != "seconds"}
    return [timeless(value) for value in facts] if isinstance(facts, list) else facts


def killed_run(task: Task, folder: Path, *, resume: bool = False) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(task, SCHEDULE, folder, CPU, resume=resume)


@pytest.mark.parametrize("step", range(8))
def test_a_run_killed_in_a_step_goes_on_bit_for_bit(tmp_path: Path, uninterrupted: Path, step: int) -> None:
    folder, task = tmp_path / "killed", stagnating_task()
    original = task.loss

    def dying(batch: Points, at: int) -> Tensor:
        if at == step:
            raise KeyboardInterrupt
        return original(batch, at)

    task.loss = dying
    killed_run(task, folder)
    fit(stagnating_task(), SCHEDULE, folder, CPU, resume=True)
    assert_same_run(folder, uninterrupted)


@pytest.fixture
def dies_at_write(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, str], None]]:
    """Let the process die just before or after its n-th file gets its name: files change at no other moment."""
    replace_file = os.replace

    def arm(number: int, when: str) -> None:
        count = 0

        def dying(source: Path, target: Path) -> None:
            nonlocal count
            count += 1
            if count == number and when == "before":
                raise KeyboardInterrupt
            replace_file(source, target)
            if count == number:
                raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", dying)

    yield arm
    monkeypatch.setattr(os, "replace", replace_file)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 13))
def test_a_run_killed_between_two_writes_goes_on_bit_for_bit(
    tmp_path: Path,
    uninterrupted: Path,
    dies_at_write: Callable[[int, str], None],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    when: str,
) -> None:
    """Four validations write best, log and last each: all the states a kill can leave on the disk."""
    folder = tmp_path / "killed"
    with monkeypatch.context():
        dies_at_write(number, when)
        killed_run(stagnating_task(), folder)
    monkeypatch.undo()
    fit(stagnating_task(), SCHEDULE, folder, CPU, resume=True)
    assert_same_run(folder, uninterrupted)


def test_a_run_killed_again_and_again_still_ends_alike(tmp_path: Path, uninterrupted: Path) -> None:
    folder = tmp_path / "killed"
    for deadly in (1, 3, 3, 6):
        task = stagnating_task()
        original = task.loss

        def dying(batch: Points, step: int, original: Any = original, deadly: int = deadly) -> Tensor:
            if step == deadly:
                raise KeyboardInterrupt
            return original(batch, step)

        task.loss = dying
        killed_run(task, folder, resume=True)
    fit(stagnating_task(), SCHEDULE, folder, CPU, resume=True)
    assert_same_run(folder, uninterrupted)


def test_a_checkpoint_of_another_architecture_cannot_be_resumed(tmp_path: Path, uninterrupted: Path) -> None:
    task = stagnating_task()
    task.model = nn.ModuleDict({"line": nn.Linear(4, 1)})
    with pytest.raises(InputError, match="another architecture") as error:
        fit(task, SCHEDULE, uninterrupted, CPU, resume=True)
    assert one_sentence(error)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        *(
            ("state", value)
            for value in (None, "a", {}, {"step": 3}, {"step": -3, "rows": []}, {"step": "b", "rows": []})
        ),
        *(
            ("state", {"step": 3, "rows": rows})
            for rows in ({}, [{}], [{"val_loss": "a"}], [{"val_loss": 1, "lr": []}])
        ),
        *(("plateau", value) for value in (None, "a", {"step": 3}, {"best": [1]})),
        *(("lr", value) for value in (None, "a", -1.0, math.nan)),
    ],
)
def test_a_state_that_cannot_be_is_not_resumed(tmp_path: Path, uninterrupted: Path, part: str, value: Any) -> None:
    tensors, facts = load_checkpoint(uninterrupted / "last.safetensors")
    save_checkpoint(tmp_path / "last.safetensors", tensors, {**facts, part: value})
    with pytest.raises(InputError, match="does not say what it holds") as error:
        fit(stagnating_task(), SCHEDULE, tmp_path, CPU, resume=True)
    assert one_sentence(error)


# ---- the run folder ---------------------------------------------------------------------------------------------


def test_a_new_run_stores_its_settings(tmp_path: Path) -> None:
    config = Config(steps=3, window=(-100.0, 200.0))
    open_run(tmp_path / "new" / "run", config, resume=False, more={"data": "/scans"})
    stored = json.loads((tmp_path / "new" / "run" / "config.json").read_text())
    assert stored == {**json.loads(json.dumps(asdict(config))), "data": "/scans"}


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    open_run(tmp_path, SCHEDULE, resume=False)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(InputError, match="holds a run already; add --resume") as error:
        open_run(tmp_path, SCHEDULE, resume=False)
    assert one_sentence(error)
    assert (tmp_path / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("config", "more", "named"),
    [
        (replace(SCHEDULE, steps=9), {"data": "a"}, "steps 8, now 9"),
        (replace(SCHEDULE, learning_rate=1.0), {"data": "b"}, "data a, now b; learning_rate 0.05, now 1.0"),
    ],
)
def test_a_run_is_resumed_with_its_own_settings_only(
    tmp_path: Path, config: Schedule, more: dict[str, Any], named: str
) -> None:
    open_run(tmp_path, SCHEDULE, resume=False, more={"data": "a"})
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(InputError, match=re.escape(f"({named})")) as error:
        open_run(tmp_path, config, resume=True, more=more)
    assert one_sentence(error)
    assert (tmp_path / "config.json").read_bytes() == before
    open_run(tmp_path, SCHEDULE, resume=True, more={"data": "a"})
    assert (tmp_path / "config.json").read_bytes() == before


def test_settings_told_apart() -> None:
    long = "a" * 70
    before, now = {"steps": 5, "data": long + "1"}, {"steps": 8, "data": long + "2", "seed": 0}
    assert changed_settings(["steps", "data", "seed"], before, now) == "steps 5, now 8; data; seed not recorded, now 0"


@pytest.mark.parametrize("content", ["{", "[1]", "3", ""])
def test_a_run_whose_settings_are_damaged_is_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json is damaged") as error:
        open_run(tmp_path, SCHEDULE, resume=True)
    assert one_sentence(error)
    assert (tmp_path / "config.json").read_text() == content


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_run_cannot_be_written_into_a_file(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file") as error:
        open_run(tmp_path / place, SCHEDULE, resume=False)
    assert one_sentence(error)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("error", [InputError("no"), KeyboardInterrupt(), ValueError("a bug")])
@pytest.mark.parametrize("resume", [False, True])
def test_a_new_run_without_a_checkpoint_leaves_nothing(tmp_path: Path, error: BaseException, resume: bool) -> None:
    split = {"train": ["a"], "validation": ["b"], "test": ["c"]}
    for folder in (tmp_path / "new" / "run", tmp_path):

        def fail(folder: Path = folder) -> None:
            with opened_run(folder, SCHEDULE, resume=resume, more={}, split=split):
                assert json.loads((folder / "split.json").read_text()) == split
                (folder / "tensorboard").mkdir()
                raise error

        with pytest.raises(type(error)):
            fail()
        assert list(tmp_path.iterdir()) == []
    with opened_run(tmp_path, SCHEDULE, resume=resume, more={}, split=split):
        (tmp_path / "best.safetensors").touch()
    for schedule in (SCHEDULE, replace(SCHEDULE, steps=9)):  # gone on with; refused
        with pytest.raises((type(error), InputError)), opened_run(tmp_path, schedule, resume=True, more={}, split=None):
            raise error
        assert sorted(path.name for path in tmp_path.iterdir()) == ["best.safetensors", "config.json", "split.json"]


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_of_something_else_is_no_place_for_a_run(tmp_path: Path, resume: bool) -> None:
    for name in (".DS_Store", "desktop.ini", "Thumbs.db"):
        (tmp_path / name).touch()
    assert not check_run(tmp_path, resume=resume)
    for name in ("thesis.tex", "Pictures"):
        (tmp_path / name).mkdir()
        with pytest.raises(InputError, match=rf"holds other files \(.*{name}.*\); name a new or an empty") as error:
            open_run(tmp_path, SCHEDULE, resume=resume)
        assert one_sentence(error)
    assert not (tmp_path / "config.json").exists()


# ---- device, estimate, TensorBoard ------------------------------------------------------------------------------


def test_devices() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device().type in ("cuda", "mps", "cpu")
    for name in ("nonsense", "cuda:77"):
        with pytest.raises(InputError, match=name) as error:
            choose_device(name)
        assert one_sentence(error)


def test_a_mac_takes_its_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """On MPS PyTorch 2.4 lacks ConvTranspose3d and MaxPool3d."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert choose_device() == CPU


@pytest.mark.parametrize("name", [None, "cuda", "cuda:0"])
def test_a_gpu_that_cannot_be_used_says_why(name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def zeros(*shape: int, device: str) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 MiB.\nSee more.")

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.zeros", zeros)
    with pytest.raises(InputError, match=r"cannot be used \(CUDA out of memory, Tried .*\); .* cpu\.") as error:
        choose_device(name)
    assert one_sentence(error)


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16),
                                                   ((9, 0), torch.bfloat16)])  # fmt: skip
def test_bfloat16_is_for_gpus_that_compute_in_it(
    capability: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A T4 says that it supports bfloat16, imitates it, and has no convolutions of it; nor has PyTorch 2.9."""
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability)
    monkeypatch.setattr("torch.autocast", partial(_autocast_on_the_cpu, torch.autocast))
    image, weight = torch.rand(1, 1, 4, 4, 4), torch.rand(1, 1, 3, 3, 3)
    monkeypatch.setattr("torch.__version__", "2.13.0")
    with reduced_precision(torch.device("cuda")):
        assert nn.functional.conv3d(image, weight).dtype == dtype
    monkeypatch.setattr("torch.__version__", "2.9.1+cu128")
    with reduced_precision(torch.device("cuda")):
        assert nn.functional.conv3d(image, weight).dtype == torch.float32
    assert nn.functional.conv3d(image, weight).dtype == torch.float32


def _autocast_on_the_cpu(autocast: Callable[..., Any], device: str, **options: Any) -> Any:
    assert device == "cuda"
    return autocast("cpu", **options)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not tell a process's cores")
def test_no_more_workers_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch warns where a GPU has more of them, as on Colab's two cores."""
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1})
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*worker")
        assert [batch.cases[0] for batch in loader(PointBatches(), 1, 4, torch.device("cuda"))] == [
            "case-1", "case-2", "case-3"
        ]  # fmt: skip


class Unreadable(Dataset[Points]):
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getitem__(self, index: int) -> Points:
        raise self.error


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("error", [InputError("The scan is damaged; copy it again."), OSError(5, "gone", "image.npy")])
def test_a_batch_that_cannot_be_read_says_the_same_with_and_without_workers(error: Exception, device: str) -> None:
    """A worker's error would be a traceback in place of a sentence, and know no file."""
    with pytest.raises(type(error)) as raised:
        next(iter(loader(Unreadable(error), 0, 3, torch.device(device))))
    assert str(raised.value) == str(error)
    assert getattr(raised.value, "filename", None) == getattr(error, "filename", None)


def test_the_estimate_changes_nothing(tmp_path: Path, uninterrupted: Path) -> None:
    task = stagnating_task()
    seconds, memory = estimate(task, CPU)
    assert seconds > 0
    assert memory >= 16 * 3 * 4  # the backward pass needs at least the batch
    assert all(parameter.grad is None for parameter in task.model.parameters())
    fit(task, SCHEDULE, tmp_path / "estimated", CPU)
    assert_same_run(tmp_path / "estimated", uninterrupted)


def test_the_estimate_counts_what_grows_with_the_batch() -> None:
    def memory(width: int) -> int:
        task = toy_task()
        layers = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 1))
        task.model["line"] = layers  # type: ignore[operator]
        return estimate(task, CPU)[1]

    grown = memory(2000) - memory(1000)
    assert grown >= 16 * 1000 * 4  # at least one activation (16, width) in float32


def test_tensorboard_is_said_to_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match="pip install tensorboard") as error:
        fit(toy_task(), SCHEDULE, tmp_path, CPU, tensorboard=True)
    assert one_sentence(error)


def test_tensorboard_gets_every_figure_of_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    class Writer:
        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def flush(self) -> None:
            pass

    monkeypatch.setattr(training, "summary_writer", lambda: lambda folder: Writer())
    fit(toy_task(), SCHEDULE, tmp_path, CPU, tensorboard=True)
    expected = [(name, value, row["step"]) for row in rows_of(tmp_path) for name, value in row.items()]
    assert written == expected

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Writer, "flush", full)
    with pytest.raises(InputError, match=r"TensorBoard cannot write its events \(No space left on device\)") as error:
        fit(toy_task(), SCHEDULE, tmp_path, CPU, tensorboard=True)
    assert one_sentence(error)
