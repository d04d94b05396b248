"""Damaged checkpoints, split.json, config.json, dataset.json and scores against what reads them."""

from __future__ import annotations

import json
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from bounds import files_in, outcome
from damaged_settings import damaged_checkpoint, damaged_json
from scans import checkpoint, lits, lrnet_checkpoint
from torch import nn

from lrnet_edu.commands.evaluate import evaluate_folders
from lrnet_edu.commands.predict import predict_files
from lrnet_edu.config import pretrain_config
from lrnet_edu.data import nifti
from lrnet_edu.data.cases import find_cases
from lrnet_edu.data.study import read_split
from lrnet_edu.networks import LRNet
from lrnet_edu.support.run_folder import Log, State, load_state, open_run, save_state
from lrnet_edu.trained import load_lrnet, lrnet_facts
from lrnet_edu.training import converged

SPLIT = {"train": ["volume-1", "volume-2"], "validation": ["volume-3"], "test": ["volume-10", "volume-4"]}
LISTING = {
    "modality": {"0": "CT"},
    "training": [
        {"image": f"./volume-{n}.nii.gz", "label": f"./segmentation-{n}.nii.gz"} for n in (1, 2)
    ],
}  # fmt: skip


def training(folder: Path) -> tuple[Any, torch.optim.Adam, Any]:
    """A small network with its optimiser and plateau, as ``fit`` has them, after one step."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"lrnet": LRNet()})
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model["lrnet"](torch.rand(1, 2, 4, 4, 4)).sum().backward()
    optimizer.step()
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    return SimpleNamespace(model=model, facts=lrnet_facts(model["lrnet"])), optimizer, plateau


class Desk:
    """A folder with everything that a damaged file is read beside."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run = folder, folder / "run"
        self.data = lits(folder / "data", [1, 2])
        self.lrnet = lrnet_checkpoint(folder / "lrnet.safetensors", "NI-DM").read_bytes()
        self.config = pretrain_config()
        open_run(self.run, self.config, resume=False)
        self.mnet = checkpoint(self.run / "best.safetensors").read_bytes()
        self.settings = json.loads((self.run / "config.json").read_text("utf-8"))
        rows = [{"step": 1, "seconds": 1.0, "lr": 0.01, "train_loss": 1.0, "val_loss": 1.0, "score": 0.5}]
        save_state(*training(folder), self.run, State(step=1, best_step=1, best_score=0.5, rows=rows))
        self.last = (self.run / "last.safetensors").read_bytes()
        self.scores = evaluate_folders(self.labels_only(), self.data, label="1")

    def labels_only(self) -> Path:
        folder = self.folder / "labels"
        folder.mkdir(exist_ok=True)
        for path in self.data.glob("segmentation-*"):
            (folder / path.name).write_bytes(path.read_bytes())
        return folder


# ---- each writes a damaged file, has it read, and returns "" or the sentence that refused it ----------------------


def mnet(desk: Desk, seed: int) -> str:
    path, out = desk.folder / "m.safetensors", desk.folder / "out" / "labels.nii.gz"
    shutil.rmtree(out.parent, ignore_errors=True)
    path.write_bytes(damaged_checkpoint(desk.mnet, seed))
    scan = desk.data / "volume-1.nii.gz"
    _, refused = outcome(lambda: predict_files(path, scan, out, device="cpu", probabilities=True), path, scan)
    if refused:
        assert not out.parent.exists() or files_in(out.parent) == {}
    else:
        assert np.isfinite(nifti.read_image(out.with_name("labels_probability-1.nii.gz")).data).all()
    return refused


def lrnet(desk: Desk, seed: int) -> str:
    path = desk.folder / "l.safetensors"
    path.write_bytes(damaged_checkpoint(desk.lrnet, seed))
    found, refused = outcome(lambda: load_lrnet(path), path)
    if found:
        assert found(torch.rand(1, 2, 8, 8, 8)).shape == (1, 1, 8, 8, 8)
    return refused


def last(desk: Desk, seed: int) -> str:
    path = desk.folder / "resumed" / "last.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(damaged_checkpoint(desk.last, seed))
    task, optimizer, plateau = training(desk.folder)
    state, refused = outcome(lambda: load_state(task, optimizer, plateau, path.parent), path)
    if state:
        optimizer.step()
        plateau.step(1.0)
        assert isinstance(converged([*state.rows, {"val_loss": 1.0}], 3), bool)
        range(state.step, 10)
        Log(path.parent, tensorboard=False).write([*state.rows, *state.rows[-1:]] or [{"val_loss": 1.0}])
    return refused


def split(desk: Desk, seed: int) -> str:
    path = desk.run / "split.json"
    path.write_bytes(damaged_json(SPLIT, seed))
    names = [name for part in SPLIT.values() for name in part]
    found, refused = outcome(lambda: read_split(path, names), path)
    assert found is None or {name for part in found.values() for name in part} <= set(names)
    before = files_in(desk.run)
    _, again = outcome(lambda: predict_files(desk.run, desk.data, desk.folder / "p", part="test"), desk.run, desk.data)
    assert again  # the folder lacks those cases
    assert files_in(desk.run) == before
    return refused


def config(desk: Desk, seed: int) -> str:
    path = desk.run / "config.json"
    path.write_bytes(content := damaged_json(desk.settings, seed))
    _, refused = outcome(lambda: open_run(desk.run, desk.config, resume=True), path, desk.run)
    assert path.read_bytes() == content
    return refused


def dataset(desk: Desk, seed: int) -> str:
    path = desk.data / "dataset.json"
    path.write_bytes(damaged_json(LISTING, seed))
    found, refused = outcome(lambda: find_cases(desk.data), path, desk.data)
    for case in found or ():
        assert case.image.parent == desk.data
        assert case.image.is_file()
    path.unlink()
    return refused


def scores(desk: Desk, seed: int) -> str:
    """As the file that --json would replace: it stays unless it holds scores."""
    path = desk.folder / "scores.json"
    path.write_bytes(content := damaged_json(desk.scores, seed))
    _, refused = outcome(lambda: evaluate_folders(desk.folder / "labels", desk.data, label="1", json_file=path), path)
    if refused:
        assert path.read_bytes() == content
    else:
        assert json.loads(path.read_text("utf-8")) == desk.scores
    return refused


READERS: list[Callable[[Desk, int], str]] = [mnet, lrnet, last, split, config, dataset, scores]


def read_all(folder: Path, seeds: Iterable[int]) -> Counter[str]:
    """Every reader on a damaged file for each seed; how often each refused."""
    desk, counts, failures = Desk(folder), Counter[str](), []
    for seed in seeds:
        for reader in READERS:
            try:
                refused = reader(desk, seed)
                counts[f"{reader.__name__}: {'refused' if refused else 'used'}"] += 1
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                trace = "".join(traceback.format_exception(error, limit=-4))
                failures.append(f"seed {seed}, {reader.__name__}: {trace}")
    assert not failures, "\n".join([f"{len(failures)} failures", *failures])
    return counts


def test_a_sample_of_settings(tmp_path: Path) -> None:
    counts = read_all(tmp_path, range(25))
    for reader in READERS:
        assert counts[f"{reader.__name__}: refused"] > 3


@pytest.mark.slow
def test_500_of_each(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    for name, number in sorted(read_all(tmp_path, range(500)).items()):
        record_property(f"settings, {name}", number)
