"""The widget in Google's own widget manager, as Colab's output frames have it: python -m tests.hosts.colab [8 7.7.1]

The manager is built from its public repository at one commit (or from a checkout, `--manager FOLDER`), with the
packages it stands on from npm. Around it stands what Colab's page is: a frame of another origin for every output, each
with a manager and a state of its own, state kept by the notebook, no echo of what a browser set.
"""

from __future__ import annotations

import argparse
import functools
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from playwright.sync_api import Locator, Page, Route, sync_playwright

from ..browser.conftest import FLAGS, chromium
from ..browser.jupyter import ROOT
from ..browser.picture import Picture
from ..ipywidgets7 import environment
from .kernel import Kernel

HERE = Path(__file__).parent / "pages"
PLACE = ROOT / ".hosts" / "colab"
SOURCE = "https://github.com/googlecolab/colab-cdn-widget-manager"
COMMIT = "472880a"
STANDS_ON = ["@jupyter-widgets/base@5.0.0-alpha.3", "@jupyter-widgets/base-manager@1.0.0-alpha.2",
             "@jupyter-widgets/controls@4.0.0-alpha.3"]  # fmt: skip
NOTEBOOK, OUTPUT = "http://notebook.colab.test/", "http://output.colab.test/"
MANAGER = "http://manager.colab.test/manager.js"
WIDGET = "application/vnd.jupyter.widget-view+json"
PROMPT = "When Mary and John went to the store, John gave a drink to"
OTHER = "Mary went home because"
# As much of google.colab as anywidget asks for.
GOOGLE = {
    "google/colab/output/__init__.py": f"from . import _widgets\n\n\ndef enable_custom_widget_manager():\n"
    f"    _widgets._installed_url = {MANAGER!r}\n",
    "google/colab/output/_widgets.py": "_installed_url = None\n",
}


def manager(checkout: Path | None) -> Path:
    """The manager as one module."""
    built = PLACE / "manager.js"
    if checkout is None and built.exists():
        return built
    PLACE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "source"
        subprocess.run(["git", "clone", "-q", str(checkout or SOURCE), str(folder)], check=True)
        subprocess.run(["git", "checkout", "-q", COMMIT], cwd=folder, check=True)
        for file in ("package.json", "package-lock.json"):  # what it is tested with is not needed
            (folder / file).unlink()
        (folder / "package.json").write_text('{"private": true}')
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--legacy-peer-deps", "--silent"]
        subprocess.run(["npm", "install", *options, *STANDS_ON], cwd=folder, check=True)
        esbuild = [str(ROOT / "node_modules" / ".bin" / "esbuild"), "--bundle", "--log-level=error"]
        subprocess.run([*esbuild, "src/index.css", "--outfile=lib/index.css.txt"], cwd=folder, check=True)
        subprocess.run([*esbuild, "src/index.ts", "--format=esm", f"--outfile={built}"], cwd=folder, check=True)
    return built


def serve(files: dict[str, tuple[str, str]], elsewhere: list[str], route: Route) -> None:
    address = route.request.url.split("#")[0]
    if address in files:
        kind, body = files[address]
        route.fulfill(body=body, content_type=kind, headers={"Access-Control-Allow-Origin": "*"})
    elif "/npm/anywidget@" in address:  # the loader, from its npm package on a content network
        route.fulfill(body=loader(), content_type="text/javascript", headers={"Access-Control-Allow-Origin": "*"})
    else:
        elsewhere.append(address)
        route.abort()


@functools.cache
def loader() -> str:
    """anywidget's own script, as it is installed."""
    import anywidget

    return (Path(anywidget.__file__).parent / "nbextension" / "index.js").read_text("utf-8")


class Colab:
    """The notebook's page, its kernel, and frames of outputs."""

    def __init__(self, page: Page, kernel: Kernel) -> None:
        self.page, self.kernel = page, kernel
        kernel.join(page, "hear")

    def cell(self, code: str) -> Locator:
        """The widget of a cell that shows one, drawn."""
        shown = [out for out in self.kernel.run(code) if WIDGET in out.get("data", {})][-1]
        assert "image/png" in shown["data"], f"no picture beside the widget: {sorted(shown['data'])}"
        url = shown["metadata"][WIDGET]["colab"]["custom_widget_manager"]["url"]
        self.page.evaluate("told => show(...told)", [shown["data"][WIDGET]["model_id"], url])
        frame = self.page.frames[-1]
        view = frame.locator(".lmtt-widget")
        self.kernel.until(lambda: frame.locator(".lmtt-widget[data-ready='1']").count() == 1, "the widget in its frame")
        return view


def checks(colab: Colab) -> None:
    """Every law of this host, the first that does not hold raises."""
    kernel, page = colab.kernel, colab.page
    until = kernel.until
    kernel.run("import google.colab.output, lmtt_widget as lmtt\nmodel = lmtt.bundled_model()")
    first = colab.cell(f"w = lmtt.explore(model, {PROMPT!r})\nw")

    def box(view: Locator) -> Locator:
        return view.get_by_role("textbox", name="Prompt")

    def explained(view: Locator) -> str:
        return view.get_by_role("combobox", name="Explain", exact=True).input_value()

    def n_options(view: Locator) -> int:
        return view.get_by_role("combobox", name="Explain", exact=True).locator("option").count()

    heights = "() => [...document.querySelectorAll('iframe')].map((f) => f.getBoundingClientRect().height)"
    until(lambda: page.evaluate(heights)[0] >= first.bounding_box()["height"], "a frame as high as the widget")
    print("  drawn, in a frame as high as itself")

    first.get_by_role("combobox", name="Explain", exact=True).select_option("4")
    until(lambda: kernel.said("print(w.target)") == "4", "target 4 in Python")
    kernel.run("w.selection = {'kind': 'state', 'state': 3, 'pos': 2}")
    lens = first.get_by_role("table", name="Logit lens").locator("tbody tr")
    until(lambda: lens.count() == 10, "the logit lens of a state")
    print("  a choice reaches Python, and Python's answer the panel")

    second = colab.cell("w")
    until(lambda: n_options(second) == n_options(first) == 14, "two outputs of one widget")
    first.get_by_role("combobox", name="Explain", exact=True).select_option("2")
    until(lambda: explained(second) == "2", "the second output following the first")
    box(first).fill(OTHER)
    box(first).press("Enter")
    until(lambda: n_options(first) == n_options(second) == 4, "both with the new picture")
    until(lambda: box(first).input_value() == box(second).input_value() == OTHER, "both with their picture's prompt")
    print("  two outputs of one widget show one picture and its own prompt")

    third = colab.cell(f"other = lmtt.explore(lmtt.bundled_model(), {PROMPT!r})\nother")
    box(third).fill("Anna went home")
    box(third).press("Enter")
    until(lambda: n_options(third) == 3, "the third output's own picture")
    assert (n_options(first), box(first).input_value()) == (4, OTHER)
    assert kernel.said("print(w.run.n_tokens, other.run.n_tokens)") == "4 3"
    print("  two models of one kernel keep their pictures and prompts apart")

    with page.expect_download() as saved:
        first.get_by_role("button", name="More", exact=True).click()
        first.get_by_role("menuitem", name="Save as SVG").click()
    assert saved.value.path().read_bytes().startswith(b"<svg")
    assert Picture(third).pixels()
    print("  files are saved")


def run(python: str, built: Path, dark: bool) -> None:
    """All checks under one Python, in a light or dark page."""
    theme = ' theme="dark"' if dark else ""
    files = {
        NOTEBOOK: (
            "text/html",
            "<!doctype html><title>notebook</title><body><script src='notebook.js'></script>",
        ),
        NOTEBOOK + "notebook.js": ("text/javascript", (HERE / "notebook.js").read_text("utf-8")),
        OUTPUT: (
            "text/html",
            f"<!doctype html><html{theme}><title>output</title><body style='margin: 0'><div id='output'></div>"
            "<script type='module' src='output.js'></script>",
        ),
        OUTPUT + "output.js": ("text/javascript", (HERE / "output.js").read_text("utf-8")),
        MANAGER: ("text/javascript", built.read_text("utf-8")),
    }
    elsewhere: list[str] = []
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        for name, text in GOOGLE.items():
            (Path(place) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(place) / name).write_text(text)
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1100, "height": 1400})
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda m: m.type == "error" and "ERR_FAILED" not in m.text and problems.append(m.text))
        page.context.route("**/*", functools.partial(serve, files, elsewhere))
        kernel = Kernel(python, [place], COLAB_RELEASE_TAG="stand-in", OMP_NUM_THREADS="1")
        try:
            colab = Colab(page, kernel)
            page.goto(NOTEBOOK)
            started = time.monotonic()
            checks(colab)
            print(f"  {time.monotonic() - started:.0f} s; asked for elsewhere: {sorted(set(elsewhere)) or 'nothing'}")
            assert not problems, problems
            page.screenshot(path=PLACE / f"{'dark' if dark else 'light'}.png")
        finally:
            kernel.stop()
            browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", default=["8", "7.7.1"], help="of ipywidgets; 8: the one installed")
    parser.add_argument("--manager", type=Path, help="a checkout of Google's manager; else it is cloned")
    given = parser.parse_args()
    built = manager(given.manager)
    for wanted in given.versions:
        python = sys.executable if wanted == "8" else str(environment(wanted))
        for dark in (False, True):
            told = version("ipywidgets") if wanted == "8" else wanted
            print(f"ipywidgets {told}, {'dark' if dark else 'light'}", flush=True)
            run(python, built, dark)
    print("passed")


if __name__ == "__main__":
    main()
