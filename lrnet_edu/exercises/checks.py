"""The checks of the exercises: ``check_1_2(answer)`` judges exercise 1.2, the second of notebook 01.

Where a number or a word is asked for, a check is that answer and those that learners take for it, each with its hint.
The tests hold it against the solution in the notebook.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from lrnet_edu.distance_maps import distance_map, maps_of_classes
from lrnet_edu.exercises.verdict import check, compared, number, same, shaped, short_answer
from lrnet_edu.losses import DiceLoss, map_regression_loss
from lrnet_edu.networks import LRNet
from lrnet_edu.study.froc import RATES, CaseLesions, at_most, curve_of
from lrnet_edu.support.labels import parse_labels
from lrnet_edu.trained import load_pretrained_lrnet

_z, _y, _x = np.ogrid[-9:10, -9:10, -9:10]
LESION = _z**2 + _y**2 + _x**2 <= 7**2  # bool (D, H, W): a ball


@check("Accuracy counts the background, and nearly everything is background. It says nothing about lesions.")
def check_0_1(answer: Any) -> str | None:
    """The accuracy of an empty mask of volume-77, judged by the voxels that it gets wrong."""
    wrong, yours = 2120 / 1_684_480, 1 - number(answer)
    if same(1 - yours, wrong) or same(1 - yours, 100 * wrong):
        return "That is the share that it gets wrong. Give the share that it gets right."
    return compared(
        yours,
        wrong,
        (1 - 100 * (1 - wrong), "Give it as a share between 0 and 1, not in per cent."),
        (2120 / 158_840, "That is the accuracy in the liver. Take all voxels of the scan."),
        hint=f"It is wrong at the lesions' voxels and right at all others. By your answer it is wrong at "
        f"{100 * yours:.3g} % of the voxels. Which share is lesion? See the numbers printed above.",
    )


check_0_2 = short_answer(
    (2 * 7.8 / (7.8 + 10.8), "Five of six lesions are missed, and Dice calls it good."),
    (7.8 / 10.8, "That is the share of the lesions' volume that is found. Dice is twice the overlap over both sizes."),
    (1 - 2 * 7.8 / (7.8 + 10.8), "That is the loss, 1 - Dice."),
    ([1 / 6, 5 / 6, 2 / 7], "That counts lesions. Dice counts voxels, or millilitres."),
    hint="Divide twice the largest volume by that volume plus all six.",
)


@check("Found and missed: that is how a radiologist would count, too.")
def check_0_3(answer: Any) -> str | None:
    """A function that counts the lesions found and missed at a threshold."""
    lesions, p = np.zeros((6, 8, 8), dtype=bool), np.zeros((6, 8, 8))  # (D, H, W)
    lesions[:2, :2, :4] = lesions[3, 3, 3] = lesions[4, 4, 4] = lesions[5, 7, 7] = True  # three: corners touch
    p[1, 1, 3] = p[0, 0, 0] = 0.6  # two pieces in one lesion; below 0.3 one of them reaches the second
    p[2, 2, 3], p[3, 3, 3], p[4, 4, 4], p[5, 0, 0] = 0.3, 0.3, 0.3, 0.95  # the last one is no lesion
    enough = "One voxel above the threshold is enough for a lesion to be found."
    pieces = "Count the true lesions that hold a voxel above the threshold, not those voxels or their pieces."
    outside = "Too many: does a voxel outside the lesions count for you, or another threshold than the one given?"
    turned = "The right numbers in the wrong order: found first, then missed."
    for threshold, found, mistakes in (
        (0.9, 0, [((1, 2), outside), ((3, 0), turned)]), (0.5, 1, [((0, 3), enough), ((2, 1), pieces)]),
        (0.2, 2, [((0, 3), enough), ((1, 2), pieces)]), (0.3, 1, []),
    ):  # fmt: skip
        right = np.array((found, 3 - found))
        yours = shaped(answer(p.copy(), lesions.copy(), threshold), right.shape)
        if threshold == 0.9 and yours.sum() == 4:
            return "Voxels that touch at a corner are one lesion. Give ndimage.label the structure np.ones((3, 3, 3))."
        hint = compared(
            yours,
            right,
            *((np.array(counts), words) for counts, words in mistakes),
            hint=f"Of three lesions, {found} should be found above {threshold}; your numbers are {yours.tolist()}.",
        )
        if hint:
            return hint
    return None


check_1_1 = short_answer(
    (3 / 4, "With one maximum for the whole image a small lesion looks shallow: 0.75 at its deepest, not 0.5."),
    (0.5, "That is phi with the lesion's own maximum, or without the + 1. Which M is asked for?"),
    hint="Take D of the small lesion's middle from section 2, and put the large lesion's M into the formula.",
)

check_1_2 = short_answer(
    (8 / 10 - 4 / 6, "A cropped map tells of depths that the network cannot see. Crop the mask, then compute the map."),
    (4 / 6 - 8 / 10, "The size is right, the sign is not: take the cropped map minus the map of the crop."),
    hint="D of the voxel is 3 both times, only M differs. Compute phi twice and subtract.",
)


@check("So the formula holds in voxels and in mm, and phi never exceeds 1.")
def check_1_3(answer: Any) -> str | None:
    """NI-DM of one component from its O-DM in mm: (M + m - D) / M inside, 0 outside."""
    for spacing in ((1.0, 1.0, 1.0), (0.7, 0.7, 0.7), (3.0, 1.0, 1.0)):
        distances = distance_map(LESION, "O-DM", spacing=spacing)  # (D, H, W)
        yours = shaped(answer(distances.copy()), distances.shape)
        if yours[~LESION].any():
            return "Outside the object, where D is 0, phi has to be 0."
        if yours.max() < 0.99:
            return "phi should be 1 at the rim, where D is smallest in the object: outside it, D is 0."
        right = distance_map(LESION, "NI-DM", spacing=spacing)
        if not same(yours, right):
            at = np.unravel_index(np.abs(yours - right).argmax(), right.shape)
            told = f"At {spacing} mm, at D = {distances[at]:.3g}, phi should be {right[at]:.3f}, not {yours[at]:.3f}."
            return told + " What should stand in for the 1?" * (spacing[0] != 1)  # with voxels of 1 mm it was right
    return None


check_1_4 = short_answer(
    (20, "Beyond 20 voxels of depth the threshold drills a hole into the lesion: a threshold is not an inverse."),
    (0.05, "That is the threshold. Which M_C brings the deepest voxel down to it?"),
    hint="What is phi where D = M_C? Set it equal to the threshold.",
)


@check("That is the window transform: everything that is not soft tissue is pressed against 0 or 1.")
def check_2_1(answer: Any) -> str | None:
    """The window from -200 to 250 HU as a function of an array."""
    hu = np.array([-200.0, 250.0, -1000.0, 1500.0, 25.0, 100.0])
    yours = [*shaped(answer(hu.copy()), hu.shape), *shaped(answer(hu[4:].copy()), (2,))]
    for value, mine, right in zip([*hu, *hu[4:]], yours, [0, 1, 0, 1, 1 / 2, 2 / 3, 1 / 2, 2 / 3], strict=True):
        if not abs(mine - right) <= 1e-3:  # nor if it is no number
            return f"{value:g} HU should become {right:.3g}; yours gives {mine:.3g}."
    return None


check_2_2 = short_answer(
    (524_288 / 697 - 1, "The smaller the lesions, the more the background drowns them out."),
    (33_736 / 697, "That counts the liver alone. What is background when the lesion is the object?"),
    (697 / 524_288, "That is the lesions' pull compared with the background's. Turn it around."),
    hint="At p = 0.5 all voxels pull alike. Count mask == 2 and mask != 2 in 'volume-1', and divide.",
)

check_2_3 = short_answer(
    (10_000 / 27, "A lesion keeps its millilitres, not its voxels. To filter by voxel counts, you must know the grid."),
    (10_000 / (5 * 2.7 * 2.7), "That is its number of voxels before resampling. How large is a voxel afterwards?"),
    ([10 / 27, 1000 / 27], "Mind the units: one millilitre is 1 cm x 1 cm x 1 cm."),
    hint="Divide the lesion's volume by that of one new voxel, in mm³.",
)

check_3_1 = short_answer(
    (28 / 3 / 125, "The smaller the lesion, the less copying costs. On a single voxel the photocopier is perfect."),
    (0.925, "That is the mean of phi itself. The error is its distance from what the photocopier says."),
    (0.075 * 5**3 / 9**3, "That is a mean over all voxels of your volume. The error of phi counts the lesion's."),
    hint="It says 1 in the lesion. Take |1 - phi| and its mean over 125 voxels.",
)

check_3_2 = short_answer(
    ("middle", "The middle is a few voxels out of two thousand. What hardly counts in the loss is hardly learnt."),
    ("rim", "The outermost layer holds the most voxels, so now it counts most. Which layer holds the fewest?"),
    ("outside", "The background weighs what it did. The change is inside: which layer has lost its weight?"),
    hint='Name one of "rim", "middle" and "outside".',
)

check_3_3 = short_answer(
    (45 / 14, "The resampling of notebook 02 decides what the LR-Net can see: coarse voxels for large lesions."),
    (3, "With a radius of 15 voxels the first background along an axis is step 16, and the middle sees 15."),
    (45 / 31, "The window's 31 voxels lie to BOTH sides of the middle; the radius needs one side."),
    ([14 / 45, 15 / 45], "Turn it around. How many mm does one voxel measure?"),
    (14, "That is the radius in voxels. How large must a voxel be for it to measure 45 mm?"),
    hint="Step r + 1 is background and has to be among the 15 steps in sight. Divide 45 mm by the largest such r.",
)


@check("It lives, and every weight is what it was. Now it has to train on, with a loss in which small lesions count.")
def check_3_4(answer: Any) -> str | None:
    """A function that revives a dead LR-Net in place by nothing but the bias of its last layer."""
    torch.manual_seed(10)
    lrnet = LRNet("NI-DM")
    last: Any = lrnet.head[-1]
    last.weight.data.abs_().neg_()  # whatever the layers below say, the output is negative
    last.bias.data.fill_(-5.0)
    lrnet.head[0][0].bias.data.fill_(3.0)  # type: ignore[index]  # a small push is not enough
    before = {name: weight.clone() for name, weight in lrnet.state_dict().items() if name != "head.1.bias"}
    lesion = torch.zeros(1, 12, 12, 12)
    lesion[:, 4:8, 4:8, 4:8] = 1
    probabilities = torch.stack((1 - lesion, lesion), dim=1)  # (1, 2, D, H, W)
    answer(lrnet, probabilities.clone())
    largest = lrnet(probabilities).max().item()
    if any(not torch.equal(weight, lrnet.state_dict()[name]) for name, weight in before.items()):
        return "Some weights have changed, and what they had learnt is lost. Change the last layer's bias only."
    if largest <= 0:
        return "Still 0 everywhere. Was it changed in place? How far below 0 is the largest value before the ReLU?"
    if not largest <= 1:
        return f"Its output reaches {largest:.1f} where phi ends at 1. A smaller push is enough."
    return None


check_4_1 = short_answer(
    (0.88 / 2, "Half the ratio: a voxel has to add more to the numerator than it costs in the denominator."),
    (0.88, "Look at the condition on phi again: there is a 2 in the denominator."),
    ([0.12, 0.06], "That starts from the loss, 1 - 0.88. The condition is about the ratio itself."),
    hint="A voxel pays off where phi exceeds N / (2 S). What is N / S here?",
)


@check("Positive everywhere, and heavier at the rim: the border gets its stress, and the mask stays the best answer.")
def check_4_2(answer: Any) -> str | None:
    """A weight map that is positive at every voxel and larger at the rim than in the middle."""
    phi = distance_map(LESION)  # (D, H, W)
    weight = shaped(answer(torch.from_numpy(phi.copy())), phi.shape)
    if not np.isfinite(weight).all():
        return "Some weights are not finite. Mind that phi is 0 outside the lesion."
    for voxels, fault in ((~LESION, "background voxels: painting"), (LESION, "lesion voxels: missing")):
        if weight[voxels].min() <= 0:
            return f"A weight of 0 or less at some {fault} them would be free of charge."
    if not weight[phi == 1].mean() > weight[phi == phi[LESION].min()].mean():
        return "The mask is its minimiser. But the rim weighs no more than the middle, so the map has no say."
    return None


@check("Minus inside the lesion, plus outside. With phi in the place of g it is the condition of section 5.")
def check_4_3(answer: Any) -> str | None:
    """dL/dp of the Dice loss, against autograd."""
    random = torch.Generator().manual_seed(3)
    p = torch.rand((6, 7, 8), generator=random)  # (D, H, W)
    g = (torch.rand(p.shape, generator=random) < 0.2).float()
    leaf = p.clone().requires_grad_()
    [gradient] = torch.autograd.grad(DiceLoss()(torch.stack((1 - leaf, leaf))[None], g[None].long()), leaf)
    right = gradient.numpy()
    return compared(
        shaped(answer(p.clone(), g.clone()), p.shape),
        right,
        (-right, "The size is right, the sign is not: the loss is 1 MINUS the ratio."),
        hint="It differs from autograd. N = 2 sum(p g) and S = sum(p) + sum(g) are sums over all voxels. By the "
        "quotient rule (N / S)' = (N' S - N S') / S², with N' = 2 g and S' = 1.",
    )


check_4_4 = short_answer(
    (0.08, "Eight in a hundred are enough for it: it will paint a wide belt around every lesion. Run the training."),
    (0.4, "That is Dice, a = 1/2. What is a here?"),
    (0.72, "That takes the weight of the misses. What a false alarm costs is a."),
    ([0.1, 0.8], "The rule has two factors: a, and the ratio."),
    hint="Painting pays off where q exceeds a times the ratio.",
)


@check("The gradient has passed through a network that did not learn from it: the whole trick of the paper.")
def check_5_1(answer: Any) -> str | None:
    """The gradient of the map's error on the probabilities, and none on the LR-Net's weights."""
    lesion = torch.from_numpy(LESION)
    true_map = distance_map(lesion)[None, None]  # (1, 1, D, H, W)
    p = 0.1 + 0.7 * lesion.float()
    pair = torch.stack((1 - p, p))[None]  # (1, 2, D, H, W)
    leaf = pair.clone().requires_grad_()
    [gradient] = torch.autograd.grad(map_regression_loss(load_pretrained_lrnet()(leaf), true_map), leaf)
    lrnet, right = load_pretrained_lrnet(), gradient.numpy()
    try:
        yours = answer(lrnet, pair.clone(), true_map)
    except RuntimeError as problem:
        if not any(words in str(problem) for words in ("does not require grad", "not have been used in the graph")):
            raise
        yours = None
    if yours is None:
        return "No gradient comes back. Do the probabilities require one? Does no_grad or detach stop it on the way?"
    hint = compared(
        shaped(yours, pair.shape),
        right,
        (-right, "The size is right, the sign is not: give the gradient, not its negative."),
        hint="The shape is right, the values are not. Is it smooth L1, without alpha, that you differentiate?",
    )
    if hint is None and any(weight.grad is not None for weight in lrnet.parameters()):
        return "The gradient is right, but the LR-Net's weights have got one, too: it is not frozen."
    return hint


check_5_2 = short_answer(
    ("no", "After long training with Dice, ten times the map's error does little. Section 10 measures it."),
    ("yes", "The map's term is that of C. But Dice stands beside it now: whose gradient is longer, and by how much?"),
    hint='Answer "yes" or "no".',
)

check_5_3 = short_answer(
    (0.25 / 0.0099, "A voxel about which the network is sure hardly feels a push on p, right or wrong."),
    (0.0099 / 0.25, "That is how many times weaker the second one is. Turn it around."),
    (50, "Twice too much: the factor is p (1 - p), not p."),
    hint="Divide p (1 - p) at p = 0.5 by p (1 - p) at p = 0.01.",
)


@check("Three of four patients have been failed, and DG says 0.99. Ask for both.")
def check_6_1(answer: Any) -> str | None:
    """(DC, DG) of four cases."""
    right = np.array([1 / 4, 6000 / 6060])
    return compared(
        shaped(answer, right.shape),
        right,
        (right[::-1], "Both values are right, their order is not: DC first."),
        (100 * right, "Give them as numbers between 0 and 1, not in per cent."),
        (np.array([1 / 4, 3000 / 3060]), "DC is right. For DG double the overlap, and add up the sizes of both masks."),
        hint="DC: each patient's own Dice, then the mean. DG: all intersections together, and all sizes together.",
    )


@check("The specks are gone. So would be every true lesion of that size: the next cell counts them.")
def check_6_2(answer: Any) -> str | None:
    """A function that drops the 26-connected components of fewer than ``smallest`` voxels."""
    mask = np.zeros((8, 9, 10), dtype=bool)  # (D, H, W)
    mask[1:4, 1:4, 1:4] = True  # 27 voxels
    mask[6, 6, 6] = mask[7, 7, 7] = True  # 2 voxels that touch at a corner
    mask[0, 8, 9] = True  # 1 voxel
    given = mask.copy()
    for smallest, kept in ((1, 30), (2, 29), (3, 27), (27, 27), (28, 0)):
        yours = shaped(answer(given, smallest), mask.shape)
        if not np.array_equal(given, mask):
            return "The mask that came in has been changed. Work on a copy."
        if yours[~mask].any():
            return "There is something where the mask was empty. Is the background a component, too?"
        voxels = int(yours.sum())  # of a mask, which holds 0 and 1 alone
        if smallest == 2 and voxels == 27:
            return "Two voxels that touch at a corner are one component of 2 (26 neighbours); yours took them apart."
        if voxels != kept:
            return f"Of 27 + 2 + 1 voxels you keep {voxels} at smallest = {smallest}; it should be {kept}."
    return None


check_6_3 = short_answer(
    ("up", "Misses cost most, so the network marks more. Run the next cell: which criterion shows it?"),
    ("down", "Which error has become cheap? What happens to the predicted volume if there is more of it?"),
    hint='Answer "up" or "down".',
)

check_7_1 = short_answer(
    (13, "The last place, in bold. RVD has a sign, so the smallest value is not the best."),
    (12, "Count the places from 1."),
    (1, "It is the smallest number. But how far from 0 is it, beside the others?"),
    hint="Drop the signs of the RVD column, sort it, and find 0.253.",
)

check_7_2 = short_answer(
    (1, "In one of seven, DC. With the LR-Net MapDice is better in all seven: say which pair a claim is about."),
    (7, "That is the comparison with the LR-Net in both rows. Take the first two rows of Table 2."),
    (6, "In so many it is worse. DC and DG should be large, the other five near 0."),
    hint="Compare the first two rows of Table 2, criterion by criterion.",
)

check_7_3 = short_answer(
    ("steps", "While networks still learn, a table compares how fast. Train all rows until the curves are flat."),
    ("method", "No network has learned all it can yet. Which of the two gives it more time?"),
    hint='Name one of "steps" and "method".',
)


@check("That is the number that the study compares: every lesion has one vote, and every arm the same false lesions.")
def check_8_1(answer: Any) -> str | None:
    """The primary endpoint of some cases, from their ``CaseLesions``."""
    rng, cases, small = np.random.default_rng(8), [], (0.25, 5.0)
    for ml in ([0.1, 0.3, 6.0], [0.25, 1.0, 2.0, 5.0, 4.0], [0.2, 0.9]):
        dice = np.sort(rng.random((15, len(ml))), axis=0) * (np.linspace(0, 1, 15)[:, None] > rng.random(len(ml)) / 2)
        dice[7:] *= 0.5  # at low thresholds the outlines are too large
        cases.append(CaseLesions(np.array(ml), dice, np.sort(rng.integers(0, 14, 15))))
    curve, yours = curve_of(cases, size=small), answer(cases)
    if np.shape(yours) == (len(RATES),):
        return "Those are seven numbers, one for each rate. The endpoint is their mean."
    each = [curve_of([case], size=small).mean_dice for case in cases]
    in_all = at_most(RATES, len(cases) * curve.false_lesions, curve.dice)
    return compared(
        shaped(yours, ()),
        np.array([curve.mean_dice]),
        (np.array([curve_of(cases).mean_dice]), "That takes lesions of every size. Which ones are asked for?"),
        (curve.sensitivity_at().mean(keepdims=True), "That counts lesions as found or missed. Take their Dice."),
        (np.mean(each, keepdims=True), "That is the mean of each case's endpoint. All cases make one curve."),
        (in_all.mean(keepdims=True), "The rates are false lesions a case; yours are those of all cases."),
        hint="It should be another number (not rounded). First concatenate the dice of all lesions from 0.25 to 5 ml.",
    )


check_8_2 = short_answer(
    (7, 'Fewer seeds cannot say "equal" here, however alike the arms are. Plan the number before the study.'),
    (6, "Close: with six the interval reaches 1.05 times 0.02."),
    ([8, 9, 10], "Enough, but fewer will do."),
    (4, "With 1.96 in place of t. From few seeds the spread is hardly known, and t is larger."),
    hint="The interval reaches t * 0.02 / sqrt(n), with n - 1 degrees of freedom. When is that below 0.02?",
)


@check("A comma separates objects, a plus joins labels, and what is not named is background.")
def check_9_1(answer: Any) -> str | None:
    """Labels 1 = kidney as class 1, 2 and 3 united as class 2."""
    objects = [set(group) for group in parse_labels(str(answer).strip())]
    if objects == [{2, 3}, {1}]:
        return "Two objects, and the right ones. But the first one named becomes class 1."
    if len(objects) != 2:
        return f"That makes {len(objects)} object{'s' * (len(objects) != 1)}. You want two."
    return None if objects == [{1}, {2, 3}] else "Which numbers belong together, and which stand alone?"


BALL = 4 / 3 * math.pi * 4**3  # mm^3, of 4 mm radius
check_9_2 = short_answer(
    (BALL / 27, "Ten voxels, nearly all of them rim: what helps the large lesions costs the small ones."),
    (BALL, "That is the volume in cubic millimetres. Divide it by that of a voxel."),
    (BALL / 3, "A voxel has three edges of 3 mm, not one."),
    ([8 * BALL / 27, BALL / 8 / 27], "4 mm is the radius, and the formula takes the radius."),
    hint="Divide the volume of the ball by that of a voxel.",
)


@check("Background first, then the object: the softmax of these two channels equals the sigmoid of the one.")
def check_9_3(answer: Any) -> str | None:
    """One logit (B, 1, D, H, W), made for a sigmoid, to two (B, 2, D, H, W), made for a softmax."""
    z = torch.linspace(-3, 4, 3 * 3 * 4 * 5).reshape(3, 1, 3, 4, 5)  # (B, 1, D, H, W)
    p = torch.sigmoid(z)
    right = torch.cat((1 - p, p), dim=1)  # (B, 2, D, H, W)
    yours = torch.softmax(torch.from_numpy(shaped(answer(z.clone()), right.shape)), dim=1)
    twice = "Those are the probabilities. TandemLoss would take the softmax of them once more: give it logits."
    return compared(
        yours.numpy(),
        right.numpy(),
        (right.flip(1).numpy(), "Both channels are right, their order is not: the background comes first."),
        (right.softmax(1).numpy(), twice),
        hint="The softmax of two logits depends on the second minus the first alone. That difference should be z.",
    )


@check("One map for each foreground class, each with its own maximum per component; the background has none.")
def check_9_4(answer: Any) -> str | None:
    """Labels (B, D, H, W) with the classes 1 and 2 to NI-DM (B, 2, D, H, W)."""
    labels = torch.zeros(3, 9, 12, 12, dtype=torch.long)  # (B, D, H, W)
    labels[0, 2:7, 2:9, 1:6] = 1
    labels[0, 2:7, 2:9, 6:11] = 2  # touches the first
    labels[1, 3:6, 3:8, 3:8] = 2  # and no 1 in this patch
    right = maps_of_classes(labels, 2, "NI-DM").numpy()  # (B, 2, D, H, W)
    yours = shaped(answer(labels.clone()), right.shape)
    hint = "Take the map of (labels == 1), then of (labels == 2)."
    if np.array_equal(yours > 0, right > 0):
        hint = "The objects are right, the values are not. Is it NI-DM? Four axes are slices: give (B, C, D, H, W)."
    swapped = "Both maps are right, their order is not: class 1 comes first."
    return compared(yours, right, (right[:, ::-1], swapped), hint=hint)
