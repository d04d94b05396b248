"""What an instructor takes along: ``lrnet-edu export-course OUT``.

``OUT`` gets every notebook with its outputs as a web page, and an index; in ``slides/`` the same to project; in
``handouts/`` the notebooks without outputs and solutions, in ``handouts_with_solutions/`` with them. The pages need no
network and no kernel. Pictures and viewers are inside already; formulas become MathML, which
browsers draw themselves; what would have to be fetched, such as a badge, becomes its text.
"""

import importlib.util
import posixpath
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import check_empty, folder_lock, is_hidden, write_atomically

NOTEBOOKS = Path(__file__).resolve().parent
NEEDED = ("nbconvert", "latex2mathml")  # the extra "course" has them
MARK = '<meta name="generator" content="lrnet-edu export-course">'
ANSWERS = {"solution", "found"}  # tags of cells that a handout leaves out
UNSEEN = {"setup", "parameters", "exercise", *ANSWERS}  # that slides leave out
QUESTION = re.compile(r"\*\*Question.*?(?=\n\n|\Z)", re.DOTALL)
FORMULA = re.compile(r"^\$\$.*?\$\$", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
HEADING = re.compile(r"^##+ (.+)$", re.MULTILINE)
WIDE, HIGH = 1180, 500  # of what a slide of 1280 x 720 gives to printed text
BADGE = re.compile(r"https://colab\.research\.google\.com/github/([^/\s]+/[^/\s]+/blob/[^/\s]+)/")


def export_course(out: str | Path, notebooks: str | Path = NOTEBOOKS) -> list[Path]:
    """Write every notebook as an HTML page of the same name, ``index.html``, slides and handouts.

    Args:
        out: folder to write: a new or empty one, or one that this function wrote before.
        notebooks: folder with the notebooks; they are shown as they are saved, nothing is run.

    Returns:
        The notebooks' pages, in the order of the course.

    Raises:
        InputError: there are no notebooks or one cannot be read, a formula is unknown, the packages of the extra
            "course" are missing, or ``out`` holds something else or cannot be written.
    """
    out, notebooks = Path(out), Path(notebooks)
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise InputError(f'{" and ".join(missing)} cannot be found: python -m pip install "lrnet_edu[course]".')
    sources = sorted(path for path in notebooks.glob("*.ipynb") if not is_hidden(path.name))
    if not sources:
        raise InputError(f"There are no notebooks in {notebooks}: give a folder that holds some.")
    _check_own(out)
    with folder_lock(out):
        titles = {source.stem: _title(_read(source)) for source in sources}
        pages = {source.stem: _page(source, titles) for source in sources}
        slides = {f"slides/{source.stem}": _slides(source, titles) for source in sources}
        # the index marks the folder as ours
        for name, page in [("index", _index(sources, titles)), *pages.items(), *slides.items()]:
            write_atomically(out / f"{name}.html", page.encode())
        for source in sources:
            write_atomically(out / "handouts" / source.name, _handout(source, solutions=False).encode())
            write_atomically(out / "handouts_with_solutions" / source.name, _handout(source, solutions=True).encode())
    return [out / f"{name}.html" for name in pages]


def _check_own(out: Path) -> None:
    """Raise InputError unless the folder is new, empty or written by this module."""
    index = out / "index.html"
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: give a folder to write to.")
    if not (index.is_file() and MARK in index.read_text(encoding="utf-8", errors="replace")):
        check_empty(out)


def _read(source: Path) -> Any:
    import nbformat

    return nbformat.read(source, as_version=4)


def _title(notebook: Any) -> str:
    found = re.search(r"^# (.+)$", notebook.cells[0].source if notebook.cells else "", re.MULTILINE)
    return found[1].strip() if found else "Untitled"


# ---- markdown that needs no network ------------------------------------------------------------------------


def mathml(formula: str, display: str) -> str:
    """A formula in TeX as MathML.

    Args:
        formula: without its dollars.
        display: "inline" or "block".

    Raises:
        InputError: it holds something that MathML's converter does not know.
    """
    from latex2mathml.converter import convert

    if display == "block":  # limits below, as TeX sets them there
        formula = re.sub(r"\\(min|max)_", r"\\\1\\limits_", formula)
    try:
        converted = convert(formula, display=display)
    except Exception:  # of the converter, which has a class for every mistake
        converted = "\\"
    if re.search(r"\\|&(?![#\w]+;)", converted):  # what it does not know it passes on as it is
        raise InputError(f"The formula {formula.strip()} cannot be converted: write it with simpler commands.")
    return converted.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "")  # for XML only


def _renderer(notebook: Any, folder: Path, names: Iterable[str]) -> Any:
    """What turns this notebook's markdown into HTML: formulas, links and pictures for an offline page.

    Its Colab badge says where the repository is. Pictures of the folder go into the page.
    """
    from nbconvert.filters.markdown_mistune import IPythonRenderer

    badge = BADGE.search(notebook.cells[0].source if notebook.cells else "")
    repository = f"https://github.com/{badge[1]}" if badge else ""

    class Renderer(IPythonRenderer):
        def inline_math(self, body: str) -> str:
            return mathml(body, "inline")

        def block_math(self, body: str) -> str:
            return mathml(body, "block")

        def latex_environment(self, name: str, body: str) -> str:
            return mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")

        def block_html(self, html: str) -> str:
            return html  # as it stands: nbconvert's own closes a <details> before what it should fold

        inline_html = block_html

        def image(self, text: str, url: str, title: str | None = None) -> str:
            return text if urlsplit(url).scheme in ("http", "https") else super().image(text, url, title)

        def link(self, text: str, url: str, title: str | None = None) -> str:
            place, hash_sign, part = url.partition("#")
            if place and not urlsplit(url).scheme:
                if place.endswith(".ipynb") and place.removesuffix(".ipynb") in names:
                    url = f"{place.removesuffix('.ipynb')}.html{hash_sign}{part}"
                elif repository:
                    url = f"{repository}/{posixpath.normpath('notebooks/' + place)}{hash_sign}{part}"
                else:
                    return text
            return super().link(text, url, title)

    return Renderer(escape=False, anchor_link_text="#", embed_images=True, path=str(folder))


def _html(markdown: str, renderer: Any) -> str:
    from nbconvert.filters.markdown_mistune import MarkdownWithMath

    return MarkdownWithMath(renderer=renderer).render(markdown)


# ---- pages -------------------------------------------------------------------------------------------------


def _page(source: Path, titles: dict[str, str]) -> str:
    from nbconvert import HTMLExporter

    notebook = _read(source)
    renderer = _renderer(notebook, source.parent, titles)
    exporter = HTMLExporter(
        template_name="basic",  # cells only: no style, no script
        filters={"markdown2html": lambda text: _html(text, renderer)},
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    try:
        cells, _ = exporter.from_notebook_node(notebook)
    except InputError as error:
        raise InputError(f"{source.name}: {error}") from None
    names = list(titles)
    here = names.index(source.stem)
    links = ['<a href="index.html">The course</a>']
    for near, name in (("previous", names[here - 1 : here]), ("next", names[here + 1 : here + 2])):
        links += [f'<a rel="{near[:4]}" href="{n}.html">{near}: {escape(titles[n])}</a>' for n in name]
    ways = "".join(links)
    body = f'<nav aria-label="top">{ways}</nav><main>{cells}</main><nav aria-label="bottom">{ways}</nav>'
    return _document(titles[source.stem], body)


def _handout(source: Path, *, solutions: bool) -> str:
    """The notebook as its file's text, without outputs, and with or without what is tagged as a solution."""
    import nbformat

    notebook = _read(source)
    cells = [cell for cell in notebook.cells if solutions or not ANSWERS & set(cell.metadata.get("tags", []))]
    for cell in cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return nbformat.writes(nbformat.from_dict({**notebook, "cells": cells}))


def _goals(notebook: Any) -> str:
    first = notebook.cells[0].source if notebook.cells else ""
    found = re.search(r"^\*\*Afterwards you can\*\*.*", first, re.MULTILINE | re.DOTALL)
    return found[0] if found else ""


def _index(sources: list[Path], titles: dict[str, str]) -> str:
    """Title, goals and minutes of every notebook, as its first cell names them."""
    entries = ""
    for source in sources:
        notebook = _read(source)
        goals = _html(_goals(notebook), _renderer(notebook, source.parent, titles))
        entries += (
            f'<section><h2><a href="{source.stem}.html">{escape(titles[source.stem])}</a></h2>\n{goals}</section>'
        )
    return _document("lrnet_edu: the course", f"<main>{LEAD}{entries}</main>")


# ---- slides ------------------------------------------------------------------------------------------------


def _slides(source: Path, titles: dict[str, str]) -> str:
    """A slide for each table and result, after its question; the prose since the slide before is its speaker notes."""
    notebook = _read(source)
    renderer = _renderer(notebook, source.parent, titles)
    slides = [(escape(titles[source.stem]), f"{_html(_goals(notebook), renderer)}{KEYS}", "")]  # heading, body, notes
    heading, prose = titles[source.stem], ""
    for cell in notebook.cells:
        if UNSEEN & set(cell.metadata.get("tags", [])):
            continue
        if cell.cell_type == "markdown":
            prose += f"{cell.source}\n\n"
            heading = [heading, *HEADING.findall(cell.source)][-1]
        elif body := _result(cell):
            here = HEADING.split(prose)[-1]
            formulas = "".join(_html(formula, renderer) for formula in FORMULA.findall(here))
            asked = "".join(_html(question, renderer) for question in QUESTION.findall(here)[-1:])
            question = f'<div class="question">{asked}</div>' if asked else ""
            shown = f'{formulas}{question}<div class="result">{body}</div>'
            slides += [(_html(heading, renderer), _html(table, renderer), "") for table in TABLE.findall(prose)]
            slides.append((_html(heading, renderer), shown, _html(prose, renderer)))
            prose = ""
    if heading == "Summary":
        slides.append((heading, _html(HEADING.split(prose)[-1], renderer), _html(prose, renderer)))
    shown = "".join(f"<section><header>{head}</header>{body}<aside>{notes}</aside></section>"
                    for head, body, notes in slides)  # fmt: skip
    return _document(titles[source.stem], f'<main>{shown}</main><div id="place"></div>{SLIDES}')


def _result(cell: Any) -> str:
    """What a cell showed: its pictures, or its text below its code; nothing of an exercise's check."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    if cell.source.startswith("exercises."):
        return ""
    found = [output.get("data", {}) for output in cell.outputs]
    pictures = [data["text/html"] if "text/html" in data else f'<img src="data:image/png;base64,{data["image/png"]}">'
                for data in found if data.keys() & {"text/html", "image/png"}]  # fmt: skip
    text = "".join(output.get("text", "") for output in cell.outputs)
    if pictures or not text:
        return "".join(pictures)
    lines = text.rstrip().split("\n")
    size = min(26, WIDE / 0.62 / max(map(len, lines)), HIGH / 1.4 / len(lines))  # px: nothing wraps, all is in sight
    code = highlight(cell.source, PythonLexer(), HtmlFormatter())
    return f'{code}<pre style="font-size: {size:.1f}px">{escape(text.rstrip())}</pre>'


def _document(title: str, body: str) -> str:
    from pygments.formatters import HtmlFormatter

    code = {theme: HtmlFormatter(style=style).get_style_defs(".highlight") for theme, style in CODE.items()}
    style = f"{code['light']}\n@media (prefers-color-scheme: dark) {{ {code['dark']} }}{STYLE}"
    return f"{HEAD}{MARK}<title>{escape(title)}</title><style>{style}</style></head><body>{body}</body></html>\n"


LEAD = """\
<header><h1>Distance maps for imbalanced segmentation</h1>
<p class="lead">The notebooks of lrnet_edu with their results, to read, to project and to scroll through; these pages
need no network. To change and run them, open them in JupyterLab or on Colab.</p></header>"""

# The browser itself sees to it that nothing is fetched.
HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<link rel="icon" href="data:,">
"""

CODE = {"light": "default", "dark": "github-dark"}  # colours of Pygments

STYLE = """
:root { color-scheme: light dark;
  --paper: #fdfdfc; --ink: #1b1b1b; --soft: #555; --line: #d4d4d0; --link: #00588a; --code: #f9f9f8; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181b; --ink: #ececec; --soft: #b0b0b0; --line: #44474c; --link: #7cc4f0; --code: #22252a; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1.0625rem/1.6 system-ui, sans-serif; }
main, nav { max-width: 90rem; margin: 0 auto; padding: 1rem; }
nav { display: flex; flex-wrap: wrap; gap: 0.2rem 2rem; }
h1 { font-size: clamp(1.6rem, 5vw, 2.4rem); line-height: 1.2; margin: 0.5rem 0; }
h2 { font-size: 1.45rem; margin: 2.4rem 0 0; }
h3 { font-size: 1.15rem; margin: 1.8rem 0 0; }
section { border-top: 1px solid var(--line); margin-top: 1.6rem; }
section h2 { margin-top: 1rem; }
p, ul, ol, details { max-width: 46rem; }
.lead { font-size: 1.15rem; }
a { color: var(--link); }
.anchor-link { margin-left: 0.4em; text-decoration: none; opacity: 0; }
:hover > .anchor-link, .anchor-link:focus { opacity: 1; }
code, pre { font: 0.9rem/1.45 ui-monospace, monospace; }
:not(pre) > code { background: var(--code); padding: 0.1em 0.3em; border-radius: 0.2rem; }
.highlight, .output_area, .text_cell_render { overflow-x: auto; }
.highlight { background: var(--code); border-left: 3px solid var(--line); padding: 0.1rem 0.8rem; margin: 0.8rem 0; }
.output_area { margin: 0.6rem 0 1rem; }
.output_area pre, .highlight pre { margin: 0.5rem 0; }
.output_area > div > img { max-width: 100%; height: auto; box-sizing: border-box; padding: 0.4rem; background: #fff;
  border-radius: 0.3rem; }
table { border-collapse: collapse; }
th, td { padding: 0.3rem 0.9rem 0.3rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
math { font-size: 1.08em; }
math[display="block"] { margin: 0.8rem 0; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
"""

KEYS = "<p>Arrow keys turn the slides: first the question, then the answer. N shows the notes.</p>"

SLIDES = """<style>
body { overflow: hidden; }
main { box-sizing: border-box; width: 1280px; height: 720px; max-width: none; margin: 0; padding: 0; overflow: hidden;
  transform-origin: 0 0; }  /* scaled to the window */
section { display: none; flex-direction: column; box-sizing: border-box; height: 720px; margin: 0; border: 0;
  padding: 18px 48px 40px; }
section.here { display: flex; }
section > * { flex: none; margin: 0 0 10px; }
section header, section header * { font-size: 34px; line-height: 1.25; font-weight: 600; max-width: none; }
section header * { margin: 0; }
section > p, section > ul, .question, section td, section th { max-width: none; font-size: 26px; line-height: 1.4; }
.question > * { max-width: none; margin: 0 0 6px; }
.question code, section > p code, section > ul code { font-size: 1em; }
section > math { font-size: 30px; }
.result { display: flex; flex-direction: column; flex: 1 1 0; min-height: 0; }
.asked .result { visibility: hidden; }
.result > div:not(.highlight, .lrnet-page) { display: contents; }
.result img { flex: 1 1 0; min-height: 0; max-width: 100%; object-fit: contain; }
.result > .highlight { flex: 0 1 auto; min-height: 0; margin: 0 0 10px; overflow: auto; }
.result > .highlight pre { white-space: pre-wrap; font-size: 20px; margin: 4px 0; }
.result > pre { flex: none; margin: 0; line-height: 1.4; }
section:has(.lrnet-page) .question { font-size: 20px; }
section .lrnet-page { flex: none; transform-origin: 50% 0; }
section .lrnet-page details { display: none; }
section aside { display: none; position: absolute; inset: auto 0 0; max-height: 290px; overflow: auto; margin: 0;
  padding: 10px 48px; font-size: 20px; background: var(--code); border-top: 2px solid var(--line); }
.notes aside { display: block; }
#place { position: fixed; right: 2vh; bottom: 1vh; font-size: 2.2vh; color: var(--soft); }
@media print {
  body { overflow: visible; }
  main { height: auto; overflow: visible; transform: none !important; }
  section { display: flex; break-after: page; }
  .asked .result { visibility: visible; }
  #place { display: none; } }
</style>
<script>
const main = document.querySelector("main"), slides = [...document.querySelectorAll("section")];
const steps = slides.flatMap((slide) => [...slide.querySelector(".question") ? [[slide, "asked"]] : [], [slide, ""]]);
let step = Number(location.hash.slice(1)) || 0;
function show(to) {
  step = Math.max(0, Math.min(steps.length - 1, to));
  const [here, asked] = steps[step];
  for (const slide of slides) slide.className = slide === here ? `here ${asked}` : "";
  document.getElementById("place").textContent = `${slides.indexOf(here) + 1} / ${slides.length}`;
  history.replaceState(null, "", `#${step}`);
}
function scale() {
  const times = Math.min(innerWidth / 1280, innerHeight / 720);
  main.style.transform = `translate(${(innerWidth - 1280 * times) / 2}px, 0) scale(${times})`;
}
const viewers = new ResizeObserver((changes) => {
  for (const { target } of changes) {
    const room = target.closest(".result").clientHeight;
    target.style.transform = `scale(${Math.min(1, room / target.offsetHeight)})`;
  }
});
document.querySelectorAll(".result .lrnet-page").forEach((viewer) => viewers.observe(viewer));
addEventListener("resize", scale);
addEventListener("keydown", (event) => {
  if (event.target !== document.body) return;  // a viewer's slider has arrow keys of its own
  const turns = { ArrowRight: step + 1, PageDown: step + 1, " ": step + 1, ArrowLeft: step - 1, PageUp: step - 1,
    Home: 0, End: steps.length };
  if (event.key in turns) { show(turns[event.key]); event.preventDefault(); }
  if (event.key === "n") document.body.classList.toggle("notes");
});
scale();
show(step);
</script>"""
