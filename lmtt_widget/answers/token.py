"""A token of the prompt: how likely the model found it, and what it says comes next."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..lens import TokenList, top_tokens
from . import question
from .question import POS, Question, wide

FIELDS = (POS,)


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer(question.Answered):
    pos: int
    id: int
    raw: str
    bytes: str  # in hexadecimal
    text: str
    special: bool
    role: str | None
    p: float | None  # of this token, given what came before
    rank: int | None
    next: TokenList
    also: TokenList | None = None  # next tokens that only the answer it is compared with lists


def answer(q: Question) -> Answer:
    t, said, rank = q.run.tokens[q.pos], None, None
    if q.pos > 0:
        before = wide(q.run.logits[q.pos - 1])
        said, rank = float(before.softmax(-1)[t.id]), int((before > before[t.id]).sum())
    return Answer(
        **q.said,
        pos=q.pos,
        id=t.id,
        raw=t.raw,
        bytes=t.bytes.hex(),
        text=t.text,
        special=t.special,
        role=q.run.roles[q.pos],
        p=said,
        rank=rank,
        next=top_tokens(q.run, q.pos),
    )


def compare(q: Question, mine: Answer, other: Answer) -> Answer:
    listed = {t.id for t in mine.next.tokens}
    theirs = [t.id for t in other.next.tokens if t.id not in listed]
    logits = wide(q.run.logits[q.pos])
    also = TokenList(q.run.model.vocabulary(theirs), logits[theirs].cpu(), logits.softmax(-1)[theirs].cpu())
    return replace(mine, also=also)
