"""From a scan to training patches: preprocessing, and patches a second, beside TorchIO and MONAI."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.maps import recipe, with_scipy
from benchmarks.scans import SPACING, lesions
from benchmarks.timing import Call, Row, compared, installed, timed
from lrnet_edu import find_cases
from lrnet_edu.data.cache import CachedCase, cache_cases
from lrnet_edu.data.nifti import Volume
from lrnet_edu.data.patches import PatchBatches
from lrnet_edu.data.preprocessing import Preprocessing, prepare
from lrnet_edu.data.samples import sample_folder

WINDOW = (-200.0, 250.0)
Finish = Callable[[torch.Tensor], torch.Tensor]  # what becomes of a batch of masks, (B, 1, D, H, W)


def scan(shape: tuple[int, int, int]) -> tuple[Volume, Volume]:
    """A CT of a body in air, with lesions in it."""
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape[1:])
    body = (y[:, None] / 0.7) ** 2 + (x / 0.9) ** 2 < 1  # (H, W)
    mask = lesions(shape, 30 if shape[0] > 100 else 2, share=0.02)
    noise = np.random.default_rng(0).normal(0, 15, shape).astype(np.float32)
    image = np.where(body, 100 - 40 * mask + noise, np.float32(-1000)).astype(np.float32)
    affine = np.diag([-SPACING[2], -SPACING[1], SPACING[0], 1.0])
    return Volume(image, affine), Volume(mask.astype(np.uint8), affine)


def preprocess_with_torchio(image: Volume, mask: Volume, spacing: float) -> np.ndarray:
    """Its transforms one after the other, the whole volume through each."""
    import torchio as tio

    subject = tio.Subject(
        image=tio.ScalarImage(tensor=torch.from_numpy(image.data.T[None]), affine=image.affine),
        mask=tio.LabelMap(tensor=torch.from_numpy(mask.data.T[None]), affine=mask.affine),
    )
    chain = tio.Compose([
        tio.ToCanonical(),
        tio.Resample(spacing, antialias=True),
        tio.Clamp(*WINDOW),
        tio.RescaleIntensity((0, 1), in_min_max=WINDOW),
    ])  # fmt: skip
    done = chain(subject)
    return summary(done["image"].numpy()[0], done["mask"].numpy()[0], spacing)


def preprocess(image: Volume, mask: Volume, spacing: float) -> np.ndarray:
    prepared = prepare(image, Preprocessing(spacing, WINDOW), mask, ((1,),))
    return summary(prepared.image, prepared.classes, spacing)


def summary(image: np.ndarray, mask: np.ndarray, spacing: float) -> np.ndarray:
    """What must agree though the grids differ by a crop: mean within the lesions, and their volume in litres."""
    return np.array([image[mask > 0].mean(), (mask > 0).sum() * spacing**3 / 1e6])


def rows(quick: bool) -> Iterator[Row]:
    """Preprocessing, then patches a second."""
    shape = (16, 64, 64) if quick else (128, 512, 512)
    image, mask = scan(shape)
    spacing = 3.0 if quick else 1.5
    row = compared(f"preprocessing of a scan, {' x '.join(map(str, shape[::-1]))}, to {spacing:g} mm",
                   lambda: preprocess(image, mask, spacing),
                   {"TorchIO": lambda: preprocess_with_torchio(image, mask, spacing)},
                   difference=lambda a, b: float(np.abs(a / b - 1).max()),
                   tolerance=0.1 if quick else 0.03, repeats=2)  # fmt: skip
    row.note = (
        "Ours crops to the body first and resamples masks by linear shares, TorchIO's takes their nearest neighbour: "
        "the lesions' volume and mean are compared, as a share."
    )
    yield row.aim({"TorchIO": 2})
    with TemporaryDirectory() as folder:
        yield from patch_rows(quick, Path(folder))


def patch_rows(quick: bool, folder: Path) -> Iterator[Row]:
    """Lesion-centred and random patches mixed, flipped, brightened, without and with the NI-DM of each."""
    found = find_cases(sample_folder())[: 2 if quick else 6]
    cases = cache_cases(found, Preprocessing(3.0, WINDOW), ((2,),), folder=folder, workers=1)
    patch, number = (16, 32, 32), 16 if quick else 128
    monai = installed("monai")

    def rate(work: Call) -> float:
        return number / timed(work, 3)[1]

    for maps in (False, True):
        finish = with_maps if maps else masks_alone
        loaders: dict[str, Call | None] = {
            "TorchIO": lambda finish=finish: torchio_patches(cases, patch, number, finish),
            "MONAI": (lambda finish=finish: monai_patches(cases, patch, number, finish)) if monai else None,
        }
        row = Row(
            f"patches of {' x '.join(map(str, patch))}, {'with map' if maps else 'without map'}",
            rate(lambda maps=maps: our_patches(cases, patch, number, ["NI-DM"] if maps else [])),
            {name: work and rate(work) for name, work in loaders.items()},
            unit="1/s",
            note="One process each; volumes lie in memory for the peers, in the memory-mapped cache for ours. The "
            "peers have no such map: theirs is SciPy's recipe. Patches are random: no result of one can be held "
            "against another's.",
        )
        yield row.aim({"TorchIO": 3, "MONAI": 3})


def our_patches(cases: Sequence[CachedCase], patch: tuple[int, int, int], number: int, kinds: list[str]) -> int:
    batches = PatchBatches(cases, kinds=kinds, classes=1, patch_size=patch, batch_size=2, object_share=0.67,
                           augment=True, seed=[0], length=number // 2)  # fmt: skip
    return sum(len(batches[i].image) for i in range(number // 2))


def torchio_patches(cases: Sequence[CachedCase], patch: tuple[int, int, int], number: int, finish: Finish) -> int:
    """Queue and LabelSampler: two patches of three around the object."""
    import torchio as tio

    subjects = [
        tio.Subject(
            image=tio.ScalarImage(tensor=torch.from_numpy(np.array(case.image, np.float32)[None])),
            mask=tio.LabelMap(tensor=torch.from_numpy(np.array(case.classes)[None])),
        )
        for case in cases
    ]
    change = tio.Compose([tio.RandomFlip((0, 1, 2)), tio.Lambda(brighten, types_to_apply=[tio.INTENSITY])])
    per_volume = -(-number // len(cases))
    queue = tio.Queue(
        tio.SubjectsDataset(subjects, transform=change),
        max_length=number,
        samples_per_volume=per_volume,
        sampler=tio.LabelSampler(patch, label_name="mask", label_probabilities={0: 1, 1: 2}),
        num_workers=0,
    )
    made = 0
    for batch in tio.SubjectsLoader(queue, batch_size=2):
        made += len(finish(batch["mask"][tio.DATA]))
        if made >= number:
            break
    return made


def monai_patches(cases: Sequence[CachedCase], patch: tuple[int, int, int], number: int, finish: Finish) -> int:
    """CacheDataset and RandCropByPosNegLabeld."""
    from monai.data import CacheDataset, DataLoader
    from monai.transforms import Compose, RandCropByPosNegLabeld, RandFlipd, RandScaleIntensityd, RandShiftIntensityd

    both = ["image", "mask"]
    content = [{"image": torch.from_numpy(np.array(case.image, np.float32)[None]),
                "mask": torch.from_numpy(np.array(case.classes)[None])} for case in cases]  # fmt: skip
    change = Compose([
        RandCropByPosNegLabeld(both, "mask", patch, pos=2, neg=1, num_samples=4, allow_smaller=False),
        *(RandFlipd(both, prob=0.5, spatial_axis=axis) for axis in range(3)),
        RandScaleIntensityd("image", 0.1, prob=1.0),
        RandShiftIntensityd("image", 0.05, prob=1.0),
    ])  # fmt: skip
    loader = DataLoader(CacheDataset(content, change, progress=False), batch_size=1, num_workers=0)
    made = 0
    while made < number:
        for batch in loader:
            made += len(finish(torch.as_tensor(batch["mask"])))
    return made


def masks_alone(masks: torch.Tensor) -> torch.Tensor:
    return masks


def with_maps(masks: torch.Tensor) -> torch.Tensor:
    maps = [recipe(mask, "NI-DM", with_scipy) for mask in masks[:, 0].numpy() > 0]
    return torch.from_numpy(np.stack(maps))[:, None]  # (B, 1, D, H, W)


def brighten(image: torch.Tensor) -> torch.Tensor:
    gain, offset = torch.rand(2) - 0.5
    return image * (1 + 0.2 * gain) + 0.1 * offset
