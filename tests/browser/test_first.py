"""What comes first in a real JupyterLab: the picture, and only then what is read beside it."""

from __future__ import annotations

from playwright.sync_api import Page

from .jupyter import JupyterServer
from .test_jupyter import opened

# However long the browser takes: the kernel does not give up waiting for it.
_CELL = """import lmtt_widget as lmtt
from lmtt_widget import widget
widget._UNSEEN = 10_000
lmtt.explore(lmtt.bundled_model(), "When Mary and John went to the store, John gave a drink to")"""

# For every message of the kernel that brings the peek: how many pixels of the picture were drawn by then.
_WATCH = r"""
window.drawn = [];
window.WebSocket = class extends WebSocket {
  constructor(...given) {
    super(...given);
    this.addEventListener("message", ({ data }) => {
      const text = typeof data === "string" ? data : new TextDecoder("latin1").decode(data);
      if (!/"method":\s*"update"/.test(text) || !/\[\s*"peek"\s*\]/.test(text)) return;
      const canvas = document.querySelector(".lmtt-widget[data-ready='1']")?.shadowRoot.querySelector("canvas");
      const pixels = canvas?.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data ?? [];
      window.drawn.push(pixels.filter((x, k) => k % 4 === 3 && x > 0).length);
    });
  }
};
"""


def test_the_picture_is_there_before_the_states_are_read_as_tokens(lab: JupyterServer, page: Page) -> None:
    page.add_init_script(_WATCH)
    opened(lab, page, _CELL)
    page.wait_for_function("window.drawn.length")
    assert page.evaluate("window.drawn")[0] > 1000
