# %% [markdown]
# # 01 · Distance maps
#
# A mask says *object* or *background*. A **distance map** says how far each voxel of the object is from the border.
# Here you build the paper's four kinds.
#
# **Afterwards you can**
# - build O-DM, I-DM, NI-DM and SNI-DM from a mask (section 2.1, Eq. 1, Fig. 2),
# - find the misprint in Eq. 1 and repair it,
# - say what a crop, a merge and millimetres do to a map.
#
# **Takes** 40 minutes to read and try.

# %% tags=["parameters"]
from lrnet_edu.config import fast

FAST = fast()  # the environment variable LRNET_EDU_FAST=1: everything small
BALL_RADII = (4, 12, 22) if FAST else (4, 8, 12, 16, 20, 22, 30)  # voxels, for section 8

# %% [markdown]
# ## 1 · A mask with two lesions
#
# The large lesion is 7 voxels across, the small one 3.

# %%
import numpy as np

mask = np.zeros((11, 16), dtype=bool)  # (H, W)
mask[2:9, 2:9] = True  # the large lesion ...
mask[2:9:6, 2:9:6] = False  # ... without its corners
mask[4:7, 11:14] = True  # the small lesion

for row in mask:
    print(" ".join("#" if voxel else "·" for voxel in row))

# %% [markdown]
# ## 2 · O-DM: how far is the border?
#
# Equation 1 starts with the distance from a voxel $x$ to the nearest point of the boundary $B$:
#
# $$D(x) = \min_{b \in B} d(x, b)$$
#
# Here $d$ is the Euclidean distance. We take $B$ to be all *background* voxels. The **rim** is a lesion's outermost
# layer of voxels.
#
# **Question.** What is $D$ in the middle of the small lesion? And at its rim?

# %% tags=["nbval-check-output"]
from scipy import ndimage

D = ndimage.distance_transform_edt(mask)  # (H, W), to the nearest False
print(f"small lesion: D = {D[5, 12]:.0f} in the middle, {D[4, 11]:.0f} at the rim")
print(f"large lesion: D = {D[5, 5]:.0f} in the middle, {D[5, 2]:.0f} at the rim")

# %% [markdown]
# The next cell only draws.

# %%
from lrnet_edu.figures import Picture
from lrnet_edu.figures.palette import MAP_COLORMAP, SIGNED_MAP_COLORMAP


def show_maps(maps, alt):
    """Panels side by side, name -> (H, W); a value of 0 is not written."""
    height, width = next(iter(maps.values())).shape
    figure = Picture(0.9 + 4.4 * height / width)
    for axes, (name, values) in zip(figure.subplots(1, len(maps)), maps.items(), strict=True):
        signed, top = values.min() < 0, values.max()
        colours = SIGNED_MAP_COLORMAP if signed else MAP_COLORMAP
        axes.imshow(values, cmap=colours, vmin=-top if signed else 0, vmax=top)
        for (row, column), value in np.ndenumerate(values):
            text = f"{value:{'.2g' if value > 0 else '.1g'}}".replace("0.", ".") if value else ""
            dark = abs(value) > 0.6 * top if signed else value < 0.6 * top
            axes.text(column, row, text, ha="center", va="center", size=9.5, color="white" if dark else "black")
        axes.set_title(name, pad=8)
        axes.set(xlabel="column (voxels)", ylabel="row (voxels)")
    return figure.finish(alt)


show_maps(
    {"mask": mask.astype(float), "O-DM: $D$ (voxels)": D},
    "The mask, and D in its voxels: 1 at the rims, 4 in the middle of the large lesion, 2 in the middle of the small one.",
)

# %% [markdown]
# This is the **O-DM**, the original distance map. At the rim $D$ is 1: background is one step away.
#
# <details><summary>Why is B not the lesion's own rim?</summary>
#
# The paper calls $B$ "the set of points on the object boundary". If these were the lesion's rim voxels, $D$ would be 0
# there. The formula of the next section would then give $(M_C + 1) / M_C$, which is more than 1. But the paper promises
# values in $[0, 1]$.
# </details>
#
# ## 3 · NI-DM: turn it over and scale it
#
# $D$ is largest deep inside. The paper wants more weight near the border. So it inverts $D$ and scales it, separately
# for each connected component $C$. The second line of Eq. 1, **as printed**:
#
# $$\varphi(x) = \frac{\max_{x \in C}\,(D(x) + 1 - D(x))}{\max_{x \in C}\,(D(x))}$$
#
# **Question.** Look at the numerator. What does this map look like?

# %% tags=["nbval-check-output"]
components, count = ndimage.label(mask, np.ones((3, 3)))  # voxels that touch at a corner are connected

for number in range(1, count + 1):
    inside = D[components == number]  # (N,)
    printed = (inside + 1 - inside).max() / inside.max()
    print(f"component {number}: largest D = {inside.max():.0f}, printed formula = {printed:.2f} at every voxel")

# %% [markdown]
# It is constant in each lesion: a **misprint**. The paper's text says what is meant. Each component is "subtracted by
# its local maximum distance value plus 1" and then "divided by the local maximum distance". Call this maximum
# $M_C = \max_{x \in C} D(x)$:
#
# $$\text{I-DM: } M_C + 1 - D(x) \qquad \text{NI-DM: } \varphi(x) = \frac{M_C + 1 - D(x)}{M_C}$$
#
# Outside the lesions both are 0. **I-DM** is the inverse distance map, **NI-DM** the normalised inverse one.
#
# **Question.** What is $\varphi$ at the rim of each lesion? And in its middle?


# %% tags=["nbval-check-output"]
def largest_distances(D, mask):
    """M_C at every voxel of a mask (H, W) or (D, H, W), and 1 outside, where it does not matter."""
    components, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    M = np.ones(mask.shape)
    for number in range(1, count + 1):
        M[components == number] = D[components == number].max()
    return M


M = largest_distances(D, mask)
i_dm = np.where(mask, M + 1 - D, 0)
ni_dm = i_dm / M
print(f"small lesion: phi = {ni_dm[4, 11]:.2f} at the rim, {ni_dm[5, 12]:.2f} in the middle")
print(f"large lesion: phi = {ni_dm[5, 2]:.2f} at the rim, {ni_dm[5, 5]:.2f} in the middle")

# %%
show_maps(
    {"I-DM: $M_C + 1 - D$ (voxels)": i_dm, "NI-DM: $\\varphi$ (no unit)": ni_dm},
    "I-DM is 4 at the rim of the large lesion and 2 at the rim of the small one; NI-DM is 1 at both rims and falls to "
    "0.25 and 0.5 in the middle.",
)

# %% [markdown]
# **Every lesion has $\varphi = 1$ at its rim, whatever its size.** In the middle $\varphi$ falls to $1 / M_C$.
#
# ### Exercise 1.1 · One maximum for all?
# Use one $M$ for the whole image, that of the large lesion, instead of one per component. What is $\varphi$ in the
# middle of the *small* lesion?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_1_1(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# $D = 2$ there and $M = 4$, so $\varphi = (4 + 1 - 2) / 4$.
#
# ```python
# answer = (4 + 1 - 2) / 4
# ```
# </details>

# %% [markdown]
# ## 4 · SNI-DM, and a check
#
# The fourth map, **SNI-DM**, is NI-DM inside and negative outside. The paper says no more. Outside we take $-D' / M'$,
# where $D'$ is the distance to the nearest lesion, and $M'$ its largest value.
#
# **Question.** Walk from a corner of the image into a lesion. Does the map change smoothly at the border?


# %%
def maps_by_hand(mask):
    """The four maps of a mask (H, W) or (D, H, W) that has some object and some background."""
    D = ndimage.distance_transform_edt(mask)
    D_outside = ndimage.distance_transform_edt(~mask)
    M = largest_distances(D, mask)
    i_dm = np.where(mask, M + 1 - D, 0)
    sni_dm = np.where(mask, i_dm / M, -D_outside / D_outside.max())
    return {"O-DM": D, "I-DM": i_dm, "NI-DM": i_dm / M, "SNI-DM": sni_dm}


maps = maps_by_hand(mask)
show_maps(
    {"NI-DM (no unit)": maps["NI-DM"], "SNI-DM (no unit)": maps["SNI-DM"]},
    "NI-DM and SNI-DM are equal inside the lesions, with 1 at the rims; outside SNI-DM is slightly negative beside the "
    "lesions and -1 in the far corner.",
)

# %% [markdown]
# No. It jumps from −0.2 to 1.
#
# **Question.** The package's `distance_map` computes all four maps. Do our few lines give the same values, even in 3-D?

# %% tags=["nbval-check-output"]
from lrnet_edu import distance_map
from lrnet_edu.data.nifti import read_image, read_mask
from lrnet_edu.data.samples import sample_folder

lesions = read_mask(sample_folder() / "segmentation-0.nii.gz").data == 2  # (D, H, W), of a sample CT
noise = np.random.default_rng(0).random((12, 14, 16)) > 0.9  # (D, H, W)

for name, example in (("two lesions", mask), ("random voxels", noise), ("lesions of a CT", lesions)):
    for kind, by_hand in maps_by_hand(example).items():
        np.testing.assert_allclose(by_hand, distance_map(example, kind), rtol=1e-5, atol=1e-6)
    print(f"{name:15} {example.shape!s:14} all four maps are equal")

# %% [markdown]
# From here on we use `distance_map`.
#
# ## 5 · Paint!
#
# **Question.** Predict first, then paint with mouse, finger or keyboard:
# 1. Erase one voxel in the middle of the large lesion. What happens to its NI-DM?
# 2. Paint a bridge between the two lesions. What happens inside the *small* one?
# 3. Choose the shape "cut by the border". Which side of the lesion has no rim?

# %%
from lrnet_edu.viewers.mask_painter import MaskPainter

MaskPainter("large and small", size=24, title="A mask and its four maps")

# %% [markdown]
# The hole and the bridge in the mask of section 1:

# %% tags=["nbval-check-output"]
pierced = mask.copy()
pierced[5, 5] = False  # the deepest voxel is missing
bridged = mask.copy()
bridged[5, 9:11] = True  # two voxels join the lesions

for name, changed in (("as it was", mask), ("pierced", pierced), ("with a bridge", bridged)):
    phi = distance_map(changed, "NI-DM")
    print(f"{name:14} phi beside the large lesion's middle {phi[5, 4]:.2f}, in the small one's middle {phi[5, 12]:.2f}")

# %% [markdown]
# A hole is background, so $\varphi$ is 1 around it. With the bridge there is one component, and $M_C$ comes from the
# deeper lesion.
#
# So **$\varphi$ is not local**. It depends on the deepest voxel of the component, however far away that is.
#
# Where the edge of the image cuts a lesion there is no rim: what lies beyond is unknown, not background.
#
# ## 6 · The crop
#
# Networks are trained on patches, and patches cut through lesions. Take the lower five rows of our mask as a patch.
#
# **Question.** Is the map of the cropped mask the same as the cropped map?

# %%
patch = slice(6, None)  # rows
show_maps(
    {
        "map, then crop: $\\varphi$ (no unit)": distance_map(mask, "NI-DM")[patch],
        "crop, then map: $\\varphi$ (no unit)": distance_map(mask[patch], "NI-DM"),
    },
    "Both maps are 1 at the lesions' rims; along the cut through the large lesion the map of the crop is smaller.",
)

# %% [markdown]
# No. In the middle of the cut, $\varphi$ is 0.5 in one and 0.33 in the other. The deepest voxel of the large lesion lies outside the patch,
# so a network that sees only the patch cannot know about it.
#
# So **crop, flip and resample the mask, then compute the map**. Never crop or interpolate a map.
#
# ### Exercise 1.2 · What the crop costs
# A lesion has $M_C = 10$. The part of it that lies in a patch has $M_C = 6$. At one voxel $D$ is 3 in both. By how much
# does $\varphi$ there in the cropped map exceed that in the map of the crop?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_1_2(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# answer = (10 + 1 - 3) / 10 - (6 + 1 - 3) / 6  # 0.800 - 0.667
# ```
# </details>

# %% [markdown]
# ## 7 · Millimetres: what is the "+1"?
#
# With `spacing=(z, y, x)`, `distance_map` measures in mm.
#
# **Question.** With voxels of 3 mm, $D$ is 3 at the rim. Does Eq. 1 still give 1 there? What if $m_C$, the smallest $D$
# in the component, takes the place of the 1?


# %% tags=["nbval-check-output"]
def ball(radius, spacing=(1, 1, 1)):
    """A ball (D, H, W) of a radius in mm on a grid of the given spacing (z, y, x) in mm, with some background."""
    half = [int(np.ceil(radius / step)) + 2 for step in spacing]
    z, y, x = np.ogrid[tuple(slice(-n, n + 1) for n in half)]
    return (z * spacing[0]) ** 2 + (y * spacing[1]) ** 2 + (x * spacing[2]) ** 2 <= radius**2


print("voxels z × y × x (mm)   largest phi with '+1'   with 'm_C'   rim voxels below 1")
for spacing, radius in (((1, 1, 1), 8), ((3, 3, 3), 24), ((0.7, 0.7, 0.7), 5.6), ((3, 1, 1), 12)):
    lesion = ball(radius, spacing)
    D_mm = distance_map(lesion, "O-DM", spacing=spacing)  # (D, H, W)
    M, m = D_mm[lesion].max(), D_mm[lesion].min()
    printed, repaired = (M + 1 - D_mm) / M, (M + m - D_mm) / M
    rim = lesion & ~ndimage.binary_erosion(lesion)
    below = (repaired[rim] < 0.999).mean()
    name = " × ".join(f"{step:g}" for step in spacing)
    print(f"{name:17} {printed[rim].max():20.2f} {repaired[rim].max():18.2f} {100 * below:14.0f} %")

# %% [markdown]
# With the "+1", $\varphi$ stays below 1 in coarse voxels and exceeds it in fine ones. The 1 is the rim's distance *in
# voxels*. In mm it has to be $m_C$:
#
# $$\varphi(x) = \frac{M_C + m_C - D(x)}{M_C}$$
#
# Where voxels are not cubes, as in the last row, part of the rim still stays below 1. So notebook 02 resamples scans to
# cubes.
#
# ### Exercise 1.3 · The formula for every spacing
# Write a function `answer(D)` that turns the O-DM of **one** component, in mm, into its NI-DM. `D` is 0 outside the
# component. The result has the same shape as `D`.

# %% tags=["exercise"]
answer = None

# %%
exercises.check_1_3(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def answer(D):
#     inside = D > 0
#     return np.where(inside, (D.max() + D[inside].min() - D) / D.max(), 0)
# ```
# </details>

# %% [markdown]
# ## 8 · Back to the mask
#
# `map > 0` gives the mask back. A network's map has errors, so it needs a threshold above 0. The package uses 0.05 for
# NI-DM.
#
# ### Exercise 1.4 · Where the threshold drills a hole
# At which $M_C$ (in voxels) does $\varphi$ in the middle of a lesion fall to 0.05?

# %% tags=["exercise"]
answer = None

# %%
exercises.check_1_4(answer)

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# In the middle $D = M_C$, so $\varphi = 1 / M_C$, which is 0.05 at
#
# ```python
# answer = 1 / 0.05
# ```
# </details>

# %% [markdown]
# **Question.** Which of these balls do not come back whole?

# %%
for radius in BALL_RADII:
    lesion = ball(radius)
    phi = distance_map(lesion, "NI-DM")
    lost = (lesion & ~(phi > 0.05)).sum()
    print(f"radius {radius:2} voxels: phi in the middle {phi[lesion].min():.3f}, voxels lost {lost}")

# %% [markdown]
# ## 9 · Figure 2, on a CT
#
# **Question.** Borders should count most. In I-DM, NI-DM and SNI-DM, which are largest there, does the border of a small lesion have
# the same value as that of a large one?

# %%
from lrnet_edu.figures import maps_figure

ct = read_image(sample_folder() / "volume-0.nii.gz")  # .data (D, H, W) in HU
maps_figure(lesions, ct.data)

# %% [markdown]
# In NI-DM and SNI-DM it does. In I-DM the small lesion, the speck, has less. (The two large outlines are one component, joined
# in another slice, so they share one $M_C$.)
#
# ## Summary
#
# | map | inside component C | outside | range |
# |---|---|---|---|
# | O-DM | $D$ | 0 | 0 to $M_C$ |
# | I-DM | $M_C + 1 - D$ | 0 | 0 to $M_C$ |
# | NI-DM | $(M_C + 1 - D) / M_C$ | 0 | 0 to 1 |
# | SNI-DM | $(M_C + 1 - D) / M_C$ | $-D' / M'$ | −1 to 1 |
#
# - The numerator of Eq. 1 is misprinted. In mm, its 1 becomes $m_C$.
# - NI-DM is 1 at the rim of every lesion, and it is not local.
# - Crop, flip and resample masks, never maps.
#
# **Next:** [02 · CT data and imbalance](02_ct_data_and_imbalance.ipynb).
