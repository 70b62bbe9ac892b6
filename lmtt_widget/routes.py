"""Which edges reach the target: strength at every threshold, flow along paths.

Both are one scan over the blocks of edges from the top down. The same two scans are in js/src/core/routes.ts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from .earlier import renamed, told
from .encodings import Lines, encoding_of
from .given import integer, number, of_kind, one_of, place
from .graph import ATTENTION, CARRIED, PART, READ, SHARED, Graph

Reading = Literal["max", "sum"]

EXPLAINED = 0.8  # of the flow that tokens can have, carried by the lines that are drawn when the threshold is automatic
FEWEST, PLAIN, MOST = 8, 80, 1_000  # of them; PLAIN and two a layer and a token is enough to see through


@dataclass(frozen=True)
class Edge:
    """One drawn edge; `part` is its number, None for the carried state."""

    kind: str
    state: int  # the state entered
    query: int
    key: int
    part: int | None
    share: float
    flow: float
    strength: float


@dataclass(frozen=True, eq=False)
class Routes:
    """The routes into one target, in the graph's columns; `strength > t` is the connected route at t, for all t.

    >>> routes = lmtt.trace(graph, encoding="flow")
    >>> routes.edges(0.2)[0].kind
    'carried'
    """

    graph: Graph
    target: int
    reading: Reading
    encoding: str
    strength: np.ndarray  # [edge]
    flow: np.ndarray  # [edge]
    node_strength: np.ndarray  # [row, pos]: states, then squares; of the strongest edge that leaves the node upward
    node_flow: np.ndarray  # [row, pos], the target's is 1
    ended: dict[str, float]  # cause -> flow that reaches no token: "mixer", "no parts", "constants", "truncated"

    @property
    def input_share(self) -> np.ndarray:
        """The flow that reaches each token's embedding: [pos]. With `ended` it sums to 1."""
        return self.node_flow[0]

    @property
    def heads(self) -> Reading:
        """The old name of `reading`."""
        told("Routes.heads", "Routes.reading")
        return self.reading

    @property
    def source(self) -> Graph:
        """The old name of `graph`."""
        told("Routes.source", "Routes.graph")
        return self.graph

    @property
    def head_flow(self) -> np.ndarray:
        """The flow that each head carries, of all its queries: [part, head]; 0 where a part has no such head.

        Of an opened graph, which knows no heads, the second axis is empty.
        """
        g = self.graph
        entered = self.node_flow[[p.state for p in g.parts]].reshape(len(g.parts), g.n_tokens)
        return np.einsum("phq,pq->ph", g.head_sum, entered)

    def attention_strengths(self) -> np.ndarray:
        """The strength of every attention edge that reaches the target, strongest first."""
        return np.sort(self._attention_strengths())[::-1]

    def automatic_threshold(self, budget: int | None = None) -> float:
        """The threshold with the fewest attention edges, but 8, that carry 80 % of the flow that tokens can have.

        No more than 80, two a layer and two a token, at most 1,000. budget: so many edges instead; 0 if there are no
        more.
        """
        if budget is None:
            return self._explaining()
        strengths, budget = self._attention_strengths(), integer(budget, "budget", 0)
        if len(strengths) <= budget:
            return 0.0
        return float(np.partition(strengths, -budget - 1)[-budget - 1])

    def _explaining(self) -> float:
        g, strengths = self.graph, self.attention_strengths()
        layers = len({state.layer for state in g.states if state.layer is not None})
        fewest, most = FEWEST, min(MOST, PLAIN + 2 * layers + 2 * g.n_tokens)
        wanted = EXPLAINED * self.reachable
        while fewest < most:  # coverage grows with the edges
            n = (fewest + most) // 2
            if self.coverage(_nth(strengths, n)) >= wanted:
                most = n
            else:
                fewest = n + 1
        return _nth(strengths, fewest)

    @property
    def reachable(self) -> float:
        """The flow that could reach tokens: all of it but what ends in mixers, constants and states nothing enters."""
        return float(self.input_share.sum()) + self.ended["truncated"]

    def drawn_threshold(self, threshold: float | None = None) -> float:
        """The threshold in use: the one given, or the one that the encoding chooses by itself."""
        if threshold is None:
            threshold = encoding_of(self.encoding).automatic
        return self.automatic_threshold() if threshold is None else threshold

    def _attention_strengths(self) -> np.ndarray:
        found = [self.strength[b.edges] for b in self.graph.blocks if b.kind == ATTENTION]
        return np.concatenate([x[x > 0] for x in found] or [np.zeros(0)])

    def coverage(self, threshold: float) -> float:
        """The part of the target's flow that reaches the embedding through drawn edges only, not renormalised."""
        g, reach, threshold = self.graph, np.zeros_like(self.node_flow), number(threshold, "threshold")
        reach[len(g.states) - 1, self.target] = 1
        for b in reversed(g.blocks):
            drawn = b.start + np.flatnonzero(self.strength[b.edges] > threshold)
            moved = g.share_sum[drawn] * reach[b.entered, g.query[drawn]]
            reach[b.source] += np.bincount(g.key[drawn], moved, g.n_tokens)
        return float(reach[0].sum())

    def edges(self, threshold: float) -> list[Edge]:
        """The drawn edges, strongest first; an MLP's two edges are one here."""
        g, found, threshold = self.graph, [], number(threshold, "threshold")
        for b in sorted((b for b in g.blocks if b.kind != READ), key=lambda b: b.kind != CARRIED):
            kind, part = ("carried", None) if b.kind == CARRIED else (g.parts[b.part].kind, b.part)
            at = b.start + np.flatnonzero(self.strength[b.edges] > threshold)
            columns = (x[at].tolist() for x in (g.query, g.key, g.share_sum, self.flow, self.strength))
            found += [Edge(kind, b.entered, q, k, part, *numbers) for q, k, *numbers in zip(*columns, strict=True)]
        return sorted(found, key=lambda e: -e.strength)

    def to_dict(self, threshold: float | None = None) -> list[dict[str, Any]]:
        """One record for every drawn edge, strongest first, ready for a data frame; None is the automatic threshold."""
        threshold = self.automatic_threshold() if threshold is None else threshold
        return [asdict(edge) for edge in self.edges(threshold)]

    def __repr__(self) -> str:
        tokens, most = self.graph.tokens, np.argsort(-self.input_share, kind="stable")[:3].tolist()
        words = ", ".join(f"{tokens[i].text!r} {self.input_share[i]:.0%}" for i in most)
        return f"Routes(to {tokens[self.target].text!r} at {self.target}, from {words})"


def _nth(strengths: np.ndarray, n: int) -> float:
    """The threshold above which the n strongest are drawn."""
    return float(strengths[n]) if n < len(strengths) else 0.0


@renamed(heads="reading")
def trace(graph: Graph, target: int = -1, *, reading: Reading = "max", encoding: str = "share") -> Routes:
    """The strength and the flow of every edge on the way to one target position in the last state.

    flow(edge) = share(edge) x flow(node entered); flow(target) = 1.
    strength(edge) = min(own weight, strength(node entered)), a node's being the largest among the edges that leave it
    upward. The weight is the share (reading: of the one head with the largest, "max", or summed over heads, "sum") or,
    with encoding="flow", the flow. An MLP passes what reaches it on to the state it read; at a mixer, which has no key
    axis, flow ends.

    Raises ValueError if the target is out of range. (Ferrando & Voita 2024, arXiv:2403.00824, top-down extraction.)

        >>> routes = lmtt.trace(graph, encoding="flow")
        >>> round(float(routes.input_share.sum()) + sum(routes.ended.values()), 5)
        1.0
    """
    of_kind(graph, Graph, "graph", SHARED)
    n_tokens, top = graph.n_tokens, len(graph.states) - 1
    target = place(target, n_tokens, "target")
    one_of(reading, ("max", "sum"), "reading")
    weigh = encoding_of(encoding).weight
    node_flow = np.zeros((graph.n_rows, n_tokens))
    node_strength = np.zeros_like(node_flow, graph.share_sum.dtype)
    node_strength[top, target], node_flow[top, target] = np.inf, 1
    strength, flow = np.zeros_like(graph.share_sum), np.zeros_like(graph.share_sum)
    for b in reversed(graph.blocks):
        e = b.edges
        through, here = (x[b.entered] for x in (node_flow, node_strength))
        if b.kind == ATTENTION:
            query, key = graph.query[e], graph.key[e]
            flow[e] = graph.share_sum[e] * through[query]
            strength[e] = np.minimum(weigh(Lines(graph, e, flow[e], reading)), here[query])
            np.maximum.at(node_strength[b.source], key, strength[e])
            node_flow[b.source] += np.bincount(key, flow[e], n_tokens)
        else:  # one edge at every position
            flow[e] = graph.share_sum[e] * through
            strength[e] = here if b.kind == READ else np.minimum(weigh(Lines(graph, e, flow[e], reading)), here)
            np.maximum(node_strength[b.source], strength[e], out=node_strength[b.source])
            node_flow[b.source] += flow[e]
    return Routes(graph, target, reading, encoding, strength, flow, node_strength, node_flow, _ended(graph, node_flow))


def _ended(graph: Graph, node_flow: np.ndarray) -> dict[str, float]:
    """The flow that reaches no token, by cause."""
    states = node_flow[: len(graph.states)]
    ended = {"mixer": 0.0, "no parts": float(states[graph.ended].sum()), "constants": 0.0}
    ended["truncated"] = float((states * graph.truncated).sum())
    for b in graph.blocks:
        if b.kind == PART and not graph.parts[b.part].goes_on:
            ended["mixer" if graph.parts[b.part].kind == "mixer" else "constants"] += float(node_flow[b.source].sum())
    for part in graph.parts:
        ended["constants"] += float((graph.constant[part.number] * states[part.state]).sum())
    return ended
