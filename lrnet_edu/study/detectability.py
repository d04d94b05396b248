"""Could anybody see this lesion? How far a phantom's lesion stands out from what the liver looks like without it."""

import numpy as np
from scipy import ndimage

from lrnet_edu.support.voxels import connected_components

VISIBLE = 3.0  # d' from which a lesion counts
RIM = (1, 2, 2)  # voxels (z, y, x) around the lesion's box that show the liver beside it
PLACES = 400  # of the liver, where the observer looks for comparison


def detectability(image: np.ndarray, healthy: np.ndarray, mask: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """d' of every lesion of a phantom, for an observer who knows where to look and what shape to look for.

    The observer compares the mean inside the lesion's outline with the mean of the liver around it in the lesion's box.
    With the template t of these two means, t g is what it measures in an image g, and

        d' = |t (image - healthy)| / deviation of t healthy, laid on many places of the liver.

    Image minus healthy phantom is the lesion without any noise, and the healthy liver holds what hides it: noise,
    texture and vessels. It is the detectability index of a non-prewhitening observer (Wagner and Brown, "Unified SNR
    analysis of medical imaging systems", Physics in Medicine and Biology 30, 1985; ICRU Report 54, 1996), here with a
    template of known outline and unknown profile.

    Args:
        image: (D, H, W) HU.
        healthy: (D, H, W), the same phantom with the same noise and without lesions.
        mask: (D, H, W) with LiTS' labels, 1 liver and 2 lesion.
        seed: Chooses the places.

    Returns:
        (lesions,) in the order of the mask's 26-connected components.
    """
    lesions, _ = connected_components(mask == 2, connectivity=26)
    liver = ndimage.binary_erosion(mask > 0, iterations=2)  # its border is no background of a lesion
    background = np.where(liver, healthy - healthy[liver].mean(), 0.0)
    places = np.random.default_rng(seed).permutation(np.argwhere(liver))  # (voxels, 3)
    found = []
    for number, tight in enumerate(ndimage.find_objects(lesions), start=1):
        box = tuple(slice(max(0, side.start - rim), side.stop + rim) for side, rim in zip(tight, RIM, strict=True))
        inside, around = lesions[box] == number, (lesions[box] == 0) & (mask[box] > 0)
        template = inside / inside.sum() - around / max(1, around.sum())  # (d, h, w)
        windows = np.lib.stride_tricks.sliding_window_view(background, template.shape)
        corners = places - np.array(template.shape) // 2
        corners = corners[((corners >= 0) & (corners < windows.shape[:3])).all(axis=1)][:PLACES]
        measured = np.tensordot(windows[tuple(corners.T)], template, axes=3)  # (places,)
        signal = np.sum(template * (image[box].astype(float) - healthy[box]))
        found.append(abs(signal) / measured.std())
    return np.array(found)
