"""The carried state at a position: the earlier state that a state continues, after its frozen steps."""

from __future__ import annotations

from dataclasses import dataclass

from ..run import Run
from . import question
from .question import POS, STATE, Question, Selection

FIELDS = (STATE, POS)


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer(question.Answered):
    state: int
    pos: int
    share: float
    from_state: int
    steps: list[str]  # in words: the norms and factors it went through
    effect: float | None


def check(_run: Run, selection: Selection) -> None:
    if selection["state"] == 0:
        raise ValueError("the embedding continues no earlier state")


def answer(q: Question) -> Answer:
    state = q.run.states[q.state]
    assert state.carried is not None
    return Answer(
        **q.said,
        state=q.state,
        pos=q.pos,
        share=float(q.graph.carried[q.state, q.pos]),
        from_state=state.carried,
        steps=list(state.path.described(q.pos)),
        effect=q.effect(q.run.carried_at(q.state, q.pos)),
    )
