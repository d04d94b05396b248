"""Freed memory is kept, so that the next step need not ask the system for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

STEP = """
import resource, sys
import torch
from contextlib import nullcontext
from lrnet_edu.allocator import freed_memory_kept

def held():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6

before = held()
with freed_memory_kept() if sys.argv[1] == "keep" else nullcontext():
    several = [torch.ones(2_000_000) for _ in range(20)]  # 8 MB each
    del several
    if sys.argv[1] == "keep":
        with freed_memory_kept():  # as a validation within a training does
            pass
    print(held() - before)
print(held() - before)
"""


def megabytes_held(what: str, **settings: str) -> tuple[float, float]:
    """After a step, while freed memory is kept or not, and afterwards."""
    clean = {name: value for name, value in os.environ.items() if "MALLOC" not in name and name != "GLIBC_TUNABLES"}
    command, environment = [sys.executable, "-c", STEP, what], clean | settings
    said = subprocess.run(command, capture_output=True, check=True, text=True, env=environment).stdout
    within, afterwards = map(float, said.split())
    return within, afterwards


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_freed_memory_is_kept_for_the_next_step_and_returned_at_the_end() -> None:
    assert megabytes_held("leave")[0] < 40
    within, afterwards = megabytes_held("keep")
    assert within > 120
    assert afterwards < 40
    assert megabytes_held("keep", MALLOC_ARENA_MAX="4")[0] < 40  # the user has set glibc up
