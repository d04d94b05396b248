"""Phantom abdominal CTs with a liver and its tumours, made from a seed alone, and the course's sample data.

Every organ is a signed distance in the coordinates of one standard body, painted organ over organ
(``phantom_organs`` on a ``phantom_canvas``). What makes two cases differ is a scale, a smooth warp that bends
all organs together, and a variation of each organ; then come the lesions and the scanner.

Orientation: arrays are (D, H, W) = (z, y, x), indices growing towards the patient's head, front and RIGHT.
That is RAS+, which is also what TorchIO's ``ToCanonical`` gives. For the radiologist's view of axial slice k,
the patient's right at the left of the picture and the front on top, show ``image[k, ::-1, ::-1]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from lrnet_edu.data import nifti
from lrnet_edu.data.phantoms.canvas import FAR, Array, Canvas
from lrnet_edu.data.phantoms.organs import Anatomy, paint_anatomy
from lrnet_edu.support.errors import InputError

# What makes a phantom hard. Source: 3D-IRCADb cases 1 and 17 and one case of LiTS, measured: liver 102-118
# HU, lesions 20-50 HU darker, noise sigma 10-20 HU, 2 to 70 lesions from a few voxels to a large part of a
# lobe; some cases have none. Phantoms have fewer and larger lesions, for their voxels are larger.
LESION_CONTRAST_HU = (-64.0, -38.0)  # to the parenchyma, drawn for every lesion; blur takes some of it away
LESION_RADIUS_MM = (4.0, 28.0)  # log-uniform
LEADING_RADIUS_MM = 22.0  # the largest lesion of a case has at least this radius
LESION_COUNT = (1, 10)  # small numbers are more frequent
LESION_EDGE_MM = (1.5, 5.0)  # half width of the blurred border
NECROSIS_HU = -22.0  # the dead core of some large lesions, beside the rest of the lesion
NOISE_SIGMA_HU = (11.0, 17.0)  # drawn for every scan


GRIDS = (  # shape (D, H, W) and spacing (z, y, x) in mm, anisotropic and unequal as in LiTS
    ((40, 128, 128), (5.0, 2.7, 2.7)),
    ((32, 128, 128), (6.0, 2.75, 2.75)),
    ((48, 120, 120), (4.0, 2.9, 2.9)),
    ((36, 128, 128), (5.5, 2.65, 2.65)),
    ((56, 112, 112), (3.5, 3.1, 3.1)),
)


class Sample(NamedTuple):
    """The recipe of one case."""

    seed: int  # and number: volume-3 has seed 3
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    lesions: bool
    axes: str  # where the stored indices i, j, k grow to, as nibabel's ``aff2axcodes`` says it


COMMITTED = 20  # cases in data_samples/
STORED_OTHERWISE = {3: "LPS", 8: "PIR"}  # flipped twice; sagittal slices: readers must honour the affine


def sample(number: int) -> Sample:
    """The recipe of case ``number``; every sixth is healthy."""
    return Sample(number, *GRIDS[number % len(GRIDS)], number % 6 != 5, STORED_OTHERWISE.get(number, "RAS"))


@dataclass(frozen=True)
class Phantom:
    """One case.

    Attributes:
        image: (D, H, W) int16 in HU.
        mask: (D, H, W) uint8 with the labels of LiTS: 0 background, 1 liver, 2 lesion.
        spacing: (z, y, x) in mm.
    """

    image: Array
    mask: Array
    spacing: tuple[float, float, float]

    @property
    def affine(self) -> Array:
        """(4, 4) from voxel indices (x, y, z) to RAS+ mm, the volume's middle at the origin."""
        step = np.array(self.spacing[::-1])
        affine = np.diag([*step, 1.0])
        affine[:3, 3] = -step * (np.array(self.image.shape[::-1]) - 1) / 2
        return affine


def phantom(
    seed: int,
    *,
    shape: tuple[int, int, int] = (40, 128, 128),
    spacing: tuple[float, float, float] = (5.0, 2.7, 2.7),
    lesions: bool = True,
) -> Phantom:
    """Make one phantom CT. The same arguments give the same voxels.

    Args:
        seed: chooses anatomy, lesions and noise.
        shape: voxels (D, H, W). The body measures about 320 x 225 mm and the liver 170 mm from top to bottom,
            all around the volume's middle; a smaller ``shape * spacing`` shows a part of it.
        spacing: mm per voxel (z, y, x).
        lesions: False for the same body, healthy.

    Returns:
        Image, LiTS labels and spacing.
    """
    for_anatomy, for_lesions, for_scan = (np.random.default_rng([seed, stream]) for stream in range(3))
    body = Canvas(shape, spacing, for_anatomy)
    anatomy = paint_anatomy(body)
    mask = (anatomy.liver < 0).astype(np.uint8)  # (D, H, W)
    if lesions:
        mask[_paint_lesions(body, anatomy, for_lesions) & (mask == 1)] = 2
    return Phantom(_scan(body, anatomy.skin, for_scan), mask, spacing)


def write_samples(folder: str | Path, cases: int = COMMITTED) -> list[Path]:
    """Write the course's sample data in the layout of LiTS.

    Args:
        folder: where ``volume-N.nii.gz`` and ``segmentation-N.nii.gz`` go; made if missing. No file is replaced.
        cases: how many; those beyond the committed ones are made in the same way.

    Returns:
        The files, each volume followed by its segmentation. Equal voxels and headers every time.

    Raises:
        InputError: if the folder cannot be written, or holds another file of such a name; nothing is written then.
    """
    recipes = [(recipe, _files(Path(folder), recipe)) for recipe in map(sample, range(cases))]
    recipes.sort(key=lambda pair: not any(path.exists() for path in pair[1]))  # what may be refused comes first
    for recipe, paths in tqdm(recipes, "Making phantoms", unit="case", dynamic_ncols=True):
        case = phantom(recipe.seed, shape=recipe.shape, spacing=recipe.spacing, lesions=recipe.lesions)
        stored = [_stored_along(recipe.axes, data, case.affine) for data in (case.image, case.mask)]
        for path, volume in zip(paths, stored, strict=True):
            _refuse_another(path, *volume)
        for path, volume in zip(paths, stored, strict=True):
            if not path.exists():
                nifti.write(path, *volume)
    return [path for _, paths in sorted(recipes) for path in paths]


def _files(folder: Path, recipe: Sample) -> list[Path]:
    return [folder / f"{name}-{recipe.seed}.nii.gz" for name in ("volume", "segmentation")]


def _refuse_another(path: Path, data: Array, affine: Array) -> None:
    """Raise InputError if the path exists and does not hold this volume (D, H, W)."""
    if not path.exists():
        return
    try:
        there = nifti.read_image(path)
        same = there.data.shape == data.shape and np.array_equal(there.data, data)
        if same and np.allclose(there.affine, affine, atol=1e-4):
            return
    except InputError:  # damaged, or no NIfTI at all
        pass
    raise InputError(f"{path} exists and is no sample CT; name another folder, or move it away.")


def _stored_along(axes: str, data: Array, affine: Array) -> tuple[Array, Array]:
    """A RAS+ volume (D, H, W) flipped and permuted so that its indices (i, j, k) grow along ``axes``."""
    from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
    return apply_orientation(data.T, turn).T, affine @ inv_ornt_aff(turn, data.T.shape)


def _paint_lesions(body: Canvas, anatomy: Anatomy, rng: np.random.Generator) -> Array:
    """Tumours of many sizes, a few mm apart, the large ones deeper in the liver; their voxels (D, H, W)."""
    low, high = LESION_COUNT
    count = low + int((high + 1 - low) * rng.uniform() ** 1.2)
    smallest, largest = np.log(LESION_RADIUS_MM)
    radii = np.sort(np.exp(rng.uniform(smallest, largest, count)))[::-1]
    radii[0] = max(radii[0], LEADING_RADIUS_MM)
    lesions = np.full(body.image.shape, FAR)
    for radius in radii:
        room = np.flatnonzero((anatomy.liver < -0.5 * radius) & (lesions > radius + 5))
        if room.size:
            voxel = np.unravel_index(rng.choice(room), lesions.shape)
            centre = np.array([body.x[voxel], body.y[voxel], body.z[voxel]])
            part = body.part(centre, 2 * radius + 8)
            lesion = _paint_lesion(part, centre, radius, anatomy.liver[part.box], anatomy.liver_hu, rng)
            lesions[part.box] = np.minimum(lesions[part.box], lesion)
    return lesions < 0


def _paint_lesion(
    part: Canvas, centre: Array, radius: float, liver: Array, liver_hu: float, rng: np.random.Generator
) -> Array:
    """One tumour: a dented ellipsoid with its own contrast, border and, if large, perhaps a dead core."""
    stretched = radius * np.exp(rng.normal(0, 0.15, 3))
    lesion = part.ellipsoid(centre, stretched, turn=rng.uniform(0, 180, 2), jitter=0.0)
    lesion = lesion + radius * (0.14 * part.noise(max(radius, 8.0), rng) + 0.06 * part.noise(5.0, rng))
    hu = liver_hu + rng.uniform(*LESION_CONTRAST_HU)
    edge = min(rng.uniform(*LESION_EDGE_MM), 0.5 * radius)
    part.paint(np.maximum(lesion, liver + 1), hu + 4 * part.noise(6.0, rng), edge)
    if radius > 11 and rng.uniform() < 0.45:
        core = lesion + radius * (0.45 + 0.12 * part.noise(8.0, rng))
        part.paint(np.maximum(core, liver + 1), hu + NECROSIS_HU, 2.5)
    return lesion


def _scan(body: Canvas, skin: Array, rng: np.random.Generator) -> Array:
    """What the scanner adds: partial volume, calibration, the noise of a soft kernel; (D, H, W) int16.

    Noise is stronger in the middle of the body, where the rays' way is longest, and absent from the air
    around, which keeps the files small."""
    image = ndimage.gaussian_filter(body.image, (0.45, 0.5, 0.5))
    grain = ndimage.gaussian_filter(rng.standard_normal(image.shape), (0.3, 0.65, 0.65))
    mottle = ndimage.gaussian_filter(rng.standard_normal(image.shape), (0.8, 2.5, 2.5))
    noise = grain / grain.std() + 0.35 * mottle / mottle.std()
    depth = 1.1 - 0.3 * np.hypot(body.x / 160, body.y / 112).clip(0, 1)
    noise *= rng.uniform(*NOISE_SIGMA_HU) * depth / noise.std()
    noise += rng.normal(0, 1) + 1.5 * body.noise(80.0, rng)  # calibration, and how it drifts across the body
    image += np.where(skin < 4, noise, 0)
    return image.round().clip(-1000, 1500).astype(np.int16)
