"""An attention edge: the heads that moved something from a key to a query, and where each of them looks."""

from __future__ import annotations

from dataclasses import dataclass

from ..decomposition.vectors import cell_vectors
from ..inside import head_shares
from ..patterns import pooled, thumbs
from ..run import Run
from . import question
from .question import KEY, PART, QUERY, STATE, Column, Map, Question, Record, Selection

FIELDS = (STATE, QUERY, KEY, PART)
PARTS = ("attention",)


@dataclass(frozen=True, eq=False)
class Heads(Record):
    """The heads on the edge, by share."""

    head: Column
    share: Column
    attention: Column
    effect: list[float | None]


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer(question.Answered):
    state: int
    query: int
    key: int
    part: int
    share: float
    heads: Heads
    thumbs: Map  # [head, query, key], bytes on a square-root scale
    thumb_max: Column  # what 255 stands for in each
    pattern_max: float


def answer(q: Question) -> Answer:
    key, heads = q.selection["key"], q.part.heads
    assert heads is not None
    shares = head_shares(q.run, q.part, q.pos, graph=q.graph)[:, key]
    order = shares.argsort(descending=True, stable=True)
    effects = q.effects(cell_vectors(q.part.linear[0], q.pos, key))
    small, largest = q.read.once(("thumbs", q.part.number), lambda: thumbs(pooled(heads, q.run.n_tokens)))
    return Answer(
        **q.said,
        state=q.state,
        query=q.pos,
        key=key,
        part=q.part.number,
        share=float(shares.sum()),
        heads=Heads(
            head=order,
            share=shares[order],
            attention=heads.pattern(slice(q.pos, q.pos + 1))[:, 0, key].cpu()[order],
            effect=[None] * len(order) if effects is None else effects[order].tolist(),
        ),
        thumbs=small,
        thumb_max=largest,
        pattern_max=float(largest.max()),
    )


def follow_ups(_run: Run, selection: Selection, answered: Answer) -> list[Selection]:
    here = {name: selection[name] for name in ("state", "query", "key")}
    return [{"kind": "head", "head": h, **here} for h in answered.heads.head[:2].tolist()]
