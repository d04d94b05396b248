"""What hypothesis draws for the property tests: small masks, pairs of them, and spacings."""

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"))]

spacings = st.tuples(*[st.floats(0.1, 10).map(lambda step: round(step, 2))] * 3)


def shapes(axes: int = 3, longest: int = 7) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[st.integers(1, longest)] * axes)


@st.composite
def masks(draw: st.DrawFn, shape: tuple[int, ...] | None = None, axes: int = 3) -> np.ndarray:
    """A bool mask (D, H, W) or (H, W): single voxels, boxes, noise or smooth blobs; empty and full ones too."""
    shape = shape or draw(shapes(axes))
    how = draw(st.sampled_from(["voxels", "boxes", "noise", "blobs"]))
    if how == "voxels":
        return draw(arrays.arrays(bool, shape, fill=st.just(False)))
    if how == "boxes":
        mask = np.zeros(shape, bool)
        for _ in range(draw(st.integers(0, 4))):
            corners = [sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
            mask[tuple(slice(*corner) for corner in corners)] ^= True  # holes, too
        return mask
    field = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).normal(size=shape)
    if how == "blobs":
        field = ndimage.gaussian_filter(field, 1.0, mode="nearest")
    return field > np.quantile(field, draw(st.floats(0, 1)))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two masks of one shape, often with much in common, as a prediction and its reference have."""
    shape = draw(shapes())
    reference = draw(masks(shape))
    return draw(masks(shape)) ^ (reference & draw(st.booleans())), reference
