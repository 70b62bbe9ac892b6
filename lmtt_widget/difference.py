"""Several graphs edge by edge: in the same columns, their mean, and how two of them differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .given import of_kind, told
from .graph import ATTENTION, PART, SHARED, Block, Graph, Table

_COLUMNS = ("share_sum", "share_max", "head")


@dataclass(frozen=True, eq=False)
class Difference:
    """Two graphs in the same columns, so that a number of one stands beside the same edge's of the other."""

    before: Graph
    after: Graph

    @property
    def change(self) -> np.ndarray:
        """How much larger each edge's share is after: [edge]."""
        return self.after.share_sum - self.before.share_sum

    def to_dict(self, smallest: float = 0.0) -> list[dict[str, Any]]:
        """One record for every edge whose share changes by more than `smallest`, largest change first."""
        # A record is made of every edge, also of one that has no share in one of the two.
        before, after = (graph.to_dict(-1.0) for graph in (self.before, self.after))
        place = ("kind", "layer", "state", "query", "key")
        records = [
            {name: a[name] for name in place}
            | {"before": b["share"], "after": a["share"], "change": a["share"] - b["share"]}
            for b, a in zip(before, after, strict=True)
        ]
        return sorted((r for r in records if abs(r["change"]) > smallest), key=lambda r: -abs(r["change"]))


def difference(graph: Graph, other: Graph) -> Difference:
    """What is larger and smaller in the other graph. Raises ValueError for graphs that have not the same nodes."""
    return Difference(*aligned([graph, other]))


def mean(graphs: Sequence[Graph]) -> Graph:
    """The mean of every share over several prompts of one length; the top head is the one of the largest share.

    Its tokens and predictions are those of the first. Raises ValueError for no graphs, or without the same nodes.
    """
    same = aligned(graphs)
    names = ("share_sum", "share_max", "truncated", "error", "total", "constant", "head_sum")
    columns = {
        name: np.mean([getattr(g, name) for g in same], axis=0).astype(same[0].share_sum.dtype) for name in names
    }
    largest = np.argmax([g.share_max for g in same], axis=0)
    head = np.array([g.head for g in same])[largest, np.arange(len(largest))]
    ended = np.logical_and.reduce([g.ended for g in same])
    return replace(same[0], **columns, head=head, ended=ended, run=None)


def aligned(graphs: Sequence[Graph]) -> list[Graph]:
    """The graphs with the edges of all of them, in the same columns; an edge that one has not has the share 0 there.

    Raises ValueError for no graphs, or for graphs that have not the same positions, states and parts.
    """
    if not isinstance(graphs, (list, tuple)):
        raise TypeError(f"graphs must be a list of graphs ({SHARED}), got {told(graphs)}")
    if not graphs:
        raise ValueError("there are no graphs to compare")
    for graph in graphs:
        of_kind(graph, Graph, "each graph", SHARED)
    first = graphs[0]
    for other in graphs[1:]:
        if other.n_tokens != first.n_tokens:
            raise ValueError(
                f"graphs are compared position by position, so their prompts need as many tokens, got "
                f"{first.n_tokens} and {other.n_tokens}"
            )
        if _shape(other) != _shape(first):
            raise ValueError("graphs are compared part by part, so they need the same states and parts")
    most = sum(len(g.query) for g in graphs)
    tables = [Table(g.n_tokens, len(g.states), g.parts, most, g.share_sum.dtype) for g in graphs]
    for blocks in zip(*(g.blocks for g in graphs), strict=True):
        if blocks[0].kind == ATTENTION:
            _add_union(graphs, blocks, tables)
        else:
            for graph, b, table in zip(graphs, blocks, tables, strict=True):
                _add_same(graph, b, table)
    return [replace(g, **t.filled()) for g, t in zip(graphs, tables, strict=True)]


def _shape(graph: Graph) -> Any:
    return graph.states, [(p.kind, p.state, p.reads, p.n_heads) for p in graph.parts]


def _add_same(graph: Graph, b: Block, table: Table) -> None:
    """A block with one edge at every position; the edges into a square come with those that leave it."""
    if b.kind == PART:
        table.part(graph.parts[b.part], graph.share_sum[b.edges])
    elif b.part < 0:
        table.carried(b.source, b.entered, graph.share_sum[b.edges])


def _add_union(graphs: Sequence[Graph], blocks: Sequence[Block], tables: Sequence[Table]) -> None:
    """The edges that an attention part has in any of the graphs."""
    n = graphs[0].n_tokens
    own = [g.query[b.edges].astype(np.int64) * n + g.key[b.edges] for g, b in zip(graphs, blocks, strict=True)]
    union = np.unique(np.concatenate(own))
    for graph, b, pairs, table in zip(graphs, blocks, own, tables, strict=True):
        at = np.searchsorted(union, pairs)
        columns = []
        for name in _COLUMNS:
            column = getattr(graph, name)
            columns.append(np.full(len(union), -1 if name == "head" else 0, column.dtype))
            columns[-1][at] = column[b.edges]
        table.attention(graph.parts[b.part], *np.divmod(union, n), *columns)
