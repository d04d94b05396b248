"""Photograph two viewers of the course for the README: ``python docs/make_screenshots.py`` (needs Chromium)."""

import runpy
import shutil
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

SHOTS: dict[str, tuple[str, str, Any]] = {  # file -> notebook, viewer, theme
    "viewer_light.png": ("06_results_and_viewers", ".lrnet-slices", "light"),
    "viewer_dark.png": ("01_distance_maps", ".lrnet-painting", "dark"),
}
MARGIN = 10  # pixels of the page around a viewer


def photograph(page: Any, viewer: str, file: Path) -> None:
    """Write a picture of the page's first viewer, as it starts."""
    found = page.locator(viewer).first
    found.locator("canvas:visible").first.wait_for()
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    x, y, width, height = (found.bounding_box()[name] for name in ("x", "y", "width", "height"))
    area = {"x": x - MARGIN, "y": y - MARGIN, "width": width + 2 * MARGIN, "height": height + 2 * MARGIN}
    page.screenshot(path=file, full_page=True, clip=area)


def main() -> None:
    """Write ``docs/viewer_light.png`` and ``docs/viewer_dark.png`` from the exported pages."""
    docs = Path(__file__).parent
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as pages:
        runpy.run_path(str(docs.parent / "notebooks" / "export.py"))["export_course"](pages)
        chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for file, (notebook, viewer, theme) in SHOTS.items():
            page = chromium.new_page(viewport={"width": 1280, "height": 900}, color_scheme=theme)
            page.goto((Path(pages) / f"{notebook}.html").as_uri())
            photograph(page, viewer, docs / file)
        chromium.close()


if __name__ == "__main__":
    main()
