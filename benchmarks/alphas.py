"""Which alpha for a fresh M-Net, and must Dice come first? For each kind of map, on validation phantoms alone.

    python -m benchmarks.alphas DIR [ROW ...] [--workers N]

DIR is a folder for the phantoms and records; that of ``lrnet-edu reproduce study`` has the phantoms already. Every row
is trained from fresh weights with two seeds, and gives the study's primary endpoint on its validation phantoms, cut to
the liver's box. The table goes to ``results/alphas.md``.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lrnet_edu.kinds import KINDS
from lrnet_edu.study.branches import VALIDATION, Branch, Scans, do_branch, prepare_scans
from lrnet_edu.study.evidence import endpoints
from lrnet_edu.study.page import table
from lrnet_edu.study.protocol import Plan, study_plan
from lrnet_edu.study.trainings import read_record
from lrnet_edu.support.files import write_atomically
from lrnet_edu.support.jobs import in_processes

RESULTS = Path(__file__).parents[1] / "results"
STEPS = 2400
QUARTER = STEPS // 4  # of Dice alone, as `lrnet-edu train` begins
BOTH = {"method": "dice+lrnet"}
ROWS: dict[str, dict[str, Any]] = {
    "dice": {"method": "dice"},
    **{f"ni-dm-{alpha:g}": {**BOTH, "alpha": alpha, "warmup_steps": 0} for alpha in (10.0, 100.0, 1000.0)},
    **{f"{kind.lower()}-{row.alpha:g}-after-dice": {**BOTH, "kind": kind, "alpha": row.alpha, "warmup_steps": QUARTER}
       for kind, row in KINDS.items()},
    "sni-dm-10-after-dice": {**BOTH, "kind": "SNI-DM", "alpha": 10.0, "warmup_steps": QUARTER},  # the authors'
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alphas", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    out, plan = arguments.folder, study_plan()
    scans = prepare_scans(out, plan, workers=arguments.workers, say=print)
    jobs = [(scans, out, branch) for name in arguments.rows or ROWS for branch in branches_of(plan, name)]
    for line in in_processes(do, jobs, arguments.workers):
        print(line, flush=True)
    before = json.loads((RESULTS / "alphas.json").read_text())  # rows that DIR does not hold stay as they are
    found = {name: {int(seed): tuple(values) for seed, values in row.items()} for name, row in before.items()}
    for name in ROWS:
        records = {branch.seed: read_record(out, branch) for branch in branches_of(plan, name)}
        if finished := {seed: figures(record) for seed, record in records.items() if record}:
            found[name] = found.get(name, {}) | finished
    write({name: found[name] for name in ROWS if name in found}, plan.selection_seeds)


def branches_of(plan: Plan, name: str) -> list[Branch]:
    """A row with each of the two seeds."""
    return [
        Branch(f"fresh-{name}", seed, replace(plan.base(2000 + seed, STEPS), **ROWS[name]), cells=(VALIDATION,))
        for seed in plan.selection_seeds
    ]


def do(scans: Scans, out: Path, branch: Branch) -> str:
    """Train and score one of them, in a process of its own; returns what to print."""
    error = ""
    if read_record(out, branch) is None:
        error = do_branch(scans, out, None, branch)
    return f"{branch.name}: {error or figures(read_record(out, branch) or {})}"


def figures(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """The primary endpoint, and at p > 0.5 the DC and the false lesions a case."""
    found = endpoints(record["cells"]["/".join(VALIDATION)])
    return tuple(found[name] for name in ("mean lesion Dice", "DC", "false lesions"))


def write(found: Mapping[str, Mapping[int, tuple[Any, ...]]], seeds: Sequence[int]) -> None:
    """``results/alphas.md`` and ``.json``; a row that has one of the seeds shows that one."""
    lines = []
    for name, row in found.items():
        score, dc, false = np.mean(list(row.values()), axis=0)
        each = [f"{row[seed][0]:.3f}" if seed in row else "–" for seed in seeds]
        lines.append([title(name), *each, f"{score:.3f}", f"{dc:.3f}", f"{false:.1f}"])
    page = (
        "# Which alpha for a fresh M-Net?\n\n"
        "Written by `python -m benchmarks.alphas`. Not a test: the two seeds that chose the study's alpha, on its 15\n"
        f"validation phantoms, cut to the liver's box. {STEPS} steps from fresh weights. The figure is the study's\n"
        "primary endpoint, mean lesion Dice of 0.25 to 5 ml at LUNA16's rates; the last two columns are at p > 0.5.\n"
        "DC is the mean of the twelve phantoms with lesions. A network that finds nothing has a DC of 0 and no false\n"
        "lesion: where a seed is near 0, the last two columns are about half of the other seed's.\n\n"
        + table(["Loss", *(f"seed {seed}" for seed in seeds), "mean", "DC", "false lesions a case"], lines) + "\n"
    )  # fmt: skip
    write_atomically(RESULTS / "alphas.md", page.encode())
    rounded = {name: {seed: np.round(row[seed], 4).tolist() for seed in row} for name, row in found.items()}
    write_atomically(RESULTS / "alphas.json", (json.dumps(rounded, indent=1) + "\n").encode())


def title(name: str) -> str:
    row = ROWS[name]
    if row["method"] == "dice":
        return "Dice"
    late = f", after {row['warmup_steps']} steps of Dice alone" if row["warmup_steps"] else ""
    return f"Dice + {row['alpha']:g} LR-Net ({row.get('kind', 'NI-DM')}){late}"


if __name__ == "__main__":
    main()
