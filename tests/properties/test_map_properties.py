"""Section 2.1's maps: what must hold for every mask."""

from __future__ import annotations

from typing import Any

import numpy as np
from generated import masks, paddings, spacings, symmetries
from hypothesis import assume, given
from hypothesis import strategies as st

from lrnet_edu.distance_maps import distance_map
from lrnet_edu.kinds import KINDS

any_axes = st.integers(2, 3)
kinds = st.sampled_from(list(KINDS))
inside_kinds = st.sampled_from([kind for kind, row in KINDS.items() if row.outside is None])


@st.composite
def choices(draw: st.DrawFn, axes: int = 3) -> dict[str, Any]:
    """Options of ``distance_map`` that fit masks of so many axes."""
    return {
        "spacing": draw(st.none() | spacings.map(lambda steps: steps[:axes])),
        "connectivity": draw(st.sampled_from([None, 4, 8] if axes == 2 else [None, 6, 18, 26])),
    }


@given(data=st.data(), axes=any_axes, kind=kinds)
def test_flips_and_rotations_move_the_map_alike(data: st.DataObject, axes: int, kind: str) -> None:
    mask, options, move = data.draw(masks(axes=axes)), data.draw(choices(axes)), data.draw(symmetries(axes))
    moved = {**options, "spacing": options["spacing"] and move(options["spacing"])}
    expected = move(distance_map(mask, kind, **options))
    np.testing.assert_allclose(distance_map(move(mask), kind, **moved), expected, rtol=1e-5, atol=1e-5)


@given(mask=masks(), kind=inside_kinds, options=choices(), data=st.data())
def test_background_around_objects_off_the_border_changes_nothing(
    mask: np.ndarray, kind: str, options: dict[str, Any], data: st.DataObject
) -> None:
    off_the_border = np.pad(mask, 1)
    more = data.draw(paddings())
    expected = np.pad(distance_map(off_the_border, kind, **options), more)
    np.testing.assert_allclose(distance_map(np.pad(off_the_border, more), kind, **options), expected, rtol=1e-5)


@given(mask=masks(), kind=kinds, options=choices(), factor=st.floats(0.1, 10))
def test_lengths_scale_with_the_spacing(mask: np.ndarray, kind: str, options: dict[str, Any], factor: float) -> None:
    """O-DM and I-DM are lengths, the normalised maps ratios of lengths."""
    steps = options.pop("spacing") or (1.0, 1.0, 1.0)
    once = distance_map(mask, kind, spacing=steps, **options)
    scaled = distance_map(mask, kind, spacing=[factor * step for step in steps], **options)
    expected = factor * once if kind in ("O-DM", "I-DM") else once
    np.testing.assert_allclose(scaled, expected, rtol=1e-4, atol=1e-5)


@given(mask=masks(), options=choices())
def test_ranges(mask: np.ndarray, options: dict[str, Any]) -> None:
    """NI-DM lies in (0, 1] inside and is exactly 0 outside; no map is positive outside."""
    maps = {kind: distance_map(mask, kind, **options) for kind in KINDS}
    for phi in maps.values():
        assert phi.dtype == np.float32
        assert (phi[mask] > 0).all()
    for kind in ("O-DM", "I-DM", "NI-DM"):
        assert (maps[kind][~mask] == 0).all()
    assert maps["NI-DM"].max(initial=0) <= 1  # without tolerance
    signed = maps["SNI-DM"]
    assert (signed[~mask] < 0).all()
    assert signed.min() >= -1
    np.testing.assert_array_equal(signed[mask], maps["NI-DM"][mask])


@given(mask=masks(), options=choices())
def test_the_kinds_belong_together(mask: np.ndarray, options: dict[str, Any]) -> None:
    """O-DM + I-DM is M + m on a whole component, and NI-DM is 1 where I-DM is M: on voxels nearest to the border."""
    assume(mask.any())
    o, i, n = (distance_map(mask, kind, **options) for kind in ("O-DM", "I-DM", "NI-DM"))
    highest = i[mask] / n[mask]  # M of each voxel's component
    lowest = (o + i)[mask] - highest  # m
    tolerance = 1e-4 * highest.max()
    assert (o[mask] <= highest + tolerance).all()
    assert (o[mask] >= lowest - tolerance).all()
    assert n[mask].max() == 1


@given(mask=masks(axes=2), kind=kinds, options=choices(2))
def test_one_slice_is_a_plane(mask: np.ndarray, kind: str, options: dict[str, Any]) -> None:
    """But for a mask that fills the image: the background assumed around it lies above and below as well."""
    assume(not mask.all())
    expected = distance_map(mask, kind, **options)
    connectivity = {None: None, 4: 6, 8: 26}[options["connectivity"]]
    steps = options["spacing"] and (3.0, *options["spacing"])
    actual = distance_map(mask[None], kind, spacing=steps, connectivity=connectivity)
    np.testing.assert_allclose(actual[0], expected, rtol=1e-5, atol=1e-5)
