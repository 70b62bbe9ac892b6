"""Routes as the graph that circuit-tracer's viewer opens (github.com/safety-research/circuit-tracer, MIT).

Knows nothing of torch, of a model, of pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .given import of_kind, told
from .graph import Graph
from .routes import Edge, Routes

_STATE, _SCHEMA = "residual state", 1


def circuit_graph(routes: Routes, threshold: float | None = None, *, slug: str = "information-flow") -> dict[str, Any]:
    """The drawn routes in the form of circuit-tracer's graph files, for its viewer; write it with json.dump.

    Its nodes are tokens ("embedding"), the prediction at the target ("logit"), and states of the residual stream in
    between, which have a feature type of their own, "residual state": its layer, its number as the feature. A link's
    weight is the share of the state it enters; what two edges bring from one state (the carried state and a head that
    looks at its own token) is one link. What ends in a mixer has none. A node's influence is the flow of all nodes that
    have no less, of all there is. threshold: as in `Routes.edges`; None: the automatic one. (Ameisen et al. 2025,
    Circuit Tracing; Ferrando & Voita 2024, arXiv:2403.00824)

        >>> found = lmtt.circuit_graph(lmtt.trace(graph, encoding="flow"))
        >>> sorted(found)
        ['links', 'metadata', 'nodes', 'qParams']
        >>> found["nodes"][-1]["clerp"]
        'Output "·Mary" (p=1.000)'
    """
    of_kind(routes, Routes, "routes", "trace(graph) makes some")
    if not isinstance(slug, str):
        raise TypeError(f"slug must be the name of the graph, a text, got {told(slug)}")
    g = routes.graph
    edges = routes.edges(routes.drawn_threshold(threshold))
    top = (len(g.states) - 1, routes.target)
    weights: dict[tuple[tuple[int, int], tuple[int, int]], float] = {}
    for e in edges:
        if (source := _source(g, e)) is not None:
            link = source, (e.state, e.query)
            weights[link] = weights.get(link, 0.0) + e.share
    drawn = sorted({node for link in weights for node in link} | {top})
    influence = _influence(routes, drawn)
    nodes = [_node(g, *node, influence[node]) for node in drawn] + [_logit(g, routes.target)]
    links = [{"source": _id(g, *a), "target": _id(g, *b), "weight": w} for (a, b), w in weights.items()]
    links.append({"source": _id(g, *top), "target": nodes[-1]["node_id"], "weight": 1.0})
    tokens = [t.text for t in g.tokens]
    metadata = {
        "slug": slug, "scan": str(g.facts.model.get("name", "")), "transcoder_list": [], "prompt_tokens": tokens,
        "prompt": "".join(tokens), "node_threshold": None, "schema_version": _SCHEMA,
    }  # fmt: skip
    shown = {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""}
    return {"metadata": metadata, "qParams": shown, "nodes": nodes, "links": links}


def _source(g: Graph, e: Edge) -> tuple[int, int] | None:
    """The state and position that an edge comes from; None where what it brings ends."""
    if e.part is None:
        carried = g.states[e.state].carried
        return None if carried is None else (carried, e.key)
    part = g.parts[e.part]
    return (part.reads, e.key) if part.goes_on else None


def _influence(routes: Routes, drawn: list[tuple[int, int]]) -> dict[tuple[int, int], float]:
    flows = np.array([routes.node_flow[node] for node in drawn])
    order = np.argsort(-flows, kind="stable")
    summed = np.cumsum(flows[order]) / max(float(flows.sum()), 1e-30)
    return {drawn[i]: float(x) for i, x in zip(order.tolist(), summed, strict=True)}


def _id(g: Graph, state: int, pos: int) -> str:
    return f"E_{g.tokens[pos].id}_{pos}" if state == 0 else f"{g.states[state].layer or 0}_{state}_{pos}"


def _node(g: Graph, state: int, pos: int, influence: float) -> dict[str, Any]:
    facts, name = g.states[state], _id(g, state, pos)
    said = {"node_id": name, "jsNodeId": name, "ctx_idx": pos, "influence": influence}
    if state == 0:
        return _filled(said | {"feature": pos, "layer": "E", "feature_type": "embedding", "clerp": g.tokens[pos].text})
    layer = facts.layer or 0
    return _filled(
        said | {"feature": state, "layer": str(layer), "feature_type": _STATE, "clerp": f"{facts.name}, layer {layer}"}
    )


def _logit(g: Graph, pos: int) -> dict[str, Any]:
    token, p = int(g.facts.next_id[pos, 0]), float(g.facts.next_p[pos, 0])
    layer = str(max(s.layer or 0 for s in g.states) + 2)  # the viewer keeps a row between the last layer and the logits
    text = g.facts.vocabulary[token]
    return _filled({
        "node_id": f"{layer}_{token}_{pos}", "jsNodeId": f"L_{token}-{pos}", "feature": token, "layer": layer,
        "ctx_idx": pos, "feature_type": "logit", "token_prob": p, "is_target_logit": True, "influence": None,
        "clerp": f'Output "{text}" (p={p:.3f})',
    })  # fmt: skip


def _filled(said: dict[str, Any]) -> dict[str, Any]:
    usual = {"token_prob": 0.0, "is_target_logit": False, "run_idx": 0, "reverse_ctx_idx": 0, "activation": None}
    return usual | said
