# %% [markdown]
# # 04 · The M-Net and its losses
#
# The **M-Net** does the segmenting, and its loss decides what it learns. The paper proposes a loss of its own, **MapDice**.
# Here you build both.
#
# **Afterwards you can**
# - build a small M-Net, train it with two losses, and compare the runs fairly,
# - show that the mask is not the best answer to MapDice, and mend the loss,
# - predict how a network changes when its loss does.
#
# **Takes** 40 minutes to read and try; the cells need 80 seconds of one CPU core.

# %% tags=["parameters"]
from lrnet_edu.config import fast

FAST = fast()  # the environment variable LRNET_EDU_FAST=1: everything small
STEPS = 8 if FAST else 1000 if device.type == "cuda" else 300  # of each training

# %% [markdown]
# ## 1 · Build the M-Net
#
# It is a 3-D U-Net with residual connections (section 2.2). On the way down each level halves the image and widens the
# features. On the way up each level doubles the size again, and gets the features that the way down had at that size.
#
# The authors' scripts have five levels. Ours has four, and its first convolution already halves the image, so that a laptop
# can train it.

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
# From here on we import the package's, which takes any size and starts from the paper's Kaiming uniform weights.
#
# ## 2 · Build the losses
#
# With the lesion's probability $p$, the mask $g$, and sums over all voxels of a batch:
#
# $$L_\text{Dice} = 1 - \frac{2 \sum p\,g + \varepsilon}{\sum p + \sum g + \varepsilon}$$
#
# The paper puts the distance map $\varphi$ in the mask's place, so that the border weighs more. Eq. 2, **as printed**:
#
# $$L_\text{MapDice} = 1 - \sum_{c=1}^{C} \frac{2 \times (p^c \times \varphi^c) + \varepsilon}
# {p^c + \varphi^c + \varepsilon}$$
#
# **Question.** Where does it sum over voxels? And how much is it for two classes that are both perfect,
# $p^c = \varphi^c = 1$?

# %% tags=["nbval-check-output"]
EPS = 1e-5
perfect = (2 * 1 * 1 + EPS) / (1 + 1 + EPS)  # one class at one voxel, p = phi = 1
print(f"Eq. 2 as printed, two perfect classes: {1 - (perfect + perfect):.0f}")

# %% [markdown]
# A loss of −1, at every single voxel. The sum over voxels is missing, and the sum over classes should be a mean. Mended,
# MapDice is Dice with $\varphi$ in the place of $g$, and one function will do for both.

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
# Twenty phantoms on a coarse grid. The M-Net and the batches are the same, only the loss differs. A third run has Dice again
# and **other first weights**. It shows how far two runs differ when the loss does not.

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
# "Location alone" is a segmenter that never looks at the image: the bar to clear.
#
# ## 4 · Look at borders and cores
#
# **Question.** Where should a network that was trained with MapDice differ, at the border of a lesion or in its middle?

# %%
from types import SimpleNamespace

from lrnet_edu import CaseExplorer, case_scores
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
# Scroll, and choose a case, a method and a threshold.

# %%
shown = {
    name: SimpleNamespace(image=np.float32(case.image), mask=case.classes, spacing=case.spacing)
    for name, case in test.items()
}
CaseExplorer(shown, found, label=1, window=(0.0, 1.0), unit="", levels=64)

# %% [markdown]
# For all lesions at once, take the mean of $p$ over the voxels at the same distance from a border. The core is where
# $\varphi$ is below 0.5.

# %%
from lrnet_edu.figures import Picture
from lrnet_edu.figures.palette import BLUE, GREEN, GREY, MAP_COLORMAP, ORANGE, PURPLE, SKY_BLUE, VERMILION


def pooled(of_case):
    """The values at all voxels of the test cases, (N,)."""
    return np.concatenate([np.ravel(of_case[name]) for name in test])


masks = {name: np.array(case.classes == 1) for name, case in test.items()}
inside = pooled({name: distance_map(mask, "O-DM") for name, mask in masks.items()})
outside = pooled({name: distance_map(~mask, "O-DM") for name, mask in masks.items()})
maps = pooled({name: distance_map(mask) for name, mask in masks.items()})
layer = np.round(np.where(inside > 0, inside, -outside))  # ..., -2, -1 outside, 1, 2, ... inside

figure = Picture(4.4)
axes = figure.subplots()
places = [place for place in (*range(-4, 0), *range(1, 6)) if (layer == place).any()]
for (name, of_case), colour, line in zip(found.items(), (BLUE, ORANGE, GREY), ("-o", "--s", ":^"), strict=True):
    p = pooled(of_case)
    axes.plot(places, [p[layer == place].mean() for place in places], line, color=colour, lw=2.5, ms=7, label=name)
    print(f"{name:18} p at the rim {p[layer == 1].mean():.3f}, in the core {p[(maps > 0) & (maps < 0.5)].mean():.3f}")
axes.set(xlabel="Layer (voxels): outside the lesion < 0 < inside", ylabel="Mean probability of lesion", xticks=places)
axes.legend(loc="upper left")
figure.finish(
    "The mean probability of lesion in layers outside and inside the lesions, for Dice, MapDice, and Dice from other first "
    "weights: three curves that rise alike from outside to the core."
)

# %% [markdown]
# MapDice moves rim and core by 0.02 at most. Another start of the same loss moves the rim by more. One run of each says
# nothing about borders, and nothing about Dice.
#
# ## 5 · What MapDice asks for
#
# No network is needed to find out. Every voxel of a ball gets its own logit, and Adam is free to change each one.
# **Question.** What will be left of the middle, with Dice and with MapDice?


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
# **The mask is not the best answer to MapDice.** A hollow ball costs less. With $N = 2 \sum p\,\varphi$ and
# $S = \sum p + \sum \varphi$:
#
# $$\frac{\partial L}{\partial p_i} = - \frac{2 \varphi_i S - N}{S^2} < 0
# \quad \text{only if} \quad \varphi_i > \frac{N}{2 S}$$
#
# So painting a voxel pays only where its $\varphi$ exceeds **half of the ratio** $N / S = 1 - L$. The deepest voxels lie
# below that. Dice is safe, because $g$ is 0 or 1.
#
# Our networks show no hole. In the CT the deepest voxels look like their neighbours. Still, deep inside a large tumour
# MapDice punishes a network for being right.
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
# ### Exercise 4.2 · Mend it
# Weight the voxels of the Dice loss instead, $1 - 2 \sum w\,p\,g \,/ \sum w\,(p + g)$. Write a weight such that the mask
# is the best answer and the rim weighs more than the middle. `def answer(phi): ...`, a tensor (D, H, W) to a tensor of the
# same shape.

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
# ## 6 · Change the loss, predict the network
#
# Dice treats a missed voxel and a false one alike. The **Tversky loss** of Table 2 gives false alarms a weight $a$ and misses
# $1 - a$:
#
# $$L_\text{Tversky} = 1 - \frac{\sum p\,g}{a \sum p + (1 - a) \sum g}$$
#
# With $a = 1/2$ it is Dice. Let $q$ be the chance that a voxel is lesion, as far as the CT tells. By the rule of section 5,
# painting pays where $q$ exceeds $a$ times the ratio. At a ratio of 0.8 Dice paints wherever $q$ is above 0.4.
#
# ### Exercise 4.3 · The gradient of Dice, by hand
# Write $\partial L_\text{Dice} / \partial p_i$ as a function of two tensors (D, H, W), the probabilities `p` and the mask `g`
# of zeros and ones. Leave ε out. `def answer(p, g): ...`. It is held against autograd.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_4_3(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# The formula of section 5 with $g$ in the place of $\varphi$:
#
# ```python
# def answer(p, g):
#     N, S = 2 * (p * g).sum(), p.sum() + g.sum()
#     return -(2 * g * S - N) / S**2
# ```
# </details>

# %% [markdown]
# ### Exercise 4.4 · Change the training
# Let false alarms weigh $a = 0.1$ and misses 0.9. From which $q$ on does it pay to paint a voxel, at a ratio of 0.8? Then
# say, before you run the training below, whether this M-Net will paint more than Dice's or less.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_4_4(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# A threshold that low is reached in a wide belt around a lesion: it paints more.
#
# ```python
# answer = 0.1 * 0.8
# ```
# </details>


# %%
def tversky_loss(p, g, a=0.1):
    return 1 - ((p * g).sum() + EPS) / (a * p.sum() + (1 - a) * g.sum() + EPS)


found["Tversky, a = 0.1"] = segment(train(lambda p, g, phi: tversky_loss(p, g)))
lesion = inside > 0
for name, of_case in found.items():
    painted = pooled(of_case) > 0.5
    print(
        f"{name:18} paints {painted.sum() / lesion.sum():.2f} of the lesions' volume, "
        f"misses {(lesion & ~painted).sum() / lesion.sum():.2f} of it"
    )

# %% [markdown]
# It paints far more than the lesions' volume, and misses less: as predicted.
#
# ## 7 · A lesion that is missed
#
# The five losses of Table 2 were all made for rare objects. What a network feels of them is the gradient at its logits. Take
# a lesion of radius 3, and let the network be ever surer that it is not there.
#
# **Question.** Which loss still pulls at a voxel with $p = 0.001$?

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
    print(f"{name:24} pull at p = 0.01, compared with p = 0.5: {pulls[name][4] / pulls[name][0]:.2f}")

# %%
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
# The softmax contributes a factor $p\,(1 - p)$, so the pull of every ratio fades. The logarithm of cross-entropy cancels that
# factor. A ratio loss forgets a lesion that the network is sure is not there.
#
# ## Summary
#
# - To compare losses, change nothing else, and run one of them from another start.
# - Eq. 2 lacks a sum over voxels and a mean over classes. Mended, its best answer is still hollow.
# - A loss decides from which chance on painting a voxel pays.
# - The pull of ratio losses fades where a lesion is missed.
#
# **Next:** [05 · The frozen tandem](05_frozen_tandem.ipynb): the LR-Net behind the M-Net.
