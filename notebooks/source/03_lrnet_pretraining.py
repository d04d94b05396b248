# %% [markdown]
# # 03 · The LR-Net learns distance maps
#
# The **LR-Net** turns a mask into a distance map. So did your code in notebook 01, but no gradient flows through it. In
# notebook 05 the map's error will train the M-Net through the LR-Net.
#
# **Afterwards you can**
# - build the LR-Net and train it,
# - say why a Dice of 0.99 proves little, and test a map by depth instead,
# - say what the LR-Net cannot see, and what it returns for a probability below 1.
#
# **Takes** 45 minutes to read and try; the cells need 80 seconds of one CPU core.

# %% tags=["parameters"]
from lrnet_edu.config import fast

FAST = fast()  # the environment variable LRNET_EDU_FAST=1: everything small
STEPS = 12 if FAST else 4000 if device.type == "cuda" else 900  # of each training
VALIDATIONS = 2 if FAST else 6
HELD_OUT = 4 if FAST else 8  # masks that judge it

# %% [markdown]
# ## 1 · What goes in, what should come out
#
# The LR-Net is trained on masks, never on a CT. So any shapes that look like lesions will do. Here are four that we
# keep for testing, and below them the maps that we want: NI-DM, the $\varphi$ of Eq. 1.
#
# **Question.** In which of the four does $\varphi$ fall lowest?

# %%
import numpy as np
import torch

from lrnet_edu import distance_map
from lrnet_edu.figures import Picture
from lrnet_edu.figures.palette import BLACK, GREY, MAP_COLORMAP, METHOD_COLORS
from lrnet_edu.lrnet_training import held_out_shapes

held_out = held_out_shapes(HELD_OUT, 48)  # a list of (D, H, W), bool

figure = Picture(5.2)
grid = figure.subplots(2, 4, sharex=True, sharey=True)
for (above, below), mask in zip(grid.T, held_out, strict=False):
    k = mask.sum(axis=(1, 2)).argmax()  # the slice with most of the lesion
    above.imshow(mask[k], cmap=MAP_COLORMAP, vmin=0, vmax=1)
    shown = below.imshow(distance_map(mask, "NI-DM")[k], cmap=MAP_COLORMAP, vmin=0, vmax=1)
    below.set_xlabel("x (voxels)")
grid[0, 0].set_ylabel("in: mask\ny (voxels)")
grid[1, 0].set_ylabel("out: NI-DM\ny (voxels)")
figure.colorbar(shown, ax=grid, label="mask above, φ below (no unit)")
figure.finish(
    "Above, one slice each of four random masks with one or more lesions; below, their NI-DM, 1 at every rim and darker "
    "inside the large lesions, while the small ones stay bright."
)

# %% [markdown]
# In the third, whose middle is deepest.
#
# ## 2 · Build it
#
# The paper asks for a light U-Net (section 2.2): two channels in, background and lesion, one down-sampling, one
# up-sampling, and a ReLU at the output.
#
# <details><summary>What the paper leaves open</summary>
#
# The paper prints no widths. The ones here come from its authors' scripts. The scripts also have an instance
# normalisation after every convolution. We leave it out, because it depends on how much background a patch holds, and a
# whole scan holds far more.
# </details>

# %%
from torch import nn


def pair(mask):
    """(B, D, H, W) -> (B, 2, D, H, W): background and lesion."""
    return torch.stack((1 - mask, mask), dim=1)


def conv(inputs, outputs, size=3, stride=1):
    return nn.Sequential(nn.Conv3d(inputs, outputs, size, stride, padding=size // 2), nn.ReLU())


class Residual(nn.Module):
    """Two convolutions whose result is added to their input; 8 features."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(conv(8, 8), nn.Conv3d(8, 8, 3, padding=1))

    def forward(self, x):
        return torch.relu(self.body(x) + x)


class MyLRNet(nn.Module):
    """(B, 2, D, H, W) -> (B, 1, D, H, W), the map."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv(2, 4), conv(4, 4))
        self.down = nn.Sequential(conv(4, 8, stride=2), Residual(), Residual())  # half the size
        self.up = nn.ConvTranspose3d(8, 4, 2, stride=2)  # full size again
        self.merge = nn.Sequential(Residual(), Residual())
        self.head = nn.Sequential(conv(8, 4, size=1), nn.Conv3d(4, 1, 1))

    def forward(self, probabilities):
        x = self.stem(probabilities)
        x = torch.cat((x, self.up(self.down(x))), dim=1)  # the skip connection: 4 + 4 features
        return torch.relu(self.head(self.merge(x)))


# %% [markdown]
# **Question.** How many weights does it have: a thousand, ten thousand or a million? The cell counts them, copies the
# package's weights into your network, and compares the outputs.

# %% tags=["nbval-check-output"]
from lrnet_edu import load_pretrained_lrnet

shipped, mine = load_pretrained_lrnet("NI-DM"), MyLRNet()
for to, of in zip(mine.parameters(), shipped.parameters(), strict=True):
    to.data.copy_(of)

inputs = pair(torch.from_numpy(np.stack(held_out[:2])).float())
with torch.inference_mode():
    torch.testing.assert_close(mine(inputs), shipped(inputs))
print(f"{sum(weight.numel() for weight in mine.parameters()):,} weights, and equal outputs")

# %% [markdown]
# From here on we import the package's.
#
# ## 3 · A test that a photocopier passes
#
# The paper reports "a Dice score around 0.99" and does not say of what. We take the input mask and the output above a
# threshold, here $\hat\varphi > 0.05$. Our second score is the **error of φ**: the mean of $|\hat\varphi - \varphi|$ over the voxels of
# a lesion, averaged over all lesions.
#
# **Question.** What is the Dice of a network that returns its input unchanged?

# %% tags=["nbval-check-output"]
from lrnet_edu import LRNet
from lrnet_edu.lrnet_training import lrnet_quality


class Photocopier(LRNet):
    """An LR-Net that has learnt nothing: it returns the lesion channel as it came."""

    def forward(self, probabilities):
        return probabilities[:, 1:]


copied = lrnet_quality(Photocopier(), held_out[:4])
print(f"photocopier: Dice {copied.dice:.3f}, error of phi {copied.error:.3f}")

# %% [markdown]
# Its Dice is perfect. So a Dice of 0.99 only shows that a network can copy.
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
# The photocopier says 1. φ is 1, 2/3 and 1/3 from the rim inwards, at 98, 26 and 1 voxels.
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
# ## 4 · Train it by the book
#
# The paper trains with smooth L1, which is $d^2 / 2$ for an error $d$ below 1, from Kaiming uniform weights, with Adam
# at a rate of 0.001. So do we, with small lesions in a lot of background.
#
# **Question.** For most voxels the right output is 0. What is the easiest way to get them right?

# %%
from lrnet_edu.data.shapes import random_shapes


def draw(step, edge, background=0, number=2):
    """Random masks in cubes, and their maps, (number, D, H, W) each; the same at every call."""
    rng = np.random.default_rng([0, step])
    masks = np.stack([np.pad(random_shapes(rng, edge), background) for _ in range(number)])
    return torch.from_numpy(masks), torch.from_numpy(np.stack([distance_map(mask) for mask in masks]))


for seed in range(4):
    torch.manual_seed(seed)
    network = LRNet("NI-DM")
    network.head[-1].bias.data.zero_()  # the package starts it above 0, to prevent what follows
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for step in range(10):
        masks, maps = draw(step, edge=10, background=7)  # less than a hundredth is lesion
        output = network(pair(masks.float()))[:, 0]
        loss = nn.functional.smooth_l1_loss(output, maps)
        optimizer.zero_grad()
        loss.backward()
        if output.max() == 0:
            dead = network
            break
        optimizer.step()
    print(f"seed {seed}, step {step}: loss {loss.item():.4f}, largest output {output.max().item():.3f}")

reached = sum(int(weight.grad.count_nonzero()) for weight in dead.parameters())
print(f"weights with a gradient, in the last network whose output was 0: {reached}")

# %% [markdown]
# Two of the four networks return 0 everywhere. Their loss is small, which looks like success. But a ReLU passes no
# gradient where its input is negative, and here that is everywhere. These networks are **dead**.
#
# ## 5 · Train it so that it learns
#
# Now the cubes hold little background. The loss, L1, gives nearly the same weight to every **depth**: to the rim, to the
# layer below it, and so on. When the output is 0 everywhere, the weights of the output layer are drawn anew.
#
# We begin with the dead network. **Question.** Which will fall first, 1 − Dice or the error of φ? Will the network do
# better than the photocopier?


# %%
def by_depth(mask):
    """Weights of the voxels' errors, (D, H, W): the fewer voxels lie at a depth, the more each of them counts."""
    depths = np.round(distance_map(mask, "O-DM")).astype(int)  # 0 is the background
    weights = np.bincount(depths.ravel())[depths] ** -0.8  # with -1 every depth would count the same
    return weights / np.where(mask, weights[mask].sum(), weights[~mask].sum())


def train(network, weigh):
    """Adam, now with one cycle of the learning rate and clipped gradients. Returns the validations."""
    network = network.to(device, memory_format=torch.channels_last_3d)
    optimizer = torch.optim.Adam(network.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=STEPS)
    validations = []
    for step in range(STEPS):
        masks, maps = draw(step, edge=(16, 20, 28)[step % 3], number=(4, 2, 2)[step % 3])
        weights = torch.from_numpy(np.stack([weigh(mask) for mask in masks.numpy()])).float().to(device)
        output = network(pair(masks.float().to(device)))[:, 0]
        loss = (weights * (output - maps.to(device)).abs()).sum() / len(masks)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 0.3)
        optimizer.step()
        rate.step()
        if output.max() == 0:
            network.reset_output()  # dead: a new output layer
        if (step + 1) % (STEPS // VALIDATIONS) == 0:
            quality = lrnet_quality(network, held_out)
            validations.append({"step": step + 1, "val_dice": quality.dice, "val_error": quality.error})
    network.cpu()
    return validations


torch.manual_seed(0)
rows, trained = train(dead, by_depth), dead  # not dead any more
print(
    f"error of phi: {rows[-1]['val_error']:.3f}, of a photocopier on these masks {lrnet_quality(Photocopier(), held_out).error:.3f}"
)

# %%
from lrnet_edu.figures import lrnet_quality_figure

lrnet_quality_figure(lrnet_quality(trained, held_out), rows)

# %% [markdown]
# Copying comes first: Dice is near the paper's 0.99 while the error of φ is still above the photocopier's. Then the
# network learns the map. The error is largest in the largest lesions; section 8 says why.
#
# ### Exercise 3.2 · Change the training
# The cell below trains another network. Apart from its first weights one thing changes: every voxel of a lesion has the same
# weight. Predict first. Where in
# a ball of 8 voxels radius will this raise the error of φ most: at the `"rim"`, in the `"middle"`, or `"outside"`?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_3_2(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# The ball has 2109 voxels. 872 of them are at depth 1, the rim; 19 are at depths 7 and 8.
#
# ```python
# answer = "middle"
# ```
# </details>


# %%
def by_voxel(mask):
    """Every voxel of a lesion has the same weight."""
    return np.where(mask, 1 / mask.sum(), 1 / (~mask).sum())


torch.manual_seed(0)
changed = LRNet("NI-DM")
train(changed, by_voxel)
print("trained; section 6 shows its errors")

# %% [markdown]
# ## 6 · Test by depth
#
# Most voxels of a ball lie near its border, so a mean says little about the rest. We test **depth by depth**: your two
# networks, then the package's, which was trained for longer.
#
# **Question.** At which depth does the photocopier do best, and at which will your two networks differ most?


# %%
def ball(radius, background=8):
    """A ball in a cube of background, (D, H, W)."""
    steps = np.arange(-radius - background, radius + background + 1)
    z, y, x = np.meshgrid(steps, steps, steps, indexing="ij")
    return z**2 + y**2 + x**2 <= radius**2


@torch.inference_mode()
def map_of(network, mask):
    """The network's map of a mask, (D, H, W)."""
    return network(pair(torch.from_numpy(mask).float()[None]))[0, 0].numpy()


def errors_by_depth(network, radius):
    """The mean error of phi at each depth of a ball, from the rim inwards."""
    mask = ball(radius)
    errors = np.abs(map_of(network, mask) - distance_map(mask))
    depths = np.round(distance_map(mask, "O-DM")).astype(int)
    return [errors[depths == depth].mean() for depth in range(1, depths.max() + 1)]


def print_by_depth(networks):
    print(f"{'ball of radius 8':17}mean   depth:" + "".join(f"{depth:6}" for depth in range(1, 9)))
    for name, network in networks.items():
        mean, errors = lrnet_quality(network, [ball(8)]).error, errors_by_depth(network, 8)
        print(f"{name:15}{mean:6.2f}{'':9}" + "".join(f"{error:6.2f}" for error in errors))


print_by_depth({"photocopier": Photocopier(), "yours, by depth": trained, "yours, by voxel": changed})

# %% tags=["nbval-check-output"]
print_by_depth({"the package's": shipped})

# %% [markdown]
# The photocopier is right at the rim, and its error grows inwards. By the mean, "by voxel" is as good as "by depth",
# but in the middle it is far worse.
#
# ## 7 · Test by size
#
# Now look along one line through a ball, with the package's network. Move the radius only.
#
# **Question.** Up to which radius does the network follow Eq. 1?


# %%
import ipywidgets as widgets

from lrnet_edu.viewers.controls import interact


def cut_through(radius, p):
    """phi along a line through a ball's middle: exact, and by the LR-Net, which is given p inside the ball."""
    mask = ball(radius)
    middle = len(mask) // 2
    exact, said = (volume[middle, middle] for volume in (distance_map(mask), map_of(shipped, p * mask)))
    place = np.arange(len(mask)) - middle
    figure = Picture(4.2)
    axes = figure.subplots()
    axes.axvspan(-15.5, 15.5, color=GREY, alpha=0.2, lw=0, label="seen from the middle")
    axes.step(place, exact, where="mid", color=BLACK, lw=2.5, label="φ, Eq. 1")
    axes.plot(place, said, "-o", color=METHOD_COLORS["lrnet"], ms=5, lw=2, label=f"LR-Net, p = {p:.2f}")
    axes.set(title=f"Ball of radius {radius} voxels", xlabel="x from the middle (voxels)", ylabel="φ (no unit)")
    axes.set(xlim=(-26, 26), ylim=(0, 1.15))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure.finish(
        f"A line through a ball of radius {radius}: exact phi falls from 1 at the rim to {exact[middle]:.2f} in the "
        f"middle; given p = {p:.2f}, the LR-Net says {said[middle]:.2f} there."
    )


# %%
interact(
    cut_through,
    radius=widgets.IntSlider(18, min=1, max=22, description="radius", continuous_update=False),
    p=widgets.FloatSlider(1.0, min=0.05, max=1.0, step=0.05, description="p", continuous_update=False),
)

# %% tags=["nbval-check-output"]
print("in the middle of a ball\nradius   phi   LR-Net")
for radius in (3, 6, 9, 12, 14, 18, 22):
    middle = (radius + 8,) * 3
    print(f"{radius:6}{distance_map(ball(radius))[middle]:6.2f}{map_of(shipped, ball(radius))[middle]:9.2f}")

# %% [markdown]
# Up to a radius of 9. At 12 and 14 it has not learnt it. In larger balls it returns about 0.2.
#
# ## 8 · How far does it see?
#
# Eq. 1 divides by $M_C$, the depth of the deepest voxel, which may be far away. How far does the network see? We ask autograd
# which input voxels influence one output voxel.
#
# **Question.** 10 voxels along each axis, 30, or 100?

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
# It sees 15 voxels to either side. Now take a straight arm, 5 voxels thick: a lesion of its own, or the tail of a
# tumour.
#
# **Question.** Does φ in the middle of the arm change with the tumour? Does the LR-Net's answer?

# %% tags=["nbval-check-output"]
arm = np.zeros((31, 31, 70), dtype=bool)  # (D, H, W)
arm[13:18, 13:18, 4:46] = True
z, y, x = np.ogrid[:31, :31, :70]
tailed = arm | ((z - 15) ** 2 + (y - 15) ** 2 + (x - 56) ** 2 <= 11**2)
outputs = [map_of(shipped, mask) for mask in (arm, tailed)]

here = (15, 15, 18)  # in the middle of the arm; the tumour begins 27 voxels to the right
print(f"phi here: {distance_map(arm)[here]:.2f} in the arm alone, {distance_map(tailed)[here]:.2f} with the tumour")
print(f"the LR-Net's two answers differ by {abs(outputs[1] - outputs[0])[here]:.6f}")

# %%
figure = Picture(6.2)
grid = figure.subplots(3, 2, sharex=True, sharey=True)
for column, name, mask in ((0, "the arm alone", arm), (1, "the tail of a tumour", tailed)):
    planes = {"mask": mask[15], "φ, Eq. 1": distance_map(mask)[15], "φ, LR-Net": outputs[column][15]}
    for axes, (title, plane) in zip(grid[:, column], planes.items(), strict=True):
        shown = axes.imshow(plane, cmap=MAP_COLORMAP, vmin=0, vmax=1)
        axes.plot(18, 15, "o", color="white", mec="black", ms=8)
        axes.vlines((2.5, 33.5), -0.5, 30.5, color="white", lw=2.5, ls="--")
        axes.set_ylabel(f"{title}\ny (voxels)" if column == 0 else "")
    grid[0, column].set_title(name)
    grid[2, column].set_xlabel("x (voxels)")
figure.colorbar(shown, ax=grid, label="mask and φ (no unit)", shrink=0.7)
figure.finish(
    "Two masks, an arm and the same arm with a ball at its end; their exact maps differ all along the arm, dark without "
    "the ball and bright with it, while the LR-Net's two maps are equal at the marked voxel, whose window of 31 voxels, "
    "drawn dashed, holds nothing of the ball."
)

# %% [markdown]
# The dashed lines enclose what the marked voxel sees. There both masks are the same, so both answers are, and one is
# wrong. No training can change that. The paper's "rigorous mapping" needs lesions that fit into the window. In larger
# ones the network has to guess $M_C$.
#
# ### Exercise 3.3 · Smaller lesions
# Counted in coarser voxels, a lesion is smaller. A ball with a radius of $r$ voxels has its first background voxel $r + 1$
# steps along an axis from its middle, and the middle sees 15 steps along each axis. Find the largest whole $r$ at which it
# still sees background there. How many mm must a voxel measure so that a ball of 45 mm radius has this $r$?

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
# ## 9 · What if the M-Net is not sure?
#
# A lesion that the M-Net nearly misses arrives as a probability of 0.2 or 0.05. Set the radius in section 7 to 6, and
# lower $p$.
#
# **Question.** What will the LR-Net return at 0.05? And does a gradient still get back to the lesion?


# %%
lesions = [torch.from_numpy(mask) for mask in held_out_shapes(4, 24)]


def soft_response(network, p):
    """For lesions that have a probability p: the mean output, and the share of voxels that a gradient reaches."""
    outputs, reached = [], []
    for lesion in lesions:
        probability = (p * lesion.float()).requires_grad_()  # (D, H, W)
        output = network(torch.stack((1 - probability, probability))[None])[0, 0]
        nn.functional.smooth_l1_loss(output, distance_map(lesion, "NI-DM")).backward()
        outputs.append(output[lesion].detach())
        reached.append(probability.grad[lesion] != 0)
    return torch.cat(outputs).mean(), torch.cat(reached).float().mean()


def print_soft(networks):
    phi = torch.cat([distance_map(lesion, "NI-DM")[lesion] for lesion in lesions]).mean()
    print(f"phi {phi:.2f}; mean output in the lesions, and the share of their voxels that a gradient reaches")
    for name, network in networks.items():
        answers = [(p, *soft_response(network, p)) for p in (1.0, 0.6, 0.2, 0.05)]
        each = [f"p = {p:.2f}: {output:.2f}, {100 * reached:3.0f} %" for p, output, reached in answers]
        print(f"{name:15}", *each, sep="   ")


print_soft({"yours, by depth": trained, "yours, by voxel": changed})

# %% tags=["nbval-check-output"]
print_soft({"the package's": shipped})

# %% [markdown]
# The output falls with $p$, and at 0.05 next to nothing is left. Your networks, trained on zeros and ones as in the
# paper, then pass no gradient back, so a missed lesion is out of reach. The package's still passes one to most voxels: it was
# also trained on masks with values below 1.
#
# ### Exercise 3.4 · Resuscitation, if you have ten more minutes
# `reset_output` draws the whole output layer anew, and what it had learnt is lost. Write a function
# `answer(lrnet, probabilities)` that revives a dead LR-Net by changing **nothing but the bias** of that layer,
# `lrnet.head[-1].bias`, in place. Afterwards the output for these probabilities, (1, 2, D, H, W), must not be 0 everywhere,
# and must not exceed 1. After the ReLU you cannot see how far below 0 a dead output is. How can you find out?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_3_4(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# Raise the bias so far that the ReLU is on everywhere, read the largest output, and go back. Or read the values before the
# ReLU with a forward hook.
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
# - Copying the input is enough for a Dice of 0.99. Measure the error of φ, **by depth**.
# - Trained by the book, the LR-Net can die, and its loss looks excellent.
# - It sees 31 voxels along each axis. In larger lesions it has to guess $M_C$.
#
# **Next:** [04 · The M-Net and its losses](04_mnet_and_losses.ipynb).
