"""The command line: it parses, calls and prints. Everything it calls can be called from Python as well.

The package's modules are imported inside the commands, so that ``lrnet-edu --help`` answers at once.
"""

import io
import os
import runpy
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer import Argument, Option
from typer.core import TyperGroup

from lrnet_edu import __version__
from lrnet_edu.support.errors import InputError


class Commands(TyperGroup):
    """Runs a command; a user's mistake is one sentence and exit code 2, never a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run what was typed, and turn the errors that a user can mend into their sentence."""
        os.environ["MPLBACKEND"] = "agg"  # figures go to files; a notebook's own backend may be missing here
        try:
            return super().invoke(ctx)
        except InputError as error:
            _fail(str(error), 2)
        except OSError as error:
            if error.filename is None:
                raise  # it is no file of the user's, but a pipe whose reader has gone
            _fail(f"{error.filename} cannot be used ({error.strerror}); check the path and its permissions.", 2)
        except KeyboardInterrupt:
            _fail("stopped; finished work is kept (train and pretrain go on from their last validation with --resume; "
                  "demo and reproduce as they are).", 130)  # fmt: skip


def _fail(sentence: str, code: int) -> NoReturn:
    typer.echo(f"lrnet-edu: {sentence}", err=True)
    raise typer.Exit(code)


def _check_place(out: Path, device: str | None = None) -> None:
    """InputError, before any work, unless a folder can be written that is not among scans, and the device is there."""
    from lrnet_edu.data.cases import check_not_among_scans
    from lrnet_edu.support.devices import choose_device
    from lrnet_edu.support.files import check_writable

    check_writable(out)
    check_not_among_scans(out)
    choose_device(device)


def _check_run(out: Path, device: str | None, config: Any, *, resume: bool) -> None:
    """InputError unless a run may begin, or go on, in its folder; says where the learning rate rises again."""
    from lrnet_edu.support.run_folder import check_run, settings_of_run

    _check_place(out, device)
    before = settings_of_run(out) if check_run(out, resume=resume) else {}
    if config.one_cycle and (steps := before.get("steps", config.steps)) < config.steps:
        typer.echo(f"From {steps} to {config.steps} steps: the learning rate rises again.")


app = typer.Typer(
    cls=Commands, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Distance-map regression for imbalanced segmentation: one paper, made executable. Start with "
    "`lrnet-edu demo`; every command explains itself with --help.",
)  # fmt: skip


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"lrnet_edu {__version__}")
        raise typer.Exit


Data = Annotated[Path, Option(help="Folder of scans: volume-N.nii.gz with segmentation-N.nii.gz (LiTS), or "
                              "dataset.json with imagesTr and labelsTr (Decathlon).")]  # fmt: skip
Label = Annotated[str, Option(help="The object: 2 (voxels equal to 2), 1+2 (their union), 1,2 (two objects).")]
Method = Annotated[str, Option(help="A row of Table 2: dice, mapdice, lrnet, dice+lrnet, mapdice+lrnet, "
                               "unfrozen-lrnet, wce, gds, tversky, focal-tversky, explog, multi-branch or "
                               "cascaded. A control: voxelwise, dice+voxelwise.")]  # fmt: skip
Kind = Annotated[str, Option(help="Distance map: O-DM, I-DM, NI-DM or SNI-DM.")]
Activation = Annotated[str | None, Option(help="Output layer of the LR-Net: relu, sigmoid or tanh; else by kind.")]
Preset = Annotated[str, Option(help="cpu (minutes), colab (a GPU), paper (the paper's sizes).")]
Out = Annotated[Path, Option(help="Folder to write; it may not hold another run.")]
Steps = Annotated[int | None, Option(help="Training steps, warm-up included; by preset when left out.")]
Seed = Annotated[int, Option(min=0, max=2**32 - 1, help="Seed of the weights and of every random patch.")]
Device = Annotated[str | None, Option(help="cpu, cuda, cuda:1, mps; left out: cuda if it is there, else cpu.")]
Window = Annotated[tuple[float, float] | None, Option(metavar="LOW HIGH", help="HU range, such as -200 250.")]
WarmUp = Annotated[int | None, Option(min=0, help="Steps of Dice before map or mask is regressed, else a quarter.")]
Resume = Annotated[bool, Option("--resume", help="Go on with the run in --out, by the same settings or more steps.")]


@app.command()
def demo(
    out: Annotated[Path, Option(help="Folder for the runs, results.csv and report.html.")] = Path("runs/demo"),
    seed: Seed = 0,
) -> None:
    """Run the paper, and its test in small, on phantom CTs.

    Maps, an LR-Net, an M-Net and two ways on for it, lesions found and false ones, a report.
    """
    from lrnet_edu.study.demo import run_demo
    from lrnet_edu.support.files import folder_lock

    _check_place(out)
    with folder_lock(out):
        run_demo(out, seed=seed)


@app.command()
def samples(
    out: Annotated[Path, Argument(metavar="OUT", help="Folder to write the phantom CTs into.")],
    which: Annotated[str, Option("--set", help="Set of phantoms: course, study or study-b.")] = "course",
    cases: Annotated[int, Option(min=1, help="How many.")] = 20,
    first: Annotated[int, Option(min=0, help="Number of the first one.")] = 0,
) -> None:
    """Write phantom CTs. Without options, the same 20 as in data_samples/."""
    from lrnet_edu.data.phantoms.phantom import write_samples
    from lrnet_edu.support.files import check_writable, folder_lock

    check_writable(out)
    with folder_lock(out):
        files = write_samples(out, cases, first, which)
    typer.echo(f"Wrote {len(files)} files to {out}.")


@app.command()
def crop(
    data: Annotated[Path, Argument(metavar="DATA", help="Folder of scans, as for train.")],
    out: Annotated[Path, Argument(metavar="OUT", help="New folder for the cut scans and masks.")],
    around: Annotated[str | None, Option(metavar="LABEL", help="Cut to the box of this object.")] = None,
    margin: Annotated[float, Option(min=0, metavar="MM", help="What stays around it on every side.")] = 0.0,
    random_boxes: Annotated[
        str | None, Option(metavar="LABEL", help="Crop or pad every side at random, never into this object.")
    ] = None,
) -> None:
    """Cut scans and masks to boxes. They become a new data set in the layout of the old one."""
    from lrnet_edu.data.crop import crop_scans

    if around is not None and random_boxes is None:
        files = crop_scans(data, out, around, margin, say=typer.echo)
    elif random_boxes is not None and around is None and not margin:
        files = crop_scans(data, out, random_boxes, random=True, say=typer.echo)
    else:
        raise InputError("Give either --around LABEL, with --margin MM if you like, or --random-boxes LABEL.")
    typer.echo(f"Wrote {len(files)} files to {out}.")


@app.command()
def fetch(
    task: Annotated[str, Argument(metavar="TASK", help="Task04_Hippocampus (27 MB) or Task03_Liver (27 GB).")],
    out: Annotated[Path, Argument(metavar="OUT", help="Folder in which the folder TASK is made.")] = Path("."),
) -> None:
    """Download real scans of the Decathlon. Call it again after a stop: it goes on where it was.

    Task04_Hippocampus: 260 small MRs, label 1 the anterior and 2 the posterior part. Task03_Liver: the 131 public
    CTs of LiTS, label 1 the liver and 2 the tumour. By Antonelli et al. (2022), CC BY-SA 4.0.
    """
    from lrnet_edu.data.fetch import fetch_task

    folder = fetch_task(task, out, say=typer.echo)
    typer.echo(f"The scans are in {folder}: --data {folder} for train and reproduce.")


@app.command()
def maps(
    segmentation: Annotated[Path, Argument(metavar="SEGMENTATION", help="NIfTI file with a mask.")],
    out: Annotated[Path, Argument(metavar="OUT", help="NIfTI file to write: float32, same grid and affine.")],
    kind: Kind = "NI-DM",
    label: Annotated[str | None, Option(help="The object, 2 or 1+2; else every voxel that is not 0.")] = None,
    spacing_aware: Annotated[bool, Option("--spacing-aware", help="Measure in mm, not in voxels.")] = False,
) -> None:
    """Compute the distance map of a segmentation (section 2.1)."""
    from lrnet_edu.commands.maps import write_map

    write_map(segmentation, out, kind=kind, label=label, spacing_aware=spacing_aware)
    typer.echo(f"Wrote the {kind} of {segmentation} to {out}.")


@app.command()
def pretrain(
    out: Out,
    data: Annotated[Path | None, Option(help="Folder of scans, as in train; its masks.")] = None,
    label: Annotated[str | None, Option(help="The object in --data, as in train.")] = None,
    synthetic: Annotated[bool, Option("--synthetic", help="Random shapes instead of --data.")] = False,
    kind: Kind = "NI-DM",
    activation: Activation = None,
    steps: Annotated[int | None, Option(help="Training steps; 900 when left out.")] = None,
    preset: Annotated[str | None, Option(help="With --data: the grid of train's --preset, cpu when left out.")] = None,
    seed: Seed = 0,
    device: Device = None,
    resume: Resume = False,
) -> None:
    """Teach the LR-Net the distance map of a mask (section 2.2)."""
    from lrnet_edu.config import preset as preset_config
    from lrnet_edu.config import pretrain_config
    from lrnet_edu.lrnet_training import pretrain_run

    if synthetic == (data is not None) or synthetic == (label is not None) or (synthetic and preset):
        raise InputError("Give either --data with --label (in LiTS 2 is the tumour), or --synthetic alone.")
    config = pretrain_config(kind, activation=activation, seed=seed, steps=steps)
    _check_run(out, device, config, resume=resume)
    scans = (data, preset_config(preset or "cpu", label=label)) if data else None
    quality = pretrain_run(out, scans=scans, config=config, device=device, resume=resume)
    typer.echo(f"Held-out masks: Dice {quality.dice:.4f}, error of phi {quality.error:.3f}. Weights in {out}.")


@app.command()
def train(
    data: Data, label: Label, method: Method, out: Out, preset: Preset = "cpu", kind: Kind = "NI-DM",
    activation: Activation = None,
    alpha: Annotated[float | None, Option(min=0, help="Weight of the regression loss, else by kind.")] = None,
    lrnet: Annotated[Path | None, Option(help="Your own LR-Net from pretrain; else the shipped one.")] = None,
    steps: Steps = None, warmup_steps: WarmUp = None, seed: Seed = 0, window: Window = None,
    split: Annotated[Path | None, Option(help="A split.json to use instead of a random split.")] = None,
    device: Device = None, resume: Resume = False,
) -> None:  # fmt: skip
    """Train the M-Net on your own scans. It learns alone or in tandem with the frozen LR-Net."""
    from lrnet_edu.config import preset as preset_config
    from lrnet_edu.data.crop import cropped_around
    from lrnet_edu.data.study import open_study
    from lrnet_edu.methods import METHODS, lrnet_of
    from lrnet_edu.mnet_training import train_run

    config = preset_config(
        preset, label=label, method=method, kind=kind, activation=activation, alpha=alpha,
        lrnet=str(lrnet) if lrnet else None, steps=steps, warmup_steps=warmup_steps, seed=seed, window=window,
    )  # fmt: skip
    row = METHODS[method]
    options: dict[str, tuple[Any, bool]] = {
        "--lrnet": (lrnet, row.uses_lrnet), "--activation": (activation, row.uses_lrnet),
        "--kind": (None if kind == "NI-DM" else kind, row.uses_lrnet),
        "--alpha": (alpha, row.alpha(config) is not None), "--warmup-steps": (warmup_steps, row.warms_up),
    }  # fmt: skip
    if names := [name for name, (value, used) in options.items() if value is not None and not used]:
        raise InputError(f"Method {method} does not use {', '.join(names)}; leave that out, or take one that does, as "
                         "dice+lrnet.")  # fmt: skip
    _check_run(out, device, config, resume=resume)
    if row.uses_lrnet:
        lrnet_of(config)  # a wrong --lrnet is told before the scans are prepared
    study = open_study(data, config, split=split)
    typer.echo(study.describe())
    if cropped_around(data, label):
        typer.echo("The object lies in the very middle of every scan, so that its place gives it away; lrnet-edu crop "
                   f"{data} OUT --random-boxes {label} makes a data set where it does not.")  # fmt: skip
    state = train_run(study, config, out, device=device, resume=resume)
    part = "test" if study.split["test"] else "validation"
    follow = shlex.join(["lrnet-edu", "predict", str(out), str(data), "PREDICTIONS", "--part", part])
    typer.echo(f"Best validation DC {state.best_score:.3f} at step {state.best_step} of {state.step}. Next: {follow}")


@app.command()
def predict(
    run: Annotated[Path, Argument(metavar="RUN|CHECKPOINT", help="Run folder of train, or a .safetensors file.")],
    input: Annotated[Path, Argument(metavar="INPUT", help="A scan, or a folder of scans without segmentation-*.")],
    out: Annotated[Path, Argument(metavar="OUT", help="A file for a scan, a folder for a folder.")],
    part: Annotated[str | None, Option(help="Only the run's train, validation or test cases of INPUT.")] = None,
    probabilities: Annotated[bool, Option("--probabilities", help="Write each object's beside the labels.")] = False,
    device: Device = None,
) -> None:
    """Segment scans with a trained M-Net. The LR-Net is not needed any more."""
    from lrnet_edu.commands.predict import predict_files

    written = predict_files(run, input, out, part=part, probabilities=probabilities, device=device)
    typer.echo(f"Wrote {len(written)} segmentation{'s' * (len(written) != 1)} to {out}.")


@app.command()
def evaluate(
    predictions: Annotated[Path, Argument(metavar="PREDICTIONS", help="Folder of predicted segmentations.")],
    references: Annotated[Path, Argument(metavar="REFERENCES", help="Folder with references of the same names.")],
    label: Label,
    json_file: Annotated[Path | None, Option("--json", help="Write the scores to this file as well.")] = None,
    challenge: Annotated[bool, Option("--challenge", help="Add the LiTS board's; liver 1, lesion 2 in files.")] = False,
) -> None:
    """Score predictions by the seven criteria (section 3)."""
    from lrnet_edu.commands.evaluate import evaluate_folders, scores_as_text

    scores = evaluate_folders(
        predictions, references, label=label, json_file=json_file, challenge=challenge, say=typer.echo
    )
    typer.echo(scores_as_text(scores, label))


@app.command()
def reproduce(
    table: Annotated[str, Argument(metavar="TABLE", help="table1, table2 or study.")],
    out: Annotated[Path, Option(help="Folder for runs, scores and tables; several tables may share it.")],
    data: Annotated[Path | None, Option(help="Folder of scans, as in train; the study makes its own.")] = None,
    label: Annotated[str | None, Option(help="The object, as in train; the study's is its lesions.")] = None,
    seeds: Annotated[int | None, Option(min=1, help="Seeds 0, 1, ... of each row; 3, in the study 10 at most.")] = None,
    preset: Preset = "cpu", steps: Steps = None, warmup_steps: WarmUp = None, window: Window = None,
    workers: Annotated[int, Option(min=1, help="Processes that share the runs, on a CPU one core each.")] = 1,
    device: Device = None,
) -> None:  # fmt: skip
    """Reproduce a table of the paper, or the study. Call it again after a stop: finished trainings are kept."""
    from lrnet_edu.config import table_preset
    from lrnet_edu.study.evidence_text import outcomes, verdicts
    from lrnet_edu.study.reproduce import reproduce_table
    from lrnet_edu.study.reproduce_study import reproduce_study
    from lrnet_edu.study.text import claim_in_words

    if table == "study" and (data or label or steps or window or warmup_steps is not None or preset != "cpu"):
        raise InputError("The study has phantoms and settings of its own; give no more than --out, --seeds, --workers "
                         "and --device.")  # fmt: skip
    if table != "study" and (data is None or label is None):
        raise InputError("table1 and table2 need --data and --label: the scans, and the object in their masks.")
    _check_place(out, device)
    if data is None or label is None:
        result = reproduce_study(out, seeds=seeds or 10, workers=workers, device=device, say=typer.echo)
        said = [*verdicts(result), *outcomes(result)]
    else:
        config = table_preset(preset, label=label, steps=steps, warmup_steps=warmup_steps, window=window)
        command = shlex.join(["lrnet-edu", *sys.argv[1:]])
        result = reproduce_table(
            table, data, out, config, seeds=seeds or 3, workers=workers, device=device, command=command, say=typer.echo
        )
        said = [claim_in_words(claim) for claim in result.get("claims", [])]
    typer.echo("\n".join(["", *said, "", f"The page is {out / table}.md."]))


@app.command()
def export_course(
    out: Annotated[Path, Argument(metavar="OUT", help="Folder for the pages: new, empty or written by this.")],
) -> None:
    """Write the course as web pages. They need no network: viewers, formulas and pictures are inside."""
    script = Path(__file__).parents[1] / "notebooks" / "export.py"
    if not script.is_file():
        raise InputError("The notebooks are not installed with the package: run export-course from a clone of it.")
    pages = runpy.run_path(str(script))["export_course"](out)
    typer.echo(f"Wrote {len(pages)} notebooks; open {out / 'index.html'} in a browser.")


def main() -> None:
    """The entry point of ``lrnet-edu``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # no letter that a pipe on Windows lacks is worth a run
    app(prog_name="lrnet-edu")
