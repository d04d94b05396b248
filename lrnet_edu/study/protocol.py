"""What ``lrnet-edu reproduce study`` asks, as data: docs/study_protocol.md says why.

An M-Net is trained by Dice until that gains nothing more. From its weights every arm goes on with a loss of its own:
the same number of steps, the same patches, Adam anew. What an arm with one seed trains and scores is a branch.
"""

import math
from dataclasses import dataclass, replace

from lrnet_edu.config import FAST, Config, fast
from lrnet_edu.data.study import PARTS
from lrnet_edu.methods import METHODS

LABEL = "2"  # the lesion; 1 is the liver
MARGIN_MM = 10.0  # around the liver's box, in the view "box"
SETS = ("study", "study-b")  # of phantoms; the second is another scanner's, only tested
VIEWS = ("whole", "box")
CELLS = tuple((which, view) for which in SETS for view in VIEWS)

PRIMARY_CELL = ("study", "box")
SIZES_ML = (0.25, 5.0)  # of the lesions that the primary endpoint asks for
PRIMARY = (("C", "A"), ("C", "E"), ("B", "A"), ("B", "D"))  # one family for Holm's correction
CONTROLS = {"C": "E", "B": "D"}  # the same without an LR-Net
CONVERGED = 0.01  # an M-Net has, if twice the steps gain less validation DC than that
SECONDARY = (("C", "J"), ("B", "J"))
FROM_SCRATCH = tuple((f"{a}-scratch", f"{b}-scratch") for a, b in ("CA", "CE", "EA", "BA", "BD", "BE", "DA"))
MORE = (("D", "A"), ("E", "A"), ("J", "A"), ("F", "A"), ("I", "A"), ("G", "A"), ("K", "C"), ("H", "C"), *FROM_SCRATCH)

ALPHAS = (1.0, 10.0, 100.0, 300.0, 1000.0, 3000.0)  # alpha and beta are chosen from these
SELECTION_SEEDS = (100, 101)  # by which they are chosen; these seeds take no other part
ROUNDING = 1e-6  # by how much the first weights are moved, to see what rounding does
REPEATS = 3


@dataclass(frozen=True)
class Arm:
    """One way to go on from the M-Net that Dice has trained.

    Attributes:
        title: in words.
        method: a key of ``METHODS``.
        seeds: how many, from 0 on.
        alpha_of: the arm whose alpha it takes, which is chosen on the validation cases.
        lrnet: another LR-Net than the one that ships, a file in the study's folder; without it the arm is left out.
    """

    title: str
    method: str
    seeds: int = 10
    alpha_of: str | None = None
    lrnet: str | None = None


ARMS = {
    "A": Arm("Dice", "dice"),
    "B": Arm("Dice + alpha LR-Net", "dice+lrnet", alpha_of="B"),
    "C": Arm("LR-Net alone", "lrnet"),
    "D": Arm("Dice + beta SmoothL1(p, mask)", "dice+voxelwise", alpha_of="D"),
    "E": Arm("SmoothL1(p, mask) alone", "voxelwise"),
    "J": Arm("Dice + cross-entropy", "dice+ce"),
    "G": Arm("MapDice + alpha LR-Net", "mapdice+lrnet", seeds=5, alpha_of="B"),
    "F": Arm("MapDice", "mapdice", seeds=5),
    "I": Arm("mended MapDice", "mended-mapdice", seeds=5),
    "K": Arm("LR-Net alone, an earlier LR-Net", "lrnet", seeds=5, lrnet="lrnet_rims.safetensors"),
    "H": Arm("LR-Net alone, unfrozen", "unfrozen-lrnet", seeds=5),
}
SCRATCH = {"A": 5, "C": 5, "E": 5, "B": 5, "D": 5}  # arms from fresh weights, and their seeds

BASE = Config(
    label=LABEL, method="dice", max_voxels=1_048_000, window=(-30.0, 180.0), patch_size=(32, 48, 48),  # 2.5 mm, HU
    features=(16, 24, 32, 64), blocks=(1, 1, 1), stride=2,  # preset cpu's M-Net
    steps=9600, learning_rate=4e-3,
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """How large the study is."""

    cases: tuple[int, int, int] = (60, 15, 80)  # train, validation, test; the second set has the test's number
    config: Config = BASE  # of the M-Net that all branches of a seed begin with
    steps: int = 600  # of a branch
    alphas: tuple[float, ...] = ALPHAS
    selection_seeds: tuple[int, ...] = SELECTION_SEEDS
    first: int = 0  # number of the first case

    @property
    def split(self) -> dict[str, list[str]]:
        """The cases of the first set by number."""
        numbers = iter(range(self.first, self.first + sum(self.cases)))
        return {part: [f"volume-{next(numbers)}" for _ in range(count)]
                for part, count in zip(PARTS, self.cases, strict=True)}  # fmt: skip

    def measured_cases(self, which: str) -> range:
        """The numbers of a set's cases whose lesions count: validation and test of the first, all of the second."""
        return range(self.cases[0], sum(self.cases)) if which == SETS[0] else range(self.cases[-1])

    def base(self, seed: int, steps: int | None = None) -> Config:
        """The M-Net of a seed, trained by Dice."""
        steps = steps or self.config.steps
        return replace(self.config, seed=seed, steps=steps, validate_every=steps // 6)

    def branch(
        self, arm: str, seed: int, start: str, *, alpha: float | None = None, lrnet: str | None = None
    ) -> Config:
        """An arm, from an M-Net's checkpoint on. Its patches are others than the base's, and every arm's."""
        method = ARMS[arm].method
        config = replace(self.config, method=method, seed=1000 + seed, start=start, alpha=alpha, lrnet=lrnet,
            steps=self.steps, validate_every=self.steps // 2, learning_rate=1e-3, warmup_steps=0)  # fmt: skip
        return replace(config, alpha=METHODS[method].alpha(config))  # in the record, lest a default changes

    def config_from_scratch(self, arm: str, seed: int, alpha: float | None = None) -> Config:
        """An arm from fresh weights with as many steps as base and branch together, those of its warm-up included."""
        config = replace(self.base(2000 + seed, self.config.steps + self.steps), method=ARMS[arm].method, alpha=alpha)
        return replace(config, alpha=METHODS[config.method].alpha(config))


def study_plan() -> Plan:
    """The study's size; under ``LRNET_EDU_FAST=1`` only so much that everything is run once."""
    if not fast():
        return Plan()
    return Plan((4, 2, 3), replace(BASE, **{**FAST, "steps": 6}), 2, alphas=(1.0, 1000.0), selection_seeds=(100,))


def falling_rate(share: float) -> float:
    """Share of the learning rate when so much is done: every training ends in a standstill, whatever its loss."""
    return 0.5 + 0.5 * math.cos(math.pi * share)
