"""``lrnet-edu reproduce study``, by docs/study_protocol.md: bases, branches that go on from them, what these say."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lrnet_edu.study.branches import VALIDATION, Branch, do_branch, prepare_scans
from lrnet_edu.study.evidence import endpoint, write_evidence
from lrnet_edu.study.protocol import ARMS, PRIMARY_CELL, REPEATS, SCRATCH, SETS, VIEWS, Plan, study_plan
from lrnet_edu.study.trainings import finished_records, read_record, record_path, run_trainings
from lrnet_edu.support.files import folder_lock


def reproduce_study(
    out: str | Path, *, seeds: int = 10, workers: int = 1, device: str | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:  # fmt: skip
    """Do what is missing of the study, and write its tables from what is there; as a table.

    The folder ``out`` gets ``data/``, ``branches/`` (records), ``runs/`` (work in hand), ``mnets/`` (seed 0's), the
    tables ``lesions.csv.gz`` and ``cases.csv``, ``study.json``, ``study.md`` and its pictures. Arms of less interest
    take fewer ``seeds``.

    Returns:
        What ``study.json`` holds; nothing before the first branch was tested.
    """
    out, plan = Path(out), study_plan()
    with folder_lock(out):
        scans = prepare_scans(out, plan, workers=workers, say=say)
        do = partial(run_trainings, out, work=partial(do_branch, scans, out, device), workers=workers, say=say)
        bases, twice = base_branches(plan, out, seeds)

        def do_from_bases(branches: Sequence[Branch]) -> list[dict[str, Any]]:
            """All records of these branches; of the missing ones ``workers`` M-Nets at a time, each with its base."""
            starts = [branch.config.start for branch in branches if read_record(out, branch) is None]
            missing = [start for start in dict.fromkeys(starts) if start is not None]
            for first in range(0, len(missing), workers):
                for start in (group := missing[first : first + workers]):
                    if not Path(start).exists():  # the record is kept for long, the weights are not
                        record_path(out, bases[start]).unlink(missing_ok=True)
                do([bases[start] for start in group])
                do([branch for branch in branches if branch.config.start in group])
            return do(branches)

        chosen = choose_alphas(do_from_bases(selection_branches(plan, out)))
        branches = branches_to_test(plan, out, seeds, {arm: row["chosen"] for arm, row in chosen.items()})
        try:
            for part in branches:
                do_from_bases(part)
            do([twice])
        finally:  # also when it is stopped
            of_bases = finished_records(out, [*bases.values(), twice])
            records = finished_records(out, [branch for part in branches for branch in part])
            result = write_evidence(out, records, of_bases, chosen) if records else {}
    return result


def checkpoint(out: Path, seed: int) -> str:
    """The M-Net that the branches of a seed start from."""
    return str(out / "runs" / f"base_seed-{seed}" / "last.safetensors")


def base_branches(plan: Plan, out: Path, seeds: int) -> tuple[dict[str, Branch], Branch]:
    """The M-Nets trained by Dice, by the checkpoint they leave; and one with twice the steps: does it gain anything?"""
    bases = {checkpoint(out, seed): Branch("base", seed, plan.base(seed), cells=(VALIDATION,))
             for seed in (*plan.selection_seeds, *range(seeds))}  # fmt: skip
    first = plan.selection_seeds[0]
    return bases, Branch("base-twice", first, plan.base(first, 2 * plan.config.steps), cells=(VALIDATION,))


def selection_branches(plan: Plan, out: Path) -> list[Branch]:
    """Every arm that has an alpha with each of them, tested on the validation cases alone."""
    arms = [arm for arm, row in ARMS.items() if row.alpha_of == arm]
    return [
        Branch(f"{arm}-alpha-{a:g}", seed, plan.branch(arm, seed, checkpoint(out, seed), alpha=a), cells=(VALIDATION,))
        for arm in arms for seed in plan.selection_seeds for a in plan.alphas
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


def branches_to_test(plan: Plan, out: Path, seeds: int, alphas: Mapping[str, float]) -> list[list[Branch]]:
    """What is tested, in parts in the order of importance: arms are cut before seeds."""

    def branch(arm: str, seed: int) -> Branch:
        lrnet = str(out / name) if (name := ARMS[arm].lrnet) else None
        alpha = alphas.get(ARMS[arm].alpha_of or "")
        return Branch(arm, seed, plan.branch(arm, seed, checkpoint(out, seed), alpha=alpha, lrnet=lrnet))

    there = {arm: row for arm, row in ARMS.items() if not row.lrnet or (out / row.lrnet).exists()}
    most, first = max(row.seeds for row in there.values()), tuple((SETS[0], view) for view in VIEWS)
    main = [branch(arm, seed) for seed in range(seeds) for arm, row in there.items() if seed < row.seeds == most]
    others = [branch(arm, seed) for arm, row in there.items() for seed in range(seeds) if seed < row.seeds < most]
    rounding = [
        Branch(f"{arm}-rounding", k, plan.branch(arm, 0, checkpoint(out, 0)), cells=(PRIMARY_CELL,), moved=k)
        for arm in ("A", "C") for k in range(1, REPEATS + 1)
    ]  # fmt: skip
    scratch = [
        Branch(f"{arm}-scratch", seed, plan.config_from_scratch(arm, seed, alphas.get(arm)), cells=first)
        for seed in range(seeds) for arm, most in SCRATCH.items() if seed < most
    ]  # fmt: skip
    return [main, rounding, scratch, others]
