"""Work that is repeated for hours: its memory stays flat, and thousands of cases need hardly more than hundreds."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scans import checkpoint, mask, scan, store

from lrnet_edu import SliceViewer, distance_map
from lrnet_edu.commands.predict import predict_files
from lrnet_edu.config import Config
from lrnet_edu.data.patches import PatchBatches
from lrnet_edu.data.study import open_study
from lrnet_edu.mnet_training import train_run

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")

Note = Callable[[str, object], None]
LIMIT = 8.0  # MB that may come between the first fifth and the end; a result kept every time would be 12 and more
CONFIG = Config(method="mapdice+lrnet", features=(4, 8), blocks=(1,), patch_size=(16, 24, 24), steps=2,
                validate_every=1, max_voxels=60_000, one_cycle=True)  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRNET_EDU_CACHE", str(tmp_path / "cache"))


def megabytes(key: str = "VmRSS") -> float:
    """Memory of this process, without what is free already; ``VmHWM`` is its peak."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


class Memory:
    """Measured after every tenth of so many repetitions."""

    def __init__(self, repetitions: int) -> None:
        self.every, self.count, self.found = repetitions // 10, 0, [0.0] * 0

    def __call__(self) -> None:
        self.count += 1
        if self.count % self.every == 0:
            self.found.append(megabytes())

    def check(self, note: Note, what: str) -> None:
        """Note the first fifth and the end, and fail if there is more than ``LIMIT`` between them."""
        assert len(self.found) == 10
        first, last = self.found[1], self.found[-1]
        note(what, f"{first:.1f} MB after a fifth, {last:.1f} MB at the end, at most {max(self.found):.1f} MB")
        assert max(self.found[2:]) - first < LIMIT, self.found


def folder_of_scans(folder: Path, number: int, shape: tuple[int, int, int]) -> Path:
    """Cases in the LiTS layout, no two alike."""
    truth = mask(shape)
    for n in range(number):
        store(folder / f"volume-{n}.nii.gz", scan(shape, seed=n))
        store(folder / f"segmentation-{n}.nii.gz", truth)
    return folder


def test_the_measurement_sees_a_leak() -> None:
    memory, kept = Memory(20), []
    for _ in range(20):
        kept.append(np.ones(200_000))
        memory()
    with pytest.raises(AssertionError):
        memory.check(lambda name, value: None, "")


@pytest.mark.slow
def test_two_hundred_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Note) -> None:
    """An epoch is what lies between two validations."""
    study, memory = open_study(folder_of_scans(tmp_path / "scans", 5, (24, 40, 36)), CONFIG), Memory(200)
    from lrnet_edu import training

    def save_state(*arguments: object) -> None:
        saved(*arguments)  # type: ignore[arg-type]
        memory()

    saved = training.save_state
    monkeypatch.setattr(training, "save_state", save_state)
    train_run(study, replace(CONFIG, steps=400, validate_every=2), tmp_path / "run", device="cpu")
    memory.check(record_property, "200 epochs of training")


@pytest.mark.parametrize("number", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_maps(number: int, record_property: Note) -> None:
    memory, rng = Memory(number), np.random.default_rng(0)
    shapes = [rng.random((48, 48, 48)) < 0.2 for _ in range(5)]
    for n in range(number):
        distance_map(shapes[n % 5], ("O-DM", "I-DM", "NI-DM", "SNI-DM")[n % 4])
        memory()
    memory.check(record_property, f"{number} maps of 48 x 48 x 48 voxels")


@pytest.mark.slow
def test_two_hundred_predicted_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Note) -> None:
    from lrnet_edu.commands import predict as files

    scans, memory = folder_of_scans(tmp_path / "scans", 200, (24, 40, 36)), Memory(200)

    def segment(*arguments: object) -> None:
        segmented(*arguments)  # type: ignore[arg-type]
        memory()

    segmented = files._segment
    monkeypatch.setattr(files, "_segment", segment)
    run = checkpoint(tmp_path / "run.safetensors")
    assert len(predict_files(run, scans, tmp_path / "out", probabilities=True, device="cpu")) == 200
    memory.check(record_property, "200 predicted volumes")


@pytest.mark.parametrize("number", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_viewer_outputs(number: int, record_property: Note) -> None:
    memory, shape = Memory(number), (40, 48, 48)
    truth = mask(shape)
    for n in range(number):
        image = scan(shape, seed=n)
        viewer = SliceViewer(image, overlays={"truth": truth}, heat={"NI-DM": distance_map(truth)})
        assert len(viewer._repr_mimebundle_()["text/html"]) > 50_000
        viewer.render()
        memory()
    memory.check(record_property, f"{number} viewer outputs")


@pytest.mark.slow
def test_two_thousand_cases(tmp_path: Path, record_property: Note) -> None:
    """Found, prepared, opened again and cut into patches; ten times as many cases need hardly more memory."""
    peaks = {}
    for number in (200, 2000):
        scans = folder_of_scans(tmp_path / str(number), number, (8, 12, 12))
        megabytes()
        Path("/proc/self/clear_refs").write_text("5", "utf-8")  # the peak is counted anew
        before = megabytes()
        for _ in range(2):  # prepared, then read
            study = open_study(scans, CONFIG)
            study.describe()
        batches = PatchBatches(study.cached["train"], kinds=["NI-DM"], classes=1, patch_size=(8, 8, 8), batch_size=2,
                               object_share=0.5, augment=True, seed=[0], length=number)  # fmt: skip
        assert sum(len(batches[i].cases) for i in range(number)) == 2 * number
        assert sum(map(len, study.split.values())) == number
        peaks[number] = megabytes("VmHWM") - before
    record_property("200 and 2000 small cases", " and ".join(f"{peak:.1f} MB" for peak in peaks.values()))
    assert peaks[2000] < peaks[200] + 30
