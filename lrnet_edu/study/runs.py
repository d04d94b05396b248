"""Tables 1 and 2 with our own numbers: every row trained from the same seeds, tested once, compared case by case.

A run is one row with one seed. What it scored is ``scores/ROW_seed-K.json``, written whole when the run is finished,
so the command may be stopped at any moment: a finished run is never repeated, and the one in hand goes on from its
last checkpoint in ``runs/``. All tables share one folder, and the rows that they have in common.

Every row has the same backbone and first weights, the same patches in the same order and the same number of steps,
its warm-up included. The weights with the best validation DC are tested, once. Frozen LR-Nets are the ones that ship:
no scan taught them.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lrnet_edu import __version__
from lrnet_edu.config import Config
from lrnet_edu.data.nifti import read_mask
from lrnet_edu.data.study import PARTS, Study, open_study, read_split
from lrnet_edu.methods import METHODS
from lrnet_edu.mnet_training import train_run
from lrnet_edu.study.rows import TABLES, Row
from lrnet_edu.study.scoring import predicted_cases
from lrnet_edu.study.table import write_table
from lrnet_edu.support.checks import check_whole
from lrnet_edu.support.devices import choose_device
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import abbreviated, changed_settings, folder_lock, read_json, write_atomically
from lrnet_edu.support.jobs import in_processes, one_thread
from lrnet_edu.support.labels import encode, format_labels
from lrnet_edu.trained import load_mnet


@dataclass(frozen=True)
class Run:
    """One row of a table with one seed: trained in ``folder``, and finished once there is a file ``scores``."""

    row: Row
    config: Config
    out: Path

    @property
    def title(self) -> str:
        return f"{self.row.title}{f' ({self.row.map_name})' if self.row.map_name else ''}, seed {self.config.seed}"

    @property
    def folder(self) -> Path:
        return self.out / "runs" / self.row.key / f"seed-{self.config.seed}"

    @property
    def scores(self) -> Path:
        return self.out / "scores" / f"{self.row.key}_seed-{self.config.seed}.json"


def reproduce(
    table: str, data: str | Path, out: str | Path, config: Config, *, seeds: int = 3, workers: int = 1,
    device: str | None = None, command: str = "", say: Callable[[str], None] = print,
) -> dict[str, Any]:  # fmt: skip
    """Run what is missing of a table, and write the table from what is there.

    Args:
        table: a key of ``TABLES``, "table1" or "table2".
        data: folder of scans, as for a training.
        out: folder for everything: ``scores/``, ``runs/`` and ``TABLE.json``, ``.csv``, ``.md`` and ``.png``.
        config: what all rows share; its method, map and seed do not matter.
        seeds: how many, from 0 on.
        workers: processes that share the runs, on a CPU each with one core.
        device: as for a training; None takes the best there is.
        command: how this was called, for the record.
        say: where the progress goes, a line at a time.

    Returns:
        What ``TABLE.json`` holds (:func:`lrnet_edu.study.table.build_table`).

    Raises:
        InputError: if there is nothing to compare, the folder holds runs of other settings or scans, or a run failed;
            the other runs are finished first.
    """
    if table not in TABLES:
        raise InputError(f"There is no table {table!r}; choose one of {', '.join(TABLES)}.")
    check_whole("seeds", seeds, least=1)
    check_whole("workers", workers, least=1)
    choose_device(device)
    if "," in config.label:
        raise InputError(f'"{config.label}" names several objects and a table shows one; join them by + or choose one.')
    data, out = Path(data), Path(out)
    # Seed by seed all rows, so that what is finished early can be compared.
    runs = [Run(row, run_config(config, row, seed), out) for seed in range(seeds) for row in TABLES[table].rows]
    study = open_study(data, config)
    say(study.describe())
    voxels = object_voxels(study)

    with folder_lock(out), folder_lock(out / "scores"):
        pin_split(out, study)
        todo = [run for run in runs if read_record(run, study, voxels) is None]
        try:
            started, failed, done = time.perf_counter(), [], len(runs) - len(todo)
            jobs = [(study, run, device) for run in todo]
            for i, (title, seconds, error) in enumerate(in_processes(do_run, jobs, workers), start=1):
                failed += [error] if error else []
                left = duration((time.perf_counter() - started) / i * (len(todo) - i))
                outcome = f"failed: {error}" if error else f"{seconds:.0f} s"
                say(f"{done + i} of {len(runs)} runs: {title}, {outcome}; about {left} left.")
        finally:  # also when it is stopped: the table of what there is
            facts = {"command": command, "data": str(data), "cases": {part: len(study.split[part]) for part in PARTS}}
            records = [record for run in runs if (record := read_record(run, study, voxels))]
            result = write_table(out, table, records, seeds=range(seeds), facts=facts) if records else {}
    if failed:
        raise InputError(f"{len(failed)} of {len(runs)} runs failed, the first with: {failed[0]}")
    return result


def run_config(config: Config, row: Row, seed: int) -> Config:
    """The settings of one run. No run ends before its steps are used up: every row gets the same number."""
    settings = replace(config, method=row.method, kind=row.kind, activation=row.activation, alpha=row.alpha, seed=seed,
                       convergence_patience=config.steps)  # fmt: skip
    return settings if METHODS[row.method].uses_lrnet else replace(settings, warmup_steps=None)


def pin_split(out: Path, study: Study) -> None:
    """Write ``split.json``, or make sure that the folder's runs saw the same cases in the same parts."""
    path = out / "split.json"
    if not path.exists():
        write_atomically(path, json.dumps(study.split, indent=2).encode())
    elif read_split(path, [name for part in study.split.values() for name in part]) != study.split:
        raise InputError(f"{out} holds runs on other cases; name another folder.")


def object_voxels(study: Study) -> dict[str, int]:
    """How many voxels of the object each test case's mask holds; InputError if there is none to compare by."""
    voxels = {}
    for name in study.split["test"]:
        mask = study.cases[name].mask
        assert mask is not None
        voxels[name] = int(np.count_nonzero(encode(read_mask(mask).data, study.labels)))
    if not any(voxels.values()):
        without = f"No test case ({abbreviated(list(voxels))}) holds label {format_labels(study.labels)}"
        raise InputError(f"{without}, so there is nothing to compare; add cases that hold it.")
    return voxels


def read_record(run: Run, study: Study, voxels: Mapping[str, int]) -> dict[str, Any] | None:
    """What a finished run wrote, None if it is not finished; InputError for other settings or scans, or damage."""
    path = run.scores
    if not path.exists():
        return None
    try:
        record = read_json(path)
        before, grid = dict(record["config"]), record["preprocessing"]
        seen = {case["case"]: case["reference_voxels"] for case in record["cases"]}
        if (record["row"], record["seed"]) != (run.row.key, run.config.seed):
            raise ValueError("another run")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} is damaged; remove it, and the run is done again.") from None
    now, grid_now = (json.loads(json.dumps(asdict(settings))) for settings in (run.config, study.preprocessing))
    if changed := [name for name, value in before.items() if now.get(name) != value]:
        what = changed_settings(changed, before, now)
        raise InputError(f"{path} was run with other settings ({what}); name another folder.")
    if seen != voxels or grid != grid_now:
        raise InputError(f"{run.out} holds runs on other scans; name another folder.")
    return record


def do_run(study: Study, run: Run, device: str | None) -> tuple[str, float, str]:
    """Train and test one run; returns its title, seconds, and what went wrong, for a run that failed."""
    place = choose_device(device)
    try:
        with one_thread(place):
            state = train_run(study, run.config, run.folder, device=device, resume=True)
            started = time.perf_counter()
            cases = [case.record() for case in predicted_cases(study, load_mnet(run.folder), place)]
    except InputError as error:
        return run.title, 0.0, str(error)
    seconds = {"training": round(state.seconds, 1), "test": round(time.perf_counter() - started, 1)}
    record = {
        "row": run.row.key,
        "seed": run.config.seed,
        "schedule": schedule(run.config),
        "steps": state.step,
        "best_step": state.best_step,
        "validation_DC": state.best_score,
        "seconds": seconds,
        "device": device_name(place),
        "versions": versions(),
        "config": asdict(run.config),
        "preprocessing": asdict(study.preprocessing),
        "cases": cases,
    }
    write_atomically(run.scores, (json.dumps(record, indent=1, allow_nan=False) + "\n").encode())
    with suppress(OSError):  # of a finished run it is not needed, and is three times as large as the weights
        (run.folder / "last.safetensors").unlink()
    return run.title, sum(seconds.values()), ""


def schedule(config: Config) -> str:
    """How a run is trained, in words: the same number of steps in every row."""
    phases = METHODS[config.method].schedule(config)
    return ", then ".join(f"{steps} steps of {what}" for steps, what in phases if steps)


def duration(seconds: float) -> str:
    """ "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def device_name(device: torch.device) -> str:
    """The device in words, for the record."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, 1 of {os.cpu_count()} cores)"


def versions() -> dict[str, str]:
    packages = {name: metadata.version(name) for name in ("torch", "numpy", "scipy")}
    return {"lrnet_edu": __version__, "python": platform.python_version(), **packages}
