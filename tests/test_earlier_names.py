"""Names of version 0.1 still mean what they meant, with a warning that says the new one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lmtt_widget as lmtt
from lmtt_widget import widget

from . import zoo


@pytest.mark.parametrize(("old", "new"), [("Flow", "Graph"), ("renormalize", "renormalise")])
def test_what_was_renamed_is_found_under_its_old_name(old: str, new: str) -> None:
    with pytest.warns(
        DeprecationWarning, match=f"^{old} is now {new}; the old name goes with the next version$"
    ) as told:
        assert getattr(lmtt, old) is getattr(lmtt, new)
    assert told[0].filename == __file__


RUN = zoo.recorded(zoo.Case("llama"))
GRAPH = lmtt.attribute(RUN)
ATTENTION = next(p for p in RUN.parts if p.kind == "attention")
CALLS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "trace(heads=...)": (
        lambda: lmtt.trace(GRAPH, heads="sum").strength,
        lambda: lmtt.trace(GRAPH, reading="sum").strength,
    ),
    "head_shares(flow=...)": (
        lambda: lmtt.head_shares(RUN, ATTENTION, 3, flow=GRAPH),
        lambda: lmtt.head_shares(RUN, ATTENTION, 3, graph=GRAPH),
    ),
    "lens_logits(normalize=...)": (
        lambda: lmtt.lens_logits(RUN, 2, normalize=False),
        lambda: lmtt.lens_logits(RUN, 2, normalise=False),
    ),
    "top_tokens(normalize=...)": (
        lambda: lmtt.top_tokens(RUN, state=2, normalize=False).scores,
        lambda: lmtt.top_tokens(RUN, state=2, normalise=False).scores,
    ),
    "logit_lens(normalize=...)": (
        lambda: lmtt.logit_lens(RUN, normalize=False).ids,
        lambda: lmtt.logit_lens(RUN, normalise=False).ids,
    ),
    "Routes.heads": (lambda: lmtt.trace(GRAPH).heads, lambda: lmtt.trace(GRAPH).reading),
    "Routes.source": (lambda: lmtt.trace(GRAPH).source.total, lambda: GRAPH.total),
}


@pytest.mark.parametrize("old", CALLS)
def test_what_was_given_or_read_by_an_old_name_is_taken(old: str) -> None:
    by_old, by_new = CALLS[old]
    expected = by_new()
    with pytest.warns(DeprecationWarning, match=re.escape(f"{old} is now ")) as told:
        got = by_old()
    assert np.array_equal(np.asarray(got), np.asarray(expected))
    assert told[0].filename == __file__


def test_the_graph_of_a_widget_is_found_under_its_old_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(widget, "bundle", dict)
    w = lmtt.explore(lmtt.load_model(zoo.shared(zoo.Case("llama"))), [5, 6, 7])
    with pytest.warns(DeprecationWarning, match=r"^FlowWidget\.flow is now FlowWidget\.opened\.graph") as told:
        assert w.flow is w.opened.graph
    assert told[0].filename == __file__
    w.close()
