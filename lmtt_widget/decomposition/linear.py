"""Linear maps on the tape: which call is one, of what, and how it is applied to anything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .einsums import einsum
from .nodes import Node, behind
from .ops import ADD, DIV, IDENTITY, MATMUL, MUL, NEG, VIEW

_OF_CONSTANTS = IDENTITY | VIEW | MUL | ADD | DIV | NEG | {
    "__getitem__", "exp", "sigmoid", "tanh", "ones_like", "zeros_like", "full", "expand",
}  # fmt: skip
_OF_WEIGHTS = {
    "__getitem__", "select", "t", "transpose", "getattr", "to", "unbind", "type", "contiguous", "chunk", "view",
    "float", "squeeze", "unsqueeze", "reshape", "permute", "flatten", "unflatten",
}  # fmt: skip


class CallError(RuntimeError):
    """A module that looks like a linear map and fails when it is called on other rows."""


class LinearMap:
    """y = x W (+ b) as a function: Conv1D, LoRA, quantised, offloaded and sliced expert weights all look the same.

    Weights are read only when they are plain tensors of the layer's own; otherwise the module is called.
    """

    def __init__(
        self,
        *,
        module: Callable[[Tensor], Any] | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        group: int = 0,
    ) -> None:
        self.module: Any = module
        self._weight, self._bias = weight, bias
        self.group = group  # > 0: one weight per this many rows ([expert, in, out])

    def weight(self, row: int = 0) -> Tensor | None:
        """[in, out], or None if there is no plain tensor to read."""
        if self._weight is not None:
            return self._weight[row // self.group] if self.group else self._weight
        w: Any = getattr(self.module, "weight", None)
        if not _is_plain(w) or w.device.type == "meta" or not w.is_floating_point() or w.element_size() < 2:
            return None
        if "forward" in vars(self.module):  # replaced (offloading, a user's patch): what it does is not in the weight
            return None
        if type(self.module).forward is nn.Linear.forward:
            return w.detach().t()
        return w.detach() if type(self.module).__name__ == "Conv1D" else None

    @property
    def n_groups(self) -> int:
        """How many weights there are, one per group of rows; 0 where there is one for all."""
        return len(self._weight) if self.group and self._weight is not None else 0

    def bias(self, like: Tensor) -> Tensor | None:
        """[out], or None. `like` gives the dtype, device and width of an input."""
        if self.module is None:
            return self._bias
        if self.weight() is not None:
            b = getattr(self.module, "bias", None)
            return None if b is None else b.detach()
        return self._call(like.new_zeros(1, like.shape[-1]))[0]

    def __call__(self, x: Tensor, row: int = 0, outputs: slice | Tensor = slice(None)) -> Tensor:
        """x W without the bias, or some of its outputs: [n, in] -> [n, out]."""
        w = self.weight(row)
        if w is not None:
            w, wide = w[:, outputs], torch.promote_types(x.dtype, w.dtype)
            return x.to(w.device, wide) @ w.to(wide)
        y = self._call(torch.cat([x, x.new_zeros(1, x.shape[-1])]))
        return (y[:-1] - y[-1:])[:, outputs]

    def sizes(self, x: Tensor, outputs: slice | Tensor = slice(None)) -> Tensor:
        """The sizes of what is added up to make x W, |x| |W|: [n, in] -> [n, out].

        Where no weight can be read, how large the sum is under random signs: as far as rounding can add up.
        """
        w = self.weight()
        if w is not None:
            w, wide = w[:, outputs], torch.promote_types(x.dtype, w.dtype)
            return x.to(w.device, wide).abs() @ w.to(wide).abs()
        signs = 1 - 2 * (_scattered(torch.arange(4 * x.shape[-1], device=x.device)) % 2).to(x.dtype)
        return self((signs.reshape(4, 1, -1) * x).flatten(0, 1)).unflatten(0, (4, -1)).abs().mean(0)[:, outputs]

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What two parts of x (0, 1/2 or 1 of each coordinate) make by themselves: [n, out] each."""
        share = (_scattered(torch.arange(x.shape[-1], device=x.device)) % 3).to(x.dtype) / 2
        return self(x * share), self(x * (1 - share))

    def outputs(self, index: Tensor, like: Tensor, row: int = 0) -> Tensor:
        """What each input coordinate in `index` writes per unit: [len(index), out]."""
        w = self.weight(row)
        if w is not None:
            return w[index]
        unit = like.new_zeros(len(index), like.shape[-1])
        unit[torch.arange(len(index), device=unit.device), index] = 1
        return self(unit)

    def _call(self, x: Tensor) -> Tensor:
        # Half-precision inputs of a module that is not in half precision: it ran under autocast, and does again.
        own = {p.dtype for p in getattr(self.module, "parameters", tuple)() if p.is_floating_point()}
        autocast = x.dtype in (torch.bfloat16, torch.float16) and bool(own) and x.dtype not in own
        with torch.no_grad(), torch.autocast(x.device.type, dtype=x.dtype if autocast else None, enabled=autocast):
            try:
                return self.module(x[None])[0]
            except Exception as e:
                name = type(self.module).__name__
                raise CallError(f"{name} cannot be called on other rows than its own ({type(e).__name__}: {e})") from e


def linear_leaf(n: Node) -> tuple[LinearMap, Node] | None:
    """The linear map that made this node and the node it was applied to, or None."""
    if n.op == "call_linear":
        return LinearMap(module=n.module), n.args[0]
    if n.op == "linear":
        w, b = n.argument(1, "weight"), n.argument(2, "bias")
        x = n.argument(0, "input")
        if is_weight(w) and not _is_plain(w.value):
            return LinearMap(module=lambda x: functional.linear(x, w.value, _value(b))), x
        if is_weight(w):
            return LinearMap(weight=w.value.detach().t(), bias=_value(b)), x
    if n.op.removesuffix("_") in ("addmm", "baddbmm"):
        return _biased(n)
    if n.op in ("inner", "tensordot") and len(n.args) > 1 and _is_map(n.args[1]) and not is_constant(n.args[0]):
        weight = _contracted(n)
        return None if weight is None else (LinearMap(weight=weight), n.args[0])
    sum_of_two = einsum(n)
    if sum_of_two is not None:
        if is_weight(sum_of_two.left[0]):
            sum_of_two = sum_of_two.swapped()
        (x, _), (w, _) = sum_of_two.left, sum_of_two.right
        rows = sum_of_two.as_rows() if is_weight(w) and _is_plain(w.value) and not is_constant(x) else None
        return None if rows is None else (LinearMap(weight=rows[1]), rows[0])
    if (
        n.op in MATMUL
        and len(n.args) == 2
        and all(isinstance(x, Node) for x in n.args)
        and is_weight(n.args[1])
        and _is_plain(n.args[1].value)
        and not is_constant(n.args[0])
    ):
        w = n.args[1].value.detach()
        if w.ndim == 2:
            return LinearMap(weight=w), n.args[0]
        if w.ndim == 3 and len(n.args[0].shape) == 3:
            return LinearMap(weight=w, group=n.args[0].shape[1]), n.args[0]
    return _turned_map(n) if n.op in _TURNS else None


def _biased(n: Node) -> tuple[LinearMap, Node] | None:
    """beta * bias + alpha * x @ weight, where the bias is the same for all rows."""
    if len(n.args) != 3 or not _is_map(n.args[2]) or not is_constant(n.args[0]) or is_constant(n.args[1]):
        return None
    c, w = n.args[0].value.detach(), n.args[2].value.detach()
    lead = list(zip(c.shape, c.stride(), strict=True))[:-1]
    if any(size > 1 and stride for size, stride in lead) or (w.ndim == 3 and w.shape[0] > 1):
        return None
    alpha, beta = n.kwargs.get("alpha", 1), n.kwargs.get("beta", 1)
    weight, bias = w if w.ndim == 2 else w[0], c[(0,) * len(lead)]
    return LinearMap(weight=weight if alpha == 1 else weight * alpha, bias=bias if beta == 1 else bias * beta), n.args[
        1
    ]


def _contracted(n: Node) -> Tensor | None:
    """The weight [in, out] of `inner`, or of a `tensordot` over the last axis."""
    w, dims = n.args[1].value.detach(), n.argument(2, "dims", 2)
    if w.ndim != 2:
        return None
    if n.op == "inner":
        return w.t()
    ours, theirs = dims if isinstance(dims, (tuple, list)) else ([-1], [0]) if dims == 1 else ([], [])
    if [d % len(n.args[0].shape) for d in ours] != [len(n.args[0].shape) - 1]:
        return None
    return w if [d % 2 for d in theirs] == [0] else w.t()


_TURNS = {"getattr", "transpose", "permute", "swapaxes", "swapdims", "t"}


def _turned_map(n: Node) -> tuple[LinearMap, Node] | None:
    """The transpose of `weight @ x`, or of a convolution of width 1: a map of x transposed."""
    product = n.first()
    if product is None or product.op not in MATMUL | {"conv1d"} or len(product.args) < 2 or not _is_turned(n, product):
        return None
    w, x, bias = product.args[0], product.args[1], None
    if product.op == "conv1d":
        w, x, bias = x, w, _value(product.argument(2, "bias"))
        if not is_narrow(product):
            return None
    if not _is_map(w) or not isinstance(x, Node) or is_constant(x):
        return None
    weight = w.value.detach().flatten(1).t()
    before = x.first() if x.op in _TURNS else None
    if before is None or not _is_turned(x, before):
        before = Node("transpose", x.value.mT, fn=torch.transpose, args=(x, -2, -1), time=x.time)
    return LinearMap(weight=weight, bias=bias), before


def is_narrow(convolution: Node) -> bool:
    """Is it of width 1: does it look at each token by itself?"""
    usual = (("stride", 1), ("padding", 0), ("dilation", 1), ("groups", 1))
    given = [(convolution.argument(k, name, value), value) for k, (name, value) in enumerate(usual, 3)]
    return convolution.argument(1, "weight").shape[2:] == (1,) and all(x in (y, (y,), [y]) for x, y in given)


def _is_turned(n: Node, x: Node) -> bool:
    """Is n the same memory as x, its last two axes swapped?"""
    a, b = n.value, x.value
    return b.ndim > 1 and a.shape == b.mT.shape and a.stride() == b.mT.stride() and a.data_ptr() == b.data_ptr()


def _is_map(n: Any) -> bool:
    """A weight that can be read."""
    return is_weight(n) and _is_plain(n.value)


def _is_plain(weight: Any) -> bool:
    """Not a tensor of some class of its own (quantised, sharded), whose numbers only its own calls understand."""
    return type(weight) in (nn.Parameter, Tensor)


def is_linear(n: Node) -> bool:
    return linear_leaf(n) is not None


def weight_label(n: Node, parameter_names: dict[int, str], here: Callable[[Node], Tensor]) -> str:
    """The parameter a linear map read, with the indices it was sliced by: 'experts.down_proj[3]'.

    here: a node's value where Python may look at it.
    """
    product = n.first() if n.op in _TURNS else n
    assert product is not None
    named = (product.argument(1, "weight"),) if product.op in ("linear", "conv1d") else product.parents()[::-1]
    w: Node | None = next(x for x in named if is_weight(x))
    index = ""
    while w is not None and w.op != "param":
        if w.op in ("__getitem__", "select"):
            index = f"[{_index_label(w.args[-1], here)}]{index}"
        elif w.op == "unbind":
            index = f"[{w.item}]{index}"
        w = _less(w)
    return ("parameter" if w is None else parameter_names.get(id(w.value), "parameter")) + index


def is_weight(n: Any) -> bool:
    """Made from a parameter only, by slicing, transposing, casting, or times a number."""
    while isinstance(n, Node):
        if n.op == "param":
            return True
        n = _less(n)
    return False


def _less(n: Node) -> Node | None:
    """What a weight was made from."""
    x = n.first() if n.op in _OF_WEIGHTS else None
    if n.op in MUL | DIV | NEG:
        nodes = [a for a in n.args if isinstance(a, Node)]
        x = nodes[0] if len(nodes) == 1 and (n.op not in DIV or n.args[0] is nodes[0]) else None
    return x


def is_constant(n: Node) -> bool:
    """Does not depend on anything taped: parameters, buffers, and what was made from them alone."""
    if n.op not in _OF_CONSTANTS:  # most nodes: nothing behind them need be looked at
        return _is_source(n)
    return all(m.op in _OF_CONSTANTS or _is_source(m) for m in behind([n], _is_source))


def constant_sources(n: Node) -> list[Node]:
    """The parameters, buffers and other tensors that a constant was made from."""
    found = []
    for m in behind([n], _is_source):
        while is_weight(m) and m.op != "param":
            m = m.args[0]
        found += [m] if m.op in ("param", "const") else []
    return found


def _is_source(n: Node) -> bool:
    # What is expanded is what counts, not what it is expanded to: that gives only a shape.
    return n.op in ("param", "const") or is_weight(n) or (n.op == "expand_as" and is_constant(n.args[0]))


def _scattered(numbers: Tensor) -> Tensor:
    """Numbers without a pattern, the same in every pass."""
    return numbers * 2654435761 >> 7


def _value(n: Any) -> Tensor | None:
    return n.value.detach() if isinstance(n, Node) else None


def _index_label(x: Any, here: Callable[[Node], Tensor]) -> str:
    if isinstance(x, Node):
        return str(int(here(x))) if x.value.numel() == 1 else "?"
    return ",".join(_index_label(y, here) for y in x) if isinstance(x, tuple) else str(x)
