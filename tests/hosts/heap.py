"""What ten runs of a cell leave in a JupyterLab page, beside what another widget of the same size leaves.

python -m tests.hosts.heap [flow | code | nothing ...]        half a minute each

flow is explore(); code its script as a module of its own each time, of a widget that draws nothing and has no data;
nothing a cell without a widget. Nodes and bytes after the third run and after ten more, when garbage was collected;
closed: after close_all().
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import CDPSession, Page, sync_playwright

from ..browser.conftest import FLAGS, chromium
from ..browser.jupyter import JupyterServer, run_all

MADE = """import anywidget, zlib, lmtt_widget as lmtt
model = lmtt.bundled_model()
prompt = "When Mary and John went to the store, John gave a drink to"
w = lmtt.explore(model, "Mary")
class Code(anywidget.AnyWidget):
    _esm = zlib.decompress(w._code).decode().rsplit("export{", 1)[0] + "export default {render() {}};"
"""
CELLS = {"flow": "w = lmtt.explore(model, prompt); w", "code": "w = Code(); w", "nothing": "w = 1; w"}
RUN = """async () => {
  jupyterapp.shell.currentWidget.content.activeCellIndex = 1;
  await jupyterapp.commands.execute("notebook:run-cell");
}"""
CLOSE = """async () => {
  const { kernel } = jupyterapp.shell.currentWidget.sessionContext.session;
  await kernel.requestExecute({ code: "import ipywidgets; ipywidgets.Widget.close_all()" }).done;
}"""
N = 10


def left(page: Page, session: CDPSession) -> dict[str, int]:
    """Nodes and bytes of the page once nothing more is collected."""
    for _ in range(4):
        session.send("HeapProfiler.collectGarbage")
        page.wait_for_timeout(250)
    nodes = session.send("Memory.getDOMCounters")["nodes"]
    return {"nodes": nodes, "bytes": session.send("Runtime.getHeapUsage")["usedSize"]}


def runs(page: Page, n: int, is_shown: bool) -> None:
    for _ in range(n):
        page.evaluate(RUN)
        if is_shown:
            page.locator(".lmtt-widget[data-ready='1']").wait_for(state="attached")
        page.wait_for_timeout(700)


def measured(server: JupyterServer, page: Page, name: str) -> dict[str, dict[str, int]]:
    session: Any = page.context.new_cdp_session(page)
    server.open(page, server.write(f"{name}.ipynb", MADE, CELLS[name]))
    run_all(page)
    runs(page, 3, name == "flow")
    found = {"before": left(page, session)}
    runs(page, N, name == "flow")
    found["after"] = left(page, session)
    page.evaluate(CLOSE)
    page.wait_for_timeout(1500)
    return found | {"closed": left(page, session)}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = JupyterServer(Path(folder) / "server")
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS, timeout=60_000)
        try:
            for name in sys.argv[1:] or CELLS:
                page = browser.new_page(viewport={"width": 1400, "height": 1000})
                page.set_default_timeout(60_000)
                found = measured(server, page, name)
                said = ", ".join(f"{when} {m['nodes']} nodes {m['bytes'] / 1e6:.2f} MB" for when, m in found.items())
                each = (found["after"]["bytes"] - found["before"]["bytes"]) / N
                print(f"{name}: {said}; {each / 1e3:.0f} kB a run", flush=True)
                page.close()
        finally:
            browser.close()
            server.stop()


if __name__ == "__main__":
    main()
