"""The cache: what is in it, when it is used again, and what an interruption leaves."""

import os
import pickle
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from scans import lits, mask, store, told

from lrnet_edu.data import cache
from lrnet_edu.data.cache import cache_cases, cache_root
from lrnet_edu.data.cases import find_cases
from lrnet_edu.data.nifti import read_image, read_mask, spacing_of
from lrnet_edu.data.preprocessing import Preprocessing, prepare
from lrnet_edu.data.study import DataSettings, open_study

SETTINGS = Preprocessing(1.5, None)
LABELS = ((1,), (2,))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three cases; label 2 is in volume-3 alone."""
    folder, classes = lits(tmp_path / "data", (1, 2, 3)), mask()
    classes[9:12, 12:16, 11:15] = 2
    store(folder / "segmentation-3.nii.gz", classes)
    return folder


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The arguments of all calls of prepare."""
    calls: list[Any] = []
    monkeypatch.setattr(cache, "prepare", lambda *args: calls.append(args) or prepare(*args))
    return calls


def run(data: Path, **changes: Any) -> list[cache.CachedCase]:
    options: dict[str, Any] = {"settings": SETTINGS, "labels": LABELS, "workers": 1} | changes
    return cache_cases(find_cases(data), folder=data.parent / "cache", **options)


def test_holds_what_prepare_returns(data: Path) -> None:
    cached = run(data, workers=2)
    for case, entry in zip(find_cases(data), cached, strict=True):
        image, segmentation = case.pair
        expected = prepare(read_image(image), SETTINGS, read_mask(segmentation), LABELS)
        assert (entry.name, entry.spacing) == (case.name, spacing_of(expected.affine))
        foreground = [np.argwhere(expected.classes == k) for k in (1, 2)]
        kept = [entry.image, entry.classes, entry.affine, *entry.foreground]
        for ours, theirs in zip(kept, [expected.image, expected.classes, expected.affine, *foreground], strict=True):
            np.testing.assert_array_equal(ours, theirs.astype(ours.dtype))
        assert (entry.image.dtype, entry.image.flags.writeable) == (np.float16, False)
    assert [len(case.foreground[1]) > 0 for case in cached] == [False, False, True]
    assert len(pickle.dumps(cached)) < 2000


def test_only_changed_settings_or_files_are_computed_again(data: Path, prepared: list[Any]) -> None:
    first = run(data)
    assert run(data) == first
    assert len(prepared) == 3
    run(data, settings=Preprocessing(1.6, None))
    run(data, labels=((1, 2),))
    assert len(prepared) == 9
    os.utime(data / "volume-2.nii.gz", ns=(0, 0))
    os.utime(data / "segmentation-3.nii.gz", ns=(0, 0))
    run(data)
    assert len(prepared) == 11


def test_an_interruption_keeps_what_is_finished(
    data: Path, prepared: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    save = np.save

    def interrupted(file: Any, array: np.ndarray) -> None:
        if len(prepared) == 2 and array.dtype == np.uint8:
            raise KeyboardInterrupt
        save(file, array)

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(data)
    places = [case.folder for case in run(data)]
    assert len(prepared) == 2 + 2
    assert set((data.parent / "cache").iterdir()) == set(places)  # and nothing half done


def test_processes_share_the_work_and_tell_all_bad_files_together(data: Path, prepared: list[Any]) -> None:
    good = (data / "volume-3.nii.gz").read_bytes()
    for name in ("volume-1.nii.gz", "volume-3.nii.gz"):
        (data / name).write_bytes(good[:-200])
    told(lambda: run(data, workers=2), "2 cannot be used: ", "volume-1", "volume-3", "truncated")
    assert prepared == []  # nothing was done in this process
    assert len(list((data.parent / "cache").iterdir())) == 1


def test_bad_cases(data: Path) -> None:
    segmentation = data / "segmentation-2.nii.gz"
    segmentation.rename(data / "kept.nii.gz")
    told(lambda: run(data), "volume-2.nii.gz has no segmentation")
    store(segmentation, np.ones((3, 3, 3), np.uint8))
    told(lambda: run(data), "segmentation-2.nii.gz has shape")
    for path in (segmentation, data / "volume-2.nii.gz"):
        shutil.copy(data / "kept.nii.gz", path)
    told(lambda: run(data), "volume-2.nii.gz is a segmentation")


def test_without_a_home_the_variable_is_named_before_any_work(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs as a user without an entry, or with a home that cannot be written."""
    for variable in ("LRNET_EDU_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Path, "home", Mock(side_effect=[RuntimeError("no home directory"), data / "volume-1.nii.gz"]))
    for words in ("no home directory", "is a file"):
        # A label that is not there would be told next.
        told(lambda: open_study(data, DataSettings(label="9")), words, "environment variable LRNET_EDU_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(data))
    assert cache_root() == data / "lrnet_edu"
    monkeypatch.setenv("LRNET_EDU_CACHE", str(data / "mine"))
    assert cache_root() == data / "mine"
