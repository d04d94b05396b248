"""Real scans, at the small size: the commands of the README work on them as they stand.

``LRNET_EDU_REAL_DATA`` names a folder with ``sarcoma_ct/`` (CT, LiTS layout) and ``Task04_Hippocampus/`` (MR,
Decathlon layout).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lrnet_edu import find_cases

REAL = os.environ.get("LRNET_EDU_REAL_DATA")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not REAL, reason="LRNET_EDU_REAL_DATA names no folder of real scans"),
]


@pytest.mark.parametrize(
    ("name", "label", "words", "around"),
    [("sarcoma_ct", "1", "HU", True), ("Task04_Hippocampus", "1,2", "standardised", False)],
)
def test_from_scans_to_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, label: str, words: str, around: bool
) -> None:
    data, split = Path(str(REAL)) / name, tmp_path / "split.json"
    names = [case.name for case in find_cases(data)][:5]
    split.write_text(json.dumps({"train": names[:2], "validation": names[2:3], "test": names[3:]}))
    run, out, scores = tmp_path / "run", tmp_path / "out", tmp_path / "scores.json"
    monkeypatch.setenv("LRNET_EDU_FAST", "1")

    def command(*arguments: object) -> str:
        words = [sys.executable, "-m", "lrnet_edu", *map(str, arguments)]
        return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout

    printed = command("train", "--data", data, "--label", label, "--method", "mapdice+lrnet", "--split", split,
                      "--out", run)  # fmt: skip
    assert words in printed
    assert "Location alone" in printed
    assert ("--random-boxes" in printed) is around  # whether the objects lie in the very middle of these scans
    command("predict", run, data, out, "--part", "test")
    command("evaluate", out, data, "--label", label, "--json", scores)
    content = json.loads(scores.read_text())
    assert all(len(one["cases"]) == 2 for one in ([content] if label == "1" else content.values()))
