"""Turn ``notebooks/source/*.py`` into notebooks that have run; see ``notebooks/README.md``.

    python notebooks/build.py               all notebooks; those whose code has changed are run
    python notebooks/build.py 01 --run      notebook 01, run whether or not its code has changed
    python notebooks/build.py 01 --out DIR  run it for a look and leave notebooks/ alone

A source is a script in jupytext's percent format. What all notebooks share is added here: the badge, the set-up
cell and how to go on after Colab disconnects.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

from lrnet_edu import __version__

REPOSITORY = "https://github.com/lrnet-edu/lrnet_edu"  # the one place that says where the project lives
BRANCH = "main"  # what the badge opens; the set-up cell installs the version's tag
NOTEBOOKS = Path(__file__).resolve().parent
SOURCES = NOTEBOOKS / "source"
TRAINING = ("03", "04", "05", "07", "08", "09")  # ask Colab for a GPU
MAX_BYTES = 3_000_000
WIDGET = "application/vnd.jupyter.widget-view+json"
KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    f"({REPOSITORY.replace('https://github.com', 'https://colab.research.google.com/github')}"
    f"/blob/{BRANCH}/notebooks/{{name}}.ipynb)"
)

COLAB = """\
<details><summary>On Colab: a GPU, keeping your work, and going on after a disconnect</summary>

*Runtime → Change runtime type* gives you a GPU. *File → Save a copy in Drive* keeps this notebook with your answers;
what a cell writes to the disk is gone after a disconnect, unless the disk is your Drive:

```python
from google.colab import drive
drive.mount("/content/drive")
%cd /content/drive/MyDrive
```

After a disconnect run all cells again: nothing here needs another notebook's output. A training you started with
`lrnet-edu train ... --out /content/drive/MyDrive/my_run` goes on where it stopped with the same command and `--resume`.
</details>"""

SET_UP = f"""\
# The same in every notebook: installs lrnet_edu where it is missing on Colab, sets the seed, says what it runs on.
import importlib.metadata
import importlib.util
import subprocess
import sys

found = importlib.util.find_spec("lrnet_edu")
if "google.colab" in sys.modules and (found is None or found.origin is None):  # or a mere folder of that name
    kept = [f"{{name}}=={{importlib.metadata.version(name)}}" for name in ("torch", "numpy", "matplotlib")]
    package = "lrnet_edu @ git+{REPOSITORY}@v{__version__}"
    try:
        subprocess.check_call([sys.executable, "-m", "pip", "install", "-q", package, *kept])
    except subprocess.CalledProcessError:
        raise RuntimeError("lrnet_edu cannot be installed. Is {REPOSITORY} reached from here? If not, upload a wheel, "
                           "as `python -m build` makes it in a clone, and run %pip install lrnet_edu-*.whl.") from None
    importlib.invalidate_caches()

from lrnet_edu import exercises

device = exercises.set_up(seed=0)"""


def notebook_of(source: Path) -> Any:
    """The notebook of a source, not run: its cells and what all notebooks share."""
    from_source = jupytext.reads(source.read_text(encoding="utf-8"), fmt="py:percent")
    title, *rest = from_source.cells
    title.source = f"{BADGE.format(name=source.stem)}\n\n{title.source}"
    new = nbformat.v4
    cells = [title, new.new_markdown_cell(COLAB), new.new_code_cell(SET_UP, metadata={"tags": ["setup"]}), *rest]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number:03d}"
        cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
    metadata = {**KERNEL, **({"accelerator": "GPU"} if source.stem[:2] in TRAINING else {})}
    return new.new_notebook(cells=cells, metadata=metadata)


def texts(notebook: Any, *, code_only: bool = False) -> list[tuple[str, str, list[str]]]:
    """What a source decides: type, text and tags of every cell."""
    return [
        (cell.cell_type, cell.source, list(cell.metadata.get("tags", [])))
        for cell in notebook.cells
        if cell.cell_type == "code" or not code_only
    ]


def run(notebook: Any, folder: Path) -> None:
    """Run every cell in place, in a fresh kernel whose working directory is ``folder``."""
    client = NotebookClient(
        notebook,
        timeout=1800,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    notebook.metadata = {key: value for key, value in notebook.metadata.items() if key in (*KERNEL, "accelerator")}
    notebook.metadata.update(KERNEL)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [kept for output in cell.outputs if (kept := tidied(output))]


def tidied(output: Any) -> Any:
    """An output as it is committed: no stderr, which holds rates and temporary names, and no widget's random id."""
    if output.output_type == "stream" and output.name == "stderr":
        print(f"left out of the notebook: {output.text}", file=sys.stderr)
        return None
    if "data" in output:
        output.data.pop(WIDGET, None)
        output.metadata.pop(WIDGET, None)
    return output


def join_streams(outputs: list[Any]) -> list[Any]:
    """The outputs with what was printed in one go in one piece, however the kernel has sent it."""
    pieces: list[Any] = []
    for output in outputs:
        if pieces and output.output_type == pieces[-1].output_type == "stream" and output.name == pieces[-1].name:
            pieces[-1].text += output.text
        else:
            pieces.append(output)
    return pieces


def take_outputs(notebook: Any, committed: Any) -> None:
    """Keep the outputs of the committed notebook, whose code cells are the same."""
    old = [cell for cell in committed.cells if cell.cell_type == "code"]
    new = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for to, of in zip(new, old, strict=True):
        to.outputs, to.execution_count = of.outputs, of.execution_count


def build(source: Path, out: Path, *, always_run: bool) -> None:
    """Write one notebook to ``out``.

    Raises:
        SystemExit: it is too large, or would be committed from a run at the small size.
    """
    notebook, path = notebook_of(source), out / f"{source.stem}.ipynb"
    committed = nbformat.read(path, as_version=4) if path.exists() else None
    if not always_run and committed and texts(notebook, code_only=True) == texts(committed, code_only=True):
        take_outputs(notebook, committed)
        did = "text"
    elif out == NOTEBOOKS and os.environ.get("LRNET_EDU_FAST", "") not in ("", "0"):
        sys.exit("LRNET_EDU_FAST is set: notebooks are committed at their normal size; unset it, or give --out.")
    else:
        run(notebook, NOTEBOOKS)
        did = "run"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = join_streams(cell.outputs)
    nbformat.validate(notebook)
    text = nbformat.writes(notebook) + "\n"
    if len(text.encode()) > MAX_BYTES:
        sys.exit(f"{path.name} would have {len(text.encode()):,} bytes, more than {MAX_BYTES:,}: show less.")
    path.write_text(text, encoding="utf-8")
    print(f"{path.name}: {did}, {len(text.encode()) / 1e6:.2f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", help="such as 01; all without any")
    parser.add_argument("--run", action="store_true", help="run them even where no code has changed")
    parser.add_argument("--out", type=Path, default=NOTEBOOKS, help="where the notebooks go")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    sources = [s for s in sorted(SOURCES.glob("*.py")) if not given.numbers or s.stem[:2] in given.numbers]
    if not sources:
        sys.exit(f"There is no notebook {' '.join(given.numbers)} in {SOURCES}.")
    for source in sources:
        build(source, given.out.resolve(), always_run=given.run)


if __name__ == "__main__":
    main()
