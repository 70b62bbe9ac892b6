"""What each part depends on, seen by changing states at some tokens and looking at what moves.

That sums close says nothing about what a branch reads. So the pass is repeated with every state forced to its value,
but for a change at some tokens, others for every state. Each token of each state has a code, the passes in which it is
changed, and no code holds another (Sperner 1928): so what moves in exactly the passes of one code reads that token of
that state and nothing else, and whatever reads two moves in more passes than any code has.

    code of token 3 of state 1     1 0 1 1 0 0        an MLP that reads state 1, at token 3      1 0 1 1 0 0
    code of token 2 of state 1     0 1 1 0 1 0        one that looks at the token before, too    1 1 1 1 1 0

Where that is not told at once, all states are changed at the same tokens as well: whatever is of one token moves only
there. What may look at later tokens is seen by changing everything from some token on: then nothing before may move.
"""

from __future__ import annotations

import contextlib
import itertools
import math

import torch
from torch import Tensor

from .decomposition.writes import Recording
from .explained import explained, predicted
from .labels import At, Label, Probed, structure
from .moved import Pass, Passes, Seen
from .parts import Part, PartKind

LONGEST, SHORTEST = 64, 6  # tokens of a prompt that is probed itself, and of one whose labels hold for others
_FIRST, _MOST, _TOKENS = 32, 256, 1536  # of a longer one: probed whole, probed coarsely; and of all passes together
_BELOW = "tokens are mixed before the first layer that was found; pass layers=..."
_ABOVE = "tokens are mixed after the last layer that was found; pass layers=..."
_KEPT = "differs between two equal passes (randomness, or something kept between calls)"
_OTHER_CALLS = "other calls in a second equal pass (something kept between calls)"
_AHEAD = "looks at later tokens, so this is not a causal language model"


def probed_labels(run: Pass, ids: list[int], clean: Recording) -> Probed:
    """Labels for the parts of a model, from a recording of `ids` (`clean`) and some more."""
    ahead = probed_ahead(run, ids)
    if ahead is not None and ahead[0] == structure(clean):
        return ahead[1]
    if len(ids) > _MOST:
        ids, clean = ids[:_MOST], run(ids[:_MOST], {})
    return _tried(run, ids, clean)


def probed_ahead(run: Pass, ids: list[int]) -> tuple[object, Probed] | None:
    """The labels of a long prompt before it is recorded: two recordings of it would not fit where one does.

    Its beginning is probed, and a few passes tell whether that holds for how it goes on: the labels, and the structure
    of recordings for which they hold. None for a short prompt, or where they do not.
    """
    if len(ids) <= LONGEST:
        return None
    with contextlib.suppress(RuntimeError):  # a hook of the user's on one position
        clean, whole = run(ids[:_FIRST], {}), ids[:_MOST]
        found = _tried(run, ids[:_FIRST], clean)
        if found.problems or still_holds(run, whole, run(whole, {}), found):
            return structure(clean), found
    return None


def still_holds(run: Pass, ids: list[int], clean: Recording, probed: Probed) -> bool:
    """Do the labels of one prompt hold for another one, as far as some passes tell?"""
    try:
        if len(ids) > _MOST:
            ids, clean = ids[:_MOST], run(ids[:_MOST], {})
        return _Probe(run, ids, clean).agrees(probed)
    except RuntimeError:
        return False


def _tried(run: Pass, ids: list[int], clean: Recording) -> Probed:
    why = ""
    for other_tokens in (True, False):
        try:
            return _Probe(run, ids, clean, other_tokens).result()
        except RuntimeError as e:  # what the model or its reading cannot do with changed states
            why = f"{type(e).__name__}: {e}"
    unknown = f"what its layers read cannot be seen, and not all of its calls are known to keep tokens apart ({why})"
    return Probed({}, () if clean.keeps_rows else (unknown,), unseen=(f"everything ({why})",))


class _Probe(Passes):
    def result(self) -> Probed:
        same = self.look(torch.zeros(len(self.values), self.n, dtype=torch.bool))
        unsteady = self._unsteady(same)
        if unsteady:
            return Probed({}, (unsteady,))
        mine = [self.look(rows) for rows in self._codes()]
        if not self.clean.keeps_rows or self._doubtful(mine):
            mine += [self.look(rows) for rows in self._codes()[:4]]
            alike = [self.look(rows.expand(len(self.values), -1)) for rows in antichain(self.n).T]
        else:
            alike = []
        labels, problems = self._labels(mine, alike)
        problems += self._ends([*mine, *alike])
        other_calls = any(s.calls != self.calls for s in [*mine, *alike])
        if other_calls or problems or any(label.note for label in labels.values()):
            for layer, a, b in zip(self.clean.layers, self.calls, same.calls, strict=False):
                if a != b:
                    return Probed({}, (f"layer {layer.index}: makes {_OTHER_CALLS}",))
        return Probed(labels, tuple(dict.fromkeys(problems)), tuple(self._unseen()))

    def agrees(self, probed: Probed) -> bool:
        """Does everything move in a few passes as the labels say?"""
        if set(probed.labels) != {*self.parts}:
            return False
        if self.n <= 16:
            passes = [*self._codes()]
        else:
            some = torch.rand(len(self.values), self.n, generator=self.generator) < 0.5
            passes = [some & (torch.arange(self.n) >= self.n // 2), ~some]
            passes += [some.roll(1, 1), ~some.roll(1, 1)] if self.n <= LONGEST else []
        others = [at for at, label in probed.labels.items() if self._looks_at_others(at, label)]
        for rows in passes:
            seen = self.look(rows)
            if self._ends([seen]) or any(self._looks_ahead(at, [seen]) for at in others):
                return False
            for at, label in probed.labels.items():
                moved = seen.moved[at]
                if moved is None or not predicted(
                    label, moved, seen.changed[: at[0]], self.parts[at].heads is not None
                ):
                    return False
        return True

    # ---- passes ----

    def _codes(self) -> Tensor:
        """[pass, state, pos], bool: which tokens of which states are changed."""
        n = len(self.values) * self.n
        codes = antichain(n, self.generator)
        return codes.T.reshape(-1, len(self.values), self.n)

    # ---- what it tells ----

    def _unsteady(self, same: Seen) -> str | None:
        """What moves although nothing is changed."""
        for at, p in self.parts.items():
            if any(rows is not None and bool(rows.any()) for rows in (same.moved[at], same.outputs[at])):
                return f"{_where(p)} {_KEPT}"
        for what, rows in (("the embedding", same.below), ("what makes the logits of the last state", same.above)):
            if rows is not None and bool(rows.any()):
                return f"{what} {_KEPT}"
        return None

    def _read(self, at: At, seen: list[Seen]) -> tuple[tuple[int, ...], bool] | None:
        """The states that explain where a part moved, and whether nothing else can."""
        p, there = self.parts[at], [(s.changed, rows) for s in seen if (rows := s.moved[at]) is not None]
        order = list(dict.fromkeys(k for k in (p.reads, *range(p.state - 1, -1, -1)) if 0 <= k < p.state))
        changed, moved = (torch.stack(found).numpy() for found in zip(*there, strict=True))
        return explained(changed, moved, order, exactly=p.heads is not None)

    def _comparable(self, at: At, seen: list[Seen]) -> bool:
        return all(s.moved[at] is not None for s in seen)

    def _doubtful(self, mine: list[Seen]) -> bool:
        """Is there anything local that the codes alone do not explain?"""
        for at, p in self.parts.items():
            local = self._may_be_local(p) or p.kind == "constant"
            if local and self._comparable(at, mine) and self._moves(at, mine):
                found = self._read(at, mine)
                if found is None or not found[1]:
                    return True
        return any(
            s.strays(rows, s.changed[self.states[k].carried or 0]) for s in mine for k, rows in s.carried.items()
        )

    def _may_be_local(self, p: Part) -> bool:
        if p.kind == "mixer":
            return bool(p.linear) and p.linear[0].heads is None
        return p.kind in ("attention", "mlp", "skip")

    def _moves(self, at: At, seen: list[Seen]) -> bool:
        return any(rows is not None and bool(rows.any()) for s in seen for rows in (s.moved[at], s.outputs[at]))

    def _labels(self, mine: list[Seen], alike: list[Seen]) -> tuple[dict[At, Label], list[str]]:
        labels, problems = dict[At, Label](), list[str]()
        for at, p in self.parts.items():
            if not self._comparable(at, mine):
                found: Label | str | None = self._uncompared(p)
            else:
                found = self._label(at, p, mine, alike)
            if isinstance(found, str):
                problems.append(found)
            elif found is not None:
                labels[at] = found
        ahead = [at for at, label in labels.items() if self._looks_at_others(at, label)]
        cuts = self._cuts(every=any(self._unproven(at, labels[at]) for at in ahead)) if ahead else []
        seen = [*mine, *alike, *(self.look((torch.arange(self.n) >= r).expand(len(self.values), -1)) for r in cuts)]
        for at in ahead:
            if self._looks_ahead(at, seen):
                problems.append(
                    f"{_where(self.parts[at])} looks at later tokens, so this is not a causal language model"
                )
        for s in self.states[1:]:
            mixed = any(labels[at].kind in ("attention", "mixer") for at in labels if at[0] == s.index)
            if not mixed and any(a.strays(a.carried.get(s.index), a.changed[s.carried or 0]) for a in (alike or mine)):
                problems.append(f"layer {s.layer}: what the stream carries is scaled by other tokens")
        return labels, problems

    def _label(self, at: At, p: Part, mine: list[Seen], alike: list[Seen]) -> Label | str:
        """What a part is, or why it cannot be drawn."""
        nowhere = not self._moves(at, [*mine, *alike])
        if p.kind in ("constant", "rounding"):
            unknown = f"{_where(p)}: adds a vector that depends on the tokens, made by a call outside torch"
            if nowhere or not all(w.simple for w in p.writes):
                return Label(p.kind, p.reads) if nowhere else unknown
            own = self._is_of_own_token(at, mine, alike)  # weighed by a number of its token: the bias of an expert
            return Label(p.kind, p.reads) if own else f"{_where(p)}: a constant is weighed by other tokens than its own"
        if p.kind == "embedding":
            return _BELOW if any(s.strays(s.moved[at], s.changed[0]) for s in mine) else Label(p.kind, p.reads)
        if nowhere and p.kind == "skip" and self.other_tokens:  # of positions only
            return Label("constant", -1)
        if nowhere and p.heads is None:
            return Label(p.kind, p.reads if p.kind == "mixer" else -1)
        if self._may_be_local(p):
            found = self._read(at, mine)
            if found is not None and found[0] and self._is_of_own_token(at, mine, alike):
                kind: PartKind = "mlp" if p.kind == "mixer" else p.kind
                reads = found[0]
                main = p.reads if p.reads in reads else reads[-1]
                also = tuple(k for k in reads if k != main)
                others = " and ".join(f"state {k}" for k in also)
                return Label(kind, main, also, f"{_where(p)} reads {others} besides state {main}" if also else None)
        if p.kind == "mixer":
            return Label("mixer", p.reads)
        why = "its values are not each of one token" if p.heads is not None else "it reads other tokens than its own"
        if p.heads is None and alike and all(self._is_local(s, at, False) for s in alike):
            why = "more than a few states, or other tokens, decide what it writes"
        return Label("mixer", p.reads, note=f"{_where(p)} is shown as a mixer, without keys: {why}")

    def _is_of_own_token(self, at: At, mine: list[Seen], alike: list[Seen]) -> bool:
        found, exactly = self._read(at, mine), self.parts[at].heads is not None
        return found is not None and (found[1] or all(self._is_local(s, at, exactly) for s in alike))

    def _is_local(self, seen: Seen, at: At, exactly: bool) -> bool:
        rows, may = seen.moved[at], seen.changed[0]
        return rows is not None and not bool((rows != may).any() if exactly else (rows & ~may).any())

    def _uncompared(self, p: Part) -> Label | str | None:
        if p.kind == "embedding" or (p.kind == "constant" and all(w.simple for w in p.writes)):
            return Label(p.kind, p.reads)
        if self.clean.keeps_rows or not self._may_be_local(p):
            return None
        lost = [k for k in sorted(self.unmet) if k <= p.state]
        if lost:
            return (
                f"{_where(p)}: what it reads cannot be seen, because state {lost[0]} cannot be changed where it is made"
            )
        return f"{_where(p)}: makes other calls where values are others, so what it reads cannot be seen"

    # ---- later tokens ----

    def _looks_at_others(self, at: At, label: Label) -> bool:
        return label.kind == "mixer" or (label.kind == "attention" and self.parts[at].heads is not None)

    def _unproven(self, at: At, label: Label) -> bool:
        if label.kind == "mixer" or not all(w.looks_back for w in self.parts[at].linear):
            return True
        made = [state for layer in self.clean.layers for state in layer.states]
        return not made[at[0] - 1].simple  # a factor on the way may be of all tokens

    def _cuts(self, every: bool) -> list[int]:
        """The tokens from which on everything is changed: one after the other, as far as they are not too many."""
        if self.n == 1:
            return []
        most = max(1, _TOKENS // self.n - self.n_passes) if every else 1
        if self.n - 1 <= most:
            return [*range(1, self.n)]
        return sorted({round(r) for r in torch.linspace(0, self.n, most + 2)[1:-1].tolist()} - {0, self.n})

    def _looks_ahead(self, at: At, seen: list[Seen]) -> bool:
        """Did a row move although everything up to it stayed?"""
        for s in seen:
            rows, some = s.outputs[at], s.changed[: at[0]].any(0)
            first = int(some.int().argmax()) if bool(some.any()) else self.n
            if rows is not None and bool(rows[:first].any()):
                return True
        return False

    def _ends(self, seen: list[Seen]) -> list[str]:
        """Is anything mixed below the first state or above the last?"""
        below = any(s.strays(s.below, s.changed[0]) for s in seen)
        above = any(s.strays(s.above, s.changed[-1]) for s in seen)
        return [_BELOW] * below + [_ABOVE] * above

    def _unseen(self) -> list[str]:
        found = [f"state {k}" for k in sorted(self.unmet)]
        return [", ".join(found)] if found else []


def antichain(n: int, generator: torch.Generator | None = None) -> Tensor:
    """[n, length], bool: as many codes, as short as can be, none of which holds another; at random or in order."""
    length = next(k for k in itertools.count(2) if math.comb(k, k // 2) >= n)
    every = list(itertools.combinations(range(length), length // 2))
    order = range(n) if generator is None else torch.randperm(len(every), generator=generator)[:n].tolist()
    codes = torch.zeros(n, length, dtype=torch.bool)
    for row, number in enumerate(order):
        codes[row, list(every[number])] = True
    return codes


def _where(p: Part) -> str:
    layer = "before the layers" if p.layer is None else f"layer {p.layer}"
    return f"{layer}: {p.module}"
