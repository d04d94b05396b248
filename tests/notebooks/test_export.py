"""The exported course: pages that fetch nothing, with every formula converted and no broken link."""

from __future__ import annotations

import importlib.util
import itertools
import re
import runpy
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import lrnet_edu.cli
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import folder_lock

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
pytest.importorskip("nbconvert", reason="nbconvert is not installed")
pytest.importorskip("latex2mathml", reason="latex2mathml is not installed")

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
EXPORT = runpy.run_path(str(NOTEBOOKS / "export.py"))
export_course, mathml = EXPORT["export_course"], EXPORT["mathml"]
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/someone/something/blob/trunk/notebooks/01_a.ipynb)"
)


class Page(HTMLParser):
    """A page's elements, and its text by the kind of element around it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.prose = self.code = self.style = self.script = self.folded = ""
        self.folds: list[bool] = []  # of the <details> around: are we past its <summary>?
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))
        if tag in ("script", "style", "pre", "code", "math"):
            self.open.append(tag)
        if tag == "details":
            self.folds.append(False)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag
        if tag == "summary":
            self.folds[-1] = True
        if tag == "details":
            self.folds.pop()

    def handle_data(self, data: str) -> None:
        if any(self.folds):
            self.folded += data
        kind = self.open[0] if self.open else "prose"
        if kind != "math":
            kind = "code" if kind == "pre" else kind
            setattr(self, kind, getattr(self, kind) + data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for found, attributes in self.elements if found == tag]


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Page]:
    """The committed course, exported: name -> page."""
    out = tmp_path_factory.mktemp("course")
    assert [path.stem for path in export_course(out)] == NAMES
    return {path.stem: Page(path) for path in sorted(out.glob("*.html"))}


def write(folder: Path, name: str, *cells: str) -> None:
    """A notebook of markdown cells; a cell that starts with "%" is code."""
    new = nbformat.v4
    made = [new.new_code_cell(c[1:]) if c.startswith("%") else new.new_markdown_cell(c) for c in cells]
    folder.mkdir(exist_ok=True)
    nbformat.write(new.new_notebook(cells=made), folder / f"{name}.ipynb")


def exported(tmp_path: Path, *cells: str) -> Page:
    """One notebook of these cells, exported beside another one."""
    write(tmp_path / "notebooks", "01_a", *cells)
    write(tmp_path / "notebooks", "02_b", "# 02 · B")
    export_course(tmp_path / "out", tmp_path / "notebooks")
    return Page(tmp_path / "out" / "01_a.html")


# ---- the committed course


@pytest.mark.parametrize("name", [*NAMES, "index"])
def test_a_page_fetches_nothing_and_its_links_lead_somewhere(name: str, course: dict[str, Page]) -> None:
    page = course[name]
    assert not [a for a in page.all("script") if "src" in a]
    for tag, attributes in page.elements:
        assert attributes.get("src", "data:").startswith("data:"), (tag, attributes["src"][:99])
        assert tag not in ("iframe", "object", "embed", "video", "audio")
        assert "srcset" not in attributes
        assert "http" not in attributes.get("style", "")
    assert not re.search(r"@import|url\((?!['\"]?data:)", page.style)
    assert not re.search(r"\bfetch\(|XMLHttpRequest|WebSocket|import\(|sendBeacon", page.script)
    [policy] = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    targets = [a["href"] for a in page.all("a") if a.get("href")]
    assert targets
    for target in targets:
        place, _, part = target.partition("#")
        if not place.startswith("https://"):
            there = course[place.removesuffix(".html")] if place else page
            assert not part or part in {a.get("id") for _, a in there.elements}, target


@pytest.mark.parametrize("name", NAMES)
def test_formulas_outputs_and_folded_solutions_are_there(name: str, course: dict[str, Page]) -> None:
    notebook, page = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4), course[name]
    markdown = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    without_code = [re.sub(r"```.*?```|`[^`\n]+`", "", text, flags=re.DOTALL) for text in markdown]
    formulas = [dollars for text in without_code for dollars, _ in re.findall(r"(?s)(\$\$?)(.+?)\1", text)]
    assert [a["display"] == "block" for a in page.all("math")].count(True) == formulas.count("$$")
    assert len(page.all("math")) == len(formulas)
    assert "$" not in page.prose
    assert "\\" not in page.prose
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    viewers = sum("lrnet-page" in "".join(o.get("data", {}).get("text/html", "")) for o in outputs)
    assert sum("lrnet-page" in a.get("class", "").split() for a in page.all("div")) >= viewers
    assert all(o.text.strip() in page.code for o in outputs if o.output_type == "stream")
    for solution in [cell.source for cell in notebook.cells if "solution" in cell.metadata.get("tags", [])]:
        [code] = re.findall(r"```python\n(.*?)```", solution, re.DOTALL)
        assert code.strip() in page.folded


def test_the_index_says_what_every_notebook_gives_and_takes_and_one_leads_to_the_next(course: dict[str, Page]) -> None:
    said = " ".join(course["index"].prose.split())
    for name in NAMES:
        first = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells[0].source
        [title] = re.findall(r"^# (.+)$", first, re.MULTILINE)
        [minutes] = re.findall(r"\*\*Takes\*\* (\d+ minutes)", first)
        assert f"{name}.html" in [a["href"] for a in course["index"].all("a")]
        assert f"{title} Afterwards you can" in said
        assert f"Takes {minutes}" in said
    for here, there in itertools.pairwise(NAMES):
        assert ("next", f"{there}.html") in [(a.get("rel"), a["href"]) for a in course[here].all("a")]
        assert ("prev", f"{here}.html") in [(a.get("rel"), a["href"]) for a in course[there].all("a")]


# ---- markdown


def test_formulas_become_mathml_but_not_inside_code(tmp_path: Path) -> None:
    text = "# 01 · A\n\nA formula $x_i < 1$ and `$PATH$`.\n\n$$\n\\frac{1}{2}\n$$\n\n```\necho $HOME $y$\n```"
    page = exported(tmp_path, text, "% print('$z$')")
    assert [a["display"] for a in page.all("math")] == ["inline", "block"]
    assert [len(page.all(tag)) for tag in ("msub", "mfrac")] == [1, 1]
    assert all(untouched in page.code for untouched in ("$PATH$", "echo $HOME $y$", "'$z$'"))
    assert "<munder" in mathml(r"\min_{b \in B} d", "block")
    assert "<msub" in mathml(r"\min_{b \in B} d", "inline")


@pytest.mark.parametrize("formula", [r"\nosuchthing", r"x \over", r"\begin{aligned}a&=b\end{aligned}", "{"])
def test_a_formula_that_would_be_unreadable_is_refused(formula: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^01_a\.ipynb: The formula .* cannot be converted"):
        exported(tmp_path, f"# 01 · A\n\n$${formula}$$")
    assert not list((tmp_path / "out").glob("*.html"))


def test_links_lead_to_pages_or_to_the_repository_or_become_text(tmp_path: Path) -> None:
    links = "[a](02_b.ipynb#Part) [b](../docs/c.md) [d](09_e.ipynb) [f](https://g.org/h.ipynb) [i](#A)"
    targets = [a["href"] for a in exported(tmp_path, f"{BADGE}\n\n# 01 · A", links).all("a")]
    there = "https://github.com/someone/something/blob/trunk"
    assert {"02_b.html#Part", f"{there}/docs/c.md", f"{there}/notebooks/09_e.ipynb", "#A"} <= set(targets)
    unknown = exported(tmp_path, "# 01 · A\n\n[these words](../docs/c.md)")
    assert "these words" in unknown.prose
    assert not [a for a in unknown.all("a") if "docs" in a.get("href", "")]


def test_pictures_from_elsewhere_become_text_and_those_beside_the_notebook_go_into_the_page(tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "near.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    page = exported(tmp_path, f"{BADGE}\n\n# 01 · A\n\n![near](near.png) ![far & away](https://g.org/far.png)")
    [picture] = page.all("img")
    assert picture["src"].startswith("data:image/png;base64,")
    assert "far & away" in page.prose


def test_what_is_folded_stays_folded_and_titles_stay_text(tmp_path: Path) -> None:
    write(tmp_path / "notebooks", "00_before", "# 00 · x < y & z <script>")
    fold = "<details><summary>Click</summary>\n\nHidden *words*.\n\n```python\nanswer = 1\n```\n</details>\n\nIn sight."
    page = exported(tmp_path, "# 01 · A", fold, "And <b>bold</b> words.")
    assert all(part in page.folded for part in ("Hidden ", "words", "answer = 1"))
    assert "In sight" not in page.folded
    assert "And bold words." in page.prose
    assert "previous: 00 · x < y & z <script>" in page.prose
    assert page.script == ""


# ---- bad input


def test_its_own_folder_is_written_again_by_one_at_a_time_and_what_systems_leave_is_overlooked(tmp_path: Path) -> None:
    for folder, name in (("out", ".DS_Store"), ("out", "desktop.ini"), ("notebooks", "._01_a.ipynb")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text("no notebook")
    assert "first" in exported(tmp_path, "# 01 · A\n\nfirst").prose
    assert "second" in exported(tmp_path, "# 01 · A\n\nsecond").prose
    with folder_lock(tmp_path / "out"), pytest.raises(InputError, match="Another process is writing to"):
        exported(tmp_path, "# 01 · A")


@pytest.mark.parametrize("file", ["thesis.txt", "index.html"])
def test_what_is_somebody_elses_is_left_alone(file: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / file).write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        exported(tmp_path, "# 01 · A")
    with pytest.raises(InputError, match="is a file"):
        export_course(tmp_path / "out" / file)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [file]
    assert (tmp_path / "out" / file).read_text() == "mine"


@pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"cells": 3, "nbformat": 4, "nbformat_minor": 5}'])
def test_a_damaged_notebook_no_notebook_and_a_missing_package(text: str, tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(InputError, match="There are no notebooks in"):
        export_course(tmp_path / "out", tmp_path)
    (tmp_path / "01_a.ipynb").write_text(text)
    with pytest.raises(InputError, match="is not a notebook"):
        export_course(tmp_path / "out", tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "latex2mathml" else object())
    with pytest.raises(InputError, match=r'^latex2mathml cannot be found: python -m pip install "lrnet_edu\[course\]"'):
        export_course(tmp_path / "out", tmp_path)


@pytest.mark.parametrize("clone", [True, False])
def test_the_command_needs_the_clone(clone: bool, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    (tmp_path / "notebooks").mkdir()
    if clone:
        shutil.copy(NOTEBOOKS / "export.py", tmp_path / "notebooks")
        write(tmp_path / "notebooks", "01_a", "# 01 · A")
    monkeypatch.setattr(lrnet_edu.cli, "__file__", str(tmp_path / "lrnet_edu" / "cli.py"))
    monkeypatch.setattr(sys, "argv", ["lrnet-edu", "export-course", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stop:
        lrnet_edu.cli.main()
    said, complaint = capsys.readouterr()
    if clone:
        assert not stop.value.code
        assert said.startswith("Wrote 1 notebook")
        assert str(tmp_path / "out" / "index.html") in said
    else:
        assert stop.value.code == 2
        assert "from a clone" in complaint


# ---- docs/teaching.md

TEACHING = (NOTEBOOKS.parent / "docs" / "teaching.md").read_text(encoding="utf-8")
SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((NOTEBOOKS / "source").glob("*.py"))}


def test_the_teaching_guide_has_every_notebook_with_its_title_and_minutes() -> None:
    rows = re.findall(r"^\| \[(.+?)\]\(\.\./notebooks/(\w+)\.ipynb\) \| (\d+) \|", TEACHING, re.MULTILINE)
    heads = {
        name: (re.findall(r"^# # (.+)$", text, re.MULTILINE)[0], re.findall(r"\*\*Takes\*\* (\d+) minutes", text)[0])
        for name, text in SOURCES.items()
    }
    assert {name: (title, minutes) for title, name, minutes in rows} == heads


def test_the_teaching_guide_sends_nobody_to_a_section_or_file_that_is_not_there() -> None:
    for number, sections in re.findall(r"\b(0\d),? sections? (\d(?:(?: to |, | and )\d)*)", TEACHING):
        [text] = [text for name, text in SOURCES.items() if name.startswith(number)]
        assert set(re.findall(r"\d", sections)) <= set(re.findall(r"^# ## (\d+) · ", text, re.MULTILINE)), number
    for target in re.findall(r"\]\(([^)]+)\)", TEACHING):
        source = NOTEBOOKS / "source" / f"{Path(target).stem}.py"
        assert (NOTEBOOKS.parent / "docs" / target).exists() or source.exists(), target
