"""The committed notebooks: they are what their sources say, they really ran, and they keep the course's promises.

That their cells run, and that the tagged ones still print what is committed, is tested by nbval on ``notebooks/``.
"""

import importlib.machinery
import importlib.metadata
import importlib.util
import json
import re
import runpy
import subprocess
import sys
import types
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from lrnet_edu import __version__
from lrnet_edu.study.evidence_text import outcomes
from lrnet_edu.study.page import interval

pytest.importorskip("jupytext", reason="jupytext is not installed")
nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")

ROOT = Path(__file__).resolve().parents[2]
BUILD = runpy.run_path(str(ROOT / "notebooks" / "build.py"))
SOURCES = sorted((ROOT / "notebooks" / "source").glob("*.py"))
NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
STUDY_08 = "08_the_study"
each = pytest.mark.parametrize("name", sorted(NOTEBOOKS))


def code_cells(name: str, tag: str = "") -> list[Any]:
    cells = [cell for cell in NOTEBOOKS[name].cells if cell.cell_type == "code"]
    return [cell for cell in cells if not tag or tag in cell.metadata.get("tags", [])]


def test_every_source_has_its_notebook_and_every_notebook_its_source() -> None:
    assert sorted(NOTEBOOKS) == [source.stem for source in SOURCES] != []


@each
def test_notebook_is_what_its_source_says(name: str) -> None:
    built = BUILD["notebook_of"](ROOT / "notebooks" / "source" / f"{name}.py")
    stale = f"{name}.ipynb is stale: run python notebooks/build.py {name[:2]}"
    assert BUILD["texts"](NOTEBOOKS[name]) == BUILD["texts"](built), stale
    assert NOTEBOOKS[name].metadata == built.metadata, stale
    assert [cell.id for cell in NOTEBOOKS[name].cells] == [cell.id for cell in built.cells], stale


@each
def test_notebook_ran_from_top_to_bottom_at_normal_size_and_gives_nothing_away(name: str) -> None:
    cells = code_cells(name)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert "size: normal" in cells[0].outputs[0].text
    text = (ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
    assert len(text.encode()) <= BUILD["MAX_BYTES"]
    without_pictures = re.sub(r"[A-Za-z0-9+/]{100,}", "", text)  # in base64 any short path may occur
    assert not re.search(r"/(root|home|Users|tmp)/|[A-Z]:\\\\Users", without_pictures)
    assert not re.search(r" at 0x[0-9a-f]+", str(outputs)), "a memory address"


@each
def test_notebook_has_what_every_notebook_has(name: str) -> None:
    cells, outputs = NOTEBOOKS[name].cells, [output for cell in code_cells(name) for output in cell.outputs]
    first = cells[0].source
    assert f"notebooks/{name}.ipynb" in first.splitlines()[0]  # the badge
    assert re.search(rf"^# {name[:2]} · ", first, re.MULTILINE)
    assert "**Afterwards you can**" in first
    assert re.search(r"\*\*Takes\*\* \d+ minutes", first)
    assert [cell.source for cell in code_cells(name, "setup")] == [BUILD["SET_UP"]]
    assert code_cells(name, "parameters")
    assert code_cells(name, "exercise")
    assert any("**Question.**" in cell.source for cell in cells)
    assert "## Summary" in "".join(cell.source for cell in cells[-2:])
    assert {bool(cell.outputs) for cell in code_cells(name, "nbval-check-output")} == {True}
    assert all("text/html" in o.data for o in outputs if "image/png" in o.get("data", {}))  # else without alt text
    shown = "".join("".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    assert not [alt for alt in re.findall(r"<img [^>]*>", shown) if not re.search(r'alt="[^"]{20,}"', alt)]
    assert "lrnet-page" in shown or "ipywidgets" in "".join(cell.source for cell in code_cells(name))


def test_notebook_08_and_the_readme_say_what_the_study_found() -> None:
    outputs = [output for cell in code_cells(STUDY_08) for output in cell.outputs]
    printed = "".join(output.get("text", "") for output in outputs)
    result = json.loads((ROOT / "results" / "study" / "study.json").read_text(encoding="utf-8"))
    cell = result["cells"][result["primary_cell"]]
    assert cell["gains"]
    for row in cell["gains"]:
        assert f"{row['mean']:+.3f}" in printed, "study.json is newer: run notebooks/build.py 08 --run"
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    rows = {(row["ours"], row["theirs"]): row for row in (*cell["gains"], *cell["further"])}
    for (ours, theirs), end in product(("CA", "CE", "BA", "BD", "EA", "DA"), ("", "-scratch")):
        row = rows[ours + end, theirs + end]
        assert f"| {row['verdict']} {row['mean']:+.3f} ({interval(row)}) |" in readme
    assert all(sentence in readme for sentence in outcomes(result))


# ---- the set-up cell


NAMESAKE = importlib.machinery.ModuleSpec("lrnet_edu", None, is_package=True)  # a mere folder of that name
PACKAGE = importlib.machinery.ModuleSpec("lrnet_edu", None, origin="lrnet_edu/__init__.py", is_package=True)


@pytest.mark.parametrize(
    ("found", "on_colab", "installs"),
    [(PACKAGE, True, False), (None, False, False), (None, True, True), (NAMESAKE, True, True)],
)
def test_set_up_installs_on_colab_what_is_missing_and_says_what_to_do_where_that_fails(
    found: Any, on_colab: bool, installs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(command: list[str]) -> None:
        raise subprocess.CalledProcessError(1, command)

    started: list[list[str]] = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: found)
    monkeypatch.setattr(subprocess, "check_call", started.append)
    if on_colab:
        monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    exec(BUILD["SET_UP"], {})
    package = f"lrnet_edu @ git+{BUILD['REPOSITORY']}@v{__version__}"
    kept = [f"{name}=={importlib.metadata.version(name)}" for name in ("torch", "numpy", "matplotlib")]
    assert started == [[sys.executable, "-m", "pip", "install", "-q", package, *kept]] * installs
    if installs:
        monkeypatch.setattr(subprocess, "check_call", refused)
        with pytest.raises(RuntimeError, match=f"{BUILD['REPOSITORY']} reached.* upload a wheel"):
            exec(BUILD["SET_UP"], {})


# ---- the build tool


def test_text_is_taken_over_without_a_run(tmp_path: Path) -> None:
    source, text = tmp_path / "99_probe.py", '# %% [markdown]\n# # 99 · Old\n\n# %% tags=["parameters"]\n1 + 1\n'
    source.write_text(text)
    notebook = BUILD["notebook_of"](source)
    for number, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), start=1):
        cell.execution_count = number
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"output {number}\n")]
    nbformat.write(notebook, tmp_path / "99_probe.ipynb")
    source.write_text(text.replace("Old", "New"))
    BUILD["build"](source, tmp_path, always_run=False)
    built = nbformat.read(tmp_path / "99_probe.ipynb", as_version=4)
    assert "99 · New" in built.cells[0].source
    assert [c.outputs[0].text for c in built.cells if c.cell_type == "code"] == ["output 1\n", "output 2\n"]


def test_what_changes_from_run_to_run_is_not_committed_and_what_a_cell_prints_stays_in_one_piece() -> None:
    tidied, new_output = BUILD["tidied"], nbformat.v4.new_output
    assert tidied(new_output("stream", name="stderr", text="12 it/s")) is None
    widget = new_output("display_data", {BUILD["WIDGET"]: {"model_id": "random"}, "text/plain": "Menus"})
    assert tidied(widget).data == {"text/plain": "Menus"}
    printed = [new_output("stream", name="stdout", text=text) for text in ("a table's\n", "second row\n", "later\n")]
    pieces = BUILD["join_streams"]([*printed[:2], widget, printed[2]])
    assert [piece.get("text", "picture") for piece in pieces] == ["a table's\nsecond row\n", "picture", "later\n"]
