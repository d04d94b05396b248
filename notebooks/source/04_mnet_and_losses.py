# %% [markdown]
# # 04 · The M-Net and its losses
#
# The **M-Net** segments, and its loss decides what it learns. The paper proposes a loss of its own, **MapDice**. Here
# you build both.
#
# **Afterwards you can**
# - build a small M-Net, train it with two losses, and compare the runs fairly,
# - show that the mask is not the best answer to MapDice, and mend the loss,
# - predict how a network changes when its loss does.
#
# **Takes** 45 minutes to read and try; the cells need 80 seconds of one CPU core.

# %% tags=["parameters"]
from lrnet_edu.config import fast

FAST = fast()  # the environment variable LRNET_EDU_FAST=1: everything small
STEPS = 8 if FAST else 1000 if device.type == "cuda" else 300  # of each training

# %% [markdown]
# ## 1 · Build the M-Net
#
# It is a 3-D U-Net with residual connections (section 2.2). On the way down, each level halves the image and has more
# features. On the way up, each level doubles the size again, and also gets the features of that size from the way down.
#
# The authors' scripts have five levels. Ours has four, and its first convolution already halves the image, so that a
# laptop can train it.

# %%
from itertools import pairwise

import torch
from torch import nn


def conv(inputs, outputs, size=3, stride=1):
    convolution = nn.Conv3d(inputs, outputs, size, stride, padding=size // 2)
    return nn.Sequential(convolution, nn.InstanceNorm3d(outputs))


class Residual(nn.Module):
    """Two convolutions beside a shortcut, added."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.body = nn.Sequential(conv(inputs, outputs), nn.ReLU(), conv(outputs, outputs))
        self.shortcut = conv(inputs, outputs, size=1)  # the widths differ

    def forward(self, x):
        return torch.relu(self.body(x) + self.shortcut(x))


class SmallMNet(nn.Module):
    """(B, 1, D, H, W), CT -> (B, 2, D, H, W), logits of background and lesion; sizes are multiples of 16."""

    def __init__(self, widths=(16, 24, 32, 64)):
        super().__init__()
        levels, top = list(pairwise(widths)), widths[0]
        self.stem = nn.Sequential(conv(1, top, stride=2), nn.ReLU(), conv(top, top), nn.ReLU())
        self.down = nn.ModuleList(Residual(a, b) for a, b in levels)
        self.up = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, stride=2) for a, b in levels)
        self.merge = nn.ModuleList(Residual(2 * a, a) for a, _ in levels)
        self.head = nn.Sequential(conv(top, top, size=1), nn.ReLU(), nn.Conv3d(top, 2, 1))

    def forward(self, image):
        x, skips = self.stem(image), []
        for block in self.down:
            skips.append(x)
            x = block(nn.functional.max_pool3d(x, 2))
        for up, block in zip(self.up[::-1], self.merge[::-1], strict=True):
            x = block(torch.cat((skips.pop(), up(x)), dim=1))
        return nn.functional.interpolate(self.head(x), scale_factor=2, mode="trilinear")


# %% [markdown]
# **Question.** The LR-Net has 15,717 weights. How many has this one? The cell counts them, copies the package's weights into
# your network, and compares the outputs.

# %% tags=["nbval-check-output"]
from lrnet_edu import MNet

SMALL = {"features": (16, 24, 32, 64), "blocks": (1, 1, 1), "stride": 2}
mine, package = SmallMNet(), MNet(**SMALL)
for to, of in zip(mine.parameters(), package.parameters(), strict=True):
    to.data.copy_(of)

patch = torch.rand(1, 1, 32, 48, 48)
with torch.inference_mode():
    torch.testing.assert_close(mine(patch), package(patch), rtol=1e-3, atol=1e-4)
print(f"{sum(weight.numel() for weight in mine.parameters()):,} weights, and equal logits {tuple(mine(patch).shape)}")

# %% [markdown]
# From here on we import the package's, which starts from the paper's Kaiming uniform weights.
#
# ## 2 · Build the losses
#
# Let $p$ be the probability of lesion and $g$ the mask. The sums run over all voxels of a batch, and $\varepsilon$ is tiny:
#
# $$L_\text{Dice} = 1 - \frac{2 \sum p\,g + \varepsilon}{\sum p + \sum g + \varepsilon}$$
#
# The paper puts the distance map $\varphi$ in the place of the mask, so that the border weighs more. Eq. 2, **as
# printed**:
#
# $$L_\text{MapDice} = 1 - \sum_{c=1}^{C} \frac{2 \times (p^c \times \varphi^c) + \varepsilon}
# {p^c + \varphi^c + \varepsilon}$$
#
# **Question.** Where does it sum over voxels? And what is its value for two perfect classes, $p^c = \varphi^c = 1$?

# %% tags=["nbval-check-output"]
EPS = 1e-5
perfect = (2 * 1 * 1 + EPS) / (1 + 1 + EPS)  # one class at one voxel, p = phi = 1
print(f"Eq. 2 as printed, two perfect classes: {1 - (perfect + perfect):.0f}")

# %% [markdown]
# A loss of −1, at every single voxel. The sums over voxels are missing, and the sum over classes should be a mean. With
# one class, lesion, the mended MapDice is Dice with $\varphi$ in the place of $g$: one function will do for both.

# %% tags=["nbval-check-output"]
import numpy as np

from lrnet_edu import DiceLoss, MapDiceLoss, distance_map


def dice_loss(p, target):
    """Dice with a mask as the target, MapDice with its map; (B, D, H, W) each."""
    return 1 - (2 * (p * target).sum() + EPS) / (p.sum() + target.sum() + EPS)


def ball(radius, background=3):
    """A ball in a cube of background, (1, D, H, W)."""
    steps = np.arange(-radius - background, radius + background + 1)
    z, y, x = np.meshgrid(steps, steps, steps, indexing="ij")
    return torch.from_numpy(z**2 + y**2 + x**2 <= radius**2)[None]


def both_classes(p):
    """(B, D, H, W) -> (B, 2, D, H, W), as a softmax would give it."""
    return torch.stack((1 - p, p), dim=1)


g = ball(8)
phi = torch.from_numpy(distance_map(g[0].numpy()))[None]
p = torch.rand(g.shape)
torch.testing.assert_close(dice_loss(p, g.float()), DiceLoss()(both_classes(p), g.long()))
torch.testing.assert_close(dice_loss(p, phi), MapDiceLoss()(both_classes(p), phi[:, None]))
print("Dice and MapDice: equal to the package's")

# %% [markdown]
# ## 3 · Train with both
#
# We train on phantoms on a coarse grid. The M-Net and the batches are the same, only the loss differs. A third run has
# Dice again and **other initial weights**. How far do two runs differ when the loss does not?

# %%
from lrnet_edu.config import preset
from lrnet_edu.data.patches import PatchBatches
from lrnet_edu.data.samples import sample_folder
from lrnet_edu.data.study import open_study

config = preset("cpu", label="2", window=(-30.0, 180.0))
study = open_study(sample_folder(), config)
batches = PatchBatches(
    study.cached["train"], kinds=["NI-DM"], classes=1, patch_size=config.patch_size, batch_size=2, object_share=0.5,
    augment=True, seed=[0], length=STEPS,
)  # fmt: skip


def train(loss, seed=0):
    """An M-Net trained with a loss of p, the mask and its map, (B, D, H, W) each."""
    torch.manual_seed(seed)
    mnet = MNet(**SMALL).to(device, memory_format=torch.channels_last_3d)
    optimizer = torch.optim.Adam(mnet.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=STEPS)
    for step in range(STEPS):
        batch = batches[step].to(device)
        p = torch.softmax(mnet(batch.image), dim=1)[:, 1]
        value = loss(p, (batch.classes == 1).float(), batch.maps["NI-DM"][:, 0])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        rate.step()
    return mnet.eval()


mnets = {
    "Dice": train(lambda p, g, phi: dice_loss(p, g)),
    "MapDice": train(lambda p, g, phi: dice_loss(p, phi)),
    "Dice, other start": train(lambda p, g, phi: dice_loss(p, g), seed=1),
}
print(study.describe())

# %% [markdown]
# "Location alone" is a guess that never looks at the image. DC is the mean Dice of the cases.
#
# ## 4 · Look at rim and core
#
# **Question.** How far apart will the two runs with Dice be on the test cases? And MapDice from Dice?

# %%
from lrnet_edu import SliceViewer, case_scores
from lrnet_edu.inference import predict_probabilities

test = {case.name: case for case in study.cached["test"] if (case.classes == 1).any()}


def segment(mnet):
    """Test case -> probability of lesion, (D, H, W)."""
    return {
        name: predict_probabilities(mnet, case.image, patch_size=config.patch_size)[1] for name, case in test.items()
    }


found = {name: segment(mnet) for name, mnet in mnets.items()}
print(f"{'Dice of':18}" + "".join(f"{name:>12}" for name in test) + "        mean")
for name, of_case in found.items():
    dice = [case_scores(of_case[case] > 0.5, one.classes == 1, one.spacing).dice for case, one in test.items()]
    print(f"{name:18}" + "".join(f"{value:12.3f}" for value in (*dice, np.mean(dice))))

# %% [markdown]
# Scroll, and choose a case, a loss and a threshold.

# %%
import ipywidgets as widgets

from lrnet_edu.viewers.controls import interact


def look(case, loss, threshold):
    """A viewer of one scan: the truth, what a network marks, and its p."""
    one, p = test[case], found[loss][case]
    masks = {"ground truth": one.classes, loss: p > threshold}
    options = {"spacing": one.spacing, "window": (0, 1), "unit": "", "levels": 64, "title": f"{case}, {loss}"}
    return SliceViewer(np.float32(one.image), masks, {"p": p}, **options)


interact(
    look,
    case=widgets.Dropdown(options=list(test), description="Case"),
    loss=widgets.Dropdown(options=list(found), description="Loss"),
    threshold=widgets.FloatSlider(0.5, min=0.05, max=0.95, step=0.05, description="p >", continuous_update=False),
)

# %% [markdown]
# MapDice gives more weight to the rim of a lesion, and less to its core, where $\varphi$ is below 0.5.
#
# **Question.** Does $p$ differ there?


# %%
def pooled(of_case):
    """The values at all voxels of the test cases, (N,)."""
    return np.concatenate([np.ravel(of_case[name]) for name in test])


lesion = pooled({name: np.array(case.classes == 1) for name, case in test.items()})
maps = pooled({name: distance_map(np.array(case.classes == 1)) for name, case in test.items()})
for name, of_case in found.items():
    p = pooled(of_case)
    print(f"{name:18} p at the rim {p[maps == 1].mean():.3f}, in the core {p[lesion & (maps < 0.5)].mean():.3f}")

# %% [markdown]
# With MapDice, $p$ moves by a few hundredths. With another start of the same loss, it moves as far.
#
# Nor does the mean Dice decide. MapDice falls behind mostly in single scans, in which the two runs with Dice differ, too.
# One run of each loss is not enough.
#
# ## 5 · What MapDice asks for
#
# No network is needed to find out. Every voxel of a ball gets its own logit, and Adam is free to change each one.
#
# **Question.** What will $p$ be in the middle of the ball, with Dice and with MapDice?


# %% tags=["nbval-check-output"]
def best_answer(loss):
    """Every voxel's own logit, trained: its probability (1, D, H, W) in the end."""
    logit = torch.zeros(g.shape, requires_grad=True)
    optimizer = torch.optim.Adam([logit], lr=0.2)
    for _ in range(200):
        optimizer.zero_grad()
        loss(torch.sigmoid(logit)).backward()
        optimizer.step()
    return torch.sigmoid(logit).detach()


ends = {"Dice": best_answer(lambda p: dice_loss(p, g.float())), "MapDice": best_answer(lambda p: dice_loss(p, phi))}
for name, end in ends.items():
    print(f"{name:8} rim {end[phi == 1].mean():.2f}, middle {end[0, 11, 11, 11]:.2f}, outside {end[~g].mean():.2f}")
print(
    f"MapDice of the mask itself: {dice_loss(g.float(), phi):.3f}, of this answer: {dice_loss(ends['MapDice'], phi):.3f}"
)

# %%
from lrnet_edu.figures import Picture
from lrnet_edu.figures.palette import MAP_COLORMAP

figure = Picture(4.2)
panels = figure.subplots(1, 3, sharey=True)
for axes, (name, volume) in zip(panels, {"φ of the ball": phi, **ends}.items(), strict=True):
    shown = axes.imshow(volume[0, 11], cmap=MAP_COLORMAP, vmin=0, vmax=1)
    axes.set(title=name, xlabel="x (voxels)")
panels[0].set_ylabel("y (voxels)")
figure.colorbar(shown, ax=panels, label="φ and p (no unit)", shrink=0.8)
figure.finish(
    "The middle slice of a ball: its map; the best answer to Dice, a full ball; the best answer to MapDice, a ball with a "
    "hole in the middle."
)

# %% [markdown]
# **The mask is not the best answer to MapDice.** A hollow ball has a lower loss. **Painting** a voxel means raising its
# $p$. With $N = 2 \sum p\,\varphi$ and $S = \sum p + \sum \varphi$, painting voxel $i$ lowers the loss only if
#
# $$\frac{\partial L}{\partial p_i} < 0, \quad \text{that is,} \quad \varphi_i > \frac{N}{2 S}$$
#
# So painting a voxel pays only where its $\varphi$ exceeds **half of the ratio** $N / S = 1 - L$. In the deepest voxels
# it does not. With Dice it pays in every lesion voxel, because $g$ is 1 there.
#
# Our networks show no hole. In the CT the deepest voxels look like their neighbours. Still, deep inside a large tumour,
# MapDice punishes a network for being right.
#
# ### Exercise 4.1 · Which voxels go?
# For some lesion the best ratio $N / S$ that MapDice can reach is 0.88. Below which φ does it want a voxel to be
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
# ### Exercise 4.2 · Mend it
# Keep the mask $g$ as the target, and weight the voxels: $1 - 2 \sum w\,p\,g \,/ \sum w\,(p + g)$. Write a function
# `answer(phi)` that returns the weights $w$, a tensor of the same shape. The mask must be the best answer, and the rim must
# weigh more than the middle.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_4_2(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# Any weight that is positive at every voxel will do. With `phi` alone the background would weigh nothing, and painting
# everything would be free. The package's `MapWeightedDiceLoss` takes φ inside and 1 outside; it is not in the paper.
#
# ```python
# def answer(phi):
#     return 1 + phi
# ```
# </details>

# %% [markdown]
# ### Exercise 4.3 · The gradient of Dice, by hand
# Derive $\partial L_\text{Dice} / \partial p_i$ on paper, without ε. Then write it as a function `answer(p, g)` of two
# tensors (D, H, W), the probabilities and the mask. The check compares it with autograd.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_4_3(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# $L = 1 - N / S$, and $p_i$ occurs in both sums: $\partial N / \partial p_i = 2 g_i$, $\partial S / \partial p_i = 1$. So
# $\partial L / \partial p_i = -(2 g_i S - N) / S^2$. It is negative where $g_i > N / (2 S)$.
#
# ```python
# def answer(p, g):
#     N, S = 2 * (p * g).sum(), p.sum() + g.sum()
#     return -(2 * g * S - N) / S**2
# ```
# </details>

# %% [markdown]
# ## 6 · Change the loss, predict the network
#
# Dice treats a missed voxel and a false alarm alike. The **Tversky loss** of Table 2 gives false alarms the weight $a$ and
# misses the weight $1 - a$:
#
# $$L_\text{Tversky} = 1 - \frac{\sum p\,g}{a \sum p + (1 - a) \sum g}$$
#
# With $a = 1/2$ it is Dice. Let $q$ be the chance that a voxel is lesion, as far as the CT can tell. Here the
# derivative says that painting pays where $q$ exceeds $a$ times the ratio. If the ratio is 0.8, Dice paints wherever
# $q$ is above 0.4.
#
# ### Exercise 4.4 · Change the training
# Let false alarms have the weight $a = 0.1$ and misses 0.9. Above which $q$ does it pay to paint a voxel, if the ratio is
# 0.8? Your `answer` is this $q$. Then predict, before you run the training below: will this M-Net paint more than the one
# trained with Dice, or less?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_4_4(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# In a wide belt around a lesion $q$ exceeds so low a threshold: this M-Net paints more.
#
# ```python
# answer = 0.1 * 0.8
# ```
# </details>


# %%
def tversky_loss(p, g, a=0.1):
    return 1 - ((p * g).sum() + EPS) / (a * p.sum() + (1 - a) * g.sum() + EPS)


found["Tversky, a = 0.1"] = segment(train(lambda p, g, phi: tversky_loss(p, g)))
for name, of_case in found.items():
    painted = pooled(of_case) > 0.5
    print(
        f"{name:18} paints {painted.sum() / lesion.sum():.2f} of the lesions' volume, "
        f"misses {(lesion & ~painted).sum() / lesion.sum():.2f} of it"
    )

# %% [markdown]
# As predicted, it paints far more than the lesions' volume, and misses less.
#
# ## 7 · A lesion that is missed
#
# Table 2 has five losses that were made for rare objects. What a network learns from is the gradient at its logits, the
# **pull** of the loss. Take a lesion of radius 3, and let the network be more and more certain that it is not there.
#
# **Question.** Which losses still pull at a voxel of the lesion when $p = 0.001$?

# %% tags=["nbval-check-output"]
from lrnet_edu import ExpLogLoss, FocalTverskyLoss, GeneralizedDiceLoss, TverskyLoss, WeightedCrossEntropyLoss

LOSSES = {
    "weighted cross-entropy": WeightedCrossEntropyLoss(),
    "exponential logarithmic": ExpLogLoss(),
    "Dice": DiceLoss(),
    "generalised Dice": GeneralizedDiceLoss(),
    "Tversky": TverskyLoss(),
    "focal Tversky": FocalTverskyLoss(),
}
small = ball(3, background=12)
P = (0.5, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
pulls = {name: [] for name in LOSSES}
for name, loss in LOSSES.items():
    for p in P:
        logit = torch.logit(torch.where(small, p, 0.01)).requires_grad_()
        loss(both_classes(torch.sigmoid(logit)), small.long()).backward()
        pulls[name].append(logit.grad[small].abs().mean().item())
    print(f"{name:24} pull at p = 0.001, compared with p = 0.5: {pulls[name][-1] / pulls[name][0]:.3f}")

# %%
from lrnet_edu.figures.palette import BLUE, GREEN, ORANGE, PURPLE, SKY_BLUE, VERMILION

figure = Picture(4.4)
axes = figure.subplots()
colours, lines = (VERMILION, PURPLE, BLUE, GREEN, ORANGE, SKY_BLUE), ("-^", "-D", "-o", ":v", "--P", ":X")
for (name, pull), colour, line in zip(pulls.items(), colours, lines, strict=True):
    axes.loglog(P, np.array(pull) / pull[0], line, color=colour, lw=2.5, ms=8, label=name)
axes.set(xlabel="Probability in the lesion (0.01 around it)", ylabel="Pull on a lesion voxel,\ncompared with p = 0.5")
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
figure.finish(
    "The gradient on a lesion voxel against the lesion's probability, relative to p = 0.5: weighted cross-entropy stays "
    "level towards small p, the exponential logarithmic loss falls later, all ratios fall in proportion to p."
)

# %% [markdown]
# Weighted cross-entropy pulls even harder there, the exponential logarithmic loss far less, the four ratios hardly at all. The
# softmax contributes a factor $p\,(1 - p)$, so the pull of the four ratio losses fades with $p$: what is missed
# with certainty is hardly learnt. The logarithm of cross-entropy cancels its $p$. In the exponential logarithmic loss the
# exponent 0.3 flattens the logarithm, and its Dice part fades like the ratios.
#
# ## Summary
#
# - To compare losses, change nothing else, and run one of them from another start as well.
# - Eq. 2 lacks the sums over voxels and a mean over classes. Mended, its best answer is still hollow.
# - The loss decides how probable a lesion must be before painting a voxel pays.
# - The pull of ratio losses fades where a lesion is missed.
#
# **Next:** [05 · The frozen tandem](05_frozen_tandem.ipynb): the LR-Net behind the M-Net.
