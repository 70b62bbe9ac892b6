"""Which calls may move something from one token to another.

Knows nothing of states, heads or models: only what a call does to rows.
"""

from __future__ import annotations

from collections.abc import Container

from .linear import is_constant, is_linear, is_narrow
from .nodes import Node, behind
from .ops import ADD, DIV, IDENTITY, MATMUL, MUL, NEG, NORM, RSUB, SUB, VIEW

_ELEMENTWISE = IDENTITY | ADD | SUB | RSUB | MUL | DIV | NEG | {
    "gelu", "silu", "relu", "relu_", "silu_", "sigmoid", "tanh", "softplus", "exp", "pow", "__pow__", "square", "sqrt",
    "rsqrt", "clamp", "clamp_min", "clamp_max", "minimum", "maximum", "abs", "leaky_relu", "elu", "selu", "celu",
    "mish", "hardtanh", "hardswish", "hardsigmoid", "relu6", "erf", "__rpow__", "__rtruediv__", "reciprocal", "log",
}  # fmt: skip


def row_by_row(n: Node) -> bool:
    """Is this a call that works on each row by itself, whatever is in it?"""
    if n.op in ("param", "const", "embedding") or is_constant(n) or n.op in NORM or is_linear(n) or 0 in n.shape:
        return True
    if n.op == "cat":  # with an empty cache
        return sum(0 not in p.shape for p in n.parents()) == 1
    x = n.args[0] if n.args and isinstance(n.args[0], Node) else None
    if n.op in _ELEMENTWISE:
        return all(p.shape == n.shape or p.shape[-1:] == (1,) or len(p.shape) < 2 for p in n.parents())
    if x is None:
        return False
    if n.op in VIEW:  # rows counted in another way, heads or groups of the last axis split or merged
        split, merged = n.shape[: len(x.shape) - 1] == x.shape[:-1], x.shape[: len(n.shape) - 1] == n.shape[:-1]
        return split or merged or n.shape[-1:] == x.shape[-1:]
    if n.op == "__getitem__":  # everything
        key = n.args[1] if isinstance(n.args[1], tuple) else (n.args[1],)
        return n.shape == x.shape and all(isinstance(k, slice) and k.step in (None, 1) for k in key)
    if n.op in ("chunk", "split", "split_with_sizes"):
        return n.argument(2, "dim", 0) in (-1, len(x.shape) - 1)
    if n.op in ("mean", "var", "sum", "softmax", "norm"):
        dim = n.argument(1, "dim")
        return (dim[0] if isinstance(dim, (tuple, list)) and len(dim) == 1 else dim) in (-1, len(x.shape) - 1)
    if n.op in ("transpose", "permute"):  # heads and tokens swapped
        return len(n.shape) == 4 and n.args[1:] in ((1, 2), (2, 1), (0, 2, 1, 3), ((0, 2, 1, 3),))
    return False


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
