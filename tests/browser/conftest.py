"""A real browser and a real JupyterLab for the tests of this folder; both start once, or the tests skip."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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


@pytest.fixture
def open_offline(browser: Any) -> Iterator[Any]:
    """``open_offline(file, **context)`` -> its page, and what it asked for and complained of: refused, errors.

    The page is opened from disk while every request that would leave it is refused and remembered.
    """
    contexts = []

    def open_it(file: Path, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": 1000, "height": 900}, **options)
        contexts.append(context)
        opened = SimpleNamespace(page=context.new_page(), refused=[], errors=[])

        def judge(route: Any) -> None:
            if route.request.url.startswith(("file:", "data:")):
                route.continue_()
            else:
                opened.refused.append(route.request.url)
                route.abort()

        def listen(message: Any) -> None:
            if message.type == "error" or "lrnet" in message.text:
                opened.errors.append(message.text)

        context.route("**/*", judge)
        opened.page.on("pageerror", lambda error: opened.errors.append(str(error)))
        opened.page.on("console", listen)
        opened.page.goto(file.as_uri())
        return opened

    yield open_it
    for context in contexts:
        context.close()


class Lab:
    """A running JupyterLab; ``folder`` is where its notebooks lie. What would leave it is refused and remembered."""

    def __init__(self, folder: Path, url: str, browser: Any) -> None:
        self.folder, self.url, self.browser = folder, url, browser
        self.refused: list[str] = []

    def open(self, notebook: str, *, width: int = 1200) -> Any:
        """Open the notebook and wait for its kernel; no cell runs."""
        context = self.browser.new_context(viewport={"width": width, "height": 900})

        def refuse(route: Any) -> None:
            self.refused.append(route.request.url)
            route.abort()

        context.route(lambda url: not url.startswith((self.url, "data:", "blob:")), refuse)
        page = context.new_page()
        page.goto(f"{self.url}/lab/workspaces/t/tree/{notebook}?reset", timeout=90_000)
        page.wait_for_function(KERNEL_READY, timeout=90_000)
        return page

    def run_all(self, page: Any) -> None:
        """Run every cell; fails where one raises."""
        assert page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')"), "a cell raised"

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
    folder, settings = home / "notebooks", home / "settings"
    folder.mkdir()
    settings.mkdir()
    (settings / "overrides.json").write_text(json.dumps(LAB_SETTINGS))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}"),
        *("--ServerApp.port_retries=0", "--IdentityProvider.token=", "--allow-root", "--expose-app-in-browser"),
        *(f"--ServerApp.root_dir={folder}", f"--LabApp.app_settings_dir={settings}"),
    ]
    own = {name: str(home / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    own |= {"HOME": str(home), "LRNET_EDU_FAST": "1"}
    own["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with (home / "log.txt").open("w") as log:
        server = subprocess.Popen(command, env={**os.environ, **own}, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url, server, home / "log.txt")
        yield Lab(folder, url, browser)
    finally:
        server.kill()
        server.wait(20)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/api", timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text('utf-8')[-2000:]}")
