"""The package's face: what ``import lrnet_edu`` offers, and what it does not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
    loaded = modules_loaded_by("import lrnet_edu.segmentation, lrnet_edu.pretraining")
    assert loaded.isdisjoint({"torchio", "nibabel", "matplotlib", "SimpleITK"})


@pytest.mark.parametrize("name", lrnet_edu.__all__)
def test_every_public_name_exists_and_explains_itself(name: str) -> None:
    thing = getattr(lrnet_edu, name)
    if name != "__version__":
        assert thing.__doc__
        assert len(thing.__doc__) > 40


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Unet'"):
        lrnet_edu.Unet  # noqa: B018
