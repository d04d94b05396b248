# %% [markdown]
# # 06 · Results and viewers
#
# "The LR-Net can be removed and the M-Net predict the segmentation mask directly" (section 2.2). Here M-Nets segment whole
# scans, and you find out how good they are. The paper uses seven criteria, and each of them can mislead.
#
# **Afterwards you can**
# - predict a whole scan, window by window,
# - compute the seven criteria by hand, and say where each misleads,
# - inspect any network lesion by lesion and slice by slice.
#
# **Takes** 40 minutes to read and try.

# %% tags=["parameters"]
from lrnet_edu.config import fast

FAST = fast()  # the environment variable LRNET_EDU_FAST=1: everything small
NAMES = [f"volume-{number}" for number in ((77, 78) if FAST else range(75, 80))]  # the study's test phantoms
STEPS = 3 if FAST else 40  # of exercise 6.3
TRAINING_CASES = 2 if FAST else 6

# %% [markdown]
# ## 1 · What was found, what was missed
#
# Four M-Nets of the study segment scans that no training saw. `before` was trained with Dice for 9600 steps. The others went
# on from there for 600 steps: `A` with Dice, `C` with the error of the LR-Net's map alone, and the control `E` with the error
# of the mask, without an LR-Net.
#
# **Question.** Which lesions will be missed? Will all four networks miss the same ones?

# %%
import numpy as np

from lrnet_edu import find_cases
from lrnet_edu.data.nifti import read_image, read_mask
from lrnet_edu.data.preprocessing import back_to_original, prepare
from lrnet_edu.data.samples import study_folder, study_mnet
from lrnet_edu.inference import predict_probabilities
from lrnet_edu.trained import load_mnet

networks = {"before": load_mnet(study_mnet("base")), **{arm: load_mnet(study_mnet(arm)) for arm in "ACE"}}
one = networks["before"]
cases = {case.name: case for case in find_cases(study_folder())}
scans = {name: read_image(cases[name].image) for name in NAMES}  # .data (D, H, W) in HU
truths = {name: read_mask(cases[name].mask).data == 2 for name in NAMES}  # (D, H, W)
prepared = {name: prepare(scans[name], one.preprocessing) for name in NAMES}  # on the networks' grid


def segment(mnet, name):
    """p of lesion on the file's grid, (D, H, W)."""
    output = predict_probabilities(mnet.to(device), prepared[name].image, patch_size=one.patch_size)  # (2, d, h, w)
    return back_to_original(output, prepared[name].affine, scans[name], keep_probabilities=True)[1][1]


predictions = {arm: {name: segment(trained.mnet, name) for name in NAMES} for arm, trained in networks.items()}

# %%
from lrnet_edu.figures import Picture
from lrnet_edu.figures.palette import MAP_COLORMAP
from lrnet_edu.study.froc import lesions_by_threshold

counted = {
    arm: [lesions_by_threshold(found[name], truths[name], scans[name].spacing, [0.5]) for name in NAMES]
    for arm, found in predictions.items()
}
ml = np.concatenate([case.ml for case in counted["before"]])
dice = np.array([np.concatenate([case.dice[0] for case in each]) for each in counted.values()])  # (networks, lesions)
ml, dice = np.sort(ml), dice[:, ml.argsort()]
false = [sum(case.false_lesions[0] for case in each) for each in counted.values()]
figure = Picture(3.8)
axes = figure.subplots()
shown = axes.imshow(dice, cmap=MAP_COLORMAP, vmin=0, vmax=1, aspect="auto")
for row, column in np.argwhere(dice == 0):
    axes.text(column, row, "×", ha="center", va="center", color="white", size=14)
axes.set_yticks(range(len(networks)), [f"{arm}\n{number} false" for arm, number in zip(networks, false, strict=True)])
axes.set_xticks(range(len(ml)), [f"{size:.2g}" for size in ml], rotation=90)
axes.set(xlabel="Lesion's volume (ml)")
figure.colorbar(shown, ax=axes, label="Dice of the lesion (no unit)\n× missed")
told = "; ".join(f"{arm} finds {(row > 0).sum()}" for arm, row in zip(networks, dice, strict=True))
figure.finish(f"Dice of {len(ml)} lesions by volume, a row for each network, a cross where it is missed: {told}.")

# %% [markdown]
# Most of the missed lesions are small, and nearly all of them are missed by all four networks. The networks differ in their
# false lesions. Notebook 05 counted on the networks' grid: all four have more of them there, and A finds one
# lesion more.
#
# ## 2 · Look!
#
# The buttons choose three of the six panels. W shows the whole slice, and O hides the contours.
#
# **Question.** Can you find a lesion that all four networks miss? Would you have seen it without its contour?

# %%
from lrnet_edu.viewers.slices import SliceViewer

marked = {arm: found["volume-77"] > 0.5 for arm, found in predictions.items()}
SliceViewer(
    scans["volume-77"].data,
    spacing=scans["volume-77"].spacing,
    window=(-30, 180),
    overlays={"true lesions": truths["volume-77"], **marked},
    levels=64,
    title="volume-77, a test scan: true lesions (orange) and four networks",
)

# %% [markdown]
# ## 3 · From patches to a scan
#
# `C` was trained with an LR-Net. **Question.** What do you expect to find in its file?

# %% tags=["nbval-check-output"]
from lrnet_edu import LRNet
from lrnet_edu.support.checkpoints import load_checkpoint

tensors, facts = load_checkpoint(study_mnet("C"))
print("trained with:", facts["method"], "  networks in the file:", *{name.split(".")[0] for name in tensors})
print(f"weights: {sum(tensor.numel() for tensor in tensors.values()):,}")
print(f"thrown away after training: {sum(weight.numel() for weight in LRNet().parameters()):,}")
print("trained on patches (D, H, W) of", one.patch_size)

# %% [markdown]
# Only an M-Net. It was trained on patches, but convolutions run on any size. **Question.** Is it better to feed it the whole
# scan at once, or one window after the other?

# %%
from lrnet_edu import case_scores

scan, on_grid = scans["volume-78"], prepared["volume-78"]
ways = {
    "the whole scan at once": {"patch_size": on_grid.image.shape},
    "windows edge to edge": {"patch_size": one.patch_size, "overlap": 0.0},
    "windows that overlap by half": {"patch_size": one.patch_size, "overlap": 0.5},
}
for way, how in ways.items():
    output = predict_probabilities(one.mnet, on_grid.image, **how)  # (2, d, h, w)
    classes, _ = back_to_original(output, on_grid.affine, scan)  # (D, H, W)
    print(f"{way:29} Dice {case_scores(classes == 1, truths['volume-78'], scan.spacing).dice:.2f}")

# %% [markdown]
# Windows of the size that it knows. The M-Net's **instance normalisation** subtracts the mean of all that it sees, and divides by
# the spread. In a whole scan both differ from a patch's. The windows overlap, because near a window's edge half of the
# surroundings is missing. The command `lrnet-edu predict` does the same.
#
# ## 4 · Seven criteria
#
# The paper leaves the formulas to its reference [3]. $P$ is the predicted object, $R$ the reference, and $d$ are the distances
# from each surface voxel of one to the nearest of the other, both ways, in mm.
#
# | criterion | formula | best |
# |---|---|---|
# | DC, Dice per case | mean over the cases of $2\,\lvert P \cap R \rvert \,/\, (\lvert P \rvert + \lvert R \rvert)$ | 1 |
# | DG, Dice global | $2 \sum \lvert P \cap R \rvert \,/\, \sum (\lvert P \rvert + \lvert R \rvert)$ | 1 |
# | VOE, volumetric overlap error | $1 - \lvert P \cap R \rvert \,/\, \lvert P \cup R \rvert$ | 0 |
# | RVD, relative volume difference | $(\lvert P \rvert - \lvert R \rvert) \,/\, \lvert R \rvert$ | 0, with a sign |
# | ASSD, average symmetric surface distance | mean of $d$ | 0 mm |
# | RMSD, root mean square surface distance | root of the mean of $d^2$ | 0 mm |
# | MSD, maximum surface distance | largest $d$ | 0 mm |
#
# **Question.** A prediction is the reference, one voxel to the right, and a voxel is 2 mm. What is its RVD? Its MSD?

# %% tags=["nbval-check-output"]
from scipy import ndimage


def by_hand(P, R, spacing):
    """All but DG, of two masks (D, H, W) that are not empty."""
    both, either = (P & R).sum(), (P | R).sum()
    neighbours = ndimage.generate_binary_structure(3, 2)  # those that share a face or an edge
    rims = [np.argwhere(mask & ~ndimage.binary_erosion(mask, neighbours)) * spacing for mask in (P, R)]  # (N, 3) in mm
    between = np.linalg.norm(rims[0][:, None] - rims[1][None], axis=-1)  # (N, M)
    d = np.concatenate((between.min(axis=1), between.min(axis=0)))
    overlap = 2 * both / (P.sum() + R.sum()), 1 - both / either, (P.sum() - R.sum()) / R.sum()
    return (*overlap, d.mean(), np.sqrt((d**2).mean()), d.max())


def ball(radius, centre=(24, 24, 24)):
    """A ball (48, 48, 48), radius and centre (z, y, x) in voxels."""
    axes = np.ogrid[:48, :48, :48]
    return sum((axis - middle) ** 2 for axis, middle in zip(axes, centre, strict=True)) <= radius**2


MM = (2.0, 2.0, 2.0)
R, P = ball(8), ball(8, centre=(24, 24, 25))
package = case_scores(P, R, MM)
print("equal to the package:")
for name, mine in zip(("dice", "voe", "rvd", "assd", "rmsd", "msd"), by_hand(P, R, MM), strict=True):
    np.testing.assert_allclose(mine, getattr(package, name), rtol=1e-5)
    print(f"  {name:5} {mine:.2f}")

# %% [markdown]
# ## 5 · Where Dice misleads: size
#
# **Question.** Every lesion is drawn one voxel too small all around. What are Dice and ASSD for balls of radius 2, 4, 8 and 16?

# %% tags=["nbval-check-output"]
for radius in (2, 4, 8, 16):
    scores = case_scores(ball(radius - 1), ball(radius), MM)
    print(f"radius {radius:2}: Dice {scores.dice:.2f}, ASSD {scores.assd:.1f} mm")

# %% [markdown]
# The mistake is always the same, and ASSD nearly so. (It stays below 2 mm, one voxel, as some voxels belong to both
# surfaces: a neighbour across an edge counts, too.) Dice depends on the size of the lesion. VOE tells nothing new: where Dice is
# $D$, VOE is $1 - D / (2 - D)$. DG adds up the voxels of all cases, so large lesions count even more.
#
# ### Exercise 6.1 · Two kinds of Dice
# Four patients have lesions of 3000, 20, 20 and 20 voxels. The network segments the first perfectly and finds nothing in the
# others. Give `(DC, DG)`.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_6_1(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# DC = (1 + 0 + 0 + 0) / 4
# DG = 2 * 3000 / (3000 + 3000 + 3 * 20)
# answer = (DC, DG)
# ```
# </details>

# %% [markdown]
# ## 6 · Where MSD misleads: one voxel
#
# **Question.** A perfect prediction, and one wrong voxel far away. What happens to each criterion?

# %% tags=["nbval-check-output"]
far = ball(8)
far[2, 2, 2] = True
scores = case_scores(far, ball(8), MM)
print(f"Dice {scores.dice:.4f}, RVD {scores.rvd:+.4f}, ASSD {scores.assd:.2f} mm, MSD {scores.msd:.1f} mm")

# %% [markdown]
# Dice hardly changes, and MSD depends on that one voxel alone. So should we delete all small components?
#
# ### Exercise 6.2 · Wipe the specks away
# Write `answer(mask, smallest)`: a copy of the mask (D, H, W) without the components of fewer than `smallest` voxels. Voxels
# that touch at a corner belong together.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_6_2(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# from scipy import ndimage
#
#
# def answer(mask, smallest):
#     components, count = ndimage.label(mask, np.ones((3, 3, 3)))
#     keep = np.bincount(components.ravel()) >= smallest
#     keep[0] = False  # the background
#     return keep[components]
# ```
# </details>

# %% [markdown]
# **Question.** How many *true* lesions of our scans would a filter of 30 voxels delete?

# %%
print(f"{(ml * 1000 / np.prod(scan.spacing) < 30).sum()} of {len(ml)} lesions have fewer than 30 voxels")

# %% [markdown]
# ## 7 · Where RVD misleads: signs
#
# **Question.** RVD is 0. Is the prediction perfect? And a *mean* RVD of 0 over two patients?

# %% tags=["nbval-check-output"]
from lrnet_edu import score_table

elsewhere = case_scores(ball(6, centre=(12, 12, 12)), ball(6, centre=(36, 36, 36)), MM)
print(f"beside the lesion: RVD {elsewhere.rvd:+.2f}, Dice {elsewhere.dice:.2f}")
much, little = case_scores(ball(10), ball(8), MM), case_scores(ball(3), ball(8), MM)
mean = score_table([much, little]).mean
print(f"two patients: RVD {much.rvd:+.2f} and {little.rvd:+.2f}, mean {mean['RVD']:+.2f}, DC {mean['DC']:.2f}")

# %% [markdown]
# RVD compares volumes, not places. Its best value is 0, not the smallest one. In a mean, too much in one patient makes up for
# too little in another.
#
# ## 8 · Where distances mislead: nothing there
#
# An empty mask has no surface, so its distances are undefined, and the mean leaves that case out.
#
# **Question.** Networks X and Y segment three patients. X finds all three lesions, the third one badly. Y misses the third. Whose
# mean ASSD is better?

# %% tags=["nbval-check-output"]
good = case_scores(ball(7), ball(8), MM)
badly = case_scores(ball(4, centre=(24, 24, 30)), ball(4), MM)
missed = case_scores(np.zeros((48, 48, 48), dtype=bool), ball(4), MM)
for who, scores in (("X", [good, good, badly]), ("Y", [good, good, missed])):
    table = score_table(scores)
    mean, undefined = table.mean, table.undefined["ASSD"]
    print(f"{who}: DC {mean['DC']:.2f}, ASSD {mean['ASSD']:.2f} mm, undefined in {undefined} of 3 cases")

# %% [markdown]
# Y wins by missing a lesion. **Read how many cases are undefined before you read the mean.**
#
# ## 9 · Four networks, seven criteria
#
# **Question.** Which column would you trust to rank the networks, with so few scans?

# %%
columns = ("DC", "DG", "VOE", "RVD", "ASSD", "RMSD", "MSD")
with_lesion = [name for name in NAMES if truths[name].any()]
print(f"{len(with_lesion)} scans with lesions" + "".join(f"{column:>8}" for column in columns) + "   undefined")
for arm, found in predictions.items():
    scores = [case_scores(found[name] > 0.5, truths[name], scans[name].spacing) for name in with_lesion]
    table = score_table(scores)
    print(f"{arm:20}" + "".join(f"{table.mean[column]:8.3f}" for column in columns) + f"{table.undefined['ASSD']:9}")

# %% [markdown]
# E has the best figure in five columns, A in RVD, `before` in MSD, and C in none. The differences are small, and a few scans and one seed cannot tell them from chance.
#
# ### Exercise 6.3 · Which criterion will notice?
# The next cell trains `before` for some more steps with the Tversky loss of notebook 04. Missed voxels count nine times as much
# as false ones. Predict first: will the RVD of `volume-77` go `"up"` or `"down"`? (Will its Dice change much?)

# %% tags=["exercise"]
answer = None

# %%
exercises.check_6_3(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# False voxels have become cheap, so the network marks more. The predicted volume grows, and RVD rises.
#
# ```python
# answer = "up"
# ```
# </details>

# %%
from copy import deepcopy

import torch

from lrnet_edu.data.cache import cache_cases
from lrnet_edu.data.patches import PatchBatches
from lrnet_edu.losses import TverskyLoss

training = cache_cases(find_cases(study_folder(TRAINING_CASES, first=0)), one.preprocessing, one.labels)
patches = PatchBatches(
    training, kinds=[], classes=1, patch_size=one.patch_size, batch_size=2, object_share=2 / 3, augment=True, seed=[6],
    length=STEPS,
)  # fmt: skip
mnet, tversky = deepcopy(one.mnet).to(device), TverskyLoss(false_positive_weight=0.1, false_negative_weight=0.9)
optimizer = torch.optim.Adam(mnet.parameters(), lr=1e-3)
for step in range(STEPS):
    batch = patches[step].to(device)
    optimizer.zero_grad()
    tversky(torch.softmax(mnet(batch.image), dim=1), batch.classes).backward()
    optimizer.step()

for who, p in (("before", predictions["before"]["volume-77"]), ("Tversky", segment(mnet, "volume-77"))):
    scores = case_scores(p > 0.5, truths["volume-77"], scans["volume-77"].spacing)
    print(f"{who:8} Dice {scores.dice:.2f}, RVD {scores.rvd:+.2f}, MSD {scores.msd:.0f} mm")

# %% [markdown]
# RVD rises, while Dice hardly changes. MSD more than doubles.
#
# ## 10 · Explore
#
# Choose a case, a network, a map and a threshold. The menus need a running kernel.
#
# **Question.** Lower the threshold to 0.1. Which criteria get better, and which get worse? Choose *p* as the map: is a missed
# lesion faintly there, or not at all?
#
# <details><summary>volume-77, before</summary>
#
# Dice, VOE and ASSD hardly change. RVD turns from negative to positive. RMSD and MSD get worse, through false lesions. Of the
# four missed lesions one is faintly there, the others hardly or not at all.
# </details>

# %%
import ipywidgets as widgets

from lrnet_edu import distance_map
from lrnet_edu.viewers.controls import interact


def explore(case, network, kind, threshold):
    """A viewer of one scan: the truth, what a network marks, a map of both or p, and the criteria below."""
    scan, p = scans[case], predictions[network][case]
    masks = {"ground truth": truths[case], network: p > threshold}
    maps = {"p": p} if kind == "p" else {f"{kind}, {who}": distance_map(mask, kind) for who, mask in masks.items()}
    options = {"spacing": scan.spacing, "window": (-30, 180), "levels": 32, "title": f"{case}, {network}"}
    viewer = SliceViewer(scan.data, masks, maps, **options)
    scores = case_scores(p > threshold, truths[case], scan.spacing)
    viewer.facts = {"Dice": f"{scores.dice:.3f}", "VOE": f"{scores.voe:.3f}", "RVD": f"{scores.rvd:+.3f}"}
    viewer.facts |= {f"{name} (mm)": f"{getattr(scores, name.lower()):.1f}" for name in ("ASSD", "MSD", "RMSD")}
    viewer.keep = case  # the slice and the window stay when the network changes
    return viewer


interact(
    explore,
    case=widgets.Dropdown(options=sorted(NAMES, key=lambda name: -truths[name].sum()), description="Case"),
    network=widgets.Dropdown(options=list(predictions), description="Network"),
    kind=widgets.Dropdown(options=["NI-DM", "SNI-DM", "p"], description="Map"),
    threshold=widgets.FloatSlider(0.5, min=0.05, max=0.95, step=0.05, description="Threshold", continuous_update=False),
)

# %% [markdown]
# ## Summary
#
# A new patient needs the M-Net alone: prepare, overlapping windows, back to the file's grid.
#
# | criterion | misleads where |
# |---|---|
# | DC, VOE | lesions are small |
# | DG | one lesion is much larger than the others |
# | RVD | signs cancel, or the place is wrong |
# | ASSD, RMSD, MSD | a mask is empty |
# | MSD | one voxel is far away |
#
# So count the lesions, found and false, and look at the slices.
#
# **Next:** [07 · The paper's tables, and what a claim needs](07_tables_of_the_paper.ipynb).
