"""Prompts that turn the answer round: the token and its foil swapped, each tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..contrasts import contrast_prompts
from . import question
from .question import Column, Question, Record

FIELDS: tuple[question.Field, ...] = ()


@dataclass(frozen=True, eq=False)
class Turned(Record):
    """Prompts, the one that turns the answer most first."""

    prompt: list[Any]
    how: list[str]
    odds: Column  # log odds of the token against the foil, in nats


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer(question.Answered):
    odds_before: float | None  # None where no prompt could be made
    turned: Turned


def answer(q: Question) -> Answer:
    """Raises ValueError without a foil."""
    if q.foil is None or q.foil == q.token:
        raise ValueError("a contrast prompt swaps two words: choose the token that the answer is held against first")
    run = q.read.clean or q.run
    found = contrast_prompts(run, foil=q.foil, token=q.token, pos=q.target)
    odds = run.logits.new_tensor([c.odds for c in found]).cpu()
    turned = Turned([c.prompt for c in found], [c.how for c in found], odds)
    return Answer(**q.said, odds_before=found[0].odds_before if found else None, turned=turned)
