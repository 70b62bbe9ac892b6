"""Routes against a brute-force walk over a list of edges, and against the golden files."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import lmtt_widget as lmtt
from lmtt_widget import Graph, Routes, attribute, inside, record, renormalise, trace
from lmtt_widget.graph import CARRIED

from . import golden, synthetic, zoo
from .dense import AttentionShare, Dense, PartShare, edges
from .synthetic import Entering

CASES = [zoo.Case(*c.split()) for c in ("gpt2", "gpt_neox parallel", "qwen3_next", "falcon_h1", "bloom", "mamba")]
THRESHOLDS = (0.0, 1e-4, 0.003, 0.02, 0.04, 0.1, 0.3)


@cache
def graph_of(name: str) -> Graph:
    if name.startswith("random"):
        return synthetic.random_graph(int(name.split()[1]))
    return attribute(zoo.recorded(next(c for c in CASES if str(c) == name)))


NAMES = [f"random {seed}" for seed in range(5)] + [str(c) for c in CASES]
each_graph = pytest.mark.parametrize("name", NAMES)
each_weight = pytest.mark.parametrize(
    ("reading", "encoding"), [("max", "share"), ("sum", "share"), ("max", "flow")], ids=["max", "sum", "flow"]
)


# ---- the brute-force walk ----

Node = tuple[int, int]  # state, pos


class EdgeOf(NamedTuple):
    entered: Node
    source: Node | None  # None: nothing goes on from there
    share: float
    largest: float
    name: tuple[int | None, int, int]  # part, query, key


def edges_of(graph: Graph) -> list[EdgeOf]:
    """Every edge of positive share; an MLP's two edges are one."""
    flow, n_tokens = Dense(graph), graph.n_tokens
    found = []
    for index, s in enumerate(graph.states[1:], 1):
        for pos in range(n_tokens):
            share = float(flow.carried[index, pos])
            assert s.carried is not None
            found.append(EdgeOf((index, pos), (s.carried, pos), share, share, (None, pos, index)))
    for part, p in zip(graph.parts, flow.parts, strict=False):
        k = part.number
        if isinstance(p, AttentionShare):
            for query in range(n_tokens):
                for key in range(n_tokens):
                    both = float(p.share_sum[query, key]), float(p.share_max[query, key])
                    found.append(EdgeOf((part.state, query), (part.reads, key), *both, (k, query, key)))
        elif isinstance(p, PartShare):
            for pos in range(n_tokens):
                share = float(p.share[pos])
                source = (part.reads, pos) if part.kind == "mlp" else None
                found.append(EdgeOf((part.state, pos), source, share, share, (k, pos, pos)))
    return [e for e in found if e.share > 0]


def flows_by_paths(edges: list[EdgeOf], top: Node) -> dict[tuple[Any, ...], float]:
    """Flow of every edge: the sum over all paths from the target down to it."""
    above: dict[Node, list[EdgeOf]] = {}
    for e in edges:
        if e.source is not None:
            above.setdefault(e.source, []).append(e)

    @cache
    def arriving(node: Node) -> float:
        return float(node == top) + sum(e.share * arriving(e.entered) for e in above.get(node, []))

    return {e.name: e.share * arriving(e.entered) for e in edges}


def walk(edges: list[EdgeOf], top: Node, weight: dict[tuple[Any, ...], float], threshold: float) -> list[EdgeOf]:
    """Top-down extraction: keep what passes of each node reached, go on from its sources."""
    entering: dict[Node, list[EdgeOf]] = {}
    for e in edges:
        entering.setdefault(e.entered, []).append(e)
    kept, seen, stack = [], {top}, [top]
    while stack:
        for e in entering.get(stack.pop(), []):
            if weight[e.name] > threshold:
                kept.append(e)
                if e.source is not None and e.source not in seen:
                    seen.add(e.source)
                    stack.append(e.source)
    return kept


def weights_of(edges: list[EdgeOf], top: Node, reading: str, encoding: str) -> dict[tuple[Any, ...], float]:
    if encoding == "flow":
        return flows_by_paths(edges, top)
    return {e.name: e.largest if reading == "max" else e.share for e in edges}


def name_of(edge: Any) -> tuple[int | None, int, int]:
    return (edge.part, edge.query, edge.state if edge.part is None else edge.key)


# ---- laws ----


@each_weight
@each_graph
def test_drawn_edges_are_those_that_top_down_extraction_reaches(name: str, reading: Any, encoding: Any) -> None:
    graph = graph_of(name)
    edges = edges_of(graph)
    for target in (-1, 0, 3):
        top = (len(graph.states) - 1, target % graph.n_tokens)
        routes = trace(graph, target, reading=reading, encoding=encoding)
        weight = weights_of(edges, top, reading, encoding)
        for threshold in THRESHOLDS:
            if any(abs(w - threshold) < 1e-12 for w in weight.values()):
                continue
            drawn = routes.edges(threshold)
            assert {name_of(e) for e in drawn} == {e.name for e in walk(edges, top, weight, threshold)}
            assert [e.strength for e in drawn] == sorted((e.strength for e in drawn), reverse=True)


@each_weight
@each_graph
def test_coverage_is_the_sum_over_paths_of_drawn_edges(name: str, reading: Any, encoding: Any) -> None:
    graph = graph_of(name)
    edges = edges_of(graph)
    top = (len(graph.states) - 1, graph.n_tokens - 1)
    routes = trace(graph, reading=reading, encoding=encoding)
    weight = weights_of(edges, top, reading, encoding)
    covered = []
    for threshold in THRESHOLDS:
        drawn = walk(edges, top, weight, threshold)
        moved = flows_by_paths(drawn, top)
        expected = sum(moved[e.name] for e in drawn if e.source is not None and e.source[0] == 0)
        covered.append(routes.coverage(threshold))
        assert covered[-1] == pytest.approx(expected, abs=1e-9)
    assert covered == sorted(covered, reverse=True)
    assert covered[0] == pytest.approx(float(routes.input_share.sum()), abs=1e-9)


@each_graph
def test_flow_of_an_edge_is_the_sum_over_paths_to_it(name: str) -> None:
    graph = graph_of(name)
    all_edges, routes = edges_of(graph), trace(graph, 4)
    moved = flows_by_paths(all_edges, (len(graph.states) - 1, 4))
    flow = {part.number: edges(graph, part.number, routes.flow) for part in graph.parts}
    carried = {b.entered: routes.flow[b.edges] for b in graph.blocks if b.kind == CARRIED}
    for edge in all_edges:
        part, query, key = edge.name
        if part is None:
            got = carried[edge.entered[0]][edge.entered[1]]
        else:
            got = flow[part][query, key] if flow[part].ndim == 2 else flow[part][query]
        assert float(got) == pytest.approx(moved[edge.name], abs=1e-12)


@pytest.mark.parametrize("case", zoo.cases(), ids=str)
def test_flow_is_conserved(case: zoo.Case) -> None:
    graph = attribute(zoo.recorded(case))
    for target in (-1, 2):
        routes = trace(graph, target)
        assert float(routes.input_share.sum()) + sum(routes.ended.values()) == pytest.approx(1, abs=1e-6)
        assert not routes.input_share[target % 7 + 1 :].any()
        has_mixer = any(p.kind == "mixer" for p in graph.parts)
        assert (routes.ended["mixer"] > 0) == has_mixer
        assert routes.ended["constants"] == routes.ended["truncated"] == 0


@pytest.mark.parametrize("seed", range(5))
def test_flow_is_conserved_where_nodes_end(seed: int) -> None:
    graph = synthetic.random_graph(seed)
    for target in range(7):
        routes = trace(graph, target)
        assert float(routes.input_share.sum()) + sum(routes.ended.values()) == pytest.approx(1, abs=1e-12)
    assert graph.ended.any()


def test_constants_end_flow_where_they_have_shares() -> None:
    routes = trace(attribute(zoo.recorded(zoo.Case("openai-gpt")), bias_part=True))
    assert routes.ended["constants"] > 0
    assert float(routes.input_share.sum()) + sum(routes.ended.values()) == pytest.approx(1, abs=1e-9)


@each_weight
@each_graph
def test_the_automatic_threshold_draws_the_budget(name: str, reading: Any, encoding: Any) -> None:
    routes = trace(graph_of(name), reading=reading, encoding=encoding)
    n = len(routes.attention_strengths())
    for budget in {1, 5, 17, n - 1, n} - {0, -1}:
        threshold = routes.automatic_threshold(budget)
        drawn = sum(e.kind == "attention" for e in routes.edges(threshold))
        if n <= budget:
            assert threshold == 0
            assert drawn == n
        else:  # behind a bottleneck many edges have one strength, and are drawn all or not at all
            assert drawn <= budget
            assert drawn + sum(float(s) == threshold for s in routes.attention_strengths()) >= budget + 1


@each_graph
def test_the_automatic_threshold_is_the_highest_that_explains(name: str) -> None:
    """Against every threshold there is, tried one by one."""
    routes = trace(graph_of(name), encoding="flow")
    wanted = 0.8 * (1 - sum(flow for cause, flow in routes.ended.items() if cause != "truncated")) - 1e-9
    ladder = [*routes.attention_strengths(), 0.0]
    explaining = [t for n, t in enumerate(ladder) if n >= 8 and routes.coverage(t) >= wanted]
    assert routes.automatic_threshold() == pytest.approx(explaining[0] if explaining else 0.0, rel=1e-6)


@pytest.mark.parametrize("n_tokens", [14, 40, 100, 300])
def test_the_automatic_threshold_explains_four_fifths_of_the_bundled_models_predictions(n_tokens: int) -> None:
    model = lmtt.bundled_model()
    assert model.tokenizer is not None
    ids = model.tokenizer("When Mary and John went to the store, John gave a drink to. " * 22)["input_ids"]
    routes = trace(attribute(record(model, ids[:n_tokens])), encoding="flow")
    assert routes.coverage(routes.automatic_threshold()) >= 0.8


@each_graph
def test_a_lower_threshold_keeps_what_a_higher_one_draws(name: str) -> None:
    routes = trace(graph_of(name), encoding="flow")
    drawn = [{name_of(e) for e in routes.edges(threshold)} for threshold in THRESHOLDS]
    assert all(higher <= lower for lower, higher in pairwise(drawn))


def test_two_heads_that_pass_together_pass_only_when_summed() -> None:
    heads = torch.zeros(2, 2, 2, dtype=torch.float64)
    heads[:, 1, 0], heads[0, 1, 1] = 0.03, 0.30
    heads[:, 0, 0] = 0.5
    graph = synthetic.graph(
        torch.tensor([[0, 0], [0, 0.64]], dtype=torch.float64), [(0, [Entering("attention", 0, heads)])]
    )
    for reading, keys in (("sum", {0, 1}), ("max", {1})):
        routes = trace(graph, 1, reading=reading)  # type: ignore[arg-type]
        assert {e.key for e in routes.edges(0.04) if e.kind == "attention"} == keys


def test_an_mlp_passes_on_what_reaches_it_and_a_mixer_does_not() -> None:
    share = torch.tensor([0.25], dtype=torch.float64)
    carried = torch.tensor([[0], [1], [0.75]], dtype=torch.float64)
    for kind, arrives in (("mlp", 1.0), ("mixer", 0.75)):
        routes = trace(synthetic.graph(carried, [(0, []), (1, [Entering(kind, 1, share)])]))
        assert float(routes.input_share.sum()) == arrives
        assert routes.ended["mixer"] == 1 - arrives


def test_a_wrong_target_reading_or_encoding_is_refused() -> None:
    graph = synthetic.random_graph(0)
    with pytest.raises(ValueError, match=r"target must be in 0\.\.6 \(or -1 for the last\), got 7"):
        trace(graph, 7)
    with pytest.raises(ValueError, match=r"got -8"):
        trace(graph, -8)
    with pytest.raises(ValueError, match=r'reading must be "max" or "sum", got \'mean\''):
        trace(graph, reading="mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r'encoding must be "flow" or "share" or "effect", got \'weight\''):
        trace(graph, encoding="weight")


def test_targets_count_from_the_end_too() -> None:
    graph = synthetic.random_graph(1)
    assert trace(graph, -2).target == 5
    assert np.array_equal(trace(graph, -2).node_flow, trace(graph, 5).node_flow)


# ---- golden files ----


def golden_edges(routes: Routes, threshold: float) -> dict[tuple[str, str, str], float]:
    """Drawn edges by the file's names: X0 embedding, A resid_mid, M MLP, I resid_post; then layer and token."""
    run = routes.graph.run

    def node(state: int, pos: int) -> str:
        s = run.states[state]
        letter = "X" if state == 0 else "A" if s is run.view("resid_mid", s.layer or 0) else "I"
        return f"{letter}{s.layer or 0}_{pos}"

    found = {}
    for e in routes.edges(threshold):
        entered = node(e.state, e.query)
        if e.kind == "mlp":
            assert e.part is not None
            square = f"M{run.parts[e.part].layer}_{e.query}"
            found[node(run.parts[e.part].reads, e.query), square, ""] = e.share
            found[square, entered, ""] = e.share
        elif e.kind == "carried":
            kind = "resid" if entered[0] == "A" else ""
            found[node(run.states[e.state].carried or 0, e.key), entered, kind] = e.share
        else:
            assert e.part is not None
            found[node(run.parts[e.part].reads, e.key), entered, "attn"] = e.share
    return found


def golden_cases() -> list[Any]:
    return [
        pytest.param(name, key, id=f"{name} {key}")
        for name in ("gpt2_sin", "gpt2_heads")
        for key in golden.values(name)["routes_to_last_position"]
    ]


@pytest.mark.parametrize(("name", "key"), golden_cases())
def test_golden_routes(name: str, key: str) -> None:
    expected = golden.values(name)["routes_to_last_position"][key]
    heads, tau = (word.split("=")[1] for word in key.split())
    graph, threshold = attribute(golden.run(name)), float(tau)
    if heads == "max":
        found = golden_edges(trace(renormalise(graph, threshold), reading="max"), 0.0)
        connected = golden_edges(trace(graph, reading="max"), threshold)
        assert found.keys() == connected.keys()
    else:
        found = golden_edges(trace(graph, reading="sum"), threshold)
    assert sorted({n for source, entered, _ in found for n in (source, entered)}) == expected["nodes"]
    assert len(found) == expected.get("n_edges", len(found))
    for source, entered, weight, *kind in expected.get("edges", []):
        assert found.pop((source, entered, kind[0] if kind else "")) == pytest.approx(weight, abs=1e-9)
    assert not found or "edges" not in expected


def test_golden_flow() -> None:
    expected = golden.values("gpt2_heads")["flow_to_last_position"]
    graph = attribute(golden.run("gpt2_heads"))
    routes, run = trace(graph, encoding="flow"), graph.run
    np.testing.assert_allclose(routes.input_share, expected["input_share"], atol=1e-9, rtol=0)
    parts = [k for k, p in enumerate(run.parts) if p.kind == "attention"]
    full = torch.zeros(len(parts), run.n_tokens, run.n_tokens, dtype=torch.float64)
    for layer, query, key, amount in expected["edges"]:
        full[layer, query, key] = amount
    for layer, k in enumerate(parts):
        torch.testing.assert_close(edges(graph, k, routes.flow), full[layer], atol=1e-9, rtol=0)


def test_golden_toy_of_the_two_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    toy = golden.values("gpt2_sin")["toy_threshold"]
    given = toy["input"]

    def column(name: str) -> Tensor:
        return torch.tensor(given[name], dtype=torch.float64)

    heads = column("att[query][key][head]").permute(2, 0, 1)
    nothing = torch.zeros(2, dtype=torch.float64)
    carried = torch.stack([nothing, column("resid_attn"), column("resid_ffn")])
    parts = [(0, [Entering("attention", 0, heads)]), (1, [Entering("mlp", 1, column("ffn"))])]
    graph = synthetic.graph(carried, parts)
    graph = replace(graph, run=SimpleNamespace(parts=[None]), head_sum=np.zeros((2, len(heads), 2)))
    monkeypatch.setattr(inside, "head_shares", lambda run, part, query, **_: heads[:, query])
    names = {0: "X0", 1: "A0", 2: "I0"}
    for heads_key, reading in (("heads=sum", "sum"), ("heads=max", "max")):
        expected = {tuple(e[:2] + e[3:]): e[2] for e in toy[heads_key]["edges"]}
        if reading == "max":
            edges = trace(renormalise(graph, given["tau"]), given["target"], reading="max").edges(0)
        else:
            edges = trace(graph, given["target"], reading="sum").edges(given["tau"])
        found = {}
        for e in edges:
            source = names[e.state - 1 if e.kind != "attention" else 0]
            kind = ("attn",) if e.kind == "attention" else ("resid",) if e.state == 1 else ()
            found[(f"{source}_{e.key}", f"{names[e.state]}_{e.query}", *kind)] = e.share
        assert found == pytest.approx(expected)
        assert sorted({n for key in found for n in key[:2]}) == toy[heads_key]["nodes"]
