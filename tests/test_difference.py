"""Graphs edge by edge: laws that hold whatever the shares are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lmtt_widget import Graph, Model, attribute, load_model, record, trace
from lmtt_widget.difference import aligned, contrast, difference, mean
from lmtt_widget.graph import READ

from . import synthetic, zoo

PROMPT = "When Mary and John went to the store, John gave a drink to"
CASES = [zoo.Case(*c.split()) for c in ("gpt2", "gpt_neox parallel", "falcon_h1", "hrm_text")]
each_case = pytest.mark.parametrize("case", CASES, ids=str)


def two(case: zoo.Case) -> tuple[Graph, Graph]:
    model = load_model(zoo.shared(case))
    one, other = zoo.prompt(), [3, 3, 5, 60, 7, 7, 2]
    return attribute(record(model, one)), attribute(record(model, other), most_keys=4)


def entering(graph: Graph) -> np.ndarray:
    """The sum of the shares of every node: [state, pos]."""
    total = graph.truncated.copy()
    for b in graph.blocks:
        if b.kind != READ:
            total[b.entered] += np.bincount(graph.query[b.edges], graph.share_sum[b.edges], graph.n_tokens)
    return total


@each_case
def test_graphs_in_the_same_columns_say_what_they_said(case: zoo.Case) -> None:
    graphs = two(case)
    same = aligned(graphs)
    assert same[0].blocks == same[1].blocks
    assert np.array_equal(same[0].query, same[1].query)
    assert np.array_equal(same[0].key, same[1].key)
    for graph, there in zip(graphs, same, strict=True):
        assert there.to_dict() == graph.to_dict()
        for encoding in ("flow", "share"):
            ours, theirs = trace(graph, 4, encoding=encoding), trace(there, 4, encoding=encoding)
            assert ours.edges(0.0) == theirs.edges(0.0)
            assert ours.ended == theirs.ended


@each_case
def test_a_difference_turned_round_has_the_other_sign_and_none_is_nothing(case: zoo.Case) -> None:
    one, other = two(case)
    there, back = difference(one, other), difference(other, one)
    np.testing.assert_array_equal(there.change, -back.change)
    assert there.change.any()
    assert not difference(one, one).change.any()
    assert difference(one, one).to_dict() == []
    largest = there.to_dict()[0]
    assert abs(largest["change"]) == pytest.approx(np.abs(there.change).max())
    assert largest["after"] - largest["before"] == largest["change"]


@each_case
def test_the_shares_of_a_mean_sum_to_one_and_lie_between(case: zoo.Case) -> None:
    graphs = two(case)
    found, same = mean(graphs), aligned(graphs)
    np.testing.assert_allclose(entering(found)[1:], 1, atol=1e-6)
    low, high = (f([g.share_sum for g in same], axis=0) for f in (np.min, np.max))
    assert ((found.share_sum >= low) & (found.share_sum <= high)).all()
    routes = trace(found, encoding="flow")
    assert routes.input_share.sum() + sum(routes.ended.values()) == pytest.approx(1, abs=1e-6)


def test_the_mean_of_one_is_itself() -> None:
    graph = synthetic.random_graph(3)
    assert mean([graph]).to_dict() == graph.to_dict()
    assert np.array_equal(mean([graph, graph]).head, graph.head)


def test_what_has_not_the_same_nodes_is_refused() -> None:
    graph = synthetic.random_graph(0)
    with pytest.raises(ValueError, match="need as many tokens, got 7 and 5"):
        difference(graph, synthetic.random_graph(0, n_tokens=5))
    with pytest.raises(ValueError, match="need the same states and parts"):
        difference(graph, replace(graph, parts=graph.parts[:-1]))
    with pytest.raises(ValueError, match="there are no graphs to compare"):
        mean([])


@each_case
def test_a_contrast_keeps_every_share_of_both_prompts(case: zoo.Case) -> None:
    """A longer prompt beside a shorter one: each node still sums to what it did, and its edges are its own."""
    model = load_model(zoo.shared(case))
    ids = zoo.prompt()
    one, other = (attribute(record(model, i)) for i in (ids, [*ids[:3], 60, 61, *ids[3:]]))
    found = contrast(one, other)
    mine, theirs = [0, 1, 2, 5, 6, 7, 8], list(range(9))
    assert [t.id for t in found.after.tokens] == [t.id for t in other.tokens]
    for graph, spread, at in ((one, found.before, mine), (other, found.after, theirs)):
        sums, before = entering(spread), entering(graph)
        np.testing.assert_allclose(sums[:, at], before, atol=1e-6)
        assert not np.delete(sums, at, axis=1).any()
        old = {(e["kind"], e["state"], at[e["query"]], at[e["key"]]): e["share"] for e in graph.to_dict()}
        new = {(e["kind"], e["state"], e["query"], e["key"]): e["share"] for e in spread.to_dict()}
        assert {k: v for k, v in new.items() if v > 0} == {k: v for k, v in old.items() if v > 0}


def test_prompts_of_one_length_are_compared_position_by_position() -> None:
    one, other = two(CASES[0])
    assert np.array_equal(contrast(one, other).change, difference(one, other).change)


def test_an_alignment_is_taken_as_given_or_refused(bundled: Model) -> None:
    one = attribute(record(bundled, PROMPT))
    other = attribute(record(bundled, "When Anna went to the store, John gave a drink to"))
    found = contrast(one, other, [(0, 0), *((k, k - 2) for k in range(4, 14))])
    assert found.before.n_tokens == 14 + 12 - 11
    assert np.isclose(found.before.total.sum(), one.total.sum())
    for bad in ([(1, 1), (0, 0)], [(0, 12)], [(3, 3), (3, 4)]):
        with pytest.raises(ValueError, match="each larger than the last"):
            contrast(one, other, bad)
