"""Work that is repeated for hours: its memory stays flat, and thousands of cases need hardly more than hundreds."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scans import checkpoint, mask, scan, store

from lrnet_edu import SliceViewer, distance_map
from lrnet_edu.commands import predict
from lrnet_edu.config import Config
from lrnet_edu.data.patches import PatchBatches
from lrnet_edu.data.study import open_study
from lrnet_edu.mnet_training import train_run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")]

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

    def check(self) -> None:
        """Fail if there is more than ``LIMIT`` between the first fifth and the end."""
        assert len(self.found) == 10
        assert max(self.found[2:]) - self.found[1] < LIMIT, self.found


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
        memory.check()


def test_two_hundred_epochs(tmp_path: Path) -> None:
    """An epoch is what lies between two validations."""
    study, memory = open_study(folder_of_scans(tmp_path / "scans", 5, (24, 40, 36)), CONFIG), Memory(200)
    config = replace(CONFIG, steps=400, validate_every=2)
    train_run(study, config, tmp_path / "run", device="cpu", log=lambda row: memory())
    memory.check()


def test_maps_and_viewers() -> None:
    maps, viewers, rng, truth = Memory(1000), Memory(200), np.random.default_rng(0), mask((40, 48, 48))
    for n in range(1000):
        distance_map(rng.random((48, 48, 48)) < 0.2, ("O-DM", "I-DM", "NI-DM", "SNI-DM")[n % 4])
        maps()
    for n in range(200):
        viewer = SliceViewer(scan(truth.shape, seed=n), overlays={"truth": truth}, heat={"NI-DM": distance_map(truth)})
        assert len(viewer._repr_mimebundle_()["text/html"]) > 50_000
        viewers()
    maps.check()
    viewers.check()


def test_two_hundred_predicted_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, segment = Memory(200), predict._segment

    def segment_and_measure(*arguments: object) -> None:
        segment(*arguments)  # type: ignore[arg-type]
        memory()

    monkeypatch.setattr(predict, "_segment", segment_and_measure)
    run, scans = checkpoint(tmp_path / "run.safetensors"), folder_of_scans(tmp_path / "scans", 200, (24, 40, 36))
    assert len(predict.predict_files(run, scans, tmp_path / "out", probabilities=True, device="cpu")) == 200
    memory.check()


def test_two_thousand_cases(tmp_path: Path) -> None:
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
    assert peaks[2000] < peaks[200] + 30
