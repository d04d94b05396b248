"""Freed memory is kept by the process, so that the next step need not ask the system for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

STEP = """
import resource, sys
import torch
from lrnet_edu.allocator import keep_freed_memory

def held():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6

if sys.argv[1] == "keep":
    keep_freed_memory()
before = held()
several = [torch.ones(2_000_000) for _ in range(20)]  # 8 MB each
del several
print(held() - before)
"""


def megabytes_held_after_a_step(what: str, **settings: str) -> float:
    clean = {name: value for name, value in os.environ.items() if "MALLOC" not in name and name != "GLIBC_TUNABLES"}
    command, environment = [sys.executable, "-c", STEP, what], clean | settings
    return float(subprocess.run(command, capture_output=True, check=True, text=True, env=environment).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    assert megabytes_held_after_a_step("leave") < 40
    assert megabytes_held_after_a_step("keep") > 120
    assert megabytes_held_after_a_step("keep", MALLOC_ARENA_MAX="4") < 40  # the user has set glibc up
