"""What a forward pass is read as: layers, their states, and the writes that enter each."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, Literal

from torch import Tensor, nn

from .alone import Call
from .heads import Heads
from .linear import LinearMap
from .nodes import TOLD, Place
from .paths import Path
from .readout import Readout
from .streams import Spread

WriteKind = Literal["attention", "mlp", "mixer", "skip", "embedding", "constant", "opaque"]


class UndecomposableError(RuntimeError):
    """The model cannot be written exactly as a residual stream plus parts; the message says where and why.

    >>> run = lmtt.record(model, prompt, strict=False)  # shows what would be refused as a part of its own
    """


class ForwardError(RuntimeError):
    """The model's own forward pass failed; the message says in which module, the cause is the model's exception.

    >>> try:
    ...     run = lmtt.record(model, prompt)
    ... except lmtt.ForwardError as error:
    ...     print(error)
    """


@dataclass
class Write:
    """One vector per row that was added to the stream."""

    kind: WriteKind
    module: str  # path of the module or parameter; a label only
    path: Path | Spread
    output: Tensor  # [leaf row, d_model], before the path
    reads: int = -1  # index of the state it was computed from; -1: none
    simple: bool = True  # no call between that state and this write can move anything from token to token
    beside: Write | None = None  # the write in whose part it stands: of an edit, which puts it in place of some rows

    def total(self, n_rows: int) -> Tensor:
        return self.path.total(self.output, n_rows)


@dataclass
class LinearWrite(Write):
    """The output of a linear map: input W + b."""

    map: LinearMap = field(kw_only=True)
    input: Tensor = field(kw_only=True)  # [leaf row, n]: z of an attention write, neuron values of an MLP write
    heads: Heads | None = None
    gate: Tensor | None = None  # [leaf row, n]: before its activation, where the input is act(gate) * up
    up: Tensor | None = None  # [leaf row, n]
    gated_by: tuple[tuple[LinearMap, Tensor], ...] = ()  # the maps that made both, and which of their outputs [n]
    error: Tensor | None = None  # [], largest relative error of `input W + b = output`
    number: int | None = None  # of an expert, where its label does not say it
    looks_back: bool = False  # of attention: no later token can matter to its pattern but by its own weight

    def let_go(self) -> None:
        """Keeps what was written and the values of heads, but not what the rest was made of."""
        self.input, self.gate, self.up = self.input[:0].clone(), None, None
        for product in self.heads.products if self.heads is not None else ():
            product.made = product.scores = product.gate = None

    def expert(self, row: int) -> int | None:
        """The number of the expert that wrote leaf row `row`: by its batched weight or by the label."""
        if self.map.group:
            return row // self.map.group
        if self.number is not None:
            return self.number
        found = re.search(r"experts?\b.*?(\d+)", self.module)
        return int(found[1]) if found else None


@dataclass
class LayerState:
    value: Tensor  # [pos, d_model]
    carried: tuple[int, Path | Spread] | None  # index of the state it continues, with its frozen steps
    writes: list[Write]
    error: Tensor  # [], largest relative error of the sum
    place: Place | None = None  # where the pass made it
    simple: bool = True  # no call between the states before and this one can move anything from token to token


@dataclass
class Layer:
    index: int
    module: str
    states: list[LayerState]  # those made in it
    calls: frozenset[str] = frozenset()  # the names on its tape


@dataclass
class Recording:
    layers: list[Layer] = field(default_factory=list)
    embedding: LayerState | None = None
    readout: Readout | None = None
    logits: Tensor | None = None  # [1, pos, d_vocab]
    reached: Tensor | None = None  # where the pass ended at a state: what that was changed to, [pos, d_model]
    given: tuple[Tensor, Tensor] | tuple[None, None] = (None, None)  # rows the model gave, and these, if only some
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what is exact, but not resolved as usual
    simple_end: bool = True  # nor between the last state and the logits
    natural: dict[Place, Tensor] = field(default_factory=dict)  # what was made where the pass was forced on
    given_to: list[Call | None] = field(default_factory=list)  # layers, in the order in which they ran
    call_by_call: bool = False  # also what TorchScript and C++ did inside was taped

    @property
    def keeps_rows(self) -> bool:
        """Can no call that was heard of move anything from token to token, but for attention?"""
        states = [s for layer in self.layers for s in layer.states] + ([self.embedding] if self.embedding else [])
        writes = [w for s in states for w in s.writes]
        back = all(w.heads is None or w.looks_back for w in writes if isinstance(w, LinearWrite))
        if any(TOLD in layer.calls for layer in self.layers):
            return False
        return back and self.simple_end and all(s.simple for s in states) and all(w.simple for w in writes)

    @property
    def has_unknown(self) -> bool:
        """Is there a branch that was made from nothing that the tape heard of?"""
        states = [s for layer in self.layers for s in layer.states]
        return any(isinstance(w, LinearWrite) and w.reads < 0 for s in states for w in s.writes)


def tensors_in(x: Any) -> list[Tensor]:
    """All tensors that a reading holds, but for the model's own parameters."""
    found: list[Tensor] = []
    stack = [x]
    while stack:
        x = stack.pop()
        kind: Any = type(x)
        if kind is Tensor:
            found.append(x)
        elif kind is list or kind is tuple:
            stack.extend(x)
        elif fields_of := _fields_of(kind):
            stack.extend([y for name in fields_of if (y := getattr(x, name)) is not None])
        elif isinstance(x, Tensor) and not isinstance(x, nn.Parameter):
            found.append(x)
        elif isinstance(x, (list, tuple)):
            stack.extend(x)
    return found[::-1]


@cache
def _fields_of(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind)) if is_dataclass(kind) else ()
