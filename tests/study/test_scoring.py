"""Predictions of a study's cases, scored on the grid of their files."""

from pathlib import Path

import nibabel as nib
import torch
from scans import AFFINE, lits
from torch import Tensor, nn

from lrnet_edu.data.study import DataSettings, open_study
from lrnet_edu.study.scoring import cases_of_part, predictions
from lrnet_edu.trained import TrainedMNet


class BrightBall(nn.Module):
    """Finds the ball of `scans.scan` by its grey."""

    def forward(self, image: Tensor) -> Tensor:
        return 50 * torch.cat((0.62 - image, image - 0.62), dim=1)


def test_a_mask_that_agrees_with_one_form_of_its_image_is_scored_where_it_lies(tmp_path: Path) -> None:
    for path in lits(tmp_path, range(3)).glob("volume-*"):
        image = nib.Nifti1Image.from_bytes(nib.load(path).to_bytes())
        moved = AFFINE.copy()
        moved[:3, 3] += 10, -8, 6
        image.set_qform(AFFINE, 1)
        image.set_sform(moved, 1)
        nib.save(image, path)
    study = open_study(tmp_path, DataSettings(max_voxels=40_000))
    trained = TrainedMNet(BrightBall(), study.labels, (16, 24, 24), study.preprocessing)  # type: ignore[arg-type]
    (found,) = predictions(trained, cases_of_part(study, "test"))
    assert found.record()["dice"] > 0.9
