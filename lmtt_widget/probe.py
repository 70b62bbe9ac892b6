"""What each part depends on, seen by changing states at some tokens and looking at what moves.

That sums close says nothing about what a branch reads. So the pass is repeated with every state forced to its value,
but for a change at some tokens. First the same tokens in all states, a random half and then the other half: whatever is
of one token may move only there. Then a random half of its own for every state: what moves is what reads that state.

    all states changed at tokens  0 . 2 . . 5 6      an MLP moves at                   0 . 2 . . 5 6
                                                     one that looks a token back at    0 1 2 3 . 5 6  -> a mixer
    state 1 changed at 1 2 4, state 2 at 0 4 6       an MLP that reads state 2 at      0 . . . 4 . 6

Once all states are changed at the later half of the tokens: then nothing before may move.

A pair of tokens in the same half is not told apart. Where a call may move rows (indexing, sorting, anything that is not
known to work on each row by itself) the passes are more, and every pair is.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .decomposition.nodes import FRESH, Place
from .decomposition.ops import IDENTITY, PICK, VIEW
from .decomposition.streams import Streams
from .decomposition.writes import LayerState, Recording
from .fidelity import coarsest
from .parts import Part, PartKind, State, assembled, named, wide

Pass = Callable[[list[int], dict[Place, Tensor]], Recording]  # (token ids, values to go on with) -> what was recorded
LONGEST, SHORTEST = 32, 6  # tokens of the prompt it is done on
_CHANGE, _LARGE_CHANGE = 1.5, 5.0  # of a row's size; the larger where the order of rows may decide
_BELOW = "tokens are mixed before the first layer that was found; pass layers=..."
_ABOVE = "tokens are mixed after the last layer that was found; pass layers=..."


@dataclass(frozen=True)
class Label:
    """What one part is, as far as changing states can tell."""

    kind: PartKind
    reads: int
    also: tuple[int, ...] = ()  # earlier states it reads besides
    note: str | None = None  # what it was taken for, and why it is none


@dataclass(frozen=True)
class Probed:
    """The labels of all parts of a model, and what cannot be drawn truly."""

    labels: dict[tuple[int, int], Label]  # (state, number among its parts) -> what it is
    problems: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()  # what could not be probed, in words

    def __str__(self) -> str:
        return "labels probed" if not self.unseen else f"labels probed but for {'; '.join(self.unseen)}"


def structure(recording: Recording) -> tuple[object, ...]:
    """What two recordings of the same model have in common for the labels of one to hold for the other."""
    return tuple(
        (
            layer.calls,
            tuple((s.carried[0], frozenset((w.kind, w.reads) for w in s.writes)) for s in layer.states if s.carried),
        )
        for layer in recording.layers
    )


def relabel(states: list[State], probed: Probed) -> list[str]:
    """Puts what was seen in place of what was read off the tape; what that changes, in words."""
    notes = []
    for s in states:
        for k, p in enumerate(s.parts):
            label = probed.labels.get((s.index, k))
            if label is not None:
                p.kind, p.reads, p.also, p.probed = label.kind, label.reads, label.also, True
                if label.note:
                    notes.append(label.note)
    named(states)
    return notes


def probed_labels(run: Pass, ids: list[int], clean: Recording | None = None) -> Probed:
    """Labels for the parts of a model, from a recording of `ids` (`clean`) and two or three more.

    A longer prompt is cut and a shorter one repeated; where the model does not take that, `ids` is used as it is.
    """
    if not SHORTEST <= len(ids) <= LONGEST:
        other = ids[:LONGEST] if len(ids) > LONGEST else list(itertools.islice(itertools.cycle(ids), SHORTEST))
        with contextlib.suppress(RuntimeError):  # a hook of the user's on one position, fewer positions than tokens
            again = run(other, {})
            if clean is None or structure(again) == structure(clean):
                clean, ids = again, other
    try:
        return _Probe(run, ids, clean or run(ids, {})).result()
    except RuntimeError as e:  # what the model or its reading cannot do with changed states
        return Probed({}, unseen=(f"everything ({type(e).__name__}: {e})",))


class _Probe:
    def __init__(self, run: Pass, ids: list[int], clean: Recording) -> None:
        self.run, self.ids, self.clean, self.n = run, ids, clean, len(ids)
        self.states = assembled(clean)
        assert clean.embedding is not None
        self.values: list[LayerState] = [clean.embedding, *(s for layer in clean.layers for s in layer.states)]
        self.generator = torch.Generator().manual_seed(len(ids))
        self.changed: list[Tensor] = []  # per pass: [state, pos], bool
        self.seen: list[tuple[Recording, list[State]]] = []
        self.given: list[list[Tensor | None]] = []  # per pass: what each state was to be
        self.unlike: set[int] = set()  # states that other passes made in another way
        self.alike: list[int] = []  # the passes in which all states were changed at the same tokens
        linear = [w for s in self.values for w in s.writes if w.kind != "constant"]
        self.simple = clean.simple_end and all(s.simple for s in self.values) and all(w.simple for w in linear)

    def result(self) -> Probed:
        n, some = self.n, torch.arange(self.n)
        half = torch.randperm(n, generator=self.generator) < n // 2
        self._look_alike(half)
        self._look_alike(~half)
        self._look(torch.stack([torch.randperm(n, generator=self.generator) < n // 2 for _ in self.values]))
        self._look_alike(some >= n // 2)
        labels, problems = self._labels()
        turned = any(p.kind == "mixer" and labels[at].kind == "mlp" for at, p in self._parts() if at in labels)
        if turned or not self.simple:
            for rows in _codes(n):
                self._look_alike(rows, _LARGE_CHANGE)
            labels, problems = self._labels()
        other_calls = any(_calls(r) != _calls(self.clean) for r, _ in self.seen)
        if problems or other_calls or any(label.note for label in labels.values()):
            unsteady = self._unsteady()
            if unsteady:
                return Probed({}, (unsteady,))
        return Probed(labels, tuple(problems), tuple(self._unseen()))

    def _parts(self) -> Iterator[tuple[tuple[int, int], Part]]:
        return (((s.index, number), p) for s in self.states for number, p in enumerate(s.parts))

    # ---- passes ----

    def _look_alike(self, rows: Tensor, by: float = _CHANGE) -> None:
        """All states changed at the same tokens."""
        self.alike.append(len(self.seen))
        self._look(rows.expand(len(self.values), -1), by)

    def _look(self, changed: Tensor, by: float = _CHANGE) -> None:
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
        recording = self.run(self._other_tokens(changed[0]), forced)
        self.changed.append(changed)
        self.given.append(given)
        self.seen.append((recording, assembled(recording)))

    def _other_tokens(self, rows: Tensor) -> list[int]:
        """Other tokens of the same prompt at these positions (a new one might be special)."""
        others = sorted(set(self.ids))
        if len(others) == 1:
            return [
                i + 1 if change and i == 0 else i - 1 if change else i for i, change in zip(self.ids, rows, strict=True)
            ]
        at = {i: k for k, i in enumerate(others)}
        return [others[at[i] - 1] if change else i for i, change in zip(self.ids, rows.tolist(), strict=True)]

    def _unsteady(self) -> str | None:
        """What moves although nothing is changed."""
        self._look(torch.zeros(len(self.values), self.n, dtype=torch.bool))
        recording, states = self.seen.pop()
        for layer, mine, theirs in zip(self.clean.layers, _calls(self.clean), _calls(recording), strict=False):
            if mine != theirs:
                return f"layer {layer.index}: makes other calls in a second equal pass (something kept between calls)"
        for s, again in zip(self.states, states, strict=False):
            for p, q in zip(s.parts, again.parts, strict=False):
                if bool(self._moved(p.output(self.n), q.output(self.n)).any()):
                    return f"{_where(p)} differs between two equal passes (randomness, or something kept between calls)"
        return None

    # ---- what moved ----

    def _moved(self, a: Tensor, b: Tensor, over: tuple[int, ...] = (-1,)) -> Tensor:
        """Which rows differ by more than rounding: [row], bool."""
        a, b = wide(a.detach()).cpu(), wide(b.detach()).cpu().to(torch.promote_types(a.dtype, torch.float32))
        eps = torch.finfo(coarsest(self.values[0].value)).eps
        size = torch.maximum(a.abs(), b.abs()).amax(over)
        return (a - b).abs().amax(over) > (4 if eps > 1e-4 else 32) * eps * size

    def _was_forced(self, which: int, first: int, stop: int) -> bool:
        """Were all of these states really changed in a pass? (Where a pass makes other calls, places are not met.)"""
        states, given = self.seen[which][1], self.given[which]
        return len(states) == len(given) and all(
            value is not None and torch.equal(s.value, value)
            for s, value in zip(states, given, strict=True)
            if first <= s.index < stop
        )

    def _rows(self, k: int, number: int, which: int) -> Tensor | None:
        """Of one part, the rows that moved in one pass: [pos]; None where the two cannot be compared."""
        states = self.seen[which][1]
        mine, theirs = self.states[k].parts, states[k].parts if k < len(states) else []
        if [p.kind for p in mine] != [p.kind for p in theirs]:
            return None
        p, q = mine[number], theirs[number]
        oldest = min(k for k in (p.reads, self.states[k].carried, p.state) if k is not None and k >= 0)
        if not self._was_forced(which, oldest, p.state):
            return None
        if p.heads is None or q.heads is None:
            return self._moved(p.output(self.n), q.output(self.n))
        found = [self._moved(a.value, b.value, (0, 2)) for a, b in zip(p.heads.products, q.heads.products, strict=True)]
        return found[0] if all(torch.equal(f, found[0]) for f in found) else torch.stack(found).any(0)

    def _labels(self) -> tuple[dict[tuple[int, int], Label], list[str]]:
        labels, problems = {}, []
        for at, p in self._parts():
            moved = [self._rows(*at, which) for which in range(len(self.seen))]
            if any(rows is None for rows in moved[:3]):
                self.unlike.add(at[0])
                continue
            found = self._label(p, moved)
            if isinstance(found, str):
                problems.append(found)
            else:
                labels[at] = found
        for s in self.states:
            mixed = any(
                labels[at].kind in ("attention", "mixer")
                for at, _ in self._parts()
                if at[0] == s.index and at in labels
            )
            if s.index and not mixed and not self._carries_rows(s.index):
                problems.append(f"layer {s.layer}: what the stream carries is scaled by other tokens")
        return labels, [*problems, *self._ends()]

    def _label(self, p: Part, moved: Sequence[Tensor | None]) -> Label | str:
        """What a part is, or why it cannot be drawn."""
        there = [(which, rows) for which, rows in enumerate(moved) if rows is not None]
        nowhere = not any(bool(rows.any()) for _, rows in there)
        exactly = p.heads is not None
        local = all(self._only_where_changed(rows, which, exactly) for which, rows in there if which in self.alike)
        if p.kind in ("constant", "rounding"):
            unknown = f"{_where(p)}: adds a vector that depends on the tokens, made by a call outside torch"
            return Label(p.kind, p.reads) if nowhere or all(w.simple for w in p.writes) else unknown
        if p.kind == "embedding":
            return Label(p.kind, p.reads) if local else _BELOW
        if nowhere and p.heads is None:
            return Label(p.kind, p.reads if p.kind == "mixer" else -1)
        if self._sees_later(p, [which for which, _ in there if which in self.alike]):
            return f"{_where(p)} looks at later tokens, so this is not a causal language model"
        mapped = p.kind == "mixer" and p.linear and p.linear[0].heads is None
        if local and (p.kind != "mixer" or mapped):
            kind: PartKind = "mlp" if p.kind == "mixer" else p.kind
            reads = self._states_behind(there[2][1], p)
            if reads:
                main = p.reads if p.reads in reads else reads[-1]
                also = tuple(k for k in reads if k != main)
                others = " and ".join(f"state {k}" for k in also)
                return Label(kind, main, also, f"{_where(p)} reads {others} besides state {main}" if also else None)
        if p.kind == "mixer":
            return Label("mixer", p.reads)
        why = "its values are not each of one token" if p.heads is not None else "it reads other tokens than its own"
        return Label("mixer", p.reads, note=f"{_where(p)} is shown as a mixer, without keys: {why}")

    def _only_where_changed(self, rows: Tensor, which: int, everywhere: bool) -> bool:
        may = self.changed[which][0]
        return len(rows) == self.n and not bool((rows != may).any() if everywhere else (rows & ~may).any())

    def _states_behind(self, rows: Tensor, p: Part) -> tuple[int, ...]:
        """The fewest earlier states, three at most, whose changes explain the rows that moved; oldest first."""
        earlier = list(dict.fromkeys(k for k in (p.reads, *range(p.state - 1, -1, -1)) if 0 <= k < p.state))
        changed = self.changed[2].numpy()
        moved = rows.numpy()
        inside = [k for k in earlier if not (changed[k] & ~moved).any()]  # only these can be among them
        groups = itertools.chain.from_iterable(itertools.combinations(inside, n) for n in (1, 2, 3))
        exact = next((g for g in groups if (changed[list(g)].any(0) == moved).all()), None)
        if exact is None and p.heads is None:
            exact = next(((k,) for k in earlier if not (moved & ~changed[k]).any()), None)
        return tuple(sorted(exact or ()))

    def _sees_later(self, p: Part, passes: list[int]) -> bool:
        """Did a row move although everything up to it stayed?"""
        number = next(k for k, q in enumerate(self.states[p.state].parts) if q is p)
        for which in passes:
            again = self.seen[which][1][p.state].parts[number]
            first = int(self.changed[which][0].int().argmax())
            if bool(self._moved(p.output(self.n), again.output(self.n))[:first].any()):
                return True
        return False

    def _carries_rows(self, k: int) -> bool:
        """Does the carried state arrive changed only where it was changed?

        Not to be told where attention enters as well: a norm after the sum is frozen at what attention added, too.
        """

        def carried(states: list[State], values: list[Tensor]) -> Tensor:
            return states[k].path.apply(values[states[k].carried or 0])

        if not self.states[k].path.steps:
            return True
        mine = carried(self.states, [wide(s.value) for s in self.states])
        for which in self.alike:
            states = self.seen[which][1]
            if k >= len(states) or states[k].carried != self.states[k].carried:
                continue
            theirs = carried(states, [wide(s.value) for s in states])
            if theirs.shape != mine.shape or not self._was_forced(which, states[k].carried or 0, k):
                continue
            if bool((self._moved(mine, theirs) & ~self.changed[which][0]).any()):
                return False
        return True

    def _ends(self) -> list[str]:
        """Is anything mixed below the first state or above the last?"""
        problems = []
        for (recording, _), changed in zip(self.seen, self.changed, strict=True):
            first = self.values[0]
            natural = recording.natural.get(first.place) if first.place else None
            if natural is not None:
                streams = Streams.of(tuple(natural.shape), self.n)
                rows = streams.rows(natural) if streams else natural.reshape(self.n, -1)
                if bool((self._moved(first.value, rows) & ~changed[0]).any()):
                    problems.append(_BELOW)
            a, b = self.clean.logits, recording.logits
            if a is None or b is None or a.shape != b.shape or a.shape[1:2] != (self.n,) or not self.values[-1].place:
                continue
            if bool((self._moved(a[0], b[0]) & ~changed[-1]).any()):
                problems.append(_ABOVE)
        return list(dict.fromkeys(problems))

    def _unseen(self) -> list[str]:
        found = [
            f"state {k}"
            for k, s in enumerate(self.values)
            if s.place is None or any(s.place not in r.natural for r, _ in self.seen)
        ]
        return [", ".join(found)] if found else []


def _codes(n: int) -> Tensor:
    """[pass, row]: of any two rows each is changed in some pass in which the other is not (Sperner 1928)."""
    length = next(k for k in itertools.count(2) if math.comb(k, k // 2) >= n)
    chosen = itertools.islice(itertools.combinations(range(length), length // 2), n)
    codes = torch.zeros(length, n, dtype=torch.bool)
    for row, passes in enumerate(chosen):
        codes[list(passes), row] = True
    return codes


def _calls(recording: Recording) -> list[frozenset[str]]:
    """What each layer called; a buffer that is made at the first call only is no other call."""
    return [layer.calls - FRESH - IDENTITY - VIEW - PICK for layer in recording.layers]


def _where(p: Part) -> str:
    layer = "before the layers" if p.layer is None else f"layer {p.layer}"
    return f"{layer}: {p.module}"
