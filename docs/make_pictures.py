"""Draw the README's two pictures out of a finished demo: ``python docs/make_pictures.py runs/demo``."""

from __future__ import annotations

import sys
from pathlib import Path

from lrnet_edu.data.nifti import read_image, read_mask
from lrnet_edu.data.samples import sample_folder
from lrnet_edu.figures import architecture_figure, representative_slices, results_figure
from lrnet_edu.methods import METHODS
from lrnet_edu.study.demo import DEMO_METHODS, LABELS, demo_config
from lrnet_edu.support.labels import encode
from lrnet_edu.trained import load_lrnet, load_mnet

CASE = "2"  # the test case of the demo's report


def main(demo: Path) -> None:
    """Write ``docs/architecture.png`` and ``docs/results.png``."""
    docs = Path(__file__).parent
    networks = load_mnet(demo / "dice").mnet, load_lrnet(demo / "lrnet" / "best.safetensors")
    (docs / "architecture.png").write_bytes(architecture_figure(*networks, demo_config("dice", 0).patch_size).png(120))
    scan = read_image(sample_folder() / f"volume-{CASE}.nii.gz")
    truth = encode(read_mask(sample_folder() / f"segmentation-{CASE}.nii.gz").data, LABELS)
    found = {
        METHODS[method].title: encode(
            read_mask(demo / method / "predictions" / f"segmentation-{CASE}.nii.gz").data, LABELS
        )
        for method in DEMO_METHODS
    }
    picture = results_figure(scan.data, truth, found, scan.spacing, representative_slices(truth, 2))
    (docs / "results.png").write_bytes(picture.png(120))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
