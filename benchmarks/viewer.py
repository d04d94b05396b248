"""The slice viewer: building the output of a cell, and drawing a slice in a browser."""

import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy import ndimage

from benchmarks.scans import lesions
from benchmarks.timing import Row, installed, timed
from lrnet_edu import SliceViewer, distance_map

SCROLL = """async () => {
  const slider = document.querySelector('input[type=range]'), times = [];
  for (let i = 0; i < 60; i++) {
    slider.value = Number(slider.min) + (i * 2) % (Number(slider.max) - Number(slider.min));
    const started = performance.now();
    slider.dispatchEvent(new Event('input', {bubbles: true}));
    const handled = performance.now() - started;
    // The viewer draws in the next frame; our callback comes after its own, and is told when the frame began.
    await new Promise((done) => requestAnimationFrame((frame) => {
      times.push(handled + performance.now() - frame);
      done();
    }));
  }
  return times;
}"""


def rows(quick: bool) -> Iterator[Row]:
    """Three panels: the scan, a mask, a map."""
    edge = 48 if quick else 128
    mask = lesions((edge,) * 3, 10, share=0.02)
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.normal(size=mask.shape), 0.7).astype(np.float32)
    image = 60 + 60 * noise - 40 * mask
    phi = distance_map(mask)

    def build() -> str:
        return SliceViewer(image, overlays={"lesions": mask}, heat={"NI-DM": phi})._repr_mimebundle_()["text/html"]

    page, seconds = timed(build)
    yield Row(f"building the output of three {edge}^3 panels", seconds).limit(0.3)
    yield Row("its size", len(page) / 1e6, unit="MB")
    browser_path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if installed("playwright.sync_api") is None or browser_path is None:
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=browser_path)
        tab = browser.new_page()
        path = Path(folder) / "page.html"
        path.write_text(f'<!doctype html><meta charset="utf-8"><body>{page}', "utf-8")
        tab.goto(path.as_uri())
        tab.wait_for_selector("input[type=range]")
        times = tab.evaluate(SCROLL)
        browser.close()
    yield Row("drawing the next slice of all three, in Chromium", statistics.median(times) / 1000).limit(0.016)
