"""500 damaged NIfTI files against everything that reads one: a sentence, or what nibabel reads."""

from __future__ import annotations

import gzip
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from bounds import files_in, outcome
from damaged_nifti import FAULTS, damaged, file_of
from scans import checkpoint

from lrnet_edu.commands.evaluate import evaluate_folders
from lrnet_edu.commands.maps import write_map
from lrnet_edu.commands.predict import predict_files
from lrnet_edu.data import nifti
from lrnet_edu.data.cache import cache_cases
from lrnet_edu.data.cases import Case
from lrnet_edu.data.preprocessing import Preprocessing, choose_preprocessing
from lrnet_edu.distance_maps import distance_map

Check = Callable[[Path, bytes, Path], str]
CT, MR = Preprocessing(1.5, (-200.0, 250.0)), Preprocessing(1.5, None)


def packed(content: bytes) -> bool:
    return content[:2] == b"\x1f\x8b"


def by_nibabel(content: bytes) -> Any:
    """The image that nibabel reads from the bytes."""
    plain = bytearray(gzip.decompress(content) if packed(content) else content)
    first = plain[344:347] == b"n+1"
    plain[348 if first else 540] = 0  # "no extensions": nibabel gives up where they are damaged, and we skip them
    return (nib.Nifti1Image if first else nib.Nifti2Image).from_bytes(bytes(plain))


# ---- everything that reads a file: each returns "" or the sentence that refused it -------------------------------


def read(path: Path, content: bytes, scratch: Path) -> str:
    """Image, mask and header; what is read is what nibabel reads."""
    image, refused = outcome(lambda: nifti.read_image(path), path)
    if image is not None:
        theirs = by_nibabel(content)
        expected = np.asanyarray(theirs.dataobj).reshape(theirs.shape[:3]).T
        np.testing.assert_array_equal(image.data, expected.astype(np.float32))
        np.testing.assert_allclose(image.affine, theirs.affine, rtol=0, atol=1e-12)
        grid, _ = outcome(lambda: nifti.read_grid(path), path)
        assert grid.data.shape == image.data.shape
    mask, _ = outcome(lambda: nifti.read_mask(path), path)
    if mask is not None:
        assert image is not None
        np.testing.assert_allclose(mask.data.astype(np.float32), image.data, rtol=1e-6, atol=1e-3)
    return refused


def maps(path: Path, content: bytes, scratch: Path) -> str:
    """`lrnet-edu maps`: the file of a map, or no file."""
    out = scratch / "map.nii.gz"
    _, refused = outcome(lambda: write_map(path, out, spacing_aware=True), path)
    if refused:
        assert files_in(scratch) == {}
        return refused
    source, written = nifti.read_mask(path), nifti.read_image(out)
    np.testing.assert_array_equal(written.data, distance_map(source.data, spacing=source.spacing))
    assert nifti.same_grid(written, source)
    assert list(files_in(scratch)) == [out.name]
    return ""


def predict(path: Path, content: bytes, scratch: Path) -> str:
    """`lrnet-edu predict`: labels on the grid of the scan, or no file."""
    model, out = path.parent / "m.safetensors", scratch / "labels.nii.gz"
    _, refused = outcome(lambda: predict_files(model, path, out, probabilities=True, device="cpu"), path)
    if refused:
        assert files_in(scratch) == {}
        return refused
    labels, source = nifti.read_mask(out), nifti.read_image(path)
    assert labels.data.max() <= 1
    assert nifti.same_grid(labels, source)
    assert len(files_in(scratch)) == 2
    assert np.isfinite(nifti.read_image(scratch / "labels_probability-1.nii.gz").data).all()
    return ""


def evaluate(path: Path, content: bytes, scratch: Path) -> str:
    """`lrnet-edu evaluate`: as the prediction and as the reference of a healthy file, and of itself."""
    refused = ""
    for number, (prediction, reference) in enumerate([(path, path), (path, None), (None, path)]):
        folders = []
        for side, source in (("p", prediction), ("r", reference)):
            place = scratch / f"{number}{side}" / f"a{''.join(path.suffixes)}"
            place.parent.mkdir()
            place.write_bytes(source.read_bytes() if source else file_of((healthy_mask() > 0).astype("u1")))
            folders.append(place)
        target = scratch / f"{number}.json"
        found, refused = outcome(
            lambda f=folders, t=target: evaluate_folders(f[0].parent, f[1].parent, label="1", json_file=t), *folders,
            *(folder.parent for folder in folders),
        )  # fmt: skip
        assert target.exists() == (not refused)
        if found and number == 0:
            assert found["mean"]["DC"] == 1
    return refused


def healthy_mask() -> np.ndarray:
    return np.pad(np.ones((3, 4, 2)), [(2, 4), (3, 3), (1, 5)])


def prepare(path: Path, content: bytes, scratch: Path) -> str:
    """What `train` does first: as a scan with itself as mask, and beside a healthy scan, as CT and as MR."""
    known, scan = path.parent / "healthy.nii", path.parent / "scan.nii"
    refused = ""
    for image, mask, settings in ((path, path, CT), (path, known, CT), (path, known, MR), (scan, path, CT)):
        case = Case("a", image, mask, None)
        cached, refused = outcome(
            lambda c=case, s=settings: cache_cases([c], s, ((1,),), folder=scratch, workers=1),
            path, known, "occurs in no mask",
        )  # fmt: skip
        if cached:
            assert np.isfinite(cached[0].image).all()
            assert cached[0].image.shape == cached[0].classes.shape
        assert not list(scratch.rglob("*.part"))
    chosen, _ = outcome(lambda: choose_preprocessing([Case("a", path, None, None)], max_voxels=10_000), path)
    assert chosen is None or 0 < chosen.spacing < np.inf
    return refused


def keep(path: Path, content: bytes, scratch: Path) -> str:
    """As an existing output: whatever it is, it is not this command's, and stays."""
    _, refused = outcome(lambda: write_map(path.parent / "healthy.nii", path), path)
    assert refused
    assert path.read_bytes() == content
    return ""


CHECKS: list[Check] = [read, maps, predict, evaluate, prepare, keep]


# ---- the tests --------------------------------------------------------------------------------------------------


@contextmanager
def files(folder: Path, seeds: Iterable[int]) -> Iterator[Iterator[tuple[int, str, Path, bytes]]]:
    """Each damaged file in turn, in a folder with a healthy mask and scan and a trained network."""
    (folder / "healthy.nii").write_bytes(file_of(healthy_mask().astype("<i2")))
    noise = np.random.default_rng(0).normal(0, 99, healthy_mask().shape)
    (folder / "scan.nii").write_bytes(file_of(noise.astype("<i2")))
    checkpoint(folder / "m.safetensors")

    def one_by_one() -> Iterator[tuple[int, str, Path, bytes]]:
        for seed in seeds:
            fault, content = damaged(seed)
            path = folder / (f"scan{seed}.nii" + (".gz" if packed(content) else ""))
            path.write_bytes(content)
            yield seed, fault, path, content
            path.unlink()

    yield one_by_one()


def check_all(folder: Path, seeds: Iterable[int]) -> Counter[str]:
    """Every check on every file; how many files were refused by each check, and read."""
    counts: Counter[str] = Counter()
    failures = []
    scratch = folder / "scratch"
    with files(folder, seeds) as damaged_files:
        for seed, fault, path, content in damaged_files:
            for check in CHECKS:
                scratch.mkdir()
                try:
                    refused = check(path, content, scratch)
                    counts[f"{check.__name__}: {'refused' if refused else 'done'}"] += 1
                except BaseException as error:
                    if isinstance(error, KeyboardInterrupt):
                        raise
                    trace = "".join(traceback.format_exception(error, limit=-4))
                    failures.append(f"seed {seed}, {fault}, {check.__name__}: {trace}")
                shutil.rmtree(scratch)
    assert not failures, "\n".join([f"{len(failures)} failures", *failures])
    return counts


def test_a_sample(tmp_path: Path) -> None:
    counts = check_all(tmp_path, range(2 * len(FAULTS)))
    assert counts["read: refused"] > len(FAULTS)
    assert counts["read: done"] > 5
    assert counts["prepare: done"] > 0


@pytest.mark.slow
def test_all_500(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    counts = check_all(tmp_path, range(500))
    for name, number in sorted(counts.items()):
        record_property(name, number)
