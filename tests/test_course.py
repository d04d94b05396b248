"""The exported course: pages that fetch nothing, with every formula converted and no broken link."""

from __future__ import annotations

import importlib.util
import itertools
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
pytest.importorskip("nbconvert", reason="nbconvert is not installed")
pytest.importorskip("latex2mathml", reason="latex2mathml is not installed")

from lrnet_edu.cli import main
from lrnet_edu.commands.course import NOTEBOOKS, export_course, mathml
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import folder_lock

NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
each = pytest.mark.parametrize("name", NAMES)
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
    written = export_course(out)
    assert [path.stem for path in written] == NAMES
    return {path.stem: Page(path) for path in sorted(out.glob("*.html"))}


def write(folder: Path, name: str, *cells: str) -> Path:
    """A notebook of markdown cells; a cell that starts with "%" is code."""
    new = nbformat.v4
    made = [new.new_code_cell(c[1:]) if c.startswith("%") else new.new_markdown_cell(c) for c in cells]
    folder.mkdir(exist_ok=True)
    nbformat.write(new.new_notebook(cells=made), folder / f"{name}.ipynb")
    return folder


def exported(tmp_path: Path, *cells: str) -> Page:
    """One notebook of these cells, exported beside another one."""
    write(tmp_path / "notebooks", "01_a", *cells)
    write(tmp_path / "notebooks", "02_b", "# 02 · B")
    export_course(tmp_path / "out", tmp_path / "notebooks")
    return Page(tmp_path / "out" / "01_a.html")


def markdown(name: str) -> list[str]:
    cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
    return [cell.source for cell in cells if cell.cell_type == "markdown"]


# ---- the committed course


def test_there_is_a_page_for_every_notebook_and_an_index(course: dict[str, Page]) -> None:
    assert NAMES
    assert sorted(course) == [*NAMES, "index"]


@pytest.mark.parametrize("name", [*NAMES, "index"])
def test_nothing_is_fetched(name: str, course: dict[str, Page]) -> None:
    page = course[name]
    assert not [a for a in page.all("script") if "src" in a]
    for tag, attributes in page.elements:
        assert attributes.get("src", "data:").startswith("data:"), (tag, attributes["src"][:99])
        assert tag not in ("iframe", "object", "embed", "video", "audio")
        assert "srcset" not in attributes
        assert "http" not in attributes.get("style", "")
    assert [a["href"] for a in page.all("link")] == ["data:,"]
    assert not re.search(r"@import|url\((?!['\"]?data:)", page.style)
    assert not re.search(r"\bfetch\(|XMLHttpRequest|WebSocket|import\(|sendBeacon", page.script)
    [policy] = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy


@each
def test_every_formula_is_converted(name: str, course: dict[str, Page]) -> None:
    without_code = [re.sub(r"```.*?```|`[^`\n]+`", "", text, flags=re.DOTALL) for text in markdown(name)]
    formulas = [found for text in without_code for found in re.findall(r"(?s)(\$\$?)(.+?)\1", text)]
    shown = course[name].all("math")
    assert len(shown) == len(formulas)
    assert sum(a["display"] == "block" for a in shown) == sum(dollars == "$$" for dollars, _ in formulas)
    assert "$" not in course[name].prose
    assert "\\" not in course[name].prose


def test_the_index_says_what_every_notebook_gives_and_takes(course: dict[str, Page]) -> None:
    said = " ".join(course["index"].prose.split())
    links = [a["href"] for a in course["index"].all("a")]
    for name in NAMES:
        first = markdown(name)[0]
        [title] = re.findall(r"^# (.+)$", first, re.MULTILINE)
        [minutes] = re.findall(r"\*\*Takes\*\* (\d+ minutes)", first)
        goals = first.split("**Afterwards you can**")[1].split("**Takes**")[0]
        assert f"{name}.html" in links
        assert f"{title} Afterwards you can" in said
        assert f"Takes {minutes}" in said
        for goal in re.findall(r"^- (.*?)(?=^- |\Z)", goals, re.MULTILINE | re.DOTALL):
            words = re.sub(r"\$.*?\$|[`*]", "\0", goal).split("\0")  # formulas and marks look different on the page
            assert all(" ".join(part.split()) in said for part in words), goal


@pytest.mark.parametrize("name", [*NAMES, "index"])
def test_no_link_is_broken(name: str, course: dict[str, Page]) -> None:
    targets = [a["href"] for a in course[name].all("a") if a.get("href")]
    assert targets
    for target in targets:
        place, _, part = target.partition("#")
        if place.startswith("https://"):
            assert not any(place.endswith(f"/blob/main/notebooks/{other}.ipynb") for other in NAMES) or "colab" in place
            continue
        page = course[place.removesuffix(".html")] if place else course[name]
        assert not part or part in {a.get("id") for _, a in page.elements}, target


def test_one_page_leads_to_the_next(course: dict[str, Page]) -> None:
    for here, there in itertools.pairwise(NAMES):
        ways = [(a.get("rel"), a["href"]) for a in course[here].all("a") if "rel" in a]
        assert ("next", f"{there}.html") in ways
        assert ("prev", f"{here}.html") in [(a.get("rel"), a["href"]) for a in course[there].all("a")]


@each
def test_outputs_and_folded_solutions_are_there(name: str, course: dict[str, Page]) -> None:
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pieces = sum("lrnet-page" in "".join(o.get("data", {}).get("text/html", "")) for o in outputs)
    assert sum("lrnet-page" in a.get("class", "").split() for a in course[name].all("div")) >= pieces
    folded = sum(cell.source.count("<details") for cell in notebook.cells if cell.cell_type == "markdown")
    solutions = [cell.source for cell in notebook.cells if "solution" in cell.metadata.get("tags", [])]
    assert len(course[name].all("details")) == folded > len(solutions)
    for solution in solutions:
        [code] = re.findall(r"```python\n(.*?)```", solution, re.DOTALL)
        assert code.strip() in course[name].folded
    printed = [output.text for output in outputs if output.output_type == "stream"]
    assert all(text.strip() in course[name].code for text in printed)


# ---- markdown


def test_formulas_become_mathml_but_not_inside_code(tmp_path: Path) -> None:
    text = "# 01 · A\n\nA formula $x_i < 1$ and `$PATH$`.\n\n$$\n\\frac{1}{2}\n$$\n\n```\necho $HOME $y$\n```"
    page = exported(tmp_path, text, "% print('$z$')")
    assert [a["display"] for a in page.all("math")] == ["inline", "block"]
    assert [len(page.all(tag)) for tag in ("msub", "mfrac")] == [1, 1]
    for untouched in ("$PATH$", "echo $HOME $y$", "'$z$'"):
        assert untouched in page.code
    assert "$" not in page.prose


def test_limits_stand_below_in_a_display() -> None:
    assert "<munder" in mathml(r"\min_{b \in B} d", "block")
    assert "<msub" in mathml(r"\min_{b \in B} d", "inline")


@pytest.mark.parametrize("formula", [r"\nosuchthing", r"x \over", r"\begin{aligned}a&=b\end{aligned}", "{"])
def test_a_formula_that_would_be_unreadable_is_refused(formula: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^01_a\.ipynb: The formula .* cannot be converted"):
        exported(tmp_path, f"# 01 · A\n\n$${formula}$$")
    assert not (tmp_path / "out").exists()


def test_links_lead_to_pages_or_to_the_repository(tmp_path: Path) -> None:
    links = "[a](02_b.ipynb#Part) [b](../docs/c.md) [d](09_e.ipynb) [f](https://g.org/h.ipynb) [i](#A)"
    page = exported(tmp_path, f"{BADGE}\n\n# 01 · A", links)
    there = "https://github.com/someone/something/blob/trunk"
    inside = [a["href"] for a in page.all("a")]
    for target in ("02_b.html#Part", f"{there}/docs/c.md", f"{there}/notebooks/09_e.ipynb", "https://g.org/h.ipynb"):
        assert target in inside
    assert "#A" in inside


def test_where_the_repository_is_unknown_a_link_to_it_becomes_text(tmp_path: Path) -> None:
    page = exported(tmp_path, "# 01 · A\n\n[these words](../docs/c.md)")
    assert "these words" in page.prose
    assert not [a for a in page.all("a") if "docs" in a.get("href", "")]


def test_pictures_from_elsewhere_become_text_and_those_beside_the_notebook_go_into_the_page(tmp_path: Path) -> None:
    png = b"\x89PNG\r\n\x1a\n"
    write(tmp_path / "notebooks", "01_a", "# 01 · A")
    (tmp_path / "notebooks" / "near.png").write_bytes(png)
    page = exported(tmp_path, f"{BADGE}\n\n# 01 · A\n\n![near](near.png) ![far & away](https://g.org/far.png)")
    [picture] = page.all("img")
    assert picture["src"].startswith("data:image/png;base64,")
    assert picture["alt"] == "near"
    assert "far & away" in page.prose
    assert "Open in Colab" in page.prose


def test_what_is_folded_stays_folded(tmp_path: Path) -> None:
    fold = "<details><summary>Click</summary>\n\nHidden *words*.\n\n```python\nanswer = 1\n```\n</details>\n\nIn sight."
    page = exported(tmp_path, "# 01 · A", fold, "And <b>bold</b> words.")
    assert all(part in page.folded for part in ("Hidden ", "words", "answer = 1"))
    assert "In sight" not in page.folded
    assert "And bold words." in page.prose
    assert page.folds == []


def test_titles_stay_text(tmp_path: Path) -> None:
    write(tmp_path / "notebooks", "00_before", "# 00 · x < y & z <script>")
    page = exported(tmp_path, "# 01 · A")
    assert "previous: 00 · x < y & z <script>" in page.prose
    assert page.script == ""


# ---- bad input


def test_its_own_folder_is_written_again_and_an_empty_one_is_used(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert "first" in exported(tmp_path, "# 01 · A\n\nfirst").prose
    assert "second" in exported(tmp_path, "# 01 · A\n\nsecond").prose


def test_two_at_once_do_not_share_a_folder(tmp_path: Path) -> None:
    with folder_lock(tmp_path / "out"):
        with pytest.raises(InputError, match="Another process is writing to"):
            exported(tmp_path, "# 01 · A")
        assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]
    assert not (tmp_path / "out").exists()


def test_what_a_system_leaves_in_folders_is_overlooked(tmp_path: Path) -> None:
    for folder, name in (("out", ".DS_Store"), ("out", "desktop.ini"), ("notebooks", "._01_a.ipynb")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text("no notebook")
    shutil.copy(NOTEBOOKS / "00_start_here.ipynb", tmp_path / "notebooks")
    pages = export_course(tmp_path / "out", tmp_path / "notebooks")
    assert [page.name for page in pages] == ["00_start_here.html"]


@pytest.mark.parametrize("file", ["thesis.txt", "index.html"])
def test_a_folder_of_something_else_is_left_alone(file: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / file).write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        exported(tmp_path, "# 01 · A")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [file]
    assert (tmp_path / "out" / file).read_text() == "mine"


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        exported(tmp_path, "# 01 · A")


def test_a_package_that_was_installed_without_the_notebooks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There are no notebooks in .* clone"):
        export_course(tmp_path / "out", tmp_path / "site-packages" / "notebooks")


@pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"cells": 3, "nbformat": 4, "nbformat_minor": 5}'])
def test_a_damaged_notebook(text: str, tmp_path: Path) -> None:
    (tmp_path / "01_a.ipynb").write_text(text)
    with pytest.raises(InputError, match="is not a notebook"):
        export_course(tmp_path / "out", tmp_path)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "latex2mathml" else object())
    with pytest.raises(InputError, match=r'^latex2mathml cannot be found: python -m pip install "lrnet_edu\[course\]"'):
        export_course(tmp_path / "out", tmp_path)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["lrnet-edu", "export-course", str(tmp_path / "out")])
    monkeypatch.setattr("lrnet_edu.commands.course.export_course", lambda out: [out / "01.html", out / "02.html"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    said, _ = capsys.readouterr()
    assert said.startswith("Wrote 2 notebooks")
    assert str(tmp_path / "out" / "index.html") in said


# ---- docs/teaching.md

TEACHING = (NOTEBOOKS.parent / "docs" / "teaching.md").read_text(encoding="utf-8")
SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((NOTEBOOKS / "source").glob("*.py"))}


def test_the_teaching_guide_has_every_notebook_with_its_title_and_minutes() -> None:
    rows = re.findall(r"^\| \[(.+?)\]\(\.\./notebooks/(\w+)\.ipynb\) \| (\d+) \|", TEACHING, re.MULTILINE)
    said = {
        name: (
            re.findall(r"^# # (.+)$", text, re.MULTILINE)[0],
            re.findall(r"\*\*Takes\*\* (\d+) minutes", text)[0],
        )
        for name, text in SOURCES.items()
    }
    assert {name: (title, minutes) for title, name, minutes in rows} == said


def test_the_teaching_guide_sends_nobody_to_a_section_that_is_not_there() -> None:
    named = re.findall(r"\b(0\d),? sections? (\d(?:(?: to |, | and )\d)*)", TEACHING)
    assert len(named) > 10
    for number, sections in named:
        [text] = [text for name, text in SOURCES.items() if name.startswith(number)]
        there = re.findall(r"^# ## (\d+) · ", text, re.MULTILINE)
        assert set(re.findall(r"\d", sections)) <= set(there), (number, sections)


def test_the_teaching_guides_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEACHING):
        source = NOTEBOOKS / "source" / f"{Path(target).stem}.py"
        assert (NOTEBOOKS.parent / "docs" / target).exists() or source.exists(), target
