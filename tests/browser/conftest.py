"""A browser, and a JupyterLab that serves copies of the notebooks; skipped without a chromium."""

from __future__ import annotations

import os
import shutil

import papermill
import pytest
from driver import DEFAULTS, ROOT, SCREENSHOTS, Lab
from tiny import EPOCHS, TINY

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update"
).split()
LOCAL = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:", "file:", "about:")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """Open a browser window: a page that notes in `foreign` what it fetches from elsewhere."""
    path = (
        os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    )
    if not path:
        pytest.skip("no chromium here: `apt-get install chromium`, or give its path as CHROMIUM")
    from playwright.sync_api import sync_playwright

    # Module scope: while Playwright's event loop lives, papermill could not start its own.
    with sync_playwright() as playwright:
        windows = []

        def open_window(width: int = 1200, height: int = 900, color_scheme: str = "light"):
            window = playwright.chromium.launch_persistent_context(
                str(tmp_path_factory.mktemp("chromium")),
                executable_path=path,
                args=FLAGS,
                color_scheme=color_scheme,
                viewport={"width": width, "height": height},
            )
            windows.append(window)
            page = window.new_page()
            page.set_default_timeout(120_000)  # a busy machine is slow to paint
            page.foreign = []
            page.on("request", lambda r: r.url.startswith(LOCAL) or page.foreign.append(r.url))
            return page

        yield open_window
        for window in windows:
            window.close()


@pytest.fixture(scope="module")
def parameters(places, tmp_path_factory) -> dict:
    """What notebooks are given: own folders and, unless defaults are asked for, tiny settings."""
    folder = tmp_path_factory.mktemp("browser")
    own = {f"{name}_root": str(folder / name) for name in ("runs", "cache", "tables", "figures")}
    tiny = EPOCHS | places | {"trials": 0, "repeats": 1, "options": TINY}
    return own if DEFAULTS else own | tiny


@pytest.fixture(scope="module")
def lab(chromium, parameters, tmp_path_factory):
    """JupyterLab serving copies of the notebooks, each with those parameters that it has."""
    folder = tmp_path_factory.mktemp("notebooks")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        known = papermill.inspect_notebook(path)
        given = {name: value for name, value in parameters.items() if name in known}
        papermill.execute_notebook(path, folder / path.name, given, prepare_only=True)
    SCREENSHOTS.mkdir(exist_ok=True)
    running = Lab(folder, tmp_path_factory.mktemp("jupyter"), chromium())
    yield running
    running.close()
