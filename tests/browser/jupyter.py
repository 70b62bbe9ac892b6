"""A real Jupyter server on this machine, and the notebooks that are opened on it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Literal

import nbformat
from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[2]

# Running a cell before the kernel answers opens "Select Kernel" and waits for ever; the page's own sign of an idle
# kernel comes too early.
IDLE_KERNEL = """async () => {
  await window.jupyterapp.restored;
  for (let i = 0; i < 600; i++) {
    const panel = window.jupyterapp.shell.currentWidget;
    if (panel?.sessionContext && panel.content?.widgets) {
      await panel.context.ready;
      await panel.sessionContext.ready;
      const kernel = panel.sessionContext.session?.kernel;
      if (kernel) { await kernel.info; if (kernel.status === 'idle') return kernel.id; }
    }
    await new Promise(done => setTimeout(done, 100));
  }
  throw new Error('no idle kernel after a minute');
}"""


class JupyterServer:
    """`jupyter lab` or `jupyter notebook`: loopback only, no token, none of the user's own settings."""

    def __init__(self, folder: Path, app: Literal["lab", "notebook"] = "lab", *, theme: str = "light") -> None:
        self.app = app
        self.notebooks = folder / "notebooks"
        self.notebooks.mkdir(parents=True)
        self.log = folder / "server.log"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._write_settings(folder, theme)
        self._write_config(folder / "config", port)
        environment = {
            **os.environ,
            "HOME": str(folder),
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
            "JUPYTER_PLATFORM_DIRS": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyter", app],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait()

    def write(self, name: str, *cells: str) -> str:
        """Write a notebook of code cells; gives back its name."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, self.notebooks / name)
        return name

    def open(self, page: Page, name: str) -> None:
        """Open a notebook and wait until its kernel answers."""
        page.goto(self.url + (f"/lab/tree/{name}?reset" if self.app == "lab" else f"/notebooks/{name}"))
        page.wait_for_function("() => window.jupyterapp?.restored")
        page.evaluate(IDLE_KERNEL)

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)  # its own process group: the kernels go with it
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(5)

    def _write_settings(self, folder: Path, theme: str) -> None:
        settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        name = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}[theme]
        (settings / "themes.jupyterlab-settings").write_text(json.dumps({"theme": name}))
        (settings / "notification.jupyterlab-settings").write_text(
            json.dumps({"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True})
        )

    def _write_config(self, folder: Path, port: int) -> None:
        folder.mkdir()
        # LabApp's options hold for Notebook 7, too. Given to JupyterNotebookApp, which does not know them, they make
        # it lose expose_app_in_browser without a word.
        config = {
            "ServerApp": {
                "ip": "127.0.0.1",
                "port": port,
                "port_retries": 0,
                "open_browser": False,
                "allow_root": True,
                "password": "",
                "disable_check_xsrf": True,
                "root_dir": str(self.notebooks),
                "shutdown_no_activity_timeout": 900,
            },
            "IdentityProvider": {"token": ""},
            "KernelManager": {"shutdown_wait_time": 1},
            # Should the tests be killed, the kernels and then the server leave by themselves.
            "MappingKernelManager": {"cull_idle_timeout": 600, "cull_interval": 60, "cull_connected": True},
            "LabApp": {
                "expose_app_in_browser": True,
                "extension_manager": "readonly",
                "news_url": None,
                "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
            },
            "JupyterNotebookApp": {"expose_app_in_browser": True},
        }
        (folder / "jupyter_server_config.json").write_text(json.dumps(config))

    def _wait(self) -> None:
        end = time.monotonic() + 90
        while self.process.poll() is None and time.monotonic() < end:
            try:
                with urllib.request.urlopen(self.url + "/api/status", timeout=2):
                    return
            except OSError:
                time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"jupyter {self.app} did not start:\n{self.log.read_text()[-3000:]}")


ERRORS = """() => window.jupyterapp.shell.currentWidget.content.widgets
  .filter(cell => cell.model.type === 'code')
  .flatMap(cell => cell.model.outputs.toJSON())
  .filter(output => output.output_type === 'error')
  .map(output => `${output.ename}: ${output.evalue}`)"""


def run_all(page: Page) -> None:
    """Run every cell of the open notebook and wait for the last one; an exception in a cell is an error here."""
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    errors = page.evaluate(ERRORS)
    assert not errors, f"a cell failed: {errors[0]}"


def save(page: Page) -> None:
    """Save the open notebook."""
    page.evaluate("() => window.jupyterapp.shell.currentWidget.context.save()")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
