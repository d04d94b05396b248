"""Damaged files at the command line: exit code 0, or 2 and one sentence, and nothing half done."""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from bounds import assert_sentence, files_in, limits
from damaged_nifti import FAULTS, ball, ct, damaged, file_of
from scans import checkpoint

from lrnet_edu.cli import main

Arguments = list[str]


def commands(folder: Path, bad: Path) -> dict[str, Arguments]:
    """Every command that reads scans or masks, with the bad file in the place of one of them."""
    data, out = folder / "data", folder / "out"
    shutil.copy(bad, data / "volume-2.nii")  # what a file is, its content says
    shutil.copy(bad, folder / "masks" / "segmentation-1.nii")
    run = ["--label", "1", "--method", "dice", "--device", "cpu", "--out", str(out / "run")]
    return {
        "maps": ["maps", str(bad), str(out / "map.nii.gz")],
        "predict": ["predict", str(folder / "m.safetensors"), str(data), str(out / "p"), "--device", "cpu"],
        "evaluate": ["evaluate", str(folder / "masks"), str(data), "--label", "1", "--json", str(out / "s.json")],
        "train": ["train", "--data", str(data), *run],
    }


def run_all(
    folder: Path, seeds: Iterable[int], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Counter[str]:
    """Every command on every file; how often each gave which exit code."""
    monkeypatch.setenv("LRNET_EDU_FAST", "1")
    checkpoint(folder / "m.safetensors")
    (folder / "data").mkdir()
    (folder / "masks").mkdir()
    for number in (1, 2, 3):  # on the grid of the damaged files, so that an intact one fits
        (folder / "data" / f"volume-{number}.nii").write_bytes(file_of(ct(np.random.default_rng(number))))
        (folder / "data" / f"segmentation-{number}.nii").write_bytes(file_of(ball().astype("u1")))
    codes: Counter[str] = Counter()
    for seed in seeds:
        fault, content = damaged(seed)
        bad = folder / "bad.nii.gz"
        bad.write_bytes(content)
        for name, arguments in commands(folder, bad).items():
            what = f"seed {seed}, {fault}, {name}"
            monkeypatch.setenv("LRNET_EDU_CACHE", str(folder / "cache" / f"{seed}"))
            monkeypatch.setattr(sys, "argv", ["lrnet-edu", *arguments])
            (folder / "out").mkdir()
            with limits(), pytest.raises(SystemExit) as stop:
                main()
            code, (out, err) = stop.value.code or 0, capfd.readouterr()
            assert code in (0, 2), f"{what}: {code}, {err}"
            assert "Traceback" not in out + err, f"{what}: {err}"
            *lines, last = err.replace("\r", "\n").rstrip("\n").split("\n")
            noise = [line for line in (lines if code else [*lines, last]) if line.strip() and "%|" not in line]
            assert not noise, f"{what}: {noise}"
            if code == 2:
                assert last.startswith("lrnet-edu: "), f"{what}: {err}"
                assert_sentence(last, folder)
                assert files_in(folder / "out") == {}, what
                assert not re.search("part|tmp", " ".join(files_in(folder / "cache"))), what
            codes[f"{name}: exit code {code}"] += 1
            shutil.rmtree(folder / "out")
    return codes


def test_a_sample_of_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    codes = run_all(tmp_path, range(1, 2 * len(FAULTS), 3), monkeypatch, capfd)
    for command in ("maps", "predict", "evaluate", "train"):
        assert codes[f"{command}: exit code 0"] > 0
        assert codes[f"{command}: exit code 2"] > 5


@pytest.mark.slow
def test_100_damaged_files_at_the_command_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    codes = run_all(tmp_path, range(500, 600), monkeypatch, capfd)
    for name, number in sorted(codes.items()):
        record_property(f"command line, {name}", number)
