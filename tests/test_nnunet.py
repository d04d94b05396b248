"""nnU-Net's own commands plan, train and predict with the trainer of examples/nnunet, on a made data set."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrnet_edu import TandemLoss

pytestmark = pytest.mark.skipif(find_spec("nnunetv2") is None, reason='install nnU-Net: pip install -e ".[nnunet]"')

TRAINER = Path(__file__).parents[1] / "examples" / "nnunet"
QUICK = '''
from nnUNetTrainerTandem import nnUNetTrainerTandem

class nnUNetTrainerQuick(nnUNetTrainerTandem):
    """Three steps; nnU-Net's validation of whole cases takes minutes on a CPU."""

    def initialize(self):
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 1, 3, 1
        super().initialize()

    def train_step(self, batch):
        result = super().train_step(batch)
        print("map term", float(self.loss.map_term.terms["map"]))
        return result

    def perform_actual_validation(self, save_probabilities=False):
        pass
'''
# timm, which nnU-Net imports, imports torchvision, whose wheel cannot load its operators beside a CPU build of PyTorch.
OPERATORS = """
import torch
try:
    import torchvision
except RuntimeError:
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def made_data_set(folder: Path) -> None:
    """Six scans of one ball each, in nnU-Net's raw layout."""
    rng, affine = np.random.default_rng(0), np.diag([1.5, 1.5, 2, 1])
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / name).mkdir(parents=True)
    for i in range(6):
        centre = rng.integers(8, 16, 3)
        ball = sum((g - c) ** 2 for g, c in zip(np.indices((32, 32, 24)), centre, strict=True)) < 25
        scan = nibabel.Nifti1Image((80 * ball + rng.normal(0, 20, ball.shape)).astype(np.float32), affine)
        nibabel.save(scan, folder / "imagesTr" / f"case{i}_0000.nii.gz")
        nibabel.save(nibabel.Nifti1Image(ball.astype(np.uint8), affine), folder / "labelsTr" / f"case{i}.nii.gz")
    nibabel.save(scan, folder / "imagesTs" / "new_0000.nii.gz")
    described = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "tumour": 1}, "numTraining": 6,
                 "file_ending": ".nii.gz"}  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(described), "utf-8")


def test_nnunet_plans_trains_and_predicts_with_the_maps_term(tmp_path: Path) -> None:
    raw, quick = tmp_path / "raw" / "Dataset004_Made", tmp_path / "trainers"
    made_data_set(raw)
    quick.mkdir()
    (quick / "quick.py").write_text(QUICK, "utf-8")
    (quick / "sitecustomize.py").write_text(OPERATORS, "utf-8")
    folders = {f"nnUNet_{name}": str(tmp_path / name) for name in ("raw", "preprocessed", "results")}
    environment = {
        **os.environ, **folders, "nnUNet_extTrainer": os.pathsep.join([str(TRAINER), str(quick)]),
        "nnUNet_n_proc_DA": "1", "PYTHONPATH": os.pathsep.join([str(TRAINER), str(quick)]),
    }  # fmt: skip

    def run(command: str, *arguments: str) -> str:
        done = subprocess.run([Path(sys.executable).with_name(command), *arguments], env=environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout

    run("nnUNetv2_plan_and_preprocess", "-d", "4", "-c", "3d_fullres", "-npfp", "1", "-np", "1")
    told = run("nnUNetv2_train", "4", "3d_fullres", "0", "-tr", "nnUNetTrainerQuick", "-device", "cpu")
    assert told.count("map term") == 3
    run("nnUNetv2_predict", "-d", "4", "-c", "3d_fullres", "-f", "0", "-tr", "nnUNetTrainerQuick", "-device", "cpu",
        "-i", str(raw / "imagesTs"), "-o", str(tmp_path / "out"), "--disable_tta")  # fmt: skip
    predicted = nibabel.load(tmp_path / "out" / "new.nii.gz")
    assert predicted.shape == (32, 32, 24)
    assert np.unique(predicted.get_fdata()).tolist() in ([0.0], [1.0], [0.0, 1.0])


def test_the_maps_term_is_that_of_the_full_resolution(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deep supervision hands over lists, the full resolution first; without it there is one tensor."""
    exec(OPERATORS, {})
    monkeypatch.syspath_prepend(TRAINER)
    from nnUNetTrainerTandem import WithMapTerm
    from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper

    class Own(nn.Module):
        def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(logits, labels[:, 0].clamp(max=1).long())

    labels = torch.zeros(2, 1, 16, 16, 16)
    labels[:, :, 4:9, 4:9, 4:9] = 1
    labels[:, :, 12:] = 2  # ignored
    logits = torch.randn(2, 2, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    term = TandemLoss(segmentation=None, alpha=7.0, ignore_label=2)
    expected = Own()(logits, labels) + term(logits, labels)
    tandem = WithMapTerm(Own(), term)
    torch.testing.assert_close(tandem(logits, labels), expected)
    tandem.begun = False
    torch.testing.assert_close(tandem(logits, labels), Own()(logits, labels))
    coarse, coarse_labels = (x[..., ::2, ::2, ::2] for x in (logits, labels))
    deep = WithMapTerm(DeepSupervisionWrapper(Own(), (1.0, 0.5)), term)
    found = deep([logits, coarse], [labels, coarse_labels])
    torch.testing.assert_close(found, expected + 0.5 * Own()(coarse, coarse_labels))
