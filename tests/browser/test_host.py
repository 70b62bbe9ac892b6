"""The harness itself: a page and a Python widget hear each other, and nothing that goes wrong passes in silence."""

from __future__ import annotations

from collections.abc import Callable

import anywidget
import pytest
import traitlets

from .host import Host

ESM = """
export default { render({ model, el }) {
  const button = el.appendChild(document.createElement("button"));
  button.dataset.ready = "1";
  const draw = () => {
    const view = model.get("data");
    const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    button.textContent = `${model.get("count")}: ${[...bytes].join(" ")}`;
  };
  button.addEventListener("click", () => { model.set("count", model.get("count") + 1); model.save_changes(); });
  model.on("change:count", draw);
  model.on("change:data", draw);
  draw();
  return () => { model.off("change:count", draw); model.off("change:data", draw); };
} };
"""


class Counter(anywidget.AnyWidget):
    """Counts to three; `data` says in bytes how far it came."""

    _esm = ESM
    count = traitlets.Int(0).tag(sync=True)
    data = traitlets.Bytes(b"\0").tag(sync=True)

    @traitlets.validate("count")
    def _at_most_three(self, proposal: traitlets.Bunch) -> int:
        return min(proposal.value, 3)

    @traitlets.observe("count")
    def _tell(self, change: traitlets.Bunch) -> None:
        self.data = bytes([7, self.count])


def test_a_click_reaches_python_and_its_bytes_come_back(open_widget: Callable[..., Host]) -> None:
    host = open_widget(counter := Counter())
    host.page.get_by_role("button", name="0: 0").click()
    host.page.get_by_role("button", name="1: 7 1").wait_for()
    assert counter.count == 1


def test_what_python_sets_is_drawn_in_every_view(open_widget: Callable[..., Host]) -> None:
    host = open_widget(counter := Counter())
    host.show()
    counter.count = 2
    host.sync()
    assert host.page.get_by_role("button").all_inner_texts() == ["2: 7 2", "2: 7 2"]


def test_a_value_python_puts_back_returns_to_the_page(open_widget: Callable[..., Host]) -> None:
    host = open_widget(Counter(count=3))
    host.set(count=4)
    assert host.get("count") == 3


def test_a_removed_view_hears_nothing_more(open_widget: Callable[..., Host]) -> None:
    host = open_widget(counter := Counter())
    host.remove(0)
    counter.count = 1
    host.sync()
    assert host.page.evaluate("() => host.model.listeners.length") == 0


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("console.error('broken')", "console: broken"),
        ("setTimeout(() => { throw new Error('thrown') })", "exception in the page: thrown"),
        ("fetch('https://example.org/').catch(() => 0)", "asked the network for https://example.org/"),
    ],
)
def test_what_goes_wrong_in_the_page_is_noticed(
    open_widget: Callable[..., Host], problems: list[str], script: str, sentence: str
) -> None:
    host = open_widget(Counter())
    host.page.evaluate(script)
    host.until(lambda: any(sentence in problem for problem in problems), sentence)
    problems.clear()


def test_an_exception_in_an_observer_is_noticed(open_widget: Callable[..., Host], problems: list[str]) -> None:
    host = open_widget(Counter())
    host.set(count=-1)  # bytes([7, -1])
    assert any("ValueError" in problem for problem in problems), problems
    problems.clear()
