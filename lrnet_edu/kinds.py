"""The kinds of distance map (sections 2.1 and 3.1, Fig. 2): one table, which everything else reads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lrnet_edu.support.errors import InputError

Formula = Callable[[Any, Any, Any], Any]  # (D, m, M) -> map: D of the voxels, its least and greatest per component


@dataclass(frozen=True)
class Kind:
    """One kind of map. D is a voxel's distance to the other side, m and M its extremes in the component."""

    inside: Formula  # for the object's voxels
    activation: str  # output layer of the LR-Net that regresses it (section 3.1)
    alpha: float  # default weight of its error beside a segmentation loss
    threshold: float  # `map > threshold` recovers the mask, in unit voxels
    outside: Formula | None = None  # for all other voxels; None means 0
    empty: float = 0.0  # the map of an empty mask, everywhere
    unit: str = ""  # of its values: "voxels", or "" if they are normalised by M

    @property
    def normalised(self) -> bool:
        """Whether every component reaches the same values, whatever its size."""
        return not self.unit


def _inverted_share(d: Any, low: Any, high: Any) -> Any:
    return 1 - (d - low) / high  # = (M + m - D) / M, written so that rounding cannot push it above 1


# The study's validation cases chose 1000 for NI-DM. On the weights of an M-Net that Dice has trained, its gradient is
# seven times Dice's. The others' alphas make it about as long.
# NI-DM falls to 1 / M at a component's core: its threshold fails once M exceeds 20 voxels.
KINDS = {
    "O-DM": Kind(lambda d, low, high: d, "relu", alpha=1000.0, threshold=0.5, unit="voxels"),
    "I-DM": Kind(lambda d, low, high: high - (d - low), "relu", alpha=200.0, threshold=0.5, unit="voxels"),
    "NI-DM": Kind(_inverted_share, "relu", alpha=1000.0, threshold=0.05),
    "SNI-DM": Kind(_inverted_share, "tanh", alpha=60.0, threshold=0, outside=lambda d, low, high: -d / high, empty=-1),
}
ALONE = 1000.0  # alpha beside no other term: at 1 a mean over voxels has gradients as small as Adam's eps, 1e-8


def kind_of_map(name: str) -> Kind:
    """The row of this name; InputError if there is none."""
    if not isinstance(name, str) or name not in KINDS:
        raise InputError(f"There is no distance map {name!r}; choose one of {', '.join(KINDS)}.")
    return KINDS[name]
