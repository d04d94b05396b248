# %% [markdown]
# # 00 · Start here
#
# This course takes one paper apart and puts it together again, running: Li et al., *Deep Distance Map Regression
# Network with Shape-aware Loss for Imbalanced Medical Image Segmentation*. It asks how a network can find tumours that
# fill a hundredth of a CT, or much less.
#
# **Afterwards you can**
# - say in four sentences what the paper claims,
# - say what each notebook gives you and how long it takes here,
# - trust your installation, and know whether a GPU is at work.
#
# **Takes** 25 minutes; the cells run in half a minute on a CPU.

# %% tags=["parameters"]
from lrnet_edu.config import fast

FAST = fast()  # the environment variable LRNET_EDU_FAST=1: everything small
REPEATS = 1 if FAST else 5  # of the timing below

# %% [markdown]
# ## 1 · How small is small?
#
# The course comes with 20 phantom CTs (computed, no patient's) of livers, most with tumours. **Question.** Which
# share of a scan's voxels is tumour, do you think? A tenth, a hundredth, a thousandth?

# %% tags=["nbval-check-output"]
from lrnet_edu import find_cases
from lrnet_edu.data.nifti import read_mask
from lrnet_edu.data.samples import sample_folder

masks = [read_mask(case.mask).data for case in find_cases(sample_folder())]  # (D, H, W): 1 liver, 2 tumour
shares = sorted((mask == 2).mean() for mask in masks)
with_tumour = [share for share in shares if share > 0]
print(f"{len(masks)} scans, {len(masks) - len(with_tumour)} of them without a tumour")
print(f"in the others from {100 * with_tumour[0]:.2f} % to {100 * with_tumour[-1]:.2f} % of the voxels")

# %% [markdown]
# ## 2 · What the paper claims
#
# Networks for segmentation learn from masks: 0 or 1 for every voxel. The paper's idea is a second, richer ground truth,
# the **distance map** of the mask, and a small network that computes it, the **LR-Net**.
#
# 1. A distance map knows about shape and border; a mask knows only about classes (section 2.1).
# 2. The LR-Net learns "mask → map" from masks alone, with a Dice "around 0.99" (section 2.2). **Dice** is twice the
#    overlap of two masks over the sum of their sizes: 1 for equal masks, 0 for masks that share no voxel.
# 3. Frozen behind the segmentation network, the **M-Net**, it passes its error back: a map that is wrong teaches the
#    M-Net a better mask. For a new patient it is not needed (section 2.2, Fig. 1).
# 4. The map also serves as a weight in a Dice loss, **MapDice** (Eq. 2). Both together segment small tumours better than
#    five losses made for imbalance (Table 2).
#
# Here is Fig. 1, drawn from the course's own networks. A box is a level: its features (channels), the size
# (z × y × x) that a patch of 32 × 64 × 64 voxels has there, its convolutions or residual blocks. NI-DM is one kind of
# distance map, and φ stands for its values; smooth L1 is half the squared error as long as that error is below 1.
# **Question.** Which of the two networks do you need in the clinic?

# %%
from lrnet_edu import LRNet, MNet
from lrnet_edu.figures import architecture_figure

mnet, lrnet = MNet(), LRNet("NI-DM")
architecture_figure(mnet, lrnet)

# %% tags=["nbval-check-output"]
weights = {type(net).__name__: sum(weight.numel() for weight in net.parameters()) for net in (mnet, lrnet)}
for name, number in weights.items():
    print(f"{name:6} {number:9,} weights")

# %% [markdown]
# The paper prints no widths; these are those of its authors' scripts. The M-Nets that you train in this course are built
# alike and narrower, so that a laptop can train one in a minute.
#
# ### How an exercise works
# Every notebook has a few. You write your answer in place of `None`, run the cell and the next one, and read what it
# says: a hint, if it is not right yet. The solution is folded below. An exercise without an answer stops nothing.
#
# ### Exercise 0.1 · The clinic
# Which network segments a new patient, `"M-Net"` or `"LR-Net"`?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_0_1(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# answer = "M-Net"
# ```
# </details>

# %% [markdown]
# ### Exercise 0.2 · The claim in one number
# Three rows of the paper's Table 2 (its clinical data set of 137 scans). **DC** is the Dice per case; the other
# columns wait for notebook 06.
#
# | method | DC | DG | VOE | ASSD (mm) |
# |---|---|---|---|---|
# | M-Net, Dice loss | 0.647 | 0.888 | 0.292 | 0.809 |
# | M-Net, MapDice | 0.661 | 0.870 | 0.298 | 0.944 |
# | M-Net, MapDice + LR-Net | 0.751 | 0.935 | 0.252 | 0.654 |
#
# How much DC does the full method gain over the plain Dice loss?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_0_2(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# answer = 0.751 - 0.647
# ```
# </details>

# %% [markdown]
# ### Exercise 0.3 · Light weight
# How many times as many weights as the LR-Net does the M-Net have?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_0_3(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# from lrnet_edu import LRNet, MNet
#
# main, light = (sum(weight.numel() for weight in net.parameters()) for net in (MNet(), LRNet()))
# answer = main / light
# ```
# </details>

# %% [markdown]
# ## 3 · The course
#
# Each notebook runs by itself, top to bottom, without a network and without the others' results.
#
# | notebook | you can afterwards | to read and try | cells on a CPU | GPU |
# |---|---|---|---|---|
# | [01 · Distance maps](01_distance_maps.ipynb) | build the paper's four maps by hand, repair Eq. 1 | 30 min | 1 min | no |
# | [02 · CT data and imbalance](02_ct_data_and_imbalance.ipynb) | read, window, resample and cut a CT, measure the imbalance | 30 min | 1 min | no |
# | [03 · LR-Net pretraining](03_lrnet_pretraining.ipynb) | train the LR-Net and say what its Dice of 0.99 proves | 40 min | 1 min | helps |
# | [04 · M-Net and losses](04_mnet_and_losses.ipynb) | train the M-Net, see what MapDice really minimises | 40 min | 1 min | helps |
# | [05 · The frozen tandem](05_frozen_tandem.ipynb) | follow the gradient through the frozen LR-Net, choose α | 60 min | 1 min | helps |
# | [06 · Results and viewers](06_results_and_viewers.ipynb) | predict whole volumes, read the seven criteria | 50 min | 1 min | no |
# | [07 · Tables of the paper](07_tables_of_the_paper.ipynb) | judge which of the paper's claims held here | 60 min | 2 min | helps |
# | [09 · Your own data and network](09_your_own_data_and_network.ipynb) | train on other data and put the LR-Net behind another network | 30 min | 1 min | helps |
#
# No time? 01, 05 and 06 carry the idea.

# %% [markdown]
# ## 4 · Does it run here?
#
# Two distance maps of one row of voxels: **O-DM**, how far the background is, and **NI-DM**, turned over and scaled
# so that the border is 1. Then one training step of both networks, timed. **Question.** The LR-Net has a fraction of
# a per cent of the M-Net's weights. Which share of the time do you expect it to take?

# %% tags=["nbval-check-output"]
import numpy as np

from lrnet_edu import distance_map

line = np.array([[0, 1, 1, 1, 1, 1, 0]])  # (H, W)
print("mask ", line[0])
print("O-DM ", distance_map(line, "O-DM")[0])
print("NI-DM", distance_map(line, "NI-DM")[0].round(2))

# %%
import time

import torch


def seconds_per_step(network, channels):
    """Forward and backward on one patch, the fastest of some; the first one only warms up."""
    network, times = network.to(device), []
    patch = torch.rand(1, channels, 16, 32, 32, device=device)  # (B, C, D, H, W)
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        network(patch).sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()  # the GPU works on its own; wait for it
        times.append(time.perf_counter() - start)
    return min(times[1:])


for name, network, channels in (("M-Net", MNet(), 1), ("LR-Net", LRNet(), 2)):
    print(
        f"{name:6} on {device.type}: {1000 * seconds_per_step(network, channels):7.1f} ms a patch of 16 × 32 × 32 voxels"
    )
if device.type == "cpu":
    print("There is no GPU at work: everything still runs, the trainings on a smaller scale.")

# %% [markdown]
# Surprised that it takes so much? The number of weights says little about the computing time. The LR-Net has few
# channels, but most of its convolutions run at full resolution. Most of the M-Net's weights sit at its lowest level,
# where a patch has shrunk to a few voxels.

# %% [markdown]
# ## 5 · What you will work with
#
# A phantom CT, its lesions, and their NI-DM, the paper's favourite map: once computed exactly, once by the LR-Net
# that ships with the course, which saw nothing but the mask. The contours run just outside the lesions, so you can see
# the rims themselves. Scroll (slider, arrow keys, wheel). **Question.** Where is the map bright, and where is it dark?
# Can you find a place where the two maps differ?

# %%
from lrnet_edu import load_pretrained_lrnet
from lrnet_edu.data.nifti import read_image
from lrnet_edu.viewers.slices import SliceViewer

ct = read_image(sample_folder() / "volume-0.nii.gz")  # .data (D, H, W) in HU
lesions = read_mask(sample_folder() / "segmentation-0.nii.gz").data == 2  # (D, H, W)
phi = distance_map(lesions, "NI-DM")  # (D, H, W)

with torch.inference_mode():
    object_ = torch.from_numpy(lesions).float()
    probabilities = torch.stack((1 - object_, object_))[None]  # (1, 2, D, H, W): background, lesion
    by_network = load_pretrained_lrnet("NI-DM")(probabilities)[0, 0].numpy()  # (D, H, W)

SliceViewer(
    ct.data,
    spacing=ct.spacing,
    overlays={"lesions": lesions},
    heat={"NI-DM, exact": phi, "NI-DM, by the LR-Net": by_network.round(2)},
    heat_range=(0, 1),
    levels=64,
    title="volume-0, the NI-DM of its lesions, and what the LR-Net makes of them",
)

# %% tags=["nbval-check-output"]
from scipy import ndimage

components, count = ndimage.label(lesions, np.ones((3, 3, 3)))  # (D, H, W): 0, and 1 to count
print(f"{count} lesions, {100 * lesions.mean():.2f} % of the voxels")
at_rim = lesions & (phi == 1)  # (D, H, W)
print(f"NI-DM is 1 at {100 * at_rim.sum() / lesions.sum():.0f} % of the lesion voxels")
print(
    f"and {phi[lesions].min():.2f} at the deepest, where the LR-Net says {by_network[phi == phi[lesions].min()][0]:.2f}"
)

error = np.abs(by_network - phi)
for where, there in (("at the rims", at_rim), ("deep inside, NI-DM below 0.5", lesions & (phi < 0.5))):
    print(f"mean error of the LR-Net's map {where}: {error[there].mean():.2f}")

# %% [markdown]
# Every lesion is bright at its border and darker inside. A small lesion is nearly all border. This is the ground truth
# that the paper trains with. The network's map is exact at the borders and close to it inside. How well it does, how to
# test it, and where it has to fail are the subject of notebook 03.
#
# **Question.** Some slices show two blobs side by side. Are they two lesions?

# %% tags=["nbval-check-output"]
blobs = np.array([ndimage.label(plane, np.ones((3, 3)))[1] for plane in lesions])  # (D,), counted slice by slice
belong_to = np.array([len(np.unique(plane[plane > 0])) for plane in components])  # (D,), lesions in each slice
k = max(np.flatnonzero(blobs > belong_to), key=lambda k: lesions[k].sum())
print(f"axial slice {k + 1} shows {blobs[k]} blobs and cuts {belong_to[k]} lesion{'s' if belong_to[k] > 1 else ''}")

# %% [markdown]
# Not always. Lesions are counted in 3-D, and voxels that touch at a face, an edge or a corner belong together. Scroll
# through the neighbouring slices and watch the blobs meet. The map follows the whole lesion, too: how dark it is in a
# blob depends on how deep the lesion is in all three dimensions.
#
# ## Summary
#
# - The paper: distance maps as ground truth, a small frozen network that computes them, a Dice loss that they weigh.
# - The course checks every one of its claims on data you can hold in your hand, and says so where they do not hold.
#
# **Next:** [01 · Distance maps](01_distance_maps.ipynb).
