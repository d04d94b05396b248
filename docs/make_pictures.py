"""Draw the README's two pictures: ``python docs/make_pictures.py``."""

from pathlib import Path

import numpy as np
from architecture import architecture_figure

from lrnet_edu.data.cache import cache_cases
from lrnet_edu.data.cases import find_cases
from lrnet_edu.data.nifti import read_image
from lrnet_edu.data.samples import study_folder, study_mnet
from lrnet_edu.figures import differing_slices, results_figure
from lrnet_edu.study.scoring import predictions
from lrnet_edu.trained import load_mnet, load_pretrained_lrnet

TITLES = {"base": "M-Net before", "A": "Dice goes on", "C": "LR-Net alone", "E": "SmoothL1 alone"}


def main() -> None:
    """Write ``docs/architecture.png`` and ``docs/results.png``: of five test cases the slices that differ most."""
    docs, base = Path(__file__).parent, load_mnet(study_mnet())
    (docs / "architecture.png").write_bytes(
        architecture_figure(base.mnet, load_pretrained_lrnet(), base.patch_size).png(120)
    )
    cases = find_cases(study_folder())
    pairs = list(zip(cases, cache_cases(cases, base.preprocessing, base.labels), strict=True))
    found = {title: list(predictions(load_mnet(study_mnet(arm)), pairs)) for arm, title in TITLES.items()}
    masks = [{title: ones[i].p > 0.5 for title, ones in found.items()} for i in range(len(cases))]  # of each case
    i = max(range(len(cases)), key=lambda i: np.ptp(np.array([*masks[i].values()], np.uint8), axis=0).sum())
    wanted, scan = found[TITLES["base"]][i].wanted, read_image(cases[i].image)
    picture = results_figure(scan.data, wanted, masks[i], scan.spacing, differing_slices([*masks[i].values()], 2))
    (docs / "results.png").write_bytes(picture.png(120))


if __name__ == "__main__":
    main()
