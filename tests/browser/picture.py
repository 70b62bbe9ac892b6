"""The widget's graph as a reader meets it: by pointer, keys and labels, and never by its code."""

from __future__ import annotations

from playwright.sync_api import Locator

# Moves a pointer over the picture in steps until the tooltip's name matches: [x, y], or null.
SEARCH = """(el, [pattern, step, from_y, to_y]) => {
  const tip = el.querySelector('.tip');
  const box = el.getBoundingClientRect();
  const wanted = new RegExp(pattern);
  let found = null;
  for (let y = from_y; y < to_y && !found; y += step) {
    for (let x = 2; x < box.width && !found; x += step) {
      el.dispatchEvent(new PointerEvent('pointermove', { clientX: box.left + x, clientY: box.top + y, bubbles: true }));
      if (!tip.hidden && wanted.test(tip.firstChild.textContent)) found = [x, y];
    }
  }
  el.dispatchEvent(new PointerEvent('pointerleave'));
  return found;
}"""

SETTLED = """async (el) => {
  const pictures = () => [...el.querySelectorAll('canvas')].map((canvas) => canvas.toDataURL()).join();
  let before = '';
  for (let i = 0; i < 100; i++) {
    for (let k = 0; k < 3; k++) await new Promise(requestAnimationFrame);
    const now = pictures();
    if (now === before) return now;
    before = now;
  }
  throw new Error('the picture does not come to rest');
}"""


class Picture:
    """The graph in one view."""

    def __init__(self, view: Locator) -> None:
        self.view = view
        self.flow = view.locator(".flow")
        self.tip = view.locator(".tip")

    def pixels(self) -> str:
        """What the canvases show once they have come to rest."""
        return self.flow.evaluate(SETTLED)

    @property
    def n_edges(self) -> int:
        """Attention edges drawn."""
        self.pixels()
        return int(self.flow.get_attribute("data-edges") or 0)

    def place(self, name: str) -> tuple[float, float]:
        """Where the tooltip's name matches the regular expression `name`, in px from the picture's corner."""
        self.pixels()
        height = self.flow.evaluate("el => el.getBoundingClientRect().height")
        # The labels are the lowest part; above them a finer net, for lines are thin.
        for step, from_y, to_y in ((6, height - 90, height), (4, 0, height - 90)):
            found = self.flow.evaluate(SEARCH, [name, step, from_y, to_y])
            if found:
                return found[0], found[1]
        raise AssertionError(f"nothing in the picture is called {name!r}")

    def hover(self, name: str) -> None:
        self.flow.hover(position=self._position(name))

    def click(self, name: str) -> None:
        self.flow.click(position=self._position(name))

    def _position(self, name: str) -> dict[str, float]:
        x, y = self.place(name)
        return {"x": x, "y": y}
