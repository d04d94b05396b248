"""Which numbers of a mask file are trained, and as how many classes.

Of 0 background, 1 liver and 2 tumour, ``2`` is one object, ``1+2`` their union as one (the liver of LiTS includes its
tumours), and ``1,2`` are two objects and so two foreground classes.
"""

import re
from collections.abc import Iterable

import numpy as np

from lrnet_edu.support.errors import InputError

Labels = tuple[tuple[int, ...], ...]
"""One tuple of label numbers per object; the k-th object (from 1) is class k of the network."""

_GRAMMAR = re.compile(r"[1-9][0-9]{0,2}([+,][1-9][0-9]{0,2})*")


def parse_labels(text: str) -> Labels:
    """Read the ``--label`` option: "2" is ((2,),), "1+2" is ((1, 2),), "1,2" is ((1,), (2,)); InputError for others."""
    labels: Labels = ()
    if isinstance(text, str) and _GRAMMAR.fullmatch(text):
        labels = tuple(tuple(int(number) for number in group.split("+")) for group in text.split(","))
    numbers = [number for group in labels for number in group]
    if not numbers or max(numbers) > 255 or len(set(numbers)) < len(numbers):
        raise InputError(
            f'{text!r} is no choice of labels: write one number ("2"), a union as one object ("1+2") or several '
            'objects ("1,2"), with numbers from 1 to 255, each once.'
        )
    return labels


def format_labels(labels: Labels) -> str:
    """Write labels as :func:`parse_labels` reads them."""
    return ",".join("+".join(str(number) for number in group) for group in labels)


def absent_label(objects: Labels, numbers: Iterable[int], where: str) -> InputError:
    """The error for objects that are not among the label numbers found."""
    present = ", ".join(str(number) for number in sorted(set(numbers) - {0})) or "none but 0"
    return InputError(f"Label {format_labels(objects)} does not occur in {where}: there is {present}.")


def encode(mask: np.ndarray, labels: Labels) -> np.ndarray:
    """Label numbers of a file, integers of any shape, to classes: uint8, k for the k-th object, else 0."""
    classes = np.zeros(mask.shape, np.uint8)
    for k, group in enumerate(labels, start=1):
        for number in group:
            classes[mask == number] = k
    return classes


def decode(classes: np.ndarray, labels: Labels) -> np.ndarray:
    """Classes 0..K back to label numbers, uint8; a union is written as its first number."""
    return np.array([0, *(group[0] for group in labels)], np.uint8)[classes]
