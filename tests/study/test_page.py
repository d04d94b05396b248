"""Pages as HTML: whole, offline, escaped, with described pictures."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from lrnet_edu.figures import Picture
from lrnet_edu.study.page import as_html, joined, table

HOSTILE = "<script>alert('x')</script>\"&<img src=https://example.org/x.png>"
TEXT = joined([
    f"# A page about {HOSTILE}",
    "Some **bold** words,\nand more.",
    "",
    table(["Method", "DC", ""], [["Dice", "0.500", ""], [HOSTILE, "–", "2"]]),
    "![](curve)",
    f"- one: {HOSTILE}\n- two",
])  # fmt: skip


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
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def html() -> str:
    return as_html(TEXT, {"curve": Picture(2.0).finish("A curve.")})


def test_a_page_is_well_formed_and_asks_for_nothing_from_outside(html: str) -> None:
    page = Page(html)
    assert page.open == []
    for _, attributes in page.elements:
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "data:").startswith("data:")
    [policy] = [a["content"] for _, a in page.elements if "http-equiv" in a]
    assert policy.startswith("default-src 'none'")
    written_here = html.replace("https://example.org/x.png", "")  # from the hostile name, escaped
    assert not re.search(r"https?:|//[a-z]|url\(|@import", re.sub(r"base64,[^\"]*", "", written_here))


def test_parts_become_elements_and_names_are_escaped(html: str) -> None:
    page = Page(html)
    tags = [tag for tag, _ in page.elements]
    assert [tags.count(tag) for tag in ("h1", "p", "b", "table", "figure", "img", "li", "script")] == [
        1, 1, 1, 1, 1, 1, 2, 0,
    ]  # fmt: skip
    assert page.rows == [["Method", "DC", ""], ["Dice", "0.500", ""], [HOSTILE, "–", "2"]]
    assert html.count("&lt;script&gt;") == 4  # title, heading, cell, item
    assert [attributes["alt"] for tag, attributes in page.elements if tag == "img"] == ["A curve."]
    scrollable = [attributes for tag, attributes in page.elements if tag in ("figure", "div")]
    assert all(attributes["tabindex"] == "0" for attributes in scrollable)
