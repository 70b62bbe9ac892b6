"""A layer read as another one was: the same calls, so the same states, writes and heads, of tensors of its own.

    layer 0, read whole    a write whose input is what call 9 gave, as rows, whose values are a view of what call 3 gave
    layer 1, alike         the same write, of what its calls 9 and 3 gave

A reading is kept as numbers of tensors and as views of these, never as tensors of a prompt, and only where nothing in
it was computed or decided by numbers; else a layer is read whole. Sums and checks are made of each layer anew.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .aliases import memory
from .heads import Heads
from .linear import LinearMap
from .nodes import TOLD, Node
from .paths import Path
from .told import Told
from .writes import LayerState, LinearWrite

_MOST = 64  # kinds of layers
_MADE_ANEW = {LinearWrite: ("module", "reads", "error"), Heads: ("error", "future")}
_PLAIN = {int, float, bool, str, type(None)}
_TENSORS = {Tensor, nn.Parameter}
_known: dict[Hashable, Reading | None] = {}


class Unlike(Exception):
    """Something that no other layer is known to share."""


class Here(NamedTuple):
    """A layer that is to be read as another one was."""

    stretch: Told
    kind: Hashable  # of it
    before: Sequence[Node]  # the states before it, the last the nearest
    names: Mapping[int, str]  # of modules, by their ids

    def tensor(self, number: int) -> Tensor:
        return self.stretch.tensors[number] if number >= 0 else self.before[number].value


_Make = Callable[[Here], Any]


@dataclass(frozen=True)
class State:
    """One state of the layer that was read."""

    number: int  # of its value
    op: str
    carried: int  # the state it continues, counted from the first of the layer
    path: _Make
    writes: tuple[_Make, ...]
    place: tuple[Any, ...]  # in its stretch
    simple: bool


@dataclass(frozen=True)
class Reading:
    """What was read of one layer."""

    states: tuple[State, ...]
    calls: frozenset[str]


def known_reading(given: Hashable, kind: Hashable) -> Reading | None:
    """What was read of a layer alike. given: whatever it depends on besides the calls."""
    return _known.get((given, kind))


def keep_reading(
    given: Hashable, layer: Here, states: Sequence[LayerState], made: Sequence[Node], calls: frozenset[str]
) -> None:
    """Keeps what was read of a layer, if others can be read as it was. made: the nodes of its states."""
    key = given, layer.kind
    if key in _known:
        return
    try:
        _known[key] = None if TOLD in calls else _Kept(layer).reading(states, made, calls)
    except Unlike:
        _known[key] = None
    while len(_known) > _MOST:
        _known.pop(next(iter(tuple(_known))), None)  # another thread may add one meanwhile


class _Same:
    """What is the same in every layer."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __call__(self, _layer: Here) -> Any:
        return self.x


class _Kept:
    """What was read of a layer as functions that make it again of another one."""

    def __init__(self, layer: Here) -> None:
        self.layer = layer
        self.n_before = len(layer.before)
        self.at: dict[int | None, list[int]] = {}  # memory -> the numbers of the tensors in it
        for k in range(-self.n_before, len(layer.stretch.tensors)):
            self.at.setdefault(memory(layer.tensor(k)), []).append(k)
        self.given = {id(x) for call in layer.stretch.calls for x in call.gave}

    def reading(self, states: Sequence[LayerState], made: Sequence[Node], calls: frozenset[str]) -> Reading:
        if len(states) != len(made):
            raise Unlike
        return Reading(tuple(self.state(s, n) for s, n in zip(states, made, strict=True)), calls)

    def state(self, s: LayerState, n: Node) -> State:
        number = self.layer.stretch.number(n._value)
        if number is None or number < 0 or s.carried is None or s.place is None or len(n.shape) > 3:
            raise Unlike
        k, path = s.carried
        writes = tuple(self.write(w) for w in s.writes)
        return State(number, n.op, k - self.n_before, self.path(path), writes, s.place[1:], s.simple)

    def path(self, path: Any) -> _Make:
        if not isinstance(path, Path) or path.rows is not None or path.shifted:
            raise Unlike
        return self.again(path)

    def write(self, w: Any) -> _Make:
        """Of a module, and of heads that stand one after the other: nothing of it was decided by numbers."""
        named = isinstance(w, LinearWrite) and w.module == self.layer.names.get(id(w.map.module))
        if not named or w.beside is not None or not (w.heads is None or w.heads.is_plain):
            raise Unlike
        self.path(w.path)
        for p in () if w.heads is None else w.heads.products:
            if any(id(self.layer.tensor(k)) not in self.given for k in self.at.get(memory(p.value), ())):
                raise Unlike  # values of an earlier layer: which one differs
        make, reads = self.fields(w), None if w.reads < 0 else w.reads - self.n_before

        def made(layer: Here) -> LinearWrite:
            found: LinearWrite = make(layer)
            found.module = layer.names.get(id(found.map.module), "?")
            found.reads = -1 if reads is None else len(layer.before) + reads
            return found

        return made

    def again(self, x: Any) -> _Make:
        if isinstance(x, Tensor):
            return self.view(x)
        if isinstance(x, LinearMap):
            return self.map(x)
        if type(x) in (tuple, list):
            kind, makes = type(x), [self.again(y) for y in x]
            if kind is tuple and all(isinstance(make, _Same) for make in makes):
                return _Same(x)
            return lambda layer: kind([make(layer) for make in makes])
        if is_dataclass(x):
            return self.fields(x)
        if type(x) in _PLAIN:
            return _Same(x)
        raise Unlike

    def fields(self, x: Any) -> _Make:
        kind, same, makes = type(x), {}, []
        for f in fields(x):
            if f.name in _MADE_ANEW.get(kind, ()):
                same[f.name] = f.default
                continue
            make = self.again(getattr(x, f.name))
            if isinstance(make, _Same):
                same[f.name] = make.x
            else:
                makes.append((f.name, make))
        if not makes and kind.__dataclass_params__.frozen:
            return _Same(x)

        def made(layer: Here) -> Any:
            found = object.__new__(kind)
            vars(found).update(same)
            for name, make in makes:
                vars(found)[name] = make(layer)
            return found

        return made

    def map(self, x: LinearMap) -> _Make:
        calls = self.layer.stretch.calls
        by = [k for k, call in enumerate(calls) if call.module is x.module]
        if len(by) != 1 or x.module is None or x._weight is not None or x._bias is not None or x.group:
            raise Unlike
        return lambda layer: LinearMap(module=layer.stretch.calls[by[0]].module)

    def view(self, x: Tensor) -> _Make:
        """As a view of the tensor in the same memory that is most like it."""
        if not x.numel():
            raise Unlike
        shape, stride, start = x.shape, x.stride(), x.storage_offset()
        near = ((k, self.layer.tensor(k)) for k in self.at.get(memory(x), ()))
        found = [(k, y) for k, y in near if y.dtype == x.dtype and type(y) in _TENSORS]
        if not found:
            if x.dtype in (torch.int64, torch.int32):  # where heads stand, which outputs of a map: by the calls alone
                return _Same(x)
            raise Unlike
        same = [(k, y) for k, y in found if (y.shape, y.stride(), y.storage_offset()) == (shape, stride, start)]
        k, of = (same or found)[0]
        by, strides = start - of.storage_offset(), of.stride()

        def made(layer: Here) -> Tensor:
            y = layer.tensor(k)
            if y.stride() != strides:
                raise Unlike
            y = y.detach() if y.requires_grad else y  # which as_strided does not do by itself
            return torch.as_strided(y, shape, stride, y.storage_offset() + by)

        return made
