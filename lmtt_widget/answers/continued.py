"""What the model goes on to say with the edits of the picture, and without them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ..generation import Continuation
from ..run import Run
from . import question
from .question import Field, Question, Selection

_MOST = 64
FIELDS = (Field("n_tokens", lambda *_: _MOST + 1),)


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer(question.Answered):
    n_tokens: int  # to be generated; fewer where both end before
    before: list[str]  # the tokens so far, without the edits
    after: list[str]  # with them
    ended: bool


def check(run: Run, selection: Selection) -> None:
    if selection["n_tokens"] < 1:
        raise ValueError(f"n_tokens must be in 1..{_MOST}, got 0")
    if not run.interventions:
        raise ValueError("nothing is edited in this picture; select a line, a head or a part and cut it first")


def answer(q: Question) -> Answer:
    """What is known so far: the tokens are made by `more`."""
    both, n = _both(q), q.selection["n_tokens"]
    before, after = ([t.text for t in one.tokens(n)] for one in both)
    return Answer(
        **q.said | {"effect_on": None}, n_tokens=n, before=before, after=after, ended=all(one.ended(n) for one in both)
    )


def more(q: Question) -> bool:
    """Generates the next token of either; whether there are others."""
    both, n = _both(q), q.selection["n_tokens"]
    for one in both:
        if not one.ended(n):
            one.more()
    return not all(one.ended(n) for one in both)


def _both(q: Question) -> tuple[Continuation, Continuation]:
    """Kept, so that more tokens go on from those there are."""

    def made(edited: bool) -> Continuation:
        return Continuation(q.run.model, q.run.token_ids.tolist(), q.run.interventions if edited else ())

    before, after = (q.read.once(("continued", edited), partial(made, edited)) for edited in (False, True))
    return before, after
