"""What comes from outside is data: nothing in the source could run it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [path for folder in ("lrnet_edu", "benchmarks", "notebooks") for path in (ROOT / folder).rglob("*.py")]
UNPICKLERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pandas"}
RUNS_TEXT = {"eval", "exec", "compile", "__import__"}


def objections(source: str) -> list[str]:
    """What of a module could unpickle or execute something that it reads, or unpack an archive unchecked."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        found += [name for name in names if name.split(".")[0] in UNPICKLERS or name == "torch.load"]
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "torch.jit.load", "torch.hub"):
            found.append(ast.unparse(node))
        if isinstance(node, ast.Call):
            called, given = ast.unparse(node.func), {keyword.arg for keyword in node.keywords}
            unpacks = called.endswith((".extractall", ".extract")) and "filter" not in given
            if called in RUNS_TEXT or "allow_pickle" in given or called.endswith("unpack_archive") or unpacks:
                found.append(ast.unparse(node))
    return found


def test_no_module_unpickles_or_runs_what_it_reads() -> None:
    assert len(SOURCES) > 50
    assert {path.name: found for path in SOURCES if (found := objections(path.read_text("utf-8")))} == {}


@pytest.mark.parametrize("bad", [
    "import pickle", "from joblib import load", "from torch import load", "torch.load('a.pt', weights_only=True)",
    "np.load('a.npy', allow_pickle=True)", "eval(text)", "archive.extractall('here')", "shutil.unpack_archive('a.zip')",
])  # fmt: skip
def test_the_objections_are_found(bad: str) -> None:
    assert objections(bad)
