"""The figures of the paper and of the course: functions of plain arrays that return a :class:`Picture`."""

from lrnet_edu.figures.curves import learning_curves_figure as learning_curves_figure
from lrnet_edu.figures.curves import lrnet_quality_figure as lrnet_quality_figure
from lrnet_edu.figures.picture import Picture as Picture
from lrnet_edu.figures.volumes import differing_slices as differing_slices
from lrnet_edu.figures.volumes import maps_figure as maps_figure
from lrnet_edu.figures.volumes import results_figure as results_figure
