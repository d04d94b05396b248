# %% [markdown]
# # 08 · Your own data and network
#
# Everything so far ran on phantoms and on the course's own M-Net. Here you leave both behind: a folder of your scans
# goes through training, prediction and evaluation, and the LR-Net goes behind a network that somebody else has
# written.
#
# **Afterwards you can**
# - train on LiTS, on a task of the Decathlon or on a folder of your own, and read what goes wrong in one sentence,
# - choose label, grid and $\alpha$ for your objects,
# - put the paper's loss behind any segmentation network, with MONAI's UNet and Lightning's trainer as examples.
#
# **Takes** 50 minutes to read and try; the cells run in about a minute on two CPU cores. On a GPU they train longer;
# that time was not measured.

# %% tags=["parameters"]
from lrnet_edu.config import fast

FAST = fast()  # the environment variable LRNET_EDU_FAST=1: everything small
GPU = device.type == "cuda"
STEPS = 8 if FAST else 400 if GPU else 60  # of the training on "your" folder
NETWORK_STEPS = 8 if FAST else 300 if GPU else 60  # of the network from another library

# %% [markdown]
# ## 1 · A folder of your own
#
# The package knows two layouts. **LiTS**: `volume-N.nii.gz` with `segmentation-N.nii.gz` beside it. **Decathlon**: a
# `dataset.json` that lists pairs of files, usually in `imagesTr` and `labelsTr`. It tells them apart by itself.
#
# We make a folder in each layout out of six sample scans, in a temporary place. With scans of your own, skip this cell
# and put your folder's name in place of `my_scans` below.

# %%
import json
import os
import shutil
import tempfile
from pathlib import Path

from lrnet_edu.data.samples import sample_folder

place = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
os.chdir(place.name)  # all that this notebook writes goes there
os.environ["LRNET_EDU_CACHE"] = "cache"  # prepared scans; your system's cache folder where it is not set

my_scans, decathlon = Path("my_scans"), Path("Task99_Liver")
for folder in (my_scans, decathlon / "imagesTr", decathlon / "labelsTr"):
    folder.mkdir(parents=True)
pairs = []
for number in range(6):
    image, mask = (sample_folder() / f"{kind}-{number}.nii.gz" for kind in ("volume", "segmentation"))
    shutil.copy(image, my_scans)
    shutil.copy(mask, my_scans)
    name = f"liver_{number:03}.nii.gz"
    shutil.copy(image, decathlon / "imagesTr" / name)
    shutil.copy(mask, decathlon / "labelsTr" / name)
    pairs.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
listing = {"modality": {"0": "CT"}, "labels": {"1": "liver", "2": "lesion"}, "training": pairs}
with open(decathlon / "dataset.json", "w") as file:
    json.dump(listing, file, indent=2)
# %% tags=["nbval-check-output"]
from lrnet_edu import find_cases

for folder in (my_scans, decathlon):
    cases = find_cases(folder)
    first = cases[0]
    print(f"{len(cases)} cases in {folder}; the first: {first.name}, {first.image.name} with {first.mask.name}")

# %% [markdown]
# Your scans are DICOM? `dcm2niix` turns a series into one NIfTI file, with spacing and orientation in its header. Your
# masks need whole numbers: 0 for the background, any number from 1 to 255 for each kind of object.
#
# ## 2 · What goes wrong, in one sentence
#
# Most trainings on new data fail before the first step. **Question.** What would you want to read if your mask had
# another shape than its scan: a traceback of forty lines, or what?

# %%
import textwrap

from lrnet_edu import InputError
from lrnet_edu.config import preset
from lrnet_edu.data.study import open_study

mixed_up = Path("mixed_up")
mixed_up.mkdir()
for number, other in ((0, 1), (1, 0), (2, 2)):  # the masks of 0 and 1 are swapped
    shutil.copy(my_scans / f"volume-{number}.nii.gz", mixed_up)
    shutil.copy(my_scans / f"segmentation-{other}.nii.gz", mixed_up / f"segmentation-{number}.nii.gz")
orphan = Path("orphan")
orphan.mkdir()
shutil.copy(my_scans / "segmentation-3.nii.gz", orphan)

mistakes = [
    ("the folder's name is misspelt", "my_scan", "2"),
    ("a mask has lost its scan", "orphan", "2"),
    ("two masks were swapped", "mixed_up", "2"),
    ("no mask holds this label", "my_scans", "3"),
    ("labels are written in another way", "my_scans", "1;2"),
    ("the loss has another name", "my_scans", "2"),
]
indent, whole = "    ", {"break_on_hyphens": False, "break_long_words": False}  # only to fit on the page
for what, folder, label in mistakes:
    method = "dise" if "loss" in what else "dice"
    try:
        open_study(Path(folder), preset("cpu", label=label, method=method))
    except InputError as error:
        print(f"{what}:\n{textwrap.fill(str(error), 100, initial_indent=indent, subsequent_indent=indent, **whole)}")

# %% [markdown]
# Every mistake that a user can make is an `InputError`: what is wrong, then what to do. The command line prints the
# same sentence and ends with exit code 2.
#
# ### Exercise 8.1 · Which label?
# Your masks hold 1 for the kidney, 2 for tumours, 3 for cysts. You want **two** objects: the kidney as class 1, and
# tumours and cysts together, as one object, as class 2. What do you give as `--label`? (In notebook 02 "1,2" made two
# objects; a plus sign makes one of several numbers.)

# %% tags=["exercise"]
answer = None

# %%
exercises.check_8_1(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# answer = "1,2+3"
# ```
# </details>

# %% [markdown]
# ## 3 · Which grid?
#
# Scans are resampled to cubes before training. How large the cubes are is your most important choice, for two things
# pull in opposite directions:
# - on a **coarse** grid a small lesion is less than a voxel,
# - on a **fine** grid a large lesion outgrows the LR-Net, which sees 15 voxels to either side. The middle of a ball with
#   a radius of more than 14 voxels sees no background along the axes, and $M_C$ of Eq. 1 can only be guessed
#   (notebook 03).
#
# And a grid twice as fine has eight times as many voxels. **Question.** Which grid would you choose for these lesions?
# Move the slider.

# %%
import numpy as np
from scipy import ndimage

from lrnet_edu.data.nifti import read_mask

radii, of_case, volumes = [], [], []  # mm, number, mm³
names = [case.name for case in find_cases(my_scans)]
for number, case in enumerate(find_cases(my_scans)):
    mask = read_mask(case.mask)
    voxel = np.prod(mask.spacing)  # mm³
    parts, count = ndimage.label(mask.data == 2, np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())[1:] * voxel
    radii += list((3 * sizes / (4 * np.pi)) ** (1 / 3))  # of a ball of equal volume
    of_case += [number] * count
    volumes.append(mask.data.size * voxel)
radii = np.array(radii)

# %%
import ipywidgets as widgets

from lrnet_edu.figures import Picture
from lrnet_edu.figures.palette import BLUE, ORANGE, VERMILION
from lrnet_edu.viewers.controls import interact

SIGHT = 14  # voxels: the largest ball from whose middle the LR-Net sees background along the axes


def on_a_grid(spacing):
    """Every lesion's radius in voxels of a grid of ``spacing`` mm, between what is too small and what is too large."""
    in_voxels = radii / spacing
    figure = Picture(3.9)
    axes = figure.subplots()
    axes.axvspan(0.1, 1, color=VERMILION, alpha=0.2, label="less than two voxels across")
    axes.axvspan(
        SIGHT, 200, color=ORANGE, alpha=0.3, label="too large for the LR-Net to see background from the middle"
    )
    axes.plot(in_voxels, of_case, "o", color=BLUE, ms=9, mec="white", alpha=0.8)
    axes.set_xscale("log")
    ticks = (0.3, 1, 3, 10, 30, 100)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(names)), names)
    small, large, million = (in_voxels < 1).sum(), (in_voxels > SIGHT).sum(), np.median(volumes) / spacing**3 / 1e6
    axes.set(
        xlim=(0.2, 100), ylim=(-0.5, len(names) - 0.5), xlabel="Radius of the lesion (voxels; ball of equal volume)",
        title=f"Grid of {spacing:.1f} mm: {small} of {len(radii)} lesions too small, {large} too large, {million:.2f} "
        "million voxels a case",
    )  # fmt: skip
    figure.legend(loc="outside lower center", ncols=2)
    return figure.finish(
        f"Radii of {len(radii)} lesions in voxels of {spacing:.1f} mm: {small} are below one voxel, {large} above {SIGHT}, "
        f"too large for the LR-Net to see background from the middle; a case has {million:.2f} million voxels."
    )


interact(
    on_a_grid,
    spacing=widgets.FloatSlider(3.0, min=0.4, max=12, step=0.2, description="grid (mm)", continuous_update=False),
)

# %% [markdown]
# At 3 mm one lesion is too small and none too large. Finer cubes would gain that one and cost time, and before it is large
# enough, the largest outgrows the LR-Net (try 2 mm): no grid suits all. The package
# proposes a grid from the training scans: their own resolution (the cube root of a voxel's volume), made coarser
# until a typical scan fits into what the preset allows.

# %% tags=["nbval-check-output"]
from lrnet_edu.config import PRESETS, Config
from lrnet_edu.data.preprocessing import choose_preprocessing

for name, settings in PRESETS.items():
    most = settings.get("max_voxels", Config.max_voxels)
    proposed = choose_preprocessing(find_cases(my_scans), max_voxels=most)
    print(f"--preset {name:6} at most {most:10,} voxels: {proposed.spacing:.2f} mm, window {proposed.window} HU")

# %% [markdown]
# ### Exercise 8.2 · The price of a coarse grid
# The largest tumours of your data have a radius of 42 mm, so you take cubes of 3 mm: that makes 14 voxels, and the LR-Net
# still sees background from their middle (exercise 3.3). The smallest ones are balls of 4 mm radius. How many voxels has such a
# ball on that grid, about?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_8_2(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# answer = 4 / 3 * np.pi * 4**3 / 3**3  # mm³ by mm³: ten voxels
# ```
# </details>

# %% [markdown]
# ## 4 · Train, predict, evaluate
#
# Three commands, here run by a small helper that shows what a terminal would show; in a notebook of yours
# `!lrnet-edu train ...` does the same. We take the **liver**, `--label 1+2`, since a lesion is liver too: a large
# object, of which a short training learns something.
#
# The command first says what it found, how long it will take and what a guess by **location alone** would score: the
# average training shape, put where it usually is, the image unseen. **Question.** What does it mean if your network
# scores no better than that?

# %%
import shlex
import subprocess
import sys


def command(line):
    """Run a command of lrnet_edu and print what a terminal would show, without progress bars."""
    words = [sys.executable, "-m", *shlex.split(line.replace("lrnet-edu", "lrnet_edu", 1))]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}  # whatever the system's own letters are
    done = subprocess.run(words, capture_output=True, encoding="utf-8", env=environment)
    print(f"$ {line}\n{done.stdout}" + (done.stderr.strip().splitlines()[-1] if done.returncode else ""))


command(f"lrnet-edu train --data my_scans --label 1+2 --method mapdice+lrnet --steps {STEPS} --out runs/liver")

# %%
command("lrnet-edu predict runs/liver my_scans runs/liver/predictions --part test")
command("lrnet-edu evaluate runs/liver/predictions my_scans --label 1+2")

# %% [markdown]
# A Dice of three quarters sounds like something. But location alone, the image unseen, scores more: this network has
# not shown yet that it looked at the image. (Sixty steps are few; a larger `--steps` may mend it.) On scans that are all
# cut alike, a network may never get beyond *where* the object usually is, and then it fails on the first scan that is
# cut differently. Collections cropped around the tumour are full of this trap. `lrnet-edu crop --random-boxes LABEL` writes
# a copy of a data set in which every case is cut at random, and takes the trap away.
#
# And the commands fail with a sentence, too:

# %% tags=["nbval-check-output"]
command("lrnet-edu evaluate runs/liver/predictions my_scan --label 1+2")

# %% [markdown]
# Nothing is overwritten: a training into a folder that holds a run refuses, and with `--resume` it goes on where the
# run stopped, bit for bit the same on a CPU.
#
# Look at one test case. **Question.** Does the short training miss liver, or mark what is none? And what would you change?

# %%
from lrnet_edu import SliceViewer
from lrnet_edu.data.nifti import read_image

split = json.loads(Path("runs/liver/split.json").read_text())
name = split["test"][0]
number = name.removeprefix("volume-")
scan = read_image(my_scans / f"{name}.nii.gz").oriented("RAS")  # any file, turned the way the viewer expects
SliceViewer(
    scan.data,
    spacing=scan.spacing,
    overlays={
        "ground truth": read_mask(my_scans / f"segmentation-{number}.nii.gz").oriented("RAS").data > 0,
        "prediction": read_mask(Path("runs/liver/predictions") / f"segmentation-{number}.nii.gz").oriented("RAS").data > 0,
    },
    levels=64,
    title=f"{name}, a test case: the liver and what {STEPS} steps learned of it",
)

# %% [markdown]
# RVD has told already: positive, so it marks too much rather than too little, some of it far from the liver. More steps
# come first.
#
# ### The real data sets
#
# | data | what it is | a first command |
# |---|---|---|
# | LiTS, or Decathlon Task03_Liver (the same scans) | 131 public CTs, 1 liver, 2 tumour, about 30 GB | `lrnet-edu train --data Task03_Liver --label 2 --method mapdice+lrnet --preset colab --out runs/lits` |
# | Decathlon Task04_Hippocampus | 260 small MRs, 1 anterior, 2 posterior part, about 30 MB | `lrnet-edu train --data Task04_Hippocampus --label 1,2 --method dice+lrnet --out runs/hippocampus` |
# | your folder | `volume-N.nii.gz`, `segmentation-N.nii.gz` | `lrnet-edu train --data my_scans --label N --method mapdice+lrnet --out runs/mine` |
#
# Hippocampus runs on a laptop: begin there. MR needs no window; its intensities are standardised scan by scan.
# `--method` takes any row of Table 2, `--split` your own division into training, validation and test. The shipped
# LR-Net has seen random shapes and knows no organ, so it needs no training on yours; where your objects are very thin
# or very large, `lrnet-edu pretrain --data my_scans --label N --out runs/lrnet` makes one from their masks, and
# `--lrnet runs/lrnet` uses it.
#
# ## 5 · The LR-Net behind another network
#
# "The LR-Net can be easily cooperated with any classification-based segmentation network" (section 2.2). Three things
# are needed: **probabilities** after the softmax, (B, classes, D, H, W); the **maps** of the true masks; and $\alpha$.
# The loss runs the frozen LR-Net itself:
#
# $$L = L_\text{seg}(p, g) + \alpha \cdot \text{SmoothL1}(\text{LR-Net}(p), \varphi)$$
#
# The network comes from [MONAI](https://monai.io) where it is installed (`pip install monai`); a few convolutions
# stand in for it where it is not.

# %%
import torch
from torch import nn

try:
    from monai.networks.nets import UNet

    network = UNet(spatial_dims=3, in_channels=1, out_channels=2, channels=(8, 16, 32), strides=(2, 2), num_res_units=1)
    whose = "MONAI's UNet"
except ImportError:
    network = nn.Sequential(
        *(nn.Conv3d(1, 8, 3, padding=1), nn.InstanceNorm3d(8), nn.ReLU()),
        *(nn.Conv3d(8, 8, 3, padding=1), nn.InstanceNorm3d(8), nn.ReLU()),
        nn.Conv3d(8, 2, 1),
    )
    whose = "a stand-in (pip install monai for the real one)"
network = network.to(device)
print(f"{whose}, {sum(weight.numel() for weight in network.parameters()):,} weights")

# %% [markdown]
# Patches and their maps come from wherever you like; we let the package cut them from our folder, two thirds of them
# centred on a lesion. The maps are computed *after* the crop (notebook 01).

# %%
from lrnet_edu.data.patches import PatchBatches
from lrnet_edu.study.demo import demo_config

config = demo_config("dice", seed=0)  # label 2, the lesions, on a coarse grid
study = open_study(my_scans, config)
batches = PatchBatches(
    study.cached["train"], kinds=["NI-DM"], classes=1, patch_size=config.patch_size, batch_size=2,
    object_share=0.67, augment=True, seed=[0], length=NETWORK_STEPS,
)  # fmt: skip
batch = batches[0]
print(
    "image", tuple(batch.image.shape), " labels", tuple(batch.classes.shape), " maps", tuple(batch.maps["NI-DM"].shape)
)

# %% [markdown]
# **Question.** Which lines of an ordinary training loop have to change? Count them below.

# %%
from lrnet_edu import DiceLoss, DistanceRegressionLoss, load_pretrained_lrnet

overlap = DiceLoss()  # or any loss of your own
shape = DistanceRegressionLoss(load_pretrained_lrnet("NI-DM")).to(device)  # freezes the LR-Net
lrnet_before = [weight.clone() for weight in shape.lrnet.parameters()]
optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
losses = []  # (steps, 2): both terms
for step in range(NETWORK_STEPS):
    batch = batches[step].to(device)
    probabilities = torch.softmax(network(batch.image), dim=1)  # (B, 2, D, H, W)
    terms = overlap(probabilities, batch.classes), shape(probabilities, batch.maps["NI-DM"])
    optimizer.zero_grad()
    sum(terms).backward()
    optimizer.step()
    losses.append([term.item() for term in terms])

# %%
losses = np.array(losses)
width = max(1, len(losses) // 10)  # steps to average over
smooth = np.array([np.convolve(term, np.ones(width) / width, mode="valid") for term in losses.T])
figure = Picture(3.4)
for axes, curve, title, colour in zip(
    figure.subplots(1, 2), smooth, ("Dice loss", "α · SmoothL1(LR-Net(p), φ)"), (BLUE, ORANGE), strict=True
):
    axes.plot(np.arange(len(curve)) + width, curve, color=colour, lw=3)
    axes.set(title=title, xlabel=f"Step (mean of {width})", ylabel="Loss (no unit)", ylim=(0, None))
figure.finish(
    f"The two terms of the loss over {len(losses)} steps: the Dice loss from {smooth[0, 0]:.2f} to {smooth[0, -1]:.2f}, the "
    f"map regression from {smooth[1, 0]:.3f} to {smooth[1, -1]:.3f}."
)

# %% [markdown]
# Two lines: one makes the loss, one adds it. (What so few steps teach is another matter: the term with the map falls
# first, and Dice waits. More on that below.)
#
# Did the gradient arrive, and did the LR-Net stay as it was? And is this the same as the package's own `Tandem` of
# notebook 05?

# %% tags=["nbval-check-output"]
from lrnet_edu import Tandem
from lrnet_edu.losses import map_regression_loss

print("weights of the network without a gradient:", sum(weight.grad is None for weight in network.parameters()))
changed = [not torch.equal(a, b) for a, b in zip(lrnet_before, shape.lrnet.parameters(), strict=True)]
print("weights of the LR-Net that have changed:", sum(changed))

with torch.no_grad():
    probabilities, maps = Tandem(network, shape.lrnet)(batch.image)
    by_tandem = shape.alpha * map_regression_loss(maps, batch.maps["NI-DM"])
    by_loss = shape(probabilities, batch.maps["NI-DM"])
print(f"Tandem minus DistanceRegressionLoss: {abs(by_tandem - by_loss).item():.5f}")

# %% [markdown]
# ### Exercise 8.3 · A network with one channel
# Many networks end in **one** channel and a sigmoid. The loss wants two, background first. Write the bridge: a
# function of the logits (B, 1, D, H, W) that returns probabilities (B, 2, D, H, W). `def answer(logits): ...`.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_8_3(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def answer(logits):
#     p = torch.sigmoid(logits)  # (B, 1, D, H, W)
#     return torch.cat((1 - p, p), dim=1)
# ```
# </details>

# %% [markdown]
# ### How large should α be?
#
# The paper says that $\alpha$ "balances the magnitude difference" and gives no number. Magnitude of what? A useful
# yardstick is what the regression charges for **finding nothing**. Here on one lesion, a ball of radius 6 in 48³
# voxels. **Question.** Which kind of map needs the largest $\alpha$?

# %% tags=["nbval-check-output"]
from lrnet_edu import distance_map
from lrnet_edu.kinds import KINDS
from lrnet_edu.losses import cost_of_empty_output

z, y, x = np.ogrid[-24:24, -24:24, -24:24]
ball = torch.from_numpy(z**2 + y**2 + x**2 <= 36)[None, None]  # (1, 1, D, H, W)
for kind, row in KINDS.items():
    cost = cost_of_empty_output(distance_map(ball, kind), kind)
    print(
        f"{kind:7} finding nothing costs {cost:.4f}; α for a cost of 0.03: {0.03 / cost:5.2f}, the default {row.alpha:g}"
    )

# %% [markdown]
# Behind a *trained* network, beside a Dice term near 1, a cost of 0.03 is felt and does not rule. For your own patches,
# put their maps in place of the ball's: smaller lesions in larger patches need a larger $\alpha$. Behind a *fresh* network
# it does rule: there the map's error pulls dozens of times as hard as Dice (notebook 05, section 6), which is why Dice had
# to wait in our loop above. So do not copy that loop's beginning: start with the segmentation loss alone, for some hundreds
# of steps, or from a trained network. Besides, a lesion that is missed altogether gets almost no gradient through the LR-Net.
#
# ### Exercise 8.4 · Two kinds of lesion
# Your network has three classes: background, 1 and 2. Write the target of the loss: a function of integer labels (B,
# D, H, W), a tensor, that returns the NI-DM of both foreground classes, (B, 2, D, H, W). `def answer(labels): ...`.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_8_4(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# One mask per channel, (B, 2, D, H, W). `torch.stack([distance_map(labels == c) for c in (1, 2)], dim=1)` looks natural
# but computes maps of slices: `distance_map` reads four axes as (B, C, H, W).
#
# ```python
# from lrnet_edu import distance_map
#
# def answer(labels):
#     return distance_map(torch.stack([labels == c for c in (1, 2)], dim=1))
# ```
# </details>

# %% [markdown]
# ## 6 · In a trainer
#
# Who has a trainer does not want a loop. In [Lightning](https://lightning.ai) the loss is a submodule: it travels to
# the GPU with the network, and stays frozen though the trainer calls `train()` on everything.

# %%
import importlib.util

if importlib.util.find_spec("lightning"):
    import lightning

    class WithShape(lightning.LightningModule):
        def __init__(self, network):
            super().__init__()
            self.network, self.overlap = network, DiceLoss()
            self.shape = DistanceRegressionLoss(load_pretrained_lrnet("NI-DM"))

        def training_step(self, batch, index):
            probabilities = torch.softmax(self.network(batch.image), dim=1)
            return self.overlap(probabilities, batch.classes) + self.shape(probabilities, batch.maps["NI-DM"])

        def configure_optimizers(self):
            return torch.optim.Adam(self.network.parameters(), lr=3e-3)

    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = lightning.Trainer(max_steps=4, max_epochs=1, **quiet)
    trainer.fit(module := WithShape(network), torch.utils.data.DataLoader(batches, batch_size=None))
    print(f"{trainer.global_step} steps; the LR-Net is in training mode: {module.shape.lrnet.training}")
else:
    print("Lightning is not installed: pip install lightning, and run this cell again.")

# %% [markdown]
# Two limits to know. The LR-Net is three-dimensional: a 2-D network's slices have to be stacked to volumes first. And
# it was trained on isotropic voxels: give it patches of a grid of cubes.
#
# ## Summary
#
# - A folder in LiTS or Decathlon layout, a label, a method: `train`, `predict`, `evaluate`. Mistakes are one
#   sentence.
# - The grid decides what can be found: lesions of at least two voxels across, and of at most 14 in
#   radius for the LR-Net.
# - Behind another network: `DistanceRegressionLoss`, probabilities, maps, and an $\alpha$ that makes finding nothing cost
#   about 0.03.
#
# **Where to go from here.** Train on Task04_Hippocampus tonight. Compare two rows over three seeds, with the intervals
# of [notebook 07](07_tables_of_the_paper.ipynb), on cases that matter to you. Then ask the question the paper leaves
# open: does the LR-Net help *your* small objects, or would a better choice of patches do the same?
