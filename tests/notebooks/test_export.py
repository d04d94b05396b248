"""The exported course: pages that fetch nothing, with every formula converted and no broken link."""

import importlib.util
import itertools
import re
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

from lrnet_edu import cli
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import folder_lock

bs4 = pytest.importorskip("bs4", reason="beautifulsoup4, which nbconvert needs, is not installed")
nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
pytest.importorskip("nbconvert", reason="nbconvert is not installed")
pytest.importorskip("latex2mathml", reason="latex2mathml is not installed")

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
EXPORT = runpy.run_path(str(NOTEBOOKS / "export.py"))
export_course, mathml = EXPORT["export_course"], EXPORT["mathml"]
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
FIRST = {name: nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells[0].source for name in NAMES}
TITLES = {name: re.findall(r"^# (.+)$", first, re.MULTILINE)[0] for name, first in FIRST.items()}
MINUTES = {name: re.findall(r"\*\*Takes\*\* (\d+) minutes", first)[0] for name, first in FIRST.items()}
BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/someone/something/blob/trunk/notebooks/01_a.ipynb)"
)


def read(file: Path) -> Any:
    return bs4.BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")


def links(page: Any) -> list[str]:
    return [a["href"] for a in page.find_all("a", href=True)]


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The committed course, exported: name -> page, slides too."""
    out = tmp_path_factory.mktemp("course")
    assert [path.stem for path in export_course(out)] == NAMES
    return {path.relative_to(out).with_suffix("").as_posix(): read(path) for path in sorted(out.glob("**/*.html"))}


def exported(tmp_path: Path, *cells: str) -> Any:
    """The page of a notebook of these cells, beside another one; a cell that starts with "%" is code."""
    folder, new = tmp_path / "notebooks", nbformat.v4
    folder.mkdir(exist_ok=True)
    for name, texts in (("01_a", cells), ("02_b", ["# 02 · x < y & z <script>"])):
        made = [new.new_code_cell(c[1:]) if c.startswith("%") else new.new_markdown_cell(c) for c in texts]
        nbformat.write(new.new_notebook(cells=made), folder / f"{name}.ipynb")
    export_course(tmp_path / "out", folder)
    return read(tmp_path / "out" / "01_a.html")


# ---- the committed course


@pytest.mark.parametrize("name", [*NAMES, "index", *(f"slides/{name}" for name in NAMES)])
def test_a_page_fetches_nothing_and_its_links_lead_somewhere(name: str, course: dict[str, Any]) -> None:
    page = course[name]
    assert not page.find_all("script", src=True)
    assert not page.find_all(["iframe", "object", "embed", "video", "audio"])
    assert all(element["src"].startswith("data:") for element in page.find_all(src=True))
    styles = "".join(style.text for style in page.find_all("style"))
    assert not re.search(r"@import|url\((?!['\"]?data:)", styles)
    assert "default-src 'none'" in page.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
    folder = name[: name.rfind("/") + 1]  # "slides/", or none
    for target in links(page):
        place, _, part = target.partition("#")
        if not place.startswith("https://"):
            there = course[folder + place.removesuffix(".html")] if place else page
            assert not part or there.find(id=part), target


@pytest.mark.parametrize("name", NAMES)
def test_formulas_outputs_and_folded_solutions_are_there(name: str, course: dict[str, Any]) -> None:
    cells, page = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells, course[name]
    markdown = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    without_code = re.sub(r"```.*?```|`[^`\n]+`", "", markdown, flags=re.DOTALL)
    assert len(page.find_all("math")) == len(re.findall(r"(?s)(\$\$?)(.+?)\1", without_code))
    printed = "".join(pre.text for pre in page.find_all("pre"))
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert all(o.text.strip() in printed for o in outputs if o.output_type == "stream")
    folded = "".join(details.text for details in page.find_all("details"))
    for solution in [cell.source for cell in cells if "solution" in cell.metadata.get("tags", [])]:
        assert re.findall(r"```python\n(.*?)```", solution, re.DOTALL)[0].strip() in folded


def test_the_index_says_what_every_notebook_gives_and_takes_and_one_leads_to_the_next(course: dict[str, Any]) -> None:
    said = " ".join(course["index"].text.split())
    for name in NAMES:
        assert f"{name}.html" in links(course["index"])
        assert f"{TITLES[name]} Afterwards you can" in said
        assert f"Takes {MINUTES[name]} minutes" in said
    for here, there in itertools.pairwise(NAMES):
        assert course[here].find("a", rel="next")["href"] == f"{there}.html"


# ---- slides and handouts


def test_there_is_a_slide_for_each_table_and_result_and_no_answer_in_a_handout(tmp_path: Path) -> None:
    def cell(source: str, output: str = "", tags: tuple[str, ...] = ()) -> Any:
        shown = new.new_output("stream", name="stdout", text=output)
        if output.startswith("<"):
            shown = new.new_output("display_data", {"text/html": output})
        return new.new_code_cell(source, metadata={"tags": tags}, outputs=[shown] * bool(output), execution_count=7)

    new, out = nbformat.v4, tmp_path / "out"
    cells = [
        new.new_markdown_cell("# 01 · A"),
        cell("seed(0)", "the seed", ("setup",)),
        new.new_markdown_cell("## First\n\nTold at length.\n\n| arm |\n|---|\n| A |\n\n**Question.** Which $x_1$?"),
        cell("print(1 + 1)", "two & more"),
        cell("draw()", '<img src="data:image/png;base64,aa">'),
        cell("silent = 1"),
        cell("answer = None", "", ("exercise",)),
        cell("exercises.check_1_1(answer)", "<b>Your turn.</b>"),
        new.new_markdown_cell("The secret.", metadata={"tags": ["solution"]}),
        new.new_markdown_cell("What we found.", metadata={"tags": ["found"]}),
        new.new_markdown_cell("## Summary\n\nThe end."),
    ]
    nbformat.write(new.new_notebook(cells=cells), tmp_path / "01_a.ipynb")
    export_course(out, tmp_path)

    _, table, first, second, last = read(out / "slides" / "01_a.html").find_all("section")
    assert [cell.text for cell in table.find_all("td")] == ["A"]
    assert "Question." in first.find(class_="question").text
    assert all(part in first.find(class_="result").text for part in ("print(1 + 1)", "two & more"))
    assert not second.find(class_="question")
    assert last.text.startswith("SummaryThe end.")
    assert "Told at length." in first.aside.text
    assert first.find("msub")
    assert second.find("img")["src"].startswith("data:")
    for folder, kept in (("handouts", [*cells[:-3], cells[-1]]), ("handouts_with_solutions", cells)):
        handout = nbformat.read(out / folder / "01_a.ipynb", 4).cells
        assert [c.source for c in handout] == [c.source for c in kept]
        assert not [c for c in handout if c.get("outputs") or c.get("execution_count")]


# ---- markdown


def test_formulas_become_mathml_but_not_inside_code(tmp_path: Path) -> None:
    text = "# 01 · A\n\nA formula $x_i < 1$ and `$PATH$`.\n\n$$\n\\frac{1}{2}\n$$\n\n```\necho $HOME $y$\n```"
    page = exported(tmp_path, text, "% print('$z$')")
    assert [formula["display"] for formula in page.find_all("math")] == ["inline", "block"]
    assert [len(page.find_all(tag)) for tag in ("msub", "mfrac")] == [1, 1]
    assert all(untouched in page.text for untouched in ("$PATH$", "echo $HOME $y$", "'$z$'"))
    assert "<munder" in mathml(r"\min_{b \in B} d", "block")
    assert "<msub" in mathml(r"\min_{b \in B} d", "inline")


@pytest.mark.parametrize("formula", [r"\nosuchthing", r"x \over", r"\begin{aligned}a&=b\end{aligned}", "{"])
def test_a_formula_that_would_be_unreadable_is_refused(formula: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^01_a\.ipynb: The formula .* cannot be converted"):
        exported(tmp_path, f"# 01 · A\n\n$${formula}$$")
    assert not list((tmp_path / "out").glob("*.html"))


def test_links_lead_to_pages_or_to_the_repository_or_become_text(tmp_path: Path) -> None:
    text = "[a](02_b.ipynb#Part) [b](../docs/c.md) [d](09_e.ipynb) [f](https://g.org/h.ipynb) [i](#A)"
    there = "https://github.com/someone/something/blob/trunk"
    wanted = {"02_b.html#Part", f"{there}/docs/c.md", f"{there}/notebooks/09_e.ipynb", "#A"}
    assert wanted <= set(links(exported(tmp_path, f"{BADGE}\n\n# 01 · A", text)))
    unknown = exported(tmp_path, "# 01 · A\n\n[these words](../docs/c.md)")
    assert "these words" in unknown.text
    assert "docs" not in "".join(links(unknown))


def test_pictures_stay_or_become_text_what_is_folded_stays_folded_and_titles_stay_text(tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "near.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    fold = "<details><summary>Click</summary>\n\nHidden *words*.\n\n```python\nanswer = 1\n```\n</details>\n\nIn sight."
    page = exported(tmp_path, "# 01 · A\n\n![near](near.png) ![far & away](https://g.org/far.png)", fold)
    assert [picture["src"][:22] for picture in page.find_all("img")] == ["data:image/png;base64,"]
    assert "far & away" in page.text
    assert all(part in page.details.text for part in ("Hidden words", "answer = 1"))
    assert "In sight" not in page.details.text
    assert "next: 02 · x < y & z <script>" in page.text
    assert not page.find_all("script")


# ---- bad input


def test_its_own_folder_is_written_again_by_one_at_a_time_and_others_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "._01_a.ipynb").write_text("what a system left, no notebook")
    assert "first" in exported(tmp_path, "# 01 · A\n\nfirst").text
    assert "second" in exported(tmp_path, "# 01 · A\n\nsecond").text
    with folder_lock(tmp_path / "out"), pytest.raises(InputError, match="Another process is writing to"):
        exported(tmp_path, "# 01 · A")
    for file in ("thesis.txt", "index.html"):
        other = tmp_path / f"with {file}"
        other.mkdir()
        (other / file).write_text("mine")
        for out, said in ((other, "holds other files"), (other / file, "is a file")):
            with pytest.raises(InputError, match=said):
                export_course(out, tmp_path / "notebooks")
        assert [path.read_text() for path in other.iterdir()] == ["mine"]


def test_no_notebook_and_a_missing_package(tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(InputError, match="There are no notebooks in"):
        export_course(tmp_path / "out", tmp_path)
    (tmp_path / "01_a.ipynb").touch()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "latex2mathml" else object())
    with pytest.raises(InputError, match=r'^latex2mathml cannot be found: python -m pip install "lrnet_edu\[course\]"'):
        export_course(tmp_path / "out", tmp_path)


def test_the_command_needs_the_clone(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    exported(tmp_path, "# 01 · A")
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "lrnet_edu" / "cli.py"))
    with pytest.raises(InputError, match="from a clone"):
        cli.export_course(tmp_path / "course")
    shutil.copy(NOTEBOOKS / "export.py", tmp_path / "notebooks")
    cli.export_course(tmp_path / "course")
    assert str(tmp_path / "course" / "index.html") in capsys.readouterr().out


# ---- docs/teaching.md


def test_the_teaching_guide_has_every_notebook_and_sends_nobody_to_what_is_not_there() -> None:
    teaching = (NOTEBOOKS.parent / "docs" / "teaching.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(.+?)\]\(\.\./notebooks/(\w+)\.ipynb\) \| (\d+) \|", teaching, re.MULTILINE)
    assert rows == [(TITLES[name], name, MINUTES[name]) for name in NAMES]
    for number, sections in re.findall(r"\b(0\d),? sections? (\d(?:(?: to |, | and )\d)*)", teaching):
        [source] = (NOTEBOOKS / "source").glob(f"{number}_*.py")
        there = re.findall(r"^# ## (\d+) · ", source.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(re.findall(r"\d", sections)) <= set(there), number
