"""A value on the tape as an affine function of a state, every norm, gate and pattern frozen as it was recorded.

Only calls that are linear are repeated; all others stay as they were. Where they work on each row by itself, a call on
as many rows as the prompt has may be asked what it gives for as many vectors at *one* of its rows: what stands beside
the state (sines of positions, the factors of norms) is then that row's everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .linear import LinearMap, is_constant, is_linear, linear_leaf
from .nodes import Node, behind, called
from .ops import ADD, DIV, IDENTITY, MATMUL, MUL, NEG, NORM, RSUB, SUB, VIEW
from .rules import norm_factor
from .streams import Streams

_BESIDE = ADD | SUB | RSUB | MUL | DIV | {"where", "masked_fill", "addcmul"}  # operands are broadcast to each other
_WRITES = {"overwritten": 1, "copy_": 1, "__setitem__": 2}  # which argument is what was written
_LINEAR = IDENTITY | VIEW | _BESIDE | NEG | NORM | {
    "transpose", "permute", "swapaxes", "swapdims", "movedim", "__getitem__", "chunk", "split", "split_with_sizes",
    "unbind", "cat", "concat", "stack", "expand", "narrow", "select", "index_select", "repeat_interleave", "repeat",
    "tensor_split", "pad", "mean", "sum", "roll", "flip", "t", "view_as_complex", "view_as_real", "of complex",
    "broadcast_to", "clamp",
}  # fmt: skip
_CASTS = {"to", "type", "type_as", "float", "double", "half", "bfloat16", "detach", "contiguous", "clone", "dropout",
          "identity", "cpu", "cuda"}  # fmt: skip


class Frozen:
    """What a node is for other values of the state it was made from.

    Raises ValueError where it was made from several tokens.
    """

    def __init__(self, node: Node, state: Node, n_tokens: int) -> None:
        self.node, self.state, self.n = node, state, n_tokens
        self.moving: dict[Node, None] = {state: None}  # oldest first
        self.kept: dict[str, None] = {}  # calls that stay as they were though the state leads to them
        depends = {state}
        for n in sorted(behind([node], lambda n: n is state), key=lambda n: n.time):
            if n is state:
                continue
            if any(p in depends for p in n.parents()):
                depends.add(n)
            if any(p in self.moving for p in n.parents()):
                if self._is_linear(n):
                    self.moving[n] = None
                else:
                    self.kept[n.op] = None
        if node not in self.moving:
            made = ", ".join(self.kept) or "nothing of the state"
            raise ValueError(f"it is made by {made}, which is not linear")
        self.eps = max(
            torch.finfo(n.value.dtype).eps for n in self.moving if n.value.is_floating_point()
        )  # of the coarsest
        self.axis = self._axes()

    def everywhere(self, value: Tensor) -> Tensor:
        """The node where the state is a value [pos, d_model]."""
        return self._values(self._shaped(value))[self.node]

    def at(self, row: int, vectors: Tensor) -> Tensor:
        """The node's row where the state's is each of the vectors [n, d_model]: [n, the node's other axes]."""
        found = []
        for some in vectors.split(self.n):
            value = some if len(some) == self.n else torch.cat([some, some.new_zeros(self.n - len(some), len(some[0]))])
            out = self._values(self._shaped(value), row)[self.node]
            found.append(out.movedim(self.axis[self.node], 0)[: len(some)])
        return torch.cat(found)

    def _shaped(self, value: Tensor) -> Tensor:
        streams = Streams.of(self.state.shape, self.n)
        value = value.to(torch.promote_types(self.state.value.dtype, torch.float32))
        return value.reshape(self.state.shape) if streams is None else streams.shaped(value)

    def _is_linear(self, n: Node) -> bool:
        if is_linear(n):
            return True
        if n.op in NORM:
            return n.args[0] in self.moving
        if n.op in MATMUL | {"einsum"}:
            return sum(p in self.moving for p in n.parents()) == 1 and all(
                p in self.moving or is_constant(p) for p in n.parents()
            )
        if n.op in _WRITES:
            return len(n.args) > _WRITES[n.op] and n.args[_WRITES[n.op]] in self.moving
        if n.op not in _LINEAR:
            return False
        if n.op in MUL:
            return self._factor(n) is not None or sum(p in self.moving for p in n.parents()) == 1
        return n.op not in DIV or n.args[1] not in self.moving

    def _factor(self, n: Node) -> Node | None:
        """Of two operands that both move the one that is a number for each row, which stays."""
        a, b = (n.args[k] if len(n.args) > k and isinstance(n.args[k], Node) else None for k in (0, 1))
        if a is None or b is None or a not in self.moving or b not in self.moving:
            return None
        return b if b.shape[-1] == 1 != a.shape[-1] else a if a.shape[-1] == 1 != b.shape[-1] else None

    def _axes(self) -> dict[Node, int]:
        """Along which axis of each node its rows stand: only there does one row of the state show."""
        row = self.n - 1
        value = torch.zeros(self.n, self.state.value.numel() // self.n)
        nothing = self._values(self._shaped(value.to(self.state.value.device)))
        value[row] = torch.randn(value.shape[1], generator=torch.Generator().manual_seed(5)).to(value)
        something = self._values(self._shaped(value.to(self.state.value.device)))
        axes = {}
        for n in self.moving:
            there = something[n] != nothing[n]
            for axis, size in enumerate(n.shape):
                if size == self.n and not bool(there.narrow(axis, 0, row).any()):
                    axes[n] = axis
                    break
            else:
                raise ValueError(f"`{n.op}` makes it from several tokens")
        return axes

    def _values(self, state: Tensor, row: int | None = None) -> dict[Node, Tensor]:
        values: dict[Node, Tensor] = {self.state: state}
        for n in self.moving:
            if n is not self.state:
                values[n] = self._call(n, values, row)
        return values

    def _call(self, n: Node, values: Mapping[Node, Tensor], row: int | None) -> Tensor:
        if n.op in _CASTS or (n.fn is None and n.module is None):  # rounded only where the model does; or put there
            return values[n.args[0]]
        if n.op in ("call_linear", "linear") and (leaf := linear_leaf(n)) and leaf[0].weight() is not None:
            return _mapped(leaf[0], values[leaf[1]])
        if n.op in NORM:
            x, weight = values[n.args[0]], n.argument(2, "weight")
            if n.op == "layer_norm":
                x = x - x.mean(-1, keepdim=True)
            y = x * self._beside(norm_factor(n).to(x), n, row)
            y = y * weight.value if isinstance(weight, Node) else y
            bias = n.argument(3, "bias") if n.op == "layer_norm" else None
            return y + bias.value if isinstance(bias, Node) else y
        if n.op == "clamp":  # what was cut off stays so
            before, x = n.args[0].value, values[n.args[0]]
            inside = self._beside(before == n.value, n, row)
            return torch.where(inside, x, self._beside(n.value, n, row))
        factor = self._factor(n) if n.op in MUL else None
        others = {
            p: self._beside(p.value, n, row)
            for p in n.parents()
            if p not in values or p is factor
            if n.op in _BESIDE | {"cat", "concat", "stack", *_WRITES}
        }
        if is_linear(n):
            others = {p: values[p].to(p.value.dtype) for p in n.parents() if p in values}
        return called(n, {**values, **others})

    def _beside(self, x: Tensor, n: Node, row: int | None) -> Tensor:
        """A recorded operand of a call, that of one row everywhere."""
        if row is None or self.n == 1:
            return x
        from_right = self.axis[n] - len(n.shape)
        if x.ndim < -from_right or x.shape[from_right] != self.n:
            return x
        return x.narrow(from_right, row, 1).expand_as(x)


def _mapped(linear: LinearMap, x: Tensor) -> Tensor:
    rows = x.reshape(-1, x.shape[-1])
    out, bias = linear(rows), linear.bias(rows)
    out = out if bias is None else out + bias.to(out)
    return out.reshape(*x.shape[:-1], -1)
