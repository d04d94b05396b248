"""The challenge's scoring against its five steps read literally (`plain_challenge.py`) and cases worked out by hand."""

import json
import math
import weakref
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_challenge import plain_challenge_scores
from scans import SHAPE, store

from lrnet_edu import challenge_scores
from lrnet_edu.commands.evaluate import evaluate_folders, scores_as_text
from lrnet_edu.study.challenge import Detection
from lrnet_edu.support.errors import InputError

SPACING = (2.5, 0.7, 1.1)
Case = tuple[np.ndarray, np.ndarray, tuple[float, float, float]]


def assert_agrees(cases: list[Case]) -> None:
    """Every number of the board is what the literal reading finds; counts exactly."""
    ours, plain = asdict(challenge_scores(cases)), plain_challenge_scores(cases)
    assert list(ours) == list(plain)
    for key, wanted in plain.items():
        if key in ("lesion", "liver", "tumour_burden"):
            assert ours[key] == pytest.approx(wanted, rel=1e-5, abs=1e-6), key
        else:
            assert ours[key] == wanted, key


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_small_volumes_full_of_ties(data: st.DataObject) -> None:
    """Few voxels, so that equal intersections, thresholds met exactly, and empty volumes are common."""
    shape = data.draw(st.tuples(*[st.integers(1, 4)] * 3))
    count = math.prod(shape)
    volumes = st.lists(st.sampled_from([0, 1, 2, 2]), min_size=count, max_size=count)
    cases = []
    for _ in range(data.draw(st.integers(1, 3))):
        order = data.draw(st.sampled_from("CF"))  # of the memory; ties must not depend on it
        arrays = [np.array(data.draw(volumes), np.uint8).reshape(shape) for _ in range(2)]
        prediction, reference = (np.array(array, order=order) for array in arrays)
        cases.append((prediction, reference, SPACING))
    assert_agrees(cases)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_boxes_that_merge_and_split(data: st.DataObject) -> None:
    """Lesions as boxes along a line: one across several, several inside one, chains of both."""
    length = 24
    spans = st.lists(st.tuples(st.integers(0, length - 1), st.integers(1, 9), st.integers(1, 3)), max_size=6)
    volumes = []
    for _ in range(2):
        volume = np.ones((3, 3, length), np.uint8)
        for start, size, height in data.draw(spans):
            volume[:height, 1, start : start + size] = 2
        volumes.append(volume)
    assert_agrees([(volumes[0], volumes[1], SPACING)])


def line(*spans: tuple[int, int]) -> np.ndarray:
    """A liver along x with lesions at the given [start, stop), one voxel thin."""
    volume = np.ones((3, 3, 40), np.uint8)
    for start, stop in spans:
        volume[1, 1, start:stop] = 2
    return volume


COUNTED = {  # predicted, real: at 0 and at 0.5 the program's true and false positives and false negatives, then ours
    "two real ones in a detected pair count one": (
        [(2, 12)], [(2, 6), (8, 12)],  # 8 of 10 voxels
        (1, 0, 1, 2, 0, 0), (1, 0, 1, 2, 0, 0),
    ),
    "an undetected pair costs all that were merged, and others' true positives": (
        [(2, 20), (24, 30)], [(2, 4), (8, 10), (24, 30)],
        (2, 0, 1, 3, 0, 0), (0, 2, 3, 1, 2, 1),
    ),
    "a chain goes by the largest share": (  # P1 has most of R1 and of R2, so these two are one; P2 gets R3
        [(0, 8), (11, 22)], [(0, 4), (6, 9), (12, 22)],
        (2, 0, 1, 3, 0, 0), (2, 0, 1, 3, 0, 0),
    ),
    "the threshold must be exceeded": ([(2, 6)], [(2, 10)], (1, 0, 0, 1, 0, 0), (0, 1, 1, 0, 1, 1)),
    "nothing at all": ([], [], (0,) * 6, (0,) * 6),
}  # fmt: skip


@pytest.mark.parametrize(("predicted", "real", "at_0", "at_half"), COUNTED.values(), ids=COUNTED)
def test_counts(predicted: Any, real: Any, at_0: tuple[int, ...], at_half: tuple[int, ...]) -> None:
    scores = challenge_scores([(line(*predicted), line(*real), SPACING)])
    assert scores.detection == {0.0: Detection(*at_0), 0.5: Detection(*at_half)}


def test_precision_and_recall_of_a_set_are_those_of_the_sums() -> None:
    """As on three public cases with 24 lesions each way, of which two were merged: 23/24 above 0, 16/24 above 0.5."""
    merged, found = (line((2, 12)), line((2, 6), (8, 12)), SPACING), (line((2, 6)), line((2, 6)), SPACING)
    half, false = (line((2, 6)), line((2, 10)), SPACING), (line((30, 32)), line(), SPACING)
    scores = challenge_scores([merged, *[found] * 15, *[half] * 7, false])
    at_0, at_half = scores.detection[0.0], scores.detection[0.5]
    assert (at_0.precision, at_0.recall) == (23 / 24, 23 / 24)
    assert (at_half.precision, at_half.recall) == (16 / 24, 16 / 24)
    assert (at_0.found, at_half.found, at_0.false_lesions) == (24, 17, 1)


def test_one_case_at_a_time() -> None:
    """A case of the generator may be freed before the next but one is made."""
    alive: list[weakref.ref[Any]] = []

    def cases() -> Iterator[Case]:
        for _ in range(4):
            assert sum(volume() is not None for volume in alive) <= 2
            volumes = np.ones((8, 8, 8), np.uint8), np.ones((8, 8, 8), np.uint8)
            alive.extend(map(weakref.ref, volumes))
            yield *volumes, SPACING

    challenge_scores(cases())


def test_what_cannot_be_scored_is_refused() -> None:
    good = np.zeros((3, 4, 5), np.uint8)
    refused: Any = {"no cases": [], "shape": [(good, good[:2], SPACING)], "each of them": (good, good, SPACING)}
    for words, cases in refused.items():
        with pytest.raises(InputError, match=words):
            challenge_scores(cases)


def test_the_board_of_two_folders(tmp_path: Path) -> None:
    """Two cases of the LiTS kind: one lesion found, one missed and one false; then none in either."""
    folders, target = (tmp_path / "p", tmp_path / "r"), tmp_path / "scores.json"
    for number, places in ((1, ((4, 4), (4, 4))), (2, ((4, 4), (10, 10)))):
        for folder, (y, x) in zip(folders, places, strict=True):
            volume = np.ones(SHAPE, np.uint8)
            volume[3:6, y : y + 3, x : x + 3] = 2
            store(folder / f"segmentation-{number}.nii.gz", volume)
    plain = evaluate_folders(*folders, label="2")
    scores = evaluate_folders(*folders, label="2", json_file=target, challenge=True)
    found = scores["challenge"]
    assert json.loads(target.read_text()) == scores == {**plain, "challenge": found}
    counts = {"true_positives": 1, "false_positives": 1, "false_negatives": 1, "found": 1, "missed": 1}
    assert found["detection"]["0.5"] == {**counts, "false_lesions": 1, "precision": 0.5, "recall": 0.5}
    assert found["lesion"]["dice_per_case"] == plain["mean"]["DC"] == 0.5
    assert max(map(len, scores_as_text(scores, "2").splitlines())) <= 80
    for path in [path for folder in folders for path in folder.iterdir()]:
        store(path, np.ones(SHAPE, np.uint8))
    scores = evaluate_folders(*folders, label="1", json_file=target, challenge=True)  # such a file may be replaced
    assert scores["challenge"]["detection"]["0.5"]["recall"] is None
