"""A segmentation in, its distance map out."""

from pathlib import Path

import numpy as np

from lrnet_edu.commands.image_files import check_outputs, provenance
from lrnet_edu.data import nifti
from lrnet_edu.distance_maps import distance_map
from lrnet_edu.kinds import kind_of_map
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import folder_lock
from lrnet_edu.support.labels import absent_label, encode, parse_labels


def write_map(
    segmentation: str | Path, out: str | Path, *, kind: str = "NI-DM", label: str | None = None,
    spacing_aware: bool = False,
) -> None:  # fmt: skip
    """Write the distance map of a segmentation file (section 2.1), float32 on the same grid.

    ``label`` is "2" or "1+2" (the union as one object), None every voxel that is not 0; ``spacing_aware`` measures in
    mm, not in voxels. InputError if a file cannot be used or must not be overwritten, or the label does not occur.
    """
    segmentation, out = Path(segmentation), Path(out)
    kind_of_map(kind)  # refuses what does not exist
    objects = () if label is None else parse_labels(label)
    if len(objects) > 1:
        raise InputError(f'"{label}" names several objects and a map shows one: join them by +, or choose one.')
    check_outputs([out], [segmentation], "maps")
    mask = nifti.read_mask(segmentation)
    chosen = encode(mask.data, objects) if objects else mask.data
    if objects and not chosen.any():
        raise absent_label(objects, np.unique(mask.data).tolist(), str(segmentation))
    phi = distance_map(chosen, kind, spacing=mask.spacing if spacing_aware else None)  # (D, H, W)
    with folder_lock(out.parent, out.name):
        nifti.write(out, phi, mask, description=provenance("maps", phi))
