"""A mixer or a skip connection at a position: what it added, and why it has no map over keys."""

from __future__ import annotations

from dataclasses import dataclass, replace

from . import question
from .question import PART, POS, STATE, Question, Update

FIELDS = (STATE, POS, PART)
PARTS = ("mixer", "skip")
_WHY = {
    "mixer": "A mixer (state space, linear attention) passes a running state along instead of looking at tokens one "
    "by one, or mixes tokens in a way that is not a sum over keys. So there is no pattern over keys, and what reaches "
    "it cannot be followed to a token: it ends here.",
    "skip": "A skip connection adds an earlier state again, multiplied by factors that are frozen here. It has no keys "
    "and no neurons: what reaches it goes on to that state at the same token.",
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer(question.Answered):
    state: int
    pos: int
    part: int
    share: float
    effect: float | None
    update: Update | None
    why: str


def answer(q: Question) -> Answer:
    return Answer(**q.written(), why=_WHY[q.part.kind])


def compare(q: Question, mine: Answer, other: Answer) -> Answer:
    return replace(mine, update=q.beside(mine.update, q.output, [other.update]))
