"""Several graphs edge by edge: in the same columns, their mean, and how two of them differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from .given import integer, of_kind, told
from .graph import ATTENTION, PART, SHARED, Block, Graph, Table
from .tokens import Token

_COLUMNS = ("share_sum", "share_max", "head")


@dataclass(frozen=True, eq=False)
class Difference:
    """Two graphs in the same columns, so that a number of one stands beside the same edge's of the other.

    >>> other = lmtt.attribute(lmtt.record(model, prompt.replace("John gave", "Mary gave")))
    >>> lmtt.contrast(graph, other).change.max() > 0.1
    np.True_
    """

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


def contrast(graph: Graph, other: Graph, alignment: Sequence[tuple[int, int]] | None = None) -> Difference:
    """Two prompts as one difference: what is larger and smaller in the other, also where it is longer or shorter.

    alignment: pairs (position, position in the other), both rising; by default what the prompts begin and end with
    alike, and position by position where they have as many tokens. What has no partner stands alone: it has a place of
    its own, where the other prompt has no shares.

    Raises ValueError for an alignment that is not rising or not there, or for graphs of different models.

        >>> longer = lmtt.attribute(lmtt.record(model, prompt.replace("Mary and", "Mary and Anna and")))
        >>> found = lmtt.contrast(graph, longer)
        >>> "".join(token.text for token in found.after.tokens[:7])
        'When·Mary·and·Anna·and·John·went'
    """
    of_kind(graph, Graph, "graph", SHARED)
    of_kind(other, Graph, "other", SHARED)
    n, m = graph.n_tokens, other.n_tokens
    pairs = _alike(graph, other) if alignment is None else _pairs(alignment)
    rising = all(a < c and b < d for (a, b), (c, d) in pairwise(pairs))
    if not rising or any(not (0 <= a < n and 0 <= b < m) for a, b in pairs):
        raise ValueError(
            f"an alignment is pairs of positions in 0..{n - 1} and 0..{m - 1}, each larger than the last, got {pairs}"
        )
    mine, theirs = np.zeros(n, np.int64), np.zeros(m, np.int64)
    place = a = b = 0
    for c, d in [*pairs, (n, m)]:
        mine[a:c] = np.arange(place, place + c - a)
        theirs[b:d] = np.arange(place + c - a, place + c - a + d - b)
        place += c - a + d - b
        if c < n and d < m:
            mine[c] = theirs[d] = place
            place += 1
        a, b = c + 1, d + 1
    tokens = dict(zip(theirs.tolist(), other.tokens, strict=True)) | dict(zip(mine.tolist(), graph.tokens, strict=True))
    both = [_spread(g, at, place, tokens) for g, at in ((graph, mine), (other, theirs))]
    return Difference(*aligned(both))


def _pairs(alignment: Any) -> list[tuple[int, int]]:
    if not isinstance(alignment, (list, tuple)) or any(
        not isinstance(pair, (list, tuple)) or len(pair) != 2 for pair in alignment
    ):
        raise TypeError(f"alignment must be a list of pairs of positions, got {told(alignment)}")
    return [(integer(a, "a position", 0), integer(b, "a position", 0)) for a, b in alignment]


def _alike(graph: Graph, other: Graph) -> list[tuple[int, int]]:
    one, two = ([t.id for t in g.tokens] for g in (graph, other))
    if len(one) == len(two):
        return [(k, k) for k in range(len(one))]
    most = min(len(one), len(two))
    first = next((k for k in range(most) if one[k] != two[k]), most)
    last = next((k for k in range(most - first) if one[-1 - k] != two[-1 - k]), most - first)
    ends = zip(range(len(one) - last, len(one)), range(len(two) - last, len(two)), strict=True)
    return [*((k, k) for k in range(first)), *ends]


def _spread(g: Graph, at: np.ndarray, n: int, tokens: dict[int, Token]) -> Graph:
    """A graph whose position k stands at `at` [k], among others where it has nothing."""
    if n == g.n_tokens:
        return g
    table = Table(n, len(g.states), g.parts, len(g.query) + n * len(g.blocks), g.share_sum.dtype)

    def wider(column: np.ndarray, empty: float = 0) -> np.ndarray:
        out = np.full((*column.shape[:-1], n), empty, column.dtype)
        out[..., at] = column
        return out

    for b in g.blocks:
        if b.kind == ATTENTION:
            columns = (getattr(g, name)[b.edges] for name in _COLUMNS)
            table.attention(g.parts[b.part], at[g.query[b.edges]], at[g.key[b.edges]], *columns)
        elif b.kind == PART:
            table.part(g.parts[b.part], wider(g.share_sum[b.edges]))
        elif b.part < 0:
            table.carried(b.source, b.entered, wider(g.share_sum[b.edges]))
    own = dict(zip(at.tolist(), g.tokens, strict=True))
    roles = dict(zip(at.tolist(), g.roles, strict=True))
    names = ("truncated", "error", "total", "constant", "head_sum")
    wide: dict[str, Any] = {name: wider(getattr(g, name)) for name in names}
    return replace(
        g, **table.filled(), **wide, ended=wider(g.ended, 1),
        tokens=tuple(own.get(k, tokens[k]) for k in range(n)), roles=tuple(roles.get(k) for k in range(n)),
        run=None, find_facts=None,
    )  # fmt: skip


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
