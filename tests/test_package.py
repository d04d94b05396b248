"""The package's face: what ``import lrnet_edu`` offers, and what it does not load."""

import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import lrnet_edu


def modules_loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted(name for name in sys.modules if '.' not in name))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


CORE = "distance_map, LRNet, MNet, Tandem, DiceLoss, DistanceRegressionLoss, case_scores, find_cases"


@pytest.mark.parametrize(("statement", "with_torch"), [
    ("import lrnet_edu", False), (f"from lrnet_edu import {CORE}", True),
    ("import lrnet_edu.mnet_training, lrnet_edu.lrnet_training", True),  # training from a cache
])  # fmt: skip
def test_imports_are_light(statement: str, with_torch: bool) -> None:
    loaded = modules_loaded_by(statement)
    assert ("torch" in loaded) == with_torch
    assert loaded.isdisjoint({"torchio", "nibabel", "matplotlib", "SimpleITK"})


NAMES = sorted(set(lrnet_edu.__all__) - {"__version__", "InputError"})
ARRAYS = {name for name in NAMES if name.endswith("Loss")} | {"distance_map", "LRNet", "MNet", "Tandem", "case_scores"}
ARRAYS |= {"challenge_scores", "SliceViewer", "MaskPainter"}
LENGTHS = {"distance_map", "DistanceRegressionLoss", "SliceViewer", "case_scores", "CaseScores", "challenge_scores"}


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_explains_itself(name: str) -> None:
    """Its arguments, its errors, the shapes of its arrays, the units of its lengths, its source."""
    thing = getattr(lrnet_edu, name)
    of_call = getattr(getattr(thing, "forward", None), "__doc__", None)  # of a network or a loss
    text = f"{inspect.getdoc(thing)}\n{of_call}"
    assert len(text) > 100
    own = not inspect.isclass(thing) or "__init__" in thing.__dict__
    arguments = list(inspect.signature(thing).parameters) if own else []
    assert [given for given in arguments if not re.search(rf"^ *\**{given}: ", text, re.MULTILINE)] == []
    assert "InputError" in text or dataclasses.is_dataclass(thing)
    assert name not in ARRAYS or re.search(r"\((B|D|H), ", text)
    assert name not in LENGTHS or re.search(r"\bmm\b|voxels", text)
    source = r"[Ss]ections? \d|Eq\. \d|Fig\. \d|Table \d|\b(19|20)\d\d\b|LiTS"
    assert re.search(source, f"{text}\n{sys.modules[thing.__module__].__doc__}")


MODULES = ["lrnet_edu", *(module.name for module in pkgutil.walk_packages(lrnet_edu.__path__, "lrnet_edu."))]


def test_the_examples_in_the_docstrings_are_true() -> None:
    tried = 0
    for name in set(MODULES) - {"lrnet_edu.__main__"}:
        failed, examples = doctest.testmod(importlib.import_module(name))
        assert failed == 0
        tried += examples
    assert tried >= 10
    with pytest.raises(AttributeError, match="no attribute 'Unet'"):
        lrnet_edu.Unet  # noqa: B018


def test_conda_and_pip_users_get_the_same_and_a_plain_install_no_jupyter() -> None:
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    extras, text = project["optional-dependencies"], (root / "environment.yml").read_text("utf-8")
    wanted = {*project["dependencies"], *extras["course"], *extras["test"]}
    assert set(re.findall(r'^ +- "(.+)"$', text, flags=re.MULTILINE)) == wanted
    assert f"- python{project['requires-python']}" in text
    assert text.rstrip().endswith("- -e .")
    assert not re.search("jupyter|ipykernel|ipywidgets|nbval|playwright", " ".join(project["dependencies"]))
