"""How each call that takes, moves or copies rows is read: no number of a row changes, or a whole row is scaled.

Knows nothing of sums, products and norms of the stream (rules), of layers and states.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .nodes import Node, behind, called, is_fresh, plain, replay
from .ops import IDENTITY, MATMUL, VIEW
from .residual import Walk, rule
from .terms import Term, moved_to, united


@rule("index_add_", "index_add", "scatter_add", "scatter_add_")
def _added_at(walk: Walk, n: Node) -> list[Term] | None:
    """Each row of the source added to the row that its index names."""
    old, dim, index = (n.argument(k, name) for k, name in enumerate(("input", "dim", "index")))
    source = n.argument(3, "source", n.kwargs.get("src"))
    if not all(isinstance(x, Node) for x in (old, index, source)):
        return None
    grid, at = walk.grid(n.shape), index.value
    rows = torch.arange(math.prod(grid), device=at.device).reshape(grid)
    if n.op.startswith("scatter"):
        if at.shape != source.value.shape or n.shape[-1] != walk.width or bool((at != at[..., :1]).any()):
            return None
        rows = rows.gather(dim, at[..., 0])
    else:
        rows = rows.index_select(dim, at.reshape(-1))
    if dim % len(n.shape) == len(n.shape) - 1 or rows.numel() * walk.width != source.value.numel():
        return None
    more = walk.scaled(walk.terms(source), n.kwargs.get("alpha", 1), source.shape)
    earlier = [] if is_fresh(old) else walk.terms(old)
    asked = index.op not in ("const", "param", "arange")  # where something was not 0
    added = [t.with_path(t.path.moved(rows.reshape(-1), picked=asked)) for t in more]
    return united([*earlier, *added], math.prod(grid)) if rows.numel() == math.prod(grid) else [*earlier, *added]


_SOURCE = {"index_copy": 3, "scatter": 3, "index_put": 2, "slice_scatter": 1, "select_scatter": 1, "masked_scatter": 2}


@rule(*_SOURCE, *(f"{name}_" for name in _SOURCE))
def _put_at(walk: Walk, n: Node) -> list[Term] | None:
    """Rows of the source in the place of some rows."""
    name = n.op.removesuffix("_")
    old, source = n.first(), n.args[_SOURCE[name]] if len(n.args) > _SOURCE[name] else None
    if old is None or not isinstance(source, Node) or (walk.signal(source) is None and walk.signal(old) is None):
        return None
    if name == "index_put" and n.argument(3, "accumulate", False):
        return None
    numbered = {old: _numbers(old), source: _numbers(source) + old.value.numel()}
    return _from_numbers(walk, [old, source], called(n, numbered), n)


@rule("sum", "mean")
def _reduced(walk: Walk, n: Node) -> list[Term] | None:
    x, dim = n.first(), n.argument(1, "dim")
    if isinstance(dim, (tuple, list)) and len(dim) == 1:
        dim = dim[0]
    if x is None or not isinstance(dim, int) or dim % len(x.shape) == len(x.shape) - 1:
        return None
    terms = walk.signal(x)
    if terms is None:
        return None
    lead, dim = list(walk.grid(x.shape)), dim % len(x.shape)
    rest = lead[:dim] + lead[dim + 1 :]
    numbers = torch.arange(math.prod(rest), device=n.value.device).reshape(rest or [1])
    to = numbers.unsqueeze(dim).expand(lead).reshape(-1)
    moved = united([t.with_path(t.path.moved(to)) for t in terms], numbers.numel())
    return walk.scaled(moved, 1 / lead[dim], n.shape) if n.op == "mean" else moved


@rule(
    *VIEW, "expand", "expand_as", "repeat", "repeat_interleave", "tile", "transpose", "permute", "swapaxes", "movedim",
    "__getitem__", "select", "index_select", "narrow", "slice", "unbind", "chunk", "split", "tensor_split", "flip",
    "roll",
)  # fmt: skip
def _rearranged(walk: Walk, n: Node) -> list[Term] | None:
    """Rows taken, moved or copied."""
    x = n.first()
    if x is None or walk.signal(x) is None:
        beside = _mixed_beside(walk, n, x) if x is not None and n.op == "permute" else None
        return _convolved(walk, n) if beside is None else beside
    if n.op in VIEW:
        return walk.terms(x)
    return _from_numbers(walk, [x], called(n, {x: _numbers(x)}), n)


@rule("stack", "cat", "concat", "concatenate", "hstack", "vstack")
def _joined(walk: Walk, n: Node) -> list[Term] | None:
    pieces = n.argument(0, "tensors")
    if not all(isinstance(x, Node) and x.shape and x.shape[-1] in walk.widths for x in pieces):
        return None
    starts = itertools.accumulate((x.value.numel() for x in pieces[:-1]), initial=0)
    numbered = {x: start + _numbers(x) for x, start in zip(pieces, starts, strict=True)}
    return _from_numbers(walk, pieces, called(n, numbered), n)


def _numbers(x: Node) -> Tensor:
    """Each coordinate numbered, where it stands."""
    return torch.arange(x.value.numel(), device=x.value.device).reshape(x.shape)


def _from_numbers(walk: Walk, sources: Sequence[Node], numbers: Tensor, n: Node) -> list[Term] | None:
    """The terms of what holds the coordinates of these numbers, counted through the sources; -1: zero.

    None unless every row is one that came whole.
    """
    row, width = _whole_rows(walk, numbers), walk.width
    if n.shape[-1] not in walk.widths or tuple(numbers.shape) != n.shape or row is None:
        return None
    start, out = 0, list[Term]()
    for x in sources:
        total = x.value.numel() // width
        target = ((row >= start) & (row < start + total)).nonzero().reshape(-1)
        if len(target) and not is_fresh(x):
            out += moved_to(walk.terms(x), row[target] - start, target, total)
        start += total
    return united(out, len(row))


def _whole_rows(walk: Walk, numbers: Tensor) -> Tensor | None:
    """The row that each row of numbered coordinates is; -1: zero. None unless every row is one that came whole."""
    if numbers.numel() % walk.width:
        return None
    rows = numbers.reshape(-1, walk.width)
    first = rows[:, 0]
    ordered = first[:, None] + torch.arange(walk.width, device=rows.device)
    if bool(((rows != ordered) & (rows >= 0)).any()) or bool((first % walk.width)[first >= 0].any()):
        return None
    return first.div(walk.width, rounding_mode="floor")


def _mixed_beside(walk: Walk, n: Node, product: Node) -> list[Term] | None:
    """Streams mixed along the last axis, beside d_model: permute([.., d_model, in] @ weights [.., in, out])."""
    if product.op not in MATMUL or not all(isinstance(a, Node) for a in product.args):
        return None
    left, weights = product.args
    x = left.first() if left.op == "permute" else None
    terms = walk.signal(x)
    if x is None or terms is None or walk.signal(weights) is not None:
        return None
    axes, back = _axes(left), _axes(n)
    if axes[-2] != len(x.shape) - 1 or back[-1] != len(n.shape) - 2 or left.shape[:-2] != weights.shape[:-2]:
        return None
    source = _row_numbers(x).permute(axes)[..., 0, :]  # [.., in]
    target = _row_numbers(n).permute(torch.tensor(back).argsort().tolist())[..., 0, :]  # [.., out]
    factor = weights.value.detach()
    out = []
    for k in range(target.shape[-1]):
        to = torch.empty(source.numel(), dtype=torch.long, device=source.device)
        by = factor.new_empty(source.numel())
        to[source.reshape(-1)] = target[..., k : k + 1].expand(source.shape).reshape(-1)
        by[source.reshape(-1)] = factor[..., k].expand(source.shape).reshape(-1)
        out += [t.with_path(t.path.scaled(by.reshape(*x.shape[:-1], 1), x.shape).moved(to)) for t in terms]
    return out


def _convolved(walk: Walk, n: Node) -> list[Term] | None:
    """Rows spread over later tokens, each coordinate by itself: transpose(conv1d(transpose(x))) with a group for each.

    One row of ones shows by how much a row enters each of those after it.
    """

    def ends(m: Node) -> bool:
        return m is not n and (m.op not in _AROUND_CONVOLUTION or walk.signal(m) is not None)

    on_the_way = list(behind([n], ends))
    convolutions = [m for m in on_the_way if m.op == "conv1d"]
    sources = [m for m in on_the_way if m is not n and walk.signal(m) is not None]
    if len(convolutions) != 1 or len(sources) != 1 or n.op not in _AROUND_CONVOLUTION:
        return None
    (conv,), (x,) = convolutions, sources
    if n.shape != x.shape or n.shape[:1] + n.shape[2:] != (1, walk.width) or conv.argument(6, "groups") != walk.width:
        return None
    n_rows = n.shape[1]
    nothing = torch.zeros_like(x.value)
    offset = replay(n, {x: nothing})[0]
    first, last = nothing.clone(), nothing.clone()
    first[:, 0], last[:, -1] = 1, 1
    taps, ahead = replay(n, {x: first})[0] - offset, replay(n, {x: last})[0] - offset
    if bool(offset.any()) or bool(ahead[:-1].any()):
        return None
    out = []
    numbers = torch.arange(n_rows, device=taps.device)
    for lag in taps.any(-1).nonzero().reshape(-1).tolist():
        terms = walk.scaled(walk.terms(x), taps[lag : lag + 1], n.shape)
        to = torch.where(numbers + lag < n_rows, numbers + lag, -1)
        out += [t.with_path(t.path.moved(to, shifted=True)) for t in terms] if lag else terms
    return out


_AROUND_CONVOLUTION = IDENTITY | {"conv1d", "transpose", "permute", "swapaxes", "__getitem__", "narrow", "pad"}


def _axes(n: Node) -> list[int]:
    """The axes of a permute call."""
    axes = n.args[1] if len(n.args) == 2 and isinstance(n.args[1], (tuple, list)) else n.args[1:]
    return [a % len(n.shape) for a in axes]


@rule("__setitem__")
def _assigned(walk: Walk, n: Node) -> list[Term] | None:
    """out[index] = rows (experts putting their tokens back in order)."""
    if len(n.args) != 3 or walk.signal(n.args[2]) is None:
        return None
    old, key, source = n.args
    numbers = _numbers(old)
    numbers[plain(key)] = _numbers(source) + numbers.numel()
    return _from_numbers(walk, [old, source], numbers, n)


@rule("overwritten")
def _overwritten(walk: Walk, n: Node) -> list[Term] | None:
    """Some rows written through another tensor in the same memory: `rows` [row] -> row of what was written, or -1."""
    old, new, rows = n.args
    if rows is None or walk.signal(new) is None or new.shape[-1] != n.shape[-1]:
        return None
    numbers = _numbers(old).flatten(0, -2)
    rows = rows.to(numbers.device)
    hit = (rows >= 0).nonzero().reshape(-1)
    numbers[hit] = _numbers(new).reshape(-1, new.shape[-1])[rows[hit]] + numbers.numel()
    return _from_numbers(walk, [old, new], numbers.reshape(n.shape), n)


def _row_numbers(n: Node) -> Tensor:
    rows = torch.arange(math.prod(n.shape[:-1]), device=n.value.device)
    return rows.reshape(*n.shape[:-1], 1).expand(n.shape)
