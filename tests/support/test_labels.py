"""The choice of labels, and what it makes of a mask."""

from __future__ import annotations

import numpy as np
import pytest

from lrnet_edu.support.errors import InputError
from lrnet_edu.support.labels import decode, encode, format_labels, parse_labels


@pytest.mark.parametrize(
    ("text", "labels"),
    [("2", ((2,),)), ("1+2", ((1, 2),)), ("2,1", ((2,), (1,))), ("1+2,3", ((1, 2), (3,))), ("255", ((255,),))],
)
def test_reads_and_writes_the_option(text: str, labels: tuple) -> None:
    assert parse_labels(text) == labels
    assert format_labels(labels) == text


@pytest.mark.parametrize(
    "text", ["", "0", "1,0", "-1", "1,", "1++2", "a", "1.5", "1 2", "01", "256", "1,1", "1+2,2", "²", "١", 2]
)
def test_refuses_everything_else_in_one_sentence(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_labels(text)
    message = str(caught.value)
    assert str(text) in message
    assert message.endswith(".")
    assert "\n" not in message


def test_encodes_voxel_by_voxel_and_decodes_a_union_as_its_first_number() -> None:
    mask = np.random.default_rng(0).integers(0, 300, (5, 6, 7)).astype(np.uint16)
    labels = ((7, 3), (299,), (1,))
    class_of = {7: 1, 3: 1, 299: 2, 1: 3}
    classes = encode(mask, labels)
    assert classes.dtype == np.uint8
    np.testing.assert_array_equal(classes, np.vectorize(lambda value: class_of.get(value, 0))(mask))
    assert decode(np.array([[0, 1, 2]], np.uint8), ((2, 1), (5,))).tolist() == [[0, 2, 5]]
