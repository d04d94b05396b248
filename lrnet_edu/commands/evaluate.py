"""The seven criteria of section 3 for two folders, and the LiTS board's numbers: the command ``evaluate``."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lrnet_edu.commands.image_files import absent_label, image_files, stem
from lrnet_edu.data import nifti
from lrnet_edu.data.cases import find_cases, natural_order, segmentation_name
from lrnet_edu.metrics import CaseScores, case_scores, score_table
from lrnet_edu.study.challenge import ChallengeScores, challenge_scores
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import check_writable, folder_lock, read_json, shortened, write_atomically
from lrnet_edu.support.labels import Labels, encode, format_labels, parse_labels
from lrnet_edu.support.progress import progress

_PROBABILITY = re.compile(r"_probability-[0-9+]+\.nii\.gz$")  # what `predict --probabilities` writes
_CRITERIA = ("dice", "voe", "rvd", "assd", "msd", "rmsd")
_COLUMNS = ("DC", "VOE", "RVD", "ASSD", "MSD", "RMSD")  # their means
_FORMATS = ("7.3f", "7.3f", "+9.3f", "9.2f", "9.2f", "9.2f")


def evaluate_folders(
    predictions: str | Path,
    references: str | Path,
    *,
    label: str,
    json_file: str | Path | None = None,
    challenge: bool = False,
) -> dict[str, Any]:
    """Score every segmentation of a folder by the seven criteria.

    Args:
        predictions: folder of segmentations; probabilities and files that are not NIfTI are ignored.
        references: folder with files of the same names (.nii may stand for .nii.gz), and maybe more; or a
            data set in LiTS or Decathlon layout.
        label: the object, "2" or "1+2"; "1,2" scores two objects.
        json_file: where to write the result as well; an existing file is replaced only if it holds scores.
        challenge: add the LiTS board's numbers under "challenge". They take the files as LiTS numbers them, 1 the
            liver and 2 its lesions, whatever the label.

    Returns:
        What the JSON file holds. For one object ``{"cases": [{"case": name, "dice": ..., ...}], "mean":
        {"DC": ..., ...}, "undefined": {"DC": count, ...}}``, for several such a dictionary under each one's
        label. Undefined values are None; distances are in mm, RVD is signed. "challenge" holds the fields of
        :class:`lrnet_edu.study.challenge.ChallengeScores`.

    Raises:
        InputError: if a reference is missing or on another grid, a file cannot be used, or an object occurs
            in no reference.
    """
    predictions, references = Path(predictions), Path(references)
    objects = parse_labels(label)
    known = _find_references(references)
    pairs = _find_pairs(predictions, known, references)
    if json_file is not None:
        _check_json(Path(json_file))
    scores: dict[tuple[int, ...], list[CaseScores]] = {group: [] for group in objects}
    volumes = _scored(progress(pairs, "Scoring"), scores)
    board = challenge_scores(volumes) if challenge else None
    for _ in volumes:  # what the board did not ask for
        pass
    unseen = tuple(g for g, cases in scores.items() if not any(case.reference_voxels for case in cases))
    _check_occur(unseen, known.values(), references)

    names = [stem(prediction) for prediction, _ in pairs]
    results = {format_labels((group,)): _as_json(names, cases) for group, cases in scores.items()}
    result = results if len(results) > 1 else next(iter(results.values()))
    if board is not None:
        result["challenge"] = _board_as_json(board)
    if json_file is not None:
        path, text = Path(json_file), json.dumps(result, indent=2, allow_nan=False) + "\n"
        with folder_lock(path.parent, path.name, wait=True):
            write_atomically(path, text.encode())
    return result


def without_prediction(predictions: str | Path, references: str | Path) -> str | None:
    """A sentence where :func:`evaluate_folders` scores a part of the references only."""
    known = _find_references(Path(references))
    scored = {reference for _, reference in _find_pairs(Path(predictions), known, Path(references))}
    missing = sorted((name for name, path in known.items() if path not in scored), key=natural_order)
    if not missing:
        return None
    return f"Scored {len(scored)} of {len(known)} references; without a prediction: {shortened(missing)}."


def _scored(
    pairs: Iterable[tuple[Path, Path]], scores: dict[tuple[int, ...], list[CaseScores]]
) -> Iterator[tuple[np.ndarray, np.ndarray, tuple[float, float, float]]]:
    """Read one case after the other, add each object's scores to its list, and hand the volumes on."""
    for prediction, reference in pairs:
        predicted, wanted = nifti.read_mask(prediction), nifti.read_mask(reference)
        if not nifti.same_grid(predicted, wanted):
            raise InputError(
                f"{prediction} and {reference} lie on different grids (shape or affine): resample the prediction "
                "onto the reference."
            )
        for group, cases in scores.items():
            one, other = encode(predicted.data, (group,)), encode(wanted.data, (group,))
            cases.append(case_scores(one, other, wanted.spacing))
        yield predicted.data, wanted.data, wanted.spacing


def _find_references(folder: Path) -> dict[str, Path]:
    """The masks of a folder by the file name that a prediction of theirs has."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: name the folder that holds the reference segmentations.")
    if (folder / "dataset.json").is_file():
        return {_composed(case.image.name): case.mask for case in find_cases(folder) if case.mask is not None}
    # The images of the LiTS layout, whose masks have another name, are no references.
    return {_composed(path.name): path for path in image_files(folder) if segmentation_name(path.name) == path.name}


def _composed(name: str) -> str:
    """A name with each letter in one piece: some systems store an accent apart."""
    return unicodedata.normalize("NFC", name)


def _find_pairs(predictions: Path, known: dict[str, Path], references: Path) -> list[tuple[Path, Path]]:
    """Every prediction with its reference, in natural order."""
    if not predictions.is_dir():
        raise InputError(f"{predictions} is no folder: name the folder that holds the predictions.")
    files = [path for path in image_files(predictions) if not _PROBABILITY.search(path.name)]
    if not files:
        raise InputError(f"{predictions} holds no NIfTI file: name the folder that `predict` wrote.")
    pairs = []
    for path in files:
        name = _composed(path.name)
        other = name.removesuffix(".gz") if path.suffix == ".gz" else f"{name}.gz"
        reference = known.get(name) or known.get(other)
        if reference is None:
            raise InputError(
                f"{path} has no reference {path.name} in {references}: name first the folder of predictions, which are "
                "named like their references, then that of the references; a prediction of a scan without a mask "
                "cannot be scored, so move it elsewhere."
            )
        pairs.append((path, reference))
    return pairs


def _check_occur(objects: Labels, references: Iterable[Path], folder: Path) -> None:
    """Raise InputError if an object is in none of the references, also of cases that nobody predicted."""
    seen: set[int] = set()
    for path in references:
        objects = tuple(group for group in objects if seen.isdisjoint(group))
        if not objects:
            return
        seen.update(np.unique(nifti.read_mask(path).data).tolist())
    if absent := tuple(group for group in objects if seen.isdisjoint(group)):
        raise absent_label(absent, seen, f"any segmentation of {folder}")


# ---- JSON -----------------------------------------------------------------------------------------------


def _as_json(names: Sequence[str], cases: Sequence[CaseScores]) -> dict[str, Any]:
    table = score_table(cases)
    rows = [{key: _or_none(getattr(case, key)) for key in _CRITERIA} for case in cases]
    return {
        "cases": [{"case": name, **row} for name, row in zip(names, rows, strict=True)],
        "mean": {key: _or_none(value) for key, value in table.mean.items()},
        "undefined": table.undefined,
    }


def _board_as_json(board: ChallengeScores) -> dict[str, Any]:
    """The board's fields; thresholds as "0" and "0.5", with precision and recall beside the counts."""
    detection = {
        f"{threshold:g}": {**asdict(found), "precision": _or_none(found.precision), "recall": _or_none(found.recall)}
        for threshold, found in board.detection.items()
    }
    return {**asdict(board), "detection": detection}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _check_json(path: Path) -> None:
    """Raise InputError unless the scores can be written there; an existing file must hold scores."""
    if path.exists():
        try:
            content = read_json(path)
            content.pop("challenge", None)
            tables = [content] if "cases" in content else list(content.values())
            ours = bool(tables) and all(set(table) == {"cases", "mean", "undefined"} for table in tables)
        except (OSError, ValueError, TypeError, AttributeError):
            ours = False
        if not ours:
            raise InputError(f"{path} exists and holds no scores: choose another file for --json.")
    check_writable(path.parent)


# ---- table ----------------------------------------------------------------------------------------------


def scores_as_text(scores: dict[str, Any], label: str) -> str:
    """What :func:`evaluate_folders` returned for this label, as a table of 80 columns for each object."""
    tables = {label: scores} if "cases" in scores else {k: v for k, v in scores.items() if k != "challenge"}
    texts = [_table(name, table) for name, table in tables.items()]
    if "challenge" in scores:
        texts.append(_board(scores["challenge"]))
    return "\n\n".join(texts)


def _table(label: str, scores: dict[str, Any]) -> str:
    mean, undefined = scores["mean"], scores["undefined"]
    overall = (f"DC {_number(mean['DC'], '.3f')}, the mean of the cases' Dice",
               f"DG {_number(mean['DG'], '.3f')}, the Dice of all cases' voxels together",
               f"|RVD| {_number(mean['abs_RVD'], '.3f')}, its mean without sign")  # fmt: skip
    lines = [
        f"Label {label}: Dice, VOE and RVD are fractions; ASSD, MSD and RMSD are in mm.",
        "",
        _row("case", "Dice", *_COLUMNS[1:]),
        *(_row(case["case"], *(case[key] for key in _CRITERIA)) for case in scores["cases"]),
        _row("mean", *(mean[key] for key in _COLUMNS)),
        _row("undefined", *(str(undefined[key]) for key in _COLUMNS)),
        "",
        *overall,
    ]
    if empty := sum(case["rvd"] is None or (case["dice"], case["assd"]) == (1, None) for case in scores["cases"]):
        lines += [
            f"Without label {label}: {empty} of the {len(scores['cases'])} references. Dice there is 1 if nothing",
            "was found, else 0, and counts in DC.",
        ]
    if all(case["rvd"] == -1 or (case["rvd"], case["assd"]) == (0, None) for case in scores["cases"]):
        lines.append(f"No prediction holds label {label}: does it have another number there?")
    if any(undefined.values()):
        lines += [
            "Undefined (-), because a mask is empty, and then no part of the mean: a missed",
            "object costs no distance at all, so compare these counts first.",
        ]
    return "\n".join(lines)


def _board(board: dict[str, Any]) -> str:
    """The LiTS board's numbers in 80 columns."""
    names = ("dice_per_case", "dice_global", "dice", "voe", "rvd", "assd", "rmsd", "msd")
    widths = (11, 9, 8, 8, 10, 9, 9, 9)
    header = ("per case", "global", "Dice", "VOE", "RVD", "ASSD", "RMSD", "MSD")
    lines = [
        "As the LiTS board scores: the liver is every label, its lesions are the",
        "6-connected parts of label 2. Dice and what stands right of it are means over",
        f"the set's detected pairs of lesions (here {board['pairs']}) and over the cases' livers;",
        "RVD is (|R| - |P|) / |P|, distances are in mm.",
        "",
        f"{'':7}" + "".join(f"{name:>{width}}" for name, width in zip(header, widths, strict=True)),
    ]
    for what in ("lesion", "liver"):
        cells = (f"{board[what][n]:>{w}.{2 if n.endswith('sd') else 3}f}" for n, w in zip(names, widths, strict=True))
        lines.append(f"{what:<7}" + "".join(cells))
    lines += ["", f"{'overlap':<12}{'found':>8}{'missed':>8}{'false':>8}{'recall':>9}{'precision':>11}"]
    for threshold, found in board["detection"].items():
        counts = (found["true_positives"], found["false_negatives"], found["false_positives"])
        shares = (_number(found["recall"], "9.3f"), _number(found["precision"], "11.3f"))
        lines.append(f"{f'above {threshold}':<12}" + "".join(f"{count:>8}" for count in counts) + "".join(shares))
    burden = board["tumour_burden"]
    lines += [
        "",
        f"Tumour burden, reference minus prediction: root mean square {burden['rms']:.4f},",
        f"maximum {burden['max']:.4f}, maximum without sign {burden['max_abs']:.4f}.",
    ]
    if board["without_liver"]:
        lines.append(f"Predictions without any voxel equal to 1, scored 9001 or Dice 0: {board['without_liver']}.")
    if not board["pairs"]:
        lines.append("No lesion was detected at an overlap above 0.5: 9001 stands for all there is to measure.")
    return "\n".join(lines)


def _row(name: str, *cells: float | str | None) -> str:
    short = name if len(name) <= 29 else f"..{name[-27:]}"
    texts = [_number(cell, form) for cell, form in zip(cells, _FORMATS, strict=True)]
    return f"{short:<29}" + "".join(text if text.startswith(" ") else f" {text}" for text in texts)


def _number(cell: float | str | None, form: str) -> str:
    """A cell as wide as its format says; text, and None as "-", on the right."""
    if cell is None or isinstance(cell, str):
        return f"{'-' if cell is None else cell:>{form.lstrip('+').split('.')[0]}}"
    return format(cell, form)
