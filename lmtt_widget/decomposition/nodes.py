"""The calls of a forward pass as nodes: what each was made from, and each computed again.

Knows nothing of modules, hooks or the residual stream.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .aliases import version

_INPLACE_DUNDERS = {"__iadd__", "__isub__", "__imul__", "__itruediv__", "__idiv__", "__setitem__"}
TOLD = "told to Python"  # stands among the calls of a layer where a number of the stream was handed to Python
FRESH = {"zeros", "zeros_like", "empty", "empty_like", "new_zeros", "new_empty"}


_WHOLE = {torch.bool, torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64}

Place = tuple[int, str, tuple[int, ...], int]  # stretch of tape, name of the call, shape, the how-manieth of these
_NOTHING: dict[str, Any] = {}


class Counts(Protocol):
    """Whoever knows how often a call was made before."""

    def place_of(self, made: Node) -> Place: ...


class LostValue(RuntimeError):
    """A value of the forward pass that is gone."""


class Node:
    """One call of the tape: what was called, on what, and what came out."""

    __slots__ = (
        "_parents",
        "_place",
        "_value",
        "args",
        "fn",
        "item",
        "kwargs",
        "lost",
        "module",
        "number",
        "op",
        "time",
        "version",
    )

    def __init__(
        self,
        op: str,
        value: Tensor,
        fn: Callable[..., Any] | None = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        time: int = -1,
        item: int | None = None,
        module: nn.Module | None = None,
        number: int | None = None,
    ) -> None:
        self.op = op
        self._value = value
        self.lost = False
        self.fn = fn
        try:
            self.version = value._version
        except RuntimeError:  # as in `version`
            self.version = 0
        self.args = args
        self.kwargs = kwargs or _NOTHING
        self.time = time
        self.item = item
        self.module = module
        self.number = number  # in its stretch of tape; of an earlier state, counted back from the latest: -1, -2, ...
        self._place: Place | weakref.ref[Counts] | None = None
        self._parents: tuple[Node, ...] | None = None

    @property
    def place(self) -> Place | None:
        """Where a stretch of tape made it, which is counted when it is first asked for: while that stretch is there."""
        if self._place is not None and not isinstance(self._place, tuple):
            counts = self._place()
            self._place = None if counts is None else counts.place_of(self)
        return self._place

    @place.setter
    def place(self, place: Place | weakref.ref[Counts] | None) -> None:
        self._place = place

    @property
    def is_counted(self) -> bool:
        """Was it made by a call, and not only met or made known?"""
        return self._place is not None

    @property
    def value(self) -> Tensor:
        """Raises LostValue where the memory was written again before anything kept what was in it."""
        if self.lost:
            raise LostValue(f"the result of `{self.op}` was overwritten before it could be read")
        return self._value

    @value.setter
    def value(self, x: Tensor) -> None:
        self._value, self.lost = x, False

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._value.shape)

    def parents(self) -> tuple[Node, ...]:
        """The nodes among its arguments."""
        if self._parents is None:
            self._parents = tuple(_nodes_in((self.args, tuple(self.kwargs.values()))))
        return self._parents

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """The call's argument, given by position or by name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    def first(self) -> Node | None:
        """What the call was made on: its first argument, where that was on the tape."""
        x = self.argument(0, "input")
        return x if isinstance(x, Node) else None

    def become_state(self) -> None:
        """Forgets how the value was made: what led to it need not stay in memory."""
        self.op, self.fn, self.args, self.kwargs, self._parents = "state", None, (), {}, ()

    def be_copied(self, copy: Tensor) -> bool:
        """Holds the same numbers in other memory, where nobody else holds its value any more; False: somebody does."""
        if self.lost or copy.dtype != self._value.dtype or copy.numel() != self._value.numel():
            return False
        shape, held = self._value.shape, weakref.ref(self._value)
        self._value = copy
        original = held()
        self._value = copy.reshape(shape) if original is None else original
        self.version = version(self._value)
        return original is None

    def become_copy(self, other: Node) -> None:
        """Is from now on made from the other alone, unchanged."""
        self.op, self.args, self.kwargs, self._parents = "identity", (other,), {}, None

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


def behind(
    nodes: Iterable[Node],
    stop: Callable[[Node], bool] = lambda _: False,
    made_from: Callable[[Node], Iterable[Node]] = Node.parents,
) -> Iterator[Node]:
    """These nodes and all they were made from, each once; one that stops is met, but not looked behind."""
    stack, seen = [*nodes], set[Node]()
    while stack:
        n = stack.pop()
        if n not in seen:
            seen.add(n)
            yield n
            if not stop(n):
                stack.extend(made_from(n))


def plain(x: Any, values: Mapping[Node, Tensor] = MappingProxyType({})) -> Any:
    """`x` with every node in it replaced by its value, or by the one that is given for it."""
    if isinstance(x, Node):
        given = values.get(x)
        return x.value if given is None else given
    if type(x) in (tuple, list):
        return type(x)(plain(y, values) for y in x)
    if type(x) is dict:
        return {k: plain(v, values) for k, v in x.items()}
    return x


def called(node: Node, values: Mapping[Node, Tensor]) -> Tensor:
    """What the node's call gives on other values of some of its arguments."""
    call = node.module if node.op == "call_linear" else node.fn
    args = plain(node.args, values)
    if is_inplace(node.op):
        args = (args[0].clone(), *args[1:])
    out = call(*args, **plain(node.kwargs, values))  # type: ignore[misc]
    out = args[0] if out is None else out  # x[...] = y gives nothing
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


def brought(nodes: Iterable[Node], most: int) -> dict[Node, Tensor]:
    """The whole numbers among their values, of at most so many each, on the CPU; waits for an accelerator once."""
    whole = [n for n in nodes if not n.lost and n._value.numel() <= most and n._value.dtype in _WHOLE]
    away = [n for n in whole if n._value.device.type not in ("cpu", "meta")]
    if not away:
        return {}
    sizes, first = [n._value.numel() for n in away], away[0]._value.device
    together = torch.cat([n._value.detach().reshape(-1).to(first, torch.int64) for n in away]).cpu()
    pieces = zip(away, together.split(sizes), strict=True)
    return {n: x.reshape(n.shape).to(n._value.dtype) for n, x in pieces}


def asks_which(n: Node) -> bool:
    """Is it whether one of the experts that were found is a certain one? One that is not goes on as all others do."""
    if n.op not in ("__eq__", "eq") or len(n.args) != 2 or not isinstance(n.args[1], int):
        return False
    found = n.first()
    while found is not None and found.op in ("__getitem__", "unbind"):
        found = found.first()
    return found is not None and found.op == "nonzero"


def overwriting(x: Tensor, written: Tensor) -> Callable[[Tensor, Tensor, object], Tensor]:
    """What `x` is, from what it was and from what was `written` to another tensor that reaches into its memory."""
    same, start = x.dtype == written.dtype, min(x.storage_offset(), written.storage_offset())
    mine, theirs = ((y.shape, y.stride(), y.storage_offset() - start) for y in (x, written))

    def overwritten(old: Tensor, new: Tensor, _rows: object) -> Tensor:
        if not same:
            raise LostValue("memory was written as numbers of another kind than it is read as")
        room = (
            max(at + sum((n - 1) * by for n, by in zip(shape, step, strict=True)) for shape, step, at in (mine, theirs))
            + 1
        )
        numbers = torch.full((room,), -1, device=old.device)
        numbers.as_strided(*theirs).copy_(torch.arange(new.numel(), device=old.device).reshape(theirs[0]))
        which = numbers.as_strided(*mine)
        return torch.where(which >= 0, new.reshape(-1)[which.clamp(min=0)], old)

    return overwritten


def is_fresh(node: Node) -> bool:
    """An accumulator as it was made: zeros (or not written yet)."""
    return node.op in FRESH


def is_inplace(name: str) -> bool:
    return name in _INPLACE_DUNDERS or (name.endswith("_") and not name.endswith("__"))
