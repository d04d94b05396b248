"""Predictions of files: names, grids, values, and what is never overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scans import AFFINE, SHAPE, checkpoint, lits, load, mask, scan, store

from lrnet_edu.commands.maps import write_map
from lrnet_edu.commands.predict import predict_files
from lrnet_edu.data import nifti
from lrnet_edu.data.preprocessing import is_segmentation
from lrnet_edu.support.errors import InputError

SAMPLES = Path(__file__).parents[2] / "data_samples"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with an untrained M-Net of one object, and its split."""
    folder = tmp_path_factory.mktemp("run")
    checkpoint(folder / "best.safetensors")
    split = {"train": ["volume-1", "volume-2"], "validation": ["volume-3"], "test": ["volume-10", "volume-4"]}
    (folder / "split.json").write_text(json.dumps(split))
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# ---- grid and values ---------------------------------------------------------------------------


def test_labels_and_probabilities_of_two_objects_on_the_scan_s_grid(tmp_path: Path) -> None:
    source = store(tmp_path / "scan.nii.gz", scan())
    trained = checkpoint(tmp_path / "m.safetensors", "3,5+6")
    assert predict_files(trained, source, tmp_path / "out.nii", probabilities=True) == [tmp_path / "out.nii"]
    written = nib.load(tmp_path / "out.nii")
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_allclose(written.affine, AFFINE)
    shares = [load(tmp_path / f"out_probability-{label}.nii.gz") for label in ("3", "5+6")]
    assert {share.dtype for share in shares} == {np.dtype(np.float32)}
    everything = np.stack([1 - shares[0] - shares[1], *shares])
    assert everything.min() > -1e-5
    assert len(np.unique(everything.argmax(0))) > 1
    np.testing.assert_array_equal(load(tmp_path / "out.nii"), np.array([0, 3, 5])[everything.argmax(0)])
    assert len(names(tmp_path)) == 5


def test_axis_order_and_flips_do_not_matter(run: Path, tmp_path: Path) -> None:
    image = nib.load(store(tmp_path / "a.nii.gz", scan()))
    turned = image.as_reoriented(np.array([[2, -1], [0, 1], [1, 1]]))
    nib.save(turned, tmp_path / "b.nii.gz")
    predict_files(run, tmp_path / "a.nii.gz", tmp_path / "out-a.nii.gz")
    predict_files(run, tmp_path / "b.nii.gz", tmp_path / "out-b.nii.gz")
    a, b = nib.load(tmp_path / "out-a.nii.gz"), nib.load(tmp_path / "out-b.nii.gz")
    assert b.shape == turned.shape
    np.testing.assert_allclose(b.affine, turned.affine, atol=1e-5)
    again, there = (nib.as_closest_canonical(one).get_fdata() for one in (a, b))
    assert 0.02 < again.mean() < 0.98  # both classes are there to be compared
    assert (again == there).mean() > 0.999


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 60, 3)])
def test_volumes_smaller_than_a_patch_are_segmented(run: Path, tmp_path: Path, shape: tuple[int, int, int]) -> None:
    source = store(tmp_path / "small.nii.gz", scan(shape))
    predict_files(run, source, tmp_path / "out.nii.gz")
    assert load(tmp_path / "out.nii.gz").shape == shape


# ---- folders and names -------------------------------------------------------------------------


def test_a_lits_folder_gives_segmentations_in_natural_order(run: Path, tmp_path: Path) -> None:
    data = lits(tmp_path / "data", [10, 2])
    store(data / "volume-3.nii", scan(seed=3))  # without a mask
    store(data / "._volume-2.nii.gz", scan())
    (data / "notes.txt").write_text("no scan")
    written = predict_files(run, data, tmp_path / "new" / "out", probabilities=True)
    assert [path.name for path in written] == [
        "segmentation-2.nii.gz",
        "segmentation-3.nii",
        "segmentation-10.nii.gz",
    ]
    assert names(tmp_path / "new") == sorted(
        [path.name for path in written] + [f"segmentation-{n}_probability-1.nii.gz" for n in (2, 3, 10)]
    )
    predict_files(run, data / "volume-10.nii.gz", tmp_path / "alone.nii.gz")
    np.testing.assert_array_equal(load(written[2]), load(tmp_path / "alone.nii.gz"))


def test_a_decathlon_folder_and_any_other_folder_keep_their_names(run: Path, tmp_path: Path) -> None:
    data = tmp_path / "Task"
    store(data / "imagesTr/case_1.nii.gz", scan())
    store(data / "labelsTr/case_1.nii.gz", mask())
    store(data / "imagesTs/case_2.nii.gz", scan())
    pair = {"image": "./imagesTr/case_1.nii.gz", "label": "./labelsTr/case_1.nii.gz"}
    (data / "dataset.json").write_text(json.dumps({"training": [pair], "modality": {"0": "CT"}}))
    predict_files(run, data, tmp_path / "a")
    assert names(tmp_path / "a") == ["case_1.nii.gz"]
    predict_files(run, data / "imagesTs", tmp_path / "b")
    assert names(tmp_path / "b") == ["case_2.nii.gz"]


def test_a_part_is_what_the_split_says(run: Path, tmp_path: Path) -> None:
    data = lits(tmp_path / "data", [1, 2, 3, 4])
    with pytest.raises(InputError, match=r"lacks volume-10 of the run's test cases"):
        predict_files(run, data, tmp_path / "out", part="test")
    for source, part, words in (
        (run, "all", "There is no part 'all'"),
        (run / "best.safetensors", "test", "split.json"),
    ):
        with pytest.raises(InputError, match=words):
            predict_files(source, data, tmp_path / "out", part=part)
    with pytest.raises(InputError, match=r"lacks volume-2 .*leave --part out"):
        predict_files(run, data / "volume-1.nii.gz", tmp_path / "out.nii.gz", part="train")
    assert not (tmp_path / "out").exists()
    written = predict_files(run, lits(data, [10]), tmp_path / "out", part="test")
    assert [path.name for path in written] == ["segmentation-10.nii.gz", "segmentation-4.nii.gz"]
    assert names(tmp_path / "out") == [path.name for path in written]


# ---- what is never overwritten -----------------------------------------------------------------


def test_predicting_again_replaces_predictions_but_not_corrections(run: Path, tmp_path: Path) -> None:
    data = lits(tmp_path / "data", [1, 2])
    out = tmp_path / "out"
    predict_files(run, data, out, probabilities=True)
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    predict_files(run, data, out, probabilities=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first

    image = nib.load(out / "segmentation-2.nii.gz")  # corrected by hand; the header keeps our description
    voxels = np.asarray(image.dataobj).copy()
    voxels[3, 3, 3] ^= 1
    nib.save(nib.Nifti1Image(voxels, image.affine, image.header), out / "segmentation-2.nii.gz")
    assert nib.load(out / "segmentation-2.nii.gz").header["descrip"].item().startswith(b"lrnet_edu predict ")
    (out / "segmentation-1.nii.gz").unlink()
    with pytest.raises(InputError, match=r"segmentation-2\.nii\.gz exists and is no unchanged output"):
        predict_files(run, data, out)
    assert not (out / "segmentation-1.nii.gz").exists()  # everything is looked at before anything is written
    np.testing.assert_array_equal(np.asarray(nib.load(out / "segmentation-2.nii.gz").dataobj), voxels)


def test_foreign_files_stay(run: Path, tmp_path: Path) -> None:
    data = lits(tmp_path / "data", [1])
    nifti.write(tmp_path / "sample.nii.gz", mask(), AFFINE)  # this package's, but no prediction
    write_map(data / "segmentation-1.nii.gz", tmp_path / "map.nii.gz")
    (tmp_path / "p_probability-1.nii.gz").write_text("mine")
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name in ("sample", "map", "p"):
        with pytest.raises(InputError, match="exists and is no unchanged output"):
            predict_files(run, data / "volume-1.nii.gz", tmp_path / f"{name}.nii.gz", probabilities=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files


def test_an_input_is_never_overwritten_even_if_this_command_wrote_it(run: Path, tmp_path: Path) -> None:
    scan_file = store(tmp_path / "a" / "scan.nii.gz", scan())
    predict_files(run, tmp_path / "a", tmp_path / "b")
    for source, out in ((tmp_path / "b", tmp_path / "b"), (scan_file, scan_file)):
        with pytest.raises(InputError, match="is an input and would be overwritten"):
            predict_files(run, source, out)
    with pytest.raises(InputError, match=r"let its name end in"):
        predict_files(run, scan_file, tmp_path / "out.nrrd")


def test_bad_scans_are_told_together_before_anything_is_written(run: Path, tmp_path: Path) -> None:
    """One is truncated, one a segmentation, and one has voxels of 90 mm."""
    data = lits(tmp_path / "data", [1, 2, 3, 4])
    whole = (data / "volume-1.nii.gz").read_bytes()
    (data / "volume-1.nii.gz").write_bytes(whole[: len(whole) // 2])
    store(data / "volume-2.nii.gz", np.resize(np.array([0, 1, 2], np.uint8), SHAPE))
    nifti.write(data / "volume-3.nii.gz", scan(), np.diag([90.0, 90.0, 90.0, 1.0]))
    faults = {1: "truncated", 2: "a segmentation, .*: give its scan", 3: "voxels of 90 x .* which no scan has"}
    for number, what in faults.items():
        with pytest.raises(InputError, match=rf"volume-{number}\.nii\.gz (is|has) {what}"):
            predict_files(run, data / f"volume-{number}.nii.gz", tmp_path / "out.nii.gz")
    with pytest.raises(InputError, match=r"^3 cannot be used: .*truncated.*; .*a segmentation.*; .*no scan has"):
        predict_files(run, data, tmp_path / "out")
    store(data / "volume-4.nii", scan())
    with pytest.raises(InputError, match=r"volume-4 in two formats"):
        predict_files(run, data, tmp_path / "out")
    assert names(tmp_path) == names(data)


def test_no_scan_is_taken_for_a_segmentation() -> None:
    """Neither a CT nor an MR, nor an empty field of view."""
    for number in (0, 3, 5):
        for name, expected in (("volume", False), ("segmentation", True)):
            assert is_segmentation(nifti.read_image(SAMPLES / f"{name}-{number}.nii.gz").data) is expected
    for values in ([0], [7], [-1, 0, 1], [0, 10], [0, 0.5], [0, 100, 200], [-1024, 3071]):
        assert not is_segmentation(np.resize(np.array(values, np.float32), SHAPE))
