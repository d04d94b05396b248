"""A run folder: settings that are kept, never overwritten and resumed with; what fails early leaves nothing."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from scans import contents
from toys import SCHEDULE

from lrnet_edu.config import Config
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.run_folder import open_run

SPLIT = {"train": ["a"], "validation": ["b"], "test": ["c"]}


def begin(
    folder: Path, config: Any = SCHEDULE, *, resume: bool = False, data: str = "a", split: Any = None, fails: Any = None
) -> None:
    """Open a run and leave it again, with a checkpoint in it or failing before."""
    with open_run(folder, {**asdict(config), "data": data}, resume=resume, split=split or SPLIT):
        assert json.loads((folder / "split.json").read_text()) == SPLIT
        if fails is not None:
            raise fails
        (folder / "best.safetensors").touch()


def test_a_new_run_stores_its_settings_and_is_never_overwritten(tmp_path: Path) -> None:
    folder, config = tmp_path / "new" / "run", Config(steps=3, window=(-100.0, 200.0))
    begin(folder, config)
    before = contents(folder)
    assert json.loads(before["config.json"]) == {**json.loads(json.dumps(asdict(config))), "data": "a", "split": SPLIT}
    with pytest.raises(InputError, match="holds a run already; add --resume"):
        begin(folder, config)
    begin(folder, config, resume=True)
    assert contents(folder) == before


@pytest.mark.parametrize(("changes", "data", "named"), [
    ({"steps": 7}, "a", "steps 8, now 7"),
    ({"learning_rate": 1.0}, "b", "data a, now b; learning_rate 0.05, now 1.0"),
    ({"learning_rate": 1.0, "steps": 9}, "a", "learning_rate 0.05, now 1.0"),
])  # fmt: skip
def test_a_run_is_resumed_with_its_own_settings_or_for_more_steps(
    tmp_path: Path, changes: dict[str, Any], data: str, named: str
) -> None:
    begin(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=re.escape(f"({named})")):
        begin(tmp_path, replace(SCHEDULE, **changes), resume=True, data=data)
    with pytest.raises(InputError, match=r"other settings \(split"):
        begin(tmp_path, resume=True, split={**SPLIT, "test": ["d"]})
    assert contents(tmp_path) == before
    begin(tmp_path, replace(SCHEDULE, steps=9), resume=True)
    assert json.loads((tmp_path / "config.json").read_text())["steps"] == 9


def test_what_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    for content in ("{", "3"):
        (tmp_path / "damaged" / "config.json").write_text(content)
        with pytest.raises(InputError, match=r"config\.json is damaged"):
            begin(tmp_path / "damaged", resume=True)
    (tmp_path / "thesis.tex").write_text("mine")
    for place in (tmp_path / "thesis.tex", tmp_path / "thesis.tex" / "run", tmp_path):
        with pytest.raises(InputError, match=r"thesis"):
            begin(place, resume=True)
    assert contents(tmp_path) == {"thesis.tex": b"mine", "damaged/config.json": b"3"}


@pytest.mark.parametrize("error", [InputError("no"), KeyboardInterrupt()])
def test_a_run_without_a_checkpoint_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / ".DS_Store").touch()  # what systems leave is nobody's
    with pytest.raises(type(error)):
        begin(tmp_path, resume=True, fails=error)
    assert contents(tmp_path) == {".DS_Store": b""}
    begin(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(type(error)):  # gone on with, it stays
        begin(tmp_path, resume=True, fails=error)
    assert contents(tmp_path) == before
