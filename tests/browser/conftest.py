"""Chromium, the pages in it and the Jupyter servers behind them."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import comm
import pytest
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

import lmtt_widget as lmtt

from .host import Host, QueueComm
from .jupyter import JupyterServer
from .models import PROMPT, random_model

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NO_CHROMIUM = "No Chromium was found: apt-get install chromium, or name one with CHROMIUM=/path/to/chromium"

expect.set_options(timeout=20_000)  # slow only where a test fails; busy machines need more than the usual 5 s

# A run that is told to end still takes its servers with it.
signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", returncode=143))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.flaky(reruns=1))  # a busy machine starves a browser; the run names it
            if {"lab", "notebook7", "marimo"} & set(getattr(item, "fixturenames", [])):
                item.add_marker(pytest.mark.jupyter)


def chromium() -> str | None:
    """Where Chromium is, or None."""
    return shutil.which(os.environ.get("CHROMIUM", "chromium"))


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    path = chromium()
    if path is None:
        pytest.fail(NO_CHROMIUM, pytrace=False)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=FLAGS, timeout=60_000)
        except PlaywrightTimeout:  # on a busy machine Chromium has been seen to start and then never answer
            browser = playwright.chromium.launch(executable_path=path, args=FLAGS, timeout=60_000)
        yield browser
        browser.close()


@pytest.fixture
def problems() -> Iterator[list[str]]:
    """What went wrong without anyone looking; anything left here at the end fails the test."""
    found: list[str] = []
    yield found
    assert not found, "while the test ran:\n" + "\n".join(found)


@pytest.fixture
def page(browser: Browser, problems: list[str]) -> Iterator[Page]:
    """An empty page; an error in its console or an exception nobody caught fails the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.on("console", lambda message: message.type == "error" and problems.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: _is_host_own(error) or problems.append(f"exception in the page: {error}"))
    yield page
    context.close()


def _is_host_own(error: Error) -> bool:
    # Notebook 7.6 throws once while it loads its settings. Widget code comes from a blob, never from /static.
    frames = re.findall(r"\bat .*", error.stack or "")
    return bool(frames) and all(re.search(r"/static/(lab|notebook)/|Promise\.all", frame) for frame in frames)


@pytest.fixture(autouse=True)
def queue_comm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Widgets made during the test talk to a queue."""
    monkeypatch.setattr(comm, "create_comm", QueueComm)


@pytest.fixture
def open_widget(page: Page, problems: list[str]) -> Iterator[Callable[..., Host]]:
    """`open_widget(widget, theme=..., width=...)`: a page with the widget, its first picture drawn."""
    opened: list[Any] = []

    def open_widget(widget: Any, *, theme: str = "light", width: int | None = None) -> Host:
        opened.append(widget)
        host = Host(page, widget, problems, theme=theme)
        host.show(width)
        return host

    yield open_widget
    for widget in opened:
        widget.close()


@pytest.fixture
def widget() -> lmtt.FlowWidget:
    """Of the small random model, not yet on a page."""
    return lmtt.explore(random_model(), PROMPT)


@pytest.fixture
def host(open_widget: Callable[..., Host], widget: lmtt.FlowWidget) -> Host:
    return open_widget(widget)


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    server = JupyterServer(tmp_path_factory.mktemp("lab"))
    yield server
    server.stop()


@pytest.fixture(scope="package")
def notebook7(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    server = JupyterServer(tmp_path_factory.mktemp("notebook7"), "notebook")
    yield server
    server.stop()
