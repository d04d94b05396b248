# %% [markdown]
# # 01 · Distance maps
#
# A segmentation mask says *object* or *background* and no more. A **distance map** says, for every voxel of the
# object, how far the border is. The paper makes such a map the thing that a network has to get right. In this
# notebook you build all four of its maps from a mask, with NumPy and SciPy's labelling.
#
# **Afterwards you can**
# - build O-DM, I-DM, NI-DM and SNI-DM by hand (section 2.1, Eq. 1, Fig. 2),
# - say what is misprinted in Eq. 1, and repair it,
# - say what a crop, a merge of two lesions and anisotropic voxels do to a map.
#
# **Takes** 45 minutes to read and try; the cells run in half a minute on a CPU and need no GPU.

# %% [markdown]
# The one choice that depends on the size of the run: how many balls are looked at near the end.

# %% tags=["parameters"]
from lrnet_edu.config import fast

FAST = fast()  # the environment variable LRNET_EDU_FAST=1: everything small
BALL_RADII = (4, 12, 22) if FAST else (4, 8, 12, 16, 20, 22, 30)  # voxels

# %% [markdown]
# ## 1 · A mask with two lesions
#
# Small enough to count on your fingers: a large lesion, 7 voxels across with its corners cut, and a small one of
# 3 × 3 voxels.

# %%
import numpy as np

mask = np.zeros((11, 16), dtype=bool)  # (H, W)
mask[2:9, 2:9] = True  # the large lesion ...
mask[2:9:6, 2:9:6] = False  # ... without its corners
mask[4:7, 11:14] = True  # the small lesion

for row in mask:
    print(" ".join("#" if voxel else "·" for voxel in row))

# %% [markdown]
# **Question.** Take the middle voxel of the small lesion. How far is it to the nearest voxel that is *not* lesion?
# And from a voxel at the lesion's rim? Decide before you go on.
#
# ## 2 · O-DM: how far is the border?
#
# Equation 1, first line:
#
# $$D(x) = \min_{b \in B} d(x, b)$$
#
# $d$ is the Euclidean distance and $B$ "the set of points on the object boundary". We read $B$ as the *background*
# voxels, for a reason that you will see in a moment. The straightest way to compute it: all distances from every
# object voxel to every background voxel, and the smallest of each row.


# %%
def distances_by_hand(mask):
    """D of Eq. 1 for a mask (H, W) or (D, H, W): 0 outside the object."""
    inside, outside = np.argwhere(mask), np.argwhere(~mask)  # (N, axes), (M, axes)
    steps = inside[:, None] - outside[None]  # (N, M, axes)
    D = np.zeros(mask.shape)
    D[mask] = np.sqrt((steps**2).sum(axis=-1)).min(axis=1)
    return D


D = distances_by_hand(mask)

# %% [markdown]
# A small function shows maps with their numbers; it is only drawing, skip it.

# %%
from lrnet_edu.figures import Picture
from lrnet_edu.figures.palette import MAP_COLORMAP, SIGNED_MAP_COLORMAP


def show_numbers(maps, alt):
    """Panels of small maps, name -> (H, W), with the value written into every voxel that is not 0."""
    figure = Picture(3.7)
    for axes, (name, values) in zip(figure.subplots(1, len(maps), squeeze=False)[0], maps.items(), strict=True):
        signed, top = values.min() < 0, values.max()
        axes.imshow(values, cmap=SIGNED_MAP_COLORMAP if signed else MAP_COLORMAP, vmin=-top if signed else 0, vmax=top)
        for (row, column), value in np.ndenumerate(values):
            dark = abs(value) > 0.6 * top if signed else value < 0.6 * top
            text = f"{value:.2g}".replace("0.", ".") if value else ""
            axes.text(column, row, text, ha="center", va="center", size=8.5, color="white" if dark else "black")
        axes.set(title=name, xlabel="column (voxels)", ylabel="row (voxels)")
    return figure.finish(alt)


show_numbers(
    {"mask": mask.astype(float), "O-DM: $D$ (voxels)": D},
    "The mask of ones, and D written into its voxels: 1 at the rims, 4 in the middle of the large lesion, 2 in the "
    "middle of the small one.",
)

# %% [markdown]
# The rim has $D = 1$, not 0: its nearest background voxel is one step away. This is the **O-DM**, the original
# distance map. Does the package agree with our five lines?

# %% tags=["nbval-check-output"]
from lrnet_edu import distance_map


def largest_difference(a, b):
    return f"{np.abs(a - b).max() + 0:.5f}"


print("O-DM, by hand minus package, largest difference:", largest_difference(D, distance_map(mask, "O-DM")))
print("D in the middle of the large lesion:", D[5, 5], " of the small one:", D[5, 12], " at its rim:", D[4, 11])

# %% [markdown]
# ## 3 · Upside down: what the border is worth
#
# D is largest where nobody doubts that it is lesion, and small at the border, where all the errors are made. So the
# paper turns it over and scales it, for every connected component $C$ on its own. Equation 1, second line, **as it
# is printed**:
#
# $$\varphi(x) = \frac{\max_{x \in C}\,(D(x) + 1 - D(x))}{\max_{x \in C}\,(D(x))}$$
#
# **Question.** Read the numerator slowly. What is $D(x) + 1 - D(x)$? What would this map look like?

# %% tags=["nbval-check-output"]
from scipy import ndimage

eight_neighbours = np.ones((3, 3))  # voxels that touch at a corner belong together
components, count = ndimage.label(mask, eight_neighbours)  # (H, W): 0, 1, 2

for number in range(1, count + 1):
    inside = D[components == number]
    printed = (inside + 1 - inside).max() / inside.max()
    print(f"component {number}: M_C = {inside.max():.0f}, phi as printed = {printed:.2f} at each of its voxels")

# %% [markdown]
# A constant: the mask again, with other numbers. It is a **misprint**. The sentence beside the formula says what is
# meant: each component is "subtracted by its local maximum distance value plus 1", then "divided by the local maximum
# distance". With $M_C = \max_{x \in C} D(x)$:
#
# $$\text{I-DM: } M_C + 1 - D(x)$$
#
# $$\text{NI-DM: } \varphi(x) = \frac{M_C + 1 - D(x)}{M_C}$$
#
# and 0 outside every component. **I**-DM is the *inverse* map, **NI**-DM the *normalised inverse* one.
#
# **Question.** What is $\varphi$ at the rim of the large lesion, of the small one, and of a lesion of a single voxel?


# %% tags=["nbval-check-output"]
def inverse_by_hand(mask, normalise):
    """I-DM, or NI-DM where ``normalise``: the repaired second line of Eq. 1."""
    D = distances_by_hand(mask)
    components, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    result = np.zeros(mask.shape)
    for number in range(1, count + 1):
        C = components == number
        M = D[C].max()
        result[C] = (M + 1 - D[C]) / (M if normalise else 1)
    return result


i_dm, ni_dm = (inverse_by_hand(mask, normalise) for normalise in (False, True))
for name, row, column in (("large", 5, 5), ("small", 5, 12)):
    rim = ni_dm[components == components[row, column]].max()
    print(f"{name} lesion: phi = {rim:.2f} at the rim, {ni_dm[row, column]:.2f} = 1 / M_C in the middle")

# %%
show_numbers(
    {"I-DM: $M_C + 1 - D$ (voxels)": i_dm, "NI-DM: $\\varphi$ (no unit)": ni_dm},
    "I-DM is 4 at the rim of the large lesion and 2 at the rim of the small one; NI-DM is 1 at both rims and falls to "
    "0.25 and 0.5 in the middle.",
)

# %% [markdown]
# A lesion of a single voxel has $D = M_C = 1$, so its $\varphi$ is 1, too. That is the point of the normalisation:
# **every lesion peaks at 1, whatever its size**, and it peaks at its border. A loss that is weighted by $\varphi$
# hears a lesion of one voxel as loudly, per voxel, as the rim of a large one.
#
# ### Why $B$ is the background
#
# **Question.** Suppose $B$ were the object's own rim, the voxels that touch the background. What is $D$ on the rim
# then, and $\varphi$? The paper promises values in $[0, 1]$.

# %% tags=["nbval-check-output"]
large = mask & (components == 1)
rim = large & ~ndimage.binary_erosion(large)
to_rim = np.linalg.norm(np.argwhere(large)[:, None] - np.argwhere(rim)[None], axis=-1).min(axis=1)  # (N,)
phi = (to_rim.max() + 1 - to_rim) / to_rim.max()
print(f"B = the object's own rim: D from {to_rim.min():.0f} to {to_rim.max():.0f}, phi up to {phi.max():.3f}")
print(f"B = the background:       D from {D[large].min():.0f} to {D[large].max():.0f}, phi up to {ni_dm.max():.3f}")

# %% [markdown]
# ### Exercise 1.1 · One maximum for all?
# Suppose we were lazy and used one $M$ for the whole image, the large lesion's, instead of one per component. What
# would $\varphi$ be in the middle of the *small* lesion? Answer with a number.

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
# ## 4 · SNI-DM: the outside gets a sign
#
# The fourth map is NI-DM inside and "negative" outside; the paper says no more. We take the distance $D'$ from a
# background voxel to the object, divided by the largest one, $M'$:
#
# $$\text{SNI-DM} = \varphi \text{ inside}, \qquad -D' / M' \text{ outside}$$
#
# **Question.** Walk along a line from far outside into the lesion. Is the map smooth where you cross the border?

# %%
D_outside = distances_by_hand(~mask)
sni_dm = np.where(mask, ni_dm, -D_outside / D_outside.max())

show_numbers(
    {"distance to the lesions: $D'$ (voxels)": D_outside, "SNI-DM (no unit)": sni_dm},
    "Left, the distance of the background voxels to the lesions; right, SNI-DM: positive inside the lesions with 1 at "
    "their rims, slightly negative just outside, −1 in the far corner.",
)

# %% [markdown]
# It jumps, from a little below 0 just outside to 1 at the rim: the border is a cliff, here as in NI-DM. All four maps are
# built now. Do they agree with the package?

# %% tags=["nbval-check-output"]
by_hand = {"O-DM": D, "I-DM": i_dm, "NI-DM": ni_dm, "SNI-DM": sni_dm}
for kind, ours in by_hand.items():
    theirs = distance_map(mask, kind)
    print(
        f"{kind:6}  from {theirs.min():5.2f} to {theirs.max():4.2f}   largest difference "
        f"{largest_difference(ours, theirs)}"
    )

# %% [markdown]
# From here on we use `distance_map`. It computes the same numbers fast enough for scans of hundreds of slices, where
# our table of all pairs would not fit into any memory. In the paper the output layer of the network follows the range
# of the map: ReLU for O-DM, I-DM and NI-DM, which are never negative, tanh for SNI-DM.
#
# ## 5 · Paint!
#
# **Predict first, then paint:**
# 1. Erase one voxel in the middle of the large lesion. What happens to its NI-DM?
# 2. Paint a bridge from the large lesion to the small one. What happens in the *small* lesion?
# 3. Choose "touching". Two lesions or one?
# 4. Choose "cut by the border". Where is its rim?
#
# (Mouse, finger or keyboard; the maps follow at once.)

# %%
from lrnet_edu.viewers.mask_painter import MaskPainter

MaskPainter("large and small", size=24, title="A mask and its four maps")

# %% [markdown]
# The bridge, in numbers, on our first mask:

# %% tags=["nbval-check-output"]
bridged = mask.copy()
bridged[5, 9:11] = True  # two voxels join the lesions
pierced = mask.copy()
pierced[5, 5] = False  # one voxel is missing

for name, changed in (("as it was", mask), ("with a bridge", bridged), ("pierced", pierced)):
    phi = distance_map(changed, "NI-DM")
    in_small, in_large = phi[5, 12], phi[5, 4]  # in the middle; one voxel beside the middle
    print(f"{name:14} phi: small lesion, middle {in_small:.2f}; large one, beside its middle {in_large:.2f}")

# %% [markdown]
# Two voxels of a bridge make one component of two, whose $M_C$ is the larger one: the small lesion is suddenly
# shallow. One missing voxel lifts $\varphi$ around it to 1. "Touching" is one lesion: its two discs share a neck, four
# voxels wide, and a single common corner would have been enough. And where the image cuts a lesion, there is no rim: the
# next section says why. **$\varphi$ is not local**: it depends on the deepest voxel of the component, wherever that is.
# Remember this in notebook 03, where a network that sees 31 voxels has to guess it.

# %% [markdown]
# ## 6 · The crop
#
# Networks are trained on patches, and patches cut through lesions. Here is a ball of radius 10 that a patch cuts 3
# voxels beyond its middle.
#
# **Question.** Is it the same to compute the map first and crop it, and to crop the mask first and compute its map?


# %%
def ball(radius, spacing=(1.0, 1.0, 1.0)):
    """A ball (D, H, W) of a radius in mm on a grid of the given spacing (z, y, x) in mm, with some background."""
    half = [int(np.ceil(radius / step)) + 2 for step in spacing]
    z, y, x = np.ogrid[tuple(slice(-n, n + 1) for n in half)]
    return (z * spacing[0]) ** 2 + (y * spacing[1]) ** 2 + (x * spacing[2]) ** 2 <= radius**2


whole = ball(10)  # (D, H, W)
middle = len(whole) // 2
patch = slice(middle + 3, None)  # rows (y) of the patch

map_then_crop = distance_map(whole, "NI-DM")[:, patch]  # (D, h, W)
crop_then_map = distance_map(whole[:, patch], "NI-DM")

# %%
figure = Picture(2.9)
panels = {
    "map of the ball, cropped": (map_then_crop[middle], MAP_COLORMAP, 0),
    "map of the cropped ball": (crop_then_map[middle], MAP_COLORMAP, 0),
    "left minus middle": ((map_then_crop - crop_then_map)[middle], SIGNED_MAP_COLORMAP, -0.3),
}
for axes, (title, (plane, colours, low)) in zip(figure.subplots(1, 3, sharey=True), panels.items(), strict=True):
    shown = axes.imshow(plane, cmap=colours, vmin=low, vmax=-low or 1)
    axes.set(title=title, xlabel="x (voxels)")
    label = "difference of φ (no unit)" if low else "φ (no unit)"
    figure.colorbar(shown, ax=axes, orientation="horizontal", label=label)
figure.axes[0].set_ylabel("y (voxels)")
figure.finish(
    "Left, the NI-DM of the whole ball, cropped; middle, the NI-DM of the cropped ball, darker inside; right, their "
    "difference, 0.25 in the middle of the cut and 0 at the true rim."
)

# %% tags=["nbval-check-output"]
depths = [distance_map(lesion, "O-DM").max() for lesion in (whole, whole[:, patch])]
print(f"M_C of the ball {depths[0]:.2f}, of what the patch holds {depths[1]:.2f}")
print(f"phi differs by up to {(map_then_crop - crop_then_map).max():.3f}")
print(f"in the middle of the cut phi is {crop_then_map[middle, 0, middle]:.3f}, not 1")

# %% [markdown]
# Both maps are right, of different masks. A network that sees the patch alone cannot know about the depth beyond it,
# so the rule for training is: **crop (and flip, and resample) the mask, then compute the map.** Never crop or
# interpolate a map.
#
# And look at the cut itself: no rim there. What lies outside an image is *unknown*, not background.
#
# ### Exercise 1.2 · What the crop costs
# A lesion has $M_C = 10$; in the patch only a part with $M_C = 6$ is left. A voxel of that part has
# $D = 3$ in both. How much larger is $\varphi$ there in the cropped map than in the map of the crop?

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
# CT voxels are not cubes of 1 mm. `distance_map(mask, kind, spacing=(z, y, x))` measures in mm. Now put D in mm into
# Eq. 1 as it stands.
#
# **Question.** With voxels of 0.7 mm the rim has $D = 0.7$. What is $\varphi$ there? And with voxels of 3 mm?

# %% tags=["nbval-check-output"]
print("voxels z × y × x (mm)   M_C     m_C    rim, bare '+1'   rim, with m_C   rim voxels below 1   lowest rim")
for spacing, radius in (((1, 1, 1), 8), ((0.7, 0.7, 0.7), 5.6), ((3, 3, 3), 24), ((3.27, 0.98, 0.98), 12)):
    lesion = ball(radius, spacing)
    D_mm = distance_map(lesion, "O-DM", spacing=spacing)
    M, m = D_mm[lesion].max(), D_mm[lesion].min()
    bare = (M + 1 - D_mm) / M
    phi = distance_map(lesion, "NI-DM", spacing=spacing)
    rim = lesion & ~ndimage.binary_erosion(lesion)
    name = " × ".join(f"{step:g}" for step in spacing)
    print(
        f"{name:20} {M:7.2f} {m:7.2f} {bare[rim].max():12.3f} {phi[rim].max():15.3f} "
        f"{100 * (phi[rim] < 0.9999).mean():17.0f} % {phi[rim].min():14.2f}"
    )

# %% [markdown]
# The 1 in Eq. 1 is the rim's $D$ in unit voxels. In millimetres it has to be the component's smallest distance,
# $m_C = \min_{x \in C} D(x)$:
#
# $$\varphi(x) = \frac{M_C + m_C - D(x)}{M_C}$$
#
# With the bare "+1" fine voxels push $\varphi$ above 1 and coarse ones leave the whole rim below it. With $m_C$ it
# never exceeds 1. But the last line has news: under *anisotropic* voxels most of the rim stays below 1, for only the
# rim voxels along the finest axis have $D = m_C$. This is why the next notebook resamples scans to cubes first, and
# why training computes its maps in voxels (`spacing=None`), as the authors did.
#
# ### Exercise 1.3 · The formula for every spacing
# Write a function that turns the O-DM of **one** component, in mm, into its NI-DM. It gets `D` (D, H, W), 0 outside,
# and returns an array of the same shape. `answer` is the function itself: `def answer(D): ...`.

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
# ## 8 · And back again: is the mapping "rigorous"?
#
# The paper speaks of a *rigorous mapping* between mask and map. Exactly: `map > 0` gives the mask back, for all four.
# But a network's output is never exactly 0, so one takes a threshold, 0.05 for NI-DM.
#
# **Question.** Does the threshold give every mask back, too? Look at $\varphi$ in the middle of balls that grow.

# %%
for radius in BALL_RADII:
    lesion = ball(radius)
    phi = distance_map(lesion, "NI-DM")
    lost = (lesion & ~(phi > 0.05)).sum()
    print(f"radius {radius:2} voxels: phi in the middle {phi[lesion].min():.3f}, voxels lost by phi > 0.05: {lost}")

# %% [markdown]
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
# ## 9 · Figure 2, on a CT
#
# All of it together on a sample CT (a phantom; notebook 02 looks at these scans). **Question.** Which panel would you
# show to a colleague who asks where a segmentation has to be good, in a large lesion and in a small one alike?

# %%
from lrnet_edu.data.nifti import read_image, read_mask
from lrnet_edu.data.samples import sample_folder
from lrnet_edu.figures import maps_figure

ct = read_image(sample_folder() / "volume-0.nii.gz")  # .data (D, H, W) in HU
lesions = read_mask(sample_folder() / "segmentation-0.nii.gz").data == 2  # (D, H, W)
maps_figure(lesions, ct.data)

# %% [markdown]
# NI-DM: it is brightest at every border, and equally bright at all of them. O-DM points at the middles, I-DM at the
# borders of large lesions only.
#
# ## Summary
#
# | map | inside component C | outside | range |
# |---|---|---|---|
# | O-DM | $D$ | 0 | 0 to $M_C$ |
# | I-DM | $M_C + 1 - D$ | 0 | 0 to $M_C$ |
# | NI-DM | $(M_C + 1 - D) / M_C$ | 0 | 0 to 1, and 1 at every rim |
# | SNI-DM | $(M_C + 1 - D) / M_C$ | $-D' / M'$ | −1 to 1 |
#
# - Eq. 1's numerator is a misprint; $B$ is the background; the "1" is $m_C$ when distances are in mm.
# - The maximum is per component, so each rim voxel counts the same, whatever the lesion's size, and $\varphi$ is not local.
# - Crop, flip and resample masks, never maps.
#
# **Next:** [02 · CT data and imbalance](02_ct_data_and_imbalance.ipynb): what a scan looks like, and how little of it
# is lesion. More on our reading of Eq. 1: the first lines of `lrnet_edu/distance_maps.py`.
