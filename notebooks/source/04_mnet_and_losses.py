# %% [markdown]
# # 04 · The M-Net and its losses
#
# The **M-Net** does the segmenting. What it learns is decided by the loss that its probabilities are held against. The
# paper proposes one, **MapDice** (Eq. 2), and compares it with five others that were all made for rare objects. Here
# you put all of them on the bench.
#
# **Afterwards you can**
# - train the M-Net with Dice and with MapDice, and compare the two fairly,
# - show on one ball that the mask is not what minimises MapDice, and mend it,
# - say what every imbalance loss of Table 2 does for a small lesion that is being missed.
#
# **Takes** 50 minutes to read and try; the cells run in about a minute on a CPU with two cores. On a GPU the trainings
# take more steps by themselves; their time was not measured.

# %% tags=["parameters"]
from lrnet_edu.config import fast

FAST = fast()  # the environment variable LRNET_EDU_FAST=1: everything small
GPU_STEPS = 1000 if device.type == "cuda" and not FAST else None  # of each training, instead of the demo's 240

# %% [markdown]
# ## 1 · The M-Net
#
# A 3-D U-Net with residual connections (section 2.2, Fig. 1): four times down to half the size, four times up again,
# and skip connections in between. It takes a patch of CT and returns two **logits** for every voxel; a softmax makes them
# probabilities.

# %% tags=["nbval-check-output"]
import torch

from lrnet_edu import MNet

patch = torch.rand(1, 1, 32, 48, 48)  # (B, 1, D, H, W)
with torch.inference_mode():
    logits = MNet()(patch)  # (B, 2, D, H, W): background, lesion
    probabilities = torch.softmax(logits, dim=1)  # (B, 2, D, H, W)

print("patch ", tuple(patch.shape))
print("logits", tuple(logits.shape))
print(f"background + lesion, at every voxel: {probabilities.sum(dim=1).min():.3f}")

# %% [markdown]
# ## 2 · Two losses: Dice and MapDice
#
# With $p$ the lesion's probability, $g$ the mask (0 or 1), and sums over all voxels of a batch:
#
# $$L_\text{Dice} = 1 - \frac{2 \sum p\,g + \varepsilon}{\sum p + \sum g + \varepsilon}$$
#
# The paper puts the distance map $\varphi$ in the place of the mask, so that the border weighs more. Equation 2, **as it
# is printed**:
#
# $$L_\text{MapDice} = 1 - \sum_{c=1}^{C} \frac{2 \times (p^c \times \varphi^c) + \varepsilon}
# {p^c + \varphi^c + \varepsilon}$$
#
# **Question.** Where does it sum over voxels? And what is it for two classes that are both perfect,
# $p^c = \varphi^c = 1$?

# %% tags=["nbval-check-output"]
eps = 1e-5
perfect = (2 * 1 * 1 + eps) / (1 + 1 + eps)  # one class at one voxel, p = phi = 1
print(f"Eq. 2 as printed, two perfect classes: {1 - (perfect + perfect):.0f}")

# %% [markdown]
# A loss of −1, and one number for every voxel instead of one in all. Two things are missing: the sum over voxels, and the
# *mean* over classes, the foreground ones. Repaired:
#
# $$L_\text{MapDice} = 1 - \frac{2 \sum p\,\varphi + \varepsilon}{\sum p + \sum \varphi + \varepsilon}$$


# %% tags=["nbval-check-output"]
import numpy as np

from lrnet_edu import MapDiceLoss, distance_map


def map_dice_by_hand(p, phi):
    """Eq. 2, repaired, for one class: p and phi (D, H, W)."""
    return 1 - (2 * (p * phi).sum() + eps) / (p.sum() + phi.sum() + eps)


def with_background(p):
    """(D, H, W) -> (1, 2, D, H, W), as a softmax would give it."""
    return torch.stack((1 - p, p))[None]


def ball(radius, margin=3):
    """A ball (D, H, W) of a radius in voxels, with some background."""
    steps = np.arange(-radius - margin, radius + margin + 1)
    z, y, x = np.meshgrid(steps, steps, steps, indexing="ij")
    return torch.from_numpy(z**2 + y**2 + x**2 <= radius**2)


phi = distance_map(ball(5))  # (D, H, W), a tensor
p = torch.rand(phi.shape, generator=torch.Generator().manual_seed(0))
package = MapDiceLoss()(with_background(p), phi[None, None])  # the map: (B, 1, D, H, W)
print(f"by hand minus package: {abs(map_dice_by_hand(p, phi) - package):.5f}")

# %% [markdown]
# ## 3 · Train both
#
# Twenty phantoms, divided into training, validation and test cases; the same M-Net, the same start, the same batches,
# only the loss differs. The settings are those of `lrnet-edu demo`: a coarse grid, a window of −30 to 180 HU (the liver
# and what lies in it; narrower than notebook 02's, so that few steps suffice) and a few hundred steps, half a minute
# each. A good tumour segmenter takes a hundred times that; this makes one that can be looked at.
#
# **Question.** Before you look: where might a network that was trained with MapDice differ from the other one, at the
# border of a lesion or in its middle?

# %%
import tempfile
from dataclasses import replace
from pathlib import Path

from lrnet_edu.data.samples import sample_folder
from lrnet_edu.data.study import open_study
from lrnet_edu.methods import METHODS
from lrnet_edu.mnet_training import train_run
from lrnet_edu.study.demo import demo_config
from lrnet_edu.trained import load_mnet

configs = {method: demo_config(method, seed=0) for method in ("dice", "mapdice")}
if GPU_STEPS:
    configs = {method: replace(config, steps=GPU_STEPS) for method, config in configs.items()}

study = open_study(sample_folder(), configs["dice"])
print(study.describe())

# %%
folder = Path(tempfile.mkdtemp())
states = {method: train_run(study, config, folder / method) for method, config in configs.items()}

# %%
from lrnet_edu.figures import learning_curves_figure

learning_curves_figure({METHODS[method].title: state.rows for method, state in states.items()})

# %% [markdown]
# "Location alone", in the lines above, is what a segmenter would score that never looks at the image and marks the
# place where the training cases have their lesions: the bar to clear.
#
# The losses' heights are not to be compared: they are different functions, and MapDice, as you will see, cannot even reach
# 0. Dice per case (DC) can. Now the test cases. The LR-Net has no part here, one M-Net each, patch by patch over the
# whole scan:

# %%
from lrnet_edu import case_scores
from lrnet_edu.inference import predict_probabilities

test = {case.name: case for case in study.cached["test"] if (case.classes == 1).any()}
predictions = {}  # method -> case -> p of lesion (D, H, W)
for method in configs:
    trained = load_mnet(folder / method)
    predictions[method] = {
        name: predict_probabilities(trained.mnet, case.image, patch_size=trained.patch_size)[1]
        for name, case in test.items()
    }

print("Dice    " + "".join(f"{name:>12}" for name in test))
for method, of_case in predictions.items():
    dice = [case_scores(of_case[name] > 0.5, case.classes == 1, case.spacing).dice for name, case in test.items()]
    print(f"{method:8}" + "".join(f"{value:12.3f}" for value in dice) + f"   mean {np.mean(dice):.3f}")

# %% [markdown]
# One run each says little: another seed moves such numbers by several hundredths, and more. Which loss is *better* is a
# question for many seeds and patients (notebook 07). What each loss *asks for* can be answered exactly, and below it is.
#
# First look, though: choose case, method and threshold. **Question.** Is one of the two surer in the middle of the large
# lesions, or at their rims? (Map: *probability*. The menus need a running kernel; the slices scroll without.)

# %%
from types import SimpleNamespace

from lrnet_edu import CaseExplorer

shown = {
    name: SimpleNamespace(image=np.float32(case.image), mask=case.classes, spacing=case.spacing)
    for name, case in test.items()
}
CaseExplorer(shown, predictions, label=1, window=(0.0, 1.0), unit="", levels=64)

# %%
print("mean probability in the lesions of the test cases")
tilts = {}  # method -> core minus rim, case by case
for method, of_case in predictions.items():
    rim, core = [], []
    for name, case in test.items():
        phi = distance_map(np.array(case.classes == 1))
        rim.append(of_case[name][phi > 0.9].mean())
        core.append(of_case[name][(phi > 0) & (phi < 0.5)].mean() if ((phi > 0) & (phi < 0.5)).any() else np.nan)
    tilts[method] = np.array(core) - np.array(rim)  # (cases,)
    print(
        f"{method:8} at the rim (phi > 0.9) {np.mean(rim):.2f}, deep inside (phi < 0.5) {np.nanmean(core):.2f}; "
        f"deep minus rim {np.nanmean(tilts[method]):+.2f}, from {np.nanmin(tilts[method]):+.2f} to "
        f"{np.nanmax(tilts[method]):+.2f} over the cases"
    )
change = np.nanmean(tilts["mapdice"] - tilts["dice"])
print(f"MapDice changes 'deep minus rim' by {change:+.2f} on average")

# %% [markdown]
# Compare the last line with the range over the cases. A change that small, from one training each, says nothing: both
# networks are still busy finding the lesions at all. What MapDice asks for has to be found out in another way.
#
# ## 4 · What MapDice asks for
#
# A loss is a wish. For Dice it is plain: it is 0 if $p = g$, and larger everywhere else. **Question.** And MapDice? Put
# the perfect answer, the mask itself, into it. Is it 0? And is there any answer that costs less?
#
# We take balls, and beside the mask every "shell" that keeps only the voxels with $\varphi > t$. (The
# table's t lies just below the least $\varphi$ that is kept.)

# %% tags=["nbval-check-output"]
print("radius   MapDice of the mask   of the best shell   its t   voxels it leaves out")
for radius in (3, 5, 8, 12, 20):
    g = ball(radius)
    phi = distance_map(g)
    thresholds = torch.unique(phi[g]) - 1e-4
    losses = torch.stack([map_dice_by_hand((phi > t).float(), phi) for t in thresholds])
    best = thresholds[losses.argmin()]
    left_out = 1 - (phi > best).sum() / g.sum()
    print(
        f"{radius:6} {map_dice_by_hand(g.float(), phi):21.3f} {losses.min():19.3f} {best:7.2f} {100 * left_out:20.1f} %"
    )

# %% [markdown]
# **The mask is not the minimiser.** A perfect segmentation costs 0.04 to 0.12, and a hollow one costs less. Why?
# Differentiate by the probability of one voxel, with $N = 2 \sum p\,\varphi$ and $S = \sum p + \sum \varphi$:
#
# $$\frac{\partial L}{\partial p_i} = - \frac{2 \varphi_i S - N}{S^2}$$
#
# which is below 0 only if
#
# $$\varphi_i > \frac{N}{2 S}$$
#
# A voxel is worth predicting only where its $\varphi$ exceeds **half of the ratio** $N / S = 1 - L$. The deepest ones,
# with $\varphi = 1 / M_C$, may lie below: they cost more than they bring and are pushed *out*. The same formula with $g$
# in the place of $\varphi$ has no such trouble, for $g$ is 0 or 1.
#
# **Move t** over the picture: 0 is the mask, and then the ball is hollowed out. Where is the lowest point? Does it agree
# with the formula? (The slider needs a running kernel.)

# %%
import ipywidgets as widgets

from lrnet_edu.figures import Picture
from lrnet_edu.figures.palette import BLACK, GREY, MAP_COLORMAP, METHOD_COLORS
from lrnet_edu.viewers.controls import interact

phi_12 = distance_map(ball(12))  # (D, H, W)
grid = torch.linspace(0, 0.98, 99)
curve = torch.stack([map_dice_by_hand((phi_12 > t).float(), phi_12) for t in grid])


def hollowed(t):
    """The shell phi > t of a ball of radius 12, and its MapDice."""
    shell = (phi_12 > t).float()
    loss = map_dice_by_hand(shell, phi_12).item()
    figure = Picture(3.6)
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1, 1.5])
    for axes, title, volume in ((left, "φ", phi_12), (middle, f"p = 1 where φ > {t:.2f}", shell)):
        axes.imshow(volume[len(volume) // 2], cmap=MAP_COLORMAP, vmin=0, vmax=1)
        axes.set(title=title, xlabel="x (voxels)")
    left.set_ylabel("y (voxels)")
    right.plot(grid, curve, color=METHOD_COLORS["mapdice"], lw=2.5)
    right.axvline((1 - curve.min()) / 2, color=GREY, ls="--", lw=2, label="best N / 2S")
    right.plot(t, loss, "o", color=BLACK, ms=10, label=f"here: {loss:.4f}")
    right.set(xlabel="t: φ above it is kept", ylabel="MapDice (no unit)", xlim=(0, 0.8), ylim=(0.09, 0.22))
    right.legend(loc="upper left")
    return figure.finish(
        f"A slice of phi of a ball of radius 12; the voxels with phi above {t:.2f}; and MapDice of such shells against t: "
        f"{curve[0]:.3f} for the whole ball, lowest, {curve.min():.3f}, at t = {grid[curve.argmin()]:.2f}, then rising. "
        f"Here it is {loss:.4f}."
    )


# %%
interact(hollowed, t=widgets.FloatSlider(0.45, min=0, max=0.8, step=0.05, description="t", continuous_update=False))

# %% [markdown]
# The lowest point lies where the formula says, at half of the best ratio (dashed).
#
# ### Exercise 4.1 · Which voxels go?
# On some lesion the best ratio $N / S$ that MapDice can reach is 0.88. Below which φ does it want a voxel to be
# background?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_4_1(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# answer = 0.88 / 2
# ```
# </details>

# %% [markdown]
# ## 5 · Let the loss have its way, and mend it
#
# No network, only the loss: every voxel of a ball gets its own logit, and Adam may do as it likes. **Question.** What
# will be left of the middle, with Dice and with MapDice?
#
# The third loss is the mended one. Any weight $w > 0$ *at every voxel* makes a Dice whose only minimiser is the mask:
#
# $$1 - \frac{2 \sum w\,p\,g + \varepsilon}{\sum w\,(p + g) + \varepsilon},
# \qquad w = \varphi \text{ inside}, \; 1 \text{ outside}$$
#
# It keeps the paper's stress on the border. It is `MapWeightedDiceLoss`, and it is not in the paper.


# %% tags=["nbval-check-output"]
from lrnet_edu import DiceLoss, MapWeightedDiceLoss

g = ball(8)
phi = distance_map(g)
targets = {  # what each loss is given
    "Dice": (DiceLoss(), g[None].long()),
    "MapDice": (MapDiceLoss(), phi[None, None]),
    "weighted by the map": (MapWeightedDiceLoss(), phi[None, None]),
}


def descend(loss, target):
    """Every voxel's own logit, trained: its probability (D, H, W) in the end."""
    logit = torch.zeros(g.shape, requires_grad=True)
    optimizer = torch.optim.Adam([logit], lr=0.2)
    for _ in range(200):
        optimizer.zero_grad()
        loss(with_background(torch.sigmoid(logit)), target).backward()
        optimizer.step()
    return torch.sigmoid(logit).detach()


ends = {name: descend(loss, target) for name, (loss, target) in targets.items()}
for name, end in ends.items():
    print(f"{name:20} rim {end[phi == 1].mean():.2f}, middle {end[11, 11, 11]:.2f}, outside {end[~g].mean():.2f}")

# %%
figure = Picture(3.5)
for axes, (name, end) in zip(figure.subplots(1, 3, sharey=True), ends.items(), strict=True):
    picture_of = axes.imshow(end[len(end) // 2], cmap=MAP_COLORMAP, vmin=0, vmax=1)
    axes.set(title=name, xlabel="x (voxels)")
figure.axes[0].set_ylabel("y (voxels)")
figure.colorbar(picture_of, ax=figure.axes, label="p (no unit)")
figure.finish(
    "The middle slice of the trained probabilities of a ball: full with Dice, with a hole in the middle with MapDice, "
    "full again with the Dice that is weighted by the map."
)

# %% [markdown]
# The hole is a few per cent of the voxels. Does it matter? In our short training it could not be told from chance. Deep
# voxels look like their neighbours in the CT, and singling them out gains a network very little. But a voxel deep inside a
# large tumour is punished for being right, and the learning curve of MapDice ends at a floor, not at 0.
#
# ### Exercise 4.2 · Your own weight
# Write a weighting of your own: a function of the map that returns a weight for every voxel, such that the mask is the
# minimiser of the weighted Dice above, and the rim weighs more than the middle. `def answer(phi): ...`, a tensor
# (D, H, W) to a tensor of the same shape.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_4_2(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# One of many; with `phi` alone the background would weigh nothing, and painting everything would be free.
#
# ```python
# def answer(phi):
#     return 1 + phi
# ```
# </details>

# %% [markdown]
# ## 6 · Seven losses and one small lesion
#
# Table 2 compares with five losses that "all proposed to combat the imbalance issue". `lrnet_edu.losses` has them with
# the defaults of their own papers:
#
# | loss | idea |
# |---|---|
# | weighted cross-entropy (WCE) | a lesion voxel counts as often as it is rare |
# | generalised Dice (GDS) | Dice of all classes, each weighted by 1 / size² |
# | Tversky | Dice in which a miss costs 0.7 and a false alarm 0.3 |
# | focal Tversky | Tversky to the power 3/4: patches that are nearly solved count for more |
# | exponential logarithmic (ExpLog) | $(-\ln \text{Dice})^{0.3}$ and $(-\ln p)^{0.3}$ |
#
# What a network feels of a loss is its **gradient**. So: a lesion of radius 3, 0.4 % of a patch, and we look at the
# gradient at the logit of every voxel, where the lesion is *missed*: p is 0.01 there, and everywhere.
#
# **Question.** Which losses pull the lesion up harder than they push the background down, summed over the voxels? And how
# much of the pull on a lesion voxel is left, compared with a network that is undecided about the lesion, $p = 0.5$?


# %%
from lrnet_edu import ExpLogLoss, FocalTverskyLoss, GeneralizedDiceLoss, TverskyLoss, WeightedCrossEntropyLoss

LOSSES = {
    "Dice": DiceLoss(),
    "MapDice": MapDiceLoss(),
    "WCE": WeightedCrossEntropyLoss(),
    "GDS": GeneralizedDiceLoss(),
    "Tversky": TverskyLoss(),
    "focal Tversky": FocalTverskyLoss(),
    "ExpLog": ExpLogLoss(),
}


def pulls(radius, p_lesion, p_background):
    """Loss -> |gradient| at every voxel's logit, of the lesion (N,) and of the background (M,); and the lesion's phi."""
    g = ball(radius, margin=15 - radius)  # (31, 31, 31), of which a ball is lesion
    phi = distance_map(g)
    found = {}
    for name, loss in LOSSES.items():
        logit = torch.logit(torch.where(g, p_lesion, p_background)).requires_grad_()
        target = phi[None, None] if name == "MapDice" else g[None].long()
        loss(with_background(torch.sigmoid(logit)), target).backward()
        found[name] = logit.grad[g].abs(), logit.grad[~g].abs()
    return found, phi[g]


# %% tags=["nbval-check-output"]
missed, phi_inside = pulls(3, p_lesion=0.01, p_background=0.01)
undecided, _ = pulls(3, p_lesion=0.5, p_background=0.01)
at_rim, deepest = phi_inside == 1, phi_inside == phi_inside.min()

print("missed lesion    share of all pull    pull on a lesion voxel,    at the rim, compared")
print("(p = 0.01)       that is on lesion    compared with p = 0.5      with the deepest voxel")
for name, (lesion, background) in missed.items():
    share = lesion.sum() / (lesion.sum() + background.sum())
    left = lesion.mean() / undecided[name][0].mean()
    tilt = lesion[at_rim].mean() / lesion[deepest].mean()
    print(f"{name:13} {100 * share:18.0f} % {left:22.2f} {tilt:26.2f}")

# %% [markdown]
# Read it column by column.
#
# - **Balance.** Every ratio, Dice first, gives the few lesion voxels about as much as all the background together: that
#   is why Dice needs no weights. WCE does it by its weights, and for a missed lesion goes all in. Tversky leans to the
#   lesion, 0.7 to 0.3. ExpLog spends most on the background: its power 0.3 has a steep slope where $p$ is nearly right, and
#   nearly right is what the background is.
# - **Fading.** The pull of every ratio on a confidently missed voxel dies away, for the softmax contributes a factor
#   $p\,(1 - p)$. The logarithm in cross-entropy cancels it, so WCE pulls on; ExpLog, part logarithm, is in between. A
#   ratio loss forgives and forgets what the network is sure about.
# - **Shape.** Only MapDice tells the rim from the middle. All others treat every lesion voxel alike: "they do not take
#   into account any geometric properties" (section 1).
# - Tversky and focal Tversky divide their pull alike: within one batch the power only changes the length of the gradient,
#   which Adam largely divides out again. It matters *between* batches.
#
# The whole story, from found to missed:

# %%
from lrnet_edu.figures.palette import BLUE, GREEN, ORANGE, PURPLE, SKY_BLUE, VERMILION

COLOURS = dict(zip(LOSSES, (BLUE, SKY_BLUE, VERMILION, GREEN, ORANGE, GREY, PURPLE), strict=True))
STYLES = dict(zip(LOSSES, ("-o", "--s", "-^", ":v", "-P", ":X", "-D"), strict=True))
P = np.array([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9])
curves = {name: [] for name in LOSSES}
for p in P:
    for name, (lesion, _) in pulls(3, float(p), 0.01)[0].items():
        curves[name].append(lesion.mean().item())

figure = Picture(4.2)
axes = figure.subplots()
for name, values in curves.items():
    axes.loglog(P, np.array(values) / values[-3], STYLES[name], color=COLOURS[name], lw=2, ms=7, label=name)
axes.set(
    xlabel="Probability of lesion in the lesion (background: 0.01)",
    ylabel="Pull on a lesion voxel,\ncompared with p = 0.5",
    title="A lesion that is missed, at the left, and found, at the right",
)
axes.legend(loc="lower right")
figure.finish(
    "The gradient on a lesion voxel against the lesion's probability, both logarithmic and relative to p = 0.5: weighted "
    "cross-entropy stays level towards small p, ExpLog falls later, Dice, MapDice, generalised Dice and both Tversky "
    "losses fall in proportion to p."
)

# %% [markdown]
# (Dice, MapDice and GDS lie on top of each other, and both Tverskys just below them.)
#
# And for your own lesion: **which loss still hears it?** Let the lesion shrink, let the network become surer of its
# miss, then give it some false alarms (`background` up). (The sliders need a running kernel.)


# %%
def balance(radius, p_lesion, p_background):
    """How the losses divide their pull between a lesion and its background."""
    found, _ = pulls(radius, p_lesion, p_background)
    shares = {name: (a.sum() / (a.sum() + b.sum())).item() for name, (a, b) in found.items()}
    each = {name: a.mean().item() for name, (a, _) in found.items()}
    figure = Picture(3.6)
    left, right = figure.subplots(1, 2, sharey=True)
    left.barh(list(shares), [100 * share for share in shares.values()], color=[COLOURS[name] for name in shares])
    left.axvline(50, color=GREY, ls="--", lw=2)
    left.set(xlabel="Share of the pull that is on the lesion (%)", xlim=(0, 100))
    right.barh(list(each), list(each.values()), color=[COLOURS[name] for name in each])
    right.set(xlabel="Pull on one lesion voxel (1 / logit)", xscale="log", xlim=(1e-7, 1))
    left.invert_yaxis()
    figure.suptitle(f"radius {radius} voxels, p {p_lesion:.3f} in the lesion and {p_background:.3f} outside", size=12)
    told = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
    return figure.finish(f"Share of each loss's gradient that is on the lesion: {told}.")


# %%
def surety(name):
    return widgets.FloatLogSlider(0.01, min=-3, max=-0.05, step=0.05, description=name, continuous_update=False)


interact(
    balance,
    radius=widgets.IntSlider(3, min=1, max=10, description="radius", continuous_update=False),
    p_lesion=surety("lesion"),
    p_background=surety("background"),
)

# %% [markdown]
# ### Exercise 4.3 · The gradient of Dice, by hand
# Write the derivative of the Dice loss by the probabilities: $\partial L_\text{Dice} / \partial p_i$ as a function of
# two tensors (D, H, W), the probabilities `p` and the mask `g` of zeros and ones; leave ε out.
# `def answer(p, g): ...`. The check holds it against autograd.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_4_3(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# The formula of section 4 with $g$ in the place of $\varphi$:
#
# ```python
# def answer(p, g):
#     N, S = 2 * (p * g).sum(), p.sum() + g.sum()
#     return -(2 * g * S - N) / S**2
# ```
# </details>

# %% [markdown]
# ## Summary
#
# - Same M-Net, same batches, another loss: that is how losses are compared, and one seed decides nothing.
# - Eq. 2 lacks its sum over voxels and its mean over classes. Repaired, it still has no 0 and its minimiser is
#   hollow: voxels with φ below half the best ratio are pushed out. A weight that is positive everywhere mends it.
# - Ratio losses balance lesion and background by themselves, but their pull fades where the network is sure of its
#   miss. Weighted cross-entropy's does not. None but MapDice knows about shape.
#
# **Next:** [05 · The frozen tandem](05_frozen_tandem.ipynb): the LR-Net behind the M-Net.
