"""Maps of files: values, grid and label, and what is never overwritten."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scans import AFFINE, SHAPE, load, mask, store

from lrnet_edu.commands.maps import write_map
from lrnet_edu.distance_maps import distance_map
from lrnet_edu.support.errors import InputError


@pytest.mark.parametrize("spacing_aware", [False, True])
def test_a_map_is_float32_on_the_grid_of_its_mask(tmp_path: Path, spacing_aware: bool) -> None:
    source, out = store(tmp_path / "mask.nii.gz", mask()), tmp_path / "maps/out.nii.gz"
    write_map(source, out, kind="SNI-DM", spacing_aware=spacing_aware)
    np.testing.assert_allclose(nib.load(out).affine, AFFINE)
    expected = distance_map(mask(), "SNI-DM", spacing=(2.0, 1.0, 1.5) if spacing_aware else None)
    np.testing.assert_array_equal(load(out), expected)
    assert load(out).dtype == np.float32


def test_a_map_of_one_label_of_a_union_and_of_everything(tmp_path: Path) -> None:
    liver = np.zeros(SHAPE, np.uint8)
    liver[2:12, 3:15, 3:15] = 1
    liver[5:8, 6:10, 6:10] = 2
    liver[0, 0, 0] = 7
    source, out = store(tmp_path / "mask.nii.gz", liver), tmp_path / "out.nii.gz"
    for label, chosen in {"2": liver == 2, "1+2": np.isin(liver, (1, 2)), "2+9": liver == 2, None: liver > 0}.items():
        write_map(source, out, kind="O-DM", label=label)  # which replaces the map before
        np.testing.assert_array_equal(load(out), distance_map(chosen, "O-DM"))
    for options, match in (
        ({"label": "1,2"}, r"join them by \+"),
        ({"label": "5"}, r"Label 5 does not occur .* 1, 2, 7"),
        ({"kind": "N-DM"}, "no distance map 'N-DM'"),
    ):
        with pytest.raises(InputError, match=match):
            write_map(source, tmp_path / "none.nii.gz", **options)
    assert not (tmp_path / "none.nii.gz").exists()


def test_a_mask_is_never_overwritten(tmp_path: Path) -> None:
    source = store(tmp_path / "mask.nii.gz", mask())
    (tmp_path / "link.nii.gz").symlink_to(source)
    for out in (source, tmp_path / "link.nii.gz"):
        with pytest.raises(InputError, match="an input"):
            write_map(source, out)
    np.testing.assert_array_equal(load(source), mask())
