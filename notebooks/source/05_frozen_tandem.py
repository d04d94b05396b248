# %% [markdown]
# # 05 · The frozen tandem
#
# The LR-Net computes a distance map, the M-Net finds lesions. Now the two stand in a row: the M-Net's probabilities go
# into the LR-Net, and the error of the map that comes out teaches the *M-Net*. The LR-Net itself must not learn any
# more. What that takes in PyTorch, what it does to a lesion, and how loud it should be, is this notebook.
#
# **Afterwards you can**
# - connect both networks, and prove which of them learns (section 2.2, Fig. 1),
# - follow the gradient of the map's error through the frozen LR-Net, onto a badly shaped and onto a missed lesion,
# - choose $\alpha$, and say why the map's error must not train a fresh M-Net alone,
# - say what unfreezing does.
#
# **Takes** 60 minutes to read and try; the cells run in about a minute on two CPU cores. They need no GPU; where
# there is one, the four short trainings at the end take ten times as many steps (their time was not measured).

# %% [markdown]
# Only the short trainings near the end depend on the size of the run. Everything else uses weights that ship.

# %% tags=["parameters"]
from lrnet_edu.config import fast

FAST = fast()  # the environment variable LRNET_EDU_FAST=1: everything small
TIMES = 10 if device.type == "cuda" else 1
SCRATCH_STEPS = 3 if FAST else 80 * TIMES  # of each training of a fresh M-Net
STEPS = 3 if FAST else 40 * TIMES  # of each training that goes on from weights that ship
PATCH = (16, 24, 24) if FAST else (24, 40, 40)  # voxels (z, y, x), as the M-Net was trained
TRAINING_CASES = 2 if FAST else 12

# %% [markdown]
# ## 1 · Two networks in a row
#
# With an image $x$ of a CT, section 2.2 and Fig. 1 say
#
# $$p = \mathrm{softmax}(\text{M-Net}(x)), \qquad \hat\varphi = \text{LR-Net}(p)$$
#
# $p$ are probabilities, background and lesion, and $\hat\varphi$ is the map that the LR-Net reads out of them. Both
# networks ship trained: this M-Net with the Dice loss alone (it never met a map), the LR-Net on masks of random shapes.

# %%
from lrnet_edu import load_pretrained_lrnet
from lrnet_edu.data.samples import sample_mnet
from lrnet_edu.trained import load_mnet

trained = load_mnet(sample_mnet("dice"))  # the M-Net, and how its input has to be prepared
mnet, lrnet = trained.mnet, load_pretrained_lrnet("NI-DM")
print(f"grid {trained.preprocessing.spacing} mm, window {trained.preprocessing.window} HU, patch {trained.patch_size}")

# %% [markdown]
# We look at one patch of `volume-2`, a scan that was in no training, around its largest lesion. Its map $\varphi$
# comes from Eq. 1.

# %%
import numpy as np
import torch
from scipy import ndimage

from lrnet_edu import distance_map, find_cases
from lrnet_edu.data.cache import cache_cases
from lrnet_edu.data.patches import cut
from lrnet_edu.data.samples import sample_folder
from lrnet_edu.data.study import split_cases

cases = {case.name: case for case in find_cases(sample_folder())}
split = split_cases(list(cases))  # the same for every training: train, validation, test
test = cache_cases([cases[name] for name in split["test"]], trained.preprocessing, trained.labels)
scan = next(case for case in test if case.name == "volume-2")

components, count = ndimage.label(scan.classes, np.ones((3, 3, 3)))  # (D, H, W): 0, 1 .. count
largest = 1 + np.argmax(np.bincount(components.ravel())[1:])
corner = np.array(ndimage.center_of_mass(components == largest)).astype(int) - np.array(trained.patch_size) // 2
corner = corner.clip(0, np.array(components.shape) - trained.patch_size)

image = torch.from_numpy(cut(scan.image, corner, trained.patch_size, mode="edge")).float()  # (D, H, W), in [0, 1]
lesion = cut(scan.classes, corner, trained.patch_size, mode="constant") == 1  # (D, H, W)
phi = torch.from_numpy(distance_map(lesion, "NI-DM"))  # (D, H, W)
target, true_map = torch.from_numpy(lesion).long()[None], phi[None, None]  # (1, D, H, W), (1, 1, D, H, W)

# %% [markdown]
# **Question.** The patch has 32 × 48 × 48 voxels. What are the shapes of $p$ and $\hat\varphi$?

# %% tags=["nbval-check-output"]
from lrnet_edu import Tandem

with torch.no_grad():  # for a look only
    by_hand = torch.softmax(mnet(image[None, None]), dim=1)  # (1, 2, D, H, W)
    map_by_hand = lrnet(by_hand)  # (1, 1, D, H, W)

tandem = Tandem(mnet, lrnet)  # frozen=True is the default
probabilities, maps = tandem(image[None, None])

print("image", tuple(image[None, None].shape), " p", tuple(probabilities.shape), " map", tuple(maps.shape))
difference = max((by_hand - probabilities).abs().max(), (map_by_hand - maps).abs().max())
print(f"by hand minus Tandem, largest difference: {difference:.5f}")

# %% [markdown]
# Two lines of code, and `Tandem` holds no secret. Its only duty is to keep the LR-Net *frozen*.
#
# ## 2 · Who learns?
#
# The paper: "we froze the parameters of the LR-Net". Our loss is the paper's regression loss (section 2.3), here called
# **the map's error**: $L_\mathrm{smoothL1}(\hat\varphi, \varphi)$, the smooth L1 distance of the two maps (notebook 03,
# section 7: half the squared error where that is below 1), mean over all voxels.
#
# **Question.** Both networks take part in it. After one step of Adam, in which of them has a weight a gradient, and in
# which has one moved?

# %% tags=["nbval-check-output"]
from copy import deepcopy

from lrnet_edu.losses import map_regression_loss


def one_step(tandem):
    """One step of Adam on all that asks for a gradient; says what it did to both networks."""
    before = deepcopy(tandem.state_dict())
    optimizer = torch.optim.Adam([weight for weight in tandem.parameters() if weight.requires_grad], lr=1e-3)
    map_regression_loss(tandem(image[None, None])[1], true_map).backward()
    optimizer.step()
    for name in ("mnet", "lrnet"):
        weights = dict(tandem.get_submodule(name).named_parameters())
        with_gradient = sum(weight.grad is not None for weight in weights.values())
        moved = max((weight - before[f"{name}.{key}"]).abs().max().item() for key, weight in weights.items())
        print(f"  {name:5}  {with_gradient:2} of {len(weights):2} tensors have a gradient, largest move {moved:.3f}")


for frozen in (True, False):
    print("frozen:" if frozen else "unfrozen, the paper's uLR-Net:")
    one_step(Tandem(deepcopy(mnet), deepcopy(lrnet), frozen=frozen))

# %% [markdown]
# The M-Net moves although the loss does not see its output at all, only the LR-Net's. The gradient came *through* the
# frozen network. Freezing is two switches, and one thing *not* to do:
#
# | switch | what it stops |
# |---|---|
# | `lrnet.requires_grad_(False)` | gradients *for the LR-Net's weights*; those that pass through stay |
# | `lrnet.eval()` | running statistics of normalisation layers, should it have any |
# | `torch.no_grad()`, `.detach()` | **everything: never here** |
#
# ## 3 · The trap
#
# "Frozen" sounds like "no gradients", and `torch.no_grad()` is what one types. **Question.** What happens in the next
# cell, at which line?

# %% tags=["nbval-check-output"]
pair = probabilities.detach().requires_grad_()  # (1, 2, D, H, W), as if it came from the M-Net
with torch.no_grad():
    in_the_trap = lrnet(pair)  # (1, 1, D, H, W)
try:
    map_regression_loss(in_the_trap, true_map).backward()
except RuntimeError as problem:
    print("RuntimeError:", problem)

# %% [markdown]
# Good: it is loud. But hardly anybody trains with the map's error alone. The total loss of Table 1, third row, is
#
# $$L = L_\mathrm{Dice}(p, g) + \alpha\, L_\mathrm{smoothL1}(\hat\varphi, \varphi)$$
#
# **Question.** The same trap, with Dice beside it. What does PyTorch say now, and what does the M-Net learn?

# %% tags=["nbval-check-output"]
from lrnet_edu import DiceLoss

ALPHA = 10.0


def gradient_of(total):
    """The gradient of a loss of the probabilities on all of the M-Net's weights, as one vector (N,)."""
    loss = total(torch.softmax(mnet(image[None, None]), dim=1))
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(mnet.parameters()))])


def dice(probabilities):
    return DiceLoss()(probabilities, target)


def frozen(probabilities):
    return map_regression_loss(lrnet(probabilities), true_map)


def under_no_grad(probabilities):
    with torch.no_grad():
        return map_regression_loss(lrnet(probabilities), true_map)


def detached(probabilities):
    return map_regression_loss(lrnet(probabilities.detach()), true_map)


of_dice_alone = gradient_of(dice)
print("Dice + alpha * map's error, the LR-Net ...")
for term in (frozen, under_no_grad, detached):
    loss = dice(probabilities) + ALPHA * term(probabilities)
    both = gradient_of(lambda p, term=term: dice(p) + ALPHA * term(p))
    change = (both - of_dice_alone).norm() / of_dice_alone.norm()
    print(f"  {term.__name__:14} loss {loss:.3f}, Dice's gradient is changed by {100 * change:.0f} %")

# %% [markdown]
# The loss is the same in all three rows, the curves in the log would look alike, and in two of them the LR-Net does
# nothing at all. **In the trap you train with Dice alone and believe that you train the paper's method.** `Tandem` and
# `DistanceRegressionLoss` are built so that this cannot happen.
#
# ### Exercise 5.1 · Through, not into
# Write a function `answer(lrnet, probabilities, true_map)` that returns the gradient of the map's error (without
# $\alpha$) on the probabilities, (1, 2, D, H, W), and leaves no gradient behind on the LR-Net's own weights. The LR-Net
# that it gets is *not* frozen yet.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_5_1(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# from lrnet_edu.losses import map_regression_loss
#
#
# def answer(lrnet, probabilities, true_map):
#     lrnet.requires_grad_(False)
#     p = probabilities.detach().requires_grad_()
#     map_regression_loss(lrnet(p), true_map).backward()
#     return p.grad
# ```
# </details>

# %% [markdown]
# ## 4 · Follow the gradient
#
# The chain rule, along the tandem from behind:
#
# $$\frac{\partial L}{\partial \theta_\mathrm{M}} =
# \underbrace{\frac{\partial L}{\partial \hat\varphi}}_{\text{error of the map}} \cdot
# \underbrace{\frac{\partial \hat\varphi}{\partial p}}_{\text{frozen LR-Net}} \cdot
# \underbrace{\frac{\partial p}{\partial \theta_\mathrm{M}}}_{\text{M-Net}}$$
#
# What reaches the M-Net is $\partial L / \partial p$, one number per voxel. With its sign turned we call it the
# **push**, $-\partial L / \partial p$: where it is positive the loss asks for more lesion, where it is negative for less.

# %%
from lrnet_edu import DistanceRegressionLoss

regression = DistanceRegressionLoss(lrnet, alpha=1.0)  # runs the frozen LR-Net itself


def push(loss, p):
    """-dL/dp, (D, H, W), for a loss of the pair (1 - p, p)."""
    p = p.detach().clone().requires_grad_()
    loss(torch.stack((1 - p, p))[None]).backward()
    return -p.grad


def pushes(p):
    """Of the Dice loss and of the map's error, (D, H, W) each."""
    return {"Dice": push(dice, p), "map": push(lambda pair: regression(pair, true_map), p)}


with torch.no_grad():
    p = torch.softmax(mnet(image[None, None]), dim=1)[0, 1]  # (D, H, W), probability of lesion
    map_of_p = lrnet(torch.stack((1 - p, p))[None])[0, 0]  # (D, H, W)
push_on_p = pushes(p)

# %% [markdown]
# **Question.** Dice is a ratio of sums over all voxels. How many *different* values has its push inside the lesions, and
# outside? Does it know where a lesion's border is?

# %% tags=["nbval-check-output"]
inside = torch.from_numpy(lesion)  # (D, H, W)
for name, values in push_on_p.items():
    different = [len(np.unique(values[part].numpy())) for part in (inside, ~inside)]
    up = [100 * (values[part] > 0).float().mean() for part in (inside, ~inside)]
    amount = ["1 value" if number == 1 else "hundreds of values" for number in different]
    print(f"{name:4}  lesions: {amount[0]}, {up[0]:.0f} % up;   outside: {amount[1]}, {up[1]:.0f} % up")

# %% [markdown]
# ### The last step: from p to the M-Net
#
# So far this is a push on $p$. But the M-Net does not put out $p$. It puts out a logit $z$, and $p = 1 / (1 + e^{-z})$
# with $z$ the lesion's logit minus the background's. One more factor of the chain rule:
#
# $$-\frac{\partial L}{\partial z} = p\,(1 - p) \cdot \left(-\frac{\partial L}{\partial p}\right)$$
#
# Let us see that this holds, for the whole tandem at once.

# %% tags=["nbval-check-output"]
push_on_z = {name: p * (1 - p) * values for name, values in push_on_p.items()}  # (D, H, W) each

with torch.no_grad():
    logits = mnet(image[None, None])  # (1, 2, D, H, W)
logits.requires_grad_()
map_regression_loss(lrnet(torch.softmax(logits, dim=1)), true_map).backward()
difference = (push_on_z["map"] + logits.grad[0, 1]).abs().max() / push_on_z["map"].abs().max()
print(f"formula against autograd, largest difference: {difference:.4f} of the largest push")

# %% [markdown]
# **Question.** Where is $p\,(1 - p)$ large, and where is it nearly 0? What will be left of the push of Dice on the logits?

# %%
from lrnet_edu.figures import Picture
from lrnet_edu.figures.palette import CT_COLORMAP, MAP_COLORMAP, REFERENCE_COLOR, SIGNED_MAP_COLORMAP


def draw(axes, plane, title, colours, low, high, ticks=None, label="no unit"):
    """One slice with the lesions' contour, seen as a radiologist sees it."""
    shown = axes.imshow(plane[::-1, ::-1], cmap=colours, vmin=low, vmax=high)
    axes.contour(lesion[k, ::-1, ::-1], levels=[0.5], colors=[REFERENCE_COLOR], linewidths=1.6)
    axes.set_title(title)
    bar = axes.figure.colorbar(shown, ax=axes, orientation="horizontal", label=label, ticks=ticks)
    bar.ax.tick_params(labelsize=11)


def draw_push(axes, plane, title):
    top = strongest(plane)
    draw(axes, plane, title, SIGNED_MAP_COLORMAP, -top, top, [0], "less lesion ← 0 → more lesion")


def strongest(plane):
    return float(np.quantile(np.abs(plane), 0.998))


local, here = ndimage.label(lesion, np.ones((3, 3, 3)))  # the patch's lesions: (D, H, W), 0, 1 .. here
sizes = np.bincount(local.ravel())[1:]
found = 1 + int(np.argmax(sizes))  # the largest, which the M-Net finds, but not in its true shape
missed = 1 + min((i for i in range(here) if sizes[i] >= 10), key=lambda i: float(p[local == i + 1].mean()))
k = int(np.argmax((local == missed).sum(axis=(1, 2))))  # a slice with both

figure = Picture(10.6)
grid = figure.subplots(3, 3, sharex=True, sharey=True)
draw(grid[0, 0], image[k].numpy(), "CT", CT_COLORMAP, 0, 1)
draw(grid[1, 0], p[k].numpy(), "M-Net: $p$", MAP_COLORMAP, 0, 1)
draw(grid[2, 0], (p * (1 - p))[k].numpy(), "$p\\,(1 - p)$", MAP_COLORMAP, 0, 0.25)
draw(grid[0, 1], phi[k].numpy(), r"target: $\varphi$ of the mask", MAP_COLORMAP, 0, 1)
draw(grid[0, 2], map_of_p[k].numpy(), r"LR-Net of $p$: $\hat\varphi$", MAP_COLORMAP, 0, 1)
for row, level, push_there in ((1, "$p$", push_on_p), (2, "the logits", push_on_z)):
    draw_push(grid[row, 1], push_there["Dice"][k].numpy(), f"Dice, push on {level}")
    draw_push(grid[row, 2], push_there["map"][k].numpy(), f"map's error, push on {level}")
for axes in grid.flat:
    axes.set(ylabel="y (voxels)" if axes in grid[:, 0] else "", xlabel="x (voxels)" if axes in grid[2] else "")
figure.finish(
    f"Slice {k} of the patch with the contours of its lesions. Above, the CT, the target and the LR-Net's map. In the "
    "middle, p and the push on it: Dice has one colour in all lesions and another outside, the map's error has both "
    "signs, along the borders of the lesions and of the prediction. Below, p (1 - p), which is bright along the borders "
    "of the prediction alone, and the push on the logits: there both losses push along those borders."
)


# %% [markdown]
# Two questions can be asked of a push: is it **beside a border**, of the lesions or of what the M-Net takes for them? And
# has it the **right sign**, up in the lesions and down outside? **Question.** Guess four numbers for each loss: both
# shares, of the push on $p$ and of the push on the logits.


# %% tags=["nbval-check-output"]
def beside_the_border(mask):
    """The voxels on either side of a mask's border."""
    return ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask)


borders = torch.from_numpy(beside_the_border(lesion) | beside_the_border(p.numpy() > 0.5))  # (D, H, W)
print(f"{100 * borders.float().mean():.0f} % of the patch's voxels lie beside a border")
print("share of all push:     beside a border   of the right sign")
for level, push_there in (("p", push_on_p), ("the logits", push_on_z)):
    for name, values in push_there.items():
        amount = values.abs()
        right = (values > 0) == inside  # up in the lesions, down elsewhere
        shares = [100 * amount[part].sum() / amount.sum() for part in (borders, right)]
        print(f"  {name:4} on {level:10} {shares[0]:17.0f} % {shares[1]:17.0f} %")

# %% [markdown]
# On $p$ the two losses are opposites. Dice pushes all voxels of a class alike, so hardly any of its push is beside a
# border, and all of it has the right sign. Most of the map's push is beside the borders, and a good part of it points the
# wrong way. From this picture one would say that the map's error tells the M-Net *where* it is wrong and that Dice does
# not: "a minor mismatch ... can exert large penalty", as the paper has it.
#
# But the M-Net learns on the logits, and there the picture changes. $p\,(1 - p)$ is nearly 0 wherever the M-Net is sure,
# and it is least sure along the borders of what it found. So **every loss on a softmax pushes along the borders**, Dice
# included, and the push of Dice still has the right sign everywhere. What is left of the difference: the map's
# error is even more concentrated there, and it pays with a part of its push that has the wrong sign.
#
# Is a wrong sign a mistake? Not always. The LR-Net sees 31 voxels, so each voxel has a say in the map around it, and a
# push is advice about a neighbourhood. But some of it is plain error: the LR-Net's own map is not exact.
#
# What follows? That the map's push lies at the borders is no proof that it helps, since that of Dice does, too. Pictures
# of gradients show what a loss asks for. Whether asking for it gives better segmentations, only trainings can show, side
# by side and from the same weights (notebook 07).
#
# Scroll through the pushes on the logits. **Question.** Find a voxel outside all lesions that the map's error pushes *up*.
# What is beside it? (Each push is divided by its 99.8 % quantile in the slice above, and the few larger values are
# clipped.)

# %%
from lrnet_edu.viewers.slices import SliceViewer

low, high = trained.preprocessing.window
SliceViewer(
    low + (high - low) * image,
    spacing=scan.spacing,
    window=(low, high),
    overlays={"lesions": lesion, "M-Net: p > 0.5": p > 0.5},
    heat={
        "LR-Net of p": map_of_p,
        **{
            f"push of {who} on the logits": (push_on_z[name] / strongest(push_on_z[name][k].numpy())).clamp(-1, 1)
            for name, who in (("Dice", "Dice"), ("map", "the map's error"))
        },
    },
    levels=64,
    title="A patch of volume-2: what the M-Net says, what the LR-Net reads, and who pushes where",
)

# %% [markdown]
# **Question.** The large lesion of our patch is found, but not in its true shape. The small one is missed: its $p$ is
# next to 0. Which of the two gets more help from the map's error, counted per voxel? And from Dice?

# %% tags=["nbval-check-output"]
print("                      mean of          push on the logits, mean per voxel (1e-6)")
print("lesion     voxels    p   map   phi       Dice   10 * map's error")
for name, number in (("found", found), ("missed", missed)):
    part = torch.from_numpy(local == number)  # (D, H, W)
    on_z = {key: 1e6 * values[part].mean() for key, values in push_on_z.items()}
    means = f"{p[part].mean():5.2f} {map_of_p[part].mean():5.2f} {phi[part].mean():5.2f}"
    print(f"{name:8} {part.sum():8} {means} {on_z['Dice']:10.1f} {ALPHA * on_z['map']:18.1f}")

# %% [markdown]
# In the lesion that is *found* the map's error, times 10, adds a fraction to the push of Dice. In the missed lesion Dice
# pushes weakly, for $p\,(1 - p)$ is small, and the map's error hardly at all: the LR-Net sees next to nothing there.
#
# ### Exercise 5.2 · The price of being sure
# A voxel with $p = 0.5$ and one with $p = 0.01$ get the same push on $p$. How many times stronger is the push on the
# logit of the first?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_5_2(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# answer = 0.5 * (1 - 0.5) / (0.01 * (1 - 0.01))
# ```
# </details>

# %% [markdown]
# ## 5 · How visible must a lesion be?
#
# Suppose that the M-Net gave the missed lesion some other probability $q$, the same in all its voxels. **Question.** From
# which $q$ on does the map's error push, and where does it stop?

# %%
Q = (0.01, 0.02, 0.05, 0.08, 0.09, 0.1, 0.12, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
part = torch.from_numpy(local == missed)
curves = {"Dice": [], "map": []}
for q in Q:
    for name, values in pushes(torch.where(part, q, p)).items():
        factor = ALPHA if name == "map" else 1.0
        curves[name].append(1e6 * factor * q * (1 - q) * values[part].mean().item())

# %% tags=["nbval-check-output"]
speaks = [q for q, push in zip(Q, curves["map"], strict=True) if push > 2]  # in 1e-6, as in the figure below
strongest_of = {name: max(values) for name, values in curves.items()}
print(f"the map's error, times 10, pushes from q = {speaks[0]} to {speaks[-1]}, Dice at every q")
print(
    f"at its strongest it pushes {strongest_of['map'] / strongest_of['Dice']:.1f} times as hard as Dice at its strongest"
)

# %%
from lrnet_edu.figures.palette import BLACK, METHOD_COLORS

figure = Picture(3.9)
axes = figure.subplots()
axes.axhline(0, color=BLACK, lw=1)
axes.plot(Q, curves["Dice"], "-o", color=METHOD_COLORS["dice"], lw=2.4, label="Dice")
axes.plot(Q, curves["map"], "-s", color=METHOD_COLORS["lrnet"], lw=2.4, label="10 × map's error")
axes.set(
    xlabel="q, the probability of the missed lesion (no unit)",
    ylabel="Push on its logits,\nmean per voxel ($10^{-6}$)",
    xlim=(0, 1),
)
axes.legend(loc="upper left")
figure.finish(
    "Mean push on the logits of the small lesion against its probability. Dice: an arch, largest at one half. "
    f"Ten times the map's error: {curves['map'][0]:.0f} at {Q[0]}, {max(curves['map']):.0f} at "
    f"{Q[int(np.argmax(curves['map']))]}, {curves['map'][-1]:.0f} at {Q[-1]}, in millionths."
)

# %% [markdown]
# Dice pushes at every $q$, with the arch of $q\,(1 - q)$. The map's error has a window. Below it the LR-Net puts out 0 and
# passes no gradient on; above it the LR-Net reads a finished lesion, and there is little left to correct. So a lesion must
# be seen a little to be helped. An LR-Net that was trained on masks of 0 and 1
# only, as in the paper, passes even less on at low $p$ (notebook 03, section 9). **The map's error improves what is half
# seen. A lesion that is lost, something else has to find.**

# %% [markdown]
# ## 6 · How loud? Choosing α
#
# "The constant value $\alpha$, used to balance the magnitude difference of two different losses" (section 3.1) has no
# value in the paper. **Question.** The M-Net finds nothing at all, $p = 0$. That costs the Dice loss 1. And the map's
# error? Smooth L1 of an error $d$ below 1 is $d^2 / 2$, and its mean runs over *all* voxels.

# %% tags=["nbval-check-output"]
from lrnet_edu.kinds import KINDS
from lrnet_edu.losses import cost_of_empty_output

z, y, x = np.ogrid[-24:24, -24:24, -24:24]
ball = z**2 + y**2 + x**2 <= 6**2  # (D, H, W): 0.8 % of its box of 48 x 48 x 48 voxels
half_square = float((distance_map(ball, "NI-DM") ** 2 / 2).mean())
print(f"NI-DM by hand: mean of phi^2 / 2 = {half_square:.4f}")
for kind in KINDS:
    cost = cost_of_empty_output(torch.from_numpy(distance_map(ball, kind)), kind)
    default = KINDS[kind].alpha
    print(f"{kind:6}  an empty output costs {cost:.4f}; default alpha {default:4.1f}, together {default * cost:.3f}")

# %% [markdown]
# 0.3 % of a Dice term of 1: behind a *trained* M-Net, Table 1's rows without $\alpha$, that is with $\alpha = 1$, should
# hardly differ from their segmentation loss alone. Behind a fresh one, and the paper trains from scratch, this value says
# little: there Dice + LR-Net without $\alpha$ has 0.717, and Dice alone 0.658. And between the kinds of map the cost
# differs by a factor of fifty, so one $\alpha$ for all columns compares strengths, not maps. The package's default for each
# kind (`KINDS[kind].alpha`) makes missing this ball cost about the same with all of them.
#
# Values are one thing, gradients are what moves weights. **Question.** At which $\alpha$ do both losses pull equally
# hard on the M-Net's weights: near 1, 10 or 1000? Is it the same for a trained and for a fresh M-Net?

# %%
from lrnet_edu import MNet
from lrnet_edu.data.patches import PatchBatches

training = cache_cases([cases[name] for name in split["train"]], trained.preprocessing, trained.labels)
training = [case for case in training if len(case.foreground[0])][:TRAINING_CASES]  # those with a lesion


def batches(size, length):
    """Batch i at index i: two patches around lesions, with their classes and NI-DM."""
    return PatchBatches(
        training, kinds=["NI-DM"], classes=1, patch_size=size, batch_size=2, object_share=1.0, augment=True, seed=[5],
        length=length,
    )  # fmt: skip


patches = batches(PATCH, STEPS)


def fresh_mnet():
    torch.manual_seed(0)
    return MNet(**mnet.settings)  # the same architecture, Kaiming uniform weights


def strengths(mnet, batch):
    """Lengths of the gradients of the Dice loss and of the map's error (alpha = 1) on the M-Net's weights."""
    probabilities, maps = Tandem(mnet, lrnet)(batch.image)
    terms = DiceLoss()(probabilities, batch.classes), map_regression_loss(maps, batch.maps["NI-DM"])
    weights = list(mnet.parameters())
    return [
        torch.cat([part.flatten() for part in torch.autograd.grad(term, weights, retain_graph=True)]).norm().item()
        for term in terms
    ]


balance = {}  # who -> the alpha at which both pull equally, one for each batch
for who, net in (("trained", mnet), ("fresh", fresh_mnet())):
    both = np.array([strengths(net, patches[i]) for i in range(min(4, STEPS))])  # (batches, 2)
    balance[who] = both[:, 0] / both[:, 1]
    listed = ", ".join(f"{alpha:.3g}" for alpha in balance[who])
    print(f"{who:7} M-Net: equally strong at alpha = {listed}")
    for alpha in (1, 10, 100):
        weakest, strongest_one = alpha / balance[who].max(), alpha / balance[who].min()
        print(f"  alpha = {alpha:3}: the map's error pulls {weakest:.3g} to {strongest_one:.3g} times as hard as Dice")

# %%
from lrnet_edu.figures.palette import GREY, VERMILION

alphas = np.array([0.1, 1, 10, 100])
figure = Picture(4.2)
axes = figure.subplots()
axes.axhline(1, color=BLACK, ls="--", lw=1.5)
axes.text(1.4, 1.15, "equally strong", va="bottom")
for who, colour in (("trained", METHOD_COLORS["dice"]), ("fresh", VERMILION)):
    for i, alpha in enumerate(balance[who]):
        axes.plot(alphas, alphas / alpha, "-o", color=colour, lw=2, alpha=0.7, label=f"{who} M-Net" if i == 0 else None)
axes.axvline(KINDS["NI-DM"].alpha, color=GREY, lw=6, alpha=0.35, zorder=0, label="default for NI-DM")
axes.set(xscale="log", yscale="log", xlabel="α (no unit)", ylabel="Gradient of α × map's error\n/ gradient of Dice")
axes.legend(loc="lower right")
figure.finish(
    "Strength of the map's error's gradient relative to Dice's against alpha, both axes logarithmic; one line a batch. "
    f"A trained M-Net: equally strong at alpha from {min(balance['trained']):.0f} to {max(balance['trained']):.0f}. "
    f"A fresh one: already at {min(balance['fresh']):.2f} to {max(balance['fresh']):.2f}."
)

# %% [markdown]
# With the trained M-Net and the default of 10, the map's error pulls a fraction as hard as Dice: it is heard and does not
# rule. At $\alpha = 1$ it has a few hundredths of Dice's pull, next to nothing, as its value said. At 100 it pulls harder
# than Dice in most patches, and it is Dice that has to find the lesions.
#
# For a fresh M-Net nothing of this holds. There the map's error pulls *harder* than Dice already at $\alpha = 1$, and
# dozens of times as hard at 10. Partly it is Dice that is weak: it divides by the sum of $p$, which is about half of the
# patch. **The right $\alpha$ depends on the moment.** And a strong pull need not lead anywhere, as section 7 shows.
#
# Try it on the patch: **move α** and watch the sum of both pushes on the logits. **Question.** From which α on does the
# map's error change the picture in the large lesion? (The slider needs a running kernel.)

# %%
import ipywidgets as widgets

from lrnet_edu.viewers.controls import interact


def at_alpha(alpha):
    """Both pushes on the logits of slice k, and their sum, on one scale."""
    on_z = {name: values[k].numpy() for name, values in push_on_z.items()}  # (H, W)
    planes = {"Dice": on_z["Dice"], f"{alpha:.3g} × map's error": alpha * on_z["map"]}
    planes["sum"] = sum(planes.values())
    top = float(np.abs(on_z["Dice"]).max())
    figure = Picture(5.0)
    for axes, (title, plane) in zip(figure.subplots(1, 3, sharey=True), planes.items(), strict=True):
        draw(axes, plane, title, SIGNED_MAP_COLORMAP, -top, top, [0], "less lesion ← 0 → more lesion")
        axes.set_xlabel("x (voxels)")
    figure.axes[0].set_ylabel("y (voxels)")
    share = float(np.abs(planes["sum"] - planes["Dice"]).sum() / np.abs(planes["Dice"]).sum())
    return figure.finish(
        f"Slice {k}, push on the logits by Dice, by {alpha:.3g} times the map's error, and by both. The second is "
        f"{100 * share:.0f} % of the first, counted over the slice."
    )


interact(
    at_alpha,
    alpha=widgets.FloatLogSlider(10, base=10, min=-1, max=2, step=0.25, description="α", continuous_update=False),
)

# %% tags=["nbval-check-output"]
there = torch.from_numpy(local == found)  # (D, H, W), the large lesion
sizes_of_push = {name: values[there].abs().sum() for name, values in push_on_z.items()}
print(f"in the large lesion both push equally hard at alpha = {sizes_of_push['Dice'] / sizes_of_push['map']:.0f}")

# %% [markdown]
# By hand or by the package, the total loss is the same number:

# %% tags=["nbval-check-output"]
from lrnet_edu.config import preset
from lrnet_edu.data.patches import Batch
from lrnet_edu.methods import METHODS

here_and_now = Batch(image[None, None], target, {"NI-DM": true_map}, ["volume-2"])
with torch.no_grad():
    probabilities, maps = tandem(here_and_now.image)
    ours = dice(probabilities) + ALPHA * map_regression_loss(maps, true_map)
    theirs = METHODS["dice+lrnet"].loss(preset("cpu", method="dice+lrnet", label="2"), tandem)(here_and_now)
    behind_any_network = dice(probabilities) + DistanceRegressionLoss(lrnet, alpha=ALPHA)(probabilities, true_map)
print(f"by hand {ours:.4f}, lrnet-edu train {theirs:.4f}, DistanceRegressionLoss {behind_any_network:.4f}")

# %% [markdown]
# ### Exercise 5.3 · Smaller lesions
# The default $\alpha$ was chosen so that missing the ball of radius 6 costs about 0.03. Your patients have lesions of
# radius 3, one in a box of 48 × 48 × 48 voxels. Which $\alpha$ makes missing one of them cost 0.03, with NI-DM?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_5_3(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# from lrnet_edu import distance_map
# from lrnet_edu.losses import cost_of_empty_output
#
# z, y, x = np.ogrid[-24:24, -24:24, -24:24]
# ball = z**2 + y**2 + x**2 <= 3**2
# answer = 0.03 / cost_of_empty_output(torch.from_numpy(distance_map(ball, "NI-DM")), "NI-DM")
# ```
# </details>

# %% [markdown]
# ### Alone, α is nothing
#
# Table 1's first row trains with the map's error alone. **Question.** There, what does $\alpha = 100$ change? Think of
# what Adam does to the length of a gradient.

# %% tags=["nbval-check-output"]
start = torch.cat([weight.detach().flatten() for weight in mnet.parameters()])  # (N,)


def length_of_first_step(optimizer_class, alpha):
    net = deepcopy(mnet)
    optimizer = optimizer_class(net.parameters(), lr=1e-3)
    (alpha * map_regression_loss(Tandem(net, lrnet)(image[None, None])[1], true_map)).backward()
    optimizer.step()
    return (torch.cat([weight.detach().flatten() for weight in net.parameters()]) - start).norm()


for optimizer_class in (torch.optim.SGD, torch.optim.Adam):
    lengths = [length_of_first_step(optimizer_class, alpha) for alpha in (1, 100)]
    print(
        f"{optimizer_class.__name__:4}  alpha = 100 makes the first step {lengths[1] / lengths[0]:5.1f} times as long"
    )

# %% [markdown]
# Adam divides the gradient by its own size, so a constant factor cancels (the little that is left is Adam's own
# $\epsilon$ in the denominator). $\alpha$ only means something *beside* another term.
#
# ## 7 · Alone, and from scratch
#
# A fresh M-Net and the map's error alone: no Dice, no warm-up. **Question.** A fresh M-Net says $p \approx 0.5$
# everywhere. A map of what does the LR-Net see there? What does the map's error ask for, and who asks for the lesions?

# %% tags=["nbval-check-output"]
with torch.no_grad():
    undecided = lrnet(torch.full((1, 2, 24, 40, 40), 0.5))  # (1, 1, D, H, W)
print(
    f"the LR-Net reads p = 0.5 everywhere as {undecided[..., 8:-8, 12:-12, 12:-12].mean():.2f} in the middle of a patch"
)
print(f"inside a lesion NI-DM is {phi[inside].mean():.2f} on average, outside 0")

# %%
MAP_ERROR = "map's error"


def train(tandem, total, batches, *, rate):
    """A step of Adam for each batch with the loss total(probabilities, maps, batch); what it saw on the way."""
    tandem.to(device).train()
    optimizer = torch.optim.Adam([weight for weight in tandem.parameters() if weight.requires_grad], lr=rate)
    seen = {MAP_ERROR: [], "Dice loss": [], "p in lesions": [], "p outside": []}
    for i in range(len(batches)):
        batch = batches[i].to(device)
        probabilities, maps = tandem(batch.image)  # (B, 2, D, H, W), (B, 1, D, H, W)
        optimizer.zero_grad()
        total(probabilities, maps, batch).backward()
        optimizer.step()
        p, there = probabilities.detach()[:, 1], batch.classes == 1  # (B, D, H, W) both
        seen[MAP_ERROR].append(map_regression_loss(maps.detach(), batch.maps["NI-DM"]).item())
        seen["Dice loss"].append(DiceLoss()(probabilities.detach(), batch.classes).item())
        seen["p in lesions"].append(p[there].mean().item())
        seen["p outside"].append(p[~there].mean().item())
    return seen


def map_alone(probabilities, maps, batch):
    return map_regression_loss(maps, batch.maps["NI-DM"])


def dice_alone(probabilities, maps, batch):
    return DiceLoss()(probabilities, batch.classes)


small = batches((16, 24, 24) if FAST else (16, 32, 32), SCRATCH_STEPS)
from_scratch = {
    name: train(Tandem(fresh_mnet(), deepcopy(lrnet)), total, small, rate=6e-3)
    for name, total in (("Dice alone", dice_alone), ("map's error alone", map_alone))
}
for name, seen in from_scratch.items():
    print(f"{name:20} p in lesions   outside   Dice loss   (means over quarters of the steps)")
    columns = np.array([seen[key] for key in ("p in lesions", "p outside", "Dice loss")])  # (3, steps)
    for steps in np.array_split(np.arange(SCRATCH_STEPS), min(4, SCRATCH_STEPS)):
        within, outside, loss = columns[:, steps].mean(axis=1)
        print(f"  steps {steps[0] + 1:3} to {steps[-1] + 1:3} {within:14.2f} {outside:9.2f} {loss:11.2f}")

# %%
figure = Picture(3.7)
panels = figure.subplots(1, 2, sharey=True)
for axes, (name, seen) in zip(panels, from_scratch.items(), strict=True):
    axes.plot(seen["p in lesions"], color=REFERENCE_COLOR, lw=2.5, label="in the lesions")
    axes.plot(seen["p outside"], color=BLACK, ls="--", lw=2, label="outside")
    axes.set(title=f"fresh M-Net, {name}", xlabel="Step", ylim=(0, 1))
panels[0].set_ylabel("Mean $p$ (no unit)")
panels[1].legend(loc="upper right")
figure.finish(
    "Mean probability in the lesions and outside over the steps of two trainings of the same fresh M-Net. At the end: "
    + "; ".join(
        f"{name}: {seen['p in lesions'][-1]:.2f} in the lesions, {seen['p outside'][-1]:.2f} outside"
        for name, seen in from_scratch.items()
    )
    + "."
)

# %% [markdown]
# (Each step has other patches, hence the zigzag.) Dice tells the lesions from the rest within these steps: first it clears
# the outside, where most of the voxels are. On the way $p$ sinks in the lesions, too, and yet the Dice loss goes on falling.
#
# The map's error gets almost nowhere in the same number of steps, though it pulled so hard in section 6. The printed map
# says why. With $p = 0.5$ everywhere the LR-Net sees the inside of one enormous lesion, far from any border, and deep
# inside NI-DM is small. Outside the lesions the right answer is 0, so the error is small already. And there is no border yet
# along which to push. NI-DM tells a border from the rest; it hardly tells deep inside from outside.
#
# Nor is this safe when it goes on for longer. Where $p$ sinks below some hundredths in a lesion, nobody calls it back
# (section 5), and "all background" is an answer that costs little where lesions fill little of a patch.
#
# The paper says "trained from scratch" and no more. Our reading, a **deviation**: the M-Net warms up, with Dice alone for
# the first quarter of the steps (`Config.warmup`), in every row that has an LR-Net. Table 1's first row, "LR-Net alone",
# means: alone after the warm-up.

# %% [markdown]
# ## 8 · Unfreezing: when the teacher may learn, too
#
# Table 2 has a row "uLR-Net": the same tandem with the LR-Net left trainable. The paper finds it much worse (DC 0.628
# against 0.748) and warns of "incorrect segmentation maps from bringing disaster to the LR-Net" (section 2.2). We start
# both from the trained M-Net and give them the map's error alone, on the same patches.
#
# **Question.** Which of the two reaches the *lower* map's error in training? And how would you find out whether its LR-Net
# still computes distance maps?

# %%
from lrnet_edu.lrnet_training import lrnet_quality

tandems = {name: Tandem(deepcopy(mnet), deepcopy(lrnet), frozen=name == "frozen") for name in ("frozen", "unfrozen")}
learnt = {name: train(tandem, map_alone, patches, rate=1e-3) for name, tandem in tandems.items()}

masks = [np.asarray(case.classes) == 1 for case in test]  # (D, H, W) each
error = {"shipped": lrnet_quality(lrnet, masks).error}
print(f"{'LR-Net':9} map's error in training   error of phi on true masks")
print(f"{'shipped':9} {'':23} {error['shipped']:28.3f}")
for name, tandem in tandems.items():
    error[name] = lrnet_quality(tandem.lrnet, masks).error
    print(f"{name:9} {np.mean(learnt[name][MAP_ERROR][-10:]):23.4f} {error[name]:28.3f}")

# %% [markdown]
# And this is what the two LR-Nets make of the true mask, slice by slice the same input:

# %%
with torch.inference_mode():
    true_pair = torch.stack((~inside, inside))[None].float()  # (1, 2, D, H, W)
    read = {name: tandem.cpu().lrnet(true_pair)[0, 0] for name, tandem in tandems.items()}  # (D, H, W) each

figure = Picture(3.9)
first, *others = figure.subplots(1, 4, width_ratios=(1.35, 1, 1, 1))
for (name, seen), style in zip(learnt.items(), ("-", "--"), strict=True):
    colour = METHOD_COLORS["lrnet" if name == "frozen" else "unfrozen-lrnet"]
    so_far = np.cumsum(seen[MAP_ERROR]) / np.arange(1, STEPS + 1)
    first.plot(1e3 * so_far, style, color=colour, lw=2.4, label=name)
first.set(xlabel="Step", ylabel="Map's error, mean so far ($10^{-3}$)", ylim=(0, None), title="What is minimised")
first.legend(loc="lower right")
draw(others[0], phi[k].numpy(), "$\\varphi$, Eq. 1", MAP_COLORMAP, 0, 1, [0, 1])
for axes, (name, values) in zip(others[1:], read.items(), strict=True):
    title = f"LR-Net, {name}\nerror of φ {error[name]:.3f}"
    draw(axes, values[k].numpy(), title, MAP_COLORMAP, 0, 1, [0, 1])
for axes in others:
    axes.set(xlabel="x (voxels)", ylabel="y (voxels)" if axes is others[0] else "")
figure.finish(
    f"Left, the mean of the map's error over {STEPS} steps, a little lower unfrozen. Then one slice of the true mask's map: "
    f"by Eq. 1, by the frozen LR-Net, whose error of phi over all test masks is {error['frozen']:.3f}, and by the one "
    f"that was trained along, {error['unfrozen']:.3f}."
)

# %% [markdown]
# (Every step has other patches, so the curves wander; look at the gap between them, not at their slope.)
#
# The unfrozen tandem has the lower loss, and its LR-Net has forgotten what a distance map is. Both networks please each
# other: the LR-Net learns to put out the right map for the M-Net's *wrong* probabilities, so that these mistakes cost
# nothing any more. A teacher who may change the marks. When the LR-Net is thrown away, what it has put right goes with
# it. (The frozen one is, to the last digit, as good as before.)
#
# Whether that costs Dice on new scans, so few steps cannot tell; that row of Table 2 is weighed in notebook 07.
#
# ## Summary
#
# - Frozen means: no gradients *for* the LR-Net's weights, all gradients *through* it. `no_grad` beside a Dice term is a
#   silent mistake.
# - On $p$ Dice pushes all voxels of a class alike, and the map's error along the borders. On the logits, where the M-Net
#   learns, both push along the borders, the map's error more so, and with a part of its push in the wrong direction.
# - The map's error helps a lesion that is half seen, and hardly ever one that is missed. Alone from scratch it gets almost
#   nowhere: where $p$ is 0.5 everywhere the LR-Net sees no border. Hence the warm-up with Dice.
# - $\alpha$: compare what an empty output costs, then the gradients. Near 10 for NI-DM, less for I-DM and SNI-DM, more for
#   smaller lesions; none where the term stands alone.
# - Unfrozen, the loss falls because the LR-Net gives way.
#
# **Next:** [06 · Results and viewers](06_results_and_viewers.ipynb): the LR-Net is dropped, and whole scans are judged.
