"""Every solution passes its check, a plausible wrong answer does not, and no answer is no error."""

import random
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

pytest.importorskip("jupytext", reason="jupytext is not installed")

from lrnet_edu import distance_map, exercises
from lrnet_edu.exercises.verdict import Verdict, check, short_answer
from lrnet_edu.study.froc import RATES, at_most, curve_of

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
CHECKS = sorted(name for name in exercises.__all__ if name.startswith("check_"))


def gradient_into_the_lrnet(lrnet: Any, probabilities: Any, true_map: Any) -> Any:
    """The right gradient, and one on the LR-Net's weights, too."""
    p = probabilities.detach().requires_grad_()
    torch.nn.functional.smooth_l1_loss(lrnet(p), true_map).backward()
    return p.grad


def gradient_turned(lrnet: Any, probabilities: Any, true_map: Any) -> Any:
    return -gradient_into_the_lrnet(lrnet.requires_grad_(False), probabilities, true_map)


def without_specks(mask: np.ndarray, smallest: int, *, neighbours: int = 3, more_than: bool = False) -> np.ndarray:
    components, _ = ndimage.label(mask, ndimage.generate_binary_structure(3, neighbours))
    sizes = np.bincount(components.ravel())
    keep = sizes > smallest if more_than else sizes >= smallest
    keep[0] = False
    return keep[components]


def lesions_found(
    p: np.ndarray, lesions: np.ndarray, threshold: float, *, neighbours: int = 3, measure: Any = np.max
) -> Any:
    components, count = ndimage.label(lesions, ndimage.generate_binary_structure(3, neighbours))
    found = sum(measure(p[components == c]) > threshold for c in range(1, count + 1))
    return found, count - found


def endpoint(
    cases: Any, size: Any = (0.25, 5), *, found: bool = False, a_case: bool = True, rule: Any = at_most
) -> Any:
    curve = curve_of(cases, size=size)
    values, false = curve.sensitivity if found else curve.dice, curve.false_lesions * (1 if a_case else len(cases))
    return rule(RATES, false, values).mean()


WRONG: dict[str, list[Any]] = {
    "check_0_1": [2120 / 1_684_480, 0.126, 99.87, 0.9867, 0.99, 0.999, 1, 0],
    "check_0_2": [5 / 6, 83.9],
    "check_0_3": [
        *(lambda p, lesions, t, n=n: lesions_found(p, lesions, t, neighbours=n) for n in (1, 2)),
        lambda p, lesions, t: lesions_found(p, lesions, t)[::-1],
        lambda p, lesions, t: lesions_found(p, lesions, t, measure=np.mean),
        lambda p, lesions, t: lesions_found(p, lesions, t - 1e-9),
        lambda p, lesions, t: ((p > t)[lesions].sum(), (p <= t)[lesions].sum()),
        lambda p, lesions, t: lesions_found(p, lesions, t)[0],
    ],
    "check_1_3": [
        lambda D: np.where(D > 0, (D.max() + 1 - D) / D.max(), 0),  # mm, and the 1 of unit voxels
        lambda D: (D.max() + D[D > 0].min() - D) / D.max(),  # not 0 outside
        *(lambda D: D[0], lambda D: D["mm"], lambda D: D * np.nan, lambda D: None),
    ],
    "check_2_1": [
        *(lambda hu: (hu + 200) / 450, lambda hu: np.clip(hu / 250, 0, 1), lambda hu: hu.mean(), 0.5),
        lambda hu: (hu.clip(-200, 250) - hu.clip(-200).min()) / np.ptp(hu.clip(-200, 250)),
    ],
    "check_5_1": [
        gradient_into_the_lrnet,
        gradient_turned,
        lambda lrnet, p, true_map: (lrnet(p) - true_map).abs().mean(),
        lambda lrnet, p, true_map: (lrnet(p) - true_map).expand_as(p),
        lambda lrnet, p, true_map: p * torch.nan,
    ],
    "check_6_1": [(0.99, 0.25), (0.25, 0.25), (0.5, 0.99), (25, 99), (0.25, 3000 / 3060), 0.25],
    "check_6_2": [
        lambda mask, smallest: without_specks(mask, smallest, neighbours=1),
        lambda mask, smallest: without_specks(mask, smallest, more_than=True),
        lambda mask, smallest: ~without_specks(~mask, smallest),
        lambda mask, smallest: np.copyto(mask, False),
        lambda mask, smallest: 255 * without_specks(mask, smallest),
        lambda mask, smallest: mask,
    ],
    "check_3_4": [
        *(lambda lrnet, _, b=b: lrnet.head[-1].bias.data.fill_(b) for b in (0, 0.1, 100, torch.nan)),
        lambda lrnet, _: lrnet.reset_output(),
    ],
    "check_4_2": [lambda phi: phi, torch.ones_like, lambda phi: phi - 0.5, lambda phi: 2 - phi, lambda phi: 1 / phi],
    "check_4_3": [
        lambda p, g: 2 * g / (p + g).sum() - 2 * (p * g).sum() / (p + g).sum() ** 2,  # the ratio's slope
        lambda p, g: -2 * g / (p.sum() + g.sum()),
        *(lambda p, g: p - g, lambda p: p),
    ],
    "check_8_1": [
        lambda cases: endpoint(cases, size=(0, np.inf)),
        lambda cases: endpoint(cases, found=True),
        lambda cases: np.mean([endpoint([case]) for case in cases]),
        lambda cases: endpoint(cases, a_case=False),
        lambda cases: endpoint(cases, rule=np.interp),
        lambda cases: endpoint(cases) + 0.01,
        lambda cases: curve_of(cases, size=(0.25, 5)).dice_at(),
    ],
    "check_9_1": ["1,2,3", "1+2+3", "2+3,1", "1+2,3", "1;2+3", "1, 2+3"],
    "check_9_3": [
        *(torch.sigmoid, lambda z: torch.softmax(z, dim=1), lambda z: torch.cat((-z, z), dim=1)),
        lambda z: torch.cat((z, torch.zeros_like(z)), dim=1),  # the other order
        lambda z: torch.sigmoid(torch.cat((-z, z), dim=1)),  # probabilities
    ],
    "check_9_4": [
        lambda labels: distance_map(torch.stack([labels == c for c in (2, 1)], dim=1)),
        lambda labels: distance_map(torch.stack([labels == c for c in (1, 2)], dim=1), "O-DM"),
        lambda labels: distance_map((labels > 0)[:, None]),
        lambda labels: torch.stack([distance_map(labels == c) for c in (1, 2)], dim=1),  # of slices
    ],
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


def test_every_check_has_a_solution_in_a_notebook() -> None:
    assert sorted(SOLUTIONS) == CHECKS
    assert WRONG.keys() < set(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_a_solution_is_right_a_wrong_answer_gets_a_hint_and_none_or_nonsense_is_no_error(name: str) -> None:
    check = getattr(exercises, name)
    namespace: dict[str, Any] = {}
    exec("import numpy as np\nimport torch\nfrom lrnet_edu.data.nifti import read_mask", namespace)
    exec("from lrnet_edu.data.samples import sample_folder", namespace)
    exec(SOLUTIONS[name], namespace)
    assert check(namespace["answer"]) == Verdict(True, check(namespace["answer"]).text)
    for wrong in [*WRONG.get(name, []), 12345, "no idea", [], {}, lambda: None, float("nan"), np.zeros((2, 2))]:
        assert check(wrong).right is False, wrong
        assert check(wrong).text
    assert check(None).right is None
    assert "answer" in check(None).text


@pytest.mark.parametrize("answer", [
    lambda labels: distance_map(torch.stack([labels == c for c in (1, 2)], dim=1)),
    lambda labels: [[distance_map(case == c) for c in (1, 2)] for case in labels],
    lambda labels: np.stack([[distance_map((case == c).numpy()) for c in (1, 2)] for case in labels]),
])  # fmt: skip
def test_maps_of_classes_may_be_stacked_in_any_way(answer: Any) -> None:
    assert exercises.check_9_4(answer).right is True


def test_a_short_answer_is_a_number_of_any_type_or_a_word_and_each_wrong_one_gets_its_hint() -> None:
    judge = short_answer((0.5, "Yes."), ([2, 5], "Turn it around."), (0.05, "No & no."), hint="Halve it.")
    for right in (0.5, 0.51, "1/2", "0.50", np.array([0.5]), torch.tensor(0.5, requires_grad=True)):
        assert judge(right) == Verdict(True, "Yes.")
    wrong = [judge(answer).text for answer in (2, 5.0, 0.05, -0.5, 0.53)]
    assert wrong == ["Turn it around.", "Turn it around.", "No & no.", "Halve it.", "Halve it."]
    assert repr(judge(3)) == "Not yet. Halve it."
    assert (judge(0.0501).text, judge(50).text) == ("No & no.", "Give it as a share, not in per cent.")
    assert all("is no number" in judge(answer).text for answer in ("20 voxels", "50 %", "0,5", "no idea"))
    assert short_answer((0.84, "Yes."), (0.833, "No."), hint="")(0.833).text == "No."  # both within the rounding
    assert "No gradient" in exercises.check_5_1(lambda lrnet, p, true_map: p.grad).text
    assert "No &amp; no." in judge(0.05)._repr_html_()
    assert short_answer(("M-Net", "Yes."), hint="No.")(" mnet").right
    assert "<script>" not in check("Fine.")(lambda answer: str(answer))("<script>")._repr_html_()


def test_set_up_seeds_everything_and_says_where_it_runs(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRNET_EDU_FAST", "1")
    drawn = []
    for _ in range(2):
        device = exercises.set_up(seed=3)
        drawn.append((random.random(), float(np.random.random()), float(torch.rand(()))))
    assert drawn[0] == drawn[1]
    said = capsys.readouterr().out
    assert all(words in said for words in (torch.__version__, f"device: {device.type}", "size: small"))
