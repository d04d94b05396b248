"""Notebooks are tested at their small size, unless LRNET_EDU_FAST says otherwise; other tests do not notice."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Iterator[None]:
    """Set the variable while a notebook's kernel starts, which is when the kernel copies it."""
    unset = "LRNET_EDU_FAST" not in os.environ
    if unset:
        os.environ["LRNET_EDU_FAST"] = "1"
    try:
        yield
    finally:
        if unset:
            del os.environ["LRNET_EDU_FAST"]
