"""The seven criteria of section 3 for two folders, and the LiTS board's numbers: the command ``evaluate``."""

import json
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lrnet_edu.commands.image_files import image_files
from lrnet_edu.data import nifti
from lrnet_edu.data.cases import find_cases, segmentation_name
from lrnet_edu.metrics import CRITERIA, CaseScores, case_scores, none_if_nan, score_table
from lrnet_edu.study.challenge import ChallengeScores, challenge_scores
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import abbreviated, check_writable, folder_lock, write_atomically
from lrnet_edu.support.jobs import progress
from lrnet_edu.support.labels import absent_label, encode, format_labels, parse_labels

_PROBABILITY = re.compile(r"_probability-[0-9+]+$")  # what `predict --probabilities` writes, without the ending


def evaluate_folders(
    predictions: str | Path, references: str | Path, *, label: str, json_file: str | Path | None = None,
    challenge: bool = False, say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:  # fmt: skip
    """Score every segmentation of a folder by the seven criteria.

    Args:
        predictions: folder of segmentations; probabilities and files that are no images are ignored.
        references: folder with files of the same names (.nii may stand for .nii.gz), or a data set in LiTS or
            Decathlon layout; it may hold more.
        label: the object, "2" or "1+2"; "1,2" scores two objects.
        json_file: where to write the result as well; an existing file is replaced only if it holds scores.
        challenge: add the LiTS board's numbers, for which 1 is the liver and 2 its lesions, whatever the label.
        say: takes a sentence where a part of the references only has predictions.

    Returns:
        What the JSON file holds: ``{"cases": [{"case": name, "dice": ..., ...}], "mean": {"DC": ..., ...},
        "undefined": {"DC": count, ...}}``, or for several objects that under each one's label; undefined values are
        None. "challenge" holds the fields of :class:`lrnet_edu.study.challenge.ChallengeScores`.

    Raises:
        InputError: if references are missing or on other grids, a file cannot be used, or an object is in none.
    """
    predictions, references = Path(predictions), Path(references)
    scores: dict[tuple[int, ...], list[CaseScores]] = {group: [] for group in parse_labels(label)}
    known = _find_references(references)
    pairs = [(path, known[name]) for name, path in _find_predictions(predictions, known, references).items()]
    if json_file is not None:
        check_writable((json_file := Path(json_file)).parent)
        if json_file.exists() and not (json_file.is_file() and b'"undefined": {' in json_file.read_bytes()):
            raise InputError(f"{json_file} exists and holds no scores: choose another file for --json.")
    nifti.check_pairs((reference, prediction) for prediction, reference in pairs)
    if len(pairs) < len(known):
        say(f"Scoring {len(pairs)} of {len(known)} references; the others have no prediction.")
    for volumes in progress(pairs, "Scoring"):
        prediction, reference = map(nifti.read_mask, volumes)
        for group, cases in scores.items():
            p, r = (encode(volume.data, (group,)) for volume in (prediction, reference))
            cases.append(case_scores(p, r, reference.spacing))
    if unseen := [group for group, cases in scores.items() if not any(case.reference_voxels for case in cases)]:
        seen = {number for path in known.values() for number in np.unique(nifti.read_mask(path).data).tolist()}
        if absent := tuple(group for group in unseen if seen.isdisjoint(group)):  # also of cases nobody predicted
            raise absent_label(absent, seen, f"any segmentation of {references}")

    names = [nifti.stem(prediction) for prediction, _ in pairs]
    results = {format_labels((group,)): _as_json(names, cases) for group, cases in scores.items()}
    result = results if len(results) > 1 else next(iter(results.values()))
    if challenge:
        masks = (map(nifti.read_mask, pair) for pair in progress(pairs, "As the board"))
        result["challenge"] = _board_as_json(challenge_scores((p.data, r.data, r.spacing) for p, r in masks))
    if json_file is not None:
        with folder_lock(json_file.parent, json_file.name, wait=True):
            write_atomically(json_file, (json.dumps(result, indent=2, allow_nan=False) + "\n").encode())
    return result


def _find_references(folder: Path) -> dict[str, Path]:
    """The masks of a folder, in natural order, by the name without ending that a prediction of theirs has."""
    if (folder / "dataset.json").is_file():
        return {nifti.stem(Path(case.prediction)): case.mask for case in find_cases(folder) if case.mask is not None}
    # The images of the LiTS layout, whose masks have another name, are no references.
    return {nifti.stem(path): path for path in image_files(folder) if segmentation_name(path.name) == path.name}


def _find_predictions(folder: Path, known: Mapping[str, Path], references: Path) -> dict[str, Path]:
    """The predictions of a folder, in natural order, by name; each has a reference."""
    files = {nifti.stem(path): path for path in image_files(folder) if not _PROBABILITY.search(nifti.stem(path))}
    if not files:
        raise InputError(f"{folder} holds no NIfTI file: name the folder that `predict` wrote.")
    if missing := [path.name for name, path in files.items() if name not in known]:
        raise InputError(
            f"{folder} holds {abbreviated(missing)}, which has no reference of that name in {references}: name "
            "first the folder of predictions, then that of the references, or move such files elsewhere."
        )
    return files


def _as_json(names: Sequence[str], cases: Sequence[CaseScores]) -> dict[str, Any]:
    table = score_table(cases)
    return {
        "cases": [{"case": name, **case.row()} for name, case in zip(names, cases, strict=True)],
        "mean": {name: none_if_nan(value) for name, value in table.mean.items()},
        "undefined": table.undefined,
    }


def _board_as_json(board: ChallengeScores) -> dict[str, Any]:
    """The board's fields; thresholds as "0" and "0.5", with precision and recall beside the counts."""
    detection = {
        f"{threshold:g}": {**asdict(d), "precision": none_if_nan(d.precision), "recall": none_if_nan(d.recall)}
        for threshold, d in board.detection.items()
    }
    return {**asdict(board), "detection": detection}


# ---- the scores in 80 columns -------------------------------------------------------------------------------------

UNDEFINED = """\
Undefined, because a mask is empty, and so no part of the mean: a missed object costs no distance at all, so compare
these counts first."""
BOARD = """\
As the LiTS board scores: the liver is every label, its lesions are the 6-connected parts of label 2. Scores of lesions
are means over the set's detected pairs (here {pairs}), those of the liver over the cases. RVD is (|R| - |P|) / |P|,
distances are in mm; 9001 stands for what cannot be measured. Without any voxel equal to 1: {without_liver} predictions.
True and false positives and negatives are as the board counts; found, missed and false lesions are by themselves."""


def scores_as_text(scores: dict[str, Any], label: str) -> str:
    """What :func:`evaluate_folders` returned: the cases of every object, then the means of all, then notes."""
    objects = {label: scores} if "cases" in scores else {k: v for k, v in scores.items() if k != "challenge"}
    heads = [c.symbol or name for name, c in CRITERIA.items()]
    cases, means, notes = [], [_row("Means", heads)], []
    for name, table in objects.items():
        cases.append(_row(f"Label {name}", heads))
        for case in table["cases"]:
            own = [c.text(case[c.attribute]) if c.of_counts or c.of_distances else "" for c in CRITERIA.values()]
            cases.append(_row(case["case"], own))
        means.append(_row(f"Label {name}", [c.text(table["mean"][key]) for key, c in CRITERIA.items()]))
        if any(table["undefined"].values()):
            means.append(_row("  undefined (–)", [str(table["undefined"][key]) for key in CRITERIA]))
            notes = [UNDEFINED]
        if all(case["rvd"] == -1 or (case["rvd"], case["assd"]) == (0, None) for case in table["cases"]):
            means.append(f"No prediction holds label {name}: does it have another number there?")
    if "challenge" in scores:
        notes += _board(scores["challenge"])
    units = f"A case's DC is its Dice. In mm: {', '.join(name for name, c in CRITERIA.items() if c.unit)}."
    filled = [textwrap.fill(note, 79, subsequent_indent="  ") for note in notes]
    return "\n".join([units, "", *cases, "", *means, "", *filled]).rstrip()


def _row(name: str, cells: Sequence[str]) -> str:
    return f"{name[-20:]:<20}" + "".join(f" {cell:>6}" for cell in cells)


def _board(board: Mapping[str, Any]) -> list[str]:
    """The LiTS board's numbers: a paragraph for each group of them."""
    groups = {
        "Lesion": board["lesion"],
        "Liver": board["liver"],
        **{f"Overlap above {threshold}": found for threshold, found in board["detection"].items()},
        "Tumour burden, reference minus prediction": board["tumour_burden"],
    }
    parts = [BOARD.format(**board)]
    for name, values in groups.items():
        shown = {key: f"{value:.3f}" if isinstance(value, float) else value for key, value in values.items()}
        listed = ", ".join(f"{key.replace('_', ' ')} {'–' if v is None else v}" for key, v in shown.items())
        parts.append(f"{name}: {listed}.")
    return parts
