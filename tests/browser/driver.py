"""JupyterLab on this machine alone, opened and used as a person would, in chromium."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "screenshots"
DEFAULTS = (
    os.environ.get("ZS3_BROWSER") == "defaults"
)  # `make test-browser`: the notebooks as they are, nothing smaller
PATIENCE = 1500 if DEFAULTS else int(os.environ.get("ZS3_PATIENCE", 240))  # seconds a notebook may take
SETTINGS = {  # no question about news on the first start; cells off screen stay in the page, so that all can be looked at
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}
RUNNING = (
    "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].some(prompt => prompt.textContent.includes('*'))"
)


class Lab:
    """A running JupyterLab and the folder of notebooks it serves."""

    def __init__(self, folder: Path, home: Path, page):
        self.folder, self.page, self.token = folder, page, secrets.token_hex(16)
        for name, content in SETTINGS.items():
            file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(content))
        places = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime",
                  "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
                  "IPYTHONDIR": "ipython"}  # fmt: skip
        environment = os.environ | {name: str(home / place) for name, place in places.items()}
        environment |= {"JUPYTER_TOKEN": self.token}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.log = (home / "lab.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0",
             f"--ServerApp.root_dir={folder}", *["--allow-root"] * (getattr(os, "geteuid", lambda: 1)() == 0)],
            env=environment, stdout=self.log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.url = self._wait_for(home / "runtime" / f"jpserver-{self.process.pid}.json", home / "lab.log")

    def _wait_for(self, runtime: Path, log: Path) -> str:
        deadline = time.time() + 120
        while time.time() < deadline and self.process.poll() is None:
            if runtime.is_file() and (text := runtime.read_text()):
                url = json.loads(text)["url"]
                assert url.startswith("http://127.0.0.1:")
                return url
            time.sleep(0.2)
        self.close()
        pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")

    def api(self, path: str, method: str = "GET", token: bool = True) -> object:
        headers = {"Authorization": f"token {self.token}"} if token else {}
        request = urllib.request.Request(f"{self.url}api/{path}", method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    def open(self, name: str) -> None:
        self.page.set_viewport_size({"width": 1200, "height": 900})
        self.page.goto(f"{self.url}lab/tree/{name}.ipynb?token={self.token}&reset")
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=120_000)
        # Cells that are run before the kernel is there would raise the question which kernel to take.
        self._until(self._kernel_is_idle, "an idle kernel")
        self.page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=120_000)

    def _kernel_is_idle(self) -> bool:
        try:
            return [kernel["execution_state"] for kernel in self.api("kernels")] == ["idle"]
        except urllib.error.HTTPError:  # the server cannot yet describe a kernel that is only starting
            return False

    def _until(self, true, what: str, seconds: float = 120) -> None:
        deadline = time.time() + seconds
        while not true():
            if time.time() > deadline:
                self.page.screenshot(path=SCREENSHOTS / "failed.png")
                pytest.fail(f"waited {seconds} s for {what}: see {SCREENSHOTS / 'failed.png'}")
            self.page.wait_for_timeout(200)

    def run_all(self, name: str) -> nbformat.NotebookNode:
        """Run > Run All Cells, as a user clicks it; the notebook as JupyterLab then saves it, and a screenshot."""
        self.page.locator(".lm-MenuBar-item", has_text="Run").click()
        self.page.locator(".lm-Menu-itemLabel", has_text="Run All Cells").first.click()
        self.page.wait_for_function(RUNNING, timeout=60_000)
        self._until(lambda: not self.page.evaluate(RUNNING), f"every cell of {name} to be run", PATIENCE)
        self.page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=60_000)
        return self.saved(name)

    def saved(self, name: str) -> nbformat.NotebookNode:
        """The notebook as it is on disk once its last executed cell is there."""
        file, found = self.folder / f"{name}.ipynb", []
        last = self.page.evaluate(
            "Math.max(...[...document.querySelectorAll('.jp-InputPrompt')].map(p => Number(p.textContent.replace(/\\D/g, ''))))"
        )
        before = file.stat().st_mtime_ns

        def whole() -> bool:
            if file.stat().st_mtime_ns == before:
                return False
            try:
                found.append(nbformat.read(file, 4))
            except nbformat.reader.NotJSONError:  # in the middle of being written
                return False
            return last in [cell.get("execution_count") for cell in found[-1].cells]

        self.page.keyboard.press("Control+s")
        self._until(whole, f"{file.name} to be saved")
        return found[-1]

    def shoot(self, name: str) -> None:
        """A screenshot of the whole notebook, however long, from its top."""
        height = self.page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollHeight")
        self.page.set_viewport_size({"width": 1200, "height": min(height + 100, 16_000)})
        self.page.wait_for_timeout(500)
        self.page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollTop = 0")
        self.page.screenshot(path=SCREENSHOTS / f"lab-{name}.png")

    def retype(self, start: str, line: str) -> None:
        """Click on the first line of code that begins with `start`, and type another in its place."""
        self.page.locator(".cm-line", has_text=start).first.click()
        self.page.keyboard.press("Home")
        self.page.keyboard.press("Shift+End")
        self.page.keyboard.type(line, delay=10)
        assert self.page.locator(".cm-line", has_text=start).first.inner_text() == line

    def shut_down_kernels(self) -> None:
        for kernel in self.api("kernels"):
            self.api(f"kernels/{kernel['id']}", "DELETE")

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.close()
