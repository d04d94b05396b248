"""Weights on disk: never a pickle, and what is no checkpoint of ours is named."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lrnet_edu.support.checkpoints import load_checkpoint, save_checkpoint
from lrnet_edu.support.errors import InputError

TENSORS = {
    "a.weight": torch.randn(3, 2, 4).transpose(0, 2),  # not contiguous
    "a.step": torch.tensor(7.0),
    "b": torch.arange(5),
    "c": torch.randn(4).to(torch.bfloat16),
    "empty": torch.zeros(0, 3),
}
METADATA = {"network": "MNet", "sizes": [1, 2], "nested": {"window": None, "inf": float("inf"), "text": "µ"}}


def test_tensors_and_metadata_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "best.safetensors"
    save_checkpoint(path, TENSORS, METADATA)
    tensors, metadata = load_checkpoint(path)
    assert metadata == METADATA
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)
    if (maps := Path("/proc/self/maps")).exists():  # or Windows could not write the file anew while the tensors live
        assert str(tmp_path) not in maps.read_text("utf-8")


class Malicious:
    """Unpickling it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.marker, "code has run")


@pytest.mark.parametrize("write", ["pickle", "torch"])
def test_a_pickle_is_refused_without_being_opened(tmp_path: Path, write: str) -> None:
    marker, path = tmp_path / "marker", tmp_path / "best.safetensors"
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


@pytest.mark.parametrize("kept", [0, 4, 100, -200, -1])
def test_a_truncated_checkpoint(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, TENSORS, METADATA)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match="not a checkpoint of lrnet_edu"):
        load_checkpoint(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"lrnet_edu": "{not JSON"}])
def test_a_safetensors_file_of_another_program_and_none_at_all(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(2)}, path, metadata=metadata)
    with pytest.raises(InputError, match="not a checkpoint of lrnet_edu"):
        load_checkpoint(path)
    for missing in (tmp_path, tmp_path / "none.safetensors"):
        with pytest.raises(InputError, match="There is no checkpoint"):
            load_checkpoint(missing)
