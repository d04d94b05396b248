"""Notebooks are tested at their small size and without progress bars, unless the variables are set otherwise."""

import os
from collections.abc import Iterator

import pytest

# A bar is drawn where work is slow or not cached yet, and nbval takes it for an output that was not there before.
VARIABLES = {"LRNET_EDU_FAST": "1", "TQDM_DISABLE": "1"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    """Set the variables while a notebook's kernel starts, which is when the kernel copies them."""
    unset = {name: value for name, value in VARIABLES.items() if name not in os.environ}
    os.environ.update(unset)
    try:
        yield
    finally:
        for name in unset:
            del os.environ[name]
