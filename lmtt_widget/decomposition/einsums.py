"""Einstein sums of two operands as the matrix products they are.

einsum("ibnd,hnd->ibh", x, w)        rows x[ib, nd] times a matrix w[nd, h]
einsum("bnij,jbnd->ibnd", p, v)      for each b and n, the pattern p[i, j] times values v[j, d]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from .nodes import Node


@dataclass(frozen=True)
class Einsum:
    """left [letters of left], right [letters of right] -> [letters of out], no letter twice in one of them."""

    left: tuple[Node, str]
    right: tuple[Node, str]
    out: str

    def swapped(self) -> Einsum:
        return Einsum(self.right, self.left, self.out)

    @property
    def sizes(self) -> Mapping[str, int]:
        return {c: size for x, letters in (self.left, self.right) for c, size in zip(letters, x.shape, strict=True)}

    def as_rows(self) -> tuple[Node, Tensor] | None:
        """(rows [.., in], matrix [in, out]) where it is a matrix applied to rows, or None."""
        (x, rows), (w, matrix) = self.left, self.right
        summed = "".join(c for c in rows if c in matrix and c not in self.out)
        made = "".join(c for c in self.out if c not in rows)
        lead = self.out[: -len(made)] if made else self.out
        if len(made) != 1 or not summed or {*rows} != {*lead, *summed} or {*matrix} != {*summed, *made}:
            return None
        if rows != lead + summed:
            x = _node("permute", x, [rows.index(c) for c in lead + summed])
        if len(summed) > 1:
            x = _node("reshape", x, [*x.shape[: len(lead)], prod(self.sizes[c] for c in summed)])
        weight = w.value.detach().permute([matrix.index(c) for c in summed + made])
        return x, weight.reshape(-1, weight.shape[-1])

    def as_attention(self) -> Attention:
        """left, a pattern, times right, values. Raises ValueError where it is none."""
        (p, pattern), (v, value) = self.left, self.right
        key = [c for c in pattern if c in value and c not in self.out]
        d_head = [c for c in value if c not in pattern and c in self.out]
        own = [c for c in pattern if c not in value and c in self.out]  # the query, and heads that share their values
        query = own if len(own) == 1 else [c for c in own if key and self.sizes[c] == self.sizes[key[0]]]
        heads = [c for c in pattern if c not in (*key, *query)]
        if not len(key) == len(query) == len(d_head) == 1 or {*heads, *query, *d_head} != {*self.out}:
            raise ValueError(f"an einsum of {pattern} and {value} to {self.out} is no pattern times values")
        shared = [c for c in heads if c in value]
        sizes = [self.sizes[c] for c in heads]
        made = p.value.detach().permute([pattern.index(c) for c in (*heads, *query, *key)])
        values = v.value.detach().permute([value.index(c) for c in (*shared, *key, *d_head)])
        for at, c in enumerate(heads):
            if c not in value:
                values = values.unsqueeze(at)
        values = values.expand(*sizes, *values.shape[-2:])
        letters = (*heads, *query, *d_head)
        return Attention(
            made.flatten(0, -3) if heads else made[None],
            values.flatten(0, -3) if heads else values[None],
            tuple(self.sizes[c] for c in letters),
            tuple(letters.index(c) for c in self.out),
        )


@dataclass(frozen=True)
class Attention:
    """A pattern times values, and how the result is laid out."""

    pattern: Tensor  # [head, query, key]
    value: Tensor  # [head, key, d_head]
    sizes: tuple[int, ...]  # of the axes that make up [head, query, d_head]
    order: tuple[int, ...]  # in which they stand in the result

    def laid_out(self, x: Tensor) -> Tensor:
        """x [head, query, d_head] as the call would have given it."""
        return x.reshape(self.sizes).permute(self.order)


def einsum(n: Node) -> Einsum | None:
    """The sum that a call of einsum is; None where it is not of two operands."""
    if n.op != "einsum" or not n.args or not isinstance(n.args[0], str):
        return None
    operands = n.args[1] if isinstance(n.args[1], (tuple, list)) else n.args[1:]
    inputs, arrow, out = n.args[0].replace(" ", "").partition("->")
    letters = inputs.split(",")
    if len(operands) != 2 or len(letters) != 2 or not all(isinstance(x, Node) for x in operands):
        return None
    rest = [len(x.shape) - len(word.replace("...", "")) for x, word in zip(operands, letters, strict=True)]
    letters = [word.replace("...", _REST[len(_REST) - n_rest :]) for word, n_rest in zip(letters, rest, strict=True)]
    if not arrow:
        both = "".join(letters)
        out = "".join(sorted(c for c in {*both} if both.count(c) == 1 or c in _REST))
    out = out.replace("...", _REST[len(_REST) - max(rest) :])
    if any(len({*word}) != len(word) or not word.isalpha() for word in (*letters, out)):
        return None
    return Einsum((operands[0], letters[0]), (operands[1], letters[1]), out)


_REST = "UVWXYZ"  # what "..." stands for, from the right


def _node(op: str, x: Node, argument: list[int]) -> Node:
    """What the tape would hold if the call had been made."""
    fn = getattr(torch.Tensor, op)
    return Node(op, fn(x.value.detach(), argument), fn=fn, args=(x, tuple(argument)), time=x.time + 1)
