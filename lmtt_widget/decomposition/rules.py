"""How each linear call is read: the terms of what came out, made from the terms of what went in."""

from __future__ import annotations

import math
from operator import is_
from typing import Any

import torch
from torch import Tensor

from .linear import is_linear
from .nodes import Node, is_fresh
from .ops import ADD, DIV, IDENTITY, MUL, NEG, NORM, RSUB, SUB
from .residual import Walk, rule
from .terms import Term, copied


@rule(*IDENTITY)
def _identity(walk: Walk, n: Node) -> list[Term] | None:
    x = n.first()
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
    return _times(walk, n.args[0], n.args[1], n.shape, divided=n.op in DIV) if len(n.args) > 1 else None


def _times(walk: Walk, x: Any, y: Any, shape: tuple[int, ...], *, divided: bool = False) -> list[Term] | None:
    """The terms of x * y or x / y, one of them frozen; None unless it is plain which."""
    found = []
    for u, factor in [(x, y)] if divided else [(x, y), (y, x)]:
        terms = walk.signal(u)
        if terms is not None:
            same = u.value.numel() == math.prod(shape)
            found.append((terms if same else copied(terms, walk.grid(u.shape), walk.grid(shape)), factor))
    if len(found) == 2:  # both factors come from the stream: the gate is the one that is a number per token
        found = [(ts, f) for ts, f in found if isinstance(f, Node) and f.shape and f.shape[-1] == 1]
    if len(found) != 1:
        return None
    terms, factor = found[0]
    value = factor.value.detach() if isinstance(factor, Node) else factor
    return walk.scaled(terms, 1 / value if divided else value, shape)


@rule("addcmul", "addcmul_", "addcdiv", "addcdiv_")
def _product_added(walk: Walk, n: Node) -> list[Term] | None:
    """x + value * y * z, or x + value * y / z."""
    if len(n.args) != 3:
        return None
    x, y, z = n.args
    more = _times(walk, y, z, n.shape, divided=n.op.startswith("addcdiv"))
    earlier = walk.broadcast(x, n.shape)
    return None if more is None or earlier is None else earlier + walk.scaled(more, n.kwargs.get("value", 1), n.shape)


@rule("lerp", "lerp_")
def _between(walk: Walk, n: Node) -> list[Term] | None:
    """x (1 - weight) + y weight, the weight frozen."""
    x, y, by = n.first(), n.argument(1, "end"), n.argument(2, "weight")
    weight = by.value.detach() if isinstance(by, Node) else by
    found = [walk.broadcast(z, n.shape) if isinstance(z, Node) else None for z in (x, y)]
    if found[0] is None or found[1] is None or walk.signal(by) is not None:
        return None
    return walk.scaled(found[0], 1 - weight, n.shape) + walk.scaled(found[1], weight, n.shape)


@rule("where")
def _chosen(walk: Walk, n: Node) -> list[Term] | None:
    """x where a condition holds, y elsewhere; either may be 0. What both have is there everywhere."""
    if len(n.args) != 3:
        return None
    by, x, y = n.args if n.args[0].value.dtype == torch.bool else (n.args[1], n.args[0], n.args[2])
    if not isinstance(by, Node) or by.value.dtype != torch.bool:
        return None
    sides: list[list[Term]] = []
    for z in (x, y):
        found = walk.broadcast(z, n.shape) if isinstance(z, Node) else [] if z == 0 else None
        if found is None:
            return None
        sides.append([t for t in found if not is_fresh(t.leaf)])
    if not any(walk.carries(side) for side in sides):
        return None
    both = [t for t in sides[0] if any(_same(t, u) for u in sides[1])]
    keep, out = by.value.detach(), list(both)
    for side, factor in zip(sides, (keep, ~keep), strict=True):
        own = [t for t in side if not any(_same(t, u) for u in both)]
        out += walk.scaled(own, factor.to(n.value.dtype), n.shape)
    return out


def _same(t: Term, u: Term) -> bool:
    steps = len(t.path.steps) == len(u.path.steps) and all(map(is_, t.path.steps, u.path.steps))
    return t.leaf is u.leaf and t.path.rows is u.path.rows and steps


@rule("addmm", "addmm_", "baddbmm", "baddbmm_")
def _map_added(walk: Walk, n: Node) -> list[Term] | None:
    """beta * x + alpha * y @ weight, where x is no bias: the stream, or what differs from row to row."""
    if len(n.args) != 3:
        return None
    x, y, w = n.args
    product = Node("matmul", y.value @ w.value, fn=torch.matmul, args=(y, w), time=n.time)
    more, earlier = walk.terms(product) if is_linear(product) else None, walk.broadcast(x, n.shape)
    if more is None or earlier is None:
        return None
    beta, alpha = n.kwargs.get("beta", 1), n.kwargs.get("alpha", 1)
    return walk.scaled(earlier, beta, n.shape) + walk.scaled(more, alpha, n.shape)


@rule(*NEG)
def _negative(walk: Walk, n: Node) -> list[Term] | None:
    terms = walk.signal(n.first())
    return None if terms is None else walk.scaled(terms, -1, n.shape)


@rule(*NORM)
def _norm(walk: Walk, n: Node) -> list[Term] | None:
    x = n.first()
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
    terms = walk.signal(n.first())
    keep = (~n.args[1].value).to(n.value.dtype)
    return None if terms is None else walk.scaled(terms, keep, n.shape)


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


@rule("copy_")
def _copied_into(walk: Walk, n: Node) -> list[Term] | None:
    source = n.argument(1, "src")
    return walk.broadcast(source, n.shape) if isinstance(source, Node) else None


def _over_last_axis(n: Node) -> bool:
    dim, keep = n.argument(1, "dim"), n.argument(2, "keepdim", False)
    if isinstance(dim, (tuple, list)):
        dim = dim[0] if len(dim) == 1 else None
    return bool(dim is not None and keep and dim % len(n.args[0].shape) == len(n.args[0].shape) - 1)
