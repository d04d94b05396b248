"""Where the sample CTs are: in the clone, or written to the cache by an installed package."""

from __future__ import annotations

from pathlib import Path

import lrnet_edu
from lrnet_edu._version import __version__
from lrnet_edu.data.cache import cache_root


def sample_folder() -> Path:
    """The folder ``data_samples`` of the clone, or the same phantoms in the cache, written there on first use."""
    clone = Path(lrnet_edu.__file__).parents[1] / "data_samples"
    if any(clone.glob("volume-*.nii.gz")):
        return clone
    cached = cache_root() / f"data_samples-{__version__}"
    if not (cached / "complete").exists():
        from lrnet_edu.data.phantoms import write_samples

        write_samples(cached)
        (cached / "complete").touch()
    return cached
