"""The demo's page: whole, offline, escaped, readable by a screen reader, true to the scores it is given."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from lrnet_edu.lrnet_training import LesionError, LRNetQuality
from lrnet_edu.metrics import case_scores, score_table
from lrnet_edu.networks import LRNet, MNet
from lrnet_edu.study.report import DemoResults, report_html, write_report
from lrnet_edu.support.errors import InputError

HOSTILE = "<script>alert('x')</script>\"&<img src=https://example.org/x.png>"
SPACING = (3.0, 1.0, 1.0)
VOID = {"meta", "link", "img"}


class Page(HTMLParser):
    """Elements in order, the text of table cells row by row, and a complaint where tags do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += ("|" if "small" in self.open else "") + data

    def attributes(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def results() -> DemoResults:
    image = np.random.default_rng(0).normal(80, 15, (6, 24, 24))
    mask = np.zeros(image.shape, bool)
    mask[2:4, 8:14, 8:15] = True
    nothing, shifted = np.zeros_like(mask), np.roll(mask, 1, axis=2)
    rows = [{"step": 5, "train_loss": 0.9, "val_loss": 0.8, "score": 0.4, "val_error": 0.8, "val_dice": 0.9}]
    return DemoResults(
        mnet=MNet(features=(2, 4), blocks=(1,)),
        lrnet=LRNet(),
        patch=(8, 8, 8),
        sample=(image, mask, SPACING),
        quality=LRNetQuality(0.99, [LesionError(3.0, 0.04), LesionError(16.0, 0.1)]),
        pretraining=rows,
        curves={"M-Net + Dice": rows, HOSTILE: rows},
        predictions={"M-Net + Dice": shifted, HOSTILE: nothing},
        table={
            "M-Net + Dice": score_table([case_scores(found, mask, SPACING) for found in (shifted, nothing)]),
            HOSTILE: score_table([case_scores(nothing, mask, SPACING)] * 2),
        },
        no_lesion={"M-Net + Dice": 17, HOSTILE: 0},
        facts={"Seed": 0, HOSTILE: HOSTILE},
        seconds={"LR-Net": 41.25, HOSTILE: 1.0},
    )


@pytest.fixture(scope="module")
def html() -> str:
    return report_html(results())


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_page_is_well_formed_and_asks_for_nothing_from_outside(html: str, page: Page) -> None:
    assert page.open == []
    assert page.attributes("html") == [{"lang": "en"}]
    assert len(html.encode()) < 3_000_000
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:")), attributes
    [policy] = [a["content"] for a in page.attributes("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none'")
    written_here = html.replace("https://example.org/x.png", "")  # from the hostile name, escaped
    assert not re.search(r"https?:|//[a-z]|url\(|@import", re.sub(r"base64,[^\"]*", "", written_here))


def test_names_are_escaped(html: str, page: Page) -> None:
    assert page.attributes("script") == []
    assert "<script" not in html
    rows = [row for row in page.rows if row[0] == HOSTILE]
    assert len(rows) == 3  # scores, facts, seconds
    assert rows[1] == [HOSTILE, HOSTILE]


def test_every_figure_is_inside_and_described(page: Page) -> None:
    images = page.attributes("img")
    assert all(image["src"].startswith("data:image/png;base64,iVBORw0KGgo") for image in images)
    assert all(len(image["alt"]) > 40 for image in images)
    of_the_paper = [image["alt"][:6] for image in images if image["alt"].startswith("Fig. ")]
    assert of_the_paper == ["Fig. 1", "Fig. 2", "Fig. 3"]


def test_links_lead_to_sections_and_wide_content_scrolls_by_keyboard(page: Page) -> None:
    targets = [attributes["id"] for attributes in page.attributes("section")]
    assert [link["href"] for link in page.attributes("a")] == [f"#{target}" for target in targets]
    scrollable = [a for tag, a in page.elements if a.get("class") in ("card", "wide")]
    assert len(scrollable) == len(page.attributes("img")) + len(page.attributes("table"))
    assert all(attributes["tabindex"] == "0" for attributes in scrollable)


def test_the_table_says_what_the_scores_say(page: Page) -> None:
    head, first, missed = page.rows[:3]
    assert head[1:] == [
        "DC ↑|no unit", "DG ↑|no unit", "VOE ↓|no unit", "RVD → 0|no unit", "|RVD| ↓|no unit",
        "ASSD ↓|mm", "MSD ↓|mm", "RMSD ↓|mm", "Healthy cases ↓|false voxels",
    ]  # fmt: skip
    mean = results().table["M-Net + Dice"].mean
    assert first[:4] == ["M-Net + Dice", f"{mean['DC']:.3f}", f"{mean['DG']:.3f}", f"{mean['VOE']:.3f}"]
    assert first[4] == f"−{-mean['RVD']:.3f}"
    assert first[6] == f"{mean['ASSD']:.2f}|1 undefined"  # the missed lesion does not vanish from the mean
    assert first[9] == "17"
    assert missed[6:9] == ["–|2 undefined"] * 3
    assert len(missed) == len(head)


def test_write_report_writes_that_page_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrnet_edu.study.report.report_html", lambda _: "φ")
    write_report(tmp_path / "new" / "report.html", results())
    assert (tmp_path / "new" / "report.html").read_text("utf-8") == "φ"
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_report(tmp_path / "folder", results())
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["folder", "new"]
