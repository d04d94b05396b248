"""Section 2.1's maps: what must hold for every mask."""

import numpy as np
import pytest
from generated import masks, spacings
from hypothesis import given
from hypothesis import strategies as st
from plain_maps import plain_map

from lrnet_edu.distance_maps import distance_map
from lrnet_edu.kinds import KINDS


@pytest.mark.parametrize(("axes", "connectivities"), [(2, [None, 4, 8]), (3, [None, 6, 18, 26])])
@given(data=st.data())
def test_every_map_is_what_its_definition_says(data: st.DataObject, axes: int, connectivities: list[int]) -> None:
    """Within rounding; and without any, no voxel of the object is 0, no other one above 0, and NI-DM at most 1."""
    mask, spacing = data.draw(masks(axes=axes)), data.draw(st.none() | spacings.map(lambda steps: steps[:axes]))
    connectivity = data.draw(st.sampled_from(connectivities))
    maps = {kind: distance_map(mask, kind, spacing=spacing, connectivity=connectivity) for kind in KINDS}
    for kind, phi in maps.items():
        assert phi.dtype == np.float32
        np.testing.assert_allclose(phi, plain_map(mask, kind, spacing, connectivity), rtol=1e-5, atol=1e-5)
        assert (phi[mask] > 0).all()
        assert ((phi < 0) if kind == "SNI-DM" else (phi == 0))[~mask].all()
    assert maps["NI-DM"].max() <= 1
    assert maps["SNI-DM"].min() >= -1
    np.testing.assert_array_equal(maps["SNI-DM"][mask], maps["NI-DM"][mask])
