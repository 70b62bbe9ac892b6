"""What several answers read off the unembedding: made together and once, and the same as by itself."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lmtt_widget as lmtt
from lmtt_widget import answers, included, lens_logits
from lmtt_widget import widget as widget_module
from lmtt_widget.decomposition.readout import Readout
from lmtt_widget.readings import Readings
from lmtt_widget.saved import SavedPrompt
from lmtt_widget.state import detail_state
from lmtt_widget.wire import unpack

from . import text, zoo
from .conftest import PROMPT


@pytest.fixture
def unembedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows went through the unembedding at a time."""
    rows: list[int] = []
    unembed = Readout.unembed

    def counted(self: Readout, x: Tensor) -> Tensor:
        rows.append(len(x))
        return unembed(self, x)

    monkeypatch.setattr(Readout, "unembed", counted)
    return rows


@pytest.mark.parametrize("case", ["gpt2", "gemma2", "opt 350m", "mixtral"])
def test_what_is_read_together_is_what_is_read_alone(case: str) -> None:
    run = zoo.recorded(zoo.Case(*case.split()))
    together, nodes = Readings(run), [(s, pos) for pos in (4, 1) for s in range(len(run.states))]
    updates = [(p.output(run.n_tokens)[pos], pos, p.state) for p in run.parts if p.state for pos in (4, 1)]
    together.expect(nodes, updates, 5, normalise=True)
    for s, pos in nodes:
        torch.testing.assert_close(together.lens(s, pos, normalise=True), lens_logits(run, s, pos).detach())
    for vector, pos, state in updates:
        mine, alone = together.promoted(vector, pos, state, 5), lmtt.promoted(run, vector, pos, state=state, k=5)
        torch.testing.assert_close(mine.promoted.scores, alone.promoted.scores)
        torch.testing.assert_close(mine.suppressed.scores, alone.suppressed.scores)
        assert [t.id for t in mine.promoted.tokens] == [t.id for t in alone.promoted.tokens]


def test_where_a_prediction_is_settled_is_where_the_whole_lens_says_so() -> None:
    model = lmtt.bundled_model()
    settled = set()
    for prompt in ("When Mary and John went to the store, John gave a drink to", "Mary went home because"):
        run = lmtt.record(model, prompt)
        grid, read = lmtt.logit_lens(run), Readings(run)
        read.expect([(0, 3)], [], 5, normalise=True)
        found = [read.settled(pos, normalise=True) for pos in range(run.n_tokens)]
        assert found == grid.settled.tolist()
        settled |= set(found)
    assert len(settled) > 3


def test_a_page_says_what_each_answer_says_by_itself(widget: lmtt.FlowWidget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(included, "_AHEAD", 7)
    (saved,) = widget.analysis().prompts
    shown = widget.opened
    assert len(saved.answers) > 50
    for kept in saved.answers:
        question = kept["question"]
        target = answers.answer(shown.run, shown.graph, question, target=widget.target)
        _, alone, maps = unpack(detail_state([("selection", 0, question, target)]))
        (expected,) = alone["answers"]
        assert_alike({k: v for k, v in kept.items() if k not in ("maps", "question")}, expected, str(question))
        for name, values in kept["maps"].items():
            np.testing.assert_array_equal(values, maps[f"a0.{name}"])


def assert_alike(mine: Any, alone: Any, where: str) -> None:
    """To the last digit, but for numbers that were unembedded beside others."""
    if isinstance(mine, dict):
        for name, value in mine.items():
            assert_alike(value, alone[name], f"{where} {name}")
    elif isinstance(mine, list) and mine and isinstance(mine[0], float):
        np.testing.assert_allclose(mine, alone, rtol=2e-6, atol=1e-6, err_msg=where)
    elif isinstance(mine, float):
        assert mine == pytest.approx(alone, rel=2e-6, abs=1e-6), where
    else:
        assert mine == alone, where


def test_a_page_unembeds_each_node_once_and_many_together(widget: lmtt.FlowWidget, unembedded: list[int]) -> None:
    (saved,) = widget.analysis().prompts
    drawn = {(a["state"], a["pos"]) for a in saved.answers if a["kind"] == "state"}
    below = {(s, pos) for state, pos in drawn if (s := widget.run.states[state].carried) is not None}
    peeked = {(s, pos) for s, pos in np.argwhere(unpack(saved.peek)[2]["token"] >= 0).tolist()}
    settle = len(widget.run.states) * len({pos for _, pos in drawn})  # which is looked at from the top down
    assert len(drawn | below | peeked) <= sum(unembedded) <= len(drawn | below | peeked) + settle
    assert len(unembedded) < 20 < len(drawn)


def test_a_page_is_told_how_far_it_is(widget: lmtt.FlowWidget) -> None:
    told: list[tuple[int, int]] = []
    said: list[str] = []
    widget.observe(lambda change: said.append(change["new"]["text"]), "status")
    widget.page(progress=lambda *x: told.append(x))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]
    assert len(told) > 50
    assert "saving" in said
    assert widget.status["state"] == "idle"


def test_an_interrupted_page_has_what_was_answered(widget: lmtt.FlowWidget, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 40:
            signal.raise_signal(signal.SIGINT)

    with pytest.warns(UserWarning, match="interrupted: what was not answered by then will say that it was not saved"):
        path = lmtt.save_json(widget, tmp_path / "part.json", progress=interrupt)
    kept: SavedPrompt = lmtt.load_json(path).opened
    assert len(kept.answers) in (39, 40)
    whole = widget.analysis().prompts[0]
    assert [a["question"] for a in kept.answers] == [a["question"] for a in whole.answers][: len(kept.answers)]
    assert widget.status["state"] == "idle"


# ---- the hover ----


def test_without_an_event_loop_nothing_is_read_as_tokens_until_somebody_looks(
    monkeypatch: pytest.MonkeyPatch, unembedded: list[int]
) -> None:
    monkeypatch.setattr(widget_module, "bundle", dict)
    w = lmtt.explore(text.model(), PROMPT)
    assert not unembedded
    assert unpack(w.get_state()["peek"])[1]["run"] == str(w.opened.number)
    n = sum(unembedded)
    assert w.peek
    assert sum(unembedded) == n > 0
    w.prompt = "a dog"
    assert sum(unembedded) == n
    assert unpack(w.peek)[1]["run"] == str(w.opened.number)
    w.close()


def test_a_click_comes_before_the_hover_which_goes_on_afterwards(
    monkeypatch: pytest.MonkeyPatch, unembedded: list[int]
) -> None:
    monkeypatch.setattr(widget_module, "bundle", dict)
    monkeypatch.setattr(widget_module, "_IDLE", 0.0)
    monkeypatch.setattr(widget_module, "_AT_ONCE", 3)
    sent: Counter[str] = Counter()

    async def shown() -> None:
        w = lmtt.explore(text.model(), PROMPT)
        w.observe(lambda change: sent.update([change["name"]]), ["peek", "detail"])
        while not unembedded:
            await asyncio.sleep(0)
        assert {*unembedded} == {3}  # and a click is heard
        assert w.peek == b""
        w.selection = {"kind": "edge", "state": 1, "query": 3, "key": 1}
        assert w.detail
        assert (sent["detail"], sent["peek"]) == (1, 0)
        for _ in range(300):
            await asyncio.sleep(0)
        assert sent["peek"] == 1
        whole = included.peek_at(lmtt.trace(w.opened.graph, w.target, encoding="flow"))
        while whole.more():
            pass
        assert w.peek == included.peek_bytes(whole, str(w.opened.number))
        w.close()

    asyncio.run(shown())
