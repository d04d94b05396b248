"""Phantoms: the same every time, with the attenuations, noise and proportions of real scans."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from lrnet_edu.data.nifti import read_image, write
from lrnet_edu.data.phantoms.canvas import Canvas
from lrnet_edu.data.phantoms.phantom import COMMITTED, Phantom, phantom_of_set, write_samples
from lrnet_edu.data.phantoms.settings import SETS
from lrnet_edu.support.errors import InputError

SAMPLES = Path(__file__).parents[2] / "data_samples"


@pytest.fixture(scope="module")
def cases() -> list[Phantom]:
    return [phantom_of_set(number, "course") for number in (0, 4, 9, 18)]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick sets; the whole body is still in view."""
    for which, settings in SETS.items():
        monkeypatch.setitem(SETS, which, replace(settings, grids=(((24, 64, 64), (8.0, 5.4, 5.4)),)))


def test_the_number_and_the_set_decide_every_voxel(small: None) -> None:
    first, again, *others = (phantom_of_set(number, which) for number, which in
                             [(1, "study"), (1, "study"), (2, "study"), (1, "course"), (1, "study-b")])  # fmt: skip
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.mask, again.mask)
    for one in others:
        assert (first.image != one.image).mean() > 0.3
        assert (first.mask != one.mask).mean() > 0.005


def test_the_healthy_twin_differs_near_its_lesions_only(small: None) -> None:
    ill, healthy = (phantom_of_set(9, "course", lesions=lesions) for lesions in (True, False))
    assert not (healthy.mask == 2).any()
    np.testing.assert_array_equal(ill.mask > 0, healthy.mask > 0)
    far = ~ndimage.binary_dilation(ill.mask == 2, np.ones((3, 3, 3)), iterations=3)
    np.testing.assert_array_equal(ill.image[far], healthy.image[far])
    assert (healthy.image - ill.image)[ill.mask == 2].mean() > 15


def test_attenuation_and_noise_of_liver_lesions_and_vessels(cases: list[Phantom]) -> None:
    for case in cases:
        liver = case.image[case.mask == 1].mean()
        assert 102 <= liver <= 118
        assert -60 < case.image[case.mask == 2].mean() - liver < -15
        assert 1.1e6 < (case.mask > 0).sum() * np.prod(case.spacing) < 2.6e6  # mm^3
        near_lesion = ndimage.binary_dilation(case.mask == 2, iterations=3)
        inner = ndimage.binary_erosion(case.mask > 0, iterations=2) & ~near_lesion
        parenchyma = case.image[inner].astype(float)
        assert 9 <= parenchyma[parenchyma < np.percentile(parenchyma, 95)].std() <= 20  # the rest is vessels
        smooth = ndimage.gaussian_filter(case.image.astype(float), 0.7)[inner]
        assert np.percentile(smooth, 99.5) > np.median(smooth) + 22


def test_organs_lie_where_the_affine_says(cases: list[Phantom]) -> None:
    """RAS: x to the right, y to the front, z to the head; means over a few voxels around each point."""
    expected = [
        ((0, 150, 0), -1000, -1000),  # air in front of the body
        ((85, 0, 20), 60, 130),  # liver, on the right
        ((-95, 10, 92), -1000, -600),  # left lung's base
        ((0, -54, 20), 80, 500),  # vertebra, at the back
    ]
    for case in cases:
        for point, low, high in expected:
            i, j, k = np.linalg.solve(case.affine, [*point, 1.0])[:3].round().astype(int)
            assert low <= case.image[k, j - 1 : j + 2, i - 1 : i + 2].mean() <= high


def test_ellipsoid_and_tube_are_signed_distances() -> None:
    """Against analytic distances: a ball, and a capsule along x."""
    canvas = Canvas((20, 30, 40), (2.0, 2.0, 2.0), np.ones(3), np.random.default_rng(0))
    x, y, z = canvas.x, canvas.y, canvas.z
    centre = x[9, 14, 21], y[9, 14, 21], z[9, 14, 21]  # a voxel, where a careless formula gives 0 / 0
    ball = canvas.ellipsoid(centre, (10, 10, 10), turn=(30, 50), exact=True)
    exact = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2) - 10
    np.testing.assert_allclose(ball[exact < 8], exact[exact < 8], atol=1e-6)
    tube = canvas.tubes([(np.array([-10.0, 0, 0]), np.array([10.0, 0, 0]), 4.0, 4.0)])
    exact = np.sqrt((np.abs(x) - 10).clip(0) ** 2 + y**2 + z**2) - 4
    np.testing.assert_allclose(tube[exact < 4], exact[exact < 4], atol=1e-9)
    inside = canvas.ellipsoid((0, 0, 0), (28, 8, 8), turn=(45, 0), exact=True) < 0
    assert (x * y)[inside].mean() > 25  # 45 degrees about z: from +x towards +y


def test_the_committed_samples_come_out_equal(tmp_path: Path) -> None:
    """Headers too. One that is stored otherwise is among them, and one that is healthy."""
    for path in write_samples(tmp_path / "3", 1, 3) + write_samples(tmp_path / "5", 1, 5):
        ours, theirs = (nib.Nifti1Image.from_filename(file) for file in (path, SAMPLES / path.name))
        assert ours.header.binaryblock == theirs.header.binaryblock
        np.testing.assert_array_equal(ours.dataobj, theirs.dataobj)
    assert len(list(SAMPLES.glob("volume-*.nii.gz"))) == COMMITTED


def test_samples_are_continued_and_replace_nothing(tmp_path: Path, small: None) -> None:
    before = {path: path.stat().st_mtime_ns for path in write_samples(tmp_path, 2, 3, "study")}
    new = [tmp_path / f"{kind}-{n}.nii.gz" for n in (2, 3, 4) for kind in ("volume", "segmentation")]
    assert write_samples(tmp_path, 3, 2, "study") == new
    assert before == {path: path.stat().st_mtime_ns for path in before}
    for which, words in (("study", "other scans"), ("study-b", "other scans"), ("mine", "choose one of course, study")):
        with pytest.raises(InputError, match=words):
            write_samples(tmp_path, 1, 3, which)


@pytest.mark.parametrize("other", ["volume-2.nii.gz", "volume-131.nii", "dataset.json"])
@pytest.mark.parametrize("moved", [False, True])
def test_samples_do_not_go_among_other_scans(tmp_path: Path, small: None, other: str, moved: bool) -> None:
    """Nothing is written then, whatever number the others have, and if it is a phantom that lies elsewhere."""
    volume = read_image(write_samples(tmp_path, 1, 2)[0])
    write(tmp_path / "a.nii.gz", volume.data + (not moved), volume.affine + moved * np.eye(4, k=3))
    (tmp_path / "a.nii.gz").rename(tmp_path / other)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=r"(no phantom|other scans).*another folder"):
        write_samples(tmp_path, 4)
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}
