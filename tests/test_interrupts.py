"""However a widget is interrupted: text, picture and answers are of one prompt, in Python and in the browser."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import comm
import pytest

from lmtt_widget import FlowWidget, explore
from lmtt_widget import widget as widget_module
from lmtt_widget.saved import TRAITS
from lmtt_widget.wire import unpack

from . import text
from .interrupts import Browser, Lines

TRIALS, SEED = 200, 0
HEAD = {"kind": "head", "state": 1, "head": 2, "query": 2, "key": 0}
Action = Callable[[FlowWidget, Browser, int], None]
ACTIONS: dict[str, Action] = {
    "a new prompt by the browser": lambda w, b, n: b.set(w, "prompt", [3 + n % 80, 4, 5 + n // 80]),
    "a new prompt by Python": lambda w, b, n: setattr(w, "prompt", [4, 3 + n % 80, 5 + n // 80]),
    "a known prompt": lambda w, b, n: b.set(w, "prompt", w.prompts[n % len(w.prompts)]),
    "a selection": lambda w, b, n: b.set(w, "selection", {**HEAD, "head": n % 4} if w.selection != HEAD else None),
    "a selection by Python": lambda w, b, n: setattr(w, "selection", HEAD if n % 3 else None),
    "pins": lambda w, b, n: b.set(w, "pins", [{"kind": "state", "state": n % 6, "pos": 1}] if n % 4 else []),
    "a target": lambda w, b, n: b.set(w, "target", n % 3),
    "a foil": lambda w, b, n: b.set(w, "foil", n % 9 or None),
    "an encoding": lambda w, b, n: b.set(w, "encoding", "share" if w.encoding == "flow" else "flow"),
}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FlowWidget, Browser]]:
    monkeypatch.setattr(widget_module, "bundle", dict)
    monkeypatch.setattr(comm, "create_comm", Browser)
    Browser.opened.clear()
    w = explore(text.model(), [[3, 4, 5], [9, 8, 7, 6]])
    yield w, next(b for b in Browser.opened if "graph" in b.state)
    w.close()


def assert_agree(w: FlowWidget, browser: Browser) -> None:
    """Python's traits are of one prompt, and the browser has the same."""
    meta = unpack(w.graph)[1]
    assert w.opened.prompt == w.prompt
    assert w.prompt in w.prompts
    assert meta["run"] == str(w.opened.number)
    assert meta["tokens"]["id"] == list(w.prompt) == w.run.token_ids.tolist()
    assert 0 <= w.target < len(w.prompt)
    if w.detail or w.selection is not None or w.pins:
        _, answered, _ = unpack(w.detail)
        assert answered["run"] == meta["run"]
        asked = [w.selection] * (w.selection is not None) + w.pins
        assert [a["question"] for a in answered["answers"]] == asked
        assert not [a for a in answered["answers"] if "error" in a]
    for name in (*TRAITS, "prompt", "prompts", "graph", "detail"):
        assert browser.state[name] == getattr(w, name), name
    assert browser.state["status"] == w.status
    assert w.status["state"] != "running"


def test_after_interrupts_anywhere_picture_and_text_agree(shown: tuple[FlowWidget, Browser]) -> None:
    w, browser = shown
    assert_agree(w, browser)
    chance = random.Random(SEED)
    lengths = dict.fromkeys(ACTIONS, 10_000)
    trial = interrupted = 0
    while interrupted < TRIALS:
        trial += 1
        name = chance.choice(list(ACTIONS))
        lines = Lines(chance.randint(1, lengths[name]), guarded=["set_state"])
        lines.run(lambda: ACTIONS[name](w, browser, trial))  # noqa: B023
        interrupted += bool(lines.where)
        lengths[name] = lengths[name] if lines.where else max(lines.n, 10)
        try:
            assert_agree(w, browser)
        except AssertionError as e:
            raise AssertionError(f"{name} interrupted at {lines.where or 'no line'}: {e}") from e
    w.prompt = [11, 12]
    assert_agree(w, browser)
    assert w.prompt == [11, 12]
