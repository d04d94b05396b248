"""``lrnet-edu reproduce study``: phantoms, M-Nets trained by Dice, alpha and beta by validation, branches, tables.

It may be stopped at any moment and called again; docs/study_protocol.md is what it follows.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrnet_edu.study.branches import VALIDATION, Branch, Scans, do_branch, gradient_norms, prepare_scans, read_branch
from lrnet_edu.study.evidence import endpoint, write_evidence
from lrnet_edu.study.protocol import ARMS, PRIMARY_CELL, REPEATS, SCRATCH, SETS, VIEWS, Plan, plan
from lrnet_edu.study.runs import duration
from lrnet_edu.support.checks import check_whole
from lrnet_edu.support.devices import choose_device
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import folder_lock, write_atomically
from lrnet_edu.support.jobs import in_processes


def reproduce_study(
    out: Path, *, seeds: int = 10, workers: int = 1, device: str | None = None, say: Callable[[str], None] = print
) -> dict[str, Any]:
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
    size = plan()
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
            return [record for branch in branches if (record := read_branch(out, branch))]

        bases = do([*base_branches(size, size.selection_seeds), *base_branches(size, range(seeds)), twice(size)])
        chosen = choose_weights(do(selection_branches(size, out)))
        write_gradients(scans, size, out)
        branches = test_branches(size, out, seeds, {arm: row["chosen"] for arm, row in chosen.items()})
        try:
            do(branches)
        finally:  # also when it is stopped
            records = [record for branch in branches if (record := read_branch(out, branch))]
            gradients = json.loads((out / "gradients.json").read_text("utf-8"))
            facts = {"chosen": chosen, "gradients": gradients, "bases": bases}
            result = write_evidence(out, records, facts) if records else {}
    return result


def checkpoint(out: Path, seed: int) -> str:
    """The M-Net that the branches of a seed start from."""
    return str(out / "runs" / f"base_seed-{seed}" / "last.safetensors")


def base_branches(size: Plan, seeds: Sequence[int]) -> list[Branch]:
    """The M-Nets trained by Dice."""
    return [Branch("base", seed, size.base(seed), (VALIDATION,)) for seed in seeds]


def twice(size: Plan) -> Branch:
    """The first of them once more with twice the steps: does it gain anything?"""
    seed = size.selection_seeds[0]
    return Branch("base-twice", seed, size.base(seed, 2 * size.base_steps), (VALIDATION,))


def selection_branches(size: Plan, out: Path) -> list[Branch]:
    """Every arm that has an alpha with each of them, tested on the validation cases alone."""
    weighted = [arm for arm, row in ARMS.items() if row.weighted]
    return [
        Branch(f"{arm}-alpha-{alpha:g}", seed, size.branch(arm, seed, start=checkpoint(out, seed), alpha=alpha),
               (VALIDATION,))
        for arm in weighted for seed in size.selection_seeds for alpha in size.weights
    ]  # fmt: skip


def choose_weights(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """For each arm its alpha with the best primary endpoint on validation, mean over the seeds; the least of equals."""
    scores: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        alpha = float(record["config"]["alpha"])
        scores[record["arm"].split("-")[0]][alpha].append(endpoint(record["cells"]["/".join(VALIDATION)]))
    means = {arm: {alpha: float(np.mean(values)) for alpha, values in sorted(by_alpha.items())}
             for arm, by_alpha in scores.items()}  # fmt: skip
    return {arm: {"chosen": max(by_alpha, key=lambda alpha: by_alpha[alpha]), "validation": by_alpha}
            for arm, by_alpha in means.items()}  # fmt: skip


def write_gradients(scans: Scans, size: Plan, out: Path) -> None:
    """How large each term's gradient is where the branches start: a candidate for a rule by which alpha is found."""
    path = out / "gradients.json"
    if not path.exists():
        found = [gradient_norms(scans, size.branch("C", seed, start=checkpoint(out, seed))) for seed in
                 size.selection_seeds]  # fmt: skip
        means = {term: float(np.mean([one[term] for one in found])) for term in found[0]}
        write_atomically(path, json.dumps(means, indent=1).encode())


def test_branches(size: Plan, out: Path, seeds: int, alphas: Mapping[str, float]) -> list[Branch]:
    """What is tested, in the order of importance: arms are cut before seeds."""

    def start(arm: str, seed: int) -> Branch:
        config = size.branch(arm, seed, start=checkpoint(out, seed), alpha=alphas.get(arm))
        return Branch(arm, seed, config)

    most = max(arm.seeds for arm in ARMS.values())
    main = [start(arm, seed) for seed in range(seeds) for arm, row in ARMS.items() if row.seeds == most > seed]
    few = [start(arm, seed) for arm, row in ARMS.items() if row.seeds < most for seed in range(min(seeds, row.seeds))]
    first = tuple((SETS[0], view) for view in VIEWS)
    scratch = [Branch(f"{arm}-scratch", seed, size.scratch(arm, seed, alphas.get(arm)), first)
               for arm, number in SCRATCH.items() for seed in range(min(seeds, number))]  # fmt: skip
    rounding = [Branch(f"{arm}-rounding", k, size.branch(arm, 0, start=checkpoint(out, 0)), (PRIMARY_CELL,), moved=k)
                for arm in ("A", "C") for k in range(1, REPEATS + 1)]  # fmt: skip
    return [*main, *rounding, *scratch, *few]
