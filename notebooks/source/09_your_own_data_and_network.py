# %% [markdown]
# # 09 · Your own data and network
#
# So far you used the course's scans and its M-Net. Now bring your own.
#
# **Afterwards you can**
# - get from a folder of scans to a trained run, a prediction and a score,
# - put the paper's loss behind any network, in 2-D and 3-D,
# - say what to check first when a training does not learn.
#
# **Takes** 40 minutes to read and try.

# %% tags=["parameters"]
from lrnet_edu.config import fast

FAST = fast()  # the environment variable LRNET_EDU_FAST=1: everything small
RUN_STEPS = 8 if FAST else 80  # of the training on the folder
STEPS = 8 if FAST else 40  # of your 3-D network
SLICE_STEPS = 12 if FAST else 120  # of your 2-D network
SEEDS = (0,) if FAST else (0, 1, 2)  # of exercise 9.5

# %% [markdown]
# ## 1 · From a folder to a score
#
# A folder of scans needs `volume-N.nii.gz` with `segmentation-N.nii.gz` beside it, as in LiTS. The layout of the Medical
# Segmentation Decathlon works too. We copy the sample scans into such a folder. For scans of your own, set `my_scans` to
# your folder's path and leave out the copy.

# %%
import os
import shutil
import tempfile
from pathlib import Path

from lrnet_edu.data.samples import sample_folder

place = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
os.chdir(place.name)  # all that this notebook writes goes there
os.environ["LRNET_EDU_CACHE"] = "cache"  # prepared scans; your system's cache folder where it is not set
my_scans = Path(shutil.copytree(sample_folder(), "my_scans", ignore=shutil.ignore_patterns("mnets")))

# %% [markdown]
# The object is the whole liver, label `1+2`, because a lesion is part of the liver.
#
# **Question.** All these livers lie in much the same place. What would a guess score that never looks at the image?

# %%
from lrnet_edu import open_study, preset

small = {"max_voxels": 100_000, "patch_size": (16, 32, 32), "learning_rate": 8e-3}  # leave out for a real training
config = preset("cpu", label="1+2", window=(-30, 180), method="dice+lrnet", steps=RUN_STEPS, **small)
study = open_study(my_scans, config)  # finds, checks, divides, prepares and caches the cases
print(study.describe())

# %% [markdown]
# The last line is the baseline: **location alone**. The training is kept very short. **Question.** Will it beat the baseline?

# %%
from lrnet_edu import predict_files, train_run
from lrnet_edu.commands.evaluate import evaluate_folders

train_run(study, config, Path("runs/liver"))
predict_files("runs/liver", my_scans, "runs/liver/predictions", part="test")
scores = evaluate_folders("runs/liver/predictions", my_scans, label="1+2")
print({case["case"]: round(case["dice"], 2) for case in scores["cases"]})
print(f"mean Dice {scores['mean']['DC']:.3f}, RVD {scores['mean']['RVD']:+.2f}")

# %% [markdown]
# It does not. So nothing shows yet that the network looked at the image.
#
# **Question.** Does it miss parts of the liver, or mark too much?

# %%
from lrnet_edu import SliceViewer
from lrnet_edu.data.nifti import read_image, read_mask

case = study.cases[study.split["test"][0]]
scan = read_image(case.image).oriented("RAS")  # turned the way the viewer expects
truth, found = (
    read_mask(folder / case.mask.name).oriented("RAS").data > 0 for folder in (my_scans, Path("runs/liver/predictions"))
)
SliceViewer(scan.data, {"ground truth": truth, "prediction": found}, spacing=scan.spacing, levels=64, title=case.name)

# %% [markdown]
# Both, and by the positive RVD it marks more than it misses.
#
# **Question.** These masks hold the labels 0, 1 and 2. What happens if you ask for label 3?

# %% tags=["nbval-check-output"]
from lrnet_edu import InputError

try:
    open_study(my_scans, preset("cpu", label="3"))
except InputError as error:
    print(error)

# %% [markdown]
# The mistake is reported before anything is trained.
#
# ### Exercise 9.1 · Which label?
# Your masks hold 1 for the kidney, 2 for tumours, 3 for cysts. You want **two** objects: the kidney as class 1, and
# tumours and cysts together as class 2. A comma separates objects, a plus joins labels. What do you give as `label`?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_9_1(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# answer = "1,2+3"
# ```
# </details>

# %% [markdown]
# ## 2 · Which grid?
#
# Scans are resampled to cubes before training. On a coarse grid, a small lesion is hardly a voxel. On a fine grid, a
# large lesion outgrows the LR-Net: beyond a radius of about 10 voxels, what it says of the middle is too high (notebook 03,
# section 7).
#
# **Question.** Move the slider. Which grid suits all lesions here?

# %%
import ipywidgets as widgets
import numpy as np
from scipy import ndimage

from lrnet_edu.figures import Picture
from lrnet_edu.figures.palette import BLUE, ORANGE, VERMILION
from lrnet_edu.viewers.controls import interact

volumes = []  # mm³, of every lesion in the training scans
for name in study.split["train"]:
    mask = read_mask(study.cases[name].mask)
    lesions, count = ndimage.label(mask.data == 2, np.ones((3, 3, 3)))
    volumes += list(np.bincount(lesions.ravel())[1:] * np.prod(mask.spacing))
radii = (3 * np.array(volumes) / (4 * np.pi)) ** (1 / 3)  # mm, of a ball of equal volume
least, most = radii.max() / 10, radii.min()  # mm, of a cube
print(f"the smallest lesion, {radii.min():.1f} mm in radius, needs cubes of {most:.1f} mm at most")
print(f"the largest one, {radii.max():.1f} mm in radius, needs cubes of {least:.1f} mm at least")


def on_a_grid(spacing):
    """The lesions' radii in voxels of a grid of ``spacing`` mm."""
    figure = Picture(3.8)
    axes = figure.subplots()
    axes.axvspan(0.1, 1, color=VERMILION, alpha=0.2, label="less than two voxels across")
    axes.axvspan(10, 200, color=ORANGE, alpha=0.3, label="too large for the LR-Net")
    axes.hist(radii / spacing, bins=np.geomspace(0.2, 100, 50), color=BLUE)
    axes.set_xscale("log")
    axes.set_xticks([0.3, 1, 3, 10, 30, 100], ["0.3", "1", "3", "10", "30", "100"])
    small, large = (radii < spacing).sum(), (radii > 10 * spacing).sum()
    title = f"Grid of {spacing:.1f} mm: {small} of {len(radii)} lesions too small, {large} too large"
    axes.set(xlim=(0.2, 100), xlabel="Radius of the lesion (voxels)", ylabel="Lesions", title=title)
    axes.minorticks_off()
    figure.legend(loc="outside lower center", ncols=2)
    return figure.finish(f"Histogram of the lesions' radii in voxels. {title}.")


interact(
    on_a_grid,
    spacing=widgets.FloatSlider(3, min=0.4, max=12, step=0.2, description="grid (mm)", continuous_update=False),
)

# %% [markdown]
# None does, as the two printed lines say. And a grid twice as fine has eight times as many voxels. So take the coarsest grid
# that shows the lesions you care about.
#
# ### Exercise 9.2 · The price of a coarse grid
# The largest tumours of your data have a radius of 30 mm, so you take cubes of 3 mm. The smallest
# ones are balls of 4 mm radius. By its volume, about how many voxels does such a ball have on that grid?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_9_2(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# answer = 4 / 3 * np.pi * 4**3 / 3**3  # mm³ by mm³: ten voxels
# ```
# </details>

# %% [markdown]
# ## 3 · Your network, the paper's loss
#
# The loss works with any network that turns images into **logits**: one channel per class, background first. Here is a
# small one of plain PyTorch layers.

# %%
import torch
from torch import nn


def your_network(conv, norm, width=8):
    """Image (B, 1, ...) -> logits (B, 2, ...); dilation lets it see 15 voxels to either side."""
    layers = [conv(1, width, 3, padding=1), norm(width), nn.ReLU()]
    for dilation in (2, 4, 8):
        layers += [conv(width, width, 3, padding=dilation, dilation=dilation), norm(width), nn.ReLU()]
    return nn.Sequential(*layers, conv(width, 2, 1)).to(device)


torch.manual_seed(0)
network = your_network(nn.Conv3d, nn.BatchNorm3d)

# %% [markdown]
# The loss consists of parts that you know: Dice, the map of the labels, and the frozen LR-Net.
#
# **Question.** Through which of them does a gradient pass into $p$?

# %%
from torch.nn import functional as F

from lrnet_edu import DiceLoss, distance_map, load_pretrained_lrnet

lrnet = load_pretrained_lrnet("NI-DM").requires_grad_(False).eval().to(device)  # frozen


def loss_by_hand(logits, labels, alpha=1000):
    """Logits (B, 2, D, H, W) and labels (B, D, H, W) -> a number."""
    p = torch.softmax(logits, dim=1)
    phi = distance_map((labels == 1)[:, None], "NI-DM")  # (B, 1, D, H, W), a constant
    return DiceLoss()(p, labels) + alpha * F.smooth_l1_loss(lrnet(p), phi)


# %% [markdown]
# Through Dice and the LR-Net. The map $\varphi$ is a constant.
#
# **Question.** The package's `TandemLoss` does the same in one call. Are value and gradient equal to ours?

# %% tags=["nbval-check-output"]
from lrnet_edu import TandemLoss

logits = torch.randn(2, 2, 16, 16, 16, device=device, requires_grad=True)
labels = torch.zeros(2, 16, 16, 16, dtype=torch.long, device=device)
labels[:, 4:10, 5:11, 3:12] = 1
tandem = TandemLoss("NI-DM")
values = [loss(logits, labels) for loss in (loss_by_hand, tandem)]
torch.testing.assert_close(*values)
torch.testing.assert_close(*(torch.autograd.grad(value, logits)[0] for value in values))
print("equal; the terms are", sorted(tandem.terms))

# %% [markdown]
# `loss.terms` holds the last value of each term. Your own segmentation loss goes in as `segmentation=`. It gets
# probabilities and labels (B, 1, D, H, W). Here cross-entropy replaces Dice. The logits are random, and α is 1000:

# %%
with_cross_entropy = TandemLoss(segmentation=lambda p, labels: F.nll_loss(p.clamp(min=1e-6).log(), labels[:, 0]))
value = with_cross_entropy(logits, labels).item()
print(f"loss {value:.2f}:", ", ".join(f"{name} {term:.2f}" for name, term in with_cross_entropy.terms.items()))

# %% [markdown]
# ### Exercise 9.3 · A network with one channel
# Many networks end in **one** channel $z$ and a sigmoid. `TandemLoss` wants two logits and takes the softmax itself.
# Write the bridge: `def answer(z): ...` from (B, 1, D, H, W) to (B, 2, D, H, W), background first.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_9_3(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# The softmax of $(0, z)$ is $(1 - p, p)$ with $p = 1 / (1 + e^{-z})$.
#
# ```python
# def answer(z):
#     return torch.cat((torch.zeros_like(z), z), dim=1)
# ```
# </details>

# %% [markdown]
# ## 4 · A plain loop
#
# Your 3-D network learns the liver. The first `warm_up` steps use Dice alone, as in the package's own trainings (a quarter there).
#
# **Question.** Which lines differ from a loop without the LR-Net?


# %%
def train(network, draw, loss, steps, warm_up=0):
    """``draw()`` gives images and labels. Returns both terms of every step, (steps, 2)."""
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    alpha, terms = loss.alpha, []
    for step in range(steps):
        images, labels = draw()
        loss.alpha = alpha if step >= warm_up else 0
        if step == warm_up:
            optimizer.state.clear()  # Adam divides by the size of past gradients, and Dice's are another loss's
        total = loss(network(images), labels)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        terms.append([term.item() for term in loss.terms.values()])
    return np.array(terms)


def draw_boxes(size=(16, 32, 32)):
    """Random boxes of two prepared scans: images (2, 1, D, H, W) and labels (2, D, H, W)."""
    images, labels = [], []
    for i in np.random.randint(len(study.cached["train"]), size=2):
        case = study.cached["train"][i]
        corner = [np.random.randint(n - m + 1) for n, m in zip(case.image.shape, size, strict=True)]
        box = tuple(slice(k, k + m) for k, m in zip(corner, size, strict=True))
        images.append(torch.from_numpy(case.image[box].astype("float32"))[None])
        labels.append(torch.from_numpy(case.classes[box].astype("int64")))
    return torch.stack(images).to(device), torch.stack(labels).to(device)


terms = train(network, draw_boxes, TandemLoss(), STEPS, warm_up=STEPS // 2)

# %%
figure = Picture(3.4)
for axes, curve, title, colour in zip(
    figure.subplots(1, 2), terms.T, ("segmentation: Dice loss", "map: α × map's error"), (BLUE, ORANGE), strict=True
):
    axes.plot(np.arange(1, len(curve) + 1), curve, color=colour, lw=3)
    axes.set(title=title, xlabel="Step", ylabel="Loss (no unit)", ylim=(0, None))
figure.finish(f"Dice loss and map's term over {STEPS} steps; the map's term is 0 until step {STEPS // 2}.")

# %% [markdown]
# Those with `loss.alpha` and the optimiser's state, for the warm-up, and with `loss.terms`, for the record. Once the map's
# term has joined, it outweighs Dice, which need not fall any more.

# %% [markdown]
# ## 5 · 2-D slices
#
# `TandemLoss` counts the axes of the logits. For slices it takes a 2-D LR-Net.
#
# **Question.** A slice cuts a ball near its top. Is a slice of the 3-D map the same as the 2-D map of the slice?

# %% tags=["nbval-check-output"]
z, y, x = np.ogrid[-24:24, -24:24, -24:24]
ball = z**2 + y**2 + x**2 <= 8**2  # (D, H, W), its middle at index 24
print(f"6 slices above the middle: 3-D {distance_map(ball)[30, 24, 24]:.2f}, 2-D {distance_map(ball[30])[24, 24]:.2f}")

# %% [markdown]
# No. In 3-D the top of a ball is all border. In 2-D its slice is a disc with a deep middle. So a network of slices needs maps of
# slices.
#
# Now train on axial slices with lesions, and look at a slice of a test scan. **Question.** Where will the LR-Net's map differ from the target?


# %%
def slices(names):
    """Axial slices with a lesion, 64 x 64 around the liver: images (N, 1, H, W), labels (N, H, W), 1 = lesion."""
    images, labels = [], []
    for name in names:
        case = study.cases[name]
        scan, mask = read_image(case.image).oriented("RAS").data, read_mask(case.mask).oriented("RAS").data
        y, x = (max(round(c) - 32, 0) for c in ndimage.center_of_mass(mask > 0)[1:])
        scan, mask = (volume[:, y : y + 64, x : x + 64] for volume in (scan, mask))
        chosen = (mask == 2).any(axis=(1, 2))
        images.append((scan[chosen] + 30) / 210)  # -30 to 180 HU
        labels.append(mask[chosen] == 2)
    images, labels = (torch.from_numpy(np.concatenate(parts)) for parts in (images, labels))
    return images.clip(0, 1)[:, None].to(device), labels.long().to(device)


(images, labels), (test_images, test_labels) = slices(study.split["train"]), slices(study.split["test"])


def draw_slices(batch=6):
    chosen = torch.randint(len(images), (batch,))
    return images[chosen], labels[chosen]


def trained_on_slices(loss, warm_up, seed=0):
    """A fresh network, trained; returns its lesion probabilities of the test slices, (N, H, W)."""
    torch.manual_seed(seed)
    network = your_network(nn.Conv2d, nn.BatchNorm2d)
    train(network, draw_slices, loss, SLICE_STEPS, warm_up)
    return torch.softmax(network.eval()(test_images), dim=1)[:, 1].detach()


p = trained_on_slices(TandemLoss(), warm_up=SLICE_STEPS // 2)

# %%
from lrnet_edu.figures.palette import CT_COLORMAP, MAP_COLORMAP

k = int(test_labels.sum(dim=(1, 2)).argmax())  # the slice with the most lesion
lrnet_2d = load_pretrained_lrnet("NI-DM", spatial_dims=2).to(device)
map_of_p = lrnet_2d(torch.stack((1 - p[k], p[k]))[None])[0, 0].detach()
phi = distance_map(test_labels[k] == 1)
shown = {"CT": test_images[k, 0], "probability $p$": p[k], "LR-Net's map of $p$": map_of_p, r"target $\varphi$": phi}
figure = Picture(8.4)
for axes, (title, plane) in zip(figure.subplots(2, 2, sharex=True, sharey=True).flat, shown.items(), strict=True):
    drawn = axes.imshow(plane.cpu().numpy()[::-1, ::-1], CT_COLORMAP if title == "CT" else MAP_COLORMAP, vmin=0, vmax=1)
    axes.contour(test_labels[k].cpu().numpy()[::-1, ::-1], [0.5], colors=[ORANGE], linewidths=2)
    axes.set(title=title, xlabel="x (voxels)", ylabel="y (voxels)")
    figure.colorbar(drawn, ax=axes, label="no unit")
figure.finish("A test slice with the lesions' contours: CT, the network's probabilities, the LR-Net's map, the target.")

# %% [markdown]
# The LR-Net sees only $p$. It puts the rim where $p$ ends, and a false lesion gets a map, too. The network learns from the
# difference between this map and the target.
#
# ### Exercise 9.4 · Two kinds of lesion
# Your 3-D network has three classes: background, 1 and 2. Write what `TandemLoss` computes from the labels: a function
# of a tensor of integers (B, D, H, W) that returns the NI-DM of both foreground classes, (B, 2, D, H, W).
# `def answer(labels): ...`. Note that `distance_map` counts axes, too.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_9_4(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# One mask per channel, (B, 2, D, H, W). `distance_map(labels == c)` would compute maps of slices, because it reads four
# axes as (B, C, H, W).
#
# ```python
# from lrnet_edu import distance_map
#
# def answer(labels):
#     return distance_map(torch.stack([labels == c for c in (1, 2)], dim=1))
# ```
# </details>

# %% [markdown]
# ## 6 · When it does not learn
#
# First check the grid, as in section 2. Then check α: what does the map's term charge a network that finds
# *nothing*?
#
# **Question.** Do small lesions need a larger α than large ones, or a smaller one?

# %% tags=["nbval-check-output"]
for radius in (3, 6, 12):
    ball = torch.from_numpy(z**2 + y**2 + x**2 <= radius**2)[None, None]  # in a box of 48³ voxels
    phi = distance_map(ball)
    cost = float(F.smooth_l1_loss(torch.zeros_like(phi), phi))
    print(f"radius {radius:2}: finding nothing costs {1000 * cost:4.1f} with α = 1000, and 1 with α = {1 / cost:.0f}")

# %% [markdown]
# A larger one, if finding nothing is to cost 1, as with Dice. The default, 1000, is not chosen by this cost but on validation scans.
# Repeat this with maps of your own masks.
#
# Last, look for lesions that are missed altogether. The LR-Net reads nothing where $p$ is near 0, as notebook 05 showed, so it
# cannot bring them back. Begin with a segmentation loss, and watch both entries of `loss.terms`. And train the plain
# control as well: in notebook 08 a smooth L1 of $p$ and the mask did as much without an LR-Net.
#
# ### Exercise 9.5 · Take the warm-up away
# The next cell trains the 2-D network with the warm-up and without it, with three seeds each. Before you run it, write
# down two guesses. What happens to Dice without the warm-up? How much does the seed alone change? Afterwards change
# the loss: `TandemLoss(alpha=0)` is Dice alone, and `TandemLoss(alpha=10)` has a far weaker map.

# %%
from lrnet_edu.metrics import dice

lesions = test_labels.cpu().numpy() == 1
for name, warm_up in (("with the warm-up", SLICE_STEPS // 2), ("without it", 0)):
    found = [trained_on_slices(TandemLoss(), warm_up, seed).cpu().numpy() > 0.5 for seed in SEEDS]
    print(f"{name:16}  Dice of all test slices:", ", ".join(f"{dice(each, lesions):.2f}" for each in found))

# %% [markdown] tags=["found"]
# <details><summary>What happens</summary>
#
# In the run shown, two seeds of three find nothing without the warm-up, and the third finds less. In a fresh network the map's
# error is far louder than Dice, and a network that finds nothing gets hardly any gradient back. Among the three with the
# warm-up the seed alone changes much, too. Larger trainings, with other α as well: `results/alphas.md`.
# </details>

# %% [markdown]
# ## 7 · In the framework you have
#
# All are files of the repository.
#
# - **MONAI**: `examples/monai_training.py` trains MONAI's UNet, and `examples/monai_transform.py` makes maps in the loader.
# - **nnU-Net**: `examples/nnunet/nnUNetTrainerTandem.py` is a trainer class and names the commands.
# - **Lightning**: `examples/lightning_training.py` wraps network and loss in a module.
# - **ONNX**: `examples/lrnet_onnx.py` exports the LR-Net and checks the file.
# - **Plain PyTorch**: `examples/lrnet_alone.py` runs the LR-Net without this package.
#
# ## Summary
#
# - Four calls lead from a folder to a score. The score counts when it beats location alone.
# - `loss = TandemLoss()`, then `loss(logits, labels)`: the paper's loss behind any network, in 2-D and 3-D. A fresh one begins with Dice alone.
# - If it does not learn, check the grid, whether Dice came first, then α, then lesions that are missed altogether.
#
# **Where to go from here.** Train on your data with Dice, with the LR-Net, and with the control, 1000 × SmoothL1(p, mask),
# several seeds each. Judge the differences at equal numbers of false lesions, as in [notebook 08](08_the_study.ipynb).
