"""Trainings that go wrong: each says what is wrong and what to do, and sound ones say nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import CPU, SCHEDULE, toy_task

from lrnet_edu.support.symptoms import MissedObjects, stuck_training
from lrnet_edu.training import Phase, fit


def test_a_loss_that_never_moved_is_told_once_and_early(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stuck: Any = toy_task()
    weight = stuck.model["line"].weight
    stuck.phases = [Phase("stuck", SCHEDULE.steps, lambda batch: 0 * weight.sum() + 0.7)]  # no gradient but 0
    fit(stuck, SCHEDULE, tmp_path / "stuck", CPU)
    told = re.findall("has not moved since step 2 .* raise the rate", capfd.readouterr().err)
    assert len(told) == 1
    fit(toy_task(), SCHEDULE, tmp_path / "sound", CPU)
    assert "has not moved" not in capfd.readouterr().err
    rows = [{"step": 50.0 * n, "val_loss": value} for n, value in enumerate((0.5, 0.4999, 0.4999), start=1)]
    assert [stuck_training(rows[:n]) for n in (1, 2, 3)] == [None] * 3  # it moved, and only stagnates


def test_background_alone_is_told_after_a_whole_interval() -> None:
    """Case 0 lacks class 1; an empty prediction scores 1 there, and must not hide that nothing is found."""
    present = np.array([[False, True], [True, True]])
    nothing, something = np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[1.0, 0.0], [0.1, 0.0]])
    missed = MissedObjects("do this")
    told = [missed.warning(dice, present, 10 * n) for n, dice in enumerate((nothing, something, nothing, nothing), 1)]
    assert told[:3] == [None] * 3
    assert re.search(r"From step 30 to step 40 .*; do this\.$", told[3] or "")
    assert missed.warning(nothing, np.zeros_like(present), 50) is None
