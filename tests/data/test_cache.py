"""The cache: what is in it, when it is used again, and what an interruption leaves."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lrnet_edu.data import cache
from lrnet_edu.data.cache import cache_cases, cache_root
from lrnet_edu.data.cases import Case, find_cases
from lrnet_edu.data.nifti import read_image, read_mask, spacing_of
from lrnet_edu.data.preprocessing import Preprocessing, prepare
from lrnet_edu.data.study import DataSettings, open_study
from lrnet_edu.support.errors import InputError

SETTINGS = Preprocessing(1.5, None)
LABELS = ((1,), (2,))
AFFINE = np.diag([1.0, 1.2, 2.0, 1.0])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three cases; label 2 is missing in volume-1, label 5 is in volume-3 alone."""
    folder = tmp_path / "data"
    folder.mkdir()
    for n in (1, 2, 3):
        rng = np.random.default_rng(n)
        mask = np.zeros((12, 11, 10), np.uint8)
        mask[2:6, 2:7, 2:7] = 1
        mask[7:10, 5:9, 3:6] = 0 if n == 1 else 2
        mask[0, 0, 0] = 5 if n == 3 else 0
        nib.save(
            nib.Nifti1Image(rng.normal(100, 9, mask.shape).astype("f4"), AFFINE),
            folder / f"volume-{n}.nii.gz",
        )
        nib.save(nib.Nifti1Image(mask, AFFINE), folder / f"segmentation-{n}.nii.gz")
    return folder


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Counts the calls of prepare."""
    calls: list[str] = []

    def counted(*args: Any) -> Any:
        calls.append("prepare")
        return prepare(*args)

    monkeypatch.setattr(cache, "prepare", counted)
    return calls


def run(data: Path, **changes: Any) -> list[cache.CachedCase]:
    options: dict[str, Any] = {"settings": SETTINGS, "labels": LABELS, "workers": 1} | changes
    return cache_cases(find_cases(data), folder=data.parent / "cache", **options)


def folders(data: Path) -> list[str]:
    return sorted(path.name for path in (data.parent / "cache").glob("*"))


def test_holds_what_prepare_returns(data: Path) -> None:
    cached = run(data)
    assert [case.name for case in cached] == ["volume-1", "volume-2", "volume-3"]
    for case, entry in zip(find_cases(data), cached, strict=True):
        assert case.mask is not None
        expected = prepare(read_image(case.image), SETTINGS, read_mask(case.mask), LABELS)
        assert expected.classes is not None
        assert isinstance(entry.image, np.memmap)
        assert isinstance(entry.classes, np.memmap)
        assert (entry.image.dtype, entry.classes.dtype) == (np.float16, np.uint8)
        np.testing.assert_array_equal(entry.image, expected.image.astype(np.float16))
        np.testing.assert_array_equal(entry.classes, expected.classes)
        np.testing.assert_array_equal(entry.affine, expected.affine)
        assert entry.spacing == spacing_of(expected.affine)
        assert len(entry.foreground) == 2
        for k, indices in enumerate(entry.foreground, start=1):
            assert indices.dtype == np.int32
            np.testing.assert_array_equal(indices, np.argwhere(expected.classes == k))
        with pytest.raises(ValueError, match="read-only"):
            entry.image[0] = 0
    assert len(cached[0].foreground[1]) == 0
    assert len(pickle.dumps(cached)) < 2000


def test_nothing_is_computed_twice(data: Path, prepared: list[str]) -> None:
    first = run(data)
    assert len(prepared) == 3
    times = {file: file.stat().st_mtime_ns for file in (data.parent / "cache").rglob("*")}
    assert run(data) == first
    assert len(prepared) == 3
    assert {file: file.stat().st_mtime_ns for file in (data.parent / "cache").rglob("*")} == times


def test_changed_settings_or_files_are_computed_again(data: Path, prepared: list[str]) -> None:
    run(data)
    for changes in ({"settings": Preprocessing(1.6, None)}, {"labels": ((1, 2),)}):
        before = len(prepared)
        run(data, **changes)
        assert len(prepared) == before + 3
    before = len(prepared)
    os.utime(data / "volume-2.nii.gz", ns=(0, 0))
    os.utime(data / "segmentation-3.nii.gz", ns=(0, 0))
    run(data)
    assert len(prepared) == before + 2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interruption_and_a_full_disk_keep_what_is_finished(
    data: Path, prepared: list[str], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    save = cache._save

    def interrupted(path: Path, array: np.ndarray) -> None:
        if len(prepared) == 2 and path.name == "classes.npy":
            path.write_bytes(b"half")
            raise error
        save(path, array)

    with monkeypatch.context() as patch:
        patch.setattr(cache, "_save", interrupted)
        with pytest.raises((InputError, KeyboardInterrupt)) as raised:
            run(data)
    assert isinstance(raised.value, KeyboardInterrupt) or re.search("No space .* LRNET_EDU_CACHE", str(raised.value))
    assert len(folders(data)) == 1
    assert len(run(data)) == 3
    assert len(prepared) == 2 + 2
    assert len(folders(data)) == 3


def test_small_arrays_notice_a_full_disk_too(data: Path) -> None:
    """What C keeps in its buffer is lost without a word when a file is closed."""
    resource: Any = pytest.importorskip("resource")  # not on Windows
    places = [case.folder for case in run(data)]
    largest = max(file.stat().st_size for place in places for file in place.iterdir())
    shutil.rmtree(data.parent / "cache")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 1, before[1]))
    try:
        with pytest.raises(InputError, match=r"File too large.*LRNET_EDU_CACHE"):
            run(data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_a_killed_process_left_is_not_read_and_goes(data: Path) -> None:
    places = [case.folder for case in run(data)]
    half = places[0].rename(places[0].with_name(f"{places[0].name}.part"))
    (half / "image.npy").write_bytes(b"half")
    half.with_name(f".{places[0].name}.lock").touch()
    assert [case.folder for case in run(data)] == places
    assert folders(data) == sorted(place.name for place in places)


def test_processes_share_the_work_and_tell_all_bad_files_together(data: Path, prepared: list[str]) -> None:
    good = (data / "volume-3.nii.gz").read_bytes()
    for name in ("volume-1.nii.gz", "volume-3.nii.gz"):
        (data / name).write_bytes(good[:-200])
    with pytest.raises(InputError, match=r"2 cannot be used: .*volume-.*truncated.*volume-"):
        run(data, workers=2)
    assert prepared == []  # nothing was done in this process
    (made,) = (data.parent / "cache").iterdir()
    by_worker = {path.name: path.read_bytes() for path in made.iterdir()}
    for name in ("volume-1.nii.gz", "volume-3.nii.gz"):
        (data / name).write_bytes(good)
    shutil.rmtree(made)
    assert len(run(data)) == 3
    assert by_worker == {path.name: path.read_bytes() for path in made.iterdir()}


def test_a_label_must_occur_somewhere(data: Path, prepared: list[str]) -> None:
    with pytest.raises(InputError, match=r"Label 3, 4 occurs in no mask.*\(1, 2, 5\)"):
        run(data, labels=((3,), (1, 4)))
    assert prepared == []
    assert folders(data) == []
    assert len(run(data, labels=((5,),))) == 3  # in one case is enough


def test_annotations_beyond_the_body_are_remarked_on(tmp_path: Path) -> None:
    """A body in air, the annotation half in it and half far away."""
    image = np.full((40, 40, 40), -1000, np.float32)
    image[10:30, 10:30, 10:20] = 50
    mask = np.zeros(image.shape, np.uint8)
    mask[12:16, 12:16, 12:14] = mask[35:39, 35:39, 36:38] = 1
    folder = tmp_path / "data"
    folder.mkdir()
    for name, array in {"volume-1": image, "segmentation-1": mask}.items():
        nib.save(nib.Nifti1Image(array.T, np.eye(4)), folder / f"{name}.nii.gz")
    (case,) = run(folder, settings=Preprocessing(1.0, (-200.0, 250.0)), labels=((1,),))
    assert case.remarks == ["Annotated voxels of volume-1 outside the body are left out, 32 of them."]
    assert case.classes.sum() == 32


def test_a_ct_without_a_value_below_zero_is_remarked_on(data: Path) -> None:
    (remark,) = run(data, settings=Preprocessing(3.0, (-200.0, 250.0)))[0].remarks
    assert remark.startswith("volume-1 has no value below 0, and the window begins at -200 HU")
    for window in (None, (0.0, 200.0)):
        assert run(data, settings=Preprocessing(3.0, window))[0].remarks == []


def test_a_segmentation_is_no_scan_to_train_on(data: Path) -> None:
    (data / "volume-1.nii.gz").write_bytes((data / "segmentation-1.nii.gz").read_bytes())
    with pytest.raises(InputError, match=r"volume-1\.nii\.gz is a segmentation"):
        run(data)


def test_bad_cases(data: Path) -> None:
    (data / "segmentation-2.nii.gz").rename(data / "kept.nii.gz")
    with pytest.raises(InputError, match=r"volume-2\.nii\.gz has no segmentation"):
        run(data)
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3), "u1"), AFFINE), data / "segmentation-2.nii.gz")
    with pytest.raises(InputError, match=r"segmentation-2\.nii\.gz has shape"):
        run(data)
    gone = Case("volume-9", data / "volume-9.nii.gz", data / "segmentation-1.nii.gz", None)
    with pytest.raises(InputError, match=r"volume-9\.nii\.gz cannot be found"):
        cache_cases([gone], SETTINGS, LABELS, folder=data.parent / "cache")


def test_the_folder_follows_the_environment(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRNET_EDU_CACHE", str(data.parent / "mine"))
    entry = cache_cases(find_cases(data), SETTINGS, LABELS, workers=1)[0]
    assert entry.folder.parent == data.parent / "mine" / "cases"
    monkeypatch.delenv("LRNET_EDU_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(data.parent / "xdg"))
    monkeypatch.setenv("LOCALAPPDATA", str(data.parent / "local"))
    monkeypatch.setenv("HOME", str(data.parent / "home"))
    for platform, folder in [("linux", "xdg"), ("win32", "local"), ("darwin", "home/Library/Caches")]:
        monkeypatch.setattr(sys, "platform", platform)
        assert cache_root() == data.parent / folder / "lrnet_edu"


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_without_a_home_the_variable_is_named_before_any_work(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs as a user without an entry or with a home that cannot be written."""
    for variable in ("LRNET_EDU_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(variable, raising=False)
    (data / "file").touch()
    for home in (no_home, lambda: data / "file"):
        monkeypatch.setattr(Path, "home", home)
        with pytest.raises(InputError, match=r"(home directory|is a file)\): .* LRNET_EDU_CACHE"):
            open_study(data, DataSettings(label="9"))  # a label that is not there would be told next


def test_reading_needs_neither_torchio_nor_nibabel(data: Path) -> None:
    run(data)
    script = f"""
import sys
sys.modules["torchio"] = sys.modules["nibabel"] = None  # importing them would fail
from pathlib import Path
from lrnet_edu.data.cache import cache_cases
from lrnet_edu.data.cases import find_cases
from lrnet_edu.data.preprocessing import Preprocessing
folder = Path({str(data.parent / "cache")!r})
settings, labels = Preprocessing(1.5, None), ((1,), (2,))
for case in cache_cases(find_cases({str(data)!r}), settings, labels, folder=folder):
    rest = [int((case.classes == k).sum()) - len(indices) for k, indices in enumerate(case.foreground, 1)]
    print(case.image.dtype, rest)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.split("\n") == ["float16 [0, 0]"] * 3 + [""]
