"""Why a head looked there: a score as what asked at the query and what answered at the key, each with its own line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..reasons import Reasons, Source, attention_reasons
from ..run import Run
from . import question
from .question import HEAD, KEY, PART, QUERY, STATE, Column, Question, Record, Selection

FIELDS = (STATE, HEAD, QUERY, KEY, PART)
PARTS = ("attention",)
_ROWS = 40


@dataclass(frozen=True, eq=False)
class Askers(Record):
    """What a state is made of, the largest first; values are logits of attention against the row's average key."""

    name: list[str]
    value: Column
    opens: list[Selection | None]  # None where there is nothing to show


@dataclass(frozen=True, eq=False)
class AskedPairs(Record):
    """Who asked and who answered."""

    asked: list[str]
    answered: list[str]
    value: Column
    opens: list[Selection | None]  # what answered


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer(question.Answered):
    state: int
    head: int
    query: int
    key: int
    part: int
    attention: float
    score: float  # before the softmax
    average: float  # score of the keys that the query may look at
    position: float  # of the difference: what position, mask and sinks add
    asked: Askers
    answered: Askers
    pairs: AskedPairs
    capped: bool  # the model bends the score before the softmax


def answer(q: Question) -> Answer:
    found = attention_reasons(q.run, q.part, q.selection["head"], q.pos, q.selection["key"])
    pairs = found.pairs[:_ROWS]
    values = found.table.new_tensor([p.value for p in pairs])
    return Answer(
        **q.said,
        state=q.state,
        head=found.head,
        query=found.query,
        key=found.key,
        part=q.part.number,
        attention=found.attention,
        score=found.score,
        average=found.average,
        position=found.position,
        asked=_side(found, found.asked_by, found.asked, found.query),
        answered=_side(found, found.answered_by, found.answered, found.key),
        pairs=AskedPairs(
            [p.asked_by.name for p in pairs],
            [p.answered_by.name for p in pairs],
            values,
            [_opens(found.run, p.answered_by, found.key) for p in pairs],
        ),
        capped=found.capped,
    )


def _side(found: Reasons, sources: Sequence[Source], values: Tensor, pos: int) -> Askers:
    order = values.abs().argsort(descending=True)[:_ROWS].tolist()
    opened = [_opens(found.run, sources[i], pos) for i in order]
    return Askers([sources[i].name for i in order], values[order], opened)


def _opens(run: Run, source: Source, pos: int) -> Selection | None:
    """A head opens the line it mostly wrote there by."""
    selection = source.selection(pos)
    if selection is None or source.kind != "head":
        return selection
    heads = run.parts[selection["part"]].heads
    assert heads is not None
    return selection | {"key": int(heads.pattern(slice(pos, pos + 1))[source.head, 0].argmax())}
