"""A toy kind of question: how many letters a token has."""

from __future__ import annotations

from dataclasses import dataclass

from lmtt_widget.answers import question
from lmtt_widget.answers.question import POS, Question

FIELDS = (POS,)


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer(question.Answered):
    pos: int
    letters: int


def answer(q: Question) -> Answer:
    return Answer(**q.said, pos=q.pos, letters=sum(c.isalpha() for c in q.run.tokens[q.pos].text))
