"""From scores to a table: the numbers are those of plain loops, and the words follow the numbers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrnet_edu.figures.tables import comparison_figure
from lrnet_edu.metrics import case_scores
from lrnet_edu.study.rows import CRITERIA, TABLE_1_ROWS, TABLE_2_ROWS, TABLES, Row
from lrnet_edu.study.table import as_csv, build_table, outcome, write_table
from lrnet_edu.study.text import as_markdown, claim_in_words, number, probability

FACTS = {"command": "lrnet-edu reproduce ...", "data": "data", "cases": {"train": 9, "validation": 3, "test": 31}}
CASES = 30
LRNET = {row.key for row in TABLE_2_ROWS if row.method in ("lrnet", "dice+lrnet", "mapdice+lrnet")}


def case(name: str, dice: float, *, voxels: int = 100, found: int = 90, **changes: Any) -> dict[str, Any]:
    return {
        "case": name, "dice": dice, "voe": 1 - dice / (2 - dice), "rvd": 0.1, "assd": 2.0, "msd": 9.0, "rmsd": 3.0,
        "intersection": 50, "prediction_voxels": found, "reference_voxels": voxels,
        "lesions": [{"ml": 0.5, "dice": 0.0}, {"ml": 30.0, "dice": dice}], "false_lesions": [0.1], **changes,
    }  # fmt: skip


def record(row: Row, seed: int, dice: Sequence[float], *empty: dict[str, Any]) -> dict[str, Any]:
    """What a run of this row would have written."""
    names = ("label", "steps", "validate_every", "learning_rate", "one_cycle", "features", "blocks", "max_voxels",
             "patch_size", "batch_size", "object_share", "random_boxes")  # fmt: skip
    return {
        "row": row.key, "seed": seed, "schedule": "9 steps of something", "steps": 9, "best_step": 6,
        "validation_DC": 0.5, "seconds": {"training": 10.0, "test": 1.5}, "device": "a computer",
        "versions": {"lrnet_edu": "1"}, "config": dict.fromkeys(names, 1),
        "preprocessing": {"spacing": 1.5, "window": [-200.0, 250.0]},
        "cases": [*(case(f"volume-{i}", value) for i, value in enumerate(dice)), *empty],
    }  # fmt: skip


def records(
    rows: Sequence[Row], gains: dict[str, float], *, seeds: int = 3, cases: int = CASES
) -> list[dict[str, Any]]:
    """Runs whose Dice is that of M-Net + Dice plus the row's gain, with noise of seeds and cases."""
    rng = np.random.default_rng(0)
    base = rng.uniform(0.3, 0.8, cases) + rng.normal(0, 0.03, (seeds, 1))
    noise = {row.key: rng.normal(0, 0.01, (seeds, cases)) + rng.normal(0, 0.003, (seeds, 1)) for row in rows}
    values = {row.key: np.clip(base + gains.get(row.key, 0.0) + noise[row.key], 0, 1) for row in rows}
    return [record(row, seed, values[row.key][seed].tolist()) for row in rows for seed in range(seeds)]


def table_2(gains: dict[str, float], **sizes: int) -> dict[str, Any]:
    return build_table("table2", records(TABLE_2_ROWS, gains, **sizes), seeds=range(3), facts=FACTS)


def outcomes(result: dict[str, Any]) -> dict[str, str]:
    return {claim["claim"]: claim["outcome"] for claim in result["claims"]}


def row_of(result: dict[str, Any], key: str) -> dict[str, Any]:
    return next(row for row in result["rows"] if row["row"] == key)


# ---- numbers ----------------------------------------------------------------------------------------------------


def test_means_and_deviations_over_the_seeds() -> None:
    given = records(TABLE_2_ROWS, {"wce": 0.1})
    result = build_table("table2", given[::-1], seeds=range(3), facts=FACTS)  # in any order
    assert [row["row"] for row in result["rows"]] == [row.key for row in TABLE_2_ROWS]
    for row in result["rows"]:
        dice = np.array([[c["dice"] for c in one["cases"]] for one in given if one["row"] == row["row"]])
        assert row["mean"]["DC"] == pytest.approx(dice.mean())
        assert row["sd"]["DC"] == pytest.approx(dice.mean(1).std(ddof=1))
        assert row["by_seed"]["DC"] == pytest.approx(dice.mean(1).tolist())
        assert row["mean"]["DG"] == pytest.approx(2 * 50 / 190)
        assert row["mean"]["abs_RVD"] == pytest.approx(0.1)
        assert row["paper"] == TABLES["table2"].rows[[r.key for r in TABLE_2_ROWS].index(row["row"])].paper
    gain = row_of(result, "wce")["comparison"]
    base = np.array([one["cases"][3]["dice"] for one in given if one["row"] == "dice"])
    wce = np.array([one["cases"][3]["dice"] for one in given if one["row"] == "wce"])
    assert gain["by_case"][3] == pytest.approx((wce - base).mean())
    assert (gain["cases"], gain["seeds"]) == (CASES, 3)
    assert row_of(result, "dice")["comparison"] is None


def test_cases_without_an_object_stand_apart() -> None:
    """What was found in them is told, and they change no mean."""
    empty = case("volume-99", 0.0, voxels=0, rvd=None, assd=None, msd=None, rmsd=None, lesions=[], false_lesions=[1, 2])
    plain = build_table("table2", [record(TABLE_2_ROWS[0], 0, [0.5, 0.7])], seeds=[0], facts=FACTS)
    more = build_table("table2", [record(TABLE_2_ROWS[0], 0, [0.5, 0.7], empty)], seeds=[0], facts=FACTS)
    assert more["rows"][0]["mean"] == plain["rows"][0]["mean"]
    assert more["rows"][0]["undefined"] == plain["rows"][0]["undefined"]
    assert more["rows"][0]["without_object"] == {"cases": 1, "false_per_case": 2.0}
    assert more["rows"][0]["lesions"]["false_per_case"] == 1.0
    assert (more["test"]["cases"], more["test"]["with_object"], more["test"]["lesions"]) == (3, 2, 4)


def test_a_missed_case_is_counted_and_no_mean_of_nothing_is_written() -> None:
    missed = case("a", 0.0, found=0, rvd=-1.0, assd=None, msd=None, rmsd=None, intersection=0)
    given = [record(TABLE_2_ROWS[0], 0, [], missed), record(TABLE_2_ROWS[1], 0, [0.5])]
    result = build_table("table2", given, seeds=[0], facts=FACTS)
    row = result["rows"][0]
    assert (row["undefined"]["ASSD"], row["mean"]["ASSD"], row["mean"]["DC"]) == (1, None, 0)
    json.dumps(result, allow_nan=False)
    assert "M-Net + Dice 1." in as_markdown(result, picture="a.png", alt="")


def test_real_case_scores_survive_the_way() -> None:
    """The criteria of a record are those of case_scores, undefined ones included."""
    reference = np.zeros((6, 6, 6), bool)
    reference[1:4, 1:4, 1:4] = True
    scores = case_scores(np.roll(reference, 1, 0), reference, (2, 1, 1))
    values = {name: getattr(scores, name) for name in ("dice", "voe", "rvd", "assd", "msd", "rmsd")}
    counts = {name: getattr(scores, name) for name in ("intersection", "prediction_voxels", "reference_voxels")}
    one = case("a", 0.0) | values | counts
    mean = build_table("table2", [record(TABLE_2_ROWS[0], 0, [], one)], seeds=[0], facts=FACTS)["rows"][0]["mean"]
    for name, field in zip(("DC", "VOE", "RVD", "ASSD", "MSD", "RMSD"), values, strict=True):
        assert mean[name] == pytest.approx(values[field])


def test_rows_are_compared_on_the_seeds_that_both_have() -> None:
    given = [r for r in records(TABLE_2_ROWS, {}) if not (r["row"] == "gds" and r["seed"] == 1)]
    given = [r for r in given if r["row"] != "wce"]
    result = build_table("table2", given, seeds=range(3), facts=FACTS)
    assert row_of(result, "gds")["comparison"]["seeds"] == 2
    assert [row["row"] for row in result["rows"] if row["row"] == "wce"] == []
    assert result["facts"]["runs"] == "35 of 39"
    dice = {r["seed"]: np.mean([c["dice"] for c in r["cases"]]) for r in given if r["row"] == "dice"}
    gds = {r["seed"]: np.mean([c["dice"] for c in r["cases"]]) for r in given if r["row"] == "gds"}
    expected = np.mean([gds[seed] - dice[seed] for seed in (0, 2)])
    assert row_of(result, "gds")["comparison"]["difference"] == pytest.approx(expected)
    assert outcomes(result)["Ahead of the imbalance losses"] in ("not run yet", "failed")


# ---- claims -----------------------------------------------------------------------------------------------------


def test_claims_of_a_world_in_which_the_paper_is_right() -> None:
    gains = {"mapdice": 0.03, "lrnet_NI-DM": 0.06, "dice+lrnet_NI-DM": 0.08, "mapdice+lrnet_NI-DM": 0.12}
    assert set(outcomes(table_2(gains)).values()) == {"held"}
    result = table_2(gains)
    assert all(row_of(result, key)["comparison"]["verdict"] == "better" for key in LRNET)
    assert "**LR-Net better than M-Net alone: held.**" in as_markdown(result, picture="a.png", alt="")


def test_claims_of_a_world_without_any_difference() -> None:
    result = table_2({})
    assert set(outcomes(result).values()) == {"not distinguishable with this much data"}
    assert {row["comparison"]["verdict"] for row in result["rows"] if row["comparison"]} == {"not distinguishable"}


def test_claims_of_a_world_in_which_the_paper_is_wrong() -> None:
    gains = {"mapdice": -0.05, "lrnet_NI-DM": -0.1, "unfrozen-lrnet_NI-DM": 0.05, "explog": 0.1, "cascaded": 0.05}
    result = table_2(gains)
    found = outcomes(result)
    assert found["LR-Net better than M-Net alone"] == "failed"
    assert found["Frozen better than unfrozen"] == "failed"
    assert found["MapDice better than Dice"] == "failed"
    assert found["Ahead of the imbalance losses"] == "failed"
    assert found["Ahead of both regression rivals"] == "failed"
    words = claim_in_words(next(claim for claim in result["claims"] if claim["claim"].startswith("Frozen")))
    assert words.startswith("- **Frozen better than unfrozen: failed.**")
    assert "M-Net + LR-Net against M-Net + unfrozen LR-Net: −0.1" in words
    assert words.endswith("worse.")


def test_the_best_map_is_judged_by_the_columns_of_table_1() -> None:
    gains = {row.key: 0.08 * (row.map_name == "NI-DM") - 0.05 * (row.map_name == "O-DM") for row in TABLE_1_ROWS}
    result = build_table("table1", records(TABLE_1_ROWS, gains), seeds=range(3), facts=FACTS)
    assert outcomes(result)["NI-DM with ReLU the best map"] == "held"
    claim = next(claim for claim in result["claims"] if claim["claim"].startswith("NI-DM"))
    differences = {pair["pair"].rsplit(" ", 1)[1]: pair["difference"] for pair in claim["pairs"]}
    assert differences == pytest.approx({"O-DM": 0.13, "I-DM": 0.08, "NI-DMs": 0.08, "SNI-DM": 0.08}, abs=0.01)
    gains |= {row.key: 0.16 for row in TABLE_1_ROWS if row.map_name == "I-DM"}
    result = build_table("table1", records(TABLE_1_ROWS, gains), seeds=range(3), facts=FACTS)
    assert outcomes(result)["NI-DM with ReLU the best map"] == "failed"


@pytest.mark.parametrize(
    ("verdicts", "wanted", "expected"),
    [
        (["better"], 1, "held"),
        (["better", "not distinguishable"], 2, "held in part"),
        (["better", "worse"], 2, "failed"),
        (["not distinguishable"] * 2, 2, "not distinguishable with this much data"),
        (["better"], 2, "not run yet"),
        ([], 1, "not run yet"),
        (["worse"], 2, "failed"),
    ],
)
def test_outcomes(verdicts: list[str], wanted: int, expected: str) -> None:
    assert outcome(verdicts, wanted) == expected


# ---- files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "rows"), [("table1", TABLE_1_ROWS), ("table2", TABLE_2_ROWS)])
def test_all_files_show_the_same_numbers(tmp_path: Path, name: str, rows: Sequence[Row]) -> None:
    result = write_table(tmp_path, name, records(rows, {"mapdice": 0.2}), seeds=range(3), facts=FACTS)
    assert json.loads((tmp_path / f"{name}.json").read_text()) == result
    lines = list(csv.DictReader(io.StringIO((tmp_path / f"{name}.csv").read_text())))
    assert [line["row"] for line in lines] == [row.key for row in rows]
    for line, row in zip(lines, result["rows"], strict=True):
        for criterion in CRITERIA:
            assert float(line[criterion]) == pytest.approx(row["mean"][criterion], abs=1e-4)
        assert float(line["DC_paper"]) == row["paper"]["DC"]
        assert (line["verdict"] == "") == (row["row"] == "dice")
    page = (tmp_path / f"{name}.md").read_text()
    mapdice = row_of(result, "mapdice")
    for text in (f"{mapdice['mean']['DC']:.3f} ± {mapdice['sd']['DC']:.3f} ({mapdice['paper']['DC']:.3f})",
                 "lrnet-edu reproduce", f"![{result['title']}", "under 1 ml (n = 30)", "| 0.00 / 0.000 |",
                 "9 steps of something", f"Seconds of all runs together: {11.5 * len(rows) * 3:.0f}"):  # fmt: skip
        assert text in page, text
    assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    for block in page.split("\n\n"):
        widths = {line.count("|") for line in block.splitlines() if line.startswith("|")}
        assert len(widths) <= 1  # every line of a table has as many cells as its head
    assert "nan" not in page
    assert "None" not in page


def test_a_row_that_lacks_seeds_says_so() -> None:
    result = table_2({})
    row_of(result, "gds")["seeds"].pop()
    page = as_markdown(result, picture="a.png", alt="")
    assert page.count("Generalised Dice (2 of 3 seeds)") == 2  # with its criteria, and where it is compared
    assert page.count("of 3 seeds)") == 2


def test_rounding_leaves_no_minus_and_no_level_of_significance() -> None:
    assert number(-0.00004, 4, signed=True) == "+0.0000"
    assert [probability(p) for p in (0.0496, 0.05, 0.0304, 0.0004)] == ["0.0496", "0.050", "0.030", "< 0.001"]


def test_a_page_says_when_there_are_too_few_cases() -> None:
    few = as_markdown(table_2({}, cases=4), picture="a.png", alt="")
    assert "cannot call any difference to M-Net + Dice significant" in few
    assert "for 12 comparisons it takes 9" in few
    assert "cannot call" not in as_markdown(table_2({}), picture="a.png", alt="")


def test_an_undefined_number_is_an_empty_cell() -> None:
    missed = case("a", 0.0, found=0, rvd=-1.0, assd=None, msd=None, rmsd=None)
    result = build_table("table2", [record(TABLE_2_ROWS[0], 0, [], missed)], seeds=[0], facts=FACTS)
    line = next(csv.DictReader(io.StringIO(as_csv(result))))
    assert (line["ASSD"], line["DC"], line["DC_sd"], line["verdict"]) == ("", "0.0000", "", "")


def test_the_figure_draws_every_comparison() -> None:
    result = table_2({"wce": 0.1, "gds": -0.1})
    figure = comparison_figure(result)
    axes = figure.axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(labels) == 12
    means = {y: x for line in axes.lines if line.get_marker() == "o"
             for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)}  # fmt: skip
    for y, row in enumerate(row for row in result["rows"] if row["comparison"]):
        assert means[y] == row["comparison"]["difference"]
        assert labels[y].startswith(row["title"])
    filled = [line for line in axes.lines if line.get_marker() == "o" and line.get_markerfacecolor() != "white"]
    assert len([line for line in filled if len(line.get_xdata())]) == 2
    assert "Better: Weighted cross-entropy +0.1" in figure.alt
    assert "Worse: Generalised Dice -0." in figure.alt


@pytest.mark.parametrize(("low", "arrows"), [(-0.9, 1), (-0.3, 0)])
def test_a_bar_that_leaves_the_picture_ends_in_an_arrow(low: float, arrows: int) -> None:
    result = table_2({"wce": 0.1, "gds": -0.1})
    comparisons = {row["row"]: row["comparison"] for row in result["rows"]}
    comparisons["gds"]["low"] = low
    axes = comparison_figure(result).axes[0]
    assert [text.get_text() for text in axes.texts] == ["\u25c4 \u22120.90"] * arrows
    assert axes.get_xlim()[0] < min(c["difference"] for c in comparisons.values() if c)


def test_seeds_out_of_the_picture_are_counted() -> None:
    result = table_2({"wce": 0.1, "gds": -0.1})
    by_seed = next(row["by_seed"]["DC"] for row in result["rows"] if row["row"] == "gds")
    for seed, said in enumerate(("\u25c4 1 seed", "\u25c4 2 seeds")):
        by_seed[seed] -= 1.0
        assert [text.get_text() for text in comparison_figure(result).axes[0].texts] == [said]


def test_a_figure_of_the_baseline_alone() -> None:
    result = build_table("table2", [record(TABLE_2_ROWS[0], 0, [0.5, 0.6])], seeds=[0], facts=FACTS)
    assert "no row to compare" in comparison_figure(result).alt
