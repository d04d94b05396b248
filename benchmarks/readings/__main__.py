"""``python -m benchmarks.readings``: compute every number and write it into the page."""

import argparse
from pathlib import Path

from benchmarks.readings import criteria, data, losses, maps, networks

PAGE = Path(__file__).parents[2] / "docs" / "reading_the_paper.md"
COLUMN = "otherwise"


def all_readings() -> dict[str, str]:
    """First cell of the page's row -> its cell in the column."""
    return {row: text for part in (maps, networks, losses, criteria, data) for row, text in part.readings().items()}


def filled(page: str, readings: dict[str, str]) -> str:
    """The page with its columns written anew; a row without a number gets a dash.

    Raises:
        KeyError: a number belongs to no row.
    """
    lines, at, left = [], None, dict(readings)
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            at = None
        elif COLUMN in cells:
            at = cells.index(COLUMN)
        elif at is not None and not line.startswith("|--"):
            cells[at] = left.pop(cells[0], "–")
            line = f"| {' | '.join(cells)} |".replace("|  |", "| |")
        lines.append(line)
    if left:
        raise KeyError(f"no row of the page is called {', '.join(left)}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page."""
    argparse.ArgumentParser(prog="python -m benchmarks.readings", description=__doc__).parse_args()
    PAGE.write_text(filled(PAGE.read_text("utf-8"), all_readings()), "utf-8")


if __name__ == "__main__":
    main()
