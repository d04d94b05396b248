"""Draw the README's two pictures: ``python docs/make_pictures.py``."""

from __future__ import annotations

from pathlib import Path

from lrnet_edu.data.cache import cache_cases
from lrnet_edu.data.cases import find_cases
from lrnet_edu.data.nifti import read_image
from lrnet_edu.data.samples import study_folder, study_mnet
from lrnet_edu.figures import architecture_figure, representative_slices, results_figure
from lrnet_edu.study.scoring import predictions
from lrnet_edu.trained import load_mnet, load_pretrained_lrnet

CASE = "volume-76"  # the study's first test case with lesions
TITLES = {"base": "M-Net before", "A": "Dice goes on", "C": "LR-Net alone", "E": "SmoothL1 alone"}


def main() -> None:
    """Write ``docs/architecture.png`` and ``docs/results.png``."""
    docs, base = Path(__file__).parent, load_mnet(study_mnet())
    (docs / "architecture.png").write_bytes(
        architecture_figure(base.mnet, load_pretrained_lrnet(), base.patch_size).png(120)
    )
    (case,) = (case for case in find_cases(study_folder()) if case.name == CASE)
    cached = cache_cases([case], base.preprocessing, base.labels)
    found = {title: next(predictions(load_mnet(study_mnet(arm)), [(case, cached[0])])) for arm, title in TITLES.items()}
    wanted, scan = found[TITLES["base"]].wanted, read_image(case.image)
    masks = {title: one.p > 0.5 for title, one in found.items()}
    picture = results_figure(scan.data, wanted, masks, scan.spacing, representative_slices(wanted, 2))
    (docs / "results.png").write_bytes(picture.png(120))


if __name__ == "__main__":
    main()
