"""Which calls may move something from one token to another.

Knows nothing of states, heads or models: only what a call does to rows.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from .linear import is_constant, is_linear, is_narrow, is_weight
from .nodes import Node, behind
from .ops import ADD, DIV, IDENTITY, MATMUL, MUL, NEG, NORM, PICK, RSUB, SUB, VIEW

ELEMENTWISE = IDENTITY | ADD | SUB | RSUB | MUL | DIV | NEG | {
    "gelu", "silu", "relu", "relu_", "silu_", "sigmoid", "tanh", "softplus", "exp", "pow", "__pow__", "square", "sqrt",
    "rsqrt", "clamp", "clamp_min", "clamp_max", "minimum", "maximum", "abs", "leaky_relu", "elu", "selu", "celu",
    "mish", "hardtanh", "hardswish", "hardsigmoid", "relu6", "erf", "__rpow__", "__rtruediv__", "reciprocal", "log",
}  # fmt: skip


def row_by_row(n: Node) -> bool:
    """Is this a call that works on each row by itself, whatever is in it?"""
    if n.op in ("param", "const", "embedding") or is_constant(n) or n.op in NORM or 0 in n.shape:
        return True
    if is_linear(n):
        return not is_chosen(n)
    if n.op == "cat":  # with an empty cache, or side by side
        dim = n.argument(1, "dim", 0)
        return sum(0 not in p.shape for p in n.parents()) == 1 or dim in (-1, len(n.shape) - 1)
    x = n.args[0] if n.args and isinstance(n.args[0], Node) else None
    if n.op in ELEMENTWISE:
        if n.op == "getattr" and x is not None and n._value.stride() != x._value.stride():  # .T of as many as wide
            return False
        return all(p.shape[-2:] == n.shape[-2:] or p.shape[-1:] == (1,) or len(p.shape) < 2 for p in n.parents())
    if x is None:
        return False
    if n.op in VIEW:  # rows counted in another way, heads or groups of the last axis split or merged
        split, merged = n.shape[: len(x.shape) - 1] == x.shape[:-1], x.shape[: len(n.shape) - 1] == n.shape[:-1]
        return split or merged or n.shape[-1:] == x.shape[-1:]
    if n.op == "__getitem__":  # all rows
        return _takes_all_rows(n.args[1] if isinstance(n.args[1], tuple) else (n.args[1],), x.shape)
    if n.op in ("expand", "broadcast_to"):  # heads that share keys and values
        return n.shape[-2:] == x.shape[-2:]
    if n.op in ("chunk", "split", "split_with_sizes"):
        return n.argument(2, "dim", 0) in (-1, len(x.shape) - 1)
    if n.op in ("mean", "var", "sum", "softmax", "norm"):
        dim = n.argument(1, "dim")
        return (dim[0] if isinstance(dim, (tuple, list)) and len(dim) == 1 else dim) in (-1, len(x.shape) - 1)
    if n.op in ("transpose", "permute"):  # heads and tokens swapped
        return len(n.shape) == 4 and n.args[1:] in ((1, 2), (2, 1), (0, 2, 1, 3), ((0, 2, 1, 3),))
    return False


def is_chosen(n: Node) -> bool:
    """Is this the output of a linear map, one of several, by a number that was made in the pass?"""
    weights = (p for p in n.parents() if is_weight(p))
    return any(
        not is_constant(i)
        for w in weights
        for m in behind([w])
        if m.op in _PICKS
        for i in m.parents()
        if i is not m.first()
    )


_PICKS = PICK | {"__getitem__", "select"}


def _takes_all_rows(key: tuple[object, ...], shape: tuple[int, ...]) -> bool:
    """Of heads or coordinates it may take some, of tokens all: whole axes, but for the last."""
    if any(k is not None and k is not ... and not isinstance(k, slice) for k in key):
        return False
    axes = [k for k in key if k is not None]
    at = axes.index(...) if ... in axes else len(axes)
    missing = len(shape) - (len(axes) - (... in axes))
    full = [*axes[:at], *[slice(None)] * missing, *axes[at + 1 :]]
    return all(
        k.start in (None, 0) and k.step in (None, 1) and (k.stop is None or k.stop >= size)
        for k, size in zip(full[:-1], shape[:-1], strict=False)
        if isinstance(k, slice)
    )


_SCORE = IDENTITY | ADD | SUB | MUL | DIV | {"masked_fill", "masked_fill_", "where", "tanh", "clamp"}


def looks_by_keys(pattern: Node, keeps_rows: Callable[[Node], bool]) -> bool:
    """Is this pattern the softmax, over keys, of products of queries and keys that are each of one token?"""
    n, n_keys = pattern, pattern.shape[-1]
    while (n.op in IDENTITY | VIEW | {"expand"} or _takes_first(n)) and n.args and isinstance(n.args[0], Node):
        n = n.args[0]
    if n.op not in ("softmax", "_softmax") or n.argument(1, "dim") not in (-1, len(n.shape) - 1):
        return False
    todo: list[Node] = [p for p in n.args if isinstance(p, Node)]
    while todo:
        n = todo.pop()
        if is_constant(n) or n.op == "const":
            continue
        factors = _factors(n)
        if factors is not None:
            if not all(isinstance(p, Node) and keeps_rows(_upright(p)) for p in factors):
                return False
            todo += [p for p in n.args[:1] if n.op == "baddbmm" and isinstance(p, Node)]  # what depends on distance
        elif n.op == "cat" and n.argument(1, "dim", 0) in (-1, len(n.shape) - 1) and n.args[0][0].shape[-1] == n_keys:
            todo += n.args[0]  # weight may go to no key
        elif n.op in SUB and _is_largest(n.args[1], n.args[0]):
            todo.append(n.args[0])  # softmax is the same without it
        elif n.op in _SCORE or (n.op in VIEW and n.shape[-2:] == n.parents()[0].shape[-2:]):
            todo += n.parents()
        else:
            return False
    return True


def _takes_first(n: Node) -> bool:
    """Does it take the first along the last axis, and all along the others?"""
    key = n.args[1] if n.op == "__getitem__" else None
    return isinstance(key, tuple) and len(key) == 2 and key[0] is ... and isinstance(key[1], slice) and (
        key[1].start in (None, 0) and key[1].step in (None, 1)
    )  # fmt: skip


def _is_largest(n: object, of: object) -> bool:
    """Is it the largest number of each row of another value?"""
    taken = isinstance(n, Node) and n.op in ("max", "amax") and n.args[:1] == (of,)
    return taken and n.argument(1, "dim") in (-1, len(of.shape) - 1)  # type: ignore[attr-defined]


def _factors(n: Node) -> tuple[object, object] | None:
    """Queries and keys, where this is their product."""
    if n.op == "baddbmm":
        return n.argument(1, "batch1"), n.argument(2, "batch2")
    return n.args if n.op in MATMUL and len(n.args) == 2 else None  # type: ignore[return-value]


def _upright(keys: Node) -> Node:
    """Keys as rows again, where they were transposed for the product."""
    x = keys.first()
    swaps = keys.op in ("transpose", "getattr", "swapaxes", "mT") and x is not None and len(x.shape) > 1
    return x if x is not None and swaps and keys.shape == (*x.shape[:-2], x.shape[-1], x.shape[-2]) else keys


_MIXING = {
    "conv1d", "conv2d", "cumsum", "cumprod", "roll", "flip", "diff", "scaled_dot_product_attention", "__setitem__",
    "logcumsumexp", "cummax", "cummin", "fft", "ifft", "rfft", "irfft", "pad", "zero_pad2d",
}  # fmt: skip


def mixes_tokens(x: Node, stops: Container[Node]) -> bool:
    """Does a call between the stream and this activation combine different tokens?"""

    def mixes(n: Node) -> bool:
        product = n.op in MATMUL or n.op in ("einsum", "baddbmm")
        if n.op == "conv1d" and is_narrow(n):
            return False
        return n.op in _MIXING or (product and not is_linear(n) and sum(not is_constant(p) for p in n.parents()) > 1)

    return any(mixes(n) for n in behind([x], stops.__contains__) if n not in stops)
