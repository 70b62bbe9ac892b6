"""How each linear call is read: the terms of what came out, made from the terms of what went in."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .nodes import Node, behind, called, is_fresh, plain, replay
from .ops import ADD, DIV, IDENTITY, MATMUL, MUL, NEG, NORM, RSUB, SUB, VIEW
from .residual import Walk, rule
from .terms import Term, copied, moved_to, united


@rule(*IDENTITY)
def _identity(walk: Walk, n: Node) -> list[Term] | None:
    x = _first(n)
    return walk.terms(x) if x is not None and x.shape == n.shape else None


@rule(*ADD, *SUB, *RSUB)
def _sum(walk: Walk, n: Node) -> list[Term] | None:
    if len(n.args) < 2:
        return None
    x, y = (n.args[1], n.args[0]) if n.op in RSUB else (n.args[0], n.args[1])
    minus = n.op in SUB | RSUB
    if minus and isinstance(y, Node) and y.op == "mean" and y.args and y.args[0] is x and _over_last_axis(y):
        terms = walk.signal(x)
        if terms is not None and x.shape[-1] == walk.width:
            return [t.with_path(t.path.centered()) for t in terms]
    alpha = n.kwargs.get("alpha", 1)
    out: list[Term] = []
    for z, sign in ((x, 1), (y, -alpha if minus else alpha)):
        if not isinstance(z, Node):
            if z != 0:
                return None
            continue
        terms = walk.broadcast(z, n.shape)
        if terms is None:
            return None
        out += walk.scaled(terms, sign, n.shape)
    return [t for t in out if not is_fresh(t.leaf)]


@rule(*MUL, *DIV)
def _product(walk: Walk, n: Node) -> list[Term] | None:
    if len(n.args) < 2:
        return None
    x, y = n.args[0], n.args[1]
    pairs = [(x, y), (y, x)] if n.op in MUL else [(x, y)]
    found = []
    for u, factor in pairs:
        terms = walk.signal(u)
        if terms is not None:
            same = u.value.numel() == n.value.numel()
            found.append((terms if same else copied(terms, walk.grid(u.shape), walk.grid(n.shape)), factor))
    if len(found) == 2:  # both factors come from the stream: the gate is the one that is a number per token
        found = [(ts, f) for ts, f in found if isinstance(f, Node) and f.shape and f.shape[-1] == 1]
    if len(found) != 1:
        return None
    terms, factor = found[0]
    value = factor.value.detach() if isinstance(factor, Node) else factor
    return walk.scaled(terms, value if n.op in MUL else 1 / value, n.shape)


@rule(*NEG)
def _negative(walk: Walk, n: Node) -> list[Term] | None:
    terms = walk.signal(_first(n))
    return None if terms is None else walk.scaled(terms, -1, n.shape)


@rule(*NORM)
def _norm(walk: Walk, n: Node) -> list[Term] | None:
    x = _first(n)
    terms = walk.signal(x)
    if x is None or terms is None:
        return None
    if n.op == "layer_norm":
        if n.shape[-1] != walk.width:
            return None  # its mean is over several streams
        terms = [t.with_path(t.path.centered()) for t in terms]
    terms = walk.scaled(terms, norm_factor(n), n.shape)
    weight, bias = n.argument(2, "weight"), n.argument(3, "bias") if n.op == "layer_norm" else None
    if isinstance(weight, Node):
        terms = walk.scaled(terms, weight.value.detach(), n.shape)
    return [*terms, walk.leaf(bias, n.shape)] if isinstance(bias, Node) else terms


def norm_factor(n: Node) -> Tensor:
    """1 / sigma of a layer_norm or rms_norm call, frozen: [..., 1], in float32 or better."""
    x = n.argument(0, "input").value.detach()
    x = x if x.dtype == torch.float64 else x.float()
    if n.op == "layer_norm":
        return torch.rsqrt(x.var(-1, unbiased=False, keepdim=True) + n.argument(4, "eps", 1e-5))
    eps = n.argument(3, "eps")
    return torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + (torch.finfo(x.dtype).eps if eps is None else eps))


@rule("masked_fill", "masked_fill_")
def _masked(walk: Walk, n: Node) -> list[Term] | None:
    if len(n.args) < 3 or isinstance(n.args[2], Node) or n.args[2] != 0:
        return None
    terms = walk.signal(_first(n))
    keep = (~n.args[1].value).to(n.value.dtype)
    return None if terms is None else walk.scaled(terms, keep, n.shape)


@rule("index_add_", "index_add")
def _index_add(walk: Walk, n: Node) -> list[Term] | None:
    if len(n.args) < 4 or n.args[1] != 0 or len(n.shape) != 2 or n.kwargs.get("alpha", 1) != 1:
        return None
    old, index, source = n.args[0], n.args[2].value.reshape(-1), n.args[3]
    side = n.shape[-1] // walk.width
    index = (index[:, None] * side + torch.arange(side, device=index.device)).reshape(-1)
    earlier = [] if is_fresh(old) else walk.terms(old)
    return earlier + [t.with_path(t.path.moved(index)) for t in walk.terms(source)]


@rule("sum", "mean")
def _reduced(walk: Walk, n: Node) -> list[Term] | None:
    x, dim = _first(n), n.argument(1, "dim")
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
    moved = [t.with_path(t.path.moved(to)) for t in terms]
    return walk.scaled(moved, 1 / lead[dim], n.shape) if n.op == "mean" else moved


@rule("matmul", "__matmul__", "bmm")
def _mixed(walk: Walk, n: Node) -> list[Term] | None:
    """Parallel streams mixed by frozen weights: [.., out stream, in stream] @ [.., in stream, d_model]."""
    if len(n.args) != 2 or not all(isinstance(x, Node) and len(x.shape) > 2 for x in n.args):
        return None
    weights, x = n.args
    terms = walk.signal(x)
    if terms is None or walk.signal(weights) is not None or weights.shape[:-2] != x.shape[:-2]:
        return None
    if x.shape[-1] != walk.width:
        return None
    factor = weights.value.detach()
    numbers = torch.arange(math.prod(n.shape[:-1]), device=factor.device).reshape(n.shape[:-1])
    out = []
    for k in range(n.shape[-2]):
        to = numbers[..., k : k + 1].expand(x.shape[:-1]).reshape(-1)
        out += [t.with_path(t.path.scaled(factor[..., k, :, None], x.shape).moved(to)) for t in terms]
    return out


@rule(
    *VIEW, "expand", "expand_as", "repeat", "repeat_interleave", "tile", "transpose", "permute", "swapaxes", "movedim",
    "__getitem__", "select", "index_select", "narrow", "unbind", "chunk", "split", "tensor_split", "flip", "roll",
)  # fmt: skip
def _rearranged(walk: Walk, n: Node) -> list[Term] | None:
    """Rows taken, moved or copied."""
    x = _first(n)
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
    rows, width = numbers.reshape(-1, walk.width), walk.width
    if n.shape[-1] not in walk.widths or tuple(numbers.shape) != n.shape:
        return None
    first = rows[:, 0]
    ordered = first[:, None] + torch.arange(width, device=rows.device)
    if bool(((rows != ordered) & (rows >= 0)).any()) or bool((first % width)[first >= 0].any()):
        return None
    row, start, out = first.div(width, rounding_mode="floor"), 0, list[Term]()
    for x in sources:
        total = x.value.numel() // width
        target = ((row >= start) & (row < start + total)).nonzero().reshape(-1)
        if len(target) and not is_fresh(x):
            out += moved_to(walk.terms(x), row[target] - start, target, total)
        start += total
    return united(out, len(row))


def _mixed_beside(walk: Walk, n: Node, product: Node) -> list[Term] | None:
    """Streams mixed along the last axis, beside d_model: permute([.., d_model, in] @ weights [.., in, out])."""
    if product.op not in MATMUL or not all(isinstance(a, Node) for a in product.args):
        return None
    left, weights = product.args
    x = _first(left) if left.op == "permute" else None
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


@rule("copy_")
def _copied_into(walk: Walk, n: Node) -> list[Term] | None:
    source = n.argument(1, "src")
    return walk.broadcast(source, n.shape) if isinstance(source, Node) else None


def _first(n: Node) -> Node | None:
    x = n.argument(0, "input")
    return x if isinstance(x, Node) else None


def _row_numbers(n: Node) -> Tensor:
    rows = torch.arange(math.prod(n.shape[:-1]), device=n.value.device)
    return rows.reshape(*n.shape[:-1], 1).expand(n.shape)


def _over_last_axis(n: Node) -> bool:
    dim, keep = n.argument(1, "dim"), n.argument(2, "keepdim", False)
    if isinstance(dim, (tuple, list)):
        dim = dim[0] if len(dim) == 1 else None
    return bool(dim is not None and keep and dim % len(n.args[0].shape) == len(n.args[0].shape) - 1)
