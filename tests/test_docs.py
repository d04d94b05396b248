"""The examples of docs/extending.md, run as they stand there, and the places that docs/house.md names."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrnet_edu.data import nifti
from lrnet_edu.kinds import KINDS
from lrnet_edu.methods import METHODS
from lrnet_edu.metrics import CRITERIA
from lrnet_edu.study.rows import TABLES

ROOT = Path(__file__).parents[1]
SECTIONS = re.split(r"^## ", (ROOT / "docs" / "extending.md").read_text("utf-8"), flags=re.MULTILINE)
BLOCKS = {
    section.splitlines()[0]: re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    for section in SECTIONS
}
FIRST, *TITLES = BLOCKS


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with the folders of scans that the page speaks of, and every table left as it was."""
    folder = tmp_path_factory.mktemp("extending")
    (folder / "my_scans").mkdir()
    (folder / "scans_as_npz").mkdir()
    for number in range(4):
        for name in (f"volume-{number}", f"segmentation-{number}"):
            path = folder / "my_scans" / f"{name}.nii.gz"
            shutil.copy(ROOT / "data_samples" / path.name, path)
            volume = nifti.read_image(path)
            np.savez(folder / "scans_as_npz" / name, voxels=volume.data, spacing=volume.spacing)
    tables: list[dict[str, Any]] = [METHODS, KINDS, CRITERIA, TABLES, nifti.READERS]
    before = [dict(table) for table in tables]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("LRNET_EDU_FAST", "1")
        patch.setenv("LRNET_EDU_CACHE", str(folder / "cache"))
        yield folder
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


@pytest.fixture(scope="module")
def names(place: Path) -> dict[str, Any]:
    """What the page's first block defines, on which all others build."""
    [block] = BLOCKS[FIRST]
    found: dict[str, Any] = {}
    exec(compile(block, FIRST, "exec"), found)
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
    "A logger": lambda place, out: re.match(r"step \d+: loss \d\.\d+, validation DC \d\.\d+\n", out),
    "A patch sampler": lambda place, out: run_of(place, "centred"),
    "A reader for another format": lambda place, out: out.startswith("Cases: 2 train, 1 validation, 1 test."),
}


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
