"""The committed notebooks: they are what their sources say, they really ran, and they keep the course's promises.

That their cells run, and that the tagged ones still print what is committed, is tested by nbval on ``notebooks/``.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import os
import re
import runpy
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from lrnet_edu import __version__
from lrnet_edu.study import text as tables_text

pytest.importorskip("jupytext", reason="jupytext is not installed")
nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")

ROOT = Path(__file__).resolve().parents[2]
BUILD = runpy.run_path(str(ROOT / "notebooks" / "build.py"))
SOURCES = sorted((ROOT / "notebooks" / "source").glob("*.py"))
NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
TABLES_07 = "07_tables_of_the_paper"
each = pytest.mark.parametrize("name", sorted(NOTEBOOKS))


def code_cells(name: str, tag: str = "") -> list[Any]:
    cells = [cell for cell in NOTEBOOKS[name].cells if cell.cell_type == "code"]
    return [cell for cell in cells if not tag or tag in cell.metadata.get("tags", [])]


def html_of(name: str) -> list[str]:
    outputs = [output for cell in code_cells(name) for output in cell.outputs]
    return ["".join(output.data["text/html"]) for output in outputs if "text/html" in output.get("data", {})]


def test_every_source_has_its_notebook_and_every_notebook_its_source() -> None:
    assert SOURCES
    assert sorted(NOTEBOOKS) == [source.stem for source in SOURCES]


@each
def test_notebook_is_what_its_source_says(name: str) -> None:
    built = BUILD["notebook_of"](ROOT / "notebooks" / "source" / f"{name}.py")
    stale = f"{name}.ipynb is stale: run python notebooks/build.py {name[:2]}"
    assert BUILD["texts"](NOTEBOOKS[name]) == BUILD["texts"](built), stale
    assert NOTEBOOKS[name].metadata == built.metadata, stale
    assert [cell.id for cell in NOTEBOOKS[name].cells] == [cell.id for cell in built.cells], stale


@each
def test_notebook_ran_from_top_to_bottom_at_normal_size(name: str) -> None:
    cells = code_cells(name)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert "size: normal" in cells[0].outputs[0].text


def speaks(source: str) -> bool:
    """Whether a cell has to leave an output: it ends with a value, or prints or shows something on its way."""
    todo: list[ast.AST] = list(ast.parse(source).body)
    if isinstance(todo[-1], ast.Expr):
        return True
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "display"):
            return True
        if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)
    return False


def test_a_cell_speaks_when_it_prints_or_ends_with_a_value() -> None:
    assert all(map(speaks, ("x", "f(x)", "print(1)\nx = 1", "for x in y:\n    print(x)")))
    assert not any(map(speaks, ("x = 1", "def f():\n    print(1)", "for x in y:\n    z += x")))


@each
def test_no_output_is_missing(name: str) -> None:
    for cell in code_cells(name):
        assert cell.outputs or not speaks(cell.source), f"no output: {cell.source}"


@each
def test_notebook_keeps_its_size_and_gives_nothing_away(name: str) -> None:
    path = ROOT / "notebooks" / f"{name}.ipynb"
    text = path.read_text(encoding="utf-8")
    assert len(text.encode()) <= BUILD["MAX_BYTES"]
    assert "widgets" not in NOTEBOOKS[name].metadata
    assert not re.search(r"/(root|home|Users|tmp)/|[A-Z]:\\\\Users", text)
    assert not re.search(r" at 0x[0-9a-f]+", "".join(str(c.outputs) for c in code_cells(name))), "a memory address"


@each
def test_notebook_has_what_every_notebook_has(name: str) -> None:
    cells = NOTEBOOKS[name].cells
    first = cells[0].source
    assert f"notebooks/{name}.ipynb" in first.splitlines()[0]  # the badge
    assert re.search(rf"^# {name[:2]} · ", first, re.MULTILINE)
    assert "**Afterwards you can**" in first
    assert re.search(r"\*\*Takes\*\* \d+ minutes", first)
    assert [cell.source for cell in code_cells(name, "setup")] == [BUILD["SET_UP"]]
    assert len(code_cells(name, "parameters")) == 1
    assert 2 <= len(code_cells(name, "exercise")) <= 4
    assert sum("**Question.**" in cell.source for cell in cells) >= 3
    assert any(cell.source.startswith("## Summary") or "\n## Summary" in cell.source for cell in cells[-2:])


@each
def test_lessons_in_text_are_compared(name: str) -> None:
    tagged = code_cells(name, "nbval-check-output")
    assert len(tagged) >= 4
    for cell in tagged:
        assert cell.outputs, f"a tagged cell has no output: {cell.source}"


@each
def test_every_picture_has_an_alt_text_and_something_is_interactive(name: str) -> None:
    for page in html_of(name):
        for picture in re.findall(r"<img [^>]*>", page):
            assert re.search(r'alt="[^"]{20,}"', picture), picture[-200:]
    for cell in code_cells(name):
        for output in cell.outputs:  # a bare matplotlib figure has no alt text
            data = output.get("data", {})
            assert "image/png" not in data or "text/html" in data, cell.source
    shown = "".join(html_of(name))
    assert "lrnet-page" in shown or "ipywidgets" in "".join(cell.source for cell in code_cells(name))


@each
def test_links_lead_to_notebooks_of_the_course(name: str) -> None:
    course = re.compile(r"0[0-8]_[a-z_]+\.ipynb")
    for cell in NOTEBOOKS[name].cells:
        for target in re.findall(r"\]\(([^)]*\.ipynb)\)", cell.source):
            assert target.startswith("https://") or course.fullmatch(target), target


def test_notebook_07_shows_every_table_in_results() -> None:
    outputs = [output for cell in code_cells(TABLES_07) for output in cell.outputs]
    shown = "".join(output.get("data", {}).get("text/markdown", "") for output in outputs)
    shown = shown.translate({0xA0: " ", 0x2011: "-"})  # spaces and hyphens at which no line ends
    printed = "".join(output.get("text", "") for output in outputs)
    found = sorted((ROOT / "results").glob("**/table[12].json"))
    assert found
    for path in found:
        table, newer = json.loads(path.read_text(encoding="utf-8")), f"{path} is newer: run notebooks/build.py 07 --run"
        if "half-warm-up" not in path.parent.name:
            assert tables_text.comparisons(table) in shown, newer
            continue
        for row in table["rows"]:  # only what differs from the other table
            if "LR-Net" in row["title"]:
                c = row["comparison"]
                assert f"{c['difference']:+.3f} ({c['low']:+.3f} to {c['high']:+.3f})" in printed, newer


# ---- the set-up cell


def run_set_up(monkeypatch: pytest.MonkeyPatch, *, found: bool, on_colab: bool) -> list[list[str]]:
    """Run it as if; the commands that it would have started."""
    started: list[list[str]] = []
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "lrnet_edu" and not found else find_spec(name)
    )
    monkeypatch.setattr(subprocess, "check_call", lambda command, **_: started.append(command))
    if on_colab:
        monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    exec(BUILD["SET_UP"], {})
    return started


def test_set_up_installs_nothing_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_set_up(monkeypatch, found=True, on_colab=True) == []


def test_set_up_installs_nothing_outside_colab(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_set_up(monkeypatch, found=False, on_colab=False) == []


def test_set_up_installs_on_colab_and_keeps_its_torch_numpy_and_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    on_colab = {"torch": "2.6.0+cu124", "numpy": "2.0.2", "matplotlib": "3.10.0"}
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: on_colab.get(name) or version(name))
    [command] = run_set_up(monkeypatch, found=False, on_colab=True)
    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    assert not {"-U", "--upgrade", "--force-reinstall", "--pre", "--no-deps"} & set(command)
    assert {f"{name}=={version}" for name, version in on_colab.items()} < set(command)
    [package] = [part for part in command[4:] if not part.startswith("-") and part.partition("==")[0] not in on_colab]
    assert package == f"lrnet_edu @ git+{BUILD['REPOSITORY']}@v{__version__}"


def test_set_up_tells_a_folder_of_the_same_name_from_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clone that was not installed, or one's results: Python finds a namespace package there, without an origin."""
    folder = importlib.machinery.ModuleSpec("lrnet_edu", None, is_package=True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: folder)
    assert len(run_set_up(monkeypatch, found=True, on_colab=True)) == 1


def test_set_up_says_what_to_do_where_the_repository_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(command: list[str], **_: object) -> None:
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, "check_call", refused)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    with pytest.raises(RuntimeError, match=f"{BUILD['REPOSITORY']} reached.* upload a wheel"):
        exec(BUILD["SET_UP"], {})


def test_set_up_passes_in_a_plain_interpreter_and_on_colab_and_asks_nobody(tmp_path: Path) -> None:
    """A process of its own, as a kernel is; a stand-in for pip tells whether it was called."""
    called = tmp_path / "called"
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__main__.py").write_text(f"open({str(called)!r}, 'w')")
    colab = 'import types\nsys.modules["google.colab"] = types.ModuleType("google.colab")'
    code = "\n".join([BUILD["SET_UP"], colab, BUILD["SET_UP"], "import torch", "print(torch.initial_seed())"])
    path = os.pathsep.join(filter(None, [str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = re.findall(r"^lrnet_edu \S+, Python \S+, torch \S+, numpy \S+, matplotlib \S+\ndevice: ", done.stdout, re.M)
    assert len(said) == 2
    assert done.stdout.split()[-1] == "0"  # the seed is set
    assert not called.exists()


def test_address_of_the_repository_stands_in_one_place() -> None:
    files = [*ROOT.glob("lrnet_edu/**/*.py"), *ROOT.glob("notebooks/source/*.py"), ROOT / "pyproject.toml"]
    assert not [file.name for file in files if BUILD["REPOSITORY"].removeprefix("https://") in file.read_text("utf-8")]


# ---- the build tool


def test_text_is_taken_over_without_a_run(tmp_path: Path) -> None:
    source = tmp_path / "99_probe.py"
    source.write_text('# %% [markdown]\n# # 99 · Old\n\n# %% tags=["parameters"]\n1 + 1\n')
    notebook = BUILD["notebook_of"](source)
    for number, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), start=1):
        cell.execution_count = number
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"output {number}\n")]
    nbformat.write(notebook, tmp_path / "99_probe.ipynb")
    source.write_text('# %% [markdown]\n# # 99 · New\n\n# %% tags=["parameters"]\n1 + 1\n')

    BUILD["build"](source, tmp_path, always_run=False)

    built = nbformat.read(tmp_path / "99_probe.ipynb", as_version=4)
    assert "99 · New" in built.cells[0].source
    assert [c.outputs[0].text for c in built.cells if c.cell_type == "code"] == ["output 1\n", "output 2\n"]


def test_what_changes_from_run_to_run_is_not_committed() -> None:
    tidied, new_output = BUILD["tidied"], nbformat.v4.new_output
    assert tidied(new_output("stream", name="stderr", text="12 it/s")) is None
    widget = new_output("display_data", {BUILD["WIDGET"]: {"model_id": "random"}, "text/plain": "Menus"})
    assert tidied(widget).data == {"text/plain": "Menus"}


def test_what_a_cell_prints_stays_in_one_piece() -> None:
    new_output = nbformat.v4.new_output
    printed = [new_output("stream", name="stdout", text=text) for text in ("a table's\n", "second row\n", "later\n")]
    pieces = BUILD["join_streams"]([*printed[:2], new_output("display_data", {"text/plain": "Picture"}), printed[2]])
    assert [piece.get("text", "picture") for piece in pieces] == ["a table's\nsecond row\n", "picture", "later\n"]
    for name in NOTEBOOKS:
        assert all(BUILD["join_streams"](list(cell.outputs)) == cell.outputs for cell in code_cells(name)), name
