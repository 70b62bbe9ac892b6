"""The summands of a value: each a leaf of the tape with its path into the value."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .nodes import Node
from .paths import Path, Scale
from .streams import Spread, Streams


@dataclass(frozen=True)
class Term:
    leaf: Node
    path: Path = field(default_factory=Path)
    shape: tuple[int, ...] = ()  # of the leaf after broadcasting
    width: int = 0  # of a row

    def with_path(self, path: Path) -> Term:
        return replace(self, path=path)

    def rows(self) -> Tensor:
        """The leaf's values as [leaf row, d_model]."""
        value = self.leaf.value.detach()
        return (value if tuple(value.shape) == self.shape else value.expand(self.shape)).reshape(-1, self.width)


def together(terms: list[Term], n_tokens: int, state: tuple[int, ...]) -> list[tuple[Node, Path | Spread, Tensor]]:
    """Each leaf with its way into a value of shape `state` and its rows; of parallel streams all ways as one."""
    width = terms[0].width if terms else 0
    into = Streams.of(state, n_tokens, width)
    if into is None or not (into.n > 1 or any(len(t.shape) == 4 or t.shape[-1] != width for t in terms)):
        return [(t.leaf, t.path, t.rows()) for t in terms]
    by_leaf: dict[int, list[Term]] = {}
    for t in terms:
        by_leaf.setdefault(id(t.leaf), []).append(t)
    found: list[tuple[Node, Path | Spread, Tensor]] = []
    for ts in by_leaf.values():
        laid_out, paths = Streams.of(ts[0].shape, n_tokens, width), tuple(t.path for t in ts)
        rows = laid_out.rows(ts[0].leaf.value.expand(ts[0].shape)) if laid_out else ts[0].rows()
        alike = laid_out == into or (laid_out is not None and laid_out.n == into.n == 1)
        unchanged = alike and len(ts) == 1 and not paths[0].steps and paths[0].rows is None
        found.append((ts[0].leaf, Path() if unchanged else Spread(paths, laid_out, into), rows))
    return found


def united(terms: list[Term], n_rows: int) -> list[Term]:
    """The terms of a value of `n_rows` rows, those of one leaf by the same steps as one: rows written one by one."""
    found: list[Term] = []
    place: dict[tuple[int, ...], int] = {}
    for t in terms:
        key = (id(t.leaf), *map(id, t.path.steps))
        rows, at = t.path.rows, place.setdefault(key, len(found))
        before = found[at].path.rows if at < len(found) else None
        if rows is None or before is None or bool(((rows >= 0) & (before >= 0)).any()):
            found.append(t)
        else:
            found[at] = t.with_path(replace(t.path, rows=torch.where(rows >= 0, rows, before)))
    return [_in_place(t, n_rows) for t in found]


def _in_place(t: Term, n_rows: int) -> Term:
    rows = t.path.rows
    if rows is None or len(rows) != n_rows or bool((rows != torch.arange(n_rows, device=rows.device)).any()):
        return t
    return t.with_path(replace(t.path, rows=None))


def summed(terms: list[Term]) -> list[Term]:
    """Those of one leaf that only multiply its rows by the same numbers as one: x + y / 2 + y / 2."""
    found: list[Term] = []
    place: dict[Node, int] = {}
    for t in terms:
        factor = _factor(t)
        at = None if factor is None else place.setdefault(t.leaf, len(found))
        if at is None or at == len(found):
            found.append(t)
        elif (before := _factor(found[at])) is not None:
            found[at] = t.with_path(Path().scaled(before + factor, t.shape))  # type: ignore[operator]
    return found


def _factor(t: Term) -> Tensor | None:
    """What a term multiplies every row of its leaf by: [] or [1, d_model]; None if rows differ or are moved."""
    factors = [
        s.factor if isinstance(s, Scale) and (s.factor.ndim == 0 or len(s.factor) == 1) else None for s in t.path.steps
    ]
    if t.path.rows is not None or any(f is None for f in factors):
        return None
    total = torch.ones((), dtype=torch.float64)
    for f in factors:
        assert f is not None
        total = total.to(f.device) * f.double() if f.ndim else total * f.double().to(total.device)
    return total


def copied(terms: list[Term], grid: tuple[int, ...], to: tuple[int, ...]) -> list[Term]:
    """The terms of a value whose rows stand on this grid when it is broadcast to another."""
    n_rows, device = math.prod(grid), terms[0].leaf.value.device if terms else None
    numbers = torch.arange(n_rows, device=device).reshape(grid).broadcast_to(to).reshape(-1)
    return moved_to(terms, numbers, torch.arange(numbers.numel(), device=device), n_rows)


def moved_to(terms: list[Term], source: Tensor, target: Tensor, n_rows: int) -> list[Term]:
    """The terms when row `source` [k] of theirs is put at `target` [k]: as many of each as there are copies."""
    order = source.argsort(stable=True)
    first = torch.searchsorted(source[order], source[order])  # where the copies of the same row begin
    copy = torch.arange(len(source), device=source.device) - first
    out = []
    for k in range(int(copy.max()) + 1 if len(copy) else 0):
        picked = order[copy == k]
        to = torch.full((n_rows,), -1, dtype=torch.long, device=source.device)
        to[source[picked]] = target[picked]
        out += [t.with_path(t.path.moved(to)) for t in terms]
    return out
