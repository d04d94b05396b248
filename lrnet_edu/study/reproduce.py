"""``lrnet-edu reproduce``: a table of the paper, or the study. Both are lists of trainings, then what these say.

A table's rows have the same backbone and first weights, the same patches in the same order and the same number of
steps, the warm-up included; the learning rate falls along a cosine to 0. The weights with the best validation DC are
tested, once. Tables may share one folder, and the rows that they have in common. docs/study_protocol.md is what the
study follows.

Frozen LR-Nets are the ones that ship: no scan taught them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lrnet_edu.config import Config
from lrnet_edu.data.baseline import location_baseline
from lrnet_edu.data.nifti import read_image
from lrnet_edu.data.study import PARTS, Study, open_study
from lrnet_edu.figures import Picture, differing_slices, results_figure
from lrnet_edu.kinds import KINDS
from lrnet_edu.methods import BASELINE, METHODS
from lrnet_edu.metrics import none_if_nan
from lrnet_edu.study.branches import VALIDATION, Branch, do_branch, prepare_scans
from lrnet_edu.study.evidence import endpoint, write_evidence
from lrnet_edu.study.protocol import ARMS, PRIMARY_CELL, REPEATS, SCRATCH, SETS, VIEWS, Plan, falling_rate, study_plan
from lrnet_edu.study.rows import CHOOSING_SEED, CROSS_ENTROPY, FAMILIES, RATES, TABLES, Row
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
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import folder_lock
from lrnet_edu.trained import load_mnet

# ---- tables -----------------------------------------------------------------------------------------------------

FIG_3 = ("dice", "mapdice", "lrnet_NI-DM", "dice+lrnet_NI-DM", "mapdice+lrnet_NI-DM")  # its columns, by their rows


def reproduce_table(
    table: str, data: str | Path, out: str | Path, config: Config, *, seeds: int = 3, workers: int = 1,
    device: str | None = None, command: str = "", say: Callable[[str], None] = print,
) -> dict[str, Any]:  # fmt: skip
    """Do what is missing of a table, and write the table from what is there.

    First the learning rate of each family of losses is chosen on the validation cases, with a seed of its own.

    Args:
        table: a key of ``TABLES``, "table1" or "table2".
        data: folder of scans, as for a training.
        out: folder for everything: ``branches/`` (records), ``runs/`` and ``TABLE.json``, ``.md`` and its pictures.
        config: what all rows share; its method, map, rate and seed do not matter.
        seeds: how many, from 0 on.
        workers: processes that share the trainings, on a CPU each with one core.
        device: as for a training; None takes the best there is.
        command: how this was called, for the record.
        say: where the progress goes, a line at a time.

    Returns:
        What ``TABLE.json`` holds (:func:`lrnet_edu.study.table.build_table`); nothing before the first row was tested.

    Raises:
        InputError: if there is nothing to compare, the folder holds trainings of other settings or scans, or one
            failed; the others are finished first.
    """
    if table not in TABLES:
        raise InputError(f"There is no table {table!r}; choose one of {', '.join(TABLES)} or the study.")
    if "," in config.label:
        raise InputError(f'"{config.label}" names several objects and a table shows one; join them by + or choose one.')
    out, study, rows = Path(out), open_study(Path(data), config), TABLES[table].rows
    say(study.describe())
    if not any(len(case.foreground[0]) for case in study.cached["test"]):
        raise InputError(f"No test case holds label {config.label}, so there is nothing to compare; add some that do.")
    voxels = {part: {case.name: len(case.foreground[0]) for case in study.cached[part]} for part in PARTS}
    scans = {"preprocessing": asdict(study.preprocessing), "voxels": voxels}
    trainings: list[Training] = []
    chosen: dict[str, Any] = {}
    with folder_lock(out):
        do = partial(run_trainings, out, work=partial(do_row, study, out, device), workers=workers, say=say)
        try:
            tried = rate_trainings(config, dict.fromkeys(family_of(row) for row in rows), scans)
            chosen |= choose_rates(tried, do(tried))
            # Seed by seed all rows, so that what is finished early can be compared.
            trainings += [Training(row.key, seed, row_config(config, row, seed, chosen), scans)
                          for seed in range(seeds) for row in rows]  # fmt: skip
            do(trainings)
            if BASELINE in (row.key for row in rows):
                chosen["twice"] = gain_of_twice_the_steps(config, chosen, scans, do)
        finally:  # also when it is stopped: the table of what there is
            facts = {"command": command, "data": str(data), "cases": {part: len(study.split[part]) for part in PARTS},
                     "alpha, if none is given": {kind: f"{row.alpha:g}" for kind, row in KINDS.items()}}  # fmt: skip
            records = finished_records(out, trainings)
            location = none_if_nan(location_baseline(study.cached["train"], study.cached["test"], 1)[0])
            result = write_table(
                out, table, records, seeds=range(seeds), facts=facts, location=location, chosen=chosen,
                pictures=figure_3(study, out, [row for row in rows if row.key in FIG_3]),
            ) if records else {}  # fmt: skip
    return result


def family_of(row: Row) -> str:
    """The family of losses that shares a learning rate."""
    if METHODS[row.method].warms_up:
        return "regression"
    return "cross-entropy" if row.method in CROSS_ENTROPY else "overlap"


def rate_trainings(config: Config, families: Iterable[str], scans: dict[str, Any]) -> list[Training]:
    """Who chooses a family's learning rate, with each of them."""
    return [
        Training(f"{family}_{method}_rate-{rate:g}", CHOOSING_SEED,
                 row_config(config, Row(method), CHOOSING_SEED, {family: {"method": method, "rate": rate}}), scans)
        for family in families for method in FAMILIES[family] for rate in RATES
    ]  # fmt: skip


def choose_rates(trainings: Sequence[Training], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """For each family the "method" and "rate" with the best "validation" DC; "chosen" is the name of both."""
    chosen: dict[str, Any] = {}
    for training, record in zip(trainings, records, strict=True):
        family, name = training.arm.split("_", 1)
        one = chosen.setdefault(family, {"validation": {}})
        dc = max(row["score"] for row in record["log"])
        if dc > max(one["validation"].values(), default=-1.0):
            one |= {"method": training.config.method, "rate": training.config.learning_rate, "chosen": name}
        one["validation"][name] = dc
    return chosen


def row_config(config: Config, row: Row, seed: int, chosen: Mapping[str, Any]) -> Config:
    """The settings of a row. No training ends before its steps are used up: every row gets the same number."""
    one = chosen[family_of(row)]
    method = one["method"] if row.method == "wce" else row.method
    settings = replace(config, method=method, kind=row.kind, activation=row.activation, alpha=row.alpha, seed=seed,
                       learning_rate=one["rate"], convergence_patience=config.steps)  # fmt: skip
    settings = replace(settings, alpha=METHODS[method].alpha(settings))  # in the record, lest a default changes
    return settings if METHODS[method].warms_up else replace(settings, warmup_steps=None)


def gain_of_twice_the_steps(
    config: Config, chosen: Mapping[str, Any], scans: dict[str, Any], do: Callable[..., list[dict[str, Any]]]
) -> list[float]:
    """The best validation DC of M-Net + Dice, and that after twice the steps."""
    settings = row_config(config, Row(BASELINE), CHOOSING_SEED, chosen)
    twice = replace(settings, steps=2 * settings.steps, convergence_patience=2 * settings.steps)
    (longer,) = do([Training(f"{BASELINE}-twice", CHOOSING_SEED, twice, scans)])
    once = chosen["overlap"]["validation"][chosen["overlap"]["chosen"]]
    return [once, max(row["score"] for row in longer["log"])]


def do_row(study: Study, out: Path, device: str | None, training: Training) -> str:
    """Train, test and record a row with one seed; returns what went wrong, or nothing."""

    def test(folder: Path, place: torch.device) -> dict[str, Any]:
        if training.seed == CHOOSING_SEED:  # it chooses, and is not tested
            return {}
        return {"cases": [one.record() for one in predictions(load_mnet(folder, place), cases_of_part(study, "test"))]}

    error = train_and_record(training, study, out, device, test, falling_rate)
    if not error:  # what a training goes on from is three times as large as its weights
        (out / "runs" / training.name / "last.safetensors").unlink(missing_ok=True)
    return error


def figure_3(study: Study, out: Path, rows: Sequence[Row]) -> dict[str, Picture]:
    """What the paper's five M-Nets, those of seed 0, find in the test case with most lesion voxels."""
    runs = {row.title: out / "runs" / f"{row.key}_seed-0" for row in rows}
    runs = {title: run for title, run in runs.items()  # that are finished
            if (run / "best.safetensors").exists() and not (run / "last.safetensors").exists()}  # fmt: skip
    case = max(cases_of_part(study, "test"), key=lambda one: len(one[1].foreground[0]))
    found = {title: next(predictions(load_mnet(run), [case])) for title, run in runs.items()}
    if not found:
        return {}
    scan, wanted = read_image(case[0].image), next(iter(found.values())).wanted
    masks = {title: one.p > 0.5 for title, one in found.items()}
    slices = differing_slices([wanted, *masks.values()])
    return {"found": results_figure(scan.data, wanted, masks, scan.spacing, slices)}


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
        for seed in range(seeds) for arm, most in SCRATCH.items() if seed < most
    ]  # fmt: skip
    return [main, rounding, scratch, others]
