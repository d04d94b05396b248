"""The choice of labels; what it makes of a mask is tested as a property."""

import pytest

from lrnet_edu.support.errors import InputError
from lrnet_edu.support.labels import format_labels, parse_labels


def test_reads_and_writes_the_option() -> None:
    options = {"2": ((2,),), "1+2": ((1, 2),), "2,1": ((2,), (1,)), "1+2,3": ((1, 2), (3,)), "255": ((255,),)}
    for text, labels in options.items():
        assert parse_labels(text) == labels
        assert format_labels(labels) == text


@pytest.mark.parametrize("text", ["", "0", "1,", "1++2", "a", "1.5", "01", "256", "1,1", "1+2,2", "²", "١", 2])
def test_refuses_everything_else(text: str) -> None:
    with pytest.raises(InputError, match="labels"):
        parse_labels(text)
