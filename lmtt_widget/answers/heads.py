"""All heads at once: what of the explained state each carries, what it adds to the answer, what kind of head it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from ..attribution import direct_logit_attribution
from ..direct import DirectEffects, effects_at
from ..patterns import pooled, scores, thumbs
from ..routes import trace
from ..run import Run
from ..tried import TriedHeads, tried_heads
from . import question
from .question import Column, Map, Question, Record, Selection

FIELDS: tuple[question.Field, ...] = ()
_THUMBS = 200_000  # bytes of the small patterns of all heads
_SIDE = 32  # of one, in cells
_QUICK = 1 << 24  # numbers of patterns that are made without being asked for


@dataclass(frozen=True, eq=False)
class HeadTable(Record):
    """Every head, by layer and number."""

    part: list[int]
    state: list[int]
    head: list[int]
    share: Column  # of the explained state, along all paths
    effect: list[float | None]  # direct, on the token explained, minus the foil's
    estimate: list[float | None]  # change of the log odds without the head, to first order
    exact: list[float | None]  # the same by passes without it; None where it was not tried yet
    previous: list[float | None]
    first: list[float | None]
    duplicate: list[float | None]
    induction: list[float | None]


@dataclass(frozen=True, eq=False)
class OtherTable(Record):
    """Every part without heads that writes at the explained position."""

    part: list[int]
    state: list[int]
    effect: list[float]


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer(question.Answered):
    table: HeadTable
    others: OtherTable
    total: float | None  # the logit itself, minus the foil's; None without a linear read-out
    rest: float | None  # of the total: the embedding, constants, the read-out's own bias
    by_key: Map  # [attention part, key]: the heads' effects together, in the order of the parts
    thumbs: Map  # [row of the table, query, key], bytes on a square-root scale; none where it would take long


def answer(q: Question) -> Answer:
    run, at = q.run, q.target % q.run.n_tokens
    found = None if run.readout is None else effects_at(run, at, q.token, q.foil)
    attention = [p for p in run.parts if p.heads is not None]
    total = None
    if found is not None:
        total = direct_logit_attribution(run, at, q.token, q.foil, by="part").logit
    return Answer(
        **q.said,
        table=_table(q, found),
        others=_others(run, found),
        total=total,
        rest=None if total is None or found is None else total - _summed(found),
        by_key=torch.stack([_by_key(found, p.number, run.n_tokens) for p in attention])
        if attention
        else torch.zeros(0, run.n_tokens),
        thumbs=q.read.once("thumbs of all heads", lambda: _thumbs(run)),
    )


def more(q: Question) -> bool:
    """Takes out the next few heads, the best estimates first; whether there are others."""
    return _tried(q).more()


def _tried(q: Question) -> TriedHeads:
    return tried_heads(q.read, q.target % q.run.n_tokens, q.token, q.foil)


def _table(q: Question, found: DirectEffects | None) -> HeadTable:
    routes = trace(q.graph, q.target, encoding="flow")
    ids = torch.tensor([token.id for token in q.run.tokens])
    tried = _tried(q)
    rows: list[tuple[Any, ...]] = []  # part, state, head, share, effect, estimate, exact, one for each score
    for part in q.run.parts:
        if part.heads is None:
            continue
        share = q.graph.head_sum[part.number, : part.n_heads] @ routes.node_flow[part.state]
        effect = [None] * part.n_heads if found is None else found.heads[part.number].sum(1).tolist()
        without = tried.of(part.number)
        kinds = [[_finite(x) for x in score.tolist()] for score in scores(part.heads, ids).values()]
        place = [(part.number, part.state, head) for head in range(part.n_heads)]
        rows += [
            (*at, *row)
            for at, row in zip(place, zip(share.tolist(), effect, *without, *kinds, strict=True), strict=True)
        ]
    numbers, states, heads, shares, *others = [list(column) for column in zip(*rows, strict=True)] or [[]] * 11
    return HeadTable(numbers, states, heads, torch.tensor(shares), *others)


def _others(run: Run, found: DirectEffects | None) -> OtherTable:
    parts = {} if found is None else found.parts
    return OtherTable(list(parts), [run.parts[number].state for number in parts], list(parts.values()))


def _thumbs(run: Run) -> torch.Tensor:
    """The patterns of all heads, small enough to be shown under the pointer without a question."""
    attention = [p for p in run.parts if p.heads is not None]
    n_heads = sum(p.n_heads for p in attention)
    if not 0 < n_heads * run.n_tokens**2 <= _QUICK:
        return torch.zeros(0, 0, 0, dtype=torch.uint8)
    side = max(1, min(_SIDE, math.isqrt(_THUMBS // n_heads)))
    return torch.cat([thumbs(pooled(p.heads, run.n_tokens, side))[0] for p in attention])  # type: ignore[arg-type]


def _summed(found: DirectEffects) -> float:
    return sum(float(x.sum()) for x in found.heads.values()) + sum(found.parts.values())


def _by_key(found: DirectEffects | None, part: int, n_tokens: int) -> torch.Tensor:
    out = torch.zeros(n_tokens)
    if found is not None:
        summed = found.heads[part].sum(0)
        out[: len(summed)] = summed
    return out


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


def follow_ups(run: Run, selection: Selection, answered: Answer) -> list[Selection]:  # noqa: ARG001
    """The heads with the largest shares, at the explained position."""
    table = answered.table
    query = answered.effect_on.pos if answered.effect_on else run.n_tokens - 1
    most = table.share.argsort(descending=True)[:2].tolist()
    return [{"kind": "head", "state": table.state[i], "head": table.head[i], "query": query, "key": None} for i in most]
