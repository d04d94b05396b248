"""Section 5 of the page: what other definitions of the criteria give."""

import numpy as np
from scipy import ndimage

from benchmarks.readings.balls import ball
from lrnet_edu import case_scores, challenge_scores, score_table
from lrnet_edu.metrics import surface, surface_distances

UNIT = (1.0, 1.0, 1.0)


def readings() -> dict[str, str]:
    """Row of the page -> what another definition gives."""
    reference = ball(8, 64, (20, 20, 20))
    found = reference | ball(2, 64, (50, 20, 20))
    there, back = surface_distances(found, reference, UNIT)
    scores = case_scores(found, reference, UNIT)
    pooled = np.concatenate((there, back))
    nothing = np.zeros_like(reference)
    healthy, missed = case_scores(nothing, nothing, UNIT), case_scores(nothing, reference, UNIT)
    half = case_scores(*halves(), UNIT)
    surfaces = [
        np.sum(reference & ~ndimage.binary_erosion(reference, ndimage.generate_binary_structure(3, n))) for n in (1, 3)
    ]
    table = score_table([scores, missed])
    large, small = case_scores(reference, reference, UNIT), case_scores(nothing, ball(2, 64, (50, 20, 20)), UNIT)
    both = score_table([large, small])
    false_alarm = ball(2, 64, (50, 20, 20))
    return {
        "DC, DG": f"A ball of 8 found and one of 2 missed: DC {both.mean['DC']:.2f}, DG {both.mean['DG']:.3f}",
        "RVD": f"A lesion found by half: {half.rvd:+.2f}; the LiTS board's (R - P) / P {-half.rvd / (1 + half.rvd):+.2f}",
        "surface": f"A ball of 8 has {surface(reference).sum()} surface voxels; by 6 neighbours {surfaces[0]}, by 26 {surfaces[1]}",
        "ASSD, RMSD": f"A ball of 8 and a false alarm of 2, 30 voxels off: ASSD {scores.assd:.2f}, RMSD {scores.rmsd:.2f} mm; "
        f"as means of two means {(there.mean() + back.mean()) / 2:.2f} and "
        f"{(np.sqrt(np.mean(there**2)) + np.sqrt(np.mean(back**2))) / 2:.2f}",
        "MSD": f"The same: {scores.msd:.1f} mm; the 95th percentile {np.percentile(pooled, 95):.1f} mm",
        "both masks empty": f"Left out in place of 1: DC of such a case and a missed lesion {score_table([missed]).mean['DC']:.2f} "
        f"in place of {score_table([healthy, missed]).mean['DC']:.2f}",
        "prediction empty": f"With RVD undefined too, the mean abs(RVD) of a missed lesion and the case of ASSD above would be "
        f"{abs(scores.rvd):.2f} in place of {table.mean['abs_RVD']:.2f}",
        "reference empty": f"With 1 for an empty reference, RVD of a false alarm of {np.sum(false_alarm)} voxels would be "
        f"{np.sum(false_alarm)}, and its Dice {1 / (1 + np.sum(false_alarm)):.2f}",
        "cases without a lesion": f"A lesion found and a false alarm in a healthy case: DC "
        f"{score_table([large, case_scores(false_alarm, nothing, UNIT)]).mean['DC']:.2f}; without the healthy case "
        f"{score_table([large]).mean['DC']:.2f}",
        "the LiTS board's counts": "One predicted lesion over two real ones, which fill it to four fifths: "
        f"{board_counts(gap=2)}; over two that fill it to two fifths: {board_counts(gap=6)}",
        "undefined values": f"A missed lesion beside the case of ASSD above: ASSD {table.mean['ASSD']:.2f} and 1 undefined; "
        f"with the scan's diagonal for the missed one {(scores.assd + 64 * 3**0.5) / 2:.2f}",
    }


def board_counts(gap: int) -> str:
    """A predicted lesion of 10 voxels over two real ones with a gap between them, as the board's program counts."""
    prediction, reference = np.ones((2, 3, 3, 14), np.uint8)  # liver
    prediction[1, 1, 2:12] = reference[1, 1, 2:12] = 2
    reference[1, 1, 7 - gap // 2 : 7 + gap // 2] = 1
    counts = challenge_scores([(prediction, reference, UNIT)]).detection[0.5]
    return f"true positives {counts.true_positives}, lesions found {counts.found}"


def halves() -> tuple[np.ndarray, np.ndarray]:
    reference = np.zeros((16, 16, 16), bool)
    reference[4:12, 4:12, 4:12] = True
    found = reference.copy()
    found[8:] = False
    return found, reference
