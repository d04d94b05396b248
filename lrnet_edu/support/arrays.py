"""What users hand over as masks and volumes, turned into plain NumPy arrays, or answered in a sentence."""

import math
import sys
from contextlib import suppress
from typing import Any

import numpy as np

from lrnet_edu.support.errors import InputError

_IMAGES = {
    "SimpleITK": ("a SimpleITK image", "sitk.GetArrayFromImage({0})"),
    "nibabel": ("a nibabel image, (x, y, z)", "np.asarray({0}.dataobj).transpose()"),
    "torchio": ("a TorchIO image, (channel, x, y, z)", "{0}.numpy()[0].transpose(2, 1, 0)"),
}


def plain_array(volume: Any, name: str) -> np.ndarray:
    """The numbers of an array, a tensor on any device, or a list of lists, and of their subclasses; without a copy.

    InputError, which calls it ``name``, for what has its axes in another order, hides some of its values, or holds no
    real numbers.
    """
    if np.ma.is_masked(volume):
        raise InputError(f"The {name} is a masked array, whose hidden voxels could be anything; give {name}.filled(0).")
    made_by = {base.__module__.split(".")[0] for base in type(volume).__mro__}
    for library, (what, advice) in _IMAGES.items():
        if library in made_by:
            raise InputError(f"The {name} is {what}; give {advice.format(name)}.")
    torch = sys.modules.get("torch")  # who has a tensor has imported it
    array = None
    with suppress(TypeError, ValueError, RuntimeError):  # sparse and meta tensors raise the last
        array = _array_of_tensor(volume) if torch and isinstance(volume, torch.Tensor) else np.asarray(volume)
    if array is None or array.dtype.kind not in "biuf":
        what = f"a {type(volume).__name__} of {getattr(array, 'dtype', 'unusual storage')}"
        raise InputError(f"The {name} is {what}; give a NumPy array or a torch tensor of booleans or real numbers.")
    return array


def _array_of_tensor(tensor: Any) -> np.ndarray:
    tensor = tensor.as_subclass(sys.modules["torch"].Tensor)
    try:
        return tensor.numpy(force=True)
    except TypeError:  # bfloat16 and the 8-bit floats have no counterpart in NumPy
        return tensor.float().numpy(force=True)


def checked_spacing(spacing: Any, axes: int = 3, *, needed: bool = False) -> tuple[float, ...]:
    """Voxel size in mm, (z, y, x) or (y, x). InputError unless it is so many positive numbers, or None: unit voxels."""
    if spacing is None and not needed:
        return (1.0,) * axes
    try:
        steps = tuple(float(step) for step in spacing)
    except (TypeError, ValueError):
        steps = ()
    if len(steps) != axes or not all(0 < step < math.inf for step in steps):
        order = "(z, y, x)" if axes == 3 else "(y, x)"
        raise InputError(f"spacing {spacing!r} does not fit: give {axes} positive numbers in mm, {order}.")
    return steps
