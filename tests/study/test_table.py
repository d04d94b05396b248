"""Tables built from made-up scores: means, comparisons, claims whose outcome is known, and the files that show them."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrnet_edu.figures.tables import comparison_figure
from lrnet_edu.losses import DiceLoss
from lrnet_edu.methods import METHODS, Method
from lrnet_edu.study.froc import THRESHOLDS
from lrnet_edu.study.page import interval, mean_and_deviation, signed
from lrnet_edu.study.rows import TABLE_1_ROWS, TABLES, Row, Table
from lrnet_edu.study.table import SHARED_SETTINGS, build_table, outcome, write_table
from lrnet_edu.study.text import as_markdown, claim_in_words

FACTS = {"command": "lrnet-edu reproduce", "data": "scans", "cases": {"train": 8, "validation": 2, "test": 3}}
CASES = 30
LOG = [{"step": step, "train_loss": 1 / step, "val_loss": 1 / step, "score": 0.5} for step in (10, 20)]
ROWS_2 = TABLES["table2"].rows
LRNET = ("lrnet_NI-DM", "dice+lrnet_NI-DM", "mapdice+lrnet_NI-DM")


def case(name: str, dice: float, *, voxels: int = 100, false: int = 1, **changes: Any) -> dict[str, Any]:
    """A record as a training writes it; one small lesion missed, a large one found."""
    ml, by_lesion = ([0.5, 30.0], [0.0, dice]) if voxels else ([], [])
    lesions = {"ml": ml, "dice": [by_lesion] * len(THRESHOLDS), "false_lesions": [false] * len(THRESHOLDS)}
    return {
        "case": name, "dice": dice, "voe": 1 - dice, "rvd": -0.1, "assd": 1.0, "msd": 5.0, "rmsd": 2.0,
        "intersection": 50, "prediction_voxels": 90, "reference_voxels": voxels, "lesions": lesions,
        "dice_without_false": dice + 0.1, **changes,
    }  # fmt: skip


UNDEFINED: dict[str, Any] = dict.fromkeys(("assd", "msd", "rmsd"))
MISSED = case("missed", 0.0, prediction_voxels=0, rvd=-1.0, intersection=0, **UNDEFINED)
EMPTY = case("empty", 0.0, voxels=0, false=2, rvd=None, **UNDEFINED)


def record(row: Row, seed: int, dice: Sequence[float], *more: dict[str, Any]) -> dict[str, Any]:
    """What a training of this row would have written."""
    config = {**dict.fromkeys(SHARED_SETTINGS, 1), "preprocessing": {"spacing": 1.5, "window": [-200.0, 250.0]}}
    return {
        "arm": row.key, "seed": seed, "config": config, "log": LOG, "cpu_seconds": 11.5, "device": "a computer",
        "versions": {"lrnet_edu": "1"}, "cases": [*(case(f"volume-{i}", x) for i, x in enumerate(dice)), *more],
    }  # fmt: skip


def records(rows: Sequence[Row], gains: dict[str, float], *, seeds: int = 3, cases: int = CASES) -> list[Any]:
    """Runs whose Dice is that of M-Net + Dice plus the row's gain, with noise of seeds and cases."""
    rng = np.random.default_rng(0)
    base = rng.uniform(0.3, 0.8, cases) + rng.normal(0, 0.03, (seeds, 1))
    noise = {row.key: rng.normal(0, 0.01, (seeds, cases)) + rng.normal(0, 0.003, (seeds, 1)) for row in rows}
    values = {row.key: np.clip(base + gains.get(row.key, 0.0) + noise[row.key], 0, 1) for row in rows}
    return [record(row, seed, values[row.key][seed].tolist()) for row in rows for seed in range(seeds)]


def build(given: Sequence[Any], name: str = "table2", location: float | None = 0.1) -> dict[str, Any]:
    return build_table(name, given, seeds=range(3), facts=FACTS, location=location)


def table_2(gains: dict[str, float], **sizes: int) -> dict[str, Any]:
    return build(records(ROWS_2, gains, **sizes))


def page_of(result: dict[str, Any]) -> str:
    return as_markdown(result, {})


def outcomes(result: dict[str, Any]) -> dict[str, str]:
    return {claim["claim"]: claim["outcome"] for claim in result["claims"]}


def row_of(result: dict[str, Any], key: str) -> dict[str, Any]:
    return next(row for row in result["rows"] if row["row"] == key)


# ---- numbers ----------------------------------------------------------------------------------------------------


def test_means_deviations_and_differences_over_the_seeds() -> None:
    given = records(ROWS_2, {"wce": 0.1})
    result = build(given[::-1])  # in any order
    assert [row["row"] for row in result["rows"]] == [row.key for row in ROWS_2]
    dice = {key: np.array([[c["dice"] for c in one["cases"]] for one in given if one["arm"] == key])
            for key in ("dice", "wce")}  # fmt: skip
    for key, values in dice.items():  # (seeds, cases)
        row = row_of(result, key)
        assert row["scores"]["DC"] == pytest.approx(values.mean(1).tolist())
        assert row["scores"]["DC without false lesions"] == pytest.approx((values.mean(1) + 0.1).tolist())
        assert row["scores"]["DG"] == pytest.approx([2 * 50 / 190] * 3)
        assert row["scores"]["abs_RVD"] == pytest.approx([0.1] * 3)
        assert row["scores"]["lesion Dice, 0.25 to 1 ml"] == [0.0] * 3
        assert row["scores"]["false lesions"] == [1.0] * 3
        assert f"{values.mean():.3f} \u00b1 {values.mean(1).std(ddof=1):.3f}" in page_of(result)
    gain = row_of(result, "wce")["comparison"]
    assert gain["by_seed"] == pytest.approx((dice["wce"] - dice["dice"]).mean(1).tolist())
    assert row_of(result, "dice")["comparison"] is None


def test_cases_without_an_object_count_for_false_lesions_alone() -> None:
    plain, more = (build([record(ROWS_2[0], 0, [0.5, 0.7], *empty)]) for empty in ((), (EMPTY,)))
    differ = {name for name, values in plain["rows"][0]["scores"].items() if values != more["rows"][0]["scores"][name]}
    assert differ == {"false lesions", "mean lesion Dice", "sensitivity"}
    assert more["rows"][0]["scores"]["false lesions"] == pytest.approx([4 / 3])
    assert (more["test"]["cases"], more["test"]["with_object"]) == (3, 2)
    assert more["test"]["lesions"] == {"0.25 to 1 ml": 2, "5 ml and more": 2}
    assert "1 more without an object" in page_of(more)


def test_an_undefined_number_is_counted() -> None:
    result = build([record(ROWS_2[0], 0, [], MISSED), record(ROWS_2[1], 0, [0.5])])
    row = result["rows"][0]
    assert (row["undefined"]["ASSD"], row["scores"]["ASSD"], row["scores"]["DC"]) == (1, [None], [0])
    json.dumps(result, allow_nan=False)
    assert "M-Net + Dice 1." in page_of(result)


def test_rows_are_compared_on_the_seeds_that_both_have() -> None:
    given = [one for one in records(ROWS_2, {}) if (one["arm"], one["seed"]) != ("gds", 1) and one["arm"] != "wce"]
    result = build(given)
    assert result["facts"]["runs"] == "41 of 45"
    dc = {key: {one["seed"]: np.mean([c["dice"] for c in one["cases"]]) for one in given if one["arm"] == key}
          for key in ("dice", "gds")}  # fmt: skip
    comparison = row_of(result, "gds")["comparison"]
    assert comparison["seeds"] == [0, 2]
    assert comparison["mean"] == pytest.approx(np.mean([dc["gds"][seed] - dc["dice"][seed] for seed in (0, 2)]))
    assert outcomes(result)["Ahead of the imbalance losses"] in ("not run yet", "failed")
    assert "With fewer seeds: Generalised Dice (2)." in page_of(result)


# ---- claims -----------------------------------------------------------------------------------------------------


RIGHT = {"mapdice": 0.03, LRNET[0]: 0.06, LRNET[1]: 0.08, LRNET[2]: 0.12}
WRONG = {"mapdice": -0.05, LRNET[0]: -0.1, "unfrozen-lrnet_NI-DM": 0.05, "explog": 0.1, "cascaded": 0.05}
BEST_MAP = {row.key: 0.08 * (row.map_name == "NI-DM") - 0.05 * (row.map_name == "O-DM") for row in TABLE_1_ROWS}


@pytest.mark.parametrize(("gains", "expected"), [(RIGHT, "held"), (WRONG, "failed")])
def test_claims_of_a_world_in_which_the_paper_is_right_or_wrong(gains: dict[str, float], expected: str) -> None:
    result = table_2(gains)
    assert set(outcomes(result).values()) == {expected}
    words = claim_in_words(next(claim for claim in result["claims"] if claim["claim"].startswith("Frozen")))
    assert words.startswith(f"- **Frozen better than unfrozen: {expected}.**")
    assert words in page_of(result)


def test_the_best_map_is_judged_by_the_columns_of_table_1() -> None:
    claim = build(records(TABLE_1_ROWS, BEST_MAP), "table1")["claims"][-1]
    assert (claim["claim"], claim["outcome"]) == ("NI-DM with ReLU the best map", "held")
    differences = {pair["pair"].rsplit(" ", 1)[1]: pair["mean"] for pair in claim["pairs"]}
    assert differences == pytest.approx({"O-DM": 0.13, "I-DM": 0.08, "NI-DMs": 0.08, "SNI-DM": 0.08}, abs=0.01)


def test_there_is_no_verdict_below_what_location_alone_scores() -> None:
    given = records(ROWS_2, RIGHT)
    result = build(given, location=0.99)
    assert {row["comparison"]["verdict"] for row in result["rows"][1:]} == {"below location alone"}
    assert set(outcomes(result).values()) == {"undecided"}
    assert "Location alone, the image unseen: DC 0.990." in page_of(result)


def test_there_is_no_verdict_where_a_family_of_losses_has_not_converged() -> None:
    """On the hippocampus an LR-Net was called behind Dice, when twice the steps gained it twice the bar."""
    twice = {"overlap": {"twice": 0.509}, "cross-entropy": {}, "regression": {"twice": 0.511}}  # {}: stopped before
    chosen = {family: {"validation": {"low": 0.3, "high": 0.5}, **one} for family, one in twice.items()}
    result = build_table("table2", records(ROWS_2, RIGHT), seeds=range(3), facts=FACTS, chosen=chosen)
    verdicts = {row["row"]: row["comparison"]["verdict"] for row in result["rows"] if row["comparison"]}
    learning = {row.key for row in ROWS_2 if row.family != "overlap"}
    assert {key for key, verdict in verdicts.items() if verdict == "not converged"} == learning > set(LRNET)
    assert verdicts["mapdice"] == "ahead"
    assert outcomes(result)["LR-Net better than M-Net alone"] == "undecided"


@pytest.mark.parametrize(("verdicts", "wanted", "expected"), [
    (["ahead", "undecided"], 2, "held in part"),
    (["ahead", "behind"], 2, "failed"),
    (["ahead"], 2, "not run yet"),
    (["behind"], 2, "failed"),
    (["equal", "equal"], 2, "no difference"),
    (["equal", "undecided"], 2, "undecided"),
])  # fmt: skip
def test_outcomes(verdicts: list[str], wanted: int, expected: str) -> None:
    assert outcome(verdicts, wanted) == expected


# ---- files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["table1", "table2", "mine"])
def test_all_files_show_the_same_numbers_and_rows_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """An own row needs a method and a `Row`, no figure of the paper, no colour and no claim."""
    monkeypatch.setitem(METHODS, "mine", Method("My loss", DiceLoss))
    monkeypatch.setitem(METHODS, "mine+lrnet", replace(METHODS["dice+lrnet"], title="M-Net + mine + LR-Net"))
    design = TABLES.get(name, Table("My table", "", (Row("dice"),)))
    rows = (*design.rows, Row("mine"), Row("mine+lrnet", kind="O-DM", alpha=5.0), Row("mine+lrnet", kind="X-DM"))
    monkeypatch.setitem(TABLES, name, replace(design, rows=rows))
    chosen = {"overlap": {"validation": {"dice_rate-0.001": 0.5}, "chosen": "dice_rate-0.001", "twice": 0.509}}
    known: Any = {"seeds": range(3), "facts": FACTS, "location": 0.1, "chosen": chosen, "pictures": {}}
    result = write_table(tmp_path, name, records(rows, {"mine": 0.2}), **known)
    assert json.loads((tmp_path / f"{name}.json").read_text()) == json.loads(json.dumps(result))
    page, picture = (tmp_path / f"{name}.md").read_text("utf-8"), comparison_figure(result)
    for row in result["rows"]:
        paper = f" ({row['paper']['DC']:.3f})" if row["paper"] else ""
        dc = row["scores"]["DC"]
        assert f"{np.mean(dc):.3f} ± {np.std(dc, ddof=1):.3f}{paper}" in page
    assert "30 of 0.25 to 1 ml" in page
    assert "overlap: dice_rate-0.001 0.500; chosen: dice_rate-0.001; with twice the steps 0.509." in page
    for shown in ("differences", "learning"):
        assert (tmp_path / f"{name}_{shown}.png").read_bytes()[:4] == b"\x89PNG"
    for block in page.split("\n\n"):  # every line of a table has as many cells as its head
        assert len({line.count("|") for line in block.splitlines() if line.startswith("|")}) <= 1, block
    assert not {"nan", "None"} & set(re.findall(r"\w+", page))
    own = row_of(result, "mine")
    assert (own["title"], own["paper"], own["comparison"]["verdict"]) == ("My loss", {}, "ahead")
    assert "My loss +0." in picture.alt
    assert np.abs(picture.axes[0].get_xlim()).max() <= 0.15  # a row far away leaves the others legible
    assert ("What the paper claims" in page) == bool(design.claims)


def test_rounding_leaves_no_minus() -> None:
    assert signed(-0.0004) == "+0.000"


def test_numbers_as_the_pages_write_them() -> None:
    """A sign belongs to a mean, not to a deviation; one seed has no interval."""
    assert mean_and_deviation([0.01, -0.03, None], "+.3f") == "-0.010 ± 0.028"
    assert interval({"low": -0.01, "high": 0.02}) == "-0.010 to +0.020"
    assert interval({"low": 0.01, "high": 0.01}) == "no interval"
