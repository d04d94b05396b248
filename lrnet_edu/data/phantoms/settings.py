"""The sets of phantoms, ONE table: what a scanner and a population have in common.

What makes the course's set hard was measured in 3D-IRCADb cases 1 and 17 and one case of LiTS: liver 102-118 HU,
lesions 20-50 HU darker, noise sigma 10-20 HU, 2 to 70 lesions from a few voxels to a large part of a lobe; some cases
have none. Phantoms have fewer and larger lesions, for their voxels are larger.
"""

from dataclasses import dataclass, replace

Range = tuple[float, float]
GridSize = tuple[tuple[int, int, int], tuple[float, float, float]]
"""Shape (D, H, W) and spacing (z, y, x) in mm."""


@dataclass(frozen=True)
class PhantomSettings:
    """One set; the defaults are the course's."""

    salt: tuple[int, ...] = ()  # goes into every seed, so that sets show different patients
    grids: tuple[GridSize, ...] = (  # taken in turn; anisotropic and unequal, as in LiTS
        ((40, 128, 128), (5.0, 2.7, 2.7)),
        ((32, 128, 128), (6.0, 2.75, 2.75)),
        ((48, 120, 120), (4.0, 2.9, 2.9)),
        ((36, 128, 128), (5.5, 2.65, 2.65)),
        ((56, 112, 112), (3.5, 3.1, 3.1)),
    )
    healthy_every: int = 6  # the last of so many cases has no lesion
    stored_otherwise: tuple[tuple[int, str], ...] = ()  # case, and where its indices i, j, k grow to; others: "RAS"

    liver_hu: Range = (114.0, 120.0)  # parenchyma; the whole organ measures 102-118, its rim blurs into the fat around
    vessel_hu: Range = (165.0, 190.0)  # aorta, portal and hepatic veins
    body_scale: tuple[tuple[float, ...], tuple[float, ...]] = ((0.96, 0.95, 0.95), (1.03, 1.05, 1.03))  # (z, y, x)

    lesion_contrast_hu: Range = (-64.0, -38.0)  # to the parenchyma, of every lesion; blur takes some of it away
    lesion_radius_mm: Range = (4.0, 28.0)  # log-uniform
    leading_radius_mm: float = 22.0  # the largest lesion of a case has at least this radius
    lesion_count: tuple[int, int] = (1, 10)  # small numbers are more frequent
    lesion_edge_mm: Range = (1.5, 5.0)  # half width of the blurred border
    necrosis_hu: float = -22.0  # the dead core of some large lesions, beside the rest of the lesion

    noise_sigma_hu: Range = (11.0, 17.0)  # of a scan
    blur: tuple[float, ...] = (0.45, 0.5, 0.5)  # voxels (z, y, x); partial volume
    grain: tuple[float, ...] = (0.3, 0.65, 0.65)  # voxels (z, y, x); the reconstruction's kernel, seen in the noise


STUDY = PhantomSettings(  # many small lesions, for `reproduce study`
    salt=(1,),
    grids=(((64, 140, 188), (3.0, 1.8, 1.8)),),
    healthy_every=4,
    lesion_contrast_hu=(-50.0, -28.0),
    lesion_radius_mm=(3.0, 12.0),
    leading_radius_mm=3.0,
    lesion_count=(3, 14),
)
SETS = {
    # data_samples/: one case flipped twice, one in sagittal slices, for readers must honour the affine
    "course": PhantomSettings(stored_otherwise=((3, "LPS"), (8, "PIR"))),
    "study": STUDY,
    "study-b": replace(  # another scanner and another population: sharper and noisier, a later phase, larger patients
        STUDY,
        salt=(2,),
        grids=(((78, 120, 166), (2.5, 2.1, 2.1)),),
        liver_hu=(104.0, 112.0),
        vessel_hu=(145.0, 170.0),
        body_scale=((0.94, 0.98, 0.98), (1.01, 1.08, 1.06)),
        lesion_contrast_hu=(-48.0, -26.0),
        noise_sigma_hu=(14.0, 20.0),
        grain=(0.3, 0.5, 0.5),
    ),
}
