"""Work on many files or cases: its progress bar, and processes that share it, each with one thread."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from lrnet_edu.support.errors import InputError


def progress(items: Sequence[Any], title: str, unit: str = "file") -> tqdm[Any]:
    """A progress bar that shows itself only when the work takes longer than a moment."""
    return tqdm(items, title, unit=unit, dynamic_ncols=True, leave=False, delay=1.0)


def print_above_bar(sentence: str) -> None:
    tqdm.write(sentence, file=sys.stderr)


def in_processes(work: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], workers: int) -> Iterator[Any]:
    """What a function returns for each of the jobs, its arguments, as they come; here if one worker will do."""
    if min(workers, len(jobs)) <= 1:
        yield from (work(*job) for job in jobs)
        return
    spawn = multiprocessing.get_context("spawn")  # a forked torch may hang
    pool = ProcessPoolExecutor(min(workers, len(jobs)), mp_context=spawn, initializer=_start_worker)
    try:
        for future in as_completed([pool.submit(work, *job) for job in jobs]):
            yield future.result()
    except BrokenProcessPool as error:
        raise InputError(
            "A worker process has died, for want of memory or because the calling script lacks "
            '`if __name__ == "__main__":`; call again with one worker, what is finished is kept.'
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)  # of those that have not begun, if it is stopped


def _start_worker() -> None:
    """One thread, also for the libraries that are loaded later, and no progress bars."""
    os.environ.update(OMP_NUM_THREADS="1", ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS="1")
    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


@contextmanager
def one_thread(device: Any) -> Iterator[None]:
    """One thread on a CPU: several add numbers up in another order, and the weights differ in their last digits."""
    import torch

    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
