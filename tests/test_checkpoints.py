"""Weights on disk: whole or not at all, and never a pickle."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lrnet_edu.support.checkpoints import load_checkpoint, save_checkpoint
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import write_atomically

TENSORS = {
    "a.weight": torch.randn(3, 2, 4).transpose(0, 2),  # not contiguous
    "a.step": torch.tensor(7.0),
    "b": torch.arange(5),
    "c": torch.randn(4).to(torch.bfloat16),
    "empty": torch.zeros(0, 3),
}
FACTS = {"network": "MNet", "sizes": [1, 2], "nested": {"window": None, "inf": float("inf"), "text": "µ"}}


def test_tensors_and_facts_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "best.safetensors"
    save_checkpoint(path, TENSORS, FACTS)
    tensors, facts = load_checkpoint(path)
    assert facts == FACTS
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not list what is mapped")
def test_loaded_tensors_do_not_hold_the_file_open(tmp_path: Path) -> None:
    """Or Windows could not write it anew while they live."""
    save_checkpoint(tmp_path / "last.safetensors", TENSORS, FACTS)
    tensors, _ = load_checkpoint(tmp_path / "last.safetensors")
    assert tensors
    assert str(tmp_path) not in Path("/proc/self/maps").read_text("utf-8")


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_checkpoint(tmp_path / name, TENSORS, FACTS)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_previous_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, TENSORS, FACTS)
    before = path.read_bytes()

    def fail(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(os, call, fail)
    expected = InputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as raised:
        save_checkpoint(path, {"a": torch.zeros(1)}, {})
    if expected is InputError:
        assert "No space left on device" in str(raised.value)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["last.safetensors"]


def test_a_reader_finds_the_old_file_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    write_atomically(path, b"old")
    replace, seen = os.replace, []

    def look_before_and_after(source: Path, target: Path) -> None:
        seen.append(path.read_bytes())
        replace(source, target)
        seen.append(path.read_bytes())

    monkeypatch.setattr(os, "replace", look_before_and_after)
    write_atomically(path, b"new content")
    assert seen == [b"old", b"new content"]


@pytest.mark.parametrize("place", ["file/best.safetensors", "file/deeper/best.safetensors", "folder"])
def test_a_place_that_cannot_be_written(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_atomically(tmp_path / place, b"content")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "mine"


class Malicious:
    """Unpickling it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.marker, "code has run")


@pytest.mark.parametrize("name", ["best.safetensors", "model.pt", "model.pth"])
@pytest.mark.parametrize("write", ["pickle", "torch"])
def test_a_pickle_is_refused_without_being_opened(tmp_path: Path, name: str, write: str) -> None:
    marker, path = tmp_path / "marker", tmp_path / name
    if write == "pickle":
        path.write_bytes(pickle.dumps(Malicious(marker)))
    else:
        torch.save({"weights": Malicious(marker)}, path)
    with pytest.raises(InputError, match="never opened"):
        load_checkpoint(path)
    assert not marker.exists()
    with path.open("rb") as file:  # the trap works: opened as a pickle it goes off
        pickle.load(file) if write == "pickle" else torch.load(file, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("kept", [0, 4, 8, 100, -200, -1])
def test_a_truncated_checkpoint(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, TENSORS, FACTS)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match="not a checkpoint of lrnet_edu"):
        load_checkpoint(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"lrnet_edu": "{not JSON"}])
def test_a_safetensors_file_of_another_program(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(2)}, path, metadata=metadata)
    with pytest.raises(InputError, match="not a checkpoint of lrnet_edu"):
        load_checkpoint(path)


@pytest.mark.parametrize("place", ["nothing.safetensors", "."])
def test_no_file_there(tmp_path: Path, place: str) -> None:
    with pytest.raises(InputError, match="There is no checkpoint"):
        load_checkpoint(tmp_path / place)
