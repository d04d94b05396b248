"""A disk that is full from the n-th write on, for every n: one sentence, whole files, nothing unfinished."""

from __future__ import annotations

import ast
import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from data.test_fetch import NAME, Server, server  # noqa: F401
from full_disk import full_after
from fuzz.bounds import assert_sentence
from scans import checkpoint, lits, mask, scan, store
from test_course import write as write_notebook
from test_tables import case
from test_training import CPU, SCHEDULE, toy_task

from lrnet_edu.commands.course import export_course
from lrnet_edu.commands.evaluate import evaluate_folders
from lrnet_edu.commands.maps import write_map
from lrnet_edu.commands.predict import predict_files
from lrnet_edu.config import Config
from lrnet_edu.data import samples
from lrnet_edu.data.cache import cache_cases
from lrnet_edu.data.cases import find_cases
from lrnet_edu.data.fetch import fetch_task
from lrnet_edu.data.phantoms import phantom as phantoms
from lrnet_edu.data.preprocessing import Preprocessing
from lrnet_edu.data.samples import sample_folder
from lrnet_edu.figures import tables as figures_of_tables
from lrnet_edu.metrics import score_table
from lrnet_edu.study import demo, report
from lrnet_edu.study import runs as experiments
from lrnet_edu.study.rows import TABLES
from lrnet_edu.support.checkpoints import load_checkpoint, save_checkpoint
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import write_atomically
from lrnet_edu.support.run_folder import State, opened_run
from lrnet_edu.training import fit

Work = Callable[[Path], object]  # writes into a folder, or a file in it


class Desk:
    """What the commands read."""

    def __init__(self, folder: Path) -> None:
        self.scans = lits(folder / "scans", [1])
        self.labels = folder / "labels"
        for path in self.scans.glob("segmentation-*"):
            store(self.labels / path.name, mask())
        self.mnet = checkpoint(folder / "best.safetensors")
        tensors, facts = load_checkpoint(self.mnet)
        self.other_mnet = folder / "other.safetensors"
        save_checkpoint(self.other_mnet, {name: -tensor for name, tensor in tensors.items()}, facts)
        self.notebooks = write_notebook(folder / "notebooks", "01_a", "# 01 · A\n\n$x$")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The disk."""
    monkeypatch.setenv("LRNET_EDU_CACHE", str(tmp_path / "disk" / "cache"))
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


def state(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


def until_it_fits(work: Work, out: Path, place: Path) -> list[dict[str, bytes | None]]:
    """Do the work with ever more room on the disk, each time from the same state; what the refusals left."""
    before, saved, found = state(place), place.with_name("saved"), []
    shutil.copytree(place, saved)
    for room in range(500):
        with full_after(room, place) as disk:
            try:
                work(out)
                refused = None
            except InputError as error:
                refused = str(error)
        assert bool(refused) == bool(disk.refused), room
        if refused is None:
            return found
        assert "No space left on device" in refused or "is full" in refused, refused
        assert_sentence(refused, *place.parent.rglob("*"), place, "TensorBoard")
        left = state(place)
        for path, content in left.items():
            assert not Path(path).name.startswith("."), (room, path)
            assert not path.endswith((".part", ".lock", ".tmp")) or path.endswith(f"{NAME}.tar.part"), (room, path)
            assert content is not None or path in before or any((place / path).iterdir()), (room, path)
        assert left.keys() >= before.keys(), room
        found.append(left)
        shutil.rmtree(place)
        shutil.copytree(saved, place)
    raise AssertionError("it never ends")


def check(work: Work, out: Path, place: Path, *, least: int) -> None:
    """Each file is, after every refusal, the one before or the one there will be."""
    before = state(place)
    found, after = until_it_fits(work, out, place), state(place)
    assert len(found) >= least  # the refusals: there was something to refuse
    for left in found:
        assert all(content in (before.get(path), after.get(path)) for path, content in left.items())
    assert after != before


# ---- what a command writes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["new/folder/map.nii.gz", "map.nii.gz", "map.nii"])
def test_a_map(desk: Desk, place: Path, name: str) -> None:
    segmentation = desk.labels / "segmentation-1.nii.gz"
    if "new" not in name:
        write_map(segmentation, place / name, kind="O-DM")
    check(lambda out: write_map(segmentation, out), place / name, place, least=5)


@pytest.mark.parametrize("old", [False, True])
def test_predictions_and_probabilities(desk: Desk, place: Path, old: bool) -> None:
    if old:
        predict_files(desk.other_mnet, desk.scans, place / "out", probabilities=True, device="cpu")
    check(lambda out: predict_files(desk.mnet, desk.scans, out, probabilities=True, device="cpu"),
          place / "out", place, least=10)  # fmt: skip


@pytest.mark.parametrize("name", ["new/folder/scores.json", "scores.json"])
def test_scores(desk: Desk, place: Path, name: str) -> None:
    if "new" not in name:
        evaluate_folders(desk.labels, desk.labels, label="1", json_file=place / name, challenge=True)

    def work(out: Path) -> None:
        evaluate_folders(desk.labels, desk.scans, label="1", json_file=out)

    check(work, place / name, place, least=5)


def test_course(desk: Desk, place: Path, tmp_path: Path) -> None:
    export_course(place / "out", write_notebook(tmp_path / "old", "01_a", "# 01 · Old"))
    check(lambda out: export_course(out, desk.notebooks), place / "out", place, least=9)


def test_samples_and_their_copy_in_the_cache(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small = phantoms.Phantom(scan(), mask(), (2.0, 1.0, 1.0))
    monkeypatch.setattr(phantoms, "phantom", lambda *_, **__: small)
    monkeypatch.setattr(phantoms, "write_samples", partial(phantoms.write_samples, cases=2))
    monkeypatch.setattr(samples, "PACKAGE", tmp_path / "installed" / "lrnet_edu")
    check(lambda _: sample_folder(), place, place, least=20)


def test_a_download(server: Server, place: Path) -> None:  # noqa: F811
    def work(out: Path) -> None:
        fetch_task(NAME, out, address=server.address)

    found = until_it_fits(work, place / "out", place)
    whole = state(place / "out")
    assert len(found) > 10
    for left in found:  # the archive, as far as it came, or nothing
        for path, content in left.items():
            assert path == f"out/{NAME}.tar.part" or path == "out", path
            assert content is None or server.content.startswith(content)
    assert f"{NAME}/dataset.json" in whole
    assert not list(place.rglob("*.part"))


def test_prepared_cases(desk: Desk, place: Path) -> None:
    cases, settings = find_cases(desk.scans)[:1], Preprocessing(4.0, None)

    (place / "out").mkdir()

    def work(out: Path) -> None:
        cache_cases(cases, settings, ((1,),), folder=out, workers=1, progress=False)

    found = until_it_fits(work, place / "out", place)
    assert len(found) > 10
    assert all(left.keys() <= {"out"} for left in found)  # the case is there as a whole or not at all


# ---- a run --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [False, True])
def test_a_run_begun_or_gone_on_with(place: Path, old: bool) -> None:
    """Afterwards it goes on from whole files, and a new run without a checkpoint left none at all."""
    more, split = {"data": "scans"}, {"train": ["a"], "validation": ["b"], "test": ["c"]}

    schedule = replace(SCHEDULE, steps=2, validate_every=1)

    def work(out: Path, steps: int = schedule.steps) -> State:
        with opened_run(out, schedule, resume=True, more=more, split=split):
            return fit(toy_task(), replace(schedule, steps=steps), out, CPU, resume=True)

    if old:
        work(place / "run", steps=1)
    before = state(place)
    found = until_it_fits(work, place / "run", place)
    assert len(found) > 20
    for left in found:
        checkpoints = [path for path in left if path.endswith(".safetensors")]
        assert checkpoints or left == {}
        shutil.rmtree(place)
        place.mkdir()
        for path, content in left.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            if content is not None:
                (place / path).write_bytes(content)
        for path in checkpoints:
            assert load_checkpoint(place / path)
        for path in {"run/config.json", "run/split.json"} & left.keys():
            assert json.loads((place / path).read_text())
        if "run/log.csv" in left:
            rows = list(csv.DictReader((place / "run" / "log.csv").read_text().splitlines()))
            assert all(None not in row.values() for row in rows)
            assert (place / "run" / "log.csv").read_bytes().endswith(b"\n")
    assert before.keys() <= found[0].keys()
    assert work(place / "run").step == schedule.steps


# ---- a table ------------------------------------------------------------------------------------------------------


def test_a_table(desk: Desk, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs themselves are made up: what they write is above."""
    study: Any = SimpleNamespace(
        describe=str, data=desk.scans, labels=((1,),), preprocessing=Preprocessing(1.5, None),
        split={"train": ["volume-1"], "validation": ["volume-2"], "test": ["volume-3"]},
    )  # fmt: skip

    def train(_: object, config: Config, folder: Path, **__: object) -> State:
        for name in ("best", "last"):
            write_atomically(folder / f"{name}.safetensors", b"weights")
        return State(step=config.steps, best_score=0.5)

    patch = monkeypatch.setattr
    monkeypatch.setitem(TABLES, "table2", replace(TABLES["table2"], rows=TABLES["table2"].rows[:1]))
    patch(experiments, "open_study", lambda *_: study)
    patch(experiments, "train_run", train)
    patch(experiments, "object_voxels", lambda _: {"volume-3": case("volume-3", 0.5)["reference_voxels"]})
    patch(experiments, "load_mnet", lambda _: None)
    patch(experiments, "score_test_cases", lambda *_: [case("volume-3", 0.5)])
    patch(figures_of_tables, "comparison_figure", lambda _: SimpleNamespace(png=lambda: b"picture", alt="alt"))

    def work(out: Path) -> None:
        experiments.reproduce("table2", desk.scans, out, Config(), seeds=1, device="cpu", say=lambda _: None)

    found = until_it_fits(work, place / "out", place)
    assert len(found) > 40
    for left in found:
        for path, content in left.items():
            if path.endswith(".json"):
                assert json.loads(content or b"")
    names = {path.removeprefix("out/") for path, content in state(place).items() if content is not None}
    assert names == {"split.json", "table2.json", "table2.csv", "table2.md", "table2.png",
                     "scores/dice_seed-0.json", "runs/dice/seed-0/best.safetensors"}  # fmt: skip


# ---- the rest -----------------------------------------------------------------------------------------------------


def test_the_demos_results_and_report(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "report_html", lambda results: results)
    table: Any = SimpleNamespace(title="a", table=score_table([]))

    def work(out: Path) -> None:
        demo.write_results(out / "results.csv", {"dice": table})
        report.write_report(out / "report.html", "a page")  # type: ignore[arg-type]

    check(work, place / "out", place, least=9)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no such device")
def test_what_is_printed() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-m", "lrnet_edu", "--version"], stdout=full, stderr=subprocess.PIPE,
                              text=True, check=False)  # fmt: skip
    assert done.returncode == 2
    assert re.fullmatch(r"lrnet-edu: [^\n]*no room[^\n]*\.\n", done.stderr)


WRITERS = {"writing.py", "data/cache.py", "data/fetch.py"}  # all of which are above
WRITES = {"write_text", "write_bytes", "touch", "mkdir", "makedirs", "save_file", "tofile", "to_filename", "savez",
          "NamedTemporaryFile", "mkstemp", "mkdtemp", "copyfile", "copytree", "rename", "replace"}  # fmt: skip


def writes(tree: ast.AST) -> Iterator[str]:
    """The calls that write to a path, by their source."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        owner = ast.unparse(call.func).rpartition(".")[0]
        given = [word.value for word in [*call.args, *(word.value for word in call.keywords)]
                 if isinstance(word, ast.Constant) and isinstance(word.value, str)]  # fmt: skip
        opened = name == "open" and any(re.fullmatch(r"[rwaxbt+]+", mode) and set(mode) & set("wax+") for mode in given)
        if opened or (name in WRITES and (name != "replace" or owner == "os")):
            yield ast.unparse(call)


def test_nothing_else_writes() -> None:
    """Whatever module wants to write does so by means that are tested above."""
    package = Path(samples.__file__).parent
    found = {path.relative_to(package).as_posix(): list(writes(ast.parse(path.read_text("utf-8"))))
             for path in package.rglob("*.py")}  # fmt: skip
    assert all(found[name] for name in WRITERS)
    others = {name: calls for name, calls in found.items() if calls and name not in WRITERS}
    probes = ["probe.touch(exist_ok=False)", "probe.mkdir()"]  # empty, and gone at once: may one write there?
    assert others == {"files.py": probes, "experiments.py": ["open(os.devnull, 'w', encoding='utf-8')"]}
