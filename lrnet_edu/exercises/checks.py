"""The checks of the exercises: ``check_1_2(answer)`` judges exercise 1.2, the second of notebook 01.

Where a number is asked for, a check is that number and those that learners take for it, each with its hint.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from lrnet_edu.data.nifti import read_mask
from lrnet_edu.data.patches import maps_of_classes
from lrnet_edu.data.samples import sample_folder
from lrnet_edu.distance_maps import distance_map
from lrnet_edu.exercises.verdict import check, close, compared, number, shaped
from lrnet_edu.losses import DiceLoss, cost_of_empty_output, map_regression_loss
from lrnet_edu.networks import LRNet, MNet
from lrnet_edu.study.statistics import holm
from lrnet_edu.support.labels import parse_labels
from lrnet_edu.trained import load_pretrained_lrnet


def ball(radius: int, before: int, after: int) -> np.ndarray:
    """Bool (D, H, W): a ball in a cube, with so many voxels of background on either side."""
    z, y, x = np.ogrid[(slice(-radius, radius + 1),) * 3]
    return np.pad(z**2 + y**2 + x**2 <= radius**2, (before, after))


# ---- 00: start here ---------------------------------------------------------------------------------------------


@check("The LR-Net is a teacher: it is gone when the pupil, the M-Net, segments a patient.")
def check_0_1(answer: Any) -> str | None:
    """Which network is left at test time."""
    name = "".join(letter for letter in str(answer).lower() if letter.isalpha())
    if name == "lrnet":
        return "The LR-Net turns probabilities into a map. Do we need that map of a new patient? Look at the figure."
    return None if name == "mnet" else 'Answer with the name of a network, "M-Net" or "LR-Net".'


# The gain in DC between two rows of Table 2: 0.751 - 0.647.
check_0_2 = number(
    0.104,
    {
        (10.4, -0.104): "Close: give the difference as it stands in the table, between 0 and 1, ours minus baseline.",
        (0.288, 0.047): "That is another column of Table 2. DC is the Dice per case.",
    },
    hint="Subtract the baseline's DC from the DC of the full method.",
    praise="Ten points of Dice from a training trick that costs nothing at test time: a claim worth checking.",
)


@check("Light in weights. Whether it is light in computing time, too, is measured in section 4.")
def check_0_3(answer: Any) -> str | None:
    """How many times as many weights the M-Net has."""
    main, light = (sum(weight.numel() for weight in net.parameters()) for net in (MNet(), LRNet()))
    wrong = {light / main: "That is the share of the LR-Net. Turn it around."}
    return compared(answer, main / light, wrong, "Divide one number of weights by the other.")


# ---- 01: distance maps ------------------------------------------------------------------------------------------


# phi of the 3 x 3 lesion's deepest voxel with the image's M = 4 in place of its own.
check_1_1 = number(
    (4 + 1 - 2) / 4,
    {0.5: "That is phi with the lesion's own maximum. What changes when M is that of the large lesion?"},
    hint="Read D of the small lesion's middle in the table, and put the large lesion's M into the formula.",
    praise="With one maximum for the whole image a small lesion looks shallow: 0.75 at its deepest voxel, not 0.5.",
)

# Crop of a map minus map of a crop, for D = 3, M = 10 before and 6 after: 0.8 - 0.667.
check_1_2 = number(
    8 / 10 - 4 / 6,
    {4 / 6 - 8 / 10: "The size is right, the sign is not: take the cropped map minus the map of the crop."},
    hint="D of the voxel is 3 both times, only M differs. Compute phi twice and subtract.",
    praise="A cropped map tells the network of a depth that it cannot see. Crop the mask, then compute the map.",
)


@check("So the formula holds in voxels and in mm, and phi never exceeds 1.")
def check_1_3(answer: Any) -> str | None:
    """NI-DM of one component from its O-DM in mm: (M + m - D) / M inside, 0 outside."""
    lesion = ball(7, 2, 2)
    for spacing in ((1.0, 1.0, 1.0), (0.7, 0.7, 0.7), (3.0, 1.0, 1.0)):
        distances = distance_map(lesion, "O-DM", spacing=spacing)  # (D, H, W)
        yours = shaped(answer(distances.copy()), distances.shape)
        if not np.abs(yours[~lesion]).max() <= 1e-6:  # nor if it is no number
            return "Outside the object, where D is 0, phi has to be 0."
        if not np.abs(yours - distance_map(lesion, "NI-DM", spacing=spacing)).max() <= 1e-4:
            return f"At {spacing} mm it goes wrong: phi reaches {yours.max():.3f}. What should stand in for the 1?"
    return None


# The M_C at which 1 / M_C falls to the threshold 0.05.
check_1_4 = number(
    20,
    {0.05: "That is the threshold. Which M_C brings the deepest voxel down to it?"},
    hint="What is phi where D = M_C? Set it equal to the threshold.",
    praise="Beyond 20 voxels of depth the threshold drills a hole into the lesion: a threshold is not an inverse.",
)

# ---- 02: CT data and imbalance ----------------------------------------------------------------------------------


@check("That is the window transform: everything that is not soft tissue is pressed against 0 or 1.")
def check_2_1(answer: Any) -> str | None:
    """The window from -200 to 250 HU as a function of an array."""
    hu = np.array([[-1000.0, -200.0, 25.0], [100.0, 250.0, 1500.0]])
    yours = shaped(answer(hu.copy()), hu.shape)
    right = np.abs(yours - [[0, 0, 0.5], [2 / 3, 1, 1]]) <= 1e-3
    if not (right[0, 1] and right[1, 1]):
        return f"-200 HU should become 0 and 250 HU 1; yours gives {yours[0, 1]:.3f} and {yours[1, 1]:.3f}."
    if not (right[0, 0] and right[1, 2]):
        return f"The ends are right, but air becomes {yours[0, 0]:.2f} and bone {yours[1, 2]:.2f}, not 0 and 1."
    return None if right.all() else "The ends are right; between them it should be a straight line."


@check("A loss that counts voxels hears the background that many times before it hears the lesion once.")
def check_2_2(answer: Any) -> str | None:
    """Voxels that are not lesion per voxel that is, in volume-1."""
    mask = read_mask(sample_folder() / "segmentation-1.nii.gz").data  # (D, H, W)
    liver, share = (float((mask == label).mean()) for label in (1, 2))
    as_share = (share, share / (1 - share))
    wrong = {
        liver / share: "That counts the liver alone. What is background when the lesion is the object?",
        as_share: "That is the lesion's share; asked is how many other voxels come with each of its.",
    }
    return compared(answer, (1 - share) / share, wrong, "Count mask == 2 and mask != 2 in 'volume-1', and divide.")


# Voxels of a 10 ml lesion at 3 mm; they were 5 x 2.7 x 2.7 mm.
check_2_3 = number(
    10_000 / 3**3,
    {
        10_000 / (5 * 2.7 * 2.7): "That is its number of voxels before resampling. How large is a voxel afterwards?",
        (10 / 27, 1000 / 27): "Mind the units: one millilitre is 1 cm x 1 cm x 1 cm.",
    },
    hint="Divide the lesion's volume by that of one new voxel, in mm³.",
    praise="A lesion keeps its millilitres, not its voxels. Whoever filters by voxel counts should know the grid.",
)

# ---- 03: the LR-Net's pretraining -------------------------------------------------------------------------------


# Mean of 1 - phi over a cube of 5 voxels, in the middle of 9: (26 * 1/3 + 1 * 2/3) / 125.
check_3_1 = number(
    0.075,
    {
        0.925: "That is the mean of phi itself. The error is its distance from what the photocopier says.",
        0.075 * 5**3 / 9**3: "That is a mean over all voxels of your volume. The error of phi counts the lesion's.",
    },
    hint="It says 1 in the lesion. Take |1 - phi| and its mean over 125 voxels.",
    praise="The smaller the lesion, the less copying costs. On a single voxel the photocopier is perfect.",
)


@check("The middle is a few voxels out of two thousand. What hardly counts in the loss is hardly learnt.")
def check_3_2(answer: Any) -> str | None:
    """Where in a ball the error of phi grows most if every voxel counts the same, not every layer."""
    hints = {
        "rim": "The outermost layer holds most voxels, so now it counts most. Which layer holds the fewest?",
        "outside": "The background weighs what it did before. The change is inside: which layer has lost its weight?",
    }
    named = str(answer).strip().lower()
    return None if named == "middle" else hints.get(named, 'Name one of "rim", "middle" and "outside".')


# The voxel size at which 45 mm are 14 voxels: the fifteenth, the last one in sight, is background.
check_3_3 = number(
    45 / 14,
    {
        3: "A ball of 15 voxels radius fills all that the middle sees; the first background lies one step beyond.",
        45 / 31: "The window's 31 voxels lie to BOTH sides of the middle; the radius needs one side.",
        (14 / 45, 15 / 45): "Turn it around: how many mm must a voxel measure so that the ball becomes small enough?",
    },
    hint="How many voxels may the radius measure, if the next voxel has to be in sight? Then divide 45 mm by that.",
    praise="The resampling of notebook 02 decides what the LR-Net can see: coarse voxels for large lesions.",
)


@check("It lives, and every weight is what it was. Now it has to train on, with a loss that small lesions can win.")
def check_3_4(answer: Any) -> str | None:
    """A function that revives a dead LR-Net in place by nothing but the bias of its last layer."""
    torch.manual_seed(10)
    lrnet = LRNet("NI-DM")
    last: Any = lrnet.head[-1]
    last.weight.data.abs_().neg_()  # whatever the layers below say, the output is negative
    last.bias.data.fill_(-5.0)
    before = {name: weight.clone() for name, weight in lrnet.state_dict().items() if name != "head.1.bias"}
    lesion = torch.zeros(1, 12, 12, 12)
    lesion[:, 4:8, 4:8, 4:8] = 1
    probabilities = torch.stack((1 - lesion, lesion), dim=1)  # (1, 2, D, H, W)
    answer(lrnet, probabilities.clone())
    output = lrnet(probabilities)  # (1, 1, D, H, W)
    if any(not torch.equal(weight, lrnet.state_dict()[name]) for name, weight in before.items()):
        return "Some weights have changed, and what they had learnt is lost. Change the last layer's bias only."
    if not output.isfinite().all():
        return "Its output holds what is no number (NaN or infinite): look at the bias that you gave the layer."
    if output.max() <= 0:
        return "It is still dead: the output is 0 everywhere. How far below 0 is the largest value before the ReLU?"
    if output.max() > 1:
        return f"It lives, but its output reaches {output.max():.1f} where phi ends at 1. A smaller push is enough."
    return None


# ---- 04: the M-Net and its losses -------------------------------------------------------------------------------


# The phi below which MapDice pushes a voxel out at a ratio of 0.88.
check_4_1 = number(
    0.88 / 2,
    {(0.88, 0.12): "Look at the condition on phi again: it has a 2 below the line."},
    hint="The voxel pays off where phi exceeds N / (2 S). What is N / S here?",
    praise="Half the ratio: a voxel has to bring more than it adds to the sum below the line.",
)


@check("Positive everywhere, and heavier at the rim: the border gets its stress, and the mask stays the best answer.")
def check_4_2(answer: Any) -> str | None:
    """A weight map that is positive at every voxel and larger at the rim than in the middle."""
    lesion = ball(7, 2, 2)
    phi = distance_map(lesion)  # (D, H, W)
    weight = shaped(answer(torch.from_numpy(phi.copy())), phi.shape)
    if not np.isfinite(weight).all():
        return "Some weights are not finite. Mind that phi is 0 outside the lesion."
    if weight[~lesion].min() <= 0:
        return "Some background voxels weigh nothing or less: painting them as lesion would be free of charge."
    if weight[lesion].min() <= 0:
        return "Some lesion voxels weigh nothing or less: missing them would be free of charge."
    if not weight[phi == 1].mean() > weight[phi == phi[lesion].min()].mean():
        return "The mask is its minimiser. But the rim weighs no more than the middle, so the map has no say."
    return None


@check("Inside the lesion the sign is minus, outside it is plus, and both sums know about all other voxels.")
def check_4_3(answer: Any) -> str | None:
    """dL/dp of the Dice loss, against autograd."""
    random = torch.Generator().manual_seed(3)
    p = torch.rand((6, 7, 8), generator=random)  # (D, H, W)
    g = (torch.rand(p.shape, generator=random) < 0.2).float()
    leaf = p.clone().requires_grad_()
    [wanted] = torch.autograd.grad(DiceLoss()(torch.stack((1 - leaf, leaf))[None], g[None].long()), leaf)
    yours, right = shaped(answer(p.clone(), g.clone()), p.shape), wanted.numpy()
    tolerance = 1e-3 * np.abs(right).max()
    if np.abs(yours + right).max() < tolerance:
        return "The size is right, the sign is not: the loss is 1 MINUS the ratio."
    rule = "It differs from autograd. The quotient rule: (N / S)' = (N' S - N S') / S², N' = 2 g and S' = 1."
    return None if np.abs(yours - right).max() < tolerance else rule


# The chance from which on painting a voxel pays at a ratio of 0.8, if a false alarm weighs 0.1.
check_4_4 = number(
    0.08,
    {
        0.4: "That is Dice, a = 1/2. What is a here?",
        0.72: "That takes the weight of the misses. It is the false alarms' weight that makes painting expensive.",
        (0.1, 0.8): "The rule has two factors: a, and the ratio.",
    },
    hint="Painting pays off where q exceeds a times the ratio.",
    praise="Eight in a hundred are enough for it: it will paint a wide belt around every lesion. Run the training.",
)


# ---- 05: the frozen tandem --------------------------------------------------------------------------------------


@check("The gradient has passed through a network that did not learn from it: the whole trick of the paper.")
def check_5_1(answer: Any) -> str | None:
    """The gradient of the map's error on the probabilities, and none on the LR-Net's weights."""
    box = np.zeros((8, 10, 12), dtype=bool)  # (D, H, W)
    box[2:6, 2:8, 3:9] = True
    true_map = torch.from_numpy(distance_map(box))[None, None]  # (1, 1, D, H, W)
    p = 0.1 + 0.7 * torch.from_numpy(box).float()
    pair = torch.stack((1 - p, p))[None]  # (1, 2, D, H, W)
    leaf = pair.clone().requires_grad_()
    [wanted] = torch.autograd.grad(map_regression_loss(load_pretrained_lrnet()(leaf), true_map), leaf)
    lrnet = load_pretrained_lrnet()
    yours, right = shaped(answer(lrnet, pair.clone(), true_map), pair.shape), wanted.numpy()
    if np.abs(yours + right).max() < 1e-3 * np.abs(right).max():
        return "That is the push, with its sign turned. Asked is the gradient itself."
    if not np.abs(yours - right).max() <= 1e-3 * np.abs(right).max():  # nor if it is no number
        return "The shape is right, the values are not. Is it the map's error, without alpha, that you differentiate?"
    if any(weight.grad is not None for weight in lrnet.parameters()):
        return "The gradient is right, but the LR-Net's weights have got one, too: it is not frozen."
    return None


# p (1 - p) at 0.5 over p (1 - p) at 0.01: 25.3.
check_5_2 = number(
    0.25 / 0.0099,
    {
        0.0099 / 0.25: "That is how many times weaker the second one is. Turn it around.",
        50: "Twice too much: the factor is p (1 - p), not p.",
    },
    hint="Divide p (1 - p) at p = 0.5 by p (1 - p) at p = 0.01.",
    praise="A voxel about which the network is sure hardly listens to any loss, right or wrong.",
)


@check("Small lesions need a larger alpha: the mean runs over all voxels, so what is small is cheap to miss.")
def check_5_3(answer: Any) -> str | None:
    """The alpha at which an empty output costs 0.03 where the truth is a ball of radius 3 in 48^3."""
    maps = (torch.from_numpy(distance_map(ball(radius, 24 - radius, 23 - radius))) for radius in (3, 6))  # (D, H, W)
    small, large = (0.03 / cost_of_empty_output(phi, "NI-DM") for phi in maps)
    wrong = {
        large: "That is the alpha of the large ball. What does an empty output cost with the small one?",
        8 * large: "An eighth of the voxels, but not of the cost: phi is larger in a small ball. Compute its cost.",
    }
    hint = "Divide 0.03 by what an empty output costs at alpha = 1 (cost_of_empty_output) with the small ball."
    return compared(answer, small, wrong, hint, within=0.05)


# ---- 06: results and viewers ------------------------------------------------------------------------------------


@check("Specks are gone, and so is every true lesion of that size: a filter is a decision about patients.")
def check_6_1(answer: Any) -> str | None:
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
        voxels = int(np.count_nonzero(yours))
        if smallest == 2 and voxels == 27:
            return "Two voxels that touch at a corner are one component of 2 (26 neighbours); yours took them apart."
        if voxels != kept:
            return f"Of parts of 27, 2 and 1 voxels {kept} should stay at smallest = {smallest}, you keep {voxels}."
    return None


@check("Three of four patients have been failed, and DG says 0.99. Ask for both.")
def check_6_2(answer: Any) -> str | None:
    """(DC, DG) of four cases: 1/4, and 6000 / 6060."""
    if np.shape(answer) != (2,):
        return "Give two numbers, (DC, DG)."
    (dc, dg), right = answer, 6000 / 6060
    if close(dc, right, 0.001) and close(dg, 0.25, 0.001):
        return "Both values are right, their order is not: DC first."
    if not close(dc, 0.25, 0.001):
        return "DC: each patient's own Dice, then the mean over the four patients."
    hint = "DG: all intersections together, and all sizes together; nothing found has size 0."
    return None if close(dg, right, 0.001) else hint


# The lower bound of the mean VOE at DC = 0.647: 1 - DC.
check_6_3 = number(
    1 - 0.647,
    {
        0.522: "That is the VOE if all cases were alike. Cases that differ can have a lower mean: how low?",
        0.292: "That is what the paper prints. What is the smallest that is possible?",
    },
    hint="VOE = 1 - J, and J is never above D. What does that say about the means?",
    praise="The table prints 0.292. Its DC and VOE cannot be means over the same cases: read tables with a pencil.",
)

# ---- 07: tables of the paper ------------------------------------------------------------------------------------


# The place of WCE's RVD, -0.253, among the thirteen by size; the next largest are 0.126 and 0.118.
check_7_1 = number(
    13,
    {1: "It is the smallest number. But how far from 0 is it, beside the others?"},
    hint="Drop the signs of the RVD column, sort it, and find 0.253.",
    praise="The last place, in bold. On average a quarter of the volume is missing: small is not good with a sign.",
)

# Criteria in which M-Net + MapDice beats M-Net + Dice in Table 2: DC alone (0.661 against 0.647).
check_7_2 = number(
    1,
    {
        7: "That is the comparison with the LR-Net in both rows. Take the first two rows of Table 2.",
        6: "Count once more: DC and DG want to be large, the other five near 0.",
    },
    hint="Compare the first two rows of Table 2, criterion by criterion.",
    praise="In one of seven, DC. With the LR-Net MapDice is better in all seven: a table needs reading by pairs.",
)

# The smallest n with 2 / 2^n < 0.05.
check_7_3 = number(
    6,
    {5: "Five patterns of signs in a row: is 2 / 2^5 below 0.05? And did you count both sides?"},
    hint="The best outcome is all + (or all -): p = 2 / 2^n. When does it pass 0.05?",
    praise="Six, and only if every single patient agrees. With Holm's correction for twelve comparisons it takes nine.",
)


@check("That is Holm's correction: as safe as multiplying all of them by m (Bonferroni), and never weaker.")
def check_7_4(answer: Any) -> str | None:
    """Holm's corrected p-values, in the given order."""
    for p_values in ([0.01, 0.04, 0.03], [0.2, 0.001, 0.5, 0.02, 0.02], [0.3], [0.012, 0.9, 0.011, 0.8]):
        yours = shaped(answer(list(p_values)), (len(p_values),))
        if yours.max() > 1:
            return f"A corrected p-value is {yours.max():.2f}: a probability does not exceed 1."
        right = holm(p_values)
        if np.allclose(yours, right):
            continue
        if np.allclose(np.sort(yours), np.sort(right)):
            return f"The values of {p_values} are right, their order is not: give them back as they came."
        if np.allclose(yours, np.minimum(np.multiply(p_values, len(p_values)), 1)):
            return "That multiplies every one by m, which is Bonferroni. The second smallest is multiplied by m - 1."
        found, wanted = (", ".join(f"{value:.3g}" for value in values) for values in (yours, right))
        return f"{p_values} should become {wanted}; yours gives {found}."
    return None


# ---- 08: your own data and network ------------------------------------------------------------------------------


@check("A comma divides objects, a plus unites numbers; what is not named is background.")
def check_8_1(answer: Any) -> str | None:
    """Labels 1 = kidney as class 1, 2 and 3 united as class 2."""
    objects = [set(group) for group in parse_labels(str(answer).replace(" ", ""))]
    if objects == [{2, 3}, {1}]:
        return "Two objects, and the right ones. But the first one named becomes class 1."
    if len(objects) != 2:
        return f"That makes {len(objects)} object{'s' * (len(objects) != 1)}; wanted are two."
    return None if objects == [{1}, {2, 3}] else "Which numbers belong together, and which stand alone?"


BALL = 4 / 3 * math.pi * 4**3  # mm^3
# A ball of 4 mm radius in cubes of 3 mm, in voxels; 10 is as good an answer.
check_8_2 = number(
    BALL / 27,
    {
        BALL: "Those are cubic millimetres. How many has one voxel?",
        BALL / 3: "A voxel has three edges of 3 mm, not one.",
        8 * BALL / 27: "4 mm is the radius, not the diameter.",
    },
    hint="Divide the volume of the ball by that of a voxel.",
    praise="Ten voxels, nearly all of them rim: what helps the large lesions costs the small ones.",
)


@check("Background first, then the object: the softmax of these two is what the sigmoid of the one was.")
def check_8_3(answer: Any) -> str | None:
    """One logit (B, 1, D, H, W), made for a sigmoid, to two (B, 2, D, H, W), made for a softmax."""
    z = torch.linspace(-3, 4, 2 * 3 * 4 * 5).reshape(2, 1, 3, 4, 5)  # (B, 1, D, H, W)
    p = torch.sigmoid(z)
    right = torch.cat((1 - p, p), dim=1)  # (B, 2, D, H, W)
    yours = shaped(answer(z.clone()), right.shape)
    softmax = torch.softmax(torch.as_tensor(yours, dtype=torch.float64), dim=1)
    if np.allclose(softmax, right, atol=1e-5):
        return None
    if np.allclose(softmax, right.flip(1), atol=1e-5):
        return "Both channels are right, their order is not: the background comes first."
    if np.allclose(yours, right, atol=1e-5):
        return "Those are the probabilities. TandemLoss would take the softmax of them once more: give it logits."
    return "The softmax of two logits depends on the second minus the first alone. That difference should be z."


@check("One map for each foreground class, each with its own maximum per component; the background has none.")
def check_8_4(answer: Any) -> str | None:
    """Labels (B, D, H, W) with the classes 1 and 2 to NI-DM (B, 2, D, H, W)."""
    labels = torch.zeros(2, 9, 12, 12, dtype=torch.long)  # (B, D, H, W)
    labels[0, 2:7, 2:9, 1:6] = 1
    labels[0, 2:7, 2:9, 6:11] = 2  # touches the first
    labels[1, 3:6, 3:8, 3:8] = 2  # and no 1 in this patch
    right = maps_of_classes(labels.numpy(), 2, "NI-DM")  # (B, 2, D, H, W)
    yours = shaped(answer(labels.clone()), right.shape)
    if np.allclose(yours, right, atol=1e-4):
        return None
    if np.allclose(yours, right[:, ::-1], atol=1e-4):
        return "Both maps are right, their order is not: class 1 comes first."
    if np.array_equal(yours > 0, right > 0):
        return (
            "The objects are right, the values are not. Is it the NI-DM, and of volumes? Four axes are read as a batch "
            "of slices, (B, C, H, W): give distance_map (B, C, D, H, W)."
        )
    return "Take the map of (labels == 1), then of (labels == 2)."
