"""``lrnet-edu reproduce``: a table of the paper, or the study. Both are lists of trainings, then what these say.

A table's rows have the same backbone and first weights, the same patches in the same order and the same number of
steps, the warm-up included. The weights with the best validation DC are tested, once. Tables may share one folder, and
the rows that they have in common. docs/study_protocol.md is what the study follows.

Frozen LR-Nets are the ones that ship: no scan taught them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lrnet_edu.config import Config
from lrnet_edu.data.study import PARTS, Study, open_study
from lrnet_edu.methods import METHODS
from lrnet_edu.study.branches import VALIDATION, Branch, do_branch, prepare_scans
from lrnet_edu.study.evidence import endpoint, write_evidence
from lrnet_edu.study.protocol import ARMS, PRIMARY_CELL, REPEATS, SCRATCH, SETS, VIEWS, Plan, study_plan
from lrnet_edu.study.rows import TABLES, Row
from lrnet_edu.study.scoring import cases_of_part, predictions
from lrnet_edu.study.table import write_table
from lrnet_edu.study.trainings import (
    Training,
    finished_records,
    read_record,
    record_path,
    run_trainings,
    train_and_record,
)
from lrnet_edu.support.devices import choose_device
from lrnet_edu.support.errors import InputError, check_whole
from lrnet_edu.support.files import folder_lock
from lrnet_edu.trained import load_mnet

# ---- tables -----------------------------------------------------------------------------------------------------


def reproduce_table(
    table: str, data: str | Path, out: str | Path, config: Config, *, seeds: int = 3, workers: int = 1,
    device: str | None = None, command: str = "", say: Callable[[str], None] = print,
) -> dict[str, Any]:  # fmt: skip
    """Do what is missing of a table, and write the table from what is there.

    Args:
        table: a key of ``TABLES``, "table1" or "table2".
        data: folder of scans, as for a training.
        out: folder for everything: ``branches/`` (records), ``runs/`` and ``TABLE.json``, ``.md`` and ``.png``.
        config: what all rows share; its method, map and seed do not matter.
        seeds: how many, from 0 on.
        workers: processes that share the trainings, on a CPU each with one core.
        device: as for a training; None takes the best there is.
        command: how this was called, for the record.
        say: where the progress goes, a line at a time.

    Returns:
        What ``TABLE.json`` holds (:func:`lrnet_edu.study.table.build_table`).

    Raises:
        InputError: if there is nothing to compare, the folder holds trainings of other settings or scans, or one
            failed; the others are finished first.
    """
    if table not in TABLES:
        raise InputError(f"There is no table {table!r}; choose one of {', '.join(TABLES)}.")
    if "," in config.label:
        raise InputError(f'"{config.label}" names several objects and a table shows one; join them by + or choose one.')
    check_options(seeds, workers, device)
    out, study = Path(out), open_study(Path(data), config)
    say(study.describe())
    if not any(len(case.foreground[0]) for case in study.cached["test"]):
        raise InputError(f"No test case holds label {config.label}, so there is nothing to compare; add some that do.")
    voxels = {part: {case.name: len(case.foreground[0]) for case in study.cached[part]} for part in PARTS}
    scans = {"preprocessing": asdict(study.preprocessing), "voxels": voxels}
    # Seed by seed all rows, so that what is finished early can be compared.
    trainings = [Training(row.key, seed, row_config(config, row, seed), scans)
                 for seed in range(seeds) for row in TABLES[table].rows]  # fmt: skip
    with folder_lock(out):
        try:
            run_trainings(out, trainings, partial(do_row, study, out, device), workers=workers, say=say)
        finally:  # also when it is stopped: the table of what there is
            facts = {"command": command, "data": str(data), "cases": {part: len(study.split[part]) for part in PARTS}}
            records = finished_records(out, trainings)
            result = write_table(out, table, records, seeds=range(seeds), facts=facts) if records else {}
    return result


def check_options(seeds: int, workers: int, device: str | None) -> None:
    """InputError, before any work, for what cannot be."""
    check_whole("seeds", seeds, least=1)
    check_whole("workers", workers, least=1)
    choose_device(device)


def row_config(config: Config, row: Row, seed: int) -> Config:
    """The settings of a row. No training ends before its steps are used up: every row gets the same number."""
    settings = replace(config, method=row.method, kind=row.kind, activation=row.activation, alpha=row.alpha, seed=seed,
                       convergence_patience=config.steps)  # fmt: skip
    return settings if METHODS[row.method].uses_lrnet else replace(settings, warmup_steps=None)


def do_row(study: Study, out: Path, device: str | None, training: Training) -> str:
    """Train, test and record a row with one seed; returns what went wrong, or nothing."""

    def test(folder: Path, place: torch.device) -> dict[str, Any]:
        trained = load_mnet(folder)
        trained.mnet.to(place)
        return {"cases": [one.record() for one in predictions(trained, cases_of_part(study, "test"))]}

    error = train_and_record(training, study, out, device, test)
    if not error:  # what a training goes on from is three times as large as its weights
        (out / "runs" / training.name / "last.safetensors").unlink(missing_ok=True)
    return error


# ---- the study --------------------------------------------------------------------------------------------------


def reproduce_study(
    out: str | Path, *, seeds: int = 10, workers: int = 1, device: str | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:  # fmt: skip
    """Do what is missing of the study, and write its tables from what is there; as :func:`reproduce_table`.

    The folder ``out`` gets ``data/``, ``branches/`` (records), ``runs/`` (work in hand), ``mnets/`` (seed 0's), the
    tables ``lesions.csv.gz`` and ``cases.csv``, ``study.json``, ``study.md`` and its pictures. Arms of less interest
    take fewer ``seeds``.

    Returns:
        What ``study.json`` holds; nothing before the first branch was tested.
    """
    check_options(seeds, workers, device)
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
        branches = test_branches(plan, out, seeds, {arm: row["chosen"] for arm, row in chosen.items()})
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


def test_branches(plan: Plan, out: Path, seeds: int, alphas: Mapping[str, float]) -> list[list[Branch]]:
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
        for seed in range(min(seeds, SCRATCH)) for arm in ("A", "B", "C")
    ]  # fmt: skip
    return [main, rounding, scratch, others]
