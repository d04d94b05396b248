"""Predictions of files: names, grids, values, and what is never overwritten."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scans import AFFINE, SHAPE, checkpoint, contents, lits, load, mask, scan, store

from lrnet_edu.commands.maps import write_map
from lrnet_edu.commands.predict import predict_files
from lrnet_edu.data import nifti
from lrnet_edu.data.crop import crop_scans
from lrnet_edu.data.preprocessing import read_scan
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


def test_labels_and_probabilities_of_two_objects_on_the_scan_s_grid(tmp_path: Path) -> None:
    source = store(tmp_path / "scan.nii.gz", scan())
    trained = checkpoint(tmp_path / "m.safetensors", "3,5+6")
    assert predict_files(trained, source, tmp_path / "out.nii", probabilities=True) == [tmp_path / "out.nii"]
    np.testing.assert_allclose(nib.load(tmp_path / "out.nii").affine, AFFINE)
    shares = [load(tmp_path / f"out_probability-{label}.nii.gz") for label in ("3", "5+6")]
    everything, labels = np.stack([1 - shares[0] - shares[1], *shares]), load(tmp_path / "out.nii")
    assert (labels.dtype, shares[0].dtype) == (np.uint8, np.float32)
    assert everything.min() > -1e-5
    assert len(np.unique(everything.argmax(0))) > 1
    np.testing.assert_array_equal(labels, np.array([0, 3, 5])[everything.argmax(0)])


def test_axis_order_and_flips_do_not_matter(run: Path, tmp_path: Path) -> None:
    image = nib.load(store(tmp_path / "a.nii.gz", scan()))
    turned = image.as_reoriented(np.array([[2, -1], [0, 1], [1, 1]]))
    nib.save(turned, tmp_path / "b.nii.gz")
    a, b = (nib.load(predict_files(run, tmp_path / f"{name}.nii.gz", tmp_path / f"out-{name}.nii.gz")[0])
            for name in "ab")  # fmt: skip
    assert b.shape == turned.shape
    np.testing.assert_allclose(b.affine, turned.affine, atol=1e-5)
    again, there = (nib.as_closest_canonical(one).get_fdata() for one in (a, b))
    assert 0.02 < again.mean() < 0.98  # both classes are there to be compared
    assert (again == there).mean() > 0.999


def test_a_lits_folder_gives_segmentations_in_natural_order(run: Path, tmp_path: Path) -> None:
    data = lits(tmp_path / "data", [10, 2])
    store(data / "volume-3.nii", scan(seed=3))  # without a mask
    store(data / "._volume-2.nii.gz", scan())
    (data / "notes.txt").write_text("no scan")
    written = predict_files(run, data, tmp_path / "new" / "out", probabilities=True)
    labels = ["segmentation-2.nii.gz", "segmentation-3.nii", "segmentation-10.nii.gz"]
    assert [path.name for path in written] == labels
    assert {*contents(written[0].parent)} == {*labels, *(f"segmentation-{n}_probability-1.nii.gz" for n in (2, 3, 10))}
    predict_files(run, data / "volume-10.nii.gz", tmp_path / "alone.nii.gz")
    np.testing.assert_array_equal(load(written[2]), load(tmp_path / "alone.nii.gz"))


def test_a_listed_case_is_called_like_its_mask_and_any_other_keeps_its_name(run: Path, tmp_path: Path) -> None:
    data = tmp_path / "Task"
    for folder, name in (("imagesTr", "case_1_0000"), ("labelsTr", "case_1"), ("imagesTs", "case_2")):
        store(data / folder / f"{name}.nii.gz", scan() if folder.startswith("images") else mask())
    pair = {"image": "./imagesTr/case_1_0000.nii.gz", "label": "./labelsTr/case_1.nii.gz"}
    (data / "dataset.json").write_text(json.dumps({"training": [pair], "modality": {"0": "CT"}}))
    for source, name in ((data, "case_1.nii.gz"), (data / "imagesTs", "case_2.nii.gz")):
        assert [path.name for path in predict_files(run, source, tmp_path / "out" / source.name)] == [name]


def test_a_part_is_what_the_split_says(run: Path, tmp_path: Path) -> None:
    data, healthy = lits(tmp_path / "data", [1, 2, 3, 4]), shutil.copytree(run, tmp_path / "healthy")
    (healthy / "split.json").write_text('{"test": []}')
    for source, images, part, words in (
        (run, data, "test", "lacks volume-10 of the run's test cases"),
        (run, data, "all", "There is no part 'all'"),
        (run / "best.safetensors", data, "test", r"split\.json"),
        (run, data / "volume-1.nii.gz", "train", "lacks volume-2"),
        (healthy, data, "test", "The run has no test cases"),
    ):
        with pytest.raises(InputError, match=words):
            predict_files(source, images, tmp_path / "out", part=part)
    assert not (tmp_path / "out").exists()
    predict_files(run, lits(data, [10]), tmp_path / "out", part="test")
    assert {*contents(tmp_path / "out")} == {"segmentation-10.nii.gz", "segmentation-4.nii.gz"}


def test_both_placements_and_their_codes_are_those_of_the_input(tmp_path: Path) -> None:
    for kind, voxels in (("volume", scan()), ("segmentation", mask())):
        image = nib.Nifti1Image(voxels.T, None)
        image.set_qform(AFFINE, 1)
        image.set_sform(AFFINE + 5 * np.eye(4, k=3), 4)  # MNI beside the scanner's
        nib.save(image, store(tmp_path / "data" / f"{kind}-1.nii.gz", voxels))
    data, trained = tmp_path / "data", checkpoint(tmp_path / "best.safetensors")
    predict_files(trained, data / "volume-1.nii.gz", tmp_path / "p.nii.gz", probabilities=True)
    write_map(data / "segmentation-1.nii.gz", tmp_path / "map.nii.gz")
    crop_scans(data, tmp_path / "cropped", "1", 999)
    fields = ("sform_code", "qform_code", "srow_x", "quatern_b", "quatern_d", "qoffset_x")
    placed = [[nib.load(path).header[field].tolist() for field in fields] for path in tmp_path.rglob("*.nii.gz")]
    assert placed == placed[:1] * (2 + 3 + 2)


def test_predicting_again_replaces_predictions_but_not_corrections(run: Path, tmp_path: Path) -> None:
    data, out = lits(tmp_path / "data", [1, 2]), tmp_path / "out"
    predict_files(run, data, out, probabilities=True)
    first = contents(out)
    predict_files(run, data, out, probabilities=True)
    assert contents(out) == first

    image = nib.load(out / "segmentation-2.nii.gz")  # corrected by hand; the header keeps our description
    voxels = np.asarray(image.dataobj).copy()
    voxels[3, 3, 3] ^= 1
    nib.save(nib.Nifti1Image(voxels, image.affine, image.header), out / "segmentation-2.nii.gz")
    (out / "segmentation-1.nii.gz").unlink()
    with pytest.raises(InputError, match=r"segmentation-2\.nii\.gz exists and is no unchanged output"):
        predict_files(run, data, out)
    assert not (out / "segmentation-1.nii.gz").exists()  # everything is looked at before anything is written
    np.testing.assert_array_equal(np.asarray(nib.load(out / "segmentation-2.nii.gz").dataobj), voxels)


def test_inputs_and_files_of_others_stay(run: Path, tmp_path: Path) -> None:
    data, exists = lits(tmp_path / "data", [1]), "exists and is no unchanged output"
    volume, mine = data / "volume-1.nii.gz", predict_files(run, data, tmp_path / "mine")[0]
    nifti.write(tmp_path / "sample.nii.gz", mask(), AFFINE)  # this package's, but no prediction
    write_map(data / "segmentation-1.nii.gz", tmp_path / "map.nii.gz")
    (tmp_path / "p_probability-1.nii.gz").write_text("mine")
    files = contents(tmp_path)
    for source, out, words in (
        *((volume, tmp_path / f"{name}.nii.gz", exists) for name in ("sample", "map", "p")),
        *((source, source, words) for source, words in ((volume, "holds scans"), (mine, "would be overwritten"))),
        (volume, tmp_path / "out.nrrd", "let its name end in"),
    ):
        with pytest.raises(InputError, match=words):
            predict_files(run, source, out, probabilities=True)
    assert contents(tmp_path) == files


def test_bad_scans_are_told_together_before_anything_is_written(run: Path, tmp_path: Path) -> None:
    """One is truncated, one a segmentation, and 20 voxels of 90 mm would be 600 million on the network's grid."""
    data = lits(tmp_path / "data", [1, 2, 3, 4])
    whole = (data / "volume-1.nii.gz").read_bytes()
    (data / "volume-1.nii.gz").write_bytes(whole[: len(whole) // 2])
    store(data / "volume-2.nii.gz", np.resize(np.array([0, 1, 2], np.uint8), SHAPE))
    nifti.write(data / "volume-3.nii.gz", scan(), np.diag([90.0, 90.0, 90.0, 1.0]))
    with pytest.raises(InputError, match=r"^3 cannot be used: .*-1.*truncated.*; .*-2.*a segmentation.*; .*-3.*90 x"):
        predict_files(run, data, tmp_path / "out")
    store(data / "volume-4.nii", scan())
    with pytest.raises(InputError, match=r"volume-4 in two formats"):
        predict_files(run, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_scan_is_taken_for_a_segmentation(tmp_path: Path) -> None:
    """Neither a CT nor an MR, nor an empty field of view."""
    for number in (0, 3, 5):
        read_scan(SAMPLES / f"volume-{number}.nii.gz")
        with pytest.raises(InputError, match="a segmentation"):
            read_scan(SAMPLES / f"segmentation-{number}.nii.gz")
    for values in ([0], [7], [-1, 0, 1], [0, 10], [0, 0.5], [0, 100, 200], [-1024, 3071]):
        store(tmp_path / "scan.nii.gz", np.resize(np.array(values, np.float32), SHAPE))
        read_scan(tmp_path / "scan.nii.gz")
