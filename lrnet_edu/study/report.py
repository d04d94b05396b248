"""The demo's page: one HTML file with all figures inside, which opens offline, in light and in dark.

Everything that is not written here (titles, names, facts) is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from lrnet_edu import figures
from lrnet_edu.lrnet_training import LRNetQuality
from lrnet_edu.metrics import CRITERIA, ScoreTable
from lrnet_edu.networks import LRNet, MNet
from lrnet_edu.support.files import write_atomically

BEST = {"higher": "↑", "lower": "↓", "zero": "→ 0"}


@dataclass(frozen=True)
class DemoResults:
    """Everything the page shows; titles are those of ``METHODS``, rows those of ``log.csv``."""

    mnet: MNet
    lrnet: LRNet
    patch: tuple[int, int, int]  # voxels (D, H, W) that the M-Net was trained on
    sample: tuple[Any, Any, Sequence[float]]  # image in HU and mask (D, H, W), spacing (z, y, x) in mm
    quality: LRNetQuality
    pretraining: Sequence[Mapping[str, float]]  # the LR-Net's rows
    curves: Mapping[str, Sequence[Mapping[str, float]]]  # title -> the M-Net's rows
    predictions: Mapping[str, Any]  # title -> what it finds in the sample
    table: Mapping[str, ScoreTable]  # title -> scores of the cases with a lesion
    no_lesion: Mapping[str, int]  # title -> voxels called lesion in the cases without one
    facts: Mapping[str, Any]  # what was run: seed, versions, device
    seconds: Mapping[str, float]  # stage -> seconds


def write_report(path: str | Path, results: DemoResults) -> None:
    """Write the page; InputError if it cannot be written, or a figure cannot be drawn (an empty mask, no rows)."""
    write_atomically(Path(path), report_html(results).encode())


def report_html(results: DemoResults) -> str:
    """The page as text: its sections follow the paper."""
    image, mask, spacing = results.sample
    slices = figures.telling_slices(mask, 3)
    sections = {
        "Two networks": ARCHITECTURE + _figure(figures.architecture_figure(results.mnet, results.lrnet, results.patch)),
        "Distance maps": MAPS + _figure(figures.maps_figure(mask, image, spacing)),
        "The LR-Net": LRNET + _figure(figures.lrnet_quality_figure(results.quality, results.pretraining)),
        "Learning curves": CURVES + _figure(figures.learning_curves_figure(results.curves)),
        "What the methods find": PANEL
        + _figure(figures.results_figure(image, mask, results.predictions, spacing, slices)),
        "Seven criteria": SCORES + _scores(results.table, results.no_lesion) + _caution(results.table),
        "What was run": RUN + _run(results.facts, results.seconds),
    }
    links = "".join(f'<li><a href="#part-{i}">{title}</a></li>' for i, title in enumerate(sections, 1))
    parts = "".join(
        f'<section id="part-{i}"><h2>{title}</h2>{content}</section>'
        for i, (title, content) in enumerate(sections.items(), 1)
    )
    body = f"<main>{LEAD}<nav><ol>{links}</ol></nav>{parts}</main>"
    return f"{HEAD}<style>{STYLE}</style></head><body>{body}</body></html>\n"


def _figure(picture: figures.Picture) -> str:
    """A figure on a white card, in both themes; on a narrow screen it scrolls sideways and stays legible."""
    return f'<figure class="card" tabindex="0">{picture.to_html()}</figure>'


def _table(name: str, caption: str, heads: Iterable[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table of cells in HTML, which scrolls sideways where the screen is narrow, also by keyboard."""
    head = "".join(f'<th scope="col">{cell}</th>' for cell in heads)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for first, *cells in rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{name}"><table class="{kind}">'
        f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _scores(table: Mapping[str, ScoreTable], no_lesion: Mapping[str, int]) -> str:
    heads = [
        f'<abbr title="{c.title}">{c.symbol or name}</abbr> {BEST[c.best]}<small>{c.unit or "no unit"}</small>'
        for name, c in CRITERIA.items()
    ]
    rows = []
    for title, scores in table.items():
        cells = [c.text(scores.mean[name]).replace("-", "−") for name, c in CRITERIA.items()]
        told = [f"<small>{n} undefined</small>" if (n := scores.undefined[name]) else "" for name in CRITERIA]
        rows.append([escape(title), *map("".join, zip(cells, told, strict=True)), str(no_lesion[title])])
    cases = " or ".join(str(n) for n in sorted({scores.cases for scores in table.values()}))
    caption = f"Means over {cases} test cases with a lesion. ↑ more is better, ↓ less, → 0 nearer to zero."
    heads = ["Method", *heads, "Healthy cases ↓<small>false voxels</small>"]
    return _table("The seven criteria", caption, heads, rows)


def _caution(table: Mapping[str, ScoreTable]) -> str:
    known = {title: scores.mean["DC"] for title, scores in table.items() if not math.isnan(scores.mean["DC"])}
    if not known:
        return ""
    best = max(known, key=known.__getitem__)
    return (
        f"<p>The highest DC of this run is {known[best]:.3f} ({escape(best)}), the lowest {min(known.values()):.3f}. "
        "It is one seed and a few minutes of training: another seed alone can move DC by a tenth and more, so a "
        "smaller gap between two rows says nothing about the methods.</p>"
    )


def _run(facts: Mapping[str, Any], seconds: Mapping[str, float]) -> str:
    stages = {**seconds, "Total": sum(seconds.values())}
    what = [(escape(name), escape(str(value))) for name, value in facts.items()]
    when = [(escape(stage), f"{number:.1f}") for stage, number in stages.items()]
    names = "Settings and versions", "Time of each stage"
    return _table(names[0], names[0], ("What", "Value"), what, "pairs") + _table(
        names[1], names[1], ("Stage", "Seconds"), when, "pairs"
    )


# ---- words -------------------------------------------------------------------------------------------

LEAD = """\
<header><h1>Small lesions, distance maps, two networks</h1>
<p class="lead">A small tumour is some hundred voxels among a million, and a network that overlooks it is wrong almost
nowhere. The paper's answer: a second, small network turns the first one's output into a <em>distance map</em>, where
every voxel knows how far it is from the lesion's border, and the first learns from that map's error as well. This page
shows the whole method once, on phantom CTs, in the order of the paper.</p></header>"""

ARCHITECTURE = """\
<p class="where">Section 2.2, Fig. 1</p>
<p>The <b>M-Net</b> gives for every voxel the probability p of being lesion. The <b>LR-Net</b> translates p into a
distance map. It learned that beforehand, from masks alone, and is then frozen: the error of its map flows back through
it and teaches the M-Net. At test time it is thrown away. The numbers in the boxes were measured on the networks of this
run.</p>"""

MAPS = """\
<p class="where">Section 2.1, Eq. 1, Fig. 2</p>
<p>D is the distance of a lesion's voxel to the nearest background (O-DM). Turned round (I-DM), the border gets the most
weight; divided by the lesion's own maximum M<sub>C</sub> (NI-DM), each rim voxel counts the same, whatever the lesion's
size:</p>
<p class="formula">φ(x) = (M<sub>C</sub> + 1 − D(x)) / M<sub>C</sub> &nbsp; inside, &nbsp; φ(x) = 0 &nbsp; outside</p>
<p>In millimetres the 1 becomes m<sub>C</sub>, the smallest D of the lesion. SNI-DM adds negative values outside.</p>"""

LRNET = """\
<p class="where">Section 2.2, training pipeline</p>
<p>How well does the LR-Net compute the map of masks it never saw? The paper names a Dice around 0.99. That alone proves
little, as the mask was its input; the error of φ says whether the map is right. The LR-Net sees 31 voxels across: of
lesions whose border is out of its sight it can only guess M<sub>C</sub>. Left, the lesions of the test cases; right,
random shapes that were held out of its training, larger and harder ones.</p>"""

CURVES = """\
<p class="where">Section 2.3, Eq. 2; section 3, implementation details</p>
<p>All methods start from the same M-Net and train for the same number of steps. Each loss is a function of its own, so
compare the shapes of the upper curves, not their heights. Where an LR-Net takes part, its loss joins Dice later, which
may show as a jump. The training loss is a mean over the steps before, on augmented patches, so it may lie above the
validation loss. The lower curves mean the same for all; the weights of each best point are kept.</p>"""

PANEL = """\
<p class="where">Section 3.1, Fig. 3</p>
<p>One case that no training saw, in slices with large and small lesions. A contour of the ground truth with nothing in
it is a lesion that a method missed; a tint outside every contour is a lesion that is none. What a method marks outside
of the view is counted in its corner.</p>"""

SCORES = """\
<p class="where">Section 3, evaluation criteria; columns of Table 2</p>
<p>DC weighs every case alike, DG every voxel. VOE is DC's error in another scale. RVD has a sign, so too much in one
case hides too little in another, hence |RVD| beside it. The last three are distances between the surfaces, and a lesion
that was missed altogether has none: those cases are counted as undefined. Read the count before the mean.</p>"""

RUN = "<p>On the CPU the same seed and number of threads give the same weights.</p>"

HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>lrnet_edu: report of the demo</title><link rel="icon" href="data:,">"""

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fdfdfc; --soft: #555; --line: #d4d4d0; --link: #00588a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececec; --paper: #16181b; --soft: #b0b0b0; --line: #44474c; --link: #7cc4f0; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1.0625rem/1.6 system-ui, sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: clamp(1.6rem, 5vw, 2.4rem); line-height: 1.2; }
h2 { margin: 0; }
p, nav ol { max-width: 46rem; }
.where { color: var(--soft); font-size: 0.95rem; margin: 0.1rem 0 0.6rem; }
.lead, .formula { font-size: 1.15rem; }
sub { line-height: 0; }
a { color: var(--link); }
nav ol { display: flex; flex-wrap: wrap; gap: 0.2rem 1.4rem; padding: 0; list-style-position: inside; }
section { border-top: 1px solid var(--line); margin-top: 2.2rem; padding-top: 1.6rem; }
.card, .wide { overflow-x: auto; margin: 1rem 0; }
.card { background: #fff; border: 1px solid var(--line); padding: 0.8rem; }
.card img { display: block; width: 100%; min-width: 44rem; height: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: 0.4rem; }
th, td { padding: 0.35rem 0.9rem 0.35rem 0; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; white-space: nowrap; }
th:first-child, .pairs th, .pairs td { text-align: left; }
.pairs td { white-space: normal; overflow-wrap: anywhere; }
tbody th { font-weight: 500; }
small { display: block; color: var(--soft); font-weight: 400; font-size: 0.8rem; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
"""
