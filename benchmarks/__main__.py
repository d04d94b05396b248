"""Ours beside the libraries that a user would pick instead: one command, one table.

    python -m benchmarks [FAMILY ...] [--quick] [--threads N] [--cpu-seconds] [--out FOLDER]

Ours and peers run in one process, with equal numbers of threads. On a machine that others use as well take
``--threads 1 --cpu-seconds``: the seconds are then those of the processor. The table goes to ``benchmarks.md`` and
``benchmarks.json`` in the folder ``results``; families that were not run keep their last rows.
"""

import argparse
import datetime
import importlib
import json
import os
import platform
import sys
import time
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks import timing
from benchmarks.timing import DisagreementError, Row

FAMILIES = ("maps", "metrics", "data", "inference", "training", "start_up", "viewer", "gpu")
PACKAGES = ("lrnet_edu", "torch", "numpy", "scipy", "edt", "connected-components-3d", "torchio", "monai", "medpy",
            "surface-distance", "simpleitk")  # fmt: skip
REACHED = {True: "yes", False: "NO", None: ""}
RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    """Run the families that the command line names, print their rows, write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n")[0])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"of {', '.join(FAMILIES)}; all without one")
    parser.add_argument("--quick", action="store_true", help="small sizes, and nothing is written without --out")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of ours and of every peer")
    parser.add_argument("--cpu-seconds", action="store_true", help="count the processor's seconds, for a busy machine")
    parser.add_argument("--out", type=Path, help="folder for the table")
    given = parser.parse_args()
    if unknown := set(given.families) - set(FAMILIES):
        parser.error(f"there is no family {', '.join(sorted(unknown))}: choose of {', '.join(FAMILIES)}")
    torch.set_num_threads(given.threads)  # our distance maps and the recipe with edt ask torch
    if itk := timing.installed("SimpleITK"):
        itk.ProcessObject.SetGlobalDefaultNumberOfThreads(given.threads)
    if given.cpu_seconds:
        timing.clock = timing.cpu_seconds
    out = given.out or (None if given.quick else RESULTS)
    for family in [name for name in FAMILIES if name in (given.families or FAMILIES)]:
        print(f"\n{family}")
        try:
            record = run(family, given.quick)
        except DisagreementError as error:
            sys.exit(f"The results do not agree, so no time counts. {error}")
        if out is not None and record["rows"]:
            write(out, family, record)


def run(family: str, quick: bool) -> dict[str, Any]:
    """The rows of a family, with all that is needed to make them again."""
    started = time.perf_counter()
    found = []
    for row in importlib.import_module(f"benchmarks.{family}").rows(quick):
        if quick:
            row.target, row.reached = "", None  # they are meant for full sizes
        print("  " + " | ".join(cells(row)), flush=True)
        found.append({**asdict(row), "ratios": {name: row.ratio(name) for name in row.peers if row.peers[name]}})
    return {
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "device": device(),
        "threads": torch.get_num_threads(),
        "clock": "CPU seconds" if timing.clock is timing.cpu_seconds else "wall-clock seconds",
        "versions": {package: version(package) for package in PACKAGES},
        "seconds": round(time.perf_counter() - started),
        "rows": found,
    }


def device() -> str:
    """Processor and cores; the GPU where there is one."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    for line in info.read_text("utf-8").splitlines() if info.exists() else []:
        model = line.split(":")[1].strip() if line.startswith("model name") else model
    gpu = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return ", ".join([model, f"{os.cpu_count()} cores", *gpu])


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


# ---- the table ------------------------------------------------------------------------------------------------


def write(folder: Path, family: str, record: dict[str, Any]) -> None:
    """Put a family's record into the JSON file, and write the table of all families there are."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "benchmarks.json"
    records = json.loads(path.read_text("utf-8")) if path.exists() else {}
    records[family] = record
    records = {name: records[name] for name in FAMILIES if name in records}
    path.write_text(json.dumps(records, indent=2) + "\n", "utf-8")
    text = ["# Ours beside what a user would pick instead", ""]
    text += ["A ratio above 1 says how many times better ours is. Agreement is the largest difference of the results."]
    for name, one in records.items():
        versions = ", ".join(f"{package} {number}" for package, number in one["versions"].items())
        text += ["", f"## {name}", "", f"`{one['command']}` on {one['device']}, {one['threads']} thread(s), "
                 f"{one['clock']}, {one['date']}, {one['seconds']} s; {versions}.", ""]  # fmt: skip
        text += ["| work | ours | peers (ratio) | agreement | to reach | reached |", "|---|---|---|---|---|---|"]
        rows = [Row(**{key: value for key, value in row.items() if key != "ratios"}) for row in one["rows"]]
        notes = list(dict.fromkeys(row.note for row in rows if row.note))
        for row in rows:
            row.work += f" ({notes.index(row.note) + 1})" if row.note else ""
            text.append(f"| {' | '.join(cells(row))} |")
        text += [f"\n({number}) {note}" for number, note in enumerate(notes, start=1)]
    (folder / "benchmarks.md").write_text("\n".join(text) + "\n", "utf-8")


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table in words."""
    peers = "; ".join(
        f"{name} not installed" if value is None else f"{name} {figure(value, row.unit)} ({row.ratio(name):.3g})"
        for name, value in row.peers.items()
    )
    return row.work, figure(row.ours, row.unit), peers, row.agreement, row.target, REACHED[row.reached]


def figure(value: float, unit: str) -> str:
    if unit == "s" and value < 1:
        return f"{1000 * value:.3g} ms"
    return f"{value:.3g} {unit}".strip()


if __name__ == "__main__":
    main()
