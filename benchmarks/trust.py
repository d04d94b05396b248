"""The tests that take long, run on purpose: one command, one page of results.

    python -m benchmarks.trust [SECTION ...]

Every section is one call of pytest, which the page repeats. Besides how many tests passed it shows what they noted
with pytest's ``record_property(name, value)``. It goes to ``results/trust.md``; sections that were not run stay.
"""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.__main__ import RESULTS, device, version

# Name of a section: what it proves, in a sentence, and pytest's arguments.
SECTIONS = {
    "properties": (
        "Maps, criteria, losses and readers keep their properties on 1000 random examples for each test.",
        ["tests/properties", "--hypothesis-profile=many"],
    ),
    "fuzz": (
        "Damaged scans, checkpoints and settings: each is refused in one sentence or read as other libraries read it.",
        ["tests/fuzz", "-m", "slow or not slow"],
    ),
    "interruptions": (
        "After kill -9 at 50 random moments the same command finishes: on the CPU with the result of an uninterrupted "
        "run, bit for bit, and without unfinished files in its folders or in the cache.",
        ["tests/test_interruption.py", "-m", "slow"],
    ),
    "long haul": (
        "The memory of repeated work stays flat (at most 8 MB more at the end than after its first fifth), and 2000 "
        "small cases need hardly more than 200.",
        ["tests/test_long_haul.py", "-m", "slow"],
    ),
}
PACKAGES = ("torch", "numpy", "hypothesis", "nibabel", "safetensors", "torchio")
PAGE = RESULTS / "trust.md"
TITLE = "# What the long tests found\n\n`python -m benchmarks.trust` runs them and writes this page."


def main() -> None:
    """Run the sections that the command line names; exit code 1 if a test failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trust", description=__doc__.split("\n")[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all without one")
    given = parser.parse_args().sections
    if unknown := set(given) - set(SECTIONS):
        parser.error(f"there is no section {', '.join(sorted(unknown))}: choose of {', '.join(SECTIONS)}")
    failed = False
    for name in given or SECTIONS:
        text, passed = run(name)
        write(name, text)
        failed = failed or not passed
    sys.exit(failed)


def run(name: str) -> tuple[str, bool]:
    """One section's text, and whether nothing failed."""
    promise, arguments = SECTIONS[name]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", *arguments, f"--junitxml={report}", "-o", "junit_family=xunit1"]
        code = subprocess.run(command, cwd=RESULTS.parent, check=False).returncode
        cases = list(ElementTree.parse(report).iter("testcase"))  # our own pytest's file
    skipped = [case for case in cases if case.find("skipped") is not None]
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    shown = " ".join(f'"{part}"' if " " in part else part for part in arguments)
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    text = [
        promise,
        "",
        f"`python -m pytest {shown}` on {device()}, {datetime.date.today().isoformat()}, "
        f"{time.perf_counter() - started:.0f} s; Python {sys.version.split()[0]}, {versions}.",
        "",
        f"{len(cases) - len(skipped) - len(failed)} tests passed, {len(failed)} failed, {len(skipped)} were skipped.",
        *(f"- FAILED: {case.get('name')}" for case in failed),
        *sorted({f"- skipped: {case.find('skipped').get('message')}" for case in skipped}),  # type: ignore[union-attr]
        *(f"- {noted.get('name')}: {noted.get('value')}" for case in cases for noted in case.iter("property")),
    ]
    return "\n".join(text), code == 0


def write(name: str, text: str) -> None:
    """Put a section into the page; the others stay as they are, all in the order of ``SECTIONS``."""
    page = PAGE.read_text("utf-8") if PAGE.exists() else TITLE
    sections = dict(re.findall(r"^## (.+?)\n\n(.*?)(?=\n\n## |\Z)", page, re.MULTILINE | re.DOTALL))
    sections[name] = text
    order = [*SECTIONS, *sorted(set(sections) - set(SECTIONS))]
    parts = [f"## {one}\n\n{sections[one].strip()}" for one in order if one in sections]
    PAGE.write_text("\n\n".join([TITLE, *parts]) + "\n", "utf-8")


if __name__ == "__main__":
    main()
