"""Where the sample CTs and the trained M-Nets of the demo are: in the clone, or in the cache and the package."""

from __future__ import annotations

from pathlib import Path

import lrnet_edu
from lrnet_edu import __version__
from lrnet_edu.data.cache import cache_root
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import folder_lock, write_atomically

PACKAGE = Path(lrnet_edu.__file__).parent


def sample_folder() -> Path:
    """The folder ``data_samples`` of the clone, or the same phantoms in the cache, written there on first use."""
    clone = PACKAGE.parent / "data_samples"
    if any(clone.glob("volume-*.nii.gz")):
        return clone
    cached = cache_root() / f"data_samples-{__version__}"
    if not (cached / "complete").exists():
        from lrnet_edu.data.phantoms.phantom import write_samples

        with folder_lock(cached, wait=True):
            write_samples(cached)
            write_atomically(cached / "complete", b"")
    return cached


def sample_mnet(method: str = "mapdice+lrnet") -> Path:
    """The checkpoint of an M-Net that the demo trained on the sample CTs, for ``load_mnet`` or ``lrnet-edu predict``.

    The method is "dice", "mapdice", "dice+lrnet" or "mapdice+lrnet"; InputError for another.
    """
    folders = (PACKAGE.parent / "data_samples" / "mnets", PACKAGE / "mnets")  # of the clone; of an installed package
    shipped = {path.stem: path for folder in folders for path in sorted(folder.glob("[!.]*.safetensors"))}
    if method not in shipped:
        raise InputError(f"No trained M-Net ships for {method!r}; choose one of {', '.join(shipped)}.")
    return shipped[method]
