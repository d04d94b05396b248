"""The image files of a folder, and which of them a command may write.

Only what the same command wrote and nobody changed is overwritten: the header of a written file names the command and a
checksum of the voxels, so a prediction that was corrected by hand is safe as well.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lrnet_edu.data import nifti
from lrnet_edu.data.cases import natural_order
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import abbreviated, check_writable, is_hidden
from lrnet_edu.support.jobs import progress


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder in natural order, without hidden ones (macOS leaves ``._name`` copies)."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: name the one that holds the files.")
    found = [path for path in folder.iterdir()
             if nifti.ending(path.name) and not is_hidden(path.name) and path.is_file()]  # fmt: skip
    stems = [nifti.stem(path) for path in found]
    if twice := sorted({name for name in stems if stems.count(name) > 1}):
        raise InputError(f"{folder} holds {abbreviated(twice)} in two formats (.nii and .nii.gz): keep one of the two.")
    return sorted(found, key=lambda path: natural_order(path.name))


def provenance(command: str, data: np.ndarray) -> str:
    """The description of a file that a command writes: its name and a checksum of the voxels (D, H, W)."""
    return f"lrnet_edu {command} {zlib.crc32(np.ascontiguousarray(data, dtype=np.float32).data):08x}"


def check_outputs(outputs: Sequence[Path], inputs: Sequence[Path], command: str) -> None:
    """InputError, before any work, for an output that is an input, or cannot or must not be written."""
    for folder in {path.parent for path in outputs}:
        check_writable(folder)
    taken = {path.resolve() for path in inputs}
    for path in progress(outputs, "Checking outputs"):
        if path.is_dir():
            raise InputError(f"{path} is a folder: give the name of a file to write.")
        if not path.name.endswith((".nii", ".nii.gz")):
            raise InputError(f'{path} would be written as NIfTI: let its name end in ".nii.gz" or ".nii".')
        if path.resolve() in taken:
            raise InputError(f"{path} is an input and would be overwritten: choose another output.")
        if path.exists() and not _is_unchanged_output(path, command):
            raise InputError(f"{path} exists and is no unchanged output of `lrnet-edu {command}`: choose another "
                             "output, or move it away.")  # fmt: skip


def _is_unchanged_output(path: Path, command: str) -> bool:
    try:
        image = nifti.read_image(path)
        return image.header["descrip"].item() == provenance(command, image.data).encode()
    except (InputError, TypeError):  # another kind of file has no such header
        return False
