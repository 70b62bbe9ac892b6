"""A cell that is run again leaves nothing of its last output behind.

As in JupyterLab, every run loads the widget's module anew and the page never unloads one: whatever a variable of a
module still holds stays for good.
"""

from __future__ import annotations

from playwright.sync_api import CDPSession

import lmtt_widget as lmtt

from .host import Host

RERUN = """async ([esm, selection, n]) => {
  for (let i = 0; i < n; i++) {
    const address = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
    const { default: widget } = await import(address);
    URL.revokeObjectURL(address);
    const el = document.body.appendChild(document.createElement("div"));
    const cleanup = await widget.render({ model: host.model, el });
    while (!el.querySelector("[data-ready='1']")) await new Promise(requestAnimationFrame);
    const flow = el.firstChild.shadowRoot.querySelector(".flow");
    const box = flow.getBoundingClientRect();
    for (const x of [100, 300]) {
      const at = { clientX: box.left + x, clientY: box.top + 200, bubbles: true };
      flow.dispatchEvent(new PointerEvent("pointermove", at));
    }
    for (const chosen of [selection, null]) {
      host.model.set("selection", chosen);
      await new Promise(requestAnimationFrame);
    }
    cleanup();
    el.remove();
  }
  await new Promise((done) => setTimeout(done, 500)); // timers that are still due
}"""


def left(session: CDPSession) -> dict[str, int]:
    """What of a view may be left in the page; the code of its modules, which a page keeps, is not counted."""
    for _ in range(2):
        session.send("HeapProfiler.collectGarbage")
    counted = session.send("Memory.getDOMCounters")
    found = {name: counted[name] for name in ("nodes", "jsEventListeners")}
    for name in ("Float32Array", "AbortSignal", "CSSStyleSheet"):
        prototype = session.send("Runtime.evaluate", {"expression": f"{name}.prototype"})["result"]["objectId"]
        objects = session.send("Runtime.queryObjects", {"prototypeObjectId": prototype})["objects"]
        (size,) = [
            each["value"]["value"]
            for each in session.send("Runtime.getProperties", {"objectId": objects["objectId"]})["result"]
            if each["name"] == "length"
        ]
        found[name] = size
    session.send("Runtime.releaseObjectGroup", {"objectGroup": ""})
    return found


def test_ten_runs_of_a_cell_leave_no_view_behind(host: Host, widget: lmtt.FlowWidget) -> None:
    session = host.page.context.new_cdp_session(host.page)
    arguments = [str(widget._esm), {"kind": "state", "state": 4, "pos": 9}]
    host.page.evaluate(RERUN, [*arguments, 2])
    before = left(session)
    host.page.evaluate(RERUN, [*arguments, 10])
    assert left(session) == before
