"""Every solution passes its check, a plausible wrong answer does not, and no answer is no error."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jupytext", reason="jupytext is not installed")

from lrnet_edu import exercises
from lrnet_edu.data.nifti import read_mask
from lrnet_edu.exercises.verdict import Verdict, check
from lrnet_edu.samples import sample_folder

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
CHECKS = sorted(name for name in exercises.__all__ if name.startswith("check_"))


def lesion_share(number: int) -> float:
    return float((read_mask(sample_folder() / f"segmentation-{number}.nii.gz").data == 2).mean())


def bare_plus_one(D: np.ndarray) -> np.ndarray:
    """Eq. 1 with distances in mm and the 1 of unit voxels."""
    return np.where(D > 0, (D.max() + 1 - D) / D.max(), 0)


def zero_outside_forgotten(D: np.ndarray) -> np.ndarray:
    return (D.max() + D[D > 0].min() - D) / D.max()


WRONG: dict[str, list[Any]] = {
    "check_0_1": ["LR-Net", "lrnet", "both"],
    "check_0_2": [10.4, -0.104, 0.047, 0.014],
    "check_0_3": [15_717 / 4_286_466, 2.0, "many"],
    "check_1_1": [0.5, 0.25, 1.0],
    "check_1_2": [-(0.8 - 4 / 6), 0.8, 0.0],
    "check_1_3": [bare_plus_one, zero_outside_forgotten, lambda D: D[0], lambda D: D["mm"]],
    "check_1_4": [0.05, 5, 19],
    "check_2_1": [lambda hu: (hu + 200) / 450, lambda hu: np.clip(hu / 250, 0, 1), lambda hu: hu.mean(), 0.5],
    "check_2_2": [lesion_share(1), (1 - lesion_share(0)) / lesion_share(0)],
    "check_2_3": [274, 37, 10 / 27, 3333],
}


def solutions() -> dict[str, str]:
    """Check's name -> the code of the solution below it, of all notebooks."""
    notebook_of = runpy.run_path(str(NOTEBOOKS / "build.py"))["notebook_of"]
    found = {}
    for source in sorted((NOTEBOOKS / "source").glob("*.py")):
        cells = notebook_of(source).cells
        for place, cell in enumerate(cells):
            if "exercise" in cell.metadata.get("tags", []):
                asked, solved = cells[place + 1], cells[place + 2]
                assert cell.source == "answer = None", f"{source.name}: {cell.source}"
                assert "solution" in solved.metadata.get("tags", []), f"{source.name}: {asked.source}"
                name = re.fullmatch(r"exercises\.(check_\d+_\d+)\(answer\)", asked.source)
                code = re.search(r"```python\n(.*?)```", solved.source, re.DOTALL)
                assert name, f"{source.name}: {asked.source}"
                assert code, f"{source.name}: {solved.source}"
                found[name[1]] = code[1]
    return found


SOLUTIONS = solutions()


def test_every_check_has_a_solution_in_a_notebook_and_a_wrong_answer_here() -> None:
    assert sorted(SOLUTIONS) == CHECKS
    assert sorted(WRONG) == CHECKS


@pytest.mark.parametrize("name", CHECKS)
def test_solution_is_right(name: str) -> None:
    namespace: dict[str, Any] = {}
    exec("import numpy as np\nimport torch\nfrom lrnet_edu.data.nifti import read_mask", namespace)
    exec("from lrnet_edu.samples import sample_folder", namespace)
    exec(SOLUTIONS[name], namespace)
    verdict = getattr(exercises, name)(namespace["answer"])
    assert verdict.right is True, verdict.text


@pytest.mark.parametrize(("name", "answer"), [(name, answer) for name in CHECKS for answer in WRONG.get(name, [])])
def test_wrong_answer_gets_a_hint(name: str, answer: Any) -> None:
    verdict = getattr(exercises, name)(answer)
    assert verdict.right is False
    assert verdict.text


@pytest.mark.parametrize("name", CHECKS)
def test_no_answer_is_a_note(name: str) -> None:
    verdict = getattr(exercises, name)(None)
    assert verdict.right is None
    assert "answer" in verdict.text


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("answer", ["no idea", [], {}, lambda: None, float("nan"), np.zeros((2, 2))])
def test_nonsense_is_wrong_and_no_error(name: str, answer: Any) -> None:
    assert getattr(exercises, name)(answer).right is False


def test_verdict_shows_itself_without_letting_an_answer_write_html() -> None:
    @check("Fine.")
    def picky(answer: Any) -> str | None:
        return None if answer == 1 else f"What is {answer}?"

    assert picky(1) == Verdict(True, "Fine.")
    assert "<script>" not in picky("<script>")._repr_html_()
    assert repr(picky(2)) == "Not yet. What is 2?"


def test_set_up_seeds_everything_and_says_where_it_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import random

    import torch

    monkeypatch.setenv("LRNET_EDU_FAST", "1")
    drawn = []
    for _ in range(2):
        device = exercises.set_up(seed=3)
        drawn.append((random.random(), float(np.random.random()), float(torch.rand(()))))
    assert drawn[0] == drawn[1]
    said = capsys.readouterr().out
    assert torch.__version__ in said
    assert f"device: {device.type}" in said
    assert "size: small" in said
