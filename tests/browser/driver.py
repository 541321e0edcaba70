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
DEFAULTS = os.environ.get("ZS3_BROWSER") == "defaults"  # the notebooks as they are, nothing smaller
PATIENCE = 1500 if DEFAULTS else 240  # seconds that a notebook may take
SETTINGS = {  # no question about news; cells off screen stay in the page, to be looked at
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}
PROMPTS = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]"
RUNNING = f"{PROMPTS}.some(prompt => prompt.textContent.includes('*'))"
LAST = f"Math.max(...{PROMPTS}.map(p => Number(p.textContent.replace(/\\D/g, ''))))"
OUTPUTS = """[...document.querySelectorAll('.jp-CodeCell')].map(cell =>
    [...cell.querySelectorAll('.jp-OutputArea-output')].map(o => [o.dataset.mimeType, o.innerText])
)"""
IDLE = ".jp-Notebook-ExecutionIndicator[data-status=idle]"


class Lab:
    """A running JupyterLab and the folder of notebooks it serves."""

    def __init__(self, folder: Path, home: Path, page):
        self.folder = folder
        self.page = page
        self.token = secrets.token_hex(16)
        for name, content in SETTINGS.items():
            file = home / "lab" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(content))
        places = {f"JUPYTER_{x}_DIR": str(home / x) for x in ("CONFIG", "DATA", "RUNTIME")}
        places |= {
            "JUPYTERLAB_SETTINGS_DIR": str(home / "lab"),
            "IPYTHONDIR": str(home / "ipython"),
        }
        places |= {"JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces")}
        own = {"JUPYTER_TOKEN": self.token, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.port=0"]
        command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={folder}", "--allow-root"]
        self.log = home / "lab.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, env=os.environ | places | own, stdout=log, stderr=subprocess.STDOUT
            )
        runtime = home / "RUNTIME" / f"jpserver-{self.process.pid}.json"
        self._until(lambda: runtime.is_file() and runtime.read_text(), self.log.name)
        self.url = json.loads(runtime.read_text())["url"]
        assert self.url.startswith("http://127.0.0.1:")

    def api(self, path: str, method: str = "GET", token: bool = True) -> object:
        headers = {"Authorization": f"token {self.token}"} if token else {}
        request = urllib.request.Request(f"{self.url}api/{path}", method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    def open(self, name: str) -> None:
        self.page.set_viewport_size({"width": 1200, "height": 900})
        self.page.goto(f"{self.url}lab/tree/{name}.ipynb?token={self.token}&reset")
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        # Cells run before the kernel is there would raise the question which kernel to take.
        self._until(self._kernel_is_idle, "an idle kernel")
        self.page.wait_for_selector(IDLE)
        self._click("Edit", "Clear Outputs of All Cells")  # numbers of another kernel's

    def _click(self, menu: str, item: str) -> None:
        self.page.locator(".lm-MenuBar-item", has_text=menu).click()
        self.page.locator(".lm-Menu-itemLabel", has_text=item).first.click()

    def _kernel_is_idle(self) -> bool:
        try:
            return [kernel["execution_state"] for kernel in self.api("kernels")] == ["idle"]
        except urllib.error.HTTPError:  # the server cannot yet describe one that only starts
            return False

    def _until(self, true, what: str, seconds: float = 120) -> None:
        deadline = time.time() + seconds
        while not true():
            if time.time() > deadline:
                self.page.screenshot(path=SCREENSHOTS / "failed.png")
                pytest.fail(f"waited {seconds} s for {what}: see {SCREENSHOTS / 'failed.png'}")
            self.page.wait_for_timeout(200)

    def run_cells(self, name: str) -> None:
        """Run > Run All Cells, as a user clicks it, to the end or to the first error."""
        before = self.page.evaluate(LAST)
        self._click("Run", "Run All Cells")
        self._until(self._have_run_since(before), f"all cells of {name}", PATIENCE)
        self.page.wait_for_selector(IDLE)

    def _have_run_since(self, before: int):
        """Whether a cell has run since and none still does: an error may take but a blink."""
        return lambda: not self.page.evaluate(RUNNING) and self.page.evaluate(LAST) > before

    def run_all(self, name: str) -> nbformat.NotebookNode:
        """Run all cells; the notebook as JupyterLab then saves it."""
        self.run_cells(name)
        file = self.folder / f"{name}.ipynb"
        last = self.page.evaluate(LAST)
        before = file.stat().st_mtime_ns
        found = []

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

    def outputs(self) -> list[list[tuple[str, str]]]:
        """What is seen below each code cell: the kind of each output, and its text."""
        return self.page.evaluate(OUTPUTS)

    def shoot(self, name: str) -> None:
        """A screenshot of the whole notebook, however long, from its top."""
        panel = "document.querySelector('.jp-WindowedPanel-outer')"
        height = self.page.evaluate(f"{panel}.scrollHeight")
        self.page.set_viewport_size({"width": 1200, "height": min(height + 100, 16_000)})
        self.page.wait_for_timeout(500)
        self.page.evaluate(f"{panel}.scrollTop = 0")
        self.page.screenshot(path=SCREENSHOTS / f"lab-{name}.png")

    def retype(self, start: str, line: str) -> str:
        """Click on the first line of code that holds `start`, type another in its place.

        Returns: the line that stood there.
        """
        found = self.page.locator(".cm-line", has_text=start).first
        before = found.inner_text()
        found.click()
        self.page.keyboard.press("Home")
        self.page.keyboard.press("Shift+End")
        self.page.keyboard.type(line, delay=10)
        assert found.inner_text() == line
        return before

    def shut_down_kernels(self) -> None:
        for kernel in self.api("kernels"):
            self.api(f"kernels/{kernel['id']}", "DELETE")

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
