"""The command line: every bad input is one sentence and exit code 2, and leaves nothing behind."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scans import SHAPE, checkpoint, contents, lits, load, mask, store

from lrnet_edu import __version__, distance_map
from lrnet_edu.cli import main
from lrnet_edu.config import FAST, PRESETS
from lrnet_edu.study.rows import TABLE_2_ROWS

Command = Callable[..., tuple[int, str, str]]
Refused = Callable[..., None]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `lrnet-edu ...` in this process: exit code, stdout, stderr."""
    monkeypatch.setenv("LRNET_EDU_FAST", "1")
    monkeypatch.setenv("MPLBACKEND", "agg")  # which commands set, and which goes with the test

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lrnet-edu", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return (stop.value.code or 0, *capsys.readouterr())  # type: ignore[return-value]

    return run


@pytest.fixture
def refused(command: Command, tmp_path: Path) -> Refused:
    """Run a command that must fail with one sentence and change no file under tmp_path."""

    def run(match: str, *arguments: object) -> None:
        before = contents(tmp_path)
        code, _, err = command(*arguments)
        assert code == 2, err
        assert_one_sentence(err, match)
        assert contents(tmp_path) == before

    return run


def assert_one_sentence(err: str, match: str) -> None:
    *bars, sentence = err.strip().splitlines()  # a progress bar may have been there before
    assert all("|" in bar for bar in bars if bar.strip()), err
    assert re.fullmatch(r"lrnet-edu: .*\.", sentence := sentence.split("\r")[-1].strip()), err
    assert not re.search(r"[.!?] [A-Z]", sentence), err
    assert re.search(match, sentence), err


def training(data: Path, out: Path, *more: object, method: str = "dice") -> tuple[object, ...]:
    return ("train", "--data", data, "--label", 1, "--method", method, "--out", out, *more)


def in_a_process(code: str, *arguments: str, **variables: str) -> str:
    """What Python code prints in a process of its own, with arguments and environment variables."""
    environment = {**os.environ, **variables}
    line = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from lrnet_edu.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'numpy', 'scipy', 'nibabel', 'torchio', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    assert "Usage: lrnet-edu" in in_a_process(code, "train", "--help")


def test_every_command_explains_itself(command: Command) -> None:
    listing = command("--help")[1].split("Commands:")[1]
    names = set(re.findall(r"^  ([a-z-]+)  ", listing, re.MULTILINE))
    assert names == {"demo", "samples", "crop", "maps", "pretrain", "train", "predict", "evaluate", "reproduce",
                     "fetch", "export-course"}  # fmt: skip
    assert "..." not in listing  # no explanation is cut
    for name in names:
        assert max(map(len, command(name, "--help")[1].splitlines())) <= 80
    listed = re.search(r"A row of Table 2: (.*?)\.", " ".join(command("train", "--help")[1].split()).replace("- ", "-"))
    assert listed
    assert set(re.split(r", | or ", listed[1])) == {row.method for row in TABLE_2_ROWS}


def test_the_version_and_an_interruption(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    assert command("--version")[:2] == (0, f"lrnet_edu {__version__}\n")
    monkeypatch.setattr("lrnet_edu.commands.maps.write_map", interrupted)
    code, _, err = command("maps", "a.nii.gz", "b.nii.gz")
    assert code == 130
    assert_one_sentence(err, "stopped")


def test_maps_predict_and_evaluate_from_the_command_line(command: Command, tmp_path: Path) -> None:
    data, scores = lits(tmp_path / "data", [1, 2]), tmp_path / "scores.json"
    trained = checkpoint(tmp_path / "run" / "best.safetensors")
    assert command("maps", data / "segmentation-1.nii.gz", tmp_path / "map.nii.gz", "--kind", "I-DM")[0] == 0
    assert load(tmp_path / "map.nii.gz").dtype == np.float32
    said = command("predict", trained.parent, data, tmp_path / "out", "--probabilities")[:2]
    assert said == (0, f"Wrote 2 segmentations to {tmp_path / 'out'}.\n")
    code, out, _ = command("evaluate", tmp_path / "out", data, "--label", "1", "--json", scores)
    assert (code, f"{json.loads(scores.read_text())['mean']['DC']:.3f}" in out) == (0, True)


def test_scans_cropped_around_the_object_are_told_with_the_cure(command: Command, tmp_path: Path) -> None:
    data = lits(tmp_path / "my data", [1, 2, 3])
    centred = np.pad(np.ones((4, 6, 4), np.uint8), [(5, 5), (7, 7), (7, 7)])
    for number in (1, 2, 3):
        store(data / f"segmentation-{number}.nii.gz", centred)
    out = command(*training(data, tmp_path / "run"))[1]
    assert f"lrnet-edu crop {data} OUT --random-boxes 1" in out
    arguments = shlex.split(out.split("Next: ")[1])  # what is printed can be typed, spaces and all
    assert command(*[str(tmp_path / "out") if word == "PREDICTIONS" else word for word in arguments[1:]])[0] == 0
    assert len(list((tmp_path / "out").iterdir())) == 1

    assert command("crop", data, tmp_path / "boxes", "--random-boxes", 1)[0] == 0
    assert "--random-boxes" not in command(*training(tmp_path / "boxes", tmp_path / "other"))[1]
    assert command("crop", data, tmp_path / "around", "--around", 1, "--margin", 2)[0] == 0
    assert np.less(load(tmp_path / "around" / "volume-1.nii.gz").shape, SHAPE).all()


def test_options_reach_what_they_are_for(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with a value that is not the default, read back from what the commands leave."""
    data = lits(tmp_path / "data", range(4))
    split = {"train": ["volume-3", "volume-2"], "validation": ["volume-0"], "test": ["volume-1"]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    monkeypatch.setenv("LRNET_EDU_FAST", "0")
    monkeypatch.setitem(PRESETS, "paper", {**FAST, "features": (4, 6)})
    options = ("--preset", "paper", "--activation", "relu", "--seed", 7, "--device", "cpu", "--kind")
    wanted = {"activation": "relu", "seed": 7}
    train = (*options, "O-DM", "--alpha", 5, "--steps", 3, "--warmup-steps", 1, "--window", -100, 300)
    run = training(data, tmp_path / "run", *train, "--split", tmp_path / "split.json", method="dice+lrnet")
    own = {"features": [4, 6], "kind": "O-DM", "alpha": 5, "steps": 3, "warmup_steps": 1, "window": [-100, 300]}
    pretrain = ("pretrain", "--data", data, "--label", 1, *options, "I-DM", "--steps", 2, "--out", tmp_path / "lr")
    of_lr = {"data": str(data), "label": "1", "max_voxels": FAST["max_voxels"], "kind": "I-DM", "steps": 2}
    for folder, words, more in (("run", run, own | {"split": split}), ("lr", pretrain, of_lr)):
        assert command(*words)[0] == 0
        assert json.loads((tmp_path / folder / "config.json").read_text()).items() >= (wanted | more).items()
    store(tmp_path / "two.nii.gz", (mask() + 2 * mask()[::-1]).astype(np.uint8))
    command("maps", tmp_path / "two.nii.gz", tmp_path / "map.nii.gz", "--label", "2+3", "--spacing-aware")
    np.testing.assert_array_equal(load(tmp_path / "map.nii.gz"), distance_map(mask()[::-1], spacing=(2, 1, 1.5)))


def test_resuming_for_more_steps_says_that_the_rate_rises_again(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAST, "one_cycle", True)
    data, said = lits(tmp_path / "data", [1, 2, 3]), "From 1 to 2 steps: the learning rate"
    for steps in (1, 1, 2):
        code, out, _ = command(*training(data, tmp_path / "run", "--resume", "--steps", steps))
        assert (code, said in out) == (0, steps == 2)


def test_options_that_do_not_fit(refused: Refused, tmp_path: Path) -> None:
    data, out = lits(tmp_path / "data", [1, 2, 3]), tmp_path / "new"
    for option, value in (("--alpha", 1), ("--warmup-steps", 2), ("--lrnet", "mine"), ("--kind", "O-DM")):
        refused(f"Method mapdice does not use {option};", *training(data, out, option, value, method="mapdice"))
    refused("does not use --alpha;", *training(data, out, "--warmup-steps", 1, "--alpha", 1, method="cascaded"))
    for options in (["--synthetic", "--label", 2], ["--synthetic", "--preset", "cpu"], ["--data", data], []):
        refused("either --data with --label", "pretrain", *options, "--out", out)
    for options in (["--around", 1, "--random-boxes", 1], ["--random-boxes", 1, "--margin", 3], []):
        refused("either --around LABEL", "crop", data, out, *options)
    refused("set", "samples", out, "--set", "nonsense")
    refused("no task 'Task04' to fetch; choose one of", "fetch", "Task04", out)
    refused("need --data and --label", "reproduce", "table1", "--out", out)
    for options in (["--data", data], ["--steps", 100], ["--preset", "colab"], ["--warmup-steps", 0]):
        refused("settings of its own", "reproduce", "study", *options, "--out", out)


def test_what_is_wrong_is_told_before_the_scans_are_looked_for(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    scans, new = tmp_path / "no-such-scans", tmp_path / "new"
    pretrain, table = ("pretrain", "--data", scans, "--label", 1, "--out", new), ("--data", scans, "--label", 1)
    refused("holds a run already", *training(scans, tmp_path / "run"))
    refused("no checkpoint", *training(scans, new, "--lrnet", tmp_path / "missing", method="lrnet"))
    refused("no method 'mine'", *training(scans, new, method="mine"))
    refused("no-such-scans does not exist", *training(scans, new))
    refused("no distance map 'X'", *pretrain, "--kind", "X")
    refused("no table 'table3'", "reproduce", "table3", *table, "--out", new)
    for words in (training(scans, new), pretrain, ("reproduce", "table1", *table, "--out", new)):
        refused("'cuda:77' cannot be used", *words, "--device", "cuda:77")


def test_outputs_go_nowhere_among_scans_and_into_no_file(refused: Refused, tmp_path: Path) -> None:
    trained, data, file = checkpoint(tmp_path / "m.safetensors"), lits(tmp_path / "data", [1, 2, 3]), tmp_path / "file"
    images, scan, mask = tmp_path / "Task" / "imagesTr", data / "volume-1.nii.gz", data / "segmentation-1.nii.gz"
    images.mkdir(parents=True)
    (tmp_path / "Task" / "dataset.json").write_text('{"training": []}')
    file.write_text("")
    for place, match in (
        *((place, "holds scans|lies in the data set") for place in (data, images, tmp_path / "Task" / "new")),
        (file, "is a file"),
    ):
        refused(match, *training(data, place))
        refused(match, "pretrain", "--synthetic", "--out", place)
        refused(match, "demo", "--out", place)
        refused(match, "reproduce", "table1", "--data", data, "--label", 1, "--out", place)
        refused(match, "predict", trained, data, place)
    refused("segmentation-1|volume-1|scans", "samples", data, "--cases", 2)
    refused("holds other files", "crop", data, data, "--around", 1)
    refused("is a folder", "predict", trained, scan, data)
    for out in (scan, data / "segmentation-4.nii.gz"):
        refused("holds scans", "predict", trained, scan, out)
    refused("no unchanged output", "maps", mask, scan)
    for words in (("samples", file), ("crop", data, file, "--around", 1), ("maps", mask, file / "map.nii.gz")):
        refused("is a file", *words)


def test_a_notebook_s_backend_that_is_missing_here_matters_to_no_command() -> None:
    """As in a cell `!lrnet-edu ...` whose command belongs to another environment."""
    code = (
        "import sys\n"
        "from lrnet_edu import cli\n"
        "@cli.app.command()\n"
        "def draw() -> None:\n"
        "    from lrnet_edu.figures.picture import Picture\n"
        "    assert len(Picture(1.0).png()) > 100\n"
        "cli.main()\n"
    )
    in_a_process(code, "draw", MPLBACKEND="no_such_backend")


def test_a_terminal_that_knows_no_such_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, "cp1252"))
    monkeypatch.setattr("sys.argv", ["lrnet-edu", "--version"])
    with pytest.raises(SystemExit):
        main()
    sys.stdout.write("0.5 of φ\n")
    sys.stdout.flush()
    assert raw.getvalue().splitlines()[-1] == b"0.5 of ?"
