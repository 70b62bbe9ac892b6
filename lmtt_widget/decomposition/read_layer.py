"""One layer's tape read as states and writes, without a hook or a model: nodes in, states out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from . import alike
from .aliases import memory
from .alike import Unlike, known_reading
from .linear import is_constant, is_linear
from .mapped import rows_of
from .nodes import Node, Place, behind
from .ops import PICK, PUT, VIEW
from .paths import Path, Scale
from .plans import NO_PLAN, plan_of
from .products import is_attention_product
from .read_leaf import LeafReader, first_met
from .residual import Walk
from .rounding import backward_error
from .streams import Spread, Streams
from .terms import Term, summed, together
from .told import Told
from .writes import LayerState, UndecomposableError, Write, WriteKind


class LayerReader(LeafReader):
    """Reads the tapes of layers that run one after the other; what it cannot read it says in `problems`."""

    def embedding(self, h: Tensor, made: Node | None, taped: Iterable[Node]) -> LayerState:
        """The first layer's input, made by `made` from what is taped."""
        self.width = _width(made.args[0].value if made is not None and made.op == "forced" else h, taped)
        self.side = h.shape[-1] // self.width
        self._taped_before = [n.value for n in taped if not n.lost and len(n.shape) >= 3 and n.shape[-1] == self.width]
        writes = []
        if made is not None and made.op != "const":
            terms = self._walk().terms(made)
            for leaf, path, rows in together(terms, self.n_tokens, tuple(h.shape)):
                kind: WriteKind = "constant" if is_constant(leaf) else "opaque"
                if leaf.op == "embedding" or is_linear(leaf):
                    kind = "embedding"
                label = self.names.modules.get(id(leaf.module)) or self.names.parameters.get(id(leaf.value), leaf.op)
                writes.append(Write(kind, label, path, rows))
        place = None if made is None else _place(made)
        if (changed := self._in_place_of(made)) is not None:
            writes, place = [*writes, *changed.writes], changed.place
        value, error = _kept(_stream_rows(h, self.n_tokens), [(w.path, w.output) for w in writes])
        simple = made is not None and self.keeps_rows(made)
        self._by_row.clear()
        self._brought.clear()
        self._remember(made, value)
        return LayerState(value, None, writes, error, place, simple)

    def between(self, h: Tensor, made: Node | None, where: str) -> list[LayerState] | None:
        """The states up to a layer's input that is not the output of the layer before; None if its values are."""
        before = self.tops[0].value
        if h.shape == before.shape and torch.equal(h.to(before.device), before):
            return None
        n_problems = len(self.problems)
        try:
            states = [] if made is None else self._states_up_to(made, where)
        except UndecomposableError:
            states = []
        if not states or len(self.problems) > n_problems:
            self.problems.append(
                f"{where}: its input is not the previous layer's output (something acts between the layers)"
            )
        return states

    def layer(
        self,
        outs: Sequence[Node],
        where: str,
        taped: Iterable[Node],
        met: Sequence[Node] = (),
        kind: Hashable | None = None,
    ) -> list[LayerState]:
        """The states that a layer makes on its way to its output, or to one of each stream, oldest first.

        met: what is taped of this layer, in order, and kind: of its calls, for its plan; without it there is none.
        Raises UndecomposableError if an output is not the latest state of its stream plus something.
        """
        if kind is not None:
            self._plan = plan_of(kind, met, self.states, self.given_to_plans)
        in_order = sorted(enumerate(outs), key=lambda found: found[1].time)
        try:
            states = [state for stream, out in in_order for state in self._states_up_to(out, where, stream)]
        finally:
            self._plan = NO_PLAN
        kinds = {w.kind for s in states for w in s.writes}
        if "attention" not in kinds and any(is_attention_product(n) for n in taped):
            self.notes.append(
                f"{where}: attention does not reach the stream through one linear output projection, so it is shown as "
                "a mixer, without keys"
            )
        return states

    def as_another(
        self, stretch: Told, kind: Hashable, out: Tensor, number: int, time: int
    ) -> tuple[list[LayerState], frozenset[str]] | None:
        """The same, and the names of its calls, as they were read of a layer alike; None where none was kept.

        number: of its stretch of tape, which began at `time`.
        """
        reading, n_before = known_reading(self._given(out), kind), len(self.states)
        if reading is None or len(self.tops) > 1 or stretch.number(out) != reading.states[-1].number:
            return None
        layer = alike.Here(stretch, kind, tuple(self.states), self.names.modules)
        try:
            found = [(s, s.path(layer), [make(layer) for make in s.writes]) for s in reading.states]
        except Unlike:
            return None
        states = []
        for s, path, writes in found:
            n = Node(s.op, stretch.tensors[s.number], time=time + 1 + s.number)
            carried = n_before + s.carried
            parts = [(path, rows_of(self.states[carried].value)), *((w.path, w.output) for w in writes)]
            value, error = _kept(_stream_rows(n.value, self.n_tokens), parts)
            states.append(LayerState(value, (carried, path), writes, error, (number, *s.place), s.simple))
            self._remember(n, value)
            self.states.append(n)
            for w in writes:
                self._check(w)
                self._values.update((memory(p.value) or 0, w.reads) for p in (w.heads.products if w.heads else ()))
        self.tops = [n]
        return states, reading.calls

    def keep(
        self, stretch: Told, kind: Hashable, states: Sequence[LayerState], n_before: int, calls: frozenset[str]
    ) -> None:
        """Keeps what was read of a layer for others alike. n_before: how many states there were."""
        if len(self.tops) == 1 and states:
            layer = alike.Here(stretch, kind, tuple(self.states[:n_before]), self.names.modules)
            made = self.states[n_before:]
            alike.keep_reading(self._given(made[-1].value), layer, states, made, calls)

    def _given(self, out: Tensor) -> Hashable:
        return self.given_to_plans, out.device

    @property
    def given_to_plans(self) -> Hashable:
        """What answers depend on besides the calls."""
        return self.n_tokens, self.width, self.side

    def _walk(self, stops: Iterable[Node] = ()) -> Walk:
        return Walk(self.width, stops, self.side)

    def _states_up_to(self, out: Node, where: str, stream: int = 0) -> list[LayerState]:
        """The states from the latest one of a stream to `out`, oldest first."""
        states = []
        start, self._end = self.tops[stream], out
        for n in self._plan.nodes("states", [start, out], lambda: self._state_nodes(start, out, where)):
            state = self._state(n, where)
            if n is out or not _is_copy(state):
                states.append(state)
                self.states.append(n)
        self.tops[stream], self._end = out, None
        self._by_row.clear()  # which holds the tape
        self._brought.clear()
        return states

    def begin_with(self, *tops: Node) -> None:
        """The same states are the latest ones, as other nodes."""
        now = dict(zip(self.tops, tops, strict=False))
        self._copies = {now.get(n, n): copy for n, copy in self._copies.items()}
        self.states = [now.get(n, n) for n in self.states] or [tops[0]]
        self.tops = [now.get(n, n) for n in self.tops] or [*tops]
        self.side = max(self.side, len(self.tops))
        for k, state in enumerate(self.states):
            state.number = k - len(self.states)
            if state.op != "state":
                state.become_state()

    def _remember(self, n: Node | None, copy: Tensor) -> None:
        streams = None if n is None else Streams.of(n.shape, self.n_tokens)
        if n is not None and (streams is None or streams.token_first):
            self._copies[n] = copy

    def remembered(self) -> Iterator[Node]:
        """The states, while no other node is known: one whose value the pass has let go of is its copy from now on."""
        held = [(n, copy) for n, copy in self._copies.items() if not n.be_copied(copy)]
        self._copies = dict(held[-_HELD:])
        yield from self.states

    def source_of_both(self, one: Node | None, other: Node | None) -> Node | None:
        """The value of which both are copies: where two streams begin. From now on they are known as that."""
        if one is None or other is None:
            return None
        behind_other = {*behind([other])}
        common = [n for n in behind([one]) if n in behind_other and n.shape == one.shape and not n.lost]
        for n in sorted(common, key=lambda n: -n.time)[:_FEW_SOURCES]:
            ways = [Walk(one.shape[-1], [n], 2).terms(end) for end in (one, other)]
            if all(len(terms) == 1 and terms[0].leaf is n and terms[0].path == Path() for terms in ways):
                for copy in {one, other} - {n}:
                    copy.become_copy(n)
                return n
        return None

    def continues_second(self, out: Node) -> bool:
        """Is it what the second stream goes on as?"""
        top = self.tops[-1]
        return len(self.tops) > 1 and out.shape == top.shape and top in self._path(top, out)[1]

    def joined(self, end: Node) -> LayerState | int:
        """Where two streams become one on their way to what `end` is made of; or how many last states nothing reads.

        Raises UndecomposableError where they are read apart.
        """
        if {*first_met(end, self.states)} <= {self.tops[0]}:
            unread = len(self.states) - 1 - self.states.index(self.tops[0])
            del self.states[len(self.states) - unread :]
            return unread
        after = max(n.time for n in self.tops)
        later = sorted((n for n in behind([end], self.states.__contains__) if n.time > after), key=lambda n: n.time)
        for n in later:
            beside = behind([end], {n, *self.states}.__contains__)
            alone = all(m is n or m not in self.states for m in beside)
            fits = n.shape[-1] in (self.width, self.side * self.width)
            if alone and fits and Streams.of(n.shape, self.n_tokens) is not None:
                out = next((m for m in later if m.op == "forced" and m.first() is n), n)
                state = self._state(out, "after the last layer")
                self.states.append(out)
                self.tops = [out]
                return state
        raise UndecomposableError("after the last layer: the logits read two streams, and never both as one value")

    def changed_ahead(
        self, made: Node, met: Sequence[Node], change: Callable[[LayerState], LayerState | None], where: str
    ) -> Tensor | None:
        """What is to stand in place of a state while its layer still runs; `met` are the states before it there."""
        known, n_problems, n_notes = list(self.states), len(self.problems), len(self.notes)
        if known:
            self.states += met
            state = self._state(made, where)
            self.later.compare()
            self.states[:], self.problems[n_problems:], self.notes[n_notes:] = known, [], []  # it is read once more
        else:
            state = LayerState(_stream_rows(made.value, self.n_tokens).clone(), None, [], torch.zeros(()), made.place)
        changed = change(state)
        if changed is None:
            return None
        gone = [(w.path, -w.output) for w in state.writes if all(w is not v for v in changed.writes)]
        new = [(w.path, w.output) for w in changed.writes if all(w is not v for v in state.writes)]
        missed = _sum_error(changed.value, [(Path(), state.value), *gone, *new])
        changed.error = torch.maximum(state.error, missed.to(state.error.device))
        self.changed_but_not_read[made] = changed
        streams, value = Streams.of(made.shape, self.n_tokens), changed.value.to(made.value.dtype)
        return value.reshape(made.shape).clone() if streams is None else streams.shaped(value).clone()

    def _in_place_of(self, n: Node | None) -> LayerState | None:
        """The state that was put in place of the one this node stands for."""
        made = n.first() if n is not None and n.op == "forced" else None
        return None if made is None else self.changed_but_not_read.pop(made, None)

    def _state(self, n: Node, where: str) -> LayerState:
        """A value of the stream as the latest state that it continues, and what was added."""
        if (changed := self._in_place_of(n)) is not None:
            return changed
        index = self._index = {state: k for k, state in enumerate(self.states)}
        terms = self._terms(n)
        from_states = [(index[leaf], self._in_place(path), rows) for leaf, path, rows in terms if leaf in index]
        staying = [found for found in from_states if found[1].rows is None and not found[1].shifted]
        if not staying:
            raise UndecomposableError(f"{where}: the residual stream hands rows from token to token")
        carried = max(staying, key=lambda found: (found[0], not found[1].steps))
        writes = [self._write(leaf, path, rows, where) for leaf, path, rows in terms if leaf not in index]
        for found in from_states:
            if found is not carried:
                k, path, rows = found
                kind: WriteKind = "mixer" if path.shifted or path.rows is not None else "skip"
                label = f"skip from state {k}" if kind == "skip" else f"rows of state {k}, each from another token"
                writes.append(Write(kind, label, path, rows, k))
        parts = [carried[1:], *((w.path, w.output) for w in writes)]
        value, error = _kept(_stream_rows(n.value, self.n_tokens), parts)
        self._remember(n, value)
        simple = self._asked("keeps rows", [n], lambda: self.keeps_rows(n, self.states))
        return LayerState(value, carried[:2], writes, error, _place(n), simple)

    def _terms(self, n: Node) -> list[tuple[Node, Path | Spread, Tensor]]:
        """Each leaf of a value with its way into it and its rows; where all enter as they are, the plan knows which."""
        found: list[tuple[Node, Path | Spread, Tensor]] = []

        def read() -> None:
            found[:] = together(summed(self._walk(self.states).terms(n)), self.n_tokens, n.shape)

        def as_they_are() -> list[Node]:
            read()
            shape = self.n_tokens, self.width
            plain = (path == Path() and leaf.shape[-2:] == rows.shape == shape for leaf, path, rows in found)
            return [leaf for leaf, _, _ in found] if all(plain) else []

        leaves = self._plan.nodes("as they are", [n, self.states[-1]], as_they_are)
        if leaves and not found:
            return [(leaf, Path(), rows_of(leaf.value)) for leaf in leaves]
        if not found:
            read()
        return found

    def _in_place(self, path: Path | Spread) -> Path | Spread:
        """The same where no row goes to another token: rows that are dropped are multiplied by 0."""
        if isinstance(path, Spread) or path.rows is None or len(path.rows) != self.n_tokens:
            return path
        kept = path.rows == torch.arange(self.n_tokens, device=path.rows.device)
        if not bool((kept | (path.rows < 0)).all()):
            return path
        return Path(path.steps if bool(kept.all()) else (*path.steps, Scale(kept[:, None].float())))

    def _state_nodes(self, start: Node, out: Node, where: str) -> list[Node]:
        """The nodes of the residual path that a branch reads or where it forks, and the output, oldest first."""
        terms, on_path = self._path(start, out)
        if out.shape != start.shape or start not in on_path:
            ends = sorted({t.leaf.op for t in terms if not is_linear(t.leaf) and not is_constant(t.leaf)})
            why = f"the way back ends at {', '.join(ends)}" if ends else "its projections make the stream anew"
            raise UndecomposableError(f"{where}: no linear residual path from its input to its output; {why}")

        continued = Counter(p for n in on_path - {start} for p in n.parents() if p in on_path)
        states = {out}
        for t in terms:
            if t.leaf not in self.states and not is_constant(t.leaf):
                states.update(first_met(t.leaf, on_path))
        forks = (
            {n for n, times in continued.items() if times > 1 and Streams.of(n.shape, self.n_tokens)} - states - {start}
        )
        if forks:
            states.update(self._that_stay_apart(forks, states))
        return sorted(states - {start}, key=lambda n: n.time)

    def _path(self, start: Node, out: Node) -> tuple[list[Term], set[Node]]:
        """The terms of `out`, and the nodes through which the state `start` goes on to it whole."""
        walk = self._walk(self.states)
        terms = walk.terms(out)

        def continues(n: Node) -> bool:
            return any(t.leaf is start for t in walk.memo.get(n, ()))

        return terms, {n for n in behind([out], lambda n: n is start or not continues(n), _in_whole) if continues(n)}

    def first_after(self, time: int, out: Node) -> Node | None:
        """The first value made at a time or later through which the latest state goes on to `out`."""
        start = self.tops[0]
        later = [n for n in self._path(start, out)[1] if n.time >= time and n.shape == start.shape]
        found = min(later, key=lambda n: n.time, default=None)
        return next((n for n in later if n.op == "forced" and n.first() is found), found)  # what the pass goes on with

    def _that_stay_apart(self, forks: set[Node], states: set[Node]) -> set[Node]:
        """The forks of the residual path whose branches do not simply end up side by side (rows written one by one)."""
        stops, ways = {*self.states, *forks, *states}, Counter[Node]()
        for n in forks | states:
            ways.update(t.leaf for t in self._walk(s for s in stops if s is not n).terms(n))
        return {n for n in forks if ways[n] > 1}


def _width(h: Tensor, taped: Iterable[Node]) -> int:
    """Of one stream: narrower than the first layer's input where that is copies of an embedding side by side."""
    for width in sorted({n.shape[-1] for n in taped if n.op == "embedding"}):
        if 1 < width < h.shape[-1] and h.shape[-1] % width == 0:
            streams = h.detach().unflatten(-1, (-1, width))
            if torch.equal(streams, streams[..., :1, :].expand_as(streams)):
                return width
    return h.shape[-1]


def _stream_rows(x: Tensor, n_tokens: int) -> Tensor:
    """A value of the stream as one row per token."""
    streams = Streams.of(tuple(x.shape), n_tokens)
    return rows_of(x) if streams is None else streams.rows(x)


def _place(n: Node) -> Place | None:
    """Where the pass made a value; of a view that was written through another one, where that was."""
    while n.place is None and n.op in VIEW and isinstance(n.args[0], Node):
        n = n.args[0]
    return n.place


def _is_copy(state: LayerState) -> bool:
    """A cast or copy of an earlier state."""
    return state.carried is not None and not state.carried[1].steps and not state.writes


def _kept(made: Tensor, parts: Sequence[tuple[Path | Spread, Tensor]]) -> tuple[Tensor, Tensor]:
    """A copy of a value, whatever is written there later, and how far the rows that enter by these paths miss it.

    What is to the bit the sum of two rows that enter as they are is copied by adding these up.
    """
    value = _their_sum(made, *parts) if len(parts) == 2 else None
    if value is not None:
        return value, _NOTHING
    value = made.clone()
    return value, _sum_error(value, parts) if parts else _NOTHING


def _sum_error(value: Tensor, parts: Sequence[tuple[Path | Spread, Tensor]]) -> Tensor:
    """How far the rows [leaf row, d_model] that enter by these paths miss the value they add up to."""
    wide, n = torch.promote_types(value.dtype, torch.float32), len(value)
    total, size = torch.zeros_like(value, dtype=wide), torch.zeros_like(value, dtype=wide)
    for path, rows in parts:
        rows = rows.to(value.device, wide)
        total += path.total(rows, n)
        size += path.of_sizes().total(rows.abs(), n)
    return backward_error(value, total, size)


_NOTHING = torch.zeros(())  # missed
_HELD = 4  # states that the pass may still hold: what this layer gave, and what it was given, of two streams
_FEW_SOURCES = 8  # values that are tried
_BLOCK = 64  # rows that stay near the processor


def _their_sum(made: Tensor, one: tuple[Path | Spread, Tensor], other: tuple[Path | Spread, Tensor]) -> Tensor | None:
    """The sum of two values that enter as they are; None where it is not, to the bit, what was made."""
    plain = made.device.type == "cpu" and all(
        isinstance(path, Path) and not path.steps and path.rows is None for path, _ in (one, other)
    )
    x, y = one[1], other[1]
    if not plain or any(z.shape != made.shape or z.dtype != made.dtype or z.device != made.device for z in (x, y)):
        return None
    if len(made) <= _BLOCK:
        total = x + y
        return total if torch.equal(total, made) else None
    total = torch.empty_like(made, memory_format=torch.contiguous_format)
    for piece, a, b, truth in zip(*(z.split(_BLOCK) for z in (total, x, y, made)), strict=True):
        if not torch.equal(torch.add(a, b, out=piece), truth):
            return None
    return total


def _in_whole(n: Node) -> Iterable[Node]:
    """What it was made from, but for that of which an index picks rows.

    An expert that hands on its tokens is a way back to the stream, and which experts are asked depends on the prompt:
    the states must not.
    """
    key = n.args[1] if len(n.args) > 1 else None
    picks = any(isinstance(k, Node) for k in (key if isinstance(key, (tuple, list)) else (key,)))
    if n.op in PUT or (n.op == "__setitem__" and picks):
        return [x for x in n.args[:1] if isinstance(x, Node)]
    return () if n.op in PICK or (n.op == "__getitem__" and picks) else n.parents()
