"""What the edits of the picture did: to the prediction, and to what every head adds to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..direct import changed_heads
from ..run import Run, record
from ..tokens import Token
from ..verdicts import verdict_of
from . import question
from .question import Column, EffectOn, Named, Question, Record, Selection

FIELDS: tuple[question.Field, ...] = ()


@dataclass(frozen=True, eq=False)
class ChangedHeads(Record):
    """The heads whose direct effect on the answer changed most."""

    part: list[int]
    state: list[int]
    head: list[int]
    before: Column
    effect: Column


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer(question.Judged):
    heads: ChangedHeads | None  # None without a linear read-out


def check(run: Run, selection: Selection) -> None:  # noqa: ARG001
    if not run.interventions:
        raise ValueError("nothing is edited in this picture; select a line, a head or a part and cut it first")


def answer(q: Question) -> Answer:
    """About the token that the same prompt predicts without the edits, or the one that was chosen."""
    clean = q.read.clean or record(q.run.model, q.run.prompt)
    token = int(clean.logits[q.target].argmax()) if q.chosen is None else q.chosen
    foil = None if q.foil == token else q.foil
    found = verdict_of(q.run, clean, token=token, foil=foil, pos=q.target)
    on = EffectOn(_named(found.token), None if found.foil is None else _named(found.foil), found.pos)
    return Answer(
        **q.said | {"effect_on": on},
        **question.judged(found),
        heads=None if clean.readout is None else _changed(clean, q.run, found.pos, token, foil),
    )


def _named(token: Token) -> Named:
    return Named(token.id, token.text)


def _changed(clean: Run, run: Run, pos: int, token: int, foil: int | None) -> ChangedHeads:
    found = changed_heads(clean, run, token=token, foil=foil, pos=pos)
    return ChangedHeads(
        [h.part for h in found], [h.state for h in found], [h.head for h in found],
        torch.tensor([h.before for h in found]), torch.tensor([h.effect for h in found]),
    )  # fmt: skip
