"""The command line: every bad input is one sentence and exit code 2, and leaves nothing behind."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scans import AFFINE, SHAPE, checkpoint, lits, load, lrnet_checkpoint, mask, scan, store

from lrnet_edu import __version__
from lrnet_edu.cli import _as_typed, main
from lrnet_edu.methods import METHODS
from lrnet_edu.support.run_folder import State

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Command:
    """Run `lrnet-edu ...` in this process: exit code, stdout, stderr."""
    monkeypatch.setenv("LRNET_EDU_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("LRNET_EDU_FAST", "1")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lrnet-edu", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return (stop.value.code or 0, *capsys.readouterr())  # type: ignore[return-value]

    return run


@pytest.fixture
def refused(command: Command, tmp_path: Path) -> Callable[..., None]:
    """Run a command that must fail with one sentence and change no file under tmp_path."""

    def run(match: str, *arguments: object) -> None:
        before = contents(tmp_path)
        code, out, err = command(*arguments)
        assert code == 2, err
        assert "Traceback" not in out + err
        assert_one_sentence(err, match)
        assert contents(tmp_path) == before

    return run


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def assert_one_sentence(err: str, match: str) -> None:
    *bars, sentence = err.strip().splitlines()  # a progress bar may have been there before
    assert all("|" in bar for bar in bars if bar.strip()), err
    sentence = sentence.split("\r")[-1].strip()
    assert sentence.startswith("lrnet-edu: "), err
    assert sentence.endswith("."), err
    assert not re.search(r"[.!?] [A-Z]", sentence), err
    assert re.search(match, sentence), err


def process(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `python -m lrnet_edu ...` as a user does."""
    line = [sys.executable, "-m", "lrnet_edu", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


# ---- help and usage -------------------------------------------------------------------------------------


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from lrnet_edu.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'numpy', 'scipy', 'nibabel', 'torchio', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    for arguments in (["--help"], ["train", "--help"]):
        line = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "Usage: lrnet-edu" in done.stdout


def test_train_lists_every_method(command: Command) -> None:
    _, text, _ = command("train", "--help")
    listed = re.search(r"A row of Table 2: (.*?)\.", " ".join(text.split()))
    assert listed
    assert re.split(r", | or ", listed[1]) == list(METHODS)


def test_every_command_and_option_explains_itself(command: Command) -> None:
    _, overview, _ = command("--help")
    listing = overview.split("Commands:")[1]
    names = re.findall(r"^  ([a-z]+)  ", listing, re.MULTILINE)
    assert set(names) >= {"demo", "samples", "maps", "pretrain", "train", "predict", "evaluate"}
    assert "..." not in listing  # no explanation is cut
    for name in names:
        code, text, _ = command(name, "--help")
        assert code == 0
        assert max(map(len, text.splitlines())) <= 80
        for option in re.findall(r"^  (--[a-z-]+)", text, re.MULTILINE):
            assert re.search(rf"^  {option}(?: / --[a-z-]+)?(?: <[^>]+>[.]*)?\s+[A-Za-z0-9]", text, re.MULTILINE), (
                name,
                option,
            )


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["predict"],
        ["maps", "a", "b", "--nonsense"],
        ["train", "--steps", "many"],
        ["demo", "--seed", "-1"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(command: Command, arguments: list[str]) -> None:
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert "Error: " in err
    assert "Traceback" not in err


def test_an_interrupted_command_says_so(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lrnet_edu.commands.maps.write_map", interrupted)
    code, _, err = command("maps", "a.nii.gz", "b.nii.gz")
    assert code == 130
    assert_one_sentence(err, "stopped")


# ---- what works -----------------------------------------------------------------------------------------


def test_maps_predict_and_evaluate_from_the_command_line(command: Command, tmp_path: Path) -> None:
    data = lits(tmp_path / "data", [1, 2])
    trained = checkpoint(tmp_path / "run" / "best.safetensors")
    code, out, _ = command("maps", data / "segmentation-1.nii.gz", tmp_path / "map.nii.gz", "--kind", "I-DM")
    assert (code, out.startswith("Wrote the I-DM")) == (0, True)
    assert load(tmp_path / "map.nii.gz").dtype == np.float32
    code, out, _ = command("predict", trained.parent, data, tmp_path / "out", "--probabilities")
    assert (code, out) == (0, f"Wrote 2 segmentations to {tmp_path / 'out'}.\n")
    scores = tmp_path / "scores.json"
    code, out, _ = command("evaluate", tmp_path / "out", data, "--label", "1", "--json", scores)
    assert code == 0
    content = json.loads(scores.read_text())
    assert [case["case"] for case in content["cases"]] == ["segmentation-1", "segmentation-2"]
    assert f"DC {content['mean']['DC']:.3f}" in out


def test_scans_cropped_around_the_object_are_cut_at_random(command: Command, tmp_path: Path) -> None:
    data = lits(tmp_path / "my data", [1, 2, 3])
    centred = np.pad(np.ones((4, 6, 4), np.uint8), [(5, 5), (7, 7), (7, 7)])
    for number in (1, 2, 3):
        store(data / f"segmentation-{number}.nii.gz", centred)
    train = ("train", "--data", data, "--label", 1, "--method", "dice", "--out")
    for run, options, expected in (("a", (), True), ("b", ("--no-random-boxes",), False)):
        code, out, _ = command(*train, tmp_path / run, *options)
        assert code == 0
        assert ("cropped or padded at random" in out) is expected
        assert json.loads((tmp_path / run / "config.json").read_text())["random_boxes"] is expected
    arguments = shlex.split(out.split("Next: ")[1])  # what is printed can be typed, spaces and all
    code, _, _ = command(*[str(tmp_path / "out") if word == "PREDICTIONS" else word for word in arguments[1:]])
    assert code == 0
    assert len(list((tmp_path / "out").iterdir())) == 1


# ---- bad input ------------------------------------------------------------------------------------------


def bad_image(path: Path, kind: str) -> Path:
    """Write a file with one fault."""
    values = scan().astype(np.float32)
    if kind in ("nan", "infinity"):
        values[3, 3, 3] = float(kind.replace("infinity", "inf"))
        return store(path, values)
    if kind == "2-D":
        nib.save(nib.Nifti1Image(values[0].T, AFFINE), path)
    elif kind == "4-D":
        nib.save(nib.Nifti1Image(np.stack([values.T] * 2, axis=-1), AFFINE), path)
    elif kind == "truncated":
        whole = store(path, values).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    else:
        path.write_bytes({"DICOM": bytes(128) + b"DICM" + bytes(400), "NRRD": b"NRRD0004\n" + bytes(500),
                          "text": b"not an image", "empty": b""}[kind])  # fmt: skip
    return path


FAULTS = {
    "DICOM": "dcm2niix",
    "NRRD": "SimpleITK",
    "text": "no NIfTI file",
    "empty": "no NIfTI file but empty",
    "truncated": "is truncated",
    "nan": "NaN",
    "infinity": "infinity",
    "2-D": "2-D",
    "4-D": "4-D",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_scans_that_cannot_be_used(refused: Callable[..., None], tmp_path: Path, fault: str) -> None:
    trained = checkpoint(tmp_path / "m.safetensors")
    data = lits(tmp_path / "data", [1, 2, 3])
    bad = bad_image(data / "volume-2.nii.gz", fault)
    refused(FAULTS[fault], "predict", trained, bad, tmp_path / "out.nii.gz")
    refused(FAULTS[fault], "predict", trained, data, tmp_path / "out")
    refused(FAULTS[fault], "train", "--data", data, "--label", 1, "--method", "dice", "--out", tmp_path / "run")


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in ("nan", "infinity")])
def test_masks_that_cannot_be_read(refused: Callable[..., None], tmp_path: Path, fault: str) -> None:
    bad = bad_image(tmp_path / "bad.nii.gz", fault)
    refused(FAULTS[fault], "maps", bad, tmp_path / "map.nii.gz")


@pytest.mark.parametrize(("value", "match"), [(0.5, "fractional"), (-1, "negative"), (float("nan"), "NaN")])
def test_masks_that_are_none(refused: Callable[..., None], tmp_path: Path, value: float, match: str) -> None:
    data = lits(tmp_path / "data", [1, 2, 3])
    values = mask().astype(np.float32)
    values[1, 1, 1] = value
    bad = store(data / "segmentation-2.nii.gz", values)
    good = lits(tmp_path / "good", [1, 2, 3])
    for number in (1, 2, 3):
        (good / f"volume-{number}.nii.gz").unlink()
    refused(match, "maps", bad, tmp_path / "map.nii.gz")
    refused(match, "evaluate", good, data, "--label", 1, "--json", tmp_path / "scores.json")
    refused(match, "train", "--data", data, "--label", 1, "--method", "dice", "--out", tmp_path / "run")


def test_images_and_masks_that_do_not_belong_together(refused: Callable[..., None], tmp_path: Path) -> None:
    data = lits(tmp_path / "data", [1, 2, 3])
    train = ("train", "--data", data, "--label", 1, "--method", "dice", "--out", tmp_path / "run")
    moved = AFFINE.copy()
    moved[2, 3] += 4
    store(data / "segmentation-3.nii.gz", mask(), moved)
    refused("affine", *train)
    store(data / "segmentation-3.nii.gz", mask((13, 20, 18)))
    refused("shape", *train)


def test_labels_that_occur_nowhere(refused: Callable[..., None], tmp_path: Path) -> None:
    data = lits(tmp_path / "data", [1, 2, 3], label=2)
    out = lits(tmp_path / "out", [1], label=2) / "volume-1.nii.gz"
    out.unlink()
    refused("Label 3 .* 2", "maps", data / "segmentation-1.nii.gz", tmp_path / "map.nii.gz", "--label", 3)
    refused("Label 3 .* 2", "evaluate", out.parent, data, "--label", 3)
    refused("Label 3 .*2", "train", "--data", data, "--label", 3, "--method", "dice", "--out", tmp_path / "run")
    for number in (1, 2, 3):
        store(data / f"segmentation-{number}.nii.gz", 0 * mask())
    refused("every mask is empty", "train", "--data", data, "--label", 2, "--method", "dice", "--out", tmp_path / "run")
    for nonsense in ("0", "two", "1..2", "1,1", "999"):
        refused("label", "maps", data / "segmentation-1.nii.gz", tmp_path / "map.nii.gz", "--label", nonsense)


def test_options_that_would_do_nothing(refused: Callable[..., None], tmp_path: Path) -> None:
    data = lits(tmp_path / "data", [1, 2, 3])
    train = ("train", "--data", data, "--label", 1, "--out", tmp_path / "run", "--method", "mapdice")
    for option, value in (
        ("--alpha", 1),
        ("--warmup-steps", 2),
        ("--activation", "relu"),
        ("--lrnet", "mine"),
        ("--kind", "O-DM"),
    ):
        refused(f"mapdice has no LR-Net, and {option}", *train, option, value)
    refused("Between 3000 and 4000 HU .* one grey", *train, "--window", 3000, 4000)


def test_empty_and_missing_folders(refused: Callable[..., None], tmp_path: Path) -> None:
    trained = checkpoint(tmp_path / "m.safetensors")
    empty = tmp_path / "empty"
    empty.mkdir()
    good = lits(tmp_path / "data", [1])
    for folder in (empty, tmp_path / "missing"):
        refused(str(folder), "predict", trained, folder, tmp_path / "out")
        refused(str(folder), "evaluate", folder, good, "--label", 1)
        refused(
            str(folder),
            "train",
            "--data",
            folder,
            "--label",
            1,
            "--method",
            "dice",
            "--out",
            tmp_path / "run",
        )
    refused("missing", "maps", tmp_path / "missing.nii.gz", tmp_path / "map.nii.gz")
    refused("has no reference", "evaluate", good, empty, "--label", 1)


def test_outputs_that_cannot_be_written(refused: Callable[..., None], tmp_path: Path) -> None:
    trained = checkpoint(tmp_path / "m.safetensors")
    data = lits(tmp_path / "data", [1, 2, 3])
    one, its_mask = data / "volume-1.nii.gz", data / "segmentation-1.nii.gz"
    (tmp_path / "file").write_text("")
    refused("is a file", "predict", trained, data, tmp_path / "file")
    refused("is a file", "maps", its_mask, tmp_path / "file" / "map.nii.gz")
    refused("is a folder", "predict", trained, one, data)
    refused("is a folder", "maps", its_mask, data)
    refused("overwritten", "predict", trained, one, one)
    refused("overwritten", "maps", its_mask, its_mask)
    refused("no unchanged output", "maps", its_mask, one)
    refused("no unchanged output", "predict", trained, data, data)
    if Path("/proc/self").exists():
        refused("Nothing can be written", "predict", trained, data, "/proc/out")
        refused("Nothing can be written", "maps", its_mask, "/proc/map.nii.gz")
    train = ("train", "--data", data, "--label", 1, "--method", "dice", "--out")
    refused("is a file", *train, tmp_path / "file")
    refused("holds your scans", *train, data)
    refused("is a file", "pretrain", "--synthetic", "--out", tmp_path / "file")
    refused("is a file", "samples", tmp_path / "file")
    refused("is a file", "demo", "--out", tmp_path / "file")


def test_random_shapes_have_no_label(refused: Callable[..., None], tmp_path: Path) -> None:
    refused("leave --label out", "pretrain", "--synthetic", "--label", 2, "--out", tmp_path / "run")


def test_a_run_that_ended_early_says_so(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRNET_EDU_FAST", "1")
    ended = State(step=4, best_score=0.5, best_step=2, converged=True)
    monkeypatch.setattr("lrnet_edu.mnet_training.train_run", lambda *given, **options: ended)
    data = lits(tmp_path / "data", [1, 2, 3, 4])
    given = ("train", "--data", str(data), "--label", "1", "--method", "dice", "--out", str(tmp_path / "run"))
    for steps, said in (("8", True), ("4", False)):
        code, out, _ = command(*given, "--steps", steps)
        assert code == 0
        assert (f"before its {steps} steps" in out) == said


def test_a_run_is_looked_at_before_the_scans_are_prepared(refused: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    train = ("train", "--data", tmp_path / "no-such-scans", "--label", 1, "--method", "lrnet", "--out")
    refused("holds a run already", *train, tmp_path / "run")
    refused("no checkpoint", *train, tmp_path / "other", "--lrnet", tmp_path / "missing")
    refused("no-such-scans does not exist", *train, tmp_path / "other")


def test_resuming_nothing_says_that_a_new_run_begins(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LRNET_EDU_FAST", "1")
    run = tmp_path / "run"
    for begins in (True, False, True):
        code, out, _ = command("pretrain", "--synthetic", "--out", str(run), "--resume")
        assert code == 0
        assert ("begins at step 0" in out) == begins
        assert "Held-out masks" in out
        if not begins:
            (run / "last.safetensors").unlink()


def test_a_scan_is_no_segmentation(refused: Callable[..., None], tmp_path: Path) -> None:
    scan = lits(tmp_path / "data", [1]) / "volume-1.nii.gz"
    refused("give a segmentation", "maps", scan, tmp_path / "map.nii.gz")


def test_checkpoints_that_do_not_fit(refused: Callable[..., None], tmp_path: Path) -> None:
    data = lits(tmp_path / "data", [1, 2, 3])
    predict = (data / "volume-1.nii.gz", tmp_path / "out.nii.gz")
    whole = checkpoint(tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "truncated.safetensors").write_bytes(whole[: len(whole) // 2])
    refused("is not a checkpoint", "predict", tmp_path / "truncated.safetensors", *predict)
    refused("no checkpoint", "predict", tmp_path / "missing", *predict)
    refused("no checkpoint", "predict", data, *predict)
    other = checkpoint(tmp_path / "other.safetensors", stored_features=(8, 16))
    refused("another architecture", "predict", other, *predict)
    inverted = lrnet_checkpoint(tmp_path / "i-dm.safetensors", "I-DM")
    refused("no M-Net", "predict", inverted, *predict)
    train = (
        "train",
        "--data",
        data,
        "--label",
        1,
        "--method",
        "dice+lrnet",
        "--out",
        tmp_path / "run",
        "--lrnet",
    )
    refused("kind I-DM, not NI-DM", *train, inverted)
    refused("no LR-Net", *train, tmp_path / "whole.safetensors")


class Malicious:
    """Unpickling it writes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.write_text, (self.trace, "executed")


def test_a_pickle_is_never_executed(refused: Callable[..., None], tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    content = pickle.dumps(Malicious(trace))
    pickle.loads(content)
    assert trace.read_text() == "executed"  # it is malicious indeed
    trace.unlink()
    data = lits(tmp_path / "data", [1, 2, 3])
    for name in ("best.safetensors", "model.pt"):
        (tmp_path / name).write_bytes(content)
        refused("never opened", "predict", tmp_path / name, data, tmp_path / "out")
    done = process("predict", tmp_path, data, tmp_path / "out")  # as a run folder, in a process of its own
    assert done.returncode == 2
    assert_one_sentence(done.stderr, "never opened")
    assert not trace.exists()


def test_a_process_prints_one_sentence_too(tmp_path: Path) -> None:
    bad = bad_image(tmp_path / "bad.nii.gz", "truncated")
    done = process("maps", bad, tmp_path / "map.nii.gz")
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_sentence(done.stderr, "is truncated")
    assert list(tmp_path.iterdir()) == [bad]
    store(tmp_path / "p/a.nii.gz", mask())
    store(tmp_path / "r/a.nii.gz", np.zeros(SHAPE, np.uint8))
    done = process("evaluate", tmp_path / "p", tmp_path / "r", "--label", 1)
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_sentence(done.stderr, "Label 1 does not occur")


def test_an_unknown_task_is_not_fetched(refused: Callable[..., None], tmp_path: Path) -> None:
    refused("no task 'Task04' to fetch; choose one of", "fetch", "Task04", tmp_path / "out")


def test_a_name_that_the_terminal_cannot_write_ends_no_command(tmp_path: Path) -> None:
    store(tmp_path / "α.nii.gz", mask())
    line = [sys.executable, "-m", "lrnet_edu", "maps", tmp_path / "α.nii.gz", tmp_path / "map.nii.gz"]
    done = subprocess.run(line, env={**os.environ, "PYTHONIOENCODING": "cp1252"}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"alpha.nii.gz to " in done.stdout


def test_a_sign_survives_a_terminal_that_knows_no_minus(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, "cp1252"))
    monkeypatch.setattr("sys.argv", ["lrnet-edu", "--version"])
    with pytest.raises(SystemExit):
        main()
    sys.stdout.write("−0.0048 of α, φ\n")
    sys.stdout.flush()
    assert raw.getvalue().splitlines()[-1] == b"-0.0048 of alpha, ?"


@pytest.mark.parametrize(("system", "quoted"), [("linux", "'my run'"), ("darwin", "'my run'"), ("win32", '"my run"')])
def test_what_is_printed_to_be_typed_has_the_quotes_of_the_system(
    system: str, quoted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", system)
    assert _as_typed(["lrnet-edu", "predict", "my run"]) == f"lrnet-edu predict {quoted}"


def test_a_folder_that_takes_no_files_is_told_at_once(
    refused: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``C:\\`` of a user who may only make folders there."""
    store(tmp_path / "mask.nii.gz", mask())

    def denied(path: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, "Access is denied", str(path))

    monkeypatch.setattr(Path, "touch", denied)
    given = (tmp_path / "mask.nii.gz", tmp_path / "map.nii.gz")
    refused(r"Nothing can be written to .* \(Access is denied\)", "maps", *given)
    assert not list(tmp_path.glob(".*"))


def test_the_version(command: Command) -> None:
    assert command("--version")[:2] == (0, f"lrnet_edu {__version__}\n")
