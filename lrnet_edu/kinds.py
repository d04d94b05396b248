"""The kinds of distance map (sections 2.1 and 3.1, Fig. 2): one row each, which everything else reads.

A further kind is a further row: maps, LR-Net, losses, commands and figures then know it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lrnet_edu.support.errors import InputError

Formula = Callable[[Any, Any, Any], Any]  # (D, m, M) -> map: D of the voxels, its least and greatest per component


@dataclass(frozen=True)
class Kind:
    """One kind of map. D is the distance of a voxel to the other side, m and M its extremes in the component."""

    inside: Formula  # of the object's voxels
    activation: str  # output layer of the LR-Net that regresses it (section 3.1)
    alpha: float  # default weight of its error in the tandem's loss
    threshold: float  # `map > threshold` gives the mask back, in unit voxels
    outside: Formula | None = None  # of the other voxels; None: 0
    empty: float = 0.0  # the map of an empty mask, everywhere
    unit: str = ""  # of its values: "voxels", or "" where M normalises them

    @property
    def normalised(self) -> bool:
        """Whether every component reaches the same values, whatever its size."""
        return not self.unit


def _inverted_share(d: Any, low: Any, high: Any) -> Any:
    return 1 - (d - low) / high  # = (M + m - D) / M, in an order in which no rounding exceeds 1


# What finding nothing costs differs fifty-fold between the kinds (`losses.cost_of_empty_output`). Each alpha, rounded
# to one digit, makes it about 0.03 on one lesion, a ball of radius 6 in 48^3 voxels: what alpha = 10 gives with NI-DM.
# NI-DM sinks to 1 / M in the middle of a component: its threshold fails where M exceeds 20 voxels.
KINDS = {
    "O-DM": Kind(lambda d, low, high: d, "relu", alpha=3.0, threshold=0.5, unit="voxels"),
    "I-DM": Kind(lambda d, low, high: high - (d - low), "relu", alpha=0.8, threshold=0.5, unit="voxels"),
    "NI-DM": Kind(_inverted_share, "relu", alpha=10.0, threshold=0.05),
    "SNI-DM": Kind(_inverted_share, "tanh", alpha=0.2, threshold=0.0, outside=lambda d, low, high: -d / high, empty=-1),
}


def kind_of_map(name: str) -> Kind:
    """The row of this name; InputError if there is none."""
    if not isinstance(name, str) or name not in KINDS:
        raise InputError(f"There is no distance map {name!r}; choose one of {', '.join(KINDS)}.")
    return KINDS[name]
