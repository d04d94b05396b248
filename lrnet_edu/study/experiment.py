"""``lrnet-edu reproduce study``: phantoms, M-Nets trained by Dice, alpha and beta by validation, branches, tables.

It may be stopped at any moment and called again; docs/study_protocol.md is what it follows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrnet_edu.study.branches import VALIDATION, Branch, do_branch, prepare_scans, read_branch
from lrnet_edu.study.evidence import endpoint, write_evidence
from lrnet_edu.study.protocol import ARMS, PRIMARY_CELL, REPEATS, SCRATCH, SETS, VIEWS, Plan, plan
from lrnet_edu.study.runs import duration
from lrnet_edu.support.checks import check_whole
from lrnet_edu.support.devices import choose_device
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import folder_lock
from lrnet_edu.support.jobs import in_processes


def reproduce_study(
    out: str | Path, *, seeds: int = 10, workers: int = 1, device: str | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:  # fmt: skip
    """Do what is missing of the study, and write its tables from what is there.

    Args:
        out: folder for everything: ``data/``, ``branches/``, ``runs/`` (work in hand), ``mnets/`` (seed 0's), the
            tables ``lesions.csv.gz`` and ``cases.csv``, ``study.json``, ``study.md`` and its pictures.
        seeds: how many at most; arms of less interest take fewer.
        workers: processes that share the branches, on a CPU each with one core.
        device: as for a training; None takes the best there is.
        say: where the progress goes, a line at a time.

    Returns:
        What ``study.json`` holds; nothing before the first branch was tested.

    Raises:
        InputError: if the folder holds another study, or a branch failed; the other branches are finished first.
    """
    check_whole("seeds", seeds, least=1)
    check_whole("workers", workers, least=1)
    choose_device(device)
    out, size = Path(out), plan()
    with folder_lock(out):
        scans = prepare_scans(out, size, workers=workers, say=say)

        def do(branches: Sequence[Branch]) -> list[dict[str, Any]]:
            """All records of these branches, the missing ones made first."""
            todo = [branch for branch in branches if read_branch(out, branch) is None]
            started, errors = time.perf_counter(), []
            jobs = [(scans, branch, out, device) for branch in todo]
            for i, (name, seconds, error) in enumerate(in_processes(do_branch, jobs, workers), start=1):
                left = (time.perf_counter() - started) / i * (len(todo) - i)
                say(f"{i} of {len(todo)}: {name}, {error or duration(seconds)}; about {duration(left)} left.")
                errors += [error] if error else []
            if errors:
                raise InputError(f"{len(errors)} of {len(branches)} branches failed, the first with: {errors[0]}")
            return finished(out, branches)

        bases = do(base_branches(size, seeds))
        chosen = choose_alphas(do(selection_branches(size, out)))
        branches = test_branches(size, out, seeds, {arm: row["chosen"] for arm, row in chosen.items()})
        try:
            do(branches)
        finally:  # also when it is stopped
            records = finished(out, branches)
            result = write_evidence(out, records, bases, chosen) if records else {}
    return result


def finished(out: Path, branches: Sequence[Branch]) -> list[dict[str, Any]]:
    """The records of those branches that are finished."""
    return [record for branch in branches if (record := read_branch(out, branch))]


def checkpoint(out: Path, seed: int) -> str:
    """The M-Net that the branches of a seed start from."""
    return str(out / "runs" / f"base_seed-{seed}" / "last.safetensors")


def base_branches(size: Plan, seeds: int) -> list[Branch]:
    """The M-Nets trained by Dice, and one once more with twice the steps: does it gain anything?"""
    first = size.selection_seeds[0]
    bases = [Branch("base", seed, size.base(seed), (VALIDATION,)) for seed in (*size.selection_seeds, *range(seeds))]
    return [*bases, Branch("base-twice", first, size.base(first, 2 * size.base_steps), (VALIDATION,))]


def selection_branches(size: Plan, out: Path) -> list[Branch]:
    """Every arm that has an alpha with each of them, tested on the validation cases alone."""
    arms = [arm for arm, row in ARMS.items() if row.alpha_of == arm]
    return [
        Branch(f"{arm}-alpha-{a:g}", seed, size.branch(arm, seed, checkpoint(out, seed), alpha=a), (VALIDATION,))
        for arm in arms for seed in size.selection_seeds for a in size.alphas
    ]  # fmt: skip


def choose_alphas(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """For each arm its alpha with the best primary endpoint on validation, mean over the seeds; the least of equals."""
    scores: dict[str, dict[float, list[float]]] = {}
    for record in records:
        by_alpha = scores.setdefault(record["arm"].split("-")[0], {})
        by_alpha.setdefault(record["config"]["alpha"], []).append(endpoint(record["cells"]["/".join(VALIDATION)]))
    means = {arm: {alpha: float(np.mean(by_alpha[alpha])) for alpha in sorted(by_alpha)}
             for arm, by_alpha in scores.items()}  # fmt: skip
    return {arm: {"chosen": max(row, key=lambda alpha: row[alpha]), "validation": row} for arm, row in means.items()}


def test_branches(size: Plan, out: Path, seeds: int, alphas: Mapping[str, float]) -> list[Branch]:
    """What is tested, in the order of importance: arms are cut before seeds."""

    def branch(arm: str, seed: int) -> Branch:
        lrnet = str(out / name) if (name := ARMS[arm].lrnet) else None
        alpha = alphas.get(ARMS[arm].alpha_of or "")
        return Branch(arm, seed, size.branch(arm, seed, checkpoint(out, seed), alpha=alpha, lrnet=lrnet))

    there = {arm: row for arm, row in ARMS.items() if not row.lrnet or (out / row.lrnet).exists()}
    most, first = max(row.seeds for row in there.values()), tuple((SETS[0], view) for view in VIEWS)
    main = [branch(arm, seed) for seed in range(seeds) for arm, row in there.items() if seed < row.seeds == most]
    others = [branch(arm, seed) for arm, row in there.items() for seed in range(seeds) if seed < row.seeds < most]
    rounding = [Branch(f"{arm}-rounding", k, size.branch(arm, 0, checkpoint(out, 0)), (PRIMARY_CELL,), moved=k)
                for arm in ("A", "C") for k in range(1, REPEATS + 1)]  # fmt: skip
    scratch = [Branch(f"{arm}-scratch", seed, size.scratch(arm, seed, alphas.get(arm)), first)
               for seed in range(min(seeds, SCRATCH)) for arm in ("A", "B", "C")]  # fmt: skip
    return [*main, *rounding, *scratch, *others]
