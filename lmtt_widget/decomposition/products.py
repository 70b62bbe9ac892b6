"""One recorded attention product: its pattern, its values, and how its call is known on the tape.

    softmax(..) @ V, scaled_dot_product_attention, an einsum, exp(x) / sum(exp(x)) @ V

Knows nothing of what happens to the product afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .einsums import Einsum, einsum
from .nodes import Node, plain
from .ops import DIV, IDENTITY, MATMUL, MUL, SUB, VIEW

_BEFORE_SOFTMAX = IDENTITY | VIEW | MUL | {
    "__getitem__", "narrow", "split", "chunk", "masked_fill", "nan_to_num", "transpose", "permute", "split_with_sizes",
    "expand",
}  # fmt: skip
_SOFTMAX = {"softmax", "_softmax"}
_ODD = 8  # rows of a longer one that look at more or fewer keys than their neighbours


@dataclass
class Product:
    """One recorded `pattern @ value`; under scaled-dot-product attention the pattern is recomputed from `scores`."""

    value: Tensor  # [key-value head, key, d_head]; b_V is already inside: adding it again double-counts it
    n_heads: int
    made: Tensor | None  # [head, query, key], where the model made it itself
    scores: tuple[Tensor, Tensor, Tensor | None, bool, float] | None  # query, key, mask, is causal, scale
    slots: Tensor  # [head, d_head]: the coordinates of z that each head fills (empty until it is placed)
    gate: Tensor | None = None  # [query, z]; None is 1 everywhere
    made_by: Node | None = None  # the call that made the values; only while the tape is read
    asked_by: tuple[Node, ...] = ()  # the pattern, or queries and keys; only while the tape is read
    laid_out: Callable[[Tensor], Tensor] | None = None  # [head, query, d_head] as the call gave it; None: as it is
    begins: int | None = -1  # as `first_slot`; -1: nobody has looked yet

    def first_slot(self) -> int | None:
        """Where the heads begin in z, if they stand there one after the other; else None."""
        if self.begins == -1:
            slots = self.slots.reshape(-1)
            first, ascending = torch.stack([slots[0], (slots.diff() == 1).all().to(slots)]).tolist()
            self.begins = first if ascending else None
        return self.begins

    def places(self) -> slice | Tensor:
        """The coordinates of z that the heads fill, in their order."""
        if self.begins is None or self.begins < 0:
            return self.slots.reshape(-1)
        return slice(self.begins, self.begins + self.slots.numel())

    @property
    def n_queries(self) -> int:
        if self.made is not None:
            return self.made.shape[1]
        assert self.scores is not None
        return self.scores[0].shape[1]

    def values(self) -> Tensor:
        """[head, key, d_head]: key-value heads repeated for the query heads that share them (interleaved)."""
        return _for_all_heads(self.value, self.n_heads)

    def values_of(self, head: int) -> Tensor:
        """[key, d_head]"""
        return self.value[head // (self.n_heads // self.value.shape[0])]

    def pattern(
        self,
        query: Sequence[int] | slice = slice(None),
        heads: slice = slice(None),
        stop: int | None = None,
        into: Tensor | None = None,
    ) -> Tensor:
        """[head, query, key] for some queries and heads; each row over key sums to at most 1.

        stop: keys 0..stop only, which must be all that these queries look at. into: memory that may be used for it.
        """
        if self.made is not None:
            return self.made[heads, query, :stop]
        assert self.scores is not None
        q, k, mask, causal, scale = self.scores
        wide = torch.promote_types(q.dtype, torch.float32)
        k = _for_all_heads(k, q.shape[0])[heads, :stop].to(wide)
        into = into if into is not None and into.dtype == wide and into.device == k.device else None
        score = torch.matmul(q[heads, query].to(wide) * scale, k.transpose(-1, -2), out=into)
        if causal:
            rows = torch.arange(q.shape[1], device=q.device)[query]
            # Earlier keys are before all of the queries.
            first = query.indices(q.shape[1])[0] if isinstance(query, slice) else 0
            later = torch.arange(first, k.shape[1], device=q.device) > rows[:, None]
            score[..., first:].masked_fill_(later, -math.inf)
        if mask is None:
            return torch.softmax(score, -1, out=into)
        mask = mask[:, query] if mask.shape[1] > 1 else mask
        mask = (mask[heads] if mask.shape[0] > 1 else mask)[..., :stop]
        score = score.masked_fill_(~mask, -math.inf) if mask.dtype == torch.bool else score.add_(mask)
        return torch.softmax(score, -1, out=into).nan_to_num_(0.0)  # a row without any key

    def unsureness(self, query: Sequence[int] | slice, pattern: Tensor) -> Tensor:
        """How many units of the last place rounding can move a probability [head, query, key]: [head, query, 1].

        None where the model made the pattern itself. A score that is off by d makes its probability off by exp(d): and
        q . k is off by some units of |q| |k|, plus those of what the mask adds. Half precision is added up in float32.
        """
        if self.scores is None:
            return pattern.new_zeros(())
        q, k, mask, _, scale = self.scores
        size = _norms(q[:, query]) * _norms(_for_all_heads(k, q.shape[0])).amax(-1, keepdim=True) * abs(scale)
        if mask is not None and mask.dtype != torch.bool:
            mask = mask[:, query] if mask.shape[1] > 1 else mask
            size = size + torch.where(pattern > 0, mask.abs() * pattern, 0).sum(-1)
        units = torch.finfo(torch.float32).eps / torch.finfo(q.dtype).eps
        return 2 * size.unsqueeze(-1) * min(1.0, units)


def is_attention_product(n: Node) -> bool:
    if n.op == "scaled_dot_product_attention":
        return True
    operands = _operands(n)
    return operands is not None and _comes_from_softmax(operands[0])


def read_product(n: Node) -> Product:
    operands = _operands(n)
    if n.op == "einsum" and operands is not None and (written := _written(n)) is not None:
        laid_out = written.as_attention()
        pattern, value = laid_out.pattern, laid_out.value
        none = pattern.new_empty(0)
        found = Product(value, pattern.shape[0], pattern, None, none, made_by=operands[1], asked_by=operands[:1])
        found.laid_out = laid_out.laid_out
        return found
    if operands is not None:
        pattern, value = (x.value.detach() for x in operands)
        pattern, value = pattern.reshape(-1, *pattern.shape[-2:]), value.reshape(-1, *value.shape[-2:])
        none = pattern.new_empty(0)
        return Product(value, pattern.shape[0], pattern, None, none, made_by=operands[1], asked_by=operands[:1])
    q, k, v = (_without_batch(n.argument(i, name).value) for i, name in enumerate(("query", "key", "value")))
    mask, causal = plain(n.argument(3, "attn_mask")), n.argument(5, "is_causal", False)
    scale = n.kwargs.get("scale")
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores = (q, k, None if mask is None else _without_batch(mask), causal, scale)
    asked = n.argument(0, "query"), n.argument(1, "key")
    return Product(v, q.shape[0], None, scores, q.new_empty(0), made_by=n.argument(2, "value"), asked_by=asked)


def beside(products: Sequence[Product]) -> Product:
    """The heads of several products of the same shapes and mask, one product after the other, not placed."""
    first, value, made, scores = products[0], torch.cat([p.value for p in products]), None, None
    if first.made is not None:
        made = torch.cat([p.made for p in products if p.made is not None])
    if first.scores is not None:
        mask, causal, scale = first.scores[2:]
        each = [p.scores[:2] for p in products if p.scores is not None]
        mask = mask.repeat(len(products), 1, 1) if mask is not None and len(mask) > 1 else mask
        scores = torch.cat([q for q, _ in each]), torch.cat([k for _, k in each]), mask, causal, scale
    n_heads = sum(p.n_heads for p in products)
    return Product(value, n_heads, made, scores, first.slots, begins=first.begins)


def odd_rows(p: Product) -> list[int]:
    """Rows of a mask that let a query look at later keys, at none, or at fewer than the row before; at most a few."""
    mask = None if p.scores is None else p.scores[2]
    if mask is None:
        return []
    seen = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    seen = seen.flatten(0, -3).any(0).expand(p.scores[0].shape[1], -1)  # type: ignore[index]  # [query, key]
    n = seen.sum(-1)
    ahead = seen.triu(1 + seen.shape[1] - seen.shape[0]).any(-1)
    odd = torch.cat([ahead[:1], ahead[1:] | (n[1:] < n[:-1]) | (n[1:] == 0)])
    return odd.nonzero()[:_ODD, 0].tolist()


def _operands(n: Node) -> tuple[Node, Node] | None:
    """Of a product that is written as one: what may be a pattern, and what may be values."""
    pair: Any = ()
    if n.op in MATMUL and len(n.shape) >= 3:
        pair = n.args
    elif n.op == "baddbmm":
        pair = n.args[1:3]
    elif n.op == "einsum" and (written := _written(n)) is not None:
        pair = written.left[0], written.right[0]
    return (pair[0], pair[1]) if len(pair) == 2 and all(isinstance(x, Node) for x in pair) else None


def _written(n: Node) -> Einsum | None:
    """An einsum with the pattern on the left."""
    found = einsum(n)
    return found.swapped() if found and _comes_from_softmax(found.right[0]) else found


def _comes_from_softmax(n: Any, depth: int = 14) -> bool:
    while isinstance(n, Node) and depth:
        if n.op in _SOFTMAX or _is_normalised(n):
            return True
        if n.op == "where":  # one side is 0 or what was there before
            sides = [x for x in n.args if isinstance(x, Node) and x.value.dtype != torch.bool]
            n = next((x for x in sides if x.shape == n.shape), None)
        elif n.op not in _BEFORE_SOFTMAX or not n.args:
            return False
        else:
            n = n.args[0]
        depth -= 1
    return False


def _is_normalised(n: Node) -> bool:
    """exp(x) / sum(exp(x)), exp(log_softmax(x)) or exp(x - logsumexp(x)): a softmax by hand."""
    x = n.first()
    if x is None:
        return False
    if n.op == "exp":
        by = x.argument(1, "other") if x.op in SUB else None
        return x.op == "log_softmax" or (isinstance(by, Node) and by.op == "logsumexp" and by.first() is x.first())
    by = n.argument(1, "other")
    return n.op in DIV and x.op in ("exp", "exp_") and isinstance(by, Node) and by.op == "sum" and by.first() is x


def _without_batch(x: Tensor) -> Tensor:
    """[1, head, ...] -> [head, ...]; a mask of one row for all heads keeps a head axis of 1."""
    x = x.detach()
    return x[0] if x.ndim == 4 else x if x.ndim == 3 else x[None]


def _for_all_heads(x: Tensor, n_heads: int) -> Tensor:
    return x if x.shape[0] == n_heads else x.repeat_interleave(n_heads // x.shape[0], 0)


def _norms(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=-1, dtype=torch.promote_types(x.dtype, torch.float32))
