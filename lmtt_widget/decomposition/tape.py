"""Every torch call of one forward pass, in order, as nodes.

`Tape` is a TorchFunctionMode: while it is active each torch call of this thread runs unchanged and is remembered as a
`Node` (function, argument nodes, result). Nothing in the model is modified, so the numbers are bit-identical to an
ordinary forward pass. Modules that *are* linear maps (nn.Linear, Conv1D, LoRA, quantised layers, ...) are entered on
the tape as one node each by `Tape.enter_module` / `leave_module`; their insides are not taped.

Knows nothing of what a call means: to it a norm and a lookup are calls like any other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch.overrides
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class Node:
    """One call of the tape: what was called, on what, and what came out."""

    __slots__ = ("_parents", "args", "fn", "item", "kwargs", "module", "op", "time", "value")

    def __init__(
        self,
        op: str,
        value: Tensor,
        *,
        fn: Callable[..., Any] | None = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        time: int = -1,
        item: int | None = None,
        module: nn.Module | None = None,
    ) -> None:
        self.op, self.value, self.fn = op, value, fn
        self.args, self.kwargs = args, kwargs or {}
        self.time, self.item, self.module = time, item, module
        self._parents: tuple[Node, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)

    def parents(self) -> tuple[Node, ...]:
        """The nodes among its arguments."""
        if self._parents is None:
            self._parents = tuple(_nodes_in((self.args, tuple(self.kwargs.values()))))
        return self._parents

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """The call's argument, given by position or by name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    def __repr__(self) -> str:
        return f"<{self.op} {self.shape}>"


def _nodes_in(x: Any) -> Iterator[Node]:
    stack = [x]
    while stack:
        x = stack.pop()
        if isinstance(x, Node):
            yield x
        elif isinstance(x, (tuple, list)):
            stack.extend(x)
        elif isinstance(x, dict):
            stack.extend(x.values())


def behind(nodes: Iterable[Node], stop: Callable[[Node], bool] = lambda _: False) -> Iterator[Node]:
    """These nodes and all they were made from, each once; one that stops is met, but not looked behind."""
    stack, seen = [*nodes], set[Node]()
    while stack:
        n = stack.pop()
        if n not in seen:
            seen.add(n)
            yield n
            if not stop(n):
                stack.extend(n.parents())


def plain(x: Any, values: Mapping[Node, Tensor] = MappingProxyType({})) -> Any:
    """`x` with every node in it replaced by its value, or by the one that is given for it."""
    if isinstance(x, Node):
        return values.get(x, x.value)
    if type(x) in (tuple, list):
        return type(x)(plain(y, values) for y in x)
    if type(x) is dict:
        return {k: plain(v, values) for k, v in x.items()}
    return x


def called(node: Node, values: Mapping[Node, Tensor]) -> Tensor:
    """What the node's call gives on other values of some of its arguments."""
    call = node.module if node.op == "call_linear" else node.fn
    out = call(*plain(node.args, values), **plain(node.kwargs, values))  # type: ignore[misc]
    return out if node.item is None else out[node.item]


def replay(
    node: Node,
    given: Mapping[Node, Tensor],
    *,
    keeps: Callable[[Node], bool] = lambda _: False,
    call: Callable[[Node, Mapping[Node, Tensor]], Tensor] = called,
) -> Tensor:
    """`node` computed again with other values for some nodes before it.

    What does not depend on them stays as it was recorded, and so does every node that `keeps`. `call` repeats one node.
    """
    values = dict(given)
    for n in sorted(behind([node], lambda n: n in given or keeps(n)), key=lambda n: n.time):  # parents before children
        if n not in given and not keeps(n) and any(p in values for p in n.parents()):
            values[n] = call(n, values)
    return plain(node, values)


def is_linear_module(module: nn.Module) -> bool:
    """A module that is an affine map of its last axis, by its attributes and not by a list of classes."""
    n_in = getattr(module, "in_features", getattr(module, "infeatures", None))
    n_out = getattr(module, "out_features", getattr(module, "outfeatures", None))
    if isinstance(n_in, int) and isinstance(n_out, int):
        return True
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf") and hasattr(module, "weight")


_INPLACE_DUNDERS = {"__iadd__", "__isub__", "__imul__", "__itruediv__", "__idiv__", "__setitem__"}
_FRESH = {"zeros", "zeros_like", "empty", "empty_like", "new_zeros", "new_empty"}
# Old values that nobody reads again: parameters are not overwritten, and an accumulator's earlier sums are its terms.
_NO_OLD_VALUE = _FRESH | {"index_add_", "param", "const"}
_QUIET = {
    "size", "dim", "numel", "stride", "is_contiguous", "data_ptr", "__len__", "is_floating_point", "element_size",
    "storage_offset", "__set__", "item", "tolist", "__bool__", "__hash__", "requires_grad_", "get_device",
}  # fmt: skip


def is_fresh(node: Node) -> bool:
    """An accumulator as it was made: zeros (or not written yet)."""
    return node.op in _FRESH


class Tape(TorchFunctionMode):
    """The nodes of one stretch of a forward pass, found by the tensors they made."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: dict[int, Node] = {}  # id of a tensor -> the node that made it; the node keeps the tensor alive
        self.time = 0
        self._inside = 0  # > 0 inside a linear module or while paused: nothing is taped

    def node(self, x: Tensor) -> Node:
        found = self.nodes.get(id(x))
        if found is None:
            found = self.nodes[id(x)] = Node("param" if isinstance(x, nn.Parameter) else "const", x)
        return found

    def add(self, value: Tensor, op: str, **fields: Any) -> Node:
        """A node that stands for `value` from here on."""
        self.time += 1
        made = self.nodes[id(value)] = Node(op, value, time=self.time, **fields)
        return made

    def clear(self) -> None:
        self.nodes.clear()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is taped inside: for reading the tape while the forward pass waits."""
        self._inside += 1
        try:
            with _without(self):
                yield
        finally:
            self._inside -= 1

    def enter_module(self) -> None:
        self._inside += 1

    def leave_module(self, module: nn.Module, x: Tensor | None, out: Any, op: str) -> None:
        self._inside -= 1
        if self._inside == 0 and isinstance(out, Tensor):
            self.add(out, op, args=() if x is None else (self.node(x),), module=module)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._inside:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "?")
        if name in _QUIET:
            return func(*args, **kwargs)
        if name == "__get__":  # .T, .mT, .data: views; .shape and the like make no tensor
            out = func(*args, **kwargs)
            if type(out) is Tensor and out.is_floating_point():
                self.add(
                    out, "getattr" if args[0].is_floating_point() else "of complex", fn=func, args=(self.node(args[0]),)
                )
            return out
        if isinstance(kwargs.get("out"), Tensor):
            return self._overwrite(func, args, kwargs, kwargs["out"], args)
        if args and isinstance(args[0], Tensor) and _is_inplace(name):
            return self._overwrite(func, args, kwargs, args[0], args[1:])
        out = func(*args, **kwargs)
        if isinstance(out, Tensor):
            if not (id(out) in self.nodes and any(out is a for a in args)):  # x.to(same dtype) returns x itself
                self.add(out, name, fn=func, args=self._lift(args), kwargs=self._lift(kwargs))
        elif isinstance(out, (tuple, list)):
            lifted, named = self._lift(args), self._lift(kwargs)
            for i, part in enumerate(out):
                if isinstance(part, Tensor):
                    self.add(part, name, fn=func, args=lifted, kwargs=named, item=i)
        return out

    def _overwrite(self, func: Any, args: Any, kwargs: Any, target: Tensor, operands: Any) -> Any:
        old, operands = self.node(target), self._lift(tuple(operands))
        named = self._lift({k: v for k, v in kwargs.items() if k != "out"})
        for node, held in ((old, target), (self.nodes.get(id(target._base)), target._base)):  # a view changes its base
            if node is not None and node.value is held and node.op not in _NO_OLD_VALUE and target.is_floating_point():
                node.value = held.clone()  # it is about to be overwritten
        out = func(*args, **kwargs)
        made = self.add(target, getattr(func, "__name__", "?"), fn=func, args=(old, *operands), kwargs=named)
        if isinstance(out, Tensor) and out is not target:
            self.nodes[id(out)] = made
        return out

    def _lift(self, x: Any) -> Any:
        if isinstance(x, Tensor):
            return self.node(x)
        if type(x) in (tuple, list):
            return type(x)(self._lift(y) for y in x)
        if type(x) is dict:
            return {k: self._lift(v) for k, v in x.items()}
        return x


@contextlib.contextmanager
def _without(mode: TorchFunctionMode) -> Iterator[None]:
    """Calls do not go through a mode that is on top. These names are torch's own; without them calls only cost more."""
    top, pop = (getattr(torch.overrides, n, None) for n in ("_get_current_function_mode", "_pop_mode_temporarily"))
    if top is None or pop is None or top() is not mode:
        yield
        return
    with pop():
        yield


def _is_inplace(name: str) -> bool:
    return name in _INPLACE_DUNDERS or (name.endswith("_") and not name.endswith("__"))
