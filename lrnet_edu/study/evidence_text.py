"""The study's page, ``study.md``."""

from collections.abc import Mapping, Sequence
from typing import Any

from lrnet_edu.study.page import bullets, interval, joined, mean_and_deviation, signed, table
from lrnet_edu.study.protocol import CONTROLS, CONVERGED

VERDICTS = {
    "ahead": "{ours} is ahead of {theirs}",
    "behind": "{ours} is behind {theirs}",
    "equal": "{ours} and {theirs} are equal within {margin:g}",
    "undecided": "Nothing is decided between {ours} and {theirs}",
}
SCRATCH = (
    "As many steps as base and branch together; B to E begin with a quarter of Dice, after which Adam begins anew. E "
    "joined after the first seed of A and C had been tested, D when all was known (protocol, 'Changes')."
)
LEGEND = (
    "\u00b1: standard deviation over the seeds. Mean lesion Dice and sensitivity are means over the seven rates; DC, "
    "false lesions (a case), lesion Dice at 0.5 and ASSD (mm) are at p > 0.5. Calibration error: the expected one of p "
    "in the liver. Holm's correction joins the four primary comparisons of a set and view; the p of all others "
    "stand alone."
)
COLUMNS = {  # of the endpoints' table: how each is printed
    "mean lesion Dice": ".3f", "sensitivity": ".3f", "mean lesion Dice, 0.25 to 1 ml": ".3f",
    "mean lesion Dice, 1 to 5 ml": ".3f", "mean lesion Dice, 5 ml and more": ".3f", "DC": ".3f",
    "false lesions": ".2f", "lesion Dice at 0.5": ".3f", "ASSD of found lesions": ".2f", "calibration error": ".4f",
}  # fmt: skip


def as_markdown(result: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """What :func:`lrnet_edu.study.evidence.write_evidence` returned as a page, with its pictures in Markdown."""
    primary = result["primary_cell"]
    parts = [
        "# Does the LR-Net help an M-Net that Dice has trained?",
        "Written by `lrnet-edu reproduce study`. docs/study_protocol.md has what was decided beforehand, and under "
        "'Changes' what was seen or done again on the way. "
        f"Primary endpoint: mean Dice of the visible lesions of 0.25 to 5 ml, missed ones 0, averaged over at most "
        f"1/8, 1/4, 1/2, 1, 2, 4 and 8 false lesions a case, on {cell_in_words(primary)}.",
        *verdicts(result),
        " ".join(outcomes(result)),
        convergence(result),
        pictures["forest"],
        pictures["curves"],
    ]
    if scratch := scratch_verdicts(result):
        parts += ["## From fresh weights", SCRATCH, *scratch, pictures["scratch"]]
    parts.append(LEGEND)
    for cell in result["cells"]:
        parts += [f"## {cell_in_words(cell).capitalize()}", endpoints_table(result, cell),
                  gains_table(result["cells"][cell])]  # fmt: skip
    parts += ["## Trainings", pictures["learning"], "## How alpha was chosen",
              alphas_table(result), gradients_table(result), "## Facts"]  # fmt: skip
    hours = f"{result['cpu_hours']:.1f}, the choice of alpha not counted"
    return joined([*parts, bullets({"versions": result["versions"], "CPU hours": hours})])


def cell_in_words(cell: str) -> str:
    """ "study-b, whole body"."""
    which, view = cell.split("/")
    return f"{which}, {'whole body' if view == 'whole' else 'cut to the box of the liver'}"


def verdicts(result: Mapping[str, Any]) -> list[str]:
    """ "C (LR-Net alone) is ahead of A (Dice): +0.041 (0.020 to 0.062; 10 seeds)." for each primary comparison."""
    return sentences_of(result, result["cells"][result["primary_cell"]]["gains"])


def scratch_verdicts(result: Mapping[str, Any]) -> list[str]:
    """The same for the arms from fresh weights."""
    further = result["cells"][result["primary_cell"]]["further"]
    return sentences_of(result, [row for row in further if row["ours"].endswith("-scratch")])


def sentences_of(result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each comparison."""
    sentences = []
    for row in rows:
        names = {side: f"{row[side]} ({result['arms'][row[side]]})" for side in ("ours", "theirs")}
        words = VERDICTS[row["verdict"]].format(margin=result["margin"], **names)
        sentences.append(f"**{words}: {signed(row['mean'])} ({interval(row)}; {len(row['seeds'])} seeds).**")
    return sentences


def outcomes(result: Mapping[str, Any]) -> list[str]:
    """What that says of the paper's claim by the protocol's rule, for each arm with an LR-Net that has a control."""
    found = {(row["ours"], row["theirs"]): row["verdict"] for row in result["cells"][result["primary_cell"]]["gains"]}
    sentences = []
    for arm, control in CONTROLS.items():
        against = found.get((arm, "A")), found.get((arm, control))
        if None not in against:
            outcome = "neither established nor refuted"
            words = {"equal": f"is equal within {result['margin']:g}", "behind": "is ahead"}
            if against[1] in words:
                outcome = f"refuted in this setting: {control}, without an LR-Net, {words[against[1]]}"
            elif against == ("ahead", "ahead"):
                outcome = "established"
            sentences.append(f"For {arm} ({result['arms'][arm]}) the paper's claim is {outcome}.")
    return sentences


def endpoints_table(result: Mapping[str, Any], cell: str) -> str:
    """All endpoints of all arms: mean over the seeds and their standard deviation."""
    lines = []
    for arm, values in result["cells"][cell]["endpoints"].items():
        cells = [mean_and_deviation(values.get(name, ()), form) for name, form in COLUMNS.items()]
        lines.append([arm, result["arms"][arm], str(len(values["DC"])), *cells])
    return table(["Arm", "", "Seeds", *(name[0].upper() + name[1:] for name in COLUMNS)], lines)


def gains_table(content: Mapping[str, Any]) -> str:
    """Every comparison: the primary family, then the others, whose p stands alone."""
    lines = [
        [f"{row['ours']} \u2212 {row['theirs']}", signed(row["mean"]), interval(row), interval(row, "boot_"),
         f"{row['p']:.2g}", f"{row['p_holm']:.2g}" if row in content["gains"] else "", row["verdict"],
         str(len(row["seeds"]))]
        for row in (*content["gains"], *content["further"])
    ]  # fmt: skip
    heads = ["Difference", "Mean", "t over seeds, 95 %", "Bootstrap over seeds and cases", "p", "p by Holm", "Verdict",
             "Seeds"]  # fmt: skip
    return table(heads, lines)


def convergence(result: Mapping[str, Any]) -> str:
    """What twice the steps gain, and what rounding does."""
    ends, sentences = {(one["arm"], one["seed"]): one["log"][-1] for one in result["bases"]}, []
    for (arm, seed), end in ends.items():
        if arm == "base-twice":
            once = ends["base", seed]
            sentences.append(
                f"M-Net + Dice, seed {seed}: validation DC {once['score']:.3f} after {once['step']:g} steps, "
                f"{end['score']:.3f} after {end['step']:g}. The protocol calls it converged if this gain is below "
                f"{CONVERGED:g}: it is{'' if end['score'] - once['score'] < CONVERGED else ' not'}."
            )
    if listed := ", ".join(f"{arm} {value:.4f}" for arm, value in result["rounding"].items()):
        sentences.append(f"Four trainings that began a millionth apart: standard deviation of the endpoint {listed}.")
    return " ".join(sentences)


def alphas_table(result: Mapping[str, Any]) -> str:
    """The primary endpoint on validation by alpha."""
    rows = result["chosen"]
    alphas = list(next(iter(rows.values()))["validation"])
    lines = [[arm, *(f"{row['validation'][alpha]:.3f}" for alpha in alphas), f"{row['chosen']:g}"]
             for arm, row in rows.items()]  # fmt: skip
    return table(["Arm", *(f"{float(alpha):g}" for alpha in alphas), "Chosen"], lines)


def gradients_table(result: Mapping[str, Any]) -> str:
    """How large each term's gradient is on the weights of the M-Net that Dice has trained, at alpha 1."""
    norms = result["gradients"]
    lines = [[term, f"{norm:.3g}", f"{norms['Dice'] / norm:.3g}"] for term, norm in norms.items()]
    return table(["Term at alpha 1", "Length of its gradient", "Dice's, as a multiple of it"], lines)
