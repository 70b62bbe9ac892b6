"""Passes with changed states, and which rows of what they moved.

Knows nothing of what that means for a part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .decomposition.nodes import FRESH, Place
from .decomposition.ops import IDENTITY, PICK, VIEW
from .decomposition.paths import Path
from .decomposition.streams import Streams
from .decomposition.writes import LayerState, Recording, Write
from .fidelity import coarsest
from .labels import At
from .parts import Part, State, assembled, wide

Pass = Callable[[list[int], dict[Place, Tensor]], Recording]  # (token ids, values to go on with) -> what was recorded
_SIZES = 1.5, 5.0  # of a change, in sizes of the row; larger ones show where the order of rows decides
_AT_ONCE = 2**20  # numbers compared: logits are many


@dataclass
class Seen:
    """Which rows moved in one pass, of everything: [pos] each, None where the two passes cannot be compared."""

    changed: Tensor  # [state, pos], bool
    moved: dict[At, Tensor | None]  # of attention: of its values
    outputs: dict[At, Tensor | None]
    carried: dict[int, Tensor | None]
    below: Tensor | None  # of the first state, as the pass made it
    above: Tensor | None  # of the logits
    calls: list[frozenset[str]]

    def strays(self, rows: Tensor | None, changed: Tensor) -> bool:
        return rows is not None and bool((rows & ~changed).any())


class Passes:
    """A recording of a prompt, and more passes over it to compare it with."""

    def __init__(self, run: Pass, ids: list[int], clean: Recording, other_tokens: bool = True) -> None:
        self.run, self.ids, self.clean, self.n, self.other_tokens = run, ids, clean, len(ids), other_tokens
        self.states = assembled(clean)
        assert clean.embedding is not None
        self.values: list[LayerState] = [clean.embedding, *(s for layer in clean.layers for s in layer.states)]
        self.parts = {(s.index, number): p for s in self.states for number, p in enumerate(s.parts)}
        self.outputs = {at: p.output(self.n) for at, p in self.parts.items()}
        self.calls = _calls(clean)
        self.generator = torch.Generator().manual_seed(len(ids))
        self.n_passes = 0
        self.unmet: set[int] = set()  # states that no pass could change

    def look(self, changed: Tensor) -> Seen:
        by = _SIZES[self.n_passes % len(_SIZES)]
        self.n_passes += 1
        forced, given = dict[Place, Tensor](), list[Tensor | None]()
        for s, rows in zip(self.values, changed, strict=True):
            if s.place is None:
                given.append(None)
                continue
            streams = Streams.of(s.place[2], self.n)
            value = wide(s.value)
            noise = torch.randn(value.shape, generator=self.generator).to(value)
            size = value.pow(2).mean(-1, keepdim=True).sqrt().clamp_min(1e-3)
            value = torch.where(rows[:, None].to(value.device), value + by * size * noise, value).to(s.value.dtype)
            given.append(value)
            forced[s.place] = value.reshape(s.place[2]) if streams is None else streams.shaped(value)
        recording = self.run(self._other_tokens(changed[0]) if self.other_tokens else self.ids, forced)
        return self._compared(recording, changed, given)

    def _other_tokens(self, rows: Tensor) -> list[int]:
        """Other tokens of the same prompt at these positions (a new one might be special)."""
        others = sorted(set(self.ids))
        if len(others) == 1:
            return [
                i + 1 if change and i == 0 else i - 1 if change else i for i, change in zip(self.ids, rows, strict=True)
            ]
        at = {i: k for k, i in enumerate(others)}
        return [others[at[i] - 1] if change else i for i, change in zip(self.ids, rows.tolist(), strict=True)]

    # ---- what moved ----

    def _compared(self, recording: Recording, changed: Tensor, given: list[Tensor | None]) -> Seen:
        states = assembled(recording)
        self.unmet.update(k for k, s in enumerate(self.values) if s.place is None or s.place not in recording.natural)
        was_forced = [
            len(states) == len(given) and value is not None and torch.equal(s.value, value)
            for s, value in zip(states, given, strict=False)
        ]
        moved, outputs, carried = dict[At, Tensor | None](), dict[At, Tensor | None](), dict[int, Tensor | None]()
        for at, p in self.parts.items():
            q = self._again(at, states, was_forced)
            some = any(_of_some_tokens(w) for w in p.writes)
            outputs[at] = None if q is None else self._moved(self.outputs[at], q.output(self.n), coarse=some)
            moved[at] = outputs[at] if q is None or p.heads is None else self._moved_values(p, q)
        for s in self.states[1:]:
            if s.path.steps and len(was_forced) == len(self.states) and all(was_forced[s.carried or 0 : s.index + 1]):
                again = states[s.index]
                a, b = (t[s.index].path.apply(wide(t[s.carried or 0].value)) for t in (self.states, states))
                carried[s.index] = self._moved(a, b) if again.carried == s.carried and a.shape == b.shape else None
        return Seen(changed, moved, outputs, carried, *self._moved_ends(recording), _calls(recording))

    def _again(self, at: At, states: list[State], was_forced: list[bool]) -> Part | None:
        """The same part in another pass, if that made it in the same way and had the states that it was to have."""
        k, number = at
        mine, theirs = self.states[k].parts, states[k].parts if k < len(states) else []
        p = mine[number]
        oldest = min((i for i in (p.reads, self.states[k].carried) if i is not None and i >= 0), default=k)
        if not theirs or not all(was_forced[oldest : k + 1]):
            return None
        if [q.kind for q in mine] == [q.kind for q in theirs]:
            q = theirs[number]
        else:
            wrote = [{w.module for w in q.writes} for q in theirs]
            own = {w.module for w in p.writes}
            if wrote.count(own) == 1:
                q = theirs[wrote.index(own)]
            elif all(_of_some_tokens(w) for w in p.writes) and own.isdisjoint(set().union(*wrote)):
                return replace(p, _output=torch.zeros_like(self.outputs[at]))  # an expert that no token went to
            else:
                return None
            if q.kind != p.kind:
                return None
        return q if (p.heads is None) == (q.heads is None) else None

    def _moved_values(self, p: Part, q: Part) -> Tensor | None:
        assert p.heads is not None
        assert q.heads is not None
        pairs = list(zip(p.heads.products, q.heads.products, strict=False))
        if len(p.heads.products) != len(q.heads.products) or any(a.value.shape != b.value.shape for a, b in pairs):
            return None
        rows = torch.stack([self._moved(a.value, b.value, (0, 2)) for a, b in pairs]).any(0)
        return rows if len(rows) == self.n else None

    def _moved(self, a: Tensor, b: Tensor, over: tuple[int, ...] = (-1,), *, coarse: bool = False) -> Tensor:
        """Which rows differ by more than rounding: [row], bool.

        coarse: they may stand elsewhere in what was multiplied, where they are rounded otherwise (experts).
        """
        value = self.values[0].value
        eps = torch.finfo(coarsest(value) if coarse else value.dtype).eps
        may = (4 if eps > 1e-4 else 32) * eps

        def differ(a: Tensor, b: Tensor) -> Tensor:
            a, b = wide(a.detach()).cpu(), wide(b.detach()).cpu().to(torch.promote_types(a.dtype, torch.float32))
            return ~((a - b).abs().amax(over) <= may * torch.maximum(a.abs(), b.abs()).amax(over))

        if over != (-1,):
            return differ(a, b)
        at_once = max(1, _AT_ONCE // a.shape[-1])
        return torch.cat([differ(*some) for some in zip(a.split(at_once), b.split(at_once), strict=True)])

    def _moved_ends(self, recording: Recording) -> tuple[Tensor | None, Tensor | None]:
        first, below, above = self.values[0], None, None
        natural = recording.natural.get(first.place) if first.place else None
        if natural is not None:
            streams = Streams.of(tuple(natural.shape), self.n)
            below = self._moved(first.value, streams.rows(natural) if streams else natural.reshape(self.n, -1))
        a, b, end = self.clean.logits, recording.logits, self.values[-1].place
        if a is not None and b is not None and a.shape == b.shape and a.shape[1:2] == (self.n,) and end:
            above = self._moved(a[0], b[0])
        return below, above


def _of_some_tokens(w: Write) -> bool:
    return not isinstance(w.path, Path) or w.path.rows is not None


def _calls(recording: Recording) -> list[frozenset[str]]:
    """What each layer called; a buffer that is made at the first call only is no other call."""
    return [layer.calls - FRESH - IDENTITY - VIEW - PICK for layer in recording.layers]
