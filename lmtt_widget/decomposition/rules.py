"""How each linear call is read: the terms of what came out, made from the terms of what went in."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .nodes import Node, is_fresh, plain
from .ops import ADD, DIV, IDENTITY, MATMUL, MUL, NEG, NORM, RSUB, SUB, VIEW
from .residual import Walk, rule
from .terms import Term, copied, moved_to, united


@rule(*IDENTITY)
def _identity(walk: Walk, n: Node) -> list[Term] | None:
    x = _first(n)
    return walk.terms(x) if x is not None and x.shape == n.shape else None


@rule(*VIEW)
def _view(walk: Walk, n: Node) -> list[Term] | None:
    x = _first(n)
    return walk.terms(x) if x is not None and x.shape and x.shape[-1] == walk.width else None


@rule(*ADD, *SUB, *RSUB)
def _sum(walk: Walk, n: Node) -> list[Term] | None:
    if len(n.args) < 2:
        return None
    x, y = (n.args[1], n.args[0]) if n.op in RSUB else (n.args[0], n.args[1])
    minus = n.op in SUB | RSUB
    if minus and isinstance(y, Node) and y.op == "mean" and y.args and y.args[0] is x and _over_last_axis(y):
        terms = walk.signal(x)
        if terms is not None:
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
        out += [t.with_path(t.path.scaled(sign, n.shape)) for t in terms]
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
            found.append((terms if u.value.numel() == n.value.numel() else copied(terms, u.shape, n.shape), factor))
    if len(found) == 2:  # both factors come from the stream: the gate is the one that is a number per token
        found = [(ts, f) for ts, f in found if isinstance(f, Node) and f.shape and f.shape[-1] == 1]
    if len(found) != 1:
        return None
    terms, factor = found[0]
    value = factor.value.detach() if isinstance(factor, Node) else factor
    return [t.with_path(t.path.scaled(value if n.op in MUL else 1 / value, n.shape)) for t in terms]


@rule(*NEG)
def _negative(walk: Walk, n: Node) -> list[Term] | None:
    terms = walk.signal(_first(n))
    return None if terms is None else [t.with_path(t.path.scaled(-1, n.shape)) for t in terms]


@rule(*NORM)
def _norm(walk: Walk, n: Node) -> list[Term] | None:
    x = _first(n)
    terms = walk.signal(x)
    if x is None or terms is None:
        return None
    paths = [t.path.centered() if n.op == "layer_norm" else t.path for t in terms]
    paths = [p.scaled(norm_factor(n), n.shape) for p in paths]
    weight, bias = n.argument(2, "weight"), n.argument(3, "bias") if n.op == "layer_norm" else None
    if isinstance(weight, Node):
        paths = [p.scaled(weight.value.detach(), n.shape) for p in paths]
    out = [t.with_path(p) for t, p in zip(terms, paths, strict=True)]
    return out + ([Term(bias, shape=n.shape)] if isinstance(bias, Node) else [])


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
    return None if terms is None else [t.with_path(t.path.scaled(keep, n.shape)) for t in terms]


@rule("index_add_", "index_add")
def _index_add(walk: Walk, n: Node) -> list[Term] | None:
    if len(n.args) < 4 or n.args[1] != 0 or len(n.shape) != 2 or n.kwargs.get("alpha", 1) != 1:
        return None
    old, index, source = n.args[0], n.args[2].value.reshape(-1), n.args[3]
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
    lead, dim = list(x.shape[:-1]), dim % len(x.shape)
    rest = lead[:dim] + lead[dim + 1 :]
    numbers = torch.arange(math.prod(rest), device=n.value.device).reshape(rest or [1])
    to = numbers.unsqueeze(dim).expand(lead).reshape(-1)
    paths = [t.path.moved(to) for t in terms]
    if n.op == "mean":
        paths = [p.scaled(1 / lead[dim], n.shape) for p in paths]
    return [t.with_path(p) for t, p in zip(terms, paths, strict=True)]


@rule("matmul", "__matmul__", "bmm")
def _mixed(walk: Walk, n: Node) -> list[Term] | None:
    """Parallel streams mixed by frozen weights: [.., out stream, in stream] @ [.., in stream, d_model]."""
    if len(n.args) != 2 or not all(isinstance(x, Node) and len(x.shape) > 2 for x in n.args):
        return None
    weights, x = n.args
    terms = walk.signal(x)
    if terms is None or walk.signal(weights) is not None or weights.shape[:-2] != x.shape[:-2]:
        return None
    factor = weights.value.detach()
    numbers = torch.arange(math.prod(n.shape[:-1]), device=factor.device).reshape(n.shape[:-1])
    out = []
    for k in range(n.shape[-2]):
        to = numbers[..., k : k + 1].expand(x.shape[:-1]).reshape(-1)
        out += [t.with_path(t.path.scaled(factor[..., k, :, None], x.shape).moved(to)) for t in terms]
    return out


@rule("expand", "expand_as", "repeat", "repeat_interleave")
def _repeated(walk: Walk, n: Node) -> list[Term] | None:
    """One stream copied into several."""
    x = _first(n)
    terms = walk.signal(x)
    if x is None or terms is None:
        return None
    try:
        got = getattr(_row_numbers(x), n.op)(*[plain(a) for a in n.args[1:]], **plain(n.kwargs))
    except (RuntimeError, IndexError, TypeError):
        return None
    if tuple(got.shape) != n.shape or not bool((got == got[..., :1]).all()):
        return None
    return moved_to(terms, got[..., 0].reshape(-1), math.prod(x.shape[:-1]))


@rule("stack")
def _stacked(walk: Walk, n: Node) -> list[Term] | None:
    pieces, dim = n.args[0], n.argument(1, "dim", 0) % len(n.shape)
    if dim == len(n.shape) - 1:
        return None
    numbers = torch.arange(math.prod(n.shape[:-1]), device=n.value.device).reshape(n.shape[:-1])
    rows = [numbers.select(dim, k).reshape(-1) for k in range(len(pieces))]
    out = [t.with_path(t.path.moved(to)) for piece, to in zip(pieces, rows, strict=True) for t in walk.terms(piece)]
    return united(out, numbers.numel())


@rule("transpose", "permute", "swapaxes", "__getitem__", "select", "index_select", "narrow", "unbind", "chunk", "split")
def _selected(walk: Walk, n: Node) -> list[Term] | None:
    """Rows taken or moved: replayed on row numbers, which must come out once each and whole."""
    x = _first(n)
    terms = walk.signal(x)
    if x is None or terms is None:
        return None if x is None or n.op != "permute" else _mixed_beside(walk, n, x)
    numbers = _row_numbers(x)
    try:
        rest = [plain(a) for a in n.args[1:]]
        got = getattr(numbers, n.op)(*rest, **{k: plain(v) for k, v in n.kwargs.items() if k != "input"})
        got = got if n.item is None else got[n.item]
    except (RuntimeError, IndexError, TypeError):
        return None
    source = _whole_rows(got, n.shape)
    if source is None:
        return None
    total = math.prod(x.shape[:-1])
    to = torch.full((total,), -1, dtype=torch.long, device=source.device)
    to[source] = torch.arange(source.numel(), device=source.device)
    if source.numel() == total and bool((to == torch.arange(total, device=to.device)).all()):
        return terms
    return [t.with_path(t.path.moved(to)) for t in terms]


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


def _axes(n: Node) -> list[int]:
    """The axes of a permute call."""
    axes = n.args[1] if len(n.args) == 2 and isinstance(n.args[1], (tuple, list)) else n.args[1:]
    return [a % len(n.shape) for a in axes]


@rule("__setitem__")
def _assigned(walk: Walk, n: Node) -> list[Term] | None:
    """out[index] = rows (experts putting their tokens back in order)."""
    if len(n.args) != 3:
        return None
    old, key, source = n.args
    terms = walk.signal(source)
    if terms is None:
        return None
    try:
        got = _row_numbers(n)[plain(key)]
    except (RuntimeError, IndexError, TypeError):
        return None
    target = _whole_rows(got, source.shape)
    if target is None:
        return None
    out = [t.with_path(t.path.moved(target)) for t in terms]
    hit = torch.zeros(math.prod(n.shape[:-1]), dtype=torch.bool, device=target.device)
    hit[target] = True
    if not is_fresh(old) and not bool(hit.all()):
        keep = torch.arange(hit.numel(), device=hit.device).masked_fill(hit, -1)
        out += [t.with_path(t.path.moved(keep)) for t in walk.terms(old)]
    return united(out, hit.numel())


@rule("overwritten")
def _overwritten(walk: Walk, n: Node) -> list[Term] | None:
    """Some rows written through another tensor in the same memory: `rows` [row] -> row of what was written, or -1."""
    old, new, rows = n.args
    if rows is None or walk.signal(new) is None:
        return None
    hit = (rows >= 0).nonzero().reshape(-1)
    to = torch.full((math.prod(new.shape[:-1]),), -1, dtype=torch.long)
    to[rows[hit]] = hit
    out = [t.with_path(t.path.moved(to.to(n.value.device))) for t in walk.terms(new)]
    if len(hit) < len(rows) and not is_fresh(old):
        keep = torch.arange(len(rows)).masked_fill(rows >= 0, -1).to(n.value.device)
        out += [t.with_path(t.path.moved(keep)) for t in walk.terms(old)]
    return united(out, len(rows))


@rule("copy_")
def _copied_into(walk: Walk, n: Node) -> list[Term] | None:
    source = n.argument(1, "src")
    return walk.broadcast(source, n.shape) if isinstance(source, Node) else None


@rule("cat")
def _concatenated(walk: Walk, n: Node) -> list[Term] | None:
    pieces, dim = n.args[0], n.argument(1, "dim", 0)
    if not isinstance(pieces, (tuple, list)) or dim % len(n.shape) == len(n.shape) - 1:
        return None
    numbers, start, out = torch.arange(math.prod(n.shape[:-1]), device=n.value.device).reshape(n.shape[:-1]), 0, []
    for piece in pieces:
        to = numbers.narrow(dim, start, piece.shape[dim]).reshape(-1)
        out += [t.with_path(t.path.moved(to)) for t in walk.terms(piece)]
        start += piece.shape[dim]
    return united(out, numbers.numel())


def _first(n: Node) -> Node | None:
    x = n.argument(0, "input")
    return x if isinstance(x, Node) else None


def _row_numbers(n: Node) -> Tensor:
    rows = torch.arange(math.prod(n.shape[:-1]), device=n.value.device)
    return rows.reshape(*n.shape[:-1], 1).expand(n.shape)


def _whole_rows(numbers: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """The row each row of `numbers` came from, or None unless rows stayed whole and each came at most once."""
    if tuple(numbers.shape) != shape or not bool((numbers == numbers[..., :1]).all()):
        return None
    rows = numbers[..., 0].reshape(-1)
    return rows if rows.numel() == rows.unique().numel() else None


def _over_last_axis(n: Node) -> bool:
    dim, keep = n.argument(1, "dim"), n.argument(2, "keepdim", False)
    if isinstance(dim, (tuple, list)):
        dim = dim[0] if len(dim) == 1 else None
    return bool(dim is not None and keep and dim % len(n.args[0].shape) == len(n.args[0].shape) - 1)
