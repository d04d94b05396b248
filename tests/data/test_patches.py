"""Training patches: the same for ever, cut and turned first, their maps computed last."""

import pickle
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scans import prepared_case
from torch.utils.data import DataLoader

from lrnet_edu.data.cache import CachedCase
from lrnet_edu.data.patches import PatchBatches
from lrnet_edu.distance_maps import distance_map
from lrnet_edu.kinds import KINDS

SIZE = (8, 10, 12)
SETTINGS: dict[str, Any] = {
    "kinds": ["NI-DM", "SNI-DM"], "classes": 2, "patch_size": SIZE, "batch_size": 2, "object_share": 0.5,
    "augment": True, "seed": [0, 0], "length": 6,
}  # fmt: skip


@pytest.fixture
def cases(tmp_path: Path) -> list[CachedCase]:
    """Larger than a patch, smaller along one axis and along all of them, with boxes of both classes; one is empty."""
    made = []
    for i, shape in enumerate([(16, 18, 20), (7, 30, 14), (7, 7, 8), (12, 12, 12)]):
        rng, classes = np.random.default_rng(i), np.zeros(shape, np.uint8)
        for c in (1, 1, 2) if i < 3 else ():
            z, y, x = rng.integers(0, np.array(shape) - 6)
            classes[z : z + 3, y : y + 5, x : x + 6] = c
        made.append(prepared_case(tmp_path / f"case-{i}", classes))
    return made


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_depends_on_seed_and_number_alone(cases: list[CachedCase], workers: int) -> None:
    forwards = list(DataLoader(PatchBatches(cases, **SETTINGS), batch_size=None, num_workers=workers))
    np.random.seed(1)
    torch.manual_seed(1)
    again = pickle.loads(pickle.dumps(PatchBatches(cases, **SETTINGS | {"length": 100})))  # as a worker gets it
    for i in reversed(range(len(forwards))):  # another order and length, other global generators
        assert forwards[i].cases == again[i].cases
        torch.testing.assert_close(forwards[i][:3], again[i][:3], rtol=0, atol=0)
    images = [batch.image for batch in forwards]
    images += [PatchBatches(cases, **SETTINGS | {"seed": seed})[0].image for seed in ([0, 1], [1, 0])]
    assert not any(torch.equal(a, b) for a, b in combinations(images, 2))


def test_maps_are_those_of_the_finished_patch(cases: list[CachedCase]) -> None:
    """A lesion that the patch cuts has another maximum and so another map than in the whole volume."""
    batches = PatchBatches(cases, **SETTINGS | {"kinds": list(KINDS)})
    for batch in (batches[i] for i in range(3)):
        assert batch.image.shape == (2, 1, *SIZE)
        for kind in KINDS:
            expected = [[distance_map(one == c, kind) for c in (1, 2)] for one in batch.classes.numpy()]
            np.testing.assert_array_equal(batch.maps[kind], expected)


def test_image_and_classes_are_turned_together(cases: list[CachedCase]) -> None:
    """The image shows the classes, so gain and offset aside both must look alike after augmentation."""
    settings = SETTINGS | {"object_share": 1.0, "length": 20}
    augmented, plain = (PatchBatches(cases[:1], **settings | {"augment": turn}) for turn in (True, False))
    for i in range(20):
        for image, classes in zip(augmented[i].image[:, 0], augmented[i].classes, strict=True):
            offset = image[classes == 0].mean()
            gain = ((image[classes > 0] - offset) / classes[classes > 0]).mean()
            assert 0.5 < float(gain) < 2
            torch.testing.assert_close(image, gain * classes + offset, rtol=0, atol=1e-5)
    assert not all(torch.equal(plain[i].classes, augmented[i].classes) for i in range(20))


def test_object_centred_patches_hold_an_object_of_either_class(tmp_path: Path) -> None:
    """Two single voxels in a large volume: no random patch meets one, every centred patch does."""
    classes = np.zeros((60, 60, 60))
    classes[10, 20, 30], classes[59, 0, 59] = 1, 2
    case = prepared_case(tmp_path / "rare", classes)
    counts = {}
    for share in (0.0, 0.5, 1.0):
        batches = PatchBatches([case], **SETTINGS | {"kinds": [], "object_share": share, "length": 60})
        patches = torch.cat([batches[i].classes for i in range(60)])
        counts[share] = [int((patches == c).flatten(1).any(1).sum()) for c in (1, 2)]
    assert sum(counts[0.0]) < 10
    assert sum(counts[1.0]) == 120
    assert min(counts[1.0]) > 30  # each class gets its share
    assert 40 < sum(counts[0.5]) < 85


def test_patches_without_a_choice_of_object_reach_every_corner(tmp_path: Path) -> None:
    shape = (12, 13, 14)
    image = np.arange(np.prod(shape)).reshape(shape)
    case = prepared_case(tmp_path / "plain", np.zeros(shape), image)
    plain = {"kinds": [], "object_share": 0.0, "augment": False, "length": 200}
    batches = PatchBatches([case], **SETTINGS | plain)
    seen = {int(value) for i in range(200) for value in batches[i].image.unique()}
    assert seen == set(range(image.size))


def test_a_volume_smaller_than_the_patch_is_padded_around(tmp_path: Path) -> None:
    classes = np.ones((5, 10, 9))
    image = np.random.default_rng(0).random(classes.shape)
    case = prepared_case(tmp_path / "small", classes, image)
    batch = PatchBatches([case], **SETTINGS | {"augment": False})[0]
    around = ((2, 1), (0, 0), (2, 1))
    assert np.array_equal(batch.image[0, 0].numpy(), np.pad(image, around, mode="edge").astype(np.float32))
    assert np.array_equal(batch.classes[0].numpy(), np.pad(classes, around))  # what is added is background
