"""Scans in, segmentations out: the trained M-Net alone, as section 2.2 uses it."""

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from lrnet_edu.commands.image_files import check_outputs, image_files, provenance
from lrnet_edu.data import nifti
from lrnet_edu.data.cases import check_not_among_scans, find_cases, segmentation_name
from lrnet_edu.data.preprocessing import back_to_original, prepare, read_scan, unusual_intensities
from lrnet_edu.data.study import PARTS, case_names
from lrnet_edu.inference import predict_probabilities
from lrnet_edu.support.devices import choose_device, explain_out_of_memory
from lrnet_edu.support.errors import InputError, check_each
from lrnet_edu.support.files import abbreviated, folder_lock, read_json
from lrnet_edu.support.jobs import print_above_bar, progress
from lrnet_edu.support.labels import decode, format_labels
from lrnet_edu.trained import TrainedMNet, load_mnet


def predict_files(
    run: str | Path, input: str | Path, out: str | Path, *,
    part: str | None = None, probabilities: bool = False, device: str | None = None,
) -> list[Path]:  # fmt: skip
    """Segment one scan, or a folder of scans one after the other, with a trained M-Net alone (section 2.2).

    Args:
        run: run folder of a training, or a checkpoint.
        input: an image file; or a folder: the scans that its ``dataset.json`` lists for training (Decathlon
            layout), or else every image file in it whose name does not start with ``segmentation-``.
        out: a file for a file, a folder for a folder. There ``volume-3.nii.gz`` becomes ``segmentation-3.nii.gz``,
            in nnU-Net's data sets ``a_0000.nii.gz`` becomes ``a.nii.gz``, any other name stays.
        part: "train", "validation" or "test": only these cases of the run, ``input`` being the folder that it
            was trained on.
        probabilities: write ``<name>_probability-<label>.nii.gz``, float32, of each object beside the labels.
        device: as for training; the best there is by default.

    Returns:
        The label files written, in natural order: uint8, the label numbers of the training (a union is
        written as its first number), the grid and both placements of the input.

    Raises:
        InputError: if the checkpoint or a scan cannot be used (a segmentation is none), or an output cannot be written
            or is a file that this command did not write; nothing has been written then.
    """
    run, input, out = Path(run), Path(input), Path(out)
    found = _find_images(input)
    check_not_among_scans(out if input.is_dir() else out.parent)
    images = list(found) if part is None else _images_of_part(found, input, run, part)
    place = choose_device(device)
    trained = load_mnet(run, place)
    objects = [format_labels((group,)) for group in trained.labels] if probabilities else []
    written = [out / found[image] if input.is_dir() else out for image in images]
    beside = [[file.with_name(f"{nifti.stem(file)}_probability-{text}.nii.gz") for text in objects] for file in written]
    check_outputs([*written, *chain(*beside)], images, "predict")
    # Damaged scans are reported now, not after an hour.
    check_each(read_scan, progress(images, "Checking scans", unit="scan"))
    with folder_lock(written[0].parent, "" if input.is_dir() else out.name):
        for job in progress(list(zip(images, written, beside, strict=True)), "Segmenting", unit="scan"):
            with explain_out_of_memory(place):
                _segment(trained, *job)
    return written


def _segment(trained: TrainedMNet, scan: Path, out: Path, beside: Sequence[Path]) -> None:
    """From a scan to its files (labels, each object's probabilities): onto the network's grid, through it, and back."""
    image = nifti.read_image(scan)  # (D, H, W)
    if sentence := unusual_intensities(str(scan), image, trained.preprocessing):
        print_above_bar(sentence)
    prepared = prepare(image, trained.preprocessing)  # image (d, h, w)
    try:
        output = predict_probabilities(trained.mnet, prepared.image, patch_size=trained.patch_size)  # (K + 1, d, h, w)
    except InputError as error:
        raise InputError(f"{scan}: {error}") from None
    classes, shares = back_to_original(
        output, prepared.affine, image, keep_probabilities=bool(beside)
    )  # (D, H, W), (K + 1, D, H, W)
    written = dict(zip(beside, shares[1:], strict=True))
    for path, data in (written | {out: decode(classes, trained.labels)}).items():
        nifti.write(path, data, image, description=provenance("predict", data))


def _find_images(source: Path) -> dict[Path, str]:
    """One scan, or those of a folder in natural order, and what their predictions are called (`predict_files`)."""
    if not source.exists():
        raise InputError(f"{source} does not exist: name a NIfTI file or a folder of them.")
    if not source.is_dir():
        return {source: source.name}
    if (source / "dataset.json").is_file():
        return {case.image: case.prediction for case in find_cases(source)}
    images = [path for path in image_files(source) if not path.name.startswith("segmentation-")]
    if not images:
        raise InputError(f"{source} holds no scan: put .nii or .nii.gz files in it; dcm2niix converts DICOM.")
    return {path: segmentation_name(path.name) for path in images}


def _images_of_part(images: Iterable[Path], source: Path, run: Path, part: str) -> list[Path]:
    """The images of the cases that the run's ``split.json`` lists under train, validation or test."""
    if part not in PARTS:
        raise InputError(f"There is no part {part!r}: choose one of {', '.join(PARTS)}.")
    try:
        names = case_names(read_json(run / "split.json")[part])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"--part needs a run folder with its split.json, {run} is none: name one.") from None
    if not names:
        raise InputError(f"The run has no {part} cases: name another part, or leave --part out.")
    by_name = {nifti.stem(image): image for image in images}
    lacking = [name for name in names if name not in by_name]
    if lacking:
        raise InputError(f"{source} lacks {abbreviated(lacking)} of the run's {part} cases: name their folder.")
    return [by_name[name] for name in names]
