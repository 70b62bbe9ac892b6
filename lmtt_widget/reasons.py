"""Why a head looked where it looked: one score as an exact table of what asked and what answered.

score = scale * q(x_query) . k(x_key) + what position, mask and sinks add. With its norms frozen q and k are affine in
the state, rotary embedding included, and a state is a sum of parts; so the score is a sum over pairs of parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .decomposition.asked import Alone, Asked, Heard, asked
from .decomposition.forward import in_plain_precision
from .decomposition.frozen import Frozen
from .decomposition.layers import find_layers
from .decomposition.paths import Path
from .decomposition.streams import Spread
from .decomposition.vectors import head_vectors, query_vectors, vector_at
from .decomposition.writes import LinearWrite, Write
from .given import of_kind, place
from .parts import Part, wide
from .run import RECORDED, Run, need_own

_KEPT = 2  # layers of a run whose tape is kept for the next question
_PAIRS = 6  # parts that answered, of which it is said with whom


@dataclass(frozen=True)
class Source:
    """One thing a state is made of: a head, an MLP, a mixer, an embedding; all biases are one.

    >>> found = lmtt.attention_reasons(run, run.part("attention", layer=2), 6, query=13, key=1)
    >>> found.answered_by[0].kind, found.answered_by[1]
    ('embedding', Source(L0 H0))
    """

    kind: str  # "embedding", "head", "mlp", "mixer", "skip" or "bias"
    layer: int | None = None
    state: int | None = None  # that it was added to
    part: int | None = None  # its number
    head: int | None = None
    module: str = ""  # a label only

    @property
    def name(self) -> str:
        if self.kind == "head":
            return f"L{self.layer} H{self.head}"
        if self.kind in ("embedding", "bias"):
            return self.module or self.kind
        return f"L{self.layer} {'MLP' if self.kind == 'mlp' else self.kind}"

    def selection(self, pos: int) -> dict[str, Any] | None:
        """What the widget shows of it at a position; None where there is nothing to show (biases)."""
        if self.kind == "bias":
            return None
        if self.kind == "embedding":
            return {"kind": "state", "state": 0, "pos": pos}
        if self.kind == "head":
            return {"kind": "head", "state": self.state, "head": self.head, "query": pos, "part": self.part}
        kind = "mlp" if self.kind == "mlp" else "mixer"
        return {"kind": kind, "state": self.state, "pos": pos, "part": self.part}

    def __repr__(self) -> str:
        return f"Source({self.name})"


@dataclass(frozen=True)
class Pair:
    """What one part's question and another part's answer add to a score, against the row's average key."""

    asked_by: Source
    answered_by: Source
    value: float


@dataclass(frozen=True, eq=False)
class Reasons:
    """One attention score, before the softmax, as what asked at the query times what answered at the key.

    score = table.sum() + beside, exactly. A softmax does not change when a whole row of scores moves, so `asked`,
    `answered` and `pairs` are against the average key of the row: score - average = asked.sum() + position =
    answered.sum() + position.

    >>> found = lmtt.attention_reasons(run, run.part("attention", layer=2), 6, query=13, key=1)
    >>> abs(found.score - float(found.table.sum()) - found.beside) < 1e-4
    True
    """

    run: Run = field(repr=False)
    part: Part
    head: int
    query: int
    key: int
    attention: float  # the probability
    score: float
    average: float  # score of the keys that the query may look at
    asked_by: tuple[Source, ...]  # what the query's state is made of
    answered_by: tuple[Source, ...]  # what the key's state is made of
    table: Tensor  # [asked, answered], sums to the score but for `beside`
    beside: float  # what position, mask and sinks add to the score
    position: float  # the same against the row's average
    asked: Tensor  # [asked], against the row's average
    answered: Tensor  # [answered], against the row's average
    capped: bool  # the model bends the score before the softmax (a soft cap); all here is before that
    _of: _Score = field(repr=False)

    @cached_property
    def pairs(self) -> list[Pair]:
        """Who asked and who answered, of the parts that answered most; largest first."""
        found: list[Pair] = []
        for b in self.answered.abs().argsort(descending=True).tolist():
            if self.answered_by[b].kind == "bias" or len(found) == _PAIRS * len(self.asked_by):
                continue
            column = self._of.against_average(self.answered_by[b], self.table[:, b])
            found += [Pair(a, self.answered_by[b], v) for a, v in zip(self.asked_by, column.tolist(), strict=True)]
        return sorted(found, key=lambda p: -abs(p.value))

    def to_dict(self) -> list[dict[str, Any]]:
        """One record for each part that asked or answered, largest first, ready for a data frame."""
        sides = (("asked", self.asked_by, self.asked), ("answered", self.answered_by, self.answered))
        found = [
            {"side": side, "part": source.name, "value": value}
            for side, sources, values in sides
            for source, value in zip(sources, values.tolist(), strict=True)
        ]
        return sorted(found, key=lambda r: -abs(r["value"]))

    def __repr__(self) -> str:
        tokens = self.run.tokens
        best = [self.asked_by[int(self.asked.argmax())], self.answered_by[int(self.answered.argmax())]]
        return (
            f"Reasons(L{self.part.layer} H{self.head}, {tokens[self.query].text} looks at {tokens[self.key].text} with "
            f"{self.attention:.0%}: score {self.score:.2f}, {self.score - self.average:+.2f} against the average key; "
            f"most asked by {best[0].name}, most answered by {best[1].name})"
        )


@in_plain_precision
def attention_reasons(run: Run, part: Part, head: int, query: int = -1, key: int = 0) -> Reasons:
    """Why a head looks from a query at a key: its score as an exact table of what asked and what answered.

    part: an attention part of run.parts. Norms (of the stream, of queries and keys) are frozen; rotary embeddings are
    in the table, other biases by position stand beside it. The first question about a layer runs it once more, or
    the model as far as that layer where the layer alone does not do the same again.

    Raises ValueError for a part without heads, a key after its query or that the query may not look at, a run with
    interventions, and where the scores are no product of queries and keys that are linear in one state each (it says
    which). (Elhage et al. 2021, QK circuits; Ferrando & Voita 2024, arXiv:2403.00824, for the frozen norms)

        >>> found = lmtt.attention_reasons(run, run.part("attention", layer=2), 6, query=13, key=1)
        >>> max(zip(found.answered.tolist(), found.answered_by))[1]  # the previous-token head of the model's card
        Source(L1 H3)
    """
    of_kind(run, Run, "run", RECORDED)
    need_own(run, part)
    if part.heads is None:
        raise ValueError(f"only an attention part has scores, got {part!r}")
    head = place(head, part.n_heads, "head")
    query, key = place(query, run.n_tokens, "query"), place(key, run.n_tokens, "key")
    if key > query:
        raise ValueError(f"a query looks back: key must be in 0..{query}, got {key}")
    if run.interventions:
        raise ValueError("reasons are of a run that nothing was edited in; ask them of the run without edits")
    paths = [path for s in run.states for path in (s.path, *(w.path for p in s.parts for w in p.writes))]
    if any(isinstance(path, Spread) for path in paths):
        raise ValueError("the model runs several streams beside each other, of which parts cannot be told apart here")
    return _Score(run, part, head, query, key).reasons()


class _Score:
    """One row of scores of one head, ready to be split."""

    def __init__(self, run: Run, part: Part, head: int, query: int, key: int) -> None:
        assert part.heads is not None
        self.run, self.part, self.head, self.q, self.k = run, part, head, query, key
        product, self.number = part.heads.head(head)
        self.how = _asked(run, part, product)
        n = slice(query + 1)
        beside, scale, seen = (
            self.how.number(x, self.number, query) for x in (self.how.beside, self.how.scale, self.how.seen)
        )
        self.beside, self.seen = beside.double()[n], seen[n]
        self.scale = scale.double()[n] if scale.ndim else scale.double().expand(query + 1)
        if not bool(self.seen[key]):
            raise ValueError(f"the mask hides key {key} from query {query}, so there is no score")
        self.weights = self.scale * self.seen / self.seen.sum()  # of the row's average

    @torch.no_grad()
    def reasons(self) -> Reasons:
        run, how, k = self.run, self.how, self.k
        on, keys = how.states
        query, every = how.recorded_query(self.q, self.number), how.recorded_keys(self.number)
        query, every = query.double(), every.double()[: self.q + 1]
        asked_by, x = made_of(run, on, self.q)
        answered_by, y = made_of(run, keys, k)
        self.queries = self._split(how.queries(self.q, _and_nothing(x), self.number), query, how.query)
        answers = self._split(how.keys(k, _and_nothing(y), self.number), every[k], how.key)
        table = self.queries @ answers.T * self.scale[k]
        scores = every @ query * self.scale + self.beside
        asked = self.queries @ (self.scale[k] * every[k] - self.weights @ every)
        average = self._answers_on_average(answered_by, keys, query, float(self.weights @ every @ query))
        attention = float(self.part.heads.pattern(slice(self.q, self.q + 1))[self.head, 0, k])  # type: ignore[union-attr]
        return Reasons(
            run, self.part, self.head, self.q, k, attention, float(scores[k]), float(scores[self.seen].mean()),
            tuple(asked_by), tuple(answered_by), table.cpu(), float(self.beside[k]),
            float(self.beside[k] - self.beside[self.seen].mean()), asked.cpu(), (table.sum(0) - average).cpu(),
            how.capped, self,
        )  # fmt: skip

    @torch.no_grad()
    def against_average(self, source: Source, column: Tensor) -> Tensor:
        """What one part's answers add with each part that asked, less the row's average: [asked]."""
        value = _everywhere(self.run, source, self.how.states[1])
        made = (self.how.all_keys(value, self.number) - self.how.all_keys(value * 0, self.number)).double()
        return column - (self.queries @ (self.weights @ made[: self.q + 1])).cpu()

    def _split(self, made: Tensor, whole: Tensor, how: Frozen) -> Tensor:
        """Images of vectors and of nothing [n + 1, d_head] as summands of what the pass made of their sum.

        The map's own bias and what the pass rounded belong to the last one. Raises ValueError where it is more.
        """
        made = made.double()
        split = made[:-1] - made[-1]
        split[-1] += made[-1]
        left, size = whole - split.sum(0), split.norm(dim=-1).sum()
        if not float(left.norm()) <= 500 * how.eps * float(size):
            raise ValueError(
                f"the parts of layer {self.part.layer}'s queries or keys miss them by {float(left.norm() / size):.1e}; "
                f"held as they were: {', '.join(how.kept) or 'no call'}"
            )
        split[-1] += left
        return split

    def _answers_on_average(self, sources: Sequence[Source], state: int, query: Tensor, whole: float) -> Tensor:
        """What each part answers on average over the row's keys: [answered], by one gradient."""
        leaf = wide(self.run.states[state].value).detach().clone().requires_grad_()
        found = torch.zeros(len(sources), dtype=torch.float64, device=query.device)
        try:
            with torch.enable_grad():
                gradient = torch.autograd.grad(self._on_average(leaf, query), leaf)[0].detach()
        except RuntimeError:  # no way back through a quantised kernel: forward, one part after the other
            nothing = self._on_average(torch.zeros_like(leaf), query)
            for number, source in enumerate(sources[:-1]):
                found[number] = self._on_average(_everywhere(self.run, source, state), query) - nothing
            found[-1] = whole - found[:-1].sum()
            return found.detach()
        at = {(s.state, s.part, s.head, s.module): i for i, s in enumerate(sources)}
        for index in reversed(_chain(self.run, state)):
            for p in self.run.states[index].parts:
                for source, value in _dots(self.run, p, gradient):
                    i = at.get((source.state, source.part, source.head, source.module))
                    if i is not None:
                        found[i] = value
            gradient = _back(self.run.states[index].path, gradient)
        if sources[0].kind == "embedding" and not self.run.states[0].parts:
            found[0] = (gradient * wide(self.run.states[0].value)).sum()
        found[-1] = whole - found[:-1].sum()
        return found

    def _on_average(self, value: Tensor, query: Tensor) -> Tensor:
        """The mean over the row's keys of a query times the keys of a state [pos, d_model]: []."""
        return (self.how.all_keys(value, self.number).double()[: self.q + 1] @ query) @ self.weights


# ---- what a state is made of ----


def made_of(run: Run, state: int, pos: int) -> tuple[list[Source], Tensor]:
    """The parts that add up to a state at a position, and what each is there: [source, d_model]; biases last."""
    sources: list[Source] = []
    start = wide(run.states[0].value[pos])
    vectors, bias = start.new_zeros(0, len(start)), torch.zeros_like(start)
    for index in _chain(run, state):
        s = run.states[index]
        if index:
            moved = s.path.apply(torch.cat([vectors, bias[None]]), pos)
            vectors, bias = moved[:-1], moved[-1]
        elif not s.parts:
            sources, vectors = [Source("embedding", state=0)], start[None]
        for p in s.parts:
            new, made = _of_part(p, pos, run.n_tokens, start)
            sources += new
            vectors = torch.cat([vectors, made])
            bias = bias + p.output_at(pos, run.n_tokens).to(start) - made.sum(0)
    return [*sources, Source("bias")], torch.cat([vectors, bias[None]])


def _chain(run: Run, state: int) -> list[int]:
    """The states that go on to one, oldest first."""
    found = [state]
    while (before := run.states[found[-1]].carried) is not None:
        found.append(before)
    return found[::-1]


def _sources(p: Part) -> list[Source]:
    if p.heads is not None:
        return [Source("head", p.layer, p.state, p.number, h) for h in range(p.n_heads)]
    if p.kind == "embedding":
        return [Source("embedding", state=0, part=p.number, module=w.module) for w in p.writes]
    return [] if p.kind in ("constant", "rounding") else [Source(p.kind, p.layer, p.state, p.number)]


def _of_part(p: Part, pos: int, n: int, like: Tensor) -> tuple[list[Source], Tensor]:
    sources = _sources(p)
    if p.heads is not None:
        return sources, query_vectors(p.linear[0], pos).to(like)
    if p.kind == "embedding":
        found = [vector_at(w, pos) for w in p.writes]
        return sources, torch.stack([torch.zeros_like(like) if v is None else v.to(like) for v in found])
    return sources, p.output_at(pos, n).to(like)[None] if sources else like.new_zeros(0, len(like))


def _dots(run: Run, p: Part, gradient: Tensor) -> list[tuple[Source, Tensor]]:
    """The sum over positions of a gradient [pos, d_model] times what each source of a part wrote there."""
    sources, n = _sources(p), run.n_tokens
    if p.heads is not None:
        return list(zip(sources, _dots_of_heads(p.linear[0], gradient, len(sources)), strict=True))
    if p.kind == "embedding":
        return [(s, (w.total(n).to(gradient) * gradient).sum()) for s, w in zip(sources, p.writes, strict=True)]
    return [(s, (p.output(n).to(gradient) * gradient).sum()) for s in sources]


def _dots_of_heads(w: LinearWrite, gradient: Tensor, n_heads: int) -> list[Tensor]:
    weight = w.map.weight()
    assert w.heads is not None
    slots = torch.cat([p.slots.reshape(-1) for p in w.heads.products])
    overlap = len(slots.unique()) < len(slots)  # heads that are subtracted from one another (differential attention)
    if weight is None or w.path.rows is not None or overlap:
        return [(head_vectors(w, h).output().to(gradient) * gradient).sum() for h in range(n_heads)]
    z = wide(w.input).to(gradient)
    if w.heads.offset is not None:
        z = z - w.heads.offset.to(z)
    both = (_back(w.path, gradient) @ weight.to(gradient).T * z).sum(0)
    return [both[p.slots[h]].sum() for p in w.heads.products for h in range(p.n_heads)]


def _back(path: Path | Spread, gradient: Tensor) -> Tensor:
    """The gradient before frozen steps, of what it is behind them: factors and centering are symmetric."""
    assert isinstance(path, Path)
    return Path(tuple(reversed(path.steps))).apply(gradient)


def _everywhere(run: Run, source: Source, state: int) -> Tensor:
    """What a source is in a state at every position: [pos, d_model]."""
    n = run.n_tokens
    if source.part is None:
        value = wide(run.states[0].value)
    elif source.kind == "head":
        assert source.head is not None
        value = head_vectors(run.parts[source.part].linear[0], source.head).output()
    elif source.kind == "embedding":
        writes: list[Write] = run.parts[source.part].writes
        value = next(w for w in writes if w.module == source.module).total(n)
    else:
        value = run.parts[source.part].output(n)
    for index in _chain(run, state):
        if index > (source.state or 0):
            value = run.states[index].path.apply(value)
    return wide(value).to(run.states[state].value.device)


def _and_nothing(vectors: Tensor) -> Tensor:
    return torch.cat([vectors, torch.zeros_like(vectors[:1])])


def _asked(run: Run, part: Part, product: Any) -> Asked:
    """How the scores of an attention part were made; kept for the next question."""
    key = (part.number, id(product))
    if key not in run.asked:
        model = run.model
        layers = list(model.layers if model.layers is not None else find_layers(model.module))
        if part.layer is None or run.call_by_call:
            raise ValueError("reasons need a forward pass whose calls can be heard")
        while len(run.asked) >= _KEPT:
            del run.asked[next(iter(run.asked))]
        heard = Heard(run.n_tokens, [(s.index, s.place) for s in run.states], part.layer, product)
        end = [s for s in run.states if s.layer == part.layer][-1]
        call = run.given_to[part.layer] if part.layer < len(run.given_to) else None
        run.asked[key] = asked(
            model.module, layers, model.inputs(run.token_ids.tolist()), heard,
            None if call is None else Alone(call, run.states[call.state].value, end.value, end.place),
        )  # fmt: skip
    found: Asked = run.asked[key]
    return found
