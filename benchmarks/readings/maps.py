"""Section 1 of the page: Equation 1 and the distance maps."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from benchmarks.readings.balls import ball
from lrnet_edu import distance_map
from lrnet_edu.kinds import KINDS


def readings() -> dict[str, str]:
    """Row of the page -> what another reading gives; the ball has a radius of 8 voxels."""
    mask = ball()
    d, phi = distance_map(mask, "O-DM"), distance_map(mask)
    m = d.max()
    to_boundary = ndimage.distance_transform_edt(~(mask & ~ndimage.binary_erosion(mask)))[mask]
    without_one = ((m - d) / m)[mask]
    return {
        "numerator of Eq. 1": f"As printed, a ball is {1 / m:.2f} all through, border and core alike",
        'D, "the set of points on the object boundary"': (
            f"On the ball phi would run from {1 / to_boundary.max():.2f} to {1 + 1 / to_boundary.max():.2f}"
        ),
        "connected component": touching_balls(),
        "range of phi": f"Without the plus 1 the ball would be {without_one.max():.2f} on its border and 0 at its core",
        "unit of D": thick_slices(),
        'the "+1" in millimetres': bare_one(mask),
        "when the map is computed": cut_slab(),
        "image border": border_as_background(),
        "empty and full masks": full_image(),
        "I-DM": f"1 / D instead would leave the ball's core at {1 / m:.2f}; as read it is 1.00, of at most {m:.2f}",
        "SNI-DM": signed_outside(mask),
        "from a map back to a mask": thresholds(mask, phi),
    }


def touching_balls() -> str:
    """A ball of radius 3 that shares an edge with one of radius 8: one component, or two?"""
    mask = ball(8, 31, (11, 11, 11))
    small = ball(3, 31, (11, 19, 19)) & ~mask
    small &= ~ndimage.binary_dilation(mask)  # no face in common
    both = mask | small
    with_26, with_6 = (distance_map(both, connectivity=n)[small].mean() for n in (26, 6))
    assert ndimage.label(both, np.ones((3, 3, 3)))[1] == 1
    assert ndimage.label(both)[1] > 1
    return f"A ball of radius 3 that meets one of 8 at an edge: mean phi {with_26:.2f}; with 6 neighbours {with_6:.2f}"


def thick_slices() -> str:
    """A lesion on a grid of 2.5 x 0.8 x 0.8 mm."""
    z, y, x = np.ogrid[-12:13, -20:21, -20:21]
    mask = (2.5 * z) ** 2 + (0.8 * y) ** 2 + (0.8 * x) ** 2 <= 12**2
    difference = np.abs(distance_map(mask, spacing=(2.5, 0.8, 0.8)) - distance_map(mask))[mask]
    return f"In mm on a file's grid of 2.5 x 0.8 x 0.8 mm, a ball of 12 mm: phi moves by {difference.mean():.2f} on average"


def bare_one(mask: np.ndarray) -> str:
    """Border values of the ball with 1 in place of m_C."""
    border = []
    for mm in (0.7, 3.0):
        d = distance_map(mask, "O-DM", spacing=(mm,) * 3)[mask]
        border.append((d.max() + 1 - d.min()) / d.max())
    return f"With a bare 1 the ball's border is {border[0]:.3f} at 0.7 mm and {border[1]:.3f} at 3 mm"


def cut_slab() -> str:
    """Nine layers, looked at in the third; whole, and cut off behind it."""
    slab = np.zeros((13, 40, 40), bool)
    slab[2:11] = True
    whole, cut = distance_map(slab)[4, 20, 20], distance_map(slab[:5])[4, 20, 20]
    return f"Third layer of a slab of 9: {whole:.2f}; cut off behind it {cut:.2f}"


def border_as_background() -> str:
    """Half a ball whose flat side is the image border."""
    half = ball()[10:]
    inside = half[0]
    unknown = distance_map(half)[0][inside].mean()
    background = distance_map(np.pad(half, ((1, 0), (0, 0), (0, 0))))[1][inside].mean()
    return f"Half a ball at the border: phi on the cut is {unknown:.2f} on average; with background outside {background:.2f}"


def full_image() -> str:
    """A full image of 7^3 voxels."""
    full = np.ones((7, 7, 7), bool)
    ours, scipys = distance_map(full, "O-DM").max(), ndimage.distance_transform_edt(full).max()
    return f"A full image of 7 x 7 x 7: M_C = {ours:.0f}; scipy's distance transform, to a point that is no voxel, {scipys:.1f}"


def signed_outside(mask: np.ndarray) -> str:
    """Beside the ball and in the corner."""
    beside = ndimage.binary_dilation(mask) & ~mask
    KINDS["inverse"] = replace(KINDS["SNI-DM"], outside=lambda d, low, high: -1 + (d - low) / high)
    first, second = (distance_map(mask, kind) for kind in ("SNI-DM", "inverse"))
    del KINDS["inverse"]
    return (
        f"Beside the ball and in the corner: {first[beside].mean():.2f} and {first[0, 0, 0]:.2f}; "
        f"the other way round {second[beside].mean():.2f} and {second[0, 0, 0]:.2f}"
    )


def thresholds(mask: np.ndarray, phi: np.ndarray) -> str:
    """Dice of the thresholded true map with its mask."""

    def dice(found: np.ndarray, truth: np.ndarray) -> float:
        return 2 * np.sum(found & truth) / (np.sum(found) + np.sum(truth))

    large = ball(25)
    return (
        f"0.5 for NI-DM too: Dice of the true map and the mask {dice(phi > 0.5, mask):.2f}; "
        f"0.05 on a ball of 25: {dice(distance_map(large) > KINDS['NI-DM'].threshold, large):.4f}"
    )
