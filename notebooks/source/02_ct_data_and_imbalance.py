# %% [markdown]
# # 02 · CT data and imbalance
#
# "Liver tumors usually occupy a very small fraction of the input volume", says the paper's first paragraph. How small?
# In this notebook you open CT scans, bring them into the shape that a network wants, the paper's four steps one by
# one, and put a number on the imbalance after each.
#
# **Afterwards you can**
# - read a CT with its spacing and orientation, and window it,
# - resample it, cut its effective range and sub-images (section 3, "Dataset and Preprocessing"),
# - say how unequal object and background are, and what that does to a loss.
#
# **Takes** 40 minutes to read and try; the cells run in a minute on a CPU and need no GPU.

# %% tags=["parameters"]
from lrnet_edu.config import fast

FAST = fast()  # the environment variable LRNET_EDU_FAST=1: everything small
CASES = 4 if FAST else 20  # of the 20 samples, for the statistics
PATCHES = 100 if FAST else 1000  # random sub-images per case

# %% [markdown]
# ## 1 · What is in the file?
#
# The course ships 20 small phantom scans in the layout of the LiTS challenge: `volume-N.nii.gz`, the CT, and
# `segmentation-N.nii.gz`, where 0 is background, 1 liver and 2 lesion. They are computed, not photographed: no
# patient's data, but the numbers (HU, noise, sizes, spacing) follow real scans. Everything below works on LiTS
# itself.

# %% tags=["nbval-check-output"]
from lrnet_edu import find_cases
from lrnet_edu.data.nifti import read_image, read_mask
from lrnet_edu.data.samples import sample_folder

cases = {case.name: case for case in find_cases(sample_folder())}
scan = read_image(cases["volume-0"].image)
labels = read_mask(cases["volume-0"].mask)

print("cases:", len(cases))
print("image:", scan.data.shape, scan.data.dtype, "   mask:", labels.data.shape, labels.data.dtype)
print("spacing (z, y, x) in mm:", tuple(round(step, 2) for step in scan.spacing))

# %% [markdown]
# Arrays here are (D, H, W) = (z, y, x): slice, row, column. The values are **Hounsfield units** (HU), a calibrated
# scale: air −1000, water 0, bone several hundred.
#
# **Question.** The voxels are boxes, not cubes, and a 3 × 3 × 3 convolution looks one voxel in each direction. Along
# which axis does it see farther, and how many times as far?

# %% tags=["nbval-check-output"]
along_z, along_y, along_x = scan.spacing  # mm
print(f"one voxel is {along_z:.1f} mm along z and {along_x:.1f} mm along x, {along_z / along_x:.2f} times as far")

# %% [markdown]
# Nearly twice as far from slice to slice as within one. Section 5 mends that.
#
# **Question.** The file stores (x, y, z), and which way each axis points is free. What happens to a network that never
# asks? Three of our files:

# %% tags=["nbval-check-output"]
import nibabel

for name in ("volume-0", "volume-3", "volume-8"):
    file = nibabel.load(cases[name].image)
    print(f"{name}: stored as {file.shape}, its axes point to {nibabel.aff2axcodes(file.affine)}")

# %% [markdown]
# R, A, S: towards the patient's right, front (anterior) and head (superior). Volume 3 is turned by 180°, volume 8 is
# stored in another axis order. Nothing is wrong with them: the 4 × 4 *affine* in the header says so, and whoever
# ignores it trains on livers that lie on the wrong side. Preprocessing turns all of them to R, A, S first.
#
# ## 2 · Look at it
#
# **Question.** Before you scroll: in how many of the 40 slices do you expect a lesion? And could you see the small
# ones without their contours? Find out. (Arrow keys or wheel scroll, dragging on a panel changes the window, O
# takes the contours away, W shows the whole slice.)

# %%
from lrnet_edu.viewers.slices import SliceViewer

SliceViewer(
    scan.data,
    spacing=scan.spacing,
    overlays={"label": labels.data},
    levels=64,
    title="volume-0: liver (1) and lesions (2)",
)

# %% tags=["nbval-check-output"]
lesion_slices = (labels.data == 2).any(axis=(1, 2))  # (D,)
print(f"slices with a lesion: {lesion_slices.sum()} of {len(lesion_slices)}")
print(f"voxels that are lesion: {100 * (labels.data == 2).mean():.2f} %, liver: {100 * (labels.data > 0).mean():.1f} %")

# %% [markdown]
# ## 3 · The window
#
# A CT spans 2500 HU from air to dense bone. The window is the part of that range that is mapped to [0, 1]; what lies
# beyond its ends is clipped.
#
# **Question.** A screen shows 256 grey levels. If they span −1000 to 1500 HU, how many of them lie between liver and
# lesion?

# %% tags=["nbval-check-output"]
import numpy as np

liver_hu, lesion_hu = scan.data[labels.data == 1], scan.data[labels.data == 2]
contrast = liver_hu.mean() - lesion_hu.mean()
print(
    f"liver {liver_hu.mean():.0f} HU, lesion {lesion_hu.mean():.0f} HU, spread inside the liver {liver_hu.std():.0f} HU"
)
WINDOWS = ((-1000, 1500), (-200, 250), (0, 160))  # HU
for low, high in WINDOWS:
    print(f"window {low:5} to {high:4} HU: {256 * contrast / (high - low):4.1f} grey levels between liver and lesion")

# %%
from lrnet_edu.figures import Picture, representative_slices
from lrnet_edu.figures.palette import CT_COLORMAP

k = representative_slices(labels.data == 2, 1)[0]
figure = Picture(4.1)
for axes, (low, high) in zip(figure.subplots(1, 3, sharey=True), WINDOWS, strict=True):
    plane = scan.data[k, ::-1, ::-1]  # (H, W), as a radiologist sees it: the front on top, the right at the left
    size = (0, plane.shape[1] * scan.spacing[2], plane.shape[0] * scan.spacing[1], 0)  # mm
    shown = axes.imshow(plane, cmap=CT_COLORMAP, vmin=low, vmax=high, extent=size)
    axes.set(title=f"{low} to {high} HU", xlabel="mm")
    figure.colorbar(shown, ax=axes, orientation="horizontal", label="HU")
figure.axes[0].set_ylabel("mm")
figure.finish(
    f"Slice {k} in three windows: from -1000 to 1500 HU liver and lesions look alike, from -200 to 250 HU the lesions "
    "are seen, from 0 to 160 HU they are plain and the noise is, too."
)

# %% [markdown]
# That was the screen. A network has no grey levels: its input is 32-bit floats, and they resolve 2500 HU without any
# window. What does a window do for a network, then?
#
# **Question.** It scales, and it clips. Which of the two can a network do without?

# %% tags=["nbval-check-output"]
print("window (HU)      contrast   / noise in the liver   / spread of the whole image")
for low, high in WINDOWS:
    image = np.clip((scan.data - low) / (high - low), 0, 1)  # (D, H, W)
    difference = image[labels.data == 1].mean() - image[labels.data == 2].mean()
    noise, spread = image[labels.data == 1].std(), image.std()
    print(f"{low:5} to {high:4} {difference:13.3f} {difference / noise:16.2f} {difference / spread:27.2f}")

# %% [markdown]
# It can do without the scaling. Contrast and noise grow together (second column), so no information is gained, and the
# network's first layer could multiply just as well. What helps is the **clipping**. Without it air and bone set the
# spread of the image, and the difference between liver and lesion is a small fraction of that spread (third column).
# Normalisation layers divide by it. The price: whatever is clipped is lost. Ours maps −200 to 250 HU to [0, 1].
#
# ### Exercise 2.1 · The window transform
# Write it: a function of an array of HU. `def answer(hu): ...`.

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
# ## 4 · How unequal is it?
#
# Imagine a "network" that always answers *background*. On volume 0:
#
# **Question.** What is its accuracy? What is its Dice? Which of the two would you put on a slide?

# %% tags=["nbval-check-output"]
lesion = labels.data == 2  # (D, H, W)
nothing = np.zeros_like(lesion)
dice = 2 * (nothing & lesion).sum() / (nothing.sum() + lesion.sum())
print(f"always background: accuracy {100 * (nothing == lesion).mean():.2f} %, Dice {dice:.2f}")

# %% [markdown]
# And what does the loss hear? Cross-entropy pulls at the logit of every voxel with $p - g$, where $p$ is the predicted
# probability and $g$ the truth. A fresh network says $p \approx 0.5$ everywhere:

# %% tags=["nbval-check-output"]
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

logits = torch.zeros(lesion.shape, requires_grad=True)  # (D, H, W), so p = 0.5
binary_cross_entropy_with_logits(logits, torch.from_numpy(lesion).float(), reduction="sum").backward()
pull = logits.grad.abs().numpy()  # (D, H, W)
print(f"pull of all background voxels / pull of all lesion voxels = {pull[~lesion].sum() / pull[lesion].sum():.0f}")

# %% [markdown]
# The background is more than a hundred times as loud. The network's first lesson is to say *background* everywhere, and
# at that point its accuracy is excellent. Class weights turn the volume up by just this ratio (notebook 04); they know
# nothing about shape, which is what the paper adds.
#
# ### Exercise 2.2 · A harder case
# How many voxels of `volume-1` are not lesion, for each one that is?

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
# ## 5 · Preprocessing, step by step
#
# The paper names four steps without numbers: spacing interpolation, window transform, effective range extraction,
# sub-image generation. Ours come in another order (the box first, so that less is interpolated). The grid is chosen
# from the scans: their own resolution, made coarser until a typical one fits into `max_voxels`. (A training looks at
# its training cases only.)

# %%
from lrnet_edu.data.preprocessing import choose_preprocessing

chosen = list(cases.values())[:CASES]
settings = choose_preprocessing(chosen, max_voxels=400_000)
print(f"isotropic grid of {settings.spacing} mm, window {settings.window} HU")

# %% [markdown]
# ### Effective range: cut the air away
#
# A box around the body, found from the *image*, for a new patient comes without a mask. **Question.** Which share of
# volume 0 is air around the patient? Guess from its picture above.

# %% tags=["nbval-check-output"]
from lrnet_edu.data.preprocessing import effective_range

box = effective_range(scan.data, scan.spacing, is_ct=True)  # a slice per axis
body = lesion[box]
print(f"{lesion.shape} becomes {body.shape}: {100 * (1 - body.size / lesion.size):.0f} % of the voxels are gone")
print(f"lesion voxels lost: {lesion.sum() - body.sum()}")
print(f"lesion: {100 * lesion.mean():.2f} % of the scan, {100 * body.mean():.2f} % of the box")

# %% [markdown]
# ### Spacing interpolation: cubes
#
# In section 7 of notebook 01 anisotropic voxels left most of a lesion's rim below $\varphi = 1$; and a convolution
# should look equally far in all directions. So the scan is interpolated to cubes, here of a round 3 mm. **Question.**
# A mask of zeros and ones is interpolated too. Between a 0 and a 1 that gives one half. Yet what comes out must be a
# mask again: what would you do?

# %% tags=["nbval-check-output"]
from lrnet_edu.data.preprocessing import Preprocessing, prepare
from lrnet_edu.support.labels import parse_labels

at_3_mm = Preprocessing(spacing=3.0, window=(-200, 250))
prepared = prepare(scan, at_3_mm, labels, parse_labels("1,2"))  # class 1 the liver, class 2 the lesions

before, after = lesion.sum() * np.prod(scan.spacing) / 1000, (prepared.classes == 2).sum() * 27 / 1000
print(f"image {prepared.image.shape} from {prepared.image.min():.0f} to {prepared.image.max():.0f}")
print(f"classes {prepared.classes.shape}: {np.unique(prepared.classes).tolist()}")
print(f"lesions: {before:.0f} ml in the file, {after:.0f} ml on the grid of 3 mm")

# %% [markdown]
# Each class is interpolated on its own, which gives fractions, and then every voxel takes the class with the largest
# share: whole numbers again. The lesions keep their volume to within a few per cent. (A lesion too small for the grid
# would vanish; it keeps one voxel.)
#
# ### Exercise 2.3 · Voxels and millilitres
# A lesion of 10 ml is resampled from 5 × 2.7 × 2.7 mm to cubes of 3 mm. How many voxels has it afterwards, about?

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
# ### Sub-images: what the network sees
#
# A whole scan does not fit into memory with its gradients, so training sees patches. **Question.** Draw patches of
# 24 × 48 × 48 voxels at random places. How many of them hold no lesion at all?

# %%
from lrnet_edu.data.patches import cut

SIZE = (24, 48, 48)


def patches_of(lesion, rng, centred):
    """Lesion masks of random patches, or of patches centred on a random lesion voxel."""
    places = np.argwhere(lesion)  # (N, 3)
    for _ in range(PATCHES):
        if centred:
            corner = places[rng.integers(len(places))] - np.array(SIZE) // 2
        else:
            corner = rng.integers(np.maximum(np.array(lesion.shape) - SIZE, 0) + 1)
        yield cut(lesion, corner, SIZE, mode="constant")


rng = np.random.default_rng(0)
on_grid = prepared.classes == 2  # (D, H, W)
shares = {
    title: np.array([patch.mean() for patch in patches_of(on_grid, rng, centred)])
    for title, centred in (("random", False), ("centred on a lesion", True))
}
for title, share in shares.items():
    empty = (share == 0).mean()
    print(f"{title:20} without a lesion {100 * empty:4.0f} %, lesion share on average {100 * share.mean():.2f} %")

# %% [markdown]
# This is the cheapest cure for imbalance, and the course's training uses it: a good part of the patches are centred on
# an object, the rest are random, so that the network also learns what is *not* a lesion.
#
# (Why does even a random patch hold more lesion than the box it is cut from? A patch lies inside the box, so the box's
# rim is in few patches and its middle, where the liver is, in many.)
#
# ## 6 · The whole data set, in one picture
#
# **Question.** Which of these steps gains most? And would *one* class weight, the background's voxels for each of the
# lesion, do for all patients?

# %%
steps = ["whole scan", "body box", "lesion-centred\npatch", "liver alone,\nwere it known"]
table = []  # one row a case with a lesion: the lesion's share after each step
lesions_by_case = {}
for case in chosen:
    in_file = read_mask(case.mask)
    ready = prepare(read_image(case.image), settings, in_file, parse_labels("1,2"))
    here = ready.classes == 2  # (D, H, W)
    lesions_by_case[case.name] = here
    if here.any():
        centred = np.mean([patch.mean() for patch in patches_of(here, rng, centred=True)])
        table.append([(in_file.data == 2).mean(), here.mean(), centred, here.sum() / (ready.classes > 0).sum()])
table = np.array(table)  # (cases, steps)

without = [name for name, mask in lesions_by_case.items() if not mask.any()]
factor = table[:, 0].max() / table[:, 0].min()
print(f"cases without any lesion: {', '.join(without) or 'none among these'}")
print(f"between the others the lesions' share of the scan differs by a factor of up to {factor:.0f}")
for step, share in zip(steps, np.median(table, axis=0), strict=True):
    print(f"{step.replace(chr(10), ' '):27} median lesion share {100 * share:6.2f} %, 1 voxel in {1 / share:.0f}")

# %%
from lrnet_edu.figures.palette import BLACK, BLUE

figure = Picture(3.8)
axes = figure.subplots()
axes.plot(range(len(steps)), 100 * table.T, color=BLUE, alpha=0.35, lw=1)
axes.plot(range(len(steps)), 100 * np.median(table, axis=0), color=BLACK, marker="o", lw=3, label="median")
axes.set_yscale("log")
axes.set_yticks((0.1, 0.3, 1, 3, 10), ("0.1", "0.3", "1", "3", "10"))
axes.set_xticks(range(len(steps)), steps)
axes.set(ylabel="Lesion share of the voxels (%)", title=f"{len(table)} cases with lesions, one line each")
axes.legend(loc="upper left")
medians = ", ".join(f"{100 * share:.2f} %" for share in np.median(table, axis=0))
figure.finish(f"The lesion's share of the voxels after each step, one line a case; the medians are {medians}.")

# %% [markdown]
# Of the steps that a training can take, choosing the patch gains by far the most. Knowing the liver would gain more
# still, but that is a segmentation of its own. And the cases differ by far, so no single class weight fits all. Some
# patients have no lesion at all: then Dice is 0 / 0, and an evaluation has to say what it does (notebook 06).
#
# ## 7 · Small lesions are all rim
#
# Imbalance has a second face, *within* the lesions. **Question.** Of a lesion of 5 mm radius on this grid, which share
# of the voxels touches the background? And of one of 20 mm? Guess, then read the answer off the figure.

# %%
from scipy import ndimage

from lrnet_edu import distance_map

radii, rims = [], []
for mask in lesions_by_case.values():
    components, count = ndimage.label(mask, np.ones((3, 3, 3)))
    D = distance_map(mask, "O-DM")
    for number in range(1, count + 1):
        inside = D[components == number]  # (N,)
        radii.append((3 * inside.size / (4 * np.pi)) ** (1 / 3) * settings.spacing)  # of a ball of equal volume
        rims.append((inside == 1).mean())

figure = Picture(3.8)
axes = figure.subplots()
axes.plot(radii, 100 * np.array(rims), "o", color=BLUE, mec="white", ms=8)
axes.set(
    xlabel="Radius of the lesion (mm; ball of equal volume)",
    ylabel="Voxels at the rim (%)",
    title=f"{len(radii)} lesions at {settings.spacing} mm",
    xlim=(0, None),
    ylim=(0, 105),
)
figure.finish(
    "Share of a lesion's voxels that lie at its rim against its radius: all of them for the smallest lesions, less than "
    f"half for the largest; {len(radii)} lesions."
)

# %% [markdown]
# A small lesion *is* its border. One voxel too few all around, and it is gone; the same mistake costs a large one a
# little Dice. NI-DM gives the rim the value 1 in lesions of every size, which is the paper's answer to this picture.
#
# ## Summary
#
# - A CT is HU plus an affine; read both. Window it: [0, 1] for −200 to 250 HU.
# - Preprocessing: R, A, S; body box; cubes; window; patches. Masks are resampled class by class, maps never.
# - Lesions fill a fraction of a per cent of a scan. Accuracy hides that, cross-entropy drowns in it, and choosing
#   patches helps before any loss does.
# - Small lesions are nearly all rim.
#
# **Next:** [03 · The LR-Net](03_lrnet_pretraining.ipynb): a small network learns to compute NI-DM from a mask.
