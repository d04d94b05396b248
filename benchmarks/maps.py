"""Distance maps of whole scans and of training batches, beside the recipes that people write."""

from collections.abc import Callable, Iterator

import edt
import numpy as np
import torch
from scipy import ndimage

from benchmarks.scans import SCAN, batch_of_masks, lesions, liver
from benchmarks.timing import Call, Row, compared, installed, largest_difference
from lrnet_edu import distance_map

FULL = np.ones((3, 3, 3), bool)
LEAST = {"lesions": {"scipy": 40, "edt": 2}, "liver": {"scipy": 8}, "SNI-DM": {"scipy": 6, "edt": 1}}
Transform = Callable[[np.ndarray], np.ndarray]


def recipe(mask: np.ndarray, kind: str, transform: Transform) -> np.ndarray:
    """The plain way: transform and label the whole volume, then look the maxima up for every voxel."""
    d = transform(mask)
    labels, count = ndimage.label(mask, FULL)
    highest = np.concatenate([[1], ndimage.maximum(d, labels, np.arange(1, count + 1))]).astype(np.float32)[labels]
    result = np.where(mask, highest + 1 - d, 0)
    if kind == "I-DM":
        return result
    result /= highest
    if kind == "SNI-DM":
        outside = transform(~mask)
        result = np.where(mask, result, -outside / outside.max())
    return result


def with_scipy(mask: np.ndarray) -> np.ndarray:
    return ndimage.distance_transform_edt(mask).astype(np.float32)


def with_edt(mask: np.ndarray) -> np.ndarray:
    return edt.edt(mask, black_border=False, parallel=torch.get_num_threads())


def with_monai() -> Transform | None:
    """MONAI's transform, which is cuCIM's on a GPU and SciPy's elsewhere."""
    if installed("monai") is None:
        return None
    from monai.transforms.utils import distance_transform_edt

    return lambda mask: np.asarray(distance_transform_edt(mask[None].astype(np.uint8)))[0].astype(np.float32)


def rows(quick: bool) -> Iterator[Row]:
    """Whole scans, then training batches."""
    yield from scan_rows((32, 96, 96) if quick else SCAN)
    yield from batch_rows(quick)


def scan_rows(shape: tuple[int, int, int]) -> Iterator[Row]:
    name, monai = " x ".join(map(str, shape[::-1])), with_monai()
    masks = {f"{n} lesion{'s' * (n > 1)}": lesions(shape, n) for n in (1, 30, 300)} | {"a whole liver": liver(shape)}
    for content, mask in masks.items():
        for kind in ("NI-DM", "I-DM", "SNI-DM"):
            peers: dict[str, Call | None] = {
                "scipy": lambda mask=mask, kind=kind: recipe(mask, kind, with_scipy),
                "edt": lambda mask=mask, kind=kind: recipe(mask, kind, with_edt),
            }
            if content == "30 lesions":  # on a CPU it is SciPy's
                peers["MONAI"] = monai and (lambda mask=mask, kind=kind: recipe(mask, kind, monai))
            row = compared(f"{kind}, {name}, {content}", lambda mask=mask, kind=kind: distance_map(mask, kind), peers,
                           difference=largest_difference, tolerance=1e-4 if kind == "I-DM" else 1e-5)  # fmt: skip
            yield row.aim(LEAST["SNI-DM" if kind == "SNI-DM" else "liver" if "liver" in content else "lesions"])


def batch_rows(quick: bool) -> Iterator[Row]:
    """What a training step asks for: torch in, torch out."""
    for number, *shape in [(2, 16, 48, 48)] if quick else [(2, 48, 256, 256), (8, 64, 64, 64)]:
        batch = batch_of_masks(number, (shape[0], shape[1], shape[2]))

        def through_numpy(transform: Transform, batch: torch.Tensor = batch) -> torch.Tensor:
            maps = [recipe(mask, "NI-DM", transform) for mask in batch[:, 0].numpy()]
            return torch.from_numpy(np.stack(maps))[:, None]

        row = compared(
            f"NI-DM of a batch, {' x '.join(map(str, batch.shape))}, 4 lesions each, torch",
            lambda batch=batch: distance_map(batch),
            {"scipy": lambda run=through_numpy: run(with_scipy), "edt": lambda run=through_numpy: run(with_edt)},
            difference=largest_difference,
            tolerance=1e-5,
        )
        yield row.aim({"scipy": 1, "edt": 1})
