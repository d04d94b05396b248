"""Real scans, at the small size: the commands of the README work on them as they stand.

``LRNET_EDU_REAL_DATA`` names a folder with ``sarcoma_ct/`` (CT, LiTS layout) and ``Task04_Hippocampus/`` (MR,
Decathlon layout).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REAL = os.environ.get("LRNET_EDU_REAL_DATA")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not REAL, reason="LRNET_EDU_REAL_DATA names no folder of real scans"),
]


def command(*arguments: object, cache: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "lrnet_edu", *map(str, arguments)],
        env={**os.environ, "LRNET_EDU_FAST": "1", "LRNET_EDU_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def few(source: Path, folder: Path, names: list[str]) -> Path:
    """A copy of some LiTS cases, so that the test stays small."""
    folder.mkdir()
    for name in names:
        for file in (f"volume-{name}.nii.gz", f"segmentation-{name}.nii.gz"):
            shutil.copy(source / file, folder / file)
    return folder


def test_sarcoma_ct(tmp_path: Path) -> None:
    data = few(Path(str(REAL)) / "sarcoma_ct", tmp_path / "data", ["8", "19", "25", "42"])
    train = ["train", "--data", data, "--label", "1", "--method", "mapdice+lrnet"]
    printed = command(*train, "--preset", "cpu", "--out", tmp_path / "run", cache=tmp_path)
    assert "HU" in printed
    assert "--random-boxes 1" in printed  # the tumours lie in the very middle of these crops
    assert "Location alone" in printed
    command("predict", tmp_path / "run", data, tmp_path / "out", "--part", "test", cache=tmp_path)
    command("evaluate", tmp_path / "out", data, "--label", "1", "--json", tmp_path / "s.json", cache=tmp_path)
    scores = json.loads((tmp_path / "s.json").read_text())
    assert len(scores["cases"]) == len(json.loads((tmp_path / "run" / "split.json").read_text())["test"])


def test_hippocampus(tmp_path: Path) -> None:
    data = Path(str(REAL)) / "Task04_Hippocampus"
    names = [path.name.removesuffix(".nii.gz") for path in sorted((data / "imagesTr").glob("*.nii.gz"))][:6]
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": names[:3], "validation": names[3:4], "test": names[4:]}))
    train = ["train", "--data", data, "--label", "1,2", "--method", "dice+lrnet", "--split", split]
    printed = command(*train, "--out", tmp_path / "run", cache=tmp_path)
    assert "standardised" in printed
    assert "random-boxes" not in printed
    command("predict", tmp_path / "run", data, tmp_path / "out", "--part", "test", cache=tmp_path)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{name}.nii.gz" for name in names[4:]]
    command("evaluate", tmp_path / "out", data, "--label", "1,2", "--json", tmp_path / "s.json", cache=tmp_path)
    assert set(json.loads((tmp_path / "s.json").read_text())) == {"1", "2"}
