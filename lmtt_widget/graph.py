"""One table between the engine and everything shown: the nodes and edges of a prompt as flat numpy columns.

Knows nothing of torch, of a model, of pixels or of bytes. Two tokens through one layer with one head and an MLP give
three states; the MLP is a node of its own, a *square*. Rows of nodes are states first (0 embedding, 1 after attention,
2 after MLP), then squares (3). Edges lie in blocks of one kind and part, from the bottom up:

    block  kind       part  source -> row entered  edges, query <- key
    0      carried    -1    0 -> 1                 0 <- 0, 1 <- 1
    1      attention   0    0 -> 1                 0 <- 0, 1 <- 0, 1 <- 1
    2      carried    -1    1 -> 2                 0 <- 0, 1 <- 1
    3      read        1    1 -> 3                 0 <- 0, 1 <- 1       passes on all that reaches the square
    4      part        1    3 -> 2                 0 <- 0, 1 <- 1

Every edge leaves its source for a row of a later block, so the blocks in reverse are an order from the top down. The
browser's table (js/src/core/graph.ts) has the same rows, kinds and columns.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .given import number, told
from .tokens import Token

SHARED = "attribute(run) makes one"  # said where a graph is expected

CARRIED, ATTENTION, PART, READ = range(4)  # kinds of edges


@dataclass(frozen=True)
class StateFacts:
    """A state of the residual stream, by its place and its name."""

    layer: int | None
    name: str
    carried: int | None  # the state it continues; None for the embedding


@dataclass(frozen=True)
class PartFacts:
    """A part that has shares; its number is the one it has in the run."""

    number: int
    kind: str
    layer: int | None
    state: int  # the state it enters
    reads: int  # the state it was computed from; -1: none
    label: str
    n_heads: int

    @property
    def goes_on(self) -> bool:
        """Whether what reaches it reaches a state below; a mixer has no key axis to say where."""
        return self.kind != "mixer" and self.reads >= 0


@dataclass(frozen=True)
class Block:
    """Edges of one kind and part, one after the other: start..stop, in the order of query and key."""

    kind: int
    part: int  # -1 for carried edges
    source: int  # the row they leave
    entered: int  # the row they enter
    start: int
    stop: int

    @property
    def edges(self) -> slice:
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class Facts:
    """What is said of a prompt beside its shares."""

    next_id: np.ndarray  # [pos, n], the most likely next tokens, best first
    next_p: np.ndarray  # [pos, n]
    vocabulary: dict[int, str]  # their texts
    model: dict[str, Any]  # the model line and what stands behind it
    fidelity: dict[str, Any]  # how exactly the parts add up


@dataclass(frozen=True, eq=False)
class Graph:
    """The shares of every node of a prompt; those of one node sum to 1, or to 0 where nothing points to the whole.

    Everything shown is a function of it. `run` is the recorded pass it was computed from, for who wants to look inside;
    it does not travel: a pickled graph is small, and opens without torch and without the model.

        >>> graph = lmtt.attribute(run)
        >>> graph.carried.shape == (len(run.states), run.n_tokens)
        True
        >>> graph.map(0).shape  # [query, key] of the first part, an attention
        (14, 14)
    """

    tokens: tuple[Token, ...]
    roles: tuple[str | None, ...]  # of each token, in chat prompts
    states: tuple[StateFacts, ...]
    parts: tuple[PartFacts, ...]  # those with shares, in the order of their numbers
    blocks: tuple[Block, ...]
    query: np.ndarray  # [edge]
    key: np.ndarray  # [edge]; the query's own position where there are no keys
    share_sum: np.ndarray  # [edge]; of attention summed over heads; 1 for an edge into a square
    share_max: np.ndarray  # [edge]; of attention that of the one head with the largest, else the same
    head: np.ndarray  # [edge]; that head; -1 where there are none
    ended: np.ndarray  # [state, pos], bool: no part of this node has any proximity to it
    truncated: np.ndarray  # [state, pos], shares of attention edges that were not kept
    error: np.ndarray  # [state, pos]: no share is further from the exact one
    total: np.ndarray  # [state, pos], the sum of all proximities, which shares are fractions of
    constant: np.ndarray  # [part, pos], shares of output biases inside attention, where constants are parts
    head_sum: np.ndarray  # [part, head, query], summed over keys; 0 where a part has no such head
    bias_part: bool = False
    kernel: str = ""  # what computed it, and why not something faster
    run: Any = field(default=None, repr=False)
    find_facts: Callable[[], Facts] | None = field(default=None, repr=False)

    @property
    def n_tokens(self) -> int:
        return self.ended.shape[1]

    @property
    def n_rows(self) -> int:
        """Rows of nodes: states, then squares."""
        return len(self.states) + sum(b.kind == PART for b in self.blocks)

    @cached_property
    def facts(self) -> Facts:
        """Predictions, model and fidelity; looked up when first asked for.

        Raises ValueError for a graph that has neither them nor its run.
        """
        if self.find_facts is None:
            raise ValueError("this graph was made without a run, so nothing is known of predictions or the model")
        return self.find_facts()

    @property
    def partition(self) -> str:
        """What a node is split into: shares depend on it."""
        constants = "constants as one part" if self.bias_part else "constants no part"
        return f"carried state; every key and head; each MLP and mixer as a whole; {constants}"

    @cached_property
    def carried(self) -> np.ndarray:
        """The share of the carried state: [state, pos]; row 0 (the embedding) is 0."""
        found = np.zeros(self.ended.shape, self.share_sum.dtype)
        for b in self.blocks:
            if b.kind == CARRIED:
                found[b.entered] = self.share_sum[b.edges]
        return found

    @cached_property
    def _of_part(self) -> dict[int, Block]:
        return {b.part: b for b in self.blocks if b.kind in (ATTENTION, PART)}

    def block(self, part: int) -> Block:
        """The edges of a part, by its number. Raises ValueError for a part without shares."""
        found = self._of_part.get(part) if isinstance(part, Hashable) else None
        if found is None:
            raise ValueError(f"part must be the number of one with shares, 0..{len(self.parts) - 1}, got {told(part)}")
        return found

    def share(self, part: int) -> np.ndarray:
        """The share of a part at every position, of attention over all keys that were kept: [pos]."""
        b = self.block(part)
        return np.bincount(self.query[b.edges], self.share_sum[b.edges], self.n_tokens).astype(self.share_sum.dtype)

    def map(self, part: int, column: np.ndarray | None = None) -> np.ndarray:
        """A column of edges, by default `share_sum`, of an attention part as [query, key]; 0 where there is no edge.

        Raises ValueError if the part has no keys.
        """
        b, column = self.block(part), self.share_sum if column is None else column
        if b.kind != ATTENTION:
            raise ValueError(f"only an attention part has keys, got part {part} ({self.parts[part].kind})")
        found = np.zeros((self.n_tokens, self.n_tokens), column.dtype)
        found[self.query[b.edges], self.key[b.edges]] = column[b.edges]
        return found

    def to_dict(self, smallest: float = 0.0) -> list[dict[str, Any]]:
        """One record for every edge whose share is above `smallest`, ready for a data frame; an MLP's two are one."""
        records, smallest = [], number(smallest, "smallest")
        for b in sorted((b for b in self.blocks if b.kind != READ), key=lambda b: b.kind != CARRIED):
            state = self.states[b.entered]
            kind = "carried" if b.kind == CARRIED else self.parts[b.part].kind
            for e in (b.start + np.flatnonzero(self.share_sum[b.edges] > smallest)).tolist():
                record: dict[str, Any] = {"kind": kind, "layer": state.layer, "state": b.entered}
                record |= {"query": int(self.query[e]), "key": int(self.key[e]), "share": float(self.share_sum[e])}
                if b.kind == ATTENTION:
                    record |= {"head": int(self.head[e]), "head_share": float(self.share_max[e])}
                records.append(record)
        return records

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return kept | {"run": None, "find_facts": None, "facts": self.facts if self.find_facts else None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        facts = state.pop("facts")
        self.__dict__.update(state, find_facts=None if facts is None else lambda: facts)

    def __repr__(self) -> str:
        n = sum(b.stop - b.start for b in self.blocks if b.kind == ATTENTION)
        return f"Graph({len(self.states)} states x {self.n_tokens} tokens, {n} attention edges)"


class Table:
    """Columns that are being filled, from the bottom up, in memory for as many edges as there may be."""

    def __init__(
        self, n_tokens: int, n_states: int, parts: Iterable[PartFacts], most_edges: int, dtype: np.dtype
    ) -> None:
        squares = (p.number for p in parts if p.kind != "attention")
        self._square = {number: row for row, number in enumerate(squares, n_states)}
        index = np.uint16 if n_tokens <= 1 << 16 else np.uint32
        self._pos, self.dtype = np.arange(n_tokens, dtype=index), dtype
        self.columns = [np.empty(most_edges, d) for d in (index, index, dtype, dtype, np.int16)]
        self.blocks: list[Block] = []

    def carried(self, source: int, state: int, share: np.ndarray) -> None:
        """One edge at every position, from the carried state."""
        self._add(CARRIED, -1, source, state, self._pos, self._pos, share, share, -1)

    def part(self, part: PartFacts, share: np.ndarray) -> None:
        """A square with one edge at every position, and the edges into it."""
        square = self._square[part.number]
        if part.goes_on:
            self._add(READ, part.number, part.reads, square, self._pos, self._pos, 1, 1, -1)
        self._add(PART, part.number, square, part.state, self._pos, self._pos, share, share, -1)

    def _positive(self, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where a map [query, key] is positive: its places in one row, query and key."""
        n = len(shares)
        if np.count_nonzero(shares) == n * (n + 1) // 2:  # every key up to the query, as mostly: known already
            return self._every
        at = np.flatnonzero(shares)
        query = np.repeat(self._pos, np.count_nonzero(shares, axis=1))
        return at, query, at - query.astype(np.int64) * n

    @cached_property
    def _every(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        at = np.flatnonzero(np.tri(len(self._pos), dtype=bool))
        query, key = np.divmod(at, len(self._pos))
        return at, query.astype(self._pos.dtype), key.astype(self._pos.dtype)

    def attention(
        self, part: PartFacts, query: np.ndarray, key: np.ndarray, share: np.ndarray, largest: np.ndarray, head: Any
    ) -> None:
        """The edges of an attention part, in the order of query and key."""
        self._add(ATTENTION, part.number, part.reads, part.state, query, key, share, largest, head)

    def maps(self, part: PartFacts, share: np.ndarray, largest: np.ndarray, head: np.ndarray) -> None:
        """The same of maps [query, key], where the share is positive."""
        at, *ends = self._positive(share)
        edges = self._room(ATTENTION, part.number, part.reads, part.state, len(at))
        for column, end in zip(self.columns, ends, strict=False):
            column[edges] = end
        for column, values in zip(self.columns[len(ends) :], (share, largest, head), strict=True):
            np.take(values, at, out=column[edges], mode="clip")  # no copy besides, and no look at `at` before

    def _add(self, kind: int, part: int, source: int, entered: int, *values: Any) -> None:
        edges = self._room(kind, part, source, entered, len(values[0]))
        for column, value in zip(self.columns, values, strict=True):
            column[edges] = value

    def _room(self, kind: int, part: int, source: int, entered: int, n: int) -> slice:
        """Where the next n edges stand."""
        start = self.blocks[-1].stop if self.blocks else 0
        self.blocks.append(Block(kind, part, source, entered, start, start + n))
        return self.blocks[-1].edges

    def filled(self) -> dict[str, Any]:
        """The columns of a graph, by name."""
        stop = self.blocks[-1].stop if self.blocks else 0
        names = ("query", "key", "share_sum", "share_max", "head")
        return {"blocks": tuple(self.blocks)} | {n: c[:stop] for n, c in zip(names, self.columns, strict=True)}
