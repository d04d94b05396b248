"""Distance maps in MONAI's loader, for those who want them there: python examples/monai_transform.py"""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import Compose, MapTransform, RandFlipd

from lrnet_edu import distance_map


class DistanceMapd(MapTransform):
    """Adds the distance map of each label under ``<key>_map``: (1, D, H, W) whole numbers -> (classes - 1, D, H, W).

    Put it last: a map that is cropped, flipped or resampled with the image is no longer the map of what is left.

    Args:
        keys: of the labels.
        kind: of map, "NI-DM" by default.
        classes: background included.
    """

    def __init__(self, keys: KeysCollection, kind: str = "NI-DM", classes: int = 2) -> None:
        super().__init__(keys)
        self.kind, self.classes = kind, classes

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            labels = torch.as_tensor(result[key])  # (1, D, H, W)
            masks = torch.stack([labels[0] == c for c in range(1, self.classes)])  # (classes - 1, D, H, W)
            result[f"{key}_map"] = distance_map(masks[None], self.kind)[0]
        return result


def main() -> torch.Tensor:
    """The map of a ball, after a flip; (1, 16, 16, 16)."""
    z, y, x = torch.meshgrid(*(torch.arange(16),) * 3, indexing="ij")
    ball = ((z - 6) ** 2 + (y - 8) ** 2 + (x - 8) ** 2 < 25).long()[None]
    transform = Compose([RandFlipd("label", prob=1.0, spatial_axis=0), DistanceMapd("label")])
    return transform({"label": ball})["label_map"]


if __name__ == "__main__":
    phi = main()
    print(
        f"NI-DM of shape {tuple(phi.shape)}, from {float(phi[phi > 0].min()):.2f} in the core to {float(phi.max()):g}"
    )
