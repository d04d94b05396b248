"""The command that reproduces the tables: it stops, goes on, repeats nothing, and tests what it trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scans import AFFINE, lits, mask, scan, store
from scipy import ndimage

from lrnet_edu.cli import main
from lrnet_edu.commands.evaluate import evaluate_folders
from lrnet_edu.commands.predict import predict_files
from lrnet_edu.config import Config
from lrnet_edu.data.study import split_cases
from lrnet_edu.losses import TverskyLoss
from lrnet_edu.methods import METHODS, Method
from lrnet_edu.study import rows as paper
from lrnet_edu.study import runs
from lrnet_edu.study.rows import TABLES, Row
from lrnet_edu.study.runs import reproduce, run_config, schedule
from lrnet_edu.support.errors import InputError

TINY = Config(features=(4, 8), blocks=(1,), patch_size=(8, 16, 16), steps=2, validate_every=1, max_voxels=40_000)
ROWS = (Row("dice", paper={"DC": 0.6}), Row("mapdice+lrnet", paper={"DC": 0.7}), Row("mine"))
SEEDS = {f"{row}_seed-0.json": f"{row}/seed-0" for row in ("dice", "mapdice+lrnet_NI-DM", "mine")}


@pytest.fixture(scope="module", autouse=True)
def small_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Both tables with two rows of the paper's, and the second with one of our own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRNET_EDU_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setitem(METHODS, "mine", Method("My loss", TverskyLoss))
        patch.setitem(TABLES, "table1", replace(TABLES["table1"], rows=ROWS[:2]))
        patch.setitem(TABLES, "table2", replace(TABLES["table2"], rows=ROWS))
        yield


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight cases with a bright ball each: two of them are for the test."""
    return lits(tmp_path_factory.mktemp("scans"), range(8))


def table(scans: Path, out: Path, name: str = "table2", **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"config": TINY, "seeds": 1, "device": "cpu", "say": lambda line: None, **changes}
    return reproduce(name, scans, out, **given)


@pytest.fixture(scope="module")
def whole(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Table 2, finished in one go."""
    out = tmp_path_factory.mktemp("whole")
    table(scans, out)
    return out


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes the folder of every run that is trained."""
    folders: list[str] = []
    train = runs.train_run

    def noted(*args: Any, **options: Any) -> Any:
        folders.append("/".join(args[2].parts[-2:]))
        return train(*args, **options)

    monkeypatch.setattr(runs, "train_run", noted)
    return folders


def scores(out: Path) -> dict[str, Any]:
    """What all runs wrote, but the seconds."""
    records = {path.name: json.loads(path.read_text()) for path in (out / "scores").iterdir()}
    return {name: {key: value for key, value in one.items() if key != "seconds"} for name, one in records.items()}


# ---- rows -------------------------------------------------------------------------------------------------------


def test_both_tables_have_all_rows_and_claims_speak_of_these() -> None:
    one, two = paper.TABLE_1_ROWS, paper.TABLE_2_ROWS
    assert len(one) == 2 + 5 * 5
    assert {row.map_name for row in one if row.map_name} == {"O-DM", "I-DM", "NI-DM", "NI-DMs", "SNI-DM"}
    known = [{row.key for row in rows} for rows in (one, two)]
    assert [len(keys) for keys in known] == [27, 13]
    assert known[0] & known[1] == {"dice", "mapdice", *(f"{m}_NI-DM" for m in ("lrnet", "dice+lrnet", "mapdice+lrnet"))}
    for name in ("table1", "table2"):
        for claim in TABLES[name].claims:
            assert all(set(pair.better + pair.than) <= known[0] | known[1] for pair in claim.pairs)


def test_every_row_is_trained_as_long_on_the_same_patches() -> None:
    rows = (*paper.TABLE_1_ROWS, *paper.TABLE_2_ROWS, Row("mine"))
    for row in rows:
        config = run_config(replace(TINY, steps=100), row, 1)
        assert replace(config, method="dice", kind="NI-DM", activation=None, alpha=None) == replace(
            TINY, method="dice", steps=100, seed=1, convergence_patience=100
        )
        numbers = [int(word) for word in schedule(config).replace(",", "").split() if word.isdecimal()]
        assert sum(numbers[:2] if config.warmup else numbers[:1]) == 100
        longer = run_config(replace(TINY, steps=100, warmup_steps=1), row, 1)
        assert (longer == config) == (not METHODS[row.method].uses_lrnet)  # a warm-up concerns these rows alone


# ---- runs -------------------------------------------------------------------------------------------------------


def test_a_table_and_everything_about_it(whole: Path, scans: Path, trained: list[str]) -> None:
    names = {"table2.json", "table2.csv", "table2.md", "table2.png", "scores", "runs", "split.json"}
    assert {path.name for path in whole.iterdir()} == names
    result = json.loads((whole / "table2.json").read_text())
    assert [row["row"] for row in result["rows"]] == [row.key for row in ROWS]
    assert (result["rows"][2]["title"], result["facts"]["runs"]) == ("My loss", "3 of 3")
    record = scores(whole)["dice_seed-0.json"]
    assert (record["steps"], record["config"]["seed"], len(record["cases"])) == (2, 0, 2)
    assert set(record["versions"]) >= {"lrnet_edu", "torch", "python"}
    assert sorted(path.name for path in (whole / "runs/dice/seed-0").iterdir()) == [
        "best.safetensors", "config.json", "log.csv", "split.json"
    ]  # fmt: skip
    before = {path: path.stat().st_mtime_ns for path in (whole / "scores").iterdir()}
    assert table(scans, whole) == result  # made again without a run
    assert trained == []
    assert {path: path.stat().st_mtime_ns for path in (whole / "scores").iterdir()} == before


def test_a_stopped_table_goes_on_and_ends_alike(
    whole: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: list[str]
) -> None:
    """Stopped in its second run, after a checkpoint: what was finished stays, the run goes on, the rest follows."""
    from lrnet_edu import mnet_training

    case_dice, calls = mnet_training.case_dice, []

    def stopping(*args: Any) -> Any:
        calls.append(1)
        if len(trained) == 2 and len(calls) > 3:
            raise KeyboardInterrupt
        return case_dice(*args)

    monkeypatch.setattr(mnet_training, "case_dice", stopping)
    with pytest.raises(KeyboardInterrupt):
        table(scans, tmp_path)
    monkeypatch.setattr(mnet_training, "case_dice", case_dice)
    assert [path.name for path in (tmp_path / "scores").iterdir()] == ["dice_seed-0.json"]
    assert (tmp_path / "table2.md").exists()  # the table of what there is
    assert (tmp_path / "runs" / trained[1] / "last.safetensors").exists()
    del trained[:]
    table(scans, tmp_path)
    assert trained == list(SEEDS.values())[1:]
    assert scores(tmp_path) == scores(whole)


def test_tables_share_their_rows_and_more_seeds_add_to_what_is_there(
    scans: Path, tmp_path: Path, trained: list[str]
) -> None:
    one = table(scans, tmp_path, "table1")
    assert one["rows"][0]["sd"]["DC"] is None
    table(scans, tmp_path, "table2")
    assert trained == list(SEEDS.values())
    two = table(scans, tmp_path, "table1", seeds=2)
    assert trained[3:] == ["dice/seed-1", "mapdice+lrnet_NI-DM/seed-1"]
    assert two["rows"][0]["by_seed"]["DC"][:1] == one["rows"][0]["by_seed"]["DC"]
    assert {path.name for path in tmp_path.glob("table*")} == {f"table{n}.{e}" for n in (1, 2)
                                                               for e in ("json", "csv", "md", "png")}  # fmt: skip


def test_two_processes_write_what_one_does(whole: Path, scans: Path, tmp_path: Path) -> None:
    said: list[str] = []
    table(scans, tmp_path, "table1", workers=2, say=said.append)
    lines = [line for line in said if "runs:" in line]
    assert [line.split(" runs")[0] for line in lines] == ["1 of 2", "2 of 2"]
    assert all(line.endswith(" left.") for line in lines)
    assert all(record["cases"] == scores(whole)[name]["cases"] for name, record in scores(tmp_path).items())
    for path in (tmp_path / "runs").rglob("best.safetensors"):
        assert path.read_bytes() == (whole / path.relative_to(tmp_path)).read_bytes()


def test_a_run_that_fails_does_not_stop_the_others(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = runs.train_run

    def failing(study: Any, config: Config, *args: Any, **options: Any) -> Any:
        if config.method == "mapdice+lrnet":
            raise InputError("The loss became nan at step 3.")
        return train(study, config, *args, **options)

    monkeypatch.setattr(runs, "train_run", failing)
    with pytest.raises(InputError, match=r"1 of 3 runs failed.*nan at step 3"):
        table(scans, tmp_path)
    assert [row["row"] for row in json.loads((tmp_path / "table2.json").read_text())["rows"]] == ["dice", "mine"]


def test_the_scores_are_those_of_predict_and_evaluate(whole: Path, scans: Path, tmp_path: Path) -> None:
    for record, run in list(SEEDS.items())[::2]:
        predict_files(whole / "runs" / run, scans, tmp_path / run, part="test", device="cpu")
        expected = evaluate_folders(tmp_path / run, scans, label="1")["cases"]
        found = scores(whole)[record]["cases"]
        assert [case["case"].replace("volume", "segmentation") for case in found] == [c["case"] for c in expected]
        for case, other in zip(found, expected, strict=True):
            assert case["dice"] == pytest.approx(other["dice"], abs=0.01)  # the cache holds images in half precision
            assert sum(lesion["ml"] for lesion in case["lesions"]) == pytest.approx(case["reference_voxels"] * 0.003)


# ---- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"config": replace(TINY, steps=3)}, r"other settings \(steps 2, now 3; convergence_patience 2, now 3\)"),
        ({"config": replace(TINY, learning_rate=0.5)}, r"other settings \(learning_rate 0.001, now 0.5\)"),
        ({"config": replace(TINY, label="1,2")}, "several objects"),
    ],
)
def test_what_cannot_be_continued(
    whole: Path, scans: Path, trained: list[str], changes: dict[str, Any], match: str
) -> None:
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=match):
        table(scans, whole, **changes)
    assert trained == []
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "table3"}, "There is no table 'table3'; choose one of table1, table2"),
        ({"device": "toaster"}, "toaster"),
        ({"seeds": 0}, "seeds is 0"),
        ({"workers": 1.5}, "workers is 1.5"),
    ],
)
def test_a_wrong_option_is_told_before_any_scan_is_looked_for(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        table(tmp_path / "no scans", tmp_path / "out", **changes)
    assert list(tmp_path.iterdir()) == []


def test_other_scans_are_refused(whole: Path, tmp_path: Path, trained: list[str]) -> None:
    fewer, larger, coarser = (
        lits(tmp_path / "fewer", range(7)),
        lits(tmp_path / "larger", range(8)),
        tmp_path / "coarse",
    )
    for number in range(8):
        store(larger / f"segmentation-{number}.nii.gz", ndimage.binary_dilation(mask()).astype(np.uint8))
        store(coarser / f"volume-{number}.nii.gz", scan(seed=number), 3 * AFFINE)
        store(coarser / f"segmentation-{number}.nii.gz", mask(), 3 * AFFINE)
    for other, words in ((fewer, "other cases|does not hold"), (larger, "other scans"), (coarser, "other scans")):
        with pytest.raises(InputError, match=words):
            table(other, whole)
    assert trained == []


def test_a_test_part_without_the_object_is_refused_before_anything_is_trained(
    scans: Path, tmp_path: Path, trained: list[str]
) -> None:
    shutil.copytree(scans, tmp_path / "scans")
    for name in split_cases([f"volume-{number}" for number in range(8)])["test"]:
        store(tmp_path / "scans" / f"{name.replace('volume', 'segmentation')}.nii.gz", mask(label=2))
    with pytest.raises(InputError, match=r"No test case .* holds label 1, so there is nothing to compare"):
        table(tmp_path / "scans", tmp_path / "out")
    assert trained == []


@pytest.mark.parametrize("content", ["no json", "[1]"])
def test_a_damaged_score_is_named(scans: Path, whole: Path, tmp_path: Path, content: str) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    (tmp_path / "scores/dice_seed-0.json").write_text(content)
    with pytest.raises(InputError, match=r"dice_seed-0\.json is damaged; remove it"):
        table(scans, tmp_path)


# ---- command ------------------------------------------------------------------------------------------------------


def test_the_command(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LRNET_EDU_FAST", "1")

    def run(name: str, label: str) -> tuple[int, str, str]:
        line = ["reproduce", name, "--data", str(scans), "--label", label, "--seeds", "1", "--steps", "2",
                "--device", "cpu", "--out", str(tmp_path / "out")]  # fmt: skip
        monkeypatch.setattr("sys.argv", ["lrnet-edu", *line])
        with pytest.raises(SystemExit) as stop:
            main()
        return (stop.value.code or 0, *capsys.readouterr())  # type: ignore[return-value]

    code, out, err = run("table9", "1")
    assert (code, err.startswith("lrnet-edu: There is no table 'table9'; choose one of table1, table2")) == (2, True)
    assert not (tmp_path / "out").exists()
    code, out, err = run("table1", "1")
    assert code == 0, err
    assert "2 of 2 runs: M-Net + MapDice + α LR-Net (NI-DM), seed 0" in out
    assert "- **LR-Net better than M-Net alone: not run yet.**" in out
    facts = json.loads((tmp_path / "out/table1.json").read_text())["facts"]
    assert facts["command"].startswith("lrnet-edu reproduce table1 --data ")
    assert (facts["settings"]["steps"], facts["settings"]["label"]) == (2, "1")
