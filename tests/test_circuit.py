"""The routes in the form of circuit-tracer's graph files: its fields, its identifiers, and our shares on the links."""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np
import pytest

import lmtt_widget as lmtt

from . import zoo

FIELDS = {  # of a node, as circuit_tracer/frontend/graph_models.py declares them, with their types
    "node_id": str, "feature": int, "layer": str, "ctx_idx": int, "feature_type": str, "token_prob": float,
    "is_target_logit": bool, "run_idx": int, "reverse_ctx_idx": int, "jsNodeId": str, "clerp": str,
    "influence": (float, type(None)), "activation": (float, type(None)),
}  # fmt: skip


@pytest.fixture(scope="module", params=["llama", "gpt_neox", "mamba"])
def routes(request: pytest.FixtureRequest) -> lmtt.Routes:
    """Of a sequential, a parallel, and a model of mixers."""
    return lmtt.trace(lmtt.attribute(zoo.recorded(zoo.Case(request.param))), 5)


def test_a_file_has_the_fields_of_the_viewer_and_every_link_its_two_nodes(routes: lmtt.Routes) -> None:
    found = json.loads(json.dumps(lmtt.circuit_graph(routes, 0.01), allow_nan=False))
    ids = [n["node_id"] for n in found["nodes"]]
    assert len(set(ids)) == len(ids)
    for node in found["nodes"]:
        assert node.keys() == FIELDS.keys()
        assert all(isinstance(node[name], of) for name, of in FIELDS.items())
    links = [(link["source"], link["target"]) for link in found["links"]]
    assert len(set(links)) == len(links)
    assert {node for link in links for node in link} <= set(ids)
    assert found["metadata"]["prompt_tokens"] == [t.text for t in routes.graph.tokens]
    assert {n["feature_type"] for n in found["nodes"]} <= {"embedding", "logit", "residual state"}
    (logit,) = [n for n in found["nodes"] if n["is_target_logit"]]
    assert (logit["ctx_idx"], logit["token_prob"]) == (5, pytest.approx(float(routes.graph.facts.next_p[5, 0])))


def test_at_threshold_0_what_enters_a_state_is_all_of_it_but_what_ends(routes: lmtt.Routes) -> None:
    found = lmtt.circuit_graph(routes, 0)
    g = routes.graph
    entering: dict[str, float] = defaultdict(float)
    for link in found["links"]:
        entering[link["target"]] += link["weight"]
    for node in found["nodes"]:
        if node["feature_type"] == "residual state":
            state, pos = node["feature"], node["ctx_idx"]
            mixers = sum(float(g.share(p.number)[pos]) for p in g.parts if p.state == state and not p.goes_on)
            assert entering[node["node_id"]] == pytest.approx(1 - mixers, abs=1e-5)
    influence = np.array([n["influence"] for n in found["nodes"] if n["influence"] is not None])
    assert influence.max() == pytest.approx(1)
    assert (influence > 0).all()
