"""The flow of a long prompt keeps the heaviest keys of every query, and says what the others had."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from lmtt_widget import attribute, contributions, load_model, record, renormalise, trace
from lmtt_widget.graph import ATTENTION
from lmtt_widget.state import graph_state
from lmtt_widget.wire import unpack

from . import zoo
from .dense import AttentionShare, Dense

N_TOKENS, KEPT = 40, 9


@cache
def flows() -> tuple[Dense, Dense]:
    """(everything, the heaviest keys)"""
    run = record(load_model(zoo.make("falcon_h1")), zoo.prompt(N_TOKENS))
    return Dense(attribute(run)), Dense(attribute(run, most_keys=KEPT))


def test_the_heaviest_keys_keep_their_shares() -> None:
    full, long = flows()
    seen = 0
    for p, q in zip(full.parts, long.parts, strict=True):
        if isinstance(p, AttentionShare):
            seen += 1
            assert isinstance(q, AttentionShare)
            smallest = p.share_sum.topk(KEPT).values[:, -1:]
            kept = (p.share_sum >= smallest) & (p.share_sum > 0)
            for name in ("share_sum", "share_max", "top_head"):
                assert torch.equal(getattr(q, name)[kept], getattr(p, name)[kept])
            assert not q.share_sum[~kept].any()
    assert seen == zoo.N_LAYERS


def test_what_was_left_out_is_reported_and_nothing_is_renormalised() -> None:
    full, long = flows()
    assert not full.truncated.any()
    assert float(long.truncated.max()) > 0.01
    assert torch.equal(full.carried, long.carried)
    total = long.carried + long.truncated
    for part, p in zip(long.run.parts, long.parts, strict=True):
        if p is not None:
            total[part.state] += p.share_sum.sum(1) if isinstance(p, AttentionShare) else p.share
    torch.testing.assert_close(total[1:], (~long.ended[1:]).to(total), atol=1e-6, rtol=0)


def test_nothing_of_size_pairs_is_held() -> None:
    graph = flows()[1].graph
    assert all(b.stop - b.start <= N_TOKENS * KEPT for b in graph.blocks if b.kind == ATTENTION)
    for held in (graph, trace(graph)):
        sizes = [x.size for x in vars(held).values() if isinstance(x, np.ndarray)]
        assert max(sizes) == len(graph.query) < len(graph.blocks) * N_TOKENS * KEPT


@pytest.mark.parametrize(("reading", "encoding"), [("max", "share"), ("sum", "share"), ("max", "flow")])
def test_routes_go_over_what_was_kept(reading: str, encoding: str) -> None:
    full, long = flows()
    a, b = (trace(f.graph, reading=reading, encoding=encoding) for f in (full, long))  # type: ignore[arg-type]
    assert float(b.input_share.sum()) + sum(b.ended.values()) == pytest.approx(1)
    assert b.ended["truncated"] > 0
    assert a.ended["truncated"] == 0
    assert {(e.state, e.query, e.key) for e in b.edges(0.02)} <= {(e.state, e.query, e.key) for e in a.edges(0.02)}
    assert b.coverage(0.0) == pytest.approx(float(b.input_share.sum()))


def test_the_browser_is_told_what_was_left_out() -> None:
    _, long = flows()
    told = unpack(graph_state(long.graph))[2]["truncated"]
    torch.testing.assert_close(torch.tensor(told).double(), long.truncated.double(), atol=2e-3, rtol=2e-3)


def test_renormalising_a_long_flow_divides_what_survives() -> None:
    full, long = flows()
    a, b = (Dense(renormalise(f.graph, 0.05)) for f in (full, long))
    torch.testing.assert_close(a.carried, b.carried)


def test_a_flow_is_cut_by_itself_only_when_its_maps_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    full, _ = flows()
    assert not attribute(full.run).truncated.any()
    monkeypatch.setattr(contributions, "MOST_KEYS", KEPT)
    assert not attribute(full.run).truncated.any()
    monkeypatch.setattr(contributions, "MAPS", 1)
    assert attribute(full.run).truncated.any()
    with pytest.raises(ValueError, match="most_keys must be at least 1, got 0"):
        attribute(full.run, most_keys=0)
