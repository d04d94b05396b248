# %% [markdown]
# # 07 · The paper's tables, and what a claim needs
#
# What can the numbers in the paper's two tables prove?
#
# **Afterwards you can**
# - say which claims the paper's own numbers support,
# - put an interval on a difference, over patients and over trainings,
# - list what a claim needs before anybody should believe it.
#
# **Takes** 45 minutes to read and try; the cells need a minute of one CPU core, the first time half a minute more.

# %% tags=["parameters"]
from lrnet_edu.config import fast

FAST = fast()  # the environment variable LRNET_EDU_FAST=1: everything small
NETWORKS = ("A", "C") if FAST else ("base", "A", "B", "C", "D", "E", "J")  # M-Nets of the study, for section 5
SCANS = 5 if FAST else 10  # phantoms to test on; three of four have lesions
STEPS = 4 if FAST else 60  # of the short trainings in section 8

# %% [markdown]
# ## 1 · Table 2, as printed
#
# Thirteen methods, seven criteria, 137 cases of the authors' clinical data.

# %% tags=["nbval-check-output"]
import numpy as np

from lrnet_edu.methods import METHODS
from lrnet_edu.study.rows import PRINTED as CRITERIA
from lrnet_edu.study.rows import TABLE_2_ROWS

rows = TABLE_2_ROWS
methods = [METHODS[row.method].title for row in rows]
table2 = np.array([[row.paper[name] for name in CRITERIA] for row in rows])  # (methods, criteria)
ours = methods.index("M-Net + MapDice + LR-Net")  # the paper's full method

print(" " * 26 + "".join(f"{name:>8}" for name in CRITERIA))
for method, figures in zip(methods, table2, strict=True):
    print(f"{method:26}" + "".join(f"{figure:8.3f}" for figure in figures))

# %% [markdown]
# 91 numbers, and not one interval. **Question.** Which method would you choose? Compare "RVD, smallest" with "|RVD|".

# %%
import ipywidgets as widgets

from lrnet_edu.figures import Picture
from lrnet_edu.figures.palette import ARM_COLORS, BLACK, BLUE, GREY, METHOD_COLORS, ORANGE
from lrnet_edu.viewers.controls import interact


def ranking(criterion):
    """The thirteen rows of Table 2, the best by one criterion on top."""
    values = table2[:, CRITERIA.index(criterion.strip("|").split(",")[0])]
    values = np.abs(values) if criterion == "|RVD|" else values
    order = np.argsort(-values if criterion in ("DC", "DG") else values, kind="stable")
    figure = Picture(4.6)
    axes = figure.subplots()
    bars = axes.barh(range(len(order)), values[order], color=[ORANGE if i == ours else BLUE for i in order])
    axes.bar_label(bars, fmt="%.3f", padding=4)
    axes.set_yticks(range(len(order)), [methods[i] for i in order])
    axes.invert_yaxis()
    unit = "mm" if criterion in ("ASSD", "MSD", "RMSD") else "no unit"
    axes.set(xlabel=f"{criterion} ({unit})", title="Table 2, the best on top; the paper's full method in orange")
    axes.margins(x=0.1)
    return figure.finish(
        f"Bars of the thirteen methods of Table 2 by {criterion}: {methods[order[0]]} first, "
        f"{methods[order[-1]]} last, the full method in place {list(order).index(ours) + 1}."
    )


choices = ["DC", "DG", "VOE", "RVD, smallest", "|RVD|", "ASSD", "MSD", "RMSD"]
interact(ranking, criterion=widgets.Dropdown(options=choices, description="criterion"))

# %% [markdown]
# The paper says of the last five criteria: "the smaller the value, the better". So it prints the −0.253 of weighted
# cross-entropy in bold. But RVD has a sign: at −0.253 a quarter of the volume is missing on average.
#
# ### Exercise 7.1 · The bold RVD
# Rank the thirteen methods by how near their RVD is to 0. In which place, 1 to 13, is the one printed in bold?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_7_1(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# rvd = np.array([0.065, 0.116, -0.049, -0.016, 0.118, 0.070, -0.253, -0.024, 0.059, 0.050, 0.126, 0.016, 0.034])
# answer = 1 + (np.abs(rvd) < 0.253).sum()  # all others are nearer: the last place
# ```
# </details>

# %% [markdown]
# ## 2 · Can these columns belong together?
#
# VOE is 1 − Jaccard, and Jaccard, $|P \cap R| / |P \cup R|$, is never above Dice. So the means over the same cases must obey
# **VOE ≥ 1 − DC**.
#
# **Question.** M-Net + Dice has a DC of 0.647. How small can its VOE be? What does the table say?

# %% tags=["nbval-check-output"]
DC, VOE = table2[:, 0], table2[:, 2]
for method, dice, voe in zip(methods, DC, VOE, strict=True):
    if voe < 1 - dice - 0.001:  # each figure is rounded by up to 0.0005
        print(f"{method:26} VOE {voe:.3f}, but 1 - DC = {1 - dice:.3f}")

# %% [markdown]
# In five rows DC and VOE cannot be means over the same 137 cases.
#
# ## 3 · The claims, by the paper's own numbers
#
# Table 1: DC on 13 validation cases of LiTS, for five maps and five ways to train. $\alpha$ weighs the LR-Net's loss.

# %%
from lrnet_edu.study.rows import COLUMNS, TRAININGS

MAPS = list(COLUMNS)  # NI-DMs: NI-DM with a sigmoid as the LR-Net's output
WAYS = ("LR-Net alone", "Dice + LR-Net", "Dice + α LR-Net", "MapDice + LR-Net", "MapDice + α LR-Net")
table1 = np.array(list(TRAININGS.values()))  # (ways, maps)
BASELINE = {"Dice": 0.6581, "MapDice": 0.6856}  # M-Net without an LR-Net, section 3.1

figure = Picture(4.3)
axes = figure.subplots()
styles = zip((":", "--", "-", "--", "-"), (BLACK, *[METHOD_COLORS["dice+lrnet"]] * 2, *[ORANGE] * 2), strict=True)
for way, values, (line, colour) in zip(WAYS, table1, styles, strict=True):
    axes.plot(MAPS, values, line, color=colour, marker="o", lw=2.5, label=way)
for name, colour in (("MapDice", METHOD_COLORS["mapdice"]), ("Dice", BLUE)):
    axes.axhline(BASELINE[name], color=colour, lw=2, label=f"{name}, no LR-Net")
axes.set(xlabel="The map that the LR-Net regresses", ylabel="DC (no unit)", title="Table 1, LiTS validation set")
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), handlelength=3)
figure.finish(
    "DC of Table 1 for five maps and five ways to train. NI-DM is highest in every row, 0.7463 with MapDice and alpha; "
    "with SNI-DM three rows fall to between 0.63 and 0.65, below the baseline of 0.6581."
)

# %% [markdown]
# **Question.** The paper finds the LR-Net better "on all the evaluation criteria", that "MapDice loss contributes a lot", and "a
# significant increment in all the evaluation metrics" over the imbalance losses. Do these hold in every entry?

# %% tags=["nbval-check-output"]
errors = table2 * [-1, -1, 1, 1, 1, 1, 1]  # smaller is better now in every column ...
errors[:, 3] = np.abs(errors[:, 3])  # ... RVD by its size
row = dict(zip(methods, errors, strict=True))


def count(claim, table, holds):
    print(f"{claim:45} {table}: {np.sum(holds):2} of {np.size(holds):2}")


# Each against the M-Net with the same loss; "LR-Net alone" against the better of the two losses.
without = np.array([BASELINE[name] for name in ("MapDice", "Dice", "Dice", "MapDice", "MapDice")])[:, None]
count("M-Net with LR-Net beats M-Net without", "Table 1", table1 > without)
better = [row[f"M-Net + {loss} + LR-Net"] < row[f"M-Net + {loss}"] for loss in ("Dice", "MapDice")]
better.append(row["M-Net + LR-Net"] < np.minimum(row["M-Net + Dice"], row["M-Net + MapDice"]))
count("M-Net with LR-Net beats M-Net without", "Table 2", better)
count("MapDice beats Dice, both with the LR-Net", "Table 1", table1[[3, 4]] > table1[[1, 2]])
count("MapDice beats Dice, both with the LR-Net", "Table 2", errors[ours] < row["M-Net + Dice + LR-Net"])
count("frozen beats unfrozen", "Table 2", row["M-Net + LR-Net"] < row["M-Net + unfrozen LR-Net"])
count("the full method beats all imbalance losses", "Table 2", errors[ours] < errors[6:11].min(axis=0))
count("the full method beats both regressions", "Table 2", errors[ours] < errors[11:].min(axis=0))

# %% [markdown]
# Most cells point the paper's way. But "significant" needs a test, and the paper has none.
#
# ### Exercise 7.2 · MapDice on its own
# Leave the LR-Net out. In how many of Table 2's seven criteria is M-Net + MapDice better than M-Net + Dice? (RVD by its size.)

# %% tags=["exercise"]
answer = None

# %%
exercises.check_7_2(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# dice = np.array([-0.647, -0.888, 0.292, 0.065, 0.809, 6.201, 1.292])  # turned so that smaller is better
# mapdice = np.array([-0.661, -0.870, 0.298, 0.116, 0.944, 7.005, 1.482])
# answer = (mapdice < dice).sum()
# ```
# </details>

# %% [markdown]
# ## 4 · What one number hides
#
# A mean of $n$ cases with standard deviation $s$ is uncertain by $s / \sqrt{n}$. A *difference* can do better, as a
# patient who is hard for one method is hard for the other. If both spread alike, with a correlation $\rho$ between them, its
# standard error is
#
# $$\mathrm{SE} = s \sqrt{\frac{2 (1 - \rho)}{n}}$$
#
# and a 95 % interval reaches 1.96 SE to either side.
#
# **Question.** The paper prints neither $s$ nor $\rho$. Suppose $s = 0.25$. How many of the twelve rivals can 137 patients tell
# from the full method? Which $\rho$ would it take for Tversky? **Move the sliders.**


# %%
def against_the_rest(cases, spread, correlation):
    """DC of the full method minus DC of each rival in Table 2, with the interval that these assumptions give."""
    rivals = sorted((i for i in range(len(methods)) if i != ours), key=lambda i: DC[i])
    gaps = DC[ours] - DC[rivals]
    half = 1.96 * spread * np.sqrt(2 * (1 - correlation) / cases)
    figure = Picture(4.6)
    axes = figure.subplots()
    for place, gap in enumerate(gaps):
        axes.errorbar(gap, place, xerr=half, fmt="o", ms=8, lw=2.5, capsize=4, color=BLUE if gap > half else GREY)
    axes.axvline(0, color=BLACK, lw=1)
    axes.set_yticks(range(len(rivals)), [methods[i] for i in rivals])
    apart = int((gaps > half).sum())
    axes.set(
        xlabel="DC of the full method minus DC of the row (no unit), with a 95 % interval",
        title=f"{cases} cases, spread {spread:.2f}, correlation {correlation:.2f}: {apart} of {len(rivals)} told apart",
        xlim=(-0.2, 0.35),
    )
    return figure.finish(
        f"Differences in DC to the full method with intervals of ±{half:.3f}, assuming {cases} cases, a spread of "
        f"{spread} and a correlation of {correlation}: {apart} of {len(rivals)} exclude 0, drawn blue."
    )


interact(
    against_the_rest,
    cases=widgets.IntSlider(137, min=30, max=500, description="cases", continuous_update=False),
    spread=widgets.FloatSlider(0.25, min=0.05, max=0.4, step=0.05, description="spread s", continuous_update=False),
    correlation=widgets.FloatSlider(0, min=0, max=0.99, step=0.01, description="corr. ρ", continuous_update=False),
)

# %% tags=["nbval-check-output"]
for correlation in (0, 0.5, 0.9):
    half = 1.96 * 0.25 * np.sqrt(2 * (1 - correlation) / 137)
    apart = (np.delete(DC[ours] - DC, ours) > half).sum()
    print(f"137 cases, correlation {correlation:3.1f}: ±{half:.3f}, {apart} of 12 told apart")

# %% [markdown]
# With this $s$, plain Dice is told apart at every $\rho$, Tversky only once the slider is at 0.96.
#
# ## 5 · Networks of our own
#
# These M-Nets are those of notebook 08. From `base` each took 600 further steps with a loss of its own. The phantoms are unseen,
# and cut to the liver.
#
# **Question.** Which will differ more, the losses or the patients?

# %%
import tempfile
from pathlib import Path

from lrnet_edu import find_cases
from lrnet_edu.data.cache import cache_cases
from lrnet_edu.data.crop import crop_scans
from lrnet_edu.data.samples import study_folder, study_mnet
from lrnet_edu.metrics import dice
from lrnet_edu.study.protocol import ARMS
from lrnet_edu.study.scoring import predictions
from lrnet_edu.trained import load_mnet

mnets = {arm: load_mnet(study_mnet(arm)) for arm in NETWORKS}


def liver_boxes(scans, folder):
    """Pairs of a case and its arrays on the networks' grid, cut to the liver and 10 mm around it."""
    crop_scans(scans, Path(folder) / "boxes", "1+2", margin_mm=10)
    cases = find_cases(Path(folder) / "boxes")
    return list(zip(cases, cache_cases(cases, mnets["A"].preprocessing, mnets["A"].labels), strict=True))


with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    unseen = [pair for pair in liver_boxes(study_folder(SCANS), folder) if pair[1].classes.any()]
    scores = {}  # of each network the Dice of every patient
    for arm, trained in mnets.items():
        trained.mnet.to(device)
        scores[arm] = [dice(one.p > 0.5, one.wanted) for one in predictions(trained, unseen, overlap=0.25)]
table = np.array(list(scores.values())).T  # (patients, networks)

print(f"{'Dice':12}" + "".join(f"{arm:>7}" for arm in scores))
for (case, _), values in zip(unseen, table, strict=True):
    print(f"{case.name:12}" + "".join(f"{value:7.2f}" for value in values))
for arm in scores:
    print(f"{arm:>5}: {ARMS[arm].title if arm in ARMS else 'M-Net + Dice, 9600 steps'}")

# %%
figure = Picture(4.2)
left, right = figure.subplots(1, 2)
left.plot(list(scores), table.T, "-o", color=BLACK, alpha=0.6, ms=8)
left.set(xlabel="Network", ylabel="Dice (no unit)", title="Each line is a patient", ylim=(0, 1))
gaps = {arm: np.subtract(scores[arm], scores["A"]) for arm in scores if arm != "A"}  # (patients,) each
for place, (arm, of_arm) in enumerate(gaps.items()):
    right.plot(of_arm, np.full(len(table), place), "o", ms=9, mec="white", color=ARM_COLORS.get(arm, GREY))
    right.plot(of_arm.mean(), place, "|", ms=24, mew=3, color=BLACK)
right.axvline(0, color=BLACK, lw=1)
right.set_yticks(range(len(gaps)), gaps)
right.locator_params(axis="x", nbins=5)
right.invert_yaxis()
right.set(xlabel="Dice minus that of A (no unit)", ylabel="Network", title="Each dot is a patient, the bar their mean")
across, along = np.ptp(table, axis=0).max(), np.ptp(table, axis=1).max()
figure.finish(
    f"Left, the Dice of {len(table)} patients by network: patients span up to {across:.2f}, networks up to {along:.2f} for "
    f"one patient. Right, each patient's difference to network A."
)

# %%
print(f"patients differ by up to {across:.2f} with one network, networks by up to {along:.2f} for one patient")
for arm in gaps:
    spread, rho = np.std(scores[arm], ddof=1), np.corrcoef(scores[arm], scores["A"])[0, 1]
    print(f"{arm:>5} and A: spread {spread:.2f}, correlation {rho:.2f}; mean difference {gaps[arm].mean():+.3f}")

# %% [markdown]
# A hard patient is hard for all of these networks, which share a base, and phantoms are more alike than patients: with $s$ = 0.07
# and $\rho$ = 0.94, section 4's formula gives ±0.004 for 137 of them, and tells eleven of the twelve rivals apart. So a paper has to print $s$ and $\rho$. **Compare within patients**, and keep the scores of
# each.
#
# ## 6 · An interval
#
# What if other patients had come? The **bootstrap** draws the patients again, with replacement, and sees how the mean moves.


# %%
def interval(differences, seed=0, draws=10_000):
    """95 % bootstrap interval of the mean over patients: (low, high)."""
    drawn = np.random.default_rng(seed).choice(differences, (draws, len(differences)))
    return np.percentile(drawn.mean(axis=1), (2.5, 97.5))


for arm in gaps:
    low, high = interval(gaps[arm])
    print(f"{arm:>5} minus A: {gaps[arm].mean():+.3f}, interval {low:+.3f} to {high:+.3f}")

# %% [markdown]
# **Question.** Would you trust an interval from so few patients? It should hold the truth, 0 in the simulation below, 95 times in 100.

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(0)
for n in (7, 20, 137):
    found = [interval(rng.normal(0, 0.1, n), seed=trial, draws=1000) for trial in range(500)]
    held = np.mean([low <= 0 <= high for low, high in found])
    print(f"{n:3} patients: the interval holds the truth in {100 * held:.0f} % of 500 studies")

# %% [markdown]
# From few patients it is too narrow, so C's proves little, although it leaves out 0. And even a good one speaks of *these networks*, not
# of the *methods*: each comes from one training.
#
# ## 7 · Seeds
#
# The study has ten seeds. Within a seed all arms start from the same M-Net and see
# the same patches. The score is a mean Dice of small lesions at equal numbers of false lesions.
#
# **Question.** Which varies more from seed to seed: the score of one arm, or the difference between two arms?

# %% tags=["nbval-check-output"]
import json

from scipy.stats import ttest_ind, ttest_rel

from lrnet_edu.data.samples import shipped_folder

study = json.loads((shipped_folder("results") / "study" / "study.json").read_text("utf-8"))
cell = study["cells"][study["primary_cell"]]
[pair] = [one for one in cell["gains"] if (one["ours"], one["theirs"]) == ("C", "A")]
seeds, by_seed = pair["seeds"], np.array(pair["by_seed"])
A, C = (np.array(cell["endpoints"][arm]["mean lesion Dice"][: len(seeds)]) for arm in "AC")

tests = ttest_rel(C, A), ttest_ind(C, A, equal_var=False)  # t, not 1.96, which is for many seeds
paired, unpaired = (np.ptp(test.confidence_interval()) / 2 for test in tests)
deviations = ", ".join(f"{name} {values.std(ddof=1):.3f}" for name, values in (("A", A), ("C", C), ("C - A", by_seed)))
print(f"{len(seeds)} seeds, standard deviation over them: {deviations}")
print(f"C - A of one seed: from {by_seed.min():+.3f} to {by_seed.max():+.3f}")
print(f"C - A: {by_seed.mean():+.3f}; 95 % interval ±{paired:.3f} paired, ±{unpaired:.3f} if the pairs are ignored")

# %%
figure = Picture(4.0)
left, right = figure.subplots(1, 2)
for both in zip(A, C, strict=True):
    left.plot(["A: Dice", "C: LR-Net alone"], both, "-o", color=BLUE, lw=2, ms=8)
left.set(ylabel="Mean lesion Dice (no unit)", title="Each line is a seed", xlim=(-0.3, 1.3))
right.axhline(0, color=BLACK, lw=1)
right.plot(seeds, by_seed, "o", color=ARM_COLORS["C"], ms=10)
right.axhspan(by_seed.mean() - paired, by_seed.mean() + paired, color=ARM_COLORS["C"], alpha=0.2, lw=0)
right.set(xlabel="Seed", ylabel="C minus A (no unit)", title="Differences, and the mean's 95 % interval", xticks=seeds)
figure.finish(
    f"Left, the score of arms A and C, a line for each of {len(seeds)} seeds. Right, their differences, on average "
    f"{by_seed.mean():+.3f} with a 95 % interval of ±{paired:.3f}."
)

# %% [markdown]
# The difference varies less than A or C alone, so pairs make the interval narrower. But one seed alone may report no gain, or
# half as much again. A claim about a method needs many trainings. In section 6, by DC at one threshold, C was behind.
#
# ## 8 · How long was it trained?
#
# Now train fresh M-Nets for a few steps each. **Question.** Does MapDice gain anything over Dice? How far are both above a guess that
# never sees the image?


# %%
import torch

from lrnet_edu import DiceLoss, MapDiceLoss, MNet
from lrnet_edu.data.baseline import location_baseline
from lrnet_edu.data.patches import PatchBatches
from lrnet_edu.mnet_training import case_dice

PATCH = (24, 40, 40)  # voxels (z, y, x)
with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    training = [arrays for _, arrays in liver_boxes(study_folder(6, first=0), folder)]


LOSSES = {
    "Dice": lambda p, batch: DiceLoss()(p, batch.classes),
    "MapDice": lambda p, batch: MapDiceLoss()(p, batch.maps["NI-DM"]),
}


def train(method, steps, seed):
    """A fresh M-Net after so many steps of Adam: its mean Dice over unseen patients."""
    torch.manual_seed(seed)
    mnet = MNet(features=(16, 24, 32, 64), blocks=(1, 1, 1), stride=2).to(device)
    batches = PatchBatches(training, ["NI-DM"], 1, PATCH, 2, 2 / 3, True, [seed], steps)
    optimizer = torch.optim.Adam(mnet.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    for step in range(steps):
        batch = batches[step].to(device)
        loss = LOSSES[method](torch.softmax(mnet(batch.image), dim=1), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    return np.mean([case_dice(mnet.eval(), arrays, PATCH, 1) for _, arrays in unseen])


for seed in (0, 1):
    plain, other = (train(method, STEPS, seed) for method in LOSSES)
    print(f"seed {seed}, {STEPS} steps: Dice {plain:.3f}, MapDice {other:.3f}, gain {other - plain:+.3f}")
guess = location_baseline(training, [arrays for _, arrays in unseen], 1)[0]
print(f"location alone, the usual place of lesions in the box: {guess:.3f}")

# %% [markdown]
# Both beat the guess. MapDice's gain varies with the seed.
#
# ### Exercise 7.3 · Change the training
# The next cell trains with Dice for four times as many steps. Which gain will be larger, the one by `"steps"` or the one by
# `"method"`?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_7_3(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# After so few steps no loss has converged, so each further step still helps a lot.
#
# ```python
# answer = "steps"
# ```
# </details>

# %%
for seed in (0, 1):
    longer = train("Dice", 4 * STEPS, seed)
    print(f"seed {seed}, {4 * STEPS} steps: Dice {longer:.3f}")

# %% [markdown]
# The steps gain more than MapDice did, and the two seeds now differ by more than the two losses did.
#
# While networks still learn, a table compares how fast they learn. Train every row **until its validation curve is flat**.
#
# ## 9 · The best of many
#
# Table 1 has 25 cells and 13 patients. Its highest cell is 0.061 above M-Net + MapDice.
#
# **Question.** Suppose that all 25 are as good as the baseline, and that each patient's Dice moves independently by 0.05 to 0.1
# from one training to the next. By how much will the *best* one seem to win?

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(0)
studies, patients, variants = 4000, 13, 25
claimed = table1.max() - BASELINE["MapDice"]
for wobble in (0.05, 0.07, 0.1):
    means = rng.normal(0, wobble / np.sqrt(patients), (studies, 1 + variants))  # the first one is the baseline
    best = means[:, 1:].max(axis=1) - means[:, 0]
    print(
        f"Dice moves by {wobble:.2f}: the best of {variants} gains {best.mean():.3f} on average, "
        f"{claimed:.3f} or more in {100 * (best >= claimed).mean():.0f} % of the studies"
    )

# %% [markdown]
# Chance can make such a winner, if Dice moves enough.
# **Holm's correction** keeps the chance of any false discovery at 5 % at most: multiply the smallest of $m$ p-values by $m$, the next by
# $m - 1$, and so on, until one is not below 0.05. Notebook 08 does so.
#
# ## 10 · What a claim needs
#
# **Question.** What would you ask the authors? Write down five questions, then read on.
#
# | a claim needs | or else |
# |---|---|
# | convergence, with the learning curve of every row | the fastest wins, not the best |
# | a control that lacks only what the claim is about | the gain comes from something else |
# | fair rivals, tuned by the same rule as the winner | they lose by a wrong rate or a missing warm-up |
# | the same number of false lesions | the gain is only a shifted threshold |
# | what a guess scores that never sees the image | a network that learned nothing still gets a row |
# | several trainings, in pairs, and the scores of each patient | one lucky training is taken for the method |
# | few comparisons, and the number of trainings fixed beforehand | the best of many, or the best moment to stop, wins by chance |
#
# What our own tables lack: `results/NOTES.md`.
#
# ## Summary
#
# - Most cells point the paper's way. But in five rows DC and VOE do not fit together.
# - Compare in pairs. Intervals over patients speak of networks, intervals over seeds of methods.
# - Before convergence, more steps can gain more than another loss. The best of many needs a correction.
#
# **Next:** [08 · The study](08_the_study.ipynb).
