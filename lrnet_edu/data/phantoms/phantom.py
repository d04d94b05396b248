"""Phantom abdominal CTs with a liver and its tumours, made from a seed alone, and the course's sample data.

Every organ is a signed distance in the coordinates of one standard body, painted organ over organ (``organs`` on a
``canvas``). What makes two cases differ is a scale, a smooth warp that bends all organs together, and a variation of
each organ; then come the lesions and the scanner.

Arrays are (D, H, W) = (z, y, x), indices growing towards the patient's head, front and RIGHT (RAS+). For the
radiologist's view of axial slice k, with the patient's right on the left, show ``image[k, ::-1, ::-1]``.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from lrnet_edu.data import nifti
from lrnet_edu.data.phantoms.canvas import FAR, Array, Canvas
from lrnet_edu.data.phantoms.organs import paint_anatomy
from lrnet_edu.data.phantoms.settings import SETS, PhantomSettings
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import abbreviated
from lrnet_edu.support.jobs import progress

COMMITTED = 20  # cases in data_samples/


class Phantom(NamedTuple):
    """One case."""

    image: Array  # (D, H, W) int16 in HU
    mask: Array  # (D, H, W) uint8 with the labels of LiTS: 0 background, 1 liver, 2 lesion
    spacing: tuple[float, float, float]  # (z, y, x) in mm

    @property
    def affine(self) -> Array:
        """(4, 4) from voxel indices (x, y, z) to RAS+ mm, the volume's middle at the origin."""
        step = np.array(self.spacing[::-1])
        affine = np.diag([*step, 1.0])
        affine[:3, 3] = -step * (np.array(self.image.shape[::-1]) - 1) / 2
        return affine


def phantom_of_set(number: int, which: str, *, lesions: bool = True) -> Phantom:
    """Case ``number`` of a set, the same every time: healthy if that is its turn, or without ``lesions``.

    The body, about 320 x 225 mm, and the liver, 170 mm high, lie around the middle of the volume.
    """
    settings = SETS[which]
    shape, spacing = settings.grids[number % len(settings.grids)]
    anatomy, tumours, scanner = (np.random.default_rng([number, stream, *settings.salt]) for stream in range(3))
    body = Canvas(shape, spacing, anatomy.uniform(*settings.body_scale), anatomy)
    skin, liver, liver_hu = paint_anatomy(body, settings)
    mask = (liver < 0).astype(np.uint8)  # (D, H, W)
    body.rng = tumours  # so that the healthy twin has the same anatomy and noise
    if lesions and number % settings.healthy_every != settings.healthy_every - 1:
        mask[_paint_lesions(body, liver, liver_hu, settings) & (mask == 1)] = 2
    body.rng = scanner
    return Phantom(_scan(body, skin, settings), mask, spacing)


def write_samples(folder: str | Path, cases: int = COMMITTED, first: int = 0, which: str = "course") -> list[Path]:
    """Write phantoms number ``first``, ``first + 1``, ... of a set: ``volume-N.nii.gz``, ``segmentation-N.nii.gz``.

    The set is "course" (whose first twenty are the course's sample data), "study" or "study-b". Returns the files, each
    volume followed by its segmentation; one that is there already is not replaced. InputError, and nothing written, if
    the folder cannot be written or holds other scans than these.
    """
    folder = Path(folder)
    if which not in SETS:
        raise InputError(f"There is no set of phantoms {which!r}; choose one of {', '.join(SETS)}.")
    description = "" if which == "course" else f"lrnet_edu samples {which}"
    pairs = {number: [folder / f"{kind}-{number}.nii.gz" for kind in ("volume", "segmentation")]
             for number in range(first, first + cases)}  # fmt: skip
    files = [path for pair in pairs.values() for path in pair]
    there = {*folder.glob("*.nii*"), *folder.glob("dataset.json")}
    if others := sorted(path.name for path in there.difference(files)):
        raise InputError(f"{folder} holds other scans ({abbreviated(others)}); name another folder.")
    compared_first = sorted(pairs, key=lambda number: there.isdisjoint(pairs[number]))  # before anything is written
    for number in progress(compared_first, "Making phantoms", unit="case"):
        case, axes = phantom_of_set(number, which), dict(SETS[which].stored_otherwise).get(number, "RAS")
        for path, data in zip(pairs[number], (case.image, case.mask), strict=True):
            volume = nifti.Volume(data, case.affine).oriented(axes)
            if path not in there:
                nifti.write(path, volume.data, volume, description=description)
            elif not (nifti.same_grid(old := nifti.read_image(path), volume) and np.array_equal(old.data, volume.data)):
                raise InputError(f"{path} exists and is no phantom of this set; name another folder.")
    return files


def _paint_lesions(body: Canvas, liver: Array, liver_hu: float, settings: PhantomSettings) -> Array:
    """Tumours of many sizes, a few mm apart, the large ones deeper in the liver; their voxels (D, H, W)."""
    rng, (low, high) = body.rng, settings.lesion_count
    count = low + int((high + 1 - low) * rng.uniform() ** 1.2)
    smallest, largest = np.log(settings.lesion_radius_mm)
    radii = np.sort(np.exp(rng.uniform(smallest, largest, count)))[::-1]
    radii[0] = max(radii[0], settings.leading_radius_mm)
    lesions = np.full(body.image.shape, FAR)
    for radius in radii:
        room = np.flatnonzero((liver < -0.5 * radius) & (lesions > radius + 5))
        if room.size:
            voxel = np.unravel_index(rng.choice(room), lesions.shape)
            centre = np.array([body.x[voxel], body.y[voxel], body.z[voxel]])
            part = body.part(centre, 2 * radius + 8)
            lesion = _paint_lesion(part, centre, radius, liver[part.box], liver_hu, settings)
            lesions[part.box] = np.minimum(lesions[part.box], lesion)
    return lesions < 0


def _paint_lesion(
    part: Canvas, centre: Array, radius: float, liver: Array, liver_hu: float, settings: PhantomSettings
) -> Array:
    """One tumour: a dented ellipsoid with its own contrast, border and, if large, perhaps a dead core."""
    rng = part.rng
    stretched = radius * np.exp(rng.normal(0, 0.15, 3))
    lesion = part.ellipsoid(centre, stretched, turn=rng.uniform(0, 180, 2), exact=True)
    lesion = lesion + radius * (0.14 * part.noise(max(radius, 8.0)) + 0.06 * part.noise(5.0))
    hu = liver_hu + rng.uniform(*settings.lesion_contrast_hu)
    edge = min(rng.uniform(*settings.lesion_edge_mm), 0.5 * radius)
    part.paint(np.maximum(lesion, liver + 1), hu + 4 * part.noise(6.0), edge)
    if radius > 11 and rng.uniform() < 0.45:
        core = lesion + radius * (0.45 + 0.12 * part.noise(8.0))
        part.paint(np.maximum(core, liver + 1), hu + settings.necrosis_hu, 2.5)
    return lesion


def _scan(body: Canvas, skin: Array, settings: PhantomSettings) -> Array:
    """What the scanner adds: partial volume, calibration, the noise of a soft kernel; (D, H, W) int16."""
    rng, image = body.rng, ndimage.gaussian_filter(body.image, settings.blur)
    grain = ndimage.gaussian_filter(rng.standard_normal(image.shape), settings.grain)
    mottle = ndimage.gaussian_filter(rng.standard_normal(image.shape), (0.8, 2.5, 2.5))
    noise = grain / grain.std() + 0.35 * mottle / mottle.std()
    # Stronger in the middle of the body, where the rays' way is longest; none in the air, which keeps files small.
    depth = 1.1 - 0.3 * np.hypot(body.x / 160, body.y / 112).clip(0, 1)
    noise *= rng.uniform(*settings.noise_sigma_hu) * depth / noise.std()
    noise += rng.normal(0, 1) + 1.5 * body.noise(80.0)  # calibration, and how it drifts across the body
    image += np.where(skin < 4, noise, 0)
    return image.round().clip(-1000, 1500).astype(np.int16)
