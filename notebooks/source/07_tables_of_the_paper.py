# %% [markdown]
# # 07 · Tables of the paper
#
# Two tables carry the paper's claim: Table 1 (which map, which losses) and Table 2 (ahead of twelve other methods).
# Numbers in bold win. In this notebook you learn to ask what such a table can prove: first with nothing but the
# printed numbers, then with four networks of our own and as many patients as we like.
#
# **Afterwards you can**
# - read Tables 1 and 2 with their gaps, and say which claims their own numbers support,
# - put an interval on a difference, paired and over cases, and say what it leaves out,
# - say what seeds, few cases and many comparisons do to the best number of a table.
#
# **Takes** 60 minutes to read and try; the cells run in about 2 minutes on two CPU cores. On a GPU they look at more
# patients and train longer; that time was not measured.

# %% tags=["parameters"]
from lrnet_edu.config import fast

FAST = fast()  # the environment variable LRNET_EDU_FAST=1: everything small
GPU = device.type == "cuda"
NEW_CASES = 2 if FAST else 60 if GPU else 16  # phantoms that nobody has seen, for section 6
SEEDS = 2 if FAST else 5 if GPU else 3  # trainings of each method in section 7 ...
STEPS = 6 if FAST else 240 if GPU else 80  # ... and their length

# %% [markdown]
# ## 1 · Table 2, as it is printed
#
# Thirteen methods, seven criteria, 137 patients of the authors' own clinic.

# %% tags=["nbval-check-output"]
import numpy as np

from lrnet_edu.methods import METHODS
from lrnet_edu.study.rows import PRINTED as CRITERIA
from lrnet_edu.study.rows import TABLES

rows = TABLES["table2"].rows
methods = [METHODS[row.method].title for row in rows]
table2 = np.array([[row.paper[name] for name in CRITERIA] for row in rows])  # (methods, criteria)
ours = methods.index("M-Net + MapDice + LR-Net")  # the paper's full method

print(" " * 26 + "".join(f"{name:>8}" for name in CRITERIA))
for method, figures in zip(methods, table2, strict=True):
    print(f"{method:26}" + "".join(f"{figure:8.3f}" for figure in figures))

# %% [markdown]
# 91 numbers, and not one interval. DC is the mean Dice per case, DG the Dice of all voxels together; VOE, RVD and the
# three distances (in mm) measure errors. Notebook 06 takes them apart.
#
# **Question.** Which method would you buy? Choose a criterion and see whom it puts first. Then compare "RVD, smallest"
# with "|RVD|": one of them is the paper's reading. (Menus and sliders need a running kernel.)

# %%
import ipywidgets as widgets

from lrnet_edu.figures import Picture
from lrnet_edu.figures.palette import BLACK, BLUE, GREY, METHOD_COLORS, ORANGE
from lrnet_edu.viewers.controls import interact


def ranking(criterion):
    """The thirteen rows of Table 2, the best by one criterion on top."""
    values = table2[:, CRITERIA.index(criterion.strip("|").split(",")[0])]
    values = np.abs(values) if criterion == "|RVD|" else values
    order = np.argsort(-values if criterion in ("DC", "DG") else values, kind="stable")
    figure = Picture(4.6)
    axes = figure.subplots()
    axes.barh(range(len(order)), values[order], color=[ORANGE if i == ours else BLUE for i in order])
    axes.set_yticks(range(len(order)), [methods[i] for i in order])
    axes.invert_yaxis()
    for place, value in enumerate(values[order]):
        axes.annotate(f"{value:.3f}", (max(value, 0), place), xytext=(4, 0), textcoords="offset points", va="center")
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
# "For the last five evaluation metrics, the smaller the value, the better", says section 3, and Table 2 prints the
# −0.253 of WCE in bold as the best RVD. But RVD has a sign: −0.253 means that, on average, a quarter of the volume is
# missing.
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
# And even a mean RVD of 0 can hide anything: +0.9 in one patient and −0.9 in the next have the mean 0. The package
# therefore reports the mean of |RVD| beside it.
#
# ## 2 · Can these columns belong together?
#
# Two criteria of one case are tied to each other: VOE is 1 − Jaccard, and a mask's Jaccard is never above its Dice. So
# VOE ≥ 1 − Dice in every case, and in the mean over the same cases: **VOE ≥ 1 − DC**, whatever the method.
#
# **Question.** M-Net + Dice has DC 0.647. How small can its VOE be? What does the table say?

# %% tags=["nbval-check-output"]
DC, VOE = table2[:, 0], table2[:, 2]
for method, dice, voe in zip(methods, DC, VOE, strict=True):
    if voe < 1 - dice - 0.001:  # each figure is rounded by up to 0.0005
        print(f"{method:26} VOE {voe:.3f}, but 1 - DC = {1 - dice:.3f}")

# %% [markdown]
# Five rows cannot be. In them DC and VOE are not means of these definitions over the same 137 cases. Perhaps empty
# cases were counted in one and left out of the other; the paper does not say. A table without definitions and counts
# cannot be checked by its reader. (`lrnet_edu.score_table` prints how many cases are undefined beside each mean.)
#
# ## 3 · Table 1, and the claims by their own numbers
#
# DC on the LiTS validation set for five maps (columns) and five ways to train (rows); $\alpha$ weighs the LR-Net's
# loss (section 2.3), and rows without it have $\alpha = 1$. The baselines stand in the text of section 3.1.

# %%
from lrnet_edu.study.rows import COLUMNS, TRAININGS

MAPS = list(COLUMNS)  # NI-DMs: NI-DM with a sigmoid as the LR-Net's output
WAYS = ("LR-Net alone", "Dice + LR-Net", "Dice + α LR-Net", "MapDice + LR-Net", "MapDice + α LR-Net")
table1 = np.array(list(TRAININGS.values()))  # (ways, maps)
BASELINE = {"Dice": 0.6581, "MapDice": 0.6856}  # M-Net without an LR-Net

figure = Picture(4.3)
axes = figure.subplots()
styles = zip((":", "--", "-", "--", "-"), (BLACK, *[METHOD_COLORS["dice+lrnet"]] * 2, *[ORANGE] * 2), strict=True)
for way, values, (line, colour) in zip(WAYS, table1, styles, strict=True):
    axes.plot(MAPS, values, line, color=colour, marker="o", lw=2.5, label=way)
for name, colour in (("MapDice", METHOD_COLORS["mapdice"]), ("Dice", BLUE)):
    axes.axhline(BASELINE[name], color=colour, lw=2, label=f"{name}, no LR-Net")
axes.set(ylabel="DC (no unit)", title="Table 1, LiTS validation set")
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), handlelength=3)
figure.finish(
    "DC of Table 1 for five maps and five ways to train. NI-DM is highest in every row, 0.7463 with MapDice and alpha; "
    "with SNI-DM three rows fall to between 0.63 and 0.65, below the baseline of 0.6581."
)

# %% [markdown]
# **Question.** "The M-Net with the LR-Net achieves better performance than M-Net alone on all the evaluation
# criteria"; "MapDice loss contributes a lot"; against the imbalance losses "a significant increment in all the
# evaluation metrics". Guess for each: does it hold in every cell of the paper's own tables?

# %% tags=["nbval-check-output"]
errors = table2 * [-1, -1, 1, 1, 1, 1, 1]  # smaller is better now in every column ...
errors[:, 3] = np.abs(errors[:, 3])  # ... RVD by its size
row = {method: errors[i] for i, method in enumerate(methods)}
losses, regressions = errors[6:11], errors[11:]


def count(claim, table, holds):
    print(f"{claim:45} {table}: {np.sum(holds):2} of {np.size(holds):2}")


alone = np.array([BASELINE[name] for name in ("MapDice", "Dice", "Dice", "MapDice", "MapDice")])[:, None]
count("the LR-Net is better than the M-Net alone", "Table 1", table1 > alone)
count("α helps", "Table 1", table1[[2, 4]] > table1[[1, 3]])
count("MapDice beats Dice, both with the LR-Net", "Table 1", table1[[3, 4]] > table1[[1, 2]])
count("MapDice beats Dice, both with the LR-Net", "Table 2", errors[ours] < row["M-Net + Dice + LR-Net"])
count("NI-DM with ReLU is the best map", "Table 1", table1.argmax(axis=1) == 2)
count("frozen beats unfrozen", "Table 2", row["M-Net + LR-Net"] < row["M-Net + unfrozen LR-Net"])
count("the full method beats M-Net + Dice", "Table 2", errors[ours] < row["M-Net + Dice"])
count("the full method beats all imbalance losses", "Table 2", errors[ours] < losses.min(axis=0))
count("the full method beats both regressions", "Table 2", errors[ours] < regressions.min(axis=0))

# %% [markdown]
# Most arrows point the paper's way. All three cells in which the LR-Net loses are SNI-DM's, and "in all the evaluation
# metrics" fails for RVD and MSD. But *pointing* is all that a single number can do: nothing here says how far another
# training, or other patients, would have moved it. "Significant" would need exactly that, and there is neither an
# interval nor a test in the paper.
#
# ### Exercise 7.2 · MapDice on its own
# "By comparing the results with and without the MapDice loss, it is apparent that MapDice loss contributes a lot".
# Leave the LR-Net out: in how many of Table 2's seven criteria is M-Net + MapDice better than M-Net + Dice? (RVD by
# its size.)

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
# The mean of $n$ cases whose Dice spreads by $s$ is uncertain by $s / \sqrt{n}$. For the **difference** of two methods
# it depends on one thing more: both were tested on the *same* patients. A hard patient is hard for both, so much of
# the spread cancels. With a correlation $\rho$ between the methods' Dice over the patients, the standard error is
#
# $$\mathrm{SE} = s \sqrt{\frac{2 (1 - \rho)}{n}}$$
#
# and a 95 % interval reaches about 1.96 SE to either side. $\rho = 0$ is what a reader has to assume who only sees the
# means (an *unpaired* comparison).
#
# **Question.** The paper gives neither $s$ nor $\rho$. Take $s = 0.25$: how many of the twelve rivals can be told
# apart from the full method by 137 patients? Then move the sliders: what would it take to tell it from Tversky, 0.013
# below?


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
        xlabel="DC of M-Net + MapDice + LR-Net minus DC of the row (no unit), with a 95 % interval",
        title=f"{cases} cases, spread {spread:.2f}, correlation {correlation:.2f}: {apart} of {len(rivals)} told apart",
        xlim=(-0.2, 0.35),
    )
    return figure.finish(
        f"Differences in DC to the full method with intervals of ±{half:.3f}, assuming {cases} cases, a spread of "
        f"{spread} and a correlation of {correlation}: {apart} of {len(rivals)} exclude 0, drawn blue."
    )


interact(
    against_the_rest,
    cases=widgets.IntSlider(137, min=5, max=500, description="cases", continuous_update=False),
    spread=widgets.FloatSlider(0.25, min=0.05, max=0.4, step=0.05, description="spread s", continuous_update=False),
    correlation=widgets.FloatSlider(0, min=0, max=0.95, step=0.05, description="corr. ρ", continuous_update=False),
)

# %% tags=["nbval-check-output"]
for cases in (13, 137):  # the patients of Table 1, and those of Table 2
    for correlation in (0, 0.9):
        half = 1.96 * 0.25 * np.sqrt(2 * (1 - correlation) / cases)
        apart = (np.delete(DC[ours] - DC, ours) > half).sum()
        print(f"{cases:3} cases, correlation {correlation:3.1f}: ±{half:.3f}, {apart} of 12 told apart")

# %% [markdown]
# Against the plain Dice loss 137 patients are enough, whatever you assume. Against Tversky, Focal Tversky and ExpLog
# all depends on a $\rho$ that we are not told. Publishing the 137 × 13 scores *per case* would have settled it.
#
# ## 5 · Four networks of our own
#
# The course ships the M-Nets of its demo: one training each, the same steps, the same data, seed 0. Five of the 20
# sample phantoms took no part in it.

# %%
from lrnet_edu import case_scores, find_cases
from lrnet_edu.data.nifti import read_image, read_mask
from lrnet_edu.data.preprocessing import back_to_original, prepare
from lrnet_edu.data.samples import sample_folder, sample_mnet
from lrnet_edu.data.study import split_cases
from lrnet_edu.inference import predict_probabilities
from lrnet_edu.trained import load_mnet

OUR_METHODS = ("dice", "mapdice", "dice+lrnet", "mapdice+lrnet")
titles = [METHODS[method].title for method in OUR_METHODS]
networks = [load_mnet(sample_mnet(method)) for method in OUR_METHODS]


def scores_of(networks, image, lesion):
    """CaseScores of each network for one scan: preprocess, predict, back to the scan's grid, compare."""
    prepared = prepare(image, networks[0].preprocessing)  # the same for all of them
    scores = []
    for trained in networks:
        mnet = trained.mnet.to(device)
        probabilities = predict_probabilities(mnet, prepared.image, patch_size=trained.patch_size)  # (2, d, h, w)
        classes, _ = back_to_original(probabilities, prepared.affine, image)  # (D, H, W)
        scores.append(case_scores(classes == 1, lesion, image.spacing))
    return scores


cases = {case.name: case for case in find_cases(sample_folder())}
test = split_cases(list(cases))["test"]
scans = {name: (read_image(cases[name].image), read_mask(cases[name].mask).data == 2) for name in test}
results = {name: scores_of(networks, image, lesion) for name, (image, lesion) in scans.items()}

# %% tags=["nbval-check-output"]
print(f"{'Dice':12}" + "".join(f"{method:>16}" for method in OUR_METHODS))
for name, scores in results.items():
    note = "" if scores[0].reference_voxels else "   (it has no lesion)"
    print(f"{name:12}" + "".join(f"{score.dice:16.2f}" for score in scores) + note)

with_lesion = [name for name in test if results[name][0].reference_voxels]
dice = np.array([[score.dice for score in results[name]] for name in with_lesion])  # (cases, methods)
print(f"{'mean of ' + str(len(dice)):12}" + "".join(f"{mean:16.2f}" for mean in dice.mean(axis=0)))

# %% [markdown]
# A case without a lesion has a Dice of 1 or 0 and nothing between: we set it apart, as the demo does.
#
# **Question.** Look at the columns, then along the rows. Which differ more, the methods or the patients?

# %%
short = [title.removeprefix("M-Net + ") for title in titles]
figure = Picture(4.2)
left, right = figure.subplots(1, 2, width_ratios=[1.2, 1])
for name, values, marker in zip(with_lesion, dice, "osD^v", strict=False):
    left.plot(
        [title.replace(" + ", "\n+ ") for title in short], values, color=BLACK, alpha=0.6, marker=marker, label=name
    )
left.plot(range(4), dice.mean(axis=0), color=ORANGE, lw=4, label="mean")
left.set(ylabel="Dice (no unit)", title="Each line is a patient")
figure.legend(loc="outside lower center", ncols=6)
for place, method in enumerate(OUR_METHODS[1:]):
    gaps, heights = dice[:, place + 1] - dice[:, 0], place + np.linspace(-0.15, 0.15, len(dice))
    right.plot(gaps, heights, "o", ms=9, mec="white", color=METHOD_COLORS[method])
right.axvline(0, color=BLACK, lw=1)
right.set_yticks(range(3), short[1:])
right.locator_params(axis="x", nbins=5)
right.set(xlabel="Dice minus that of Dice alone (no unit)", title="Each dot is a patient", ylim=(-0.5, 2.5))
figure.finish(
    f"Left, the Dice of four methods for {len(dice)} patients, who span {np.ptp(dice, axis=0).min():.2f} and more with every "
    f"method; no line moves by more than {np.ptp(dice, axis=1).max():.2f}. "
    "Right, each patient's difference to M-Net + Dice, for three methods."
)

# %% [markdown]
# ### An interval by resampling
#
# The **bootstrap** asks: what if other patients of the same kind had come? It draws the patients again, with
# replacement, ten thousand times, and looks at how the mean moves. Paired: a patient is drawn with both methods' Dice,
# that is, with the difference.


# %% tags=["nbval-check-output"]
def interval(differences, seed=0, resamples=10_000):
    """95 % bootstrap interval of the mean over cases: (low, high)."""
    drawn = np.random.default_rng(seed).choice(differences, (resamples, len(differences)))
    return np.percentile(drawn.mean(axis=1), (2.5, 97.5))


for place, title in enumerate(titles[1:], start=1):
    differences = dice[:, place] - dice[:, 0]  # (cases,)
    low, high = interval(differences)
    print(f"{title:26} minus M-Net + Dice: {differences.mean():+.2f}, interval {low:+.2f} to {high:+.2f}")

# %% [markdown]
# **Question.** Do you believe an interval from four patients? An interval promises to hold the truth 95 times in 100.
# That can be tried out, on differences that we draw ourselves and whose true mean, 0, we therefore know.

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(0)
for n in (4, 10, 30, 137):
    found = [interval(rng.normal(0, 0.1, n), seed=trial, resamples=1000) for trial in range(500)]
    held = np.mean([low <= 0 <= high for low, high in found])
    print(f"{n:3} cases: the 95 % interval holds the truth in {100 * held:.0f} % of 500 studies")

# %% [markdown]
# (500 studies pin each share down to ± 2 to 4 %.) With four cases it is wrong about one time in five. Does a test help?
# If two methods are equally good, each patient's difference is as likely to be + as −, and one need not assume more. The
# **sign-flip test** tries all patterns of signs and counts how many give a mean at least as far from 0 as the observed
# one: that share is the p-value. Beside it Wilcoxon's test and the better known t-test.


# %% tags=["nbval-check-output"]
from itertools import product


def sign_flip(differences):
    """Two-sided p-value of the exact sign-flip test."""
    signs = np.array(list(product((-1, 1), repeat=len(differences))))  # (2^n, n)
    means = np.abs((signs * differences).mean(axis=1))
    return np.mean(means >= np.abs(np.mean(differences)) - 1e-12)


from scipy.stats import ttest_1samp

from lrnet_edu.study.statistics import signed_rank_p

for differences in ([0.04, 0.02, 0.05, 0.03], [0.4, 0.2, 0.5, 0.3], [0.04, 0.02, 0.05, -0.01]):
    p, package, t_test = (
        sign_flip(np.array(differences)),
        signed_rank_p(differences),
        ttest_1samp(differences, 0).pvalue,
    )
    print(f"differences {differences}: p = {p:.3f}, of Wilcoxon's test {package:.3f}, of the t-test {t_test:.3f}")

# %% [markdown]
# Ten times the effect, the same p. (The package uses a relative of this test, Wilcoxon's signed-rank test, which flips
# the signs of ranks, so that one wild case has less of a say.) With four patients the smallest p that either of the two
# can give is 0.125, for even four plusses in a row come up by chance. So **with this test the comparison could not have
# been significant, whatever the networks do.**
#
# The t-test's smaller p is bought by an assumption: the differences follow a normal distribution, and these few tell its
# spread. Differences in Dice need not, with a wild case now and then, and four patients cannot show whether they do.
#
# ### Exercise 7.3 · How many patients, at least?
# What is the smallest number of patients with which the sign-flip test *can* reach p < 0.05?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_7_3(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# Only the patterns "all +" and "all −" are as extreme as the best possible outcome: $p = 2 / 2^n$.
#
# ```python
# answer = next(n for n in range(1, 100) if 2 / 2**n < 0.05)
# ```
# </details>

# %% [markdown]
# ## 6 · More patients
#
# Our patients are computed, so we can have more: phantoms with new seeds, which no network has seen.
#
# **Question.** By how much should the interval shrink if there are five times as many cases?

# %%
from lrnet_edu.data.nifti import Volume
from lrnet_edu.data.phantoms.phantom import GRIDS, phantom

new = []
for number in range(NEW_CASES):
    shape, spacing = GRIDS[number % len(GRIDS)]
    patient = phantom(1000 + number, shape=shape, spacing=spacing)  # image and mask (D, H, W)
    scores = scores_of(networks, Volume(patient.image.astype(np.float32), patient.affine), patient.mask == 2)
    new.append([score.dice for score in scores])
more = np.concatenate((dice, new))  # (cases, methods)
print(f"mean Dice of {len(more)} cases")
for title, mean in zip(titles, more.mean(axis=0), strict=True):
    print(f"    {title:26} {mean:.2f}")

# %%
figure = Picture(3.9)
for axes, place in zip(figure.subplots(1, 3, sharey=True), (1, 2, 3), strict=True):
    differences = more[:, place] - more[:, 0]
    numbers = np.arange(3, len(more) + 1)
    bands = np.array([interval(differences[:n], resamples=2000) for n in numbers])  # (numbers, 2)
    colour = METHOD_COLORS[OUR_METHODS[place]]
    axes.fill_between(numbers, *bands.T, color=colour, alpha=0.3, label="95 % interval")
    axes.plot(numbers, [differences[:n].mean() for n in numbers], color=colour, lw=3, label="mean difference")
    axes.axhline(0, color=BLACK, lw=1)
    axes.set(title=titles[place], xlabel="Cases")
figure.axes[0].set_ylabel("Dice minus that of\nM-Net + Dice (no unit)")
figure.axes[0].legend()
ends = "; ".join(
    f"{titles[i]} {(more[:, i] - more[:, 0]).mean():+.3f}, {low:+.3f} to {high:+.3f}"
    for i in (1, 2, 3)
    for low, high in [interval(more[:, i] - more[:, 0])]
)
figure.finish(
    f"Mean difference to M-Net + Dice with its interval against the number of cases. With {len(more)}: {ends}."
)

# %%
for place in (1, 2, 3):
    spread, rho = more[:, place].std(ddof=1), np.corrcoef(more[:, place], more[:, 0])[0, 1]
    paired = (more[:, place] - more[:, 0]).std(ddof=1) / np.sqrt(len(more))
    unpaired = np.sqrt((more[:, place].var(ddof=1) + more[:, 0].var(ddof=1)) / len(more))
    print(f"{titles[place]:26} s = {spread:.2f}, ρ = {rho:.2f}; SE unpaired {unpaired:.3f}, paired {paired:.3f}")

# %% [markdown]
# Five times as many patients divide the standard error by $\sqrt 5$, that is by 2.2. In the picture only MapDice's interval
# shrinks like that: those of the others, from four patients, were too narrow to begin with (section 5). Pairing is free and does more:
# it needs no other patients, only that one keeps the scores per case. And look at MapDice: with four patients it was
# 0.01 behind Dice and its interval held 0, with twenty it is ahead and the interval leaves 0 out.
#
# Is the question settled where an interval leaves 0 out? It says: *these two networks* differ on such patients. It
# does not say that the two *methods* do. Each network is one throw of the dice.
#
# ## 7 · The other dice: seeds
#
# Weights start at random, patches are drawn at random. So we train two methods a few times, from different seeds.
# These are short trainings, in which neither method gets far; the point is the spread, not the winner.
#
# **Question.** Will the gap between the methods be larger than the gap between seeds?

# %%
import tempfile
from dataclasses import replace
from pathlib import Path

from IPython.utils.capture import capture_output

from lrnet_edu.data.study import open_study
from lrnet_edu.mnet_training import train_run
from lrnet_edu.study.demo import demo_config

PAIR = ("dice", "dice+lrnet")
study = open_study(sample_folder(), demo_config("dice", seed=0))
by_seed = np.empty((SEEDS, len(dice), 2))  # (seeds, cases, methods)
with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    for seed in range(SEEDS):
        for place, method in enumerate(PAIR):
            run = Path(folder) / f"{method}-{seed}"
            config = replace(demo_config(method, seed), steps=STEPS, validate_every=STEPS)
            with capture_output():  # progress bars
                train_run(study, config, run)
            by_seed[seed, :, place] = [scores_of([load_mnet(run)], *scans[name])[0].dice for name in with_lesion]
        print(
            f"seed {seed}: DC {by_seed[seed, :, 0].mean():.2f} with Dice, {by_seed[seed, :, 1].mean():.2f} with Dice + LR-Net"
        )

# %%
gap = by_seed[..., 1] - by_seed[..., 0]  # (seeds, cases)
figure = Picture(3.9)
left, right = figure.subplots(1, 2, width_ratios=[1, 1.4])
for means in by_seed.mean(axis=1):
    left.plot(
        [METHODS[method].title.replace("Dice + ", "Dice\n+ ") for method in PAIR], means, "-o", color=BLUE, lw=2, ms=8
    )
left.set(ylabel="DC of a training (no unit)", title="Each line is a seed", xlim=(-0.3, 1.3))
for seed, differences in enumerate(gap):
    right.plot(differences, [seed] * len(differences), "o", color=GREY, ms=7)
    right.plot(differences.mean(), seed, "D", color=ORANGE, ms=11, mec=BLACK)
right.axvline(0, color=BLACK, lw=1)
right.set_yticks(range(SEEDS), [f"seed {seed}" for seed in range(SEEDS)])
right.locator_params(axis="x", nbins=6)
right.set(
    xlabel="Dice with the LR-Net minus Dice without (no unit)",
    title="Patients (grey) and their mean (orange)",
    ylim=(-0.5, SEEDS - 0.5),
)
figure.finish(
    f"Left, DC of {SEEDS} trainings of M-Net + Dice and of M-Net + Dice + LR-Net; right, the difference for each patient "
    f"and seed, whose means are {', '.join(f'{mean:+.2f}' for mean in gap.mean(axis=1))}."
)

# %% [markdown]
# A table with one number per cell shows *one* of these lines and calls it the method. An honest interval draws both
# dice: first the seeds, then the patients. **Question.** Does the interval of seed 0 hold the mean of all seeds?


# %%
from lrnet_edu.study.statistics import compare


def interval_over_both(gap, resamples=10_000):
    """95 % bootstrap interval of the mean of (seeds, cases), both drawn with replacement."""
    rng = np.random.default_rng(0)
    seeds = rng.integers(gap.shape[0], size=(resamples, gap.shape[0], 1))
    patients = rng.integers(gap.shape[1], size=(resamples, 1, gap.shape[1]))
    return np.percentile(gap[seeds, patients].mean(axis=(1, 2)), (2.5, 97.5))


package = compare(by_seed[..., 1], by_seed[..., 0])  # (seeds, cases) each
for title, mean, ends in (
    ("seed 0, over its patients", gap[0].mean(), interval(gap[0])),
    ("over seeds and patients", gap.mean(), interval_over_both(gap)),
    ("the package's", package.difference, (package.low, package.high)),
):
    print(f"{title:26} mean {mean:+.3f}, interval {ends[0]:+.3f} to {ends[1]:+.3f}")
low, high = interval(gap[0])
print(f"the interval of seed 0 {'holds' if low <= gap.mean() <= high else 'misses'} the mean of all seeds")
print(f"one patient's Dice moves from seed to seed by {np.sqrt(by_seed.var(axis=0, ddof=1).mean()):.2f}")
of_training, gaps = by_seed.mean(axis=1), gap.mean(axis=1)  # DC of each training (seeds, methods); (seeds,)
ranges = " and ".join(f"{width:.2f}" for width in np.ptp(of_training, axis=0))
print(f"DC moves from seed to seed by up to {ranges}, from method to method by {gaps.min():.2f} to {gaps.max():.2f}")

# %% [markdown]
# **Look back.** The last line answers the question above: another seed moves DC as far as the other method does, or
# farther. That all three gaps have the same sign is pairing again, for both methods start from the same weights and see the
# same patches. An interval over one seed's patients knows nothing of the other seeds: where it holds their mean, that is
# luck. The intervals differ in the third decimal only, because here the gaps of the seeds happen to lie closer together
# than those of the patients; three seeds are few to rely on that.
#
# **Question.** The networks of sections 5 and 6 are the same two methods, trained longer or as long. Is the one that is
# ahead here ahead there, by as much?

# %%
for what, steps, lead in (
    (f"{SEEDS} trainings of section 7", STEPS, gap.mean()),
    ("the two that ship", demo_config("dice", seed=0).steps, (more[:, 2] - more[:, 0]).mean()),
):
    print(f"{what:26} {steps:4} steps each: Dice with the LR-Net minus Dice without {lead:+.3f}")

# %% [markdown]
# Who is ahead after a short training need not end ahead, and a lead need not keep its size (nor do these two rows speak
# of the same patients). A comparison has to say how long each method was trained, on how many scans, and on whom it was
# tested: section 9's runs learn from three times as many phantoms.
#
# ## 8 · The best of many
#
# Table 1 has 25 cells, 13 validation patients, and one cell in bold that is 0.061 above M-Net + MapDice. The same 13
# patients also chose each checkpoint.
#
# **Question.** Suppose all 25 variants were exactly as good as the baseline, and each patient's Dice moves by chance
# by 0.05 to 0.1 from one training to the next (section 7 has our figure). How far above the baseline is the *best* of the 25?

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(0)
studies, patients, variants = 4000, 13, 25
claimed = table1.max() - BASELINE["MapDice"]
for wobble in (0.05, 0.07, 0.1):
    means = rng.normal(0, wobble / np.sqrt(patients), (studies, 1 + variants))  # the first one is the baseline
    best = means[:, 1:].max(axis=1) - means[:, 0]
    print(
        f"Dice moves by {wobble:.2f}: the best of {variants} equals gains {best.mean():.3f} on average, "
        f"{claimed:.3f} or more in {100 * (best >= claimed).mean():.0f} % of the studies"
    )

# %% [markdown]
# A gain out of nothing, with 0.1 of the size of the one in the table. Whoever looks at many cells has to ask more of each:
# Table 2 compares one method with twelve. **Holm's correction** keeps the chance of *any* false discovery at 5 %: sort
# the $m$ p-values, multiply the smallest by $m$, the next by $m - 1$, and so on; none may become smaller than the one
# before it, nor exceed 1. With $m$ comparisons even the smallest p of the test is multiplied by $m$:

# %% tags=["nbval-check-output"]
from lrnet_edu.study.statistics import cases_needed

for comparisons in (1, 12, 24):
    print(f"{comparisons:2} comparisons: a difference can be found from {cases_needed(comparisons)} patients on")

# %% [markdown]
# ### Exercise 7.4 · Holm
# Write it: a function of a list of p-values that returns the corrected ones, in the order in which they came.
# `def answer(p_values): ...`.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_7_4(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def answer(p_values):
#     p = np.asarray(p_values, dtype=float)
#     order = np.argsort(p)
#     factors = len(p) - np.arange(len(p))  # m, m - 1, ..., 1
#     corrected = np.empty(len(p))
#     corrected[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1)
#     return corrected
# ```
# </details>

# %% [markdown]
# ## 9 · Which claims held?
#
# First with our four networks, on all patients that we have: three of the paper's differences, each with an interval
# and a corrected p. Three answers are possible, and the third is an honest one: *better*, *worse*, *not
# distinguishable* with this much data.
#
# **Question.** Which of the three do you expect for MapDice alone, after exercise 7.2?

# %%
from lrnet_edu.study.statistics import correct

compared = correct([compare(more[None, :, place], more[None, :, 0]) for place in (1, 2, 3)])  # one seed
print(f"{'instead of M-Net + Dice':26} {'paper':>7} {'ours':>7}   interval, {len(more)} cases")
for title, one in zip(titles[1:], compared, strict=True):
    paper = DC[methods.index(title)] - DC[methods.index("M-Net + Dice")]
    ends = f"{one.low:+.3f} to {one.high:+.3f}"
    p = "< 0.001" if one.p_corrected < 0.001 else f"= {one.p_corrected:.3f}"
    held = [name for name, gain in (("0", 0), ("the paper's gain", paper)) if one.low <= gain <= one.high]
    print(f"{title:26} {paper:+7.3f} {one.difference:+7.3f}   {ends}, corrected p {p}: {one.verdict}")
    print(f"{'':45}the interval holds {' and '.join(held) or 'neither 0 nor what the paper gained'}")

# %% [markdown]
# Read the interval, not only the verdict. One that holds the paper's gain and leaves 0 out agrees with the paper: MapDice's
# does. One that leaves out both says that there is a gain, or a loss, and of another size: so with the two LR-Nets, which
# gain *less* here than they gave the paper. One that holds 0 and leaves out the paper's gain would have taught us something
# as well, and one that holds both nothing yet.
#
# Keep section 7 in mind: *for these four networks, on these phantoms*, after the same number of steps (a step with the
# LR-Net takes longer). About the *methods* it takes several trainings of each row to say anything.
#
# ### The whole tables, run again
#
# `lrnet-edu reproduce table2 --data DIR --label N --seeds 3 --out DIR` trains all thirteen rows from several seeds, for
# half an hour to an hour on two cores, and compares them as above; `table1` does the same for its 25 cells. What we found
# stands in the repository's folder `results/`, and the next cell reads what is there.
#
# Beside phantoms there are two sets of real scans. *hippocampus*: Task04 of the Medical Segmentation Decathlon, 200 of its 260
# small MR scans, the object the anterior part of the hippocampus, one a case and no lesion. *sarcoma_ct*: 24 CT scans cropped
# around a soft-tissue sarcoma, one tumour a case.
#
# **Question.** Before you run it: for each claim of section 3, do you expect *held*, *failed*, or *not distinguishable*?

# %%
import json

import lrnet_edu
from lrnet_edu.study import text as tables_text

results_folder = Path(lrnet_edu.__file__).parents[1] / "results"
tables = {
    f"{path.parent.name}, {path.stem.replace('table', 'Table ')}": json.loads(path.read_text("utf-8"))
    for path in sorted(results_folder.glob("**/table[12].json"))
}
later = {name: tables.pop(name) for name in list(tables) if "half-warm-up" in name}  # for the end of this section
for name, table in tables.items():
    settings, cases = table["facts"]["settings"], table["facts"]["cases"]
    print(
        f"{name}: {cases['train']} cases to train on, {settings['steps']} steps each, seeds {table['facts']['seeds']}"
    )
    for claim in table["claims"]:
        print(f"    {claim['claim'] + ':':50} {claim['outcome']}")
if not tables:
    print("There are no results here (yet): lrnet-edu reproduce makes them.")

# %%
outcomes = [
    claim["outcome"] for table in tables.values() for claim in table["claims"] if claim["outcome"] != "not run yet"
]
print(f"{len(outcomes)} verdicts: " + ", ".join(f"{outcomes.count(one)} {one}" for one in dict.fromkeys(outcomes)))

# %% [markdown]
# *Held*: every comparison behind the claim is distinguishable from chance. *Failed*: one that goes against it is. *Held in part*:
# some are, and none goes against it. Whatever stands above: it is true of trainings as short as these and of
# data like these. It can neither prove nor refute what another training, a hundred times as long, does on a clinic's own
# patients; it says how far one gets when one asks here.
#
# Now the tables themselves, ours with the spread over the seeds, the paper's figure in parentheses. In each picture
# look for three things: does the bar (95 %) leave 0 out, how far do the seeds (|) lie apart, and does it hold the
# paper's diamond? A dot is filled where the bar leaves 0 out *and* the corrected p is below 0.05. (The paper's Table 2
# prints no $\alpha$. Our rows beside its Dice + LR-Net and MapDice + LR-Net run with the default, $\alpha = 10$, and are
# called "α LR-Net".) Three to five seeds are few, and intervals from few are too narrow (section 5): doubt those that end
# beside 0.
#
# **Question.** The paper is about *small* tumours. In which columns of "By size of the lesion", on the phantoms, would a
# method have to shine?

# %%
from IPython.display import Markdown, display

from lrnet_edu.figures.tables import comparison_figure


def whole(text):
    """Markdown in which what belongs together stays on one line, and a hippocampus is no lesion."""
    text = text.replace("lesion", "object") if "hippocampus" in name else text
    for together in (" ± ", "< 0", "(n = ", " / ", "-DM", "-Net"):
        text = text.replace(together, together.translate({ord(" "): "\u00a0", ord("-"): "\u2011"}))
    return Markdown(text)


for name, table in tables.items():
    numbers = tables_text.grid(table) if table["table"] == "table1" else tables_text.rows_by_criteria(table)
    display(whole(f"### {name}\n\n{tables_text.introduction(table)}\n\n{numbers}"))
    display(comparison_figure(table))
    display(whole(f"{tables_text.comparisons(table)}\n\n**By size of the lesion**\n\n{tables_text.lesions(table)}"))

# %% [markdown]
# In the columns at the left, and **no gain on small lesions was seen**. Under 1 ml every row of both phantom tables finds
# none of the 14 lesions, but for weighted cross-entropy: 0.16 of them, with 17 false lesions a case. From 1 to 5 ml the
# full method finds 0.07 in Table 2, and Dice 0.06. Nor could these runs show much: on their grid, 4.56 mm wide, 1 ml is
# about 10 voxels.
#
# ### A claim that failed, pursued
#
# M-Net + LR-Net, the regression loss alone, is the paper's second best row. On the phantoms and the hippocampus ours
# falls behind Dice. Every row with an LR-Net begins with Dice alone, its **warm-up**, for a quarter of its steps
# (notebook 05 shows why). The paper says "trained from scratch"; its first author's scripts start the tandem from a
# *trained* M-Net.
#
# **Question.** What would you change first? And whom would you have to compare with, to be fair?

# %%
if later:
    print(f"{'DC, the mean of all seeds':34} {'quarter':>8} {'half':>8} {'Dice':>8}   half minus Dice")
for name, table in later.items():
    usual = {row["row"]: row for row in tables[name.replace("-half-warm-up", "")]["rows"]}
    print(name.replace("-half-warm-up", ""))
    for one in table["rows"]:
        if "LR-Net" in one["title"]:
            c = one["comparison"]
            means = [usual[one["row"]]["mean"]["DC"], one["mean"]["DC"], usual["dice"]["mean"]["DC"]]
            print(
                f"    {one['title']:30} "
                + " ".join(f"{mean:8.3f}" for mean in means)
                + f"   {c['difference']:+.3f} ({c['low']:+.3f} to {c['high']:+.3f}): {c['verdict']}"
            )
            by_seeds = zip(one["by_seed"]["DC"], usual["dice"]["by_seed"]["DC"], strict=True)
            if later_seeds := [f"{half - dice:+.3f}" for half, dice in list(by_seeds)[3:]]:
                print(f"        half minus Dice with the seeds 3 and 4 alone: {' and '.join(later_seeds)}")

# %% [markdown]
# After half of the steps the failed row becomes the best one on the phantoms (in the paper it is the second best, 0.748
# against 0.751): where the tandem starts decides. That the unfrozen one is ahead of Dice as well is not the paper's finding.
# On the hippocampus LR-Net alone comes closer to Dice, and no further. Either way, each row had as many steps as Dice.
#
# Now remember section 8. **"Half" was chosen after the test scores of seeds 0 to 2 had been seen**, and these are among the
# five that say "better". Seeds 3 and 4 came when all was fixed: with them every row is still ahead of Dice, on the same
# test cases, and two seeds are no verdict.
#
# Is it the map, though? When Dice goes, the optimiser Adam begins anew, and that alone could help. So we trained
# M-Net + Dice with Adam begun anew at the same step, and the others again beside it (`results/NOTES.md`, "The control").
#
# **Question.** How much of the gain is Adam's, how much the map's? And would five seeds tell?

# %% tags=["nbval-check-output"]
from scipy.stats import t

control = np.array(  # test DC of Dice; of Dice, Adam anew; of LR-Net alone. One row a seed
    [
        [0.633, 0.583, 0.704],
        [0.654, 0.775, 0.740],
        [0.605, 0.640, 0.654],
        [0.409, 0.394, 0.547],
        [0.569, 0.575, 0.603],
    ]
)
print("means: Dice {:.3f}; Dice, Adam anew {:.3f}; LR-Net alone {:.3f}".format(*control.mean(axis=0)))
for what, a, b in (("Adam's part", 1, 0), ("the map's part", 2, 1), ("both together", 2, 0)):
    gains = control[:, a] - control[:, b]  # (seeds,)
    half = t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / np.sqrt(len(gains))
    print(
        f"{what:15} {gains.mean():+.3f}, 95 % interval over seeds {gains.mean() - half:+.3f} to {gains.mean() + half:+.3f}"
    )

# %% [markdown]
# (Five seeds are few for a bootstrap, as section 5 showed; this is the t-test's interval, with its assumption.) The
# gain as a whole leaves 0 out, with the reservation above. Its **split is not established**: by the means a quarter is
# Adam's and the rest the map's, but both parts' intervals hold 0. *Not distinguishable.* Look for the dull explanation
# before the exciting one.
#
# And one more lesson about seeds: the table above has 0.542 for Dice and 0.653 for LR-Net alone, here they have 0.574 and
# 0.650. It was made with earlier layers that differ from these in rounding alone, and that moved a single run of Dice by up
# to 0.12. The same seed is the same training only as long as every last digit is the same.
#
# ## Summary
#
# - Most of the paper's arrows point its way in its own tables; "in all the evaluation metrics" does not hold, a bold
#   RVD is the worst of its column, and five rows contradict themselves.
# - One number per cell proves little: ask for scores per case, paired differences, intervals over seeds *and* cases,
#   and a correction for the number of comparisons.
# - With four patients no test of signs or ranks can be significant, and a t-test only by an assumption that they cannot
#   check. Pairing is the cheapest cure; whether more patients or more seeds help next depends on where the spread comes
#   from.
# - "Not distinguishable with this much data" is an answer.
#
# **Next:** [09 · Your own data and network](09_your_own_data_and_network.ipynb): the same pipeline on your scans, and
# the LR-Net behind your network.
