"""Readers and writers: what must hold for every volume and every label choice."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from generated import shapes, symmetries
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scans import with_header
from scipy.spatial.transform import Rotation

from lrnet_edu.data import nifti
from lrnet_edu.support.labels import decode, encode, format_labels, parse_labels

STORED = ["u1", "i1", "<i2", ">i2", "<u2", "<i4", ">i4", "<f4", ">f4", "<f8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Any order and direction of the axes, turned a little, any spacing of a scan, any place."""
    steps = draw(st.tuples(*[st.floats(0.05, 9)] * 3))
    signs = draw(st.tuples(*[st.sampled_from([-1, 1])] * 3))
    turn = Rotation.from_euler("zx", draw(st.tuples(*[st.floats(-0.7, 0.7)] * 2))).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn[draw(st.permutations(range(3)))] * np.array(steps) * signs
    affine[:3, 3] = draw(st.tuples(*[st.floats(-500, 500)] * 3))
    return affine


def volumes(dtype: str) -> st.SearchStrategy[np.ndarray]:
    """(x, y, z) numbers of a type, whole and not below 0 in case they are a mask."""
    return arrays.arrays(dtype, shapes(), elements=st.integers(0, 100))


def store(folder: Path, data: np.ndarray, affine: np.ndarray, *, version: int = 1, name: str = "a.nii") -> Path:
    """Write (x, y, z) by nibabel alone, in the array's own type and byte order."""
    kind = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    header = kind.header_class(endianness=">" if data.dtype.byteorder == ">" else "<")
    header.set_data_dtype(data.dtype)
    nib.save(kind(data, affine, header), folder / name)
    return folder / name


@given(st.sampled_from(STORED).flatmap(volumes), affines(), st.integers(1, 2), st.sampled_from(["a.nii", "a.nii.gz"]))
def test_image_and_mask_are_what_nibabel_reads(
    folder: Path, data: np.ndarray, affine: np.ndarray, version: int, name: str
) -> None:
    path = store(folder, data, affine, version=version, name=name)
    theirs: Any = nib.load(path)
    image, mask = nifti.read_image(path), nifti.read_mask(path)
    for volume, kind in ((image, "f"), (mask, "u")):
        assert volume.data.dtype.kind == kind
        np.testing.assert_array_equal(volume.data, np.asanyarray(theirs.dataobj).T)
        np.testing.assert_array_equal(volume.affine, theirs.affine)
        np.testing.assert_allclose(volume.spacing, theirs.header.get_zooms()[::-1], rtol=1e-4)
    grid = nifti.read_grid(path)
    assert grid.data.shape == image.data.shape
    np.testing.assert_array_equal(grid.affine, image.affine)


@given(volumes("<i2"), st.floats(0.01, 10), st.floats(-100, 100))
def test_the_stored_scale_is_applied(folder: Path, data: np.ndarray, slope: float, offset: float) -> None:
    path = store(folder, data, np.eye(4), name="c.nii")
    path.write_bytes(with_header(path.read_bytes(), scl_slope=slope, scl_inter=offset))
    expected = np.float64(np.float32(slope)) * data.T + np.float64(np.float32(offset))
    np.testing.assert_allclose(nifti.read_image(path).data, expected, rtol=1e-5, atol=1e-4)


@st.composite
def label_choices(draw: st.DrawFn) -> tuple[tuple[int, ...], ...]:
    numbers = draw(st.lists(st.integers(1, 255), min_size=1, max_size=6, unique=True))
    cuts = sorted(draw(st.sets(st.integers(1, len(numbers)))) | {0, len(numbers)})
    return tuple(tuple(numbers[a:b]) for a, b in pairwise(cuts))


@given(labels=label_choices(), data=st.data())
def test_classes_and_numbers(labels: tuple[tuple[int, ...], ...], data: st.DataObject) -> None:
    """Encoding goes voxel by voxel, so it commutes with turns; and decoding it gives each union's first number."""
    assert parse_labels(format_labels(labels)) == labels
    listed = [number for group in labels for number in group]
    mask = data.draw(arrays.arrays(np.uint8, data.draw(shapes()), elements=st.sampled_from([0, *listed]) | st.just(7)))
    classes, move = encode(mask, labels), data.draw(symmetries())
    np.testing.assert_array_equal(encode(move(mask), labels), move(classes))
    first = {number: group[0] for group in labels for number in group}
    expected = np.vectorize(lambda number: first.get(number, 0), otypes=[np.uint8])(mask)
    np.testing.assert_array_equal(decode(classes, labels), expected)
