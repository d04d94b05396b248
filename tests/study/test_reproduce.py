"""Tables from scans to their pages, on coarse grids: they stop, go on, repeat nothing."""

import gzip
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scans import lits, mask, store
from scipy import ndimage

from lrnet_edu.cli import main
from lrnet_edu.commands.evaluate import evaluate_folders
from lrnet_edu.commands.predict import predict_files
from lrnet_edu.config import Config
from lrnet_edu.data.study import split_cases
from lrnet_edu.figures import results_figure
from lrnet_edu.kinds import KINDS
from lrnet_edu.losses import TverskyLoss
from lrnet_edu.methods import METHODS, WCE, Method
from lrnet_edu.study import reproduce, trainings
from lrnet_edu.study import rows as paper
from lrnet_edu.study.reproduce import choose_rates, rate_trainings, reproduce_table, row_config, twice_as_long
from lrnet_edu.study.rows import TABLES, Row
from lrnet_edu.study.trainings import Training, read_record
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import write_atomically

TINY = Config(features=(4, 8), blocks=(1,), patch_size=(8, 16, 16), steps=2, validate_every=1, max_voxels=40_000)
ROWS = (Row("dice", paper={"DC": 0.6}), Row("mapdice+lrnet", paper={"DC": 0.7}), Row("mine"))
NAMES = ["dice_seed-0", "mapdice+lrnet_NI-DM_seed-0", "mine_seed-0"]
FIRST = ["overlap_dice_rate-0.001_seed-100", "regression_lrnet_rate-0.001_seed-100"]  # they choose the rates
LAST = ["dice-twice_seed-100", "lrnet-twice_seed-100"]  # had the chosen ones converged?


@pytest.fixture(scope="module", autouse=True)
def small_tables() -> Iterator[None]:
    """Both tables with two rows of the paper's, and the second with one of our own; one learning rate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "mine", Method("My loss", TverskyLoss))
        patch.setattr(reproduce, "LEARNING_RATES", (1e-3,))
        patch.setitem(TABLES, "table1", replace(TABLES["table1"], rows=ROWS[:2]))
        patch.setitem(TABLES, "table2", replace(TABLES["table2"], rows=ROWS))
        yield


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight cases with a bright ball each: two of them are for the test."""
    return lits(tmp_path_factory.mktemp("scans"), range(8))


def table(scans: Path, out: Path, name: str = "table2", **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"config": TINY, "seeds": 1, "device": "cpu", "say": lambda line: None, **changes}
    return reproduce_table(name, scans, out, **given)


@pytest.fixture(scope="module")
def whole(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Table 2, finished in one go."""
    out = tmp_path_factory.mktemp("whole")
    table(scans, out)
    return out


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes every training that is done."""
    names: list[str] = []
    train = trainings.train_run

    def noted(study: Any, config: Config, folder: Path, **options: Any) -> Any:
        names.append(folder.name)
        return train(study, config, folder, **options)

    monkeypatch.setattr(trainings, "train_run", noted)
    return names


def records(out: Path) -> dict[str, Any]:
    """What all trainings wrote, but the seconds."""
    found = {path.name.removesuffix(".json.gz"): json.loads(gzip.decompress(path.read_bytes()))
             for path in sorted((out / "branches").iterdir())}  # fmt: skip
    for record in found.values():
        del record["cpu_seconds"]
        record["log"] = [{key: value for key, value in row.items() if key != "seconds"} for row in record["log"]]
    return found


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_both_tables_have_all_rows_and_claims_speak_of_these() -> None:
    known = [{row.key for row in rows} for rows in (paper.TABLE_1_ROWS, paper.TABLE_2_ROWS, paper.CONTROL_ROWS)]
    assert [len(keys) for keys in known] == [2 + 5 * 5, 13, 2]
    assert known[0] & known[1] == {"dice", "mapdice", *(f"{m}_NI-DM" for m in ("lrnet", "dice+lrnet", "mapdice+lrnet"))}
    for name in ("table1", "table2"):
        for _, pairs in TABLES[name].claims:
            assert all(set(pair.better + pair.than) <= set.union(*known) for pair in pairs)


def test_every_row_is_trained_as_long_on_the_same_patches_at_the_rate_of_its_family() -> None:
    rates = {"overlap": 1e-3, "cross-entropy": 3e-3, "regression": 1e-2}
    chosen = {family: {"method": "wce-power-0.5", "rate": rate} for family, rate in rates.items()}
    for row in (*paper.TABLE_1_ROWS, *paper.TABLE_2_ROWS, Row("mine")):
        config = row_config(replace(TINY, steps=100), row, 1, chosen)
        assert config.learning_rate == rates[row.family]
        assert config.method == ("wce-power-0.5" if row.method == "wce" else row.method)
        same = {"method": "dice", "kind": "NI-DM", "activation": None, "alpha": None, "learning_rate": 1e-3}
        assert replace(config, **same) == replace(TINY, **same, steps=100, seed=1, convergence_patience=100)
        longer = row_config(replace(TINY, steps=100, warmup_steps=1), row, 1, chosen)
        assert (longer == config) == (not METHODS[row.method].warms_up)  # a warm-up concerns these rows alone


def test_the_rate_with_the_best_validation_dc_is_chosen_for_each_family() -> None:
    tried = rate_trainings(TINY, ["overlap", "cross-entropy"], {})
    assert len(tried) == len(WCE) + 1
    scores = [0.5, 0.2, 0.4, 0.3]
    chosen = choose_rates(tried, [{"log": [{"score": 0.0}, {"score": score}]} for score in scores])
    assert (chosen["overlap"]["method"], chosen["overlap"]["rate"]) == ("dice", 1e-3)
    assert chosen["cross-entropy"]["chosen"] == "wce-power-0.5_rate-0.001"
    assert list(chosen["cross-entropy"]["validation"].values()) == scores[1:]
    longer = [one.config for one in twice_as_long(TINY, chosen, {})]
    assert [(one.method, one.learning_rate) for one in longer] == [("dice", 1e-3), ("wce-power-0.5", 1e-3)]
    assert {(one.steps, one.convergence_patience) for one in longer} == {(2 * TINY.steps, 2 * TINY.steps)}


def test_a_table_is_made_again_without_a_training(whole: Path, scans: Path, trained: list[str]) -> None:
    assert set(records(whole)) == {*NAMES, *FIRST, *LAST}
    assert not any("cases" in records(whole)[name] for name in (*FIRST, *LAST))  # what chooses is not tested
    alphas = {records(whole)[name]["config"]["alpha"] for name in NAMES if "mapdice+lrnet" in name}
    assert alphas == {KINDS["NI-DM"].alpha}  # not None: a default may change
    assert sorted(path.name for path in (whole / "runs" / NAMES[0]).iterdir()) == [
        "best.safetensors", "config.json", "log.csv", "split.json"
    ]  # fmt: skip
    result = json.loads((whole / "table2.json").read_text())
    assert [row["title"] for row in result["rows"]] == ["M-Net + Dice", "M-Net + MapDice + α LR-Net", "My loss"]
    before = contents(whole)
    assert table(scans, whole) == result
    assert trained == []
    assert contents(whole) == before


def test_a_stopped_table_goes_on_and_ends_alike(
    whole: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: list[str]
) -> None:
    """Stopped in its second row, after a checkpoint: what was finished stays, it goes on, the rest follows."""
    from lrnet_edu import mnet_training

    case_dice, calls = mnet_training.case_dice, []

    def stopping(*args: Any) -> Any:
        calls.append(1)
        if trained[-1] == NAMES[1] and len(calls) > 7:
            raise KeyboardInterrupt
        return case_dice(*args)

    monkeypatch.setattr(mnet_training, "case_dice", stopping)
    with pytest.raises(KeyboardInterrupt):
        table(scans, tmp_path)
    monkeypatch.setattr(mnet_training, "case_dice", case_dice)
    assert set(records(tmp_path)) == {*NAMES[:1], *FIRST}
    assert (tmp_path / "table2.md").exists()  # the table of what there is
    assert (tmp_path / "runs" / NAMES[1] / "last.safetensors").exists()
    found = (tmp_path / "table2.md").read_text().split("table2_found.png")[0].rsplit("![", 1)[-1]
    assert "M-Net + Dice" in found
    assert "MapDice" not in found  # a network in work shows nothing
    del trained[:]
    table(scans, tmp_path)
    assert trained == [*NAMES[1:], *LAST]
    assert records(tmp_path) == records(whole)


def test_fig_3_is_shown_as_a_radiologist_sees_it(scans: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(reproduce, "results_figure", lambda *args: given.append(args) or results_figure(*args))
    table(scans, whole)
    stored = [[nib.as_closest_canonical(nib.load(path)).get_fdata().T for path in sorted(scans.glob(f"{kind}-*"))]
              for kind in ("volume", "segmentation")]  # fmt: skip
    pairs = zip(*stored, strict=True)
    assert any(np.array_equal(given[0][0], image) and np.array_equal(given[0][1], mask > 0) for image, mask in pairs)


def test_tables_share_their_rows_and_more_seeds_add_to_what_is_there(
    whole: Path, scans: Path, tmp_path: Path, trained: list[str]
) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    two = table(scans, tmp_path, "table1", seeds=2)
    assert trained == ["dice_seed-1", "mapdice+lrnet_NI-DM_seed-1"]
    one = json.loads((whole / "table2.json").read_text())
    assert two["rows"][0]["scores"]["DC"][:1] == one["rows"][0]["scores"]["DC"]


def test_two_processes_write_what_one_does(whole: Path, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "branches").mkdir()
    for name in (*FIRST, *LAST):
        shutil.copy(whole / "branches" / f"{name}.json.gz", tmp_path / "branches")
    said: list[str] = []
    table(scans, tmp_path, "table1", workers=2, say=said.append)
    assert [line.split(" trainings")[0] for line in said if " trainings" in line] == ["1 of 2", "2 of 2"]
    assert all(record == records(whole)[name] for name, record in records(tmp_path).items())
    for path in (tmp_path / "runs").rglob("best.safetensors"):
        assert path.read_bytes() == (whole / path.relative_to(tmp_path)).read_bytes()


def test_a_training_that_fails_does_not_stop_the_others(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = trainings.train_run

    def failing(study: Any, config: Config, *args: Any, **options: Any) -> Any:
        if config.method == "mapdice+lrnet":
            raise InputError("The loss became nan at step 3.")
        return train(study, config, *args, **options)

    monkeypatch.setattr(trainings, "train_run", failing)
    with pytest.raises(InputError, match=r"1 of 3 trainings failed.*nan at step 3"):
        table(scans, tmp_path)
    assert [row["row"] for row in json.loads((tmp_path / "table2.json").read_text())["rows"]] == ["dice", "mine"]


def test_the_scores_are_those_of_predict_and_evaluate(whole: Path, scans: Path, tmp_path: Path) -> None:
    for name in NAMES[::2]:
        predict_files(whole / "runs" / name, scans, tmp_path / name, part="test", device="cpu")
        expected = evaluate_folders(tmp_path / name, scans, label="1")["cases"]
        found = records(whole)[name]["cases"]
        assert [case["case"].replace("volume", "segmentation") for case in found] == [c["case"] for c in expected]
        for case, other in zip(found, expected, strict=True):
            assert case["dice"] == pytest.approx(other["dice"], abs=0.01)  # the cache holds images in half precision
            assert sum(case["lesions"]["ml"]) == pytest.approx(case["reference_voxels"] * 0.003)


@pytest.mark.parametrize(("changes", "match"), [
    ({"config": replace(TINY, steps=3)}, r"other settings \(steps 2, now 3; convergence_patience 2, now 3\)"),
    ({"config": replace(TINY, label="1,2")}, "several objects"),
    ({"name": "table3"}, "There is no table 'table3'; choose one of table1, table2 or the study"),
])  # fmt: skip
def test_wrong_options_leave_a_folder_as_it_is(whole: Path, scans: Path, changes: dict[str, Any], match: str) -> None:
    before = contents(whole)
    with pytest.raises(InputError, match=match):
        table(scans, whole, **changes)
    assert contents(whole) == before


def test_other_scans_are_refused(whole: Path, tmp_path: Path, trained: list[str]) -> None:
    fewer, larger = lits(tmp_path / "a", range(7)), lits(tmp_path / "b", range(8))
    for number in range(8):
        store(larger / f"segmentation-{number}.nii.gz", ndimage.binary_dilation(mask()).astype(np.uint8))
    for other in (fewer, larger):
        with pytest.raises(InputError, match="other scans"):
            table(other, whole)
    assert trained == []


def test_a_test_part_without_the_object_is_refused(scans: Path, tmp_path: Path) -> None:
    shutil.copytree(scans, tmp_path / "scans")
    for name in split_cases([f"volume-{number}" for number in range(8)])["test"]:
        store(tmp_path / "scans" / f"{name.replace('volume', 'segmentation')}.nii.gz", mask(label=2))
    with pytest.raises(InputError, match="No test case holds label 1, so there is nothing to compare"):
        table(tmp_path / "scans", tmp_path / "out")


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"[1]")])
def test_a_damaged_record_is_named(tmp_path: Path, content: bytes) -> None:
    training = Training("dice", 0, TINY)
    write_atomically(tmp_path / "branches" / "dice_seed-0.json.gz", content)
    with pytest.raises(InputError, match=r"dice_seed-0\.json\.gz is damaged; remove it"):
        read_record(tmp_path, training)


def test_the_command(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = f"lrnet-edu reproduce table1 --data {scans} --label 1 --seeds 1 --steps 2 --device cpu --out {tmp_path}/out"
    monkeypatch.setenv("LRNET_EDU_FAST", "1")
    monkeypatch.setattr("sys.argv", line.split())
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    assert "- **LR-Net better than M-Net alone: not run yet.**" in (tmp_path / "out/table1.md").read_text("utf-8")
    facts = json.loads((tmp_path / "out/table1.json").read_text())["facts"]
    assert facts["command"].startswith("lrnet-edu reproduce table1 --data ")
    assert (facts["settings"]["steps"], facts["settings"]["label"]) == (2, "1")
