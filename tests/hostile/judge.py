"""Is what a run says true? Its sums, its names and its tokens against an oracle; every fault in words."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lmtt_widget import attribute, direct_logit_attribution, lens_logits, trace
from lmtt_widget.answers import answer as inspect
from lmtt_widget.decomposition.vectors import constant_vectors, head_vectors, neuron_vectors
from lmtt_widget.run import Part, Run

from .oracle import IDS, Dependence, Oracle
from .truth import TrueWrite

LOCAL = ("mlp", "skip", "embedding", "constant", "rounding")


@dataclass
class Judge:
    run: Run
    oracle: Oracle

    def __post_init__(self) -> None:
        self.true = self.oracle.base.states
        self.n = self.run.n_tokens
        dtype = self.true[0].value.dtype
        self.eps = max(torch.finfo(dtype).eps * (4 if dtype.itemsize == 2 else 64), 1e-9)
        self.taken: dict[int, Tensor] = {}
        self.at: list[int] = []  # of every state of the run, the true state it is

    def faults(self) -> list[str]:
        """All that is wrong; empty for a run that is right."""
        found = list(self._states())
        if not found:
            found = [*self._sums(), *self._parts(), *self._ends(), *self._shares()]
        return found

    # ---- values ----

    def same(self, a: Tensor, b: Tensor, size: Tensor | float = 0.0) -> bool:
        """Coordinate by coordinate, to the rounding of sums of this size, and of one that is usual among them."""
        if a.shape != b.shape:
            return False
        a, b = a.double(), b.double()
        usual = size.median() if isinstance(size, Tensor) else 0.0  # where a product cancels its terms do not show
        allowed = self.eps * (a.abs() + b.abs() + size + usual) + 1e-12
        return bool(((a - b).abs() <= allowed).all())

    def _states(self) -> Iterator[str]:
        self.at, start = [], 0
        for s in self.run.states:
            value = self.run.value(s.index)
            here = [k for k in range(start, len(self.true)) if self.same(value, self.true[k].value)]
            if not here:
                off = min(float((value.double() - t.value.double()).abs().max()) for t in self.true)
                yield f"{s!r} is no state of the model (the nearest is {off:.1e} away)"
                return
            self.at.append(here[0])
            start = here[0] + 1
        if not self.same(self.run.logits, self.oracle.base.logits):
            yield "the logits are not the model's"

    def _sums(self) -> Iterator[str]:
        for s in self.run.states[1:]:
            carried = self.run.carried(s.index)
            outputs = [p.output(self.n) for p in s.parts]
            size = carried.double().abs() + sum(o.double().abs() for o in outputs)
            if not self.same(carried + sum(outputs), self.run.value(s.index), size):
                off = float((carried + sum(outputs) - self.run.value(s.index)).abs().max())
                yield f"{s!r}: its parts miss it by {off:.1e}"

    # ---- parts ----

    def _parts(self) -> Iterator[str]:
        first = self.oracle.from_tokens[self.at[0]]
        if (first & ~_diagonal(self.n)).any():
            yield "state 0, the embedding, was made from several tokens"
        for s in self.run.states[1:]:
            assert s.carried is not None
            if not 0 <= s.carried < s.index:
                yield f"{s!r} continues state {s.carried}"
                continue
            here, below = self.at[s.index], self.at[s.carried]
            reads = self.oracle.carried[here] if len(range(below, here)) == 1 else {}
            if _strays(reads, {below}, self.at[0], _diagonal(self.n)):
                yield f"{s!r}: what it carries is made {_strays(reads, {below}, self.at[0], _diagonal(self.n))}"
            between = range(below + 1, here + 1)
            writes = [(k, i) for k in between for i in range(len(self.true[k].writes))]
            self.taken = self._not_carried(s, self.true[here].value - sum(self.write(w).added for w in writes))
            for parts, theirs in self._matched(s.parts, writes):
                if not theirs:
                    yield f"{parts[0]!r} is nothing that the model adds there"
                else:
                    yield from self._part(parts, theirs)

    def _not_carried(self, s: Any, beside: Tensor) -> dict[int, Tensor]:
        """Rows that a mixer hands on are carried no more: part -> what it adds less than it would beside them."""
        missing = self.run.carried(s.index).double() - beside.double()
        mixers = [p for p in s.parts if p.kind == "mixer" and p.reads == s.carried]
        return {id(mixers[0]): missing} if mixers else {}

    def added(self, p: Part) -> Tensor:
        """What a part adds beside the state that is carried, whole."""
        taken = self.taken.get(id(p))
        return p.output(self.n) if taken is None else p.output(self.n).double() + taken

    def _matched(self, parts: list[Part], writes: list[tuple[int, int]]) -> Iterator[tuple[list[Part], list[Any]]]:
        """Parts and true writes that are the same sum, the smallest groups first; a part of no such group alone."""
        parts, writes = list(parts), list(writes)
        sizes = [(a, b) for a in range(1, len(parts) + 1) for b in range(1, len(writes) + 1)]
        for n_parts, n_writes in sorted(sizes, key=lambda ab: (sum(ab), ab)):
            for some in itertools.combinations(list(parts), n_parts):
                for theirs in itertools.combinations(list(writes), n_writes):
                    if all(any(p is q for q in parts) for p in some) and all(w in writes for w in theirs):
                        outputs = [self.added(p) for p in some]
                        added = [self.write(w).added for w in theirs]
                        size = sum(x.double().abs() for x in [*outputs, *added])
                        if self.same(sum(outputs), sum(added), size):
                            yield list(some), list(theirs)
                            parts = [p for p in parts if not any(p is q for q in some)]
                            writes = [w for w in writes if w not in theirs]
        for p in parts:
            if not self.same(self.added(p), torch.zeros(()).expand_as(p.output(self.n))):
                yield [p], []

    def _read_by(self, p: Part) -> set[int]:
        """The true states that a part is said to read."""
        return self._same_states({self.at[k] for k in (p.reads, *getattr(p, "also", ())) if k >= 0})

    def _same_states(self, states: set[int]) -> set[int]:
        """With those that have the same values, between which nothing was added."""
        same = {k for k, t in enumerate(self.true) if any(torch.equal(t.value, self.true[s].value) for s in states)}
        return same | ({*range(self.at[0])} if self.at[0] in states else set())  # what the embedding was before

    def write(self, at: tuple[int, int]) -> TrueWrite:
        return self.true[at[0]].writes[at[1]]

    def _part(self, parts: list[Part], theirs: list[tuple[int, int]]) -> Iterator[str]:
        name = " with ".join(repr(p) for p in parts)
        reads = set().union(*(self._read_by(p) for p in parts))
        causal = torch.ones(self.n, self.n, dtype=torch.bool).tril()
        dependence = _together([self.oracle.writes[w] for w in theirs])
        if all(p.kind in LOCAL for p in parts):
            own = IDS if any(p.kind in ("mlp", "skip") for p in parts) else self.at[0]  # a token's own id may be read
            strays = _strays(dependence, reads | {own}, self.at[0], _diagonal(self.n))
            if strays:
                yield f"{name} is made {strays}"
            for p in parts:
                moves = not p.output(self.n).any() or (
                    p.reads >= 0
                    and any(m.any() for s, m in dependence.items() if s in reads or (s == IDS and p.reads == 0))
                )
                if p.kind in ("mlp", "skip") and not moves:
                    yield f"{p!r} does not depend on the state it is said to read"
        else:
            strays = _strays(dependence, {*dependence}, self.at[0], causal)
            if strays:
                yield f"{name} is made {strays}"
        for p in parts:
            if p.kind == "attention":
                yield from self._attention(p, theirs)
            if p.kind == "mlp":
                yield from self._neurons(p)

    def _attention(self, p: Part, theirs: list[tuple[int, int]]) -> Iterator[str]:
        known = [w for w in theirs if self.write(w).heads is not None]
        if not known:
            yield f"{p!r} is drawn as attention, and is none over tokens"
            return
        for w in known:
            strays = _strays(self.oracle.values[w], self._read_by(p), self.at[0], _diagonal(self.n))
            if strays:
                yield f"{p!r}: the values of a key are made {strays}"
        write = p.linear[0]
        z = torch.stack([head_vectors(write, h).block(0, self.n) for h in range(p.n_heads)])  # [head, query, key, d]
        whole = z.sum((0, 2)) + constant_vectors(write, self.n)
        size = z.double().abs().sum((0, 2))
        if not self.same(whole, p.output(self.n), size):
            yield f"{p!r}: its heads miss it by {float((whole - p.output(self.n)).abs().max()):.1e}"
        truth = torch.cat([self.write(w).heads for w in known])  # type: ignore[misc]
        if not self.same(z.sum(0), truth.sum(0), truth.double().abs().sum(0)):
            off = (z.sum(0) - truth.sum(0)).abs().amax(-1)
            q, k = divmod(int(off.argmax()), self.n)
            yield f"{p!r}: what query {q} takes from token {k} is off by {float(off.max()):.1e}"
        elif len(truth) == len(z) and not all(any(self.same(a, b, size.amax()) for b in truth) for a in z):
            yield f"{p!r}: its heads are not the model's"

    def _neurons(self, p: Part) -> Iterator[str]:
        mapped = {id(w) for w in p.linear}
        total = sum(w.total(self.n) for w in p.writes if id(w) not in mapped) + torch.zeros_like(p.output(self.n))
        for w in p.linear:
            every = torch.arange(w.input.shape[1])
            total = total + constant_vectors(w, self.n)
            for pos in range(self.n):
                for row in w.path.leaf_rows(pos):
                    total[pos] += neuron_vectors(w, row, every).sum(0)
        said = max((c.error for c in self.run.fidelity.approximate if c.is_rounding), default=0.0)  # quantised maps
        size = total.double().abs().amax() * (1 + 4 * said / self.eps)
        if not self.same(total, p.output(self.n), size):
            yield f"{p!r}: its neurons miss it by {float((total - p.output(self.n)).abs().max()):.1e}"
            return
        number = next(i for i, q in enumerate(self.run.parts) if q is p)
        asked = {"state": p.state, "part": number}
        for pos in {min(1, self.n - 1), self.n - 1}:
            listed = inspect(self.run, self.flow, {"kind": "mlp", "pos": pos, **asked, "top": 1000})["neurons"]
            rows = list(zip(listed["neuron"].tolist(), listed["expert"], listed["value"].tolist(), strict=True))
            if len({row[:2] for row in rows}) < len(rows):
                yield f"{p!r}: two of its neurons have the same name"
                return
            for n, e, value in rows[:3] + rows[-3:]:
                one = {"kind": "neuron", "pos": pos, "neuron": n, **asked} | ({} if e is None else {"expert": e})
                if abs(inspect(self.run, self.flow, one)["value"] - value) > self.eps * (1 + abs(value)):
                    yield f"{p!r}: a click on neuron {n} of expert {e} opens another"
                    return

    # ---- ends ----

    def _ends(self) -> Iterator[str]:
        last = self.at[-1]
        strays = _strays(self.oracle.logits, {last}, self.at[0], _diagonal(self.n), ids=False)
        if strays:
            yield f"the logits are made {strays}"
        if self.run.readout is None:
            return
        self.eps = max(self.eps, torch.finfo(self.run.logits.dtype).eps * 64)
        lens = lens_logits(self.run, -1, slice(None))
        if not self.same(lens, self.run.logits, self.run.logits.double().abs().amax()):
            yield f"the lens of the last state misses the logits by {float((lens - self.run.logits).abs().max()):.1e}"
        for pos in range(self.n):
            for by in ("part", "head"):
                a = direct_logit_attribution(self.run, pos, by=by)
                size = sum(abs(e.value) for e in a.effects) + abs(a.logit)
                if not abs(a.sum - a.logit) <= self.eps * size * 4:
                    yield f"direct effects by {by} at {pos} sum to {a.sum:.4g}, the logit is {a.logit:.4g}"
                    return

    @property
    def flow(self) -> Any:
        if getattr(self, "_flow", None) is None:
            self._flow = attribute(self.run, progress=quiet)
        return self._flow

    def _shares(self) -> Iterator[str]:
        """The shares by their definition, from the vectors as the judge has just read them."""
        said: dict[tuple[str, int], Tensor] = {}
        for r in self.flow.to_dict():
            at = said.setdefault((r["kind"], r["state"]), torch.zeros(self.n, self.n, dtype=torch.float64))
            at[r["query"], r["key"]] += r["share"]
        for s in self.run.states[1:]:
            y = self.run.value(s.index).double()
            near = {"carried": torch.diag(_near(self.run.carried(s.index).double(), y))}
            for p in s.parts:
                if p.kind == "attention":
                    z = [head_vectors(p.linear[0], h).block(0, self.n).double() for h in range(p.n_heads)]
                    found = sum(_near(v, y[:, None]) for v in z)
                elif p.kind in ("mlp", "mixer", "skip"):
                    found = torch.diag(_near(p.output(self.n).double(), y))
                else:
                    continue
                near[p.kind] = near.get(p.kind, 0) + found
            total = sum(v.sum(1) for v in near.values()).clamp_min(1e-30)
            for kind, v in near.items():
                off = (v / total[:, None] - said.get((kind, s.index), torch.zeros_like(v))).abs().max()
                if not float(off) <= max(self.eps, 1e-7) * 10:
                    yield f"{s!r}: the shares of its {kind} are off by {float(off):.1e}"
        routes = trace(self.flow)
        if not abs(float(routes.input_share.sum()) + sum(routes.ended.values()) - 1) < 1e-5:
            yield "the flow that reaches the tokens and what ended do not sum to 1"


def quiet(done: int, total: int) -> None:
    """No bar."""


def labels(run: Run) -> str:
    """The kinds of parts of every state, one word each."""
    return " ".join("+".join(p.kind for p in s.parts if p.kind != "constant") or "-" for s in run.states[1:])


def _near(z: Tensor, y: Tensor) -> Tensor:
    return (y.abs().sum(-1) - (y - z).abs().sum(-1)).clamp_min(0)


def _diagonal(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.bool)


def _together(found: Sequence[Dependence]) -> Dependence:
    return {s: torch.stack([f[s] for f in found if s in f]).any(0) for s in set().union(*found)}


def _strays(found: Dependence, states: set[int], first: int, allowed: Tensor, ids: bool = True) -> str:
    """What else than the allowed rows of these states it was made from, in words; the token ids are as state 0."""
    for s, moves in sorted(found.items()):
        if s == IDS and not ids and not moves.any():
            continue
        fits = s in states or (s == IDS and ids and first in states)
        wrong = moves & ~allowed if fits else moves
        if wrong.any():
            j, r = wrong.nonzero()[0].tolist()
            what = "the token ids" if s == IDS else f"true state {s}"
            return f"at token {j} from token {r} of {what}"
    return ""
