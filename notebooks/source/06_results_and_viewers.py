# %% [markdown]
# # 06 · Results and viewers
#
# "During reference, the LR-Net can be removed and the M-Net predict the segmentation mask directly" (section 2.2; read
# *inference*). Here that happens: four M-Nets that ship with the course segment whole scans that none of them was
# trained on. Then comes the harder half, to find out how good they are. The paper uses seven criteria, and each of
# them can be fooled.
#
# **Afterwards you can**
# - predict a whole scan with the M-Net alone, window by window, and bring the result back onto the file's grid,
# - compute the seven criteria by hand, and say where each misleads,
# - inspect every method slice by slice, and tell a number from what it stands for.
#
# **Takes** 50 minutes to read and try; the cells run in a minute on two CPU cores and gain little from a GPU.

# %% tags=["parameters"]
from lrnet_edu.config import fast

FAST = fast()  # the environment variable LRNET_EDU_FAST=1: everything small
TEST_CASES = 3 if FAST else 5  # of the five that no training has seen

# %% [markdown]
# ## 1 · The LR-Net is gone
#
# A checkpoint of the tandem's training ships with the course: MapDice and the frozen LR-Net, 500 steps, as
# `lrnet-edu demo` trains it. **Question.** What will you find in the file, of which network?

# %% tags=["nbval-check-output"]
from lrnet_edu import LRNet
from lrnet_edu.data.samples import sample_mnet
from lrnet_edu.support.checkpoints import load_checkpoint

tensors, facts = load_checkpoint(sample_mnet("mapdice+lrnet"))
networks = {name.split(".")[0] for name in tensors}
print("trained with:", facts["method"], "  networks in the file:", ", ".join(networks))
print(f"weights: {sum(tensor.numel() for tensor in tensors.values()):,}")
print(f"thrown away after training: {sum(weight.numel() for weight in LRNet().parameters()):,}")

# %% [markdown]
# An M-Net that was trained with the LR-Net is an M-Net like any other: as large, as fast, used in the same way. What the
# LR-Net has taught it, if anything, is in its weights. We load one for each of the demo's four methods.

# %%
from lrnet_edu.methods import METHODS
from lrnet_edu.trained import load_mnet

trained = {
    METHODS[method].title: load_mnet(sample_mnet(method))
    for method in ("dice", "mapdice", "dice+lrnet", "mapdice+lrnet")
}
titles = list(trained)
for title in titles:
    print(title)

# %% [markdown]
# All four had the same training cases, patches, number of steps, and the same first weights. The *test* cases were put
# aside for what comes now: results on training cases would say how well a network remembers.

# %% tags=["nbval-check-output"]
import numpy as np
from scipy import ndimage

from lrnet_edu import find_cases
from lrnet_edu.data.nifti import read_image, read_mask
from lrnet_edu.data.samples import sample_folder
from lrnet_edu.data.study import split_cases

cases = {case.name: case for case in find_cases(sample_folder())}
split = split_cases(list(cases))
print({part: len(names) for part, names in split.items()})
lesion_sizes = []  # voxels, of all lesions of the test cases
for name in split["test"]:
    lesions = read_mask(cases[name].mask).data == 2  # (D, H, W)
    sizes = sorted(np.bincount(ndimage.label(lesions, np.ones((3, 3, 3)))[0].ravel())[1:].tolist())
    lesion_sizes += sizes
    print(f"{name:9}  lesions of {sizes} voxels" if sizes else f"{name:9}  no lesion at all")

# %% [markdown]
# ## 2 · From patches to a scan
#
# The M-Net was trained on patches of 32 × 48 × 48 voxels. A scan is larger. **Question.** The network consists of
# convolutions, which run on any size. Why not feed it the whole scan at once?

# %% tags=["nbval-check-output"]
from lrnet_edu import case_scores
from lrnet_edu.data.preprocessing import back_to_original, prepare
from lrnet_edu.inference import predict_probabilities

scan = read_image(cases["volume-2"].image)  # .data (D, H, W) in HU
truth = read_mask(cases["volume-2"].mask).data == 2  # (D, H, W)
one = trained["M-Net + Dice"]
prepared = prepare(scan, one.preprocessing)  # .image (d, h, w): body box, cubes, window, as in training

ways = {
    "the whole scan at once": predict_probabilities(one.mnet, prepared.image, patch_size=prepared.image.shape),
    "windows edge to edge": predict_probabilities(one.mnet, prepared.image, patch_size=one.patch_size, overlap=0.0),
    "windows that overlap by half": predict_probabilities(
        one.mnet, prepared.image, patch_size=one.patch_size, overlap=0.5
    ),
}  # (2, d, h, w) each
print(f"scan {scan.data.shape}, prepared {prepared.image.shape}, patch {one.patch_size}")
for way, probabilities in ways.items():
    classes, _ = back_to_original(probabilities, prepared.affine, scan)  # (D, H, W)
    print(f"{way:29} Dice {case_scores(classes == 1, truth, scan.spacing).dice:.2f}")

# %%
from lrnet_edu.figures import Picture
from lrnet_edu.figures.palette import MAP_COLORMAP, REFERENCE_COLOR

on_grid = prepare(scan, one.preprocessing, read_mask(cases["volume-2"].mask), one.labels).classes == 1  # (d, h, w)
edge_to_edge, overlapping = list(ways.values())[1:]
k = int(np.abs(edge_to_edge - overlapping).sum(axis=(0, 2, 3)).argmax())  # the slice where they differ most
figure = Picture(3.7)
for axes, (way, probabilities) in zip(figure.subplots(1, 3, sharey=True), ways.items(), strict=True):
    shown = axes.imshow(probabilities[1, k, ::-1, ::-1], cmap=MAP_COLORMAP, vmin=0, vmax=1)
    axes.contour(on_grid[k, ::-1, ::-1], levels=[0.5], colors=[REFERENCE_COLOR], linewidths=1.6)
    axes.set(title=way, xlabel="x (voxels)")
figure.axes[0].set_ylabel("y (voxels)")
figure.colorbar(shown, ax=figure.axes[:3], orientation="horizontal", shrink=0.5, label="p of lesion (no unit)")
reached = {way: probabilities[1, k][on_grid[k]].max() for way, probabilities in ways.items()}
figure.finish(
    f"Slice {k} of the prepared scan with the lesions' contours, and the probability of lesion computed in three ways. "
    f"Its largest value in the lesions: {'; '.join(f'{way} {value:.2f}' for way, value in reached.items())}."
)

# %% [markdown]
# (In orange the true lesions.) Two reasons. A real scan does not fit into a GPU's memory. And this M-Net has
# **instance normalisation**: it subtracts the mean of *what it sees* and divides by its spread, and those of a whole
# scan are not those of a patch. So it is shown windows of the size it was trained on. Near a window's edge half of the
# surroundings are missing; hence the overlap, and a bell-shaped weight that lets every window's middle count most.
#
# The probabilities then go back onto the file's own grid, and only there the larger class is taken. That is all that
# `lrnet-edu predict` does. **Question.** Will its file hold the same voxels as ours?

# %%
import tempfile
from pathlib import Path

from lrnet_edu.commands.predict import predict_files

with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    out = Path(folder) / "segmentation-2.nii.gz"
    predict_files(sample_mnet("dice"), cases["volume-2"].image, out, device="cpu")
    written = read_mask(out)

# %% tags=["nbval-check-output"]
from lrnet_edu.support.labels import decode

ours, _ = back_to_original(ways["windows that overlap by half"], prepared.affine, scan)  # (D, H, W): 0, 1
print("file:", written.data.shape, written.data.dtype, "labels", np.unique(written.data).tolist())
print("voxels that differ from ours:", int((written.data != decode(ours, one.labels)).sum()))
print("same place in the patient:", np.allclose(written.affine, scan.affine))

# %% [markdown]
# Now all four methods on the test cases. We keep probabilities, to play with the threshold later.

# %%
names = split["test"][:TEST_CASES]
scans = {name: read_image(cases[name].image) for name in names}
truths = {name: read_mask(cases[name].mask).data == 2 for name in names}  # (D, H, W) each


def probabilities_of(trained, scan):
    """p of lesion on the file's grid, (D, H, W)."""
    prepared = prepare(scan, trained.preprocessing)
    trained.mnet.to(device)
    output = predict_probabilities(trained.mnet, prepared.image, patch_size=trained.patch_size)  # (2, d, h, w)
    return back_to_original(output, prepared.affine, scan, keep_probabilities=True)[1][1]


predictions = {
    title: {name: probabilities_of(network, scans[name]) for name in names} for title, network in trained.items()
}
print(f"{len(titles)} methods x {len(names)} scans")

# %% [markdown]
# ## 3 · Seven criteria
#
# The paper names them in section 3 and leaves the formulas to its reference [3]. With $P$ the predicted and $R$ the
# reference object, $\partial P$ and $\partial R$ their surfaces, $d$ the distances from every surface voxel of one to the
# nearest of the other, in mm, both directions in one heap:
#
# | criterion | formula | best |
# |---|---|---|
# | DC, Dice per case | mean over the cases of $2\,\lvert P \cap R \rvert \,/\, (\lvert P \rvert + \lvert R \rvert)$ | 1 |
# | DG, Dice global | $2 \sum \lvert P \cap R \rvert \,/\, \sum (\lvert P \rvert + \lvert R \rvert)$, sums over the cases | 1 |
# | VOE, volumetric overlap error | $1 - \lvert P \cap R \rvert \,/\, \lvert P \cup R \rvert$ | 0 |
# | RVD, relative volume difference | $(\lvert P \rvert - \lvert R \rvert) \,/\, \lvert R \rvert$ | 0, with a sign |
# | ASSD, average symmetric surface distance | mean of $d$ | 0 mm |
# | RMSD, root mean square surface distance | root of the mean of $d^2$ | 0 mm |
# | MSD, maximum surface distance (Hausdorff) | largest $d$ | 0 mm |
#
# All but DG, by hand. **Question.** The prediction below is the reference, one voxel to the right, and one voxel is
# 2 mm. What is its RVD? Its MSD?


# %% tags=["nbval-check-output"]
def by_hand(P, R, spacing):
    """Dice, VOE, RVD, ASSD, RMSD, MSD of two masks (D, H, W) that are not empty."""
    both, either = (P & R).sum(), (P | R).sum()
    neighbours = ndimage.generate_binary_structure(3, 2)  # 18: those that share a face or an edge
    rims = [np.argwhere(mask & ~ndimage.binary_erosion(mask, neighbours)) * spacing for mask in (P, R)]  # (N, 3) in mm
    between = np.linalg.norm(rims[0][:, None] - rims[1][None], axis=-1)  # (N, M)
    d = np.concatenate((between.min(axis=1), between.min(axis=0)))  # both directions in one heap
    return (
        *(2 * both / (P.sum() + R.sum()), 1 - both / either, (P.sum() - R.sum()) / R.sum()),
        *(d.mean(), np.sqrt((d**2).mean()), d.max()),
    )


def ball(radius, centre=(24, 24, 24)):
    """A ball (48, 48, 48), radius and centre (z, y, x) in voxels."""
    axes = np.ogrid[:48, :48, :48]
    return sum((axis - middle) ** 2 for axis, middle in zip(axes, centre, strict=True)) <= radius**2


TWO_MM = (2.0, 2.0, 2.0)
R, P = ball(8), ball(8, centre=(24, 24, 25))
package = case_scores(P, R, TWO_MM)
in_package = (package.dice, package.voe, package.rvd, package.assd, package.rmsd, package.msd)
print("            Dice   VOE    RVD   ASSD   RMSD    MSD (mm)")
for who, values in (("by hand", by_hand(P, R, TWO_MM)), ("package", in_package)):
    print(f"{who:9}" + "".join(f"{value:7.3f}" for value in values))

# %% [markdown]
# ## 4 · Where each of them misleads
#
# ### Dice: size in disguise
#
# **Question.** Someone draws every lesion one voxel too small all around. Same mistake, different lesions: what are Dice
# and ASSD for balls of radius 2, 4, 8 and 16 voxels?

# %% tags=["nbval-check-output"]
print("radius    Dice   ASSD (mm)")
for radius in (2, 4, 8, 16):
    scores = case_scores(ball(radius - 1), ball(radius), TWO_MM)
    print(f"{radius:6} {scores.dice:7.2f} {scores.assd:8.1f}")

# %% [markdown]
# The ASSD is about the same for all: it says what happened. Dice says how large the lesion was. A mean Dice of two
# hospitals compares their patients as much as their networks. **VOE** adds nothing: for every single case it is
# $1 - D / (2 - D)$, Dice in other numbers.
#
# ### MSD: one voxel decides
#
# **Question.** A perfect prediction, and one wrong voxel far away. What happens to each criterion?

# %% tags=["nbval-check-output"]
far = ball(8)
far[2, 2, 2] = True
scores = case_scores(far, ball(8), TWO_MM)
print(f"Dice {scores.dice:.4f}, VOE {scores.voe:.4f}, RVD {scores.rvd:+.4f}")
print(f"ASSD {scores.assd:.2f} mm, RMSD {scores.rmsd:.2f} mm, MSD {scores.msd:.1f} mm")

# %% [markdown]
# Dice does not notice, ASSD hardly, and MSD speaks of that voxel alone. Neither is wrong: a false alarm far from the lesion
# is a wrong diagnosis or a speck to be wiped away, and no number knows which.
#
# ### Exercise 6.1 · Wipe the specks away
# Write `answer(mask, smallest)`: a copy of the mask (D, H, W) without those components that have fewer than `smallest`
# voxels. Voxels that touch at a corner belong together (26 neighbours).

# %% tags=["exercise"]
answer = None

# %%
exercises.check_6_1(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# from scipy import ndimage
#
#
# def answer(mask, smallest):
#     components, count = ndimage.label(mask, np.ones((3, 3, 3)))
#     sizes = np.bincount(components.ravel())  # sizes[0] is the background's
#     keep = sizes >= smallest
#     keep[0] = False
#     return keep[components]
# ```
# </details>

# %% [markdown]
# **Question.** Before you build it into your pipeline: how many *true* lesions of the test cases have fewer than 30 voxels?

# %% tags=["nbval-check-output"]
print(f"{sum(size < 30 for size in lesion_sizes)} of {len(lesion_sizes)} lesions have fewer than 30 voxels")

# %% [markdown]
# Those are the ones that this course is about.
#
# ### RVD: errors that cancel
#
# **Question.** RVD is 0. Is the prediction perfect? And a *mean* RVD of 0 over two patients?

# %% tags=["nbval-check-output"]
from lrnet_edu import score_table

elsewhere = case_scores(ball(6, centre=(12, 12, 12)), ball(6, centre=(36, 36, 36)), TWO_MM)
print(f"beside the lesion:   RVD {elsewhere.rvd:+.2f}, Dice {elsewhere.dice:.2f}")

twice, half = case_scores(ball(10), ball(8), TWO_MM), case_scores(ball(3), ball(8), TWO_MM)
table = score_table([twice, half])
print(f"two patients:        RVD {twice.rvd:+.2f} and {half.rvd:+.2f}")
print(f"their mean RVD {table.mean['RVD']:+.2f}, mean |RVD| {table.mean['abs_RVD']:.2f}, DC {table.mean['DC']:.2f}")

# %% [markdown]
# The paper writes of its last five criteria "the smaller the value, the better", and prints −0.253 in bold as the best RVD
# of Table 2. It is the *worst*: by a quarter too little. Of a signed number the one next to 0 is best, and a mean of signed
# numbers needs the mean of $|\mathrm{RVD}|$ beside it.
#
# ### Empty masks: what is 0 / 0?
#
# **Question.** A patient without a lesion, and the network finds none. Dice? ASSD? And where it misses the only lesion?

# %% tags=["nbval-check-output"]
nothing = np.zeros((48, 48, 48), dtype=bool)
print("prediction  reference    Dice    VOE    RVD   ASSD    MSD")
for P, R in ((nothing, nothing), (nothing, ball(5)), (ball(5), nothing)):
    scores = case_scores(P, R, TWO_MM)
    values = "".join(f"{value:7.2f}" for value in (scores.dice, scores.voe, scores.rvd, scores.assd, scores.msd))
    print(f"{'something' if P.any() else 'empty':11} {'something' if R.any() else 'empty':9} {values}")

# %% [markdown]
# An empty mask has no surface, so its distance is *undefined*: `nan`, not 0 and not infinite. Conventions, all of them,
# and the paper does not say which it used. One consequence is dangerous.
#
# **Question.** Two networks, three patients. Network A finds all three lesions, the third one badly. Network B is the
# same, but misses the third altogether. Whose mean ASSD is better?

# %% tags=["nbval-check-output"]
good = case_scores(ball(7), ball(8), TWO_MM)
bad = case_scores(ball(4, centre=(24, 24, 30)), ball(4), TWO_MM)
missed = case_scores(nothing, ball(4), TWO_MM)

diagonal = 2 * 47 * 3**0.5  # mm, the largest distance that this image has room for
for who, scores in (("A", [good, good, bad]), ("B", [good, good, missed])):
    plain, strict = score_table(scores), score_table(scores, penalties={"ASSD": diagonal})
    print(
        f"{who}: DC {plain.mean['DC']:.2f}, ASSD {plain.mean['ASSD']:5.2f} mm, undefined in {plain.undefined['ASSD']} of 3 "
        f"cases; with a penalty {strict.mean['ASSD']:5.1f} mm"
    )

# %% [markdown]
# By ASSD B wins, and it wins by missing a lesion. So beside every mean stands in how many cases it was undefined, and
# a penalty can be asked for. **Compare those counts before you compare the means.**
#
# ### DG: one large tumour carries all
#
# DC gives every patient one vote, DG every voxel.
#
# ### Exercise 6.2 · Two kinds of Dice
# Four patients with lesions of 3000, 20, 20 and 20 voxels. The network segments the first perfectly and finds nothing in
# the other three. Give `(DC, DG)`.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_6_2(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# DC = (1 + 0 + 0 + 0) / 4
# DG = 2 * 3000 / (3000 + 3000 + 3 * 20)
# answer = (DC, DG)
# ```
# </details>

# %% [markdown]
# ### Exercise 6.3 · A row that cannot be
# For each case VOE $= 1 - J$ with $J = D / (2 - D) \le D$. Table 2's first row, M-Net with Dice, has DC 0.647. What is the
# *smallest* mean VOE that any 137 cases with that DC can have? (Then look up what the paper prints: 0.292.)

# %% tags=["exercise"]
answer = None

# %%
exercises.check_6_3(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# $J \le D$ in every case, so the mean of $1 - J$ is at least one minus the mean of $D$ (and that is reached only if every
# case has Dice 0 or 1).
#
# ```python
# answer = 1 - 0.647
# ```
# </details>

# %% [markdown]
# ## 5 · Four methods, seven criteria
#
# Now the real thing: the test cases that hold a lesion, at the threshold 0.5. The case without a lesion stands apart, for
# its distances do not exist.
#
# **Question.** The rows differ by their loss alone. Which order do you expect from the paper? And how large a difference
# would you believe, with so few scans?

# %%
with_lesion = [name for name in names if truths[name].any()]
scores = {
    title: {name: case_scores(predictions[title][name] > 0.5, truths[name], scans[name].spacing) for name in names}
    for title in titles
}
columns = ("DC", "DG", "VOE", "RVD", "abs_RVD", "ASSD", "RMSD", "MSD")
print(f"{len(with_lesion)} test cases with a lesion; distances in mm")
print(" " * 26 + "".join(f"{'|RVD|' if column == 'abs_RVD' else column:>8}" for column in columns) + "  undefined")
for title in titles:
    table = score_table([scores[title][name] for name in with_lesion])
    print(f"{title:26}" + "".join(f"{table.mean[column]:8.3f}" for column in columns) + f"{table.undefined['ASSD']:11}")
for name in names:
    if name not in with_lesion:
        print(f"\n{name} holds no lesion; lesion voxels found there:")
        for title in titles:
            print(f"{title:26}{scores[title][name].prediction_voxels:8}")

# %%
from lrnet_edu.figures.palette import METHOD_COLORS

of_title = {METHODS[method].title: method for method in METHODS}
figure = Picture(4.0)
left, right = figure.subplots(1, 2)
for title, marker in zip(titles, "osD^", strict=True):
    style = {"color": METHOD_COLORS[of_title[title]], "marker": marker, "ms": 9, "mec": "black", "lw": 1.2}
    left.plot([scores[title][name].dice for name in with_lesion], label=title, **style)
    right.plot([scores[title][name].msd for name in with_lesion], **style)
for axes, label in ((left, "Dice (no unit)"), (right, "MSD (mm)")):
    axes.set_xticks(range(len(with_lesion)), with_lesion)
    axes.set(ylabel=label, ylim=(0, 1) if axes is left else (0, None))
figure.legend(loc="outside lower center", ncols=4)
listed = "; ".join(
    f"{title}: {', '.join(f'{scores[title][name].dice:.2f}' for name in with_lesion)}" for title in titles
)
figure.finish(f"Dice and MSD of every test case with a lesion, one line a method. Dice, case by case: {listed}.")

# %% [markdown]
# Read the means, and part of the paper's story seems told: with the LR-Net both losses score higher. Now look at the
# *lines*. They lie almost on one another. The four methods differ by 0.013 in DC, the scans by about 0.2: what the case is
# decides far more than what the method is.
#
# And all four have a mean MSD of about 70 mm or more. That is no blurred border, it is a false alarm at another place of the
# body or a lesion missed altogether; of false alarms the scan without a lesion tells as well.
#
# So this table is a *demonstration* that the pipeline works, not evidence for or against the paper: one seed, a handful of
# scans, 500 steps each. What evidence takes, several seeds and paired comparisons, is notebook 07's matter.
#
# ## 6 · Look!
#
# No table replaces the picture. First the paper's Fig. 3, on our case with most lesions:

# %%
from lrnet_edu.figures import representative_slices, results_figure

busiest = max(names, key=lambda name: ndimage.label(truths[name], np.ones((3, 3, 3)))[1])
masks = {title: predictions[title][busiest] > 0.5 for title in titles}
slices = representative_slices(truths[busiest], 3)
results_figure(scans[busiest].data, truths[busiest], masks, scans[busiest].spacing, slices)

# %% [markdown]
# Three slices that somebody chose. You choose yours: scroll (slider, arrow keys, wheel), change the axis, drag to change the
# window.
#
# **Find**
# 1. a lesion that all four methods miss. Could *you* see it without the contour (button "overlay")?
# 2. a false alarm of M-Net + Dice, away from every lesion. Is there one?
# 3. the place that makes the MSD of M-Net + Dice.

# %%
from lrnet_edu.viewers.slices import SliceViewer

SliceViewer(
    scans["volume-2"].data,
    spacing=scans["volume-2"].spacing,
    window=(-30, 180),
    overlays={"ground truth": truths["volume-2"], **{title: predictions[title]["volume-2"] > 0.5 for title in titles}},
    levels=64,
    title="volume-2, a test case: ground truth (orange) and four methods",
)

# %% [markdown]
# Have you looked? Then compare with a count of all there is. (A false alarm: voxels that touch no lesion, half a ml or
# more.)

# %% tags=["nbval-check-output"]
hu, voxel = scans["volume-2"].data, np.prod(scans["volume-2"].spacing) / 1000  # (D, H, W); ml
found_by = {title: predictions[title]["volume-2"] for title in titles}  # p of lesion, (D, H, W) each


def pieces(mask):
    """The connected pieces of a mask, one mask (D, H, W) each, with their axial slice as the viewer counts it."""
    components, count = ndimage.label(mask, np.ones((3, 3, 3)))
    for number in range(1, count + 1):
        piece = components == number
        yield piece, 1 + round(np.argwhere(piece)[:, 0].mean())


print("lesion (ml)   slice   mean HU   methods that find it   highest mean p")
for piece, k in pieces(truths["volume-2"]):
    finders = sum((p[piece] > 0.5).any() for p in found_by.values())
    surest = max(p[piece].mean() for p in found_by.values())
    print(f"{piece.sum() * voxel:11.1f} {k:7} {hu[piece].mean():9.0f} {finders:22} {surest:16.2f}")

away = ndimage.distance_transform_edt(~truths["volume-2"], sampling=scans["volume-2"].spacing)  # mm to a lesion
print("\nfalse alarms of M-Net + Dice: ml, slice, mean HU, mm from a lesion")
for piece, k in pieces(found_by["M-Net + Dice"] > 0.5):
    if piece.sum() * voxel >= 0.5 and not (piece & truths["volume-2"]).any():
        sharers = [title for title in titles[1:] if (found_by[title][piece] > 0.5).any()]
        print(
            f"{piece.sum() * voxel:11.1f} {k:7} {hu[piece].mean():9.0f}   up to {away[piece].max():.0f}; "
            f"shared by {', '.join(sharers) or 'nobody'}"
        )

# %% [markdown] tags=["found"]
# <details><summary>What we found</summary>
#
# 1. Six of its eight lesions, all but the two large ones. The largest of the six (axial slice 14, at the liver's edge, left
#    of the big one) is as dark as the lesions that are found: a low contrast is no excuse for missing it. The two that are
#    found make up almost the whole volume, which is why Dice is 0.8 all the same: Dice counts voxels, patients count
#    lesions.
# 2. None on this scan: what is predicted beside the lesions touches one of the two that are found.
# 3. The missed lesion around slice 19. It lies 91 mm from the nearest voxel that was found, and MSD is that distance. The
#    MSD looks both ways, so a missed lesion counts as a false alarm does.
# </details>

# %% [markdown]
# ## 7 · Explore every case
#
# Choose case, method, kind of map and threshold; the slices and the seven criteria follow (menus need a running kernel).
#
# **Questions.**
# 1. Go through the methods on one case, with the map "NI-DM". Where do prediction and truth differ most, in the maps or in
#    the masks?
# 2. Raise the threshold to 0.9, then lower it to 0.1. Which criteria improve, which get worse? Is there one that is best
#    at another threshold than Dice?
# 3. Choose `volume-11`. Which criteria are left, and what do they say about one false voxel?
# 4. Choose the map "probability". Is a missed lesion faintly there, or not at all? (Notebook 05 says what that means.)

# %%
from types import SimpleNamespace

from lrnet_edu.viewers.explorer import CaseExplorer

shown = {
    name: SimpleNamespace(image=scans[name].data, mask=truths[name], spacing=scans[name].spacing) for name in names
}
explorer = CaseExplorer(shown, predictions, window=(-30, 180), levels=64)
explorer

# %% tags=["nbval-check-output"]
p, lesion = found_by["M-Net + Dice"], truths["volume-2"]  # (D, H, W) both
print("M-Net + Dice on volume-2")
print("threshold   Dice    RVD   ASSD   RMSD (mm)   of the lesions marked   beside them")
for threshold in (0.1, 0.5, 0.9):
    at = explorer.scores("volume-2", "M-Net + Dice", threshold=threshold)
    marked, beside = 100 * (p[lesion] > threshold).mean(), ((p > threshold) & ~lesion).sum() * voxel
    distances = f"{at['ASSD']:6.1f} {at['RMSD']:11.1f}"
    print(f"{threshold:9} {at['DC']:6.2f} {at['RVD']:+6.2f} {distances} {marked:21.0f} % {beside:10.0f} ml")

# %% [markdown] tags=["found"]
# <details><summary>What we found</summary>
#
# 1. In the maps: NI-DM is 1 on every border, so a border that is off by one voxel costs the map as much as a lesion's core
#    costs the mask.
# 2. A low threshold marks more of the lesions, and more beside them; a high one leaves little beside them, and marks only
#    57 % of their voxels instead of 78 %. RVD just follows. On this scan Dice and ASSD are best at 0.5, and so is RMSD.
# 3. Dice, VOE and the number of voxels: 0, 1, and the same 0 and 1 for a single false voxel as for a thousand.
# 4. Hardly, or not at all: the last column of section 6's count is 0.03 for one of the six and 0.00 for the others. The
#    regression loss has next to nothing to pull at (notebook 05, section 5).
# </details>

# %% [markdown]
# What stands beside the picture is `case_scores` and nothing else (but its DG counts the false alarms in `volume-11`, which
# the table of section 5 sets apart):

# %% tags=["nbval-check-output"]
beside = explorer.scores("volume-2", "M-Net + Dice", threshold=0.5)
again = case_scores(predictions["M-Net + Dice"]["volume-2"] > 0.5, truths["volume-2"], scans["volume-2"].spacing)
print(f"explorer     Dice {beside['DC']:.2f}, RVD {beside['RVD']:+.2f}, MSD {beside['MSD']:.0f} mm")
print(f"case_scores  Dice {again.dice:.2f}, RVD {again.rvd:+.2f}, MSD {again.msd:.0f} mm")

# %% [markdown]
# ## Summary
#
# For a new patient there is the M-Net alone: prepare, windows that overlap, back to the file's grid.
#
# | criterion | misleads where |
# |---|---|
# | DC, VOE | lesions are small; VOE is Dice once more |
# | DG | one tumour is much larger than the others |
# | RVD | signs cancel, or the volume is right and the place is not |
# | ASSD, RMSD, MSD | a mask is empty: undefined, and a missed lesion improves the mean |
# | MSD | one voxel is far away |
#
# - Beside every mean stands its number of undefined cases. Cases without a lesion stand apart.
# - Show the slices. Always.
#
# **Next:** [07 · The tables of the paper](07_tables_of_the_paper.ipynb): what it takes to say that one method is better.
