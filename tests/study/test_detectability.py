"""d' of phantoms' lesions."""

import numpy as np
import pytest
from scipy import ndimage

from lrnet_edu.study.detectability import detectability

SHAPE = (40, 60, 60)


def lesions_in_noise(contrast: float, sigma: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes of 27 and 216 voxels in white noise that fills the volume: image, healthy, mask."""
    mask = np.ones(SHAPE, np.uint8)
    mask[10:13, 20:23, 20:23] = 2
    mask[22:28, 30:36, 30:36] = 2
    healthy = 100 + sigma * np.random.default_rng(seed).standard_normal(SHAPE)
    return healthy - contrast * (mask == 2), healthy, mask


def test_in_white_noise_it_is_the_contrast_over_the_deviation_of_the_difference_of_two_means() -> None:
    found = detectability(*lesions_in_noise(contrast=5.0, sigma=10.0))
    for d, (inside, box) in zip(found, [(27, 5 * 7 * 7), (216, 8 * 10 * 10)], strict=True):
        assert d == pytest.approx(5.0 / (10.0 * np.sqrt(1 / inside + 1 / (box - inside))), rel=0.12)  # 400 places


def test_texture_as_large_as_the_lesion_hides_it_and_coarser_texture_does_not() -> None:
    image, healthy, mask = lesions_in_noise(5.0, 1.0)
    rng = np.random.default_rng(1)
    found = []
    for size in (1.5, 12.0):
        texture = ndimage.gaussian_filter(rng.standard_normal(SHAPE), size, mode="wrap")
        texture *= 4 / texture.std()
        found.append(detectability(image + texture, healthy + texture, mask))
    assert (found[0] < 0.5 * found[1]).all()
