"""The package's face: what ``import lrnet_edu`` offers, and what it does not load."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lrnet_edu


def modules_loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted(name for name in sys.modules if '.' not in name))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_is_light() -> None:
    assert modules_loaded_by("import lrnet_edu").isdisjoint({"torchio", "nibabel", "matplotlib", "SimpleITK", "torch"})


def test_the_core_names_need_no_reader_and_no_plots() -> None:
    names = "distance_map, LRNet, MNet, Tandem, DiceLoss, DistanceRegressionLoss, case_scores, find_cases"
    loaded = modules_loaded_by(f"from lrnet_edu import {names}")
    assert "torch" in loaded
    assert loaded.isdisjoint({"torchio", "nibabel", "matplotlib", "SimpleITK"})


def test_training_from_a_cache_needs_no_reader() -> None:
    loaded = modules_loaded_by("import lrnet_edu.mnet_training, lrnet_edu.lrnet_training")
    assert loaded.isdisjoint({"torchio", "nibabel", "matplotlib", "SimpleITK"})


# ---- what every public name says about itself

NAMES = sorted(set(lrnet_edu.__all__) - {"__version__"})
NO_SOURCE = {"InputError"}  # it has none in the paper, and takes nothing but its sentence
NO_ARRAYS = {"InputError", "Case", "find_cases", "load_pretrained_lrnet", "CaseScores", "ScoreTable", "ChallengeScores"}
NO_ARRAYS |= {"score_table"}
MEASURES = {"distance_map", "load_pretrained_lrnet", "DistanceRegressionLoss", "SliceViewer"}
MEASURES |= {"case_scores", "CaseScores", "ScoreTable", "score_table", "challenge_scores", "ChallengeScores"}
SOURCE = re.compile(r"[Ss]ection \d|Eq\. \d|Fig\. \d|Table \d|\b(19|20)\d\d\b|LiTS")
SHAPE = re.compile(r"\((B|D|H), ")


def explanation(name: str) -> str:
    """What ``help`` shows of a name: its docstring, and that of the call of a network or a loss."""
    thing = getattr(lrnet_edu, name)
    call = thing.__dict__.get("forward") if inspect.isclass(thing) else None
    return "\n".join(filter(None, [inspect.getdoc(thing), call and call.__doc__]))


def takes(name: str) -> list[str]:
    """The names of what one gives to a public name."""
    thing = getattr(lrnet_edu, name)
    if inspect.isclass(thing) and thing.__init__ is torch.nn.Module.__init__:
        return []
    return [p.name for p in inspect.signature(thing).parameters.values()]


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_explains_itself(name: str) -> None:
    assert len(explanation(name)) > 100


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"InputError"}))
def test_every_argument_and_every_error_is_explained(name: str) -> None:
    text = explanation(name)
    missing = [given for given in takes(name) if not re.search(rf"^ *\**{given}: ", text, re.MULTILINE)]
    assert missing == []
    if not dataclasses.is_dataclass(getattr(lrnet_edu, name)):
        assert "InputError" in text


@pytest.mark.parametrize("name", sorted(set(NAMES) - NO_ARRAYS))
def test_every_array_has_a_shape(name: str) -> None:
    assert SHAPE.search(explanation(name))


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_every_length_has_a_unit(name: str) -> None:
    assert re.search(r"\bmm\b|voxels", explanation(name))


@pytest.mark.parametrize("name", sorted(set(NAMES) - NO_SOURCE))
def test_every_name_tells_its_source(name: str) -> None:
    module = sys.modules[getattr(lrnet_edu, name).__module__]
    assert SOURCE.search(f"{explanation(name)}\n{module.__doc__}")


MODULES = ["lrnet_edu", *(module.name for module in pkgutil.walk_packages(lrnet_edu.__path__, "lrnet_edu."))]


def test_the_examples_in_the_docstrings_are_true() -> None:
    tried = 0
    for name in set(MODULES) - {"lrnet_edu.__main__"}:
        failed, examples = doctest.testmod(importlib.import_module(name))
        assert failed == 0
        tried += examples
    assert tried >= 10


PITFALLS = r"os\.(fork|system|getuid)|\bSIGKILL|shell=True|[\"']/(tmp|dev|proc)\b|import (fcntl|resource|pwd)\b"
PITFALLS += r"|multiprocessing\.(Pool|Process|Queue)\(|get_context\((?!\"spawn\"\))"


@pytest.mark.parametrize("line", ["os.fork()", 'Path("/tmp/a")', 'get_context("fork")', "multiprocessing.Pool(2)"])
def test_a_pitfall_of_another_system_is_seen(line: str) -> None:
    assert re.search(PITFALLS, line)
    assert not re.search(PITFALLS, 'multiprocessing.get_context("spawn").Pool(2)')


def test_nothing_counts_on_linux() -> None:
    """Windows and macOS have no fork and no /tmp, and a user there has no shell for scripts."""
    package = Path(lrnet_edu.__file__).parent
    lines = [line for path in package.rglob("*.py") for line in path.read_text("utf-8").splitlines()]
    assert len(lines) > 5000
    assert [line for line in lines if re.search(PITFALLS, line)] == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Unet'"):
        lrnet_edu.Unet  # noqa: B018
