"""A page that runs the real bundle against the real Python widget living in this process.

No server, no kernel: the widget's comm is a queue, the page's model (host.js) fetches from it. A test takes some
tenths of a second and can look at both sides, Python's traits and the browser's picture.
"""

from __future__ import annotations

import base64
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from comm.base_comm import BaseComm
from ipywidgets.widgets.widget import _put_buffers, _remove_buffers
from playwright.sync_api import Frame, Locator, Page, Route

ADDRESS = "http://widget.test/"
HERE = Path(__file__).parent


class QueueComm(BaseComm):
    """A comm whose messages wait in `outbox` until a page fetches them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.outbox: list[tuple[dict[str, Any], list[bytes]]] = []
        super().__init__(*args, **kwargs)

    def publish_msg(
        self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any
    ) -> None:
        self.outbox.append((data or {}, [bytes(buffer) for buffer in buffers or []]))


class Host:
    """One page with one widget, shown in one or more places of it.

    What goes wrong on either side is a sentence in `problems`: an error in the browser's console, an exception in
    Python's observers (a notebook would swallow it), a request to the network.
    """

    bytes = "DataView"  # or "Uint8Array": as what binary traits arrive
    headers: ClassVar[dict[str, str]] = {}  # of what the widget's page is served with

    def __init__(self, page: Page, widget: Any, problems: list[str], *, theme: str = "light") -> None:
        if not isinstance(widget.comm, QueueComm):
            raise TypeError("the widget was made before the comm was replaced: make it inside a test of tests/browser")
        self.page, self.widget, self.problems = page, widget, problems
        self.outbox = widget.comm.outbox  # a closed widget has no comm, its page still asks
        self.answers: dict[Frame, list[dict[str, Any]]] = {}  # for each frame what it did not fetch yet
        page.expose_binding("pyOpen", self._open)
        page.expose_binding("pyExchange", self._exchange)
        page.route("**/*", self._serve)
        self.frame = self._go(theme)

    def _go(self, theme: str) -> Frame:
        self.page.goto(ADDRESS)
        light = str(theme != "dark").lower()
        self.page.evaluate("is_light => { document.body.dataset.jpThemeLight = is_light }", light)
        self.page.wait_for_function("() => globalThis.host?.isOpen")
        return self.page.main_frame

    def show(self, width: int | None = None) -> Locator:
        """One more view of the widget, its first picture drawn."""
        self.frame.evaluate("width => host.show(width)", width)
        view = self.frame.locator(".view").last
        view.locator("[data-ready='1']").wait_for()
        return view

    def remove(self, index: int) -> None:
        """Take a view off the page, as a notebook does when a cell's output is cleared."""
        self.frame.evaluate("index => host.remove(index)", index)

    def sync(self) -> None:
        """Bring to the page what Python changed by now. (The page also asks by itself, every 30 ms.)"""
        self.frame.evaluate("() => host.sync()")

    def set(self, **traits: Any) -> None:
        """Set traits as the browser's code does, and wait for Python's answer."""
        self.frame.evaluate("async traits => { host.model.set(traits); await host.sync(); }", traits)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Let browser and Python talk until Python's side fulfils the condition."""
        end = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < end, f"waited in vain for: {what}"
            self.page.wait_for_timeout(20)
        self.sync()

    def get(self, name: str) -> Any:
        """A JSON trait as the browser has it."""
        return self.frame.evaluate("name => host.model.get(name)", name)

    def _files(self) -> dict[str, tuple[str, str]]:
        return {
            ADDRESS: ("text/html", (HERE / "host.html").read_text("utf-8")),
            ADDRESS + "host.js": ("text/javascript", (HERE / "host.js").read_text("utf-8")),
            ADDRESS + "favicon.ico": ("image/x-icon", ""),
        }

    def _serve(self, route: Route) -> None:
        files = self._files()
        if route.request.url in files:
            content_type, body = files[route.request.url]
            headers = {"Content-Type": f"{content_type}; charset=utf-8"}
            headers |= self.headers if route.request.url.startswith(ADDRESS) else {}
            route.fulfill(headers=headers, body=body)
        else:
            self.problems.append(f"the widget asked the network for {route.request.url}")
            route.abort()

    def _open(self, source: dict[str, Any]) -> dict[str, Any]:
        self._deliver()
        self.answers[source["frame"]] = []
        state, paths, buffers = _remove_buffers(self.widget.get_state())
        esm = str(self.widget._esm)
        return {"state": _shown(state), "buffers": _encoded(paths, buffers), "esm": esm, "bytes": self.bytes}

    def _exchange(self, source: dict[str, Any], sent: dict[str, Any] | None) -> list[dict[str, Any]]:
        if sent is not None:
            try:
                # What ipywidgets does with an "update" message, less its catching of every exception.
                state, paths = sent["state"], [buffer["path"] for buffer in sent["buffers"]]
                _put_buffers(state, paths, [memoryview(base64.b64decode(b["data"])) for b in sent["buffers"]])
                self.widget.set_state(state)
            except Exception:  # noqa: BLE001  whatever it is, the test is to say it
                self.problems.append(f"Python raised on {sent['state']}:\n{traceback.format_exc()}")
        self._deliver()
        answers, self.answers[source["frame"]] = self.answers[source["frame"]], []
        return answers

    def _deliver(self) -> None:
        while self.outbox:
            data, buffers = self.outbox.pop(0)
            if data.get("method") in ("update", "echo_update"):
                answer = {"state": _shown(data["state"]), "buffers": _encoded(data.get("buffer_paths", []), buffers)}
                for waiting in self.answers.values():
                    waiting.append(answer)


def _shown(state: dict[str, Any]) -> dict[str, Any]:
    # layout and the like are other widgets, and the loader's own text need not travel with every page
    return {
        name: value
        for name, value in state.items()
        if name == "_code" or not (name.startswith("_") or name == "layout")
    }


def _encoded(paths: list[list[Any]], buffers: list[bytes]) -> list[dict[str, Any]]:
    return [{"path": p, "data": base64.b64encode(b).decode()} for p, b in zip(paths, buffers, strict=True)]
