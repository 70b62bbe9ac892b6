"""What is asked of the output of a linear map: does its input give it, and was that a gate times an up projection?

Knows nothing of states, layers or the way to the stream.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from .freivalds import row_errors
from .heads import FEW
from .linear import LinearMap, is_linear, linear_leaf
from .nodes import Node, replay
from .ops import IDENTITY, MUL, VIEW
from .rounding import backward_error
from .writes import LinearWrite


def rows_of(x: Tensor) -> Tensor:
    return x.detach().reshape(-1, x.shape[-1])


def map_error(w: LinearWrite, n_tokens: int, check_rows: list[int] | None) -> Tensor | None:
    """Does input W + b give what the module returned, and is a module whose weight cannot be read additive?

    Of a plain weight all rows, by sums of outputs under random signs unless everything is checked; two rows of a
    module that is called, all in a short prompt and of one whose forward was replaced.
    """
    n = w.input.shape[0]
    if n == 0 or w.map.group:
        return None
    weight, bias = w.map.weight(), w.map.bias(w.input)
    if weight is not None and check_rows is not None:
        owner = w.map.module if isinstance(w.map.module, nn.Module) else None
        return row_errors(w.input, w.output, weight, bias, owner)
    every = check_rows is None or n_tokens <= FEW or "forward" in getattr(w.map.module, "__dict__", {})
    rows = torch.arange(n) if every else torch.tensor(sorted({0, n - 1}))
    if weight is None:  # which row stands where must not matter to a map
        rows = rows.roll(1)
    x, truth = w.input[rows], w.output[rows]
    if weight is not None:
        y, size = w.map(x), w.map.sizes(x)
    else:  # a row by itself does not show that its inputs are rounded; two parts of it do
        one, other = w.map.halves(x)
        y, size = one + other, one.abs() + other.abs() + w.map.sizes(x)
    if bias is not None:
        y, size = y + bias, size + bias.abs()
    return backward_error(truth, y, size)


def gate_and_up(x: Node) -> list[Node]:
    """gate, up of x = act(gate) * up; neither for an MLP that is not gated."""
    while x.op in IDENTITY | VIEW and isinstance(x.args[0], Node):
        x = x.args[0]
    if x.op not in MUL or len(x.args) != 2 or not all(isinstance(a, Node) and a.shape == x.shape for a in x.args):
        return []
    projected = [_is_projection(a) for a in x.args]
    if sum(projected) != 1:
        return []
    activated, up = x.args if projected[1] else reversed(x.args)
    before = next((p for p in activated.parents() if p.shape == x.shape), activated)
    return [before, up]


def columns(n: Node) -> tuple[LinearMap, Tensor] | None:
    """The linear map that a projection is of, and which of its outputs; None for what is no slice of one.

    None, too, where it was called without a row: an expert that no token chose.
    """
    leaf = _projected(n)
    found = linear_leaf(leaf)
    if found is None or not n.value.numel():
        return None
    numbers = _numbers(leaf.shape[-1], leaf.value.device)
    if leaf is n:
        return found[0], numbers
    numbers = numbers.expand(leaf.shape)
    return found[0], replay(n, {leaf: numbers}).reshape(-1, n.shape[-1])[0]


@lru_cache(32)
def _numbers(n: int, device: torch.device) -> Tensor:
    return torch.arange(n, device=device)


def _is_projection(n: Node) -> bool:
    return is_linear(_projected(n))


def _projected(n: Node) -> Node:
    """The call that a node is only a slice or another view of."""
    while n.op in IDENTITY | VIEW | {"chunk", "split", "__getitem__", "unbind", "narrow"} and isinstance(
        n.args[0], Node
    ):
        n = n.args[0]
    return n
