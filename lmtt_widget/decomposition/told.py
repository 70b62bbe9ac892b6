"""The calls of one stretch of a pass as they are heard, told so that stretches that are alike are told the same.

    y = x.mul(w);  z = y.add(x, alpha=2)      ("mul", -1, 0), ("add", 1, -1, "alpha", 2), each with what it gave

A tensor is told as its number in the order in which it was met, an earlier state as -1, -2, ..., the last the nearest.
Knows nothing of nodes, of what a call does and of what is read of it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .aliases import version

_TENSORS = {Tensor, nn.Parameter}
_CONSTANTS = {int, float, bool, str, type(None), type(...), torch.dtype, torch.device, torch.memory_format}


class Heard(NamedTuple):
    """A call that was made, and that nobody has asked about yet."""

    name: str
    fn: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any  # a tensor, or several of them
    module: nn.Module | None = None

    @property
    def gave(self) -> Iterable[Any]:
        return self.out if isinstance(self.out, (tuple, list)) else (self.out,)


class Nth:
    """Stands for a tensor; equal to itself only."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


_nth = cache(Nth)


class _Unlike(Exception):
    """What cannot be told."""


class Told:
    """Calls and their tensors."""

    def __init__(self, earlier: Iterable[tuple[int | None, Tensor]] = ()) -> None:
        """earlier: tensors with their numbers; None for what is no state, which cannot be told."""
        self.calls: list[Heard] = []
        self.told: list[Hashable] = []  # of each call
        self.tensors: list[Tensor] = []  # what calls were made on and gave, by number
        self.found: list[tuple[Nth, Tensor]] = []  # of these and of earlier states what no call here gave
        self._earlier = {id(x): (number, x) for number, x in earlier}
        self._marks: dict[int, Nth] = {}
        self._versions: dict[int, int] = {}

    def hear(self, call: Heard) -> bool:
        """False where something in it cannot be told, or was written since it was met: then it is not heard."""
        try:
            told: list[Hashable] = [call.name]
            for a in call.args:
                kind = type(a)
                told.append(self._mark(a) if kind in _TENSORS else a if kind in _CONSTANTS else self._constant(a))
            for name, a in call.kwargs.items() if call.kwargs else ():
                told += [name, self._mark(a) if type(a) in _TENSORS else self._constant(a)]
            out = call.out
            for x in (out,) if type(out) is Tensor else call.gave:
                if type(x) in _TENSORS:
                    told += [x.shape, x.dtype]
                    self._number(x)
                else:
                    told.append(self._constant(x))
        except _Unlike:
            return False
        if list in map(type, call.args):  # they may be others later
            call = call._replace(args=tuple([[*a] if type(a) is list else a for a in call.args]))
        self.calls.append(call)
        self.told.append(tuple(told))
        return True

    def number(self, x: Tensor) -> int | None:
        mark = self._marks.get(id(x))
        return None if mark is None else mark.number

    def version(self, x: Tensor) -> int | None:
        """How often its memory had been written when it was met."""
        return self._versions.get(id(x))

    def _mark(self, x: Tensor) -> Nth:
        mark = self._marks.get(id(x))
        if mark is None:
            return self._meet(x)
        now = version(x)
        if self._versions[id(x)] != now:
            base = x._base  # of a view, torch may count the writes to what it is a view of only after the call
            if self._versions[id(x)] or base is None or self._versions.get(id(base)) != now:
                raise _Unlike
            self._versions[id(x)] = now
        return mark

    def _meet(self, x: Tensor) -> Nth:
        """A tensor that no call here gave."""
        if id(x) not in self._earlier:
            mark = self._number(x)
        else:
            number, _ = self._earlier[id(x)]
            if number is None:
                raise _Unlike
            mark = self._marks[id(x)] = _nth(number)
            self._versions[id(x)] = version(x)
        self.found.append((mark, x))
        return mark

    def _number(self, x: Tensor) -> Nth:
        mark = self._marks[id(x)] = _nth(len(self.tensors))
        self.tensors.append(x)
        self._versions[id(x)] = version(x)
        return mark

    def _constant(self, x: Any) -> Hashable:
        """An argument that is no tensor, but may hold some."""
        kind = type(x)
        if kind in _CONSTANTS:
            return x  # type: ignore[no-any-return]
        if kind in (tuple, list, torch.Size):
            return (kind, *[self._mark(y) if type(y) in _TENSORS else self._constant(y) for y in x])
        if kind is slice:
            return (slice, *[self._constant(y) for y in (x.start, x.stop, x.step)])
        raise _Unlike
