"""What a finished run of a table wrote, looked at before a table is made of it: files may be damaged or edited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from lrnet_edu.metrics import CaseScores
from lrnet_edu.tables import shared_facts

_DEFINED = ("dice", "intersection", "prediction_voxels", "reference_voxels")  # None stands for the others undefined
_LARGEST = 1e12  # mm, ml, voxels or seconds


def check_record(record: Any, row: str, seed: int, cases: Sequence[str]) -> None:
    """Raise KeyError, TypeError, ValueError or AttributeError unless :func:`lrnet_edu.tables.build_table` can use it.

    Args:
        record: what ``scores/ROW_seed-K.json`` holds.
        row: the row's key.
        seed: of the run.
        cases: names of the test cases, in their order.
    """
    if (record["row"], record["seed"]) != (row, seed) or [case["case"] for case in record["cases"]] != list(cases):
        raise ValueError("another run, or other cases")
    texts = [record["schedule"], record["device"], *record["versions"], *record["versions"].values()]
    if not all(text.isprintable() for text in texts):
        raise ValueError("no words")
    numbers = [record["preprocessing"]["spacing"], *record["seconds"].values()]
    if window := record["preprocessing"]["window"]:
        low, high = window
        numbers += [low, high]
    for case in record["cases"]:
        scores = {field.name: case[field.name] for field in fields(CaseScores)}
        numbers += [value for name, value in scores.items() if value is not None or name in _DEFINED]
        numbers += [value for lesion in case["lesions"] for value in (lesion["ml"], lesion["dice"])]
        numbers += case["false_lesions"]
        if bool(case["lesions"]) != bool(case["reference_voxels"]):
            raise ValueError("lesions without voxels, or voxels without a lesion")
    if not all(abs(number) < _LARGEST for number in numbers):  # also false for NaN
        raise ValueError("no numbers of a scan")
    shared_facts([record])
