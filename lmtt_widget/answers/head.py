"""One head at one query: where it looks, how much of the state it wrote, and which tokens that promotes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from ..decomposition.vectors import HeadVectors, head_vectors
from ..inside import head_map
from ..patterns import largest
from ..readings import Entered
from . import question
from .question import HEAD, KEY, PART, QUERY, STATE, Map, Question, Record, Update

PARTS = ("attention",)
FIELDS = (STATE, HEAD, QUERY, replace(KEY, optional=True), PART)


@dataclass(frozen=True, eq=False)
class Pair(Record):
    """The largest value in each of the two maps."""

    pattern: float
    contribution: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer(question.Answered):
    state: int
    head: int
    query: int
    key: int | None
    part: int
    share: float
    attention: float | None
    effect: float | None  # of all keys
    effect_key: float | None
    pattern: Map  # [query, key]
    contribution: Map  # [query, key]
    max: Pair
    max_all: Pair  # over all heads
    all: Update | None
    this_key: Update | None
    note: str | None = None  # why something is not there


def answer(q: Question) -> Answer:
    head, key, heads = q.selection["head"], q.selection.get("key"), q.part.heads
    assert heads is not None
    contribution, vectors = head_map(q.run, q.graph, q.part, head), _vectors(q)
    pattern, written = vectors.pattern.cpu(), _written(q, vectors)
    most = q.graph.share_max[q.graph.block(q.part.number).edges].max(initial=0)
    return Answer(
        **q.said,
        state=q.state,
        head=head,
        query=q.pos,
        key=key,
        part=q.part.number,
        share=float(contribution[q.pos].sum() if key is None else contribution[q.pos, key]),
        attention=None if key is None else float(pattern[q.pos, key]),
        effect=q.effect(written.sum(0)),
        effect_key=None if key is None else q.effect(written[key]),
        pattern=pattern,
        contribution=contribution,
        max=Pair(float(pattern.max()), float(contribution.max())),
        max_all=Pair(q.read.once(("largest", q.part.number), lambda: largest(heads, q.run.n_tokens)), float(most)),
        all=q.update(written.sum(0)),
        this_key=None if key is None else q.update(written[key]),
    )


def compare(q: Question, mine: Answer, other: Answer) -> Answer:
    written, theirs = _written(q, _vectors(q)), [other.all, other.this_key]
    this_key = None if mine.key is None else q.beside(mine.this_key, written[mine.key], theirs)
    return replace(mine, all=q.beside(mine.all, written.sum(0), theirs), this_key=this_key)


def updates(q: Question) -> list[Entered]:
    written, key = _written(q, _vectors(q)), q.selection.get("key")
    return q.entered(written.sum(0), *([] if key is None else [written[key]]))


def _vectors(q: Question) -> HeadVectors:
    return head_vectors(q.part.linear[0], q.selection["head"])


def _written(q: Question, vectors: HeadVectors) -> Tensor:
    """What the head moved to the query: [key, d_model]."""
    return vectors.block(q.pos, q.pos + 1)[0]
