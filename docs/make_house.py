"""Draw docs/house.png from the package's own imports: ``python docs/make_house.py`` (needs the extra ``dev``).

A box is a file or a folder of ``lrnet_edu/``. An arrow says "imports"; those that a longer way implies, those to
``support`` and those over more than two storeys are left out. The storeys are those of the contract in pyproject.toml,
so no arrow climbs.
"""

import textwrap
from pathlib import Path

import grimp
import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle

from lrnet_edu.figures.palette import BLACK, BLUE, ORANGE

ROOT = Path(__file__).resolve().parents[1]
PAPER, ROOM = "#fbe7c0", "#dcebf5"  # a section of the paper, a room beside it
Row = dict[str, tuple[float, float, str]]  # name -> centre and width in hundredths of the picture, what lives there
STOREYS: list[tuple[str, list[Row]]] = [  # from the roof down
    ("what a user\ntypes", [{
        "cli": (62, 32, "the commands: parse, call, print"),
    }]),
    ("commands,\ntables,\npictures", [{
        "exercises": (22, 32, "the course's checks of an answer"),
        "commands": (62, 32, "maps, predict, evaluate: files in, files out"),
    }, {
        "viewers": (20, 32, "what scrolls and paints in a notebook; its JavaScript"),
        "study": (62, 36, "Tables 1 and 2, the study: trainings, statistics, text; the LiTS board"),
    }, {
        "figures": (33, 32, "plots: arrays in, a picture with alt text out"),
    }]),
    ("a training", [{
        "tandem_loss": (17, 30, "2.3: the whole loss, behind anybody's network"),
        "mnet_training": (54, 28, "Table 2: a row trained, validated, kept"),
        "lrnet_training": (85, 28, "2.2: the LR-Net taught its map, and judged"),
    }, {
        "config": (75, 20, "every setting, three presets"),
    }, {
        "methods": (37, 24, "Table 2: model and loss of each row"),
    }, {
        "trained": (83, 22, "networks from disk"),
    }]),
    ("from files\nto patches", [{
        "data": (83, 32, "cases, NIfTI, preprocessing, cache, patches, phantoms; nobody else knows (x, y, z)"),
    }]),
    ("the paper", [{
        "rivals": (92, 15, "3.2: two networks that regress too"),
    }, {
        "losses": (11, 20, "2.3: Dice, MapDice, regression; five rivals"),
        "training": (31, 15, "3: the loop, and nothing else"),
        "inference": (48, 16, "2.2: M-Net on a whole volume"),
        "metrics": (66, 15, "3: the seven criteria"),
    }, {
        "networks": (40, 22, "2.2, Fig. 1: M-Net, LR-Net, tandem"),
        "distance_maps": (77, 22, "2.1, Fig. 2: the map of a mask"),
    }, {
        "kinds": (59, 24, "2.1: what differs between the four maps"),
    }]),
    ("the ground", [{
        "support": (50, 98, "errors, files, run folders, devices, processes, voxels; it knows nothing above it"),
    }]),
]  # fmt: skip
# The stations of house.md, from a file to a row of a table.
STATIONS = {"data": "21", "distance_maps": "3", "training": "4", "networks": "5", "losses": "6", "support": "7",
            "trained": "8", "inference": "9", "commands": ["10"], "metrics": ["11"], "study": ["12"]}  # fmt: skip
LEFT, WIDTH, HEIGHT, GAP, MARGIN = 1.3, 11.5, 0.62, 0.34, 0.2  # inches


def names() -> list[str]:
    """The boxes, from the roof down."""
    return [name for _, rows in STOREYS for row in rows for name in row]


def arrows() -> set[tuple[str, str]]:
    """Who imports whom, by box; ``__init__`` and ``__main__`` only hand on."""
    graph = grimp.build_graph("lrnet_edu", exclude_type_checking_imports=True, cache_dir=None)
    boxes = {module: module.split(".")[1] for module in graph.modules if module.count(".")}
    found = {
        (box, boxes.get(target, ""))
        for module, box in boxes.items()
        for target in graph.find_modules_directly_imported_by(module)
    }
    return {(a, b) for a, b in found if a != b and b and a != "__main__"}


def without_detours(found: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The arrows that no longer way implies."""
    below: dict[str, set[str]] = {name: {b for a, b in found if a == name} for name in names()}

    def reach(name: str) -> set[str]:
        return below[name].union(*(reach(other) for other in below[name])) if below[name] else set()

    return {(a, b) for a, b in found if not any(b in reach(other) for other in below[a] - {b})}


def draw() -> plt.Figure:
    """The picture."""
    height = sum(len(rows) * (HEIGHT + GAP) + MARGIN for _, rows in STOREYS)
    figure = plt.figure(figsize=(LEFT + WIDTH + 0.1, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, LEFT + WIDTH + 0.1), ylim=(0, height))
    axes.axis("off")
    places: dict[str, tuple[int, float, float]] = {}  # the storey, and the middle of the box's head
    y = height - MARGIN / 2
    for storey, (title, rows) in enumerate(STOREYS):
        depth = len(rows) * (HEIGHT + GAP)
        axes.add_patch(Rectangle((0.05, y - depth), LEFT + WIDTH, depth, color="#f5f5f3", lw=0, zorder=0))
        axes.text(0.15, y - depth / 2, title, va="center", fontsize=11, color="#555555", style="italic")
        for row in rows:
            for name, (centre, width, words) in row.items():
                places[name] = storey, LEFT + WIDTH * centre / 100, y - GAP / 2
                colours = (PAPER, ORANGE) if title == "the paper" else (ROOM, BLUE)
                draw_box(axes, name, words, *places[name][1:], WIDTH * width / 100, colours)
            y -= HEIGHT + GAP
        y -= MARGIN
    for a, b in sorted(without_detours(arrows())):
        (above, x, top), (below, x2, top2) = places[a], places[b]
        if b != "support" and below - above <= 2:
            colour = "#444444" if below - above < 2 else "#aaaaaa"
            axes.add_patch(FancyArrowPatch((x, top - HEIGHT), (x2, top2), arrowstyle="-|>", mutation_scale=9, lw=1.0,
                                           color=colour, zorder=2, shrinkA=0, shrinkB=1))  # fmt: skip
    return figure


def draw_box(
    axes: plt.Axes, name: str, words: str, x: float, top: float, width: float, colours: tuple[str, str]
) -> None:
    """A file or folder, what lives there, and the numbers of its stations; ``x`` is its middle."""
    left = x - width / 2
    axes.add_patch(Rectangle((left, top - HEIGHT), width, HEIGHT, fc=colours[0], ec=colours[1], lw=1.2, zorder=3))
    title = f"{name}/" if (ROOT / "lrnet_edu" / name).is_dir() else f"{name}.py"
    axes.text(left + 0.07, top - 0.06, title, va="top", weight="bold", fontsize=10.5, zorder=4)
    for i, number in enumerate(STATIONS.get(name, ())):
        place = left + width - 0.1 - 0.2 * i, top
        axes.add_patch(Circle(place, 0.1, color=BLACK, zorder=5))
        axes.text(*place, number, color="white", fontsize=7, weight="bold", va="center_baseline", ha="center", zorder=6)
    axes.text(left + 0.07, top - 0.27, "\n".join(textwrap.wrap(words, int(width * 14.5))), va="top", fontsize=8.2,
              zorder=4, linespacing=1.1)  # fmt: skip


if __name__ == "__main__":
    draw().savefig(ROOT / "docs" / "house.png", dpi=100)
