"""Preprocessing and the way back, against scipy, analytic shapes and the orientations of files."""

import itertools
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scans import store
from scipy import ndimage
from scipy.spatial.transform import Rotation

from lrnet_edu.data import preprocessing
from lrnet_edu.data.cases import Case
from lrnet_edu.data.nifti import Volume, spacing_of
from lrnet_edu.data.preprocessing import CT_WINDOW, Preprocessing, back_to_original, effective_range, prepare
from lrnet_edu.metrics import dice
from lrnet_edu.support.errors import InputError

MR = Preprocessing(1.5, None)
CT = Preprocessing(2.0, CT_WINDOW)
SHAPE = (14, 30, 36)  # (D, H, W)
SPACING = (3.0, 1.1, 0.9)


def make_affine(spacing: tuple[float, float, float], turn: np.ndarray | None = None) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if turn is None else turn) @ np.diag(spacing[::-1])
    affine[:3, 3] = (11.0, -7.0, 100.0)
    return affine


MM = make_affine((1.0, 1.0, 1.0))
OBLIQUE = make_affine(SPACING, Rotation.from_euler("xyz", (0.2, -0.1, 0.3)).as_matrix())
SHEARED = make_affine(SPACING) + np.array([[0] * 4, [0, 0, 0.8, 0], [0] * 4, [0] * 4])
ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def points(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """RAS millimetres of every voxel, (D, H, W, 3)."""
    return nib.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1)[..., ::-1])


def scan(affine: np.ndarray, shape: tuple[int, int, int] = SHAPE) -> tuple[Volume, Volume]:
    """A smooth positive image and a mask with two balls, 1 of radius 9 mm and 2 of radius 6 mm."""
    place = points(shape, affine)
    centre = place.mean((0, 1, 2))
    image = 50 + 20 * np.sin(place[..., 0] / 6) + 10 * np.cos(place[..., 1] / 5) + place[..., 2] / 4
    mask = np.zeros(shape, np.uint8)
    mask[np.linalg.norm(place - centre - [4, 3, -2], axis=-1) < 9] = 1
    mask[np.linalg.norm(place - centre - [-8, -6, 8], axis=-1) < 6] = 2
    return Volume(image.astype(np.float32), affine), Volume(mask, affine)


def interpolated(values: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], target: np.ndarray) -> np.ndarray:
    """By scipy: the values (D, H, W) at the millimetres of another grid."""
    indices = (points(shape, target) - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T  # (x, y, z)
    return ndimage.map_coordinates(values, indices[..., ::-1].transpose(3, 0, 1, 2), order=1, mode="nearest")


def reoriented(volume: Volume, axes: tuple[int, ...], flips: tuple[int, ...]) -> Volume:
    """The same volume with its file axes in another order and direction, by nibabel."""
    image = nib.Nifti1Image(volume.data.T, volume.affine).as_reoriented(np.array([axes, flips]).T)
    return Volume(np.asanyarray(image.dataobj).T, image.affine)


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS[1::7])  # seven of 48, each axis order among them
def test_orientation_of_the_file_does_not_matter(axes: tuple[int, ...], flips: tuple[int, ...]) -> None:
    image, mask = scan(OBLIQUE)
    stored = reoriented(image, axes, flips)
    expected = prepare(image, MR, mask, ((1,), (2,)))
    prepared = prepare(stored, MR, reoriented(mask, axes, flips), ((1,), (2,)))
    assert nib.aff2axcodes(prepared.affine) == ("R", "A", "S")
    np.testing.assert_allclose(prepared.affine, expected.affine, atol=1e-9)
    np.testing.assert_allclose(prepared.image, expected.image, atol=1e-4)
    np.testing.assert_array_equal(prepared.classes, expected.classes)

    soft = np.random.default_rng(0).random((3, *expected.image.shape), np.float32)
    there, _ = back_to_original(soft, expected.affine, image)
    back, _ = back_to_original(soft, prepared.affine, stored)
    theirs = reoriented(Volume(there, image.affine), axes, flips)
    assert np.mean(back != theirs.data) < 1e-4  # rounding may decide a tie otherwise


def test_the_grid_is_isotropic_and_covers_the_volume() -> None:
    prepared = prepare(scan(OBLIQUE)[0], MR)
    np.testing.assert_allclose(spacing_of(prepared.affine), (1.5, 1.5, 1.5))
    excess = np.array(prepared.image.shape) * 1.5 - np.array(SHAPE) * SPACING
    assert ((excess >= -0.01) & (excess < 1.5)).all()
    new, old = points(prepared.image.shape, prepared.affine), points(SHAPE, OBLIQUE)
    np.testing.assert_allclose(new.mean((0, 1, 2)), old.mean((0, 1, 2)), atol=1e-6)


@pytest.mark.parametrize("spacing", [1.0, 1.7, 0.6])
@pytest.mark.parametrize("affine", [OBLIQUE, SHEARED], ids=["oblique", "sheared"])
def test_image_and_masks_are_interpolated_linearly(affine: np.ndarray, spacing: float) -> None:
    """Against scipy at the same millimetres. The image is smoothed on a coarser grid; masks go class by class."""
    affine = affine @ np.diag([1.0, 0.7, 0.5, 1])  # steps of about 0.9, 0.8 and 1.5 mm
    mask = np.zeros((14, 24, 22), np.uint8)
    mask[5:9, 7:12, 6:10], mask[6:8, 12:15, 8:13] = 1, 2
    mask[9:, 20:, :5], mask[8:10, 18:23, 3:9] = 2, 1  # at the border
    image = Volume(np.random.default_rng(0).random(mask.shape).astype(np.float32), affine)
    image.data[0, 0, 0] = -1  # the one voxel that is not above the minimum: nothing is cropped
    prepared = prepare(image, Preprocessing(spacing, None), Volume(mask, affine), ((1,), (2,)))
    grid = prepared.classes.shape, prepared.affine
    shares = np.stack([interpolated((mask == k) * 1.0, affine, *grid) for k in (0, 1, 2)])
    ordered = np.sort(shares, axis=0)
    clear = ordered[2] - ordered[1] > 2e-3
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(prepared.classes[clear], shares.argmax(axis=0)[clear])
    if spacing == 0.6:
        values = interpolated(image.data, affine, *grid)
        np.testing.assert_allclose(prepared.image, (values - values.mean()) / values.std(), atol=2e-3)


def test_downsampling_keeps_slopes_and_averages_noise() -> None:
    ramp = points((40, 40, 40), MM) @ [1.0, 2.0, -1.0]
    low, high = ramp.min(), ramp.max()
    prepared = prepare(Volume((ramp - low).astype(np.float32), MM), Preprocessing(2.5, (0.0, high - low)))
    expected = (points(prepared.image.shape, prepared.affine) @ [1.0, 2.0, -1.0] - low) / (high - low)
    inner = (slice(2, -2),) * 3
    np.testing.assert_allclose(prepared.image[inner], expected[inner], atol=1e-3)
    noise = np.random.default_rng(0).normal(0.5, 0.1, (40, 40, 40)).astype(np.float32)
    assert prepare(Volume(noise, MM), Preprocessing(2.5, (0.0, 1.0))).image.std() < 0.05


def test_window_and_standardisation() -> None:
    values = np.random.default_rng(0).uniform(-1000, 1000, (8, 8, 8)).astype(np.float32)
    ct, mr = (prepare(Volume(values, MM), Preprocessing(1.0, window)).image for window in (CT_WINDOW, None))
    np.testing.assert_allclose(ct, np.clip((values + 200) / 450, 0, 1), atol=1e-4)
    np.testing.assert_allclose([mr.mean(), mr.std()], [0, 1], atol=1e-5)
    assert (prepare(Volume(np.full((8, 8, 8), 7, np.float32), MM), MR).image == 0).all()


def test_small_lesions_survive_a_coarse_grid() -> None:
    mask = np.zeros((30, 30, 30), np.uint8)
    lesions = [(3, 3, 3), (4, 15, 26), (14, 14, 14), (22, 7, 19), (29, 29, 29), (0, 29, 0)]
    mask[tuple(np.transpose(lesions))] = 2
    mask[20:29, 18:27, 4:13] = 1  # a large object of another class
    prepared = prepare(Volume(mask.astype("f4"), MM), Preprocessing(3.1, None), Volume(mask, MM), ((1,), (2,)))
    assert ndimage.label(prepared.classes == 2, np.ones((3, 3, 3)))[1] == len(lesions)
    places = points(prepared.classes.shape, prepared.affine)[prepared.classes == 2]
    for z, y, x in lesions:
        assert np.abs(places - (MM @ [x, y, z, 1])[:3]).max(axis=1).min() <= 3.1 / 2 + 0.01


def test_thousands_of_specks_take_no_more_than_the_voxels() -> None:
    """Each of them was once looked for in all of the object's voxels: sixteen seconds here."""
    mask = np.zeros((90, 130, 130), np.uint8)
    mask[20:70, 20:110, 20:110] = 1
    mask[tuple(np.random.default_rng(0).integers(0, mask.shape, (4000, 3)).T)] = 1
    start = time.process_time()
    prepare(Volume(mask.astype("f4"), MM), Preprocessing(3.0, None), Volume(mask, MM), ((1,),))
    assert time.process_time() - start < 5


def body_scan(legs: bool = False) -> np.ndarray:
    """Air, a body or two legs, a thin table under them and a hot pixel: (D, H, W)."""
    image = np.full((20, 120, 140), -1000, np.float32)
    image[:, 40:95, 25:115] = 40
    image[:, :, 63:77] = -1000 if legs else image[:, :, 63:77]
    image[:, 105, 20:120], image[3, 3, 3] = 100, 3000
    return image


@pytest.mark.parametrize("step", [3.0, 1.0])
@pytest.mark.parametrize("legs", [False, True])
def test_effective_range_of_a_ct(step: float, legs: bool) -> None:
    z, y, x = effective_range(body_scan(legs), (step, step, step), True)
    assert (z.start, z.stop) == (0, 20)
    for margin in (40 - y.start, y.stop - 95, 25 - x.start, x.stop - 115):
        assert 5 <= margin * step <= 5 + 2 * 4  # the search looks every 4 mm


def test_effective_range_of_an_mr() -> None:
    image = np.zeros((10, 20, 30), np.float32)
    image[2:7, 5:19, 8:12] = np.random.default_rng(0).random((5, 14, 4)) + 0.1
    assert effective_range(image, SPACING, False) == (slice(2, 7), slice(5, 19), slice(8, 12))
    for is_ct in (True, False):  # where nothing stands out, everything
        assert effective_range(image * 0, SPACING, is_ct) == (slice(0, 10), slice(0, 20), slice(0, 30))


def test_a_prediction_is_background_outside_the_effective_range() -> None:
    image = Volume(body_scan(), make_affine((3.0, 3.0, 3.0)))
    prepared = prepare(image, CT)
    soft = np.stack([np.zeros(prepared.image.shape, np.float32), np.ones(prepared.image.shape, np.float32)])
    classes, probabilities = back_to_original(soft, prepared.affine, image, keep_probabilities=True)
    expected = np.zeros(image.data.shape, np.uint8)
    expected[effective_range(image.data, image.spacing, True)] = 1
    assert expected.mean() < 0.5
    np.testing.assert_array_equal(classes, expected)
    np.testing.assert_allclose(probabilities, [1 - expected, expected], atol=1e-6)


@pytest.mark.parametrize("affine", [OBLIQUE, SHEARED], ids=["oblique", "sheared"])
def test_the_way_back_is_linear_interpolation_and_the_largest_share(affine: np.ndarray) -> None:
    image, _ = scan(affine)
    grid = prepare(image, MR)
    soft = np.random.default_rng(0).random((2, *grid.image.shape), np.float32)
    classes, probabilities = back_to_original(soft, grid.affine, image, keep_probabilities=True)
    expected = [interpolated(given, grid.affine, SHAPE, affine) for given in soft]
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    np.testing.assert_array_equal(classes, np.argmax(probabilities, axis=0))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_thin_volumes(depth: int) -> None:
    """Also with axes that run the other way: of one with a single voxel NumPy keeps the negative stride."""
    turned = [reoriented(one, (0, 1, 2), (-1, -1, -1)) for one in scan(make_affine(SPACING), (depth, 30, 36))]
    image, mask = (Volume(one.data.copy(), one.affine) for one in turned)
    prepared = prepare(image, MR, mask, ((1,),))
    assert prepared.image.shape[0] == 2 * depth
    assert np.isfinite(prepared.image).all()
    shares = np.stack([prepared.classes == 0, prepared.classes == 1]).astype(np.float32)
    assert dice(back_to_original(shares, prepared.affine, image)[0], mask.data == 1) > 0.95


def stored(path: Path, shape: tuple[int, ...], spacing: tuple[float, float, float], dark: int, modality: Any) -> Case:
    """A case of which the first tenth has one value and the rest is 40."""
    data = np.full(shape, 40, np.int16)
    data[: max(1, shape[0] // 10)] = dark
    return Case(path.name, store(path, data, make_affine(spacing)), None, modality)


def test_spacing_is_the_median_made_coarser_for_size(tmp_path: Path) -> None:
    grids = (((10, 20, 20), (4.0, 1.0, 1.0)), ((10, 20, 20), (1.0, 1.0, 1.0)), ((40, 40, 40), (3.0, 1.5, 1.5)))
    # On average 1.587, 1 and 1.890 mm; 16 000, 4 000 and 432 000 mm3.
    cases = [stored(tmp_path / f"{i}.nii", *grid, -1000, None) for i, grid in enumerate(grids)]
    choose = preprocessing.choose_preprocessing
    assert choose(cases, max_voxels=10**9) == Preprocessing(1.59, CT_WINDOW)
    assert choose(cases[1:2], max_voxels=10**9).spacing == 1.0
    assert choose(cases, max_voxels=250).spacing == pytest.approx(4.0)  # 16 000 / 4^3 = 250
    assert choose(cases, max_voxels=300).spacing == 3.77  # 3.764 rounded up


@pytest.mark.parametrize(
    ("darkest", "modality", "window"),
    [([-1000], None, CT_WINDOW), ([-150], None, None), ([-1000, 0, -1000], None, CT_WINDOW),
     ([0, -1000, 0], None, None), ([0], "CT", CT_WINDOW), ([-1000], "MR", None)],
)  # fmt: skip
def test_ct_is_told_by_the_data_set_or_by_air(tmp_path: Path, darkest: list[int], modality: Any, window: Any) -> None:
    cases = [stored(tmp_path / f"{i}.nii", (10, 8, 8), (1, 1, 1), dark, modality) for i, dark in enumerate(darkest)]
    assert preprocessing.choose_preprocessing(cases, max_voxels=10**6).window == window
    given = preprocessing.choose_preprocessing(cases, max_voxels=10**6, window=(-100, 400))
    assert given.window == (-100.0, 400.0)
    with pytest.raises(InputError, match="window"):
        Preprocessing(1.0, (400.0, -100.0))
