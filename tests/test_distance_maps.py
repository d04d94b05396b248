"""The maps against SciPy's recipe and shapes that can be worked out by hand; which arrays and tensors they take.

Against brute force, for any small mask: tests/properties/test_map_properties.py.
"""

import copy

import numpy as np
import pytest
import torch
from plain_maps import plain_map
from scipy import ndimage

from lrnet_edu.distance_maps import distance_map
from lrnet_edu.kinds import KINDS
from lrnet_edu.support.errors import InputError

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def blobs(shape, fraction, seed):
    """Smooth random objects that the image border cuts."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.2, mode="nearest")
    return field > np.quantile(field, 1 - fraction)


def noise(shape, fraction, seed):
    return np.random.default_rng(seed).random(shape) < fraction


def ball(shape, centre, radius):
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    return sum((x - c) ** 2 for x, c in zip(axes, centre, strict=True)) <= radius**2


# Few objects in much background: at the border, in a corner, and a thread whose box holds the next object.
SCENE = ball((24, 40, 44), (6, 8, 9), 4) | ball((24, 40, 44), (0, 30, 43), 5)
SCENE[23, 39, 0] = SCENE[12, 3:30, 30] = SCENE[10:13, 10, 33:36] = True


@pytest.mark.parametrize(
    ("mask", "connectivity"),
    [(SCENE, None), (SCENE, 6), (blobs((66, 128, 128), 0.5, 3), 6), (noise((9, 70, 70), 0.02, 0), None)],
    ids=["few", "few, by faces", "half", "more components than a byte can number"],
)
def test_equals_scipys_transform_of_the_whole_volume(mask, connectivity, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    spacing = (2.5, 0.8, 0.8)
    for kind in KINDS:
        actual = distance_map(mask, kind, spacing=spacing, connectivity=connectivity)
        expected = plain_map(mask, kind, spacing, connectivity, distances=ndimage.distance_transform_edt)
        np.testing.assert_allclose(actual, expected, atol=1e-5, rtol=1e-5)


# ---- by hand ----------------------------------------------------------------------------------------------------


def test_ball_follows_equation_1():
    """A ball of radius r: D exceeds r - |x| by less than a voxel's diagonal, and phi follows from D."""
    radius, centre = 9.0, (12, 12, 12)
    mask = ball((25, 25, 25), centre, radius)
    axes = np.ogrid[:25, :25, :25]
    depth = radius - np.sqrt(sum((x - c) ** 2 for x, c in zip(axes, centre, strict=True)))
    d, phi = distance_map(mask, "O-DM"), distance_map(mask)
    assert np.all((d - depth)[mask] > 0)
    assert np.all((d - depth)[mask] < np.sqrt(3))
    deepest = np.sqrt(82)  # the centre: (9, 1, 0) away lies the nearest voxel that is further than 9
    assert d[centre] == pytest.approx(deepest)
    np.testing.assert_allclose(phi[mask], (deepest + 1 - d[mask]) / deepest, atol=1e-6)
    assert np.all(phi[mask & ~ndimage.binary_erosion(mask)] == 1)


def test_a_box_in_mm():
    """3 x 3 x 7 voxels of 2 x 1 x 1 mm: the deepest voxel lies 2 mm from the faces in y."""
    mask = np.zeros((7, 7, 11), bool)
    mask[2:5, 2:5, 2:9] = True
    maps = {kind: distance_map(mask, kind, spacing=(2, 1, 1)) for kind in KINDS}
    middle, y_border, z_border = (3, 3, 5), (3, 2, 5), (2, 3, 5)
    assert [maps["O-DM"][v] for v in (middle, y_border, z_border)] == [2, 1, 2]  # M = 2 and m = 1
    assert [maps["I-DM"][v] for v in (middle, y_border, z_border)] == [1, 2, 1]
    assert [maps["NI-DM"][v] for v in (middle, y_border, z_border)] == [0.5, 1, 0.5]
    far = np.sqrt(4**2 + 2**2 + 2**2)  # from a corner of the image to the corner of the box: 2 voxels in each axis
    assert maps["SNI-DM"][2, 2, 1] == pytest.approx(-1 / far)
    assert maps["SNI-DM"][0, 0, 0] == -1


@pytest.mark.parametrize("shape", [(1, 2), (5, 8), (1, 1, 2), (1, 5, 6), (6, 5, 7)])
@pytest.mark.parametrize("kind", KINDS)
def test_empty_full_and_a_single_voxel(shape, kind):
    spacing, single = (2.0, 0.5, 0.9)[: len(shape)], np.zeros(shape, bool)
    single[(0,) * len(shape)] = True
    for mask in (np.zeros(shape, bool), np.ones(shape, bool), single):
        expected = plain_map(mask, kind, spacing)
        np.testing.assert_allclose(distance_map(mask, kind, spacing=spacing), expected, atol=1e-5, rtol=1e-5)
    assert np.all(distance_map(np.zeros(shape), kind) == (-1 if kind == "SNI-DM" else 0))
    assert distance_map(single, kind)[single] == 1


def test_the_image_border_is_unknown():
    """A slab that leaves the image on three sides has a border layer on its one inner face only."""
    mask = np.zeros((10, 12), bool)
    mask[:, :5] = True
    np.testing.assert_array_equal(distance_map(mask, "O-DM")[:, :5], np.tile([5, 4, 3, 2, 1], (10, 1)))
    np.testing.assert_allclose(distance_map(mask)[:, :5], np.tile([0.2, 0.4, 0.6, 0.8, 1], (10, 1)), atol=1e-6)


# ---- arrays and tensors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "numbers"), [
    (bool, (1,)), (np.uint8, (1, 255)), (np.int64, (-1, 3)), (">i2", (-1, 256)), (np.float16, (0.25, -2)),
    (np.float64, (1e-300, np.inf)), (torch.uint8, (1, 255)), (torch.int64, (-1, 3)), (torch.bfloat16, (0.25, -2)),
])  # fmt: skip
def test_any_nonzero_number_is_object_and_the_input_stays(dtype, numbers):
    values = np.where(SCENE, np.resize(numbers, SCENE.shape), 0)
    values = torch.from_numpy(values).to(dtype) if isinstance(dtype, torch.dtype) else values.astype(dtype)
    before = copy.deepcopy(values)
    for kind in KINDS:
        np.testing.assert_array_equal(distance_map(values, kind), distance_map(SCENE, kind))
    assert (values == before).all()


def test_memory_layout_does_not_matter():
    strided = np.zeros((48, 40, 132), bool)
    strided[::2, :, ::3] = SCENE
    read_only = SCENE.copy()
    read_only.setflags(write=False)
    for kind in KINDS:
        for layout in (np.asfortranarray(SCENE), np.asfortranarray(SCENE, np.float32), strided[::2, :, ::3], read_only):
            np.testing.assert_array_equal(distance_map(layout, kind), distance_map(SCENE, kind))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(9, 12, 11), (12, 11)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_channel_of_a_batch_is_a_mask_of_its_own(kind, shape, device):
    """(B, C, D, H, W) and (B, C, H, W), with empty and full ones among them, and the tensors without batch."""
    masks = np.stack([blobs(shape, 0.2, 0), np.zeros(shape), blobs(shape, 0.5, 1), np.ones(shape), noise(shape, 0.3, 2),
                      blobs(shape, 0.3, 3)]).reshape(2, 3, *shape)  # fmt: skip
    options = {"spacing": (2.0, 1.0, 1.5)[-len(shape) :], "connectivity": 2 * len(shape)}
    batch = torch.from_numpy(masks).to(device)
    maps = distance_map(batch.requires_grad_(), kind, **options)
    assert (maps.shape, maps.dtype, maps.device) == (batch.shape, torch.float32, batch.device)
    assert not maps.requires_grad
    for place in np.ndindex(2, 3):
        expected = distance_map(masks[place], kind, **options)
        np.testing.assert_array_equal(maps[place].cpu(), expected)
        np.testing.assert_array_equal(distance_map(batch[place], kind, **options).cpu(), expected)


GOOD = np.ones((3, 4, 5), np.float32)
NAN = np.where(np.arange(5) == 1, np.nan, GOOD)


@pytest.mark.parametrize(
    ("mask", "options", "said"),
    [
        (None, {}, "NoneType"), (np.ones((2, 3, 4, 5)), {}, "a torch batch"), (torch.ones([2] * 6), {}, "shape"),
        (np.ones((3, 0, 5)), {}, "has the shape"), (torch.ones(3, 4, dtype=torch.complex64), {}, "complex"),
        (NAN, {}, "NaN"), (torch.from_numpy(NAN).half()[None, None], {}, "NaN"),
        (GOOD, {"kind": "NIDM"}, "NI-DM"),
        (GOOD, {"connectivity": 8}, "6, 18, 26"), (GOOD[0], {"connectivity": 6}, "4, 8"),
        (GOOD[0], {"spacing": (1, 1, 1)}, "2 positive"),
        (torch.ones(1, 1, 3, 4, 5), {"spacing": (1, 1, 1, 1, 1)}, "3 positive"),
    ],
)  # fmt: skip
def test_mistakes_raise_input_error(mask, options, said):
    with pytest.raises(InputError, match=said):
        distance_map(mask, **options)
