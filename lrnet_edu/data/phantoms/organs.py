"""The anatomy of the phantoms, painted from the background to the front, one function per group of organs.

Places and sizes are mm in the standard body, (x, y, z) = (right, front, head) of its middle, which lies in
front of the spine at half the liver's height. Attenuations are those of a portal venous CT: the liver's as
measured in 3D-IRCADb cases 1 and 17 and one case of LiTS, the others' in the usual range of their tissue.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from lrnet_edu.data.phantoms.canvas import FAR, Array, Canvas, Point, carved, smooth_union
from lrnet_edu.data.phantoms.settings import PhantomSettings

SIDES = (1, -1)  # the patient's right, left


def paint_anatomy(body: Canvas, settings: PhantomSettings) -> tuple[Array, Array, float]:
    """Paint all but the lesions, from the back to the front; the skin's and the liver's shape, and the liver's HU."""
    vessel_hu, liver_hu = body.rng.uniform(*settings.vessel_hu), body.rng.uniform(*settings.liver_hu)
    skin, cavity = _trunk(body)
    chest = _lungs_and_heart(body, cavity)
    spine = _spine(body)
    kidneys, spleen = _kidneys_and_spleen(body, cavity, chest)
    _gut(body, cavity, chest, spleen)
    cava = _great_vessels_and_pancreas(body, vessel_hu)
    liver = _liver_shape(body, cavity, chest, spine, kidneys, cava)
    _liver(body, liver, cavity, liver_hu, vessel_hu)
    body.paint(cava - 0.5, vessel_hu - 10)  # it runs in a groove of the liver, no fat between
    return skin, liver, liver_hu


def _trunk(body: Canvas) -> tuple[Array, Array]:
    """The table, skin, subcutaneous fat, the muscular wall with its ribs, the fat inside; skin and cavity."""
    x, y, z = body.x, body.y, body.z
    table = body.axes[1][:, None] + 136 - 3 * (body.axes[2] / 60) ** 2  # (H, W), straight
    body.paint(np.broadcast_to(np.abs(table) - 4, x.shape), 60.0)
    oval = (np.abs(x / 160) ** 2.3 + np.abs(y / 112) ** 2.3) ** (1 / 2.3)
    skin = np.hypot(x, y) * (1 - 1 / oval.clip(1e-3))
    wall = skin + body.rng.uniform(9, 18) * (1 + 0.4 * np.abs(x) / 160)
    cavity = wall + 13
    body.paint_layers(skin, {0: 20.0, 2.5: -104.0 + 4 * body.soft})
    body.paint(wall, 55.0 + 5 * body.fine)
    body.paint(np.maximum(np.abs(wall + 5) - 0.5, 60 - np.abs(x)), -30.0)  # fat between the flank's layers
    for side in SIDES:
        body.paint(body.ellipsoid((side * 31, -83, 0), (32, 21, 400)), 58.0 + 6 * body.fine)
    body.paint(cavity, -103.0 + 6 * body.soft)
    angle = np.abs(np.arctan2(x, -y))  # 0 at the spine, pi at the breastbone
    turn = (z + 62 * angle) / 31 + body.rng.uniform()  # ribs slope down to the front
    across = 26 * (turn - np.round(turn))  # mm from the middle of the nearest rib
    rib = np.hypot(0.75 * across, wall + 7) - 4.6
    rib = np.maximum(rib, np.maximum(48 * angle - 95 - z, 60 * (0.3 - angle)))  # none below the costal arch
    bony = np.where(angle < 2.35, rib, FAR)
    body.paint_layers(bony, {0: 480.0, 3: 200.0})
    body.paint(np.where(angle < 2.35, FAR, rib), 95.0)  # cartilage
    return skin, cavity


def _lungs_and_heart(body: Canvas, cavity: Array) -> Array:
    """Lung bases above the two domes of the diaphragm, the mediastinum, the heart's underside; the chest."""
    x, y, z = body.x, body.y, body.z
    right = 24 * np.exp(-(((x - 68) / 60) ** 2) - (y / 62) ** 2)
    left = 16 * np.exp(-(((x + 70) / 55) ** 2) - (y / 62) ** 2)
    recess = (80 - 0.45 * y) * np.exp(-(-cavity).clip(0) / 14)  # the lung's edge hangs lowest along the back
    chest = 0.7 * (52 + right + left - recess - z)
    lung = -smooth_union(-(cavity + 2), -chest, 8)
    air = -850.0 + 25 * body.soft + 330 * (body.fine - 1.4).clip(0, 1)
    body.paint_layers(lung, {-3.5: 52.0, 0: air})  # the diaphragm, the lung
    body.paint(body.ellipsoid((0, -15, 110), (30, 45, 75)), 45.0 + 10 * body.soft)
    heart = body.ellipsoid((-22, 32, 104), (66, 48, 46), turn=(-20, 15))
    body.paint_layers(heart, {0: -90.0, 4: 105.0 + 5 * body.fine, 13: 158.0})
    return chest


def _spine(body: Canvas) -> Array:
    """Vertebrae, discs, arch, processes and the canal; the spine with the muscles beside it."""
    x, y = body.x, body.y
    level = (body.z / 33 + body.rng.uniform()) % 1.0  # 0 .. 1 along one vertebra and the disc above it
    disc = level > 0.82
    vertebra = 19 * (np.hypot(x / 23, (y + 54) / 17.5) - 1)
    body.paint(18 * np.hypot(x / 22, (y + 80) / 17) - 18, 300.0)  # the arch
    inner = np.where(disc, 95.0, 190.0 + 25 * body.fine)
    body.paint_layers(vertebra, {0: np.where(disc, 85.0, 430.0), 3: inner})
    spinous = np.hypot(x, y + y.clip(-106, -90) * -1) - 4.5
    transverse = np.hypot(np.abs(x) - np.abs(x).clip(14, 40), y + 73 + 0.45 * np.abs(x)) - 4.0
    body.paint(np.where(level < 0.6, np.minimum(spinous, transverse), FAR), 380.0)
    body.paint(8.5 * (np.hypot(x / 10, (y + 77) / 8) - 1), 15.0)
    body.paint(np.hypot(x, y + 77) - 4.5, 42.0)  # the cord
    return np.minimum(vertebra, 22 * np.hypot(x / 45, (y + 82) / 22) - 22)


def _kidneys_and_spleen(body: Canvas, cavity: Array, chest: Array) -> tuple[Array, Array]:
    """Psoas and crura, kidneys with cortex, medulla, pelvis and sinus fat, spleen; the last two's shapes."""
    both = np.full(body.x.shape, FAR)
    for side, height in zip(SIDES, body.rng.normal((-64, -46), 5), strict=True):
        body.paint(body.ellipsoid((side * 31, -50, -85), (14, 16, 60)), 60.0 + 4 * body.fine)
        body.paint(body.path([(side * 20, -52, -60), (side * 17, -36, 0), (side * 19, -28, 60)], 4.5), 58.0)
        kidney = body.ellipsoid((side * 68, -46, height), (25, 27, 53), turn=(side * -35, side * 10))
        sinus = body.ellipsoid((side * 53, -38, height), (14, 8, 26), turn=(side * -35, 0))
        kidney = carved(kidney, (sinus, 0, 4))
        body.paint_layers(kidney, {0: 170.0 + 4 * body.fine, 9: 145.0 + 12 * body.fine})
        body.paint(body.ellipsoid((side * 50, -38, height), (8, 5, 14)), 20.0)
        both = np.minimum(both, kidney)
    spleen = body.ellipsoid((-96, -36, 16), (36, 50, 58), turn=(-25, -8))
    spleen = carved(spleen, (-cavity, 4, 6), (both, 5, 6), (chest, 4, 6))
    body.paint(spleen, 120.0 + 4 * body.soft)
    return both, spleen


def _gut(body: Canvas, cavity: Array, chest: Array, spleen: Array) -> None:
    """Stomach, bowel loops and the colon's bends; air gathers in front, for the patient lies on the back."""
    rng = body.rng
    fundus = body.ellipsoid((-62, 14, 28), (37, 40, 42), turn=(20, 0))
    antrum = body.ellipsoid((-26, 42, -24), (46, 22, 24), turn=(-18, 25))
    stomach = carved(smooth_union(fundus, antrum, 18), (-cavity, 4, 6), (chest, 5, 6), (spleen, 4, 6)) + 2 * body.soft
    body.paint_layers(stomach, {0: 75.0, 4: rng.uniform(15, 40) + 10 * body.fine})
    body.paint(np.maximum(stomach + 4, rng.uniform(30, 42) - body.y), -960.0)
    colon = [((98, 34, -96), (21, 22, 34)), ((-104, 20, -40), (21, 22, 34)), ((-108, -12, -80), (20, 21, 40))]
    small = list(zip(rng.uniform((-95, -15, -110), (45, 70, -45), (26, 3)), rng.uniform(10, 21, (26, 3)), strict=True))
    room = np.maximum(cavity + 3, 20 - np.hypot(body.x - 5, 0.8 * (body.y + 10)))  # beside the great vessels
    for centre, radii in small + colon:
        part = body.part(np.array(centre), 1.3 * max(radii) + 10)
        loop = part.ellipsoid(centre, radii, turn=(rng.uniform(-60, 60), 0)) + 1.5 * part.fine
        loop = np.maximum(loop, room[part.box])
        part.paint_layers(loop, {0: 72.0, 3.5: rng.choice([15.0, 35.0, 60.0]) + 15 * part.fine})
        if rng.uniform() < 0.35:
            part.paint(np.maximum(loop + 3.5, centre[1] + 2 - part.y), -930.0)


def _great_vessels_and_pancreas(body: Canvas, hu: float) -> Array:
    """Aorta, mesenteric and splenic vessels, pancreas, inferior vena cava; the latter's shape."""
    body.paint(body.path([(-7, -25, 150), (-10, -25, 30), (-6, -27, -40), (-3, -27, -150)], 10.5), hu + 5)
    body.paint(body.path([(-6, -18, -20), (-4, 2, -45), (0, 8, -130)], 4.0), hu)
    pancreas = body.path([(34, 2, -50), (14, 12, -36), (-18, 10, -24), (-52, -8, -10), (-74, -20, 2)], 10)
    body.paint(pancreas + 2.5 * body.fine, 95.0 + 8 * body.fine)
    body.paint(body.path([(8, 6, -130), (8, 3, -36), (-30, -4, -20), (-74, -26, 8)], 4.5), hu)
    cava = body.path([(20, -8, 72), (23, -22, 45), (23, -24, 0), (18, -24, -60), (16, -25, -150)], 10.5)
    body.paint(cava, hu - 10)
    return cava


def _liver_shape(body: Canvas, cavity: Array, chest: Array, spine: Array, kidneys: Array, cava: Array) -> Array:
    """A large right lobe and a thin left one across the midline, moulded by the neighbours."""
    right = body.ellipsoid((70, -4, -2), (74, 92, 98), turn=(8, -10))
    left = body.ellipsoid((-8, 44, 20), (80, 32, 50), turn=(-12, -8))
    hilum = body.ellipsoid((14, -14, -44), (26, 32, 48), turn=(-25, 0))
    fossa = body.ellipsoid((62, -62, -72), (36, 36, 60), turn=(-35, 0))  # the kidney's bed
    around = [(-cavity, 3, 4), (chest, 4, 6), (hilum, 0, 14), (fossa, 0, 12), (kidneys, 4, 8), (spine, 6, 8)]
    return carved(smooth_union(right, left, 22) + 2 * body.soft, *around, (cava, 0, 2))


def _liver(body: Canvas, liver: Array, cavity: Array, liver_hu: float, vessel_hu: float) -> None:
    """Parenchyma, vessels, and what is cut out of ``liver`` in place: gall bladder and fissures, dark, no lesions."""
    gall = body.ellipsoid((40, 34, -50), (12, 22, 24), turn=(-20, 20))
    teres = body.ellipsoid((4, 40, -14), (3.0, 22, 34), turn=(-15, 10)) + body.fine
    venosum = body.ellipsoid((4, 16, 14), (22, 2.6, 22), turn=(-24, 0)) + body.fine
    liver[:] = carved(liver, (gall, 2, 3), (teres, 0, 3), (venosum, 0, 3))
    body.paint(np.maximum(liver - 3, cavity), -95.0)  # a rim of fat keeps neighbours apart
    body.paint(liver, liver_hu + 2 * body.fine + 3 * body.soft)
    veins = _tree(body.rng, (22, -12, 60), [(75, -35, -30), (60, 45, -35), (-20, 55, -22)], 7.0)
    portal = _tree(body.rng, (24, -2, -18), [(70, -10, -2), (65, -5, -45), (-25, 38, 18), (45, 45, 5)], 7.5)
    trunk = [(np.array((8.0, 3, -40)), np.array((24.0, -2, -18)), 7.5, 6.5)]
    body.paint(np.maximum(body.tubes(veins + portal), liver + 2), vessel_hu)
    body.paint(body.tubes(trunk), vessel_hu)
    body.paint_layers(gall, {-1.5: 45.0, 0: 8.0})


def _tree(rng: np.random.Generator, root: Point, ways: list[Point], radius: float) -> list:
    """Segments for ``Canvas.tubes``: vessels that leave ``root`` along ``ways`` and fork three times."""
    segments = []
    tips = [(np.array(root, float), 0.55 * np.array(way, float), 0.85 * radius) for way in ways]
    for _ in range(4):
        forks = []
        for start, way, thick in tips:
            end = start + way * rng.uniform(0.85, 1.15)
            segments.append((start, end, thick, 0.8 * thick))
            for angle in rng.uniform((15, -45), (45, -15)):
                normal = np.cross(way, rng.normal(size=3))
                bend = Rotation.from_rotvec(np.radians(angle) * normal / np.linalg.norm(normal))
                forks.append((end, 0.75 * bend.apply(way), max(0.7 * thick, 1.9)))
        tips = forks
    return segments
