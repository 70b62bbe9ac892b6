"""The residual sum read off a tape, every norm and gate frozen.

`Walk(width, stops).terms(node)` turns a node whose last axis is the residual width into a list of terms

    value = sum_k  path_k( leaf_k )          exactly

Where a model keeps several streams side by side in one axis, [.., side * width] is read as so many rows of the width.

A leaf is an earlier state (a stop), the output of a linear map, a constant, or, where a call is not linear, whatever
that call made. A path is a chain of steps that act on one row (token) at a time, multiplication by a frozen factor or
subtraction of the mean, so that it can be applied later to any part of the leaf.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from .linear import is_constant, is_linear
from .nodes import Node, behind
from .terms import Term, copied

Rule = Callable[["Walk", Node], "list[Term] | None"]
RULES: list[tuple[frozenset[str], Rule]] = []  # (names of calls, how they are read), tried in order


def rule(*ops: str) -> Callable[[Rule], Rule]:
    """Registers how a call of these names is read: as terms, or as None where it is a leaf after all."""
    pattern = frozenset(ops)

    def register(f: Rule) -> Rule:
        for known, other in RULES:
            if known & pattern:
                both = ", ".join(sorted(known & pattern))
                raise ValueError(f"{f.__name__}: {both} is read by {other.__name__} already; one rule per call")
        RULES.append((pattern, f))
        return f

    return register


class Walk:
    """Reads nodes of the residual width as sums; the nodes in `stops` are earlier states and are not looked behind."""

    def __init__(self, width: int, stops: Iterable[Node] = (), side: int = 1) -> None:
        self.width, self.widths = width, {width, side * width}
        self.stops = set(stops)
        self.memo: dict[Node, list[Term]] = {}

    def terms(self, node: Node) -> list[Term]:
        # Parents first, oldest first, without recursion: a mixture of 256 experts is a chain of 256 sums.
        for n in sorted(behind([node], lambda n: n in self.memo or self.is_leaf(n)), key=lambda n: n.time):
            if n not in self.memo:
                found = None if self.is_leaf(n) else self._read(n)
                self.memo[n] = [self.leaf(n)] if found is None else found
        return self.memo[node]

    def leaf(self, n: Node, shape: tuple[int, ...] | None = None) -> Term:
        """A value, or what it is when it is broadcast, as one term."""
        return Term(n, shape=shape or n.shape, width=self.width)

    def grid(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The axes along which the rows of a value of this shape stand."""
        return shape[:-1] if shape[-1] == self.width else (*shape[:-1], shape[-1] // self.width)

    def scaled(self, terms: list[Term], factor: Any, shape: tuple[int, ...]) -> list[Term]:
        """The terms of a value of this shape when it is multiplied by a number or by what is broadcast to it."""
        if isinstance(factor, Tensor) and factor.ndim and shape[-1] != self.width:
            factor = factor.unsqueeze(-1) if factor.shape[-1] == 1 else factor.unflatten(-1, (-1, self.width))
        full = (*self.grid(shape), self.width)
        return [t.with_path(t.path.scaled(factor, full)) for t in terms]

    def _read(self, n: Node) -> list[Term] | None:
        return next((read(self, n) for ops, read in RULES if n.op in ops), None)

    def is_leaf(self, n: Node) -> bool:
        return (
            n in self.stops
            or not n.shape
            or n.shape[-1] not in self.widths
            or n.op == "embedding"
            or is_constant(n)
            or is_linear(n)
        )

    def carries(self, terms: list[Term]) -> bool:
        """Something of the stream is in it: a state, an embedding, or what a linear map wrote."""
        return any(
            t.leaf in self.stops
            or (t.shape and t.shape[-1] in self.widths and (t.leaf.op == "embedding" or is_linear(t.leaf)))
            for t in terms
        )

    def signal(self, n: Any) -> list[Term] | None:
        """The terms of an operand that carries something of the stream, else None."""
        if not isinstance(n, Node) or not n.shape or n.shape[-1] not in self.widths:
            return None
        terms = self.memo.get(n) or self.terms(n)
        return terms if self.carries(terms) else None

    def broadcast(self, n: Node, shape: tuple[int, ...]) -> list[Term] | None:
        """The terms of a summand that is broadcast to `shape`, or None if they cannot be."""
        terms = self.memo.get(n) or self.terms(n)
        if n.shape == shape:
            return terms
        if not self.carries(terms):
            return [self.leaf(n, shape)]
        return terms if n.value.numel() == math.prod(shape) else copied(terms, self.grid(n.shape), self.grid(shape))
