"""Many trainings, of a table or of the study: shared by processes, each leaving one record when it is finished.

A record is one small file in ``branches/``, written whole, and its training is never repeated; one that was stopped
goes on from its last validation in ``runs/``. So the commands may be stopped at any moment and called again.
"""

import gzip
import hashlib
import json
import os
import platform
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from lrnet_edu import __version__
from lrnet_edu.config import Config
from lrnet_edu.data.study import Study
from lrnet_edu.methods import METHODS, lrnet_of
from lrnet_edu.mnet_training import train_run
from lrnet_edu.study.protocol import falling_rate
from lrnet_edu.support.devices import choose_device
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.files import changed_settings, write_atomically
from lrnet_edu.support.jobs import in_processes, one_thread


@dataclass(frozen=True)
class Training:
    """One training of a table or of the study.

    Attributes:
        arm: the key of a table's row, or an arm of the study.
        seed: of its first weights and its patches.
        config: of the training.
        scans: what tells the scans from others, as JSON holds it; empty in the study, which makes its own.
    """

    arm: str
    seed: int
    config: Config
    scans: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For files."""
        return f"{self.arm}_seed-{self.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the result, as JSON holds it: of the start only whether there is one, of the LR-Net a hash."""
        weights = lrnet_of(self.config).state_dict().values() if METHODS[self.config.method].uses_lrnet else ()
        digest = hashlib.sha256(b"".join(w.numpy().tobytes() for w in weights)).hexdigest() if weights else None
        start = self.config.start is not None
        return json.loads(json.dumps({**asdict(self.config), "start": start, "lrnet": digest, **self.scans}))


def record_path(out: Path, training: Training) -> Path:
    """Where a training leaves its record."""
    return out / "branches" / f"{training.name}.json.gz"


def read_record(out: Path, training: Training) -> dict[str, Any] | None:
    """What a finished training wrote, None if it is not finished; InputError for another one's record, or damage."""
    path, now = record_path(out, training), training.settings
    if not path.exists():
        return None
    try:
        record = json.loads(gzip.decompress(path.read_bytes()))
        before = dict(record["config"])
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError):
        raise InputError(f"{path} is damaged; remove it, and the training is done again.") from None
    if changed := [name for name, value in before.items() if now.get(name) != value]:
        other = f"with other settings ({changed_settings(changed, before, now)})"
        other = "from other scans" if set(changed) <= set(training.scans) else other
        raise InputError(f"{path} was made {other}; name another folder.")
    return record


def finished_records(out: Path, trainings: Sequence[Training]) -> list[dict[str, Any]]:
    """The records of those trainings that are finished."""
    return [record for training in trainings if (record := read_record(out, training))]


def run_trainings(
    out: Path, trainings: Sequence[Training], work: Callable[[Any], str], *, workers: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """All records, the missing ones made first by ``work``, which is :func:`train_and_record` of a training.

    Raises:
        InputError: if a training failed, after the others are finished; or a record is another training's.
    """
    todo = [training for training in trainings if read_record(out, training) is None]
    started, errors, done = time.perf_counter(), [], len(trainings) - len(todo)
    for i, error in enumerate(in_processes(work, [(one,) for one in todo], workers), start=1):
        minutes = (time.perf_counter() - started) / i * (len(todo) - i) / 60
        say(f"{done + i} of {len(trainings)} trainings; about {minutes:.0f} min left. {error}".rstrip())
        errors += [error] if error else []
    if errors:
        raise InputError(f"{len(errors)} of {len(trainings)} trainings failed, the first with: {errors[0]}")
    return finished_records(out, trainings)


def train_and_record(
    training: Training, study: Study, out: Path, device: str | None,
    test: Callable[[Path, torch.device], dict[str, Any]],
) -> str:  # fmt: skip
    """Train, test, and write the record, to which ``test`` adds what the run folder's network scores.

    Returns what went wrong, or nothing.
    """
    place, folder = choose_device(device), out / "runs" / training.name
    try:
        with one_thread(place):
            state = train_run(study, training.config, folder, device=device, resume=True, rate=falling_rate)
            started, tested, device_used = time.process_time(), test(folder, place), device_name(place)
    except InputError as error:
        return f"{training.name}: {error}"
    record = {
        "arm": training.arm, "seed": training.seed, "config": training.settings, "log": state.rows,
        "cpu_seconds": round(state.cpu_seconds + time.process_time() - started, 1), "device": device_used,
        "versions": versions(), **tested,
    }  # fmt: skip
    content = gzip.compress(json.dumps(record, allow_nan=False).encode(), mtime=0)
    write_atomically(record_path(out, training), content)
    return ""


def device_name(device: torch.device) -> str:
    """The device in words, for the record."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} of {os.cpu_count()} cores)"


def versions() -> dict[str, str]:
    """Of this package, Python and the libraries that compute."""
    packages = {name: metadata.version(name) for name in ("torch", "numpy", "scipy")}
    return {"lrnet_edu": __version__, "python": platform.python_version(), **packages}
