"""Two processes under torchrun take the step of one process with the whole batch, and survive each other's end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from scans import lits
from torch import nn

from lrnet_edu import InputError
from lrnet_edu.config import Config
from lrnet_edu.data.study import open_study
from lrnet_edu.mnet_training import segmentation_task, train_run
from lrnet_edu.support.parallel import process_group, local_device, processes, rank, data_parallel

TINY = Config(features=(4, 8), blocks=(1,), patch_size=(8, 12, 12), batch_size=3, steps=4, max_voxels=40_000,
              warmup_steps=0)  # fmt: skip
ROWS = ("dice", "mapdice+lrnet", "unfrozen-lrnet", "wce", "gds", "explog", "multi-branch", "cascaded")


def torchrun(arguments: Sequence[str], folder: Path, **options: object) -> subprocess.Popen[str]:
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "LRNET_EDU_FAST": "1",
        "LRNET_EDU_CACHE": str(folder / "cache"),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])]),
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def gradients(folder: Path) -> dict[str, torch.Tensor]:
    """Of every row's loss, for the second batch of the training; in float64, where rounding hides nothing."""
    study = open_study(folder / "scans", TINY)
    found = {}
    for method in ROWS:
        config = Config(**{**vars(TINY), "method": method})
        task = segmentation_task(config, study.cached["train"], study.cached["validation"], {}, 1)
        model, batch = task.model.double(), task.batches[1]
        batch = batch._replace(image=batch.image.double())
        loss_of = data_parallel(model, task.loss)
        loss_of(batch, 3).backward()
        found |= {f"{method}.{name}": weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
    return found


def main(folder: Path) -> None:
    """What each of the two processes does."""
    with process_group(torch.device("cpu")):
        save_file({name: grad.contiguous() for name, grad in gradients(folder).items()}, folder / f"process-{rank()}")


def test_two_processes_give_the_gradient_of_the_whole_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRNET_EDU_CACHE", str(tmp_path / "cache"))
    lits(tmp_path / "scans", range(5))
    whole = gradients(tmp_path)
    run = torchrun([__file__, str(tmp_path)], tmp_path)
    text, _ = run.communicate(timeout=200)
    assert run.returncode == 0, text
    for number in range(2):
        found = load_file(tmp_path / f"process-{number}")
        assert found.keys() == whole.keys()
        for name, gradient in whole.items():
            size = max(1e-6, float(gradient.abs().max()))
            assert float((found[name] - gradient).abs().max()) < 1e-5 * size, name


def test_a_killed_process_ends_the_run_which_can_be_resumed(tmp_path: Path) -> None:
    scans, out = lits(tmp_path / "scans", range(5)), tmp_path / "run"
    train = ["train", "--data", str(scans), "--label", "1", "--method", "mapdice+lrnet", "--out", str(out)]
    run = torchrun(["-m", "lrnet_edu", *train, "--steps", "100000", "--device", "cpu"], tmp_path)
    deadline = time.monotonic() + 120
    while not (out / "last.safetensors").exists() and time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.2)
    assert (out / "last.safetensors").exists()
    second = [pid for pid in children(run.pid) if environment_of(pid).get("RANK") == "1"]
    os.kill(second[0], signal.SIGKILL)
    text, _ = run.communicate(timeout=120)
    assert run.returncode != 0
    assert re.search(r"lrnet-edu: Another process of this training has ended|SIGKILL|Signal 9", text), text
    assert not children(run.pid)
    assert load_file(out / "best.safetensors")
    assert load_file(out / "last.safetensors")


def test_every_process_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [local_device(name) for name in (None, "cuda", "cuda:1", "cpu")] == [None, "cuda", "cuda:1", "cpu"]
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert [local_device(name) for name in (None, "cuda", "cpu", "mps")] == ["cuda:1", "cuda:1", "cpu", "mps"]
    with pytest.raises(InputError, match="leave --device cuda:0 out"):
        local_device("cuda:0")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match=r"--nproc_per_node 2, .*--device cpu\.$"):
        local_device(None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert local_device(None) is None


def children(parent: int) -> list[int]:
    """Processes that descend from another one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = int(entry.parent.name), entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(rest[1]) == parent:
            found += [pid, *children(pid)]
    return found


def environment_of(pid: int) -> dict[str, str]:
    pairs = (Path("/proc") / str(pid) / "environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def test_without_torchrun_nothing_is_wrapped() -> None:
    model = nn.Linear(2, 2)

    def loss(batch: torch.Tensor, step: int) -> torch.Tensor:
        return model(batch).sum()

    assert (rank(), processes()) == (0, 1)
    assert data_parallel(model, loss) is loss
    with process_group(torch.device("cpu")):
        assert not torch.distributed.is_initialized()


def test_more_processes_than_patches_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRNET_EDU_CACHE", str(tmp_path / "cache"))
    study = open_study(lits(tmp_path / "scans", range(4)), TINY)
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(InputError, match="4 processes cannot share batches of 3 patches; start at most 3"):
        train_run(study, TINY, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
