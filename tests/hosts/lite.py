"""A saved analysis in a real JupyterLite page, its Python in the browser: python -m tests.hosts.lite [--numpy WHEEL]

JupyterLite and its kernel come from PyPI, Pyodide from npm, and every package of pure Python from PyPI; the page itself
reaches nothing but this machine. Only numpy is compiled and on neither: it is taken from where Pyodide's list of
packages says, its sum checked, or given as a wheel for the same ABI (--numpy), where that place cannot be reached.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import http.server
import json
import shutil
import subprocess
import sys
import threading
import urllib.request
import venv
import zipfile
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Page, expect, sync_playwright

from ..browser.conftest import FLAGS, chromium
from ..browser.jupyter import ROOT
from .bare import ANALYSIS
from .vscode import until

PLACE = ROOT / ".hosts" / "lite"
WIDGETS = ["anywidget==0.11.0", "ipywidgets==8.1.8", "jupyterlab-widgets==3.0.16"]  # of its JupyterLab, 4.5
LITE = ["jupyterlite-core==0.7.6", "jupyterlite-pyodide-kernel==0.7.2", "jupyter_server", *WIDGETS]
PYODIDE = "0.29.3"  # what that kernel is made for
ORIGIN = f"https://cdn.jsdelivr.net/pyodide/v{PYODIDE}/full/"
# What the kernel needs of Python, and what the widget does; without their own dependencies, which are all here.
FIRST = ["micropip==0.11.0", "packaging==24.2"]
PURE = ["ipython==9.0.2", "traitlets", "comm", "jedi", "parso", "prompt_toolkit", "pygments", "stack-data", "executing",
        "asttokens", "pure-eval", "matplotlib-inline", "decorator", "wcwidth", "typing-extensions", "six", "pexpect",
        "ptyprocess", "ipython-pygments-lexers", "psygnal", *WIDGETS]  # fmt: skip
CELLS = [
    "%pip install -q lmtt-widget",
    "import importlib.util, sys\nassert importlib.util.find_spec('torch') is None\nimport lmtt_widget as lmtt\n"
    "w = lmtt.load_json('analysis.json')\nprint('in', sys.platform)",
    "w",
]


def python(*words: str) -> None:
    done = subprocess.run(
        [str(PLACE / "env" / "bin" / "python"), "-m", *words], cwd=PLACE, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def wheels(folder: Path, what: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    python("pip", "download", "-qq", "--no-deps", "--only-binary=:all:", "--python-version=3.13", "--platform=any",
           "--dest", str(folder), *what)  # fmt: skip


def stand_in(folder: Path) -> Path:
    """An empty wheel for sqlite3, which is compiled; IPython keeps its history there, and can do without."""
    path = folder / "sqlite3-1.0.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        info = "sqlite3-1.0.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: sqlite3\nVersion: 1.0.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def pyodide(folder: Path, numpy: Path | None) -> str:
    """Pyodide with a list of those packages that are beside it. Returns which numpy it has."""
    packed = subprocess.check_output(["npm", "pack", "--silent", f"pyodide@{PYODIDE}"], cwd=PLACE, text=True).strip()
    shutil.unpack_archive(PLACE / packed, PLACE / "pyodide", "gztar")
    shutil.copytree(PLACE / "pyodide" / "package", folder)
    lock = json.loads((folder / "pyodide-lock.json").read_text())
    known: dict[str, Any] = lock["packages"]["numpy"]
    if numpy is None:
        numpy = folder / known["file_name"]
        urllib.request.urlretrieve(ORIGIN + numpy.name, numpy)
        found = hashlib.sha256(numpy.read_bytes()).hexdigest()
        assert found == known["sha256"], f"{numpy.name}: {found}"
    else:
        numpy = Path(shutil.copy(numpy, folder))
    wheels(folder, FIRST)
    there = [numpy, stand_in(folder), *(next(folder.glob(f"{one.split('==')[0]}-*.whl")) for one in FIRST)]
    lock["packages"] = {
        path.name.split("-")[0]: lock["packages"][path.name.split("-")[0]]
        | {"file_name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "depends": []}
        for path in there
    }
    (folder / "pyodide-lock.json").write_text(json.dumps(lock))
    return numpy.name


def site(numpy: Path | None) -> str:
    """The page, built; which numpy is in it."""
    if not (PLACE / "env" / ".installed").exists():
        venv.create(PLACE / "env", with_pip=True, clear=True)
        python("pip", "install", "-qq", *LITE)
        (PLACE / "env" / ".installed").touch()
    source = PLACE / "source"
    for old in (source, PLACE / "site", PLACE / "pyodide", PLACE / ".jupyterlite.doit.db"):
        shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink(missing_ok=True)
    found = pyodide(source / "static" / "pyodide", numpy)
    wheels(source / "pypi", PURE)
    build = ["build", "--no-isolation", "--wheel", "--outdir", str(source / "pypi"), str(ROOT)]
    subprocess.run([sys.executable, "-m", *build], check=True, capture_output=True)
    (source / "files").mkdir()
    shutil.copy(ANALYSIS, source / "files")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python", "display_name": "Python (Pyodide)", "language": "python"}
    nbformat.write(notebook, source / "files" / "a.ipynb")
    kernel = "@jupyterlite/pyodide-kernel-extension:kernel"
    settings = {"exposeAppInBrowser": True, "litePluginSettings": {kernel: {"disablePyPIFallback": True}}}
    told = {"jupyter-lite-schema-version": 0, "jupyter-config-data": settings}
    (source / "jupyter-lite.json").write_text(json.dumps(told))
    python("jupyter", "lite", "build", "--lite-dir", str(source), "--output-dir", str(PLACE / "site"))
    return found


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *said: Any) -> None:
        """Says nothing of each request."""


def serve() -> http.server.ThreadingHTTPServer:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(PLACE / "site")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def run(page: Page, code: str) -> str:
    """What a cell says in the notebook's kernel."""
    return page.evaluate(
        """async code => {
            const { kernel } = jupyterapp.shell.currentWidget.sessionContext.session;
            const said = [], asked = kernel.requestExecute({ code });
            asked.onIOPub = ({ content }) => said.push(content.text ?? content.evalue ?? "");
            await asked.done;
            return said.join("");
        }""",
        code,
    ).strip()


def checks(page: Page, address: str) -> None:
    """Every law of this host; the first that does not hold raises."""
    page.goto(f"{address}/lab/index.html?path=a.ipynb")
    kernel = "globalThis.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
    page.wait_for_function(kernel, timeout=300_000)
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    view = page.locator(".lmtt-widget[data-ready='1']")
    view.wait_for(timeout=400_000)
    expect(page.get_by_text("in emscripten", exact=True)).to_be_visible()
    print("  drawn, from a saved analysis, without torch", flush=True)
    explained = view.get_by_role("combobox", name="Explain", exact=True)
    before = run(page, "print(w.target, w.routes.input_share.tolist())")
    explained.select_option("3")
    until(page, lambda: run(page, "print(w.target)") == "3", "Python in the browser to hear of a choice")
    assert run(page, "print(w.target, w.routes.input_share.tolist())") != before
    run(page, "w.target = 2")
    until(page, lambda: explained.input_value() == "2", "the widget to hear of what Python set")
    print("  a choice is heard by Python, and what Python sets by the widget", flush=True)
    size = run(page, "print(lmtt.save_html(w, 'page.html').stat().st_size)")
    assert int(size) > 200_000, size
    print("  saved again as a page", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--numpy", type=Path, help="numpy for Pyodide's ABI")
    given = parser.parse_args().numpy
    PLACE.mkdir(parents=True, exist_ok=True)
    print(f"{', '.join(LITE[:2])}, pyodide {PYODIDE}, {site(given and given.resolve())}", flush=True)
    server = serve()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.on("console", lambda said: print("   ", said.text[:300]) if said.type == "error" else None)
        try:
            checks(page, f"http://127.0.0.1:{server.server_port}")
        finally:
            page.screenshot(path=PLACE / "page.png")
            browser.close()
            server.shutdown()
    print("passed")


if __name__ == "__main__":
    main()
