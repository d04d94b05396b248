# %% [markdown]
# # 02 · CT data and imbalance
#
# "Liver tumors usually occupy a very small fraction of the input volume", says the paper's introduction. Here you open
# CT scans, measure this fraction, and prepare the scans for a network.
#
# **Afterwards you can**
# - read a CT with its spacing and orientation, and window it,
# - say what trivial guesses score, and why a loss hardly notices small lesions,
# - crop a scan, resample it and cut patches (section 3, "Dataset and Preprocessing").
#
# **Takes** 40 minutes to read and try.

# %% tags=["parameters"]
from lrnet_edu.config import fast

FAST = fast()  # the environment variable LRNET_EDU_FAST=1: everything small
PATCHES = 100 if FAST else 1000  # of each scan, in section 6

# %% [markdown]
# ## 1 · What is in the file?
#
# The course comes with 20 phantom scans: CTs that were computed, not taken from patients. Their files are named as in
# LiTS, the paper's public data. In the masks 0 is background, 1 liver and 2 lesion.
#
# **Question.** A 3 × 3 × 3 convolution looks one voxel in each direction. Does it look equally far, in mm?

# %% tags=["nbval-check-output"]
import numpy as np

from lrnet_edu import find_cases
from lrnet_edu.data.nifti import read_image, read_mask
from lrnet_edu.data.samples import sample_folder

cases = {case.name: case for case in find_cases(sample_folder())}
scan = read_image(cases["volume-0"].image)
labels = read_mask(cases["volume-0"].mask)
lesion = labels.data == 2  # (D, H, W)

print("cases:", len(cases), "  shape (D, H, W):", scan.data.shape)
print("spacing (z, y, x):", " × ".join(f"{step:.1f}" for step in scan.spacing), "mm")
print(f"a step along z is {scan.spacing[0] / scan.spacing[2]:.2f} times as long as one along x")

# %% [markdown]
# No. Section 5 fixes that.
#
# **Question.** A file may store its axes in any order and direction. Do all files here agree?

# %% tags=["nbval-check-output"]
import nibabel

for name in ("volume-0", "volume-3", "volume-8"):
    file = nibabel.load(cases[name].image)
    print(f"{name}: stored as {file.shape}, the axes point to {' '.join(nibabel.aff2axcodes(file.affine))}")

# %% [markdown]
# No. The letters mean right, left, anterior, posterior, superior and inferior: the side of the patient that an axis
# points to. Preprocessing turns every scan to R, A, S. Otherwise the network would see some livers on the wrong side.
#
# ## 2 · Look at it
#
# **Question.** How many of the 40 slices show a lesion? Can you see the small lesions without their contours? Arrow keys
# scroll, O hides the contours, and W shows the whole slice.

# %%
from lrnet_edu.viewers.slices import SliceViewer

SliceViewer(
    scan.data, spacing=scan.spacing, overlays={"lesions": lesion}, levels=64, title="volume-0, a CT, and its lesions"
)

# %% tags=["nbval-check-output"]
print(f"slices with a lesion: {lesion.any(axis=(1, 2)).sum()} of {len(lesion)}")
print(f"lesion: {100 * lesion.mean():.2f} % of all voxels")

# %% [markdown]
# ## 3 · The window scales and clips
#
# CT values are Hounsfield units (HU), with air at −1000 and water at 0. A **window** maps a range of HU to $[0, 1]$ and
# clips what lies beyond.
#
# ### Exercise 2.1 · The window transform
# Write the window from −200 to 250 HU as a function `answer(hu)` of an array.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_2_1(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def answer(hu):
#     return np.clip((hu + 200) / 450, 0, 1)
# ```
# </details>

# %% [markdown]
# **Question.** In which of these windows do you see the lesions, and in which the noise?

# %%
from lrnet_edu.figures import Picture
from lrnet_edu.figures.palette import CT_COLORMAP

WINDOWS = ((-1000, 1500), (-200, 250), (0, 160))  # HU
k = lesion.sum(axis=(1, 2)).argmax()  # the slice with most of the lesions
plane = scan.data[k, 20:110, ::-1][::-1]  # (H, W), the front on top, the patient's right at the left
height, width = plane.shape[0] * scan.spacing[1], plane.shape[1] * scan.spacing[2]  # mm

figure = Picture(3.6)
for axes, (low, high) in zip(figure.subplots(1, 3, sharey=True), WINDOWS, strict=True):
    shown = axes.imshow(plane, cmap=CT_COLORMAP, vmin=low, vmax=high, extent=(0, width, height, 0))
    axes.set_title(f"{low} to {high} HU", pad=8)
    axes.set_xlabel("mm")
    figure.colorbar(shown, ax=axes, orientation="horizontal", label="HU", ticks=(low, high))
figure.axes[0].set_ylabel("mm")
figure.finish(
    f"Slice {k} in three windows: from -1000 to 1500 HU liver and lesions look alike, from -200 to 250 HU the lesions "
    "are seen, from 0 to 160 HU they are plain, and so is the noise."
)

# %% [markdown]
# A window scales, and it clips. The cell compares the lesions' contrast with two standard deviations: that of the
# liver, its noise, and that of the whole image.
#
# **Question.** Which of the two helps a network, the scaling or the clipping?

# %% tags=["nbval-check-output"]
liver = labels.data == 1  # (D, H, W), without its lesions
print("window (HU)      contrast   / noise in the liver   / spread of the whole image")
for low, high in WINDOWS:
    image = np.clip((scan.data - low) / (high - low), 0, 1)  # (D, H, W)
    contrast = image[liver].mean() - image[lesion].mean()
    print(f"{low:5} to {high:4} {contrast:13.3f} {contrast / image[liver].std():16.2f} {contrast / image.std():27.2f}")

# %% [markdown]
# The clipping. Scaling raises contrast and noise alike: the second column hardly changes. But without clipping, air and
# bone dominate the spread of the image, and the contrast is a small part of it.
#
# ## 4 · Imbalance: what trivial guesses score
#
# **Dice** is twice the overlap of two masks, divided by the sum of their sizes. For two empty masks it is 1.
#
# Here are four guesses without any learning. The last two are told where the liver is, and the last one marks only its
# voxels below 85 HU.
#
# **Question.** Which guess has the best accuracy on volume 0, and which the best Dice?


# %% tags=["nbval-check-output"]
from lrnet_edu import metrics


def dice(guess, truth):
    sizes = guess.sum() + truth.sum()
    return 2 * (guess & truth).sum() / sizes if sizes else 1.0


def guesses(hu, labels):
    """Masks (D, H, W) from the HU and the labels of a scan."""
    nothing, liver = np.zeros(labels.shape, bool), labels > 0
    dark = liver & (hu < 85)
    return {"all background": nothing, "all lesion": ~nothing, "the whole liver": liver, "dark liver voxels": dark}


for name, guess in guesses(scan.data, labels.data).items():
    score = dice(guess, lesion)
    assert np.isclose(score, metrics.dice(guess, lesion))  # the package's
    print(f"{name:18} accuracy {100 * (guess == lesion).mean():6.2f} %   Dice {score:.2f}")

# %% [markdown]
# "All background" has an accuracy above 99 %, and a Dice of 0.
#
# **Question.** Now take the mean Dice over all 20 scans, as the paper's DC does. Can "all background" score more than 0?

# %% tags=["nbval-check-output"]
scores, shares = {}, []
for case in cases.values():
    here = read_mask(case.mask).data  # (D, H, W)
    shares.append((here == 2).mean())
    for name, guess in guesses(read_image(case.image).data, here).items():
        scores.setdefault(name, []).append(dice(guess, here == 2))

for name, values in scores.items():
    print(f"{name:18} mean Dice {np.mean(values):.3f}")
shares = np.array(shares)
print(f"{(shares == 0).sum()} scans have no lesion")
print(f"in the others, lesions fill {100 * shares[shares > 0].min():.2f} % to {100 * shares.max():.2f} % of the voxels")

# %% [markdown]
# Yes: an empty answer is right for a scan without a lesion, so we count it as 1; the paper does not say what it does. Before you trust a network's score, ask what such guesses
# score on the same scans.
#
# And what does a loss notice? A network gives each voxel a number $z$, its **logit**, and
# $p = 1 / (1 + e^{-z})$. The gradient of cross-entropy with respect to $z$ is $p - g$, with the truth $g$. Call its size
# the **pull**. An untrained network may say $p = 0.5$ everywhere.
#
# **Question.** How much stronger is the pull of all background voxels together than that of all lesion voxels?

# %% tags=["nbval-check-output"]
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

logits = torch.zeros(lesion.shape, requires_grad=True)  # (D, H, W), so p = 0.5
binary_cross_entropy_with_logits(logits, torch.from_numpy(lesion).float(), reduction="sum").backward()
pull = logits.grad.abs().numpy()  # (D, H, W)
print(f"pull of the background / pull of the lesions = {pull[~lesion].sum() / pull[lesion].sum():.0f}")

# %% [markdown]
# More than a hundred times. Class weights can even this out, but they know nothing about shape.
#
# ### Exercise 2.2 · A harder case
# In `volume-1`, again at $p = 0.5$: how many times stronger is the pull of the background than that of the lesions?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_2_2(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# mask = read_mask(sample_folder() / "segmentation-1.nii.gz").data
# answer = (mask != 2).sum() / (mask == 2).sum()
# ```
# </details>

# %% [markdown]
# ## 5 · The box and the cubes
#
# The paper names four steps of preprocessing: spacing interpolation, window transform, effective range extraction and
# sub-image generation. You know the window. We take the **effective range** to be a box around the body, found from the
# image alone: a new patient comes without a mask.
#
# **Question.** What share of volume 0 does the box remove? Does it remove any lesion?

# %% tags=["nbval-check-output"]
from lrnet_edu.data.preprocessing import effective_range

in_box = lesion[effective_range(scan.data, scan.spacing, is_ct=True)]
print(f"{lesion.shape} becomes {in_box.shape}: {100 * (1 - in_box.size / lesion.size):.0f} % of the voxels are gone")
print(f"lesion voxels lost: {lesion.sum() - in_box.sum()}")

# %% [markdown]
# **Spacing interpolation** resamples the scan to cubes, here of 3 mm. The classes of the mask are interpolated one by one,
# and each voxel takes the class with the largest share.
#
# **Question.** What stays the same for the lesions, their number of voxels or their volume?

# %% tags=["nbval-check-output"]
from lrnet_edu.data.preprocessing import Preprocessing, prepare
from lrnet_edu.support.labels import parse_labels

AT_3_MM = Preprocessing(spacing=3.0, window=(-200, 250))
CLASSES = parse_labels("1,2")  # the mask's values: 1 liver, 2 lesion
prepared = prepare(scan, AT_3_MM, labels, CLASSES)  # box, cubes and window at once
on_grid = prepared.classes == 2  # (D, H, W)

print(f"image {prepared.image.shape}, values from {prepared.image.min():.0f} to {prepared.image.max():.0f}")
for where, mask, voxel in (("file", lesion, np.prod(scan.spacing)), ("grid of 3 mm", on_grid, 3**3)):
    print(f"{where:13} {mask.sum():5} lesion voxels, {mask.sum() * voxel / 1000:.0f} ml")

# %% [markdown]
# ### Exercise 2.3 · Voxels and millilitres
# A lesion of 10 ml is resampled from 5 × 2.7 × 2.7 mm to cubes of 3 mm. About how many voxels does it have afterwards?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_2_3(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# answer = 10 * 1000 / 3**3  # 10 ml are 10,000 mm³, a voxel is 27 mm³
# ```
# </details>

# %% [markdown]
# ## 6 · Patches
#
# **Sub-image generation** cuts patches, here of 24 × 48 × 48 voxels.
#
# **Question.** What raises the share of lesion voxels more: the box, or patches that are centred on lesions?


# %%
SIZE = np.array((24, 48, 48))
rng = np.random.default_rng(0)


def share_in_patches(lesion):
    """Mean lesion share of patches around random lesion voxels; at the edge of the scan a patch is moved inwards."""
    places, last = np.argwhere(lesion), np.maximum(np.array(lesion.shape) - SIZE, 0)
    shares = []
    for place in rng.choice(places, PATCHES):
        z, y, x = np.clip(place - SIZE // 2, 0, last)
        shares.append(lesion[z : z + SIZE[0], y : y + SIZE[1], x : x + SIZE[2]].mean())
    return np.mean(shares)


steps = ("whole scan", "box", "patch on a lesion")
table, lesions_on_grid = [], []  # one row a scan with lesions: their share after each step
for case in cases.values():
    in_file = read_mask(case.mask)
    on_grid = prepare(read_image(case.image), AT_3_MM, in_file, CLASSES).classes == 2  # (D, H, W)
    if on_grid.any():
        lesions_on_grid.append(on_grid)
        table.append([(in_file.data == 2).mean(), on_grid.mean(), share_in_patches(on_grid)])
table = np.array(table)  # (scans, steps)
for step, share in zip(steps, np.median(table, axis=0), strict=True):
    print(f"{step:18} median lesion share {100 * share:5.2f} %, 1 voxel in {1 / share:.0f}")

# %%
from lrnet_edu.figures.palette import BLACK, BLUE

figure = Picture(3.8)
axes = figure.subplots()
axes.plot(steps, 100 * table.T, color=BLUE, alpha=0.4, lw=1.2)
axes.plot(steps, 100 * np.median(table, axis=0), color=BLACK, marker="o", lw=3, label="median")
axes.set_yscale("log")
axes.set_yticks((0.1, 0.3, 1, 3, 10), ("0.1", "0.3", "1", "3", "10"))
axes.set(ylabel="Lesion share of the voxels (%)", title=f"{len(table)} scans with lesions, one line each")
axes.legend(loc="upper left")
medians = ", ".join(f"{100 * share:.2f} %" for share in np.median(table, axis=0))
figure.finish(f"The lesions' share of the voxels after each step, one line a scan; the medians are {medians}.")

# %% [markdown]
# The patches. In training, some patches are drawn at random instead, so that the network also learns what is *not* a
# lesion.
#
# ## 7 · Small lesions are all rim
#
# **Question.** What share of a lesion's voxels lies at its rim, where $D = 1$, if its radius is 5 mm? And 20 mm?

# %%
from scipy import ndimage

from lrnet_edu import distance_map

radii, rims = [], []
for mask in lesions_on_grid:
    components, count = ndimage.label(mask, np.ones((3, 3, 3)))
    D = distance_map(mask, "O-DM")
    for number in range(1, count + 1):
        inside = D[components == number]  # (N,)
        radii.append((inside.size * 3**3 * 3 / (4 * np.pi)) ** (1 / 3))  # mm, of a ball of equal volume
        rims.append((inside == 1).mean())

figure = Picture(3.8)
axes = figure.subplots()
axes.plot(radii, 100 * np.array(rims), "o", color=BLUE, mec="white", ms=8)
axes.set(xlabel="Radius of a ball of the same volume (mm)", ylabel="Voxels at the rim (%)", xlim=(0, None))
axes.set(ylim=(0, 105), title=f"{len(radii)} lesions on the grid of 3 mm")
figure.finish(
    "Share of a lesion's voxels that lie at its rim against its radius: nearly all of them for the smallest lesions, "
    f"less than half for the largest; {len(radii)} lesions."
)

# %% [markdown]
# At 5 mm nine voxels in ten or more lie at the rim, at 20 mm four in ten. A small lesion is almost all rim. A network that misses the rim misses nearly all of it, while most of a large lesion is
# left. The paper's answer is NI-DM, which is 1 at the rim of lesions of every size.
#
# ## Summary
#
# - Turn a CT to R, A, S, crop it to the body, resample it to cubes, window it, and cut patches.
# - Lesions fill about a hundredth of a scan or less. Accuracy hides this, and the background dominates cross-entropy.
# - Compare every Dice with what trivial guesses score.
# - Small lesions are almost all rim.
#
# **Next:** [03 · The LR-Net](03_lrnet_pretraining.ipynb) computes NI-DM from a mask.
