"""One process at a time, whatever became of the one before; a full disk; and what is removed, and what is not."""

from __future__ import annotations

import errno
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock, Timeout
from scans import lits

from lrnet_edu.commands.maps import write_map
from lrnet_edu.commands.predict import predict_files
from lrnet_edu.config import Config, PretrainConfig
from lrnet_edu.data import nifti
from lrnet_edu.data.cache import cache_cases
from lrnet_edu.data.cases import find_cases
from lrnet_edu.data.preprocessing import Preprocessing
from lrnet_edu.data.study import open_study
from lrnet_edu.lrnet_training import pretrain_run
from lrnet_edu.mnet_training import train_run
from lrnet_edu.study.runs import reproduce
from lrnet_edu.support import files as writing
from lrnet_edu.support.checkpoints import load_checkpoint, save_checkpoint
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import folder_lock, file_lock, release, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


# ---- files that another program has open, on Windows ------------------------------------------------------------


def held(monkeypatch: pytest.MonkeyPatch, name: str, times: float) -> None:
    """Renaming to a file of this name is refused so often, as Windows does while another program has it open."""
    rename, refused = os.replace, []

    def replace(source: Path, target: Path) -> None:
        if target.name == name and len(refused) < times:
            refused.append(target)
            raise PermissionError(errno.EACCES, "Access is denied", str(target))
        rename(source, target)

    monkeypatch.setattr("os.replace", replace)
    monkeypatch.setattr(writing, "_PAUSES", (0, 0, 0))


def test_a_file_that_is_open_for_a_moment_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scores.csv").write_bytes(b"old")
    held(monkeypatch, "scores.csv", times=3)
    write_atomically(tmp_path / "scores.csv", b"new")
    assert (tmp_path / "scores.csv").read_bytes() == b"new"


def test_a_file_that_stays_open_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scores.csv").write_bytes(b"old")
    held(monkeypatch, "scores.csv", times=math.inf)
    with pytest.raises(InputError, match=r"scores\.csv cannot be written \(Access is denied\); close it where it is"):
        write_atomically(tmp_path / "scores.csv", b"new")
    assert contents(tmp_path) == {tmp_path / "scores.csv": b"old"}


def test_a_prepared_case_waits_for_the_virus_scanner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases, settings = find_cases(lits(tmp_path / "scans", range(1))), Preprocessing(1.3, (-200.0, 250.0))
    cached = cache_cases(cases, settings, ((1,),), folder=tmp_path / "first", progress=False)
    held(monkeypatch, cached[0].folder.name, times=2)
    again = cache_cases(cases, settings, ((1,),), folder=tmp_path / "second", progress=False)
    np.testing.assert_array_equal(again[0].image, cached[0].image)


def test_a_training_goes_on_while_a_spreadsheet_shows_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    held(monkeypatch, "log.csv", times=math.inf)
    config = PretrainConfig(steps=4, validate_every=2, cubes=((24, 1),))
    pretrain_run(tmp_path / "run", config=config, device="cpu")
    assert load_checkpoint(tmp_path / "run" / "last.safetensors")[1]["state"]["step"] == 4
    assert capfd.readouterr().err.count("The training goes on, but") == 2


# ---- one process at a time --------------------------------------------------------------------------------------


HOLDER = """
import sys, time
from pathlib import Path
from lrnet_edu.writing import folder_lock
with folder_lock(Path(sys.argv[1])):
    (Path(sys.argv[1]) / ".log.csv.4711.part").write_text("half")
    print("mine", flush=True)
    time.sleep(600)
"""


def test_a_second_process_is_refused_and_a_killed_one_blocks_nobody(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "mine\n"
        with pytest.raises(InputError, match="Another process is writing to"), folder_lock(tmp_path):
            pass
        assert ".log.csv.4711.part" in names(tmp_path)  # it may still be written
        holder.kill()
    assert names(tmp_path) == [".lock", ".log.csv.4711.part"]
    with folder_lock(tmp_path):
        assert names(tmp_path) == [".lock"]
    assert names(tmp_path) == []


def hold_again_and_again(folder: Path) -> tuple[int, int]:
    """For two seconds; how often this process held the lock, and how often another one held it as well."""
    held = shared = 0
    end = time.monotonic() + 2
    while time.monotonic() < end:
        try:
            lock = file_lock(folder / "a.lock", wait=False)
        except Timeout:
            continue
        held += 1
        try:
            (folder / "held").touch(exist_ok=False)
            (folder / "held").unlink()
        except OSError:
            shared += 1
        release(lock)
    return held, shared


def test_a_lock_whose_file_comes_and_goes_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    with get_context("spawn").Pool(2) as pool:
        counts = pool.map(hold_again_and_again, [tmp_path] * 2, chunksize=1)
    assert min(held for held, _ in counts) > 100
    assert [shared for _, shared in counts] == [0, 0]


def test_only_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    inner = tmp_path / "run"
    inner.mkdir()
    for folder in (tmp_path, inner):
        for name in (".a.nii.gz.12.part", ".b.json.7.part", "a.12.part", ".gitignore", ".12.part", ".a.part"):
            (folder / name).touch()
    with folder_lock(tmp_path, "a.nii.gz"), folder_lock(tmp_path, "c"):
        assert ".a.nii.gz.12.part" not in names(tmp_path)
    assert ".b.json.7.part" in names(tmp_path)
    with folder_lock(tmp_path):
        pass
    assert names(tmp_path) == [".12.part", ".a.part", ".gitignore", "a.12.part", "run"]
    assert len(names(inner)) == 6  # somebody else may be at work there


def test_a_folder_in_which_nothing_came_to_be_goes_again(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for folder in (tmp_path / "new" / "run", tmp_path / "old"):
        with pytest.raises(InputError, match="no"), folder_lock(folder):
            raise InputError("no")
    assert names(tmp_path) == ["old"]
    with folder_lock(tmp_path / "new" / "run"):
        write_atomically(tmp_path / "new" / "run" / "a.json", b"{}")
    assert names(tmp_path / "new" / "run") == ["a.json"]


def test_waiting(tmp_path: Path) -> None:
    order, holding = [], threading.Event()

    def other() -> None:
        with folder_lock(tmp_path):
            holding.set()
            time.sleep(0.2)
            order.append("other")

    thread = threading.Thread(target=other)
    thread.start()
    holding.wait()
    with folder_lock(tmp_path, wait=True):
        order.append("this")
    thread.join()
    assert order == ["other", "this"]


@pytest.mark.parametrize("error", [NotImplementedError(), OSError(errno.ENOLCK, "No locks available")])
def test_a_place_that_knows_no_locks_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def unknown(*arguments: Any, **options: Any) -> None:
        raise error

    (tmp_path / ".a.json.7.part").touch()
    monkeypatch.setattr(FileLock, "acquire", unknown)
    with folder_lock(tmp_path):
        write_atomically(tmp_path / "b.json", b"{}")
    assert names(tmp_path) == [".a.json.7.part", "b.json"]  # it may have an owner


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRNET_EDU_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield lits(tmp_path_factory.mktemp("scans"), range(5))


Work = Callable[[Path], object]


TINY = Config(method="dice", features=(4, 8), blocks=(1,), patch_size=(8, 12, 12), steps=2, validate_every=1,
              max_voxels=40_000)  # fmt: skip


@pytest.fixture(scope="module")
def run(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    train_run(open_study(scans, TINY), TINY, folder, device="cpu")
    return folder


@pytest.fixture
def works(scans: Path, run: Path) -> dict[str, Work]:
    """Everything that takes its time and writes to a folder."""
    study, short = open_study(scans, TINY), PretrainConfig(steps=2, validate_every=1)
    return {
        "train": lambda out: train_run(study, TINY, out, device="cpu", resume=True),
        "pretrain": lambda out: pretrain_run(out, config=short, device="cpu", resume=True),
        "reproduce": lambda out: reproduce("table2", scans, out, TINY, seeds=1, device="cpu"),
        "predict": lambda out: predict_files(run, scans, out, device="cpu"),
    }


def test_two_commands_do_not_share_a_folder(works: dict[str, Work], tmp_path: Path) -> None:
    for name, work in works.items():
        out = tmp_path / name
        out.mkdir()
        with FileLock(out / ".lock"):
            before = contents(tmp_path)
            with pytest.raises(InputError, match=f"Another process is writing to .*{name};"):
                work(out)
            assert contents(tmp_path) == before


def test_two_commands_do_not_share_a_file(run: Path, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.nii.gz"
    with FileLock(tmp_path / ".out.nii.gz.lock"):
        before = contents(tmp_path)
        with pytest.raises(InputError, match="Another process is writing to"):
            write_map(scans / "segmentation-0.nii.gz", out)
        with pytest.raises(InputError, match="Another process is writing to"):
            predict_files(run, scans / "volume-0.nii.gz", out, device="cpu")
        assert contents(tmp_path) == before
        write_map(scans / "segmentation-0.nii.gz", tmp_path / "other.nii.gz")  # beside it there is room for others


# ---- a full disk ------------------------------------------------------------------------------------------------


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let the system refuse to write any file beyond so many bytes."""
    resource: Any = pytest.importorskip("resource")  # not on Windows
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def checkpoint(folder: Path, number: int) -> None:
    save_checkpoint(folder / "last.safetensors", {"a": torch.full((5000,), float(number))}, {"step": number})


def volume(folder: Path, number: int) -> None:
    noise = np.random.default_rng(number).normal(size=(10, 20, 20)).astype(np.float32)
    nifti.write(folder / "map.nii.gz", noise, np.eye(4))
    nifti.write(folder / "map.nii", noise, np.eye(4))


def log(folder: Path, number: int) -> None:
    write_atomically(folder / "log.csv", str(number).encode() * 20_000)


@pytest.mark.parametrize("write", [checkpoint, volume, log])
def test_a_file_that_does_not_fit_leaves_the_one_before(tmp_path: Path, write: Callable[[Path, int], None]) -> None:
    write(tmp_path, 1)
    before = contents(tmp_path)
    for size in (0, 100, 4095, 4096, 4097, 10_000):
        with files_up_to(size), pytest.raises(InputError, match=r"cannot be written \(File too large\); choose"):
            write(tmp_path, 2)
        assert contents(tmp_path) == before
    write(tmp_path, 2)
    assert contents(tmp_path).keys() == before.keys()
    assert contents(tmp_path) != before


def test_a_cache_that_does_not_fit_is_whole_or_not_there(scans: Path, tmp_path: Path) -> None:
    """Small arrays too: what C keeps in its buffer is lost without a word when the file is closed."""
    cases, settings = find_cases(scans)[:1], Preprocessing(1.5, None)

    def cached(folder: Path) -> dict[str, bytes]:
        place = cache_cases(cases, settings, ((1,),), folder=folder, workers=1, progress=False)[0].folder
        return {path.name: path.read_bytes() for path in place.iterdir()}

    whole, refused = cached(tmp_path / "whole"), 0
    sizes = sorted({0, 64, 128, 129, *(len(content) + d for content in whole.values() for d in (-1, 0))})
    for size in sizes:
        folder = tmp_path / f"up to {size}"
        with files_up_to(size):
            try:
                assert cached(folder) == whole
            except InputError as error:
                assert "File too large" in str(error)  # noqa: PT017
                assert names(folder) == []
                refused += 1
    assert refused == len(sizes) - 1  # the last one fits


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_training_on_a_full_disk_keeps_its_last_state_and_goes_on(
    works: dict[str, Work], small_disk: Path, tmp_path: Path
) -> None:
    works["train"](tmp_path / "whole")
    needed = sum(path.stat().st_size for path in (tmp_path / "whole").iterdir())
    filler = small_disk / "filler"
    for room in (0, needed // 2, needed + 8_000):  # nothing, some, and all but the second copy of the last file
        filler.write_bytes(bytes(2**20 - room))
        with pytest.raises(InputError, match="No space left on device"):
            works["train"](small_disk / "run")
        for path in (small_disk / "run").glob("*.safetensors"):
            assert load_checkpoint(path)
        assert not list(small_disk.rglob(".*"))
        filler.unlink()
    works["train"](small_disk / "run")
    folders = (tmp_path / "whole", small_disk / "run")
    one, other = (load_checkpoint(folder / "last.safetensors")[0] for folder in folders)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert os.listdir(small_disk) == ["run"]
