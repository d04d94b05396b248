# %% [markdown]
# # 00 · Start here
#
# This course takes one paper apart and rebuilds it: Li et al., *Deep Distance Map Regression Network with Shape-aware Loss
# for Imbalanced Medical Image Segmentation*. It begins with a scan.
#
# **Afterwards you can**
# - say why a network can score well and still miss lesions,
# - say in four sentences what the paper claims, and what this course asks,
# - find your way through the notebooks.
#
# **Takes** 25 minutes to read and try.

# %% tags=["parameters"]
from lrnet_edu.config import fast

FAST = fast()  # the environment variable LRNET_EDU_FAST=1: everything small
LEVELS = 16 if FAST else 64  # grey levels of the viewer

# %% [markdown]
# ## 1 · One lesion found, one missed
#
# The scan is a phantom: a CT that was computed, not taken from a patient. A small version of the paper's segmentation
# network, the **M-Net**, was trained on other phantoms to make 1 − Dice small (section 2 says what Dice is). It gives
# each voxel a probability of being lesion.
#
# **Question.** Orange lines outline the true lesions in one slice. Blue is what the network marks. Which lesions does it
# miss?

# %%
from lrnet_edu import find_cases
from lrnet_edu.data.nifti import read_image, read_mask
from lrnet_edu.data.preprocessing import back_to_original, prepare
from lrnet_edu.data.samples import study_folder, study_mnet
from lrnet_edu.figures import results_figure
from lrnet_edu.inference import predict_probabilities
from lrnet_edu.trained import load_mnet

cases = {case.name: case for case in find_cases(study_folder())}  # five phantoms that no training saw
scan = read_image(cases["volume-77"].image)  # .data (D, H, W) in HU
mask = read_mask(cases["volume-77"].mask).data  # (D, H, W): 1 liver, 2 lesion
lesions = mask == 2

trained = load_mnet(study_mnet("base"))
prepared = prepare(scan, trained.preprocessing)  # on the network's grid
output = predict_probabilities(trained.mnet, prepared.image, patch_size=trained.patch_size)
p = back_to_original(output, prepared.affine, scan, keep_probabilities=True)[1][1]  # (D, H, W), probability of lesion

results_figure(scan.data, lesions, {"M-Net + Dice": p > 0.5}, scan.spacing, slices=[26])

# %% [markdown]
# It misses the small lesion on the left, and the one at the top, which is larger here than its neighbour below. Scroll
# through the whole scan with the slider, the arrow keys or the mouse wheel.
#
# **Question.** Can you find another missed lesion? Would you have seen it in the first panel?

# %%
from lrnet_edu import distance_map
from lrnet_edu.viewers.slices import SliceViewer

SliceViewer(
    scan.data,
    spacing=scan.spacing,
    window=(-30, 180),
    overlays={"true lesions": lesions, "M-Net + Dice": p > 0.5},
    heat={"distance map of the true lesions": distance_map(lesions, "NI-DM")},
    heat_range=(0, 1),
    levels=LEVELS,
    title="volume-77: what is there, what is found, and a distance map",
)

# %% [markdown]
# The last panel shows the paper's idea, a **distance map**: 1 at the border of every lesion, less inside. This kind is
# called NI-DM.
#
# ## 2 · Which number sees a missed lesion?
#
# **Question.** What share of the scan is lesion: a tenth, a hundredth or a thousandth?

# %% tags=["nbval-check-output"]
print(f"{lesions.sum()} of {lesions.size} voxels are lesion, {100 * lesions.mean():.2f} %")

# %% [markdown]
# ### How an exercise works
# Write your answer in place of `None`. Run the cell and the next one. If the answer is not right yet, you get a hint. The
# solution is folded below.
#
# ### Exercise 0.1 · A mask of nothing
# A network answers "no lesion" at every voxel of this scan. Guess first: which share of the voxels does it get right? Then
# compute that share, its **accuracy**.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_0_1(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# answer = 1 - 2120 / 1684480
# ```
# </details>

# %% [markdown]
# So accuracy is no use here. The paper reports **Dice**: twice the overlap of two masks, divided by the sum of their sizes.
# It is 1 for equal masks, and 0 for masks that share no voxel.
#
# **Question.** Here are the lesions of another scan. Which of them could be missed without much harm to Dice?

# %% tags=["nbval-check-output"]
import numpy as np
from scipy import ndimage

other = read_mask(cases["volume-78"].mask)
components, count = ndimage.label(other.data == 2, np.ones((3, 3, 3)))  # voxels that touch at a corner belong together
ml = np.bincount(components.ravel())[1:] * np.prod(other.spacing) / 1000
print(f"volume-78 has {count} lesions of", ", ".join(f"{size:.1f}" for size in sorted(ml)), "ml")

# %% [markdown]
# ### Exercise 0.2 · Five of six
# A network marks the largest of these six lesions perfectly, and nothing else. Guess the scan's Dice, then compute it.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_0_2(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# The overlap is the largest lesion. The two masks are that lesion and all six.
#
# ```python
# sizes = [0.1, 0.3, 0.6, 0.8, 1.2, 7.8]
# answer = 2 * 7.8 / (7.8 + sum(sizes))
# ```
# </details>

# %% [markdown]
# Dice counts voxels. To a doctor every missed lesion matters, so we count lesions, too.
#
# ### Exercise 0.3 · Count lesions
# Write a function `answer(p, lesions, threshold)` that returns two numbers: how many lesions are **found** and how many are
# **missed**. A lesion is a connected component of `lesions`, as above. It is found if $p$ exceeds the threshold in at least
# one of its voxels.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_0_3(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# from scipy import ndimage
#
#
# def answer(p, lesions, threshold):
#     components, count = ndimage.label(lesions, np.ones((3, 3, 3)))
#     found = sum((p[components == c] > threshold).any() for c in range(1, count + 1))
#     return found, count - found
# ```
# </details>

# %% [markdown]
# The package counts in the same way: a lesion whose own Dice is above 0 is found. It also counts **false lesions**, the
# marked components that touch no lesion.
#
# **Question.** A lower threshold finds more lesions. What does that cost?

# %%
from lrnet_edu.study.froc import lesions_by_threshold

thresholds = (0.5, 0.1, 0.01)
counted = lesions_by_threshold(p, lesions, scan.spacing, thresholds)
for threshold, dice, false in zip(thresholds, counted.dice, counted.false_lesions, strict=True):
    print(f"p > {threshold:4}: {(dice > 0).sum():2} of {len(dice)} lesions found, {false} false lesions")

# %% [markdown]
# Moving the threshold only trades one error for the other. To reduce both, the network has to change.
#
# ## 3 · What the paper claims
#
# The paper changes what the M-Net learns from. Besides the mask there is the mask's distance map, and a small second
# network that computes such maps: the **LR-Net**, a light-weight regression network.
#
# 1. A distance map tells a network about shape and border. A mask tells it only about classes (section 2.1).
# 2. The LR-Net learns to turn a mask into its map, with a Dice "around 0.99" (section 2.2).
# 3. Then it is frozen and put behind the M-Net. The error of its map trains the M-Net (Fig. 1).
# 4. The map also weights the voxels in a new loss, **MapDice** (Eq. 2). Together they score higher than five losses made for
#    imbalance (Table 2).
#
# Here is Fig. 1, drawn from the course's networks. **Question.** Which of the two does a hospital need for a new
# patient?

# %%
from IPython.display import HTML

from lrnet_edu.figures.picture import figure_1

HTML(figure_1())

# %% tags=["nbval-check-output"]
from lrnet_edu import load_pretrained_lrnet

for name, network in (("M-Net", trained.mnet), ("LR-Net", load_pretrained_lrnet())):
    print(f"{name:6} {sum(weight.numel() for weight in network.parameters()):9,} weights")

# %% [markdown]
# Only the M-Net. The LR-Net is needed only in training.
#
# **This is the question of the course:** does training with a frozen LR-Net help an M-Net to find and outline lesions
# like the missed ones? If so, is it the map that helps, or would more training or a simpler loss have done as much?
#
# ## 4 · The notebooks
#
# Each runs by itself.
#
# | notebook | afterwards you can | minutes |
# |---|---|---|
# | [01 · Distance maps](01_distance_maps.ipynb) | build the paper's four maps, and repair Eq. 1 | 40 |
# | [02 · CT data and imbalance](02_ct_data_and_imbalance.ipynb) | prepare a CT, and measure how rare lesions are | 40 |
# | [03 · The LR-Net learns distance maps](03_lrnet_pretraining.ipynb) | train the LR-Net, and say what a Dice of 0.99 proves | 45 |
# | [04 · The M-Net and its losses](04_mnet_and_losses.ipynb) | train the M-Net, and see what MapDice really asks for | 45 |
# | [05 · The frozen tandem](05_frozen_tandem.ipynb) | put both in a row, and follow the gradient | 45 |
# | [06 · Results and viewers](06_results_and_viewers.ipynb) | segment whole scans, and read seven criteria | 40 |
# | [07 · The paper's tables, and what a claim needs](07_tables_of_the_paper.ipynb) | judge a claim by its numbers | 45 |
# | [08 · The study](08_the_study.ipynb) | read what the study found | 45 |
# | [09 · Your own data and network](09_your_own_data_and_network.ipynb) | put the LR-Net behind a network of your own | 40 |
#
# Short of time? Take 01, 05, 07 and 08.
#
# Everything runs on a CPU; on a GPU, the trainings of 03 to 05 take more steps.
#
# ## Summary
#
# - Lesions are rare, so accuracy says nothing, and Dice says little about small ones. Count lesions, too.
# - The paper adds a second network that turns masks into distance maps, and trains the first one through it.
#
# **Next:** [01 · Distance maps](01_distance_maps.ipynb).
