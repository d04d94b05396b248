"""Tables 1 and 2 of the paper as data: every row, the figures that the paper prints for it, and what it claims."""

from dataclasses import dataclass, field
from typing import NamedTuple

from lrnet_edu.methods import METHODS, WCE

# ---- what is chosen on the validation cases, with a seed of its own: one rate for each family of losses ----------

LEARNING_RATES = (1e-3, 3e-3, 1e-2)
CHOOSING_SEED = 100
FAMILIES = {"overlap": ("dice",), "cross-entropy": tuple(WCE.values()), "regression": ("lrnet",)}  # who chooses
CROSS_ENTROPY = (*WCE.values(), "explog")


@dataclass(frozen=True)
class Row:
    """One row of Table 2, or one cell of Table 1: what is trained, and what the paper found."""

    method: str  # a key of METHODS
    kind: str = "NI-DM"  # the map that the LR-Net regresses, where the method has one
    activation: str | None = None  # its output layer; None is section 3.1's for the kind
    alpha: float | None = None  # None is the default by kind, 1 the paper's rows without alpha
    paper: dict[str, float] = field(default_factory=dict)  # criterion -> the figure printed

    @property
    def map_name(self) -> str:
        """The map's column in Table 1, "NI-DMs" for a sigmoid; empty without an LR-Net."""
        suffix = "s" if self.activation == "sigmoid" else ""
        return f"{self.kind}{suffix}" if METHODS[self.method].uses_lrnet else ""

    @property
    def family(self) -> str:
        """The family of losses that shares a learning rate."""
        if METHODS[self.method].warms_up:
            return "regression"
        return "cross-entropy" if self.method in CROSS_ENTROPY else "overlap"

    @property
    def key(self) -> str:
        """A name for files, equal in both tables for what both of them ask for."""
        weight = f"_alpha-{self.alpha:g}" if self.alpha is not None else ""
        return f"{self.method}_{self.map_name}{weight}" if self.map_name else self.method

    @property
    def title(self) -> str:
        """As Table 1 writes it: the alpha where there is one, and none where it is 1."""
        title, alpha = METHODS[self.method].title, "α" if self.alpha is None else f"{self.alpha:g}"
        weighted = self.map_name and self.alpha != 1 and METHODS[self.method].segmentation_loss
        return title.replace("+ LR-Net", f"+ {alpha} LR-Net") if weighted else title


class Pair(NamedTuple):
    """One comparison: the mean of some rows against the mean of others, by their keys."""

    better: tuple[str, ...]
    than: tuple[str, ...]
    words: str


Claim = tuple[str, tuple[Pair, ...]]  # a sentence of the paper, and the comparisons that bear it out


@dataclass(frozen=True)
class Table:
    """A table of the paper, or one of somebody's own: every row is compared with that of the method ``BASELINE``.

    It shows every criterion by row, or, ``by_map``, DC by training and map.
    """

    title: str  # with its name, "Table 1: ..."
    about: str  # where the paper measured it
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...] = ()  # what the paper concludes from it
    by_map: bool = False


# ---- Table 1: DC by training (method, alpha) and map (kind, activation) -------------------------------------------

COLUMNS: dict[str, tuple[str, str | None]] = {
    "O-DM": ("O-DM", None), "I-DM": ("I-DM", None), "NI-DM": ("NI-DM", None), "NI-DMs": ("NI-DM", "sigmoid"),
    "SNI-DM": ("SNI-DM", None),
}  # fmt: skip
TRAININGS: dict[tuple[str, float | None], tuple[float, ...]] = {
    ("lrnet", None): (0.6993, 0.7310, 0.7420, 0.7381, 0.7342),  # alone, so that alpha balances nothing
    ("dice+lrnet", 1.0): (0.6842, 0.7003, 0.7172, 0.6914, 0.6281),
    ("dice+lrnet", None): (0.7101, 0.7169, 0.7375, 0.7228, 0.6510),
    ("mapdice+lrnet", 1.0): (0.6874, 0.7135, 0.7289, 0.7283, 0.6384),
    ("mapdice+lrnet", None): (0.6904, 0.7303, 0.7463, 0.7445, 0.6961),
}
TABLE_1_ROWS = (
    Row("dice", paper={"DC": 0.6581}),
    Row("mapdice", paper={"DC": 0.6856}),
    *(
        Row(method, *COLUMNS[column], alpha=alpha, paper={"DC": dc})
        for (method, alpha), figures in TRAININGS.items()
        for column, dc in zip(COLUMNS, figures, strict=True)
    ),
)

# ---- Table 2: every criterion by method ---------------------------------------------------------------------------

PRINTED = ("DC", "DG", "VOE", "RVD", "ASSD", "MSD", "RMSD")
PRINTED_IN_TABLE_2 = {
    "dice": (0.647, 0.888, 0.292, 0.065, 0.809, 6.201, 1.292),
    "mapdice": (0.661, 0.870, 0.298, 0.116, 0.944, 7.005, 1.482),
    "unfrozen-lrnet": (0.628, 0.715, 0.395, -0.049, 1.328, 8.683, 1.983),
    "lrnet": (0.748, 0.931, 0.262, -0.016, 0.674, 5.548, 1.100),
    "dice+lrnet": (0.721, 0.913, 0.273, 0.118, 0.754, 6.134, 1.218),
    "mapdice+lrnet": (0.751, 0.935, 0.252, 0.070, 0.654, 5.708, 1.079),
    "wce": (0.622, 0.883, 0.379, -0.253, 1.134, 6.425, 1.597),
    "gds": (0.658, 0.910, 0.286, -0.024, 0.886, 6.192, 1.350),
    "tversky": (0.738, 0.930, 0.261, 0.059, 0.667, 5.589, 1.094),
    "focal-tversky": (0.738, 0.923, 0.273, 0.050, 0.734, 5.920, 1.184),
    "explog": (0.737, 0.921, 0.255, 0.126, 0.708, 6.152, 1.160),
    "multi-branch": (0.723, 0.917, 0.288, 0.016, 0.748, 5.921, 1.199),
    "cascaded": (0.722, 0.906, 0.285, 0.034, 0.796, 6.026, 1.251),
}
TABLE_2_ROWS = tuple(
    Row(method, paper=dict(zip(PRINTED, figures, strict=True))) for method, figures in PRINTED_IN_TABLE_2.items()
)
CONTROL_ROWS = (Row("voxelwise"), Row("dice+voxelwise"))  # not the paper's: what does the LR-Net itself add?

# ---- what the paper concludes (sections 3.1 and 3.2) ----------------------------------------------------------------


def claim(words: str, *pairs: tuple[str, str]) -> Claim:
    """A claim about methods, each with NI-DM and ReLU: one against another."""
    rows = [(Row(better), Row(than)) for better, than in pairs]
    return words, tuple(Pair((a.key,), (b.key,), f"{a.title} against {b.title}") for a, b in rows)


KEYS = {column: tuple(row.key for row in TABLE_1_ROWS if row.map_name == column) for column in COLUMNS}
BEST_MAP = "NI-DM with ReLU the best map", tuple(
    Pair(KEYS["NI-DM"], keys, f"the column of NI-DM against that of {column}")
    for column, keys in KEYS.items() if column != "NI-DM"
)  # fmt: skip
LRNET = claim("LR-Net better than M-Net alone", ("lrnet", "dice"), ("dice+lrnet", "dice"), ("mapdice+lrnet", "mapdice"))
MAPDICE = claim("MapDice better than Dice", ("mapdice", "dice"), ("mapdice+lrnet", "dice+lrnet"))
CONTROL = claim("Ours: LR-Net better than its control", ("lrnet", "voxelwise"), ("dice+lrnet", "dice+voxelwise"))
FROZEN = claim("Frozen better than unfrozen", ("lrnet", "unfrozen-lrnet"))
OTHERS = ("wce", "gds", "tversky", "focal-tversky", "explog")
IMBALANCE = claim("Ahead of the imbalance losses", *(("mapdice+lrnet", other) for other in OTHERS))
RIVALS = claim("Ahead of both regression rivals", ("mapdice+lrnet", "multi-branch"), ("mapdice+lrnet", "cascaded"))

TABLES = {
    "table1": Table(
        "Table 1: distance maps and losses", "LiTS, 13 validation cases", TABLE_1_ROWS,
        (LRNET, MAPDICE, BEST_MAP), by_map=True,
    ),
    "table2": Table(
        "Table 2: the method and its rivals", "the authors' clinical data, 137 cases",
        (*TABLE_2_ROWS, *CONTROL_ROWS), (LRNET, CONTROL, FROZEN, MAPDICE, IMBALANCE, RIVALS),
    ),
}  # fmt: skip
