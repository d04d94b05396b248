# %% [markdown]
# # 03 · The LR-Net learns distance maps
#
# The paper's second network, the **LR-Net**, does one thing: it turns a mask into a distance map. Why a network for
# something that you computed with ten lines of NumPy in notebook 01? Because gradients flow through a network. Later
# it will sit behind the M-Net and tell it what is wrong with its masks (notebook 05). So first it has to be good.
#
# **Afterwards you can**
# - train the LR-Net to the Dice of 0.99 that section 2.2 reports, in about a minute,
# - say why that Dice alone proves little, and what to measure beside it,
# - test a map by the size of the lesion and by depth, and tell what no training can mend (the receptive field) from what
#   this one has not learnt,
# - say what is left of map and gradient where a probability is not 1,
# - recognise a dead ReLU output and revive it.
#
# **Takes** 55 minutes to read and try; the cells run in about a minute on a CPU with two cores. On a GPU the training
# below takes more steps by itself; its time was not measured.

# %% tags=["parameters"]
from lrnet_edu.config import fast

FAST = fast()  # the environment variable LRNET_EDU_FAST=1: everything small
STEPS = 12 if FAST else 4000 if device.type == "cuda" else 900  # of the training
VALIDATIONS = 2 if FAST else 6
HELD_OUT = 4 if FAST else 16  # masks that judge it
WAKING_STEPS = 8 if FAST else 400  # of the patient of section 7
BALL_RADII = (2, 8, 14, 20) if FAST else (2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 18, 20, 22)  # voxels
DEPTH_RADII = (6, 12) if FAST else (6, 12, 18, 22)  # voxels, of the balls that are looked at layer by layer

# %% [markdown]
# ## 1 · What goes in, what should come out
#
# The LR-Net is trained apart from the M-Net and "takes the ground truth segmentation mask as input" (section 2.2). It
# needs no CT! Any lesion-like shapes will do, and a computer draws those for nothing. Here are four of them that the
# training will not see, each a cube of 48 voxels, and the maps that we want, Eq. 1's NI-DM.

# %%
import numpy as np
import torch

from lrnet_edu import distance_map
from lrnet_edu.figures import Picture
from lrnet_edu.figures.palette import MAP_COLORMAP
from lrnet_edu.lrnet_training import held_out_shapes

masks = held_out_shapes(HELD_OUT, 48)  # a list of (D, H, W), bool

figure = Picture(4.8)
grid = figure.subplots(2, 4, sharex=True, sharey=True)
for (above, below), mask in zip(grid.T, masks, strict=False):
    k = mask.sum(axis=(1, 2)).argmax()  # the slice with most of the lesion
    above.imshow(mask[k], cmap=MAP_COLORMAP, vmin=0, vmax=1)
    shown = below.imshow(distance_map(mask, "NI-DM")[k], cmap=MAP_COLORMAP, vmin=0, vmax=1)
    below.set_xlabel("x (voxels)")
grid[0, 0].set_ylabel("in: mask\ny (voxels)")
grid[1, 0].set_ylabel("out: NI-DM\ny (voxels)")
figure.colorbar(shown, ax=grid, label="p above, φ below (no unit)")
figure.finish(
    "Above, one slice each of four random masks with one or more lesions; below, their NI-DM, 1 at every rim and darker "
    "inside the large lesions, while the small ones stay bright."
)

# %% [markdown]
# Its inputs are the two channels of a softmax, background and lesion, because that is what the M-Net will hand over.
# For a mask they are simply $1 - g$ and $g$:

# %% tags=["nbval-check-output"]
from lrnet_edu import LRNet
from lrnet_edu.lrnet_training import background_and_object

probabilities = background_and_object(torch.from_numpy(np.stack(masks[:2])).float())  # (B, 2, D, H, W)
with torch.inference_mode():
    maps = LRNet("NI-DM")(probabilities)  # (B, 1, D, H, W), by a network that knows nothing yet

print("in: ", tuple(probabilities.shape))
print("out:", tuple(maps.shape))
print("weights:", f"{sum(weight.numel() for weight in LRNet().parameters()):,}")

# %% [markdown]
# ## 2 · A score that a photocopier passes
#
# The paper judges the LR-Net by "a Dice score around 0.99". A Dice needs a mask, so one takes the output above a
# threshold, $\hat\varphi > 0.05$, and compares it with the true mask.
#
# **Question.** Where does the true mask come from, and what did the network get as its input? Which Dice would a
# "network" reach that hands its input through, unchanged?
#
# To tell such a network from a good one we need a second number, the **error of φ**: the mean of
# $|\hat\varphi - \varphi|$ over the voxels of a lesion, then the mean over all lesions.


# %% tags=["nbval-check-output"]
from lrnet_edu.lrnet_training import lrnet_quality


class Photocopier(torch.nn.Module):
    """(B, 2, D, H, W) -> (B, 1, D, H, W): the lesion channel, as it came. It has learnt nothing."""

    kind, spatial_dims = "NI-DM", 3

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))  # tells lrnet_quality the device

    def forward(self, probabilities):
        return probabilities[:, 1:]


copied = lrnet_quality(Photocopier(), held_out_shapes(4))
print(f"photocopier: Dice {copied.dice:.3f}, error of phi {copied.error:.3f}")

# %% [markdown]
# A perfect Dice. The mask that the output is compared with *was* the input, so **a Dice of 0.99 shows no more than
# that the network can copy**. The error of φ is what Eq. 1 asks for; copying costs more than 0.1, and a network that
# has learnt the map must be well below that.
#
# ### Exercise 3.1 · What copying costs
# A lesion is a cube of 5 × 5 × 5 voxels with background all around. What is the photocopier's error of φ on it?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_3_1(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# The photocopier says 1, φ is 1, 2/3 and 1/3 from the rim inwards: 98, 26 and 1 voxels.
#
# ```python
# from lrnet_edu import distance_map
#
# mask = np.zeros((9, 9, 9), dtype=bool)
# mask[2:7, 2:7, 2:7] = True
# answer = np.abs(1 - distance_map(mask, "NI-DM"))[mask].mean()
# ```
# </details>

# %% [markdown]
# ## 3 · Train it
#
# Everything that a training is made of is in `lrnet_edu.lrnet_training`: random shapes, their maps, Adam, and a validation
# on shapes that are never trained on. **Question.** Two curves will be drawn: 1 − Dice and the error of φ. Which of
# them will be down first, and why?

# %%
import csv
import tempfile
from pathlib import Path

from lrnet_edu.config import pretrain_config
from lrnet_edu.data.shapes import random_shapes
from lrnet_edu.lrnet_training import pretrain_run
from lrnet_edu.trained import load_lrnet

folder = Path(tempfile.mkdtemp()) / "lrnet"
config = pretrain_config("NI-DM", steps=STEPS, validate_every=STEPS // VALIDATIONS)
quality = pretrain_run(folder, config=config, held_out=masks)
trained_here = load_lrnet(folder / "best.safetensors")

print(f"after {STEPS} steps: Dice {quality.dice:.4f}, error of phi {quality.error:.3f}")
print(f"a photocopier on the same {len(masks)} masks: error of phi {lrnet_quality(Photocopier(), masks).error:.3f}")

# %%
from lrnet_edu.figures import lrnet_quality_figure

with open(folder / "log.csv") as file:
    rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
for row in (rows[0], rows[-1]):
    print(f"step {row['step']:4.0f}: Dice {row['val_dice']:.3f}, error of phi {row['val_error']:.3f}")
lrnet_quality_figure(quality, rows)

# %% [markdown]
# Right, the training: copying comes first. The Dice is near the paper's 0.99 while the error of φ is still close to that of
# the photocopier. Left, one dot for each lesion. The smallest and the largest lesions are the worst.
#
# The course ships an LR-Net that has been trained ten times as long, partly on softened masks (section 6 says what for).
# From here on we look at that one, so that you see what we see.
#
# **Question.** Do you expect it to beat the photocopier on lesions of every size?

# %% tags=["nbval-check-output"]
from lrnet_edu import load_pretrained_lrnet

shipped = load_pretrained_lrnet("NI-DM")
SIZES = ((0, 1), (1, 4), (4, 12), (12, 24))  # voxels, the radius of a ball of equal volume
shapes = held_out_shapes(8)
print(f"{'':12} Dice   error of phi   by radius: " + "   ".join(f"{low:2} to {high:2}" for low, high in SIZES))
for name, network in (("photocopier", Photocopier()), ("shipped", shipped)):
    judged = lrnet_quality(network, shapes)
    by_size = "".join(f"{judged.error_between(low, high):11.2f}" for low, high in SIZES)
    print(f"{name:11} {judged.dice:.3f} {judged.error:10.2f} {'':11}{by_size}")
of_size = [sum(low < lesion.radius <= high for lesion in judged.lesions) for low, high in SIZES]
print(f"{'lesions':11}{'':28}" + "".join(f"{number:11}" for number in of_size))

# %% [markdown]
# In Dice the two are equal. The error of φ tells them apart, and by size it tells more. From a radius of one voxel on the
# network has learnt maps; its error is a fraction of the photocopier's. On the smallest lesions it loses, because a single
# voxel has φ = 1 and copying is exact there. Half of the network's mean error comes from those three lesions. So report
# the error by size. Section 5 adds a second direction, depth.
#
# ### Large lesions make the score
#
# That Dice counts the voxels of all lesions together. **Question.** Let the photocopier lose every lesion of fewer than
# 1000 voxels, a ball of 6 voxels radius or less. How much of its perfect Dice is left?

# %% tags=["nbval-check-output"]
from scipy import ndimage

total = kept = voxels = voxels_kept = 0
for mask in held_out_shapes():
    components, count = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(components.ravel(), minlength=count + 1)[1:]  # (count,)
    total, kept = total + count, kept + (sizes >= 1000).sum()
    voxels, voxels_kept = voxels + sizes.sum(), voxels_kept + sizes[sizes >= 1000].sum()

print(f"lesions found: {kept} of {total}, Dice {2 * voxels_kept / (voxels + voxels_kept):.3f}")


# %% [markdown]
# Every other lesion is gone, and the Dice is above 0.99 still. **The Dice of 0.99 is a statement about large
# lesions**, in a paper about small ones. The error of φ is a mean over lesions, where each counts the same.

# %% [markdown]
# ## 4 · How far does it see?
#
# φ divides by $M_C$, the depth of the *deepest* voxel of the component. A convolution looks one voxel around. How
# much of the mask can an output voxel of the LR-Net know about? Do not count layers, ask autograd: which input voxels
# have an influence on the output in the middle?
#
# **Question.** The LR-Net has one down-sampling and a dozen convolutions. Guess: 10 voxels, 30, or 100?

# %% tags=["nbval-check-output"]
open_net = LRNet("NI-DM")
for weight in open_net.parameters():
    weight.data.abs_()  # with positive weights no ReLU is off and nothing cancels out

inputs = torch.ones(1, 2, 48, 48, 48, requires_grad=True)  # (B, 2, D, H, W)
open_net(inputs)[0, 0, 24, 24, 24].backward()
reached = inputs.grad[0].sum(dim=0).nonzero()  # (N, 3), the voxels (z, y, x) that have an influence
extent = reached.amax(dim=0) - reached.amin(dim=0) + 1  # (3,)
print("receptive field (z, y, x):", extent.tolist(), "voxels")

# %% [markdown]
# 31 voxels: itself and 15 to either side. Now a lesion whose deepest voxel lies farther away than that: a straight
# arm, 5 voxels thick. On its own it is 3 voxels deep. Or it is the tail of a tumour.
#
# **Question.** What is φ in the middle of the arm, with and without the tumour at its end? And what can the LR-Net
# say about it?

# %% tags=["nbval-check-output"]
arm = np.zeros((31, 31, 70), dtype=bool)  # (D, H, W)
arm[13:18, 13:18, 4:46] = True
z, y, x = np.ogrid[:31, :31, :70]
tailed = arm | ((z - 15) ** 2 + (y - 15) ** 2 + (x - 56) ** 2 <= 11**2)

with torch.inference_mode():
    both = background_and_object(torch.from_numpy(np.stack((arm, tailed))).float())  # (2, 2, D, H, W)
    of_arm, of_tailed = shipped(both)[:, 0].numpy()  # (D, H, W) each

here = (15, 15, 18)  # in the middle of the arm; the tumour begins 27 voxels to the right
print(f"phi here: {distance_map(arm)[here]:.2f} in the arm alone, {distance_map(tailed)[here]:.2f} with the tumour")
print(f"the LR-Net's two answers differ by {abs(of_arm - of_tailed)[here]:.6f}")

# %%
figure = Picture(6.2)
grid = figure.subplots(3, 2, sharex=True, sharey=True)
for column, name, mask, output in ((0, "the arm alone", arm, of_arm), (1, "the tail of a tumour", tailed, of_tailed)):
    planes = {"mask": mask[15], "φ, exact": distance_map(mask)[15], "φ, LR-Net": output[15]}
    for axes, (title, plane) in zip(grid[:, column], planes.items(), strict=True):
        shown = axes.imshow(plane, cmap=MAP_COLORMAP, vmin=0, vmax=1)
        axes.plot(18, 15, "o", color="white", mec="black", ms=7)
        axes.vlines((2.5, 33.5), -0.5, 30.5, color="white", lw=2, ls="--")
        axes.set_ylabel(f"{title}\ny (voxels)" if column == 0 else "")
    grid[0, column].set_title(name)
    grid[2, column].set_xlabel("x (voxels)")
figure.colorbar(shown, ax=grid, label="p and φ (no unit)", shrink=0.7)
figure.finish(
    "Two masks, an arm and the same arm with a ball at its end; their exact maps differ all along the arm, dark without "
    "the ball and bright with it, while the LR-Net's two maps are equal at the marked voxel, whose window of 31 voxels, drawn "
    "dashed, holds nothing of the ball."
)

# %% [markdown]
# (The dot is the voxel, and the dashed lines enclose all that it sees.) The mask is the same in everything that the
# voxel sees, so the answers are the same, to the last bit, and at least one of them is wrong. No training mends this.
# The paper's "rigorous mapping" is rigorous for lesions that fit into the window; beyond, the network can only guess
# $M_C$.
#
# ## 5 · Error against size
#
# **Question.** From which radius on should a ball be too large for a window of 15 voxels to either side?

# %%
from lrnet_edu.figures.palette import BLACK, GREY, METHOD_COLORS, VERMILION


def ball(radius, margin=4):
    """A ball (D, H, W) of a radius in voxels, with some background."""
    steps = np.arange(-radius - margin, radius + margin + 1)
    z, y, x = np.meshgrid(steps, steps, steps, indexing="ij")
    return z**2 + y**2 + x**2 <= radius**2


balls = [ball(radius) for radius in BALL_RADII]
errors = {
    name: [lrnet_quality(network, [one]).error for one in balls]
    for name, network in (("photocopier", Photocopier()), ("LR-Net", shipped))
}

figure = Picture(3.8)
axes = figure.subplots()
axes.plot(BALL_RADII, errors["photocopier"], "--s", color=GREY, lw=2, label="photocopier")
axes.plot(BALL_RADII, errors["LR-Net"], "-o", color=METHOD_COLORS["lrnet"], lw=2.5, label="LR-Net, shipped")
axes.axvline(15, color=VERMILION, ls=":", lw=2.5, label="15 voxels, one side of its window")
axes.set(xlabel="Radius of the ball (voxels)", ylabel="Error of φ (no unit)", xlim=(0, None), ylim=(0, None))
axes.legend(loc="upper left")
told = ", ".join(f"{error:.2f} at {radius}" for radius, error in zip(BALL_RADII, errors["LR-Net"], strict=True))
figure.finish(
    f"The error of phi against a ball's radius in voxels. The LR-Net's: {told}. The photocopier's rises from "
    f"{errors['photocopier'][0]:.2f} to {errors['photocopier'][-1]:.2f}."
)

# %% [markdown]
# There is no cliff at 15 voxels. The error grows slowly before that limit and after it. A voxel near the rim would have to
# see the opposite side to know $M_C$, and in all but the small balls it does not. It can read the size of a ball off the
# curvature of its surface, but that becomes harder to tell as the ball grows.
#
# ### The mean hides the middle
#
# Most voxels of a ball lie near its border, and there φ is close to 1 whatever the size of the ball. A mean over voxels
# says little about the rest. Here is a "network" that knows the three outermost layers and no more: it says 1 at the rim,
# a little less in the second and the third layer, and 0.55 everywhere deeper.
#
# **Question.** Take a ball of radius 8. What is its error of φ, the mean over all voxels? And its error in the middle,
# where φ is 0.12?


# %% tags=["nbval-check-output"]
from torch.nn.functional import max_pool3d

from lrnet_edu.lrnet_training import error_by_depth


class Shallow(Photocopier):
    """(B, 2, D, H, W) -> (B, 1, D, H, W): 1 at the rim, then 0.85 and 0.70, and 0.55 everywhere deeper."""

    def forward(self, probabilities):
        p = output = probabilities[:, 1:]
        for _ in range(3):
            p = -max_pool3d(-p, 3, stride=1, padding=1)  # the object without its outermost layer
            output = output - 0.15 * p
        return output


networks = {"photocopier": Photocopier(), "shallow": Shallow(), "shipped": shipped}
by_depth = {name: error_by_depth(network, 8) for name, network in networks.items()}
print("ball of radius 8   " + "".join(f"{name:>13}" for name in networks))
print("mean error         " + "".join(f"{lrnet_quality(one, [ball(8)]).error:13.2f}" for one in networks.values()))
for layer, errors_there in enumerate(zip(*by_depth.values(), strict=True), start=1):
    print(f"layer {layer} (D ≈ {layer})    " + "".join(f"{error:13.2f}" for error in errors_there))

# %% [markdown]
# By its mean the shallow network comes close to the real one. By depth it does not: its error rises towards the middle,
# where it says 0.55 whatever the truth. **Test a map by depth.** `error_by_depth` gives the mean error in each layer of a
# ball, from the border to the middle. (The LR-Nets that ship were trained with a loss in which every depth counts nearly
# the same, `depth_weights`. With a plain mean over voxels the middle hardly counts.)
#
# Now the network that ships, in balls that fit into its window and in balls that do not:

# %%
figure = Picture(3.8)
axes = figure.subplots()
by_layer = {ball_radius: error_by_depth(shipped, ball_radius) for ball_radius in DEPTH_RADII}
for (ball_radius, layers), line in zip(by_layer.items(), ("-o", "-s", "--^", ":v"), strict=False):
    axes.plot(np.arange(1, len(layers) + 1), layers, line, ms=5, lw=2, label=f"radius {ball_radius}")
axes.set(xlabel="Layer, D (voxels)", ylabel="Error of φ (no unit)", xlim=(0, None), ylim=(0, None))
axes.legend(title="ball of", loc="upper left")
figure.finish(
    "The shipped LR-Net's error of phi against depth, a line for each ball. Largest errors: "
    + ", ".join(f"{max(layers):.2f} at radius {ball_radius}" for ball_radius, layers in by_layer.items())
    + "."
)

# %% [markdown]
# Look at it from inside: a cut through the middle of a ball, where the grey band is what the middle voxel sees.


# %%
def cut_through(radius, p=1.0):
    """phi along a line through a ball's middle, exact and by the LR-Net, whose input is p inside the ball."""
    mask = ball(radius)  # (D, H, W)
    middle = len(mask) // 2
    certain = torch.from_numpy(mask).float()
    with torch.inference_mode():
        both = background_and_object(torch.stack((certain, p * certain)))  # (2, 2, D, H, W)
        outputs = shipped(both)[:, 0, middle, middle].numpy()  # (2, W)
    exact = distance_map(mask)[middle, middle]  # (W,)
    place = np.arange(len(mask)) - middle
    figure = Picture(3.8)
    axes = figure.subplots()
    axes.axvspan(-15.5, 15.5, color=GREY, alpha=0.2, lw=0, label="seen from the middle")
    axes.step(place, exact, where="mid", color=BLACK, lw=2.5, label="φ, Eq. 1")
    axes.plot(place, outputs[0], "-o", color=METHOD_COLORS["lrnet"], ms=4, lw=2, label="LR-Net, p = 1")
    if p < 1:
        axes.plot(place, outputs[1], ":o", color=METHOD_COLORS["lrnet"], ms=4, lw=2, label=f"LR-Net, p = {p:.2f}")
    axes.set(xlabel="x from the middle (voxels)", ylabel="φ (no unit)", ylim=(0, 1.15), xlim=(-27, 27))
    axes.set_title(f"Ball of radius {radius} voxels")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    unsure = f", and {outputs[1, middle]:.2f} when p is {p:.2f}" if p < 1 else ""
    return figure.finish(
        f"A line through a ball of radius {radius}: exact phi falls from 1 at the rim to {exact[middle]:.2f} in the "
        f"middle; the LR-Net says {outputs[0, middle]:.2f} there{unsure}."
    )


# %% [markdown]
# **Move the radius** and watch the dip in the middle. Up to which radius does it follow Eq. 1? What does the network say
# halfway down in a large ball, and is that too bright or too dark? Leave `p` at 1 for now. (The sliders need a running
# kernel.)

# %%
import ipywidgets as widgets

from lrnet_edu.viewers.controls import interact

interact(
    cut_through,
    radius=widgets.IntSlider(18, min=1, max=22, description="radius", continuous_update=False),
    p=widgets.FloatSlider(1.0, min=0.05, max=1.0, step=0.05, description="p", continuous_update=False),
)

# %% tags=["nbval-check-output"]
print("in the middle of a ball:")
print("radius    phi   the LR-Net says   background in its window")
for ball_radius in (3, 6, 9, 12, 14, 15, 18, 22):
    mask = ball(ball_radius)
    centre = (len(mask) // 2,) * 3
    with torch.inference_mode():
        said = shipped(background_and_object(torch.from_numpy(mask).float()[None]))[0, 0][centre]
    window = ((np.indices((31, 31, 31)) - 15) ** 2).sum(axis=0) <= ball_radius**2  # what the middle voxel sees
    background = "also along the axes" if not window[:, 15, 15].all() else "in the corners only"
    print(
        f"{ball_radius:6} {distance_map(mask)[centre]:6.2f} {said:17.2f}   {100 * (~window).mean():3.0f} %, {background}"
    )

# %% [markdown]
# Up to a radius of about 6 the LR-Net knows the middle. In larger balls it always says about the same, 0.17, while the
# truth goes on falling. Halfway down a large ball it errs in the other direction: the map darkens as fast as in a ball that
# fits into the window, and so too early. Both errors are a guess at an $M_C$ that the network cannot see. From radius 15 on
# the middle sees no background along the axes. The window is a cube, and only its corners still reach some.
#
# ### Exercise 3.2 · A larger window
# The two residual blocks below the down-sampling hold two 3 × 3 × 3 convolutions each. How many voxels would the LR-Net
# see with **one more** such block there?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_3_2(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# One step below the down-sampling is two voxels of the input; each of the two convolutions adds one step at either
# side.
#
# ```python
# answer = 31 + 2 * 2 * 2
# ```
# </details>

# %% [markdown]
# ### Exercise 3.3 · Or smaller lesions
# Coarser voxels make lesions smaller, counted in voxels. A ball with a radius of $r$ voxels has its first background voxel
# $r + 1$ steps from its middle, and the middle sees 15 steps along each axis. From which voxel size on (in mm, cubes) does
# the middle of a ball of 45 mm radius see background along the axes? Count whole voxels.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_3_3(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# answer = 45 / 14  # 14 voxels of the ball, and the fifteenth step is background
# ```
# </details>

# %% [markdown]
# ### On a scan
#
# The lesions of a sample CT, none of them seen in the training. Scroll. **Question.** Where are the errors: at the rims,
# in the middles, or outside?

# %%
from lrnet_edu.data.nifti import read_image, read_mask
from lrnet_edu.data.samples import sample_folder
from lrnet_edu.viewers.slices import SliceViewer

ct = read_image(sample_folder() / "volume-0.nii.gz")  # .data (D, H, W) in HU
lesions = read_mask(sample_folder() / "segmentation-0.nii.gz").data == 2  # (D, H, W)
exact = distance_map(lesions, "NI-DM")
with torch.inference_mode():
    computed = shipped(background_and_object(torch.from_numpy(lesions).float()[None]))[0, 0].numpy()  # (D, H, W)

SliceViewer(
    ct.data,
    spacing=ct.spacing,
    overlays={"lesions": lesions},
    heat={"NI-DM, exact": exact, "by the LR-Net": computed.round(2), "error": np.abs(computed - exact).round(2)},
    heat_range=(0, 1),
    levels=64,
    title="volume-0: NI-DM, the LR-Net's answer, and the error",
)

# %% tags=["nbval-check-output"]
error = np.abs(computed - exact)
for where, voxels_there in (
    ("at the rims, phi > 0.9", exact > 0.9),
    ("between", (exact <= 0.9) & (exact >= 0.5)),
    ("in the middles, phi < 0.5", lesions & (exact < 0.5)),
    ("outside, one voxel from a lesion", ndimage.binary_dilation(lesions) & ~lesions),
):
    print(f"{where:33} mean error {error[voxels_there].mean():.2f}")

# %% [markdown]
# At the rims, which are to teach the M-Net where a border is, the map is exact, and nothing is painted outside. Further
# inside it is off by some hundredths. These lesions are small enough for its window.
#
# ## 6 · What if the M-Net is not sure?
#
# So far the input was a mask. Behind the M-Net it will be a *probability*, and a lesion that is nearly missed arrives as
# 0.2 or 0.05. The truth does not change: φ of the mask. What should the LR-Net answer, and, more important, **does a
# gradient get back to the lesion**, so that the loss on the map (notebook 05) can win it back?
#
# **Question.** Our `trained_here` has seen nothing but zeros and ones. What will it make of a lesion at $p = 0.2$? And
# what is the gradient where the output ReLU is off? (The slider `p` above asks the one that ships.)

# %% tags=["nbval-check-output"]
from lrnet_edu.lrnet_training import soft_response

P = (1.0, 0.6, 0.2, 0.05)
small_masks = held_out_shapes(4, 24)
SOFT, HARD = "shipped, partly trained on softened masks", "trained here, masks of 0 and 1 only"
responses = {SOFT: soft_response(shipped, small_masks, P)}

print("shipped      mean of the output   of phi   lesion voxels with a gradient")
for at in responses[SOFT]:
    print(f"p = {at.probability:4.2f} {at.output:17.2f} {at.truth:12.2f} {100 * at.with_gradient:20.0f} %")

# %%
responses[HARD] = soft_response(trained_here, small_masks, P)

print("trained here mean of the output   of phi   lesion voxels with a gradient")
for at in responses[HARD]:
    print(f"p = {at.probability:4.2f} {at.output:17.2f} {at.truth:12.2f} {100 * at.with_gradient:20.0f} %")

# %%
figure = Picture(3.6)
left, right = figure.subplots(1, 2)
for (name, answers), colour, marker in zip(
    responses.items(), (METHOD_COLORS["lrnet"], VERMILION), ("o", "s"), strict=True
):
    left.plot(P, [at.output for at in answers], marker=marker, color=colour, lw=2)
    right.plot(P, [100 * at.with_gradient for at in answers], marker=marker, color=colour, lw=2, label=name)
left.axhline(answers[0].truth, color=BLACK, ls="--", lw=2)
left.text(0.02, answers[0].truth + 0.02, "φ of the mask", va="bottom")
left.set(xlabel="p inside the lesions", ylabel="Mean output in the lesions\n(no unit)", ylim=(-0.02, 1.05))
right.set(xlabel="p inside the lesions", ylabel="Lesion voxels that\na gradient reaches (%)", ylim=(-4, 104))
figure.legend(loc="outside lower center", ncols=2)
lowest = "; ".join(
    f"{name}: {answers[-1].output:.2f}, and a gradient for {100 * answers[-1].with_gradient:.0f} %"
    for name, answers in responses.items()
)
figure.finish(
    "Left, the mean output of two LR-Nets against the probability inside the lesions, falling with p; right, the share "
    f"of lesion voxels that a gradient reaches. At p = {P[-1]} {lowest}."
)

# %% [markdown]
# The map sinks with $p$, though φ of the mask stays the same. A lesion that the M-Net half believes in already looks like
# an error of the map. At 0.05 both networks say 0. The output ReLU is off in most voxels, and where it is off in all voxels
# around, no gradient passes: the loss says "there is a lesion missing", and nobody hears it. The network that was trained on
# masks of 0 and 1 alone never had to answer for anything in between. What it makes of 0.6 and 0.2 is left to chance (train
# it from another seed, and the table changes), and at 0.05 it is nearly **blind**. Softened training masks, blurred and
# scaled, keep the gradient alive in more of the voxels (`soft` in `PretrainConfig`). The paper trains on masks only and is
# silent about this. For notebook 05 remember: behind a frozen LR-Net a lesion that was missed altogether is won back slowly
# or not at all, so some other loss has to find it first.
#
# ## 7 · The dead ReLU
#
# The paper trains with smooth L1 and a ReLU as the last layer. Smooth L1 of an error $d$ is $d^2 / 2$ where $|d| < 1$ and
# $|d| - 1/2$ beyond; the loss is its mean over *all* voxels of a volume. Take the paper at its word: fresh networks with
# Kaiming uniform weights, Adam at 0.001, small lesions in much background. (Of biases it says nothing; the last one is 0
# here.)
#
# **Question.** Most voxels want the answer 0. What is the fastest way for a network to please them?

# %%
from lrnet_edu.losses import map_regression_loss


def batch_of_small_lesions(index):
    """Two masks (2, 24, 24, 24) that are lesion in a hundredth of their voxels, or less, and their maps."""
    rng = np.random.default_rng([0, index])
    both = np.stack([np.pad(random_shapes(rng, 10), 7) for _ in range(2)])
    maps = np.stack([distance_map(mask) for mask in both])[:, None]  # (B, 1, D, H, W)
    return background_and_object(torch.from_numpy(both).float()), torch.from_numpy(maps)


for seed in range(4):
    torch.manual_seed(seed)
    network = LRNet("NI-DM")
    network.head[-1].bias.data.zero_()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for step in range(10):
        inputs, target = batch_of_small_lesions(step)
        output = network(inputs)
        loss = map_regression_loss(output, target)
        if output.max() == 0:
            dying = network
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"seed {seed}, step {step}: loss {loss.item():.4f}, largest output {output.max().item():.3f}")

# %% [markdown]
# With two of the four seeds the output is 0 everywhere after a few steps, and the loss is *small*: an empty map costs next
# to nothing where lesions are rare. It looks like success. Train on as long as you like:

# %% tags=["nbval-check-output"]
inputs, target = batch_of_small_lesions(99)
dying.zero_grad()
map_regression_loss(dying(inputs), target).backward()
with_gradient = sum(int((weight.grad != 0).sum()) for weight in dying.parameters())
print(f"weights that get a gradient: {with_gradient} of {sum(w.numel() for w in dying.parameters()):,}")

# %% [markdown]
# ReLU passes no gradient where its input is negative; it is negative everywhere; so nothing ever changes again. The
# network is **dead**. What can be done:
#
# | cure | in the package |
# |---|---|
# | a small positive bias in the last layer, so that it starts alive | `LRNet` starts with 0.1 |
# | let every lesion weigh as much as the background, and each of its depths | `depth_weights` |
# | cubes around lesions instead of whole volumes | `MaskBatches` |
# | look at every step, and draw the last layer anew if it is dead | `reset_output` |
#
# Does our patient live again? And does it learn the map, or does it only show a sign of life?

# %%
from lrnet_edu.lrnet_training import depth_weights

unseen = [batch_of_small_lesions(1000 + i) for i in range(8)]


@torch.inference_mode()
def errors_of(network):
    """The error of phi on masks that it is not trained on: at the rims (phi > 0.9) and deeper in the lesions."""
    outputs = torch.cat([network(inputs) for inputs, _ in unseen])
    maps = torch.cat([maps for _, maps in unseen])
    errors, rim, deeper = (outputs - maps).abs(), maps > 0.9, (maps > 0) & (maps <= 0.9)
    return f"{errors[rim].mean().item():12.2f} {errors[deeper].mean().item():8.2f}"


print("error of phi               at the rims   deeper")
print("a photocopier            ", errors_of(Photocopier()))
print("dead                     ", errors_of(dying))

torch.manual_seed(1)
dying.reset_output()
optimizer = torch.optim.Adam(dying.parameters(), lr=3e-3)
for step in range(1, WAKING_STEPS + 1):
    inputs, target = batch_of_small_lesions(step)
    output = dying(inputs)
    if output.max() == 0:  # dead once more; with other seeds that happens
        dying.reset_output()
        continue
    weights = np.stack([depth_weights(phi > 0, "NI-DM") for phi in target[:, 0].numpy()])  # (B, D, H, W)
    loss = (torch.from_numpy(weights)[:, None] * (output - target).abs()).sum() / len(target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step == 3 * WAKING_STEPS // 4:
        optimizer.param_groups[0]["lr"] /= 5  # smaller steps to the end
    if step % (WAKING_STEPS // 4) == 0:
        print(f"{step:3} steps after waking   ", errors_of(dying))

# %% [markdown]
# It lives, and deeper in the lesions it is far better than a photocopier: it has learnt what copying cannot give. (An
# output that is merely no longer 0 would be a sign of life, no more. Compare with the photocopier before you call a network
# cured.)
#
# ### Exercise 3.4 · Resuscitation
# `reset_output` draws the whole last layer anew, and what that layer had learnt is gone. Save all of it: write a function
# that revives a dead LR-Net by changing **nothing but the bias** of its last layer, `lrnet.head[-1].bias`, in place.
# `def answer(lrnet, probabilities): ...`. Afterwards the output for these probabilities, (1, 2, D, H, W), must not be 0
# everywhere, and must not exceed 1. (The output of a dead network hides how far below 0 it is. How can you find out?)

# %% tags=["exercise"]
answer = None

# %%
exercises.check_3_4(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# Lift the bias so far that the ReLU is on everywhere, read how high the largest output comes, and go back. A look at the
# values before the ReLU does as well.
#
# ```python
# def answer(lrnet, probabilities):
#     bias, lift = lrnet.head[-1].bias, 1000.0
#     with torch.no_grad():
#         bias += lift
#         largest = lrnet(probabilities).max() - lift  # before the ReLU, with the old bias
#         bias += 0.1 - largest - lift  # now the largest output is 0.1
# ```
# </details>

# %% [markdown]
# ## Summary
#
# - The LR-Net learns mask → NI-DM from random shapes, in about a minute.
# - Its Dice of 0.99 is reached by copying, and decided by large lesions. Report the **error of φ** beside it.
# - It sees 31 voxels. In a lesion that is larger than its window it can only guess $M_C$. Its rims are right, its middles
#   are not.
# - A mean error hides the middle. Test a map by the size of the lesion and by depth (`error_by_depth`).
# - Where p is low, the map fades, and at last the gradient. Softened training masks keep more of it.
# - A ReLU output that is 0 everywhere is dead, and its loss looks excellent.
#
# **Next:** [04 · The M-Net and its losses](04_mnet_and_losses.ipynb): what the paper puts beside this network, and what
# MapDice really asks for. How the shipped LR-Nets were trained and measured: `results/lrnet.md`.
