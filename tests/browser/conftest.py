"""A browser, and a JupyterLab that serves copies of the notebooks; skipped where there is no chromium."""

from __future__ import annotations

import os
import shutil

import papermill
import pytest
from driver import DEFAULTS, ROOT, SCREENSHOTS, Lab

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """Open a browser window: chromium(width, height, color_scheme) -> a page that notes what it fetches from elsewhere."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        pytest.skip("no chromium here: `apt-get install chromium`, or give its path as CHROMIUM")
    from playwright.sync_api import sync_playwright

    # Module scope: while Playwright's event loop lives, papermill, in other modules' tests, could not start its own.
    with sync_playwright() as playwright:
        windows = []

        def open_window(width: int = 1200, height: int = 900, color_scheme: str = "light"):
            profile = tmp_path_factory.mktemp("chromium")
            window = playwright.chromium.launch_persistent_context(
                str(profile), executable_path=path, args=FLAGS, color_scheme=color_scheme,
                viewport={"width": width, "height": height},
            )  # fmt: skip
            windows.append(window)
            page = window.new_page()
            page.set_default_timeout(120_000)  # a busy machine is slow to paint
            page.foreign = []
            local = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:", "file:", "about:")
            page.on("request", lambda r: r.url.startswith(local) or page.foreign.append(r.url))
            return page

        yield open_window
        for window in windows:
            window.close()


@pytest.fixture(scope="module")
def parameters(world, weights, tmp_path_factory) -> dict:
    """What the notebooks are given: folders of their own and, unless their defaults are asked for, the smallest settings."""
    folder = tmp_path_factory.mktemp("browser")
    own = {f"{name}_root": str(folder / name) for name in ("runs", "cache", "tables", "figures")}
    if DEFAULTS:
        return own
    return own | dict(
        data_root=str(world), weights=str(weights), word_vectors=str(world / "wordvectors.txt"), device="cpu",
        stage1_epochs=1, stage2_epochs=2, warmup_epochs=1, trials=0, repeats=1,
        options=dict(crop_size=32, base_size=40, val_size=40, batch_size=4, stage1_steps=0, samples=8, views=1),
    )  # fmt: skip


@pytest.fixture(scope="module")
def lab(chromium, parameters, tmp_path_factory):
    """JupyterLab serving copies of the notebooks, each with those of the parameters that it has."""
    folder, home = tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("jupyter")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        known = papermill.inspect_notebook(path)
        given = {name: value for name, value in parameters.items() if name in known}
        papermill.execute_notebook(path, folder / path.name, given, prepare_only=True)
    SCREENSHOTS.mkdir(exist_ok=True)
    running = Lab(folder, home, chromium())
    yield running
    running.close()
