"""The figures say what the data says, fit their canvas, and can be read from the last row."""

from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgba
from matplotlib.text import Text

from lrnet_edu.data.preprocessing import CT_WINDOW
from lrnet_edu.distance_maps import distance_map
from lrnet_edu.figures import (
    Picture,
    differing_slices,
    learning_curves_figure,
    lrnet_quality_figure,
    maps_figure,
    results_figure,
)
from lrnet_edu.figures.palette import ARM_COLORS, BLACK, METHOD_COLORS, PREDICTION_COLOR, REFERENCE_COLOR
from lrnet_edu.figures.picture import LETTERS, colour_of
from lrnet_edu.kinds import KINDS
from lrnet_edu.lrnet_training import LesionError, LRNetQuality
from lrnet_edu.methods import METHODS
from lrnet_edu.metrics import case_scores
from lrnet_edu.support.errors import InputError

SPACING = (4.0, 1.5, 2.0)
TITLES = [METHODS[method].title for method in ("dice", "mapdice", "dice+lrnet", "mapdice+lrnet")]


def ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float) -> np.ndarray:
    z, y, x = np.ogrid[tuple(map(slice, shape))]
    return (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 <= radius**2


def rows(scores: list[float]) -> list[dict[str, float]]:
    return [
        {"step": 10.0 * i, "train_loss": 0.9 / i, "val_loss": 1 / i, "score": s, "val_error": 1 / i, "val_dice": s}
        for i, s in enumerate(scores, 1)
    ]


def quality() -> LRNetQuality:
    radii = np.random.default_rng(0).uniform(1, 25, 40)
    return LRNetQuality(0.9876, [LesionError(float(r), 0.01 * float(r)) for r in radii])


def texts(figure: Picture) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def panels_of(figure: Picture) -> list[Any]:
    return [axes for axes in figure.axes if axes.images]


# ---- what holds for every figure


def test_every_figure_has_alt_text_and_letters_large_enough_is_whole_and_leaves_nothing_open() -> None:
    mask = ball((12, 60, 90), (4, 20, 22), 3.5) | ball((12, 60, 90), (9, 34, 30), 1.5)
    far = mask | ball(mask.shape, (4, 50, 84), 5)
    for figure in (
        maps_figure(mask, 100.0 - 40 * mask, SPACING),
        learning_curves_figure({title: [rows([0.1, 0.5, 0.6])] * 3 for title in TITLES}),
        lrnet_quality_figure(quality(), rows([0.9, 0.99])),
        results_figure(100.0 - 40 * mask, mask, dict.fromkeys(TITLES, far), SPACING, [4, 9]),
    ):
        figure.draw_without_rendering()  # makes the tick labels and lays everything out
        figure.set_layout_engine("none")  # which is slow: not again
        assert len(figure.alt) > 40
        assert "\n" not in figure.alt
        assert not [t.get_text() for t in figure.findobj(Text) if t.get_text() and t.get_size() < LETTERS], figure.alt
        drawn = figure.get_tightbbox()  # inches
        assert min(drawn.x0, drawn.y0) >= 0, figure.alt
        assert drawn.x1 <= figure.get_figwidth(), figure.alt
        assert drawn.y1 <= figure.get_figheight(), figure.alt
    assert plt.get_fignums() == []


# ---- Fig. 2


def test_the_panels_hold_the_maps_turned_to_the_radiologists_view() -> None:
    mask = ball((9, 20, 20), (4, 10, 9), 9)  # so large that the whole slice is shown
    image = np.random.default_rng(0).normal(size=mask.shape)
    expected = [image, mask, *(distance_map(mask, kind, spacing=SPACING) for kind in KINDS)]
    for axes, volume in zip(panels_of(maps_figure(mask, image, SPACING)), expected, strict=True):
        np.testing.assert_allclose(axes.images[0].get_array(), volume[4, ::-1, ::-1])
        left, right, bottom, top = axes.images[0].get_extent()
        assert (right - left, bottom - top) == (20 * SPACING[2], 20 * SPACING[1])  # mm
    with pytest.raises(InputError, match="shape"):
        maps_figure(mask, image[1:])


def test_a_2d_mask_lies_as_it_is_in_voxels_and_an_added_kind_has_its_panel(monkeypatch) -> None:
    mask = np.zeros((24, 30), bool)
    mask[1:9, 2:28] = mask[1:22, 2:5] = True  # an L: every turn would show
    monkeypatch.setitem(KINDS, "mine", KINDS["NI-DM"])
    figure = maps_figure(mask)
    np.testing.assert_allclose(panels_of(figure)[1].images[0].get_array(), distance_map(mask, "O-DM"))
    assert panels_of(figure)[5].get_title().startswith("mine")
    assert {"x (voxels)", "x (mm)"} & set(texts(figure)) == {"x (voxels)"}


# ---- Fig. 3


def contour_centres(axes: plt.Axes, colour: str) -> list[tuple[float, float]]:
    """Middle (x, y) of every closed contour of this colour."""
    found = []
    for artist in axes.collections:
        if len(colours := artist.get_edgecolor()) and tuple(colours[0]) == to_rgba(colour):
            for polygon in (polygon for path in artist.get_paths() for polygon in path.to_polygons(closed_only=False)):
                found.append(tuple((polygon.min(axis=0) + polygon.max(axis=0)) / 2))
    return found


def test_contours_lie_on_their_voxels() -> None:
    image = np.zeros((5, 40, 40), np.float32)
    reference, prediction = np.zeros(image.shape, bool), np.zeros(image.shape, bool)
    reference[2, 10:13, 20:23] = True
    prediction[2, 14:17, 25:28] = True
    image[reference], image[prediction] = 200, -150
    truth, method = panels_of(results_figure(image, reference, {"a": prediction}, (5.0, 2.0, 3.0), [2]))
    picture = truth.images[0].get_array()
    for colour, value, axes in ((REFERENCE_COLOR, 200, truth), (PREDICTION_COLOR, -150, method)):
        y, x = (indices.mean() + 0.5 for indices in np.nonzero(picture == value))
        [centre] = contour_centres(axes, colour)
        assert centre == pytest.approx((x * 3.0, y * 2.0))
    assert contour_centres(method, REFERENCE_COLOR)  # to see what is missed
    assert not contour_centres(truth, PREDICTION_COLOR)


def test_results_show_every_slice_for_every_method_with_its_dice_and_all_that_it_marks() -> None:
    image, mask = np.zeros((12, 200, 200)), ball((12, 200, 200), (4, 55, 55), 5)
    image[0, 0, 0], far = 7, mask.copy()
    far[4, 190:193, 190:199] = True
    figure = results_figure(image, mask.astype(np.uint8), {"near": mask, "far": far}, (1, 1, 1), [3, 4])
    assert len(panels_of(figure)) == 2 * 3
    assert f"far\nDice {case_scores(far, mask, (1, 1, 1)).dice:.2f}" in texts(figure)
    near, whole = (panels_of(figure)[i].images[0].get_array().shape[0] for i in (0, 3))  # of each row the first
    assert near == 100 < 190 - 50 < whole  # in slice 4 from the lesion to what lies far from it
    assert panels_of(figure)[0].images[0].get_clim() == (0, 7)  # an MR's own range; a CT is shown in its window
    ct = results_figure(image - 1000, mask, {"near": mask}, (1, 1, 1), [3])
    assert panels_of(ct)[0].images[0].get_clim() == CT_WINDOW
    for found, slices, said in ((mask[1:], [3], "prediction 'x' has shape"), (mask, [12], "slices")):
        with pytest.raises(InputError, match=said):
            results_figure(image, mask, {"x": found}, SPACING, slices)
    with pytest.raises(InputError, match=r"shape \(200, 200\); give a volume"):
        results_figure(image[4], mask[4], {}, SPACING, [0])


def test_slices_in_which_masks_differ_most() -> None:
    shape = (40, 50, 50)
    mask = ball(shape, (20, 25, 25), 8)
    assert differing_slices([mask, mask]) == [20]
    other = mask | ball(shape, (5, 10, 10), 3) | ball(shape, (30, 40, 40), 5)
    assert differing_slices([mask, other], 1) == [30]
    assert differing_slices([mask, other, mask]) == [5, 30]


# ---- curves


def test_curves_are_those_of_the_rows() -> None:
    runs = {TITLES[0]: [rows([0.2, 0.7, 0.6]), rows([0.1, 0.3])], "my own": [rows([0.1, 0.2])]}
    figure = learning_curves_figure(runs)
    for axes, (title, logs) in zip(figure.axes, runs.items(), strict=True):
        wanted = [tuple(row[key] for row in log) for log in logs for key in ("train_loss", "val_loss")]
        assert [tuple(line.get_ydata()) for line in axes.lines] == wanted
        assert axes.lines[1].get_color() == (METHOD_COLORS["dice"] if title == TITLES[0] else BLACK)
    assert colour_of(TITLES[0]) == METHOD_COLORS["dice"]
    assert colour_of("M-Net + MapDice + α LR-Net, NI-DMs") == METHOD_COLORS["mapdice+lrnet"]
    assert colour_of("A-scratch: Dice") == colour_of("A") == ARM_COLORS["A"]


def test_quality_shows_every_lesion() -> None:
    figure = lrnet_quality_figure(quality(), rows([0.9, 0.99]))
    lesions = {(lesion.radius, lesion.error) for lesion in quality().lesions}
    assert any(set(zip(*line.get_data(), strict=True)) == lesions for line in figure.axes[0].lines)
    assert f"Dice 0.988, error of φ {quality().error:.3f}" in "".join(texts(figure))
    assert lrnet_quality_figure(LRNetQuality(1.0, []), rows([1.0])).png(40)
