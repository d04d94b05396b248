"""The study's arms and what they train."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lrnet_edu.config import Config
from lrnet_edu.data.patches import Batch
from lrnet_edu.losses import DiceLoss
from lrnet_edu.methods import METHODS
from lrnet_edu.study.froc import THRESHOLDS
from lrnet_edu.study.protocol import ARMS, MORE, PRIMARY, SCRATCH, SECONDARY, Plan, falling_rate
from lrnet_edu.study.reproduce_study import branches_to_test

SMALL = Config(features=(4, 8), blocks=(1,), patch_size=(8, 16, 16), steps=4)


def error(p: Tensor, classes: Tensor) -> Tensor:
    """Smooth L1 of p and the mask, below 1 half of the square, at the alpha of the test."""
    return 7.0 * (0.5 * (p[:, 1] - classes) ** 2).mean()


@pytest.mark.parametrize(("method", "by_hand"), [
    ("voxelwise", error),  # the control of the LR-Net
    ("dice+voxelwise", lambda p, classes: error(p, classes) + DiceLoss()(p, classes)),
    ("dice+ce", lambda p, classes: DiceLoss()(p, classes) + F.cross_entropy(p.log(), classes)),  # nnU-Net's
])  # fmt: skip
def test_the_losses_of_the_study_alone(method: str, by_hand: Callable[[Tensor, Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    image, classes = torch.rand(2, 1, 8, 16, 16).double(), torch.zeros(2, 8, 16, 16, dtype=torch.int64)
    classes[0, 2:5, 4:9, 4:9] = 1
    model = METHODS[method].model(SMALL, 2).double().eval()
    p = torch.softmax(model.get_submodule("mnet")(image), 1)
    loss = METHODS[method].loss(replace(SMALL, method=method, alpha=7.0), model)
    torch.testing.assert_close(loss(Batch(image, classes, {}, ["a", "b"])), by_hand(p, classes))


def test_all_branches_of_a_seed_differ_in_nothing_but_the_loss() -> None:
    size = Plan()
    configs = [size.branch(arm, 3, start="base", lrnet=row.lrnet) for arm, row in ARMS.items()]
    assert {(c.seed, c.steps, c.warmup, c.start, c.learning_rate, c.patch_size) for c in configs} == {
        (1003, 600, 0, "base", 1e-3, (32, 48, 48))
    }
    assert len({(c.method, c.lrnet) for c in configs}) == len(ARMS)
    alone = {arm: config.alpha for arm, config in zip(ARMS, configs, strict=True) if arm in "CEHK"}
    assert alone == dict.fromkeys("CEHK", 1000.0)  # in the record; at 1 E's gradients were as small as Adam's eps
    *_, branches, _ = branches_to_test(size, Path("study"), 1, {"B": 300.0, "D": 3000.0})
    scratch = {branch.arm[0]: branch.config for branch in branches}
    alphas = {"A": None, "B": 300.0, "C": 1000.0, "D": 3000.0, "E": 1000.0}
    assert {arm: config.alpha for arm, config in scratch.items()} == alphas
    assert {arm: config.warmup for arm, config in scratch.items()} == {"A": 0, **dict.fromkeys("BCDE", 2550)}
    assert {(c.seed, c.steps, c.start, c.learning_rate) for c in scratch.values()} == {
        (2000, size.config.steps + size.steps, None, 4e-3)
    }


def test_parts_share_no_case_and_comparisons_name_arms() -> None:
    split = Plan().split
    assert [len(split[part]) for part in ("train", "validation", "test")] == [60, 15, 80]
    assert len({name for names in split.values() for name in names}) == 155
    arms = {*ARMS, *(f"{arm}-scratch" for arm in SCRATCH)}
    assert {arm for pair in (*PRIMARY, *SECONDARY, *MORE) for arm in pair} <= arms
    assert list(THRESHOLDS) == sorted(THRESHOLDS, reverse=True)
    assert falling_rate(0) == 1
    assert falling_rate(1) == pytest.approx(0)
    assert np.diff([falling_rate(x) for x in np.linspace(0, 1, 9)]).max() < 0
