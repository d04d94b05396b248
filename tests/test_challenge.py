"""The challenge's scoring against its five steps read literally (`plain_challenge.py`) and cases worked out by hand."""

from __future__ import annotations

import json
import math
import tracemalloc
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
from scipy import ndimage
from typer.testing import CliRunner

from lrnet_edu import challenge_scores
from lrnet_edu.cli import app
from lrnet_edu.commands.evaluate import evaluate_folders, scores_as_text
from lrnet_edu.study.challenge import NOTHING, WORST, Detection
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


def blobs(seed: int, shape: tuple[int, int, int], scale: float, share: float) -> np.ndarray:
    """A liver with lesions, often touching the image's border."""
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.normal(size=shape), sigma) for sigma in (2.0, scale)]
    liver, lesion = fields[0] > np.quantile(fields[0], 0.4), fields[1] > np.quantile(fields[1], 1 - share)
    return (liver + 1 * (liver & lesion)).astype(np.uint8)


# ---- against the literal reading


@pytest.mark.parametrize("seed", range(12))
def test_random_blobs(seed: int) -> None:
    """Reference and prediction share their lesions in part: merges, splits, misses and false lesions abound."""
    reference = blobs(seed, (9, 14, 13), 0.9, 0.25)
    other = blobs(seed + 500, (9, 14, 13), 0.9, 0.25)
    same = np.random.default_rng(seed).random(reference.shape) < 0.75
    assert_agrees([(np.where(same, reference, other), reference, SPACING), (other, reference, SPACING)])


@settings(max_examples=80, deadline=None)
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


def test_numbers_and_booleans_of_other_types() -> None:
    reference, prediction = blobs(1, (6, 9, 8), 0.9, 0.3), blobs(2, (6, 9, 8), 0.9, 0.3)
    expected = challenge_scores([(prediction, reference, SPACING)])
    for dtype in (np.int64, np.float32, np.uint16):
        assert challenge_scores([(prediction.astype(dtype), reference.astype(dtype), SPACING)]) == expected
    reordered = np.asfortranarray(prediction), np.asfortranarray(reference)
    assert challenge_scores([(*reordered, SPACING)]) == expected


# ---- cases worked out by hand


def line(*spans: tuple[int, int], liver: tuple[int, int] = (0, 40)) -> np.ndarray:
    """A liver along x with lesions at the given [start, stop), one voxel thin."""
    volume = np.zeros((3, 3, 40), np.uint8)
    volume[:, :, slice(*liver)] = 1
    for start, stop in spans:
        volume[1, 1, start:stop] = 2
    return volume


def board(prediction: np.ndarray, reference: np.ndarray) -> Any:
    return challenge_scores([(prediction, reference, (1.0, 1.0, 1.0))])


def test_one_predicted_lesion_over_two_merges_them() -> None:
    """Two true positives, and a false positive count of minus one, as the board has it."""
    scores = board(line((2, 12)), line((2, 6), (8, 12)))
    assert scores.detection[0.5] == Detection(2, -1, 0)  # 8 of 10 voxels
    assert (scores.detection[0.5].precision, scores.detection[0.5].recall) == (2, 1)
    assert scores.pairs == 1
    assert scores.lesion["dice"] == pytest.approx(16 / 18)
    assert scores.lesion["jaccard"] == pytest.approx(0.8)
    assert scores.lesion["rvd"] == pytest.approx(-0.2)  # (8 - 10) / 10
    assert scores.lesion["msd"] == 1
    assert scores.lesion["assd"] == pytest.approx(2 / 18)  # the two voxels of the gap, each 1 mm from a lesion


def test_two_predicted_lesions_in_one_are_merged() -> None:
    scores = board(line((2, 6), (8, 12)), line((2, 12)))
    assert scores.detection[0.5] == Detection(1, 1, 0)  # one lesion found, the second prediction is surplus
    assert scores.pairs == 1
    assert scores.lesion["rvd"] == pytest.approx(0.25)  # (10 - 8) / 8
    # Either half alone, 4 of 10 voxels, would not have been enough.
    assert board(line((2, 6)), line((2, 12))).detection == {0.0: Detection(1, 0, 0), 0.5: Detection(0, 1, 1)}


def test_a_chain_goes_by_the_largest_share() -> None:
    """P1 has most of R1 and of R2, so these two are one; P2 gets R3."""
    reference = line((0, 4), (6, 9), (12, 22))
    prediction = line((0, 8), (11, 22))
    scores = board(prediction, reference)
    assert scores.detection[0.5] == Detection(3, -1, 0)
    assert scores.pairs == 2
    # A predicted lesion that reaches from R1 far into R2 is given to R2, and R1, which nobody else touches, with it.
    scores = board(line((2, 16)), line((0, 4), (6, 16)))
    assert scores.detection[0.5] == Detection(2, -1, 0)
    # R2 prefers P2, so it stays apart from R1; P1 lies mostly in R2 and is given to it: R1 goes without.
    scores = board(line((2, 9), (10, 22)), line((0, 4), (5, 22)))
    assert scores.detection[0.0] == Detection(1, 1, 1)


@pytest.mark.parametrize("order", ["C", "F"])
def test_ties_go_to_the_lesion_that_comes_first_in_z_y_x(order: Any) -> None:
    """R1 shares two voxels with either predicted lesion. With the second it would be merged with R2."""
    reference, prediction = np.ones((2, 1, 5, 5), np.uint8)
    for y, x in ((0, 3), (0, 4), (1, 3), (2, 3), (2, 2), (2, 1), (2, 0), (4, 0), (4, 1), (4, 2)):
        reference[0, y, x] = 2
    for y, x in ((0, 3), (0, 4), (2, 0), (2, 1), (3, 0), (4, 0), (4, 1), (4, 2)):
        prediction[0, y, x] = 2
    scores = board(np.array(prediction, order=order), np.array(reference, order=order))
    assert scores.detection == {0.0: Detection(2, 0, 0), 0.5: Detection(0, 2, 2)}
    flipped = board(prediction[:, ::-1], reference[:, ::-1])  # now the other one comes first
    assert flipped.detection == {0.0: Detection(2, 0, 0), 0.5: Detection(2, 0, 0)}


def test_the_threshold_must_be_exceeded() -> None:
    half = board(line((2, 6)), line((2, 10)))
    assert half.detection == {0.0: Detection(1, 0, 0), 0.5: Detection(0, 1, 1)}
    assert half.lesion["dice_per_case"] == pytest.approx(8 / 12)
    assert {name: half.lesion[name] for name in WORST} == WORST  # no pair, so nothing to average
    assert board(line((2, 7)), line((2, 10))).pairs == 1
    touching = board(line((2, 6)), line((6, 10)))  # side by side, no common voxel
    assert touching.detection[0.0] == Detection(0, 1, 1)


def test_lesions_are_6_connected() -> None:
    reference = line()
    reference[1, 1, 5] = reference[1, 2, 6] = 2  # they share an edge only
    scores = board(reference, reference)
    assert scores.detection[0.5] == Detection(2, 0, 0)
    assert scores.pairs == 2


def test_no_lesion_in_one_volume_or_both() -> None:
    none, one = line(), line((2, 6))
    scores = board(one, none)  # here the board's own program stops
    assert scores.detection[0.0] == scores.detection[0.5] == Detection(0, 1, 0)
    assert math.isnan(scores.detection[0.0].recall)
    assert (scores.lesion["dice_per_case"], scores.lesion["dice_global"]) == (0, 0)
    assert scores.tumour_burden["max"] == pytest.approx(-4 / 360)
    assert scores.tumour_burden["max_abs"] == scores.tumour_burden["rms"] == pytest.approx(4 / 360)

    scores = board(none, one)
    assert scores.detection[0.0] == Detection(0, 0, 1)
    assert math.isnan(scores.detection[0.0].precision)
    assert scores.detection[0.0].recall == 0

    scores = board(none, none)
    assert scores.detection[0.0] == Detection(0, 0, 0)
    assert (scores.lesion["dice_per_case"], scores.lesion["dice_global"]) == (1, 1)
    assert {name: scores.lesion[name] for name in WORST} == WORST
    assert set(scores.tumour_burden.values()) == {0}
    assert scores.liver["dice"] == scores.liver["dice_per_case"] == 1
    assert scores.liver["assd"] == 0


def test_a_prediction_without_liver_scores_the_worst() -> None:
    """Also where it holds lesions: a network that was trained on the tumour alone."""
    reference = line((2, 6))
    lesions_only = np.where(reference == 2, reference, 0)
    for prediction in (lesions_only, np.zeros_like(reference)):
        scores = board(prediction, reference)
        assert scores.without_liver == 1
        assert scores.liver["dice_per_case"] == 0
        assert {name: scores.liver[name] for name in WORST} == WORST
        assert set(scores.tumour_burden.values()) == {NOTHING}
    scores = board(lesions_only, reference)
    assert scores.lesion["dice_per_case"] == 1  # lesions are scored all the same
    assert scores.detection[0.5] == Detection(1, 0, 0)
    assert scores.liver["dice_global"] == pytest.approx(2 * 4 / (4 + 360))  # DG takes all voxels


def test_a_reference_without_liver() -> None:
    empty = np.zeros((3, 3, 40), np.uint8)
    scores = board(line((2, 6)), empty)
    assert {name: scores.liver[name] for name in WORST} == WORST
    assert scores.tumour_burden["max"] == pytest.approx(-4 / 360)
    assert board(empty, empty).without_liver == 1


def test_lesion_scores_are_means_over_the_pairs_of_the_set_not_over_cases() -> None:
    three = (line((2, 6), (10, 14), (20, 24)), line((2, 6), (10, 14), (20, 24)), (1.0, 1.0, 1.0))
    one = (line((2, 6)), line((2, 8)), (1.0, 1.0, 1.0))
    scores = challenge_scores([three, one])
    assert scores.pairs == 4
    assert scores.lesion["voe"] == pytest.approx((0 + 0 + 0 + 1 / 3) / 4)
    assert scores.lesion["dice_per_case"] == pytest.approx((1 + 0.8) / 2)
    assert scores.lesion["dice_global"] == pytest.approx(2 * (12 + 4) / (24 + 10))
    assert scores.detection[0.5] == Detection(4, 0, 0)


# ---- memory, and what is refused


def test_one_case_at_a_time() -> None:
    """A case of the generator may be freed before the next one is made."""
    shape = (40, 128, 128)

    def cases() -> Iterator[Case]:
        for shift in range(4):
            volumes = np.zeros((2, *shape), np.uint8)
            volumes[:, 5:20, 40:80, 40:80] = 1
            volumes[0, 8:12, 50:60, 50 + shift : 60 + shift] = volumes[1, 8:12, 50:60, 50:60] = 2
            yield volumes[0], volumes[1], SPACING

    tracemalloc.start()
    try:
        challenge_scores(cases())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Two cases' volumes (the next is made while the last is still named), and work in the box of the liver.
    assert peak < 4 * math.prod(shape) + 60 * 15 * 40 * 40


def test_what_cannot_be_scored_is_refused() -> None:
    good = np.zeros((3, 4, 5), np.uint8)
    with pytest.raises(InputError, match="no cases"):
        challenge_scores([])
    with pytest.raises(InputError, match="shape"):
        challenge_scores([(good, good[:2], SPACING)])
    with pytest.raises(InputError, match="fractional"):
        challenge_scores([(good + 0.5, good, SPACING)])
    with pytest.raises(InputError, match="negative"):
        challenge_scores([(good.astype(int) - 1, good, SPACING)])
    with pytest.raises(InputError, match="spacing"):
        challenge_scores([(good, good, (1.0, 0.0, 1.0))])


# ---- from folders


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two cases of the LiTS kind: one lesion found, one missed and one false."""
    for number, places in ((1, ((4, 4), (4, 4))), (2, ((4, 4), (10, 10)))):
        for folder, (y, x) in zip(("p", "r"), places, strict=True):
            volume = np.ones(SHAPE, np.uint8)
            volume[3:6, y : y + 3, x : x + 3] = 2
            store(tmp_path / folder / f"segmentation-{number}.nii.gz", volume)
    return tmp_path / "p", tmp_path / "r"


def test_the_board_of_two_folders(folders: tuple[Path, Path], tmp_path: Path) -> None:
    plain = evaluate_folders(*folders, label="2")
    target = tmp_path / "scores.json"
    scores = evaluate_folders(*folders, label="2", json_file=target, challenge=True)
    assert json.loads(target.read_text()) == scores
    assert {key: value for key, value in scores.items() if key != "challenge"} == plain
    found = scores["challenge"]
    assert found["detection"]["0.5"] == {
        "true_positives": 1,
        "false_positives": 1,
        "false_negatives": 1,
        "precision": 0.5,
        "recall": 0.5,
    }
    assert (found["cases"], found["pairs"], found["without_liver"]) == (2, 1, 0)
    assert found["lesion"]["dice_per_case"] == plain["mean"]["DC"] == 0.5
    assert found["lesion"]["dice_global"] == plain["mean"]["DG"]
    assert found["liver"]["dice_global"] == 1

    text = scores_as_text(scores, "2")
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith(scores_as_text(plain, "2"))
    assert "LiTS" in text
    evaluate_folders(*folders, label="2", json_file=target)  # such a file may be replaced, and without the board
    assert "challenge" not in json.loads(target.read_text())


def test_the_command_prints_the_board(folders: tuple[Path, Path]) -> None:
    with_board, without = (
        CliRunner().invoke(app, ["evaluate", *map(str, folders), "--label", "2", *more])
        for more in (["--challenge"], [])
    )
    assert with_board.exit_code == without.exit_code == 0
    assert scores_as_text(evaluate_folders(*folders, label="2", challenge=True), "2") in with_board.stdout
    assert "LiTS" not in without.stdout


def test_the_board_beside_several_objects_and_undefined_values(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for path in folders[0].iterdir():
        store(path, np.ones(SHAPE, np.uint8))  # liver alone: no lesion is predicted
    target = tmp_path / "scores.json"
    scores = evaluate_folders(*folders, label="1,2", json_file=target, challenge=True)
    assert list(scores) == ["1", "2", "challenge"]
    assert scores["challenge"]["detection"]["0"]["precision"] is None
    assert scores["challenge"]["lesion"]["assd"] == NOTHING
    text = scores_as_text(scores, "1,2")
    assert "9001" in text
    assert text.count("LiTS") == scores_as_text({"challenge": scores["challenge"]}, "").count("LiTS") > 0
