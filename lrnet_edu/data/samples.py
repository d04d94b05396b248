"""Where the sample CTs, the study's phantoms and its trained M-Nets are: in the clone, or in cache and package."""

from pathlib import Path
from typing import Any

import lrnet_edu
from lrnet_edu import __version__
from lrnet_edu.data.cache import cache_root
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import folder_lock, write_atomically

PACKAGE = Path(lrnet_edu.__file__).parent
TEST = 75  # the first of the study's test cases, of which there are 80


def sample_folder() -> Path:
    """The folder ``data_samples`` of the clone, or the same phantoms in the cache, written there on first use."""
    clone = PACKAGE.parent / "data_samples"
    return clone if any(clone.glob("volume-*.nii.gz")) else phantoms("data_samples")


def study_folder(cases: int = 5, first: int = TEST) -> Path:
    """Phantoms of the study, number ``first``, ``first + 1``, ...: in the cache, written there on first use.

    Numbers 0 to 59 trained its M-Nets, 60 to 74 chose alpha, 75 to 154 are its test cases.
    """
    return phantoms(f"study-{first}-to-{first + cases - 1}", cases, first, "study")


def phantoms(name: str, *which: Any) -> Path:
    """A folder of the cache with the phantoms that ``write_samples(folder, *which)`` makes."""
    cached = cache_root() / f"{name}-{__version__}"
    if not (cached / "complete").exists():
        from lrnet_edu.data.phantoms.phantom import write_samples

        with folder_lock(cached, wait=True):
            write_samples(cached, *which)
            write_atomically(cached / "complete", b"")
    return cached


def study_mnet(arm: str = "base") -> Path:
    """The checkpoint of an M-Net of the study's seed 0, for ``load_mnet`` or ``lrnet-edu predict``.

    The arm is "base", trained by Dice, or one that went on from there: "A" with Dice, "B" Dice + alpha LR-Net,
    "C" LR-Net alone, "D" Dice + beta SmoothL1(p, mask), "E" SmoothL1(p, mask) alone, "J" Dice + cross-entropy.
    InputError for another.
    """
    shipped = {path.stem: path for path in sorted(shipped_folder("data_samples/mnets").glob("[!.]*.safetensors"))}
    if arm not in shipped:
        raise InputError(f"No trained M-Net ships for arm {arm!r}; choose one of {', '.join(shipped)}.")
    return shipped[arm]


def shipped_folder(name: str) -> Path:
    """What the build put of "results" or "data_samples" into an installed package, or the folder of the clone."""
    shipped = PACKAGE / "shipped" / name
    return shipped if shipped.is_dir() else PACKAGE.parent / name
