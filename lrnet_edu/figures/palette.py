"""One palette for every picture of the course: colour-blind-safe, the same meaning everywhere.

The categorical colours are Okabe and Ito's (2008).
"""

MAP_COLORMAP = "viridis"  # perceptually uniform, of O-DM, I-DM, NI-DM and every other map >= 0
SIGNED_MAP_COLORMAP = "PuOr"  # diverging, of SNI-DM
CT_COLORMAP = "gray"

BLACK = "#000000"
ORANGE = "#E69F00"
SKY_BLUE = "#56B4E9"
GREEN = "#009E73"
YELLOW = "#F0E442"
BLUE = "#0072B2"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"
GREY = "#999999"

REFERENCE_COLOR = ORANGE  # the ground truth's contour
PREDICTION_COLOR = SKY_BLUE  # a prediction's contour
LABEL_COLORS = (ORANGE, SKY_BLUE, GREEN, PURPLE, YELLOW, VERMILION, BLUE)

METHOD_COLORS = {"dice": BLUE, "mapdice": SKY_BLUE, "lrnet": PURPLE, "dice+lrnet": VERMILION, "mapdice+lrnet": ORANGE,
                 "unfrozen-lrnet": GREEN}  # fmt: skip
ARM_COLORS = {"A": BLUE, "B": VERMILION, "C": PURPLE, "D": ORANGE, "E": GREEN, "J": SKY_BLUE}  # of the study's arms
