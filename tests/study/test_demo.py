"""The demo's own parts. Its trainings are those of the study, and CI runs the whole command."""

import csv
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from scans import checkpoint, lits, mask, store

from lrnet_edu.commands.evaluate import evaluate_folders
from lrnet_edu.config import FAST, Config
from lrnet_edu.data.study import open_study, split_cases
from lrnet_edu.study import demo
from lrnet_edu.study.protocol import LABEL
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.voxels import connected_components


def test_all_tables_say_what_evaluate_says_of_the_predictions_written(tmp_path: Path) -> None:
    """Of the two test cases one is healthy; the other's lesion has 0.5 ml."""
    scans, out = lits(tmp_path / "scans", range(8), label=2), tmp_path / "out"
    healthy, ill = split_cases([f"volume-{number}" for number in range(8)])["test"]
    store(scans / f"{healthy.replace('volume', 'segmentation')}.nii.gz", mask(label=1))
    study = open_study(scans, Config(**{**FAST, "label": LABEL}))
    tested = demo.segment_and_score(study, checkpoint(tmp_path / "best.safetensors", LABEL), out)
    cases = {case["case"]: case for case in evaluate_folders(out / "predictions", scans, label=LABEL)["cases"]}
    assert set(cases) == {name.replace("volume", "segmentation") for name in tested.masks}
    expected = cases[ill.replace("volume", "segmentation")]

    missed = [one | dict.fromkeys(("assd", "msd", "rmsd")) for one in tested.records]
    results = {"dice": tested, "lrnet": demo.Tested(missed, {}, {})}
    demo.write_results(tmp_path / "results.csv", results)
    heads, first, second = csv.reader((tmp_path / "results.csv").open())
    assert heads == ["method", "DC", "DG", "VOE", "RVD", "ASSD", "MSD", "RMSD"]
    assert (first[0], second[0], second[5:]) == ("dice", "lrnet", [""] * 3)
    assert [float(first[1]), float(first[5])] == pytest.approx([expected["dice"], expected["assd"]], abs=1e-4)
    row = demo.criteria_rows(results)[1]
    assert (row[0], row[1], row[5]) == ("dice", f"{expected['dice']:.3f}", f"{expected['assd']:.2f}")
    pieces = connected_components(tested.masks[healthy], 26)[1]
    assert demo.lesion_rows(results)[1][2:5:2] == ["1", str(pieces)]
    assert np.array_equal(tested.truths[ill], mask() > 0)
    assert demo.as_html([["a", "<b>"], ["1", "2"]]).splitlines()[0] == "<tr><th>a</th><th>&lt;b&gt;</th></tr>"


def test_a_demo_stopped_while_its_scans_are_prepared_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRNET_EDU_FAST", "1")
    monkeypatch.setattr(demo, "open_study", Mock(side_effect=KeyboardInterrupt))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            demo.run_demo(tmp_path)


@pytest.mark.parametrize("name", ["split.json", "results.csv", "report.html"])
def test_a_file_of_that_name_which_is_not_the_demos_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name} exists and is not the demo's"):
        demo.run_demo(tmp_path)
    assert (tmp_path / name).read_text() == "mine"
    assert list(tmp_path.iterdir()) == [tmp_path / name]
