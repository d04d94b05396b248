"""Weights on disk: never a pickle, and what is no checkpoint of ours is named."""

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
    "c": torch.randn(4).to(torch.bfloat16),
    "empty": torch.zeros(0, 3),
}
METADATA = {"network": "MNet", "sizes": [1, 2], "nested": {"window": None, "inf": float("inf"), "text": "µ"}}


def test_tensors_and_metadata_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "best.safetensors"
    save_checkpoint(path, TENSORS, METADATA)
    tensors, metadata = load_checkpoint(path)
    assert (metadata, tensors.keys()) == (METADATA, TENSORS.keys())
    for name, tensor in TENSORS.items():
        torch.testing.assert_close(tensors[name], tensor, rtol=0, atol=0)
    if (maps := Path("/proc/self/maps")).exists():  # or Windows could not write the file anew while the tensors live
        assert str(tmp_path) not in maps.read_text("utf-8")


class Malicious:
    """Unpickling it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.marker, "code has run")


@pytest.mark.parametrize("by", [pickle, torch])
def test_a_pickle_is_refused_without_being_opened(tmp_path: Path, by: Any) -> None:
    marker, path = tmp_path / "marker", tmp_path / "best.safetensors"
    with path.open("wb") as file:
        (pickle.dump if by is pickle else torch.save)({"weights": Malicious(marker)}, file)
    with pytest.raises(InputError, match="never opened"):
        load_checkpoint(path)
    assert not marker.exists()
    with path.open("rb") as file:  # the trap works: opened as a pickle it goes off
        pickle.load(file) if by is pickle else torch.load(file, weights_only=False)
    assert marker.exists()


def test_files_that_are_no_checkpoints_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, TENSORS, METADATA)
    whole, others = path.read_bytes(), []
    for metadata in (None, {"format": "pt"}, {"lrnet_edu": "{not JSON"}):
        save_file({"a": torch.zeros(2)}, path, metadata=metadata)
        others.append(path.read_bytes())
    for content in (*(whole[:kept] for kept in (0, 4, 100, -200, -1)), *others):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a checkpoint of lrnet_edu"):
            load_checkpoint(path)
    with pytest.raises(InputError, match="There is no checkpoint"):
        load_checkpoint(tmp_path / "none")
