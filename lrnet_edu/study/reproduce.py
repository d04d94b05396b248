"""``lrnet-edu reproduce table1|table2``: a table of the paper is a list of trainings, then what these say.

Its rows have the same backbone and first weights, the same patches in the same order and the same number of steps, the
warm-up included; the learning rate falls along a cosine to 0. The weights with the best validation DC are tested, once.
Tables may share one folder, and the rows that they have in common.

Frozen LR-Nets are the ones that ship: no scan taught them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lrnet_edu.config import Config
from lrnet_edu.data.baseline import location_baseline
from lrnet_edu.data.nifti import Volume, read_image
from lrnet_edu.data.study import PARTS, Study, open_study
from lrnet_edu.figures import Picture, differing_slices, results_figure
from lrnet_edu.kinds import ALONE, KINDS
from lrnet_edu.methods import METHODS
from lrnet_edu.metrics import none_if_nan
from lrnet_edu.study.rows import CHOOSING_SEED, FAMILIES, LEARNING_RATES, TABLES, Row
from lrnet_edu.study.scoring import cases_of_part, predictions
from lrnet_edu.study.table import write_table
from lrnet_edu.study.trainings import Training, finished_records, run_trainings, train_and_record
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import folder_lock
from lrnet_edu.trained import load_mnet

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
            tried = rate_trainings(config, dict.fromkeys(row.family for row in rows), scans)
            chosen |= choose_rates(tried, do(tried))
            # Seed by seed all rows, so that what is finished early can be compared.
            trainings += [Training(row.key, seed, row_config(config, row, seed, chosen), scans)
                          for seed in range(seeds) for row in rows]  # fmt: skip
            do(trainings)
            for one, record in zip(chosen.values(), do(twice_as_long(config, chosen, scans)), strict=True):
                one["twice"] = best_dc(record)
        finally:  # also when it is stopped: the table of what there is
            facts = {"command": command, "data": str(data), "cases": {part: len(study.split[part]) for part in PARTS},
                     "alpha, if none is given": {kind: f"{row.alpha:g}" for kind, row in KINDS.items()},
                     "alpha, alone or of SmoothL1(p, mask)": f"{ALONE:g}"}  # fmt: skip
            records = finished_records(out, trainings)
            location = none_if_nan(location_baseline(study.cached["train"], study.cached["test"], 1)[0])
            result = write_table(
                out, table, records, seeds=range(seeds), facts=facts, location=location, chosen=chosen,
                pictures=figure_3(study, out, [row for row in rows if row.key in FIG_3]),
            ) if records else {}  # fmt: skip
    return result


def rate_trainings(config: Config, families: Iterable[str], scans: dict[str, Any]) -> list[Training]:
    """Who chooses a family's learning rate, with each of them."""
    return [
        Training(f"{family}_{method}_rate-{rate:g}", CHOOSING_SEED,
                 row_config(config, Row(method), CHOOSING_SEED, {family: {"method": method, "rate": rate}}), scans)
        for family in families for method in FAMILIES[family] for rate in LEARNING_RATES
    ]  # fmt: skip


def choose_rates(trainings: Sequence[Training], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """For each family the "method" and "rate" with the best "validation" DC; "chosen" is the name of both."""
    chosen: dict[str, Any] = {}
    for training, record in zip(trainings, records, strict=True):
        family, name = training.arm.split("_", 1)
        one = chosen.setdefault(family, {"validation": {}})
        dc = best_dc(record)
        if dc > max(one["validation"].values(), default=-1.0):
            one |= {"method": training.config.method, "rate": training.config.learning_rate, "chosen": name}
        one["validation"][name] = dc
    return chosen


def row_config(config: Config, row: Row, seed: int, chosen: Mapping[str, Any]) -> Config:
    """The settings of a row. No training ends before its steps are used up: every row gets the same number."""
    one = chosen[row.family]
    method = one["method"] if row.method == "wce" else row.method
    settings = replace(config, method=method, kind=row.kind, activation=row.activation, alpha=row.alpha, seed=seed,
                       learning_rate=one["rate"], convergence_patience=config.steps)  # fmt: skip
    settings = replace(settings, alpha=METHODS[method].alpha(settings))  # in the record, lest a default changes
    return settings if METHODS[method].warms_up else replace(settings, warmup_steps=None)


def best_dc(record: Mapping[str, Any]) -> float:
    """The best validation DC of a training."""
    return max(row["score"] for row in record["log"])


def twice_as_long(config: Config, chosen: Mapping[str, Any], scans: dict[str, Any]) -> list[Training]:
    """The trainings that were chosen, one for each family, with twice the steps: had they converged?"""
    longer = replace(config, steps=2 * config.steps)
    return [Training(f"{one['method']}-twice", CHOOSING_SEED,
                     row_config(longer, Row(one["method"]), CHOOSING_SEED, chosen), scans)
            for one in chosen.values()]  # fmt: skip


def do_row(study: Study, out: Path, device: str | None, training: Training) -> str:
    """Train, test and record a row with one seed; returns what went wrong, or nothing."""

    def test(folder: Path, place: torch.device) -> dict[str, Any]:
        if training.seed == CHOOSING_SEED:  # it chooses, and is not tested
            return {}
        return {"cases": [one.record() for one in predictions(load_mnet(folder, place), cases_of_part(study, "test"))]}

    error = train_and_record(training, study, out, device, test)
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
    scan = read_image(case[0].image)
    arrays = [next(iter(found.values())).wanted, *(one.p > 0.5 for one in found.values())]
    wanted, *masks = (Volume(array, scan.affine).oriented("RAS").data for array in arrays)  # as figures show them
    scan, slices = scan.oriented("RAS"), differing_slices([wanted, *masks])
    return {"found": results_figure(scan.data, wanted, dict(zip(found, masks, strict=True)), scan.spacing, slices)}
