"""Damaged files against everything that reads one: a sentence that names the file, or sound work."""

import gzip
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scans import checkpoint, lits, lrnet_checkpoint, mask, scan, store, with_header

from lrnet_edu.commands.evaluate import evaluate_folders
from lrnet_edu.commands.maps import write_map
from lrnet_edu.commands.predict import predict_files
from lrnet_edu.data import nifti
from lrnet_edu.data.cache import cache_cases
from lrnet_edu.data.cases import Case, find_cases
from lrnet_edu.data.preprocessing import Preprocessing
from lrnet_edu.data.study import read_split
from lrnet_edu.support.checkpoints import load_checkpoint, save_checkpoint
from lrnet_edu.support.errors import InputError
from lrnet_edu.trained import load_lrnet, load_mnet

Rng = np.random.Generator
VOXELS, SETTINGS = 352, Preprocessing(1.5, None)
ODD_FLOATS = [0.0, -1.0, 1e-45, 5e3, 1e30, np.nan, np.inf, -np.inf]
ODD: list[Any] = [None, True, -1, 10**30, 1.5, float("nan"), "", "\ud800", "x" * 5000, "../a", [], [[]], {"a": []}]


def tried(work: Callable[[], Any], *names: Path) -> Any:
    """What the work returns, or None and one sentence that names one of the files; any other exception is a failure."""
    try:
        return work()
    except InputError as error:
        said = str(error)
    assert said.endswith("."), said
    assert not re.search(r"\n|[.!?] [A-Z]", said), said
    assert len(said) < 1000, said
    assert any(str(name) in said for name in names), said
    return None


def noise(content: bytes, rng: Rng, start: int, stop: int, most: int) -> bytes:
    noisy = bytearray(content)
    for position in rng.integers(start, min(stop, len(content)), rng.integers(1, most + 1)):
        noisy[position] = rng.integers(256)
    return bytes(noisy)


FAULTS: list[Callable[[bytes, Rng], bytes]] = [
    lambda content, rng: content,
    lambda content, rng: content[: rng.integers(len(content))],
    lambda content, rng: gzip.compress(content)[: rng.integers(2, 200)],
    lambda content, rng: noise(gzip.compress(content), rng, 2, 10**6, 3),
    lambda content, rng: noise(content, rng, 0, VOXELS, 8),
    lambda content, rng: noise(content, rng, VOXELS, 10**6, 50),
    lambda content, rng: with_header(content, dim=rng.choice([-1, 0, 1, 3, 255, 32767], 8)),
    lambda content, rng: with_header(content, dim=[3, 30_000, 30_000, 30_000, 1, 1, 1, 1]),
    lambda content, rng: with_header(content, datatype=rng.choice([0, 1, 32, 64, 128, 512, 2304, 77, -4])),
    lambda content, rng: with_header(content, srow_x=[10.0 ** rng.integers(-40, 39), 0, 0, rng.choice(ODD_FLOATS)]),
    lambda content, rng: with_header(content, sform_code=0, pixdim=10.0 ** rng.integers(-40, 39, 8)),
    lambda content, rng: with_header(content, vox_offset=rng.choice([-400, 0, 7, 360.5, 1e15, np.nan])),
    lambda content, rng: with_header(content, scl_slope=rng.choice(ODD_FLOATS), scl_inter=rng.choice(ODD_FLOATS)),
    lambda content, rng: rng.bytes(rng.integers(1, 2000)),
]  # fmt: skip


@pytest.mark.parametrize("rounds", [2, pytest.param(30, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_damaged_images(tmp_path: Path, rounds: int) -> None:
    """Read, mapped, segmented, scored and prepared; what is read is what nibabel reads."""
    trained, healthy = checkpoint(tmp_path / "m.safetensors"), store(tmp_path / "a" / "x.nii", mask())
    bad, out, counts = tmp_path / "b" / "x.nii", tmp_path / "out", [0, 0]
    bad.parent.mkdir()
    cache = partial(cache_cases, [Case("x", bad, healthy, None)], SETTINGS, ((1,),), folder=tmp_path / "c", workers=1)
    works = {
        "map.nii": partial(write_map, bad, out / "map.nii"),
        "p.nii": partial(predict_files, trained, bad, out / "p.nii", device="cpu"),
        "s.json": partial(evaluate_folders, bad.parent, healthy.parent, label="1", json_file=out / "s.json"),
    }
    for seed in range(rounds * len(FAULTS)):
        whole = store(tmp_path / "whole.nii", [mask(), scan(), mask().astype("f4")][seed % 3]).read_bytes()
        bad.write_bytes(FAULTS[seed % len(FAULTS)](whole, np.random.default_rng(seed)))
        image, truth = tried(partial(nifti.read_image, bad), bad), tried(partial(nifti.read_mask, bad), bad)
        if image is not None and bad.read_bytes()[:2] != b"\x1f\x8b":
            expected = np.asarray(nib.load(bad).dataobj, "f4").reshape(image.data.T.shape).T
            np.testing.assert_array_equal(image.data, expected)
        for name, work in works.items():
            tried(work, bad, bad.parent)
            written = list(out.glob("*"))
            assert [path.name for path in written] in ([], [name])
            counts[bool(written)] += 1
            for path in written:
                path.unlink()
        cached = tried(cache, bad, healthy)
        assert cached is None or np.isfinite(cached[0].image).all()
        assert not list(tmp_path.rglob("*.part"))
        assert truth is None or image is not None
    assert min(counts) > rounds


def changed(value: Any, rng: Rng) -> Any:
    """A JSON value with one part replaced by something odd, or taken away."""
    inner, last = {0: value}, 0
    while isinstance(inner[last], dict | list) and inner[last] and (inner[last] is value or rng.random() < 0.7):
        inner = inner[last]
        last = list(inner)[rng.integers(len(inner))] if isinstance(inner, dict) else int(rng.integers(len(inner)))
    if rng.random() < 0.2:
        del inner[last]
    else:
        inner[last] = ODD[rng.integers(len(ODD))]
    return value


def damage(path: Path, whole: bytes, rng: Rng) -> None:
    """Spoil a JSON or a safetensors file: a part of it is odd, or some bytes are wrong."""
    path.write_bytes(whole)
    if rng.random() < 0.4:
        path.write_bytes([whole[: rng.integers(len(whole))], noise(whole, rng, 0, 10**6, 3), b"null"][rng.integers(3)])
    elif path.suffix == ".json":
        path.write_text(json.dumps(changed(json.loads(whole), rng)), "utf-8")
    else:
        tensors, facts = load_checkpoint(path)
        save_checkpoint(path, tensors, changed(facts, rng))


@pytest.mark.parametrize("rounds", [40, pytest.param(500, marks=pytest.mark.slow)])
def test_damaged_settings_and_weights(tmp_path: Path, rounds: int) -> None:
    data, names = lits(tmp_path / "data", [1, 2]), ["volume-1", "volume-2", "volume-3"]
    listing = [{"image": f"./volume-{n}.nii.gz", "label": f"./segmentation-{n}.nii.gz"} for n in (1, 2)]
    split = {"train": names[:1], "validation": names[1:2], "test": names[2:]}
    sound = {
        checkpoint(tmp_path / "m.safetensors"): load_mnet,
        lrnet_checkpoint(tmp_path / "l.safetensors", "NI-DM"): load_lrnet,
        tmp_path / "split.json": lambda path: read_split(path, names),
        data / "dataset.json": lambda path: find_cases(path.parent),
    }
    (tmp_path / "split.json").write_text(json.dumps(split))
    (data / "dataset.json").write_text(json.dumps({"modality": {"0": "CT"}, "training": listing}))
    contents, counts = {path: path.read_bytes() for path in sound}, dict.fromkeys(sound, 0)
    for path, read in sound.items():
        assert read(path)
        for seed in range(rounds):
            damage(path, contents[path], np.random.default_rng(seed))
            counts[path] += tried(lambda read=read, path=path: read(path), path, data) is None
    assert min(counts.values()) > rounds / 5
