"""Guessing by location: perfect where every case looks alike, nothing elsewhere."""

import math
from pathlib import Path

import numpy as np
from scans import prepared_case

from lrnet_edu.data.baseline import location_baseline


def box(size: int, corner: tuple[int, int, int], edge: int, c: int = 1) -> np.ndarray:
    classes = np.zeros((size,) * 3, np.uint8)
    classes[tuple(slice(a, a + edge) for a in corner)] = c
    return classes


def test_an_object_that_never_moves_scores_one_at_any_resolution(tmp_path: Path) -> None:
    train = [prepared_case(tmp_path / f"train-{i}", box(12, (6, 6, 6), 4)) for i in range(3)]
    empty = [prepared_case(tmp_path / f"empty-{i}", np.zeros((12,) * 3, np.uint8)) for i in range(2)]
    assert location_baseline(train, train[:1], 1) == location_baseline(train[:1] + 30 * empty, train[:1], 1) == [1.0]
    finer = [prepared_case(tmp_path / "finer", box(24, (12, 12, 12), 8))]
    assert location_baseline(train, finer, 1)[0] > 0.6  # at the same voxel indices they would not even touch
    assert location_baseline(train, [prepared_case(tmp_path / "elsewhere", box(12, (1, 1, 1), 4))], 1) == [0.0]


def test_one_score_per_class_over_the_cases_that_hold_it(tmp_path: Path) -> None:
    both = box(24, (2, 2, 2), 6) + box(24, (14, 14, 14), 8, c=2)
    train = [prepared_case(tmp_path / f"train-{i}", both) for i in range(3)]
    others = [prepared_case(tmp_path / "both", both), prepared_case(tmp_path / "first-only", box(24, (2, 2, 2), 6))]
    empty = [prepared_case(tmp_path / "empty", np.zeros((24, 24, 24)))]
    assert location_baseline(train, others, 2) == [1.0, 1.0]
    assert all(map(math.isnan, location_baseline(train, empty, 2) + location_baseline(empty, train, 2)))


def test_the_threshold_is_learned_in_training(tmp_path: Path) -> None:
    """In one of three cases the object is twice as long: the shape that two of three share does best."""
    short, long = box(24, (8, 8, 8), 8), np.zeros((24, 24, 24), np.uint8)
    long[8:16, 8:16, 4:20] = 1
    train = [prepared_case(tmp_path / f"train-{i}", short if i < 2 else long) for i in range(3)]
    assert location_baseline(train, [prepared_case(tmp_path / "other", short)], 1) == [1.0]
