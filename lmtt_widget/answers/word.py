"""Which neurons and heads anywhere in the model write a word: read off the weights, the same at every position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..by_word import Writer, promoters, token_of
from ..run import Run
from . import question
from .question import Column, Field, Named, Question, Record, Selection

_LISTED = 20  # neurons either way, and heads


class _Word(Field):
    """A text that is one token, by itself or after a space, or a token id."""

    def check(self, run: Run, selection: Selection) -> None:
        word, n_vocab = selection["word"], run.logits.shape[-1]
        if isinstance(word, bool) or not isinstance(word, (str, int)) or word == "":
            raise ValueError(f"a word is a token: its text or its id, got {word!r:.40}")
        if isinstance(word, int) and not 0 <= word < n_vocab:
            raise ValueError(f"a token's id must be in 0..{n_vocab - 1}, got {word}")
        if isinstance(word, str) and run.model.tokenizer is None:
            raise ValueError(
                f"this model has no tokenizer, so a word is a token id in 0..{n_vocab - 1}, got {word!r:.40}"
            )
        token_of(run.model, word.replace("·", " ") if isinstance(word, str) else word)


FIELDS = (_Word("word", lambda run, _: run.logits.shape[-1]),)


@dataclass(frozen=True, eq=False)
class Writers(Record):
    """Neurons or heads, and how strongly their weights write the word."""

    part: list[int]
    state: list[int]
    number: list[int]  # of the neuron or head in its part
    expert: list[int | str | None]
    score: Column  # logits for each unit of a neuron's activation; of a head for values of length 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer(question.Answered):
    word: Named
    promoting: Writers
    suppressing: Writers
    heads: Writers


def answer(q: Question) -> Answer:
    word = q.selection["word"]
    found = promoters(
        q.run.model, word.replace("·", " ") if isinstance(word, str) else word, k=_LISTED, progress=lambda *_: None
    )
    return Answer(
        **q.said,
        word=Named(found.token.id, found.token.text),
        promoting=_listed(found.promoting),
        suppressing=_listed(found.suppressing),
        heads=_listed(found.heads),
    )


def follow_ups(run: Run, selection: Selection, answered: Answer) -> list[Selection]:  # noqa: ARG001
    """The neurons that raise it most, at the explained position."""
    most, pos = answered.promoting, answered.effect_on.pos if answered.effect_on else run.n_tokens - 1
    rows = zip(most.state, most.number, most.expert, strict=True)
    return [{"kind": "neuron", "state": s, "pos": pos, "neuron": k} for s, k, expert in rows if expert is None][:2]


def _listed(some: Sequence[Writer]) -> Writers:
    rows = [(w.part, w.state, w.number, w.expert) for w in some]
    parts, states, numbers, experts = [list(column) for column in zip(*rows, strict=True)] or [[]] * 4
    return Writers(parts, states, numbers, experts, torch.tensor([w.score for w in some]))
