# %% [markdown]
# # 05 · The frozen tandem
#
# Now the error of the LR-Net's map teaches the M-Net. What does that change?
#
# **Afterwards you can**
# - build the tandem, and prove which network learns,
# - train an M-Net in it, and judge the result fairly,
# - follow the map's gradient, and weigh it against Dice's.
#
# **Takes** 45 minutes to read and try.

# %% tags=["parameters"]
from lrnet_edu.config import fast

FAST = fast()  # the environment variable LRNET_EDU_FAST=1: everything small
STEPS = 3 if FAST else 600 if device.type == "cuda" else 80  # of each training
TRAINING_CASES = 2 if FAST else 6
TEST_CASES = slice(2, 3) if FAST else slice(0, 5)  # of the five that no training saw

# %% [markdown]
# ## 1 · Two networks in a row
#
# With an image $x$, the paper says (section 2.2, Fig. 1)
#
# $$p = \mathrm{softmax}(\text{M-Net}(x)), \qquad \hat\varphi = \text{LR-Net}(p), \qquad
# L = L_\mathrm{Dice}(p, g) + \alpha\, L_\mathrm{smoothL1}(\hat\varphi, \varphi)$$
#
# $g$ is the true mask and $\varphi$ its NI-DM. The last term is **the map's error**.

# %%
import torch
from torch import nn

from lrnet_edu import distance_map


class MyTandem(nn.Module):
    """Image (B, 1, D, H, W) -> p (B, 2, D, H, W) and its map (B, 1, D, H, W)."""

    def __init__(self, mnet, lrnet):
        super().__init__()
        self.mnet, self.lrnet = mnet, lrnet.requires_grad_(False)  # frozen

    def forward(self, image):
        p = torch.softmax(self.mnet(image), dim=1)
        return p, self.lrnet(p)


def my_dice(p, labels):
    p, g = p[:, 1], labels == 1
    return 1 - 2 * (p * g).sum() / (p.sum() + g.sum())


def map_error(maps, labels):
    phi = distance_map(labels[:, None] == 1)  # NI-DM, (B, 1, D, H, W)
    return nn.functional.smooth_l1_loss(maps, phi)


# %% [markdown]
# The M-Net is that of notebook 00, trained with Dice for 9600 steps. In our patch it finds one lesion and hardly marks another.
#
# **Question.** Which shapes do $p$ and $\hat\varphi$ have?

# %%
import numpy as np

from lrnet_edu import Tandem, TandemLoss, find_cases, load_pretrained_lrnet
from lrnet_edu.data.cache import cache_cases
from lrnet_edu.data.samples import study_folder, study_mnet
from lrnet_edu.trained import load_mnet

trained, lrnet = load_mnet(study_mnet("base")), load_pretrained_lrnet("NI-DM")
base = trained.mnet
test = cache_cases(find_cases(study_folder()), trained.preprocessing, trained.labels)
patch = np.s_[14:46, 45:93, 27:75]  # of volume-77
image = torch.from_numpy(test[2].image[patch].astype(np.float32))[None, None]
labels = torch.from_numpy(test[2].classes[patch].astype(np.int64))[None]

# %% tags=["nbval-check-output"]
tandem = MyTandem(base, lrnet)
p, maps = tandem(image)
print("image", tuple(image.shape), " p", tuple(p.shape), " map", tuple(maps.shape))
for mine, theirs in zip((p, maps), Tandem(base, lrnet)(image), strict=True):
    torch.testing.assert_close(mine, theirs)
loss = my_dice(p, labels) + 1000 * map_error(maps, labels)
torch.testing.assert_close(loss, TandemLoss(lrnet, alpha=1000)(base(image), labels))
print("equal to Tandem and to TandemLoss")

# %% [markdown]
# ## 2 · Who learns?
#
# **Question.** After one step with the map's error alone, which network has gradients, and which one has moved?

# %% tags=["nbval-check-output"]
from copy import deepcopy


def one_step(tandem):
    before = deepcopy(tandem.state_dict())
    optimizer = torch.optim.Adam([weight for weight in tandem.parameters() if weight.requires_grad], lr=1e-3)
    map_error(tandem(image)[1], labels).backward()
    optimizer.step()
    for name in ("mnet", "lrnet"):
        weights = dict(tandem.get_submodule(name).named_parameters())
        with_gradient = sum(weight.grad is not None for weight in weights.values())
        moved = max((weight - before[f"{name}.{key}"]).abs().max().item() for key, weight in weights.items())
        print(f"  {name:5}  {with_gradient:2} of {len(weights):2} tensors have a gradient, largest move {moved:.3f}")


for frozen in (True, False):
    print("frozen:" if frozen else "not frozen:")
    one_step(Tandem(deepcopy(base), deepcopy(lrnet), frozen=frozen))

# %% [markdown]
# The gradient came **through** the frozen network: `requires_grad_(False)` only stops gradients *for* its weights.
#
# ## 3 · The trap
#
# "Frozen" sounds like `torch.no_grad()`. Added to Dice, it raises no error.
#
# **Question.** Which of these three trains the paper's method, and how would you notice?

# %% tags=["nbval-check-output"]


def with_frozen(p):
    return map_error(lrnet(p), labels)


def with_no_grad(p):
    with torch.no_grad():
        return map_error(lrnet(p), labels)


def with_detach(p):
    return map_error(lrnet(p.detach()), labels)


def gradient_of(loss, mnet=base):
    """The gradient on all of the M-Net's weights, (N,)."""
    parts = torch.autograd.grad(loss, list(mnet.parameters()), retain_graph=True)
    return torch.cat([part.flatten() for part in parts])


of_dice = gradient_of(my_dice(p, labels))
for term in (with_frozen, with_no_grad, with_detach):
    loss = my_dice(p, labels) + 1000 * term(p)
    change = (gradient_of(loss) - of_dice).norm() / of_dice.norm()
    print(f"{term.__name__:13} loss {loss:.2f}; differs from Dice's gradient: {'yes' if change > 1e-3 else 'no'}")

# %% [markdown]
# All three log the same loss. Two of them train with Dice alone, and only the gradient shows it.
#
# ### Exercise 5.1 · Through, not into
# Write a function `answer(lrnet, probabilities, true_map)` that returns the gradient of the map's error with respect to the
# probabilities, (1, 2, D, H, W), and leaves no gradient on the LR-Net's own weights. `true_map` is $\varphi$. The LR-Net is *not* frozen yet.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_5_1(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def answer(lrnet, probabilities, true_map):
#     lrnet.requires_grad_(False)
#     p = probabilities.detach().requires_grad_()
#     torch.nn.functional.smooth_l1_loss(lrnet(p), true_map).backward()
#     return p.grad
# ```
# </details>

# %% [markdown]
# ## 4 · Two lesions, before and after
#
# The study of notebook 08 trained copies of this M-Net for 600 more steps on the same patches. They are included:
#
# | arm | loss of the further steps |
# |---|---|
# | A | Dice, as before |
# | B | Dice + 1000 × the map's error |
# | C | the map's error alone |
# | E | smooth L1 of $p$ and the mask, **no LR-Net** |
#
# **Question.** Will the lesion whose Dice **rises** most from A to C be larger or smaller than the one whose Dice **falls** most?

# %%
from lrnet_edu.inference import predict_probabilities
from lrnet_edu.study.froc import lesions_by_threshold
from lrnet_edu.support.voxels import connected_components

scans = test[TEST_CASES]
truths = [np.asarray(case.classes) == 1 for case in scans]  # (D, H, W) each


def segment(mnet):
    """p of lesion in every scan, (D, H, W) each."""
    mnet.to(device)
    outputs = [predict_probabilities(mnet, case.image, patch_size=trained.patch_size) for case in scans]
    return [1 - output[0].astype(float) for output in outputs]


def count(predicted, threshold=0.5):
    """The Dice of every lesion of all scans, 0 if it is missed, and the number of false lesions."""
    each = [lesions_by_threshold(*case, (1, 1, 1), [threshold]) for case in zip(predicted, truths, strict=True)]
    return np.concatenate([one.dice[0] for one in each]), sum(one.false_lesions[0] for one in each)


arms = {"before": base, **{arm: load_mnet(study_mnet(arm)).mnet for arm in "ABCE"}}
predicted = {arm: segment(mnet) for arm, mnet in arms.items()}
dice = {arm: count(of_scans)[0] for arm, of_scans in predicted.items()}  # (lesions,)

# %%
from lrnet_edu.figures import Picture
from lrnet_edu.figures.palette import PREDICTION_COLOR, REFERENCE_COLOR

pieces = [(i, piece) for i, truth in enumerate(truths) for piece in range(1, connected_components(truth, 26)[1] + 1)]
change = dice["C"] - dice["A"]
shown = {"rises most": int(change.argmax()), "falls most": int(change.argmin())}
figure = Picture(6.0)
grid = figure.subplots(2, 4, sharex=True, sharey=True)
for row, (what, lesion) in zip(grid, shown.items(), strict=True):
    i, piece = pieces[lesion]
    z, y, x = np.nonzero(connected_components(truths[i], 26)[0] == piece)
    k, box = np.bincount(z).argmax(), tuple(slice(int(at.mean()) - 11, int(at.mean()) + 12) for at in (y, x))
    for axes, arm in zip(row, ("before", "A", "B", "C"), strict=True):
        planes = [plane[k][box][::-1, ::-1] for plane in (scans[i].image, truths[i], predicted[arm][i] > 0.5)]
        axes.imshow(planes[0], cmap="gray", vmin=0.2, vmax=0.9)
        axes.contourf(planes[2], levels=[0.5, 1], colors=[PREDICTION_COLOR], alpha=0.6)
        axes.contour(planes[1], levels=[0.5], colors=[REFERENCE_COLOR], linewidths=2.5)
        axes.set(title=f"{arm}: Dice {dice[arm][lesion]:.2f}", xlabel="x (voxels)" if what == "falls most" else "")
    row[0].set_ylabel(f"{what}\ny (voxels)")
figure.suptitle("outlined in orange: the true lesion; blue: what the network marks")
told = [f"{what}: " + ", ".join(f"{arm} {dice[arm][n]:.2f}" for arm in "ABC") for what, n in shown.items()]
figure.finish(f"Two lesions, outlined, and what four networks mark of them, in blue. Dice: {'; '.join(told)}.")

# %% [markdown]
# The larger one loses a little Dice with A and none with C. The smaller one C nearly loses. (Dice is that of the whole lesion,
# the picture one slice.) But these are the extremes, so we count.
#
# ## 5 · Better, or only more cautious?
#
# **Question.** From A to C, do more lesions get better or worse? How many false ones are left?

# %%
print("p > 0.5     found   false lesions   mean lesion Dice   against A: better   worse   (by more than 0.05)")
for arm, of_scans in predicted.items():
    of_lesions, false = count(of_scans)
    against = of_lesions - dice["A"]
    print(
        f"{arm:6} {(of_lesions > 0).sum():4} of {len(of_lesions)} {false:10} {of_lesions.mean():18.2f} "
        f"{(against > 0.05).sum():22} {(against < -0.05).sum():7}"
    )

# %% [markdown]
# **Question.** In the scan where C has lost most false lesions, what had misled A? Orange is what C no longer marks;
# in the panel of A, its own blue lies within. The true lesions are not drawn.

# %%
from lrnet_edu.viewers.slices import SliceViewer


def false_in(arm, i):
    return lesions_by_threshold(predicted[arm][i], truths[i], (1, 1, 1), [0.5]).false_lesions[0]


i = max(range(len(scans)), key=lambda i: false_in("A", i) - false_in("C", i))
marks, _ = connected_components(predicted["A"][i] > 0.5, 26)
lost = (marks > 0) & ~np.isin(marks, marks[truths[i] | (predicted["C"][i] > 0.5)])  # touch neither a lesion nor C's
low, high = trained.preprocessing.window
SliceViewer(
    low + (high - low) * scans[i].image.astype(np.float32),
    spacing=scans[i].spacing,
    window=(low, high),
    overlays={"false lesions of A that C has lost": lost, **{arm: predicted[arm][i] > 0.5 for arm in "ACE"}},
    levels=32,
    title=f"{scans[i].name}: {false_in('A', i)} false lesions with A, {false_in('C', i)} with C",
)

# %% [markdown]
# In this slice noise beside a vessel had misled it. B, C and E leave fewer false lesions than A, but B and C make more lesions worse than better.
# A higher threshold would lose false lesions, too. So vary it, and compare networks at the **same number of false lesions**.
#
# **Question.** Which curve will be on top in the right panel?

# %%
from lrnet_edu import froc
from lrnet_edu.figures.study import froc_figure

spacings = [case.spacing for case in scans]
froc_figure({arm: froc(zip(of_scans, truths, spacings, strict=True)) for arm, of_scans in predicted.items()})

# %% [markdown]
# The curves cross. Five scans and one seed (one set of first weights and patches) decide nothing; [notebook 08](08_the_study.ipynb) has more of both.
# **E** is the **control**: whatever it also achieves needs no LR-Net.
#
# ## 6 · Train an arm yourself

# %%
from lrnet_edu.data.patches import PatchBatches

cases = find_cases(study_folder(TRAINING_CASES, first=0))
training = cache_cases(cases, trained.preprocessing, trained.labels)
patches = PatchBatches(
    training, kinds=[], classes=1, patch_size=trained.patch_size, batch_size=2, object_share=2 / 3, augment=True, seed=[5],
    length=STEPS,
)  # fmt: skip
lrnet.to(device)


def train(network, loss, rate=1e-3):
    """Adam, with a rate that falls to 0. Returns the losses."""
    optimizer = torch.optim.Adam([weight for weight in network.to(device).parameters() if weight.requires_grad], rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    losses = []
    for step in range(STEPS):
        batch = patches[step].to(device)
        value = loss(network(batch.image), batch.classes)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        falling.step()
        losses.append(value.item())
    return losses


# %% [markdown]
# **Question.** Are 80 steps (600 on a GPU) enough to lose false lesions, with C and with its control?


# %%
def as_in_c(logits, labels):  # alone any factor will do that keeps gradients far above Adam's eps, 1e-8
    return 1000 * map_error(lrnet(torch.softmax(logits, dim=1)), labels)


def as_in_e(logits, labels):  # no LR-Net
    return 1000 * nn.functional.smooth_l1_loss(torch.softmax(logits, dim=1)[:, 1], (labels == 1).float())


def print_count(who, of_scans):
    of_lesions, false = count(of_scans)
    print(f"{who:12} {(of_lesions > 0).sum():2} of {len(of_lesions)} lesions found, {false:2} false")


print_count("before", predicted["before"])
for arm, loss in (("C", as_in_c), ("E", as_in_e)):
    yours = deepcopy(base)
    train(yours, loss)
    print_count(f"yours, {arm}", segment(yours))
    print_count(f"study's, {arm}", predicted[arm])

# %% [markdown]
# Both lose some. One training each cannot tell C from its control.
#
# ### Exercise 5.2 · Both losses
# The next cell trains with Dice + 10 × the map's error. (The authors' scripts take 10 for I-DM and SNI-DM.) Predict: will it lose
# false lesions as your C did, `"yes"` or `"no"`? (`gradient_of` from section 3 can tell.)

# %% tags=["exercise"]
answer = None

# %%
exercises.check_5_2(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# After long training with Dice, the map's error does little, even times 10. Section 10 measures how little.
#
# ```python
# answer = "no"
# ```
# </details>


# %%
def both(logits, labels):
    return my_dice(torch.softmax(logits, dim=1), labels) + as_in_c(logits, labels) / 100  # 10 × the map's error


changed = deepcopy(base)
train(changed, both)
print_count("Dice + 10 ×", segment(changed))

# %% [markdown]
# ## 7 · Where does the map push?
#
# The **push** of a loss is $-\partial L / \partial p$. If it is positive, the loss asks for more lesion.
#
# **Question.** Dice is a ratio of sums. How many values does its push take inside the lesions?

# %% tags=["nbval-check-output"]
from scipy import ndimage

base.cpu(), lrnet.cpu()
inside = labels[0] == 1  # (D, H, W)
with torch.no_grad():
    p = torch.softmax(base(image), dim=1)[0, 1]  # (D, H, W)


def push(loss, p):
    """-dL/dp, (D, H, W), for a loss of the pair (1 - p, p)."""
    p = p.clone().requires_grad_()
    loss(torch.stack((1 - p, p))[None]).backward()
    return -p.grad


MAP = "map's error"
losses = {"Dice": lambda pair: my_dice(pair, labels), MAP: lambda pair: map_error(lrnet(pair), labels)}
on_p = {name: push(loss, p) for name, loss in losses.items()}
for name, values in on_p.items():
    different = len(np.unique(values[inside].numpy()))
    print(f"{name:11} {'one value' if different == 1 else 'hundreds of values'} inside the lesions")

# %%
from lrnet_edu.figures.palette import BLACK, MAP_COLORMAP, SIGNED_MAP_COLORMAP

view = np.s_[18, 11:37, 11:37]  # a slice of the patch, near both lesions


def show(first, pushes, level):
    """Three panels: the first, and the pushes of both losses; the contours are the lesions'."""
    figure = Picture(4.8)
    panels = [(*first, "no unit"), *((f"{name}, push on {level}", v, SIGNED_MAP_COLORMAP, None, "less ← 0 → more lesion")
                                     for name, v in pushes.items())]  # fmt: skip
    for axes, (title, values, colours, top, unit) in zip(figure.subplots(1, 3, sharey=True), panels, strict=True):
        plane = values[view].numpy()[::-1, ::-1]
        high = top or float(np.quantile(np.abs(plane), 0.998))
        drawn = axes.imshow(plane, cmap=colours, vmin=0 if top else -high, vmax=high)
        colour = REFERENCE_COLOR if top else BLACK
        axes.contour(inside[view].numpy()[::-1, ::-1], levels=[0.5], colors=[colour], linewidths=2)
        axes.set(title=title, xlabel="x (voxels)")
        bar = figure.colorbar(drawn, ax=axes, orientation="horizontal", label=unit, ticks=[0, top] if top else [0])
        bar.ax.tick_params(labelsize=11)
    figure.axes[0].set_ylabel("y (voxels)")
    return figure.finish(
        f"A slice of the patch with the lesions' contours: {first[0]}, and the push on {level} of Dice and of the map's error."
    )


show(("p of lesion", p, MAP_COLORMAP, 1.0), on_p, "p")

# %% [markdown]
# Dice pushes all lesion voxels alike. In the middle of the upper lesion the map's error asks for *less*: there $p$
# is high in a small piece only. The LR-Net takes the piece for a small lesion, and its $\hat\varphi$ is larger than the $\varphi$
# of the whole; less $p$ makes it smaller.
#
# ## 8 · The same push, where the M-Net learns
#
# But the M-Net puts out two logits. With $z$ their difference, $p = 1 / (1 + e^{-z})$. The chain rule adds a factor:
#
# $$-\frac{\partial L}{\partial z} = p\,(1 - p) \cdot \left(-\frac{\partial L}{\partial p}\right)$$
#
# **Question.** What will be left of Dice's push?

# %%
on_z = {name: p * (1 - p) * values for name, values in on_p.items()}
show(("$p\\,(1 - p)$", p * (1 - p), MAP_COLORMAP, 0.25), on_z, "z")

# %% [markdown]
# **Question.** What share of each push lies **beside a border**, of a lesion or of what is marked? What share has the **right
# sign**, up inside the lesions and down outside?


# %% tags=["nbval-check-output"]
def both_sides(mask):
    return ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask)


border = torch.from_numpy(both_sides(inside.numpy()) | both_sides(p.numpy() > 0.5))  # (D, H, W)
print("share of the push          beside a border   of the right sign")
for level, pushes in (("p", on_p), ("z", on_z)):
    for name, values in pushes.items():
        size, right = values.abs(), (values > 0) == inside
        beside, signed = (100 * size[part].sum() / size.sum() for part in (border, right))
        print(f"{name:11} on {level} {beside:24.0f} % {signed:17.0f} %")

# %% [markdown]
# On the logits **both** push along borders, where the M-Net is not sure. Dice always has the right sign, the map's error does not.
#
# ### Exercise 5.3 · The price of being sure
# A voxel with $p = 0.5$ and one with $p = 0.01$ get the same push on $p$. How many times as strong is the push on the logit of
# the first?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_5_3(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# answer = 0.5 * (1 - 0.5) / (0.01 * (1 - 0.01))
# ```
# </details>

# %% [markdown]
# ## 9 · How visible must a lesion be?
#
# Give all voxels of the hardly marked lesion the same probability $q$. **Question.** From which $q$ on does each loss ask for it?

# %% tags=["nbval-check-output"]
Q = (0.01, 0.02, 0.05, 0.4, 0.6, 0.95)
local, _ = connected_components(inside.numpy(), 26)
faint = torch.from_numpy(local == local[18, 28, 27])  # (D, H, W)
print("mean push on the lesion's logits, largest = 1;  q:" + "".join(f"{q:7.2f}" for q in Q))
for name, loss in losses.items():
    each = np.array([q * (1 - q) * push(loss, torch.where(faint, q, p))[faint].mean().item() for q in Q])
    print(f"{name:50}" + "".join(f"{share:7.2f}" for share in each / each.max()))

# %% [markdown]
# At 0.02 Dice still asks for it, and the LR-Net passes on almost nothing. **The map's error asks for this lesion when all of it
# is faintly seen, not when it is lost.**
#
# ## 10 · How strong is α?
#
# The paper prints no $\alpha$. The package's default, 1000, was, together with 3000, the best of six on the study's
# validation scans, with M-Nets that Dice had trained.
#
# **Question.** At which $\alpha$ are both gradients equally long on our M-Net? And on a fresh one?

# %%
from dataclasses import replace

from lrnet_edu import MNet

torch.manual_seed(0)
fresh = MNet(**base.settings)
with_lesions = [case for case in training if case.classes.any()]
on_lesions = replace(patches, cases=with_lesions, object_share=1.0)  # every patch holds a lesion
balance = {}
for who, mnet in (("trained", base), ("fresh", fresh)):
    balance[who] = []
    for step in range(min(8, STEPS)):
        batch = on_lesions[step]
        p_of_batch = torch.softmax(mnet(batch.image), dim=1)
        terms = my_dice(p_of_batch, batch.classes), map_error(lrnet(p_of_batch), batch.classes)
        lengths = [gradient_of(term, mnet).norm() for term in terms]
        balance[who].append(float(lengths[0] / lengths[1]))
    print(f"{who:9} M-Net: equally strong at alpha =", ", ".join(f"{alpha:.3g}" for alpha in balance[who]))

# %% [markdown]
# In the trained M-Net, with α = 10 the map's gradient is mostly an eighth of Dice's or less, and with 1000 it is longer. In a fresh
# one it is longer even with 1. **How strong an α is depends on the moment.**
#
# <details><summary>And the map's error alone, from scratch, as in the paper?</summary>
#
# A fresh M-Net is undecided everywhere, and the LR-Net makes a large map of that. Finding nothing is the quickest way to a smaller
# error, and from there hardly any gradient comes back, as in section 9. The package begins with Dice for a quarter of the steps, a **deviation**
# from the paper. Section 10 of notebook 08 has trainings from fresh weights, with these first steps.
# </details>
#
# ## 11 · Unfreeze the teacher
#
# The paper's "uLR-Net" trains the LR-Net as well, and DC falls from 0.748 to 0.628. **Question.** In which
# tandem does the map's error fall lower? What becomes of its LR-Net?

# %%
from lrnet_edu.lrnet_training import lrnet_quality

masks = [truth for truth in truths if truth.any()][:2]
for name in ("frozen", "unfrozen"):
    tandem = Tandem(deepcopy(base), deepcopy(lrnet), frozen=name == "frozen")
    reached = train(tandem, lambda output, labels: map_error(output[1], labels))
    quality = lrnet_quality(tandem.lrnet.cpu(), masks)
    last = np.mean(reached[-(STEPS // 4 + 1) :])
    print(f"{name:9} map's error in the last quarter {last:.5f}; error of phi on true masks {quality.error:.3f}")

# %% [markdown]
# Unfrozen, the loss is lower and the LR-Net's maps are worse. A low loss no longer shows that $p$ is near the mask. The masks
# themselves are not measured here.
#
# ## Summary
#
# - Gradients pass *through* the frozen LR-Net. `no_grad` beside Dice is a silent mistake.
# - Compare networks at equal numbers of false lesions, and with a control.
# - On the logits both losses push where the M-Net is not sure. The map's error hardly asks for a lesion that is lost.
# - After long training with Dice, a small $\alpha$ changes little.
#
# **Next:** [06 · Results and viewers](06_results_and_viewers.ipynb).
