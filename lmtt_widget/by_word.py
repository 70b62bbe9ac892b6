"""Which neurons and heads anywhere in a model write a word: read off the weights, without a prompt.

Knows nothing of shares, prompts and screens. A direction is taken from the unembedding of the word down through the
stream, every norm with its weights but without its statistics, which only a prompt has; what a neuron adds to the
word's logit for each unit of its activation is its output row times that direction. In a model of width 2 whose word
has the unembedding (1, 3) and whose final norm has the weights (2, 1), that is (2, 3) for all layers.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from .decomposition.linear import LinearMap
from .decomposition.paths import Path, Scale
from .decomposition.readout import Stage
from .decomposition.streams import Spread
from .decomposition.writes import LinearWrite
from .given import integer, of_kind
from .inside import expert_name, has_experts
from .interventions import Edit
from .lens import chain, readout_of
from .model import Model
from .parts import Part
from .progress import Option, reported
from .run import Run, record
from .tokens import Token

_PROBE = 4  # times the word: one row for all tokens and one row per token look different then
_BLOCK = 1 << 22  # numbers of a weight that are made wider at a time


@dataclass(frozen=True)
class Writer:
    """A neuron or a head, and how strongly its weights write a word.

    >>> writer = lmtt.promoters(model, "Mary", k=1).heads[0]
    >>> writer.edit(to=0).kind
    'head'
    """

    kind: Literal["neuron", "head"]
    layer: int | None
    number: int  # of the neuron or head in its layer
    score: float
    state: int  # the state its part enters
    part: int
    expert: int | str | None = None

    def edit(self, to: Any = 0.0, pos: int | None = None) -> Edit:
        """It switched off, scaled, or set, as an Edit: at one position, or everywhere."""
        selection: dict[str, Any] = {"kind": self.kind, "state": self.state, "part": self.part, self.kind: self.number}
        if pos is not None:
            selection["pos" if self.kind == "neuron" else "query"] = pos
        return Edit(selection if self.expert is None else selection | {"expert": self.expert}, to)

    def __str__(self) -> str:
        expert = "" if self.expert is None else f" expert {self.expert}"
        return f"{self.kind} {self.layer}.{self.number}{expert} {self.score:+.3f}"


@dataclass(frozen=True)
class Promoters:
    """The neurons and heads of a model that write a word most.

    >>> found = lmtt.promoters(model, "Mary", k=3)
    >>> found.token.text, len(found.promoting), found.promoting[0].score > found.suppressing[0].score
    ('·Mary', 3, True)
    """

    token: Token
    promoting: list[Writer]  # neurons, most first: they raise the word's logit where their activation is positive
    suppressing: list[Writer]  # neurons, most first: they lower it
    heads: list[Writer]  # most first: how far values of length 1 can move it, either way

    def to_dict(self) -> list[dict[str, Any]]:
        """One record per neuron and head, ready for a data frame."""
        return [
            {"kind": w.kind, "layer": w.layer, "number": w.number, "expert": w.expert, "score": w.score}
            for w in (*self.promoting, *self.suppressing, *self.heads)
        ]

    def __repr__(self) -> str:
        lists = {"promoted by": self.promoting, "suppressed by": self.suppressing, "heads that reach it": self.heads}
        said = "; ".join(f"{name} " + ", ".join(map(str, some[:4])) for name, some in lists.items())
        return f"{self.token.text}: {said}"


def promoters(model: Model, word: str | int, *, k: int = 20, progress: Option = None) -> Promoters:
    """The neurons and heads anywhere in the model that promote or suppress a word most, without a prompt.

    word: a text that is one token, by itself or after a space, or a token id. A neuron's score is what one unit of its
    activation adds to the word's logit, w_out . norm . W_U[:, word]; a head's is the length of that in the space of its
    values, since it writes what it finds. Norms have their weights but not their statistics, which a prompt would give:
    scores of different layers are of states of the same length. What later layers make of it is not counted.
    Read layer by layer; progress(done, total) is called after each part.

    Raises ValueError for a text that is several tokens, and where logits are no linear read-out of the last state.
    (Geva et al. 2022, LM-Debugger, arXiv:2204.12130; heads: Elhage et al. 2021)

        >>> found = lmtt.promoters(model, " Mary", k=2)
        >>> run = lmtt.record(model, prompt, interventions=[found.promoting[0].edit(to=0)])
    """
    of_kind(model, Model, "model", "load_model(...) makes one, also of a torch module")
    k, token = integer(k, "k", 1), token_of(model, word)
    run = record(model, [token] * _PROBE, strict=False, probe=False, progress=False)
    onto, best = directions(run, token), _Best(k)
    parts = [p for p in run.parts if p.kind in ("mlp", "attention") and p.state in onto]
    with reported("searching", progress) as done:
        for i, part in enumerate(parts):
            for kind, expert, scores in _scores(run, part, onto[part.state]):
                best.offer(kind, part, expert, scores)
            done(i + 1, len(parts))
    (named,) = model.vocabulary([token])
    return Promoters(named, best.sorted("promoting"), best.sorted("suppressing"), best.sorted("heads"))


def directions(run: Run, token: int) -> dict[int, Tensor]:
    """What one unit of each coordinate of a state adds to a token's logit, norms without their statistics: [d_model]
    by the number of each state that the last one continues."""
    readout, at = readout_of(run), chain(run)
    found = _through_stage(readout.top, token) * readout.scale
    onto = {}
    for state in at:
        onto[state] = found
        found = _back(run.states[state].path, found)
    return onto


class _Best:
    """The k largest and smallest of neurons, and the k largest of heads, as they come."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.found: dict[str, list[tuple[float, int, Writer]]] = {"promoting": [], "suppressing": [], "heads": []}
        self.n = 0

    def offer(self, kind: Literal["neuron", "head"], part: Part, expert: int | str | None, scores: Tensor) -> None:
        for name, sign in (("heads", 1),) if kind == "head" else (("promoting", 1), ("suppressing", -1)):
            top = (sign * scores).topk(min(self.k, len(scores)))
            for value, number in zip(top.values.tolist(), top.indices.tolist(), strict=True):
                self.n += 1
                writer = Writer(kind, part.layer, number, sign * value, part.state, part.number, expert)
                heapq.heappush(self.found[name], (value, -self.n, writer))
                if len(self.found[name]) > self.k:
                    heapq.heappop(self.found[name])

    def sorted(self, name: str) -> list[Writer]:
        return [writer for _, _, writer in sorted(self.found[name], reverse=True)]


def token_of(model: Model, word: str | int) -> int:
    """The id of a word: as it is, or after a space, as inside a text. Raises ValueError where it is several tokens."""
    if not isinstance(word, str):
        return integer(word, "word", 0)
    try:
        return model.token_id(f" {word.lstrip(' ')}" if not word.startswith(" ") else word, "the word")
    except ValueError:
        return model.token_id(word, "the word")


def _scores(run: Run, part: Part, onto: Tensor) -> Iterator[tuple[Literal["neuron", "head"], int | str | None, Tensor]]:
    """The scores of a part's heads, or of the neurons of each of its experts: [head] or [neuron]."""
    if part.heads is not None:
        write = part.linear[0]
        per_input = _rows_onto(write.map, write.input, _back(write.path, onto))
        lengths = {}
        for h in range(part.n_heads):
            product, number = part.heads.head(h)
            lengths[h] = per_input[product.slots[number].to(per_input.device)].norm()
        yield "head", None, torch.stack([lengths[h] for h in range(part.n_heads)])
        return
    seen: set[int | str | None] = set()
    for write in part.linear:
        g = _back(write.path, onto)
        if write.map.group:
            for expert in range(write.map.n_groups):
                yield "neuron", expert, _rows_onto(write.map, write.input, g, expert * write.map.group)
            continue
        name = expert_name(part, write, 0)
        seen.add(name)
        yield "neuron", name, _rows_onto(write.map, write.input, g)
    for number, mapping, like in _not_asked(run, part, seen) if has_experts(part) else ():
        yield "neuron", number, _rows_onto(mapping, like.input, _back(like.path, onto))


def _not_asked(run: Run, part: Part, seen: set[int | str | None]) -> Iterator[tuple[int, LinearMap, LinearWrite]]:
    """The experts that no token went to: those beside one that was asked, by its label."""
    asked = next((w for w in part.linear if isinstance(w.expert(0), int) and not w.map.group), None)
    if asked is None:
        return
    sliced, listed = (
        re.fullmatch(r"(.+)\[(\d+)\]", asked.module),
        re.fullmatch(r"(.*\bexperts?\.)(\d+)(.*)", asked.module),
    )
    weight, module = asked.map.weight(), run.model.module
    if sliced and weight is not None:
        named = [p for name, p in module.named_parameters() if name.endswith(sliced[1]) and p.ndim == 3]
        for p in named:
            mine = p.detach()[int(sliced[2])]
            for turned in (False, True):
                if (mine.t() if turned else mine).shape == weight.shape and torch.equal(
                    mine.t() if turned else mine, weight
                ):
                    for e in set(range(len(p))) - seen:
                        yield e, LinearMap(weight=p.detach()[e].t() if turned else p.detach()[e]), asked
                    return
    elif listed:
        modules = dict(module.named_modules())
        prefix = next(
            (n[: -len(asked.module)] for n, m in modules.items() if n.endswith(asked.module) and m is asked.map.module),
            None,
        )
        for e in range(len(modules)) if prefix is not None else ():
            found = modules.get(f"{prefix}{listed[1]}{e}{listed[3]}")
            if found is None:
                return
            if e not in seen:
                yield e, LinearMap(module=found), asked


def _through_stage(stage: Stage, output: int | Tensor) -> Tensor:
    """One unit of an output of a stage, or a direction of them, as a direction in the last state: [d_model]."""
    mapping, like = stage.map, stage.like
    if isinstance(output, int):
        one = torch.tensor([output], device=like.device)
        g = torch.cat([mapping(_unit(some, like), outputs=one)[:, 0] for some in _pieces(like.shape[-1], like)])
        g = g.to(torch.promote_types(g.dtype, torch.float32))
    else:
        g = _rows_onto(mapping, like, output)
    total: Any = 0
    for path, behind in stage.ways:
        back = _back(path, g)
        total = total + (back if behind is None else _through_stage(behind, back))
    return total  # type: ignore[no-any-return]


def _rows_onto(mapping: LinearMap, like: Tensor, onto: Tensor, row: int = 0) -> Tensor:
    """What each input coordinate of a map writes along a direction: [in]; the weight is never copied whole."""
    found = []
    for some in _pieces(like.shape[-1], like, len(onto)):
        made = mapping.outputs(some, like, row)
        found.append(made.to(onto.device, onto.dtype) @ onto)
    return torch.cat(found)


def _pieces(n: int, like: Tensor, width: int = 0) -> tuple[Tensor, ...]:
    return torch.arange(n, device=like.device).split(max(1, _BLOCK // max(width, n)))


def _unit(index: Tensor, like: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(index, like.shape[-1]).to(like)


def _back(path: Path | Spread, onto: Tensor) -> Tensor:
    """A direction after the steps of a path as one before them, without what is one number per token."""
    if isinstance(path, Spread):  # streams are mixed by weights of each token: as the last of them had it
        width = len(onto)
        units = torch.eye(width, dtype=onto.dtype, device=onto.device)
        return path.apply(units, 0) @ onto
    for step in reversed(path.steps):
        if not isinstance(step, Scale):
            onto = onto + step.sign * onto.mean()
        elif step.factor.ndim == 0 or step.factor.shape[0] == 1:
            onto = onto * step.factor.reshape(-1).to(onto.device, onto.dtype)
        elif step.factor.shape[1] > 1:  # one factor per token and coordinate: as the last token had it
            onto = onto * step.factor[-1].to(onto.device, onto.dtype)
    return onto
