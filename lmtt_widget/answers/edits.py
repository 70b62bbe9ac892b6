"""What the edits of the picture did: to the prediction, and to what every head adds to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..direct import effects_at
from ..run import Run, record
from ..tokens import Token
from ..verdicts import verdict_of
from . import question
from .question import Column, EffectOn, Named, Question, Record, Selection

FIELDS: tuple[question.Field, ...] = ()
_CHANGED = 5  # heads that are named


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
    before, after = (effects_at(one, pos, token, foil).heads for one in (clean, run))
    rows = [
        (number, run.parts[number].state, head, float(before[number][head].sum()), float(x.sum()))
        for number, heads in after.items()
        for head, x in enumerate(heads)
    ]
    rows = sorted(rows, key=lambda row: -abs(row[4] - row[3]))[:_CHANGED]
    parts, states, heads, was, now = [list(column) for column in zip(*rows, strict=True)] or [[]] * 5
    return ChangedHeads(parts, states, heads, torch.tensor(was), torch.tensor(now))
