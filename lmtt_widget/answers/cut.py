"""What if this were not there: the exact effect of a line, a head, a part or a neuron on the prediction."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..interventions import Edit
from ..run import Run
from ..verdicts import effects
from . import question
from .question import HEAD, KEY, PART, QUERY, STATE, Field, Question, Selection, find_part

PARTS = ("attention", "mlp", "mixer", "skip")
NEURON = Field("neuron", lambda run, selection: _n_neurons(run, selection), optional=True)
FIELDS = (STATE, QUERY, replace(KEY, optional=True), replace(HEAD, optional=True), NEURON, PART)


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer(question.Judged):
    state: int
    query: int
    key: int | None
    head: int | None
    neuron: int | None
    part: int
    odds_mean: float  # where its mean over the prompt stands instead of nothing


def check(run: Run, selection: Selection) -> None:
    part = find_part(run, selection, PARTS)
    of_attention = selection.get("key") is not None or selection.get("head") is not None
    if of_attention and part.kind != "attention":
        raise ValueError(f"only an attention part has lines and heads; part {part.number} is of kind {part.kind}")
    if selection.get("neuron") is not None and part.kind != "mlp":
        raise ValueError(f"only an MLP part has neurons; part {part.number} is of kind {part.kind}")


def answer(q: Question) -> Answer:
    foil = None if q.foil == q.token else q.foil
    zero, mean = effects(
        q.run, [_edit(q, to) for to in (0.0, "mean")], token=q.token, foil=foil, pos=q.target, progress=lambda *_: None
    )
    return Answer(
        **q.said,
        state=q.state,
        query=q.pos,
        key=q.selection.get("key"),
        head=q.selection.get("head"),
        neuron=q.selection.get("neuron"),
        part=q.part.number,
        odds_mean=mean.odds,
        **question.judged(zero),
    )


def _edit(q: Question, to: object) -> Edit:
    key, head, neuron = (q.selection.get(name) for name in ("key", "head", "neuron"))
    where = {"state": q.state, "part": q.part.number}
    if q.part.kind == "attention":
        where |= {"query": q.pos} | ({} if key is None else {"key": key}) | ({} if head is None else {"head": head})
        return Edit({"kind": "edge" if head is None else "head", **where}, to)
    if neuron is not None:
        return Edit({"kind": "neuron", "pos": q.pos, "neuron": neuron, **where}, to)
    return Edit({"kind": "mlp" if q.part.kind == "mlp" else "mixer", "pos": q.pos, **where}, to)


def _n_neurons(run: Run, selection: Selection) -> int:
    widths = [w.input.shape[1] for w in find_part(run, selection, ("mlp",)).linear]
    return max(widths, default=0)
