"""Section 6 of the page: preprocessing, on a sample CT."""

import numpy as np
from scipy import ndimage

from benchmarks.readings.balls import ball
from lrnet_edu.config import PRESETS
from lrnet_edu.data.nifti import read_image, read_mask
from lrnet_edu.data.preprocessing import CT_WINDOW, effective_range
from lrnet_edu.data.samples import sample_folder


def readings() -> dict[str, str]:
    """Row of the page -> what another choice gives, on sample case 3."""
    image = read_image(sample_folder() / "volume-3.nii.gz")
    mask = read_mask(sample_folder() / "segmentation-3.nii.gz").data
    lesion = mask == 2
    low, high = CT_WINDOW
    size = PRESETS["cpu"]["patch_size"]
    reach = tuple(min(a, b) for a, b in zip(size, lesion.shape, strict=True))
    lesion_in_patch = ndimage.maximum_filter(lesion.astype(np.uint8), reach, mode="constant")
    places = tuple(slice(edge // 2, n - (edge - 1) // 2) for edge, n in zip(reach, lesion.shape, strict=True))
    box = effective_range(image.data, image.spacing, True)
    kept = np.prod([b.stop - b.start for b in box]) / lesion.size
    return {
        "effective range": f"Sample case 3 keeps {kept:.0%} of its voxels",
        "spacing": f"On the file's grid its lesions would be {image.spacing[0] / image.spacing[2]:.1f} times as coarse along z as in plane",
        "interpolation": there_and_back(),
        "object": f"Label 1 alone is the liver with holes where the lesions are: {lesion.sum() / np.sum(mask > 0):.1%} of it",
        "window": f"30 HU between liver and lesion are {30 / (high - low):.3f} of [0, 1]; from -1000 to 1000 HU {30 / 2000:.3f}",
        "sub-images": f"Of patches of 32 x 48 x 48 at random places {lesion_in_patch[places].mean():.0%} would hold a lesion voxel (sample case 3), "
        f"of single voxels {lesion.mean():.1%}",
    }


def there_and_back() -> str:
    """Small balls, wherever their centres lie, onto a grid 1.5 times as coarse and back: mean Dice with what they were."""
    rng, dice = np.random.default_rng(0), []
    for _ in range(30):
        x, y, z = rng.uniform(10, 13, 3)
        mask = ball(rng.uniform(2, 6), 24, (x, y, z))
        for order in (1, 0):
            coarse = ndimage.zoom(mask.astype(float), 1 / 1.5, order=order, grid_mode=True, mode="nearest") >= 0.5
            back = ndimage.zoom(coarse.astype(float), 1.5, order=order, grid_mode=True, mode="nearest") >= 0.5
            dice.append(2 * np.sum(back & mask) / (back.sum() + mask.sum()))
    linear, nearest = np.mean(dice[::2]), np.mean(dice[1::2])
    return f"Balls of 2 to 6 onto a grid 1.5 times as coarse and back: mean Dice {linear:.3f}; by nearest neighbours {nearest:.3f}"
