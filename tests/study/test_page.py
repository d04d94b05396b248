"""Pages as HTML: whole, offline, escaped, with described pictures."""

from __future__ import annotations

import re
from html.parser import HTMLParser

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
HTML = as_html(TEXT, {"curve": Picture(2.0).finish("A curve.")})


def test_a_page_asks_for_nothing_from_outside() -> None:
    assert "Content-Security-Policy\" content=\"default-src 'none';" in HTML
    assert all(link.startswith("data:") for link in re.findall(r'(?:src|href)="([^"]*)"', HTML))
    written_here = HTML.replace("https://example.org/x.png", "")  # from the hostile name, escaped
    assert not re.search(r"https?:|//[a-z]|url\(|@import", re.sub(r"base64,[^\"]*", "", written_here))


def test_parts_become_elements_and_names_are_escaped() -> None:
    tags: list[str] = []
    reader = HTMLParser()
    reader.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]
    reader.handle_endtag = lambda tag: tags.append(f"/{tag}")  # type: ignore[method-assign]
    reader.feed(HTML)
    for tag, number in {"h1": 1, "p": 1, "b": 1, "table": 1, "tr": 3, "th": 3, "td": 6, "figure": 1, "li": 2}.items():
        assert tags.count(tag) == tags.count(f"/{tag}") == number, tag
    assert (tags.count("script"), tags.count("img")) == (0, 1)
    assert HTML.count("&lt;script&gt;") == 4  # title, heading, cell, item
    assert "<td>Dice</td><td>0.500</td><td></td>" in HTML
    assert 'alt="A curve."' in HTML
