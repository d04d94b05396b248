"""What README and docs/ say: their examples run as they stand there, and what they name exists."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.readings.__main__ import COLUMN, PAGE, all_readings, filled
from lrnet_edu.cli import app, main
from lrnet_edu.data import nifti
from lrnet_edu.kinds import KINDS
from lrnet_edu.methods import METHODS
from lrnet_edu.metrics import CRITERIA
from lrnet_edu.study.rows import TABLES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]


def sections(page: str) -> dict[str, str]:
    """The text of a page by its headings of the second level."""
    return {part.splitlines()[0]: part for part in re.split(r"^## ", page, flags=re.MULTILINE)}


def blocks(text: str, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@contextmanager
def working_directory(folder: Path) -> Iterator[None]:
    """With the ``my_scans`` that the pages speak of, and everything at its small size."""
    (folder / "my_scans").mkdir()
    for number in range(4):
        for name in (f"volume-{number}.nii.gz", f"segmentation-{number}.nii.gz"):
            shutil.copy(ROOT / "data_samples" / name, folder / "my_scans")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("LRNET_EDU_FAST", "1")
        patch.setenv("LRNET_EDU_CACHE", str(folder / "cache"))
        yield


# ---- README -----------------------------------------------------------------------------------------------------


def test_your_own_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In Python they are predicted as by the commands."""
    section = sections(README)["Your own scans"]
    [commands] = blocks(section, language="")
    with working_directory(tmp_path):
        for line in commands.splitlines():
            monkeypatch.setattr(sys, "argv", shlex.split(line))
            with pytest.raises(SystemExit) as stop:
                main()
            assert not stop.value.code, line
        for block in blocks(section):
            exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
    by_command, in_python = (
        {path.name: path.read_bytes() for path in (tmp_path / "runs" / run / "predictions").iterdir()}
        for run in ("mine", "mine_too")
    )
    assert by_command == in_python


def test_behind_your_own_network() -> None:
    [block] = blocks(sections(README)["Behind your own network"])
    exec(compile(block, "README.md", "exec"), names := {})
    assert names["value"] > 0


# ---- what pages name --------------------------------------------------------------------------------------------


def test_every_command_and_every_place_in_the_readme_exists() -> None:
    known = {command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands}
    assert set(re.findall(r"lrnet-edu ([a-z][a-z-]*)", README)) <= known
    rows = re.findall(r"^\| [^|]+ \| (`.+`) \|$", README, re.MULTILINE)
    places = [place for row in rows for place in re.findall("`([^`]+)`", row)]
    assert places
    assert [place for place in places if not (ROOT / place).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!https:)([^)#]+)", (ROOT / page).read_text("utf-8"))
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("page", ["house.md", "reading_the_paper.md"])
def test_every_place_that_a_page_names_exists(page: str) -> None:
    """In the last column of a table: `data/cases.py: find_cases`, `metrics.score_table`; names after it stand there."""
    rows = re.findall(r"^\|.*\| ([^|]*) \|$", (ROOT / "docs" / page).read_text("utf-8"), re.MULTILINE)
    found = 0
    for row in rows:
        source = ""
        for module, name in re.findall(r"`(?:([a-z_/]+)\.(?:py: )?)?([A-Za-z_]+)", row):
            if module:
                place = ROOT / "lrnet_edu" / module
                files = [*place.glob("*.py")] or [place.with_suffix(".py")]
                source = "".join(file.read_text("utf-8") for file in files)
            if source and name != "py":
                found += 1
                assert re.search(rf"^ *(class |def )?{name}\b", source, re.MULTILINE), f"{module}: {name}"
    assert found > 15


def test_the_readings_of_the_paper_are_those_that_their_command_computes() -> None:
    page = PAGE.read_text("utf-8")
    assert filled(page, all_readings()) == page, "run python -m benchmarks.readings"
    page = f"| point | {COLUMN} | where |\n|---|---|---|\n| D | old | here |\n| M | old | there |\n\n| D | x |\n"
    assert filled(page, {"D": "new"}) == page.replace("| D | old", "| D | new").replace("| M | old", "| M | –")


# ---- docs/extending.md ------------------------------------------------------------------------------------------


BLOCKS = {title: blocks(text) for title, text in sections((ROOT / "docs/extending.md").read_text("utf-8")).items()}
FIRST, *TITLES = BLOCKS


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory, which has the scans in another format too, and every table left as it was."""
    folder = tmp_path_factory.mktemp("extending")
    tables: list[dict[str, Any]] = [METHODS, KINDS, CRITERIA, TABLES, nifti.READERS]
    before = [dict(table) for table in tables]
    with working_directory(folder):
        (folder / "scans_as_npz").mkdir()
        for path in (folder / "my_scans").iterdir():
            volume = nifti.read_image(path)
            name = path.name.removesuffix(".nii.gz")
            np.savez(folder / "scans_as_npz" / name, voxels=volume.data, spacing=volume.spacing)
        yield folder
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


@pytest.fixture(scope="module")
def names(place: Path) -> dict[str, Any]:
    """What the page's first block defines, on which all others build."""
    [block] = BLOCKS[FIRST]
    exec(compile(block, FIRST, "exec"), found := {})
    return found


@pytest.mark.parametrize("title", TITLES)
def test_an_example_runs(title: str, place: Path, names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    [block] = BLOCKS[title]
    assert len(block.splitlines()) <= 15
    exec(compile(block, title, "exec"), dict(names))
    assert CHECKS[title](place, capsys.readouterr().out)


def run_of(place: Path, name: str) -> dict[str, Any]:
    """The settings of a run, which has trained a network."""
    assert (place / "runs" / name / "best.safetensors").is_file()
    return json.loads((place / "runs" / name / "config.json").read_text("utf-8"))


def check_kind(place: Path, out: str) -> bool:
    values = [float(number) for number in re.findall(r"\d\.\d*", out)]
    assert values == pytest.approx([0, 1, np.exp(-0.25), np.exp(-0.5), np.exp(-0.25), 1, 0], abs=1e-6)
    return run_of(place, "e")["kind"] == "E-DM"


def check_row(place: Path, out: str) -> bool:
    assert re.search(r"^\| Tversky, misses weigh 0\.9 \|", out, re.MULTILINE)
    rows = json.loads((place / "runs" / "mine" / "mine.json").read_text("utf-8"))["rows"]
    return [row["comparison"] is not None for row in rows] == [False, True]


def check_rate(place: Path, out: str) -> bool:
    heads, *_, last = (place / "runs" / "polynomial" / "log.csv").read_text("utf-8").splitlines()
    settings = run_of(place, "polynomial")
    expected = settings["learning_rate"] * (1 / settings["steps"]) ** 0.9
    return float(dict(zip(heads.split(","), last.split(","), strict=True))["lr"]) == pytest.approx(expected)


CHECKS: dict[str, Callable[[Path, str], object]] = {
    "A loss of masks": lambda place, out: run_of(place, "brier")["method"] == "brier",
    "A loss of maps": lambda place, out: run_of(place, "border")["method"] == "border+lrnet",
    "A kind of map": check_kind,
    "A criterion": lambda place, out: out.split() == ["5.0", "5.0"],  # two slices of 2.5 mm
    "A row in a table": check_row,
    "A learning-rate schedule": check_rate,
    "A logger": lambda place, out: re.match(r"step \d+: loss \d+\.\d+, validation DC \d\.\d+\n", out),
    "A patch sampler": lambda place, out: run_of(place, "centred"),
    "A reader for another format": lambda place, out: out.startswith("Cases: 2 train, 1 validation, 1 test."),
}
