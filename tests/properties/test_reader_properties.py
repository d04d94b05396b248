"""Readers and writers: what must hold for every volume and every label choice."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from generated import shapes
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
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


@given(
    data=st.sampled_from(STORED).flatmap(lambda dtype: arrays.arrays(dtype, shapes(), elements=st.integers(0, 100))),
    affine=affines(), kind=st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]),
    name=st.sampled_from(["a.nii", "a.nii.gz"]),
)  # fmt: skip
def test_image_and_mask_are_what_nibabel_reads(
    folder: Path, data: np.ndarray, affine: np.ndarray, kind: Any, name: str
) -> None:
    """Of data (x, y, z) in any type and byte order, whole numbers that may be labels."""
    header = kind.header_class(endianness=">" if data.dtype.byteorder == ">" else "<")
    header.set_data_dtype(data.dtype)
    nib.save(kind(data, affine, header), folder / name)
    theirs: Any = nib.load(folder / name)
    image, mask, grid = (read(folder / name) for read in (nifti.read_image, nifti.read_mask, nifti.read_grid))
    for volume, letter in ((image, "f"), (mask, "u")):
        assert volume.data.dtype.kind == letter
        np.testing.assert_array_equal(volume.data, np.asanyarray(theirs.dataobj).T)
        np.testing.assert_array_equal(volume.affine, theirs.affine)
        np.testing.assert_allclose(volume.spacing, theirs.header.get_zooms()[::-1], rtol=1e-4)
    assert grid.data.shape == image.data.shape
    np.testing.assert_array_equal(grid.affine, image.affine)


@st.composite
def label_choices(draw: st.DrawFn) -> tuple[tuple[int, ...], ...]:
    numbers = draw(st.lists(st.integers(1, 255), min_size=1, max_size=6, unique=True))
    cuts = sorted(draw(st.sets(st.integers(1, len(numbers)))) | {0, len(numbers)})
    return tuple(tuple(numbers[a:b]) for a, b in pairwise(cuts))


@given(labels=label_choices(), data=st.data())
def test_classes_and_numbers(labels: tuple[tuple[int, ...], ...], data: st.DataObject) -> None:
    """A number becomes its object's place in the list, and that the object's first number."""
    assert parse_labels(format_labels(labels)) == labels
    places = {number: k for k, group in enumerate(labels, start=1) for number in group}
    mask = data.draw(arrays.arrays(np.uint8, data.draw(shapes()), elements=st.sampled_from([0, 7, *places])))
    classes = np.vectorize(lambda number: places.get(number, 0), otypes=[np.uint8])(mask)
    np.testing.assert_array_equal(encode(mask, labels), classes)
    first = np.array([0, *(group[0] for group in labels)])
    np.testing.assert_array_equal(decode(classes, labels), first[classes])
