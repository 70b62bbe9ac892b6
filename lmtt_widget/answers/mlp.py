"""An MLP at a position: what it added, its neurons by share, and the experts that saw the token."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..decomposition.vectors import neuron_vectors
from ..inside import NeuronShares, expert_name, expert_shares, has_experts, neuron_shares
from ..readings import Entered
from ..run import Run
from . import question
from .question import PART, POS, STATE, Column, Field, Question, Record, Selection, Update

PARTS = ("mlp",)
TOP = Field("top", lambda _run, _selection: 1 << 20, optional=True)  # how many neurons are listed
FIELDS = (STATE, POS, PART, TOP)
_ROWS = 20

Expert = int | str | None  # its number, "shared" for one that sees every token, None where there are none


@dataclass(frozen=True, eq=False)
class Neurons(Record):
    """Neurons, by share."""

    neuron: Column
    expert: list[Expert]
    share: Column
    value: Column
    effect: list[float | None]
    also: Neurons | None = None  # what only the answer it is compared with lists


@dataclass(frozen=True, eq=False)
class Experts(Record):
    """The experts that saw the token, by share."""

    expert: list[Expert]
    label: list[str]
    weight: list[float | None]
    share: list[float]


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer(question.Answered):
    state: int
    pos: int
    part: int
    share: float
    effect: float | None
    update: Update | None
    n_neurons: int
    neurons: Neurons
    experts: Experts | None


def check(_run: Run, selection: Selection) -> None:
    if selection.get("top") == 0:
        raise ValueError("top is how many neurons are listed, 1 or more, got 0")


def answer(q: Question) -> Answer:
    shares = neuron_shares(q.run, q.part, q.pos)
    best = _best(q, shares)
    return Answer(**q.written(), n_neurons=len(shares.share), neurons=_listed(q, shares, best), experts=_experts(q))


def compare(q: Question, mine: Answer, other: Answer) -> Answer:
    shares = neuron_shares(q.run, q.part, q.pos)
    theirs = {*zip(other.neurons.neuron.tolist(), other.neurons.expert, strict=True)}
    listed = set(_best(q, shares).tolist())
    known = torch.isin(shares.neuron, other.neurons.neuron).nonzero().reshape(-1).tolist()
    also = [i for i in known if i not in listed and (int(shares.neuron[i]), _expert(q, shares, i)) in theirs]
    neurons = replace(mine.neurons, also=_listed(q, shares, torch.tensor(also, dtype=torch.int64)))
    return replace(mine, neurons=neurons, update=q.beside(mine.update, q.output, [other.update]))


def updates(q: Question) -> list[Entered]:
    return q.entered(q.output)


def follow_ups(_run: Run, selection: Selection, answered: Answer) -> list[Selection]:
    here = {name: selection[name] for name in ("state", "pos")}
    best = zip(answered.neurons.neuron[:2].tolist(), answered.neurons.expert, strict=False)
    return [
        {"kind": "neuron", "neuron": n, **here, **({} if expert is None else {"expert": expert})} for n, expert in best
    ]


def _best(q: Question, shares: NeuronShares) -> Tensor:
    return shares.share.topk(min(q.selection.get("top") or _ROWS, len(shares.share))).indices


def _expert(q: Question, shares: NeuronShares, i: int) -> Expert:
    return expert_name(q.part, q.part.linear[int(shares.write[i])], int(shares.row[i]))


def _listed(q: Question, shares: NeuronShares, at: Tensor) -> Neurons:
    picked = [(q.part.linear[int(shares.write[i])], int(shares.row[i]), int(shares.neuron[i])) for i in at]
    effects: list[float | None] = [None] * len(picked)
    if picked:
        found = q.effects(torch.cat([neuron_vectors(w, row, torch.tensor([n])) for w, row, n in picked]))
        effects = effects if found is None else found.tolist()
    experts = [_expert(q, shares, i) for i in at.tolist()]
    return Neurons(shares.neuron[at], experts, shares.share[at], shares.value[at], effects)


def _experts(q: Question) -> Experts | None:
    if not has_experts(q.part):
        return None
    found = sorted(expert_shares(q.run, q.part, q.pos), key=lambda row: -row[2])
    return Experts(
        expert=[expert_name(q.part, w, row) for w, row, _ in found],
        label=[w.module for w, _, _ in found],
        weight=[w.path.factor(row) for w, row, _ in found],
        share=[share for _, _, share in found],
    )
