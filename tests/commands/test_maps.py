"""Maps of files: values, grid and label, and what is never overwritten."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scans import AFFINE, SHAPE, load, mask, store

from lrnet_edu.commands.maps import write_map
from lrnet_edu.distance_maps import distance_map
from lrnet_edu.support.errors import InputError


@pytest.mark.parametrize("spacing_aware", [False, True])
@pytest.mark.parametrize("kind", ["O-DM", "SNI-DM"])
def test_a_map_is_float32_on_the_grid_of_its_mask(tmp_path: Path, kind: str, spacing_aware: bool) -> None:
    source = store(tmp_path / "mask.nii.gz", mask())
    write_map(source, tmp_path / "maps/out.nii.gz", kind=kind, spacing_aware=spacing_aware)
    written = nib.load(tmp_path / "maps/out.nii.gz")
    expected = distance_map(mask(), kind, spacing=(2.0, 1.0, 1.5) if spacing_aware else None)
    assert written.get_data_dtype() == np.float32
    np.testing.assert_allclose(written.affine, AFFINE)
    np.testing.assert_array_equal(load(tmp_path / "maps/out.nii.gz"), expected)


def test_a_map_of_one_label_of_a_union_and_of_everything(tmp_path: Path) -> None:
    liver = np.zeros(SHAPE, np.uint8)
    liver[2:12, 3:15, 3:15] = 1
    liver[5:8, 6:10, 6:10] = 2
    liver[0, 0, 0] = 7
    source = store(tmp_path / "mask.nii.gz", liver)
    for label, chosen in {"2": liver == 2, "1+2": np.isin(liver, (1, 2)), None: liver > 0}.items():
        write_map(source, tmp_path / f"{label}.nii.gz", kind="O-DM", label=label)
        np.testing.assert_array_equal(load(tmp_path / f"{label}.nii.gz"), distance_map(chosen, "O-DM"))
    write_map(source, tmp_path / "part.nii.gz", label="2+9")  # a union of which one part is there
    for options, match in (
        ({"label": "1,2"}, r"join them by \+"),
        ({"label": "5"}, r"Label 5 does not occur .* 1, 2, 7"),
        ({"kind": "N-DM"}, "no distance map 'N-DM'"),
    ):
        with pytest.raises(InputError, match=match):
            write_map(source, tmp_path / "none.nii.gz", **options)
    assert not (tmp_path / "none.nii.gz").exists()


def test_a_map_replaces_only_a_map(tmp_path: Path) -> None:
    source = store(tmp_path / "mask.nii.gz", mask())
    other = store(tmp_path / "other.nii.gz", mask())
    write_map(source, tmp_path / "map.nii.gz", kind="O-DM")
    write_map(source, tmp_path / "map.nii.gz", kind="NI-DM")
    assert load(tmp_path / "map.nii.gz").max() == 1
    (tmp_path / "link.nii.gz").symlink_to(source)
    for out, match in ((other, "no unchanged output"), (source, "an input"), (tmp_path / "link.nii.gz", "an input")):
        with pytest.raises(InputError, match=match):
            write_map(source, out)
    with pytest.raises(InputError):  # a map of whole numbers could be a mask too
        write_map(tmp_path / "map.nii.gz", tmp_path / "map.nii.gz")
    for file in (source, other):
        np.testing.assert_array_equal(load(file), mask())
