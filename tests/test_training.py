"""The loop: what it minimises, what it keeps, when it ends, and that a kill at any moment costs nothing."""

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import CPU, SCHEDULE, assert_same_run, change_loss, dying, line, rows_of, toy_task

from lrnet_edu.support.checkpoints import load_checkpoint, save_checkpoint
from lrnet_edu.support.errors import InputError
from lrnet_edu.training import Row, Schedule, Task, fit

# ---- learning ---------------------------------------------------------------------------------------------------


def test_the_loss_goes_down_and_the_log_says_so(tmp_path: Path) -> None:
    task, logged = toy_task(), []

    def log(row: Row) -> None:
        logged.append(row.copy())
        row.clear()  # a logger's own business

    state = fit(task, Schedule(steps=55, validate_every=10, learning_rate=0.5), tmp_path, CPU, log=log)
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows] == [10, 20, 30, 40, 50, 55]  # the last interval may be shorter
    assert (state.step, state.rows) == (55, rows)
    assert logged == rows
    assert list(rows[0]) == ["step", "seconds", "lr", "train_loss", "val_loss", "score"]
    assert rows[-1]["val_loss"] < 0.01 * rows[0]["val_loss"]
    assert rows[-1]["train_loss"] < 0.01 * rows[0]["train_loss"]
    assert torch.allclose(line(task).weight, torch.tensor([[1.0, -2.0, 0.5]]), atol=0.2)
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)


def test_batches_come_in_order_and_validation_runs_in_evaluation_mode(tmp_path: Path) -> None:
    task, losses, modes = toy_task(), {}, []
    before, validate = task.model.state_dict()["fixed.weight"].clone(), task.validate

    def note(loss: Tensor, batch: Any) -> Tensor:
        losses[batch.number] = loss.item()
        modes.append(task.model.training)
        return loss

    def validate_noted(step: int) -> dict[str, float]:
        modes.append(task.model.training)
        return validate(step)

    task.validate = validate_noted
    fit(change_loss(task, note), SCHEDULE, tmp_path, CPU)
    assert list(losses) == list(range(8))
    assert modes == [True, True, False] * 4
    means = [(losses[i] + losses[i + 1]) / 2 for i in range(0, 8, 2)]  # since the last row
    assert [row["train_loss"] for row in rows_of(tmp_path)] == pytest.approx(means, rel=1e-12)
    assert torch.equal(task.model.state_dict()["fixed.weight"], before)


def constant(number: int) -> dict[str, float]:
    return {"val_loss": 1.0, "score": 0.5}


@pytest.mark.parametrize(
    ("settings", "validation", "rate", "expected"),
    [
        ({"plateau_patience": 2}, constant, None, [0.5] * 4 + [0.4] * 3 + [0.32] * 2),
        ({"plateau_patience": 0}, lambda n: {"val_loss": 1.0 / n, "score": -n}, None, [0.5] * 9),
        ({"convergence_patience": 2}, constant, lambda share: 1 - share, [0.5 * (1 - i / 9) for i in range(9)]),
    ],
    ids=["it falls once learning stagnates", "it stays while the loss falls", "one's own"],
)
def test_the_learning_rate(
    tmp_path: Path, settings: dict[str, Any], validation: Any, rate: Any, expected: list[float]
) -> None:
    schedule = Schedule(steps=9, validate_every=1, plateau_factor=0.8, learning_rate=0.5, **settings)
    fit(toy_task(validation), schedule, tmp_path, CPU, rate=rate)
    assert [row["lr"] for row in rows_of(tmp_path)] == pytest.approx(expected)


def test_one_cycle_rises_for_a_tenth_and_falls_to_zero_whatever_validation_says(tmp_path: Path) -> None:
    schedule = Schedule(steps=40, validate_every=1, learning_rate=0.5, convergence_patience=2, one_cycle=True)
    assert fit(toy_task(constant), schedule, tmp_path, CPU).step == 40
    rates = [row["lr"] for row in rows_of(tmp_path)]
    assert rates[:5] == pytest.approx([0, 0.125, 0.25, 0.375, 0.5])
    assert rates[22] == pytest.approx(0.25)  # half-way down the cosine
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] < 0.01 * 0.5


def test_a_long_gradient_is_shortened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []

    class Watched(torch.optim.Adam):
        def step(self, closure: Any = None) -> Any:
            gradients = [weight.grad.flatten() for group in self.param_groups for weight in group["params"]]
            lengths.append(float(torch.cat(gradients).norm()))
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "Adam", Watched)
    fit(toy_task(), Schedule(steps=3, validate_every=3, max_gradient_norm=0.01), tmp_path, CPU)
    assert lengths == pytest.approx([0.01] * 3, rel=1e-3)


# ---- phases -----------------------------------------------------------------------------------------------------


def test_adam_begins_anew_in_each_phase(tmp_path: Path) -> None:
    """It divides by the gradients it has seen: after Dice's, those of 3000 SmoothL1(p, mask) wiped an M-Net out."""

    def weights_after(scale: float) -> Tensor:
        task = toy_task(warm_up=4)
        change_loss(task, lambda loss, batch: loss * (scale if batch.number >= 4 else 1.0))
        fit(task, replace(SCHEDULE, one_cycle=True), tmp_path / str(scale), CPU)
        return line(task).weight.detach()

    torch.testing.assert_close(weights_after(1e-3), weights_after(1.0), rtol=0, atol=1e-5)
    torch.testing.assert_close(weights_after(1e3), weights_after(1.0), rtol=0, atol=1e-5)


def test_only_the_last_phase_chooses_weights_lowers_the_rate_and_ends_the_run(tmp_path: Path) -> None:
    """Another loss is trained in the warm-up, so that its validations say nothing of what comes after."""
    schedule = Schedule(steps=40, validate_every=2, plateau_patience=0, convergence_patience=3)

    def validation(number: int) -> dict[str, float]:  # 1 to 5 in the warm-up; the best after it is the seventh
        return {"val_loss": number if number <= 5 else 20.0 + abs(number - 7), "score": -number}

    state = fit(toy_task(validation, warm_up=10), schedule, tmp_path / "whole", CPU)
    assert (state.step, state.converged) == (20, True)
    assert (state.best_step, state.best_score) == (12, -6)
    rates = [row["lr"] for row in state.rows]
    assert len(set(rates[:8])) == 1
    assert rates[-1] < rates[7]
    fit(toy_task(validation, warm_up=10), replace(schedule, steps=8), tmp_path / "stopped", CPU)
    assert (tmp_path / "stopped" / "best.safetensors").exists()


# ---- what is kept, and when it ends -----------------------------------------------------------------------------


def test_the_best_is_chosen_by_the_validation_score(tmp_path: Path) -> None:
    """Training and validation loss fall to the end, yet the second validation's weights are kept."""
    scores, weights = [0.1, 0.9, 0.3, 0.9], []

    def validation(number: int) -> dict[str, float]:
        weights.append(line(task).weight.detach().clone())
        return {"val_loss": 1.0 / number, "score": scores[number - 1]}

    task = toy_task(validation)
    state = fit(task, replace(SCHEDULE, learning_rate=0.5), tmp_path, CPU)
    best, facts = load_checkpoint(tmp_path / "best.safetensors")
    assert (state.best_step, state.best_score) == (4, 0.9)
    assert torch.equal(best["line.weight"], weights[1])
    assert set(best) == {"line.weight", "line.bias"}  # what the task keeps, nothing else
    assert facts == {"network": "line"}
    assert torch.equal(load_checkpoint(tmp_path / "last.safetensors")[0]["line.weight"], weights[3])


def test_it_ends_once_the_validation_loss_has_converged(tmp_path: Path) -> None:
    schedule = Schedule(steps=40, validate_every=2, convergence_patience=3)

    def validation(number: int) -> dict[str, float]:  # the best is the third; scores go on rising
        return {"val_loss": abs(number - 3) + 1.0, "score": number}

    state = fit(toy_task(validation), schedule, tmp_path, CPU)
    assert (state.step, state.converged) == (12, True)
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert fit(toy_task(validation), schedule, tmp_path, CPU, resume=True) == state
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == files


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_names_the_step_and_the_cases(tmp_path: Path, value: float) -> None:
    task, before = toy_task(), []

    def breaking(loss: Tensor, batch: Any) -> Tensor:
        before.append(line(task).weight.detach().clone())
        return loss * (value if batch.number == 5 else 1)

    with pytest.raises(InputError, match=r"step 5 \(cases case-5, other\)"):
        fit(change_loss(task, breaking), SCHEDULE, tmp_path, CPU)
    assert torch.equal(line(task).weight, before[5])  # it was not stepped with
    assert [row["step"] for row in rows_of(tmp_path)] == [2, 4]


# ---- resuming ---------------------------------------------------------------------------------------------------


def stagnating_task() -> Task:
    """Every validation writes a best and, after a warm-up of three steps, lowers the rate."""
    task = toy_task(warm_up=3)
    validate = task.validate
    task.validate = lambda step: {**validate(step), "val_loss": 1.0}
    return task


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    state = fit(stagnating_task(), SCHEDULE, folder, CPU)
    assert [row["lr"] for row in state.rows] == pytest.approx([0.05, 0.05, 0.05, 0.04])
    return folder


@pytest.mark.parametrize("step", range(8))
def test_a_run_killed_in_a_step_goes_on_bit_for_bit(tmp_path: Path, uninterrupted: Path, step: int) -> None:
    """In the warm-up, at its end, after it; and once more before the end."""
    for deadly in (step, max(step, 6)):
        with pytest.raises(KeyboardInterrupt):
            fit(dying(stagnating_task(), deadly), SCHEDULE, tmp_path, CPU, resume=True)
    fit(stagnating_task(), SCHEDULE, tmp_path, CPU, resume=True)
    assert_same_run(tmp_path, uninterrupted)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 13))
def test_a_run_killed_between_two_writes_goes_on_bit_for_bit(
    tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch, number: int, when: str
) -> None:
    """Four validations write best, log and last each, and files change when they get their name and never else."""
    replace_file, count = os.replace, 0

    def deadly(source: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count != number or when == "after":
            replace_file(source, target)
        if count == number:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", deadly)
    with pytest.raises(KeyboardInterrupt):
        fit(stagnating_task(), SCHEDULE, tmp_path, CPU)
    monkeypatch.undo()
    fit(stagnating_task(), SCHEDULE, tmp_path, CPU, resume=True)
    assert_same_run(tmp_path, uninterrupted)


def test_a_finished_run_goes_on_for_more_steps(tmp_path: Path, uninterrupted: Path) -> None:
    fit(stagnating_task(), replace(SCHEDULE, steps=4), tmp_path, CPU)
    fit(stagnating_task(), SCHEDULE, tmp_path, CPU, resume=True)
    assert_same_run(tmp_path, uninterrupted)


@pytest.mark.parametrize(("part", "value"), [("state", None), ("state", {"steps": 3}), ("plateau", 3), ("lr", "a")])
def test_a_checkpoint_that_cannot_be_is_not_resumed(tmp_path: Path, uninterrupted: Path, part: str, value: Any) -> None:
    tensors, facts = load_checkpoint(uninterrupted / "last.safetensors")
    save_checkpoint(tmp_path / "last.safetensors", tensors, {**facts, part: value})
    with pytest.raises(InputError, match="metadata of"):
        fit(stagnating_task(), SCHEDULE, tmp_path, CPU, resume=True)
    task = stagnating_task()
    task.model = nn.ModuleDict({"line": nn.Linear(4, 1)})
    with pytest.raises(InputError, match="metadata of"):
        fit(task, SCHEDULE, uninterrupted, CPU, resume=True)
