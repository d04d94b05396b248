"""The figures of the paper and of the course: functions of plain arrays that return a :class:`Picture`."""

from __future__ import annotations

from lrnet_edu.figures.architecture import architecture_figure
from lrnet_edu.figures.curves import learning_curves_figure, lrnet_quality_figure
from lrnet_edu.figures.picture import Picture
from lrnet_edu.figures.volumes import differing_slices, maps_figure, representative_slices, results_figure

__all__ = [
    "Picture",
    "architecture_figure",
    "differing_slices",
    "learning_curves_figure",
    "lrnet_quality_figure",
    "maps_figure",
    "representative_slices",
    "results_figure",
]
