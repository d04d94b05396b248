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
from lrnet_edu.methods import METHODS
from lrnet_edu.mnet_training import case_dice
from lrnet_edu.study import rows as paper_tables
from lrnet_edu.study import runs as experiments
from lrnet_edu.study.rows import CRITERIA, TABLES, Row
from lrnet_edu.study.runs import Run, duration, planned_runs, reproduce, run_config, schedule, visible_gpus
from lrnet_edu.support.errors import InputError

TINY = Config(features=(4, 8), blocks=(1,), patch_size=(8, 12, 12), steps=2, validate_every=1, max_voxels=40_000)
ROWS = (Row("dice", paper={"DC": 0.6}), Row("mapdice+lrnet", paper={"DC": 0.7}), Row("cascaded", paper={"DC": 0.65}))


@pytest.fixture(scope="module", autouse=True)
def small_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Both tables with a few rows, of which they share two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRNET_EDU_CACHE", str(tmp_path_factory.mktemp("cache")))
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

    def noted(*args: Any, **options: Any) -> Any:
        folders.append("/".join(args[2].parts[-2:]))
        return train(*args, **options)

    train = experiments.train_run
    monkeypatch.setattr(experiments, "train_run", noted)
    return folders


def scores(out: Path) -> dict[str, Any]:
    """What all runs wrote, but the seconds."""
    records = {path.name: json.loads(path.read_text()) for path in (out / "scores").iterdir()}
    return {name: {key: value for key, value in one.items() if key != "seconds"} for name, one in records.items()}


def without_seconds(result: dict[str, Any]) -> dict[str, Any]:
    return {**result, "facts": {key: value for key, value in result["facts"].items() if key != "seconds"}}


# ---- rows -------------------------------------------------------------------------------------------------------


def test_both_tables_have_all_rows() -> None:
    one, two = paper_tables.TABLE_1_ROWS, paper_tables.TABLE_2_ROWS
    assert {row.method for row in two} == set(METHODS)
    assert len(one) == 2 + 5 * 5
    assert {row.map_name for row in one if row.map_name} == {"O-DM", "I-DM", "NI-DM", "NI-DMs", "SNI-DM"}
    for rows in (one, two):
        keys = [row.key for row in rows]
        assert len(set(keys)) == len(keys)
    shared = {row.key for row in one} & {row.key for row in two}
    assert shared == {"dice", "mapdice", "lrnet_NI-DM", "dice+lrnet_NI-DM", "mapdice+lrnet_NI-DM"}
    known = {row.key for row in (*one, *two)}
    for name in ("table1", "table2"):
        for claim in TABLES[name].claims:
            assert all(set(pair.better + pair.than) <= known for pair in claim.pairs)


def test_every_row_is_trained_as_long_on_the_same_patches() -> None:
    rows = (*paper_tables.TABLE_1_ROWS, *paper_tables.TABLE_2_ROWS)
    configs = [run_config(replace(TINY, steps=100), row, 1) for row in rows]
    same = [replace(c, method="dice", kind="NI-DM", activation=None, alpha=None) for c in configs]
    assert set(same) == {replace(same[0])}
    for config in configs:
        assert config.steps // config.validate_every <= config.convergence_patience  # none ends early
        numbers = [int(word) for word in schedule(config).replace(",", "").split() if word.isdecimal()]
        assert sum(numbers[:2] if config.warmup else numbers[:1]) == config.steps
        assert ("LR-Net" in schedule(config)) == bool(METHODS[config.method].lrnet)


@pytest.mark.parametrize("row", paper_tables.TABLE_2_ROWS, ids=lambda row: row.key)
def test_another_warm_up_is_another_training_for_rows_with_a_light_network_alone(row: paper_tables.Row) -> None:
    usual, longer = (run_config(replace(TINY, warmup_steps=steps), row, 0) for steps in (None, 1))
    assert (usual == longer) == (not METHODS[row.method].lrnet)


# ---- runs -------------------------------------------------------------------------------------------------------


def test_a_table_and_everything_about_it(whole: Path) -> None:
    names = {"table2.json", "table2.csv", "table2.md", "table2.png", "scores", "runs", "split.json"}
    assert {path.name for path in whole.iterdir()} == names
    result = json.loads((whole / "table2.json").read_text())
    assert [row["row"] for row in result["rows"]] == [row.key for row in ROWS]
    assert result["facts"]["runs"] == "3 of 3"
    assert result["facts"]["seconds"] > 0
    assert len(result["facts"]["devices"]) == 1
    record = scores(whole)["dice_seed-0.json"]
    assert (record["steps"], record["config"]["seed"], len(record["cases"])) == (2, 0, 2)
    assert set(record["versions"]) >= {"lrnet_edu", "torch", "python"}
    assert sorted(path.name for path in (whole / "runs/dice/seed-0").iterdir()) == [
        "best.safetensors", "config.json", "log.csv", "split.json"
    ]  # fmt: skip


def test_a_finished_table_is_made_again_without_a_run(whole: Path, scans: Path, trained: list[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (whole / "scores").iterdir()}
    said: list[str] = []
    again = table(scans, whole, say=said.append)
    assert trained == []
    assert {path: path.stat().st_mtime_ns for path in (whole / "scores").iterdir()} == before
    assert not any("runs:" in line for line in said)
    assert again == json.loads((whole / "table2.json").read_text())


@pytest.mark.parametrize("stopped_at", [0, 2])
def test_a_stopped_table_goes_on_and_ends_alike(
    whole: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: list[str], stopped_at: int
) -> None:
    """Stopped in a run (after its first checkpoint): what was finished stays, the run goes on, the rest follows."""
    noted = experiments.train_run

    def stopping(*args: Any, **options: Any) -> Any:
        if len(trained) == stopped_at:
            monkeypatch.setattr("lrnet_edu.mnet_training.case_dice", second_validation)
        return noted(*args, **options)

    calls = []

    def second_validation(*args: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return case_dice(*args)

    monkeypatch.setattr(experiments, "train_run", stopping)
    with pytest.raises(KeyboardInterrupt):
        table(scans, tmp_path)
    monkeypatch.setattr(experiments, "train_run", noted)
    monkeypatch.setattr("lrnet_edu.mnet_training.case_dice", case_dice)
    finished = {path.stem for path in (tmp_path / "scores").iterdir()} if stopped_at else set()
    assert len(finished) == stopped_at
    assert (tmp_path / "table2.md").exists() == bool(stopped_at)  # the table of what there is
    in_hand = tmp_path / "runs" / trained[-1]
    assert (in_hand / "last.safetensors").exists()

    del trained[:]
    result = table(scans, tmp_path)
    assert len(trained) == 3 - stopped_at
    assert not {folder.replace("/", "_") for folder in trained} & finished
    assert scores(tmp_path) == scores(whole)
    assert without_seconds(result) == without_seconds(json.loads((whole / "table2.json").read_text()))


def test_both_tables_share_their_rows(whole: Path, scans: Path, tmp_path: Path, trained: list[str]) -> None:
    table(scans, tmp_path, "table1")
    assert trained == ["dice/seed-0", "mapdice+lrnet_NI-DM/seed-0"]
    del trained[:]
    table(scans, tmp_path, "table2")
    assert trained == ["cascaded/seed-0"]
    assert {path.name for path in tmp_path.glob("table*")} == {f"table{n}.{e}" for n in (1, 2)
                                                               for e in ("json", "csv", "md", "png")}  # fmt: skip


def test_more_seeds_add_to_what_is_there(scans: Path, tmp_path: Path, trained: list[str]) -> None:
    one = table(scans, tmp_path, "table1", seeds=1)
    assert one["rows"][0]["sd"]["DC"] is None
    two = table(scans, tmp_path, "table1", seeds=2)
    assert trained == ["dice/seed-0", "mapdice+lrnet_NI-DM/seed-0", "dice/seed-1", "mapdice+lrnet_NI-DM/seed-1"]
    assert two["rows"][0]["by_seed"]["DC"][:1] == one["rows"][0]["by_seed"]["DC"]
    again = table(scans, tmp_path, "table1", seeds=1)
    assert without_seconds(again)["rows"] == one["rows"]


def test_two_processes_write_what_one_does(whole: Path, scans: Path, tmp_path: Path) -> None:
    said: list[str] = []
    table(scans, tmp_path, "table1", workers=2, say=said.append)
    lines = [line for line in said if "runs:" in line]
    assert [line.split(" runs")[0] for line in lines] == ["1 of 2", "2 of 2"]
    assert all(line.endswith(" left.") for line in lines)
    expected = scores(whole)
    assert all(record["cases"] == expected[name]["cases"] for name, record in scores(tmp_path).items())
    for path in (tmp_path / "runs").rglob("best.safetensors"):
        assert path.read_bytes() == (whole / path.relative_to(tmp_path)).read_bytes()


def test_a_run_that_fails_does_not_stop_the_others(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = experiments.train_run

    def failing(study: Any, config: Config, *args: Any, **options: Any) -> Any:
        if config.method == "mapdice+lrnet":
            raise InputError("The loss became nan at step 3.")
        return train(study, config, *args, **options)

    monkeypatch.setattr(experiments, "train_run", failing)
    with pytest.raises(InputError, match=r"1 of 3 runs failed.*nan at step 3"):
        table(scans, tmp_path)
    assert [row["row"] for row in json.loads((tmp_path / "table2.json").read_text())["rows"]] == ["dice", "cascaded"]
    monkeypatch.setattr(experiments, "train_run", train)
    assert len(table(scans, tmp_path)["rows"]) == 3


def test_the_scores_are_those_of_predict_and_evaluate(whole: Path, scans: Path, tmp_path: Path) -> None:
    for row in ("dice", "cascaded"):
        run = whole / "runs" / row / "seed-0"
        predict_files(run, scans, tmp_path / row, part="test", device="cpu")
        expected = evaluate_folders(tmp_path / row, scans, label="1")["cases"]
        found = scores(whole)[f"{row}_seed-0.json"]["cases"]
        assert [case["case"].replace("volume", "segmentation") for case in found] == [c["case"] for c in expected]
        for case, other in zip(found, expected, strict=True):
            assert case["dice"] == pytest.approx(other["dice"], abs=0.01)  # the cache holds images in half precision
            assert sum(lesion["ml"] for lesion in case["lesions"]) == pytest.approx(case["reference_voxels"] * 0.003)


def test_test_cases_are_read_after_the_training_and_once(
    whole: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def note(name: str, module: Any) -> None:
        function = getattr(module, name)

        def noted(*args: Any, **options: Any) -> Any:
            events.append(name)
            return function(*args, **options)

        monkeypatch.setattr(module, name, noted)

    note("train_run", experiments)
    note("predict_probabilities", experiments)
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    (tmp_path / "scores/cascaded_seed-0.json").unlink()
    shutil.rmtree(tmp_path / "runs/cascaded")
    table(scans, tmp_path)
    assert events == ["train_run", "predict_probabilities", "predict_probabilities"]
    assert scores(tmp_path) == scores(whole)


# ---- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"config": replace(TINY, steps=3)}, r"other settings \(steps 2, now 3; convergence_patience 2, now 3\)"),
        ({"config": replace(TINY, learning_rate=0.5)}, r"other settings \(learning_rate 0.001, now 0.5\)"),
        ({"config": replace(TINY, label="1,2")}, "several objects"),
        ({"name": "table3"}, "table1, table2"),
        ({"device": "toaster"}, "no device"),
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


def test_other_cases_are_refused(whole: Path, tmp_path: Path) -> None:
    other = lits(tmp_path / "other", range(7))
    with pytest.raises(InputError, match=r"other cases|does not hold"):
        table(other, whole)


def test_other_scans_of_the_same_names_are_refused(whole: Path, tmp_path: Path, trained: list[str]) -> None:
    larger, coarser = lits(tmp_path / "larger", range(8)), tmp_path / "coarser"
    for number in range(8):
        store(larger / f"segmentation-{number}.nii.gz", ndimage.binary_dilation(mask()).astype(np.uint8))
        store(coarser / f"volume-{number}.nii.gz", scan(seed=number), 3 * AFFINE)
        store(coarser / f"segmentation-{number}.nii.gz", mask(), 3 * AFFINE)
    for other in (larger, coarser):
        with pytest.raises(InputError, match="holds runs on other scans; name another folder"):
            table(other, whole)
    assert trained == []


def test_a_test_part_without_the_object_is_refused_before_anything_is_trained(
    scans: Path, tmp_path: Path, trained: list[str]
) -> None:
    test = split_cases([f"volume-{number}" for number in range(8)])["test"]
    shutil.copytree(scans, tmp_path / "scans")
    for name in test:
        store(tmp_path / "scans" / f"{name.replace('volume', 'segmentation')}.nii.gz", mask(label=2))
    with pytest.raises(InputError, match=rf"No test case \({', '.join(test)}\) holds label 1"):
        table(tmp_path / "scans", tmp_path / "out")
    assert trained == []


def test_damaged_scores_are_named(whole: Path, scans: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "scores" / "dice_seed-0.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(InputError, match=r"dice_seed-0\.json is damaged; remove it"):
        table(scans, tmp_path)


def test_settings_that_are_new_since_a_run_do_not_matter(whole: Path, scans: Path, tmp_path: Path) -> None:
    run = Run(ROWS[0], run_config(TINY, ROWS[0], 0))
    (tmp_path / "scores").mkdir()
    record = json.loads((whole / "scores" / f"{run.name}.json").read_text())
    del record["config"]["max_gradient_norm"]
    (tmp_path / "scores" / f"{run.name}.json").write_text(json.dumps(record))
    assert experiments.read_record(tmp_path, run, [case["case"] for case in record["cases"]]) == record


# ---- command ------------------------------------------------------------------------------------------------------


def test_the_command(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LRNET_EDU_FAST", "1")

    def run(name: str, label: str) -> tuple[int, str, str]:
        line = ["reproduce", name, "--data", str(scans), "--label", label, "--seeds", "1", "--steps", "2",
                "--random-boxes", "--device", "cpu", "--out", str(tmp_path / "out")]  # fmt: skip
        monkeypatch.setattr("sys.argv", ["lrnet-edu", *line])
        with pytest.raises(SystemExit) as stop:
            main()
        return (stop.value.code or 0, *capsys.readouterr())  # type: ignore[return-value]

    code, out, err = run("table9", "1")
    assert (code, err) == (2, "lrnet-edu: There is no table 'table9'; choose one of table1, table2.\n")
    assert run("table1", "1,2")[0] == 2
    assert not (tmp_path / "out").exists()
    code, out, err = run("table1", "1")
    assert code == 0, err
    assert "2 of 2 runs: M-Net + MapDice + α LR-Net (NI-DM), seed 0" in out
    assert "- **LR-Net better than M-Net alone: not run yet.**" in out
    result = json.loads((tmp_path / "out/table1.json").read_text())
    assert result["facts"]["command"].startswith("lrnet-edu reproduce table1 --data ")
    settings = result["facts"]["settings"]
    assert (settings["steps"], settings["random_boxes"], settings["label"]) == (2, True, "1")


# ---- words --------------------------------------------------------------------------------------------------------


def test_runs_come_seed_by_seed() -> None:
    runs = planned_runs("table2", TINY, 2)
    assert [run.name for run in runs] == [f"{row.key}_seed-{seed}" for seed in (0, 1) for row in ROWS]
    assert runs[4].title == "M-Net + MapDice + α LR-Net (NI-DM), seed 1"


@pytest.mark.parametrize(("seconds", "words"), [(0, "0 s"), (89, "89 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_gpus_are_named_as_the_user_named_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert visible_gpus() == ["2", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,-1,7")  # CUDA reads up to what is none
    assert visible_gpus() == ["2", "5"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert visible_gpus() == ["0", "1", "2"]


def test_all_criteria_are_there(whole: Path) -> None:
    for row in json.loads((whole / "table2.json").read_text())["rows"]:
        assert all(np.isfinite(row["mean"][name]) for name in CRITERIA if not row["undefined"][name])
