"""States and the parts that enter each: a recording's writes grouped as they are shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from .decomposition.heads import Heads
from .decomposition.nodes import Place
from .decomposition.paths import Path
from .decomposition.streams import Spread
from .decomposition.vectors import vector_at
from .decomposition.writes import LayerState, LinearWrite, Recording, Write

PartKind = Literal["attention", "mlp", "mixer", "skip", "embedding", "constant", "rounding"]
_ORDER = ("attention", "mixer", "mlp", "skip", "embedding", "constant", "rounding")


@dataclass
class Part:
    """A vector per position that was added to the residual stream when one state was made.

    >>> run.parts[0].kind, run.parts[0].output(run.n_tokens).shape == run.value(0).shape
    ('attention', True)
    """

    kind: PartKind
    layer: int | None
    state: int  # the state it enters
    reads: int  # the state it was computed from; -1: none
    module: str  # a label only
    writes: list[Write]
    _output: Tensor | None = None
    number: int = -1  # its place in Run.parts, given once when the run is made
    also: tuple[int, ...] = ()  # earlier states it reads besides
    probed: bool = False  # whether what it reads was seen, not only read off the tape

    @property
    def linear(self) -> list[LinearWrite]:
        """The writes that are outputs of linear maps: one, or one per expert."""
        return [w for w in self.writes if isinstance(w, LinearWrite)]

    @property
    def heads(self) -> Heads | None:
        return self.linear[0].heads if self.kind == "attention" else None

    @property
    def n_heads(self) -> int:
        return self.heads.n_heads if self.heads else 0

    def output(self, n_tokens: int) -> Tensor:
        """What it added, in float32 or better: [pos, d_model]."""
        if self._output is not None:
            return self._output
        totals = [w.path.total(wide(w.output), n_tokens) for w in self.writes]
        return sum((t.to(totals[0].device) for t in totals[1:]), totals[0])  # experts may be on several devices

    def output_at(self, pos: int, n_tokens: int) -> Tensor:
        """The same at one position, without making the others: [d_model]."""
        found = [] if self._output is not None else [v for w in self.writes if (v := vector_at(w, pos)) is not None]
        return sum((v.to(found[0].device) for v in found[1:]), found[0]) if found else self.output(n_tokens)[pos]

    def __repr__(self) -> str:
        return f"Part({self.kind}, layer {self.layer}, {self.module}, state {self.reads} -> {self.state})"


@dataclass
class State:
    """A value of the residual stream and how it came about: one carried state plus the parts that enter here.

    >>> run.states[1].name, run.states[1].carried
    ('after attention', 0)
    """

    index: int
    layer: int | None
    name: str
    value: Tensor  # [pos, d_model], in the model's dtype
    carried: int | None  # the one earlier state it continues; None for the embedding
    path: Path | Spread  # the frozen steps the carried state goes through (none in most models)
    parts: list[Part] = field(default_factory=list)
    place: Place | None = field(default=None, repr=False)  # where the pass made it

    def __repr__(self) -> str:
        layer = "" if self.layer is None else f"layer {self.layer} "
        return f"State({self.index}, {layer}{self.name})"


def wide(x: Tensor) -> Tensor:
    """In float32 or better."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def assembled(recording: Recording) -> list[State]:
    """The states of a recording, oldest first, each with its parts; names are given by `named`."""
    assert recording.embedding is not None
    first = recording.embedding
    states = [State(0, None, "embedding", first.value, None, Path(), place=first.place)]
    if first.writes:
        states[0].parts.append(Part("embedding", None, 0, -1, ", ".join(w.module for w in first.writes), first.writes))
    for layer in recording.layers:
        for s in layer.states:
            states.append(state_of(s, layer.index, len(states)))
    return named(states)


def state_of(s: LayerState, layer: int | None, index: int) -> State:
    """One state that was read, with its parts; `named` gives it its name and sorts them."""
    assert s.carried is not None
    return State(index, layer, "", s.value, *s.carried, _grouped(s, layer, index), s.place)


def named(states: list[State]) -> list[State]:
    """The states after the embedding named by the kinds of their parts."""
    names = {"attention": "attention", "mixer": "mixer", "mlp": "MLP", "skip": "skip connection"}
    for s in states[1:]:
        s.parts.sort(key=lambda p: _ORDER.index(p.kind))
        kinds = dict.fromkeys(names[p.kind] for p in s.parts if p.kind in names)
        s.name = "after " + " and ".join(kinds) if kinds else "in between"
    return states


def all_parts(states: list[State]) -> list[Part]:
    """Parts that get shares first, by the state they enter; then constants, remainders, the embedding."""
    rank = {"constant": 1, "rounding": 2, "embedding": 3}
    parts = sorted((p for s in states for p in s.parts), key=lambda p: rank.get(p.kind, 0))
    for number, part in enumerate(parts):
        part.number = number
    return parts


def _grouped(s: LayerState, layer: int | None, index: int) -> list[Part]:
    """The writes of a state as parts: the experts of a mixture are one part, and so are the constants."""
    parts: dict[Any, Part] = {}
    mixtures = {(w.reads, m) for w in s.writes if (m := _mixture(w)) is not None and w.kind != "skip"}
    beside = set(mixtures)  # those that may still have one expert that every token goes through
    keys: dict[int, Any] = {}  # of the writes so far
    for w in s.writes:
        if w.beside is not None:
            parts[keys[id(w.beside)]].writes.append(w)
            continue
        kind: PartKind = "rounding" if w.kind == "opaque" else w.kind
        mixture = _mixture(w)
        here = sorted(m for reads, m in mixtures if reads == w.reads)
        if kind == "skip" and (here or _of_some_tokens(w)):
            kind, mixture = "mlp", here[0] if here else ""  # an expert that hands on what it was given
        elif kind == "mlp" and mixture is None:
            mixture = next((m for m in here if m and w.module.startswith(m) and (w.reads, m) in beside), None)
            beside.discard((w.reads, mixture or ""))  # a second one would have neurons of the same names
        if kind in ("constant", "rounding"):
            key: Any = kind
        elif w.path.shifted:
            key = (kind, w.reads, w.module if mixture is None else mixture, "at other tokens")
        elif mixture is not None and kind in ("mlp", "mixer"):
            key = (kind, w.reads, mixture)
        else:
            key = id(w)
        if key in parts:
            parts[key].writes.append(w)
        else:
            parts[key] = Part(kind, layer, index, w.reads, w.module, [w])
        keys[id(w)] = key
    for p in parts.values():
        _number_experts(p.linear)
    return list(parts.values())


def _mixture(w: Write) -> str | None:
    """What the labels of a mixture's experts begin with, "" where they say nothing; None for what is no expert's."""
    found = re.match(r"(.*?)\bexperts?\b", w.module)
    if found:
        return found[1]
    some = w.path.rows is not None or (w.path.picked and w.kind == "mlp")
    routed = (some and not w.path.shifted) or (isinstance(w, LinearWrite) and w.map.group > 0)
    return "" if routed else None


def _of_some_tokens(w: Write) -> bool:
    """Does it add rows of the stream where they were, but not all of them?"""
    rows = w.path.rows
    return rows is not None and bool(((rows == torch.arange(len(rows), device=rows.device)) | (rows < 0)).all())


def _number_experts(writes: Sequence[LinearWrite]) -> None:
    """Experts whose labels say no number are numbered by what differs in them, else in order."""
    if len(writes) < 2 or len({w.expert(0) for w in writes}) == len(writes) or any(w.map.group for w in writes):
        return
    split = [re.findall(r"\d+", w.module) for w in writes]
    columns = zip(*split, strict=True) if len({len(s) for s in split}) == 1 else ()
    by_label = next(([int(n) for n in column] for column in columns if len(set(column)) == len(writes)), None)
    for w, number in zip(writes, by_label or range(len(writes)), strict=True):
        w.number = number
