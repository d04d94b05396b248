"""The same seed gives the same weights on a CPU, whatever ran before and however many workers help."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scans import lits
from torch.utils.data import DataLoader, Subset

from lrnet_edu import training
from lrnet_edu.config import Config, PretrainConfig
from lrnet_edu.data.study import Study, open_study
from lrnet_edu.lrnet_training import held_out_shapes, pretrain_run
from lrnet_edu.mnet_training import train_run

TINY = Config(features=(4, 8), blocks=(1,), patch_size=(8, 12, 12), steps=4, validate_every=2, max_voxels=40_000)
LESSONS = PretrainConfig(steps=3, validate_every=3, soft=0.5)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRNET_EDU_CACHE", str(tmp_path_factory.mktemp("cache")))
        return open_study(lits(tmp_path_factory.mktemp("scans"), range(5)), TINY)


def weights(folder: Path) -> bytes:
    return (folder / "best.safetensors").read_bytes()


@pytest.mark.parametrize("method", ["unfrozen-lrnet", "cascaded", "multi-branch", "pretraining"])
def test_two_trainings_give_the_same_weights_and_another_seed_others(study: Study, tmp_path: Path, method: str) -> None:
    for number, seed in enumerate((0, 0, 1)):
        torch.manual_seed(number + 5)  # what other work of the same process would leave behind
        np.random.seed(number + 5)
        folder = tmp_path / str(number)
        if method == "pretraining":
            pretrain_run(folder, config=replace(LESSONS, seed=seed), held_out=held_out_shapes(1, 24), device="cpu")
        else:
            train_run(study, replace(TINY, method=method, seed=seed), folder, device="cpu")
    assert weights(tmp_path / "0") == weights(tmp_path / "1")
    assert weights(tmp_path / "0") != weights(tmp_path / "2")


def test_the_weights_do_not_depend_on_who_prepares_the_batches(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worker processes prepare them on a GPU; here they do on the CPU. Where they are spawned, batches are pickled."""
    by = {
        "here": lambda batches, first, last, _: (batches[i] for i in range(first, last)),
        "workers": lambda batches, first, last, _: DataLoader(
            Subset(batches, range(first, last)), batch_size=None, num_workers=2
        ),
        "sent": lambda batches, first, last, _: (pickle.loads(pickle.dumps(batches))[i] for i in range(first, last)),
    }
    for name, ordered in by.items():
        monkeypatch.setattr(training, "ordered_batches", ordered)
        train_run(study, TINY, tmp_path / name, device="cpu")
    assert len({weights(tmp_path / name) for name in by}) == 1
