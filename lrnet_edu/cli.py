"""The command line: it parses, calls and prints. Everything it calls can be called from Python as well.

The package's modules are imported inside the commands, so that ``lrnet-edu --help`` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from lrnet_edu.errors import InputError

app = typer.Typer(
    help="Distance-map regression for imbalanced segmentation: one paper, made executable. Start with `lrnet-edu "
    "demo`; every command explains itself with --help.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Data = Annotated[Path, typer.Option(help="Folder of scans: volume-N.nii.gz with segmentation-N.nii.gz (LiTS), or "
                                    "dataset.json with imagesTr and labelsTr (Decathlon).")]  # fmt: skip
Label = Annotated[str, typer.Option(help="The object: 2 (voxels equal to 2), 1+2 (their union), 1,2 (two classes).")]
Kind = Annotated[str, typer.Option(help="Distance map: O-DM, I-DM, NI-DM or SNI-DM.")]
Out = Annotated[Path, typer.Option(help="Folder to write; it may not hold another run.")]
Seed = Annotated[int, typer.Option(help="Seed of the weights and of every random patch.")]
Device = Annotated[Optional[str], typer.Option(help="cpu, cuda, cuda:1, mps; found by itself when left out.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out where it stopped.")]


@app.command()
def demo(out: Annotated[Path, typer.Option(help="Folder for the runs, results.csv and report.html.")] = Path("runs/demo"),
         seed: Seed = 0) -> None:  # fmt: skip
    """The whole paper on the sample data: maps, LR-Net, M-Net alone and in tandem, seven criteria, a report."""
    from lrnet_edu.demo import run_demo

    run_demo(out, seed=seed)


@app.command()
def samples(out: Annotated[Path, typer.Argument(help="Folder to write the sample CTs into.")]) -> None:
    """Write the phantom CTs of data_samples/ again: equal voxels, equal headers."""
    from lrnet_edu.data.phantoms import write_samples

    files = write_samples(out)
    typer.echo(f"Wrote {len(files)} files to {out}.")


@app.command()
def maps(
    segmentation: Annotated[Path, typer.Argument(help="NIfTI file with a mask.")],
    out: Annotated[Path, typer.Argument(help="NIfTI file to write: float32, same grid and affine.")],
    kind: Kind = "NI-DM",
    label: Annotated[Optional[str], typer.Option(help="2 or 1+2; without it every voxel that is not 0.")] = None,
    spacing_aware: Annotated[bool, typer.Option("--spacing-aware", help="Measure in mm, not in voxels.")] = False,
) -> None:
    """Compute the distance map of a segmentation (section 2.1)."""
    from lrnet_edu.files import write_map

    write_map(segmentation, out, kind=kind, label=label, spacing_aware=spacing_aware)
    typer.echo(f"Wrote the {kind} of {segmentation} to {out}.")


@app.command()
def pretrain(
    out: Out,
    data: Annotated[Optional[Path], typer.Option(help="Folder of scans; only their masks are used.")] = None,
    label: Annotated[Optional[str], typer.Option(help="The object in --data, as in train.")] = None,
    synthetic: Annotated[bool, typer.Option("--synthetic", help="Random shapes instead of --data.")] = False,
    kind: Kind = "NI-DM",
    activation: Annotated[Optional[str], typer.Option(help="relu, sigmoid or tanh; by kind when left out.")] = None,
    steps: Annotated[Optional[int], typer.Option(help="Training steps.")] = None,
    seed: Seed = 0,
    device: Device = None,
    resume: Resume = False,
) -> None:
    """Teach the LR-Net to compute a distance map from a mask (section 2.2)."""
    from lrnet_edu.pretraining import pretrain_run

    if synthetic == (data is not None):
        raise InputError("Give either --data with --label, or --synthetic.")
    if data is not None and label is None:
        raise InputError("--data needs --label, the object's number in the masks (for LiTS, 2 is the tumour).")
    quality = pretrain_run(
        out, data=data, label=label, kind=kind, activation=activation, steps=steps, seed=seed, device=device,
        resume=resume,
    )  # fmt: skip
    typer.echo(f"Held-out masks: Dice {quality.dice:.4f}, error of phi {quality.error:.3f}. Weights in {out}.")


@app.command()
def train(
    data: Data,
    label: Label,
    method: Annotated[str, typer.Option(help="A row of Table 2, such as dice, mapdice, dice+lrnet, mapdice+lrnet.")],
    out: Out,
    preset: Annotated[str, typer.Option(help="cpu (minutes), colab (a GPU), paper (the paper's sizes).")] = "cpu",
    kind: Kind = "NI-DM",
    activation: Annotated[Optional[str], typer.Option(help="Output layer of the LR-Net; by kind when left out.")] = None,
    alpha: Annotated[Optional[float], typer.Option(help="Weight of the regression loss; by kind when left out.")] = None,
    lrnet: Annotated[Optional[Path], typer.Option(help="An own LR-Net from pretrain; else the shipped one.")] = None,
    steps: Annotated[Optional[int], typer.Option(help="Training steps, warm-up included.")] = None,
    seed: Seed = 0,
    window: Annotated[Optional[tuple[float, float]], typer.Option(help="HU range, such as -200 250.")] = None,
    split: Annotated[Optional[Path], typer.Option(help="A split.json to use instead of a random split.")] = None,
    random_boxes: Annotated[bool, typer.Option(
        "--random-boxes", help="Crop or pad every case at random, so that an object's position tells nothing."
    )] = False,
    device: Device = None,
    resume: Resume = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard events too.")] = False,
) -> None:  # fmt: skip
    """Train the M-Net, alone or in tandem with the frozen LR-Net, on your own scans."""
    from lrnet_edu import config
    from lrnet_edu.segmentation import train_folder

    settings = config.preset(
        preset, label=label, method=method, kind=kind, activation=activation, alpha=alpha,
        lrnet=str(lrnet) if lrnet else None, steps=steps, seed=seed, window=window,
        random_boxes=random_boxes or None,
    )  # fmt: skip
    train_folder(data, settings, out, split=split, device=device, resume=resume, tensorboard=tensorboard)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN|CHECKPOINT", help="Run folder of train, or a .safetensors.")],
    input: Annotated[Path, typer.Argument(help="A scan, or a folder of scans (or the folder that was trained on).")],
    out: Annotated[Path, typer.Argument(help="A file for a scan, a folder for a folder.")],
    part: Annotated[Optional[str], typer.Option(help="Only train, validation or test cases of the run.")] = None,
    probabilities: Annotated[bool, typer.Option(
        "--probabilities", help="Write each object's probability beside the labels."
    )] = False,
    device: Device = None,
) -> None:  # fmt: skip
    """Segment scans with a trained M-Net; the LR-Net is not needed any more."""
    from lrnet_edu.files import predict_files

    written = predict_files(run, input, out, part=part, probabilities=probabilities, device=device)
    typer.echo(f"Wrote {len(written)} segmentation{'s' * (len(written) != 1)} to {out}.")


@app.command()
def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder of predicted segmentations.")],
    references: Annotated[Path, typer.Argument(help="Folder with reference files of the same names.")],
    label: Label,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the scores to this file too.")] = None,
) -> None:
    """Score predictions by the seven criteria of the paper (section 3, Evaluation Criteria)."""
    from lrnet_edu.files import evaluate_folders, print_scores

    print_scores(evaluate_folders(predictions, references, label=label, json_file=json_file))


def main() -> None:
    """Run a command; a user's mistake is one sentence and exit code 2, never a traceback."""
    try:
        app()
    except InputError as error:
        print(f"lrnet-edu: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("lrnet-edu: stopped; finished work is kept (train and pretrain go on with --resume).", file=sys.stderr)  # noqa: T201
        raise SystemExit(130) from None
