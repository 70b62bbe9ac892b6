"""Which rows of every write move when one row of one state moves: found by moving each, one at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .truth import Pass, TrueState, Truth

Dependence = dict[int, Tensor]  # state (-1: the token ids) -> [row that moved, row that was moved], bool
IDS = -1


class OtherPrompt(ValueError):
    """What a model raises that takes one prompt only."""


@dataclass
class Oracle:
    """One pass of a model and what everything in it depends on, other states held where they were."""

    base: Pass
    writes: dict[tuple[int, int], Dependence] = field(default_factory=dict)  # (state entered, number) ->
    values: dict[tuple[int, int], Dependence] = field(default_factory=dict)
    carried: dict[int, Dependence] = field(default_factory=dict)
    logits: Dependence = field(default_factory=dict)
    from_tokens: list[Tensor] = field(default_factory=list)  # of every state, nothing held: [row, token], bool

    @property
    def n_tokens(self) -> int:
        return len(self.base.states[0].value)


class Watched:
    """A model that is run to be looked at."""

    def __init__(self, module: Any, ids: Sequence[int], call: Callable[[nn.Module, Tensor], Any] | None = None) -> None:
        self.module, self.truth, self.ids = module, module.truth, list(ids)
        self.call = call or (lambda m, x: m(x))

    def __call__(self, ids: Sequence[int] | None = None, start: Any = None, **options: Any) -> Pass:
        """One pass, from what the model remembered at some start."""
        truth: Truth = self.truth
        now = truth.start()
        if start is not None:
            truth.restart(start)
        truth.now = looked = Pass(**options)
        try:
            with torch.no_grad():
                out = logits_of(self.call(self.module, torch.tensor([list(ids or self.ids)])))
            if looked.logits is None:
                truth.end(out)
            return looked
        finally:
            truth.now = None
            truth.restart(now)


def logits_of(out: Any) -> Tensor:
    out = out["logits"] if isinstance(out, dict) else getattr(out, "logits", out)
    return out[0] if isinstance(out, (tuple, list)) else out


def look(watched: Watched, base: Pass, n_vocab: int, by_prompt: bool = False) -> Oracle:
    """The oracle of a pass that was: every row of every state moved, and every token changed."""
    oracle = Oracle(base)
    held = {k: s.value for k, s in enumerate(base.states)}
    n, start = oracle.n_tokens, base.start
    noise = torch.Generator().manual_seed(1)
    for s, state in held.items():
        size = state.double().abs().mean(-1, keepdim=True).clamp_min(0.1).to(state)
        for r in range(n):
            for by in (0.3, 3.0):
                moved = state.clone()
                moved[r] += by * size[r] * torch.randn(state.shape[1], generator=noise, dtype=torch.float64).to(state)
                _note(oracle, watched(start=start, held={**held, s: moved}, in_full=False), s, r)
    oracle.from_tokens = [torch.zeros(n, n, dtype=torch.bool) for _ in held]
    if by_prompt:
        return oracle
    for r in range(n):
        for step in (1, 5):
            ids = list(watched.ids)
            ids[r] = (ids[r] + step) % n_vocab
            try:
                _note(oracle, watched(ids, start, held=held, in_full=False), IDS, r)
                free = watched(ids, start, in_full=False)
            except OtherPrompt:
                continue
            for was, now, moves in zip(base.states, free.states, oracle.from_tokens, strict=True):
                moves[:, r] |= moved_rows(was.value, now.value)
    return oracle


def looks_ahead(watched: Watched, n_vocab: int) -> bool:
    """Does a state or a logit move when a later token changes, or what is known of it by then?"""
    base = watched(in_full=False)
    for r in range(1, len(watched.ids)):
        for step in (1, 5):
            ids = list(watched.ids)
            ids[r] = (ids[r] + step) % n_vocab
            try:
                now = watched(ids, in_full=False)
            except OtherPrompt:
                continue
            if _moved_before(base, now, r):
                return True
        for s, state in enumerate(base.states):
            for by, seed in itertools.product((3.0, 10.0), range(4)):
                noise = torch.randn(state.value.shape[1], generator=torch.Generator().manual_seed(seed))
                noise = noise.to(state.value)
                moved = state.value.clone()
                moved[r] += by * state.value[r].abs().mean().clamp_min(0.1) * noise
                if _moved_before(base, watched(held={s: moved}, in_full=False), r):
                    return True
    return False


def _moved_before(base: Pass, now: Pass, r: int) -> bool:
    values = [(a.value, b.value) for a, b in zip(base.states, now.states, strict=True)]
    return any(moved_rows(a, b)[:r].any() for a, b in [*values, (base.logits, now.logits)])  # type: ignore[arg-type]


def moved_rows(was: Tensor, now: Tensor, size: Tensor | None = None) -> Tensor:
    """[pos], bool: rows that are further from what they were than rounding explains, of numbers of this size."""
    if now.shape != was.shape:
        return torch.ones(len(was), dtype=torch.bool)
    size = was.abs() if size is None else size
    allowed = 16 * torch.finfo(was.dtype).eps * size.amax(-1).clamp_min(1e-6)
    return ~((now - was).abs().amax(-1) <= allowed)


def _note(oracle: Oracle, now: Pass, s: int, r: int) -> None:
    base, n = oracle.base, oracle.n_tokens

    def mark(where: Dependence, was: Tensor, is_now: Tensor, size: Tensor | None = None) -> None:
        where.setdefault(s, torch.zeros(len(was), n, dtype=torch.bool))[:, r] |= moved_rows(was, is_now, size)

    for k, (a, b) in enumerate(zip(base.states, now.states, strict=True)):
        mark(oracle.carried.setdefault(k, {}), a.carried, b.carried, _size(a) + _size(b))
        for i, (w, v) in enumerate(zip(a.writes, b.writes, strict=True)):
            mark(oracle.writes.setdefault((k, i), {}), w.raw, v.raw)
            if w.values is not None and v.values is not None:
                mark(oracle.values.setdefault((k, i), {}), w.values, v.values)
    assert base.logits is not None
    assert now.logits is not None
    mark(oracle.logits, base.logits, now.logits)


def _size(state: TrueState) -> Tensor:
    return state.value.abs() + sum(w.added.abs() for w in state.writes)
