"""A real browser and a real JupyterLab for the tests of this folder; both start once, or the tests skip."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM_ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"
)
# What keeps JupyterLab from asking the network, and every cell of a notebook on the page.
LAB_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
}
# "idle" right after opening may still be the state before the kernel is connected: cells would not be run.
KERNEL_READY = """() => {
    const shell = window.jupyterapp && window.jupyterapp.shell.currentWidget;
    const kernel = shell?.sessionContext?.session?.kernel;
    return Boolean(kernel) && kernel.connectionStatus === "connected" && kernel.status === "idle";
}"""


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium, or any other of that name on the path, driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        pytest.skip("there is no chromium on the path")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS.split())
        yield chromium
        chromium.close()


def guarded_page(browser: Any, allowed: tuple[str, ...], **options: Any) -> Any:
    """A page, what it asked for elsewhere, which is refused, and what it complained of: page, refused, errors."""
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
    opened = SimpleNamespace(page=context.new_page(), refused=[], errors=[])

    def refuse(route: Any) -> None:
        opened.refused.append(route.request.url)
        route.abort()

    def listen(message: Any) -> None:
        if message.type == "error" or "lrnet" in message.text:
            opened.errors.append(message.text)

    context.route(lambda url: not url.startswith(allowed), refuse)
    opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
    opened.page.on("console", listen)
    return opened


@pytest.fixture
def open_offline(browser: Any) -> Iterator[Any]:
    """``open_offline(file, **context)`` -> a page opened from disk; it may neither ask for anything nor complain.

    Where something has to be kept from asking, ``kept=True`` allows the browser's complaints about that.
    """
    pages = []

    def open_it(file: Path, *, kept: bool = False, **options: Any) -> Any:
        opened = guarded_page(browser, ("file:", "data:"), **options)
        opened.page.goto(file.as_uri())
        pages.append((opened, kept))
        return opened.page

    yield open_it
    for opened, kept in pages:
        opened.page.context.close()
        assert (opened.refused, [] if kept else opened.errors) == ([], [])


class Lab(NamedTuple):
    """A running JupyterLab; ``folder`` is where its notebooks lie."""

    folder: Path
    url: str
    browser: Any

    def open(self, notebook: str) -> Any:
        """Open the notebook in a guarded page and wait for its kernel; no cell runs."""
        opened = guarded_page(self.browser, (self.url, "data:", "blob:"))
        opened.page.goto(f"{self.url}lab/workspaces/t/tree/{notebook}?reset", timeout=90_000)
        opened.page.wait_for_function(KERNEL_READY, timeout=90_000)
        return opened

    def close(self, page: Any) -> None:
        """Shut the notebook's kernel down, which would keep what it has imported, and close the page."""
        page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        page.context.close()


@pytest.fixture(scope="session")
def lab(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab on a free port, its settings and home in a temporary folder; notebooks run at their small size."""
    pytest.importorskip("jupyterlab")
    pytest.importorskip("ipywidgets")
    home = tmp_path_factory.mktemp("lab")
    folder, runtime = home / "notebooks", home / "runtime"
    folder.mkdir()
    (home / "overrides.json").write_text(json.dumps(LAB_SETTINGS))
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", "--port=0", "--allow-root"),
        *("--IdentityProvider.token=", "--expose-app-in-browser", f"--LabApp.app_settings_dir={home}"),
        f"--ServerApp.root_dir={folder}",
    ]
    own = {"HOME": str(home), "JUPYTER_RUNTIME_DIR": str(runtime), "LRNET_EDU_FAST": "1"}
    own |= {f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "DATA")}
    own["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with (home / "log.txt").open("w") as log:
        server = subprocess.Popen(command, env={**os.environ, **own}, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 180
        while not (told := list(runtime.glob("jpserver-*.json"))):
            if time.monotonic() > end or server.poll() is not None:
                pytest.fail(f"JupyterLab did not start:\n{(home / 'log.txt').read_text('utf-8')[-2000:]}")
            time.sleep(0.2)
        yield Lab(folder, json.loads(told[0].read_text("utf-8"))["url"], browser)
    finally:
        server.kill()
        server.wait(20)
