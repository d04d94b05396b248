"""The study's arms and what they train."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lrnet_edu.config import Config
from lrnet_edu.data.patches import Batch
from lrnet_edu.losses import DiceLoss
from lrnet_edu.methods import METHODS
from lrnet_edu.study.froc import THRESHOLDS
from lrnet_edu.study.protocol import ARMS, MORE, PRIMARY, SECONDARY, Plan, falling_rate

SMALL = Config(features=(4, 8), blocks=(1,), patch_size=(8, 16, 16), steps=4)


def batch_and_p(method: str) -> tuple[Batch, torch.Tensor, torch.nn.Module]:
    torch.manual_seed(0)
    image, classes = torch.rand(2, 1, 8, 16, 16).double(), torch.zeros(2, 8, 16, 16, dtype=torch.int64)
    classes[0, 2:5, 4:9, 4:9] = 1
    model = METHODS[method].model(SMALL, 2).double().eval()
    return Batch(image, classes, {}, ["a", "b"]), torch.softmax(model.get_submodule("mnet")(image), 1), model


@pytest.mark.parametrize(("method", "dice"), [("voxelwise", 0), ("dice+voxelwise", 1)])
def test_the_control_regresses_the_mask_itself(method: str, dice: int) -> None:
    batch, p, model = batch_and_p(method)
    error = (p[:, 1] - batch.classes).abs()  # below 1, where smooth L1 is half of the square
    expected = 7.0 * (0.5 * error**2).mean() + dice * DiceLoss()(p, batch.classes)
    loss = METHODS[method].loss(replace(SMALL, method=method, alpha=7.0), model)
    torch.testing.assert_close(loss(batch), expected)


def test_the_loss_of_nnu_net_is_dice_and_cross_entropy() -> None:
    batch, p, model = batch_and_p("dice+ce")
    expected = DiceLoss()(p, batch.classes) + F.cross_entropy(p.log(), batch.classes)
    torch.testing.assert_close(METHODS["dice+ce"].loss(SMALL, model)(batch), expected)


def test_all_branches_of_a_seed_differ_in_nothing_but_the_loss() -> None:
    size = Plan()
    configs = [size.branch(arm, 3, start="base", lrnet=row.lrnet) for arm, row in ARMS.items()]
    assert {(c.seed, c.steps, c.warmup, c.start, c.learning_rate, c.patch_size) for c in configs} == {
        (1003, 600, 0, "base", 1e-3, (32, 48, 48))
    }
    assert len({(c.method, c.lrnet) for c in configs}) == len(ARMS)
    scratch = [size.config_from_scratch(arm, 3) for arm in ("A", "B", "C")]
    assert {(c.seed, c.steps, c.start, c.learning_rate) for c in scratch} == {
        (2003, size.config.steps + size.steps, None, 4e-3)
    }


def test_parts_share_no_case_and_comparisons_name_arms() -> None:
    split = Plan().split
    assert [len(split[part]) for part in ("train", "validation", "test")] == [60, 15, 80]
    assert len({name for names in split.values() for name in names}) == 155
    assert {arm for pair in (*PRIMARY, *SECONDARY, *MORE) for arm in pair} <= set(ARMS)
    assert list(THRESHOLDS) == sorted(THRESHOLDS, reverse=True)
    assert falling_rate(0) == 1
    assert falling_rate(1) == pytest.approx(0)
    assert np.diff([falling_rate(x) for x in np.linspace(0, 1, 9)]).max() < 0
