"""The README's examples: every command line and every Python block of "Your own scans", as they stand there."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from lrnet_edu.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
OWN_SCANS = README.partition("## Your own scans")[2].partition("\n## ")[0]


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", OWN_SCANS, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


@pytest.fixture
def my_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with ``my_scans``, everything at its small size."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LRNET_EDU_FAST", "1")
    monkeypatch.setenv("LRNET_EDU_CACHE", str(tmp_path / "cache"))
    (tmp_path / "my_scans").mkdir()
    for number in range(4):
        for name in (f"volume-{number}.nii.gz", f"segmentation-{number}.nii.gz"):
            shutil.copy(ROOT / "data_samples" / name, tmp_path / "my_scans")


def test_your_own_scans(my_scans: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [commands] = blocks("")
    for line in commands.splitlines():
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code, line
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
    by_command, in_python = (tmp_path / "runs" / run / "predictions" for run in ("mine", "mine_too"))
    assert [path.name for path in by_command.iterdir()] == [path.name for path in in_python.iterdir()]
    for path in by_command.iterdir():
        assert path.read_bytes() == (in_python / path.name).read_bytes()


def test_behind_your_own_network() -> None:
    section = README.partition("## Behind your own network")[2].partition("\n## ")[0]
    [block] = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    exec(compile(block, "README.md", "exec"), names := {})
    assert names["loss"] > 0


def test_every_command_and_every_link_of_the_readme_exists() -> None:
    from lrnet_edu.cli import app

    known = {command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands}
    assert set(re.findall(r"lrnet-edu ([a-z][a-z-]*)", README)) <= known
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if not link.startswith("https:")]
    assert links
    rows = re.findall(r"^\| [^|]+ \| (`.+`) \|$", README, re.MULTILINE)
    for place in [*links, *(place for row in rows for place in re.findall("`([^`]+)`", row))]:
        assert (ROOT / place).exists(), place
