"""The widget in a real marimo server, with the bundled model: what the reader does reaches Python, and back."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from .jupyter import ROOT, free_port
from .picture import Picture

# The last cell runs again when the widget changes: what it writes only Python can know.
APP = """
import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo

    import lmtt_widget as lmtt

    return lmtt, mo


@app.cell
def _(lmtt, mo):
    widget = mo.ui.anywidget(
        lmtt.explore(lmtt.bundled_model(), "When Mary and John went to the store, John gave a drink to")
    )
    widget
    return (widget,)


@app.cell
def _(mo, widget):
    mo.ui.button(label="Python sets the target", on_click=lambda _: setattr(widget.widget, "target", 3))
    return


@app.cell
def _(mo, widget):
    mo.md(f"Python has target {widget.value['target']} of {widget.run.n_tokens}")
    return


if __name__ == "__main__":
    app.run()
"""


@pytest.fixture(scope="module")
def marimo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `marimo run`: loopback only, no token, none of the user's own settings, the browser's theme."""
    folder = tmp_path_factory.mktemp("marimo")
    (folder / "app.py").write_text(APP)
    (folder / "marimo").mkdir()
    (folder / "marimo" / "marimo.toml").write_text('[display]\ntheme = "system"\n')
    log = folder / "server.log"
    port = free_port()
    options = ["--headless", "--no-token", "--no-sandbox", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "marimo", "-q", "run", folder / "app.py", *options],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                **{name: str(folder) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")},
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(server, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait(5)


def _wait(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + 90
    while server.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"marimo did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture
def picture(marimo: str, page: Page) -> Picture:
    page.goto(marimo)
    view = page.locator(".lmtt-widget[data-ready='1']")  # selectors reach through marimo's shadow roots
    view.wait_for(timeout=90_000)  # each page has a kernel of its own, which imports torch first
    return Picture(view)


def test_a_click_reaches_python_and_what_python_sets_is_drawn(picture: Picture, page: Page) -> None:
    expect(page.get_by_text("Python has target 13 of 14")).to_be_visible()
    picture.click("^1 ·Mary$")
    expect(page.get_by_text("Python has target 1 of 14")).to_be_visible()
    page.get_by_role("button", name="Python sets the target").click()
    expect(picture.view.get_by_role("combobox", name="Explain")).to_have_value("3")


def test_what_python_answers_about_a_selection_is_shown(picture: Picture) -> None:
    picture.click("^1 ·Mary$")
    picture.flow.press("ArrowUp")
    picture.flow.press("Enter")
    panel = picture.view.locator(".panel")
    expect(panel.get_by_role("heading", name="What the model would say here")).to_be_visible()
    expect(panel.get_by_role("table", name="Logit lens").locator("tbody tr")).to_have_count(10)


def test_a_typed_prompt_is_recorded_and_a_refused_one_is_a_sentence(picture: Picture, page: Page) -> None:
    prompt = picture.view.get_by_role("textbox", name="Prompt")
    prompt.fill("When Mary went to")
    prompt.press("Enter")
    expect(page.get_by_text("Python has target 3 of 4")).to_be_visible()
    expect(picture.view.get_by_role("combobox", name="Explain").locator("option")).to_have_count(4)
    prompt.fill("the " * 3000)
    prompt.press("Enter")
    expect(picture.view.get_by_role("alert")).to_contain_text("but the model has 1024 positions")
    expect(page.get_by_text("Python has target 3 of 4")).to_be_visible()


def test_it_follows_marimo_into_the_dark(picture: Picture, page: Page) -> None:
    root = picture.view.locator(".root")
    expect(root).not_to_have_class(re.compile("dark"))
    page.emulate_media(color_scheme="dark")
    expect(root).to_have_class(re.compile("dark"))
