"""Which states explain where something moved, when each token of each state was changed in passes of its own.

Knows nothing of models or passes: tables of what was changed and what moved.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from torch import Tensor

Table = np.ndarray[Any, np.dtype[np.bool_]]
_FEW, _MOST = 16, 4  # states among which groups are looked for, and that rows may read in groups of their own


class Reads(Protocol):
    """A label, as far as it says which states are read."""

    @property
    def kind(self) -> str: ...
    @property
    def reads(self) -> int: ...
    @property
    def also(self) -> tuple[int, ...]: ...


def explained(
    changed: Table, moved: Table, order: Sequence[int], *, exactly: bool
) -> tuple[tuple[int, ...], bool] | None:
    """The states that rows which moved were made from, each row from the same row of theirs, and is that certain?

    changed [pass, state, row], moved [pass, row]. order: the states to think of, the likeliest first. exactly: every
    row must move whenever its state does. It is certain where each row moved in exactly the passes of one code.
    None: other rows must have been read.
    """
    live = np.ones(moved.shape[1], bool) if exactly else moved.any(0)
    code = {k: changed[:, k][:, live] for k in order}
    moved = moved[:, live]
    single = {k: (code[k] == moved).all(0) for k in order}
    for k in order:
        if single[k].all():
            return (k,), True
    chosen = _covering(single, order)
    if chosen is not None:
        return chosen, True
    inside = {k: ~(code[k] & ~moved).any(0) for k in order}
    whole = [k for k in order if inside[k].all()][:_FEW]
    for size in (2, 3):
        for group in itertools.combinations(whole, size):
            if (np.any([code[k] for k in group], axis=0) == moved).all():
                return tuple(sorted(group)), False
    union = np.any([code[k] & inside[k] for k in order], axis=0) if order else np.zeros_like(moved)
    if (union == moved).all():
        found = _greedy({k: code[k] & inside[k] for k in order}, moved, order)
        return (found, False) if len(found) <= _MOST else None
    if not exactly:  # not every change shows: a neuron that is off, an expert that stays the same
        return next((((k,), False) for k in order if not (moved & ~code[k]).any()), None)
    return None


def predicted(label: Reads, moved: Tensor, changed: Tensor, exactly: bool) -> bool:
    """Did rows [row] move as a label says, when these were changed [state, row] of the states before?"""
    states = [k for k in (label.reads, *label.also) if k >= 0]
    if label.kind == "constant" and bool(moved.any()):  # times a number of its token: the bias of an expert
        return any(not bool((moved & ~state).any()) for state in changed)
    if label.kind not in ("attention", "mlp", "skip"):
        return label.kind in ("mixer", "embedding") or not bool(moved.any())
    may = changed[states].any(0) if states else changed[0] & False
    return not bool((moved != may).any() if exactly and not label.also else (moved & ~may).any())


def _covering(single: dict[int, Table], order: Sequence[int]) -> tuple[int, ...] | None:
    """The states of which each row moved as exactly one, if there are such for all rows."""
    left, chosen = np.ones(len(next(iter(single.values()))), bool) if single else np.zeros(1, bool), list[int]()
    while left.any():
        best = max(order, key=lambda k: int((single[k] & left).sum()), default=-1)
        if best < 0 or not (single[best] & left).any():
            return None
        chosen.append(best)
        left &= ~single[best]
    return tuple(sorted(chosen))


def _greedy(code: dict[int, Table], moved: Table, order: Sequence[int]) -> tuple[int, ...]:
    """A few states that together were changed wherever something moved."""
    left, chosen = moved.copy(), list[int]()
    while left.any():
        best = max(order, key=lambda k: int((code[k] & left).sum()))
        chosen.append(best)
        left &= ~code[best]
    return tuple(sorted(chosen))
