"""Every row of Table 2 from a folder of scans to a checkpoint, and what its loss is made of."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scans import AFFINE, SHAPE, checkpoint, lits, lrnet_checkpoint, mask, scan, store
from torch import Tensor, nn

from lrnet_edu import losses
from lrnet_edu import mnet_training as segmentation
from lrnet_edu.config import Config
from lrnet_edu.data.cache import CachedCase
from lrnet_edu.data.patches import Batch, PatchBatches
from lrnet_edu.data.study import PARTS, Study, open_study, read_split, split_cases
from lrnet_edu.distance_maps import SIGNED_DISTANCES
from lrnet_edu.losses import DEFAULT_ALPHA, DiceLoss, MapDiceLoss, map_regression_loss
from lrnet_edu.methods import METHODS
from lrnet_edu.mnet_training import build_model, case_dice, segmentation_task, total_loss, train_run
from lrnet_edu.networks import LRNet, MNet, Tandem
from lrnet_edu.rivals import CascadedMNet
from lrnet_edu.support.checkpoints import load_checkpoint, save_checkpoint
from lrnet_edu.support.errors import InputError
from lrnet_edu.support.run_folder import State
from lrnet_edu.trained import load_lrnet, load_mnet, lrnet_facts, tensors_of

TINY = Config(features=(4, 8), blocks=(1,), patch_size=(8, 12, 12), steps=3, validate_every=2, max_voxels=40_000)
WITH_LRNET = [name for name, method in METHODS.items() if method.lrnet]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRNET_EDU_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five cases with a bright ball each."""
    return lits(tmp_path_factory.mktemp("scans"), range(5))


@pytest.fixture(scope="module")
def study(scans: Path) -> Study:
    return open_study(scans, TINY)


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cases with the ball as label 1 and a box in another corner as label 3."""
    folder = tmp_path_factory.mktemp("two-classes")
    for number in range(4):
        classes = mask()
        classes[9:12, 12:16, 11:15] = 3
        store(folder / f"volume-{number}.nii.gz", scan(seed=number) - 100 * (classes == 3).astype(np.int16))
        store(folder / f"segmentation-{number}.nii.gz", classes)
    return folder


@pytest.fixture(scope="module")
def lrnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return lrnet_checkpoint(tmp_path_factory.mktemp("lrnet") / "best.safetensors", "NI-DM")


def tiny(method: str, lrnet: Path, /, **changes: Any) -> Config:
    given = {"lrnet": str(lrnet) if METHODS[method].lrnet else None, **changes}
    return replace(TINY, method=method, **given)


def untrained(method: str, lrnet: Path | None = None, /, *, classes: int = 1, **changes: Any) -> Any:
    """The model of a method as a run would start with it."""
    return build_model(tiny(method, lrnet or Path(), **changes), classes)


def one_batch(study: Study, *kinds: str, classes: int = 1) -> Batch:
    return PatchBatches(
        study.cached["train"], kinds=kinds, classes=classes, patch_size=TINY.patch_size, batch_size=2,
        object_share=1.0, augment=True, seed=[0], length=1,
    )[0]  # fmt: skip


def log_without_seconds(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def one_sentence(error: pytest.ExceptionInfo[InputError]) -> bool:
    text = str(error.value)
    return text.endswith(".") and not re.search(r"[.!?] [A-Z]", text)


# ---- cases ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [3, 4, 7, 20, 131])
def test_every_case_belongs_to_exactly_one_part(number: int) -> None:
    names = [f"volume-{i}" for i in range(number)]
    split = split_cases(names)
    assert tuple(split) == PARTS
    assert sorted(name for part in PARTS for name in split[part]) == sorted(names)
    assert all(split[part] for part in PARTS)
    assert split == split_cases(names)
    if number >= 20:
        shares = [len(split[part]) / number for part in PARTS]
        assert shares == pytest.approx([0.6, 0.15, 0.25], abs=0.03)
        assert split != split_cases(names, seed=1)
        assert split["test"] != names[-len(split["test"]) :]  # drawn, not cut off


@pytest.mark.parametrize("number", [0, 1, 2])
def test_two_cases_are_too_few(number: int) -> None:
    with pytest.raises(InputError, match=rf"three cases.* (is|are) {number};") as error:
        split_cases(["a", "b"][:number])
    assert one_sentence(error)


def test_a_split_of_one_s_own(tmp_path: Path) -> None:
    split = {"train": ["b", "c"], "validation": ["a"], "test": []}
    path = tmp_path / "split.json"
    for encoding in ("utf-8", "utf-8-sig"):  # with the mark of Windows' editors
        path.write_text(json.dumps(split), encoding)
        assert read_split(path, ["a", "b", "c", "d"]) == split


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "does not exist"),
        ("{broken", "is not a split"),
        ('["a", "b"]', "is not a split"),
        ('{"train": ["a"], "validation": ["b"]}', "is not a split"),
        ('{"train": ["a"], "validation": ["b"], "test": 3}', "is not a split"),
        ('{"train": "ab", "validation": ["b"], "test": []}', "is not a split"),
        ("[" * 100_000, "is not a split"),
        ('{"train": ["a"], "validation": ["z", "y"], "test": []}', r"does not hold \(y, z\)"),
        ('{"train": ["a"], "validation": ["b"], "test": ["a"]}', "in more than one part"),
        ('{"train": ["a"], "validation": [], "test": ["b"]}', "leaves train or validation empty"),
        ('{"train": [], "validation": ["a"], "test": ["b"]}', "leaves train or validation empty"),
    ],
)
def test_a_split_that_cannot_be_used(tmp_path: Path, content: str | None, match: str) -> None:
    path = tmp_path / "split.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=match) as error:
        read_split(path, ["a", "b", "c"])
    assert one_sentence(error)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"network": ["MNet"]}, "holds no M-Net"),
        ({"network": "x" * 5000 + "\n"}, "holds no M-Net"),
        ({"mnet": {"in_channels": 1, "classes": 2, "features": [10**7, 10**7], "blocks": [1]}}, "architecture"),
        ({"mnet": {"in_channels": 1, "classes": 2, "features": [4, 8], "blocks": [10**9]}}, "does not say"),
        ({"mnet": {"in_channels": 1, "classes": 2, "features": [10**30, 8], "blocks": [1]}}, "does not say"),
        ({"label": "1,2"}, "does not say"),
        ({"patch_size": [8, 16]}, "does not say"),
        ({"patch_size": [8, 16, -16]}, "does not say"),
        ({"preprocessing": {"spacing": 0.0, "window": None}}, "0.0 mm"),
        ({"preprocessing": {"spacing": 1.5, "window": [3, 3]}}, "window"),
    ],
)
def test_facts_of_a_checkpoint_that_cannot_be(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    path = checkpoint(tmp_path / "m.safetensors")
    tensors, facts = load_checkpoint(path)
    save_checkpoint(path, tensors, {**facts, **changes})
    with pytest.raises(InputError, match=match) as error:
        load_mnet(path)
    assert one_sentence(error)
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 500 + len(str(path))


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_weights_that_are_no_numbers(tmp_path: Path, number: float) -> None:
    path = checkpoint(tmp_path / "m.safetensors")
    tensors, facts = load_checkpoint(path)
    next(iter(tensors.values())).view(-1)[0] = number
    save_checkpoint(path, tensors, facts)
    with pytest.raises(InputError, match="no finite numbers"):
        load_mnet(path)


def test_the_grid_is_chosen_from_the_training_part_alone(tmp_path: Path) -> None:
    """Validation and test are four times as coarse, and nobody looks at them."""
    names = ["volume-0", "volume-1", "volume-2", "volume-3", "volume-4"]
    for i, name in enumerate(names):
        affine = AFFINE if i < 2 else AFFINE @ np.diag([4, 4, 4, 1.0])
        store(tmp_path / f"{name}.nii.gz", scan(seed=i), affine)
        store(tmp_path / f"{name.replace('volume', 'segmentation')}.nii.gz", mask(), affine)
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": names[:2], "validation": names[2:4], "test": names[4:]}))
    study = open_study(tmp_path, TINY, split=path)
    assert study.preprocessing.spacing == pytest.approx(3.0 ** (1 / 3), abs=0.01)
    assert {part: [case.name for case in cases] for part, cases in study.cached.items()} == study.split
    assert study.split["test"] == ["volume-4"]


def test_a_study_says_what_it_found_and_what_a_guess_scores(study: Study) -> None:
    said = study.describe()
    numbers = [len(study.split[part]) for part in PARTS]
    assert f"{numbers[0]} train, {numbers[1]} validation, {numbers[2]} test" in said
    assert "window -200 to 250 HU" in said
    for part in ("validation", "test"):
        found = re.search(rf"{part} DC: ([0-9.]+) \(label 1\)", said)
        assert found is not None
        assert float(found[1]) > 0.9  # the ball is at the same place in every case
    assert "mask" not in said


def test_a_label_that_no_training_case_holds(tmp_path: Path) -> None:
    data = lits(tmp_path, range(5))
    names = [f"volume-{number}" for number in range(5)]
    for number in range(4):
        store(data / f"segmentation-{number}.nii.gz", 0 * mask())
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": names[:2], "validation": names[2:3], "test": names[3:]}))
    with pytest.raises(InputError, match=r"No training case holds label 1 \(it is in volume-4\)"):
        open_study(data, TINY, split=path)


def test_what_is_odd_in_the_files_is_told(tmp_path: Path) -> None:
    data = lits(tmp_path, range(5))
    store(data / "volume-0.nii.gz", (scan().astype(np.int32) + 1100).clip(0).astype(np.uint16))
    store(data / "volume-a.nii.gz", scan())
    said = open_study(data, TINY).describe()
    assert "volume-0 has no value below 0" in said
    assert "Left out, as their names are no volume-N, segmentation-N: volume-a.nii.gz." in said


@pytest.mark.parametrize(("masks", "said"), [(4, "no mask: volume-5."), (3, "no mask: volume-4, volume-5.")])
def test_scans_without_a_mask_are_named(tmp_path: Path, masks: int, said: str) -> None:
    data = lits(tmp_path, [1, 2, 3, 4, 5])
    for number in range(masks + 1, 6):
        (data / f"segmentation-{number}.nii.gz").unlink()
    study = open_study(data, TINY)
    assert said in study.describe()
    study = replace(study, without_mask=tuple("abcdefg"))
    assert "no mask: a, b, c, d, e and 2 more." in study.describe()
    assert sum(map(len, study.split.values())) == masks


# ---- the loss ---------------------------------------------------------------------------------------------------


class Untouchable(nn.Module):
    """An LR-Net that must not be asked."""

    kind = "NI-DM"

    def forward(self, probabilities: Tensor) -> Tensor:
        raise AssertionError("the LR-Net was asked")


@pytest.mark.parametrize("method", WITH_LRNET)
def test_the_warm_up_is_dice_and_nothing_else(study: Study, lrnet: Path, method: str) -> None:
    config = tiny(method, lrnet, warmup_steps=2)
    model: Any = build_model(config, 1)
    batch = one_batch(study, "NI-DM")
    dice = DiceLoss()(torch.softmax(model.mnet(batch.image), dim=1), batch.classes)
    learned = model.lrnet
    model.lrnet = Untouchable()
    for step in (0, 1):
        assert torch.equal(total_loss(config, model)(batch, step), dice)
    with pytest.raises(AssertionError, match="was asked"):
        total_loss(config, model)(batch, 2)
    model.lrnet = learned
    total_loss(config, model)(batch, 1).backward()
    assert all(parameter.grad is None for parameter in model.lrnet.parameters())


@pytest.mark.parametrize("method", WITH_LRNET)
def test_the_total_is_the_segmentation_loss_and_alpha_times_the_regression_loss(
    study: Study, lrnet: Path, method: str
) -> None:
    batch = one_batch(study, "NI-DM")
    values = {}
    for alpha in (None, 0.0, 1.0, 50.0):
        config = tiny(method, lrnet, warmup_steps=0, alpha=alpha)
        model = build_model(config, 1)
        values[alpha] = total_loss(config, model)(batch, 0).item()
        p, maps = model(batch.image)
        regression = map_regression_loss(maps, batch.maps["NI-DM"]).item()
        main = {
            None: 0.0,
            "DiceLoss": DiceLoss()(p, batch.classes).item(),
            "MapDiceLoss": MapDiceLoss()(p, batch.maps["NI-DM"]).item(),
        }[METHODS[method].segmentation_loss]
    assert regression > 0
    for alpha, value in values.items():
        used = DEFAULT_ALPHA["NI-DM"] if alpha is None else alpha
        assert value == pytest.approx(main + used * regression, rel=1e-5)


def test_mapdice_weighs_by_ni_dm_whatever_the_light_network_regresses(study: Study, tmp_path: Path) -> None:
    path = lrnet_checkpoint(tmp_path / "lrnet.safetensors", "SNI-DM")
    config = tiny("mapdice+lrnet", path, kind="SNI-DM", warmup_steps=0, alpha=1.0)
    model, batch = build_model(config, 1), one_batch(study, "NI-DM", "SNI-DM")
    p, maps = model(batch.image)
    expected = MapDiceLoss()(p, batch.maps["NI-DM"]) + map_regression_loss(maps, batch.maps["SNI-DM"])
    assert total_loss(config, model)(batch, 0).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if not (method.lrnet or method.rival)])
def test_rows_without_a_light_network_have_their_own_loss_from_the_first_step(
    study: Study, lrnet: Path, method: str
) -> None:
    config = tiny(method, lrnet, warmup_steps=1)
    model, batch = untrained(method, lrnet, warmup_steps=1), one_batch(study, "NI-DM")
    name = METHODS[method].segmentation_loss
    assert name is not None
    target = batch.maps["NI-DM"] if name == "MapDiceLoss" else batch.classes
    expected = getattr(losses, name)()(torch.softmax(model.mnet(batch.image), dim=1), target)
    assert torch.equal(total_loss(config, model)(batch, 0), expected)


def test_a_patch_is_no_larger_than_the_largest_case_needs(study: Study) -> None:
    _, height, width = np.max([case.image.shape for case in study.cached["train"]], axis=0)
    fitted = segmentation.fitted_patch((8, 500, 500), study.cached["train"])
    assert fitted[0] == 8
    assert height <= fitted[1] < height + 8
    assert width <= fitted[2] < width + 8
    assert fitted[1] % 8 == fitted[2] % 8 == 0


def test_the_regression_rivals_bring_their_own_loss_and_map(study: Study) -> None:
    batch = one_batch(study, SIGNED_DISTANCES)
    target = (batch.image, batch.classes, batch.maps[SIGNED_DISTANCES])
    model = untrained("multi-branch")
    assert torch.equal(total_loss(tiny("multi-branch", Path()), model)(batch, 0), model.loss(*target))
    model = untrained("cascaded")
    assert torch.equal(total_loss(tiny("cascaded", Path()), model)(batch, 0), model.mnet.loss(*target))


# ---- models -----------------------------------------------------------------------------------------------------


def test_all_methods_start_from_the_same_mnet(lrnet: Path) -> None:
    start = untrained("dice", lrnet, classes=2).mnet.state_dict()
    other_seed = untrained("dice", lrnet, classes=2, seed=1).mnet.state_dict()
    assert not all(torch.equal(start[name], other_seed[name]) for name in start)
    for method in METHODS:
        torch.rand(7)  # whatever was drawn before
        weights = untrained(method, lrnet, classes=2).mnet.state_dict()
        own = {name for name in weights if name.startswith("classifier.")}  # the cascaded rival's last layer
        assert weights.keys() - own == start.keys()
        assert bool(own) == (method == "cascaded")
        assert all(torch.equal(weights[name], start[name]) for name in start), method


@pytest.mark.parametrize("method", WITH_LRNET)
def test_the_light_network_is_the_pretrained_one(lrnet: Path, method: str) -> None:
    """From a checkpoint or from the run folder that holds it."""
    learned = load_lrnet(lrnet).state_dict()
    for given in (lrnet, lrnet.parent):
        model = untrained(method, given)
        assert isinstance(model, Tandem)
        assert model.frozen == (METHODS[method].lrnet == "frozen")
        assert all(torch.equal(tensor, learned[name]) for name, tensor in model.lrnet.state_dict().items())


def test_a_light_network_of_another_map_leaves_no_run_behind(study: Study, lrnet: Path, tmp_path: Path) -> None:
    changed: list[dict[str, Any]] = [
        {"kind": "O-DM"},
        {"activation": "sigmoid"},
        {"lrnet": str(tmp_path / "none")},
    ]
    for changes in changed:
        with pytest.raises(InputError) as error:
            train_run(study, tiny("lrnet", lrnet, **changes), tmp_path / "run", device="cpu")
        assert one_sentence(error)
        assert not (tmp_path / "run").exists()


# ---- runs -------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(study: Study, lrnet: Path, tmp_path: Path) -> Callable[..., State]:
    """Train a method into tmp_path / name."""

    def train(method: str, name: str = "run", *, resume: bool = False, **changes: Any) -> State:
        config = tiny(method, lrnet, **changes)
        return train_run(study, config, tmp_path / name, device="cpu", resume=resume)

    return train


@pytest.mark.parametrize("method", METHODS)
def test_every_row_trains_and_can_be_used(run: Callable[..., State], study: Study, tmp_path: Path, method: str) -> None:
    state = run(method, warmup_steps=1)
    folder = tmp_path / "run"
    assert state.step == 3
    names = {"config.json", "split.json", "log.csv", "best.safetensors", "last.safetensors"}
    assert {file.name for file in folder.iterdir()} == names
    assert json.loads((folder / "split.json").read_text()) == study.split
    assert json.loads((folder / "config.json").read_text())["method"] == method
    assert all(np.isfinite(list(row.values())).all() for row in state.rows)

    trained, again = load_mnet(folder), load_mnet(folder / "best.safetensors")
    assert trained.labels == ((1,),)
    assert trained.patch_size == TINY.patch_size
    assert trained.preprocessing == study.preprocessing
    assert not trained.mnet.training
    weights, start = trained.mnet.state_dict(), untrained("dice").mnet.state_dict()
    assert type(trained.mnet) is (CascadedMNet if method == "cascaded" else MNet)
    assert all(torch.equal(weights[name], again.mnet.state_dict()[name]) for name in weights)
    assert not all(torch.equal(weights[name], start[name]) for name in start)  # it moved

    best, facts = load_checkpoint(folder / "best.safetensors")
    assert all(name.startswith("mnet.") for name in best)  # the LR-Net, or the second decoder, is thrown away
    assert facts["method"] == method
    scores = {row["step"]: row["score"] for row in state.rows}
    reached = np.mean([case_dice(trained.mnet, case, TINY.patch_size, 1) for case in study.cached["validation"]])
    assert reached == pytest.approx(max(scores.values()))
    assert scores[state.best_step] == max(scores.values())


@pytest.mark.parametrize("norm", [None, "instance"])
@pytest.mark.parametrize("method", WITH_LRNET)
def test_a_frozen_light_network_ends_as_it_began(
    run: Callable[..., State], tmp_path: Path, norm: str | None, method: str
) -> None:
    torch.manual_seed(1)
    start = LRNet(norm=norm)
    tensors = {f"lrnet.{name}": tensor for name, tensor in start.state_dict().items()}
    save_checkpoint(tmp_path / "lrnet.safetensors", tensors, lrnet_facts(start))
    run(method, lrnet=str(tmp_path / "lrnet.safetensors"), steps=4, warmup_steps=1)
    end = tensors_of("lrnet", load_checkpoint(tmp_path / "run" / "last.safetensors")[0])
    same = [torch.equal(end[name], tensor) for name, tensor in start.state_dict().items()]
    assert all(same) if METHODS[method].lrnet == "frozen" else not any(same[:2])


def test_two_classes(two_classes: Path, lrnet: Path, tmp_path: Path) -> None:
    config = tiny("mapdice+lrnet", lrnet, label="1,3", warmup_steps=1)
    study = open_study(two_classes, config)
    assert study.labels == ((1,), (3,))
    assert re.search(r"test DC: [0-9.]+ \(label 1\), [0-9.]+ \(label 3\)", study.describe())
    state = train_run(study, config, tmp_path / "run", device="cpu")
    row = state.rows[-1]
    assert row["score"] == pytest.approx((row["val_DC_1"] + row["val_DC_2"]) / 2)
    trained = load_mnet(tmp_path / "run")
    assert trained.labels == ((1,), (3,))
    assert trained.mnet(torch.zeros(2, 1, 8, 8, 8)).shape == (2, 3, 8, 8, 8)
    batch = one_batch(study, "NI-DM", classes=2)
    _, maps = build_model(config, 2)(batch.image)
    assert maps.shape == batch.maps["NI-DM"].shape == (2, 2, *TINY.patch_size)


def test_a_union_is_one_class(two_classes: Path) -> None:
    study = open_study(two_classes, replace(TINY, label="1+3"))
    assert study.labels == ((1, 3),)
    assert set(np.unique(study.cached["train"][0].classes)) == {0, 1}


def test_it_learns(run: Callable[..., State]) -> None:
    """A bright ball in a noisy body: dozens of steps of a tiny network are enough to find most of it."""
    state = run("dice", steps=60, validate_every=30, learning_rate=2e-2, patch_size=(12, 16, 16))
    assert state.best_score > 0.7
    assert state.rows[-1]["train_loss"] < 0.8 * state.rows[0]["train_loss"]


@pytest.mark.parametrize("method", METHODS)
def test_adam_forgets_the_warm_up_where_dice_is_no_part_of_what_follows(study: Study, lrnet: Path, method: str) -> None:
    config = tiny(method, lrnet, warmup_steps=2)
    task = segmentation_task(config, study.cached["train"], study.cached["validation"], {}, classes=1)
    assert task.restart == (method in ("lrnet", "unfrozen-lrnet"))
    assert task.warmup == (2 if METHODS[method].lrnet else 0)


@pytest.mark.parametrize(("method", "killed_at"), [("mapdice+lrnet", 1), ("mapdice+lrnet", 5), ("unfrozen-lrnet", 3)])
def test_a_killed_run_that_is_resumed_ends_alike(
    run: Callable[..., State],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    killed_at: int,
) -> None:
    schedule = {"steps": 6, "validate_every": 2, "warmup_steps": 3}
    run(method, "whole", **schedule)

    def dying_loss(config: Config, model: nn.Module) -> Callable[[Batch, int], Tensor]:
        loss = total_loss(config, model)

        def dying(batch: Batch, step: int) -> Tensor:
            if step == killed_at:
                raise KeyboardInterrupt
            return loss(batch, step)

        return dying

    monkeypatch.setattr(segmentation, "total_loss", dying_loss)
    with pytest.raises(KeyboardInterrupt):
        run(method, "killed", **schedule)
    monkeypatch.undo()
    run(method, "killed", resume=True, **schedule)
    for name in ("best.safetensors", "last.safetensors"):
        whole, killed = (load_checkpoint(tmp_path / folder / name)[0] for folder in ("whole", "killed"))
        assert whole.keys() == killed.keys()
        assert all(torch.equal(whole[key], killed[key]) for key in whole)
    assert log_without_seconds(tmp_path / "killed") == log_without_seconds(tmp_path / "whole")


def test_a_run_is_resumed_with_its_own_settings_and_split(
    run: Callable[..., State], study: Study, lrnet: Path, tmp_path: Path
) -> None:
    run("dice")
    before = {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()}
    with pytest.raises(InputError, match="holds a run already"):
        run("dice")
    with pytest.raises(InputError, match=r"\(method dice, now tversky\)"):
        run("tversky", resume=True)
    split = {
        "train": study.split["test"],
        "validation": study.split["validation"],
        "test": study.split["train"],
    }
    cached = {
        "train": study.cached["test"],
        "validation": study.cached["validation"],
        "test": study.cached["train"],
    }
    swapped = replace(study, split=split, cached=cached)
    with pytest.raises(InputError, match="split") as error:
        train_run(swapped, tiny("dice", lrnet), tmp_path / "run", device="cpu", resume=True)
    assert one_sentence(error)
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").iterdir()} == before


def test_time_and_memory_are_said_before_a_run_and_change_nothing(
    run: Callable[..., State], study: Study, lrnet: Path, tmp_path: Path
) -> None:
    run("mapdice+lrnet", "silent", warmup_steps=1)
    said: list[str] = []
    train_run(study, tiny("mapdice+lrnet", lrnet, warmup_steps=1), tmp_path / "told", device="cpu", say=said.append)
    assert len(said) == 1
    assert re.search(r"cpu.* minute .*GB .*3 steps", said[0])
    silent, told = (load_checkpoint(tmp_path / name / "last.safetensors")[0] for name in ("silent", "told"))
    assert all(torch.equal(silent[key], told[key]) for key in silent)


# ---- scores and checkpoints ---------------------------------------------------------------------------------------


class ByIntensity(nn.Module):
    """Class 1 where the image is near 1, class 2 near 2, else background."""

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(100.0))

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([-self.sharpness * (image - level).abs() for level in range(3)], dim=1)


def test_dice_of_a_whole_case_class_by_class(tmp_path: Path) -> None:
    """Class 1: 8 of 8 and 12 voxels agree; class 2: neither image nor mask holds it, then the mask alone."""
    image, classes = np.zeros((2, 9, 10, 11), np.float32)
    image[:2, :2, :3] = 1
    classes[:2, :2, :2] = 1
    np.save(tmp_path / "image.npy", image.astype(np.float16))
    np.save(tmp_path / "classes.npy", classes.astype(np.uint8))
    case = CachedCase("case", tmp_path)
    scores = case_dice(ByIntensity(), case, (8, 8, 8), 2)
    assert scores == pytest.approx([2 * 8 / (8 + 12), 1.0])
    classes[5, 5, 5] = 2
    np.save(tmp_path / "classes.npy", classes.astype(np.uint8))
    assert case_dice(ByIntensity(), case, (8, 8, 8), 2)[1] == 0


def test_a_light_network_is_no_mnet(lrnet: Path) -> None:
    with pytest.raises(InputError, match="holds no M-Net but") as error:
        load_mnet(lrnet)
    assert one_sentence(error)


def test_weights_that_do_not_fit_their_own_description(tmp_path: Path) -> None:
    facts = {
        "network": "MNet",
        "mnet": {"in_channels": 1, "classes": 2, "features": [4, 8], "blocks": [1]},
        "label": "1",
        "patch_size": [8, 8, 8],
        "preprocessing": {"spacing": 1.0, "window": None},
    }
    mnet = MNet(1, 3, features=(4, 8), blocks=(1,))
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, {f"mnet.{name}": tensor for name, tensor in mnet.state_dict().items()}, facts)
    with pytest.raises(InputError, match="another architecture") as error:
        load_mnet(path)
    assert one_sentence(error)


@pytest.mark.parametrize("place", ["run", "run/best.safetensors"])
def test_no_checkpoint_there(tmp_path: Path, place: str) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match="There is no checkpoint") as error:
        load_mnet(tmp_path / place)
    assert one_sentence(error)


def test_the_scans_of_these_tests_are_larger_than_a_patch(study: Study) -> None:
    """Otherwise nothing above would slide a window or cut a patch."""
    case = study.cached["train"][0]
    assert all(n > size for n, size in zip(case.image.shape, TINY.patch_size, strict=True)), SHAPE


def test_a_missing_tensorboard_leaves_nothing_behind(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match="pip install tensorboard"):
        train_run(study, replace(TINY, method="dice"), tmp_path / "run", device="cpu", tensorboard=True)
    assert not (tmp_path / "run").exists()


def test_a_part_without_the_object_is_told_in_words(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmentation, "location_baseline", lambda *_: np.array([np.nan]))
    assert "test DC: no case holds it (label " in study.describe()
    assert "nan" not in study.describe()


def test_a_study_of_another_label_or_window_is_refused(study: Study, lrnet: Path, tmp_path: Path) -> None:
    for name, value in (("label", "2"), ("window", (-30.0, 180.0)), ("random_boxes", True)):
        with pytest.raises(InputError, match=f"opened with another {name};") as error:
            train_run(study, tiny("dice", lrnet, **{name: value}), tmp_path / "run", device="cpu")
        assert one_sentence(error)
        assert not (tmp_path / "run").exists()
