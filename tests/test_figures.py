"""The figures say what the data says, fit their canvas, and can be read from the last row."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.text import Text
from PIL import Image

from lrnet_edu.distance_maps import KINDS, distance_map
from lrnet_edu.figures import (
    Picture,
    architecture_figure,
    learning_curves_figure,
    lrnet_quality_figure,
    maps_figure,
    results_figure,
    telling_slices,
)
from lrnet_edu.figures.curves import HALF_SIGHT, running_mean
from lrnet_edu.figures.palette import METHOD_COLORS, PREDICTION_COLOR, REFERENCE_COLOR
from lrnet_edu.figures.picture import LETTERS, colour_of
from lrnet_edu.figures.volumes import TINT
from lrnet_edu.lrnet_training import LesionError, LRNetQuality
from lrnet_edu.methods import METHODS
from lrnet_edu.metrics import case_scores
from lrnet_edu.networks import LRNet, MNet
from lrnet_edu.study.demo import DEMO_METHODS
from lrnet_edu.support.errors import InputError

SPACING = (4.0, 1.5, 2.0)


def ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float) -> np.ndarray:
    z, y, x = np.ogrid[tuple(map(slice, shape))]
    return (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 <= radius**2


def scan() -> tuple[np.ndarray, np.ndarray]:
    """An image in HU and a mask with two lesions, (12, 60, 70) both."""
    mask = ball((12, 60, 70), (4, 20, 22), 3.5) | ball((12, 60, 70), (9, 34, 40), 1.5)
    image = np.random.default_rng(0).normal(100, 15, mask.shape) - 40 * mask
    return image.astype(np.float32), mask


def rows(scores: list[float]) -> list[dict[str, float]]:
    return [
        {
            "step": 10 * (i + 1),
            "train_loss": 0.9 - 0.1 * i,
            "val_loss": 1 - 0.1 * i,
            "score": s,
            "val_error": 1 - 0.1 * i,
            "val_dice": s,
        }
        for i, s in enumerate(scores)
    ]


def quality() -> LRNetQuality:
    rng = np.random.default_rng(0)
    return LRNetQuality(0.9876, [LesionError(float(r), 0.01 * float(r)) for r in rng.uniform(1, 25, 40)])


def texts(figure: Picture) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def all_figures() -> dict[str, Picture]:
    image, mask = scan()
    predictions = {"M-Net + Dice": mask, "M-Net + MapDice + LR-Net": np.roll(mask, 1, axis=2)}
    curves = {title: rows([0.1, 0.5, 0.4]) for title in predictions}
    lrnet = LRNet()
    titles = [METHODS[method].title for method in DEMO_METHODS]
    return {
        "architecture": architecture_figure(MNet(features=(4, 8), blocks=(1,)), lrnet, (8, 16, 16)),
        "deep architecture": architecture_figure(
            MNet(features=(2, 2, 2, 2, 128), blocks=(1, 1, 1, 1)), lrnet, (16, 16, 16)
        ),
        "maps": maps_figure(mask),
        "maps on CT": maps_figure(mask, image, SPACING),
        "curves": learning_curves_figure(curves),
        "quality": lrnet_quality_figure(quality()),
        "quality and training": lrnet_quality_figure(quality(), rows([0.9, 0.99])),
        "results": results_figure(image, mask, predictions, SPACING, [4, 9]),
        "results of four": results_figure(image, mask, dict.fromkeys(titles, mask), SPACING, [3, 4, 9]),
    }


@pytest.fixture(scope="module")
def figures() -> dict[str, Picture]:
    drawn = all_figures()
    for figure in drawn.values():
        figure.draw_without_rendering()  # makes the tick labels and lays everything out
        figure.set_layout_engine("none")  # which is slow: not again
    return drawn


# ---- what holds for every figure ---------------------------------------------------------------------


def test_every_figure_has_alt_text_and_leaves_nothing_open(figures: dict[str, Picture]) -> None:
    for figure in figures.values():
        assert len(figure.alt) > 40
        assert "\n" not in figure.alt
    assert plt.get_fignums() == []


def test_every_letter_is_large_enough(figures: dict[str, Picture]) -> None:
    for name, figure in figures.items():
        small = [t.get_text() for t in figure.findobj(Text) if t.get_text() and t.get_size() < LETTERS]
        assert not small, name
        assert figure.get_figwidth() == 10


def test_nothing_is_cut_off_or_lies_over_another_panel(figures: dict[str, Picture]) -> None:
    for name, figure in figures.items():
        drawn = figure.get_tightbbox()  # inches
        assert drawn.x0 >= 0, name
        assert drawn.y0 >= 0, name
        assert drawn.x1 <= figure.get_figwidth(), name
        assert drawn.y1 <= figure.get_figheight(), name
        boxes = [axes.get_tightbbox() for axes in figure.axes]
        for i, one in enumerate(boxes):
            for other in boxes[:i]:
                width = min(one.x1, other.x1) - max(one.x0, other.x0)
                height = min(one.y1, other.y1) - max(one.y0, other.y0)
                assert width < 2 or height < 2, name  # pixels


def test_every_axis_of_a_plot_is_labelled(figures: dict[str, Picture]) -> None:
    for name in ("curves", "quality", "quality and training"):
        for axes in figures[name].axes:
            assert axes.get_xlabel(), name
        assert figures[name].axes[0].get_ylabel(), name


def test_a_notebooks_own_style_does_not_change_a_figure() -> None:
    usual = learning_curves_figure({"dice": rows([0.1, 0.5])}).png(50)
    with plt.style.context(
        ["dark_background", {"font.size": 5, "savefig.facecolor": "black", "savefig.bbox": "tight"}]
    ):
        assert learning_curves_figure({"dice": rows([0.1, 0.5])}).png(50) == usual


def test_the_alt_text_of_the_html_is_escaped() -> None:
    picture = Picture(1.0).finish('a "<b>')
    assert picture.to_html().startswith('<img src="data:image/png;base64,')
    assert picture.to_html().endswith('alt="a &quot;&lt;b&gt;">')


def test_png_is_a_white_picture() -> None:
    picture = Image.open(io.BytesIO(lrnet_quality_figure(quality()).png(40))).convert("RGB")
    assert picture.width == 400
    assert picture.getpixel((0, 0)) == (255, 255, 255)


# ---- Fig. 1 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "blocks", "classes"),
    [((3, 5), (2,), 2), ((2, 4, 6, 8), (1, 2, 3), 3), ((3, 6, 9), (2, 1), 2), ((4,), (), 2)],
)
def test_the_boxes_hold_the_numbers_of_the_modules(
    features: tuple[int, ...], blocks: tuple[int, ...], classes: int
) -> None:
    mnet, lrnet = MNet(classes=classes, features=features, blocks=blocks), LRNet("SNI-DM")
    patch = (16, 32, 16)
    shown = texts(architecture_figure(mnet, lrnet, patch))

    def size(level: int) -> str:
        return "×".join(str(n // 2**level) for n in patch)

    def content(number: int) -> str:
        return f"{number} block" + "s" * (number > 1)

    expected = [f"{features[0]} features\n{size(0)}\n2 conv."]
    for level, number in enumerate(blocks, start=1):
        expected.append(f"{features[level]} features\n{size(level)}\n{content(number)}")  # on the way down
        expected.append(f"{features[level - 1]} features\n{size(level - 1)}\n{content(number)}")  # and up
    expected += [f"4 features\n{size(0)}\n2 conv.", f"8 features\n{size(1)}\n2 blocks"]
    expected += [f"8 features\n{size(0)}\n2 blocks"]
    assert Counter(text for text in shown if "features" in text) == Counter(expected)
    assert f"p\n{classes} classes\n{size(0)}" in shown
    assert f"SNI-DM of p\n1 channel\n{size(0)}" in shown
    assert "tanh" in shown
    for network in (mnet, lrnet):
        weights = sum(w.numel() for w in network.parameters())
        assert any(f"{weights:,} weights" in text for text in shown)
    assert any("frozen" in text for text in shown)
    assert "thrown away at test time" in shown


def test_drawing_leaves_the_networks_as_they_were() -> None:
    mnet, lrnet = MNet(features=(2, 4), blocks=(1,)), LRNet().eval()
    before = {name: value.clone() for name, value in mnet.state_dict().items()}
    architecture_figure(mnet, lrnet, (8, 8, 8))
    assert mnet.training
    assert not lrnet.training
    assert not any(module._forward_hooks for net in (mnet, lrnet) for module in net.modules())
    assert all(torch.equal(before[name], value) for name, value in mnet.state_dict().items())


# ---- Fig. 2 ------------------------------------------------------------------------------------------


def test_the_panels_hold_the_maps() -> None:
    mask = ball((9, 20, 20), (4, 10, 9), 9)  # so large that the whole slice is shown
    image = np.random.default_rng(0).normal(size=mask.shape)
    figure = maps_figure(mask, image, SPACING, slice_index=5)
    panels = [axes for axes in figure.axes if axes.images]
    expected = [image, mask, *(distance_map(mask, kind, spacing=SPACING) for kind in KINDS)]
    assert len(panels) == 6
    for axes, volume in zip(panels, expected, strict=True):
        np.testing.assert_allclose(axes.images[0].get_array(), volume[5, ::-1, ::-1])
        left, right, bottom, top = axes.images[0].get_extent()
        assert (right - left, bottom - top) == (20 * SPACING[2], 20 * SPACING[1])  # mm
        assert axes.get_aspect() in (1, "equal")
    for axes, kind in zip(panels[2:], KINDS, strict=True):
        assert axes.get_title().startswith(kind)


def test_maps_without_spacing_are_in_voxels_and_a_2d_mask_is_shown_as_it_lies() -> None:
    mask = np.zeros((24, 30), bool)
    mask[1:9, 2:28] = True
    mask[1:22, 2:5] = True  # an L: every turn would show
    figure = maps_figure(mask)
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 5
    whole = panels[1].images[0].get_array()
    np.testing.assert_allclose(whole, distance_map(mask, "O-DM"))
    assert "voxels" in texts(figure)
    assert "mm" not in texts(figure)


def test_the_view_is_cropped_around_the_largest_object() -> None:
    mask = ball((9, 90, 90), (2, 20, 20), 2) | ball((9, 90, 90), (6, 60, 30), 6)
    figure = maps_figure(mask)
    shown = figure.axes[0].images[0].get_array()
    assert "slice 6" in figure.alt
    assert shown.sum() == mask[6].sum()  # nothing of it is cut off
    assert 13 < max(shown.shape) < 40


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mask": np.zeros((4, 8, 8))}, "empty"),
        ({"mask": np.ones((4, 8, 8)), "image": np.ones((4, 8, 9))}, "shape"),
        ({"mask": np.ones((4, 8, 8)), "slice_index": 4}, "slice 4"),
    ],
)
def test_maps_figure_says_what_is_wrong(arguments: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        maps_figure(**arguments)


# ---- Fig. 3 ------------------------------------------------------------------------------------------


def contour_centres(axes: plt.Axes, colour: str, *, tint: float | None = None) -> list[tuple[float, float]]:
    """Middle (x, y) of every closed contour of this colour, or of every area in a tint of it."""
    wanted = plt.matplotlib.colors.to_rgba(colour, tint)
    found = []
    for artist in axes.collections:
        colours = artist.get_facecolor() if tint else artist.get_edgecolor()
        if len(colours) and tuple(colours[0]) == wanted:
            for path in artist.get_paths():
                for polygon in path.to_polygons(closed_only=False):
                    low, high = polygon.min(axis=0), polygon.max(axis=0)
                    found.append(tuple((low + high) / 2))
    return found


def test_contours_lie_on_their_voxels() -> None:
    image = np.zeros((5, 40, 40), np.float32)
    reference, prediction = np.zeros(image.shape, bool), np.zeros(image.shape, bool)
    reference[2, 10:13, 20:23] = True
    prediction[2, 14:17, 25:28] = True
    image[reference], image[prediction] = 200, -150
    figure = results_figure(image, reference, {"a": prediction}, (5.0, 2.0, 3.0), [2])
    truth, method = [axes for axes in figure.axes if axes.images]
    picture = truth.images[0].get_array()
    for colour, value, axes in ((REFERENCE_COLOR, 200, truth), (PREDICTION_COLOR, -150, method)):
        y, x = (indices.mean() + 0.5 for indices in np.nonzero(picture == value))
        [centre] = contour_centres(axes, colour)
        assert centre == pytest.approx((x * 3.0, y * 2.0))
    assert contour_centres(method, PREDICTION_COLOR, tint=TINT) == contour_centres(method, PREDICTION_COLOR)
    assert contour_centres(method, REFERENCE_COLOR)  # to see what is missed
    assert not contour_centres(truth, PREDICTION_COLOR)


def test_results_show_every_slice_for_every_method_with_its_dice() -> None:
    image, mask = scan()
    predictions = {"one": np.roll(mask, 1, axis=1), "none": np.zeros_like(mask)}
    figure = results_figure(image, mask.astype(np.uint8), predictions, SPACING, [3, 4, 9])
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 3 * 3
    assert {axes.images[0].get_clim() for axes in panels} == {(-200, 250)}
    for title, prediction in predictions.items():
        dice = case_scores(prediction, mask, SPACING).dice
        assert f"{title}\nDice {dice:.2f}" in texts(figure)
    assert {"Slice 3\nmm", "Slice 4\nmm", "Slice 9\nmm"} <= set(texts(figure))


def test_what_a_method_marks_outside_the_view_is_counted() -> None:
    image, mask = np.zeros((3, 200, 200)), np.zeros((3, 200, 200), bool)
    mask[1, 50:60, 50:60] = True
    far = mask.copy()
    far[1, 190:193, 190:199] = True
    figure = results_figure(image, mask, {"near": mask, "far": far}, (1, 1, 1), [1])
    assert [text for text in texts(figure) if "elsewhere" in text] == ["27 voxels elsewhere"]


def test_results_figure_says_what_is_wrong() -> None:
    image, mask = scan()
    with pytest.raises(InputError, match="prediction 'x' has shape"):
        results_figure(image, mask, {"x": mask[1:]}, SPACING, [3])
    with pytest.raises(InputError, match="slices"):
        results_figure(image, mask, {"x": mask}, SPACING, [12])


def test_telling_slices_show_each_lesion_at_its_largest() -> None:
    shape = (40, 50, 50)
    mask = ball(shape, (8, 15, 15), 7) | ball(shape, (20, 35, 35), 3) | ball(shape, (33, 10, 40), 2)
    assert telling_slices(mask, 3) == [8, 20, 33]
    assert telling_slices(mask, 1)[0] in (8, 20, 33)


def test_telling_slices_prefer_a_slice_with_many_lesions() -> None:
    shape = (40, 50, 50)
    small = [ball(shape, (30, y, 40), 2) for y in (5, 15, 25)]
    mask = np.any([ball(shape, (8, 20, 20), 8), *small], axis=0)
    assert telling_slices(mask, 1) == [30]
    assert telling_slices(mask, 2) == [8, 30]


@pytest.mark.parametrize("n", [1, 3, 5])
def test_telling_slices_are_distinct_and_lie_where_lesions_are(n: int) -> None:
    mask = ball((20, 30, 30), (8, 15, 15), 5)
    chosen = telling_slices(mask, n)
    assert len(chosen) == len(set(chosen)) == n
    assert chosen == sorted(chosen)
    assert mask[chosen].any(axis=(1, 2)).all()


def test_telling_slices_of_few_or_no_voxels() -> None:
    one = np.zeros((6, 5, 5))
    one[4, 2, 2] = 1
    assert telling_slices(one, 3) == [4]
    assert len(telling_slices(np.zeros((6, 5, 5)), 3)) == 3


# ---- curves ------------------------------------------------------------------------------------------


def test_curves_are_those_of_the_rows_and_the_best_is_marked() -> None:
    runs = {"M-Net + Dice": rows([0.2, 0.7, 0.6]), "M-Net + MapDice": rows([0.1, 0.2, 0.3])}
    figure = learning_curves_figure(runs)
    *losses, scores = figure.axes
    assert len(losses) == 2
    for axes, (title, run) in zip(losses, runs.items(), strict=True):
        training, validation = axes.lines
        np.testing.assert_array_equal(training.get_ydata(), [row["train_loss"] for row in run])
        np.testing.assert_array_equal(validation.get_ydata(), [row["val_loss"] for row in run])
        assert validation.get_color() == colour_of(title)
    marked = [tuple(np.ravel(line.get_data())) for line in scores.lines if len(line.get_xdata()) == 1]
    assert marked == [(20, 0.7), (30, 0.3)]
    assert "M-Net + Dice: 0.70" in texts(figure)
    assert colour_of("M-Net + Dice") == METHOD_COLORS["dice"]


@pytest.mark.parametrize("number", [1, 3, 5, 11])
def test_curves_of_any_number_of_runs(number: int) -> None:
    figure = learning_curves_figure({f"run {i}": rows([0.3]) for i in range(number)})
    assert len(figure.axes) == number + 1


def test_curves_need_rows() -> None:
    for runs in ({}, {"dice": []}):
        with pytest.raises(InputError, match="no curve"):
            learning_curves_figure(runs)


def test_quality_shows_every_lesion() -> None:
    figure = lrnet_quality_figure(quality())
    lesions = {(lesion.radius, lesion.error) for lesion in quality().lesions}
    assert any(set(zip(*line.get_data(), strict=True)) == lesions for line in figure.axes[0].lines)
    assert "0.988" in "".join(texts(figure))
    assert f"{quality().error:.3f}" in "".join(texts(figure))
    assert figure.axes[0].get_xscale() == "log"


def test_quality_without_lesions_can_be_drawn() -> None:
    assert lrnet_quality_figure(LRNetQuality(1.0, [])).png(40)


def test_running_mean_keeps_the_mean_of_lesions_alike_in_size() -> None:
    radius, error = np.array([1.0, 1.1, 9.0, 9.5, 30.0]), np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    sizes, means = running_mean(radius, error)
    np.testing.assert_allclose(sizes, [1.05, 9.25, 30])
    np.testing.assert_allclose(means, [0.2, 0.6, 0.9])


def test_half_sight_is_what_the_lrnet_sees() -> None:
    """With positive weights everywhere, the gradient of one output voxel reaches as far as the net sees."""
    lrnet = LRNet()
    for weight in lrnet.parameters():
        torch.nn.init.constant_(weight, 0.01)
    reach = set()
    for centre in (24, 25):  # the strided convolution treats even and odd places differently
        probabilities = torch.ones(1, 2, 4, 4, 50, requires_grad=True)
        lrnet(probabilities)[0, 0, 2, 2, centre].backward()
        seen = np.flatnonzero(probabilities.grad.abs().sum(dim=(0, 1, 2, 3)).numpy())
        reach |= {centre - seen[0], seen[-1] - centre}
        assert seen[-1] - seen[0] + 1 == 2 * HALF_SIGHT + 1
    assert max(reach) <= HALF_SIGHT + 1
