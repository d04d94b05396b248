"""The sample data are found in the clone and by a package that was installed without it."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from lrnet_edu import InputError
from lrnet_edu.data import samples
from lrnet_edu.data.nifti import read_image
from lrnet_edu.data.phantoms import phantom
from lrnet_edu.data.samples import sample_folder, study_folder, study_mnet
from lrnet_edu.trained import load_mnet

CLONE = Path(__file__).parents[2] / "data_samples"


@pytest.mark.parametrize("arm", ["base", *"ABCDEJ"])
def test_the_mnets_of_seed_0_ship(arm: str) -> None:
    trained = load_mnet(study_mnet(arm))
    with torch.inference_mode():
        logits = trained.mnet(torch.zeros(1, 1, *trained.patch_size))
    assert logits.shape == (1, 2, *trained.patch_size)
    assert trained.labels == ((2,),)


def test_an_arm_without_a_shipped_mnet_is_refused() -> None:
    with pytest.raises(InputError, match="No trained M-Net ships for arm 'X'; choose one of A"):
        study_mnet("X")


def test_the_study_s_phantoms_are_those_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRNET_EDU_CACHE", str(tmp_path))
    made = study_folder(1)
    phantom.write_samples(tmp_path / "samples", 1, 75, "study")
    assert [path.read_bytes() for path in sorted(made.glob("*.nii.gz"))] == [
        path.read_bytes() for path in sorted((tmp_path / "samples").glob("*.nii.gz"))
    ]
    written = (made / "volume-75.nii.gz").stat().st_mtime_ns
    assert study_folder(1) == made
    assert (made / "volume-75.nii.gz").stat().st_mtime_ns == written


def test_the_samples_stay_under_20_megabytes() -> None:
    assert sum(path.stat().st_size for path in CLONE.rglob("*") if path.is_file()) < 20_000_000


def test_an_installed_package_writes_the_scans_and_finds_its_mnets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site-packages" / "lrnet_edu"
    (mnets := package / "shipped" / "data_samples" / "mnets").mkdir(parents=True)
    (mnets / "A.safetensors").write_bytes(b"")
    monkeypatch.setattr(samples, "PACKAGE", package)
    monkeypatch.setattr(phantom, "write_samples", partial(phantom.write_samples, cases=1, first=3))  # takes seconds
    monkeypatch.setenv("LRNET_EDU_CACHE", str(tmp_path / "cache"))
    assert study_mnet("A") == mnets / "A.safetensors"
    written = sample_folder()
    assert written.is_relative_to(tmp_path / "cache")
    ours, committed = (read_image(folder / "volume-3.nii.gz") for folder in (written, CLONE))
    assert np.array_equal(ours.data, committed.data)
