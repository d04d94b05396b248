"""docs/reading_the_paper.md says what ``python -m benchmarks.readings`` computes."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.readings.__main__ import COLUMN, PAGE, all_readings, filled

ROOT = Path(__file__).parents[1]


def test_the_page_and_the_command_are_in_step() -> None:
    page = PAGE.read_text("utf-8")
    assert filled(page, all_readings()) == page, "run python -m benchmarks.readings"


def test_numbers_that_moved_are_noticed() -> None:
    page = f"| point | {COLUMN} | where |\n|---|---|---|\n| D | old | here |\n| M | old | there |\n\n| D | x |\n"
    assert filled(page, {"D": "new"}) == page.replace("| D | old", "| D | new").replace("| M | old", "| M | –")


def test_every_link_of_the_page_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", PAGE.read_text("utf-8"))
    assert links
    assert all((ROOT / "docs" / link).exists() for link in links)
