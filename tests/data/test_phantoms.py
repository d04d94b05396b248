"""Phantoms: the same every time, with the attenuations, noise and proportions of real scans."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from scipy import ndimage

from lrnet_edu.data.phantoms import phantom as phantoms
from lrnet_edu.data.phantoms.canvas import Canvas, cut, join
from lrnet_edu.data.phantoms.phantom import COMMITTED, GRIDS, Phantom, phantom, sample, write_samples
from lrnet_edu.support.errors import InputError

SEEDS = (0, 4, 9, 18)
SMALL = {"shape": (24, 64, 64), "spacing": (8.0, 5.4, 5.4)}  # quick, the whole body still in view


@pytest.fixture(scope="module")
def cases() -> list[Phantom]:
    return [phantom(seed, shape=GRIDS[0][0], spacing=GRIDS[0][1]) for seed in SEEDS]


def inner_liver(case: Phantom) -> np.ndarray:
    """Voxels (D, H, W) of parenchyma two voxels away from the liver's rim and three from any lesion."""
    near_lesion = ndimage.binary_dilation(case.mask == 2, iterations=3)
    return ndimage.binary_erosion(case.mask > 0, iterations=2) & ~near_lesion


def at(case: Phantom, x: float, y: float, z: float) -> tuple[int, int, int]:
    """The voxel (z, y, x) at a point in RAS mm, found through the affine."""
    i, j, k = np.linalg.solve(case.affine, [x, y, z, 1.0])[:3].round().astype(int)
    return k, j, i


def test_types_and_geometry(cases):
    for case in cases:
        assert case.image.dtype == np.int16
        assert case.mask.dtype == np.uint8
        assert case.image.shape == case.mask.shape == GRIDS[0][0]
        assert set(np.unique(case.mask)) == {0, 1, 2}
        assert case.image.min() == -1000
        assert case.image.max() <= 1500
        corners = case.affine @ np.array([[0, 0, 0, 1], [127, 127, 39, 1]]).T
        np.testing.assert_allclose(corners.sum(1)[:3], 0, atol=1e-9)  # the middle is the origin
        np.testing.assert_allclose(np.diag(case.affine)[:3], case.spacing[::-1])


def test_same_arguments_give_the_same_voxels():
    first, again, other = (phantom(seed, **SMALL) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.mask, again.mask)
    assert (first.image != other.image).mean() > 0.3
    assert (first.mask != other.mask).mean() > 0.005


def test_the_healthy_twin_differs_near_its_lesions_only():
    ill, healthy = (phantom(9, lesions=lesions, **SMALL) for lesions in (True, False))
    assert (ill.mask == 2).any()
    assert not (healthy.mask == 2).any()
    np.testing.assert_array_equal(ill.mask > 0, healthy.mask > 0)
    far = ~ndimage.binary_dilation(ill.mask == 2, np.ones((3, 3, 3)), iterations=3)
    np.testing.assert_array_equal(ill.image[far], healthy.image[far])
    assert (healthy.image - ill.image)[ill.mask == 2].mean() > 15


def test_attenuation_of_liver_and_lesions(cases):
    contrasts = []
    for case in cases:
        liver = case.image[case.mask == 1].mean()
        assert 102 <= liver <= 118
        contrasts.append(case.image[case.mask == 2].mean() - liver)
        assert -60 < contrasts[-1] < -15
    assert -50 <= np.mean(contrasts) <= -20


def test_lesions_of_one_case_differ_in_contrast(cases):
    labels, count = ndimage.label(cases[1].mask == 2)
    sizes = ndimage.sum_labels(labels > 0, labels, range(1, count + 1))
    means = ndimage.mean(cases[1].image, labels, 1 + np.flatnonzero(sizes > 60))
    assert len(means) >= 3
    assert np.ptp(means) > 8


def test_noise_of_homogeneous_liver(cases):
    for case in cases:
        parenchyma = case.image[inner_liver(case)].astype(float)
        middle = parenchyma[parenchyma < np.percentile(parenchyma, 95)]  # the rest is vessels
        assert 9 <= middle.std() <= 20
        # a reconstruction kernel correlates neighbours in a slice: they differ less than in white noise
        inside = inner_liver(case)
        both = inside[:, :, 1:] & inside[:, :, :-1]
        step = np.diff(case.image.astype(float), axis=2)[both]
        assert step.std() < 0.9 * np.sqrt(2) * parenchyma.std()


def test_vessels_shine_in_the_liver(cases):
    for case in cases:
        deep = ndimage.gaussian_filter(case.image.astype(float), 0.7)[inner_liver(case)]
        assert np.percentile(deep, 99.5) > np.median(deep) + 22


def test_organs_lie_where_the_affine_says(cases):
    """RAS: x to the right, y to the front, z to the head; means over a few voxels around each point."""
    expected = {
        "air in front of the body": ((0, 150, 0), -1000, -1000),
        "liver, on the right": ((85, 0, 20), 60, 130),
        "left lung's base, on the left": ((-95, 10, 92), -1000, -600),
        "right lung's base": ((110, 20, 92), -1000, -600),
        "heart": ((-20, 30, 95), 90, 180),
        "vertebra, at the back": ((0, -54, 20), 80, 500),
    }
    for case in cases:
        for name, (point, low, high) in expected.items():
            k, j, i = at(case, *point)
            around = case.image[k, j - 1 : j + 2, i - 1 : i + 2]
            assert low <= around.mean() <= high, name
        z, _, x = (case.affine[:3, :3] @ np.argwhere(case.mask > 0).mean(0)[::-1] + case.affine[:3, 3])[::-1]
        assert x > 25
        assert abs(z) < 30


def test_every_kind_of_tissue_is_there(cases):
    for case in cases:
        smooth = ndimage.uniform_filter(case.image.astype(float), (1, 3, 3))
        outside_liver = smooth[ndimage.binary_erosion(case.mask == 0, iterations=3)]
        for low, high in ((-900, -750), (-115, -85), (40, 70), (110, 125), (150, 190), (250, 500)):
            assert ((outside_liver > low) & (outside_liver < high)).mean() > 0.002, (low, high)


def test_the_surrounding_air_is_free_of_noise(cases):
    for case in cases:
        np.testing.assert_array_equal(case.image[:, :6, 40:90], -1000)
        np.testing.assert_array_equal(case.image[:, -4:, :], -1000)


def test_fractions(cases):
    lesion = [np.mean(case.mask == 2) for case in cases]
    for case in cases:
        assert 0.06 <= np.mean(case.mask > 0) <= 0.15
    assert 0.003 <= np.mean(lesion) <= 0.012
    assert max(lesion) < 0.02


def test_lesions_are_many_and_of_very_different_sizes(cases):
    sizes = []
    for case in cases:
        labels, count = ndimage.label(case.mask == 2, np.ones((3, 3, 3)))
        assert 1 <= count <= 15
        sizes += ndimage.sum_labels(labels > 0, labels, range(1, count + 1)).tolist()
    millilitres = np.array(sizes) * np.prod(cases[0].spacing) / 1000
    assert millilitres.min() < 1.5
    assert millilitres.max() > 30
    assert (millilitres > 1.5).sum() >= 8


def test_large_lesions_have_no_holes(cases):
    for case in cases:
        lesion = case.mask == 2
        holes = ndimage.binary_fill_holes(lesion) & ~lesion
        assert holes.sum() <= 0.002 * lesion.sum()


def test_the_liver_is_one_organ(cases):
    for case in cases:
        labels, count = ndimage.label(case.mask > 0)
        sizes = ndimage.sum_labels(labels > 0, labels, range(1, count + 1))
        assert sizes.max() > 0.98 * sizes.sum()
        assert 1.1e6 < sizes.sum() * np.prod(case.spacing) < 2.6e6  # mm^3


def test_a_small_field_of_view_is_a_part_of_the_body():
    case = phantom(1, shape=(16, 32, 24), spacing=(3.0, 3.0, 3.0))
    assert case.image.shape == (16, 32, 24)
    assert (case.mask > 0).any()


def test_ellipsoid_and_tube_are_signed_distances():
    """Against analytic distances: a ball, and a capsule along x."""
    canvas = Canvas((20, 30, 40), (2.0, 2.0, 2.0), np.random.default_rng(0))
    x, y, z = canvas.x, canvas.y, canvas.z
    centre = x[9, 14, 21], y[9, 14, 21], z[9, 14, 21]  # a voxel, where a careless formula gives 0 / 0
    ball = canvas.ellipsoid(centre, (10, 10, 10), turn=(30, 50), jitter=0)
    exact = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2) - 10
    near = exact < 8
    np.testing.assert_allclose(ball[near], exact[near], atol=1e-6)
    tube = canvas.tubes([(np.array([-10.0, 0, 0]), np.array([10.0, 0, 0]), 4.0, 4.0)])
    exact = np.sqrt((np.abs(x) - 10).clip(0) ** 2 + y**2 + z**2) - 4
    near = exact < 4
    np.testing.assert_allclose(tube[near], exact[near], atol=1e-9)


def test_a_turned_ellipsoid_points_where_it_should():
    canvas = Canvas((20, 60, 60), (2.0, 2.0, 2.0), np.random.default_rng(0))
    inside = canvas.ellipsoid((0, 0, 0), (40, 8, 8), turn=(45, 0), jitter=0) < 0
    assert (canvas.x * canvas.y)[inside].mean() > 50  # 45 degrees about z: from +x towards +y


def test_join_and_cut_agree_with_set_operations_away_from_the_crease():
    a, b = np.random.default_rng(0).uniform(-20, 20, (2, 1000))
    clear = np.abs(a - b) > 4
    np.testing.assert_array_equal(join(a, b, 4)[clear], np.minimum(a, b)[clear])
    assert (join(a, b, 4) <= np.minimum(a, b)).all()
    clear = np.abs(a + b - 1) > 4
    np.testing.assert_allclose(cut(a, b, 1, 4)[clear], np.maximum(a, 1 - b)[clear])


def test_noise_has_mean_zero_and_deviation_one():
    canvas = Canvas((30, 40, 40), (3.0, 3.0, 3.0), np.random.default_rng(0))
    fields = np.array([canvas.noise(12.0) for _ in range(20)])
    assert abs(fields.mean()) < 0.05
    assert abs(fields.std() - 1) < 0.05
    assert np.abs(np.diff(fields, axis=1)).mean() < 0.4  # smooth: neighbours 3 mm apart are alike


def test_the_recipes_of_the_samples():
    recipes = list(map(sample, range(COMMITTED)))
    assert [recipe.seed for recipe in recipes] == list(range(20))
    assert 2 <= sum(not recipe.lesions for recipe in recipes) <= 3
    assert len({recipe.spacing for recipe in recipes}) >= 4
    for recipe in recipes:
        depth, in_plane = recipe.spacing[0], recipe.spacing[1]
        assert depth > in_plane
        assert 185 <= depth * recipe.shape[0] <= 205  # mm of body, so that the liver is in view


def test_write_samples(tmp_path, monkeypatch):
    """Layout of LiTS, equal bytes each time, and, turned back to RAS by nibabel, the phantom itself."""
    nib = pytest.importorskip("nibabel")
    few = [sample(n)._replace(**SMALL) for n in range(9)]
    monkeypatch.setattr(phantoms, "sample", few.__getitem__)
    paths, again = write_samples(tmp_path / "a", 9), write_samples(tmp_path / "b", 9)
    names = [f"{kind}-{n}.nii.gz" for n in range(9) for kind in ("volume", "segmentation")]
    assert [path.name for path in paths] == names
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(names)
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(paths, again, strict=True))
    for recipe, volume, segmentation in zip(few, paths[::2], paths[1::2], strict=True):
        case = phantom(recipe.seed, lesions=recipe.lesions, **SMALL)
        for path, data in ((volume, case.image), (segmentation, case.mask)):
            stored = nib.load(path)
            assert nib.aff2axcodes(stored.affine) == tuple(recipe.axes)
            assert stored.get_data_dtype() == data.dtype
            canonical = nib.as_closest_canonical(stored)
            np.testing.assert_array_equal(np.asarray(canonical.dataobj).T, data)
            np.testing.assert_allclose(canonical.affine, case.affine, atol=1e-4)
    assert len({recipe.axes for recipe in few}) == 3


@pytest.mark.parametrize("damage", ["scan", "mask", "moved", "text"])
def test_write_samples_replaces_nothing(tmp_path, monkeypatch, damage):
    """What is there already stays, sample or not; another file of such a name stops it before anything is written."""
    nib = pytest.importorskip("nibabel")
    few = [sample(n)._replace(**SMALL) for n in range(3)]
    monkeypatch.setattr(phantoms, "sample", few.__getitem__)
    paths = write_samples(tmp_path, 3)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}
    assert write_samples(tmp_path, 3) == paths
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}

    mine = tmp_path / f"{'segmentation' if damage == 'mask' else 'volume'}-2.nii.gz"
    for path in paths:
        path.unlink()
    stored = nib.Nifti1Image.from_bytes(gzip.decompress(before[mine][0]))
    data, affine = np.asarray(stored.dataobj).copy(), stored.affine.copy()
    data[0, 0, 0] += damage != "moved"
    affine[0, 3] += damage == "moved"
    nib.save(nib.Nifti1Image(data, affine), mine)
    if damage == "text":
        mine.write_text("my notes")
    content = mine.read_bytes()
    with pytest.raises(InputError, match=r"-2\.nii\.gz exists and is no sample"):
        write_samples(tmp_path, 3)
    assert list(tmp_path.iterdir()) == [mine]
    assert mine.read_bytes() == content
