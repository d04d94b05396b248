"""The maps against brute force over all pairs of voxels, scipy's recipe, analytic shapes, symmetries."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from scipy import ndimage

from lrnet_edu import distance_maps
from lrnet_edu.distance_maps import HARD_THRESHOLD, KINDS, distance_map
from lrnet_edu.support.errors import InputError

# scipy's number of orthogonal steps for each connectivity
SCIPY_CONNECTIVITY = {4: 1, 8: 2, 6: 1, 18: 2, 26: 3}
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def components(mask, connectivity=None):
    steps = mask.ndim if connectivity is None else SCIPY_CONNECTIVITY[connectivity]
    return ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, steps))


def brute_force_distances(mask, spacing, sources):
    """From every voxel of ``mask`` to the nearest voxel of ``sources``, over all pairs; 0 elsewhere."""
    distances = np.zeros(mask.shape)
    a = np.argwhere(mask) * np.asarray(spacing, float)
    b = np.argwhere(sources) * np.asarray(spacing, float)
    distances[mask] = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1)).min(1)
    return distances


def brute_force_map(mask, kind, spacing=None, connectivity=None, outside="distance"):
    """The definitions, voxel by voxel; for masks that are neither empty nor full."""
    spacing = (1.0,) * mask.ndim if spacing is None else spacing
    result = brute_force_distances(mask, spacing, ~mask)
    if kind == "O-DM":
        return result
    labels, count = components(mask, connectivity)
    for number in range(1, count + 1):
        component = labels == number
        d = result[component]
        inverted = d.max() + d.min() - d
        result[component] = inverted if kind == "I-DM" else inverted / d.max()
    if kind == "SNI-DM":
        d = brute_force_distances(~mask, spacing, mask)[~mask]
        result[~mask] = -d / d.max() if outside == "distance" else -(d.max() + d.min() - d) / d.max()
    return result


def blobs(shape, fraction, seed):
    """Smooth random objects that the image border cuts."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.2, mode="nearest")
    return field > np.quantile(field, 1 - fraction)


def noise(shape, fraction, seed):
    return np.random.default_rng(seed).random(shape) < fraction


def ball(shape, centre, radius, spacing=(1, 1, 1)):
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    return sum(((x - c) * s) ** 2 for x, c, s in zip(axes, centre, spacing, strict=True)) <= radius**2


def sparse_scene(shape=(24, 40, 44)):
    """Few small objects in much background: the case in which each is computed in its own box."""
    scene = ball(shape, (6, 8, 9), 4) | ball(shape, (0, 30, 43), 5) | ball(shape, (18, 25, 20), 3)
    scene[23, 39, 0] = True  # a corner
    scene[12, 3:30, 30] = True  # a thread whose box holds the next object
    scene[12, 12, 31:34] = False
    scene[10:13, 10, 33:36] = True
    return scene


MASKS = [
    *(make((7, 8, 6), fraction, 0) for make in (blobs, noise) for fraction in (0.1, 0.4, 0.8)),
    *(make((11, 13), fraction, 0) for make in (blobs, noise) for fraction in (0.1, 0.4, 0.8)),
    noise((1, 9, 8), 0.5, 1),
    noise((9, 1, 1), 0.5, 2),
    noise((1, 12), 0.5, 3),
]


@pytest.mark.parametrize("mask", MASKS, ids=lambda m: f"{m.shape}-{m.mean():.2f}")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("anisotropic", [False, True])
def test_equals_brute_force(mask, kind, anisotropic):
    spacing = (3.27, 0.98, 0.61)[-mask.ndim :] if anisotropic else None
    for connectivity in (None, *((6, 18, 26) if mask.ndim == 3 else (4, 8))):
        for outside in ("distance", "inverse") if kind == "SNI-DM" else ("distance",):
            options = {"spacing": spacing, "connectivity": connectivity, "outside": outside}
            actual = distance_map(mask, kind, **options)
            assert actual.dtype == np.float32
            np.testing.assert_allclose(actual, brute_force_map(mask, kind, **options), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("connectivity", [None, 6, 18])
@pytest.mark.parametrize("spacing", [None, (5.0, 0.7, 0.8)])
def test_boxes_are_exact(connectivity, spacing):
    mask = sparse_scene()
    labels, count = components(mask)
    assert count >= 5
    assert sum(labels[box].size for box in ndimage.find_objects(labels)) < mask.size / 8  # sparse enough
    for kind, expected in scipy_maps(mask, spacing, connectivity).items():
        actual = distance_map(mask, kind, spacing=spacing, connectivity=connectivity)
        np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.4, 1.0, 3.0)])
def test_distances_do_not_depend_on_what_counts_as_a_component(spacing):
    """Two cubes that touch at one edge: one component of 26, two of 6, but D is the same for both."""
    mask = np.zeros((40, 40, 40), bool)
    mask[10:15, 10:15, 10:15] = mask[15:20, 15:20, 10:15] = True
    assert components(mask, 6)[1] == 2
    expected = brute_force_distances(mask, spacing, ndimage.binary_dilation(mask, np.ones((3, 3, 3))) & ~mask)
    for connectivity in (6, 18, 26):
        actual = distance_map(mask, "O-DM", spacing=spacing, connectivity=connectivity)
        np.testing.assert_allclose(actual, expected, atol=1e-5)


def scipy_maps(mask, spacing=None, connectivity=None):
    """The plain recipe on the whole volume."""
    d = ndimage.distance_transform_edt(mask, sampling=spacing)
    labels, count = components(mask, connectivity)
    index = np.arange(1, count + 1)
    highest = np.concatenate([[1], ndimage.maximum(d, labels, index)])[labels]
    lowest = np.concatenate([[1], ndimage.minimum(d, labels, index)])[labels]
    background = ndimage.distance_transform_edt(~mask, sampling=spacing)
    return {
        "O-DM": d,
        "I-DM": np.where(mask, highest + lowest - d, 0),
        "NI-DM": np.where(mask, (highest + lowest - d) / highest, 0),
        "SNI-DM": np.where(mask, (highest + lowest - d) / highest, -background / background.max()),
    }


@pytest.mark.parametrize("fraction", [0.02, 0.5])
def test_large_volumes_with_threads_equal_the_scipy_recipe(fraction):
    field = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(66, 128, 128)), 3)
    mask = field > np.quantile(field, 1 - fraction)
    spacing = (2.5, 0.8, 0.8)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        actual = {kind: distance_map(mask, kind, spacing=spacing) for kind in KINDS}
    finally:
        torch.set_num_threads(before)
    for kind, expected in scipy_maps(mask, spacing).items():
        np.testing.assert_allclose(actual[kind], expected, atol=1e-5, rtol=1e-5)


def test_ball_follows_equation_1():
    """A ball of radius r: D exceeds r - |x| by less than a voxel's diagonal, and phi follows from D."""
    radius, centre = 9.0, (12, 12, 12)
    mask = ball((25, 25, 25), centre, radius)
    axes = np.ogrid[:25, :25, :25]
    depth = radius - np.sqrt(sum((x - c) ** 2 for x, c in zip(axes, centre, strict=True)))
    d = distance_map(mask, "O-DM")
    assert np.all((d - depth)[mask] > 0)
    assert np.all((d - depth)[mask] < np.sqrt(3))
    deepest = np.sqrt(82)  # the centre: (9, 1, 0) away lies the nearest voxel that is further than 9
    assert d[centre] == pytest.approx(deepest)
    phi = distance_map(mask)
    np.testing.assert_allclose(phi[mask], (deepest + 1 - d[mask]) / deepest, atol=1e-6)
    assert phi[centre] == pytest.approx(1 / deepest)
    border = mask & ~ndimage.binary_erosion(mask)
    assert np.all(phi[border] == 1)


def test_a_box_in_mm_by_hand():
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


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5)])
@pytest.mark.parametrize("kind", KINDS)
def test_empty(shape, kind):
    actual = distance_map(np.zeros(shape), kind)
    assert actual.dtype == np.float32
    assert np.all(actual == (-1 if kind == "SNI-DM" else 0))


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 8), (1, 1, 1), (1, 5, 6), (6, 5, 7)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outside", ["distance", "inverse"])
def test_full_is_surrounded_by_one_layer_of_background(shape, kind, outside):
    spacing = (2.0, 0.5, 0.9)[: len(shape)]
    padded = np.pad(np.ones(shape, bool), 1)
    inner = (slice(1, -1),) * len(shape)
    expected = brute_force_map(padded, kind.removeprefix("S"), spacing)[inner]
    actual = distance_map(np.ones(shape), kind, spacing=spacing, outside=outside)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize("voxel", [(2, 3, 4), (0, 0, 0), (5, 0, 3)])
def test_single_voxel(voxel):
    mask = np.zeros((6, 7, 8))
    mask[voxel] = 1
    for kind in KINDS:
        assert distance_map(mask, kind)[voxel] == 1
        spaced = distance_map(mask, kind, spacing=(3.0, 0.5, 2.0))[voxel]
        assert spaced == (0.5 if kind in ("O-DM", "I-DM") else 1)


def test_a_hole_of_one_voxel_is_background():
    mask = np.ones((5, 6, 7), bool)
    mask[1, 2, 3] = False
    z, y, x = np.ogrid[:5, :6, :7]
    expected = np.sqrt((z - 1) ** 2 + (y - 2) ** 2 + (x - 3) ** 2)
    np.testing.assert_allclose(distance_map(mask, "O-DM"), expected, atol=1e-6)


def test_the_image_border_is_unknown():
    """A slab that leaves the image on three sides has a border layer on its one inner face only."""
    mask = np.zeros((10, 12), bool)
    mask[:, :5] = True
    np.testing.assert_array_equal(distance_map(mask, "O-DM")[:, :5], np.tile([5, 4, 3, 2, 1], (10, 1)))
    np.testing.assert_allclose(distance_map(mask)[:, :5], np.tile([0.2, 0.4, 0.6, 0.8, 1], (10, 1)), atol=1e-6)


@pytest.mark.parametrize("spacing", [None, (3.27, 0.98, 0.98), (0.1, 0.1, 0.1)])
@pytest.mark.parametrize("connectivity", [6, 26])
def test_ranges(spacing, connectivity):
    for seed, fraction in enumerate((0.05, 0.3, 0.7)):
        mask = blobs((20, 22, 24), fraction, seed)
        options = {"spacing": spacing, "connectivity": connectivity}
        phi = distance_map(mask, **options)
        assert phi[mask].min() > 0
        assert phi.max() <= 1  # without tolerance
        assert np.all(phi[~mask] == 0)
        for kind in ("O-DM", "I-DM"):
            values = distance_map(mask, kind, **options)
            assert values[mask].min() >= 0.99999 * min(spacing or (1.0,))
            assert np.all(values[~mask] == 0)
        for outside in ("distance", "inverse"):
            signed = distance_map(mask, "SNI-DM", outside=outside, **options)
            np.testing.assert_allclose(signed[mask], phi[mask], rtol=1e-6)
            assert signed[~mask].max() < 0
            assert signed.min() == -1
        if connectivity == 26:
            labels, count = components(mask)
            assert np.all(ndimage.maximum(phi, labels, range(1, count + 1)) == 1)


def test_hard_threshold_gives_the_mask_back():
    mask = ball((30, 60, 60), (15, 25, 25), 12) | ball((30, 60, 60), (10, 50, 50), 3)
    assert tuple(sorted(HARD_THRESHOLD)) == tuple(sorted(KINDS))
    for kind in KINDS:
        np.testing.assert_array_equal(distance_map(mask, kind) > HARD_THRESHOLD[kind], mask)


@pytest.mark.parametrize("kind", KINDS)
def test_flips_and_rotations_commute(kind):
    mask = sparse_scene()
    spacing = (2.0, 0.5, 1.5)
    expected = distance_map(mask, kind, spacing=spacing)
    for order in itertools.permutations(range(3)):
        turned = distance_map(mask.transpose(order), kind, spacing=[spacing[axis] for axis in order])
        np.testing.assert_allclose(turned, expected.transpose(order), atol=1e-5)
    for axis in range(3):
        flipped = distance_map(np.flip(mask, axis), kind, spacing=spacing)
        np.testing.assert_allclose(flipped, np.flip(expected, axis), atol=1e-5)


@pytest.mark.parametrize("kind", ["O-DM", "I-DM", "NI-DM"])
def test_components_do_not_influence_each_other(kind):
    mask = sparse_scene()
    labels, count = components(mask)
    apart = sum(distance_map(labels == number, kind) for number in range(1, count + 1))
    np.testing.assert_allclose(distance_map(mask, kind), apart, atol=1e-6)


def test_more_components_than_a_byte_can_number():
    mask = np.zeros((100, 100), bool)
    large = np.random.default_rng(0).random((20, 20)) < 0.5
    for row, column in np.ndindex(20, 20):
        reach = 1 if large[row, column] else 0  # 3 x 3 pixels or 1
        y, x = 5 * row + 2, 5 * column + 2
        mask[y - reach : y + reach + 1, x - reach : x + reach + 1] = True
    assert components(mask)[1] == 400
    np.testing.assert_array_equal(distance_map(mask, "O-DM")[2::5, 2::5], np.where(large, 2, 1))
    assert np.all(distance_map(mask, "I-DM")[2::5, 2::5] == 1)  # M + m - D with each square's own M = D, m = 1


def test_one_scale_for_every_axis_leaves_normalized_maps_unchanged():
    mask = blobs((14, 15, 16), 0.3, 5)
    for kind in KINDS:
        factor = 0.7 if kind in ("O-DM", "I-DM") else 1
        spaced = distance_map(mask, kind, spacing=(0.7, 0.7, 0.7))
        np.testing.assert_allclose(spaced, factor * distance_map(mask, kind), atol=1e-5)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64, ">i2", np.float16, np.float32, np.float64])
def test_any_nonzero_number_is_object_and_the_input_stays(dtype):
    mask = sparse_scene()
    values = (mask * (1 if np.dtype(dtype) == bool else 3)).astype(dtype)
    if values.dtype.kind in "if":
        values[ball(mask.shape, (6, 8, 9), 4)] = -1
    if values.dtype.kind == "f":
        values[ball(mask.shape, (18, 25, 20), 3)] = 0.25
    before = values.copy()
    for kind in KINDS:
        np.testing.assert_array_equal(distance_map(values, kind), distance_map(mask, kind))
        np.testing.assert_array_equal(values, before)
        assert not np.shares_memory(distance_map(mask, kind), mask)


def test_memory_layout_does_not_matter():
    mask = sparse_scene()
    strided = np.zeros((mask.shape[0] * 2, mask.shape[1], mask.shape[2] * 3), bool)
    strided[::2, :, ::3] = mask
    read_only = mask.copy()
    read_only.setflags(write=False)
    layouts = [
        np.asfortranarray(mask),
        np.asfortranarray(mask.astype(np.float32)),
        strided[::2, :, ::3],
        read_only,
    ]
    for kind in KINDS:
        expected = distance_map(mask, kind)
        for layout in layouts:
            np.testing.assert_array_equal(distance_map(layout, kind), expected)
        tensor = torch.from_numpy(mask).permute(2, 0, 1)
        np.testing.assert_allclose(distance_map(tensor, kind).permute(1, 2, 0), expected, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
def test_torch_equals_numpy_and_a_batch_its_samples(kind, device):
    samples = [
        sparse_scene(),
        blobs((24, 40, 44), 0.3, 0),
        np.zeros((24, 40, 44), bool),
        np.ones((24, 40, 44), bool),
    ]
    options = {"spacing": (2.0, 1.0, 1.5), "connectivity": 6, "outside": "inverse"}
    expected = np.stack([distance_map(sample, kind, **options) for sample in samples])
    batch = torch.from_numpy(np.stack(samples)).to(device)[:, None]  # (B, 1, D, H, W)
    maps = distance_map(batch, kind, **options)
    assert maps.shape == batch.shape
    assert maps.dtype == torch.float32
    assert maps.device == batch.device
    same = partial(np.testing.assert_allclose, rtol=0, atol=0 if device == "cpu" else 1e-5)
    same(maps[:, 0].cpu().numpy(), expected)
    for sample, one in zip(batch, expected, strict=True):  # (1, D, H, W)
        same(distance_map(sample[0], kind, **options).cpu().numpy(), one)
        single = distance_map(sample[None], kind, **options)
        assert single.shape == (1, 1, 24, 40, 44)
        same(single[0, 0].cpu().numpy(), one)
    flat = distance_map(batch[0, 0, 12], kind)
    same(flat.cpu().numpy(), distance_map(samples[0][12], kind))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float64])
def test_torch_types(dtype):
    mask = sparse_scene()
    tensor = (torch.from_numpy(mask) * 2).to(dtype)
    before = tensor.clone()
    np.testing.assert_array_equal(distance_map(tensor).numpy(), distance_map(mask))
    assert torch.equal(tensor, before)


def test_a_tensor_that_wants_gradients_gets_a_map_without():
    probabilities = torch.from_numpy(sparse_scene().astype(np.float32)).requires_grad_()
    assert not distance_map(probabilities).requires_grad


GOOD = np.ones((3, 4, 5), np.float32)
NAN = GOOD.copy()
NAN[1, 1, 1] = np.nan


@pytest.mark.parametrize(
    ("mask", "options", "said"),
    [
        ([[0, 1], [1, 0]], {}, "list"),
        (None, {}, "NoneType"),
        (np.ones(5), {}, r"\(5,\)"),
        (np.ones(()), {}, r"\(\)"),
        (np.ones((1, 1, 3, 4, 5)), {}, "shape"),
        (np.ones((2, 3, 4, 5)), {}, "shape"),
        (torch.ones(5), {}, "shape"),
        (torch.ones(1, 3, 4, 5), {}, "shape"),
        (torch.ones(2, 2, 3, 4, 5), {}, r"\(B, 1, D, H, W\)"),
        (np.ones((3, 0, 5)), {}, "no voxels"),
        (torch.ones(0, 1, 3, 4, 5), {}, "no voxels"),
        (GOOD.astype(complex), {}, "complex"),
        (GOOD.astype(object), {}, "object"),
        (GOOD.astype(str), {}, "type"),
        (torch.ones(3, 4, dtype=torch.complex64), {}, "complex"),
        (NAN, {}, "NaN"),
        (NAN[1], {}, "NaN"),
        (torch.from_numpy(NAN), {}, "NaN"),
        (torch.from_numpy(NAN).half()[None, None], {}, "NaN"),
        (GOOD, {"kind": "NIDM"}, "NI-DM"),
        (GOOD, {"kind": None}, "NI-DM"),
        (GOOD, {"kind": "SNI-DM", "outside": "near"}, "outside"),
        (GOOD, {"connectivity": 8}, "6, 18, 26"),
        (GOOD, {"connectivity": 1}, "6, 18, 26"),
        (GOOD[0], {"connectivity": 6}, "4, 8"),
        (GOOD, {"spacing": (1, 1)}, "3 positive"),
        (GOOD[0], {"spacing": (1, 1, 1)}, "2 positive"),
        (torch.ones(1, 1, 3, 4, 5), {"spacing": (1, 1, 1, 1, 1)}, "3 positive"),
        (GOOD, {"spacing": 1.0}, "spacing"),
        (GOOD, {"spacing": (1, 0, 1)}, "spacing"),
        (GOOD, {"spacing": (1, -1, 1)}, "spacing"),
        (GOOD, {"spacing": (1, np.nan, 1)}, "spacing"),
        (GOOD, {"spacing": (1, np.inf, 1)}, "spacing"),
        (GOOD, {"spacing": ("a", 1, 1)}, "spacing"),
    ],
)  # fmt: skip
def test_mistakes_raise_input_error(mask, options, said):
    with pytest.raises(InputError, match=said) as caught:
        distance_map(mask, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spacing", [None, (2.5, 0.8, 0.7)])
@pytest.mark.parametrize("kind", KINDS)
def test_both_transforms_give_the_same_maps(kind, spacing, monkeypatch):
    """SciPy's serves small boxes, the other library's large ones; in unit voxels they agree to the last bit."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        shape = tuple(rng.integers(1, 20, 3))
        mask = ndimage.gaussian_filter(rng.normal(size=shape), 1) > rng.uniform(-0.3, 0.3)
        maps = []
        for size in (0, 10**9):
            monkeypatch.setattr(distance_maps, "SMALL_BOX", size)
            maps.append(distance_map(mask, kind, spacing=spacing))
        np.testing.assert_allclose(*maps, rtol=0, atol=0 if spacing is None else 1e-5)
