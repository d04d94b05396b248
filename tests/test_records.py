"""Scores that may be damaged: refused in a sentence, or a table comes of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from fuzz.damaged_settings import ODD, places
from test_tables import FACTS, case, record

from lrnet_edu.config import Config
from lrnet_edu.errors import InputError
from lrnet_edu.experiments import Run, read_record, run_config
from lrnet_edu.paper_tables import TABLES
from lrnet_edu.records import check_record
from lrnet_edu.tables import as_csv, build_table
from lrnet_edu.tables_text import as_markdown

DICE, WCE = (row for row in TABLES["table2"].rows if row.key in ("dice", "wce"))
EMPTY = case("empty", 1.0, voxels=0, found=0, rvd=None, assd=None, msd=None, rmsd=None, lesions=[], false_lesions=[])
NAMES = ["volume-0", "volume-1", "empty"]
RESULTS = Path(__file__).parents[1] / "results"
RUN = Run(DICE, run_config(Config(), DICE, 0))
WHOLE: dict[str, Any] = {**record(DICE, 0, [0.5, 0.25], EMPTY), "config": asdict(RUN.config)}


def with_one_fault() -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The record with each of its parts missing or odd, and where."""
    for way in places(WHOLE):
        for odd in ("missing", *ODD):
            if not way:
                yield way, odd
                continue
            damaged: Any = json.loads(json.dumps(WHOLE))
            inner = damaged
            for key in way[:-1]:
                inner = inner[key]
            inner[way[-1]] = odd
            if odd == "missing":
                del inner[way[-1]]
            yield way, damaged


def test_every_fault_is_refused_by_name_or_does_no_harm(tmp_path: Path) -> None:
    path, counts = tmp_path / "scores" / "dice_seed-0.json", Counter[str]()
    path.parent.mkdir()
    other = {**record(WCE, 0, [0.5, 0.3], EMPTY), "config": asdict(RUN.config)}
    for way, damaged in islice(with_one_fault(), 0, None, 7):  # not a divisor of the number of faults at each place
        path.write_text(json.dumps(damaged))
        try:
            found = read_record(tmp_path, RUN, NAMES)
        except InputError as error:
            assert str(path) in str(error)  # noqa: PT017
            counts["refused"] += 1
            continue
        assert found is not None
        counts["used"] += 1
        result = build_table("table2", [found, other], seeds=[0], facts=FACTS)
        text = as_csv(result) + as_markdown(result, picture="a", alt="b") + json.dumps(result, allow_nan=False)
        assert text.encode(), way
    assert min(counts.values()) > 50


@pytest.mark.parametrize("part", [*WHOLE.keys() - {"steps", "best_step", "validation_DC"}])
def test_what_a_table_needs_must_be_there(tmp_path: Path, part: str) -> None:
    path = tmp_path / "scores" / "dice_seed-0.json"
    path.parent.mkdir()
    path.write_text(json.dumps({key: value for key, value in WHOLE.items() if key != part}))
    with pytest.raises(InputError, match=r"dice_seed-0\.json is damaged; remove it"):
        read_record(tmp_path, RUN, NAMES)


@pytest.mark.parametrize("name", ["phantoms", "hippocampus"])
def test_the_committed_scores_are_whole(name: str) -> None:
    cases = json.loads((RESULTS / name / "split.json").read_text("utf-8"))["test"]
    paths = sorted((RESULTS / name / "scores").glob("*.json"))
    assert paths
    for path in paths:
        row, _, seed = path.stem.rpartition("_seed-")
        check_record(json.loads(path.read_text("utf-8")), row, int(seed), cases)
