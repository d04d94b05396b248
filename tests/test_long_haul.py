"""Work that is repeated for hours: its memory stays flat."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from scans import checkpoint, mask, scan, store

from lrnet_edu.commands import predict
from lrnet_edu.config import Config
from lrnet_edu.data.study import open_study
from lrnet_edu.mnet_training import train_run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")]

LIMIT = 8.0  # MB that may come between the first fifth and the end; a result kept every time would be 12 and more
CONFIG = Config(method="mapdice+lrnet", features=(4, 8), blocks=(1,), patch_size=(16, 24, 24), steps=400,
                validate_every=2, max_voxels=60_000, one_cycle=True)  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRNET_EDU_CACHE", str(tmp_path / "cache"))


def megabytes() -> float:
    """Memory of this process, without what is free already."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


class Memory:
    """Measured at every call; it may not grow between the first fifth of 200 and the end."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def __call__(self, *_: object) -> None:
        self.found.append(megabytes())

    def check(self) -> None:
        assert len(self.found) == 200
        assert max(self.found[40:]) - self.found[39] < LIMIT, self.found


def folder_of_scans(folder: Path, number: int, shape: tuple[int, int, int]) -> Path:
    """Cases in the LiTS layout, no two alike."""
    for n in range(number):
        store(folder / f"volume-{n}.nii.gz", scan(shape, seed=n))
        store(folder / f"segmentation-{n}.nii.gz", mask(shape))
    return folder


def test_two_hundred_epochs(tmp_path: Path) -> None:
    """An epoch is what lies between two validations."""
    study, memory = open_study(folder_of_scans(tmp_path / "scans", 5, (24, 40, 36)), CONFIG), Memory()
    train_run(study, CONFIG, tmp_path / "run", device="cpu", log=memory)
    memory.check()


def test_two_hundred_predicted_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, segment = Memory(), predict._segment
    monkeypatch.setattr(predict, "_segment", lambda *arguments: memory(segment(*arguments)))
    run, scans = checkpoint(tmp_path / "run.safetensors"), folder_of_scans(tmp_path / "scans", 200, (24, 40, 36))
    assert len(predict.predict_files(run, scans, tmp_path / "out", probabilities=True, device="cpu")) == 200
    memory.check()
