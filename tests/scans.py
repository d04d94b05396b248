"""Small scans, masks and an untrained M-Net, for the tests of what works on files."""

from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from lrnet_edu.data.cache import CachedCase
from lrnet_edu.networks import LRNet, MNet
from lrnet_edu.support.checkpoints import save_checkpoint
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.labels import parse_labels
from lrnet_edu.trained import lrnet_metadata

AFFINE = np.array([[-1.5, 0, 0, 30], [0, -1.0, 0, 40], [0, 0, 2.0, -50], [0, 0, 0, 1.0]])
SHAPE = (14, 20, 18)  # (z, y, x)


def told(work: Callable[[], object], *words: str) -> str:
    """The one sentence of an InputError, which holds these words."""
    with pytest.raises(InputError) as caught:
        work()
    said = str(caught.value)
    assert said.endswith(".")
    assert "\n" not in said
    assert [word for word in words if word not in said] == []
    return said


def store(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """Write (z, y, x) data by nibabel alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data.T, affine), path)
    return path


def load(path: Path) -> np.ndarray:
    """The (z, y, x) data of a file, by nibabel alone."""
    return np.asarray(nib.load(path).dataobj).T


def with_header(content: bytes, **fields: object) -> bytes:
    """A NIfTI file of which only the header was changed."""
    header = nib.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        with np.errstate(all="ignore"):
            header[name] = value
    return header.binaryblock + content[348:]


def scan(shape: Sequence[int] = SHAPE, seed: int = 0) -> np.ndarray:
    """An int16 CT: a noisy body in air, with a brighter ball that lies off its middle."""
    place = np.indices(shape)
    size = np.array(shape)[:, None, None, None]
    body = (((place - size / 2) / (0.45 * size)) ** 2).sum(0) < 1
    noise = np.random.default_rng(seed).normal(0, 15, shape)
    return np.where(body, 40 + 80 * mask(shape) + noise, -1000 + noise).astype(np.int16)


def mask(shape: Sequence[int] = SHAPE, label: int = 1) -> np.ndarray:
    """The ball of :func:`scan` as uint8."""
    size = np.array(shape)[:, None, None, None]
    return (label * ((((np.indices(shape) - 0.4 * size) / (0.2 * size)) ** 2).sum(0) < 1)).astype(np.uint8)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lits(folder: Path, numbers: Sequence[int], label: int = 1) -> Path:
    """Write cases in the LiTS layout."""
    for number in numbers:
        store(folder / f"volume-{number}.nii.gz", scan(seed=number))
        store(folder / f"segmentation-{number}.nii.gz", mask(label=label))
    return folder


def prepared_case(folder: Path, classes: np.ndarray, image: np.ndarray | None = None) -> CachedCase:
    """A case of classes 1 and 2 as the cache keeps it; by default the image shows the classes themselves."""
    folder.mkdir()
    np.save(folder / "image.npy", (classes if image is None else image).astype(np.float32))
    np.save(folder / "classes.npy", classes.astype(np.uint8))
    for c in (1, 2):
        np.save(folder / f"foreground-{c:03d}.npy", np.argwhere(classes == c).astype(np.int32))
    return CachedCase(folder.name, folder)


def checkpoint(path: Path, label: str = "1") -> Path:
    """An untrained M-Net as `train` would store it."""
    torch.manual_seed(0)
    classes = len(parse_labels(label)) + 1
    mnet = MNet(1, classes, features=(4, 8), blocks=(1,))
    facts = {
        "network": "MNet",
        "mnet": {"in_channels": 1, "classes": classes, "features": [4, 8], "blocks": [1]},
        "label": label,
        "method": "dice",
        "patch_size": [8, 16, 16],
        "preprocessing": {"spacing": 1.5, "window": [-200.0, 250.0]},
    }
    save_checkpoint(path, {f"mnet.{name}": tensor for name, tensor in mnet.state_dict().items()}, facts)
    return path


def lrnet_checkpoint(path: Path, kind: str, lrnet: LRNet | None = None) -> Path:
    """An LR-Net, untrained if none is given, as `pretrain` would store it."""
    lrnet = lrnet or LRNet(kind)
    tensors = {f"lrnet.{name}": tensor for name, tensor in lrnet.state_dict().items()}
    save_checkpoint(path, tensors, lrnet_metadata(lrnet))
    return path
