"""Independent jobs, here or shared among processes that never outlive the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from lrnet_edu.errors import InputError

Result = TypeVar("Result")
MOST_WORKERS = 61  # Windows waits for no more


def run_jobs(
    do: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], workers: int, start: Callable[[], None]
) -> Iterator[Result]:
    """Call ``do(*job)`` for every job and yield the results as they come.

    Args:
        do: a function of a module, so that another process finds it.
        jobs: its arguments, one tuple for each call.
        workers: processes; 1, or a single job, works in this one.
        start: called once in each new process.

    Raises:
        InputError: if a process dies. What ``do`` raises comes through; processes end at once on Ctrl-C, and when
            this one is killed.
    """
    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            yield do(*job)
        return
    spawn = multiprocessing.get_context("spawn")  # a forked torch or ITK may hang
    lifeline, held = spawn.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        min(workers, len(jobs), MOST_WORKERS), mp_context=spawn, initializer=_start_worker, initargs=(lifeline, start)
    )
    try:
        for future in as_completed([pool.submit(do, *job) for job in jobs]):
            yield future.result()
    except (KeyboardInterrupt, GeneratorExit):
        held.close()  # the processes end at once
        raise
    except BrokenProcessPool as error:
        raise InputError(
            "A worker process has died, for want of memory or because the calling script lacks "
            '`if __name__ == "__main__":`; call again with one worker, what is finished is kept.'
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(lifeline: Connection, start: Callable[[], None]) -> None:
    """No noise on Ctrl-C, and an end when the parent lets go."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, args=(lifeline,), daemon=True).start()
    start()


def _exit_with_parent(lifeline: Connection) -> None:
    try:
        lifeline.poll(None)  # until the other end is closed, on purpose or because its process was killed
    finally:
        os._exit(1)
