"""A state at a position: what the model would say there, what was added, and which parts made it up."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..graph import ATTENTION
from ..readings import Entered, Node
from ..run import Run
from . import question
from .question import POS, STATE, Named, Question, Record, Selection, Tokens, Update, wide

FIELDS = (STATE, POS)
_LENS_ROWS, _PART_ROWS = 30, 40


@dataclass(frozen=True, eq=False)
class Final(Named):
    """What the model says in the end."""

    p: float


@dataclass(frozen=True, eq=False)
class Summary(Record):
    """How far the state is from what the model says in the end."""

    entropy: float  # nats
    kl: float  # KL(final || lens), nats
    final: Final
    settled: int | None  # the state from which the final answer stays on top
    on_top: bool


@dataclass(frozen=True, eq=False)
class Parts(Record):
    """What entered, by share: the carried state, every key, every MLP and mixer."""

    kind: list[str]
    part: list[int | None]
    key: list[int | None]
    share: list[float]
    label: list[str]
    also: Parts | None = None  # what only the answer it is compared with lists


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer(question.Answered):
    state: int
    pos: int
    name: str
    parts: Parts
    rest: float  # the shares of the parts that are not listed
    update: Update | None
    lens: Tokens | None
    summary: Summary | None


def answer(q: Question) -> Answer:
    state, found = q.run.states[q.state], _by_share(q)
    lens, summary = _lens(q) if q.run.readout is not None else (None, None)
    return Answer(
        **q.said,
        state=q.state,
        pos=q.pos,
        name=state.name,
        parts=_listed(found[:_PART_ROWS]),
        rest=sum(row[3] for row in found[_PART_ROWS:]),
        update=None if state.carried is None else q.update(_added(q)),
        lens=lens,
        summary=summary,
    )


def compare(q: Question, mine: Answer, other: Answer) -> Answer:
    theirs = {*zip(other.parts.kind, other.parts.key, strict=True)}
    also = _listed([row for row in _by_share(q)[_PART_ROWS:] if (row[0], row[2]) in theirs])
    lens, update = mine.lens, mine.update
    if lens is not None and other.lens is not None:
        logits = q.read.lens(q.state, q.pos, normalise=q.normalise)
        ids = other.lens.id[~torch.isin(other.lens.id, lens.id)]
        lens = replace(lens, also=_tokens(q, ids, logits))
    if update is not None:
        update = q.beside(update, _added(q), [other.update])
    return replace(mine, parts=replace(mine.parts, also=also), lens=lens, update=update)


def updates(q: Question) -> list[Entered]:
    return [] if q.run.states[q.state].carried is None else q.entered(_added(q))


def nodes(q: Question) -> list[Node]:
    before = q.run.states[q.state].carried
    return [(q.state, q.pos)] + ([] if before is None else [(before, q.pos)])


def follow_ups(run: Run, selection: Selection, _answered: Answer) -> list[Selection]:
    below = run.states[selection["state"]].carried
    return [{"kind": "state", "state": below, "pos": selection["pos"]}] if below else []


def _added(q: Question) -> Tensor:
    return wide(q.run.states[q.state].value[q.pos]) - q.run.carried_at(q.state, q.pos)


def _tokens(q: Question, ids: Tensor, logits: Tensor) -> Tokens:
    text, log_p = [t.text for t in q.run.model.vocabulary(ids.tolist())], wide(logits).log_softmax(-1)
    return Tokens(ids.cpu(), text, logits[ids].cpu(), log_p[ids].exp().cpu())


def _lens(q: Question) -> tuple[Tokens, Summary]:
    run, before = q.run, q.run.states[q.state].carried
    states = [q.state] if before is None else [q.state, before]
    logits, *earlier = q.read.together(states, q.pos, normalise=q.normalise)
    mine = wide(logits).log_softmax(-1)
    ids = logits.topk(min(_LENS_ROWS, len(logits))).indices
    change, rank = None, torch.arange(len(ids))
    if before is not None:
        was = wide(earlier[0])
        scores = was[ids].cpu().numpy()
        ranked = np.sort(was[was >= float(scores.min())].cpu().numpy())
        above = len(ranked) - np.searchsorted(ranked, scores, side="right")
        change = (above - rank.numpy()).tolist()
    lens = replace(_tokens(q, ids, logits), rank=rank, change=change)
    final = run.logits[q.pos].to(mine.dtype).log_softmax(-1)
    said = int(final.argmax())
    return lens, Summary(
        entropy=float(-(mine.exp() * mine).sum()),
        kl=float((final.exp() * (final - mine)).sum()),
        final=Final(said, q.named(said).text, float(final[said].exp())),
        settled=q.read.settled(q.pos, normalise=q.normalise),
        on_top=int(mine.argmax()) == said,
    )


_Row = tuple[str, int | None, int | None, float, str]  # kind, part, key, share, label


def _by_share(q: Question) -> list[_Row]:
    """The carried state, every key, every MLP and mixer that entered here, by share."""
    if q.state == 0:
        return []
    g = q.graph
    found: list[_Row] = [("carried", None, None, float(g.carried[q.state, q.pos]), g.states[q.state].name)]
    for part in (p for p in g.parts if p.state == q.state):
        b = g.block(part.number)
        at = b.start + np.flatnonzero(g.query[b.edges] == q.pos)
        for key, share in zip(g.key[at].tolist(), g.share_sum[at].tolist(), strict=True):
            found.append((part.kind, part.number, key if b.kind == ATTENTION else None, share, part.label))
    return sorted(found, key=lambda row: -row[3])


def _listed(rows: list[_Row]) -> Parts:
    return Parts(*([row[i] for row in rows] for i in range(5)))  # type: ignore[arg-type]
